//! The cursor skips nothing: beside many writers, on two nodes, and while the filtered set changes under it.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_tests::api::id_of;
use tidings_tests::{Api, Database, Kind, Server, Tenant, event, on_both};

const WRITERS: usize = 8;
const EACH: usize = 150;

/// Follows the cursor until so many have been seen; the sequence must be 1, 2, 3 … as it goes.
fn follow(consumer: &Api, count: usize) {
    let end = Instant::now() + Duration::from_secs(90);
    let mut last = 0;
    let mut cursor = "0".to_owned();
    while last < count as u64 {
        assert!(Instant::now() < end, "the reader has seen only {last} of {count}");
        let page = consumer
            .get(&format!("notifications?sort=sequence&page[size]=37&page[after]={cursor}"))
            .expect(200);
        for notification in page["data"].as_array().unwrap() {
            assert_eq!(id_of(notification), last + 1, "skipped or repeated");
            last += 1;
        }
        cursor = page["meta"]["page"]["after"].as_str().expect("meta.page.after").to_owned();
    }
    assert_eq!(last, count as u64);
}

/// Eight writers, spread over the given servers, and a reader at the first.
fn write_and_follow(tenant: &Tenant, servers: &[&Server]) {
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let producer = Api::new(&servers[writer % servers.len()].url(), Some(tenant.producer.key()));
            scope.spawn(move || {
                for _ in 0..EACH {
                    producer.post_event(&event("close"));
                }
            });
        }
        scope.spawn(|| follow(&tenant.consumer, WRITERS * EACH));
    });
}

on_both! {
    fn a_reader_beside_eight_writers_sees_every_id_once_and_in_order(db) {
        let server = Server::start(&db);
        write_and_follow(&server.tenant("writers"), &[&server]);
    }

    fn paging_what_is_not_dismissed_while_dismissing_it_skips_nothing(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("dismissing");
        for _ in 0..100 {
            tenant.producer.post_event(&event("close"));
        }
        let total = AtomicUsize::new(100);
        let reading = AtomicBool::new(true);
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while reading.load(Ordering::SeqCst) && total.load(Ordering::SeqCst) < 300 {
                    tenant.producer.post_event(&event("close"));
                    total.fetch_add(1, Ordering::SeqCst);
                }
                reading.store(false, Ordering::SeqCst);
            });
            let end = Instant::now() + Duration::from_secs(60);
            let first = "notifications?filter[isDismissed]=false&sort=sequence&page[size]=7&page[after]=0".to_owned();
            let mut path = first;
            loop {
                assert!(Instant::now() < end, "reading doesn't come to an end");
                let page = tenant.consumer.get(&path).expect(200);
                for notification in page["data"].as_array().unwrap() {
                    let id = id_of(notification);
                    seen.push(id);
                    tenant.consumer.set(id, json!({"isDismissed": true})).expect(200);
                }
                let after = page["meta"]["page"]["after"].as_str().expect("meta.page.after").to_owned();
                let at_the_end = page["links"]["next"].is_null();
                if at_the_end && !reading.load(Ordering::SeqCst) && seen.len() == total.load(Ordering::SeqCst) {
                    break;
                }
                path = match page["links"]["next"].as_str() {
                    Some(next) => next.to_owned(),
                    None => format!(
                        "notifications?filter[isDismissed]=false&sort=sequence&page[size]=7&page[after]={after}"
                    ),
                };
            }
        });
        assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
        assert!(tenant.consumer.ids("").is_empty(), "something was left undismissed");
    }

    fn prefer_wait_answers_soon_after_a_post_that_matches(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("waiting");
        let last = tenant.producer.post_event(&event("close"));
        let wait = |query: &str, seconds: u32| -> (Value, Duration) {
            let begun = Instant::now();
            let prefer = format!("wait={seconds}");
            let path = format!("notifications?sort=sequence&page[after]={last}{query}");
            let answer = tenant.consumer.send("GET", &path, &[("prefer", &prefer)], None);
            (answer.expect(200), begun.elapsed())
        };

        // Nothing comes: an empty page, after the time asked for.
        let (page, took) = wait("", 1);
        assert_eq!(page["data"], json!([]));
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(10), "waited {took:?}");
        // Something is there already: no waiting.
        let begun = Instant::now();
        let there = tenant.consumer.send("GET", "notifications?sort=sequence&page[after]=0", &[("prefer", "wait=30")], None);
        assert_eq!(there.expect(200)["data"].as_array().unwrap().len(), 1);
        assert!(begun.elapsed() < Duration::from_secs(5));

        std::thread::scope(|scope| {
            let posting = scope.spawn(|| {
                // The first doesn't match the filter of the second reader, and must not wake it with an empty page.
                std::thread::sleep(Duration::from_millis(400));
                tenant.producer.post_event(&event("print"));
                std::thread::sleep(Duration::from_millis(400));
                tenant.producer.post_event(&event("void"));
                Instant::now()
            });
            let any = scope.spawn(|| wait("", 30));
            let voids = scope.spawn(|| {
                let (page, took) = wait("&filter[type]=void", 30);
                (page, took, Instant::now())
            });
            let (page, took) = any.join().unwrap();
            assert_eq!(page["data"][0]["id"], "2", "{page}");
            assert!(took < Duration::from_secs(10), "woken only after {took:?}");
            let posted = posting.join().unwrap();
            let (page, took, answered) = voids.join().unwrap();
            assert_eq!(page["data"][0]["id"], "3", "{page}");
            assert!(took >= Duration::from_millis(700), "woken by what doesn't match");
            assert!(answered.saturating_duration_since(posted) < Duration::from_secs(5), "woken too late");
        });
    }

    fn a_preference_is_a_wish(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("waiting");
        tenant.producer.post_event(&event("close"));
        let get = |prefer: &str| {
            let path = "notifications?sort=sequence&page[after]=0";
            let answer = tenant.consumer.send("GET", path, &[("prefer", prefer)], None);
            assert_eq!(answer.expect(200)["data"][0]["id"], "1");
            answer.header("preference-applied").to_owned()
        };
        assert_eq!(get("wait=30"), "wait=30");
        assert_eq!(get("wait=3600"), "wait=60", "nobody waits longer than a minute");
        // RFC 7240: what a server doesn't know or understand is ignored.
        for ignored in ["return=minimal", "wait=long", "wait"] {
            assert_eq!(get(ignored), "", "{ignored}");
        }
    }
}

