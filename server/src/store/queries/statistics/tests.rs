//! Figures against rows whose figures are known, and the way in which the database goes about them.

use std::sync::{Arc, Mutex};

use diesel::connection::{InstrumentationEvent, SimpleConnection};

use super::super::deliveries::tests::{Database, explain, fill_large, is_sqlite};
use super::*;

const MINUTE: Micros = 60_000_000;
const TIME: Micros = 1_700_000_000_000_000 / MINUTE * MINUTE;
const TENANT: TenantId = TenantId(1);

/// Runs it, and answers what it has asked the database.
fn issued(conn: &mut Conn, run: impl FnOnce(&mut Conn)) -> Vec<String> {
    let issued = Arc::new(Mutex::new(Vec::new()));
    let seen = issued.clone();
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            seen.lock().unwrap().push(query.to_string());
        }
    });
    run(conn);
    conn.set_instrumentation(|_: InstrumentationEvent<'_>| {});
    let statements = std::mem::take(&mut *issued.lock().unwrap());
    let texts = statements.iter().filter_map(|statement| statement.split(" -- binds").next());
    // Those of diesel are quoted, and read rows by their key.
    let own = |text: &&str| {
        (text.starts_with("SELECT ") || text.starts_with("WITH ")) && !text.contains(['"', '`'])
    };
    texts.filter(own).map(str::to_owned).collect()
}

#[test]
fn figures_go_by_an_index_and_read_no_more_than_they_may() {
    let mut database = Database::new();
    let conn = database.conn();
    fill_large(conn);
    conn.batch_execute(
        "INSERT INTO attempts (tenant_id, sequence, number, started_at, duration_ms, url, reason, response_text, error) \
         SELECT tenant_id, sequence, attempts, processed_at, 5, '', 1, '', error FROM states WHERE processed_at IS NOT NULL",
    )
    .unwrap();
    if !is_sqlite() {
        conn.batch_execute("ANALYZE").unwrap();
    }
    let times: Vec<Micros> = (0..=24).map(|nth| 1_700_000_000_000_000 + nth * 5000).collect();
    let statements = issued(conn, |conn| {
        conn.counts(TENANT, 2000).unwrap();
        conn.attempts_between(TENANT, &times, 100).unwrap();
        conn.failed_since(TENANT, times[0], 2000).unwrap();
        conn.troubles(1000).unwrap();
    });
    assert!(statements.len() > 30, "{statements:?}");
    for text in &statements {
        let plan = dialect::by_index(conn, |conn| Ok(explain(conn, text))).unwrap();
        // All of a scan of a table, or of an index without a bound; what is counted was limited before.
        let scans = [
            "Seq Scan on states",
            "Seq Scan on notifications",
            "Seq Scan on attempts",
            "Sort",
            "TEMP B-TREE",
            "SCAN states",
            "SCAN notifications",
            "SCAN attempts",
        ];
        let bad = plan.iter().find(|step| {
            scans.iter().any(|scan| step.contains(scan))
                && !step.contains("USING COVERING INDEX states_failed")
        });
        assert_eq!(bad, None, "{text}\n{}", plan.join("\n"));
        let bounded = ["LIMIT", "IN (", "number <", "WITH RECURSIVE steps (value)"];
        assert!(bounded.iter().any(|bound| text.contains(bound)), "no bound: {text}");
    }
}

/// Delivered, given up, waiting and without a push, and flags, in known numbers.
#[test]
fn counts_are_exact_up_to_their_limit_and_say_when_they_are_not() {
    let mut database = Database::new();
    let conn = database.conn();
    // Of 1,000, 250 have no push, 500 are delivered, 125 wait and 125 were given up.
    conn.batch_execute(&format!(
        "UPDATE positions SET last_sequence = 1100, removed_through = 100 WHERE tenant_id = 1; \
         INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, due_at, size, \
           processed_at) \
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999) \
         SELECT 1, 101 + i, i % 2 = 0, i % 4 = 1, i % 10 = 3, \
           CASE WHEN i % 8 < 2 THEN 0 WHEN i % 8 < 6 THEN 2 WHEN i % 8 = 6 THEN 1 ELSE 3 END, \
           CASE WHEN i % 8 IN (0, 1, 6) THEN 0 ELSE 1 END, CASE WHEN i % 8 = 6 THEN 101 + i END, 1, \
           CASE WHEN i % 8 IN (0, 1, 6) THEN NULL ELSE {TIME} + i END FROM n"
    ))
    .unwrap();
    let whole = Counts {
        total: 1000,
        undismissed: 500,
        unread: 250,
        flagged: 100,
        none: 250,
        pending: 125,
        delivered: 500,
        failed: 125,
        flags_are_complete: true,
        push_is_complete: true,
    };
    assert_eq!(conn.counts(TENANT, 501).unwrap(), whole);
    let cut = conn.counts(TENANT, 200).unwrap();
    assert_eq!((cut.total, cut.undismissed, cut.flags_are_complete), (1000, 200, false));
    assert_eq!((cut.pending, cut.failed, cut.push_is_complete), (125, 125, false));
    // From a sample that holds all of them here.
    assert_eq!((cut.delivered, cut.none), (500, 250));
    // The given up ones are those with i % 8 = 7: 63 of the last 500.
    assert_eq!(conn.failed_since(TENANT, TIME + 500, 1000).unwrap(), 63);
    assert_eq!(conn.failed_since(TENANT, TIME, 100).unwrap(), 100);
    assert_eq!(conn.failed_since(TenantId(2), 0, 100).unwrap(), 0);
}

