//! Adobe Acrobat Sign: the client id that has to come back, and pushes of a bounded size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tidings_tests::systems::{self, CLIENT_ID_HEADER, Echo};
use tidings_tests::wait::SOON;
use tidings_tests::{Server, event, on_both};

use super::{assert_has, column, delivery, in_force, pushes, repush, set};

on_both! {
    fn verifies_the_intent_and_wants_the_client_id_back(db) {
        const ID: &str = "BGBQIIE7H253K6";
        let server = Server::start(&db);
        let tenant = server.tenant("acrobat sign");
        let willing = Arc::new(AtomicBool::new(true));
        let wills = willing.clone();
        // Verified by the header; the first push is answered with a 2xx that repeats nothing, the second repeats the id
        // in the header, what follows in the body.
        let handler = systems::acrobat_sign(ID, move |method, nth| match (method, nth) {
            ("GET", _) if wills.load(Ordering::SeqCst) => Echo::Header,
            ("GET", _) | ("POST", 0) => Echo::Nowhere,
            ("POST", 1) => Echo::Header,
            _ => Echo::Body,
        });
        let now = set(&tenant, json!({"profile": "acrobatSign", "push": {"clientId": ID, "url": handler.url()}}));
        assert_has(&now, &json!({"push": {
            "timeoutSeconds": 5, "maxConcurrency": 30, "clientId": ID, "clientIdHeader": CLIENT_ID_HEADER,
            "acknowledgement": {"kind": "clientIdEcho"}, "verification": {"kind": "clientIdEcho"},
            "retry": {"kind": "exponential", "firstSeconds": 30, "factor": 2.0, "capSeconds": 43_200, "giveUpAfterSeconds": 259_200, "attempts": 16},
            "disableAfterSeconds": 604_800},
            "payload": {"maxBytes": 10_000_000,
                "optionalFields": ["includeSignedDocuments", "includeParticipantsInfo", "includeDocumentsInfo", "includeDetailedInfo"]}}));
        let verification = handler.wait_for(1, SOON).remove(0);
        assert_eq!((&*verification.method, verification.header("x-adobesign-clientid")), ("GET", ID));
        assert_eq!(handler.count(), 1);

        // Whoever doesn't show the intent isn't registered: neither a receiver that answers anything, nor one that knows
        // another application. The old URL stays.
        let before = tenant.admin.get("external-notifications").expect(200);
        let deaf = systems::acrobat_sign(ID, |_, _| Echo::Nowhere);
        let of_another = systems::acrobat_sign("123XXX456", |_, _| Echo::Body);
        for other in [&deaf, &of_another] {
            let error = tenant.admin.settings(json!({"push": {"url": other.url()}})).refused(422);
            assert_eq!((&error["code"], &error["source"]["pointer"]), (&json!("verification_failed"), &json!("/data/attributes/push/url")));
            assert_eq!(other.wait_for(1, SOON)[0].method, "GET");
            assert_eq!(tenant.admin.get("external-notifications").expect(200), before);
        }
        // By the body is as good as by the header.
        let by_body = systems::acrobat_sign(ID, |_, _| Echo::Body);
        set(&tenant, json!({"push": {"url": by_body.url()}}));
        set(&tenant, json!({"push": {"url": handler.url(), "retry": {"firstSeconds": 1}}}));

        // Delivered if, and only if, the id comes back.
        tenant.producer.post_event(&event("AGREEMENT_CREATED"));
        tenant.wait_for_state(1, "delivered");
        tenant.producer.post_event(&event("AGREEMENT_WORKFLOW_COMPLETED"));
        tenant.wait_for_state(2, "delivered");
        assert_eq!(column(&tenant, 1, "error"), [json!("rejected"), Value::Null]);
        assert_eq!(column(&tenant, 1, "responseStatus"), [200, 200]);
        assert_eq!(column(&tenant, 1, "reason"), ["first", "retry"]);
        assert_eq!(column(&tenant, 2, "error"), [Value::Null]);
        assert_has(&delivery(&tenant, 1), &json!({"status": "complete", "retries": 1, "counter": 2, "synchronized": true}));
        let sent = pushes(&handler);
        assert_eq!(sent.len(), 3);
        assert!(sent.iter().all(|push| push.header("x-adobesign-clientid") == ID));
        assert_eq!(sent[0].header("webhook-id"), sent[1].header("webhook-id"), "the id to tell duplicates by");
        // Delivered isn't dismissed here: that is Signals' way.
        assert_eq!(tenant.consumer.ids(""), [2, 1]);

        // To resume needs the intent too; until then everything waits, and nothing is lost.
        set(&tenant, json!({"push": {"enabled": false}}));
        tenant.producer.post_event(&event("AGREEMENT_RECALLED"));
        willing.store(false, Ordering::SeqCst);
        let error = tenant.admin.settings(json!({"push": {"enabled": true}})).refused(422);
        assert_eq!(error["code"], "verification_failed");
        assert_eq!(in_force(&tenant)["push"]["enabled"], false);
        assert_eq!(tenant.push_status(3)["state"], "paused");
        assert_eq!(delivery(&tenant, 3)["status"], "paused");
        willing.store(true, Ordering::SeqCst);
        set(&tenant, json!({"push": {"enabled": true}}));
        tenant.wait_for_state(3, "delivered");
    }

    fn drops_optional_fields_in_their_order_from_what_is_too_large(db) {
        const ID: &str = "UB7E5BXCXY";
        let server = Server::start(&db);
        let tenant = server.tenant("acrobat sign, large");
        let handler = systems::acrobat_sign(ID, |_, _| Echo::Header);
        set(&tenant, json!({"profile": "acrobatSign", "push": {"clientId": ID, "url": handler.url()}, "payload": {"maxBytes": 2000}}));
        let agreement = |documents: usize, participants: usize, comment: usize| json!({"data": {"type": "notification", "attributes": {
            "type": "AGREEMENT_WORKFLOW_COMPLETED", "comment": "c".repeat(comment),
            "data": {"id": "CBJ", "name": "Contract", "includeDetailedInfo": "detail", "includeParticipantsInfo": "p".repeat(participants),
                "includeSignedDocuments": "d".repeat(documents), "includeDocumentsInfo": "documents"}}}});
        let push_of = |id: u64| {
            let all = handler.wait_until("its push", SOON, |requests| requests.iter().any(|request| request.header("tidings-sequence") == id.to_string()));
            all.into_iter().find(|request| request.header("tidings-sequence") == id.to_string()).unwrap()
        };
        let trimmed = |id: u64| push_of(id).json()["meta"]["conditionalParametersTrimmed"].clone();

        tenant.producer.post_event(&agreement(10, 10, 1));
        tenant.wait_for_state(1, "delivered");
        assert!(push_of(1).json().get("meta").is_none(), "nothing was dropped from the small one");
        tenant.producer.post_event(&agreement(3000, 10, 1));
        tenant.wait_for_state(2, "delivered");
        assert_eq!(trimmed(2), json!(["includeSignedDocuments"]));
        let mut expected = agreement(3000, 10, 1)["data"]["attributes"]["data"].clone();
        expected.as_object_mut().unwrap().remove("includeSignedDocuments");
        assert_eq!(push_of(2).json()["data"]["attributes"]["data"], expected);
        assert!(push_of(2).body.len() <= 2000);
        tenant.producer.post_event(&agreement(10, 3000, 1));
        tenant.wait_for_state(3, "delivered");
        assert_eq!(trimmed(3), json!(["includeSignedDocuments", "includeParticipantsInfo"]));
        // What is pulled is whole.
        let pulled = tenant.consumer.get("notifications/3").expect(200);
        assert_eq!(pulled["data"]["attributes"]["data"], agreement(10, 3000, 1)["data"]["attributes"]["data"]);

        // Without all of them it is still too large: never sent, told, and pulled all the same.
        tenant.producer.post_event(&agreement(10, 10, 3000));
        tenant.wait_for_state(4, "failed");
        assert_has(&delivery(&tenant, 4), &json!({"status": "error", "errorMessage": "too_large", "responseStatus": null, "synchronized": false}));
        assert!(pushes(&handler).iter().all(|push| push.header("tidings-sequence") != "4"));
        assert_eq!(tenant.consumer.ids("filter[push]=failed"), [4]);
        // With room for it, it is pushed again.
        set(&tenant, json!({"payload": {"maxBytes": null}}));
        repush(&tenant, 4);
        tenant.wait_for_state(4, "delivered");
    }
}
