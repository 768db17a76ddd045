//! Standard Webhooks: signatures, and secrets that change while they are used.

use serde_json::{Value, json};
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, Server, event, on_both};

use super::{assert_has, column, set};

on_both! {
    fn signs_each_attempt_anew_and_with_both_secrets_while_they_change(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("standard webhooks");
        let receiver = Receiver::start(|_, nth| Reply::Status([500, 302, 200][nth.min(2)]));
        let now = set(&tenant, json!({"profile": "standardWebhooks", "push": {"url": receiver.url()}}));
        // Ten attempts: at once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h.
        assert_has(&now["push"], &json!({"retry": {"kind": "list", "delaysSeconds": [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]},
            "acknowledgement": {"kind": "status"}}));
        let timeout = now["push"]["timeoutSeconds"].as_u64().unwrap();
        assert!((15..=30).contains(&timeout), "15 to 30 seconds are recommended, not {timeout}");
        set(&tenant, json!({"push": {"retry": {"delaysSeconds": [2, 1], "jitter": 0}}}));
        tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(1, "delivered");
        let sent = receiver.requests();
        assert_eq!(sent.len(), 3);
        for request in &sent {
            assert!(request.is_signed_with(&tenant.signing_secret), "the signature is right");
            assert_eq!(request.header("webhook-id"), sent[0].header("webhook-id"));
        }
        let stamps: Vec<u64> = sent.iter().map(|request| request.header("webhook-timestamp").parse().unwrap()).collect();
        assert!(stamps[1] > stamps[0], "the timestamp is that of the attempt: {stamps:?}");
        assert_eq!(column(&tenant, 1, "error"), [json!("status"), json!("status"), Value::Null]);
        assert_eq!(column(&tenant, 1, "responseStatus"), [500, 302, 200]);

        // Rotated: for a day a receiver with either secret is served.
        let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let document = tenant.admin.settings(json!({"push": {"signing": {"secret": new}}})).expect(200);
        assert_eq!(document["data"]["attributes"]["push"]["signing"], json!({"overlapSeconds": 86_400}), "never read back");
        assert!(document["data"]["meta"]["push"]["previousSecretUntil"].is_string(), "{document}");
        tenant.producer.post_event(&event("close"));
        let request = receiver.wait_for(4, SOON).remove(3);
        assert_eq!(request.header("webhook-signature").split(' ').count(), 2);
        assert!(request.is_signed_with(new), "the signature is right");
        assert!(request.is_signed_with(&tenant.signing_secret), "the signature is right");
    }
}
