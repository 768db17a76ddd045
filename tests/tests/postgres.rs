//! What only PostgreSQL has: poolers, standbys that are promoted, replicas that are read from, and the statements that are
//! sent to it.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

#[path = "postgres/failover.rs"]
mod failover;
#[path = "postgres/pooler.rs"]
mod pooler;
#[path = "postgres/replica.rs"]
mod replica;
#[path = "postgres/statements.rs"]
mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidings_tests::api::id_of;
use tidings_tests::{Api, Database, Options, Server, until};

/// How long anything may take while something fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a database by another URL.
fn node(database: &Database, url: &str, arguments: &[&str]) -> Server {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Server::start_with(
        database,
        Options { database_url: Some(url.to_owned()), arguments, ..Options::default() },
    )
}

/// The same client at another node.
fn at(node: &Server, client: &Api) -> Api {
    Api::new(&node.url(), Some(client.key()))
}

/// Producers that post numbered events until they are told to stop. What isn't answered is posted again with the same
/// idempotency key, at the next node, as a producer would do.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<Mutex<BTreeMap<u64, u64>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(nodes: &[Api], threads: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::new())));
        let numbers = Arc::new(AtomicU64::new(0));
        let threads = (0..threads)
            .map(|index| {
                let (nodes, stop, answered) = (nodes.to_vec(), stop.clone(), answered.clone());
                let numbers = numbers.clone();
                std::thread::spawn(move || {
                    let mut nodes = nodes.iter().cycle().skip(index);
                    while !stop.load(Ordering::SeqCst) {
                        let number = numbers.fetch_add(1, Ordering::SeqCst);
                        let id = post(&mut nodes, number);
                        answered.lock().unwrap().insert(number, id);
                    }
                })
            })
            .collect();
        Load { stop, answered, threads }
    }

    fn count(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    /// Waits until so many more are answered.
    #[track_caller]
    fn goes_on(&self, more: usize) {
        let before = self.count();
        until("events to be answered", PATIENCE, || (self.count() >= before + more).then_some(()));
    }

    /// Ends it, and checks that a consumer finds exactly what was answered, under 1..N without gap. Answers N.
    #[track_caller]
    fn finish(self, consumer: &Api) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("a producer ended well");
        }
        let stored = consumer.all("filter[isDismissed]=true,false");
        let ids: Vec<u64> = stored.iter().map(id_of).collect();
        assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "the ids have gaps or double");
        let number = |event: &serde_json::Value| event["attributes"]["data"]["number"].as_u64().unwrap();
        let found: BTreeMap<u64, u64> = stored.iter().map(|event| (number(event), id_of(event))).collect();
        assert_eq!(found.len(), stored.len(), "an event was stored twice");
        // Every producer waited for its last answer, so what is stored and what was answered are the same.
        assert_eq!(*self.answered.lock().unwrap(), found, "answered and stored differ");
        ids.len() as u64
    }
}

/// Posts an event until it is answered.
fn post<'a>(nodes: &mut impl Iterator<Item = &'a Api>, number: u64) -> u64 {
    let attributes = json!({"type": "close", "data": {"number": number}});
    let body = json!({"data": {"type": "notification", "attributes": attributes}}).to_string();
    let (key, mut again) = (format!("event-{number}"), false);
    for node in nodes {
        let headers = [("idempotency-key", key.as_str())];
        match node.try_send("POST", "notifications", &headers, Some(body.as_bytes())) {
            Ok(answer) if answer.status == 201 || (again && answer.status == 200) => {
                return id_of(&answer.json()["data"]);
            }
            Ok(answer) if answer.status != 503 => panic!("{answer}"),
            // Down, or gone in the middle: whether it was stored is unknown.
            Ok(_) | Err(_) => {
                again = true;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    unreachable!("the nodes are asked in turn for ever");
}

/// The sequences up to this one.
fn through(last: u64) -> BTreeSet<u64> {
    (1..=last).collect()
}
