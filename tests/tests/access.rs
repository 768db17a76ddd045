//! Who may do what: every call of the server's own description with no key, a wrong key, a wrong role, a revoked key,
//! and another tenant's id.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::api::{Tenant, create_key};
use tidings_tests::{Answer, Api, Server, event, on_both};

const METHODS: [&str; 5] = ["get", "post", "patch", "put", "delete"];

/// Which of the four keys may make a call: producer, consumer, admin, operator.
fn allowed(path: &str, method: &str) -> [bool; 4] {
    let first = path.split('/').next().unwrap_or_default();
    match (first, method) {
        ("notifications", "post") => [true, false, true, false],
        ("notifications" | "users" | "entities", _) => [false, true, true, false],
        // By operation; the body below has one that a consumer may do.
        ("operations", _) => [false, true, true, false],
        ("external-notifications" | "jobs" | "deliveries", _) => [false, false, true, false],
        ("tenants" | "overview", _) => [false, false, false, true],
        ("statistics", _) => [false, true, true, false],
        ("api-key", _) => [true, true, true, true],
        _ => panic!("{method} {path} is described, and nobody has said who may call it"),
    }
}

/// The same by the description: the roles that it names, and whether the operator's key is among those that will do.
fn roles(operation: &Value) -> [bool; 4] {
    let has = |scheme| operation["security"].as_array().unwrap().iter().any(|key| key.get(scheme).is_some());
    let named = operation["x-roles"].as_array();
    let role = |role: &str| has("tenantKey") && named.is_none_or(|named| named.iter().any(|it| it == role));
    [role("producer"), role("consumer"), role("admin"), has("operatorKey")]
}

/// A body with which the call would be right.
fn body(path: &str, method: &str) -> Option<Value> {
    let first = path.split('/').next().unwrap_or_default();
    let flags = json!({"type": "notification", "id": "1", "attributes": {"isRead": true}});
    Some(match (first, method) {
        (_, "get" | "delete") => return None,
        ("notifications", "post") => event("close"),
        ("notifications", _) => json!({"data": flags}),
        ("operations", _) => json!({"atomic:operations": [{"op": "update", "data": flags}]}),
        ("external-notifications", "post") => json!({}),
        ("jobs", _) => {
            let update = json!({"action": "update", "set": {"isRead": true}, "ids": ["1"]});
            json!({"data": {"type": "job", "attributes": update}})
        }
        ("external-notifications", _) => {
            json!({"data": {"type": "externalNotifications", "attributes": {"retention": {"days": 100}}}})
        }
        ("tenants", _) if path.contains("api-keys") => {
            json!({"data": {"type": "apiKey", "attributes": {"name": "k", "role": "consumer"}}})
        }
        ("tenants", _) => json!({"data": {"type": "tenant", "attributes": {"name": "renamed"}}}),
        _ => json!({}),
    })
}

/// Every call below the base path, as `(method, path template without the base)`.
fn calls(document: &Value) -> Vec<(String, String)> {
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(path) = path.strip_prefix("/api/rest/v1.0/") else { continue };
        for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
            calls.push(((*method).to_owned(), path.to_owned()));
        }
    }
    assert!(calls.len() >= 15, "only {} calls are described", calls.len());
    calls
}

fn call(api: &Api, method: &str, path: &str) -> Answer {
    let body = body(path, method).map(|body| body.to_string());
    api.send(&method.to_uppercase(), path, &[], body.as_ref().map(String::as_bytes))
}

/// A tenant with one notification about user 100 and entity `experiment:a`.
fn with_one(server: &Server, name: &str) -> Tenant {
    let tenant = server.tenant(name);
    // Nobody is there, but there is something to deliver and to try.
    let nowhere = "http://127.0.0.1:9/";
    tenant.admin.settings(json!({"push": {"url": nowhere}, "alerts": {"url": nowhere}})).expect(200);
    let mut posted = event("close");
    posted["data"]["relationships"] = json!({
        "entity": {"data": {"type": "entity", "id": "experiment:a"}},
        "createdBy": {"data": {"type": "user", "id": "100"}}
    });
    posted["included"] = json!([{"type": "entity", "id": "experiment:a"}, {"type": "user", "id": "100"}]);
    tenant.producer.post_event(&posted);
    tenant
}

