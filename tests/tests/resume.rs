//! A push that rested goes on: with everything that waits, or only with what comes from then on.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::systems::CLIENT_ID_HEADER;
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, Server, Tenant, event, on_both, until};

fn push(tenant: &Tenant, push: Value) -> tidings_tests::Answer {
    tenant.admin.settings(json!({"push": push}))
}

fn health(tenant: &Tenant) -> Value {
    tenant.admin.get("external-notifications").expect(200)["data"]["meta"]["push"].clone()
}

on_both! {
    fn what_waits_is_pushed_oldest_first(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("backlog");
        let receiver = Receiver::accepting();
        push(&tenant, json!({"url": receiver.url(), "enabled": false, "maxConcurrency": 1})).expect(200);
        for _ in 0..30 {
            tenant.producer.post_event(&event("close"));
        }
        push(&tenant, json!({"enabled": true})).expect(200);
        receiver.wait_for(30, SOON);
        assert_eq!(receiver.sequences(), (1..=30).collect::<Vec<_>>());
    }

    fn from_now_on_what_waited_is_given_up_and_can_be_pulled_and_pushed_again(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("from now");
        let receiver = Receiver::accepting();
        push(&tenant, json!({"url": receiver.url(), "enabled": false})).expect(200);
        for _ in 0..2_500 {
            tenant.producer.post_event(&event("close"));
        }
        push(&tenant, json!({"enabled": true, "resume": "fromNow"})).expect(200);
        assert_eq!(health(&tenant)["state"], "active");
        assert_eq!(tenant.producer.post_event(&event("close")), 2_501);
        tenant.wait_for_state(2_501, "delivered");
        assert_eq!(receiver.sequences(), [2_501]);
        assert_eq!(tenant.consumer.all("filter[push]=failed").len(), 2_500, "all can be pulled");
        let page = tenant.admin.get("deliveries?filter[errorMessage]=skipped&page[size]=1000").expect(200);
        assert_eq!(page["data"].as_array().unwrap().len(), 1_000);

        let again = json!({"data": {"type": "job", "attributes": {"action": "repush", "ids": ["7"]}}});
        tenant.admin.post("jobs", &again).expect(202);
        tenant.wait_for_state(7, "delivered");
        let attempts = tenant.admin.get("deliveries/7/attempts").expect(200)["data"].clone();
        assert_eq!(attempts[0]["attributes"]["reason"], "first", "it had never been tried");
    }

    fn from_now_on_waits_for_what_is_under_way_and_gives_up_what_it_put_off(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("under way");
        // Answers so slowly that most are still in the lane when the URL changes.
        let slow = Receiver::start(|_, _| Reply::After(Duration::from_millis(700), Box::new(Reply::Status(500))));
        push(&tenant, json!({"url": slow.url(), "maxConcurrency": 2})).expect(200);
        for _ in 0..20 {
            tenant.producer.post_event(&event("close"));
        }
        slow.wait_for(2, SOON);
        let fresh = Receiver::accepting();
        push(&tenant, json!({"url": fresh.url(), "resume": "fromNow"})).expect(200);
        tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(21, "delivered");
        assert_eq!(fresh.sequences(), [21], "the new receiver gets nothing old");
        assert_eq!(tenant.consumer.all("filter[push]=failed").len(), 20);
    }

    fn another_change_while_it_is_waited_does_not_refuse_what_is_stored_already(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("between");
        let slow = Receiver::start(|_, _| Reply::After(Duration::from_secs(3), Box::new(Reply::Status(500))));
        push(&tenant, json!({"url": slow.url(), "maxConcurrency": 1})).expect(200);
        for _ in 0..5 {
            tenant.producer.post_event(&event("close"));
        }
        slow.wait_for(1, SOON);
        tenant.admin.settings(json!({"enabled": false})).expect(200);
        std::thread::scope(|scope| {
            let admin = tenant.admin.clone();
            let resumed = scope.spawn(move || {
                admin.settings(json!({"enabled": true, "push": {"resume": "fromNow"}})).expect(200)
            });
            until("the push to rest", SOON, || {
                let health = health(&tenant);
                health["reason"].as_str().is_some_and(|reason| reason.contains("not finished")).then_some(())
            });
            tenant.admin.settings(json!({"selection": {"units": {"unit": {"close": true}}}})).expect(200);
            let settings = resumed.join().unwrap();
            assert_eq!(settings["data"]["attributes"]["selection"]["units"]["unit"]["close"], true);
        });
        assert_eq!(health(&tenant)["state"], "active");
        let fresh = Receiver::accepting();
        push(&tenant, json!({"url": fresh.url()})).expect(200);
        tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(6, "delivered");
        assert_eq!(fresh.sequences(), [6], "what waited was given up");
    }

    fn resuming_belongs_to_a_change_by_which_the_push_goes_on(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("nothing to resume");
        for patch in [json!({"resume": "fromNow"}), json!({"resume": "fromNow", "enabled": false})] {
            let error = push(&tenant, patch).refused_as(ErrorCode::InvalidValue);
            assert_eq!(error["source"]["pointer"], "/data/attributes/push/resume");
        }
    }

    fn switching_everything_on_again_verifies_the_receiver_too(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("verified");
        let knows = Arc::new(AtomicBool::new(true));
        let receiver = {
            let knows = knows.clone();
            Receiver::start(move |request, _| match knows.load(Ordering::SeqCst) {
                true => {
                    let had = request.header("x-adobesign-clientid").to_owned();
                    Reply::WithHeaders(200, vec![(CLIENT_ID_HEADER.into(), had)])
                }
                false => Reply::Status(400),
            })
        };
        let profile = json!({"profile": "acrobatSign", "push": {"url": receiver.url()}});
        tenant.admin.settings(profile).expect(200);
        tenant.admin.settings(json!({"enabled": false})).expect(200);
        knows.store(false, Ordering::SeqCst);
        tenant.admin.settings(json!({"enabled": true})).refused_as(ErrorCode::VerificationFailed);
        assert_eq!(health(&tenant)["state"], "paused");
        knows.store(true, Ordering::SeqCst);
        tenant.admin.settings(json!({"enabled": true})).expect(200);
        assert_eq!(health(&tenant)["state"], "active");
    }

    fn many_who_change_at_once_all_come_through(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("many");
        std::thread::scope(|scope| {
            for number in 1..=16 {
                let admin = tenant.admin.clone();
                scope.spawn(move || {
                    let unit = format!("unit {number}");
                    admin.settings(json!({"selection": {"units": {unit: {"close": true}}}})).expect(200);
                });
            }
        });
        let settings = tenant.admin.get("external-notifications").expect(200);
        assert_eq!(settings["data"]["attributes"]["selection"]["units"].as_object().unwrap().len(), 16);
    }

    fn the_same_signing_secret_again_is_no_rotation(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("same secret");
        let secret = |text: &str| json!({"signing": {"secret": text}});
        let (first, second) = ("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "whsec_ZZECAwQFBgcICQoLDA0ODxAREhMUFRYX");
        push(&tenant, secret(first)).expect(200);
        let until = health(&tenant)["previousSecretUntil"].clone();
        assert!(until.is_string(), "the one from the beginning signs for a day");
        push(&tenant, json!({"signing": {"secret": first, "overlapSeconds": 60}})).expect(200);
        assert_eq!(health(&tenant)["previousSecretUntil"], until);
        push(&tenant, secret(second)).expect(200);
        assert_eq!(health(&tenant)["previousSecretUntil"], until, "the longest counts");
    }
}
