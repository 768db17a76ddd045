//! ServiceOptimizer: thin documents, and an envelope that says whether they were handled.

use serde_json::{Value, json};
use tidings_tests::systems::{self, Envelope};
use tidings_tests::{Server, on_both};

use super::{assert_has, column, delivery, every_second, queue, set};

on_both! {
    fn takes_thin_documents_and_says_so_in_an_envelope(db) {
        const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzbyJ9.c2ln";
        let server = Server::start(&db);
        let tenant = server.tenant("service optimizer");
        // The first notification is answered in every odd way before it is taken; the second is taken with the code as a
        // number; the third never.
        let notified = systems::service_optimizer(TOKEN, |nth| match nth {
            0 | 5.. => Envelope::Unsuccessful,
            1 => Envelope::Contradictory,
            2 => Envelope::Garbage,
            3 => Envelope::CodeAsString,
            4 => Envelope::CodeAsNumber,
        });
        let now = set(&tenant, json!({"profile": "serviceOptimizer", "push": {"url": notified.url(),
            "authentication": {"kind": "authorization", "value": TOKEN}, "retry": every_second(4)},
            "retention": {"undeliveredDays": 7}, "selection": {"units": {"FRU7": {"jobStatus": false}}}}));
        assert_has(&now, &json!({"push": {"userAgent": "DataNotifier", "contentType": "application/json", "authentication": {"kind": "authorization"},
            "acknowledgement": {"kind": "successEnvelope"}}, "payload": {"detail": "thin"}}));
        let job = |unit: &str| json!({"data": {"type": "notification",
            "attributes": {"type": "jobStatus", "comment": "not in a thin document", "unit": unit, "data": {"workStatus": "5"}},
            "relationships": {"entity": {"data": {"type": "entity", "id": "job:1"}}}},
            "included": [{"type": "entity", "id": "job:1", "attributes": {"name": "a job"}}]});
        let switched_off = tenant.producer.post("notifications", &job("FRU7")).expect(200);
        assert_eq!(switched_off["meta"]["reason"], "switchedOffForUnit");

        tenant.producer.post_event(&job("FRU8"));
        tenant.wait_for_state(1, "delivered");
        tenant.producer.post_event(&job("FRU8"));
        assert_eq!(tenant.wait_for_state(2, "delivered")["attempts"], 1, "the code may be a number");
        assert_eq!(column(&tenant, 1, "error"), [json!("rejected"), json!("rejected"), json!("rejected"), Value::Null]);
        assert_eq!(column(&tenant, 1, "responseStatus"), [200, 200, 200, 200]);
        let texts = column(&tenant, 1, "responseText");
        assert!(texts[0].as_str().unwrap().contains("no such job"), "{texts:?}");
        assert_has(&delivery(&tenant, 1), &json!({"status": "complete", "retries": 3, "counter": 4, "synchronized": true, "errorMessage": null}));

        // Who and what, and nothing else: the rest is pulled.
        let request = notified.requests().remove(0);
        assert_eq!((request.header("user-agent"), request.header("authorization")), ("DataNotifier", TOKEN));
        let pushed = request.json();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&pushed["data"]["attributes"]), ["createdAt", "id", "isDismissed", "isFlagged", "isRead", "type"]);
        assert_eq!(pushed["data"]["relationships"]["entity"]["data"], json!({"type": "entity", "id": "job:1"}));
        assert!(pushed["included"].as_array().is_none_or(Vec::is_empty), "{pushed}");
        let pulled = tenant.consumer.get("notifications/1").expect(200);
        assert_eq!(pulled["data"]["attributes"]["data"], json!({"workStatus": "5"}));
        assert_eq!(pulled["included"][0]["attributes"]["name"], "a job");

        // Refused to the end: kept, and pulled.
        tenant.producer.post_event(&job("FRU8"));
        tenant.wait_for_state(3, "failed");
        assert_has(&delivery(&tenant, 3), &json!({"status": "error", "errorMessage": "rejected", "responseStatus": 200, "counter": 4, "active": false}));
        assert_eq!(queue(&tenant, "filter[errorMessage]=rejected"), [3]);
        assert_eq!(tenant.consumer.ids("filter[push]=failed"), [3]);
    }
}
