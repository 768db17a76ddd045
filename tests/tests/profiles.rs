//! Each of the model systems from end to end: its profile, a receiver with its manners, and what becomes of a
//! notification in state, log and pull. Retries are made to come quickly, which also shows that single settings may
//! differ from the profile's.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::systems::{self, CLIENT_ID_HEADER, Echo, Envelope};
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, Request, Server, Tenant, event, on_both};

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

/// An event as Signals Notebook sends it.
fn signing_event() -> Value {
    json!({
        "data": {"type": "notification",
            "attributes": {"type": "close", "createdAt": "2023-12-13T20:42:50.427Z", "comment": "This experiment was a success"},
            "relationships": {
                "createdBy": {"data": {"type": "user", "id": "100"}},
                "entity": {"data": {"type": "entity", "id": "experiment:d5dc8e92-580d-41e2-9c65-99726294966c"}}}},
        "included": [
            {"type": "entity", "id": "experiment:d5dc8e92-580d-41e2-9c65-99726294966c",
             "attributes": {"type": "experiment", "eid": "experiment:d5dc8e92-580d-41e2-9c65-99726294966c", "name": "Experiment 100", "isTemplate": false}},
            {"type": "user", "id": "100", "attributes": {"userId": "100", "userName": "a@example.com", "alias": null, "picture": {"link": null}}}]
    })
}

