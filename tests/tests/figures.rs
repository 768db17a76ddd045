//! `/statistics` and `/overview`: the figures are those of what happened, and who may ask for them is told apart.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::time::Duration;

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::{Api, Receiver, Reply, Server, event, on_both, until};

const PATIENCE: Duration = Duration::from_secs(30);

fn statistics(api: &Api, hours: u32) -> Value {
    let document = api.get(&format!("statistics?hours={hours}")).expect(200);
    assert_eq!(document["data"]["type"], "statistics");
    document["data"]["attributes"].clone()
}

fn sum(buckets: &Value, name: &str) -> i64 {
    buckets.as_array().unwrap().iter().map(|bucket| bucket[name].as_i64().unwrap()).sum()
}

on_both! {
    fn figures_are_those_of_what_happened(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("figures");
        // Before there is a URL.
        let empty = statistics(&tenant.consumer, 24);
        assert_eq!(empty["notifications"], json!({"total": 0, "undismissed": 0, "unread": 0, "flagged": 0, "isComplete": true}));
        assert_eq!(empty["retention"], json!({"days": 180, "oldestReceivedAt": null}));
        assert_eq!(empty["attempts"], json!({"accepted": 0, "failed": 0, "p50Ms": null, "p95Ms": null, "isComplete": true}));
        for _ in 0..3 {
            tenant.producer.post_event(&event("close"));
        }
        // The first attempt of each fails, the second is accepted; `void` is refused for good.
        let receiver = Receiver::start(|request, _| match request.header("tidings-attempt") {
            "1" => Reply::Status(500),
            _ => Reply::Status(204),
        });
        tenant.push_to(&receiver.url(), false);
        for _ in 0..5 {
            tenant.producer.post_event(&event("close"));
        }
        for id in 4..=8 {
            tenant.wait_for_state(id, "delivered");
        }
        tenant.admin.settings(json!({"push": {"retry": {"attempts": 1}}})).expect(200);
        let failed = tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(failed, "failed");
        tenant.admin.settings(json!({"push": {"enabled": false}})).expect(200);
        tenant.producer.post_event(&event("close"));
        tenant.consumer.set(1, json!({"isDismissed": true})).expect(200);
        tenant.consumer.set(2, json!({"isRead": true})).expect(200);
        tenant.consumer.set(3, json!({"isFlagged": true})).expect(200);

        for (hours, count) in [(1, 12), (24, 24)] {
            let found = statistics(&tenant.admin, hours);
            assert_eq!(found["notifications"], json!({"total": 10, "undismissed": 9, "unread": 8, "flagged": 1, "isComplete": true}));
            let push = json!({"none": 3, "pending": 0, "delivered": 5, "failed": 1, "paused": 1, "isComplete": true});
            assert_eq!(found["push"], push);
            assert_eq!((&found["failedSinceYesterday"], &found["isComplete"]), (&json!(1), &json!(true)));
            let buckets = &found["buckets"];
            assert_eq!(buckets.as_array().unwrap().len(), count);
            assert_eq!(buckets[0]["startedAt"], found["since"]);
            assert_eq!((sum(buckets, "accepted"), sum(buckets, "failed")), (5, 6));
            assert_eq!((&found["attempts"]["accepted"], &found["attempts"]["failed"]), (&json!(5), &json!(6)));
            let (half, most) = (found["attempts"]["p50Ms"].as_i64().unwrap(), found["attempts"]["p95Ms"].as_i64().unwrap());
            assert!(half <= most, "{found}");
            let waiting = tenant.consumer.get("notifications/10").expect(200)["data"]["meta"]["receivedAt"].clone();
            assert_eq!(found["oldestUndeliveredAt"], waiting);
            let first = tenant.consumer.get("notifications/1").expect(200)["data"]["meta"]["receivedAt"].clone();
            assert_eq!(found["retention"]["oldestReceivedAt"], first);
        }
        // A day is asked for where nothing is said.
        let document = tenant.consumer.get("statistics").expect(200);
        assert_eq!((&document["data"]["id"], document["data"]["attributes"]["buckets"].as_array().unwrap().len()), (&json!(tenant.id), 24));
        for (wrong, code) in [("hours=2", ErrorCode::InvalidParameter), ("hours=", ErrorCode::InvalidParameter), ("days=1", ErrorCode::UnknownParameter)] {
            tenant.consumer.get(&format!("statistics?{wrong}")).refused_as(code);
        }
        // The figures of another tenant are its own.
        let other = statistics(&server.tenant("other").consumer, 24);
        assert_eq!((&other["notifications"]["total"], &other["attempts"]["failed"]), (&json!(0), &json!(0)));
    }

    fn the_operator_sees_first_who_needs_help(db) {
        let server = Server::start(&db);
        let operator = server.operator();
        assert_eq!(operator.get("overview").expect(200)["meta"]["needAction"], 0);
        let (fine, failing, gone, waiting) =
            (server.tenant("fine"), server.tenant("failing"), server.tenant("gone"), server.tenant("waiting"));
        let receiver = Receiver::accepting();
        fine.push_to(&receiver.url(), false);
        fine.producer.post_event(&event("close"));
        fine.wait_for_state(1, "delivered");
        let refusing = Receiver::start(|_, _| Reply::Status(500));
        failing.push_to(&refusing.url(), false);
        failing.admin.settings(json!({"push": {"retry": {"attempts": 1}}})).expect(200);
        failing.producer.post_event(&event("close"));
        failing.wait_for_state(1, "failed");
        let left = Receiver::start(|_, _| Reply::Status(410));
        gone.push_to(&left.url(), false);
        gone.producer.post_event(&event("close"));
        gone.wait_for_state(1, "paused");
        waiting.push_to(&refusing.url(), false);
        waiting.admin.settings(json!({"push": {"enabled": false}})).expect(200);
        waiting.producer.post_event(&event("close"));
        // As if that had been an hour ago.
        let number = format!("(SELECT id FROM tenants WHERE public_id = '{}')", waiting.id);
        db.execute(&format!("UPDATE notifications SET received_at = received_at - 3600000000 WHERE tenant_id = {number}"));

        // Since when a push is stopped is noted a moment after it was.
        let overview = until("when the push was stopped", PATIENCE, || {
            let overview = operator.get("overview").expect(200);
            overview["data"][0]["attributes"]["push"]["since"].is_string().then_some(overview)
        });
        let named = |name: &str| overview["data"].as_array().unwrap().iter().position(|tenant| tenant["attributes"]["name"] == name).unwrap();
        assert_eq!((named("gone"), named("failing"), named("waiting")), (0, 1, 2), "{overview}");
        assert!(named("fine") > 2);
        assert_eq!((&overview["meta"]["needAction"], &overview["meta"]["isComplete"]), (&json!(3), &json!(true)));
        assert_eq!(overview["meta"]["tenants"], overview["data"].as_array().unwrap().len());
        let of = |name: &str| &overview["data"][named(name)]["attributes"];
        assert_eq!(overview["data"][0]["type"], "tenantHealth");
        assert_eq!(overview["data"][0]["id"], gone.id.as_str());
        assert_eq!((&of("gone")["push"]["state"], &of("gone")["undelivered"]), (&json!("paused"), &json!(1)));
        assert!(of("gone")["push"]["reason"].as_str().unwrap().contains("410"), "{overview}");
        assert_eq!((&of("failing")["push"]["state"], &of("failing")["failedSinceYesterday"]), (&json!("active"), &json!(1)));
        assert_eq!((&of("waiting")["push"]["state"], &of("waiting")["needsAction"]), (&json!("paused"), &json!(true)));
        assert!(of("waiting")["oldestUndeliveredAt"].is_string());
        let push = json!({"state": "active", "reason": null, "since": null});
        assert_eq!(of("fine"), &json!({"name": "fine", "push": push, "undelivered": 0, "oldestUndeliveredAt": null,
            "failedSinceYesterday": 0, "needsAction": false}));

        // Put right, deleted: nobody needs help any more.
        gone.push_to(&receiver.url(), false);
        gone.wait_for_state(1, "delivered");
        for tenant in [&failing, &waiting] {
            assert_eq!(operator.delete(&format!("tenants/{}", tenant.id)).status, 204);
        }
        assert_eq!(operator.get("overview").expect(200)["meta"]["needAction"], 0);
        operator.get("overview?page[size]=1").refused_as(ErrorCode::UnknownParameter);
    }

    fn a_hundred_thousand_notifications_are_counted_and_no_more(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("many");
        let number = format!("(SELECT id FROM tenants WHERE public_id = '{}')", tenant.id);
        let now = chrono::Utc::now().timestamp_micros();
        // Delivered within the last second but the newest 1,000, which were given up.
        db.execute(&format!(
            "INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, due_at, size, processed_at) \
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 110000) \
             SELECT {number}, n, FALSE, FALSE, FALSE, CASE WHEN n > 109000 THEN 3 ELSE 2 END, 1, NULL, 1, {now} - n FROM numbers; \
             INSERT INTO attempts (tenant_id, sequence, number, started_at, duration_ms, url, reason, response_text, error) \
             SELECT tenant_id, sequence, 1, processed_at - 5000, 5, '', 1, '', CASE WHEN push_state = 3 THEN 7 END \
             FROM states WHERE tenant_id = {number}; \
             UPDATE positions SET last_sequence = 110000 WHERE tenant_id = {number}"
        ));
        let found = statistics(&tenant.consumer, 24);
        assert_eq!(found["notifications"], json!({"total": 110_000, "undismissed": 100_000, "unread": 100_000, "flagged": 0, "isComplete": false}));
        assert_eq!((&found["push"]["failed"], &found["push"]["isComplete"]), (&json!(1000), &json!(false)));
        assert_eq!((&found["push"]["delivered"], &found["push"]["none"]), (&json!(109_000), &json!(0)));
        assert_eq!((&found["isComplete"], &found["failedSinceYesterday"]), (&json!(false), &json!(1000)));
        // The oldest were delivered last, in this test: of them the attempts of 1,000 count.
        assert_eq!(found["attempts"], json!({"accepted": 1000, "failed": 0, "p50Ms": 5, "p95Ms": 5, "isComplete": false}));
    }
}
