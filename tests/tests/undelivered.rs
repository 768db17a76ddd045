//! A push that has waited for too long is given up; its notification stays and can be pulled.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::sync::Arc;

use serde_json::json;
use tidings_server::retention;
use tidings_server::store::Store;
use tidings_tests::wait::SOON;
use tidings_tests::{Database, Receiver, Reply, Server, Tenant, event, on_both};

const DAY: i64 = 86_400_000_000;

/// Sweeps the database of a running server as if it were another time.
fn sweep(db: &Database, now: i64) -> i64 {
    let store = Store::open(&db.url().parse().unwrap(), &Arc::default(), 1).unwrap().store;
    let (_going_on, stopping) = tokio::sync::watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(retention::sweep(&store, now, &stopping)).unwrap()
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

fn states(tenant: &Tenant, ids: std::ops::RangeInclusive<u64>) -> Vec<String> {
    ids.map(|id| tenant.push_status(id)["state"].as_str().unwrap().to_owned()).collect()
}

on_both! {
    fn pushes_older_than_the_tenant_s_days_are_given_up_and_nothing_else(db) {
        let server = Server::start(&db);
        let receiver = Receiver::start(|_, nth| Reply::Status(if nth == 0 { 200 } else { 500 }));
        let (bounded, patient) = (server.tenant("bounded"), server.tenant("patient"));
        let retry = json!({"kind": "fixed", "everySeconds": 604_800, "attempts": 20});
        bounded.admin.settings(json!({"retention": {"undeliveredDays": 2}})).expect(200);
        bounded.admin.settings(json!({"push": {"url": receiver.url(), "retry": retry}})).expect(200);
        assert_eq!(bounded.producer.post_event(&event("close")), 1);
        bounded.wait_for_state(1, "delivered");
        patient.admin.settings(json!({"push": {"url": receiver.url(), "retry": retry}})).expect(200);
        for tenant in [&bounded, &patient] {
            (0..3).for_each(|_| {
                tenant.producer.post_event(&event("close"));
            });
        }
        let between = now();
        assert_eq!(bounded.producer.post_event(&event("close")), 5);
        // Each has been tried and is put off, so that nobody has it while it is looked for.
        tidings_tests::until("all to be put off", SOON, || {
            let tried = |tenant: &Tenant, id| tenant.push_status(id)["attempts"] == 1;
            ((2..=5).all(|id| tried(&bounded, id)) && (1..=3).all(|id| tried(&patient, id))).then_some(())
        });

        assert_eq!(sweep(&db, between + DAY), 0);
        assert_eq!(states(&bounded, 2..=5), ["pending"; 4], "nothing is old enough yet");
        assert_eq!(sweep(&db, between + 2 * DAY), 0, "nothing is removed");
        assert_eq!(states(&bounded, 1..=5), ["delivered", "failed", "failed", "failed", "pending"]);
        assert_eq!(states(&patient, 1..=3), ["pending"; 3], "who has set nothing waits");

        let delivery = bounded.admin.get("deliveries/2").expect(200);
        assert_eq!(delivery["data"]["attributes"]["status"], "error");
        assert_eq!(delivery["data"]["attributes"]["errorMessage"], "expired");
        assert_eq!(bounded.consumer.ids("sort=sequence&page[after]=0"), [1, 2, 3, 4, 5], "all can be pulled");
        assert_eq!(receiver.count(), 8, "and nothing was tried again");
    }

    fn what_was_pushed_again_may_wait_as_long_as_what_is_new(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("again");
        let receiver = Receiver::accepting();
        let push = json!({"url": receiver.url(), "enabled": false});
        tenant.admin.settings(json!({"push": push, "retention": {"undeliveredDays": 1}})).expect(200);
        // More than two batches, of which all but every fourth are pushed again.
        let all = 450_u64;
        (0..all).for_each(|_| {
            tenant.producer.post_event(&event("close"));
        });
        db.execute("UPDATE notifications SET received_at = received_at - 864000000000;");
        let ids: Vec<String> = (1..=all).filter(|id| id % 4 != 0).map(|id| id.to_string()).collect();
        let attributes = json!({"action": "repush", "ids": ids});
        let job = json!({"data": {"type": "job", "attributes": attributes}});
        let job = tenant.admin.post("jobs", &job).expect(202);
        let path = format!("jobs/{}", job["data"]["id"].as_str().unwrap());
        tidings_tests::until("the job to end", SOON, || {
            (tenant.admin.get(&path).expect(200)["data"]["attributes"]["state"] == "done").then_some(())
        });
        let pushed_again = now();

        sweep(&db, pushed_again);
        let states = || states(&tenant, 1..=all);
        let expected: Vec<_> = (1..=all).map(|id| if id % 4 == 0 { "failed" } else { "paused" }).collect();
        assert_eq!(states(), expected, "ten days old, but pushed again just now");
        sweep(&db, pushed_again + DAY);
        assert_eq!(states(), vec!["failed"; 450], "its day is over");
        assert_eq!(receiver.count(), 0);
    }

    fn what_waits_while_the_push_is_paused_is_given_up_too(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("paused");
        let receiver = Receiver::accepting();
        let push = json!({"url": receiver.url(), "enabled": false});
        tenant.admin.settings(json!({"push": push, "retention": {"undeliveredDays": 1}})).expect(200);
        // More than one batch.
        (0..450).for_each(|_| {
            tenant.producer.post_event(&event("close"));
        });
        sweep(&db, now() + DAY);
        tenant.admin.settings(json!({"push": {"enabled": true}})).expect(200);
        assert_eq!(tenant.producer.post_event(&event("close")), 451);
        tenant.wait_for_state(451, "delivered");
        assert_eq!(receiver.sequences(), [451], "what was given up isn't pushed when the push goes on");
        assert_eq!(states(&tenant, 1..=1), ["failed"]);
        assert_eq!(tenant.consumer.count(), 451);
    }
}
