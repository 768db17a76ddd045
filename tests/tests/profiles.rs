//! Each of the model systems from end to end: its profile, a receiver with its manners, and what becomes of a
//! notification in state, log and pull. Retries are made to come quickly, which also shows that single settings may
//! differ from the profile's.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

#[path = "profiles/acrobat_sign.rs"]
mod acrobat_sign;
#[path = "profiles/sertifi.rs"]
mod sertifi;
#[path = "profiles/service_optimizer.rs"]
mod service_optimizer;
#[path = "profiles/signals.rs"]
mod signals;
#[path = "profiles/socrate_cloud.rs"]
mod socrate_cloud;
#[path = "profiles/standard_webhooks.rs"]
mod standard_webhooks;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tidings_tests::systems::CLIENT_ID_HEADER;
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, Request, Server, Tenant, event, on_both, until};

/// The settings in force.
#[track_caller]
fn in_force(tenant: &Tenant) -> Value {
    tenant.admin.get("external-notifications").expect(200)["data"]["attributes"].clone()
}

/// What is in force after a change.
#[track_caller]
fn set(tenant: &Tenant, attributes: Value) -> Value {
    tenant.admin.settings(attributes).expect(200)["data"]["attributes"].clone()
}

/// Whether everything in `part` is in `whole` too.
#[track_caller]
fn assert_has(whole: &Value, part: &Value) {
    let mut merged = whole.clone();
    merge(&mut merged, part);
    assert_eq!(*whole, merged, "{part} is not in it");
}

