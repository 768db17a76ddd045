//! Jobs: what is done to many, in the background, once each, whatever happens to the server.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::api::id_of;
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, Server, Tenant, event, on_both, until};

fn start(tenant: &Tenant, attributes: Value) -> Value {
    let body = json!({"data": {"type": "job", "attributes": attributes}});
    let answer = tenant.admin.post("jobs", &body);
    let job = answer.expect(202);
    assert_eq!(answer.header("location"), job["links"]["self"], "{answer}");
    job
}

fn job(tenant: &Tenant, started: &Value) -> Value {
    tenant.admin.get(started["data"]["links"]["self"].as_str().unwrap()).expect(200)["data"]["attributes"]
        .clone()
}

/// Waits for the end of a job, and gives what became of it.
fn ended(tenant: &Tenant, started: &Value) -> Value {
    until("the end of the job", Duration::from_secs(60), || {
        let job = job(tenant, started);
        job["endedAt"].is_string().then_some(job)
    })
}

fn numbers(job: &Value) -> (u64, u64, u64) {
    let number = |name: &str| job[name].as_u64().unwrap_or_else(|| panic!("no {name}: {job}"));
    (number("total"), number("processed"), number("failed"))
}

/// Posts so many events, a thousand at a time.
fn post(tenant: &Tenant, count: usize) {
    for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
        let add = json!({"op": "add", "data": event("close")["data"]});
        let operations = vec![add; chunk.len()];
        tenant.producer.post("operations", &json!({"atomic:operations": operations})).expect(200);
    }
}

/// A receiver that refuses everything until it is repaired.
fn repairable() -> (Receiver, Arc<AtomicBool>) {
    let repaired = Arc::new(AtomicBool::new(false));
    let well = repaired.clone();
    let receiver =
        Receiver::start(move |_, _| Reply::Status(if well.load(Ordering::SeqCst) { 200 } else { 500 }));
    (receiver, repaired)
}

