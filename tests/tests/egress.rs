//! No push leaves for an address that it shouldn't reach.

use std::time::Duration;

use serde_json::json;
use tidings_api::error::ErrorCode;
use tidings_tests::server::Options;
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, Server, event, on_both, until};

fn token() -> Reply {
    let body = json!({"access_token": "a-token", "token_type": "Bearer", "expires_in": 1});
    Reply::WithBody(200, vec![("content-type".into(), "application/json".into())], body.to_string().into())
}

fn guarded(db: &tidings_tests::Database) -> Server {
    Server::start_with(db, Options { allow_egress: None, ..Options::default() })
}

on_both! {
    fn a_url_with_a_blocked_address_is_refused(db) {
        let server = guarded(&db);
        let tenant = server.tenant("egress");
        for host in [
            "127.0.0.1", "127.1.2.3", "[::1]", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
            "0.0.0.0", "[::]", "255.255.255.255", "224.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[fe80::1]",
            "[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1",
            "127.1", "192.0.2.1", "198.18.0.1", "240.0.0.1",
        ] {
            let url = format!("http://{host}:8089/hook");
            let answer = tenant.admin.settings(json!({"push": {"url": url}}));
            let error = answer.refused_as(ErrorCode::BlockedAddress);
            assert_eq!(error["source"]["pointer"], "/data/attributes/push/url", "{url}");
        }
        let settings = tenant.admin.get("external-notifications").expect(200);
        assert_eq!(settings["data"]["attributes"]["push"]["url"], serde_json::Value::Null);
        // A public address is none of the guard's business.
        tenant.admin.settings(json!({"push": {"url": "https://1.1.1.1:9/hook", "enabled": false}})).expect(200);
    }

    fn a_name_that_leads_to_a_blocked_address_is_never_called(db) {
        let server = guarded(&db);
        let receiver = Receiver::accepting();
        for name in ["localhost", "LOCALHOST.", "localhost.localdomain"] {
            let tenant = server.tenant("names");
            let url = format!("http://{name}:{}/hook", receiver.port());
            let retry = json!({"firstSeconds": 1, "factor": 1.0, "capSeconds": 1, "attempts": 2});
            let answer = tenant.admin.settings(json!({"push": {"url": url, "retry": retry}}));
            // A server may look the name up at once; otherwise every attempt fails.
            if answer.status == 422 {
                answer.refused_as(ErrorCode::BlockedAddress);
                continue;
            }
            answer.expect(200);
            tenant.producer.post_event(&event("close"));
            until("a failed attempt", SOON, || {
                let status = tenant.push_status(1);
                assert_ne!(status["state"], "delivered");
                (status["attempts"].as_u64() >= Some(1)).then_some(())
            });
        }
        assert_eq!(receiver.count(), 0, "a blocked address was called");
    }

    fn what_is_allowed_is_called_and_nothing_else(db) {
        let options = Options { allow_egress: Some("127.0.0.1/32,10.9.0.0/16".into()), ..Options::default() };
        let server = Server::start_with(&db, options);
        let tenant = server.tenant("allowed");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        tenant.producer.post_event(&event("close"));
        receiver.wait_for(1, SOON);
        tenant.wait_for_state(1, "delivered");
        tenant.admin.settings(json!({"push": {"url": "http://10.9.1.1/"}})).expect(200);
        for url in ["http://127.0.0.2/", "http://10.8.0.1/", "http://[::1]/"] {
            tenant.admin.settings(json!({"push": {"url": url}})).refused_as(ErrorCode::BlockedAddress);
        }
    }

    fn a_name_is_checked_on_the_address_that_is_dialled(db) {
        let receiver = Receiver::accepting();
        let url = format!("http://localhost:{}/hook", receiver.port());
        let allowing = Server::start(&db);
        let tenant = allowing.tenant("by name");
        tenant.push_to(&url, false);
        tenant.producer.post_event(&event("close"));
        receiver.wait_for(1, SOON);
        drop(allowing);
        let server = guarded(&db);
        let api = |key: &str| tidings_tests::Api::new(&server.url(), Some(key));
        api(tenant.producer.key()).post_event(&event("close"));
        until("a failed attempt", SOON, || {
            let document = api(tenant.consumer.key()).get("notifications/2").expect(200);
            (document["data"]["meta"]["push"]["attempts"].as_u64() >= Some(1)).then_some(())
        });
        assert_eq!(receiver.count(), 1, "a name led to a blocked address");
    }

    fn a_token_endpoint_is_checked_on_the_address_that_is_dialled(db) {
        let (receiver, endpoint) = (Receiver::accepting(), Receiver::start(|_, _| token()));
        let allowing = Server::start(&db);
        let tenant = allowing.tenant("token by name");
        tenant.push_to(&receiver.url(), false);
        let token_url = format!("http://localhost:{}/token", endpoint.port());
        let authentication = json!({"kind": "oauth2", "tokenUrl": token_url, "clientId": "a", "clientSecret": "b"});
        tenant.admin.settings(json!({"push": {"authentication": authentication}})).expect(200);
        tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(1, "delivered");
        assert_eq!((endpoint.count(), receiver.count()), (1, 1));
        drop(allowing);
        let server = guarded(&db);
        let api = |key: &str| tidings_tests::Api::new(&server.url(), Some(key));
        api(tenant.producer.key()).post_event(&event("close"));
        let error = until("a failed attempt", SOON, || {
            let delivery = api(tenant.admin.key()).get("deliveries/2").expect(200);
            let error = delivery["data"]["attributes"]["errorMessage"].clone();
            (!error.is_null()).then_some(error)
        });
        assert_eq!(error, "token");
        assert_eq!((endpoint.count(), receiver.count()), (1, 1), "a blocked address was asked for a token");
    }

    fn a_verification_is_checked_on_the_address_that_is_dialled(db) {
        for kind in ["clientIdEcho", "cloudEvents"] {
            let receiver = Receiver::start(|request, _| {
                let headers = [
                    ("X-AdobeSign-ClientId", request.header("x-adobesign-clientid")),
                    ("WebHook-Allowed-Origin", "*"),
                    ("WebHook-Allowed-Rate", "*"),
                ];
                let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
                Reply::WithBody(200, headers.to_vec(), Vec::new())
            });
            let allowing = Server::start(&db);
            let tenant = allowing.tenant("verified by name");
            let url = format!("http://localhost:{}/hook", receiver.port());
            let push = json!({"url": url, "clientId": "an-id", "verification": {"kind": kind}});
            tenant.admin.settings(json!({"push": push})).expect(200);
            tenant.admin.settings(json!({"enabled": false})).expect(200);
            assert_eq!(receiver.count(), 1);
            drop(allowing);
            let server = guarded(&db);
            let admin = tidings_tests::Api::new(&server.url(), Some(tenant.admin.key()));
            let refused = admin.settings(json!({"enabled": true})).refused_as(ErrorCode::VerificationFailed);
            let detail = refused["detail"].as_str().expect("a text");
            assert!(detail.contains("pushes may not be sent to this address"), "{detail}");
            assert_eq!(receiver.count(), 1, "{kind}: a blocked address was called");
        }
    }

    fn taking_an_allowance_back_stops_the_pushes(db) {
        let receiver = Receiver::accepting();
        let allowing = Server::start(&db);
        let tenant = allowing.tenant("taken back");
        tenant.push_to(&receiver.url(), false);
        drop(allowing);
        let server = guarded(&db);
        let api = |key: &str| tidings_tests::Api::new(&server.url(), Some(key));
        api(tenant.producer.key()).post_event(&event("close"));
        until("a failed attempt", Duration::from_secs(20), || {
            let document = api(tenant.consumer.key()).get("notifications/1").expect(200);
            let status = document["data"]["meta"]["push"].clone();
            assert_ne!(status["state"], "delivered");
            (status["attempts"].as_u64() >= Some(1)).then_some(())
        });
        assert_eq!(receiver.count(), 0, "a blocked address was called");
    }
}
