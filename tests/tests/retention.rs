//! What has expired is gone, what is left is whole, and a cursor that points into the gap says so.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::sync::Arc;

use serde_json::json;
use tidings_api::error::ErrorCode;
use tidings_server::retention;
use tidings_server::store::Store;
use tidings_tests::{Database, Server, event, on_both};

const DAY: i64 = 86_400_000_000;

/// Sweeps the database of a running server as if it were another time.
fn sweep(db: &Database, now: i64) -> i64 {
    let store = Store::open(&db.url().parse().unwrap(), &Arc::default(), 1).unwrap().store;
    let (_going_on, stopping) = tokio::sync::watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(retention::sweep(&store, now, &stopping)).unwrap()
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

on_both! {
    fn what_is_older_than_the_tenant_s_days_is_removed_and_nothing_else(db) {
        let server = Server::start(&db);
        let (usual, patient) = (server.tenant("usual"), server.tenant("patient"));
        patient.admin.settings(json!({"retention": {"days": 365}})).expect(200);
        let mut first = event("close");
        first["data"]["relationships"] = json!({"createdBy": {"data": {"type": "user", "id": "100"}}});
        first["included"] = json!([{"type": "user", "id": "100", "attributes": {"userName": "ann"}}]);
        for tenant in [&usual, &patient] {
            assert_eq!(tenant.producer.post_event(&first), 1);
            assert_eq!(tenant.producer.post_event(&event("sign")), 2);
            assert_eq!(tenant.producer.post_event(&event("close")), 3);
        }
        let between = now();
        assert_eq!(usual.producer.post_event(&event("print")), 4);
        assert_eq!(usual.producer.post_event(&event("print")), 5);
        usual.consumer.get("users/100").expect(200);

        assert_eq!(sweep(&db, between + 179 * DAY), 0, "nothing is old enough yet");
        assert_eq!(sweep(&db, between + 180 * DAY), 3);

        let list = |parameters: &str| usual.consumer.get(&format!("notifications?sort=sequence&{parameters}"));
        assert_eq!(usual.consumer.ids("sort=sequence&page[after]=0"), [4, 5], "0 is the beginning, wherever that is");
        assert_eq!(usual.consumer.ids("sort=sequence&page[after]=3"), [4, 5], "who has seen 3 has missed nothing");
        for after in [1, 2] {
            let error = list(&format!("page[after]={after}")).refused_as(ErrorCode::CursorExpired);
            assert_eq!(error["status"], "410");
            assert_eq!(error["meta"]["oldest"], "4");
            assert_eq!(error["source"]["parameter"], "page[after]");
        }
        for id in 1..=3 {
            usual.consumer.get(&format!("notifications/{id}")).refused_as(ErrorCode::NotFound);
        }
        usual.consumer.get("users/100").refused_as(ErrorCode::NotFound);
        assert_eq!(usual.producer.post_event(&event("close")), 6, "numbers are never given twice");

        assert_eq!(patient.consumer.ids("sort=sequence&page[after]=0"), [1, 2, 3], "another tenant keeps its own for longer");
        patient.consumer.get("users/100").expect(200);
    }

    fn the_idempotency_key_is_free_again_when_its_notification_has_expired(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("keys");
        let body = event("close").to_string();
        let post = || tenant.producer.send("POST", "notifications", &[("idempotency-key", "k")], Some(body.as_bytes()));
        post().expect(201);
        post().expect(200);
        assert_eq!(sweep(&db, now() + 180 * DAY), 1);
        assert_eq!(post().expect(201)["data"]["id"], "2");
    }
}
