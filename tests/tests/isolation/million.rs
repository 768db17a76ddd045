//! A tenant for which a million notifications wait slows none of forty others, be its receiver slow or gone.

use std::time::{Duration, Instant};

use serde_json::json;
use tidings_tests::wait::SOON;
use tidings_tests::{Database, Kind, Receiver, Reply, Server, Tenant, event, on_both};

use super::{End, assert_not_slowed, healthy, latencies};

const WAITING: u64 = 1_000_000;
/// How long it is measured beside each.
const MEASURED: Duration = Duration::from_secs(5);

/// Lets a million wait for a tenant that has none yet, as if they had been posted. No server must be running.
fn fill(db: &Database, tenant: &Tenant) {
    let (before, numbers, now, after) = match db.kind() {
        // Nobody minds if this is lost with the machine.
        Kind::Sqlite => (
            "PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;",
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {}) ",
            "unixepoch() * 1000000",
            "PRAGMA wal_checkpoint(TRUNCATE);",
        ),
        Kind::Postgres => (
            "SET synchronous_commit = off;",
            "WITH numbers (n) AS (SELECT * FROM generate_series(1, {})) ",
            "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
            // What autovacuum does every minute: posted one by one, they would have come in more than that.
            "ANALYZE notifications; ANALYZE states;",
        ),
    };
    let numbers = numbers.replace("{}", &WAITING.to_string());
    let id = format!("(SELECT id FROM tenants WHERE public_id = '{}')", tenant.id);
    db.execute(&format!(
        "{before} BEGIN;
         INSERT INTO notifications (tenant_id, sequence, event_type, created_at, received_at, extra, included)
             {numbers} SELECT {id}, n, 'close', {now}, {now}, '', '' FROM numbers;
         INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, due_at, size)
             {numbers} SELECT {id}, n, FALSE, FALSE, FALSE, 1, 0, n, 200 FROM numbers;
         UPDATE positions SET last_sequence = {WAITING} WHERE tenant_id = {id} AND last_sequence = 0;
         COMMIT; {after}"
    ));
}

on_both! {
    fn a_million_that_wait_for_one_tenant_slow_none_of_forty_others(db) {
        let mut server = Server::start(&db);
        let healthy = healthy(&server);
        let sick = server.tenant("a million");
        let mut receiver =
            Receiver::start(|_, _| Reply::After(Duration::from_millis(500), Box::new(Reply::Status(200))));
        sick.push_to(&receiver.url(), false);
        latencies(&healthy);
        let alone = latencies(&healthy);

        assert!(server.term().success());
        let begun = Instant::now();
        fill(&db, &sick);
        println!("a million took {:?}", begun.elapsed());
        server.restart();
        receiver.wait_for(1, SOON);
        let beside = || {
            let ended = std::sync::atomic::AtomicBool::new(false);
            std::thread::scope(|scope| {
                // And more of it all the time, at which people look.
                scope.spawn(|| {
                    while !ended.load(std::sync::atomic::Ordering::SeqCst) {
                        sick.producer.post_event(&event("close"));
                        sick.admin.get("external-notifications").expect(200);
                        std::thread::sleep(Duration::from_millis(50));
                    }
                });
                let _end = End(&ended);
                let begun = Instant::now();
                let mut beside = Vec::new();
                while begun.elapsed() < MEASURED {
                    beside.extend(latencies(&healthy));
                }
                beside.sort_unstable();
                beside
            })
        };
        let before = receiver.count();
        assert_not_slowed(&alone, &beside(), "a million for a slow receiver");
        assert!(receiver.count() > before, "the million was being pushed all the time");
        receiver.stop();
        assert_not_slowed(&alone, &beside(), "a million for a receiver that is gone");

        // They waited all the time, and still do: what had come is the oldest of them.
        let pushed = receiver.count() as u64;
        assert!(pushed < 10_000, "{pushed} were pushed: that isn't slow");
        assert!(receiver.sequences().iter().all(|sequence| *sequence <= pushed + 1_000), "not the oldest first");
        for sequence in [pushed + 1_000, WAITING / 2, WAITING] {
            let status = sick.push_status(sequence);
            assert_eq!((&status["state"], &status["attempts"]), (&json!("pending"), &json!(0)), "of {sequence}");
        }
    }
}
