//! What each tenant's lane promises: its limits are hard, its order is strict where that is wanted, a receiver that is
//! down is probed and not hammered, and a backlog drains oldest first.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_tests::receivers::Gauge;
use tidings_tests::wait::SOON;
use tidings_tests::{Api, Database, Kind, Receiver, Reply, Request, Server, Tenant, event, on_both, until};

/// Long enough for a slow machine.
const LONG: Duration = Duration::from_secs(90);

fn push(tenant: &Tenant, settings: Value) {
    tenant.admin.settings(json!({"push": settings})).expect(200);
}

/// Stores so many events with one request.
fn post(tenant: &Tenant, count: usize) {
    let operations: Vec<Value> =
        (0..count).map(|_| json!({"op": "add", "data": event("close")["data"]})).collect();
    tenant.producer.post("operations", &json!({"atomic:operations": operations})).expect(200);
}

fn fixed(every: u32, attempts: u32) -> Value {
    json!({"kind": "fixed", "everySeconds": every, "attempts": attempts, "jitter": 0.0})
}

fn all_delivered(tenant: &Tenant) {
    until("all to be delivered", LONG, || {
        tenant.consumer.ids("filter[push]=pending").is_empty().then_some(())
    });
}

fn health(tenant: &Tenant) -> Value {
    tenant.admin.get("external-notifications").expect(200)["data"]["meta"]["push"].clone()
}

on_both! {
    fn the_concurrency_is_a_hard_limit_and_may_change_while_it_sends(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("limited");
        let gauge = Gauge::default();
        let held = gauge.clone();
        let receiver = Receiver::start(move |_, _| {
            held.hold(Duration::from_millis(40));
            Reply::Status(200)
        });
        push(&tenant, json!({"url": receiver.url(), "maxConcurrency": 3}));
        // At first straight to the lane, then by claims.
        (0..40).for_each(|_| { tenant.producer.post_event(&event("close")); });
        post(&tenant, 600);
        receiver.wait_for(150, LONG);
        assert_eq!(gauge.most(), 3, "reached and not passed");

        push(&tenant, json!({"maxConcurrency": 8}));
        until("the larger limit to be reached", LONG, || {
            let most = gauge.most();
            assert!(most <= 8, "{most} at a time");
            (most == 8).then_some(())
        });
        let count = receiver.count();
        receiver.wait_for(count + 100, LONG);
        assert_eq!(gauge.most(), 8, "reached and not passed");

        push(&tenant, json!({"maxConcurrency": 1}));
        until("the smaller limit to hold", LONG, || {
            gauge.most();
            let count = receiver.count();
            receiver.wait_for((count + 5).min(640), LONG);
            (gauge.most() == 1).then_some(())
        });
        push(&tenant, json!({"maxConcurrency": 32}));
        receiver.wait_for(640, LONG);
        all_delivered(&tenant);
        let mut pushed = receiver.sequences();
        pushed.sort_unstable();
        assert_eq!(pushed, (1..=640).collect::<Vec<_>>(), "each of them once");
    }

    fn the_rate_is_limited_until_the_limit_is_lifted(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("paced");
        let receiver = Receiver::accepting();
        push(&tenant, json!({"url": receiver.url(), "rateLimit": 60}));
        post(&tenant, 100);
        let requests = receiver.wait_for(7, LONG);
        // Two at once, then one a second; a tenth is left to the clocks on the way.
        let took = requests[6].at.duration_since(requests[0].at);
        assert!(took > Duration::from_millis(4_500), "7 requests within {took:?}");
        push(&tenant, json!({"rateLimit": null}));
        receiver.wait_for(100, SOON);
        all_delivered(&tenant);
    }

    fn a_resumed_push_drains_its_backlog_oldest_first_at_a_rising_rate(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("resumed");
        let hold = Duration::from_millis(100);
        let receiver = Receiver::start(move |_, _| Reply::After(hold, Box::new(Reply::Status(200))));
        push(&tenant, json!({"url": receiver.url(), "enabled": false, "maxConcurrency": 8}));
        post(&tenant, 100);
        assert_eq!(tenant.push_status(1)["state"], "paused");
        assert_eq!(receiver.count(), 0);
        push(&tenant, json!({"enabled": true}));
        receiver.wait_for(1, SOON);
        // What is new meanwhile goes behind the rest.
        post(&tenant, 20);
        let requests = receiver.wait_for(120, LONG);
        let alone = requests[1].at.duration_since(requests[0].at);
        assert!(alone >= hold, "the second came {alone:?} after the first, which was not answered yet");
        for (index, request) in requests.iter().enumerate() {
            let expected = index as u64 + 1;
            assert!(request.sequence().abs_diff(expected) <= 8, "{} came as number {expected}", request.sequence());
        }
        all_delivered(&tenant);
    }

    fn a_receiver_that_is_down_is_probed_by_turns_with_what_was_tried_and_what_waits(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("down");
        let receiver = Receiver::start(|_, _| Reply::Status(500));
        push(&tenant, json!({"url": receiver.url(), "maxConcurrency": 8, "retry": fixed(1, 100)}));
        post(&tenant, 300);
        // Those that were in flight when it went down, and then probes at 1, 2, 4 and 8 seconds.
        let requests = receiver.wait_until("four probes", LONG, |requests| {
            let gap = |pair: &[Request]| pair[1].at.duration_since(pair[0].at) > Duration::from_millis(900);
            requests.windows(2).filter(|pair| gap(pair)).count() >= 4
        });
        let last = requests.last().unwrap().at.duration_since(requests[0].at);
        assert!(last > Duration::from_secs(14), "four probes within {last:?}");
        assert!(requests.len() <= 8 + 5 + 4, "{} requests to a receiver that is down", requests.len());
        let probes = &requests[requests.len() - 4..];
        let first = probes.iter().filter(|probe| probe.header("tidings-attempt") == "1").count();
        assert_eq!(first, 2, "neither the new ones nor the old ones may wait for ever");
    }

    fn strict_order_holds_through_failures_and_a_killed_server(db) {
        let mut server = Server::start(&db);
        let tenant = server.tenant("strict");
        let receiver = Strict::start();
        push(&tenant, json!({"url": receiver.receiver.url(), "ordering": "fifo", "retry": fixed(1, 10)}));
        (0..20).for_each(|_| { tenant.producer.post_event(&event("close")); });
        receiver.wait_for_accepted(12);
        post(&tenant, 40);
        receiver.wait_for_accepted(24);
        server.kill9();
        receiver.next_life();
        server.restart();
        post(&tenant, 20);
        receiver.wait_for_accepted(80);
        all_delivered(&tenant);
        receiver.check();
    }

    fn under_strict_order_what_is_given_up_lets_the_next_go(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("given up");
        let receiver = Receiver::start(|request, _| Reply::Status(if request.sequence() == 2 { 422 } else { 200 }));
        push(&tenant, json!({"url": receiver.url(), "ordering": "fifo", "retry": fixed(1, 3)}));
        post(&tenant, 4);
        receiver.wait_for(6, LONG);
        assert_eq!(receiver.sequences(), [1, 2, 2, 2, 3, 4]);
        tenant.wait_for_state(2, "failed");
        all_delivered(&tenant);
    }

    fn the_order_may_become_strict_while_it_sends(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("becomes strict");
        let gauge = Gauge::default();
        let held = gauge.clone();
        let receiver = Receiver::start(move |_, _| {
            held.hold(Duration::from_millis(20));
            Reply::Status(200)
        });
        push(&tenant, json!({"url": receiver.url(), "maxConcurrency": 8}));
        post(&tenant, 300);
        receiver.wait_for(20, LONG);
        push(&tenant, json!({"ordering": "fifo"}));
        until("one at a time", LONG, || {
            gauge.most();
            let count = receiver.count();
            receiver.wait_for((count + 10).min(300), LONG);
            (gauge.most() == 1).then_some(())
        });
        let begun = receiver.count();
        assert!(begun < 290, "too late to prove anything");
        receiver.wait_for(300, LONG);
        let sequences = receiver.sequences();
        assert!(sequences[begun..].is_sorted(), "{:?}", &sequences[begun..]);
        all_delivered(&tenant);
    }
}

