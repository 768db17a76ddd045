//! The longest way down and up again, as Acrobat Sign has it: all retries of 72 hours, a push that is disabled for want of
//! success, and its resumption, with everything that people are told meanwhile. Time passes by what is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tidings_tests::systems::{self, Echo};
use tidings_tests::wait::SOON;
use tidings_tests::{Database, Receiver, Tenant, event, on_both, until};

use super::House;

const CLIENT_ID: &str = "BGBQIIE7H253K6";
/// Acrobat Sign retries fifteen times, after the first attempt.
const RETRIES: u64 = 15;

/// Whoever is told of something is told of it by mail and at the URL, and of nothing else. In any order: what is told of
/// an attempt and of the push as a whole takes different ways.
#[track_caller]
fn expect_told(house: &House, kinds: &[&str]) {
    let mut kinds = kinds.to_vec();
    kinds.sort_unstable();
    let told = || {
        let mut posted = house.posted();
        posted.sort_unstable();
        let mut mails: Vec<_> = house.mail.mails().iter().map(|mail| mail.subject()).collect();
        mails.sort_unstable();
        let mut subjects: Vec<_> = kinds.iter().map(|kind| subject(kind)).collect();
        subjects.sort_unstable();
        (posted == kinds && mails == subjects, posted, mails)
    };
    until(&format!("{kinds:?} to be told"), SOON, || {
        // Once too often never becomes right again; it is seen by the next look if not by this one.
        let (all, posted, _) = told();
        assert!(posted.len() <= kinds.len(), "{posted:?} instead of {kinds:?}");
        all.then_some(())
    });
}

fn subject(kind: &str) -> String {
    let summary = match kind {
        "failing" => "a push failed, the first one since the last success",
        "retries50" => "a notification has used half of its retries",
        "retries70" => "a notification has used 70 % of its retries",
        "retries90" => "a notification has used 90 % of its retries",
        "retries100" => "a notification has used all its retries and was given up",
        "recovered" => "pushes are accepted again",
        "disabled" => "the push was disabled for want of success",
        "resumed" => "the push was resumed",
        "backlog" => "notifications have waited for their push for too long",
        other => panic!("there is no alert {other}"),
    };
    format!("[Tidings] Acme: {summary}")
}

fn push_health(tenant: &Tenant) -> Value {
    tenant.admin.get("external-notifications").expect(200)["data"]["meta"]["push"].clone()
}

fn set(tenant: &Tenant, attributes: Value) {
    tenant.admin.settings(attributes).expect(200);
}

/// What waits for its next attempt is due at once.
fn let_time_pass(db: &Database) {
    db.execute(
        "UPDATE states SET due_at = sequence WHERE push_state = 1 AND owner IS NULL AND due_at > sequence;",
    );
}

/// The last success, and the last resumption, were eight days ago.
fn let_a_week_pass(db: &Database) {
    db.execute(
        "UPDATE positions SET last_success_at = last_success_at - 691200000000;
         UPDATE tenants SET push_resumed_at = push_resumed_at - 691200000000;",
    );
}

/// A notification that is given up after a single attempt.
fn give_one_up(tenant: &Tenant) -> u64 {
    set(tenant, json!({"push": {"retry": {"kind": "none"}}}));
    let id = tenant.producer.post_event(&event("AGREEMENT_CREATED"));
    until("a push to be given up", SOON, || {
        let attempts = tenant.admin.get(&format!("deliveries/{id}/attempts")).expect(200);
        attempts["data"].as_array().is_some_and(|made| made.len() == 1).then_some(())
    });
    id
}

