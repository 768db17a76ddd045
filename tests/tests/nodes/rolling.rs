//! Nodes are replaced one after the other while events come and are pushed: nothing is lost, and nothing is there twice.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tidings_tests::producers::check_ledger;
use tidings_tests::{Nodes, Producers, Witness, until};

use super::{LONG, all_delivered, fixed, push};

/// Replaces all nodes under load, each by this program or by the one that was built, and checks that all that was accepted
/// is there, delivered and dismissed. Gives the witnesses: of a tenant with at most three at a time, and of one whose order
/// is strict.
pub(super) fn roll(nodes: &mut Nodes, to: Option<&Path>) -> [Witness; 2] {
    let tenants = [nodes.tenant("many"), nodes.tenant("ordered")];
    let witnesses = [
        Witness::start(|_, _| (Duration::from_millis(20), 204)),
        Witness::start(|_, _| (Duration::from_millis(2), 204)),
    ];
    let settings = [
        json!({"maxConcurrency": 3, "autoDismiss": true, "retry": fixed(1, 100)}),
        json!({"ordering": "fifo", "autoDismiss": true, "retry": fixed(1, 100)}),
    ];
    for ((tenant, witness), settings) in tenants.iter().zip(&witnesses).zip(settings) {
        push(tenant, &witness.url(), settings);
    }
    let urls = nodes.urls();
    let start = |tenant| Producers::start(tenant, &urls, 2, Duration::from_millis(20));
    let producers = tenants.each_ref().map(start);
    for index in 0..nodes.list.len() {
        let before = producers.each_ref().map(Producers::count);
        until("events", LONG, || {
            producers.iter().zip(before).all(|(now, before)| now.count() >= before + 60).then_some(())
        });
        nodes.list[index].replace(to);
    }
    let before = producers.each_ref().map(Producers::count);
    until("events", LONG, || {
        producers.iter().zip(before).all(|(now, before)| now.count() >= before + 60).then_some(())
    });
    for ((producers, tenant), witness) in producers.into_iter().zip(&tenants).zip(&witnesses) {
        let ledger = producers.stop();
        let last = check_ledger(&tenant.consumer, &ledger);
        witness.wait_for_accepted(last, LONG);
        all_delivered(&tenant.consumer);
        assert!(tenant.consumer.ids("").is_empty(), "delivered and not dismissed");
        witness.check_ids();
    }
    witnesses
}

#[test]
fn nodes_that_are_replaced_in_good_order_lose_no_push_and_repeat_none() {
    let mut nodes = Nodes::start(3);
    let binary = std::env::var_os("TIDINGS_TEST_SERVER");
    let [many, ordered] = roll(&mut nodes, binary.as_deref().map(Path::new));
    many.check_concurrency(3);
    ordered.check_order(0);
    assert_eq!((many.repeated(), ordered.repeated()), (0, 0), "some came again");
}

/// The database gets its new columns while old nodes still run on it; they know nothing of them.
#[test]
fn an_upgrade_from_the_last_version_under_load_loses_no_push_and_numbers_nothing_twice() {
    let Some(last) = std::env::var_os("TIDINGS_LAST_SERVER") else {
        println!("TIDINGS_LAST_SERVER is not set: tests/run builds the last version and sets it");
        return;
    };
    let mut nodes = Nodes::start_as(3, Some(Path::new(&last)));
    // What is lost, doubly numbered or not delivered fails in there. Limits hold once all nodes keep them.
    roll(&mut nodes, None);
}
