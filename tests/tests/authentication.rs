//! How the server shows a receiver who it is, and that it shows it to nobody else.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

#[path = "authentication/at_rest.rs"]
mod at_rest;
#[path = "authentication/certificates.rs"]
mod certificates;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidings_tests::api::encode;
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, Request, Server, Tenant, event, on_both, until};

fn reply(status: u16, body: &str) -> Reply {
    Reply::WithBody(status, vec![("content-type".into(), "application/json".into())], body.into())
}

/// A token endpoint that gives out `token-1`, `token-2` and so on.
fn token_endpoint(expires_in: Option<u64>) -> Receiver {
    Receiver::start(move |_, nth| {
        let mut body = json!({"access_token": format!("token-{}", nth + 1), "token_type": "Bearer"});
        if let Some(seconds) = expires_in {
            body["expires_in"] = seconds.into();
        }
        reply(200, &body.to_string())
    })
}

fn token_url(endpoint: &Receiver) -> String {
    format!("http://127.0.0.1:{}/token?realm=a", endpoint.port())
}

/// The number of the token that a push carries; 0 for none.
fn token_of(request: &Request) -> usize {
    let token = request.header("authorization").strip_prefix("Bearer token-");
    token.map_or(0, |number| number.parse().unwrap())
}

fn use_oauth2(tenant: &Tenant, endpoint: &Receiver) {
    let authentication = json!({"kind": "oauth2", "tokenUrl": token_url(endpoint), "clientId": "s6BhdRkqt3",
        "clientSecret": "gX1fBat3bV", "scope": "push all"});
    tenant.admin.settings(json!({"push": {"authentication": authentication}})).expect(200);
}

/// What the log says about each attempt for a notification.
fn attempts(tenant: &Tenant, id: u64) -> Vec<Value> {
    let page = tenant.admin.get(&format!("deliveries/{id}/attempts")).expect(200);
    page["data"].as_array().unwrap().iter().map(|attempt| attempt["attributes"].clone()).collect()
}

