//! No tenant slows another: fifty-one of them on one server, eleven of which have receivers that are sick in different ways.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

#[path = "isolation/million.rs"]
mod million;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_tests::receivers::Mute;
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, Server, Tenant, event, on_both, ports};

const HEALTHY: usize = 40;
/// How many events each healthy tenant gets in each part of the test.
const EVENTS: usize = 8;
const BACKLOG: usize = 3_000;
/// Four of them are all that the server has room for.
const LARGE: usize = 9 << 20;
/// How long an attempt of a sick tenant may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Where a sick tenant's pushes go, and whoever answers there.
struct Sick {
    name: &'static str,
    url: String,
    events: usize,
    /// How large each of them is.
    bytes: usize,
    /// Kept for as long as the test runs.
    _behind: Behind,
}

enum Behind {
    Receiver(#[expect(dead_code, reason = "it answers as long as it lives")] Receiver),
    Mute(#[expect(dead_code, reason = "it is silent as long as it lives")] Mute),
    Nobody,
}

fn sick() -> Vec<Sick> {
    let with = |name, events, receiver: Receiver| {
        let url = receiver.url();
        Sick { name, url, events, bytes: 0, _behind: Behind::Receiver(receiver) }
    };
    let mute = Mute::start();
    let garbage = Receiver::start(|_, _| Reply::Status(200));
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n";
    let drops: Vec<Vec<u8>> = head.iter().chain(&[b'x'; 60]).map(|byte| vec![*byte]).collect();
    let huge = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 8 << 20]].concat();
    let later = vec![("retry-after".to_owned(), "3600".to_owned())];
    vec![
        with("hangs", 100, Receiver::start(|_, _| Reply::Hang)),
        Sick { name: "never reads", url: mute.url(), events: 100, bytes: 0, _behind: Behind::Mute(mute) },
        Sick { bytes: LARGE, ..with("hangs on large ones", 8, Receiver::start(|_, _| Reply::Hang)) },
        with(
            "a byte a second",
            100,
            Receiver::start(move |_, _| Reply::Drip(drops.clone(), Duration::from_secs(1))),
        ),
        with("500", 100, Receiver::start(|_, _| Reply::Status(500))),
        with("resets", 100, Receiver::start(|_, _| Reply::Reset)),
        Sick {
            name: "refuses",
            url: format!("http://127.0.0.1:{}/", ports::free()),
            events: 100,
            bytes: 0,
            _behind: Behind::Nobody,
        },
        with("a huge body", 50, Receiver::start(move |_, _| Reply::Raw(huge.clone()))),
        Sick {
            name: "no TLS",
            url: garbage.url().replace("http:", "https:"),
            events: 100,
            bytes: 0,
            _behind: Behind::Receiver(garbage),
        },
        with("429", 100, Receiver::start(move |_, _| Reply::WithHeaders(429, later.clone()))),
        with(
            "a backlog",
            BACKLOG,
            Receiver::start(|_, _| Reply::After(Duration::from_millis(500), Box::new(Reply::Status(200)))),
        ),
    ]
}

fn post(tenant: &Tenant, count: usize) {
    let mut left = count;
    while left > 0 {
        let some = left.min(1_000);
        let operations: Vec<Value> =
            (0..some).map(|_| json!({"op": "add", "data": event("close")["data"]})).collect();
        tenant.producer.post("operations", &json!({"atomic:operations": operations})).expect(200);
        left -= some;
    }
}

