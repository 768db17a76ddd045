//! The node that has the lanes is killed, frozen, or loses its database, while all nodes take events: the concurrency, the
//! order and the rate hold all the time, and nothing is lost.

use std::time::{Duration, Instant};

use serde_json::json;
use tidings_tests::nodes::Incident;
use tidings_tests::producers::check_ledger;
use tidings_tests::{Nodes, Producers, Witness, event, until};

use super::{LONG, all_delivered, fixed, post, push};

/// Past the lease of a node that was there a moment ago.
const PAST_THE_LEASE: Duration = Duration::from_secs(11);
const CONCURRENCY: usize = 3;
const PER_MINUTE: u32 = 60;
/// Enough that there is always something to send.
const BACKLOG: usize = 100;

fn limits_hold_when_a_node_is(incident: Incident) {
    let mut nodes = Nodes::start(2);
    let (many, ordered, paced) = (nodes.tenant("many"), nodes.tenant("ordered"), nodes.tenant("paced"));
    let many_seen = Witness::start(|_, _| (Duration::from_millis(90), 204));
    let ordered_seen = Witness::start(|request, times| {
        let fails = request.sequence() % 60 == 30 && times == 1;
        (Duration::from_millis(30), if fails { 500 } else { 204 })
    });
    let paced_seen = Witness::start(|_, _| (Duration::ZERO, 204));
    push(&many, &many_seen.url(), json!({"maxConcurrency": CONCURRENCY, "retry": fixed(1, 100)}));
    push(&ordered, &ordered_seen.url(), json!({"ordering": "fifo", "retry": fixed(1, 100)}));
    push(&paced, &paced_seen.url(), json!({"rateLimit": PER_MINUTE, "retry": fixed(1, 100)}));
    let all = [(&many, &many_seen), (&ordered, &ordered_seen), (&paced, &paced_seen)];

    // The first has the lanes, because it takes the first events.
    for (tenant, _) in all {
        tenant.producer.post_event(&event("close"));
        assert_eq!(nodes.wait_for_owner(tenant), 0);
        post(&tenant.producer, BACKLOG);
    }
    let urls = nodes.urls();
    let producers = all.map(|(tenant, _)| Producers::start(tenant, &urls, 2, Duration::from_millis(100)));
    let go_on = || {
        let before = all.map(|(_, seen)| seen.count());
        all.iter().zip(before).for_each(|((_, seen), before)| seen.wait_for(before + 3, LONG));
    };
    go_on();
    assert!(all.iter().all(|(tenant, _)| nodes.wait_for_owner(tenant) == 0), "it still has them");

    nodes.list[0].suffer(incident);
    let begun = Instant::now();
    until("its lease to be over", LONG, || (begun.elapsed() >= PAST_THE_LEASE).then_some(()));
    go_on();
    nodes.list[0].recover(incident);
    nodes.list[0].wait_until_ready();
    all.iter().for_each(|(tenant, _)| post(&nodes.list[0].api(tenant.producer.key()), BACKLOG));
    go_on();

    let ledgers = producers.map(Producers::stop);
    paced_seen.check_rate(PER_MINUTE);
    let api = nodes.list[1].api(paced.admin.key());
    api.settings(json!({"push": {"rateLimit": null}})).expect(200);
    for ((tenant, seen), ledger) in all.into_iter().zip(ledgers) {
        let consumer = nodes.list[1].api(tenant.consumer.key());
        seen.wait_for_accepted(check_ledger(&consumer, &ledger), LONG);
        all_delivered(&consumer);
        seen.check_ids();
        println!("{incident:?}: {} of {} came again", seen.repeated(), seen.count());
    }
    many_seen.check_concurrency(CONCURRENCY);
    assert_eq!(many_seen.most(), CONCURRENCY, "the limit was reached");
    // The lane goes to the other node, and may come back.
    ordered_seen.check_order(2);
}

#[test]
fn limits_and_order_hold_when_the_node_with_the_lanes_is_killed() {
    limits_hold_when_a_node_is(Incident::Killed);
}

#[test]
fn limits_and_order_hold_when_the_node_with_the_lanes_is_frozen_past_its_lease_and_wakes_up() {
    limits_hold_when_a_node_is(Incident::Frozen);
}

#[test]
fn limits_and_order_hold_when_the_node_with_the_lanes_is_cut_off_from_the_database() {
    limits_hold_when_a_node_is(Incident::CutOff);
}

#[test]
fn limits_and_order_hold_when_the_database_of_the_node_with_the_lanes_falls_silent() {
    limits_hold_when_a_node_is(Incident::Silenced);
}