on_both! {
    fn each_kind_arrives_as_its_standard_says(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("kinds");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        let jwt = "eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IVmhYxEmZkY";
        // The values are the examples of RFC 7617 and RFC 6750.
        let kinds = [
            (json!({"kind": "none"}), "authorization", ""),
            (json!({"kind": "header", "name": "X-Hook", "value": "a secret value"}), "x-hook", "a secret value"),
            (json!({"kind": "basic", "username": "Aladdin", "password": "open sesame"}), "authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            (json!({"kind": "basic", "username": "test", "password": "123£"}), "authorization", "Basic dGVzdDoxMjPCow=="),
            (json!({"kind": "bearer", "token": "mF_9.B5f-4.1JqM"}), "authorization", "Bearer mF_9.B5f-4.1JqM"),
            (json!({"kind": "authorization", "value": jwt}), "authorization", jwt),
            (json!({"kind": "none"}), "authorization", ""),
        ];
        for (index, (authentication, name, expected)) in kinds.iter().enumerate() {
            tenant.admin.settings(json!({"push": {"authentication": authentication}})).expect(200);
            tenant.producer.post_event(&event("close"));
            let request = receiver.wait_for(index + 1, SOON).remove(index);
            assert_eq!(request.header(name), *expected, "{authentication}");
            assert!(request.is_signed_with(&tenant.signing_secret), "{authentication}: signed all the same");
            if *name != "x-hook" {
                assert_eq!(request.header("x-hook"), "", "{authentication}");
            }
        }
    }

    fn a_token_is_fetched_once_for_many_pushes(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("once");
        let endpoint = Receiver::start(|_, nth| {
            let body = json!({"access_token": format!("token-{}", nth + 1), "token_type": "bearer", "expires_in": "3600"});
            // Long enough for all to wait for it.
            Reply::After(Duration::from_millis(500), Box::new(reply(200, &body.to_string())))
        });
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        use_oauth2(&tenant, &endpoint);
        for _ in 0..60 {
            tenant.producer.post_event(&event("close"));
        }
        let requests = receiver.wait_for(60, SOON);
        assert!(requests.iter().all(|request| token_of(request) == 1));
        let [asked] = endpoint.requests().try_into().expect("one fetch for all");
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token?realm=a"));
        // The example of RFC 6749 §2.3.1.
        assert_eq!(asked.header("authorization"), "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
        assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded");
        assert_eq!(String::from_utf8(asked.body).unwrap(), "grant_type=client_credentials&scope=push+all");
    }

    fn a_token_is_renewed_before_it_ends(db) {
        const LIFETIME: Duration = Duration::from_secs(5);
        let server = Server::start(&db);
        let tenant = server.tenant("renewal");
        let endpoint = token_endpoint(Some(LIFETIME.as_secs()));
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        use_oauth2(&tenant, &endpoint);
        let requests = until("a renewed token", SOON, || {
            tenant.producer.post_event(&event("close"));
            let requests = receiver.requests();
            requests.iter().any(|request| token_of(request) == 2).then_some(requests)
        });
        let issued: Vec<Instant> = endpoint.requests().iter().map(|request| request.at).collect();
        for request in requests {
            let age = request.at.duration_since(issued[token_of(&request) - 1]);
            assert!(age < LIFETIME, "a token was sent {age:?} after its issue");
        }
        assert!(issued[1] - issued[0] >= LIFETIME / 2, "renewed much too early");
    }

    fn a_lifetime_that_makes_no_sense_holds_up_no_push(db) {
        let server = Server::start(&db);
        let receiver = Receiver::accepting();
        for lifetime in ["\"NaN\"", "\"inf\"", "\"-inf\"", "\"1e999\"", "-5", "\"-1e300\"", "1e300", "{}"] {
            let endpoint = Receiver::start(move |_, _| {
                reply(200, &format!(r#"{{"access_token":"token-1","token_type":"Bearer","expires_in":{lifetime}}}"#))
            });
            let tenant = server.tenant("lifetime");
            tenant.push_to(&receiver.url(), false);
            use_oauth2(&tenant, &endpoint);
            tenant.producer.post_event(&event("close"));
            assert_eq!(tenant.wait_for_state(1, "delivered")["attempts"], 1, "{lifetime}");
        }
    }

    fn a_refused_token_is_replaced_within_the_attempt(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("revoked");
        let endpoint = token_endpoint(None);
        let good = Arc::new(AtomicUsize::new(1));
        let receiver = {
            let good = Arc::clone(&good);
            Receiver::start(move |request, _| {
                Reply::Status(if token_of(request) == good.load(Ordering::SeqCst) { 204 } else { 401 })
            })
        };
        tenant.push_to(&receiver.url(), false);
        use_oauth2(&tenant, &endpoint);
        tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(1, "delivered");
        good.store(2, Ordering::SeqCst);
        tenant.producer.post_event(&event("close"));
        assert_eq!(tenant.wait_for_state(2, "delivered")["attempts"], 1);
        let tokens: Vec<usize> = receiver.requests().iter().map(token_of).collect();
        assert_eq!(tokens, [1, 1, 2]);
        assert_eq!(receiver.requests()[2].header("tidings-attempt"), "1");
        assert_eq!(endpoint.count(), 2);

        // One that takes no token at all is an ordinary failure, and the endpoint is not asked without end.
        good.store(0, Ordering::SeqCst);
        tenant.producer.post_event(&event("close"));
        let failed = until("the failure in the log", SOON, || attempts(&tenant, 3).into_iter().next());
        assert_eq!((&failed["error"], &failed["responseStatus"]), (&json!("status"), &json!(401)));
        assert_eq!(endpoint.count(), 3);
    }

    fn a_token_endpoint_that_is_down_holds_the_push_until_it_is_back(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("no token");
        let mut endpoint = token_endpoint(Some(3600));
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        use_oauth2(&tenant, &endpoint);
        endpoint.stop();
        tenant.producer.post_event(&event("close"));
        let failed = until("the failure in the log", SOON, || attempts(&tenant, 1).into_iter().next());
        assert_eq!(failed["error"], "token");
        assert_eq!((&failed["responseStatus"], &failed["address"]), (&Value::Null, &Value::Null));
        assert_eq!(receiver.count(), 0, "pushed without a token");
        endpoint.resume();
        tenant.wait_for_state(1, "delivered");
        assert_eq!(receiver.requests().iter().map(token_of).collect::<Vec<_>>(), [1]);
    }

    fn while_a_token_endpoint_rests_no_notification_loses_an_attempt(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("resting");
        let mut endpoint = token_endpoint(Some(3600));
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        use_oauth2(&tenant, &endpoint);
        tenant.admin.settings(json!({"push": {"retry": {"kind": "none"}, "maxConcurrency": 8}})).expect(200);
        endpoint.stop();
        for _ in 0..20 {
            tenant.producer.post_event(&event("close"));
        }
        // The fetch that failed was an attempt; those who waited for it made none.
        until("a failure in the log", SOON, || (1..=20).find(|sequence| !attempts(&tenant, *sequence).is_empty()));
        endpoint.resume();
        let requests = receiver.wait_for(17, SOON);
        assert!(requests.iter().all(|request| request.header("tidings-attempt") == "1"));
    }

    fn an_endpoint_that_knows_no_basic_gets_the_client_in_the_body(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("in the body");
        let endpoint = Receiver::start(|request, _| {
            let body = String::from_utf8_lossy(&request.body);
            if body == "grant_type=client_credentials&scope=push+all&client_id=s6BhdRkqt3&client_secret=gX1fBat3bV" {
                reply(200, r#"{"access_token":"token-1","token_type":"Bearer"}"#)
            } else {
                reply(401, r#"{"error":"invalid_client"}"#)
            }
        });
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        use_oauth2(&tenant, &endpoint);
        tenant.producer.post_event(&event("close"));
        assert_eq!(token_of(&receiver.wait_for(1, SOON)[0]), 1);
        assert_eq!(endpoint.requests()[1].header("authorization"), "");
    }

    fn secrets_are_shown_to_the_receiver_alone(db) {
        const SECRET: &str = "s3cret/Value+that.nobody=sees";
        let server = Server::start(&db);
        let tenant = server.tenant("secrets");
        let endpoint = Receiver::start(|request, nth| match nth {
            // Repeats what it was told, as some do.
            0 => reply(400, &format!("{{\"error\":\"{}\"}}", request.header("authorization"))),
            _ => reply(200, &json!({"access_token": SECRET, "token_type": "Bearer"}).to_string()),
        });
        let receiver = Receiver::start(|request, _| {
            let told = json!(request.headers.clone()).to_string();
            let shown = [request.header("authorization"), request.header("x-hook")].concat();
            let behind = shown.split_once(' ').map_or("", |(_, behind)| behind);
            let encoded = [encode(&shown), STANDARD.encode(&shown), STANDARD.encode(behind)].join(" ");
            // As PHP writes JSON.
            let text = format!("{encoded} {told} {}", told.replace('/', "\\/"));
            // A refusal of this one, so that the others go on to be tried.
            reply(422, &text)
        });
        tenant.push_to(&receiver.url(), false);
        let kinds = [
            json!({"kind": "header", "name": "X-Hook", "value": SECRET}),
            json!({"kind": "basic", "username": "user", "password": SECRET}),
            json!({"kind": "bearer", "token": SECRET}),
            json!({"kind": "authorization", "value": format!("Token {SECRET}")}),
            json!({"kind": "oauth2", "tokenUrl": token_url(&endpoint), "clientId": "client", "clientSecret": SECRET}),
        ];
        let mut seen = String::new();
        for authentication in kinds {
            let kind = authentication["kind"].as_str().unwrap().to_owned();
            let refused = json!({"push": {"authentication": authentication, "timeoutSeconds": 0}});
            seen += &tenant.admin.settings(refused).text;
            let taken = tenant.admin.settings(json!({"push": {"authentication": authentication}}));
            taken.expect(200);
            seen += &taken.text;
            let before = receiver.count();
            let id = tenant.producer.post_event(&event("close"));
            until("an attempt with the secret", SOON, || (receiver.count() > before).then_some(()));
            let log = until("the attempt in the log", SOON, || {
                attempts(&tenant, id).into_iter().find(|attempt| attempt["responseText"].is_string())
            });
            let text = log["responseText"].as_str().unwrap();
            assert!(text.starts_with("*** ***") && text.chars().count() <= 1_000, "{kind}: {text}");
            seen += text;
            seen += &tenant.admin.get(&format!("deliveries/{id}")).text;
            seen += &tenant.admin.post("external-notifications/test", &json!({})).text;
        }
        seen += &tenant.admin.get("external-notifications").text;
        seen += &tenant.admin.get("deliveries").text;
        seen += &server.log();
        // In base64 as HTTP Basic has it, with the user name and with the client id; and once more in base64, alone and as
        // it was sent. Of each the beginning, which depends on nothing else.
        for secret in [
            SECRET, "s3cret\\/Value", "s3cret%2FValue", "dXNlcjpzM2NyZXQvVmFsdWUr", "Y2xpZW50OnMzY3JldCUyRlZhbHVl", "czNjcmV0L1ZhbHVl",
            &STANDARD.encode(format!("Bearer {SECRET}"))[..32], &STANDARD.encode("Basic dXNlcjpzM2NyZXQvVmFsdWUr")[..40],
            &tenant.signing_secret,
        ] {
            assert!(!seen.contains(secret), "{secret} in {seen}");
        }
        assert!(receiver.requests().iter().any(|request| request.header("authorization") == format!("Bearer {SECRET}")));
    }

    fn a_signing_secret_is_replaced_with_an_overlap(db) {
        const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let server = Server::start(&db);
        let tenant = server.tenant("rotation");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        let old = &tenant.signing_secret;
        let push = || {
            let before = receiver.count();
            tenant.producer.post_event(&event("close"));
            receiver.wait_for(before + 1, SOON).remove(before)
        };
        let first = push();
        assert!(first.is_signed_with(old) && !first.is_signed_with(NEW));

        let changed = tenant.admin.settings(json!({"push": {"signing": {"secret": NEW, "overlapSeconds": 4}}})).expect(200);
        assert!(changed["data"]["meta"]["push"]["previousSecretUntil"].is_string(), "{changed}");
        let changed_at = Instant::now();
        let during = push();
        assert!(during.is_signed_with(old) && during.is_signed_with(NEW));
        let signatures: Vec<_> = during.header("webhook-signature").split(' ').collect();
        assert_eq!(signatures.len(), 2);
        assert!(signatures.iter().all(|signature| signature.starts_with("v1,")), "{signatures:?}");

        let after = until("the end of the overlap", SOON, || {
            let request = push();
            assert!(request.is_signed_with(NEW), "the new secret signs all the time");
            (!request.is_signed_with(old)).then_some(request)
        });
        assert!(after.at - changed_at >= Duration::from_secs(3), "ended too early");
        assert_eq!(after.header("webhook-signature").split(' ').count(), 1);
        let settings = tenant.admin.get("external-notifications").expect(200);
        assert_eq!(settings["data"]["meta"]["push"]["previousSecretUntil"], Value::Null);
    }
}
