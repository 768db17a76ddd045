//! The push queue as an admin sees it: its columns, filters and orders, and the log of the attempts.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::cmp::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::api::{encode, id_of};
use tidings_tests::wait::SOON;
use tidings_tests::{Api, Database, Receiver, Reply, Server, Tenant, event, on_both, until};

fn list(api: &Api, query: &str) -> Vec<Value> {
    let page = api.get(&format!("deliveries?page[size]=1000&{query}")).expect(200);
    page["data"].as_array().unwrap().clone()
}

fn ids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(id_of).collect()
}

fn attributes(api: &Api, id: u64) -> Value {
    api.get(&format!("deliveries/{id}")).expect(200)["data"]["attributes"].clone()
}

/// A server with a tenant whose queue holds some of everything: 1 was never to be pushed, every fourth is given up at its
/// third attempt, others are delivered at the first or the second, and the last two are put off.
fn mixed(db: &Database) -> (Server, Tenant, Receiver) {
    let server = Server::start(db);
    let tenant = server.tenant("mixed");
    tenant.producer.post_event(&event("close"));
    let receiver = Receiver::start(|request, _| {
        let attempt: u32 = request.header("tidings-attempt").parse().unwrap();
        Reply::Status(match (request.sequence(), attempt) {
            (sequence, _) if sequence > 16 => 503,
            (sequence, _) if sequence % 4 == 0 => 500,
            (sequence, 1) if sequence % 4 == 1 => 429,
            _ => 200,
        })
    });
    tenant.push_to(&receiver.url(), false);
    let retry = |delays: Value| json!({"push": {"retry": {"kind": "list", "delaysSeconds": delays, "attempts": null, "firstSeconds": null, "factor": null, "capSeconds": null}}});
    tenant.admin.settings(retry(json!([1, 1]))).expect(200);
    for id in 2..=16 {
        let types = ["close", "sign", "my.own"];
        let mut event = event(types[id % 3]);
        // Not in the order in which they are posted.
        event["data"]["attributes"]["createdAt"] =
            json!(format!("2026-01-{:02}T00:00:00.000Z", 1 + (id * 7) % 17));
        tenant.producer.post_event(&event);
    }
    until("the first sixteen to be done with", Duration::from_secs(60), || {
        let waiting = list(&tenant.admin, "filter[status]=pending");
        waiting.is_empty().then_some(())
    });
    tenant.admin.settings(retry(json!([3600, 3600]))).expect(200);
    for _ in 17..=18 {
        tenant.producer.post_event(&event("close"));
    }
    until("what fails to be put off", SOON, || {
        let waiting =
            list(&tenant.admin, "filter[status]=pending&filter[retries]=0&filter[responseStatus]=503");
        let put_off = waiting.iter().filter(|row| row["attributes"]["nextAttemptAt"].is_string());
        // Both: one that is still to be sent would change while it is looked at.
        (put_off.count() == 2).then_some(())
    });
    (server, tenant, receiver)
}

/// The order of two rows by a column, as the list promises it.
fn compare(one: &Value, other: &Value, column: &str, descending: bool) -> Ordering {
    let value =
        |row: &Value| if column == "id" { json!(id_of(row)) } else { row["attributes"][column].clone() };
    let text =
        |value: &Value| value.as_u64().map_or_else(|| value.to_string(), |number| format!("{number:010}"));
    let order = match (value(one), value(other)) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => return Ordering::Greater,
        (_, Value::Null) => return Ordering::Less,
        (one, other) => text(&one).cmp(&text(&other)),
    };
    let order = order.then(id_of(one).cmp(&id_of(other)));
    if descending { order.reverse() } else { order }
}

/// All pages from the first by `next`, and all from the last by `prev`.
fn walk(api: &Api, query: &str) -> (Vec<u64>, Vec<u64>) {
    let (mut path, mut there, mut pages) =
        (format!("deliveries?page[size]=4&{query}"), Vec::new(), Vec::new());
    loop {
        let page = api.get(&path).expect(200);
        there.extend(ids(page["data"].as_array().unwrap()));
        pages.push(page.clone());
        match page["links"]["next"].as_str() {
            Some(next) => path = next.to_owned(),
            None => break,
        }
    }
    let last = pages.pop().unwrap();
    let mut back = ids(last["data"].as_array().unwrap());
    let mut previous = last["links"]["prev"].as_str().map(str::to_owned);
    while let Some(path) = previous {
        let page = api.get(&path).expect(200);
        assert!(page["links"]["next"].is_string(), "{path}: {}", page["links"]);
        back.splice(0..0, ids(page["data"].as_array().unwrap()));
        previous = page["links"]["prev"].as_str().map(str::to_owned);
    }
    (there, back)
}