on_both! {
    fn a_push_is_disabled_after_its_last_retry_and_resumed_with_or_without_what_waits(db) {
        let house = House::start(&db);
        let willing = Arc::new(AtomicBool::new(true));
        let echoes = Arc::clone(&willing);
        let handler = systems::acrobat_sign(CLIENT_ID, move |method, _| match method {
            "GET" => Echo::Header,
            _ if echoes.load(Ordering::SeqCst) => Echo::Header,
            _ => Echo::Nowhere,
        });
        let tenant = house.server.tenant("Acme");
        set(&tenant, json!({"profile": "acrobatSign", "push": {"clientId": CLIENT_ID, "url": handler.url()},
            "alerts": {"email": "ops@example.com", "url": house.alerts.url(), "backlogAgeSeconds": 3_600}}));
        let post = || tenant.producer.post_event(&event("AGREEMENT_CREATED"));
        let first = post();
        tenant.wait_for_state(first, "delivered");

        // Retries exhausted, but a success within seven days: it goes on.
        willing.store(false, Ordering::SeqCst);
        let given_up = give_one_up(&tenant);
        tenant.wait_for_state(given_up, "failed");
        let mut told = vec!["failing", "retries100"];
        expect_told(&house, &told);
        willing.store(true, Ordering::SeqCst);
        let next = post();
        tenant.wait_for_state(next, "delivered");
        assert_eq!(push_health(&tenant)["state"], "active");
        told.push("recovered");
        expect_told(&house, &told);

        // None within seven days: all fifteen retries are made, and not before the last is it disabled.
        set(&tenant, json!({"push": {"retry": null}}));
        willing.store(false, Ordering::SeqCst);
        let_a_week_pass(&db);
        let id = post();
        for made in 1..=RETRIES {
            until(&format!("attempt {made}"), SOON, || {
                let status = tenant.push_status(id);
                assert_eq!(status["state"], "pending", "after {made} attempts: {status}");
                (status["attempts"].as_u64() == Some(made)).then_some(())
            });
            assert_eq!(push_health(&tenant)["state"], "active");
            // Each mark is told before the next is reached.
            match made {
                1 => told.push("failing"),
                9 => told.push("retries50"),
                12 => told.push("retries70"),
                15 => told.push("retries90"),
                _ => {}
            }
            if matches!(made, 9 | 12 | 15) {
                expect_told(&house, &told);
            }
            let_time_pass(&db);
        }
        until("the push to be disabled", SOON, || (push_health(&tenant)["state"] == "disabled").then_some(()));
        let reason = push_health(&tenant)["reason"].clone();
        assert_eq!(reason, "the retries of a notification are exhausted, and nothing was delivered for 604800 seconds");
        assert_eq!(tenant.wait_for_state(id, "failed")["attempts"], RETRIES + 1);
        told.extend(["retries100", "disabled"]);
        expect_told(&house, &told);

        // Nothing is lost: what comes now is stored, waits, and is told of when it has waited for too long.
        let waiting: Vec<u64> = (0..3).map(|_| post()).collect();
        for id in &waiting {
            assert_eq!(tenant.push_status(*id)["state"], "paused");
        }
        db.execute("UPDATE notifications SET received_at = received_at - 7200000000;");
        told.push("backlog");
        expect_told(&house, &told);

        // Resumed: what waits is pushed, oldest first.
        willing.store(true, Ordering::SeqCst);
        let before = pushed(&handler).len();
        set(&tenant, json!({"push": {"enabled": true, "maxConcurrency": 1}}));
        for id in &waiting {
            tenant.wait_for_state(*id, "delivered");
        }
        assert_eq!(pushed(&handler)[before..], waiting);
        told.extend(["resumed", "recovered"]);
        expect_told(&house, &told);

        // Disabled again, and told again; resumed without what waits.
        willing.store(false, Ordering::SeqCst);
        let_a_week_pass(&db);
        give_one_up(&tenant);
        until("the push to be disabled", SOON, || (push_health(&tenant)["state"] == "disabled").then_some(()));
        told.extend(["failing", "retries100", "disabled"]);
        expect_told(&house, &told);
        let waiting: Vec<u64> = (0..3).map(|_| post()).collect();
        willing.store(true, Ordering::SeqCst);
        let before = pushed(&handler).len();
        set(&tenant, json!({"push": {"enabled": true, "resume": "fromNow"}}));
        let new = post();
        tenant.wait_for_state(new, "delivered");
        assert_eq!(pushed(&handler)[before..], [new]);
        for id in &waiting {
            assert_eq!(tenant.push_status(*id)["state"], "failed", "given up, and there to be pulled");
            tenant.consumer.get(&format!("notifications/{id}")).expect(200);
        }
        told.extend(["resumed", "recovered"]);
        expect_told(&house, &told);
    }
}

/// The sequences that were pushed, in their order.
fn pushed(handler: &Receiver) -> Vec<u64> {
    let pushes = handler.requests().into_iter().filter(|request| request.method == "POST");
    pushes.map(|request| request.sequence()).collect()
}