/// A receiver that refuses some notifications a few times, and remembers what it has seen in each life of the server.
struct Strict {
    receiver: Receiver,
    gauge: Gauge,
    seen: Arc<Mutex<Vec<Life>>>,
}

/// What came, in its order: the sequence, whether it was accepted, and when.
type Life = Vec<(u64, bool, Instant)>;

impl Strict {
    fn start() -> Self {
        let gauge = Gauge::default();
        let seen = Arc::new(Mutex::new(vec![Life::new()]));
        let (held, lives) = (gauge.clone(), Arc::clone(&seen));
        let refused = Mutex::new(BTreeMap::<u64, u32>::new());
        let receiver = Receiver::start(move |request, _| {
            held.hold(Duration::from_millis(3));
            let sequence = request.sequence();
            let mut refused = refused.lock().unwrap();
            let times = refused.entry(sequence).or_default();
            *times += 1;
            let status = match sequence {
                _ if sequence % 11 == 0 && *times <= 2 => 500,
                _ if sequence % 14 == 0 && *times <= 2 => 422,
                _ => 200,
            };
            lives.lock().unwrap().last_mut().unwrap().push((sequence, status == 200, Instant::now()));
            Reply::Status(status)
        });
        Strict { receiver, gauge, seen }
    }

    /// From now on another run of the server sends.
    fn next_life(&self) {
        assert_eq!(self.gauge.most(), 1, "one at a time");
        self.seen.lock().unwrap().push(Life::new());
    }

