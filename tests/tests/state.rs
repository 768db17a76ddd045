//! What can be done with what is stored: flags, operations, idempotency, users and entities.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::api::id_of;
use tidings_tests::{Answer, Api, Server, event, on_both};

/// Changes flags in Signals' shape.
fn set_signals(consumer: &Api, id: u64, flags: &[(&str, Value)]) -> Answer {
    let data: Vec<Value> =
        flags.iter().map(|(name, value)| json!({"attributes": {"name": name, "value": value}})).collect();
    consumer.patch(&format!("notifications/{id}"), &json!({"data": data}))
}

fn flags(notification: &Value) -> [bool; 3] {
    ["isDismissed", "isRead", "isFlagged"].map(|name| notification["attributes"][name].as_bool().unwrap())
}

on_both! {
    fn an_event_is_kept_and_answered_whole(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("whole");
        let attributes = json!({
            "type": "close", "createdAt": "2023-12-13T21:42:50.427+01:00", "comment": "This experiment was a success",
            "data": {"z": 1, "a": [1, {"b": null}], "big": 12345678901234567890_u64, "text": "Grüße, 世界 🎉 \u{7f}"},
            "change": {"table": "orders", "type": "update", "columns": ["a", "b"], "recordId": "7"},
            "originator": {"accountId": "A", "groupId": "G", "userId": "U"}, "unit": "Chemistry"
        });
        let entity = json!({"type": "entity", "id": "experiment:d5dc8e92", "links": {"self": "https://elsewhere/x"},
            "attributes": {"name": "E1", "digest": "1.10"}, "meta": {"x": 1}});
        let user = json!({"type": "user", "id": "100", "attributes": {"firstName": "Ada"}});
        let posted = json!({
            "data": {"type": "notification", "attributes": attributes, "relationships": {
                "createdBy": {"data": {"type": "user", "id": "100"}},
                "entity": {"data": {"type": "entity", "id": "experiment:d5dc8e92"}}}},
            "included": [entity, user]
        });
        let answer = tenant.producer.post("notifications", &posted);
        let document = answer.expect(201);
        let own = format!("{}/api/rest/v1.0/notifications/1", server.url());
        assert_eq!(answer.header("location"), own);
        assert_eq!(document["links"]["self"], own);
        assert_eq!(document["data"]["links"]["self"], own);
        assert_eq!(document["data"]["type"], "notification");
        assert_eq!(document["data"]["id"], "1");

        let mut expected = attributes;
        let also = json!({"id": "1", "createdAt": "2023-12-13T20:42:50.427Z", "isDismissed": false, "isRead": false, "isFlagged": false});
        expected.as_object_mut().unwrap().extend(also.as_object().unwrap().clone());
        assert_eq!(document["data"]["attributes"], expected);
        let relationships = &document["data"]["relationships"];
        assert_eq!(relationships["entity"]["data"], json!({"type": "entity", "id": "experiment:d5dc8e92"}));
        assert_eq!(relationships["createdBy"]["data"], json!({"type": "user", "id": "100"}));
        assert!(relationships["createdBy"]["links"]["self"].as_str().unwrap().ends_with("/api/rest/v1.0/users/100"));
        let meta = &document["data"]["meta"];
        assert_eq!(meta["push"], json!({"state": "none", "attempts": 0, "nextAttemptAt": null}));
        assert!(meta["receivedAt"].as_str().unwrap().ends_with('Z'));
        let included = document["included"].as_array().unwrap();
        assert!(included.contains(&entity) && included.contains(&user) && included.len() == 2, "{document}");
        assert_eq!(tenant.consumer.get("notifications/1").expect(200), document);
        // The event's own fields in the order in which they were written.
        let text = tenant.consumer.get("notifications/1").text;
        assert!(text.contains(r#"{"a":[1,{"b":null}],"#) || text.contains(r#""z":1,"#), "{text}");

        // The smallest event: what it doesn't have is absent, but for the comment.
        let small = tenant.producer.post("notifications", &event("my.type")).expect(201);
        let names: BTreeSet<_> = small["data"]["attributes"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["comment", "createdAt", "id", "isDismissed", "isFlagged", "isRead", "type"]));
        assert_eq!(small["data"]["attributes"]["comment"], Value::Null);
        assert_eq!(small["data"]["attributes"]["createdAt"], small["data"]["meta"]["receivedAt"]);
    }

    fn flags_change_in_both_shapes(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("flags");
        let id = tenant.producer.post_event(&event("close"));
        let consumer = &tenant.consumer;
        let read = || consumer.get(&format!("notifications/{id}")).expect(200);

        let answer = consumer.set(id, json!({"isRead": true})).expect(200);
        assert_eq!(flags(&answer["data"]), [false, true, false]);
        assert_eq!(answer, read(), "the answer is the whole document");
        assert_eq!(flags(&consumer.set(id, json!({"isDismissed": true, "isRead": false, "isFlagged": true})).expect(200)["data"]), [true, false, true]);
        assert_eq!(flags(&consumer.set(id, json!({})).expect(200)["data"]), [true, false, true]);
        let whole = set_signals(consumer, id, &[("isFlagged", json!("false")), ("isRead", json!("true"))]);
        assert_eq!(flags(&whole.expect(200)["data"]), [true, true, false]);
        assert_eq!(flags(&set_signals(consumer, id, &[("isDismissed", json!("false"))]).expect(200)["data"]), [false, true, false]);
        assert_eq!(flags(&read()["data"]), [false, true, false]);
        // Twice the same is no error.
        consumer.set(id, json!({"isRead": true})).expect(200);
    }

    fn each_wrong_patch_is_refused_and_changes_nothing(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("patches");
        let id = tenant.producer.post_event(&event("close"));
        tenant.producer.post_event(&event("close"));
        let document = |resource: Value| json!({"data": resource});
        let own = |attributes: Value| json!({"data": {"type": "notification", "id": "1", "attributes": attributes}});
        let signals = |name: &str, value: Value| json!({"data": [{"attributes": {"name": name, "value": value}}]});
        for (body, code, pointer) in [
            (document(json!({"type": "notification", "id": "2", "attributes": {"isRead": true}})), ErrorCode::Conflict, "/data/id"),
            (document(json!({"type": "entity", "id": "1", "attributes": {"isRead": true}})), ErrorCode::Conflict, "/data/type"),
            (own(json!({"comment": "changed"})), ErrorCode::NotChangeable, "/data/attributes/comment"),
            (own(json!({"isRead": true, "createdAt": "2024-01-01T00:00:00Z"})), ErrorCode::NotChangeable, "/data/attributes/createdAt"),
            (own(json!({"type": "print"})), ErrorCode::NotChangeable, "/data/attributes/type"),
            (own(json!({"colour": "red"})), ErrorCode::UnknownMember, "/data/attributes/colour"),
            (own(json!({"isRead": "true"})), ErrorCode::InvalidValue, "/data/attributes/isRead"),
            (own(json!({"isRead": 1})), ErrorCode::InvalidValue, "/data/attributes/isRead"),
            (own(json!({"isRead": null})), ErrorCode::InvalidValue, "/data/attributes/isRead"),
            (own(json!({"isFlagged": true, "isRead": []})), ErrorCode::InvalidValue, "/data/attributes/isRead"),
            (document(json!({"type": "notification", "attributes": {"isRead": true}})), ErrorCode::MissingMember, "/data"),
            (document(json!({"id": "1", "attributes": {"isRead": true}})), ErrorCode::MissingMember, "/data"),
            (json!({}), ErrorCode::MissingMember, ""),
            (signals("isRead", json!("yes")), ErrorCode::InvalidValue, "/data/0/attributes/value"),
            (signals("comment", json!("x")), ErrorCode::NotChangeable, "/data/0/attributes/name"),
            (signals("colour", json!("true")), ErrorCode::UnknownMember, "/data/0/attributes/name"),
            (json!({"data": [{"attributes": {"name": "isRead"}}]}), ErrorCode::MissingMember, "/data/0/attributes"),
            (json!({"data": [{"attributes": {"name": "isRead", "value": "true"}}, {"attributes": {"name": "isFlagged", "value": 7}}]}),
                ErrorCode::InvalidValue, "/data/1/attributes/value"),
        ] {
            let answer = tenant.consumer.patch("notifications/1", &body);
            let error = answer.refused_as(code);
            let at = error["source"]["pointer"].as_str().unwrap_or_else(|| panic!("{body}: {answer}: no pointer"));
            assert!(at == pointer || (code == ErrorCode::MissingMember && at.starts_with(pointer)), "{body}: {answer}");
            let now = tenant.consumer.get(&format!("notifications/{id}")).expect(200);
            assert_eq!(flags(&now["data"]), [false; 3], "{body}");
        }
        tenant.consumer.patch("notifications/3", &json!({"data": {"type": "notification", "id": "3", "attributes": {"isRead": true}}}))
            .refused_as(ErrorCode::NotFound);
    }

    fn operations_happen_in_order_all_or_none(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("operations");
        let first = tenant.producer.post_event(&event("close"));
        let add = |event_type: &str| json!({"op": "add", "data": {"type": "notification", "attributes": {"type": event_type}}});
        let update = |id: u64, attributes: Value| json!({"op": "update",
            "ref": {"type": "notification", "id": id.to_string()},
            "data": {"type": "notification", "id": id.to_string(), "attributes": attributes}});
        let post = |operations: Vec<Value>| tenant.admin.post("operations", &json!({"atomic:operations": operations}));

        let answer = post(vec![
            add("print"),
            update(first, json!({"isRead": true})),
            update(2, json!({"isFlagged": true})),
            update(first, json!({"isRead": false, "isDismissed": true})),
            add("void"),
        ]);
        let results = answer.expect(200)["atomic:results"].as_array().unwrap().clone();
        assert_eq!(results.iter().map(|result| id_of(&result["data"])).collect::<Vec<_>>(), [2, 1, 2, 1, 3]);
        assert_eq!(flags(&results[1]["data"]), [false, true, false], "as its own change left it");
        assert_eq!(flags(&results[3]["data"]), [true, false, false]);
        assert_eq!(flags(&tenant.consumer.get("notifications/2").expect(200)["data"]), [false, false, true]);
        assert_eq!(tenant.consumer.count(), 3);

        // A wrong one at the end undoes all before it.
        for (wrong, status, place) in [
            (update(99, json!({"isRead": true})), 404, "/atomic:operations/2"),
            (update(1, json!({"comment": "x"})), 403, "/atomic:operations/2/data/attributes/comment"),
            (update(1, json!({"isRead": "x"})), 422, "/atomic:operations/2/data/attributes/isRead"),
            (add("a b"), 422, "/atomic:operations/2/data/attributes/type"),
            (json!({"op": "add", "data": {"type": "notification", "attributes": {"type": "close"}, "relationships": [null, null]}}),
                422, "/atomic:operations/2/data/relationships"),
            (json!(["add", {"type": "notification", "attributes": {"type": "close"}}]), 422, "/atomic:operations/2"),
            (json!({"op": "remove", "ref": {"type": "notification", "id": "1"}}), 422, "/atomic:operations/2/op"),
        ] {
            let answer = post(vec![add("close"), update(2, json!({"isRead": true})), wrong]);
            let error = answer.refused(status);
            let at = error["source"]["pointer"].as_str().unwrap_or_else(|| panic!("{answer}: no pointer"));
            assert!(at.starts_with(place) || place.starts_with(at) && at.starts_with("/atomic:operations/2"), "{answer}");
            assert_eq!(tenant.consumer.count(), 3, "{answer}");
            assert_eq!(flags(&tenant.consumer.get("notifications/2").expect(200)["data"]), [false, false, true]);
        }
        // The numbers that were given and taken back leave no gap.
        assert_eq!(tenant.producer.post_event(&event("close")), 4);

        let thousand: Vec<Value> = (0..1000).map(|_| update(1, json!({"isRead": true}))).collect();
        assert_eq!(post(thousand.clone()).expect(200)["atomic:results"].as_array().unwrap().len(), 1000);
        let more: Vec<Value> = thousand.into_iter().chain([update(1, json!({"isRead": false}))]).collect();
        let error = post(more).refused(422);
        assert_eq!(error["source"]["pointer"], "/atomic:operations");
        post(vec![]).refused(422);
        tenant.admin.post("operations", &json!({})).refused_as(ErrorCode::MissingMember);
        assert_eq!(flags(&tenant.consumer.get("notifications/1").expect(200)["data"]), [true, true, false]);

        // The media type of the extension or plain JSON, and no other.
        let body = json!({"atomic:operations": [add("close")]}).to_string();
        for right in [r#"application/vnd.api+json; ext="https://jsonapi.org/ext/atomic""#, "application/json"] {
            tenant.admin.send("POST", "operations", &[("content-type", right), ("accept", right)], Some(body.as_bytes())).expect(200);
        }
        let unknown = r#"application/vnd.api+json; ext="https://example.com/x""#;
        tenant.admin.send("POST", "operations", &[("content-type", unknown)], Some(body.as_bytes()))
            .refused_as(ErrorCode::UnsupportedMediaType);
    }

    fn one_event_posted_twice_is_one_notification(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("idempotency");
        let post = |key: &str, body: &Value| {
            tenant.producer.send("POST", "notifications", &[("idempotency-key", key)], Some(body.to_string().as_bytes()))
        };
        let mut body = event("close");
        body["data"]["attributes"]["data"] = json!({"n": 1});
        let first = post("k-1", &body).expect(201);
        let second = post("k-1", &body);
        assert_eq!(second.expect(200), first);
        let error = post("k-1", &event("print")).refused_as(ErrorCode::IdempotencyConflict);
        assert!(error["source"]["header"].as_str().is_some_and(|header| header.eq_ignore_ascii_case("idempotency-key")), "{error}");
        assert_eq!(tenant.consumer.count(), 1);

        // What is stored stays stored, whatever is selected by now.
        tenant.admin.settings(json!({"selection": {"types": ["void"]}})).expect(200);
        assert_eq!(post("k-1", &body).expect(200), first);
        post("k-1", &event("print")).refused_as(ErrorCode::IdempotencyConflict);
        assert_eq!(post("k-2", &body).expect(200)["meta"]["stored"], false);
        tenant.admin.settings(json!({"selection": {"types": null}})).expect(200);

        // In the body; the header says the same.
        let mut body = event("close");
        body["data"]["attributes"]["eventId"] = json!("e-1");
        assert_eq!(id_of(&tenant.producer.post("notifications", &body).expect(201)["data"]), 2);
        assert_eq!(id_of(&tenant.producer.post("notifications", &body).expect(200)["data"]), 2);
        assert_eq!(id_of(&post("e-1", &body).expect(200)["data"]), 2);
        // Two different names for one event contradict each other.
        let answer = post("e-2", &body);
        assert!((400..500).contains(&answer.status), "{answer}");
        // In operations.
        body["data"]["attributes"]["eventId"] = json!("e-3");
        let add = json!({"atomic:operations": [{"op": "add", "data": body["data"]}]});
        for _ in 0..2 {
            let results = tenant.producer.post("operations", &add).expect(200);
            assert_eq!(id_of(&results["atomic:results"][0]["data"]), 3);
        }
        body["data"]["attributes"]["comment"] = json!("another");
        let other = json!({"atomic:operations": [{"op": "add", "data": event("void")["data"]}, {"op": "add", "data": body["data"]}]});
        let error = tenant.producer.post("operations", &other).refused_as(ErrorCode::IdempotencyConflict);
        assert!(error["source"]["pointer"].as_str().is_some_and(|at| at.starts_with("/atomic:operations/1")), "{error}");
        assert_eq!(tenant.consumer.count(), 3);
        // Another tenant's keys are its own.
        let other = server.tenant("other");
        other.producer.send("POST", "notifications", &[("idempotency-key", "k-1")], Some(event("void").to_string().as_bytes())).expect(201);
    }

    fn the_same_event_from_eight_at_once_is_one_notification(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("at once");
        for round in 0..10 {
            let key = format!("round-{round}");
            let body = event("close").to_string();
            let start = std::sync::Barrier::new(8);
            let answers: Vec<Answer> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| {
                        let api = Api::new(&server.url(), Some(tenant.producer.key()));
                        start.wait();
                        api.send("POST", "notifications", &[("idempotency-key", &key)], Some(body.as_bytes()))
                    }))
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let created = answers.iter().filter(|answer| answer.status == 201).count();
            assert_eq!(created, 1, "{answers:?}");
            for answer in &answers {
                assert!(matches!(answer.status, 200 | 201), "{answer}");
                assert_eq!(id_of(&answer.json()["data"]), round + 1, "{answer}");
            }
        }
        assert_eq!(tenant.consumer.count(), 10);
    }

    fn users_and_entities_are_their_newest_copy(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("copies");
        let post = |name: &str| {
            let mut posted = event("close");
            posted["data"]["relationships"] = json!({
                "createdBy": {"data": {"type": "user", "id": "100"}}, "entity": {"data": {"type": "entity", "id": "e:1"}}});
            posted["included"] = json!([
                {"type": "user", "id": "100", "attributes": {"name": name}}, {"type": "entity", "id": "e:1", "attributes": {"name": name}}]);
            tenant.producer.post_event(&posted)
        };
        let old = post("old");
        post("new");
        for path in ["users/100", "entities/e:1"] {
            let document = tenant.consumer.get(path).expect(200);
            assert_eq!(document["data"]["attributes"], json!({"name": "new"}));
            assert!(document["links"]["self"].as_str().unwrap().ends_with(path), "{document}");
        }
        // The notification has them as they were.
        let then = tenant.consumer.get(&format!("notifications/{old}")).expect(200);
        for resource in then["included"].as_array().unwrap() {
            assert_eq!(resource["attributes"]["name"], "old");
        }
        // Related, but never included: the link still resolves.
        let mut posted = event("close");
        posted["data"]["relationships"] = json!({"createdBy": {"data": {"type": "user", "id": "a b/ü"}}});
        let document = tenant.producer.post("notifications", &posted).expect(201);
        let link = document["data"]["relationships"]["createdBy"]["links"]["self"].as_str().unwrap();
        let user = tenant.consumer.get(link).expect(200);
        assert_eq!(user["data"]["id"], "a b/ü");
    }
}