/// Posts to all healthy tenants in turn, and gives how long each event took from its POST to its receipt, in order.
fn latencies(healthy: &[(Tenant, Receiver)]) -> Vec<Duration> {
    let mut latencies = Vec::new();
    std::thread::scope(|scope| {
        let posting: Vec<_> = healthy
            .chunks(HEALTHY / 4)
            .map(|tenants| {
                scope.spawn(move || {
                    let mut posted = Vec::new();
                    for _ in 0..EVENTS {
                        for (tenant, receiver) in tenants {
                            let at = Instant::now();
                            posted.push((tenant.producer.post_event(&event("close")), at, receiver));
                        }
                    }
                    let latency = |(id, at, receiver): (u64, Instant, &Receiver)| {
                        let requests = receiver.wait_until(&format!("notification {id}"), SOON, |requests| {
                            requests.iter().any(|request| request.sequence() == id)
                        });
                        let received = requests.iter().find(|request| request.sequence() == id).unwrap().at;
                        received.saturating_duration_since(at)
                    };
                    posted.into_iter().map(latency).collect::<Vec<_>>()
                })
            })
            .collect();
        posting.into_iter().for_each(|posting| latencies.extend(posting.join().unwrap()));
    });
    latencies.sort_unstable();
    latencies
}

/// Healthy tenants, each with a receiver of its own that takes everything.
fn healthy(server: &Server) -> Vec<(Tenant, Receiver)> {
    let start = |nth| {
        let (tenant, receiver) = (server.tenant(&format!("healthy {nth}")), Receiver::accepting());
        tenant.push_to(&receiver.url(), true);
        (tenant, receiver)
    };
    (0..HEALTHY).map(start).collect()
}

/// Compares sorted latencies beside the sick with those without them.
#[track_caller]
fn assert_not_slowed(alone: &[Duration], beside: &[Duration], sick: &str) {
    let of = |all: &[Duration], share: usize| all[(all.len() - 1) * share / 100];
    for (share, ratio, slack) in [(50, 4, 250), (90, 4, 750), (100, 4, 3_000)] {
        let (alone, beside) = (of(alone, share), of(beside, share));
        println!("{share} %: {alone:?} alone, {beside:?} beside {sick}");
        let bound = alone * ratio + Duration::from_millis(slack);
        assert!(beside <= bound, "{share} % took up to {beside:?} beside {sick}, {alone:?} alone");
    }
}

/// Sets the flag when it goes.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

on_both! {
    fn eleven_sick_receivers_slow_none_of_forty_healthy_ones(db) {
        let server = Server::start(&db);
        let healthy = healthy(&server);
        latencies(&healthy);
        let alone = latencies(&healthy);

        let sick = sick();
        let tenants: Vec<Tenant> = sick
            .iter()
            .map(|sick| {
                let tenant = server.tenant(sick.name);
                tenant.push_to(&sick.url, false);
                tenant.admin.settings(json!({"push": {"timeoutSeconds": DEADLINE.as_secs()}})).expect(200);
                if sick.bytes == 0 {
                    post(&tenant, sick.events);
                }
                let large = json!({"text": "x".repeat(sick.bytes)});
                let large = json!({"data": {"type": "notification", "attributes": {"type": "close", "data": large}}});
                for _ in (0..sick.events).filter(|_| sick.bytes > 0) {
                    tenant.producer.post_event(&large);
                }
                tenant
            })
            .collect();
        let ended = AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            // And more of it all the time.
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    for tenant in &tenants {
                        tenant.producer.post_event(&event("close"));
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            // Also when what follows panics.
            let _end = End(&ended);
            // Until attempts have begun, hung, ended and begun again.
            let begun = Instant::now();
            let mut beside = Vec::new();
            while begun.elapsed() < DEADLINE * 2 {
                beside.extend(latencies(&healthy));
            }
            beside.sort_unstable();
            beside
        });
        for (tenant, sick) in tenants.iter().zip(&sick).filter(|(_, sick)| sick.name != "a huge body") {
            let waiting = tenant.consumer.ids("filter[push]=pending");
            assert!(!waiting.is_empty(), "the one that is sick in this way was well: {}", sick.name);
        }

        assert_not_slowed(&alone, &beside, "the sick");
        let each = EVENTS + (alone.len() + beside.len()) / HEALTHY;
        for (tenant, receiver) in &healthy {
            let mut sequences = receiver.sequences();
            sequences.sort_unstable();
            sequences.dedup();
            assert_eq!(sequences, (1..=each as u64).collect::<Vec<_>>(), "of tenant {}", tenant.id);
        }
    }
}
