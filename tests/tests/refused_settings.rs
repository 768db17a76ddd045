//! A setting that is refused changes nothing, and the refusal says which member it was, and why.

use serde_json::{Value, json};
use tidings_tests::systems::{self, Envelope};
use tidings_tests::wait::SOON;
use tidings_tests::{Server, event, on_both};

on_both! {
    fn a_setting_that_is_refused_changes_nothing_and_says_which_and_why(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("refused");
        let receiver = systems::service_optimizer("the-token", |_| Envelope::CodeAsString);
        tenant.admin.settings(json!({"profile": "serviceOptimizer",
            "push": {"url": receiver.url(), "authentication": {"kind": "authorization", "value": "the-token"}},
            "selection": {"types": ["close", "print"], "columns": ["a.b"], "condition": "type != 'x'", "units": {"u": {"print": false}}}})).expect(200);
        let before = tenant.admin.get("external-notifications").expect(200);
        let values = values().into_iter().map(|(pointer, value, detail)| (patch(pointer, value), pointer, "invalid_value", detail));
        for (patch, pointer, code, detail) in values.chain(groups()) {
            // Alone, and beside a member that is good.
            let mut mixed = patch.clone();
            match pointer {
                "/enabled" => mixed["retention"] = json!({"days": 17}),
                _ => mixed["enabled"] = json!(false),
            }
            for patch in [&patch, &mixed] {
                let answer = tenant.admin.settings(patch.clone());
                let error = answer.refused(422);
                assert_eq!(error["source"]["pointer"], format!("/data/attributes{pointer}"), "{patch}: {answer}");
                assert_eq!(error["code"], code, "{patch}: {answer}");
                assert!(error["detail"].as_str().is_some_and(|text| text.contains(detail)), "{patch}: {answer} doesn't mention {detail:?}");
                assert_eq!(tenant.admin.get("external-notifications").expect(200), before, "{patch} left a trace");
            }
        }
        for (body, status, pointer) in [
            (json!({"data": {"type": "settings", "attributes": {"enabled": false}}}), 409, "/data/type"),
            (json!({"data": {"type": "externalNotifications", "id": "another", "attributes": {"enabled": false}}}), 409, "/data/id"),
            (json!({"data": {"type": "externalNotifications"}}), 422, "/data"),
            (json!({"data": {"type": "externalNotifications", "attributes": [false]}}), 422, "/data/attributes"),
        ] {
            let error = tenant.admin.patch("external-notifications", &body).refused(status);
            assert_eq!(error["source"]["pointer"], pointer, "{body}");
        }
        for (attributes, pointer) in [
            (r#"{"payload":{"fields":{"close":["data"],"sign":[],"close":["comment"]}}}"#, "/payload/fields/close"),
            (r#"{"selection":{"units":{"a/b":{"print":true},"a/b":null}}}"#, "/selection/units/a~1b"),
            (r#"{"selection":{"units":{"u":{"print":true,"print":false}}}}"#, "/selection/units/u/print"),
            (r#"{"retention":{"days":3,"days":4}}"#, "/retention/days"),
        ] {
            let body = format!(r#"{{"data":{{"type":"externalNotifications","attributes":{attributes}}}}}"#);
            let error = tenant.admin.send("PATCH", "external-notifications", &[], Some(body.as_bytes())).refused(422);
            assert_eq!(error["source"]["pointer"], format!("/data/attributes{pointer}"), "{body}: {error}");
            assert!(error["detail"].as_str().is_some_and(|text| text.contains("twice")), "{error}");
        }
        assert_eq!(tenant.admin.get("external-notifications").expect(200), before);
        // What can't be read back is the same, too: token and signing secret.
        tenant.producer.post_event(&event("close"));
        let push = receiver.wait_for(1, SOON).remove(0);
        assert_eq!(push.header("authorization"), "the-token");
        assert!(push.is_signed_with(&tenant.signing_secret), "with the secret of the beginning");
        tenant.wait_for_state(1, "delivered");
    }
}

/// The change that sets one member.
fn patch(pointer: &str, value: Value) -> Value {
    pointer.rsplit('/').filter(|name| !name.is_empty()).fold(value, |value, name| json!({name: value}))
}

/// Values that a member can't have, and what the refusal mentions.
fn values() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/profile", json!("docusign"), "signals"),
        ("/enabled", json!("yes"), "boolean"),
        ("/push/url", json!("no url"), ""),
        ("/push/url", json!("ftp://example.com/"), "http"),
        ("/push/url", json!("https://user:secret@example.com/"), ""),
        ("/push/url", json!("https://example.com:0/"), "port 0"),
        ("/push/url", json!("https://example..com/"), "1 to 63"),
        ("/push/url", json!(format!("https://{}.com/", "a".repeat(64))), "1 to 63"),
        ("/push/url", json!("https://-example.com/"), "hyphen"),
        ("/push/url", json!(format!("https://{}com/", "a.".repeat(127))), "253"),
        ("/alerts/url", json!("https://example-.com/"), "hyphen"),
        ("/alerts/url", json!("http://1.2.3.4:0/"), "port 0"),
        ("/push/userAgent", json!("a\nb"), "ASCII"),
        ("/push/userAgent", json!("u".repeat(256)), "255"),
        ("/push/contentType", json!("text/xml"), "application/json"),
        ("/push/timeoutSeconds", json!(0), "1 and 120"),
        ("/push/timeoutSeconds", json!(121), "1 and 120"),
        ("/push/timeoutSeconds", json!(1.5), "u32"),
        ("/push/timeoutSeconds", json!(-1), "u32"),
        ("/push/maxConcurrency", json!(0), "1 and 256"),
        ("/push/maxConcurrency", json!(257), "1 and 256"),
        ("/push/rateLimit", json!(0), "1 and 1000000"),
        ("/push/ordering", json!("lifo"), "fifo"),
        ("/push/disableAfterSeconds", json!(59), "60 and 31536000"),
        ("/push/autoDismiss", json!(1), "boolean"),
        ("/push/authentication/kind", json!("digest"), "basic"),
        ("/push/authentication/token", json!("t"), "bearer"),
        ("/push/authentication/value", json!(""), "4096"),
        ("/push/authentication/value", json!("a\r\nx-injected: b"), "visible"),
        ("/push/tls/authorities", json!("not PEM"), "PEM"),
        ("/push/signing/secret", json!("whsec_c2hvcnQ="), ""),
        ("/push/signing/overlapSeconds", json!(2_592_001), "0 and 2592000"),
        ("/push/clientId", json!(""), "255"),
        ("/push/clientIdHeader", json!("host"), "host"),
        ("/push/acknowledgement/kind", json!("any"), "status"),
        ("/push/verification/kind", json!("dns"), "cloudEvents"),
        ("/push/retry/attempts", json!(0), "1 and 100"),
        ("/push/retry/attempts", json!(101), "1 and 100"),
        ("/push/retry/factor", json!(0.5), "1 and 10"),
        ("/push/retry/jitter", json!(1.1), "0 and 1"),
        ("/push/retry/everySeconds", json!(5), "fixed"),
        ("/push/resume", json!("later"), "backlog"),
        ("/push/resume", json!("fromNow"), "push.enabled"),
        ("/payload/format", json!("cloudevents"), "cloudEventsBinary"),
        ("/payload/detail", json!("thick"), "thin"),
        ("/payload/fields/no type!", json!(["data"]), "type"),
        ("/payload/fields/close", json!(["data", "data"]), "twice"),
        ("/payload/optionalFields", json!(["a", "a"]), "twice"),
        ("/payload/maxBytes", json!(999), "1000 and 20000000"),
        ("/selection/types", json!(["close", "close"]), "twice"),
        ("/selection/condition", json!("data.amount >"), ""),
        ("/selection/condition", json!("amount > 1"), "amount"),
        ("/selection/condition", json!("c".repeat(4097)), "4096"),
        ("/selection/condition", json!(r"comment == '\ud800'"), "stands for no character"),
        ("/selection/scope/userId", json!("u"), "user"),
        ("/selection/units/u/url!", json!(true), "types"),
        ("/retention/days", json!(0), "1 and 36500"),
        ("/retention/undeliveredDays", json!(36_501), "1 and 36500"),
        ("/alerts/backlogAgeSeconds", json!(1), "60 and 31536000"),
        ("/alerts/email", json!("nobody"), ""),
    ]
}

/// Changes of which one member is at fault: the change, the member, the code, and what the refusal mentions.
fn groups() -> Vec<(Value, &'static str, &'static str, &'static str)> {
    const VALUE: &str = "invalid_value";
    const MISSING: &str = "missing_member";
    const UNKNOWN: &str = "unknown_member";
    const BLOCKED: &str = "blocked_address";
    let push = |member: &str, value: Value| json!({"push": {member: value}});
    let authentication = |value: Value| push("authentication", value);
    let retry = |value: Value| push("retry", value);
    vec![
        (json!({"retries": 3}), "/retries", UNKNOWN, "retries"),
        (push("retries", json!(3)), "/push/retries", UNKNOWN, "retries"),
        (retry(json!({"every": 3})), "/push/retry/every", UNKNOWN, "every"),
        (push("url", json!("http://10.0.0.1/")), "/push/url", BLOCKED, "10.0.0.1"),
        (json!({"alerts": {"url": "http://192.168.1.1/"}}), "/alerts/url", BLOCKED, "192.168.1.1"),
        (
            authentication(
                json!({"kind": "oauth2", "tokenUrl": "http://169.254.169.254/", "clientId": "c", "clientSecret": "s"}),
            ),
            "/push/authentication/tokenUrl",
            BLOCKED,
            "169.254.169.254",
        ),
        (
            authentication(
                json!({"kind": "oauth2", "tokenUrl": "https://example.com/token", "clientId": "c"}),
            ),
            "/push/authentication/clientSecret",
            MISSING,
            "clientSecret",
        ),
        (
            authentication(json!({"kind": "header", "name": "X-A"})),
            "/push/authentication/value",
            MISSING,
            "value",
        ),
        (
            authentication(json!({"kind": "header", "name": "webhook-id", "value": "v"})),
            "/push/authentication/name",
            VALUE,
            "webhook-id",
        ),
        (
            authentication(json!({"kind": "header", "name": "a b", "value": "v"})),
            "/push/authentication/name",
            VALUE,
            "name",
        ),
        (
            authentication(json!({"kind": "basic", "password": "p"})),
            "/push/authentication/username",
            MISSING,
            "username",
        ),
        (
            authentication(json!({"kind": "basic", "username": "a:b", "password": "p"})),
            "/push/authentication/username",
            VALUE,
            "colon",
        ),
        (authentication(json!({"kind": "bearer"})), "/push/authentication/token", MISSING, "token"),
        (
            push("tls", json!({"clientCertificate": "not PEM", "clientKey": "not PEM"})),
            "/push/tls/clientKey",
            VALUE,
            "PEM",
        ),
        (
            push("tls", json!({"clientCertificate": "not PEM"})),
            "/push/tls/clientKey",
            MISSING,
            "clientCertificate",
        ),
        (
            retry(json!({"kind": "fixed", "everySeconds": 0})),
            "/push/retry/everySeconds",
            VALUE,
            "1 and 604800",
        ),
        (
            retry(json!({"kind": "fixed", "firstSeconds": 5})),
            "/push/retry/firstSeconds",
            VALUE,
            "exponential",
        ),
        (retry(json!({"kind": "list", "delaysSeconds": []})), "/push/retry/delaysSeconds", VALUE, "1 to 99"),
        (
            retry(json!({"kind": "list", "delaysSeconds": [5, 0]})),
            "/push/retry/delaysSeconds/1",
            VALUE,
            "1 and 604800",
        ),
        (json!({"selection": {"types": ["close", "no type!"]}}), "/selection/types/1", VALUE, ""),
        (json!({"selection": {"columns": [""]}}), "/selection/columns/0", VALUE, "255"),
        (json!({"selection": {"scope": {"kind": "group"}}}), "/selection/scope/groupId", MISSING, "groupId"),
        (json!({"selection": {"scope": {"kind": "everybody"}}}), "/selection/scope/kind", VALUE, "account"),
    ]
}
