//! A URL is accepted, and a push resumed, only when the receiver shows that it wants to be called; and it can be tried.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::wait::SOON;
use tidings_tests::{Answer, Receiver, Reply, Server, Tenant, event, on_both, until};

/// The sample id of the system that this verification comes from.
const ID: &str = "BGBQIIE7H253K6";

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Reply::WithBody(status, headers, body.into())
}

/// A receiver that repeats the client id as it should.
fn echoing() -> Receiver {
    Receiver::start(|request, _| {
        answer(200, &[("X-AdobeSign-ClientId", request.header("x-adobesign-clientid"))], "")
    })
}

fn set(tenant: &Tenant, push: Value) -> Answer {
    tenant.admin.settings(json!({"push": push}))
}

fn settings(tenant: &Tenant) -> Value {
    tenant.admin.get("external-notifications").expect(200)["data"].clone()
}

fn try_push(tenant: &Tenant) -> Value {
    let tried = tenant.admin.send("POST", "external-notifications/test", &[], None).expect(200);
    assert_eq!((&tried["data"]["type"], &tried["data"]["id"]), (&json!("attempt"), &json!("test")));
    tried["data"]["attributes"].clone()
}

on_both! {
    fn a_test_shows_what_was_sent_and_hides_what_is_secret(db) {
        let server = Server::start(&db);
        let receiver = Receiver::start(|_, _| answer(503, &[], "closed for today"));
        let secret = "s3cret-of-the-receiver";
        for (authentication, header) in [
            (json!({"kind": "header", "name": "X-Hook", "value": secret}), "x-hook"),
            (json!({"kind": "basic", "username": "ann", "password": secret}), "authorization"),
            (json!({"kind": "bearer", "token": secret}), "authorization"),
            (json!({"kind": "none"}), ""),
        ] {
            let tenant = server.tenant("shown");
            let url = format!("{}?token={secret}", receiver.url());
            set(&tenant, json!({"url": url, "authentication": authentication})).expect(200);
            let tried = try_push(&tenant);
            let sent = receiver.requests().pop().unwrap();
            assert_eq!((&tried["responseStatus"], &tried["responseText"]), (&json!(503), &json!("closed for today")));
            let request = &tried["request"];
            assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &json!(receiver.url())));
            assert_eq!(request["body"].as_str().unwrap().as_bytes(), &sent.body[..]);
            let headers = request["headers"].as_array().unwrap();
            for shown in headers {
                let (name, value) = (shown["name"].as_str().unwrap(), shown["value"].as_str().unwrap());
                let expected = if name == header { "…" } else { sent.header(name) };
                assert_eq!(value, expected, "{name}");
            }
            for name in ["content-type", "webhook-id", "webhook-signature", "webhook-timestamp", "tidings-test", header] {
                let count = headers.iter().filter(|shown| shown["name"] == name).count();
                assert_eq!(count, usize::from(!name.is_empty()), "{name}: {request}");
            }
            assert!(!tried.to_string().contains(secret), "{tried}");
            assert!(!tried.to_string().contains("YW5uOnMzY3JldC"), "{tried}");
        }
        // No answer: what was to be sent is shown all the same. And a push has none in the log.
        let mut closed = Receiver::accepting();
        closed.stop();
        let tenant = server.tenant("closed");
        set(&tenant, json!({"url": closed.url()})).expect(200);
        let tried = try_push(&tenant);
        assert_eq!((&tried["error"], &tried["request"]["method"]), (&json!("connect"), &json!("POST")));
        let id = tenant.producer.post_event(&event("close"));
        let attempts = until("an attempt", SOON, || {
            let attempts = tenant.admin.get(&format!("deliveries/{id}/attempts")).expect(200);
            (!attempts["data"].as_array().unwrap().is_empty()).then_some(attempts)
        });
        assert_eq!(attempts["data"][0]["attributes"].get("request"), None);
    }

    fn a_url_whose_receiver_does_not_echo_is_refused_and_the_old_one_stays(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("refused");
        let old = echoing();
        set(&tenant, json!({"url": old.url(), "clientId": ID, "verification": {"kind": "clientIdEcho"}, "timeoutSeconds": 2})).expect(200);
        let before = settings(&tenant);
        let mut closed = Receiver::accepting();
        closed.stop();
        let story = "x".repeat(5_000);
        let receivers = [
            (Receiver::start(|_, _| answer(404, &[("X-AdobeSign-ClientId", ID)], "no such page")), "404"),
            (Receiver::start(|_, _| answer(302, &[("X-AdobeSign-ClientId", ID), ("location", "/")], "")), "302"),
            (Receiver::accepting(), "without the client id"),
            (Receiver::start(|_, _| answer(200, &[("X-AdobeSign-ClientId", "other")], "{\"ok\":true}")), "without the client id"),
            (Receiver::start(|_, _| answer(200, &[], "{\"xAdobeSignClientId\":\"other\"}")), "without the client id"),
            (Receiver::start(move |_, _| answer(200, &[], &story)), "without the client id"),
            (Receiver::start(|_, _| Reply::Hang), "too long"),
            (Receiver::start(|_, _| Reply::Close), "complete HTTP answer"),
            (closed, "connection"),
        ];
        for (receiver, told) in &receivers {
            let refused = set(&tenant, json!({"url": receiver.url(), "autoDismiss": true})).refused_as(ErrorCode::VerificationFailed);
            let detail = refused["detail"].as_str().unwrap();
            assert!(detail.contains(told) && detail.contains("GET"), "{told}: {detail}");
            assert!(detail.len() < 600, "{detail}");
            assert_eq!(settings(&tenant)["attributes"], before["attributes"], "a refused change changed something");
        }
        assert_eq!(old.count(), 1, "the old one isn't asked again");
    }

    fn a_url_is_accepted_by_an_echo_in_header_or_body(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("accepted");
        let by_body = Receiver::start(|request, _| {
            let body = json!({"xAdobeSignClientId": request.header("x-adobesign-clientid"), "status": "ok"});
            answer(201, &[], &body.to_string())
        });
        for receiver in [echoing(), by_body] {
            let authentication = json!({"kind": "header", "name": "X-Hook", "value": "s3cret"});
            set(&tenant, json!({"url": receiver.url(), "clientId": ID, "authentication": authentication,
                "verification": {"kind": "clientIdEcho"}, "acknowledgement": {"kind": "clientIdEcho"}})).expect(200);
            let asked = receiver.wait_for(1, SOON).remove(0);
            assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/hook"));
            assert_eq!((asked.header("x-adobesign-clientid"), asked.header("x-hook")), (ID, "s3cret"));
            assert!(asked.body.is_empty() && asked.header("webhook-id").is_empty());
            let id = tenant.producer.post_event(&event("close"));
            tenant.wait_for_state(id, "delivered");
            let pushed = receiver.wait_for(2, SOON).remove(1);
            assert_eq!((pushed.method.as_str(), pushed.header("x-adobesign-clientid")), ("POST", ID));
        }
        // Without a client id of its own, a tenant has its id; and the header may have another name.
        let other = server.tenant("other");
        let renamed = Receiver::start(|request, _| answer(200, &[("x-my-client", request.header("x-my-client"))], ""));
        set(&other, json!({"url": renamed.url(), "clientIdHeader": "X-My-Client", "verification": {"kind": "clientIdEcho"}})).expect(200);
        assert_eq!(renamed.requests()[0].header("x-my-client"), other.id);
    }

    fn resuming_verifies_again(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("resume");
        let well = Arc::new(AtomicBool::new(true));
        let receiver = {
            let well = Arc::clone(&well);
            Receiver::start(move |request, _| match well.load(Ordering::SeqCst) {
                true => answer(200, &[("X-AdobeSign-ClientId", request.header("x-adobesign-clientid"))], ""),
                false => answer(400, &[], "Opps!! Illegitimate Call identified"),
            })
        };
        set(&tenant, json!({"url": receiver.url(), "clientId": ID, "verification": {"kind": "clientIdEcho"}})).expect(200);
        set(&tenant, json!({"enabled": false})).expect(200);
        assert_eq!(receiver.count(), 1, "pausing asks nobody");
        well.store(false, Ordering::SeqCst);
        let refused = set(&tenant, json!({"enabled": true})).refused_as(ErrorCode::VerificationFailed);
        assert!(refused["detail"].as_str().unwrap().contains("Illegitimate Call"), "{refused}");
        assert_eq!(settings(&tenant)["meta"]["push"]["state"], "paused");
        well.store(true, Ordering::SeqCst);
        set(&tenant, json!({"enabled": true})).expect(200);
        assert_eq!(settings(&tenant)["meta"]["push"]["state"], "active");
        assert_eq!(receiver.count(), 3);
        assert!(receiver.requests().iter().all(|request| request.method == "GET"));
    }

    fn cloud_events_consent_is_asked_for_and_read_from_the_headers(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("cloud events");
        let verification = json!({"kind": "cloudEvents"});
        let receiver = |headers: &'static [(&'static str, &'static str)], status| {
            Receiver::start(move |request, _| match request.method.as_str() {
                "OPTIONS" => answer(status, headers, ""),
                _ => Reply::Status(204),
            })
        };
        for (headers, rate, told) in [
            (&[][..], Value::Null, "WebHook-Allowed-Origin"),
            (&[("WebHook-Allowed-Origin", "eventemitter.example.com")], Value::Null, "eventemitter.example.com"),
            (&[("Allow", "POST"), ("WebHook-Allowed-Rate", "*")], Value::Null, "WebHook-Allowed-Origin"),
            (&[("WebHook-Allowed-Origin", "*")], json!(120), "WebHook-Allowed-Rate"),
            (&[("WebHook-Allowed-Origin", "*"), ("WebHook-Allowed-Rate", "100")], json!(120), "100"),
        ] {
            let receiver = receiver(headers, 200);
            let refused = set(&tenant, json!({"url": receiver.url(), "rateLimit": rate, "verification": verification}));
            let refused = refused.refused_as(ErrorCode::VerificationFailed);
            assert!(refused["detail"].as_str().unwrap().contains(told), "{refused}");
        }
        assert_eq!(settings(&tenant)["attributes"]["push"]["url"], Value::Null);
        // The status is no consent, and no refusal.
        for (headers, status, rate) in [
            (&[("WebHook-Allowed-Origin", "*")][..], 200, None),
            (&[("WebHook-Allowed-Origin", "127.0.0.1")], 405, None),
            (&[("WebHook-Allowed-Origin", "*"), ("WebHook-Allowed-Rate", "*")], 200, Some(120)),
            (&[("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "600")], 204, Some(120)),
        ] {
            let receiver = receiver(headers, status);
            set(&tenant, json!({"url": receiver.url(), "rateLimit": rate, "verification": verification})).expect(200);
            let asked = receiver.wait_for(1, SOON).remove(0);
            assert_eq!((asked.method.as_str(), asked.header("webhook-request-origin")), ("OPTIONS", "127.0.0.1"));
            assert_eq!(asked.header("webhook-request-rate"), rate.map_or(String::new(), |rate: u32| rate.to_string()));
            tenant.producer.post_event(&event("close"));
            let pushed = receiver.wait_for(2, SOON).remove(1);
            assert_eq!((pushed.method.as_str(), pushed.header("webhook-request-origin")), ("POST", "127.0.0.1"));
        }
    }

    fn at_most_ten_verifications_of_a_tenant_are_made_at_a_time(db) {
        let server = Server::start(&db);
        let (tenant, other) = (server.tenant("busy"), server.tenant("other"));
        let hanging = Receiver::start(|_, _| Reply::Hang);
        let good = echoing();
        let push = |receiver: &Receiver| json!({"url": receiver.url(), "verification": {"kind": "clientIdEcho"}});
        std::thread::scope(|scope| {
            let under_way: Vec<_> = (0..10).map(|_| scope.spawn(|| set(&tenant, push(&hanging)))).collect();
            hanging.wait_for(10, SOON);
            let eleventh = set(&tenant, push(&good));
            eleventh.refused_as(ErrorCode::TooManyVerifications);
            assert!(!eleventh.header("retry-after").is_empty());
            assert_eq!(good.count(), 0);
            set(&other, push(&good)).expect(200);
            for refused in under_way {
                refused.join().unwrap().refused_as(ErrorCode::VerificationFailed);
            }
        });
        set(&tenant, push(&good)).expect(200);
    }

    fn the_push_can_be_tried_without_leaving_a_trace(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("try");
        let without_url = tenant.admin.send("POST", "external-notifications/test", &[], None);
        without_url.refused_as(ErrorCode::Conflict);
        let receiver = Receiver::start(|request, nth| match (request.header("tidings-test"), nth) {
            ("true", 0) => answer(202, &[], "thank you"),
            ("true", 1) => answer(500, &[], "oh no"),
            ("true", 2) => Reply::Status(410),
            ("true", _) => Reply::Status(200),
            _ => Reply::Status(204),
        });
        let url = format!("{}?token=abc", receiver.url());
        let authentication = json!({"kind": "bearer", "token": "mF_9.B5f-4.1JqM"});
        set(&tenant, json!({"url": url, "enabled": false, "autoDismiss": true, "authentication": authentication,
            "retry": {"kind": "fixed", "everySeconds": 1, "attempts": 100}})).expect(200);

        let tried = try_push(&tenant);
        assert_eq!(tried["error"], Value::Null, "{tried}");
        assert_eq!((&tried["responseStatus"], &tried["responseText"]), (&json!(202), &json!("thank you")));
        assert_eq!((&tried["url"], &tried["address"]), (&json!(receiver.url()), &json!("127.0.0.1")));
        let request = receiver.requests().remove(0);
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?token=abc"));
        assert_eq!(request.header("authorization"), "Bearer mF_9.B5f-4.1JqM");
        assert_eq!(request.json()["data"]["attributes"]["type"], "test");
        assert!(request.is_signed_with(&tenant.signing_secret));
        assert!(request.header("webhook-id").starts_with(&format!("msg_{}_test_", tenant.id)));

        let tried = try_push(&tenant);
        assert_eq!((&tried["error"], &tried["responseText"]), (&json!("status"), &json!("oh no")));
        set(&tenant, json!({"enabled": true})).expect(200);
        assert_eq!(try_push(&tenant)["error"], "gone");
        let after = settings(&tenant);
        assert_eq!((&after["meta"]["push"]["state"], &after["meta"]["lastSuccessAt"]), (&json!("active"), &Value::Null));
        assert_eq!(tenant.consumer.count(), 0, "a test was stored");

        let bodies = [("{}", 200), (r#"{"data":{"type":"test"}}"#, 200), (r#"{"data":{"type":"probe"}}"#, 409), ("{", 400), (r#"{"url":"x"}"#, 422)];
        for (body, status) in bodies {
            let answer = tenant.admin.send("POST", "external-notifications/test", &[], Some(body.as_bytes()));
            assert_eq!(answer.status, status, "{answer}");
        }
        tenant.consumer.send("POST", "external-notifications/test", &[], None).refused_as(ErrorCode::Forbidden);

        let id = tenant.producer.post_event(&event("close"));
        assert_eq!(id, 1, "a test took a number");
        tenant.wait_for_state(1, "delivered");
        let mut gone = receiver;
        gone.stop();
        assert_eq!(try_push(&tenant)["error"], "connect");
    }

    fn a_test_follows_the_acknowledgement_rule(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("try by rule");
        let receiver = Receiver::start(|_, nth| match nth {
            0 => answer(200, &[], r#"{"Success":true,"Code":"0","Message":"OK"}"#),
            1 => answer(200, &[], r#"{"Success":false,"Code":7,"Message":"no such order"}"#),
            _ => Reply::Hang,
        });
        set(&tenant, json!({"url": receiver.url(), "timeoutSeconds": 1, "acknowledgement": {"kind": "successEnvelope"}})).expect(200);
        assert_eq!(try_push(&tenant)["error"], Value::Null);
        let rejected = try_push(&tenant);
        assert_eq!((&rejected["error"], &rejected["responseStatus"]), (&json!("rejected"), &json!(200)));
        let hung = try_push(&tenant);
        assert_eq!((&hung["error"], &hung["responseText"]), (&json!("timeout"), &Value::Null));
        let took = Duration::from_millis(hung["durationMs"].as_u64().unwrap());
        assert!((Duration::from_millis(950)..Duration::from_secs(5)).contains(&took), "{took:?}");
        until("the permits to be free", SOON, || (try_push(&tenant)["error"] == "timeout").then_some(()));
    }
}
