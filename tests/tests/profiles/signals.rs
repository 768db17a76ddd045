//! Signals Notebook: a header with a key, one attempt, auto-dismissal, and the pull for what was missed.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::systems;
use tidings_tests::wait::SOON;
use tidings_tests::{Server, event, on_both};

use super::{assert_has, attempts, column, delivery, repush, set};

/// An event as Signals Notebook sends it.
fn signing_event() -> Value {
    json!({
        "data": {"type": "notification",
            "attributes": {"type": "close", "createdAt": "2023-12-13T20:42:50.427Z", "comment": "This experiment was a success"},
            "relationships": {
                "createdBy": {"data": {"type": "user", "id": "100"}},
                "entity": {"data": {"type": "entity", "id": "experiment:d5dc8e92-580d-41e2-9c65-99726294966c"}}}},
        "included": [
            {"type": "entity", "id": "experiment:d5dc8e92-580d-41e2-9c65-99726294966c",
             "attributes": {"type": "experiment", "eid": "experiment:d5dc8e92-580d-41e2-9c65-99726294966c", "name": "Experiment 100", "isTemplate": false}},
            {"type": "user", "id": "100", "attributes": {"userId": "100", "userName": "a@example.com", "alias": null, "picture": {"link": null}}}]
    })
}

on_both! {
    fn pushes_once_dismisses_what_is_taken_and_leaves_the_rest_to_the_pull(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("signals");
        let mut handler = systems::signals("x-archive-key", "s3cret", Duration::from_millis(300));
        let with_key = |value: &str| json!({"push": {"authentication": {"kind": "header", "name": "X-Archive-Key", "value": value}}});
        let now = set(&tenant, json!({"profile": "signals", "push": {"url": handler.url()},
            "selection": {"types": ["allSigningEvents", "topLevelEntityCreation"]}}));
        assert_has(&now, &json!({"profile": "signals", "push": {"retry": {"kind": "none"}, "autoDismiss": true,
            "acknowledgement": {"kind": "status"}, "contentType": "application/json"}, "retention": {"days": 180}}));
        set(&tenant, with_key("s3cret"));

        // Taken: pushed as the system's own document, with the header, and dismissed.
        let base = format!("{}/api/rest/v1.0", server.url());
        tenant.producer.post("notifications", &signing_event()).expect(201);
        let request = handler.wait_for(1, SOON).remove(0);
        assert_eq!((&*request.method, request.header("x-archive-key")), ("POST", "s3cret"));
        let pushed = request.json();
        assert_eq!(pushed["links"]["self"], format!("{base}/notifications/1"));
        assert_eq!(pushed["data"], json!({
            "type": "notification", "id": "1", "links": {"self": format!("{base}/notifications/1")},
            "attributes": {"id": "1", "createdAt": "2023-12-13T20:42:50.427Z", "type": "close", "isDismissed": true,
                "isRead": false, "isFlagged": false, "comment": "This experiment was a success"},
            "relationships": {
                "createdBy": {"links": {"self": format!("{base}/users/100")}, "data": {"type": "user", "id": "100"}},
                "entity": {"links": {"self": format!("{base}/entities/experiment:d5dc8e92-580d-41e2-9c65-99726294966c")},
                    "data": {"type": "entity", "id": "experiment:d5dc8e92-580d-41e2-9c65-99726294966c"}}}}));
        assert_eq!(pushed["included"], signing_event()["included"]);
        tenant.wait_for_state(1, "delivered");
        assert!(tenant.consumer.ids("status=notdismissed").is_empty());
        assert_eq!(tenant.consumer.ids("status=dismissed"), [1]);
        assert_has(&delivery(&tenant, 1), &json!({"status": "complete", "synchronized": true, "counter": 1, "retries": 0,
            "errorMessage": null, "responseStatus": 200, "eventType": "close", "eventTime": "2023-12-13T20:42:50.427Z", "createdBy": "100"}));
        let took = attempts(&tenant, 1)[0]["durationMs"].as_u64().unwrap();
        assert!((300..15_000).contains(&took), "the handler took its time, the log says {took} ms");

        // Not selected: not stored.
        let unselected = tenant.producer.post("notifications", &event("print")).expect(200);
        assert_eq!(unselected["meta"], json!({"stored": false, "reason": "typeNotSelected"}));

        // Refused for its header, and offline: one attempt each, undismissed, found by the pull.
        set(&tenant, with_key("wrong"));
        tenant.producer.post("notifications", &signing_event()).expect(201);
        tenant.wait_for_state(2, "failed");
        handler.stop();
        tenant.producer.post("notifications", &signing_event()).expect(201);
        assert_eq!(tenant.wait_for_state(3, "failed"), json!({"state": "failed", "attempts": 1, "nextAttemptAt": null}));
        assert_eq!((column(&tenant, 2, "error"), column(&tenant, 2, "responseStatus")), (vec![json!("status")], vec![json!(401)]));
        assert_eq!((column(&tenant, 3, "error"), column(&tenant, 3, "responseStatus")), (vec![json!("connect")], vec![Value::Null]));
        assert_has(&delivery(&tenant, 3), &json!({"status": "error", "synchronized": false, "active": false, "counter": 1, "retries": 0, "errorMessage": "connect"}));
        assert_eq!(handler.count(), 2, "what is refused isn't tried again");

        // The catch-up of an archive: what isn't dismissed, then dismiss it.
        assert_eq!(tenant.consumer.ids("status=notdismissed&from=2023-12-13T20:42:50.427Z"), [3, 2]);
        let dismiss = json!({"data": [{"attributes": {"name": "isDismissed", "value": "true"}}]});
        let patched = tenant.consumer.patch("notifications/3", &dismiss).expect(200);
        assert_eq!(patched["data"]["attributes"]["isDismissed"], true);
        assert_eq!(tenant.consumer.ids("status=notdismissed"), [2]);

        // Or it is pushed again.
        handler.resume();
        set(&tenant, with_key("s3cret"));
        repush(&tenant, 2);
        tenant.wait_for_state(2, "delivered");
        assert!(tenant.consumer.ids("status=notdismissed").is_empty());
        assert_has(&delivery(&tenant, 2), &json!({"status": "complete", "synchronized": true, "counter": 2, "errorMessage": null}));
        assert_eq!(column(&tenant, 2, "reason"), ["first", "repush"]);
    }
}
