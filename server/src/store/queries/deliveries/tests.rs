//! The list of deliveries against the same list made by hand, and the way in which the database goes about it.

mod bounds;

use std::cmp::Ordering;
use std::sync::{Arc, Mutex};

use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::sql_types::Text;
use tidings_api::delivery::AttemptError;
use tidings_api::job::JobAction;
use tidings_api::notification::Flags;

use super::search::FEW;
use super::*;
use crate::store::DatabaseUrl;
use crate::store::queue::{JobQueries, Span, Targets, Task, Work};
use crate::store::rows::error_number;
use crate::store::runs::quoted;
use crate::store::seam::{Filter, NodeId};

const ORDERS: [DeliveryOrder; 9] = [
    DeliveryOrder::Id,
    DeliveryOrder::EventType,
    DeliveryOrder::EventTime,
    DeliveryOrder::LastProcessedAt,
    DeliveryOrder::Status,
    DeliveryOrder::Retries,
    DeliveryOrder::ErrorMessage,
    DeliveryOrder::ResponseStatus,
    DeliveryOrder::NextAttemptAt,
];

/// A database of its own, removed with the value.
pub(in super::super) struct Database {
    conn: Option<Conn>,
    directory: std::path::PathBuf,
    name: String,
}

pub(in super::super) fn is_sqlite() -> bool {
    std::any::type_name::<Conn>().contains("Sqlite")
}

/// The cluster that `tests/run` has started.
fn cluster() -> String {
    std::env::var("TIDINGS_TEST_POSTGRES")
        .expect("TIDINGS_TEST_POSTGRES is set: start the tests with tests/run")
}

impl Database {
    pub(in super::super) fn new() -> Self {
        let name = format!("queue_{:016x}", u64::from_be_bytes(crate::secrets::random()));
        let directory = std::env::temp_dir().join(&name);
        let (path, url) = if is_sqlite() {
            std::fs::create_dir(&directory).unwrap();
            let path = directory.join("tidings.db").display().to_string();
            (path.clone(), format!("sqlite:{path}"))
        } else {
            let cluster = cluster();
            Conn::establish(&cluster).unwrap().batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
            let url = format!("{}/{name}", cluster.rsplit_once('/').unwrap().0);
            (url.clone(), url)
        };
        url.parse::<DatabaseUrl>().unwrap().migrate().unwrap();
        let mut conn = Conn::establish(&path).unwrap();
        conn.batch_execute(
            "INSERT INTO positions (tenant_id, version, last_sequence, removed_through) VALUES (1, 1, 100000, 0), (2, 1, 100000, 0)",
        )
        .unwrap();
        Database { conn: Some(conn), directory, name }
    }

    pub(in super::super) fn conn(&mut self) -> &mut Conn {
        self.conn.as_mut().unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.conn = None;
        if is_sqlite() {
            std::fs::remove_dir_all(&self.directory).unwrap();
        } else {
            let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
            Conn::establish(&cluster()).unwrap().batch_execute(&drop).unwrap();
        }
    }
}

/// A time that is none of the sequences.
const TIME: i64 = 1_700_000_000_000_000;

/// One of many deliveries that differ in everything.
#[derive(Clone)]
struct Sample {
    sequence: i64,
    event_type: &'static str,
    created_at: i64,
    push: PushProgress,
    attempts: i64,
    processed_at: Option<i64>,
    error: Option<AttemptError>,
    response_status: Option<i64>,
    due_at: Option<i64>,
}

fn samples(count: i64) -> Vec<Sample> {
    let sample = |sequence: i64| {
        let mix = (sequence * 7919) % 97;
        let push = match mix % 7 {
            0..=2 => PushProgress::Delivered,
            3 | 4 => PushProgress::Pending,
            5 => PushProgress::Failed,
            _ => PushProgress::None,
        };
        let attempts = match push {
            PushProgress::None => 0,
            PushProgress::Pending => mix % 4,
            _ => 1 + mix % 5,
        };
        let failed = push != PushProgress::Delivered && attempts > 0;
        let error = failed.then(|| AttemptError::ALL[usize::try_from(mix % 5).unwrap()]);
        let answered = !failed || mix % 2 == 0;
        Sample {
            sequence,
            event_type: ["close", "sign", "print", "a.b-c_d"][usize::try_from(mix % 4).unwrap()],
            created_at: TIME + (mix % 13) * 1000,
            push,
            attempts,
            processed_at: (attempts > 0).then_some(TIME + (mix % 11) * 1000),
            error,
            response_status: (attempts > 0 && answered).then_some(if failed { 500 + mix % 3 } else { 200 }),
            due_at: (push == PushProgress::Pending).then_some(match mix % 3 {
                0 => sequence,
                1 => LEASED,
                _ => TIME + 1_000_000 + (mix % 5) * 1000,
            }),
        }
    };
    (1..=count).map(sample).collect()
}

