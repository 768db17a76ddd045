//! Many nodes on one PostgreSQL: what one tenant is promised holds over all of them together, whatever happens to one, and
//! the receiver bears witness.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

#[path = "nodes/chaos.rs"]
mod chaos;
#[path = "nodes/health.rs"]
mod health;
#[path = "nodes/incidents.rs"]
mod incidents;
#[path = "nodes/lost.rs"]
mod lost;
#[path = "nodes/rolling.rs"]
mod rolling;

use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::{Api, Tenant, event, until};

/// Long enough for a slow machine.
const LONG: Duration = Duration::from_secs(90);

/// Stores so many events with one request.
fn post(producer: &Api, count: usize) {
    let operations: Vec<Value> =
        (0..count).map(|_| json!({"op": "add", "data": event("close")["data"]})).collect();
    producer.post("operations", &json!({"atomic:operations": operations})).expect(200);
}

/// Turns the push on.
fn push(tenant: &Tenant, url: &str, mut settings: Value) {
    settings["url"] = json!(url);
    settings["enabled"] = json!(true);
    tenant.admin.settings(json!({"push": settings})).expect(200);
}

fn fixed(every: u32, attempts: u32) -> Value {
    json!({"kind": "fixed", "everySeconds": every, "attempts": attempts, "jitter": 0.0})
}

/// Waits until nothing of the tenant waits, by any node's word.
fn all_delivered(consumer: &Api) {
    until("all to be delivered", LONG, || {
        consumer.ids("filter[push]=pending&filter[isDismissed]=true,false").is_empty().then_some(())
    });
    let given_up = consumer.ids("filter[push]=failed&filter[isDismissed]=true,false");
    assert!(given_up.is_empty(), "given up: {given_up:?}");
}