on_both! {
    fn every_filter_and_every_order_holds_what_it_says(db) {
        let (_server, tenant, _receiver) = mixed(&db);
        let api = &tenant.admin;
        let all = list(api, "sort=id");
        assert_eq!(ids(&all), (2..=18).collect::<Vec<_>>(), "1 is no delivery");
        assert_eq!(ids(&list(api, "")), (2..=18).rev().collect::<Vec<_>>(), "newest first by default");
        let status = |status: &str| ids(&list(api, &format!("sort=id&filter[status]={status}")));
        assert_eq!(status("error"), [4, 8, 12, 16]);
        assert_eq!(status("pending"), [17, 18]);
        assert_eq!(status("complete,error"), (2..=16).collect::<Vec<_>>());
        assert!(status("paused").is_empty());
        let retried = ids(&list(api, "sort=id&filter[retries]=2"));
        assert_eq!(retried, [4, 8, 12, 16]);
        assert_eq!(ids(&list(api, "sort=id&filter[responseStatus]=500&filter[errorMessage]=status")), retried);
        assert!(list(api, "filter[errorMessage]=timeout,dns").is_empty());
        assert_eq!(list(api, "filter[endpointType]=http").len(), 17);
        assert_eq!(ids(&list(api, "sort=id&filter[id]=18,1,3,400")), [3, 18]);

        // What the rows show themselves must be what the filters choose.
        let chosen = |query: &str, keep: &dyn Fn(&Value) -> bool| {
            let expected: Vec<u64> = all.iter().filter(|row| keep(&row["attributes"])).map(id_of).collect();
            assert_eq!(ids(&list(api, &format!("sort=id&{query}"))), expected, "{query}");
        };
        chosen("filter[eventType]=sign,my.own", &|row| row["eventType"] != "close");
        let (from, before) = ("2026-01-05T00:00:00Z", "2026-01-12T00:00:00+00:00");
        chosen(&format!("filter[eventTime][ge]={from}&filter[eventTime][lt]={}", encode(before)), &|row| {
            let time = row["eventTime"].as_str().unwrap();
            (&from[..19]..&before[..19]).contains(&&time[..19])
        });
        let middle = all[7]["attributes"]["lastProcessedAt"].as_str().unwrap().to_owned();
        chosen(&format!("filter[lastProcessedAt][ge]={middle}"), &|row| {
            row["lastProcessedAt"].as_str().is_some_and(|time| time >= middle.as_str())
        });
        chosen("filter[nextAttemptAt][ge]=2026-01-01T00:00:00Z", &|row| row["nextAttemptAt"].is_string());
        chosen("filter[nextAttemptAt][lt]=2026-01-01T00:00:00Z", &|_| false);
        chosen("filter[status]=complete&filter[eventType]=sign&filter[retries]=1", &|row| {
            row["status"] == "complete" && row["eventType"] == "sign" && row["retries"] == 1
        });

        for column in ["id", "eventType", "eventTime", "lastProcessedAt", "status", "retries", "errorMessage", "responseStatus", "nextAttemptAt"] {
            for descending in [false, true] {
                let sort = format!("{}{column}", if descending { "-" } else { "" });
                // In milliseconds two may be equal that aren't: then they are not compared.
                let rows = list(api, &format!("sort={sort}"));
                assert_eq!(rows.len(), all.len(), "{sort}: what lacks a value is there too");
                for pair in rows.windows(2) {
                    let equal = column.ends_with("At") && pair[0]["attributes"][column] == pair[1]["attributes"][column];
                    assert!(equal || compare(&pair[0], &pair[1], column, descending).is_lt(), "{sort}: {pair:?}");
                }
                let (there, back) = walk(api, &format!("sort={sort}"));
                assert_eq!((there, back), (ids(&rows), ids(&rows)), "{sort}");
            }
        }
        let (there, back) = walk(api, "sort=-responseStatus&filter[status]=complete,error&filter[eventType]=close,sign");
        assert_eq!(there.len(), 10);
        assert_eq!(there, back);
    }

    fn what_waits_is_paused_while_push_is(db) {
        let (_server, tenant, _receiver) = mixed(&db);
        tenant.admin.settings(json!({"push": {"enabled": false}})).expect(200);
        tenant.producer.post_event(&event("close"));
        assert_eq!(ids(&list(&tenant.admin, "sort=id&filter[status]=paused")), [17, 18, 19]);
        assert!(list(&tenant.admin, "filter[status]=pending").is_empty());
        let fresh = attributes(&tenant.admin, 19);
        assert_eq!(fresh["status"], "paused");
        for column in ["lastProcessedAt", "errorMessage", "responseStatus", "nextAttemptAt"] {
            assert!(fresh[column].is_null(), "{column}: {fresh}");
        }
        assert!(attributes(&tenant.admin, 17)["nextAttemptAt"].is_null(), "while push is paused nothing is due");
        assert!(list(&tenant.admin, "filter[nextAttemptAt][ge]=2026-01-01T00:00:00Z").is_empty());
        assert_eq!(list(&tenant.admin, "sort=nextAttemptAt").len(), 18);
    }

    fn a_delivery_shows_what_was_sent_and_what_was_answered(db) {
        let server = Server::start(&db);
        let (tenant, other) = (server.tenant("log"), server.tenant("other"));
        let answer = |status: &str, body: &str| Reply::Raw(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes());
        let long = "ä".repeat(3000);
        let receiver = Receiver::start(move |_, nth| match nth {
            0 => answer("500 Oops", &long),
            1 => Reply::Close,
            _ => answer("200 OK", "thanks"),
        });
        tenant.push_to(&receiver.url(), true);
        let mut posted = event("my.own");
        posted["data"]["attributes"]["createdAt"] = json!("2026-01-02T03:04:05.678Z");
        posted["data"]["attributes"]["change"] = json!({"table": "orders", "type": "update", "columns": ["a"], "recordId": "r-7"});
        posted["data"]["relationships"] = json!({"createdBy": {"data": {"type": "user", "id": "u 1"}}});
        tenant.producer.post_event(&posted);
        let requests = receiver.wait_for(3, Duration::from_secs(40));
        tenant.wait_for_state(1, "delivered");

        let delivery = attributes(&tenant.admin, 1);
        let expected = json!({"endpointType": "http", "eventType": "my.own", "eventTime": "2026-01-02T03:04:05.678Z", "status": "complete",
            "retries": 2, "errorMessage": null, "responseStatus": 200, "nextAttemptAt": null, "synchronized": true, "counter": 3,
            "active": false, "createdBy": "u 1", "table": "orders", "changeType": "update", "recordId": "r-7", "responseText": "thanks"});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&delivery[name], value, "{name}: {delivery}");
        }
        assert!(delivery["lastProcessedAt"].is_string(), "{delivery}");
        assert_eq!(delivery["content"], requests[2].json(), "the body as it is pushed");

        let log = tenant.admin.get("deliveries/1/attempts").expect(200)["data"].as_array().unwrap().clone();
        let ids: Vec<&str> = log.iter().map(|attempt| attempt["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["1-1", "1-2", "1-3"]);
        let column = |name: &str| log.iter().map(|attempt| attempt["attributes"][name].clone()).collect::<Vec<_>>();
        assert_eq!(column("responseStatus"), [json!(500), Value::Null, json!(200)]);
        assert_eq!(column("responseText"), [json!("ä".repeat(1000)), Value::Null, json!("thanks")]);
        assert_eq!(column("error"), [json!("status"), json!("protocol"), Value::Null]);
        assert_eq!(column("reason")[0], "first");
        assert!(column("url").iter().all(|url| *url == receiver.url()), "{log:?}");
        let page = |query: &str| {
            let page = tenant.admin.get(query).expect(200);
            let ids = page["data"].as_array().unwrap().iter().map(|attempt| attempt["id"].clone()).collect::<Vec<_>>();
            (ids, page["links"].clone())
        };
        let (first, links) = page("deliveries/1/attempts?page[size]=2");
        assert_eq!((first, &links["prev"]), (vec![json!("1-1"), json!("1-2")], &Value::Null));
        let (last, links) = page(links["next"].as_str().unwrap());
        assert_eq!((last, &links["next"]), (vec![json!("1-3")], &Value::Null));
        assert_eq!(page(links["prev"].as_str().unwrap()).0, ["1-1", "1-2"]);
        assert!(column("startedAt").windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));

        for path in ["deliveries/1", "deliveries/1/attempts"] {
            other.admin.get(path).refused_as(ErrorCode::NotFound);
            tenant.consumer.get(path).refused_as(ErrorCode::Forbidden);
            let path = path.replace('1', "2");
            tenant.admin.get(&path).refused_as(ErrorCode::NotFound);
            tenant.admin.get(&path.replace('2', "x")).refused_as(ErrorCode::NotFound);
        }
        assert!(list(&other.admin, "").is_empty());
        // What was never to be pushed is no delivery.
        other.producer.post_event(&event("close"));
        other.admin.get("deliveries/1").refused_as(ErrorCode::NotFound);
        assert!(list(&other.admin, "").is_empty());
    }

    fn a_cursor_of_another_order_or_filter_is_refused(db) {
        let (_server, tenant, _receiver) = mixed(&db);
        let api = &tenant.admin;
        let next = |query: &str| {
            let page = api.get(&format!("deliveries?page[size]=3&{query}")).expect(200);
            page["links"]["next"].as_str().unwrap().to_owned()
        };
        let link = next("sort=retries&filter[status]=complete,error");
        api.get(&link).expect(200);
        let cursor = link.split("page%5Bafter%5D=").nth(1).unwrap().to_owned();
        for (query, parameter) in [
            ("sort=responseStatus&filter[status]=complete,error&page[after]", "page[after]"),
            ("sort=-retries&filter[status]=complete,error&page[after]", "page[after]"),
            ("sort=retries&filter[status]=complete&page[after]", "page[after]"),
            ("sort=retries&filter[status]=complete,error&filter[id]=5&page[before]", "page[before]"),
            ("sort=retries&page[after]", "page[after]"),
            ("page[before]", "page[before]"),
        ] {
            let error = api.get(&format!("deliveries?{query}={cursor}")).refused_as(ErrorCode::InvalidParameter);
            assert_eq!(error["source"]["parameter"], parameter, "{query}: {error}");
        }
        // Another size of page is the same list, and so is the order by default when it is named.
        let larger = api.get(&link.replace("size%5D=3", "size%5D=5")).expect(200);
        assert_eq!(larger["data"].as_array().unwrap().len(), 5);
        api.get(&format!("{}&sort=-id", next("filter[status]=complete"))).expect(200);
        // The other lists don't take it either; that of notifications knows its own orders apart.
        for list in ["jobs", "notifications", "notifications?sort=createdAt"] {
            let joint = if list.contains('?') { '&' } else { '?' };
            api.get(&format!("{list}{joint}page[after]={cursor}")).refused_as(ErrorCode::InvalidParameter);
        }
        for (sort, other) in [("createdAt", "sequence"), ("-sequence", "-createdAt")] {
            let page = api.get(&format!("notifications?page[size]=3&sort={sort}")).expect(200);
            let link = page["links"]["next"].as_str().unwrap().to_owned();
            let error = api.get(&link.replace(sort, other)).refused_as(ErrorCode::InvalidParameter);
            assert_eq!(error["source"]["parameter"], "page[after]", "{link}: {error}");
        }
    }

    fn what_is_not_a_parameter_is_refused_by_name(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("parameters");
        for (query, parameter, code) in [
            ("page[size]=0", "page[size]", ErrorCode::InvalidParameter),
            ("page[size]=1001", "page[size]", ErrorCode::InvalidParameter),
            ("page[offset]=1", "page[offset]", ErrorCode::UnknownParameter),
            ("page[after]=x", "page[after]", ErrorCode::InvalidParameter),
            ("page[before]=1_2", "page[before]", ErrorCode::InvalidParameter),
            ("page[after]=0_1_x", "page[after]", ErrorCode::InvalidParameter),
            ("page[after]=0_1_0&page[before]=0_2_0", "page[before]", ErrorCode::InvalidParameter),
            ("sort=colour", "sort", ErrorCode::InvalidParameter),
            ("sort=--id", "sort", ErrorCode::InvalidParameter),
            ("sort=", "sort", ErrorCode::InvalidParameter),
            ("filter[status]=failed", "filter[status]", ErrorCode::InvalidParameter),
            ("filter[status]=", "filter[status]", ErrorCode::InvalidParameter),
            ("filter[errorMessage]=oops", "filter[errorMessage]", ErrorCode::InvalidParameter),
            ("filter[endpointType]=amqp", "filter[endpointType]", ErrorCode::InvalidParameter),
            ("filter[eventType]=a'b", "filter[eventType]", ErrorCode::InvalidParameter),
            ("filter[retries]=-1", "filter[retries]", ErrorCode::InvalidParameter),
            ("filter[retries]=1.5", "filter[retries]", ErrorCode::InvalidParameter),
            ("filter[responseStatus]=2000", "filter[responseStatus]", ErrorCode::InvalidParameter),
            ("filter[id]=1,,2", "filter[id]", ErrorCode::InvalidParameter),
            ("filter[eventTime]=2026-01-01T00:00:00Z", "filter[eventTime]", ErrorCode::UnknownParameter),
            ("filter[eventTime][gt]=2026-01-01T00:00:00Z", "filter[eventTime][gt]", ErrorCode::UnknownParameter),
            ("filter[lastProcessedAt][ge]=now", "filter[lastProcessedAt][ge]", ErrorCode::InvalidParameter),
            ("filter[nextAttemptAt][lt]=1", "filter[nextAttemptAt][lt]", ErrorCode::InvalidParameter),
        ] {
            let error = tenant.admin.get(&format!("deliveries?{query}")).refused_as(code);
            assert_eq!(error["source"]["parameter"], parameter, "{query}: {error}");
        }
        tenant.admin.get("deliveries/1?x=1").refused_as(ErrorCode::UnknownParameter);
        for api in [&tenant.consumer, &tenant.producer] {
            api.get("deliveries").refused_as(ErrorCode::Forbidden);
        }
    }
}
