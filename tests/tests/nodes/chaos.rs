//! The ledger of all nodes: three of them, killed, frozen, cut off from the database and from the receivers, at random and at
//! the same time, while events for several tenants come to all of them. At the end everything that was accepted is there
//! and delivered, and the receivers have seen no limit exceeded and no order broken.
//!
//! A minute long; `TIDINGS_TEST_ROUNDS=20` makes it twenty times as long, and `TIDINGS_TEST_SEED` repeats the incidents.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_tests::api::id_of;
use tidings_tests::nodes::{Incident, Node};
use tidings_tests::producers::check_ledger;
use tidings_tests::random::Random;
use tidings_tests::{Api, Nodes, Producers, Tenant, Witness};

use super::{all_delivered, fixed, push};

const MINUTE: Duration = Duration::from_secs(60);
/// How long the end may take: dead nodes must be noticed, pauses be over, and backlogs be sent.
const CALM: Duration = Duration::from_secs(120);

fn rounds() -> u32 {
    std::env::var("TIDINGS_TEST_ROUNDS")
        .map_or(1, |text| text.parse().expect("TIDINGS_TEST_ROUNDS is a number"))
}

/// What one tenant has.
struct Kind {
    name: &'static str,
    settings: Value,
    /// The most at a time.
    concurrency: usize,
    per_minute: Option<u32>,
    /// How long the receiver takes, in milliseconds.
    hold: u64,
    /// The pause of its producer, in milliseconds.
    pause: u64,
}

fn kinds() -> [Kind; 5] {
    let plain = |name, settings, concurrency| Kind {
        name,
        settings,
        concurrency,
        per_minute: None,
        hold: 40,
        pause: 100,
    };
    [
        plain("default", json!({"maxConcurrency": 4}), 4),
        Kind { hold: 10, ..plain("ordered", json!({"ordering": "fifo"}), 1) },
        Kind { hold: 20, ..plain("one at a time", json!({"maxConcurrency": 1}), 1) },
        plain("dismissed", json!({"maxConcurrency": 3, "autoDismiss": true}), 3),
        Kind {
            per_minute: Some(120),
            hold: 0,
            pause: 2_000,
            ..plain("paced", json!({"maxConcurrency": 8, "rateLimit": 120}), 8)
        },
    ]
}

/// A time of mostly short, now and then past the lease.
fn time(random: &mut Random) -> Duration {
    let most = if random.between(0, 4) == 0 { 12_000 } else { 3_000 };
    Duration::from_millis(random.between(50, most))
}

/// Sleeps, but not beyond the end.
fn pause(time: Duration, end: Instant) {
    std::thread::sleep(time.min(end.saturating_duration_since(Instant::now())));
}

/// What happens to one node until the end; counts it.
fn torment(index: usize, node: &mut Node, mut random: Random, end: Instant, count: &AtomicUsize) {
    while Instant::now() < end {
        pause(time(&mut random), end);
        let which = usize::try_from(random.between(0, 4)).unwrap();
        let (incident, length) = (Incident::ALL[which], time(&mut random));
        println!("node {index} is {incident:?} for {length:?}");
        count.fetch_add(1, Ordering::SeqCst);
        node.suffer(incident);
        pause(length, end);
        node.recover(incident);
    }
}

/// Cuts the receivers off and lets them come back until the end.
fn cut_off(witnesses: &[Witness], mut random: Random, end: Instant) {
    while Instant::now() < end {
        pause(time(&mut random), end);
        let which = usize::try_from(random.between(0, witnesses.len() as u64)).unwrap();
        witnesses[which].cut_off();
        pause(time(&mut random), end);
        witnesses[which].back();
    }
}

