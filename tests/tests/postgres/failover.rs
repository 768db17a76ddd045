//! A standby that is promoted when the primary is gone: the nodes come back by themselves, and nothing is missing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tidings_tests::{Cluster, Database, Receiver, Server, until};

use super::{Load, PATIENCE, at, node, through};

fn is_ready(node: &Server) -> bool {
    let asked = node.anonymous().try_send("GET", "/readyz", &[], None);
    asked.is_ok_and(|answer| answer.status == 200)
}

#[test]
fn nodes_follow_a_promoted_standby_and_nothing_answered_is_missing() {
    let mut primary = Cluster::start("");
    let standby = primary.standby();
    primary.commit_on_standby();
    let url = format!(
        "postgres://postgres:s3cret@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        primary.port(),
        standby.port()
    );
    let database = Database::of_cluster(&url);
    let nodes = [node(&database, &url, &[]), node(&database, &url, &[])];
    let shown = url.replace("s3cret", "***");
    for node in &nodes {
        let log = node.log();
        assert!(log.contains(&shown) && !log.contains("s3cret"), "{log}");
    }

    let tenant = nodes[0].tenant("failover");
    let receiver = Receiver::accepting();
    tenant.push_to(&receiver.url(), true);
    let load = Load::start(&[tenant.producer.clone(), at(&nodes[1], &tenant.producer)], 8);
    load.goes_on(100);

    primary.kill();
    for node in &nodes {
        until("a node that says that it can't work", PATIENCE, || (!is_ready(node)).then_some(()));
    }
    standby.promote();
    let promoted = Instant::now();
    load.goes_on(100);
    println!("events are answered {:?} after the promotion", promoted.elapsed());
    for node in &nodes {
        until("a ready node", PATIENCE, || is_ready(node).then_some(()));
    }
    load.goes_on(50);
    let last = load.finish(&at(&nodes[1], &tenant.consumer));

    receiver.wait_until("every notification to be pushed", PATIENCE, |requests| {
        requests.iter().map(tidings_tests::Request::sequence).collect::<BTreeSet<_>>() == through(last)
    });
    until("every push to be recorded", PATIENCE, || {
        tenant.consumer.ids("page[size]=1000").is_empty().then_some(())
    });
    for node in nodes {
        let log = node.log();
        assert!(!log.contains("s3cret"), "{log}");
    }
}

/// What a node leaves behind is taken over even if the new primary's clock is behind the one by which it was last seen.
#[test]
fn a_node_that_was_last_seen_in_the_future_is_dead() {
    let cluster = Cluster::start("");
    let database = Database::of_cluster(&cluster.url());
    let mut gone = node(&database, &cluster.url(), &[]);
    let tenant = gone.tenant("future");
    let receiver = Receiver::start(|_, nth| match nth {
        0 => tidings_tests::Reply::Hang,
        _ => tidings_tests::Reply::Status(204),
    });
    tenant.push_to(&receiver.url(), false);
    tenant.producer.post_event(&tidings_tests::event("close"));
    receiver.wait_for(1, PATIENCE);
    gone.kill9();
    cluster.query("UPDATE nodes SET seen_at = seen_at + 3600000000");
    let next = node(&database, &cluster.url(), &[]);
    receiver.wait_for(2, Duration::from_secs(45));
    let consumer = at(&next, &tenant.consumer);
    until("the push to be recorded", PATIENCE, || {
        let push = consumer.get("notifications/1").expect(200)["data"]["meta"]["push"].clone();
        (push["state"] == "delivered").then_some(())
    });
}