fn fill(conn: &mut Conn, samples: &[Sample]) {
    let text = |value: Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
    for tenant in [1, 2] {
        // The other tenant has every third.
        let samples = samples.iter().filter(|sample| tenant == 1 || sample.sequence % 3 == 0);
        let (states, events): (Vec<String>, Vec<String>) = samples
            .map(|sample| {
                let Sample { sequence, event_type, created_at, attempts, .. } = sample;
                let state = format!(
                    "({tenant}, {sequence}, FALSE, FALSE, FALSE, {}, {attempts}, {}, 1, {}, {}, {})",
                    push_number(sample.push),
                    text(sample.due_at),
                    text(sample.processed_at),
                    text(sample.response_status),
                    text(sample.error.map(error_number).map(i64::from)),
                );
                (state, format!("({tenant}, {sequence}, '{event_type}', {created_at}, {created_at}, '', '')"))
            })
            .unzip();
        conn.batch_execute(&format!(
            "INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, due_at, \
             size, processed_at, response_status, error) VALUES {}; \
             INSERT INTO notifications (tenant_id, sequence, event_type, created_at, received_at, extra, included) VALUES {}",
            states.join(", "),
            events.join(", ")
        ))
        .unwrap();
    }
}

/// Whether a sample is in a list.
fn selected(sample: &Sample, filter: &DeliveryFilter, push_is_active: bool) -> bool {
    let within = |span: Span, time: Option<i64>| {
        span.from.is_none_or(|from| time.is_some_and(|time| time >= from))
            && span.before.is_none_or(|before| time.is_some_and(|time| time < before))
    };
    fn among<T: PartialEq>(list: &Option<Vec<T>>, value: Option<T>) -> bool {
        list.as_ref().is_none_or(|list| value.is_some_and(|value| list.contains(&value)))
    }
    sample.push != PushProgress::None
        && among(&filter.ids, Some(sample.sequence))
        && among(&filter.event_types, Some(sample.event_type.to_owned()))
        && among(&filter.states, Some(sample.push))
        && among(&filter.retries, Some((sample.attempts - 1).max(0)))
        && among(&filter.errors, sample.error)
        && among(&filter.response_statuses, sample.response_status)
        && within(filter.event_time, Some(sample.created_at))
        && within(filter.last_processed_at, sample.processed_at)
        && within(filter.next_attempt_at, next_attempt(sample, push_is_active))
}

fn next_attempt(sample: &Sample, push_is_active: bool) -> Option<i64> {
    sample.due_at.filter(|due| push_is_active && *due != LEASED && *due != sample.sequence)
}

/// The sequences of a list, made by hand.
fn expected(samples: &[Sample], query: &DeliveryQuery) -> Vec<i64> {
    let active = query.push_is_active;
    let mut chosen: Vec<&Sample> =
        samples.iter().filter(|sample| selected(sample, &query.filter, active)).collect();
    let number = |value: Option<i64>| value.map(|value| format!("{value:020}"));
    let value = |sample: &Sample| match query.order {
        DeliveryOrder::Id => Some(String::new()),
        DeliveryOrder::EventType => Some(sample.event_type.to_owned()),
        DeliveryOrder::EventTime => number(Some(sample.created_at)),
        DeliveryOrder::LastProcessedAt => number(sample.processed_at),
        DeliveryOrder::Status => Some(
            match sample.push {
                PushProgress::Delivered => "complete",
                PushProgress::Failed => "error",
                _ => "pending",
            }
            .to_owned(),
        ),
        DeliveryOrder::Retries => number(Some((sample.attempts - 1).max(0))),
        DeliveryOrder::ErrorMessage => sample.error.map(|error| error.as_str().to_owned()),
        DeliveryOrder::ResponseStatus => number(sample.response_status),
        DeliveryOrder::NextAttemptAt => number(next_attempt(sample, active)),
    };
    chosen.sort_by(|one, other| {
        let order = match (value(one), value(other)) {
            (None, Some(_)) => return Ordering::Greater,
            (Some(_), None) => return Ordering::Less,
            (one_value, other_value) => one_value.cmp(&other_value).then(one.sequence.cmp(&other.sequence)),
        };
        if query.descending { order.reverse() } else { order }
    });
    chosen.iter().map(|sample| sample.sequence).collect()
}

