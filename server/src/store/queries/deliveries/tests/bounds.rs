//! That no list and no job reads much at once, whatever is stored.

use diesel::sql_types::BigInt;

use super::*;
use crate::store::runs::{EXACT, classes};
use crate::store::seam::NotificationQueries;

/// Does a job to its end: what was counted, how many steps that took, and what was dealt with.
fn carry_out(conn: &mut Conn, task: Task) -> (Option<i64>, usize, i64) {
    let (node, tenant) = (NodeId(1), TenantId(1));
    let work = Work::new(tenant, 1, task);
    assert!(conn.job_create(&work, 9).unwrap());
    let mut steps = 0;
    while let Some(work) = conn.job_claim(tenant, node, 2).unwrap() {
        steps += 1;
        let job = match (conn.job_next(&work, 500).unwrap(), work.job.total) {
            (Some(found), None) => {
                assert!(found.through - work.job.position <= 300, "a range is bounded: {found:?}");
                conn.job_count(&work.job, node, &found).unwrap()
            }
            (None, None) => conn.job_counted(&work, node, 3).unwrap(),
            (Some(found), Some(_)) => conn.job_step(&work, node, &found).unwrap(),
            (None, Some(_)) => conn.job_done(&work.job, node, 3).unwrap(),
        };
        assert_eq!(job, conn.job_get(tenant, &work.job.id).unwrap(), "the job as it is then");
    }
    let job = conn.job_get(tenant, &work.job.id).unwrap().unwrap();
    (job.total, steps, job.processed)
}

#[test]
fn a_job_looks_for_few_among_many_range_by_range() {
    let mut database = Database::new();
    let conn = database.conn();
    let samples = samples(1200);
    fill(conn, &samples);
    conn.batch_execute("UPDATE positions SET last_sequence = 1200").unwrap();
    let failed = samples.iter().filter(|sample| sample.push == PushProgress::Failed).count();
    let failed = i64::try_from(failed).unwrap();
    let by_delivery =
        DeliveryFilter { states: Some(vec![PushProgress::Failed]), ..DeliveryFilter::default() };
    let by_notification = Filter { push: Some(vec![PushProgress::Failed]), ..Filter::default() };
    for targets in [
        // However large the bound: it ends with what there is.
        Targets::Deliveries { filter: by_delivery, up_to: i64::MAX },
        Targets::Matching { filter: by_notification, up_to: i64::MAX },
    ] {
        let set = Flags { is_read: Some(true), ..Flags::default() };
        let task = Task { action: JobAction::Update, set, targets, dry_run: false };
        // Four ranges to count and four to do, and the end of each.
        assert_eq!(carry_out(conn, task.clone()), (Some(failed), 10, failed));
        assert_eq!(carry_out(conn, Task { dry_run: true, ..task }), (Some(failed), 5, 0));
    }
}

#[test]
fn a_list_of_jobs_reads_no_tasks() {
    let mut database = Database::new();
    let conn = database.conn();
    let targets = Targets::Ids((1..=10_000).collect());
    let task = Task { action: JobAction::Repush, set: Flags::default(), targets, dry_run: true };
    conn.job_create(&Work::new(TenantId(1), 1, task), 9).unwrap();
    conn.batch_execute("UPDATE jobs SET task = 'none that could be read'").unwrap();
    let jobs = conn.job_list(TenantId(1), None, false, 10).unwrap();
    assert_eq!((jobs[0].action, jobs[0].dry_run), (JobAction::Repush, true));
    conn.job_get(TenantId(1), &jobs[0].id).unwrap().unwrap();
    conn.job_claim(TenantId(1), NodeId(1), 2).unwrap_err();
}

