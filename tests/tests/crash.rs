//! Killed in the middle of a load, again and again: what was answered 201 is there, 1..N without gap, and is pushed.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_tests::api::id_of;
use tidings_tests::random::Random;
use tidings_tests::{Receiver, Reply, Server, Tenant, on_both, until};

const ROUNDS: usize = 20;
const POSTERS: usize = 8;

/// Posts until told to stop. An event without an answer is posted again with the same idempotency key, as a producer
/// would do; every answer is remembered.
fn post_on(
    tenant: &Tenant,
    numbers: &AtomicU64,
    stop: &AtomicBool,
    acknowledged: &Mutex<BTreeMap<u64, u64>>,
) {
    while !stop.load(Ordering::SeqCst) {
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        let key = format!("event-{number}");
        let body = json!({"data": {"type": "notification", "attributes": {"type": "close", "data": {"number": number}}}});
        let body = body.to_string();
        let mut again = false;
        let id = loop {
            let answer = tenant.producer.try_send(
                "POST",
                "notifications",
                &[("idempotency-key", &key)],
                Some(body.as_bytes()),
            );
            match answer {
                Ok(answer) if answer.status == 201 || (again && answer.status == 200) => {
                    break id_of(&answer.json()["data"]);
                }
                Ok(answer) if answer.status != 503 => panic!("{answer}"),
                // Down, or gone in the middle: whether it was stored is unknown.
                Ok(_) | Err(_) => {
                    again = true;
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        };
        acknowledged.lock().unwrap().insert(number, id);
    }
}

on_both! {
    fn nothing_that_was_answered_201_is_lost_and_everything_is_pushed(db) {
        let mut random = Random::seeded("crash");
        let mut server = Server::start(&db);
        let tenant = server.tenant("crash");
        // Every fourth first attempt fails, so that there are always retries that a kill can hit.
        let receiver = Receiver::start(|request, nth| {
            let first = request.header("tidings-attempt") == "1";
            Reply::Status(if first && nth % 4 == 0 { 500 } else { 204 })
        });
        tenant.push_to(&receiver.url(), true);

        let (numbers, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
        let posters: Vec<_> = (0..POSTERS)
            .map(|_| {
                let (tenant, numbers) = (tenant.clone(), Arc::clone(&numbers));
                let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
                std::thread::spawn(move || post_on(&tenant, &numbers, &stop, &acknowledged))
            })
            .collect();
        for round in 0..ROUNDS {
            let before = acknowledged.lock().unwrap().len();
            until("the load to go on", Duration::from_secs(30), || {
                (acknowledged.lock().unwrap().len() > before).then_some(())
            });
            let pause = Duration::from_millis(random.between(50, 400));
            std::thread::sleep(pause);
            server.kill9();
            println!("round {round}: killed after {pause:?}, {} acknowledged", acknowledged.lock().unwrap().len());
            server.restart();
        }
        stop.store(true, Ordering::SeqCst);
        for poster in posters {
            poster.join().expect("a poster ended well");
        }

        let acknowledged = acknowledged.lock().unwrap().clone();
        let stored = tenant.consumer.all("filter[isDismissed]=true,false");
        let ids: Vec<u64> = stored.iter().map(id_of).collect();
        assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "the ids have gaps");
        let by_number: BTreeMap<u64, u64> = stored
            .iter()
            .map(|notification: &Value| {
                let number = notification["attributes"]["data"]["number"].as_u64().expect("the event's own field");
                (number, id_of(notification))
            })
            .collect();
        assert_eq!(by_number.len(), stored.len(), "an event was stored twice");
        // Every poster waits for its last answer, so what is stored and what was answered are the same.
        assert_eq!(acknowledged, by_number, "answered and stored differ");

        let all: BTreeSet<u64> = ids.iter().copied().collect();
        receiver.wait_until("every notification to be pushed", Duration::from_secs(60), |requests| {
            requests.iter().map(|request| request.sequence()).collect::<BTreeSet<_>>() == all
        });
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let left = tenant.consumer.ids("filter[isDismissed]=false&sort=sequence&page[size]=1000");
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < end, "pushed but not dismissed: {left:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("{} events, {} pushes", ids.len(), receiver.count());
    }
}
