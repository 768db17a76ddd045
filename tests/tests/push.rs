//! What a receiver gets, and what the server makes of its answers.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, Server, event, on_both, until};

/// A document as a push has it: without `meta`.
fn without_meta(mut document: Value) -> Value {
    document["data"].as_object_mut().unwrap().remove("meta");
    document
}

fn rich() -> Value {
    json!({
        "data": {"type": "notification",
            "attributes": {"type": "close", "comment": "done", "data": {"a": 1}, "unit": "Chemistry"},
            "relationships": {"entity": {"data": {"type": "entity", "id": "e:1"}}, "createdBy": {"data": {"type": "user", "id": "1"}}}},
        "included": [{"type": "entity", "id": "e:1", "attributes": {"name": "E"}}, {"type": "user", "id": "1", "attributes": {"name": "U"}}]
    })
}

on_both! {
    fn a_push_is_the_signed_document(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("push");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        tenant.admin.settings(json!({"push": {"authentication": {"kind": "header", "name": "X-Hook", "value": "s3cret value"}}})).expect(200);
        let posted = tenant.producer.post("notifications", &rich()).expect(201);
        assert_eq!(posted["data"]["meta"]["push"]["state"], "pending");

        let request = receiver.wait_for(1, SOON).remove(0);
        assert_eq!(request.method, "POST");
        assert_eq!(request.path, "/hook");
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("x-hook"), "s3cret value");
        assert_eq!(request.header("tidings-tenant"), tenant.id);
        assert_eq!(tenant.consumer.get("notifications").header("tidings-tenant"), tenant.id);
        assert_eq!(request.header("tidings-sequence"), "1");
        assert_eq!(request.header("tidings-attempt"), "1");
        assert!(!request.header("webhook-id").is_empty());
        assert_eq!(request.json(), without_meta(posted));
        assert!(request.is_signed_with(&tenant.signing_secret), "the signature is right");
        let mut forged = request;
        forged.body[10] ^= 1;
        assert!(!forged.is_signed_with(&tenant.signing_secret));

        let status = tenant.wait_for_state(1, "delivered");
        assert_eq!(status, json!({"state": "delivered", "attempts": 1, "nextAttemptAt": null}));
        let kept = tenant.consumer.get("notifications/1").expect(200);
        assert_eq!(kept["data"]["attributes"]["isDismissed"], false);
        assert_eq!(receiver.count(), 1, "pushed more than once");
        until("the last success", SOON, || {
            let meta = tenant.admin.get("external-notifications").expect(200)["data"]["meta"].clone();
            (meta["lastSuccessAt"].is_string() && meta["undelivered"] == 0 && meta["push"]["state"] == "active").then_some(())
        });
    }

    fn a_delivered_notification_is_dismissed_if_asked_for(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("auto-dismiss");
        let receiver = Receiver::start(|_, nth| Reply::Status(if nth == 0 { 500 } else { 200 }));
        tenant.push_to(&receiver.url(), true);
        tenant.producer.post("notifications", &rich()).expect(201);
        let first = receiver.wait_for(1, SOON).remove(0);
        assert_eq!(first.json()["data"]["attributes"]["isDismissed"], true, "as it will be once it is accepted");
        tenant.wait_for_state(1, "delivered");
        let kept = tenant.consumer.get("notifications/1").expect(200);
        assert_eq!(kept["data"]["attributes"]["isDismissed"], true);
        assert_eq!(kept["data"]["attributes"]["isRead"], false);
        assert!(tenant.consumer.ids("").is_empty());
        // Whoever takes it back has it again.
        tenant.consumer.set(1, json!({"isDismissed": false})).expect(200);
        assert_eq!(tenant.consumer.ids(""), [1]);
    }

    fn a_failed_push_is_tried_again_under_the_same_id(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("retry");
        let receiver = Receiver::start(|_, nth| Reply::Status([500, 503, 404, 200][nth.min(3)]));
        tenant.push_to(&receiver.url(), false);
        tenant.producer.post_event(&event("close"));
        let requests = receiver.wait_for(4, Duration::from_secs(40));
        let status = tenant.wait_for_state(1, "delivered");
        assert_eq!(status["attempts"], 4);
        for (nth, request) in requests.iter().enumerate() {
            assert_eq!(request.header("webhook-id"), requests[0].header("webhook-id"));
            assert_eq!(request.header("tidings-attempt"), (nth + 1).to_string());
            assert_eq!(request.body, requests[0].body);
            assert!(request.is_signed_with(&tenant.signing_secret), "each attempt is signed");
        }
        for pair in requests.windows(2) {
            assert!(pair[1].at - pair[0].at >= Duration::from_millis(900), "tried again before its time");
        }
    }

    fn a_push_is_given_up_after_the_last_attempt_and_can_be_pulled(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("give up");
        let receiver = Receiver::start(|_, _| Reply::Status(500));
        tenant.push_to(&receiver.url(), true);
        tenant.admin.settings(json!({"push": {"retry": {"attempts": 2}}})).expect(200);
        tenant.producer.post_event(&event("close"));
        let status = tenant.wait_for_state(1, "failed");
        assert_eq!(status, json!({"state": "failed", "attempts": 2, "nextAttemptAt": null}));
        assert_eq!(receiver.count(), 2);
        assert_eq!(tenant.consumer.ids(""), [1]);
    }

    fn a_redirect_is_a_failure_and_is_not_followed(db) {
        let server = Server::start(&db);
        let elsewhere = Receiver::accepting();
        for status in [301, 302, 303, 307, 308] {
            let tenant = server.tenant("redirect");
            let location = elsewhere.url();
            let receiver = Receiver::start(move |_, nth| match nth {
                0 => Reply::WithHeaders(status, vec![("location".into(), location.clone())]),
                _ => Reply::Status(200),
            });
            tenant.push_to(&receiver.url(), false);
            tenant.producer.post_event(&event("close"));
            receiver.wait_for(2, SOON);
            assert_eq!(tenant.wait_for_state(1, "delivered")["attempts"], 2);
        }
        assert_eq!(elsewhere.count(), 0, "a redirect was followed");
    }

    fn gone_pauses_the_push_until_an_admin_resumes_it(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("gone");
        let receiver = Receiver::start(|_, nth| Reply::Status(if nth == 0 { 410 } else { 200 }));
        tenant.push_to(&receiver.url(), false);
        tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(1, "paused");
        let settings = tenant.admin.get("external-notifications").expect(200);
        let push = &settings["data"]["meta"]["push"];
        assert_eq!(push["state"], "paused", "{settings}");
        assert!(push["reason"].as_str().is_some_and(|reason| reason.contains("410")), "{push}");
        assert_eq!(settings["data"]["meta"]["undelivered"], 1);
        // What comes meanwhile waits too, and can be pulled.
        let second = tenant.producer.post_event(&event("close"));
        assert_eq!(tenant.push_status(second)["state"], "paused");
        assert_eq!(tenant.consumer.ids(""), [2, 1]);
        assert_eq!(receiver.count(), 1);
        // A change of something else says nothing about the receiver.
        let settings = tenant.admin.settings(json!({"retention": {"days": 90}, "push": {"autoDismiss": false}}));
        assert_eq!(settings.expect(200)["data"]["meta"]["push"]["state"], "paused");

        tenant.admin.settings(json!({"push": {"enabled": true}})).expect(200);
        tenant.wait_for_state(1, "delivered");
        tenant.wait_for_state(2, "delivered");
    }

    fn a_disabled_push_holds_everything_back(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("disabled");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        tenant.admin.settings(json!({"push": {"enabled": false}})).expect(200);
        for _ in 0..3 {
            tenant.producer.post_event(&event("close"));
        }
        assert_eq!(tenant.push_status(3)["state"], "paused");
        assert_eq!(tenant.consumer.ids("filter[push]=paused"), [3, 2, 1]);
        let meta = tenant.admin.get("external-notifications").expect(200)["data"]["meta"].clone();
        assert_eq!((&meta["push"]["state"], &meta["undelivered"]), (&json!("paused"), &json!(3)));
        assert!(meta["oldestUndeliveredAt"].is_string(), "{meta}");
        assert_eq!(receiver.count(), 0);
        tenant.admin.settings(json!({"push": {"enabled": true}})).expect(200);
        receiver.wait_for(3, SOON);
        for id in 1..=3 {
            tenant.wait_for_state(id, "delivered");
        }
    }

    fn what_came_without_a_url_is_not_pushed_later(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("none");
        tenant.producer.post_event(&event("close"));
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        let second = tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(second, "delivered");
        assert_eq!(tenant.push_status(1), json!({"state": "none", "attempts": 0, "nextAttemptAt": null}));
        assert_eq!(receiver.sequences(), [2]);
    }

    fn retry_after_is_obeyed(db) {
        let server = Server::start(&db);
        for status in [429, 503] {
            let tenant = server.tenant("busy");
            let receiver = Receiver::start(move |_, nth| match nth {
                0 => Reply::WithHeaders(status, vec![("retry-after".into(), "4".into())]),
                _ => Reply::Status(200),
            });
            tenant.push_to(&receiver.url(), false);
            tenant.producer.post_event(&event("close"));
            let requests = receiver.wait_for(2, Duration::from_secs(30));
            let pause = requests[1].at - requests[0].at;
            assert!(pause >= Duration::from_millis(3900), "{status}: tried again after {pause:?}");
            assert!(pause < Duration::from_secs(15), "{status}: tried again only after {pause:?}");
        }
    }

    fn a_new_url_does_not_wait_for_what_the_old_one_asked(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("moved");
        let busy = Receiver::start(|_, _| Reply::WithHeaders(503, vec![("retry-after".into(), "99999999999".into())]));
        tenant.push_to(&busy.url(), false);
        tenant.producer.post_event(&event("close"));
        until("a refused attempt", SOON, || (tenant.push_status(1)["attempts"] == 1).then_some(()));
        let well = Receiver::accepting();
        tenant.admin.settings(json!({"push": {"url": well.url()}})).expect(200);
        tenant.wait_for_state(1, "delivered");
        assert_eq!((busy.count(), well.count()), (1, 1));
    }

    fn a_new_secret_signs_from_then_on(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("rotation");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        tenant.admin.settings(json!({"push": {"signing": {"secret": new}}})).expect(200);
        tenant.producer.post_event(&event("close"));
        let request = receiver.wait_for(1, SOON).remove(0);
        assert!(request.is_signed_with(new), "signed with the new secret");
    }

    fn a_changed_url_takes_what_waits(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("moved");
        let (old, new) = (Receiver::start(|_, _| Reply::Status(500)), Receiver::accepting());
        tenant.push_to(&old.url(), false);
        tenant.producer.post_event(&event("close"));
        old.wait_for(1, SOON);
        tenant.push_to(&new.url(), false);
        new.wait_for(1, SOON);
        tenant.wait_for_state(1, "delivered");
    }

    fn every_notification_is_pushed_beside_many_producers(db) {
        let server = Server::start(&db);
        let receiver = Receiver::accepting();
        let tenants: Vec<_> = (0..3).map(|nth| server.tenant(&format!("t{nth}"))).collect();
        std::thread::scope(|scope| {
            for tenant in &tenants {
                tenant.push_to(&receiver.url(), true);
                for _ in 0..2 {
                    scope.spawn(|| (0..100).for_each(|_| { tenant.producer.post_event(&event("close")); }));
                }
            }
        });
        let requests = receiver.wait_for(600, Duration::from_secs(60));
        let ids: std::collections::BTreeSet<_> = requests.iter().map(|request| request.header("webhook-id").to_owned()).collect();
        assert_eq!(ids.len(), 600, "each has an id of its own, across tenants too");
        for tenant in &tenants {
            until("all to be dismissed", SOON, || tenant.consumer.ids("").is_empty().then_some(()));
            assert_eq!(tenant.consumer.all("filter[push]=delivered&filter[isDismissed]=true").len(), 200);
        }
    }
}
