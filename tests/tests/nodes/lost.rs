//! What becomes of the work of a node that is killed, frozen or cut off, and of a receiver that is down for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tidings_api::delivery::{AttemptAttributes, AttemptPage, AttemptReason};
use tidings_tests::database::psql_at;
use tidings_tests::nodes::Incident;
use tidings_tests::producers::check_ledger;
use tidings_tests::wait::SOON;
use tidings_tests::{Api, Nodes, Producers, Tenant, Witness, event, until};

use super::{LONG, all_delivered, fixed, post, push};

/// The sequences that are leased to any node.
fn leased(nodes: &Nodes) -> BTreeSet<u64> {
    let rows = psql_at(
        nodes.database.url(),
        "SELECT sequence FROM states WHERE push_state = 1 AND owner IS NOT NULL",
    );
    rows.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn what_a_killed_node_had_goes_on_elsewhere_within_ten_seconds() {
    let mut nodes = Nodes::start(3);
    let tenant = nodes.tenant("killed");
    let witness = Witness::start(|_, _| (Duration::from_millis(500), 204));
    push(&tenant, &witness.url(), json!({"maxConcurrency": 2}));
    post(&tenant.producer, 30);
    let owner = nodes.wait_for_owner(&tenant);
    witness.wait_for(4, LONG);
    nodes.list[owner].suffer(Incident::Killed);
    let killed = Instant::now();
    let had = leased(&nodes);
    assert!(!had.is_empty(), "it had nothing");
    let went_on = until("the push of what it had", LONG, || {
        let seen = witness.seen();
        seen.iter().find(|seen| seen.at > killed && had.contains(&seen.sequence)).map(|seen| seen.at)
    });
    let took = went_on.duration_since(killed);
    println!("went on after {took:?}");
    assert!(took <= Duration::from_secs(10), "{took:?}");
    witness.wait_for_accepted(30, LONG);
}

#[test]
fn a_rate_holds_while_the_database_falls_silent_again_and_again() {
    const PER_MINUTE: u32 = 240;
    let mut nodes = Nodes::start(1);
    let tenant = nodes.tenant("paced");
    let witness = Witness::start(|_, _| (Duration::ZERO, 204));
    push(&tenant, &witness.url(), json!({"rateLimit": PER_MINUTE, "retry": fixed(1, 100)}));
    post(&tenant.producer, 150);
    for round in 1..=4 {
        witness.wait_for(witness.count() + 5, LONG);
        println!("silence {round} after {} requests", witness.count());
        nodes.list[0].suffer(Incident::Silenced);
        // Longer than the settings are remembered; not so long that the node stops to send.
        std::thread::sleep(Duration::from_secs(5));
        nodes.list[0].recover(Incident::Silenced);
        nodes.list[0].wait_until_ready();
    }
    witness.wait_for_accepted(150, LONG);
    witness.check_rate(PER_MINUTE);
}

/// All attempts of a notification, as they were recorded.
fn attempts(api: &Api, sequence: u64) -> Vec<AttemptAttributes> {
    let log = api.get(&format!("deliveries/{sequence}/attempts")).expect(200);
    let page: AttemptPage = serde_json::from_value(log).unwrap();
    page.data.into_iter().map(|attempt| attempt.attributes).collect()
}

/// One node sends, is frozen, and is answered so; another sends the same, and is answered so. Then the first wakes up.
fn wake_up(first: u16, second: u16) {
    let mut nodes = Nodes::start(2);
    let tenant = nodes.tenant("frozen");
    let frozen = Arc::new(AtomicBool::new(false));
    let is_frozen = Arc::clone(&frozen);
    let witness = Witness::start(move |_, times| {
        if times > 1 {
            return (Duration::ZERO, second);
        }
        until("the sender to be frozen", LONG, || is_frozen.load(Ordering::SeqCst).then_some(()));
        (Duration::ZERO, first)
    });
    // What fails waits for longer than this test.
    push(&tenant, &witness.url(), json!({"autoDismiss": true, "retry": fixed(3600, 5)}));
    tenant.producer.post_event(&event("close"));
    let owner = nodes.wait_for_owner(&tenant);
    until("the first attempt to be under way", SOON, || (witness.under_way() == 1).then_some(()));
    nodes.list[owner].suffer(Incident::Frozen);
    frozen.store(true, Ordering::SeqCst);
    let other = 1 - owner;
    let (admin, consumer) =
        (nodes.list[other].api(tenant.admin.key()), nodes.list[other].api(tenant.consumer.key()));
    witness.wait_for(2, LONG);
    let state = || {
        let notification = consumer.get("notifications/1").expect(200)["data"].clone();
        (notification["meta"]["push"].clone(), notification["attributes"]["isDismissed"].clone())
    };
    let before = until("the outcome of the other node to be recorded", SOON, || {
        Some(state()).filter(|(push, _)| push["attempts"] == 1)
    });
    let expected = if second == 204 { ("delivered", true) } else { ("pending", false) };
    assert_eq!((before.0["state"].as_str().unwrap(), before.1.as_bool().unwrap()), expected);
    let log = attempts(&admin, 1);
    assert_eq!(log.iter().map(|attempt| attempt.response_status).collect::<Vec<_>>(), [Some(second)]);

    nodes.list[owner].recover(Incident::Frozen);
    nodes.list[owner].wait_until_ready();
    // What it stores goes behind what it had to say of the first.
    let woken = nodes.list[owner].api(tenant.producer.key());
    for _ in 0..3 {
        woken.post_event(&event("close"));
    }
    if let Some(id) = nodes.list[owner].id() {
        until("the other node to see it again", SOON, || {
            let health = nodes.list[other].health();
            let woken = health["nodes"].as_array()?.iter().find(|node| node["id"] == id)?;
            (woken["seenAgoMs"].as_u64()? < 3_000).then_some(())
        });
    }
    witness.wait_for(3, LONG);
    assert_eq!(state(), before, "the node that was frozen recorded over it");
    assert_eq!(attempts(&admin, 1), log, "the node that was frozen recorded its attempt");
    assert_eq!(witness.seen().iter().filter(|seen| seen.sequence == 1).count(), 2, "sent again");
}

#[test]
fn a_refusal_that_a_frozen_node_wakes_up_with_changes_nothing_of_the_new_holders_success() {
    wake_up(500, 204);
}

#[test]
fn a_success_that_a_frozen_node_wakes_up_with_changes_nothing_of_the_new_holders_failure() {
    wake_up(204, 500);
}

fn a_node_without_database(incident: Incident) {
    let mut nodes = Nodes::start(2);
    let tenant = nodes.tenant("cut off");
    let witness = Witness::start(|_, _| (Duration::from_millis(5), 204));
    push(&tenant, &witness.url(), json!({"autoDismiss": true, "retry": fixed(1, 100)}));
    let producers = Producers::start(&tenant, &nodes.urls(), 4, Duration::from_millis(10));
    until("events", SOON, || (producers.count() >= 100).then_some(()));

    nodes.list[0].suffer(incident);
    let anonymous = nodes.list[0].server.anonymous();
    let ready = until("it to notice", SOON, || {
        let answer = anonymous.get("/readyz");
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(ready.expect(503)["status"], "the database doesn't answer");
    anonymous.get("/healthz").expect(200);
    let health = anonymous.get("/healthz?verbose").expect(200);
    assert_ne!(health["database"], "ok", "{health}");
    anonymous.get("/metrics");
    // No answer but 503, and that in time: nobody is left hanging.
    let impatient =
        Api::patient(&nodes.list[0].server.url(), Some(tenant.producer.key()), Duration::from_secs(30));
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (impatient, refused) = (&impatient, &refused);
            scope.spawn(move || {
                let key = format!("refused-{number}");
                let body = event("close").to_string();
                let begun = Instant::now();
                let headers = [("idempotency-key", key.as_str())];
                let answer =
                    impatient.try_send("POST", "notifications", &headers, Some(body.as_bytes())).unwrap();
                println!("{incident:?}: {} after {:?}", answer.status, begun.elapsed());
                answer.refused(503);
                refused.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!(refused.into_inner(), 8);
    // The other one does all the work meanwhile.
    let before = (producers.count(), witness.count());
    until("the other node to go on", LONG, || {
        (producers.count() >= before.0 + 50 && witness.count() >= before.1 + 50).then_some(())
    });

    nodes.list[0].recover(incident);
    nodes.list[0].wait_until_ready();
    let back =
        Api::patient(&nodes.list[0].server.url(), Some(tenant.producer.key()), Duration::from_secs(30));
    until("it to store again", SOON, || {
        let answer = back.post("notifications", &event("close"));
        (answer.status == 201).then_some(())
    });
    let ledger = producers.stop();
    let consumer = nodes.list[1].api(tenant.consumer.key());
    let last = check_ledger(&consumer, &ledger);
    witness.wait_for_accepted(last, LONG);
    all_delivered(&consumer);
    assert!(consumer.ids("").is_empty(), "delivered and not dismissed");
    witness.check_ids();
}

#[test]
fn a_node_that_is_cut_off_from_the_database_answers_503_and_comes_back_by_itself() {
    a_node_without_database(Incident::CutOff);
}

#[test]
fn a_node_whose_database_falls_silent_answers_503_and_comes_back_by_itself() {
    a_node_without_database(Incident::Silenced);
}

/// The probes that were recorded, and the other attempts, each by its time.
fn probes(tenant: &Tenant, witness: &Witness) -> (Vec<AttemptAttributes>, Vec<AttemptAttributes>) {
    let sequences: BTreeSet<u64> = witness.seen().iter().map(|seen| seen.sequence).collect();
    let mut all: Vec<AttemptAttributes> =
        sequences.into_iter().flat_map(|sequence| attempts(&tenant.admin, sequence)).collect();
    all.sort_by_key(|attempt| attempt.started_at);
    all.into_iter().partition(|attempt| attempt.reason == AttemptReason::Probe)
}

#[test]
fn a_receiver_that_is_down_is_probed_by_one_lane_however_many_nodes_there_are() {
    let nodes = Nodes::start(3);
    let tenant = nodes.tenant("down");
    let probing = Arc::new(AtomicBool::new(false));
    let holds = Arc::clone(&probing);
    let witness = Witness::start(move |_, _| {
        // While it is probed, each takes long enough for another to meet it.
        let hold = if holds.load(Ordering::SeqCst) { 400 } else { 10 };
        (Duration::from_millis(hold), 500)
    });
    push(&tenant, &witness.url(), json!({"maxConcurrency": 4, "retry": fixed(1, 100)}));
    let producers: Vec<Api> = nodes.list.iter().map(|node| node.api(tenant.producer.key())).collect();
    producers.iter().for_each(|producer| post(producer, 100));
    until("the first probe", LONG, || (!probes(&tenant, &witness).0.is_empty()).then_some(()));
    probing.store(true, Ordering::SeqCst);
    witness.forget_most();
    // What comes to the other nodes meanwhile changes nothing.
    until("five probes", LONG, || {
        producers.iter().for_each(|producer| post(producer, 2));
        (probes(&tenant, &witness).0.len() >= 5).then_some(())
    });
    let (probes, others) = probes(&tenant, &witness);
    assert!(others.len() <= 4 + 4, "{} requests to a receiver that is down", others.len());
    for (pair, seconds) in probes.windows(2).zip([2, 4, 8, 16]) {
        let gap = pair[1].started_at - pair[0].started_at;
        assert!(gap.num_seconds() >= seconds, "{pair:?}");
    }
    witness.check_concurrency(1);
}

#[test]
fn cursors_on_all_nodes_see_every_notification_in_commit_order_while_nodes_come_and_go() {
    let mut nodes = Nodes::start(3);
    let tenant = nodes.tenant("followed");
    let urls = nodes.urls();
    let producers = Producers::start(&tenant, &urls, 6, Duration::from_millis(2));
    let readers: Vec<_> = [[0, 1], [1, 2], [2, 0]]
        .map(|pair| {
            let apis = pair.map(|index: usize| nodes.list[index].api(tenant.consumer.key()));
            std::thread::spawn(move || follow(&apis))
        })
        .into_iter()
        .collect();
    for (index, incident) in [(0, Incident::Killed), (1, Incident::CutOff), (2, Incident::Killed)] {
        let before = producers.count();
        until("events", LONG, || (producers.count() >= before + 150).then_some(()));
        nodes.list[index].suffer(incident);
        let before = producers.count();
        until("the others to go on", LONG, || (producers.count() >= before + 50).then_some(()));
        nodes.list[index].recover(incident);
        nodes.list[index].wait_until_ready();
    }
    let ledger = producers.stop();
    let last = check_ledger(&tenant.consumer, &ledger);
    post_last(&tenant.producer);
    for reader in readers {
        assert_eq!(reader.join().expect("a reader ended well"), last + 1);
    }
}

/// The event that tells readers to end.
fn post_last(producer: &Api) {
    producer.post_event(&event("void"));
}

/// Follows the cursor to the last event, asking one node after the other; the sequence must be 1, 2, 3 … as it goes.
fn follow(apis: &[Api]) -> u64 {
    let (end, mut last) = (Instant::now() + 2 * LONG, 0);
    for turn in 0.. {
        assert!(Instant::now() < end, "the reader has seen only {last}");
        let path = format!("notifications?sort=sequence&page[size]=50&page[after]={last}");
        let prefer = [("prefer", "wait=1")];
        let page = match apis[turn % apis.len()].try_send("GET", &path, &prefer, None) {
            Ok(answer) if answer.status == 200 => answer.json(),
            // It is not there at present.
            Ok(_) | Err(_) => {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        for notification in page["data"].as_array().unwrap() {
            assert_eq!(tidings_tests::api::id_of(notification), last + 1, "skipped or repeated");
            last += 1;
            if notification["attributes"]["type"] == "void" {
                return last;
            }
        }
    }
    last
}
