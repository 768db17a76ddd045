//! Which events are stored: each rule of the settings, through the door that producers and admins use.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::{Server, Tenant, event, on_both};

/// An event with these attributes besides its type.
fn with(event_type: &str, attributes: Value) -> Value {
    let mut event = event(event_type);
    for (name, value) in attributes.as_object().unwrap() {
        event["data"]["attributes"][name] = value.clone();
    }
    event
}

/// Posts an event alone and as an operation: both must be stored, or not for this reason.
#[track_caller]
fn check(tenant: &Tenant, event: &Value, reason: Option<&str>) {
    let posted = tenant.producer.post("notifications", event);
    let operations = json!({"atomic:operations": [{"op": "add", "data": event["data"]}]});
    let result = tenant.producer.post("operations", &operations).expect(200)["atomic:results"][0].clone();
    match reason {
        None => {
            posted.expect(201);
            assert_eq!(result["data"]["type"], "notification", "{event}: {result}");
        }
        Some(reason) => {
            let expected = json!({"meta": {"stored": false, "reason": reason}});
            assert_eq!(posted.expect(200), expected, "{event}");
            assert_eq!(result, expected, "{event}");
        }
    }
}

#[track_caller]
fn select(tenant: &Tenant, selection: Value) {
    tenant.admin.settings(json!({"selection": selection})).expect(200);
}