on_both! {
    fn every_call_asks_for_a_key_and_for_the_right_role(db) {
        let server = Server::start(&db);
        let tenant = with_one(&server, "mine");
        let key_id = create_key(&server.operator(), &tenant.id, "consumer").0;
        let job = tenant.admin.post("jobs", &body("jobs", "post").unwrap()).expect(202);
        let job = job["data"]["id"].as_str().unwrap();
        let document = server.anonymous().get("/openapi.json").expect(200);
        let keys = [&tenant.producer, &tenant.consumer, &tenant.admin, &server.operator()];
        // What deletes comes last: a right role would otherwise take the ground from the calls after it.
        let mut calls = calls(&document);
        calls.sort_by_key(|(method, path)| (method == "delete", std::cmp::Reverse(path.len())));

        for (method, template) in &calls {
            let id = match template.split('/').next() {
                Some("tenants") => tenant.id.as_str(),
                Some("entities") => "experiment:a",
                Some("users") => "100",
                Some("jobs") => job,
                _ => "1",
            };
            let mut path = String::new();
            for (nth, part) in template.split('/').enumerate() {
                path.push_str(if nth > 0 { "/" } else { "" });
                path.push_str(match part.starts_with('{') {
                    false => part,
                    true if nth > 1 => &key_id,
                    true => id,
                });
            }
            call(&server.anonymous(), method, &path).refused_as(ErrorCode::Unauthenticated);
            let unknown = server.anonymous().with_key("tidings-wrong-key-wrong-key-wrong-key");
            call(&unknown, method, &path).refused_as(ErrorCode::Unauthenticated);
            let operation = &document["paths"][format!("/api/rest/v1.0/{template}")][method];
            // Which of the operations a body holds decides, so any role may be the right one.
            if template != "operations" {
                assert_eq!(roles(operation), allowed(&path, method), "{method} {path} is described otherwise");
            }
            for (api, allowed) in keys.iter().zip(allowed(&path, method)) {
                // A right delete would end the test.
                if !allowed {
                    call(api, method, &path).refused_as(ErrorCode::Forbidden);
                } else if method != "delete" {
                    let answer = call(api, method, &path);
                    assert!(answer.status < 300, "{answer}");
                }
            }
        }
        let right = tenant.consumer.get("notifications/1").expect(200);
        assert_eq!(right["data"]["attributes"]["isRead"], true);
    }

    fn operations_ask_for_the_role_of_each(db) {
        let server = Server::start(&db);
        let tenant = with_one(&server, "mine");
        let add = json!({"op": "add", "data": {"type": "notification", "attributes": {"type": "close"}}});
        let update = json!({"op": "update", "data": {"type": "notification", "id": "1", "attributes": {"isRead": true}}});
        let post = |api: &Api, operations: Value| api.post("operations", &json!({"atomic:operations": operations}));
        post(&tenant.consumer, json!([add])).refused_as(ErrorCode::Forbidden);
        post(&tenant.producer, json!([update])).refused_as(ErrorCode::Forbidden);
        post(&tenant.producer, json!([add, update])).refused_as(ErrorCode::Forbidden);
        post(&tenant.consumer, json!([update, add])).refused_as(ErrorCode::Forbidden);
        assert_eq!(tenant.consumer.count(), 1);
        assert_eq!(tenant.consumer.get("notifications/1").expect(200)["data"]["attributes"]["isRead"], false);
        post(&tenant.producer, json!([add])).expect(200);
        post(&tenant.consumer, json!([update])).expect(200);
        post(&tenant.admin, json!([add, update])).expect(200);
        assert_eq!(tenant.consumer.count(), 3);
    }

    fn another_tenants_ids_are_unknown(db) {
        let server = Server::start(&db);
        let (mine, other) = (with_one(&server, "mine"), server.tenant("other"));
        for path in ["notifications/1", "users/100", "entities/experiment:a"] {
            mine.consumer.get(path).expect(200);
            other.consumer.get(path).refused_as(ErrorCode::NotFound);
        }
        other.consumer.set(1, json!({"isDismissed": true})).refused_as(ErrorCode::NotFound);
        let update = json!({"atomic:operations": [{"op": "update",
            "data": {"type": "notification", "id": "1", "attributes": {"isDismissed": true}}}]});
        other.consumer.post("operations", &update).refused_as(ErrorCode::NotFound);
        assert!(other.consumer.ids("filter[isDismissed]=true,false").is_empty());
        assert!(other.consumer.ids("filter[entity]=experiment:a").is_empty());
        let untouched = mine.consumer.get("notifications/1").expect(200);
        assert_eq!(untouched["data"]["attributes"]["isDismissed"], false);

        // The other's settings are its own.
        other.admin.settings(json!({"retention": {"days": 7}})).expect(200);
        let settings = mine.admin.get("external-notifications").expect(200);
        assert_eq!(settings["data"]["attributes"]["retention"]["days"], 180);
        let named = json!({"data": {"type": "externalNotifications", "id": mine.id, "attributes": {"enabled": false}}});
        other.admin.patch("external-notifications", &named).refused_as(ErrorCode::Conflict);

        // Keys by way of the wrong tenant.
        let operator = server.operator();
        let (key_id, key) = create_key(&operator, &mine.id, "consumer");
        let crossed = format!("tenants/{}/api-keys/{key_id}", other.id);
        operator.delete(&crossed).refused_as(ErrorCode::NotFound);
        operator.with_key(&key).get("notifications").expect(200);
        let nobody = uuid::Uuid::new_v4();
        operator.get(&format!("tenants/{nobody}")).refused_as(ErrorCode::NotFound);
        operator.get(&format!("tenants/{nobody}/api-keys")).refused_as(ErrorCode::NotFound);
        operator.get("tenants/not-a-uuid").refused_as(ErrorCode::NotFound);
    }

    fn a_revoked_key_and_the_keys_of_a_deleted_tenant_are_worth_nothing(db) {
        let server = Server::start(&db);
        let tenant = with_one(&server, "mine");
        let operator = server.operator();
        let (key_id, key) = create_key(&operator, &tenant.id, "consumer");
        let api = operator.with_key(&key);
        api.get("notifications").expect(200);
        let answer = operator.delete(&format!("tenants/{}/api-keys/{key_id}", tenant.id));
        assert_eq!(answer.status, 204, "{answer}");
        api.get("notifications").refused_as(ErrorCode::Unauthenticated);
        tenant.consumer.get("notifications").expect(200);

        let answer = operator.delete(&format!("tenants/{}", tenant.id));
        assert_eq!(answer.status, 204, "{answer}");
        tenant.admin.get("notifications").refused_as(ErrorCode::Unauthenticated);
        tenant.producer.post("notifications", &event("close")).refused_as(ErrorCode::Unauthenticated);
    }

    fn a_key_comes_in_either_header_and_nowhere_else(db) {
        let server = Server::start(&db);
        let tenant = with_one(&server, "mine");
        let key = tenant.consumer.key();
        let get = |headers: &[(&str, &str)], path: &str| server.anonymous().send("GET", path, headers, None);
        get(&[("x-api-key", key)], "notifications").expect(200);
        get(&[("authorization", &format!("Bearer {key}"))], "notifications").expect(200);
        get(&[("authorization", &format!("bearer {key}"))], "notifications").expect(200);
        get(&[("authorization", &format!("Basic {key}"))], "notifications").refused_as(ErrorCode::Unauthenticated);
        get(&[("authorization", key)], "notifications").refused_as(ErrorCode::Unauthenticated);
        get(&[("x-api-key", "")], "notifications").refused_as(ErrorCode::Unauthenticated);
        get(&[("x-api-key", &key[..key.len() - 1])], "notifications").refused_as(ErrorCode::Unauthenticated);
        get(&[("x-api-key", &key.repeat(50))], "notifications").refused_as(ErrorCode::Unauthenticated);
        get(&[], &format!("notifications?x-api-key={key}")).refused_as(ErrorCode::Unauthenticated);
    }

    fn keys_are_shown_once_and_kept_as_a_hash(db) {
        let server = Server::start(&db);
        let operator = server.operator();
        let tenant = server.tenant("mine");
        let (key_id, key) = create_key(&operator, &tenant.id, "consumer");
        let list = operator.get(&format!("tenants/{}/api-keys", tenant.id)).expect(200);
        let one = operator.get(&format!("tenants/{}/api-keys/{key_id}", tenant.id)).expect(200);
        let again = operator.get(&format!("tenants/{}", tenant.id)).expect(200);
        for shown in [&list, &one, &again] {
            assert!(!shown.to_string().contains(&key), "{shown}");
            assert!(!shown.to_string().contains("whsec_"), "{shown}");
        }
        assert_eq!(one["data"]["attributes"]["role"], "consumer");
        assert_eq!(list["data"].as_array().unwrap().len(), 4);
        assert!(!server.log().contains(&key), "the key stands in the log");

        let used = one["data"]["attributes"]["lastUsedAt"].clone();
        assert_eq!(used, Value::Null);
        operator.with_key(&key).get("notifications").expect(200);
        // Kept to within a minute: the first use may be written a little later.
        tidings_tests::until("lastUsedAt", std::time::Duration::from_secs(75), || {
            let one = operator.get(&format!("tenants/{}/api-keys/{key_id}", tenant.id)).expect(200);
            one["data"]["attributes"]["lastUsedAt"].is_string().then_some(())
        });
    }
}