on_both! {
    fn all_that_failed_is_pushed_again_and_nothing_else(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("repush");
        let (receiver, repaired) = repairable();
        tenant.push_to(&receiver.url(), false);
        tenant.admin.settings(json!({"push": {"retry": {"kind": "none"}}})).expect(200);
        for id in 1..=6 {
            tenant.producer.post_event(&event("close"));
            tenant.wait_for_state(id, "failed");
        }
        repaired.store(true, Ordering::SeqCst);
        let before = receiver.count();
        let dry = start(&tenant, json!({"action": "repush", "filter": {"filter[push]": "failed"}, "upTo": "4", "dryRun": true}));
        let dry = ended(&tenant, &dry);
        assert_eq!((dry["state"].as_str(), numbers(&dry)), (Some("done"), (4, 0, 0)), "{dry}");
        assert_eq!(receiver.count(), before, "a dry run changes nothing");

        let job = start(&tenant, json!({"action": "repush", "filter": {"filter[push]": "failed"}, "upTo": "4"}));
        let done = ended(&tenant, &job);
        assert_eq!((done["state"].as_str(), numbers(&done)), (Some("done"), (4, 4, 0)), "{done}");
        for id in 1..=4 {
            assert_eq!(tenant.wait_for_state(id, "delivered")["attempts"], 2);
        }
        assert_eq!(receiver.sequences().split_off(before).iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        for id in 5..=6 {
            assert_eq!(tenant.push_status(id)["state"], "failed", "upTo leaves later ones");
        }
        // One that was delivered, chosen by its id, and one that never was there.
        let job = start(&tenant, json!({"action": "repush", "ids": ["1", "99"]}));
        assert_eq!(numbers(&ended(&tenant, &job)), (2, 2, 1));
        until("a third attempt", SOON, || (tenant.push_status(1)["attempts"] == 3).then_some(()));
        let attempts = tenant.admin.get("deliveries/1/attempts").expect(200);
        assert_eq!(attempts["data"][2]["attributes"]["reason"], "repush", "{attempts}");
    }

    fn what_a_list_of_deliveries_holds_is_pushed_again_and_nothing_else(db) {
        let server = Server::start(&db);
        let (tenant, other) = (server.tenant("queue"), server.tenant("other"));
        let (receiver, repaired) = repairable();
        for tenant in [&tenant, &other] {
            tenant.push_to(&receiver.url(), false);
            tenant.admin.settings(json!({"push": {"retry": {"kind": "none"}}})).expect(200);
            for id in 1..=8 {
                tenant.producer.post_event(&event(if id % 2 == 0 { "close" } else { "sign" }));
                tenant.wait_for_state(id, "failed");
            }
        }
        // As a person has filtered the queue: what failed with this status, of this type, since this time.
        let third = tenant.admin.get("deliveries/3").expect(200)["data"]["attributes"]["lastProcessedAt"].clone();
        let filter = json!({"filter[status]": "error", "filter[responseStatus]": "500", "filter[errorMessage]": "status,timeout",
            "filter[eventType]": "close", "filter[lastProcessedAt][ge]": third});
        let query: Vec<String> = filter.as_object().unwrap().iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
        let listed = tenant.admin.get(&format!("deliveries?sort=id&{}", query.join("&"))).expect(200);
        assert_eq!(listed["data"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>(), [4, 6, 8]);
        repaired.store(true, Ordering::SeqCst);
        let before = receiver.count();
        let dry = start(&tenant, json!({"action": "repush", "filter": filter, "upTo": "7", "dryRun": true}));
        assert_eq!(numbers(&ended(&tenant, &dry)), (2, 0, 0));
        let job = start(&tenant, json!({"action": "repush", "filter": filter, "upTo": "7"}));
        let done = ended(&tenant, &job);
        assert_eq!((done["state"].as_str(), numbers(&done)), (Some("done"), (2, 2, 0)), "{done}");
        for id in [4, 6] {
            assert_eq!(tenant.wait_for_state(id, "delivered")["attempts"], 2);
        }
        // The same again finds nothing: they are delivered now. Flags can be set by such a filter, too.
        let again = start(&tenant, json!({"action": "repush", "filter": filter, "upTo": "7"}));
        assert_eq!(numbers(&ended(&tenant, &again)), (0, 0, 0));
        let flags = start(&tenant, json!({"action": "update", "set": {"isFlagged": true}, "filter": {"filter[status]": "complete"}, "upTo": "8"}));
        assert_eq!(numbers(&ended(&tenant, &flags)), (2, 2, 0));
        assert_eq!(tenant.consumer.ids("sort=sequence&filter[isFlagged]=true"), [4, 6]);
        for (tenant, left) in [(&tenant, vec![1, 2, 3, 5, 7, 8]), (&other, (1..=8).collect())] {
            assert_eq!(tenant.consumer.ids("sort=sequence&filter[push]=failed"), left);
        }
        assert_eq!(receiver.count(), before + 2, "nothing else was pushed");
        // Nothing is put off: a filter by the next attempt selects nothing, while push is paused too.
        tenant.admin.settings(json!({"push": {"enabled": false}})).expect(200);
        let due = start(&tenant, json!({"action": "repush", "filter": {"filter[nextAttemptAt][ge]": "1970-01-01T00:00:00Z"}, "upTo": "8"}));
        assert_eq!(numbers(&ended(&tenant, &due)), (0, 0, 0));
    }

    fn what_changes_while_a_job_runs_is_judged_when_its_turn_comes(db) {
        const COUNT: u64 = 6000;
        let server = Server::start(&db);
        let tenant = server.tenant("moving");
        let (receiver, repaired) = repairable();
        repaired.store(true, Ordering::SeqCst);
        tenant.push_to(&receiver.url(), false);
        tenant.admin.settings(json!({"push": {"enabled": false}})).expect(200);
        post(&tenant, usize::try_from(COUNT).unwrap());
        // All wait, and go out while the job asks to push again what waits.
        tenant.admin.settings(json!({"push": {"enabled": true, "maxConcurrency": 32}})).expect(200);
        let job = start(&tenant, json!({"action": "repush", "filter": {"filter[status]": "pending"}, "upTo": COUNT.to_string()}));
        let done = ended(&tenant, &job);
        let (total, processed, failed) = numbers(&done);
        assert!(done["state"] == "done" && processed <= total && total <= COUNT && failed == 0, "{done}");
        until("all to be delivered", Duration::from_secs(120), || {
            let page = tenant.admin.get("deliveries?page[size]=1&filter[status]=pending").expect(200);
            page["data"].as_array().unwrap().is_empty().then_some(())
        });
        // One that was delivered in the meantime no longer matched: nothing was pushed twice.
        let pushed = receiver.sequences();
        assert_eq!(pushed.iter().collect::<BTreeSet<_>>().len(), pushed.len(), "something was pushed twice");
        assert_eq!(u64::try_from(pushed.len()).unwrap(), COUNT);
    }

    fn under_strict_order_a_repush_of_the_first_ends_the_wait(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("strict");
        let (receiver, well) = repairable();
        let retry = json!({"kind": "fixed", "everySeconds": 3600, "attempts": 5, "jitter": 0.0});
        let push = json!({"url": receiver.url(), "ordering": "fifo", "retry": retry});
        tenant.admin.settings(json!({"push": push})).expect(200);
        post(&tenant, 3);
        let waits = |id: u64| tenant.push_status(id)["nextAttemptAt"].as_str().map(str::to_owned);
        until("the first to be put off", SOON, || {
            let next = waits(1).filter(|_| tenant.push_status(1)["attempts"] == 1)?;
            assert!(next > waits(2)?, "it waits for an hour, the next since it was received: {next}");
            Some(())
        });
        well.store(true, Ordering::SeqCst);
        let started = start(&tenant, json!({"action": "repush", "ids": ["1"]}));
        assert_eq!(ended(&tenant, &started)["state"], "done");
        receiver.wait_for(4, SOON);
        assert_eq!(receiver.sequences(), [1, 1, 2, 3]);
    }

    fn a_repush_waits_while_push_is_paused_and_needs_a_url(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("paused");
        tenant.producer.post_event(&event("close"));
        let body = json!({"data": {"type": "job", "attributes": {"action": "repush", "ids": ["1"]}}});
        let error = tenant.admin.post("jobs", &body).refused_as(ErrorCode::InvalidValue);
        assert_eq!(error["source"]["pointer"], "/data/attributes/action");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        tenant.admin.settings(json!({"push": {"enabled": false}})).expect(200);
        let job = start(&tenant, json!({"action": "repush", "ids": ["1"]}));
        assert_eq!(numbers(&ended(&tenant, &job)), (1, 1, 0));
        assert_eq!(tenant.push_status(1)["state"], "paused", "what had no URL has one now");
        assert_eq!(receiver.count(), 0);
        tenant.admin.settings(json!({"push": {"enabled": true}})).expect(200);
        tenant.wait_for_state(1, "delivered");
    }

    fn flags_of_thousands_are_set(db) {
        let server = Server::start(&db);
        let (tenant, other) = (server.tenant("flags"), server.tenant("other"));
        post(&tenant, 5000);
        post(&other, 3);
        tenant.consumer.set(7, json!({"isFlagged": true})).expect(200);
        let set = json!({"isRead": true, "isDismissed": true});
        let job = start(&tenant, json!({"action": "update", "set": set, "filter": {"filter[isFlagged]": "false"}, "upTo": "4990"}));
        let others = start(&other, json!({"action": "update", "set": {"isRead": true}, "filter": {}, "all": true, "upTo": "2"}));
        let done = ended(&tenant, &job);
        assert_eq!((done["state"].as_str(), numbers(&done)), (Some("done"), (4989, 4989, 0)), "{done}");
        let left: Vec<u64> = tenant.consumer.ids("sort=sequence&filter[isRead]=false");
        assert_eq!(left, [7].into_iter().chain(4991..=5000).collect::<Vec<_>>());
        assert_eq!(numbers(&ended(&other, &others)), (2, 2, 0));
        assert_eq!(other.consumer.ids("filter[isRead]=false"), [3]);
        assert_eq!(other.consumer.ids("sort=sequence"), [1, 2, 3], "flags that weren't named stay");
        // The other tenant's job can't be seen.
        let id = job["data"]["id"].as_str().unwrap();
        for answer in [other.admin.get(&format!("jobs/{id}")), other.admin.delete(&format!("jobs/{id}"))] {
            answer.refused_as(ErrorCode::NotFound);
        }
        assert_eq!(other.admin.get("jobs").expect(200)["data"].as_array().unwrap().len(), 1);
    }

    fn a_job_survives_kill_9_and_does_everything_once(db) {
        let mut server = Server::start(&db);
        let tenant = server.tenant("killed");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        tenant.admin.settings(json!({"push": {"enabled": false}})).expect(200);
        post(&tenant, 20_000);
        let job = start(&tenant, json!({"action": "update", "set": {"isRead": true}, "filter": {"filter[isRead]": "false"}, "upTo": "20000"}));
        let seen = until("the middle of the job", SOON, || {
            let job = self::job(&tenant, &job);
            (job["processed"].as_u64().unwrap() > 0).then_some(job)
        });
        server.kill9();
        assert!(seen["endedAt"].is_null(), "too quick to prove anything: {seen}");
        server.restart();
        let done = ended(&tenant, &job);
        // What was done no longer matches the filter: skipped or repeated ones would show in the sum.
        assert_eq!((done["state"].as_str(), numbers(&done)), (Some("done"), (20_000, 20_000, 0)), "{done}");
        assert_eq!(done["startedAt"], seen["startedAt"]);
        assert!(tenant.consumer.ids("filter[isRead]=false").is_empty());
    }

    fn what_is_cancelled_stops_and_stays_as_it_is(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("cancelled");
        post(&tenant, 20_000);
        let job = start(&tenant, json!({"action": "update", "set": {"isRead": true}, "filter": {}, "all": true, "upTo": "20000"}));
        until("the middle of the job", SOON, || (self::job(&tenant, &job)["processed"].as_u64().unwrap() > 0).then_some(()));
        let link = job["data"]["links"]["self"].as_str().unwrap();
        let cancelled = tenant.admin.delete(link).expect(200);
        let attributes = &cancelled["data"]["attributes"];
        assert_eq!(attributes["state"], "cancelled", "too quick to prove anything: {cancelled}");
        assert!(attributes["endedAt"].is_string());
        let read = attributes["processed"].as_u64().unwrap();
        // A later job of the tenant comes after it: when that has ended, the cancelled one would have gone on.
        let later = start(&tenant, json!({"action": "update", "set": {"isFlagged": true}, "ids": ["1"]}));
        ended(&tenant, &later);
        assert_eq!(tenant.admin.get(link).expect(200), cancelled);
        let query = "filter[isDismissed]=true,false&filter[isRead]=true";
        assert_eq!(u64::try_from(tenant.consumer.all(query).len()).unwrap(), read);
        assert_eq!(tenant.admin.delete(link).expect(200), cancelled, "cancelling twice changes nothing");
    }

    fn jobs_are_listed_newest_first(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("list");
        let mut ids: Vec<Value> = (0..5)
            .map(|_| start(&tenant, json!({"action": "update", "set": {"isRead": true}, "ids": ["1"]}))["data"]["id"].clone())
            .collect();
        ids.reverse();
        let of = |page: &Value| page["data"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect::<Vec<_>>();
        let (mut path, mut seen) = ("jobs?page[size]=2".to_owned(), Vec::new());
        let mut page;
        loop {
            page = tenant.admin.get(&path).expect(200);
            assert!(page["links"]["self"].as_str().unwrap().ends_with(path.rsplit_once('/').map_or(path.as_str(), |(_, last)| last)));
            assert_eq!(page["links"]["prev"].is_null(), seen.is_empty(), "{}", page["links"]);
            seen.extend(of(&page));
            match page["links"]["next"].as_str() {
                Some(next) => path = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, ids);
        // And back from the last.
        let mut back = of(&page);
        while let Some(prev) = page["links"]["prev"].as_str().map(str::to_owned) {
            page = tenant.admin.get(&prev).expect(200);
            assert!(page["links"]["next"].is_string(), "{}", page["links"]);
            back.splice(0..0, of(&page));
        }
        assert_eq!(back, ids);
        let first = page["links"]["first"].as_str().unwrap();
        assert_eq!(of(&tenant.admin.get(first).expect(200)), ids[..2]);
        let foreign = tenant.admin.get("jobs?page[size]=2").expect(200)["links"]["next"].as_str().unwrap().replace("/jobs", "/deliveries");
        assert_eq!(tenant.admin.get(&foreign).refused(400)["source"]["parameter"], "page[after]");
        tenant.admin.get("jobs?page[after]=1&page[before]=2").refused_as(ErrorCode::InvalidParameter);
        for (query, parameter) in [("page[size]=0", "page[size]"), ("page[after]=x", "page[after]"), ("page[before]=1_2", "page[before]"), ("x=1", "x")] {
            let error = tenant.admin.get(&format!("jobs?{query}")).refused(400);
            assert_eq!(error["source"]["parameter"], parameter);
        }
        for api in [&tenant.consumer, &tenant.producer] {
            api.get("jobs").refused_as(ErrorCode::Forbidden);
            api.post("jobs", &json!({})).refused_as(ErrorCode::Forbidden);
        }
        tenant.admin.get("jobs/4711").refused_as(ErrorCode::NotFound);
    }

    fn bodies_that_can_not_be_done_are_refused_by_their_member(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("hostile");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), false);
        let wrong = BTreeMap::from([
            (r#"{"action":"explode","ids":["1"]}"#, "/data/attributes/action"),
            (r#"{"action":"repush","ids":[1]}"#, "/data/attributes/ids/0"),
            (r#"{"action":"repush","ids":["-1"]}"#, "/data/attributes/ids/0"),
            (r#"{"action":"repush","ids":["1",["2"]]}"#, "/data/attributes/ids/1"),
            (r#"{"action":"repush","ids":"1"}"#, "/data/attributes/ids"),
            (r#"{"action":"repush","ids":["1"],"sets":{}}"#, "/data/attributes/sets"),
            (r#"{"action":"update","ids":["1"],"set":{"isDone":true}}"#, "/data/attributes/set/isDone"),
            (r#"{"action":"update","ids":["1"],"set":{"isRead":"true"}}"#, "/data/attributes/set/isRead"),
            (r#"{"action":"update","ids":["1"],"set":[true,true]}"#, "/data/attributes/set"),
            (r#"{"action":"repush","filter":{"filter[type]":"a b"},"upTo":"1"}"#, "/data/attributes/filter/filter[type]"),
            (r#"{"action":"repush","filter":{"filter[entity]":"a\u0000"},"upTo":"1"}"#, "/data/attributes/filter/filter[entity]"),
            (r#"{"action":"repush","filter":{"filter[status]":"failed"},"upTo":"1"}"#, "/data/attributes/filter/filter[status]"),
            (r#"{"action":"repush","filter":{"filter[status]":"error","filter[isRead]":"true"},"upTo":"1"}"#, "/data/attributes/filter/filter[isRead]"),
            (r#"{"action":"repush","filter":{"filter[id]":"1","sort":"id"},"upTo":"1"}"#, "/data/attributes/filter/sort"),
            (r#"{"action":"repush","filter":{"filter[push]":"failed","filter[push]":"delivered"},"upTo":"1"}"#, "/data/attributes/filter/filter[push]"),
            (r#"{"action":"repush","filter":{"page[size]":"1"},"upTo":"1"}"#, "/data/attributes/filter/page[size]"),
            (r#"{"action":"repush","filter":{"filter[push]":["failed"]},"upTo":"1"}"#, "/data/attributes/filter/filter[push]"),
            (r#"{"action":"repush","filter":{"filter[push]":"failed"}}"#, "/data/attributes"),
            (r#"{"action":"repush","filter":{},"upTo":"1"}"#, "/data/attributes/filter"),
            (r#"{"action":"repush","filter":{"filter[push]":"failed"},"upTo":"99999999999999999999"}"#, "/data/attributes/upTo"),
        ]);
        for (attributes, pointer) in wrong {
            let body = format!(r#"{{"data":{{"type":"job","attributes":{attributes}}}}}"#);
            let error = tenant.admin.send("POST", "jobs", &[], Some(body.as_bytes())).refused(422);
            assert_eq!(error["source"]["pointer"], pointer, "{attributes}: {error}");
        }
        let ids: Vec<String> = (1..=10_001).map(|id: u32| id.to_string()).collect();
        let body = json!({"data": {"type": "job", "attributes": {"action": "repush", "ids": ids}}});
        assert_eq!(tenant.admin.post("jobs", &body).refused(422)["source"]["pointer"], "/data/attributes/ids");
        tenant.admin.post("jobs", &json!({"data": {"type": "task", "attributes": {"action": "repush", "ids": ["1"]}}})).refused(409);
        assert!(tenant.admin.get("jobs").expect(200)["data"].as_array().unwrap().is_empty(), "a refused job is none");
    }
}
