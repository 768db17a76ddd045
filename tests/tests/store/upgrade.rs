//! A database of the first version is brought up to date with all that it holds.

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use tidings_server::store::seam::{AttemptRecord, Outcome, Report};
use tidings_tests::database::psql_at;

use super::*;

/// When something was due that is due by now, and when something is that isn't yet.
const PAST: i64 = 1_700_000_000_000_000;
const FUTURE: i64 = 9_000_000_000_000_000;

/// Runs statements on a database that no store has opened yet.
pub(super) fn run_sql(db: &Database, statements: &str) {
    match db.url().strip_prefix("sqlite:") {
        Some(path) => {
            let mut conn = diesel::SqliteConnection::establish(path).unwrap();
            conn.batch_execute(statements).unwrap();
        }
        None => drop(psql_at(db.url(), statements)),
    }
}

/// A database as the first version has left it: of six notifications one is due, one delivered, one put off, one leased
/// by a node that is gone, one was never to be pushed, and one is due that was received before them all.
fn first_version(db: &Database) {
    let schema = if db.url().starts_with("sqlite:") {
        include_str!("../../../migrations/sqlite/0001_initial/up.sql")
    } else {
        include_str!("../../../migrations/postgres/0001_initial/up.sql")
    };
    run_sql(db, schema);
    run_sql(
        db,
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, \
         run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); \
         INSERT INTO __diesel_schema_migrations (version) VALUES ('0001');",
    );
    run_sql(
        db,
        &format!(
            "INSERT INTO tenants (id, public_id, name, created_at, settings, version, may_reach_loopback) \
             VALUES (1, 'a', 'A', 77, '{{}}', 1, FALSE); \
             INSERT INTO positions VALUES (1, 1, 6, 0, {PAST});"
        ),
    );
    for (sequence, push_state, attempts, due_at, owner) in [
        (1, 1, 2, (PAST + 5).to_string(), "NULL"),
        (2, 2, 1, "NULL".to_owned(), "NULL"),
        (3, 1, 1, FUTURE.to_string(), "NULL"),
        (4, 1, 0, i64::MAX.to_string(), "99"),
        (5, 0, 0, "NULL".to_owned(), "NULL"),
        (6, 1, 0, PAST.to_string(), "NULL"),
    ] {
        run_sql(
            db,
            &format!(
                "INSERT INTO notifications (tenant_id, sequence, event_type, created_at, received_at, extra, included) \
                 VALUES (1, {sequence}, 'close', {PAST}, {PAST}, '', ''); \
                 INSERT INTO states VALUES (1, {sequence}, FALSE, FALSE, FALSE, {push_state}, {attempts}, {due_at}, \
                 {owner}, 205);"
            ),
        );
    }
}

on_both! {
    fn a_database_of_the_first_version_keeps_all_it_has_and_works(db) {
        first_version(&db);
        block_on(async {
            let node = open(&db);
            let (store, id) = (&node.store, node.store.node());
            let tenant = store.read(|conn| conn.tenant_find("a")).await.unwrap().unwrap();
            let a = tenant.id;
            assert_eq!((tenant.push_disabled, tenant.push_resumed_at), (false, 77));
            let position = store.read(move |conn| conn.position(a)).await.unwrap();
            assert_eq!((position.last_sequence, position.last_success_at), (6, Some(PAST)));
            let state = async |sequence| {
                let state = get(store, a, sequence).await.state;
                (state.push, state.attempts, state.attempts_before, state.next_attempt_at)
            };
            let pending = PushProgress::Pending;
            assert_eq!(state(1).await, (pending, 2, 0, Some(PAST)));
            assert_eq!(state(2).await, (PushProgress::Delivered, 1, 0, None));
            assert_eq!(state(3).await, (pending, 1, 0, Some(FUTURE)));
            assert_eq!(state(4).await, (pending, 0, 0, None));
            assert_eq!(state(5).await, (PushProgress::None, 0, 0, None));

            assert_eq!(post(store, a, PAST).await, 7);
            assert_eq!(store.write(None, |conn| conn.node_free()).await.unwrap(), 1);
            let claim = async |now| {
                let claimed = store.write(Some(a), move |conn| conn.claim(a, id, now, want(9))).await.unwrap();
                claimed.notifications.iter().map(|notification| notification.sequence).collect::<Vec<_>>()
            };
            assert_eq!(claim(PAST + 9).await, [1, 4, 6, 7], "in their order");
            assert_eq!(claim(FUTURE).await, [3]);
            let attempt = AttemptRecord {
                started_at: FUTURE,
                duration_ms: 1,
                url: "https://receiver.example/".into(),
                address: None,
                reason: tidings_api::delivery::AttemptReason::Retry,
                response_status: Some(200),
                response_text: String::new(),
                error: None,
            };
            let outcome = Outcome::Delivered { dismiss: false };
            let report = Report { tenant: a, sequence: 1, attempts: 2, outcome, attempt: Some(attempt.clone()) };
            store.report(vec![report]).await.unwrap();
            assert_eq!(state(1).await, (PushProgress::Delivered, 3, 0, None));
            let kept = store.read(move |conn| conn.attempts(a, 1, None, false, 2)).await.unwrap();
            assert_eq!(kept.into_iter().map(|(_, attempt)| attempt).collect::<Vec<_>>(), [attempt]);
        });
    }
}