/// Looks at one node after the other until the end: what is dismissed, its receiver has accepted before.
fn look(urls: &[String], key: &str, witness: &Witness, end: Instant) {
    let nodes: Vec<Api> =
        urls.iter().map(|url| Api::patient(url, Some(key), Duration::from_secs(3))).collect();
    for node in nodes.iter().cycle().take_while(|_| Instant::now() < end) {
        let path = "notifications?filter[isDismissed]=true&page[size]=1000";
        match node.try_send("GET", path, &[], None) {
            Ok(answer) if answer.status == 200 => {
                let accepted = witness.accepted();
                for notification in answer.json()["data"].as_array().unwrap() {
                    let id = id_of(notification);
                    assert!(accepted.contains(&id), "{id} was dismissed and not delivered");
                }
            }
            Ok(_) | Err(_) => {}
        }
        pause(Duration::from_millis(300), end);
    }
}

#[test]
fn whatever_happens_to_three_nodes_the_ledger_is_whole_and_no_limit_was_exceeded() {
    let mut random = Random::seeded("nodes");
    let mut nodes = Nodes::start(3);
    let kinds = kinds();
    let begin = |kind: &Kind| -> (Tenant, Witness) {
        let hold = Duration::from_millis(kind.hold);
        // Every ninth fails once.
        let witness = Witness::start(move |request, times| {
            let fails = request.sequence() % 9 == 4 && times == 1;
            (hold, if fails { 500 } else { 204 })
        });
        let tenant = nodes.tenant(kind.name);
        let mut settings = kind.settings.clone();
        settings["retry"] = fixed(1, 100);
        push(&tenant, &witness.url(), settings);
        (tenant, witness)
    };
    let (tenants, witnesses): (Vec<Tenant>, Vec<Witness>) = kinds.iter().map(begin).unzip();
    let urls = nodes.urls();
    let producers: Vec<Producers> = tenants
        .iter()
        .zip(&kinds)
        .map(|(tenant, kind)| Producers::start(tenant, &urls, 2, Duration::from_millis(kind.pause)))
        .collect();

    let (end, count) = (Instant::now() + MINUTE * rounds(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let tormented: Vec<_> = nodes
            .list
            .iter_mut()
            .enumerate()
            .map(|(index, node)| {
                let (random, count) = (random.fork(), &count);
                scope.spawn(move || torment(index, node, random, end, count))
            })
            .collect();
        let random = random.fork();
        let cut = scope.spawn(|| cut_off(&witnesses, random, end));
        let looked = scope.spawn(|| look(&urls, tenants[3].consumer.key(), &witnesses[3], end));
        let ended: Vec<_> = tormented.into_iter().map(|thread| thread.join()).collect();
        assert!(ended.iter().all(Result::is_ok) && cut.join().is_ok(), "an incident could not be ended");
        assert!(looked.join().is_ok(), "a dismissal was wrong");
    });
    nodes.list.iter().for_each(Node::wait_until_ready);

    let changes = count.into_inner();
    let ledgers: Vec<_> = producers.into_iter().map(Producers::stop).collect();
    for (((kind, tenant), witness), ledger) in kinds.iter().zip(&tenants).zip(&witnesses).zip(ledgers) {
        let last = check_ledger(&tenant.consumer, &ledger);
        // However much the rate has left to do.
        let bound = CALM + kind.per_minute.map_or(Duration::ZERO, |limit| MINUTE * last as u32 / limit);
        witness.wait_for_accepted(last, bound);
        all_delivered(&tenant.consumer);
        println!(
            "{}: {last} events, {} requests, {} came again",
            kind.name,
            witness.count(),
            witness.repeated()
        );
        witness.check_ids();
        witness.check_concurrency(kind.concurrency);
        if let Some(limit) = kind.per_minute {
            witness.check_rate(limit);
        }
        if kind.name == "ordered" {
            witness.check_order(changes);
        }
        let is_dismissing = kind.settings["autoDismiss"] == true;
        let dismissed = tenant.consumer.all("filter[isDismissed]=true").len() as u64;
        assert_eq!(dismissed, if is_dismissing { last } else { 0 }, "{}: dismissed", kind.name);
    }
}
