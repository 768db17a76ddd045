//! Every parameter of the list selects, orders and shapes what it says, and nothing else is taken.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::api::{encode, id_of};
use tidings_tests::{Database, Receiver, Server, Tenant, on_both};

/// An event with everything by which a list can be filtered.
fn full(event_type: &str, created_at: &str, entity: &str, user: &str) -> Value {
    json!({
        "data": {
            "type": "notification",
            "attributes": {"type": event_type, "createdAt": created_at, "comment": format!("about {entity}")},
            "relationships": {
                "entity": {"data": {"type": "entity", "id": entity}},
                "createdBy": {"data": {"type": "user", "id": user}}
            }
        },
        "included": [
            {"type": "entity", "id": entity, "attributes": {"name": format!("Entity {entity}"), "colour": "red"}},
            {"type": "user", "id": user, "attributes": {"firstName": "Ada", "lastName": "L."}}
        ]
    })
}

/// Six notifications, of which 1 is dismissed and read, 2 is read, 3 is flagged. Their `createdAt` is not in the order
/// of their sequence.
fn six(db: &Database) -> (Server, Tenant) {
    let server = Server::start(db);
    let tenant = server.tenant("list");
    for (event_type, created_at, entity, user) in [
        ("close", "2024-01-06T00:00:00Z", "experiment:a", "100"),
        ("print", "2024-01-05T00:00:00Z", "experiment:b", "100"),
        ("close", "2024-01-04T00:00:00Z", "experiment:a", "101"),
        ("void", "2024-01-03T00:00:00Z", "experiment:c", "102"),
        ("my.own-type_1", "2024-01-02T00:00:00.500Z", "experiment:a", "101"),
        ("close", "2024-01-02T00:00:00.500Z", "experiment:c", "100"),
    ] {
        tenant.producer.post_event(&full(event_type, created_at, entity, user));
    }
    tenant.consumer.set(1, json!({"isDismissed": true, "isRead": true})).expect(200);
    tenant.consumer.set(2, json!({"isRead": true})).expect(200);
    tenant.consumer.set(3, json!({"isFlagged": true})).expect(200);
    (server, tenant)
}