fn filters() -> Vec<DeliveryFilter> {
    let none = DeliveryFilter::default;
    let span = |from: i64, before: i64| Span { from: Some(TIME + from), before: Some(TIME + before) };
    let open = |from: i64| Span { from: Some(TIME + from), before: None };
    vec![
        none(),
        DeliveryFilter { ids: Some(vec![1, 4, 5, 11, 90, 4711]), ..none() },
        DeliveryFilter { event_types: Some(vec!["close".into(), "a.b-c_d".into()]), ..none() },
        DeliveryFilter { event_types: Some(vec!["it's".into()]), ..none() },
        DeliveryFilter { states: Some(vec![PushProgress::Failed, PushProgress::Pending]), ..none() },
        DeliveryFilter { states: Some(vec![]), ..none() },
        DeliveryFilter { retries: Some(vec![0, 2]), ..none() },
        DeliveryFilter { errors: Some(vec![AttemptError::Dns, AttemptError::Timeout]), ..none() },
        DeliveryFilter { response_statuses: Some(vec![200, 501]), ..none() },
        DeliveryFilter { event_time: span(3000, 9000), ..none() },
        DeliveryFilter { last_processed_at: open(4000), ..none() },
        DeliveryFilter { next_attempt_at: span(1_001_000, 1_003_000), ..none() },
        DeliveryFilter {
            event_types: Some(vec!["sign".into()]),
            states: Some(vec![PushProgress::Delivered]),
            last_processed_at: open(2000),
            ..none()
        },
        DeliveryFilter { errors: Some(vec![AttemptError::Connect]), event_time: open(1000), ..none() },
    ]
}

/// A list page by page, and then back again from its end.
fn walk(conn: &mut Conn, query: &DeliveryQuery) -> (Vec<i64>, Vec<i64>) {
    let tenant = TenantId(1);
    let mut query = query.clone();
    let mut there: Vec<Place> = Vec::new();
    loop {
        let page = conn.delivery_page(tenant, &query).unwrap();
        let full = page.len() == query.limit;
        there.extend(page.into_iter().map(|(place, _)| place));
        if !full {
            break;
        }
        query.from = there.last().cloned();
    }
    let mut back: Vec<Place> = there.last().cloned().into_iter().collect();
    query.backwards = true;
    while let Some(last) = back.last().cloned() {
        query.from = Some(last);
        let page = conn.delivery_page(tenant, &query).unwrap();
        if page.is_empty() {
            break;
        }
        back.extend(page.into_iter().map(|(place, _)| place));
    }
    back.reverse();
    let sequences = |places: Vec<Place>| places.into_iter().map(|place| place.sequence).collect();
    (sequences(there), sequences(back))
}

#[test]
fn every_order_of_every_filter_is_complete_in_both_directions() {
    let mut database = Database::new();
    let conn = database.conn();
    // More than a few, so that both ways of reading are taken.
    let samples = samples(5 * i64::try_from(FEW).unwrap());
    fill(conn, &samples);
    let few = &samples[..150];
    for (number, filter) in filters().into_iter().enumerate() {
        for order in ORDERS {
            for descending in [false, true] {
                // Pages are large, because so much is walked; it is paused now and then.
                let push_is_active = !(descending && number % 2 == 0);
                let query = DeliveryQuery {
                    filter: filter.clone(),
                    order,
                    descending,
                    from: None,
                    backwards: false,
                    limit: 317,
                    up_to: i64::MAX,
                    push_is_active,
                };
                let expected = expected(&samples, &query);
                let (there, back) = walk(conn, &query);
                assert_eq!(there, expected, "filter {number} by {order:?}, descending: {descending}");
                assert_eq!(back, expected, "filter {number} by {order:?}, descending: {descending}, back");
            }
        }
    }
    drop(database);
    let mut database = Database::new();
    fill(database.conn(), few);
    for order in ORDERS {
        for limit in [1, 2, 7] {
            let filter = DeliveryFilter::default();
            let query = DeliveryQuery {
                filter,
                order,
                descending: true,
                from: None,
                backwards: false,
                limit,
                up_to: i64::MAX,
                push_is_active: true,
            };
            let expected = expected(few, &query);
            let (there, back) = walk(database.conn(), &query);
            assert_eq!((there, back), (expected.clone(), expected), "by {order:?} in pages of {limit}");
        }
    }
}

