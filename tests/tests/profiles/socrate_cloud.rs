//! SocrateCloud Push Data: trigger columns and logic, and a log of each change with its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tidings_tests::systems;
use tidings_tests::{Server, on_both};

use super::{assert_has, attempts, column, delivery, repush, set};

on_both! {
    fn logs_the_change_and_the_answer_and_can_send_it_again(db) {
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
}
