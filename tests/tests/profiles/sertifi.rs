//! Sertifi Real Time Updates: field selection, and a push queue to filter and to push again from.

use serde_json::json;
use tidings_tests::systems;
use tidings_tests::{Request, Server, event, on_both};

use super::{assert_has, delivery, every_second, queue, repush, set};

on_both! {
    fn has_its_queue_its_field_selection_and_its_repush(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("sertifi");
        let listener = systems::sertifi("api", "pass:wörd");
        let now = set(&tenant, json!({"profile": "sertifi", "push": {"url": listener.url(),
            "authentication": {"kind": "basic", "username": "api", "password": "mistyped"}, "retry": every_second(2)},
            "payload": {"fields": {"AgreementSigned": ["documentId", "signedBy"]}},
            "selection": {"types": ["AgreementSigned", "AgreementCompleted", "PaymentCloned"]}}));
        assert_eq!(now["push"]["authentication"], json!({"kind": "basic", "username": "api"}));
        let signed = json!({"data": {"type": "notification", "attributes": {"type": "AgreementSigned", "createdAt": "2026-01-02T03:04:05.006Z",
            "comment": "not subscribed", "data": {"documentId": "d-1", "signedBy": "B", "price": 12}}}});

        // Refused for its password until there are no attempts left: Error in the queue.
        tenant.producer.post_event(&signed);
        tenant.wait_for_state(1, "failed");
        let row = delivery(&tenant, 1);
        assert_has(&row, &json!({"endpointType": "http", "eventType": "AgreementSigned", "eventTime": "2026-01-02T03:04:05.006Z", "status": "error",
            "retries": 1, "errorMessage": "status", "responseStatus": 401, "nextAttemptAt": null}));
        assert!(row["lastProcessedAt"].is_string(), "{row}");
        assert!(row["responseText"].as_str().unwrap().contains("Unknown user name"), "{row}");

        // Only the fields that are in use were sent.
        let fields = |request: &Request| request.json()["data"]["attributes"].clone();
        let first = listener.requests().remove(0);
        assert_eq!(fields(&first), json!({"id": "1", "type": "AgreementSigned", "createdAt": "2026-01-02T03:04:05.006Z",
            "isDismissed": false, "isRead": false, "isFlagged": false, "data": {"documentId": "d-1", "signedBy": "B"}}));

        // With the right password the next go through, those too that the listener has never heard of.
        set(&tenant, json!({"push": {"authentication": {"password": "pass:wörd"}}}));
        tenant.producer.post_event(&event("AgreementCompleted"));
        tenant.producer.post_event(&event("PaymentCloned"));
        tenant.wait_for_state(2, "delivered");
        tenant.wait_for_state(3, "delivered");
        assert!(delivery(&tenant, 3)["responseText"].as_str().unwrap().contains(r#""Handled":false"#));

        // The queue is filtered by any of its columns.
        assert_eq!(queue(&tenant, "filter[status]=error"), [1]);
        assert_eq!(queue(&tenant, "filter[status]=complete&sort=id"), [2, 3]);
        for filter in ["id]=1", "eventType]=AgreementSigned", "retries]=1", "errorMessage]=status", "responseStatus]=401",
            "eventTime][lt]=2026-01-02T03:04:06Z", "status]=error"] {
            assert_eq!(queue(&tenant, &format!("filter[{filter}")), [1], "{filter}");
        }
        assert_eq!(queue(&tenant, "filter[endpointType]=http&sort=-id"), [3, 2, 1]);
        // All are of one type: among equals the id decides, in the direction that was asked for.
        assert_eq!(queue(&tenant, "sort=endpointType"), [1, 2, 3]);
        assert_eq!(queue(&tenant, "sort=-endpointType"), [3, 2, 1]);
        assert_eq!(queue(&tenant, "filter[lastProcessedAt][ge]=2026-01-01T00:00:00Z&sort=id"), [1, 2, 3]);

        // Select it, and click "Re-push".
        repush(&tenant, 1);
        tenant.wait_for_state(1, "delivered");
        assert_has(&delivery(&tenant, 1), &json!({"status": "complete", "retries": 2, "errorMessage": null, "responseStatus": 200}));
        assert!(queue(&tenant, "filter[status]=error").is_empty());
        assert_eq!(tenant.consumer.ids(""), [3, 2, 1]);
    }
}