    fn accepted(&self) -> u64 {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .flatten()
            .filter(|(_, accepted, _)| *accepted)
            .map(|(sequence, ..)| *sequence)
            .max()
            .unwrap_or(0)
    }

    fn wait_for_accepted(&self, last: u64) {
        until(&format!("{last} to be accepted"), LONG, || (self.accepted() >= last).then_some(()));
    }

    /// In each life each notification comes until it is accepted, a second apart, and then the one behind it. A new life
    /// begins with what the last one could not record any more.
    fn check(&self) {
        assert_eq!(self.gauge.most(), 1, "one at a time");
        let seen = self.seen.lock().unwrap();
        let mut accepted = 0;
        for life in seen.iter() {
            let first = life.first().unwrap().0;
            assert!(first <= accepted + 1, "{first} came before {}", accepted + 1);
            for pair in life.windows(2) {
                let ((sequence, was_accepted, at), (next, _, next_at)) = (pair[0], pair[1]);
                assert_eq!(next, sequence + u64::from(was_accepted), "after {pair:?}");
                let pause = next_at.duration_since(at);
                assert!(was_accepted || pause > Duration::from_millis(900), "tried again after {pause:?}");
            }
            accepted = life
                .iter()
                .filter(|(_, accepted, _)| *accepted)
                .map(|(sequence, ..)| *sequence)
                .max()
                .unwrap();
        }
    }
}

#[test]
fn strict_order_holds_over_several_nodes() {
    let database = Database::new(Kind::Postgres);
    let (one, two) = (Server::start(&database), Server::start(&database));
    let tenant = one.tenant("two nodes");
    let receiver = Strict::start();
    push(&tenant, json!({"url": receiver.receiver.url(), "ordering": "fifo", "retry": fixed(1, 10)}));
    // The other node knows the settings by now.
    let elsewhere = Api::new(&two.url(), Some(tenant.admin.key()));
    until("the order to be strict on both nodes", SOON, || {
        let settings = elsewhere.get("external-notifications").expect(200);
        (settings["data"]["attributes"]["push"]["ordering"] == "fifo").then_some(())
    });
    std::thread::scope(|scope| {
        for url in [one.url(), two.url()] {
            let producer = Api::new(&url, Some(tenant.producer.key()));
            scope.spawn(move || {
                (0..50).for_each(|_| {
                    producer.post_event(&event("close"));
                })
            });
        }
    });
    receiver.wait_for_accepted(100);
    all_delivered(&tenant);
    receiver.check();
}

#[test]
fn a_push_without_success_is_disabled_and_what_waits_drains_when_it_is_resumed() {
    let database = Database::new(Kind::Postgres);
    let server = Server::start(&database);
    let (sick, well) = (server.tenant("sick"), server.tenant("well"));
    let is_well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = Arc::clone(&is_well);
    let receiver = Receiver::start(move |_, _| {
        Reply::Status(if seen.load(std::sync::atomic::Ordering::SeqCst) { 200 } else { 500 })
    });
    let half = Receiver::start(|_, nth| Reply::Status(if nth % 2 == 0 { 200 } else { 500 }));
    let settings = |url: String| json!({"url": url, "retry": {"kind": "none"}, "disableAfterSeconds": 60});
    push(&sick, settings(receiver.url()));
    push(&well, settings(half.url()));
    // Both were set up long ago.
    tidings_tests::database::psql_at(database.url(), "UPDATE tenants SET push_resumed_at = 0");
    let mut posted = 0;
    until("the push to be disabled", LONG, || {
        posted = sick.producer.post_event(&event("close"));
        well.producer.post_event(&event("close"));
        (health(&sick)["state"] == "disabled").then_some(())
    });
    let reason = health(&sick)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("60 seconds"), "{reason}");
    (0..6).for_each(|_| {
        well.producer.post_event(&event("close"));
    });
    half.wait_for(posted as usize + 6, SOON);
    until("the failures to be recorded", SOON, || {
        well.consumer.ids("filter[push]=pending").is_empty().then_some(())
    });
    assert!(!well.consumer.ids("filter[push]=failed").is_empty());
    assert_eq!(health(&well)["state"], "active", "one that has had a success is not disabled");

    // Nothing is lost: events are stored and wait.
    let first = sick.producer.post_event(&event("close"));
    (1..30).for_each(|_| {
        sick.producer.post_event(&event("close"));
    });
    assert_eq!(sick.push_status(first)["state"], "paused");
    let before = receiver.count();
    is_well.store(true, std::sync::atomic::Ordering::SeqCst);
    push(&sick, json!({"enabled": true}));
    assert_eq!(health(&sick)["state"], "active");
    let requests = receiver.wait_for(before + 30, LONG);
    let last = requests.iter().rev().take(30).map(Request::sequence).max();
    assert_eq!(last, Some(first + 29));
    all_delivered(&sick);
}