#[test]
fn what_a_job_is_about_is_what_the_list_holds() {
    let mut database = Database::new();
    let conn = database.conn();
    let samples = samples(5 * i64::try_from(FEW).unwrap());
    fill(conn, &samples);
    for (number, filter) in filters().into_iter().enumerate() {
        let query = DeliveryQuery {
            filter: filter.clone(),
            order: DeliveryOrder::Id,
            descending: false,
            from: None,
            backwards: false,
            limit: 0,
            up_to: i64::MAX,
            push_is_active: true,
        };
        // The other tenant has every third.
        for (tenant, up_to, share) in [(1, i64::MAX, 1), (1, 700, 1), (2, i64::MAX, 3)] {
            let tenant = TenantId(tenant);
            let mut listed = expected(&samples, &query);
            listed.retain(|sequence| *sequence <= up_to && sequence % share == 0);
            let (mut found, mut after) = (Vec::new(), 0);
            loop {
                let step = matching(conn, tenant, &filter, (after, up_to), 400).unwrap();
                let Some(last) = step.last() else { break };
                after = *last;
                found.extend(step);
            }
            assert_eq!(found, listed, "filter {number} of {tenant:?} up to {up_to}");
        }
    }
}

#[test]
fn what_has_changed_since_a_job_looked_is_left_alone() {
    let mut database = Database::new();
    let conn = database.conn();
    let samples = samples(100);
    fill(conn, &samples);
    let failed = || samples.iter().filter(|sample| sample.push == PushProgress::Failed);
    let by_delivery =
        DeliveryFilter { states: Some(vec![PushProgress::Failed]), ..DeliveryFilter::default() };
    let by_notification = Filter { push: Some(vec![PushProgress::Failed]), ..Filter::default() };
    let (node, tenant) = (NodeId(1), TenantId(1));
    for targets in [
        Targets::Deliveries { filter: by_delivery, up_to: 100 },
        Targets::Matching { filter: by_notification, up_to: 100 },
    ] {
        let set = Flags { is_read: Some(true), ..Flags::default() };
        let task = Task { action: JobAction::Update, set, targets, dry_run: false };
        assert!(conn.job_create(&Work::new(tenant, 1, task), 9).unwrap());
        let work = conn.job_claim(tenant, node, 2).unwrap().unwrap();
        let next = conn.job_next(&work, 500).unwrap().unwrap();
        let found = next.sequences.clone();
        assert_eq!(found, failed().map(|sample| sample.sequence).collect::<Vec<_>>());
        // Before its step the first is delivered.
        let first = found[0];
        let moved = |state: i32| {
            format!("UPDATE states SET push_state = {state} WHERE tenant_id = 1 AND sequence = {first}")
        };
        conn.batch_execute(&moved(2)).unwrap();
        conn.job_step(&work, node, &next).unwrap();
        let job = conn.job_get(tenant, &work.job.id).unwrap().unwrap();
        assert_eq!((job.processed, job.failed), (i64::try_from(found.len()).unwrap() - 1, 0));
        let read = states::table.filter(states::tenant_id.eq(1).and(states::is_read)).order(states::sequence);
        assert_eq!(read.select(states::sequence).load::<i64>(conn).unwrap(), found[1..]);
        conn.job_done(&job, node, 3).unwrap();
        conn.batch_execute(&moved(3)).unwrap();
        conn.batch_execute("UPDATE states SET is_read = FALSE").unwrap();
    }
}