on_both! {
    fn signals_pushes_once_dismisses_what_is_taken_and_leaves_the_rest_to_the_pull(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("signals");
        let mut handler = systems::signals("x-archive-key", "s3cret", Duration::from_millis(300));
        let with_key = |value: &str| json!({"push": {"authentication": {"kind": "header", "name": "X-Archive-Key", "value": value}}});
        let now = set(&tenant, json!({"profile": "signals", "push": {"url": handler.url()},
            "selection": {"types": ["allSigningEvents", "topLevelEntityCreation"]}}));
        assert_has(&now, &json!({"profile": "signals", "push": {"retry": {"kind": "none"}, "autoDismiss": true,
            "acknowledgement": {"kind": "status"}, "contentType": "application/json"}, "retention": {"days": 180}}));
        set(&tenant, with_key("s3cret"));

        // Taken: pushed as the system's own document, with the header, and dismissed.
        let base = format!("{}/api/rest/v1.0", server.url());
        tenant.producer.post("notifications", &signing_event()).expect(201);
        let request = handler.wait_for(1, SOON).remove(0);
        assert_eq!((&*request.method, request.header("x-archive-key")), ("POST", "s3cret"));
        let pushed = request.json();
        assert_eq!(pushed["links"]["self"], format!("{base}/notifications/1"));
        assert_eq!(pushed["data"], json!({
            "type": "notification", "id": "1", "links": {"self": format!("{base}/notifications/1")},
            "attributes": {"id": "1", "createdAt": "2023-12-13T20:42:50.427Z", "type": "close", "isDismissed": true,
                "isRead": false, "isFlagged": false, "comment": "This experiment was a success"},
            "relationships": {
                "createdBy": {"links": {"self": format!("{base}/users/100")}, "data": {"type": "user", "id": "100"}},
                "entity": {"links": {"self": format!("{base}/entities/experiment:d5dc8e92-580d-41e2-9c65-99726294966c")},
                    "data": {"type": "entity", "id": "experiment:d5dc8e92-580d-41e2-9c65-99726294966c"}}}}));
        assert_eq!(pushed["included"], signing_event()["included"]);
        tenant.wait_for_state(1, "delivered");
        assert!(tenant.consumer.ids("status=notdismissed").is_empty());
        assert_eq!(tenant.consumer.ids("status=dismissed"), [1]);
        assert_has(&delivery(&tenant, 1), &json!({"status": "complete", "synchronized": true, "counter": 1, "retries": 0,
            "errorMessage": null, "responseStatus": 200, "eventType": "close", "eventTime": "2023-12-13T20:42:50.427Z", "createdBy": "100"}));
        let took = attempts(&tenant, 1)[0]["durationMs"].as_u64().unwrap();
        assert!((300..15_000).contains(&took), "the handler took its time, the log says {took} ms");

        // Not selected: not stored.
        let unselected = tenant.producer.post("notifications", &event("print")).expect(200);
        assert_eq!(unselected["meta"], json!({"stored": false, "reason": "typeNotSelected"}));

        // Refused for its header, and offline: one attempt each, undismissed, found by the pull.
        set(&tenant, with_key("wrong"));
        tenant.producer.post("notifications", &signing_event()).expect(201);
        tenant.wait_for_state(2, "failed");
        handler.stop();
        tenant.producer.post("notifications", &signing_event()).expect(201);
        assert_eq!(tenant.wait_for_state(3, "failed"), json!({"state": "failed", "attempts": 1, "nextAttemptAt": null}));
        assert_eq!((column(&tenant, 2, "error"), column(&tenant, 2, "responseStatus")), (vec![json!("status")], vec![json!(401)]));
        assert_eq!((column(&tenant, 3, "error"), column(&tenant, 3, "responseStatus")), (vec![json!("connect")], vec![Value::Null]));
        assert_has(&delivery(&tenant, 3), &json!({"status": "error", "synchronized": false, "active": false, "counter": 1, "retries": 0, "errorMessage": "connect"}));
        assert_eq!(handler.count(), 2, "what is refused isn't tried again");

        // The catch-up of an archive: what isn't dismissed, then dismiss it.
        assert_eq!(tenant.consumer.ids("status=notdismissed&from=2023-12-13T20:42:50.427Z"), [3, 2]);
        let dismiss = json!({"data": [{"attributes": {"name": "isDismissed", "value": "true"}}]});
        let patched = tenant.consumer.patch("notifications/3", &dismiss).expect(200);
        assert_eq!(patched["data"]["attributes"]["isDismissed"], true);
        assert_eq!(tenant.consumer.ids("status=notdismissed"), [2]);

        // Or it is pushed again.
        handler.resume();
        set(&tenant, with_key("s3cret"));
        repush(&tenant, 2);
        tenant.wait_for_state(2, "delivered");
        assert!(tenant.consumer.ids("status=notdismissed").is_empty());
        assert_has(&delivery(&tenant, 2), &json!({"status": "complete", "synchronized": true, "counter": 2, "errorMessage": null}));
        assert_eq!(column(&tenant, 2, "reason"), ["first", "repush"]);
    }

    fn acrobat_sign_verifies_the_intent_and_wants_the_client_id_back(db) {
        const ID: &str = "BGBQIIE7H253K6";
        let server = Server::start(&db);
        let tenant = server.tenant("acrobat sign");
        let willing = Arc::new(AtomicBool::new(true));
        let wills = willing.clone();
        // Verified by the header; the first push is answered with a 2xx that repeats nothing, the second repeats the id
        // in the header, what follows in the body.
        let handler = systems::acrobat_sign(ID, move |method, nth| match (method, nth) {
            ("GET", _) if wills.load(Ordering::SeqCst) => Echo::Header,
            ("GET", _) | ("POST", 0) => Echo::Nowhere,
            ("POST", 1) => Echo::Header,
            _ => Echo::Body,
        });
        let now = set(&tenant, json!({"profile": "acrobatSign", "push": {"clientId": ID, "url": handler.url()}}));
        assert_has(&now, &json!({"push": {
            "timeoutSeconds": 5, "maxConcurrency": 30, "clientId": ID, "clientIdHeader": CLIENT_ID_HEADER,
            "acknowledgement": {"kind": "clientIdEcho"}, "verification": {"kind": "clientIdEcho"},
            "retry": {"kind": "exponential", "firstSeconds": 30, "factor": 2.0, "capSeconds": 43_200, "giveUpAfterSeconds": 259_200, "attempts": 16},
            "disableAfterSeconds": 604_800},
            "payload": {"maxBytes": 10_000_000,
                "optionalFields": ["includeSignedDocuments", "includeParticipantsInfo", "includeDocumentsInfo", "includeDetailedInfo"]}}));
        let verification = handler.wait_for(1, SOON).remove(0);
        assert_eq!((&*verification.method, verification.header("x-adobesign-clientid")), ("GET", ID));
        assert_eq!(handler.count(), 1);

        // Whoever doesn't show the intent isn't registered: neither a receiver that answers anything, nor one that knows
        // another application. The old URL stays.
        let before = tenant.admin.get("external-notifications").expect(200);
        let deaf = systems::acrobat_sign(ID, |_, _| Echo::Nowhere);
        let of_another = systems::acrobat_sign("123XXX456", |_, _| Echo::Body);
        for other in [&deaf, &of_another] {
            let error = tenant.admin.settings(json!({"push": {"url": other.url()}})).refused(422);
            assert_eq!((&error["code"], &error["source"]["pointer"]), (&json!("verification_failed"), &json!("/data/attributes/push/url")));
            assert_eq!(other.wait_for(1, SOON)[0].method, "GET");
            assert_eq!(tenant.admin.get("external-notifications").expect(200), before);
        }
        // By the body is as good as by the header.
        let by_body = systems::acrobat_sign(ID, |_, _| Echo::Body);
        set(&tenant, json!({"push": {"url": by_body.url()}}));
        set(&tenant, json!({"push": {"url": handler.url(), "retry": {"firstSeconds": 1}}}));

        // Delivered if, and only if, the id comes back.
        tenant.producer.post_event(&event("AGREEMENT_CREATED"));
        tenant.wait_for_state(1, "delivered");
        tenant.producer.post_event(&event("AGREEMENT_WORKFLOW_COMPLETED"));
        tenant.wait_for_state(2, "delivered");
        assert_eq!(column(&tenant, 1, "error"), [json!("rejected"), Value::Null]);
        assert_eq!(column(&tenant, 1, "responseStatus"), [200, 200]);
        assert_eq!(column(&tenant, 1, "reason"), ["first", "retry"]);
        assert_eq!(column(&tenant, 2, "error"), [Value::Null]);
        assert_has(&delivery(&tenant, 1), &json!({"status": "complete", "retries": 1, "counter": 2, "synchronized": true}));
        let sent = pushes(&handler);
        assert_eq!(sent.len(), 3);
        assert!(sent.iter().all(|push| push.header("x-adobesign-clientid") == ID));
        assert_eq!(sent[0].header("webhook-id"), sent[1].header("webhook-id"), "the id to tell duplicates by");
        // Delivered isn't dismissed here: that is Signals' way.
        assert_eq!(tenant.consumer.ids(""), [2, 1]);

        // To resume needs the intent too; until then everything waits, and nothing is lost.
        set(&tenant, json!({"push": {"enabled": false}}));
        tenant.producer.post_event(&event("AGREEMENT_RECALLED"));
        willing.store(false, Ordering::SeqCst);
        let error = tenant.admin.settings(json!({"push": {"enabled": true}})).refused(422);
        assert_eq!(error["code"], "verification_failed");
        assert_eq!(in_force(&tenant)["push"]["enabled"], false);
        assert_eq!(tenant.push_status(3)["state"], "paused");
        assert_eq!(delivery(&tenant, 3)["status"], "paused");
        willing.store(true, Ordering::SeqCst);
        set(&tenant, json!({"push": {"enabled": true}}));
        tenant.wait_for_state(3, "delivered");
    }

    fn acrobat_sign_drops_optional_fields_in_their_order_from_what_is_too_large(db) {
        const ID: &str = "UB7E5BXCXY";
        let server = Server::start(&db);
        let tenant = server.tenant("acrobat sign, large");
        let handler = systems::acrobat_sign(ID, |_, _| Echo::Header);
        set(&tenant, json!({"profile": "acrobatSign", "push": {"clientId": ID, "url": handler.url()}, "payload": {"maxBytes": 2000}}));
        let agreement = |documents: usize, participants: usize, comment: usize| json!({"data": {"type": "notification", "attributes": {
            "type": "AGREEMENT_WORKFLOW_COMPLETED", "comment": "c".repeat(comment),
            "data": {"id": "CBJ", "name": "Contract", "includeDetailedInfo": "detail", "includeParticipantsInfo": "p".repeat(participants),
                "includeSignedDocuments": "d".repeat(documents), "includeDocumentsInfo": "documents"}}}});
        let push_of = |id: u64| {
            let all = handler.wait_until("its push", SOON, |requests| requests.iter().any(|request| request.header("tidings-sequence") == id.to_string()));
            all.into_iter().find(|request| request.header("tidings-sequence") == id.to_string()).unwrap()
        };
        let trimmed = |id: u64| push_of(id).json()["meta"]["conditionalParametersTrimmed"].clone();

        tenant.producer.post_event(&agreement(10, 10, 1));
        tenant.wait_for_state(1, "delivered");
        assert!(push_of(1).json().get("meta").is_none(), "nothing was dropped from the small one");
        tenant.producer.post_event(&agreement(3000, 10, 1));
        tenant.wait_for_state(2, "delivered");
        assert_eq!(trimmed(2), json!(["includeSignedDocuments"]));
        let mut expected = agreement(3000, 10, 1)["data"]["attributes"]["data"].clone();
        expected.as_object_mut().unwrap().remove("includeSignedDocuments");
        assert_eq!(push_of(2).json()["data"]["attributes"]["data"], expected);
        assert!(push_of(2).body.len() <= 2000);
        tenant.producer.post_event(&agreement(10, 3000, 1));
        tenant.wait_for_state(3, "delivered");
        assert_eq!(trimmed(3), json!(["includeSignedDocuments", "includeParticipantsInfo"]));
        // What is pulled is whole.
        let pulled = tenant.consumer.get("notifications/3").expect(200);
        assert_eq!(pulled["data"]["attributes"]["data"], agreement(10, 3000, 1)["data"]["attributes"]["data"]);

        // Without all of them it is still too large: never sent, told, and pulled all the same.
        tenant.producer.post_event(&agreement(10, 10, 3000));
        tenant.wait_for_state(4, "failed");
        assert_has(&delivery(&tenant, 4), &json!({"status": "error", "errorMessage": "too_large", "responseStatus": null, "synchronized": false}));
        assert!(pushes(&handler).iter().all(|push| push.header("tidings-sequence") != "4"));
        assert_eq!(tenant.consumer.ids("filter[push]=failed"), [4]);
        // With room for it, it is pushed again.
        set(&tenant, json!({"payload": {"maxBytes": null}}));
        repush(&tenant, 4);
        tenant.wait_for_state(4, "delivered");
    }

    fn socrate_cloud_logs_the_change_and_the_answer_and_can_send_it_again(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("socrate cloud");
        let down = Arc::new(AtomicBool::new(false));
        let is_down = down.clone();
        // The very first fails, and later as long as the third party is down.
        let third_party = systems::socrate_cloud(move |nth| nth == 0 || is_down.load(Ordering::SeqCst));
        let now = set(&tenant, json!({"profile": "socrateCloud", "push": {"url": third_party.url()},
            "selection": {"columns": ["C_Order.DocStatus"], "condition": "data.grandTotal > 100.0"}}));
        // One attempt at once, then 20 more, every five minutes.
        assert_has(&now["push"], &json!({"retry": {"kind": "fixed", "everySeconds": 300, "attempts": 21}, "acknowledgement": {"kind": "status"}}));
        let now = set(&tenant, json!({"push": {"retry": {"everySeconds": 1}}}));
        assert_eq!(now["push"]["retry"], json!({"kind": "fixed", "everySeconds": 1, "attempts": 21, "jitter": 0.0}));
        let order = |columns: &[&str], total: f64| json!({"data": {"type": "notification",
            "attributes": {"type": "C_Order", "data": {"grandTotal": total},
                "change": {"table": "C_Order", "type": "update", "columns": columns, "recordId": "1000042"}},
            "relationships": {"createdBy": {"data": {"type": "user", "id": "1000007"}}}}});

        // Only if a trigger column changed, and only if the logic says so.
        let reason = |event: Value| tenant.producer.post("notifications", &event).expect(200)["meta"]["reason"].clone();
        assert_eq!(reason(order(&["Description"], 500.0)), "columnsNotChanged");
        assert_eq!(reason(order(&["DocStatus"], 50.0)), "conditionNotMet");
        assert_eq!(tenant.consumer.count(), 0);

        tenant.producer.post_event(&order(&["Description", "DocStatus"], 500.0));
        tenant.wait_for_state(1, "delivered");
        let row = delivery(&tenant, 1);
        assert_has(&row, &json!({"table": "C_Order", "changeType": "update", "recordId": "1000042", "createdBy": "1000007",
            "responseText": "Ok", "responseStatus": 200, "synchronized": true, "counter": 2, "active": false, "status": "complete"}));
        assert_eq!(row["content"]["data"]["attributes"]["data"], json!({"grandTotal": 500.0}), "the content as published");
        let log = attempts(&tenant, 1);
        assert_eq!((&log[0]["error"], &log[0]["responseStatus"], log.len()), (&json!("status"), &json!(500), 2));
        let expected: String = systems::long_story().chars().take(1000).collect();
        assert_eq!(log[0]["responseText"], expected, "the first 1,000 characters, not bytes");

        // Down for longer than there are attempts: the row is inactive, and there to be pulled or sent again.
        set(&tenant, json!({"push": {"retry": {"attempts": 3}}}));
        down.store(true, Ordering::SeqCst);
        tenant.producer.post_event(&order(&["DocStatus"], 101.0));
        tenant.wait_for_state(2, "failed");
        let row = delivery(&tenant, 2);
        assert_has(&row, &json!({"synchronized": false, "counter": 3, "active": false, "status": "error", "errorMessage": "status", "responseStatus": 500}));
        assert_eq!(row["responseText"].as_str().unwrap().chars().count(), 1000);
        assert_eq!(column(&tenant, 2, "reason"), ["first", "retry", "retry"]);
        assert_eq!(tenant.consumer.ids("filter[push]=failed"), [2]);
        down.store(false, Ordering::SeqCst);
        repush(&tenant, 2);
        tenant.wait_for_state(2, "delivered");
        assert_has(&delivery(&tenant, 2), &json!({"synchronized": true, "counter": 4, "active": false, "status": "complete", "errorMessage": null, "responseText": "Ok"}));
    }

    fn sertifi_has_its_queue_its_field_selection_and_its_repush(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("sertifi");
        let listener = systems::sertifi("api", "pass:wörd");
        let now = set(&tenant, json!({"profile": "sertifi", "push": {"url": listener.url(),
            "authentication": {"kind": "basic", "username": "api", "password": "mistyped"}, "retry": every_second(2)},
            "payload": {"fields": {"AgreementSigned": ["documentId", "signedBy"]}},
            "selection": {"types": ["AgreementSigned", "AgreementCompleted", "PaymentCloned"]}}));
        assert_eq!(now["push"]["authentication"], json!({"kind": "basic", "username": "api"}));
        let signed = json!({"data": {"type": "notification", "attributes": {"type": "AgreementSigned", "createdAt": "2026-01-02T03:04:05.006Z",
            "comment": "not subscribed", "data": {"documentId": "d-1", "signedBy": "B", "price": 12}}}});

        // Refused for its password until there are no attempts left: Error in the queue.
        tenant.producer.post_event(&signed);
        tenant.wait_for_state(1, "failed");
        let row = delivery(&tenant, 1);
        assert_has(&row, &json!({"endpointType": "http", "eventType": "AgreementSigned", "eventTime": "2026-01-02T03:04:05.006Z", "status": "error",
            "retries": 1, "errorMessage": "status", "responseStatus": 401, "nextAttemptAt": null}));
        assert!(row["lastProcessedAt"].is_string(), "{row}");
        assert!(row["responseText"].as_str().unwrap().contains("Unknown user name"), "{row}");

        // Only the fields that are in use were sent.
        let fields = |request: &Request| request.json()["data"]["attributes"].clone();
        let first = listener.requests().remove(0);
        assert_eq!(fields(&first), json!({"id": "1", "type": "AgreementSigned", "createdAt": "2026-01-02T03:04:05.006Z",
            "isDismissed": false, "isRead": false, "isFlagged": false, "data": {"documentId": "d-1", "signedBy": "B"}}));

        // With the right password the next go through, those too that the listener has never heard of.
        set(&tenant, json!({"push": {"authentication": {"password": "pass:wörd"}}}));
        tenant.producer.post_event(&event("AgreementCompleted"));
        tenant.producer.post_event(&event("PaymentCloned"));
        tenant.wait_for_state(2, "delivered");
        tenant.wait_for_state(3, "delivered");
        assert!(delivery(&tenant, 3)["responseText"].as_str().unwrap().contains(r#""Handled":false"#));

        // The queue is filtered by any of its columns.
        assert_eq!(queue(&tenant, "filter[status]=error"), [1]);
        assert_eq!(queue(&tenant, "filter[status]=complete&sort=id"), [2, 3]);
        for filter in ["id]=1", "eventType]=AgreementSigned", "retries]=1", "errorMessage]=status", "responseStatus]=401",
            "eventTime][lt]=2026-01-02T03:04:06Z", "status]=error"] {
            assert_eq!(queue(&tenant, &format!("filter[{filter}")), [1], "{filter}");
        }
        assert_eq!(queue(&tenant, "filter[endpointType]=http&sort=-id"), [3, 2, 1]);
        assert_eq!(queue(&tenant, "filter[lastProcessedAt][ge]=2026-01-01T00:00:00Z&sort=id"), [1, 2, 3]);

        // Select it, and click "Re-push".
        repush(&tenant, 1);
        tenant.wait_for_state(1, "delivered");
        assert_has(&delivery(&tenant, 1), &json!({"status": "complete", "retries": 2, "errorMessage": null, "responseStatus": 200}));
        assert!(queue(&tenant, "filter[status]=error").is_empty());
        assert_eq!(tenant.consumer.ids(""), [3, 2, 1]);
    }

    fn service_optimizer_takes_thin_documents_and_says_so_in_an_envelope(db) {
        const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzbyJ9.c2ln";
        let server = Server::start(&db);
        let tenant = server.tenant("service optimizer");
        // The first notification is answered in every odd way before it is taken; the second is taken with the code as a
        // number; the third never.
        let notified = systems::service_optimizer(TOKEN, |nth| match nth {
            0 | 5.. => Envelope::Unsuccessful,
            1 => Envelope::Contradictory,
            2 => Envelope::Garbage,
            3 => Envelope::CodeAsString,
            4 => Envelope::CodeAsNumber,
        });
        let now = set(&tenant, json!({"profile": "serviceOptimizer", "push": {"url": notified.url(),
            "authentication": {"kind": "authorization", "value": TOKEN}, "retry": every_second(4)},
            "retention": {"undeliveredDays": 7}, "selection": {"units": {"FRU7": {"jobStatus": false}}}}));
        assert_has(&now, &json!({"push": {"userAgent": "DataNotifier", "contentType": "application/json", "authentication": {"kind": "authorization"},
            "acknowledgement": {"kind": "successEnvelope"}}, "payload": {"detail": "thin"}}));
        let job = |unit: &str| json!({"data": {"type": "notification",
            "attributes": {"type": "jobStatus", "comment": "not in a thin document", "unit": unit, "data": {"workStatus": "5"}},
            "relationships": {"entity": {"data": {"type": "entity", "id": "job:1"}}}},
            "included": [{"type": "entity", "id": "job:1", "attributes": {"name": "a job"}}]});
        let switched_off = tenant.producer.post("notifications", &job("FRU7")).expect(200);
        assert_eq!(switched_off["meta"]["reason"], "switchedOffForUnit");

        tenant.producer.post_event(&job("FRU8"));
        tenant.wait_for_state(1, "delivered");
        tenant.producer.post_event(&job("FRU8"));
        assert_eq!(tenant.wait_for_state(2, "delivered")["attempts"], 1, "the code may be a number");
        assert_eq!(column(&tenant, 1, "error"), [json!("rejected"), json!("rejected"), json!("rejected"), Value::Null]);
        assert_eq!(column(&tenant, 1, "responseStatus"), [200, 200, 200, 200]);
        let texts = column(&tenant, 1, "responseText");
        assert!(texts[0].as_str().unwrap().contains("no such job"), "{texts:?}");
        assert_has(&delivery(&tenant, 1), &json!({"status": "complete", "retries": 3, "counter": 4, "synchronized": true, "errorMessage": null}));

        // Who and what, and nothing else: the rest is pulled.
        let request = notified.requests().remove(0);
        assert_eq!((request.header("user-agent"), request.header("authorization")), ("DataNotifier", TOKEN));
        let pushed = request.json();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&pushed["data"]["attributes"]), ["createdAt", "id", "isDismissed", "isFlagged", "isRead", "type"]);
        assert_eq!(pushed["data"]["relationships"]["entity"]["data"], json!({"type": "entity", "id": "job:1"}));
        assert!(pushed["included"].as_array().is_none_or(Vec::is_empty), "{pushed}");
        let pulled = tenant.consumer.get("notifications/1").expect(200);
        assert_eq!(pulled["data"]["attributes"]["data"], json!({"workStatus": "5"}));
        assert_eq!(pulled["included"][0]["attributes"]["name"], "a job");

        // Refused to the end: kept, and pulled.
        tenant.producer.post_event(&job("FRU8"));
        tenant.wait_for_state(3, "failed");
        assert_has(&delivery(&tenant, 3), &json!({"status": "error", "errorMessage": "rejected", "responseStatus": 200, "counter": 4, "active": false}));
        assert_eq!(queue(&tenant, "filter[errorMessage]=rejected"), [3]);
        assert_eq!(tenant.consumer.ids("filter[push]=failed"), [3]);
    }

    fn standard_webhooks_signs_each_attempt_anew_and_with_both_secrets_while_they_change(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("standard webhooks");
        let receiver = Receiver::start(|_, nth| Reply::Status([500, 302, 200][nth.min(2)]));
        let now = set(&tenant, json!({"profile": "standardWebhooks", "push": {"url": receiver.url()}}));
        // Ten attempts: at once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h.
        assert_has(&now["push"], &json!({"retry": {"kind": "list", "delaysSeconds": [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]},
            "acknowledgement": {"kind": "status"}}));
        let timeout = now["push"]["timeoutSeconds"].as_u64().unwrap();
        assert!((15..=30).contains(&timeout), "15 to 30 seconds are recommended, not {timeout}");
        set(&tenant, json!({"push": {"retry": {"delaysSeconds": [2, 1], "jitter": 0}}}));
        tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(1, "delivered");
        let sent = receiver.requests();
        assert_eq!(sent.len(), 3);
        for request in &sent {
            assert!(request.is_signed_with(&tenant.signing_secret), "the signature is right");
            assert_eq!(request.header("webhook-id"), sent[0].header("webhook-id"));
        }
        let stamps: Vec<u64> = sent.iter().map(|request| request.header("webhook-timestamp").parse().unwrap()).collect();
        assert!(stamps[1] > stamps[0], "the timestamp is that of the attempt: {stamps:?}");
        assert_eq!(column(&tenant, 1, "error"), [json!("status"), json!("status"), Value::Null]);
        assert_eq!(column(&tenant, 1, "responseStatus"), [500, 302, 200]);

        // Rotated: for a day a receiver with either secret is served.
        let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let document = tenant.admin.settings(json!({"push": {"signing": {"secret": new}}})).expect(200);
        assert_eq!(document["data"]["attributes"]["push"]["signing"], json!({"overlapSeconds": 86_400}), "never read back");
        assert!(document["data"]["meta"]["push"]["previousSecretUntil"].is_string(), "{document}");
        tenant.producer.post_event(&event("close"));
        let request = receiver.wait_for(4, SOON).remove(3);
        assert_eq!(request.header("webhook-signature").split(' ').count(), 2);
        assert!(request.is_signed_with(new), "the signature is right");
        assert!(request.is_signed_with(&tenant.signing_secret), "the signature is right");
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