#[test]
fn classes_are_few_whatever_a_receiver_answers() {
    let mut database = Database::new();
    let conn = database.conn();
    // Each status at each number of attempts, as a receiver can bring about.
    let rows = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 17999)";
    conn.batch_execute(&format!(
        "INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, size, processed_at, \
           response_status, error) {rows} SELECT 1, 1 + i, FALSE, FALSE, FALSE, 3, 1 + i / 900, 1, {TIME}, 100 + i % 900, 1 FROM n; \
         INSERT INTO notifications (tenant_id, sequence, event_type, created_at, received_at, extra, included) {rows} \
         SELECT 1, 1 + i, 'type-' || i, {TIME}, {TIME}, '', '' FROM n"
    ))
    .unwrap();
    let issued = Arc::new(Mutex::new((0, 0)));
    let seen = issued.clone();
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let mut seen = seen.lock().unwrap();
            *seen = (seen.0 + 1, seen.1.max(query.to_string().len()));
        }
    });
    let all: Vec<i64> = (1..=18).collect();
    for order in ORDERS {
        let filter = DeliveryFilter { retries: Some(all.clone()), ..DeliveryFilter::default() };
        let query = DeliveryQuery { filter, order, ..first_page(20) };
        assert_eq!(conn.delivery_page(TenantId(1), &query).unwrap().len(), 20, "{order:?}");
        let (count, longest) = std::mem::take(&mut *issued.lock().unwrap());
        // 25 statuses and 9 hundreds, at 16 numbers of attempts; what is put off is looked for in all of them.
        assert!(count < 34 * 16 * 2 + 10, "{order:?}: {count} statements");
        assert!(longest < 1500, "{order:?}: a statement of {longest} bytes");
    }
    conn.set_instrumentation(|_: InstrumentationEvent<'_>| {});
    // What shares a class is told apart all the same.
    for (retries, status) in [(0, 404), (7, 477), (14, 999), (15, 500), (16, 100), (19, 599)] {
        let filter = DeliveryFilter {
            retries: Some(vec![retries]),
            response_statuses: Some(vec![status]),
            ..DeliveryFilter::default()
        };
        for order in [DeliveryOrder::Id, DeliveryOrder::EventType, DeliveryOrder::ResponseStatus] {
            let found = conn.delivery_page(
                TenantId(1),
                &DeliveryQuery { filter: filter.clone(), order, ..first_page(20) },
            );
            let found: Vec<i64> = found.unwrap().into_iter().map(|(place, _)| place.sequence).collect();
            assert_eq!(found, [1 + retries * 900 + status - 100], "{retries} {status} by {order:?}");
        }
    }
    // The statuses that the migration tells apart are those that are searched for.
    let found: Vec<i64> = diesel::sql_query(classes(1))
        .load::<Value>(conn)
        .unwrap()
        .into_iter()
        .map(|row| row.value & 1023)
        .collect();
    for status in 100..=999 {
        let own = EXACT.contains(&status) || status % 100 == 99;
        assert_eq!(found.contains(&status), own, "{status}");
    }
}

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

/// The first page of all, by sequence.
fn first_page(limit: usize) -> DeliveryQuery {
    DeliveryQuery {
        filter: DeliveryFilter::default(),
        order: DeliveryOrder::Id,
        descending: false,
        from: None,
        backwards: false,
        limit,
        up_to: i64::MAX,
        push_is_active: true,
    }
}

#[test]
fn a_head_that_holds_up_the_rest_has_its_place_by_its_time() {
    let mut database = Database::new();
    let conn = database.conn();
    let samples = samples(1000);
    fill(conn, &samples);
    let head = samples.iter().find(|sample| sample.due_at == Some(sample.sequence)).unwrap().sequence;
    for (offset, few) in [(1_002_500, false), (1_002_500, true), (0, false)] {
        let until = TIME + offset;
        conn.batch_execute(&format!("UPDATE positions SET held_until = {until} WHERE tenant_id = 1"))
            .unwrap();
        let mut put_off: Vec<(i64, i64)> = samples
            .iter()
            .filter_map(|sample| Some((next_attempt(sample, true)?, sample.sequence)))
            .chain([(until, head)])
            .collect();
        put_off.sort_unstable();
        let mut filter = DeliveryFilter::default();
        if few {
            filter.next_attempt_at = Span { from: Some(until), before: Some(until + 1) };
            put_off.retain(|(time, _)| *time == until);
        }
        let times = put_off.len();
        let rest = samples.iter().filter(|sample| {
            !few && sample.push != PushProgress::None
                && next_attempt(sample, true).is_none()
                && sample.sequence != head
        });
        let expected: Vec<i64> = put_off
            .into_iter()
            .map(|(_, sequence)| sequence)
            .chain(rest.map(|sample| sample.sequence))
            .collect();
        let order = DeliveryOrder::NextAttemptAt;
        let (there, back) = walk(conn, &DeliveryQuery { filter: filter.clone(), order, ..first_page(37) });
        assert_eq!((&there, &back), (&expected, &expected), "held until {until}");
        let page = conn.delivery_page(TenantId(1), &DeliveryQuery { filter, ..first_page(1000) }).unwrap();
        let shown = page.iter().filter(|(_, row)| row.next_attempt_at.is_some()).count();
        assert_eq!(shown, times, "it is shown where it is found");
    }
}

#[test]
fn the_oldest_that_waits_is_found_behind_more_than_are_counted() {
    let mut database = Database::new();
    let conn = database.conn();
    fill(conn, &samples(300));
    let waiting = "push_state = 1 AND tenant_id = 1";
    for (due, oldest) in [("sequence", 40), (&*format!("{TIME} + sequence"), 30), (&*LEASED.to_string(), 20)]
    {
        // The oldest is of one kind, what is counted of the others.
        conn.batch_execute(&format!(
            "UPDATE states SET push_state = 2, due_at = NULL WHERE {waiting} AND sequence < {oldest}; \
             UPDATE states SET push_state = 1, due_at = {due} WHERE tenant_id = 1 AND sequence = {oldest}; \
             UPDATE notifications SET received_at = {TIME} + 1000 * sequence WHERE tenant_id = 1"
        ))
        .unwrap();
        let found = conn.undelivered(TenantId(1), 5).unwrap();
        assert_eq!(found, (5, Some(TIME + 1000 * oldest)), "due at {due}");
    }
}