on_both! {
    fn each_filter_and_order_selects_what_it_says(db) {
        let (_server, tenant) = six(&db);
        let all = "filter[isDismissed]=true,false";
        let after_midnight = encode("2024-01-03T01:00:00+01:00");
        for (query, expected) in [
            (String::new(), vec![6, 5, 4, 3, 2]),
            ("filter[isDismissed]=false".into(), vec![6, 5, 4, 3, 2]),
            ("filter[isDismissed]=true".into(), vec![1]),
            (all.into(), vec![6, 5, 4, 3, 2, 1]),
            ("filter[isDismissed]=false,true".into(), vec![6, 5, 4, 3, 2, 1]),
            ("filter[isRead]=true".into(), vec![2]),
            (format!("{all}&filter[isRead]=true"), vec![2, 1]),
            ("filter[isRead]=false".into(), vec![6, 5, 4, 3]),
            ("filter[isRead]=true,false".into(), vec![6, 5, 4, 3, 2]),
            ("filter[isFlagged]=true".into(), vec![3]),
            ("filter[isFlagged]=false".into(), vec![6, 5, 4, 2]),
            ("filter[type]=close".into(), vec![6, 3]),
            ("filter[type]=print,void".into(), vec![4, 2]),
            ("filter[type]=my.own-type_1".into(), vec![5]),
            ("filter[type]=reopen".into(), vec![]),
            ("filter[entity]=experiment:a".into(), vec![5, 3]),
            ("filter[entity]=experiment:b,experiment:c".into(), vec![6, 4, 2]),
            ("filter[createdBy]=100".into(), vec![6, 2]),
            ("filter[createdBy]=101,102".into(), vec![5, 4, 3]),
            ("filter[push]=none".into(), vec![6, 5, 4, 3, 2]),
            ("filter[push]=pending,delivered".into(), vec![]),
            ("filter[createdAt][ge]=2024-01-04T00:00:00Z".into(), vec![3, 2]),
            ("filter[createdAt][lt]=2024-01-04T00:00:00Z".into(), vec![6, 5, 4]),
            (format!("filter[createdAt][ge]={after_midnight}&filter[createdAt][lt]=2024-01-05T00:00:00Z"), vec![4, 3]),
            ("filter[createdAt][ge]=2024-01-02T00:00:00.500Z&filter[createdAt][lt]=2024-01-02T00:00:00.501Z".into(), vec![6, 5]),
            ("filter[type]=close&filter[entity]=experiment:a".into(), vec![3]),
            (format!("{all}&sort=sequence"), vec![1, 2, 3, 4, 5, 6]),
            (format!("{all}&sort=-sequence"), vec![6, 5, 4, 3, 2, 1]),
            (format!("{all}&sort=-createdAt"), vec![1, 2, 3, 4, 6, 5]),
            (format!("{all}&sort=createdAt"), vec![5, 6, 4, 3, 2, 1]),
            ("status=dismissed".into(), vec![1]),
            ("status=notdismissed".into(), vec![6, 5, 4, 3, 2]),
            ("status=dismissed,notdismissed".into(), vec![6, 5, 4, 3, 2, 1]),
            ("status=dismissed,notdismissed&from=2024-01-05T00:00:00Z".into(), vec![2, 1]),
            ("status=dismissed,notdismissed&to=2024-01-03T00:00:00Z".into(), vec![6, 5]),
            ("from=2024-01-03T00:00:00Z&to=2024-01-05T00:00:00Z".into(), vec![4, 3]),
            ("page[size]=2".into(), vec![6, 5]),
            ("sort=sequence&page[after]=3".into(), vec![4, 5, 6]),
            ("page[after]=4".into(), vec![3, 2]),
            ("sort=sequence&page[before]=4".into(), vec![2, 3]),
            ("sort=sequence&page[before]=6&page[size]=2".into(), vec![4, 5]),
            ("page[before]=4".into(), vec![6, 5]),
            ("page[limit]=2".into(), vec![6, 5]),
            ("page[limit]=2&page[offset]=3".into(), vec![3, 2]),
            ("page[offset]=5".into(), vec![]),
        ] {
            assert_eq!(tenant.consumer.ids(&query), expected, "{query}");
        }
    }

    fn a_cursor_goes_through_the_whole_list_in_every_order_and_back(db) {
        let (_server, tenant) = six(&db);
        for (sort, expected) in [
            ("sequence", vec![1, 2, 3, 4, 5, 6]),
            ("-sequence", vec![6, 5, 4, 3, 2, 1]),
            ("createdAt", vec![5, 6, 4, 3, 2, 1]),
            ("-createdAt", vec![1, 2, 3, 4, 6, 5]),
        ] {
            // One by one, so that the cursor must tell notifications of the same time apart.
            for size in [1, 2, 4, 6, 7] {
                let mut path =
                    format!("notifications?filter[isDismissed]=true,false&sort={sort}&page[size]={size}");
                let (mut seen, mut pages) = (Vec::<u64>::new(), Vec::<Vec<u64>>::new());
                let last = loop {
                    let page = tenant.consumer.get(&path).expect(200);
                    let ids: Vec<u64> = page["data"].as_array().unwrap().iter().map(id_of).collect();
                    seen.extend(&ids);
                    pages.push(ids);
                    assert!(pages.len() <= 7, "{sort}, {size}: no end");
                    match page["links"]["next"].as_str() {
                        Some(next) => path = next.to_owned(),
                        None => break page,
                    }
                };
                assert_eq!(seen, expected, "{sort}, {size}");

                let mut page = last;
                for expected in pages.iter().rev().skip(1) {
                    let prev = page["links"]["prev"].as_str().unwrap_or_else(|| panic!("{sort}, {size}: no prev"));
                    page = tenant.consumer.get(prev).expect(200);
                    let ids: Vec<u64> = page["data"].as_array().unwrap().iter().map(id_of).collect();
                    assert_eq!(&ids, expected, "{sort}, {size}, backwards");
                }
                assert!(page["links"]["prev"].is_null(), "{sort}, {size}: {}", page["links"]);
            }
        }
    }

    fn links_lead_where_they_say(db) {
        let (server, tenant) = six(&db);
        let page = tenant.consumer.get("notifications?sort=sequence&page[size]=2&filter[isRead]=false").expect(200);
        let links = page["links"].as_object().unwrap();
        assert_eq!(links.keys().collect::<BTreeSet<_>>().len(), 4, "{links:?}");
        for name in ["self", "first"] {
            let link = links[name].as_str().unwrap();
            assert!(link.starts_with(&format!("{}/api/rest/v1.0/notifications?", server.url())), "{link}");
            assert_eq!(tenant.consumer.get(link).expect(200)["data"], page["data"], "{name}");
        }
        assert!(links.contains_key("prev") && links["prev"].is_null(), "prev is null on the first page: {links:?}");
        let second = tenant.consumer.get(links["next"].as_str().unwrap()).expect(200);
        assert_eq!(second["data"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>(), [5, 6]);
        assert!(second["links"].as_object().unwrap().contains_key("next") && second["links"]["next"].is_null());
        assert_eq!(
            tenant.consumer.get(second["links"]["first"].as_str().unwrap()).expect(200)["data"],
            page["data"]
        );

        // Each link of a notification resolves.
        let notification = &page["data"][0];
        let own = notification["links"]["self"].as_str().unwrap();
        assert_eq!(&tenant.consumer.get(own).expect(200)["data"], notification);
        for related in ["entity", "createdBy"] {
            let relationship = &notification["relationships"][related];
            let found = tenant.consumer.get(relationship["links"]["self"].as_str().unwrap()).expect(200);
            assert_eq!(found["data"]["id"], relationship["data"]["id"]);
            assert_eq!(found["data"]["type"], relationship["data"]["type"]);
        }
    }

    fn offset_paging_is_signals_own(db) {
        let (_server, tenant) = six(&db);
        let get = |query: &str| tenant.consumer.get(&format!("notifications?{query}")).expect(200);
        let first = get("page[limit]=2&page[offset]=0&status=dismissed,notdismissed");
        let links = first["links"].as_object().unwrap();
        assert!(!links.contains_key("prev"), "left out, not null: {links:?}");
        let second = tenant.consumer.get(links["next"].as_str().unwrap()).expect(200);
        assert_eq!(second["data"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>(), [4, 3]);
        let back = tenant.consumer.get(second["links"]["prev"].as_str().unwrap()).expect(200);
        assert_eq!(back["data"], first["data"]);
        let third = tenant.consumer.get(second["links"]["next"].as_str().unwrap()).expect(200);
        assert_eq!(third["data"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>(), [2, 1]);
        assert!(!third["links"].as_object().unwrap().contains_key("next"), "{}", third["links"]);
        // Signals' default is 20, not 100.
        for _ in 0..20 {
            tenant.producer.post_event(&tidings_tests::event("close"));
        }
        assert_eq!(get("page[offset]=0")["data"].as_array().unwrap().len(), 20);
        assert_eq!(get("")["data"].as_array().unwrap().len(), 25);
    }

    fn included_and_sparse_fieldsets(db) {
        let (_server, tenant) = six(&db);
        let get = |query: &str| tenant.consumer.get(&format!("notifications?{query}")).expect(200);
        let included = |page: &Value| -> BTreeSet<String> {
            let list = page["included"].as_array().cloned().unwrap_or_default();
            let set: BTreeSet<String> = list
                .iter()
                .map(|one| format!("{}/{}", one["type"].as_str().unwrap(), one["id"].as_str().unwrap()))
                .collect();
            assert_eq!(set.len(), list.len(), "something is included twice: {page}");
            set
        };
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let of_a = "filter[entity]=experiment:a";
        assert_eq!(included(&get(of_a)), set(&["entity/experiment:a", "user/101"]));
        assert_eq!(included(&get(&format!("{of_a}&include=entity"))), set(&["entity/experiment:a"]));
        assert_eq!(included(&get(&format!("{of_a}&include=createdBy"))), set(&["user/101"]));
        assert_eq!(included(&get(&format!("{of_a}&include=createdBy,entity"))), set(&["entity/experiment:a", "user/101"]));
        assert_eq!(included(&get(&format!("{of_a}&include="))), set(&[]));

        let page = get(&format!("{of_a}&fields[notification]=type,isRead&fields[entity]=name"));
        let attributes = page["data"][0]["attributes"].as_object().unwrap();
        assert_eq!(attributes.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(["isRead", "type"]));
        assert!(page["data"][0]["id"].is_string() && page["data"][0]["type"] == "notification");
        assert!(page["data"][0].get("relationships").is_none_or(|them| them == &json!({})), "{page}");
        let entity = page["included"].as_array().unwrap().iter().find(|one| one["type"] == "entity");
        if let Some(entity) = entity {
            assert_eq!(entity["attributes"], json!({"name": "Entity experiment:a"}));
        }
        let one = tenant.consumer.get("notifications/3?fields[notification]=comment,entity&include=entity").expect(200);
        assert_eq!(one["data"]["attributes"], json!({"comment": "about experiment:a"}));
        assert_eq!(one["data"]["relationships"].as_object().unwrap().keys().collect::<Vec<_>>(), ["entity"]);
        assert_eq!(included(&one), set(&["entity/experiment:a"]));
        let user = get(&format!("{of_a}&include=createdBy&fields[user]=lastName"));
        assert_eq!(user["included"][0]["attributes"], json!({"lastName": "L."}));
    }

    fn the_largest_page_is_1000(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("large");
        for part in 0..2 {
            let operations: Vec<Value> = (0..600)
                .map(|number| json!({"op": "add", "data": {"type": "notification",
                    "attributes": {"type": "close", "data": {"number": part * 600 + number}}}}))
                .collect();
            tenant.producer.post("operations", &json!({"atomic:operations": operations})).expect(200);
        }
        assert_eq!(tenant.consumer.ids("page[size]=1000").len(), 1000);
        assert_eq!(tenant.consumer.ids("").len(), 100);
        let all: Vec<u64> = tenant.consumer.all("").iter().map(id_of).collect();
        assert_eq!(all, (1..=1200).collect::<Vec<_>>());
    }

    fn filter_push_follows_the_state(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("push states");
        tenant.producer.post_event(&tidings_tests::event("close"));
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        let delivered = tenant.producer.post_event(&tidings_tests::event("close"));
        tenant.wait_for_state(delivered, "delivered");
        assert_eq!(tenant.consumer.ids("filter[push]=delivered"), [2]);
        assert_eq!(tenant.consumer.ids("filter[push]=none,delivered"), [2, 1]);
    }

    fn what_is_not_a_parameter_is_refused_by_name(db) {
        let (_server, tenant) = six(&db);
        for (query, parameter, code) in [
            ("page[size]=0", "page[size]", ErrorCode::InvalidParameter),
            ("page[size]=1001", "page[size]", ErrorCode::InvalidParameter),
            ("page[size]=abc", "page[size]", ErrorCode::InvalidParameter),
            ("page[size]=-1", "page[size]", ErrorCode::InvalidParameter),
            ("page[size]=", "page[size]", ErrorCode::InvalidParameter),
            ("page[size]=99999999999999999999", "page[size]", ErrorCode::InvalidParameter),
            ("page[limit]=0", "page[limit]", ErrorCode::InvalidParameter),
            ("page[limit]=101", "page[limit]", ErrorCode::InvalidParameter),
            ("page[offset]=5001", "page[offset]", ErrorCode::InvalidParameter),
            ("page[offset]=-1", "page[offset]", ErrorCode::InvalidParameter),
            ("page[number]=1", "page[number]", ErrorCode::UnknownParameter),
            ("pagesize=1", "pagesize", ErrorCode::UnknownParameter),
            ("filter[isdismissed]=true", "filter[isdismissed]", ErrorCode::UnknownParameter),
            ("filter[isDismissed]=yes", "filter[isDismissed]", ErrorCode::InvalidParameter),
            ("filter[isDismissed]=", "filter[isDismissed]", ErrorCode::InvalidParameter),
            ("filter[isRead]=1", "filter[isRead]", ErrorCode::InvalidParameter),
            ("filter[type]=a%20b", "filter[type]", ErrorCode::InvalidParameter),
            ("filter[push]=sent", "filter[push]", ErrorCode::InvalidParameter),
            ("filter[createdAt][ge]=yesterday", "filter[createdAt][ge]", ErrorCode::InvalidParameter),
            ("filter[createdAt][gt]=2024-01-01T00:00:00Z", "filter[createdAt][gt]", ErrorCode::UnknownParameter),
            ("filter[createdAt]=2024-01-01T00:00:00Z", "filter[createdAt]", ErrorCode::UnknownParameter),
            ("from=2024", "from", ErrorCode::InvalidParameter),
            ("to=x", "to", ErrorCode::InvalidParameter),
            ("status=open", "status", ErrorCode::InvalidParameter),
            ("sort=type", "sort", ErrorCode::InvalidParameter),
            ("sort=", "sort", ErrorCode::InvalidParameter),
            ("include=owner", "include", ErrorCode::InvalidParameter),
            ("fields[batch]=x", "fields[batch]", ErrorCode::UnknownParameter),
            ("fields[notification]=colour", "fields[notification]", ErrorCode::InvalidParameter),
            ("page[after]=x", "page[after]", ErrorCode::InvalidParameter),
            ("sort=createdAt&page[after]=made-up", "page[after]", ErrorCode::InvalidParameter),
            ("page[before]=-4", "page[before]", ErrorCode::InvalidParameter),
            ("page[size]=1&page[size]=2", "page[size]", ErrorCode::InvalidParameter),
        ] {
            let error = tenant.consumer.get(&format!("notifications?{query}")).refused_as(code);
            assert_eq!(error["source"]["parameter"], parameter, "{query}: {error}");
        }
        for path in ["notifications/1?x=1", "external-notifications?x=1", "users/100?x=1", "entities/experiment:a?x=1"] {
            let error = tenant.admin.get(path).refused_as(ErrorCode::UnknownParameter);
            assert_eq!(error["source"]["parameter"], "x", "{path}");
        }
        // The two ways of paging don't mix.
        tenant.consumer.get("notifications?page[size]=2&page[offset]=2").refused(400);
    }
}