fn merge(into: &mut Value, part: &Value) {
    match (into, part) {
        (Value::Object(into), Value::Object(part)) => {
            for (name, value) in part {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, part) => *into = part.clone(),
    }
}

/// The row of the push queue.
#[track_caller]
fn delivery(tenant: &Tenant, id: u64) -> Value {
    tenant.admin.get(&format!("deliveries/{id}")).expect(200)["data"]["attributes"].clone()
}

/// The log of a delivery.
#[track_caller]
fn attempts(tenant: &Tenant, id: u64) -> Vec<Value> {
    let page = tenant.admin.get(&format!("deliveries/{id}/attempts")).expect(200);
    page["data"].as_array().unwrap().iter().map(|attempt| attempt["attributes"].clone()).collect()
}

/// One member of each attempt in the log.
#[track_caller]
fn column(tenant: &Tenant, id: u64, name: &str) -> Vec<Value> {
    attempts(tenant, id).iter().map(|attempt| attempt[name].clone()).collect()
}

/// The ids in the push queue that a query selects.
#[track_caller]
fn queue(tenant: &Tenant, query: &str) -> Vec<u64> {
    let page = tenant.admin.get(&format!("deliveries?{query}")).expect(200);
    page["data"].as_array().unwrap().iter().map(tidings_tests::api::id_of).collect()
}

/// Pushes again, at an admin's request.
#[track_caller]
fn repush(tenant: &Tenant, id: u64) {
    let attributes = json!({"action": "repush", "ids": [id.to_string()]});
    tenant.admin.post("jobs", &json!({"data": {"type": "job", "attributes": attributes}})).expect(202);
}

/// A retry schedule for the impatient.
fn every_second(attempts: u32) -> Value {
    json!({"kind": "fixed", "everySeconds": 1, "attempts": attempts, "jitter": 0.0})
}

fn pushes(receiver: &Receiver) -> Vec<Request> {
    receiver.requests().into_iter().filter(|request| request.method == "POST").collect()
}

on_both! {
    fn the_first_retry_comes_after_the_time_of_each_system(db) {
        let server = Server::start(&db);
        // Shows the intent, and takes nothing.
        let receiver = Receiver::start(|request, _| match request.method.as_str() {
            "GET" => Reply::WithHeaders(200, vec![(CLIENT_ID_HEADER.into(), request.header("x-adobesign-clientid").into())]),
            _ => Reply::Status(500),
        });
        // In seconds; the second number is that with all of the jitter. Signals retries nothing. Of Sertifi and
        // ServiceOptimizer no schedule is known: theirs is ours.
        for (profile, delay) in [
            (json!("signals"), None),
            (json!("acrobatSign"), Some((30, 30))),
            (json!("socrateCloud"), Some((300, 300))),
            (json!("sertifi"), Some((5, 6))),
            (json!("serviceOptimizer"), Some((5, 6))),
            (json!("standardWebhooks"), Some((5, 6))),
            (Value::Null, Some((5, 6))),
        ] {
            let tenant = server.tenant("first delay");
            set(&tenant, json!({"profile": profile, "push": {"url": receiver.url()}}));
            let id = tenant.producer.post_event(&event("close"));
            let row = until(&format!("the first attempt under {profile}"), SOON, || {
                Some(delivery(&tenant, id)).filter(|row| row["lastProcessedAt"].is_string())
            });
            assert_eq!(row["counter"], 1, "{profile}: looked at too late: {row}");
            let time = |name: &str| row[name].as_str().map(|text| text.parse::<DateTime<Utc>>().unwrap());
            let between = time("nextAttemptAt").map(|next| (next - time("lastProcessedAt").unwrap()).num_milliseconds());
            match (between, delay) {
                (None, None) => assert_eq!(row["status"], "error", "{profile}"),
                // The delay begins a moment after the attempt has ended: later on a busy machine.
                (Some(between), Some((least, most))) => {
                    let bounds = least * 1_000 - 10..=most * 1_000 + 15_000;
                    assert!(bounds.contains(&between), "{profile}: {between} ms instead of {least} to {most} s");
                }
                _ => panic!("{profile}: {delay:?} s were expected: {row}"),
            }
        }
    }

    fn content_type_and_user_agent_are_those_that_are_set(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("headers");
        let receiver = Receiver::accepting();
        set(&tenant, json!({"push": {"url": receiver.url()}}));
        let ours = concat!("Tidings/", env!("CARGO_PKG_VERSION"));
        for (count, (push, content_type, user_agent)) in [
            (json!({}), "application/json", ours),
            (json!({"contentType": "application/vnd.api+json"}), "application/vnd.api+json", ours),
            (json!({"userAgent": "DataNotifier"}), "application/vnd.api+json", "DataNotifier"),
            (json!({"contentType": null, "userAgent": null}), "application/json", ours),
        ].into_iter().enumerate() {
            set(&tenant, json!({"push": push}));
            tenant.producer.post_event(&event("close"));
            let request = receiver.wait_for(count + 1, SOON).remove(count);
            assert_eq!((request.header("content-type"), request.header("user-agent")), (content_type, user_agent), "{push}");
        }
    }

    fn a_profile_changes_how_a_system_behaves_and_not_who_the_receiver_is(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("changing");
        let receiver = Receiver::accepting();
        set(&tenant, json!({
            "push": {"url": receiver.url(), "clientId": "mine", "authentication": {"kind": "bearer", "token": "t0ken"}, "timeoutSeconds": 3},
            "selection": {"types": ["close"]}, "retention": {"days": 9}, "alerts": {"backlogAgeSeconds": 600}}));
        let kept = json!({"push": {"url": receiver.url(), "clientId": "mine", "authentication": {"kind": "bearer"}, "enabled": true},
            "selection": {"types": ["close"]}, "retention": {"days": 9}, "alerts": {"backlogAgeSeconds": 600}});
        for (profile, timeout) in [("signals", 15), ("socrateCloud", 15), ("sertifi", 15), ("serviceOptimizer", 15), ("standardWebhooks", 20)] {
            let now = set(&tenant, json!({"profile": profile}));
            assert_has(&now, &kept);
            assert_eq!((&now["profile"], &now["push"]["timeoutSeconds"]), (&json!(profile), &json!(timeout)));
            // A single setting differs, and goes back to the profile's value.
            assert_eq!(set(&tenant, json!({"push": {"timeoutSeconds": 4}}))["push"]["timeoutSeconds"], 4);
            assert_eq!(set(&tenant, json!({"push": {"timeoutSeconds": null}}))["push"]["timeoutSeconds"], timeout);
            set(&tenant, json!({"push": {"timeoutSeconds": 4}}));
        }
        // The one system whose receivers must show their intent: this one doesn't, so nothing changes.
        let before = tenant.admin.get("external-notifications").expect(200);
        tenant.admin.settings(json!({"profile": "acrobatSign"})).refused(422);
        assert_eq!(tenant.admin.get("external-notifications").expect(200), before);
        // Without a profile: our own defaults.
        let now = set(&tenant, json!({"profile": null}));
        assert_has(&now, &kept);
        assert_has(&now, &json!({"profile": null, "push": {"timeoutSeconds": 15, "maxConcurrency": 32, "autoDismiss": false,
            "retry": {"kind": "exponential", "firstSeconds": 5, "attempts": 20}}, "payload": {"detail": "full"}}));
        tenant.producer.post_event(&event("close"));
        assert_eq!(receiver.wait_until("a push", SOON, |all| all.iter().any(|request| request.method == "POST")).last().unwrap().header("authorization"), "Bearer t0ken");
    }
}
