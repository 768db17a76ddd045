//! Certificates on both sides: the receiver's is checked against the tenant's own authorities, and the tenant's is shown
//! to the receiver.

use serde_json::{Value, json};
use tidings_tests::tls::{Authority, TlsReceiver};
use tidings_tests::wait::SOON;
use tidings_tests::{Server, Tenant, event, on_both, until};

use super::attempts;

fn set_tls(tenant: &Tenant, tls: Value) {
    tenant.admin.settings(json!({"push": {"tls": tls}})).expect(200);
}

/// Pushes in vain, and expects the log to say that TLS was to blame.
#[track_caller]
fn expect_refused(tenant: &Tenant, why: &str) {
    let id = tenant.producer.post_event(&event("close"));
    until(&format!("a push to be given up: {why}"), SOON, || {
        let state = tenant.push_status(id)["state"].clone();
        assert_ne!(state, "delivered", "{why}");
        (state == "failed").then_some(())
    });
    let log = attempts(tenant, id);
    assert_eq!(log.len(), 1, "{why}: {log:?}");
    assert_eq!((&log[0]["error"], &log[0]["responseStatus"]), (&json!("tls"), &Value::Null), "{why}");
    assert_eq!(
        tenant.admin.get(&format!("deliveries/{id}")).expect(200)["data"]["attributes"]["errorMessage"],
        "tls"
    );
}

on_both! {
    fn a_receiver_with_its_own_authority_is_shown_the_tenant_s_certificate(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("mutual TLS");
        let (authority, other) = (Authority::new(), Authority::new());
        let receiver = TlsReceiver::start(&authority);
        let own = authority.signs("tenant.example");
        let tls = json!({"clientCertificate": own.certificate_pem(), "clientKey": own.key_pem(), "authorities": authority.certificate_pem()});
        set_tls(&tenant, tls.clone());
        let set = tenant.admin.settings(json!({"push": {"url": receiver.url(), "retry": {"kind": "none"}}}));
        let shown = json!({"clientCertificate": own.certificate_pem(), "authorities": authority.certificate_pem()});
        assert_eq!(set.expect(200)["data"]["attributes"]["push"]["tls"], shown, "all but the key");

        let id = tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(id, "delivered");
        assert!(receiver.shown() == [own.certificate.clone()], "not the tenant's certificate was shown");

        // Nothing else is taken by the receiver, or for it.
        set_tls(&tenant, json!({"clientCertificate": null, "clientKey": null}));
        expect_refused(&tenant, "without a certificate");
        let foreign = other.signs("tenant.example");
        set_tls(&tenant, json!({"clientCertificate": foreign.certificate_pem(), "clientKey": foreign.key_pem()}));
        expect_refused(&tenant, "with a certificate of another authority");
        set_tls(&tenant, tls.clone());
        set_tls(&tenant, json!({"authorities": other.certificate_pem()}));
        expect_refused(&tenant, "with trust in another authority");
        set_tls(&tenant, json!({"authorities": null}));
        expect_refused(&tenant, "with trust in the public authorities alone");
        assert_eq!(receiver.shown().len(), 1, "the receiver was told something all the same");

        // Another tenant of the same server has none of it.
        let neighbour = server.tenant("neighbour");
        neighbour.admin.settings(json!({"push": {"url": receiver.url(), "retry": {"kind": "none"}}})).expect(200);
        expect_refused(&neighbour, "without anything of its own");

        // And it works again; the test of a push takes the same way.
        set_tls(&tenant, tls);
        let tried = tenant.admin.send("POST", "external-notifications/test", &[], None).expect(200);
        assert_eq!(tried["data"]["attributes"]["error"], Value::Null, "{tried}");
        assert!(receiver.shown()[1..] == [own.certificate], "not the tenant's certificate was shown");
    }

    fn certificates_that_do_not_fit_are_refused_and_change_nothing(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("certificates");
        let authority = Authority::new();
        let (own, other) = (authority.signs("tenant.example"), authority.signs("tenant.example"));
        set_tls(&tenant, json!({"clientCertificate": own.certificate_pem(), "clientKey": own.key_pem()}));
        let before = tenant.admin.get("external-notifications").expect(200);
        for (tls, member) in [
            (json!({"clientKey": other.key_pem()}), "clientKey"),
            (json!({"clientKey": null}), "clientKey"),
            (json!({"clientCertificate": "my certificate"}), "clientCertificate"),
            (json!({"authorities": own.key_pem()}), "authorities"),
        ] {
            let refused = tenant.admin.settings(json!({"push": {"tls": tls}}));
            let error = refused.refused(422);
            assert_eq!(error["source"]["pointer"], format!("/data/attributes/push/tls/{member}"));
            assert!(!refused.text.contains(own.key_pem().lines().nth(1).unwrap()), "{refused}");
            assert_eq!(tenant.admin.get("external-notifications").expect(200), before);
        }
    }
}
