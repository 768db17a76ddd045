//! Producers that post to several nodes, as a good producer does: with a key for each event, and again, elsewhere, until
//! it is answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::id_of;
use crate::{Api, Tenant};

/// How long a producer waits for one node before it tries the next.
const PATIENCE: Duration = Duration::from_secs(4);

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    next: AtomicU64,
    /// The ids that were answered, by the numbers of the events.
    ledger: Mutex<BTreeMap<u64, u64>>,
}

/// Threads that post for one tenant. They are stopped with the value.
pub struct Producers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Producers {
    /// Starts so many, each with a pause between its events. Each turns to another node with each event.
    pub fn start(tenant: &Tenant, urls: &[String], count: usize, pause: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..count).map(|_| {
            let nodes: Vec<Api> =
                urls.iter().map(|url| Api::patient(url, Some(tenant.producer.key()), PATIENCE)).collect();
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.post_on(&nodes, pause))
        });
        Producers { threads: threads.collect(), shared }
    }

    /// How many events were answered.
    pub fn count(&self) -> usize {
        self.shared.ledger().len()
    }

    /// Stops them, each with the answer to its last event, and gives the ids by the numbers of the events.
    pub fn stop(mut self) -> BTreeMap<u64, u64> {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a producer ended well");
        }
        self.shared.ledger().clone()
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn ledger(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, u64>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post_on(&self, nodes: &[Api], pause: Duration) {
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let key = format!("event-{number}");
            let attributes = json!({"type": "close", "data": {"number": number}});
            let body = json!({"data": {"type": "notification", "attributes": attributes}}).to_string();
            let headers = [("idempotency-key", key.as_str())];
            // Whatever is not answered may be stored all the same.
            for turn in number.. {
                let node = &nodes[usize::try_from(turn).expect("a small number") % nodes.len()];
                match node.try_send("POST", "notifications", &headers, Some(body.as_bytes())) {
                    Ok(answer) if matches!(answer.status, 200 | 201) => {
                        self.ledger().insert(number, id_of(&answer.json()["data"]));
                        break;
                    }
                    Ok(answer) if answer.status != 503 => panic!("{answer}"),
                    Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
            std::thread::sleep(pause);
        }
    }
}

/// Checks what must hold when all producers have their answers: the ids are 1..N, each event is there once, and each
/// answer told the truth. Gives N.
#[track_caller]
pub fn check_ledger(consumer: &Api, ledger: &BTreeMap<u64, u64>) -> u64 {
    let stored = consumer.all("filter[isDismissed]=true,false");
    let ids: Vec<u64> = stored.iter().map(id_of).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "the ids have gaps");
    let numbered = |notification: &Value| {
        Some((notification["attributes"]["data"]["number"].as_u64()?, id_of(notification)))
    };
    let pairs: Vec<(u64, u64)> = stored.iter().filter_map(numbered).collect();
    let by_number: BTreeMap<u64, u64> = pairs.iter().copied().collect();
    assert_eq!(by_number.len(), pairs.len(), "an event was stored twice");
    assert_eq!(*ledger, by_number, "answered and stored differ");
    ids.len() as u64
}
