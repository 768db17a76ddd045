//! How much of a notification a receiver is sent. What is pulled is always the whole.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use serde_json::{Value, json};
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Server, Tenant, on_both};

fn rich(event_type: &str, data: Value) -> Value {
    json!({
        "data": {"type": "notification",
            "attributes": {"type": event_type, "comment": "done", "data": data, "unit": "north", "originator": {"userId": "9"},
                "change": {"table": "t", "type": "update", "columns": ["c"], "recordId": "1"}},
            "relationships": {"entity": {"data": {"type": "entity", "id": "e:1"}}, "createdBy": {"data": {"type": "user", "id": "1"}}}},
        "included": [{"type": "entity", "id": "e:1", "attributes": {"name": "E"}}, {"type": "user", "id": "1", "attributes": {"name": "U"}}]
    })
}

/// A document without what only pulling shows.
fn without_meta(mut document: Value) -> Value {
    document["data"].as_object_mut().unwrap().remove("meta");
    document
}

fn data() -> Value {
    json!({"a": 1, "b": "two", "comment": "inner"})
}

#[track_caller]
fn payload(tenant: &Tenant, payload: Value) {
    tenant.admin.settings(json!({"payload": payload})).expect(200);
}

/// Posts an event and gives the body of its push, after a look at what is pulled.
#[track_caller]
fn pushed(tenant: &Tenant, receiver: &Receiver, event: &Value) -> (Value, String) {
    let before = receiver.count();
    let posted = without_meta(tenant.producer.post("notifications", event).expect(201));
    let id = posted["data"]["id"].as_str().unwrap().to_owned();
    let request = receiver.wait_for(before + 1, SOON).pop().unwrap();
    assert_eq!(
        without_meta(tenant.consumer.get(&format!("notifications/{id}")).expect(200)),
        posted,
        "pulled whole"
    );
    (posted, String::from_utf8(request.body).unwrap())
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

const ALWAYS: [&str; 6] = ["createdAt", "id", "isDismissed", "isFlagged", "isRead", "type"];

on_both! {
    fn a_receiver_gets_what_the_settings_say(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("payload");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        let event = rich("close", data());

        let (posted, text) = pushed(&tenant, &receiver, &event);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), posted, "full is the default");

        payload(&tenant, json!({"detail": "thin"}));
        let (posted, text) = pushed(&tenant, &receiver, &event);
        let thin: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(keys(&thin["data"]["attributes"]), ALWAYS);
        assert_eq!(thin["data"]["relationships"], posted["data"]["relationships"]);
        assert_eq!((&thin["links"], &thin["data"]["links"]), (&posted["links"], &posted["data"]["links"]));
        assert_eq!(thin["included"], json!([]));
        // It is enough to pull the rest.
        let link = thin["links"]["self"].as_str().unwrap();
        assert_eq!(without_meta(tenant.consumer.get(link).expect(200)), posted);

        payload(&tenant, json!({"detail": null, "fields": {"close": ["b", "data.comment", "unit", "createdBy"], "*": ["included"]}}));
        let (_, text) = pushed(&tenant, &receiver, &event);
        let chosen: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(chosen["data"]["attributes"]["data"], json!({"b": "two", "comment": "inner"}));
        assert_eq!(chosen["data"]["attributes"]["unit"], "north");
        assert_eq!(keys(&chosen["data"]["attributes"]).len(), ALWAYS.len() + 2);
        assert_eq!(keys(&chosen["data"]["relationships"]), ["createdBy"]);
        let (posted, text) = pushed(&tenant, &receiver, &rich("print", data()));
        let others: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(keys(&others["data"]["attributes"]), ALWAYS);
        assert_eq!(others["included"], posted["included"]);
    }

    fn a_push_that_is_too_large_loses_its_optional_fields_in_their_order(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("trimming");
        let receiver = Receiver::accepting();
        // Acrobat Sign's own order, with a limit that a test can reach.
        tenant.admin.settings(json!({"profile": "acrobatSign"})).expect(200);
        let order = tenant.admin.get("external-notifications").expect(200)["data"]["attributes"]["payload"]["optionalFields"].clone();
        assert_eq!(order, json!(["includeSignedDocuments", "includeParticipantsInfo", "includeDocumentsInfo", "includeDetailedInfo"]));
        tenant.admin.settings(json!({"profile": null, "payload": {"optionalFields": order, "maxBytes": 10_000}})).expect(200);
        tenant.push_to(&receiver.url(), false);
        let agreement = |documents: usize, participants: usize| rich("AGREEMENT_WORKFLOW_COMPLETED", json!({
            "includeDetailedInfo": "d", "includeParticipantsInfo": "p".repeat(participants),
            "includeSignedDocuments": "s".repeat(documents), "n": 1
        }));
        let trimmed = |documents, participants| {
            let (posted, text) = pushed(&tenant, &receiver, &agreement(documents, participants));
            assert!(text.len() <= 10_000, "{}", text.len());
            let mut body: Value = serde_json::from_str(&text).unwrap();
            let meta = body.as_object_mut().unwrap().remove("meta");
            // But for what was dropped it is the whole.
            let mut expected = posted;
            for name in meta.iter().flat_map(|meta| meta["conditionalParametersTrimmed"].as_array().unwrap()) {
                expected["data"]["attributes"]["data"].as_object_mut().unwrap().remove(name.as_str().unwrap()).unwrap();
            }
            assert_eq!(body, expected);
            meta.map(|meta| meta["conditionalParametersTrimmed"].clone())
        };
        assert_eq!(trimmed(4000, 4000), None);
        assert_eq!(trimmed(9000, 4000), Some(json!(["includeSignedDocuments"])));
        assert_eq!(trimmed(4000, 9900), Some(json!(["includeSignedDocuments", "includeParticipantsInfo"])));
    }

    fn a_push_that_stays_too_large_fails_at_once_and_can_be_pulled(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("too large");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), true);
        payload(&tenant, json!({"maxBytes": 5_000, "optionalFields": ["comment"]}));
        let large = tenant.producer.post("notifications", &rich("close", json!({"text": "x".repeat(20_000)}))).expect(201);
        let small = tenant.producer.post("notifications", &rich("close", data())).expect(201);
        tenant.wait_for_state(1, "failed");
        tenant.wait_for_state(2, "delivered");
        assert_eq!(receiver.sequences(), [2], "no request was made for what is too large");

        let kept = tenant.consumer.get("notifications/1").expect(200);
        assert_eq!(kept["data"]["attributes"], large["data"]["attributes"], "whole, and not dismissed");
        assert_eq!(tenant.consumer.ids(""), [1]);
        let attempts = tenant.admin.get("deliveries/1/attempts").expect(200)["data"].clone();
        assert_eq!(attempts.as_array().unwrap().len(), 1, "{attempts}");
        assert_eq!(attempts[0]["attributes"]["error"], "too_large");
        assert_eq!(attempts[0]["attributes"]["responseStatus"], Value::Null);
        assert_eq!(small["data"]["id"], "2");
        // The receiver is not to blame.
        assert_eq!(tenant.admin.get("external-notifications").expect(200)["data"]["meta"]["push"]["state"], "active");
    }

    fn settings_of_the_payload_that_can_not_be_right_are_refused(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("refused");
        for (payload, member) in [
            (json!({"detail": "fat"}), "/detail"),
            (json!({"maxBytes": 999}), "/maxBytes"),
            (json!({"maxBytes": 20_000_001}), "/maxBytes"),
            (json!({"optionalFields": ["a", "a"]}), "/optionalFields"),
            (json!({"optionalFields": [1]}), "/optionalFields/0"),
            (json!({"fields": {"no such type!": []}}), "/fields/no such type!"),
            (json!({"fields": {"*": "comment"}}), "/fields/*"),
        ] {
            let answer = tenant.admin.settings(json!({"payload": payload}));
            let error = answer.refused(if answer.status == 400 { 400 } else { 422 });
            let pointer = error["source"]["pointer"].as_str().unwrap_or_default();
            assert!(pointer.starts_with(&format!("/data/attributes/payload{member}")), "{payload}: {error}");
        }
        let settings = tenant.admin.get("external-notifications").expect(200)["data"]["attributes"]["payload"].clone();
        assert_eq!(settings, json!({"format": "jsonApi", "detail": "full", "fields": {}, "optionalFields": [], "maxBytes": 10_000_000}));
    }
}
