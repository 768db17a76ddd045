//! What each tenant's lane promises: its limits are hard, its order is strict where that is wanted, a receiver that is
//! down is probed and not hammered, and a backlog drains oldest first.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_api::delivery::{AttemptAttributes, AttemptPage, AttemptReason};
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

/// All attempts that the log has of what the receiver has seen, by the time at which they began. With each the sequence
/// and which attempt of its notification it was, the first being 1.
fn attempts(tenant: &Tenant, receiver: &Receiver) -> Vec<(u64, usize, AttemptAttributes)> {
    let sequences: BTreeSet<u64> = receiver.sequences().into_iter().collect();
    let mut all = Vec::new();
    for sequence in sequences {
        let log = tenant.admin.get(&format!("deliveries/{sequence}/attempts")).expect(200);
        let page: AttemptPage = serde_json::from_value(log).unwrap();
        all.extend((1..).zip(page.data).map(|(number, attempt)| (sequence, number, attempt.attributes)));
    }
    all.sort_by_key(|(.., attempt)| attempt.started_at);
    all
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

        // However slow the machine, there is always a backlog: more is posted whenever it becomes small.
        let mut posted = 640;
        let mut more = || {
            if posted < receiver.count() + 150 {
                post(&tenant, 300);
                posted += 300;
            }
            posted
        };
        push(&tenant, json!({"maxConcurrency": 8}));
        until("the larger limit to be reached", LONG, || {
            more();
            let most = gauge.most();
            assert!(most <= 8, "{most} at a time");
            (most == 8).then_some(())
        });
        more();
        let count = receiver.count();
        receiver.wait_for(count + 50, LONG);
        assert!(gauge.most() <= 8, "not passed");

        push(&tenant, json!({"maxConcurrency": 1}));
        until("the smaller limit to hold", LONG, || {
            more();
            gauge.most();
            let count = receiver.count();
            receiver.wait_for(count + 5, LONG);
            (gauge.most() == 1).then_some(())
        });
        push(&tenant, json!({"maxConcurrency": 32}));
        let posted = more();
        receiver.wait_for(posted, LONG);
        all_delivered(&tenant);
        let mut pushed = receiver.sequences();
        pushed.sort_unstable();
        assert_eq!(pushed, (1..=posted as u64).collect::<Vec<_>>(), "each of them once");
    }

    fn the_rate_is_limited_until_the_limit_is_lifted(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("paced");
        let receiver = Receiver::accepting();
        push(&tenant, json!({"url": receiver.url(), "rateLimit": 60}));
        post(&tenant, 100);
        let requests = receiver.wait_for(7, LONG);
        // Two at once, then one a second: five seconds, of which two are left to a slow way of the first.
        let took = requests[6].at.duration_since(requests[0].at);
        assert!(took > Duration::from_secs(3), "7 requests within {took:?}");
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
        // Of eight that are under way together, any may be the last that a slow machine looks at.
        for (index, request) in requests.iter().enumerate() {
            let expected = index as u64 + 1;
            assert!(request.sequence().abs_diff(expected) <= 32, "{} came as number {expected}", request.sequence());
        }
        all_delivered(&tenant);
    }

    fn a_receiver_that_is_down_is_probed_by_turns_with_what_waits_and_the_oldest_that_was_tried(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("down");
        let receiver = Receiver::start(|_, _| Reply::Status(500));
        push(&tenant, json!({"url": receiver.url(), "maxConcurrency": 8, "retry": fixed(1, 100)}));
        post(&tenant, 300);
        let mut log = Vec::new();
        until("four probes", LONG, || {
            log = attempts(&tenant, &receiver);
            let probes = log.iter().filter(|(.., attempt)| attempt.reason == AttemptReason::Probe);
            (probes.count() >= 4).then_some(())
        });
        let (probes, others): (Vec<_>, Vec<_>) =
            log.into_iter().partition(|(.., attempt)| attempt.reason == AttemptReason::Probe);
        // Those that were in flight when it went down, and what took the place of the first four failures.
        assert!(others.len() <= 8 + 4, "{} requests to a receiver that is down", others.len());
        assert!(
            others.iter().all(|(_, number, attempt)| (*number, attempt.reason) == (1, AttemptReason::First)),
            "{others:?}"
        );
        // By the server's own clock, from the beginning of a probe to that of the next.
        for (pair, seconds) in probes.windows(2).zip([2, 4, 8]) {
            let gap = pair[1].2.started_at - pair[0].2.started_at;
            assert!(gap.num_seconds() >= seconds, "{pair:?}");
        }
        // Neither the new ones nor the old ones may wait for ever; and of those that are due the oldest goes first.
        let turns: Vec<bool> = probes.iter().take(4).map(|(_, number, _)| *number > 1).collect();
        assert!(turns == [true, false, true, false] || turns == [false, true, false, true], "{probes:?}");
        // At the first probe, one second after the last failure, not all of them need be due.
        let mut retries = probes[1..4].iter().filter(|(_, number, _)| *number > 1);
        assert!(retries.all(|(sequence, ..)| *sequence == 1), "{probes:?}");
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
        receiver.receiver.wait_for_the_end_of_connections();
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
        // Enough for what follows, however many of the first were sent before.
        post(&tenant, 300);
        until("one at a time", LONG, || {
            gauge.most();
            let count = receiver.count();
            receiver.wait_for((count + 10).min(600), LONG);
            (gauge.most() == 1).then_some(())
        });
        let begun = receiver.count();
        assert!(begun < 590, "too late to prove anything");
        receiver.wait_for(600, LONG);
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
    // It has had its success before anything of it fails.
    let delivered = well.producer.post_event(&event("close"));
    well.wait_for_state(delivered, "delivered");
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
    half.wait_for(1 + posted as usize + 6, SOON);
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
    is_well.store(true, std::sync::atomic::Ordering::SeqCst);
    push(&sick, json!({"enabled": true}));
    assert_eq!(health(&sick)["state"], "active");
    receiver.wait_until("all that was stored meanwhile", LONG, |requests| {
        let pushed: BTreeSet<u64> = requests.iter().map(Request::sequence).collect();
        (first..first + 30).all(|sequence| pushed.contains(&sequence))
    });
    all_delivered(&sick);
}