on_both! {
    fn each_rule_says_why_an_event_is_not_stored(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("selection");
        check(&tenant, &event("anything"), None);

        select(&tenant, json!({"types": ["allSigningEvents", "my.type"]}));
        check(&tenant, &event("close"), None);
        check(&tenant, &event("my.type"), None);
        check(&tenant, &event("print"), Some("typeNotSelected"));

        select(&tenant, json!({"units": {"north": {"close": false, "print": true}}}));
        check(&tenant, &with("close", json!({"unit": "north"})), Some("switchedOffForUnit"));
        check(&tenant, &with("close", json!({"unit": "south"})), None);
        check(&tenant, &with("print", json!({"unit": "north"})), None);
        check(&tenant, &with("create", json!({"unit": "north"})), Some("typeNotSelected"));

        select(&tenant, json!({"types": ["*"], "units": null, "scope": {"kind": "group", "accountId": "acme", "groupId": "sales"}}));
        let by = |account: &str, group: &str| with("close", json!({"originator": {"accountId": account, "groupId": group}}));
        check(&tenant, &by("acme", "sales"), None);
        check(&tenant, &by("acme", "support"), Some("outOfScope"));
        check(&tenant, &by("other", "sales"), Some("outOfScope"));
        check(&tenant, &event("close"), Some("outOfScope"));

        select(&tenant, json!({"scope": {"kind": "resource", "resourceId": "e:1"}}));
        let mut about = event("close");
        about["data"]["relationships"] = json!({"entity": {"data": {"type": "entity", "id": "e:1"}}});
        check(&tenant, &about, None);
        check(&tenant, &by("acme", "sales"), Some("outOfScope"));

        select(&tenant, json!({"scope": null, "columns": ["orders.status"]}));
        let change = |table: &str, columns: &[&str]| with("change", json!({"change": {"table": table, "type": "update", "columns": columns}}));
        check(&tenant, &change("orders", &["total", "status"]), None);
        check(&tenant, &change("orders", &["total"]), Some("columnsNotChanged"));
        check(&tenant, &change("lines", &["status"]), Some("columnsNotChanged"));
        check(&tenant, &event("close"), None);

        select(&tenant, json!({"columns": null, "condition": "type == 'close' && data.amount > 100 && data.tags.exists(t, t == 'vip')"}));
        let data = |data: Value| with("close", json!({"data": data}));
        check(&tenant, &data(json!({"amount": 100.5, "tags": ["new", "vip"]})), None);
        check(&tenant, &data(json!({"amount": 100, "tags": ["vip"]})), Some("conditionNotMet"));
        check(&tenant, &data(json!({"amount": 1000, "tags": []})), Some("conditionNotMet"));
        check(&tenant, &event("print"), Some("conditionNotMet"));
        check(&tenant, &data(json!({"tags": ["vip"]})), None);
        check(&tenant, &event("close"), None);

        tenant.admin.settings(json!({"enabled": false})).expect(200);
        check(&tenant, &event("close"), Some("disabled"));
    }

    fn a_change_of_the_rules_holds_for_the_next_event(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("changing");
        for round in 0..10 {
            let wanted = format!("t{round}");
            select(&tenant, json!({"condition": format!("type == '{wanted}'")}));
            check(&tenant, &event(&wanted), None);
            check(&tenant, &event("other"), Some("conditionNotMet"));
        }
        assert_eq!(tenant.consumer.count(), 20);
    }

    fn operations_are_selected_one_by_one(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("operations");
        select(&tenant, json!({"condition": "data.n % 3 == 0"}));
        let add = |n: u32| json!({"op": "add", "data": with("x", json!({"data": {"n": n}}))["data"]});
        let operations: Vec<Value> = (0..100).map(add).collect();
        let results = tenant.producer.post("operations", &json!({"atomic:operations": operations})).expect(200);
        for (n, result) in results["atomic:results"].as_array().unwrap().iter().enumerate() {
            if n % 3 == 0 {
                assert_eq!(result["data"]["id"], (n / 3 + 1).to_string(), "{n}");
            } else {
                assert_eq!(result["meta"]["reason"], "conditionNotMet", "{n}");
            }
        }
        assert_eq!(tenant.consumer.count(), 34);
        // After an update the next events are still the right ones.
        let update = json!({"op": "update", "data": {"type": "notification", "id": "1", "attributes": {"isRead": true}}});
        let mixed = json!({"atomic:operations": [add(1), update, add(3), add(4)]});
        let results = tenant.admin.post("operations", &mixed).expect(200)["atomic:results"].clone();
        assert_eq!(results[0]["meta"]["reason"], "conditionNotMet");
        assert_eq!(results[1]["data"]["attributes"]["isRead"], true);
        assert_eq!(results[2]["data"]["id"], "35");
        assert_eq!(results[3]["meta"]["reason"], "conditionNotMet");
    }

    fn a_large_event_is_told_and_a_greedy_condition_holds_nobody_up(db) {
        let server = Server::start(&db);
        let (greedy, other) = (server.tenant("greedy"), server.tenant("other"));
        select(&greedy, json!({"condition": "data.last == 'x'"}));
        let lines: Vec<Value> = (0..20_000).map(|n| json!({"n": n, "text": "some words"})).collect();
        let data = |last: &str| with("close", json!({"data": {"lines": lines, "last": last}}));
        check(&greedy, &data("x"), None);
        check(&greedy, &data("y"), Some("conditionNotMet"));

        // It can't be told in the steps that a run has: selected, and soon.
        select(&greedy, json!({"condition": "data.lines.all(a, data.lines.all(b, a.n + b.n >= 0)) && false"}));
        let slowest = std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| greedy.producer.post("notifications", &data("x")).expect(201));
            }
            let post = |_| {
                let start = Instant::now();
                other.producer.post_event(&event("close"));
                start.elapsed()
            };
            (0..20).map(post).max()
        });
        assert!(slowest < Some(Duration::from_secs(5)), "{slowest:?}");
    }

    fn settings_that_can_not_be_right_are_refused_and_change_nothing(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("refused");
        select(&tenant, json!({"condition": "type != 'nothing'", "columns": ["a"], "units": {"north": {"close": false}}}));
        let before = tenant.admin.get("external-notifications").expect(200)["data"]["attributes"].clone();
        for (selection, member, says) in [
            (json!({"condition": "type =="}), "/condition", "line 1, column 8"),
            (json!({"condition": "type == 'a' &&\n  tpye == 'b'"}), "/condition", "line 2, column 3: there is no variable `tpye`"),
            (json!({"condition": "upper(type) == 'A'"}), "/condition", "there is no function `upper`"),
            (json!({"condition": "x".repeat(4097)}), "/condition", "4096 characters"),
            (json!({"condition": format!("{}true{}", "(".repeat(500), ")".repeat(500))}), "/condition", "nested"),
            (json!({"condition": "comment.matches('(')"}), "/condition", "unclosed group"),
            (json!({"condition": 1}), "/condition", ""),
            (json!({"columns": "status"}), "/columns", ""),
            (json!({"columns": ["status", 1]}), "/columns/1", ""),
            (json!({"columns": [""]}), "/columns/0", "1 to 255"),
            (json!({"columns": ["a", "a"]}), "/columns", "twice"),
            (json!({"units": {"north": {"close": "no"}}}), "/units/north/close", ""),
            (json!({"units": {"north": {"url": "https://example.com"}}}), "/units/north/url", ""),
            (json!({"units": {"north": {"not a type": true}}}), "/units/north/not a type", "only types and groups"),
            (json!({"units": {"north": true}}), "/units/north", ""),
            (json!({"scope": {"kind": "group"}}), "/scope/groupId", "needs groupId"),
            (json!({"scope": {"kind": "account", "accountId": "a", "userId": "b"}}), "/scope/userId", "belongs to the kind user"),
            (json!({"scope": {"kind": "everybody"}}), "/scope/kind", ""),
            (json!({"types": ["no such type!"]}), "/types/0", ""),
            (json!({"filter": "x"}), "", "filter"),
        ] {
            let answer = tenant.admin.settings(json!({"selection": selection}));
            let error = answer.refused(if answer.status == 400 { 400 } else { 422 });
            let pointer = error["source"]["pointer"].as_str().unwrap_or_default();
            assert!(pointer.starts_with(&format!("/data/attributes/selection{member}")), "{selection}: {error}");
            assert!(error["detail"].as_str().unwrap().contains(says), "{selection}: {error}");
        }
        let after = tenant.admin.get("external-notifications").expect(200)["data"]["attributes"].clone();
        assert_eq!(after, before);
        check(&tenant, &event("nothing"), Some("conditionNotMet"));
        tenant.admin.settings(json!({"selection": {"condition": "tpye == 'b'"}})).refused_as(ErrorCode::InvalidValue);
    }
}
