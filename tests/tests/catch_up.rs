//! Catching up on very many: it can be killed at any point and goes on from there, and it takes little memory.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::archiver::{Archiver, Options, numbers};
use tidings_tests::program::peak_memory;
use tidings_tests::random::Random;
use tidings_tests::{Database, Kind, Server, Tenant, until};

const BOUND: Duration = Duration::from_secs(180);

/// Has so many notifications wait, of about so many bytes.
fn fill(tenant: &Tenant, count: usize, bytes: usize) {
    let attributes = json!({"type": "close", "data": {"padding": "x".repeat(bytes)}});
    let add = json!({"op": "add", "data": {"type": "notification", "attributes": attributes}});
    for first in (0..count).step_by(1_000) {
        let operations: Vec<&Value> = vec![&add; 1_000.min(count - first)];
        tenant.producer.post("operations", &json!({"atomic:operations": operations})).expect(200);
    }
}

fn options(server: &Server, tenant: &Tenant) -> Options {
    Options::new(&server.url(), tenant.consumer.key(), &tenant.signing_secret)
}

/// Up to where the list was read.
fn cursor(archiver: &Archiver) -> i64 {
    // Killed early enough, it has made no tables.
    let tables = "SELECT 1 AS a, 1 AS b FROM sqlite_schema WHERE name = 'inbox_to_dismiss'";
    if !archiver.inbox().exists() || numbers(&archiver.inbox(), tables).is_empty() {
        return 0;
    }
    archiver.count("SELECT cursor FROM inbox_state")
}

fn held(archiver: &Archiver) -> BTreeSet<i64> {
    let held = numbers(&archiver.inbox(), "SELECT id AS a, 0 AS b FROM inbox_notifications");
    held.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn it_is_killed_at_any_point_and_goes_on_from_there() {
    const COUNT: i64 = 20_000;
    let mut random = Random::seeded("catch_up");
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let tenant = server.tenant("catch-up");
    fill(&tenant, 20_000, 200);
    let mut archiver = Archiver::stopped(options(&server, &tenant));
    let mut cursors = vec![0];
    for nth in 0..20 {
        let before = cursors[nth];
        archiver.spawn();
        if nth % 2 == 0 {
            // Maybe before it has begun.
            std::thread::sleep(Duration::from_millis(random.between(0, 200)));
        } else {
            let goes_on = || (cursor(&archiver) > before.min(COUNT - 1)).then_some(());
            until("it to go on", BOUND, goes_on);
            std::thread::sleep(Duration::from_millis(random.between(0, 50)));
        }
        archiver.kill9();
        let now = cursor(&archiver);
        assert!(now >= before, "the cursor has gone back: {cursors:?}, {now}");
        cursors.push(now);
        if now > 0 {
            // All that it stands for is there.
            let there = held(&archiver).range(..=now).count();
            assert_eq!(i64::try_from(there), Ok(now), "a page is missing before the cursor");
        }
    }
    println!("killed at {cursors:?}");
    let inside = cursors.iter().filter(|cursor| (1..COUNT).contains(*cursor)).count();
    assert!(inside > 0, "it was never killed in the middle of it");

    archiver.restart();
    let handled = || archiver.count("SELECT count(*) FROM effects") >= COUNT;
    until("all to be handled", BOUND, || handled().then_some(()));
    let effects = archiver.effects();
    assert!(effects.values().all(|count| *count == 1), "an effect came twice");
    let all: BTreeSet<i64> = (1..=COUNT).collect();
    assert!(effects.into_keys().eq(all.iter().copied()) && held(&archiver) == all);
    assert_eq!(cursor(&archiver), COUNT);
    until("all to be dismissed", BOUND, || tenant.consumer.ids("").is_empty().then_some(()));
}

#[test]
fn its_memory_does_not_grow_with_what_waits() {
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let peak = |count: usize| {
        let tenant = server.tenant("catch-up");
        fill(&tenant, count, 3_000);
        let archiver = Archiver::start(options(&server, &tenant));
        let wanted = i64::try_from(count).unwrap();
        let handled = || archiver.count("SELECT count(*) FROM effects") == wanted;
        until("all to be handled", BOUND, || handled().then_some(()));
        until("all to be dismissed", BOUND, || tenant.consumer.ids("").is_empty().then_some(()));
        peak_memory(archiver.pid()).expect("the system tells it")
    };
    let (few, many) = (peak(2_000), peak(16_000));
    println!("{few:.1} MB with 2,000 waiting, {many:.1} MB with 16,000");
    assert!(many < 64.0, "{many} MB");
    // 42 MB more have passed.
    assert!(many < few + 16.0, "{few} MB with few, {many} MB with many");
}