/// Many deliveries, most of them delivered at once, as a busy store has them.
pub(in super::super) fn fill_large(conn: &mut Conn) {
    let rows = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)";
    conn.batch_execute(&format!(
        "INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, due_at, size, \
           processed_at, response_status, error) {rows} \
         SELECT 1 + i % 5, 1 + i / 5, TRUE, FALSE, FALSE, CASE WHEN i % 83 < 2 THEN 1 WHEN i % 89 < 2 THEN 3 ELSE 2 END, \
           CASE WHEN i % 83 = 0 THEN 0 ELSE 1 + i % 4 END, CASE WHEN i % 83 < 2 THEN {TIME} + i ELSE NULL END, 200, \
           CASE WHEN i % 83 = 0 THEN NULL ELSE {TIME} + i END, CASE WHEN i % 89 < 2 THEN 500 + i % 3 ELSE 200 END, \
           CASE WHEN i % 89 < 2 THEN 1 + i % 5 ELSE NULL END FROM n; \
         INSERT INTO notifications (tenant_id, sequence, event_type, created_at, received_at, extra, included) {rows} \
         SELECT 1 + i % 5, 1 + i / 5, CASE i % 4 WHEN 0 THEN 'close' WHEN 1 THEN 'sign' WHEN 2 THEN 'print' ELSE 'share' END, \
           {TIME} + i, {TIME} + i, '', '' FROM n"
    ))
    .unwrap();
    if !is_sqlite() {
        conn.batch_execute("ANALYZE").unwrap();
    }
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// How the database goes about a statement.
pub(in super::super) fn explain(conn: &mut Conn, statement: &str) -> Vec<String> {
    if is_sqlite() {
        let plan: Vec<Step> =
            diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}")).load(conn).unwrap();
        return plan.into_iter().map(|step| step.detail).collect();
    }
    // A result without a name for its column that diesel could read: a function gives it one.
    conn.batch_execute(
        "CREATE OR REPLACE FUNCTION explained(query text) RETURNS SETOF text LANGUAGE plpgsql AS \
         $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN ' || query; END $$",
    )
    .unwrap();
    let query = format!("SELECT detail FROM explained({}) AS detail", quoted(statement));
    diesel::sql_query(query).load::<Step>(conn).unwrap().into_iter().map(|step| step.detail).collect()
}

#[test]
fn each_filter_and_each_order_goes_by_an_index() {
    let mut database = Database::new();
    let conn = database.conn();
    fill_large(conn);
    let orders = ORDERS.into_iter().map(|order| (DeliveryFilter::default(), order));
    let filters = filters().into_iter().map(|filter| (filter, DeliveryOrder::Id));
    for (filter, order) in orders.chain(filters) {
        for descending in [false, true] {
            let from = Some(Place { rank: Rank::Number(0), key: TIME + 50_000, sequence: 10_000 });
            let (filter, from) = (filter.clone(), from.filter(|_| order == DeliveryOrder::Id && descending));
            let query = DeliveryQuery {
                filter,
                order,
                descending,
                from,
                backwards: false,
                limit: 101,
                up_to: i64::MAX,
                push_is_active: true,
            };
            let issued = Arc::new(Mutex::new(Vec::new()));
            let seen = issued.clone();
            conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
                if let InstrumentationEvent::StartQuery { query, .. } = event {
                    seen.lock().unwrap().push(query.to_string());
                }
            });
            conn.delivery_page(TenantId(1), &query).unwrap();
            matching(conn, TenantId(1), &query.filter, (9000, 15_000), 500).unwrap();
            conn.set_instrumentation(|_: InstrumentationEvent<'_>| {});
            let issued = std::mem::take(&mut *issued.lock().unwrap());
            let texts = issued.iter().filter_map(|statement| statement.split(" -- binds").next());
            // The last only reads rows by their key.
            let own = [
                "SELECT CAST",
                "SELECT states.sequence",
                "SELECT notifications.event_type",
                "WITH RECURSIVE",
            ];
            let texts: Vec<&str> = texts.filter(|text| own.iter().any(|own| text.starts_with(own))).collect();
            assert!(!texts.is_empty(), "{issued:?}");
            for text in texts {
                let plan = dialect::by_index(conn, |conn| Ok(explain(conn, text))).unwrap();
                let scans = ["Seq Scan", "Sort", "TEMP B-TREE", "SCAN states", "SCAN notifications"];
                let bad = plan.iter().find(|step| scans.iter().any(|scan| step.contains(scan)));
                assert_eq!(bad, None, "{query:?}:\n{text}\n{}", plan.join("\n"));
            }
        }
    }
}
