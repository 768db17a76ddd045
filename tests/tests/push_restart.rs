//! Pushes outlive the server that took them: killed, stopped in good order, or one of two.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tidings_tests::wait::SOON;
use tidings_tests::{Api, Database, Kind, Receiver, Reply, Request, Server, Tenant, event, on_both, until};

fn sequences(requests: &[Request]) -> BTreeSet<u64> {
    requests.iter().map(Request::sequence).collect()
}

fn post(tenant: &Tenant, count: usize) {
    for _ in 0..count {
        tenant.producer.post_event(&event("close"));
    }
}

on_both! {
    fn what_waits_for_a_receiver_is_pushed_after_kill_9(db) {
        let mut server = Server::start(&db);
        let tenant = server.tenant("killed");
        let mut receiver = Receiver::accepting();
        receiver.stop();
        tenant.push_to(&receiver.url(), true);
        post(&tenant, 30);
        server.kill9();
        receiver.resume();
        server.restart();
        receiver.wait_until("all 30", Duration::from_secs(60), |requests| sequences(requests) == (1..=30).collect());
        for id in [1, 30] {
            tenant.wait_for_state(id, "delivered");
        }
    }

    fn what_was_in_flight_is_pushed_again_after_kill_9(db) {
        let mut server = Server::start(&db);
        let tenant = server.tenant("in flight");
        let receiver = Receiver::start(|_, nth| if nth == 0 { Reply::Hang } else { Reply::Status(200) });
        tenant.push_to(&receiver.url(), true);
        post(&tenant, 1);
        let first = receiver.wait_for(1, SOON).remove(0);
        server.kill9();
        server.restart();
        let again = receiver.wait_for(2, Duration::from_secs(45)).remove(1);
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(again.body, first.body);
        tenant.wait_for_state(1, "delivered");
    }

    fn a_restart_waits_no_longer_than_the_schedule_says(db) {
        let mut server = Server::start(&db);
        let tenant = server.tenant("schedule");
        let receiver = Receiver::start(|_, nth| Reply::Status(if nth == 0 { 500 } else { 200 }));
        tenant.push_to(&receiver.url(), false);
        post(&tenant, 1);
        receiver.wait_for(1, SOON);
        tenant.wait_for_state(1, "pending");
        assert!(server.term().success());
        server.restart();
        receiver.wait_for(2, SOON);
        tenant.wait_for_state(1, "delivered");
    }

    fn sigterm_finishes_what_is_in_flight_and_leaves_the_rest(db) {
        let mut server = Server::start(&db);
        let tenant = server.tenant("stopped");
        let receiver = Receiver::start(|_, _| Reply::After(Duration::from_secs(1), Box::new(Reply::Status(200))));
        tenant.push_to(&receiver.url(), true);
        // All at once: posted one by one on a slow machine, they would be pushed meanwhile.
        let operations = vec![json!({"op": "add", "data": event("close")["data"]}); 200];
        tenant.producer.post("operations", &json!({"atomic:operations": operations})).expect(200);
        receiver.wait_for(1, SOON);
        let status = server.term();
        assert!(status.success(), "{status}: {}", server.log());
        let before = receiver.requests();
        assert!(before.len() < 200, "too quick to prove anything");
        server.restart();
        // Finished means recorded: what had been answered is dismissed and isn't pushed again. Servers beside it, if there
        // are any, go on, and have yet to finish theirs.
        let undismissed = || tenant.consumer.ids("page[size]=1000").into_iter().collect::<BTreeSet<u64>>();
        let unrecorded = undismissed();
        receiver.wait_until("all 200", Duration::from_secs(60), |requests| sequences(requests).len() == 200);
        let answered = sequences(&before);
        let repeated: Vec<_> = receiver.sequences()[before.len()..].iter().copied().filter(|id| answered.contains(id)).collect();
        assert!(repeated.is_empty(), "{repeated:?} were in flight and are pushed again");
        if server.is_alone() {
            assert!(unrecorded.is_disjoint(&answered), "answered, but not recorded");
        }
        until("all to be dismissed", Duration::from_secs(60), || undismissed().is_empty().then_some(()));
    }

    fn sigterm_answers_the_requests_it_has_taken(db) {
        let mut server = Server::start(&db);
        let tenant = server.tenant("graceful");
        let (mut stored, mut refused) = (Vec::new(), 0);
        std::thread::scope(|scope| {
            let posting: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| {
                    let mut ids = Vec::new();
                    let api = Api::new(&server.url(), Some(tenant.producer.key()));
                    let body = event("close").to_string();
                    while let Ok(answer) = api.try_send("POST", "notifications", &[], Some(body.as_bytes())) {
                        match answer.status {
                            201 => ids.push(tidings_tests::api::id_of(&answer.json()["data"])),
                            _ => return (ids, Some(answer)),
                        }
                    }
                    (ids, None)
                }))
                .collect();
            std::thread::sleep(Duration::from_millis(300));
            let pid = server.pid().to_string();
            std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
            for thread in posting {
                let (ids, last) = thread.join().unwrap();
                stored.extend(ids);
                if let Some(answer) = last {
                    assert_eq!(answer.status, 503, "{answer}");
                    refused += 1;
                }
            }
        });
        assert!(server.wait().success(), "{}", server.log());
        server.restart();
        stored.sort_unstable();
        let kept: Vec<u64> = tenant.consumer.all("").iter().map(tidings_tests::api::id_of).collect();
        assert!(stored.iter().all(|id| kept.contains(id)), "answered 201 and lost");
        println!("{} stored, {refused} refused while stopping", stored.len());
    }
}