/// In the first minute 10 fail, to be accepted in the second; in the third 1,000 are accepted and each fifth of them not.
fn fill_minutes(conn: &mut Conn) {
    conn.batch_execute(&format!(
        "INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, due_at, size, \
           processed_at, response_status, error) \
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1010) \
         SELECT 1, i, FALSE, FALSE, FALSE, CASE WHEN i <= 10 OR i % 5 <> 0 THEN 2 ELSE 3 END, \
           CASE WHEN i <= 10 THEN 2 ELSE 1 END, NULL, 1, \
           {TIME} + CASE WHEN i <= 10 THEN {MINUTE} ELSE 2 * {MINUTE} END + i * 10000, \
           CASE WHEN i <= 10 OR i % 5 <> 0 THEN 204 ELSE 500 END, CASE WHEN i <= 10 OR i % 5 <> 0 THEN NULL ELSE 7 END FROM n; \
         INSERT INTO attempts (tenant_id, sequence, number, started_at, duration_ms, url, reason, response_text, error) \
         SELECT 1, sequence, attempts, processed_at - 9000, 9, '', 1, '', error FROM states; \
         INSERT INTO attempts (tenant_id, sequence, number, started_at, duration_ms, url, reason, response_text, error) \
         SELECT 1, sequence, 1, {TIME} + sequence, 100, '', 1, '', 7 FROM states WHERE sequence <= 10"
    ))
    .unwrap();
}

#[test]
fn an_attempt_counts_where_it_ended_and_a_busy_part_by_its_latest() {
    let mut database = Database::new();
    let conn = database.conn();
    fill_minutes(conn);
    let times: Vec<Micros> = (0..=3).map(|minute| TIME + minute * MINUTE).collect();
    let figures = |buckets: &[Bucket]| -> Vec<(usize, usize, bool)> {
        let each = buckets.iter().map(|bucket| {
            let accepted = bucket.attempts.iter().filter(|attempt| attempt.accepted).count();
            (accepted, bucket.attempts.len() - accepted, bucket.is_complete)
        });
        each.collect()
    };
    let whole = conn.attempts_between(TENANT, &times, 1001).unwrap();
    assert_eq!(figures(&whole), [(0, 10, true), (10, 0, true), (800, 200, true)]);
    assert!(whole[0].attempts.iter().all(|attempt| attempt.duration_ms == 100));

    let cut = conn.attempts_between(TENANT, &times, 100).unwrap();
    let cut = figures(&cut);
    // The latest part of the busy minute, in its true proportion; and what fails there may have failed before.
    assert_eq!(cut[2], (80, 20, false));
    assert_eq!((cut[1].0, cut[1].1), (10, 0));
    assert!(!cut[0].2 && !cut[1].2, "{cut:?}");

    // What came before isn't told of.
    let later = conn.attempts_between(TENANT, &times[1..], 1001).unwrap();
    assert_eq!(figures(&later), [(10, 0, true), (800, 200, true)]);
    assert_eq!(figures(&conn.attempts_between(TenantId(2), &times, 100).unwrap()), [(0, 0, true); 3]);
}

#[test]
fn trouble_is_what_stopped_failed_or_waits_and_not_what_is_being_sent() {
    let mut database = Database::new();
    let conn = database.conn();
    let position = |id: i64| format!("({id}, 1, 9, 0)");
    let positions: Vec<String> = (3..=6).map(position).collect();
    let state = |tenant: i64, sequence: i64, push: i16, due: &str, processed: &str| {
        format!("({tenant}, {sequence}, FALSE, FALSE, FALSE, {push}, 0, {due}, 1, {processed})")
    };
    let states = [
        state(1, 1, 2, "NULL", "5"),
        // Being sent.
        state(2, 1, 1, "9223372036854775807", "NULL"),
        // Put off, and due at once: the oldest of both.
        state(3, 2, 1, "1700000000000000", "7"),
        state(3, 4, 1, "4", "NULL"),
        // Given up, twice.
        state(4, 1, 3, "NULL", "70"),
        state(4, 2, 3, "NULL", "60"),
        // Deleted, but not swept yet.
        state(7, 1, 1, "1", "NULL"),
    ];
    conn.batch_execute(&format!(
        "INSERT INTO positions (tenant_id, version, last_sequence, removed_through) VALUES {}; \
         INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, due_at, size, \
           processed_at) VALUES {}; \
         INSERT INTO notifications (tenant_id, sequence, event_type, created_at, received_at, extra, included) \
         SELECT tenant_id, sequence, 'close', 0, 1000 + sequence, '', '' FROM states; \
         INSERT INTO tenants (id, public_id, name, created_at, settings, version, push_stopped, may_reach_loopback) VALUES \
           (5, 'five', 'five', 0, '', 1, 'gone', FALSE), (6, 'six', 'six', 0, '', 1, NULL, FALSE)",
        positions.join(", "),
        states.join(", ")
    ))
    .unwrap();
    let trouble = |tenant, stopped, failed_at, waiting_since| Trouble {
        tenant: TenantId(tenant),
        stopped,
        failed_at,
        waiting_since,
    };
    let expected = vec![
        trouble(2, false, None, None),
        trouble(3, false, None, Some(1002)),
        trouble(4, false, Some(70), None),
        trouble(5, true, None, None),
    ];
    assert_eq!(conn.troubles(10).unwrap(), (expected, true));
    let (some, is_complete) = conn.troubles(1).unwrap();
    assert_eq!((some.len(), is_complete), (3, false));
    assert_eq!((conn.tenant_count(10).unwrap(), conn.tenant_count(5).unwrap()), (6, 5));
}