#[test]
fn two_nodes_write_to_one_postgres_and_the_cursor_skips_nothing() {
    let database = Database::new(Kind::Postgres);
    let (one, two) = (Server::start(&database), Server::start(&database));
    write_and_follow(&one.tenant("two nodes"), &[&one, &two]);
}

#[test]
fn prefer_wait_on_one_node_hears_of_a_post_on_another() {
    let database = Database::new(Kind::Postgres);
    let (one, two) = (Server::start(&database), Server::start(&database));
    let tenant = one.tenant("two nodes");
    let producer = Api::new(&two.url(), Some(tenant.producer.key()));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let begun = Instant::now();
            let path = "notifications?sort=sequence&page[after]=0";
            let page = tenant.consumer.send("GET", path, &[("prefer", "wait=30")], None).expect(200);
            (page, begun.elapsed())
        });
        std::thread::sleep(Duration::from_millis(500));
        producer.post_event(&event("close"));
        let (page, took) = waiting.join().unwrap();
        assert_eq!(page["data"][0]["id"], "1", "{page}");
        assert!(took < Duration::from_secs(10), "heard only after {took:?}");
    });
}

#[test]
fn a_selection_changed_on_one_node_holds_at_once_on_the_other() {
    let database = Database::new(Kind::Postgres);
    let (one, two) = (Server::start(&database), Server::start(&database));
    let tenant = one.tenant("selection");
    let producer = Api::new(&two.url(), Some(tenant.producer.key()));
    for round in 0..3 {
        tenant.admin.settings(json!({"selection": {"types": ["print"]}})).expect(200);
        assert_eq!(producer.post("notifications", &event("close")).expect(200)["meta"]["stored"], false);
        tenant.admin.settings(json!({"selection": {"types": ["*"]}})).expect(200);
        assert_eq!(producer.post_event(&event("close")), round + 1);
    }
}