#[test]
fn another_node_takes_over_from_a_killed_one() {
    let database = Database::new(Kind::Postgres);
    let (mut one, two) = (Server::start(&database), Server::start(&database));
    let tenant = one.tenant("two nodes");
    // The first node's pushes hang, so that it holds leases when it is killed.
    let hangs = Arc::new(AtomicBool::new(true));
    let hanging = Arc::clone(&hangs);
    let receiver =
        Receiver::start(
            move |_, _| {
                if hanging.load(Ordering::SeqCst) { Reply::Hang } else { Reply::Status(200) }
            },
        );
    tenant.push_to(&receiver.url(), true);
    post(&tenant, 20);
    receiver.wait_for(1, SOON);
    one.kill9();
    receiver.wait_for_the_end_of_connections();
    hangs.store(false, Ordering::SeqCst);
    let (begun, before) = (Instant::now(), receiver.count());
    receiver.wait_until("every id by the other node", Duration::from_secs(90), |requests| {
        sequences(&requests[before..]) == (1..=20).collect()
    });
    println!("taken over within {:?}", begun.elapsed());
    let consumer = Api::new(&two.url(), Some(tenant.consumer.key()));
    tidings_tests::until("all to be dismissed", SOON, || consumer.ids("").is_empty().then_some(()));
}

#[test]
fn two_nodes_push_each_notification_once() {
    let database = Database::new(Kind::Postgres);
    let (one, two) = (Server::start(&database), Server::start(&database));
    let tenant = one.tenant("two nodes");
    let receiver = Receiver::accepting();
    tenant.push_to(&receiver.url(), true);
    std::thread::scope(|scope| {
        for url in [one.url(), two.url()] {
            let producer = Api::new(&url, Some(tenant.producer.key()));
            scope.spawn(move || {
                (0..100).for_each(|_| {
                    producer.post_event(&event("close"));
                })
            });
        }
    });
    receiver.wait_for(200, Duration::from_secs(60));
    tidings_tests::until("all to be dismissed", SOON, || tenant.consumer.ids("").is_empty().then_some(()));
    let mut pushed = receiver.sequences();
    pushed.sort_unstable();
    assert_eq!(pushed, (1..=200).collect::<Vec<_>>(), "nobody died, so nothing is pushed twice");
}
