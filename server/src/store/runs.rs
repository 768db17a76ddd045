//! Runs: ranges of one index each, in its order, of which a list of deliveries is put together. Here they become the text
//! of statements, the same for both databases.
//!
//! All that is put into a statement are numbers and the names of event types, which are quoted.

use tidings_api::delivery::AttemptError;

use super::queue::{DeliveryFilter, DeliveryOrder, Rank, Span};
use super::rows::{attempt_error, push_progress};
use crate::rules::notification::PushProgress;

/// Both rows of a notification.
pub(super) const JOINED: &str =
    "notifications.tenant_id = states.tenant_id AND notifications.sequence = states.sequence";

/// The statuses that have classes of their own, as in the migration. Any other counts as the last of its hundred.
pub(super) const EXACT: [i64; 25] = [
    200, 201, 202, 204, 301, 302, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 500,
    501, 502, 503, 504,
];
/// So many attempts and more are one.
pub(super) const MANY: i64 = 16;

fn coarse(status: i64) -> i64 {
    if EXACT.contains(&status) { status } else { status / 100 * 100 + 99 }
}

/// A class, as the column of this name holds it.
#[derive(Clone, Copy)]
pub(super) struct Class(pub(super) i64);

impl Class {
    pub(super) fn push(self) -> PushProgress {
        push_progress(i16::try_from((self.0 >> 18) & 3).unwrap_or(0))
    }

    pub(super) fn is_processed(self) -> bool {
        self.0 & (1 << 17) != 0
    }

    fn retries(self) -> i64 {
        ((self.0 >> 20) - 1).max(0)
    }

    fn error(self) -> Option<AttemptError> {
        attempt_error(i16::try_from((self.0 >> 10) & 127).unwrap_or(0))
    }

    fn response_status(self) -> Option<i64> {
        Some(self.0 & 1023).filter(|status| *status != 0)
    }

    /// Whether there may be deliveries in it that the filter chooses.
    pub(super) fn matches(self, filter: &DeliveryFilter) -> bool {
        fn among<T: PartialEq>(wanted: &Option<Vec<T>>, value: Option<T>) -> bool {
            wanted.as_ref().is_none_or(|wanted| value.is_some_and(|value| wanted.contains(&value)))
        }
        let retries: Option<Vec<i64>> =
            filter.retries.as_ref().map(|all| all.iter().map(|retries| MANY.min(retries + 1) - 1).collect());
        let statuses: Option<Vec<i64>> =
            filter.response_statuses.as_ref().map(|all| all.iter().copied().map(coarse).collect());
        among(&filter.states, Some(self.push()))
            && among(&retries, Some(self.retries()))
            && among(&filter.errors, self.error())
            && among(&statuses, self.response_status())
            && (self.is_processed() || !filter.last_processed_at.is_set())
            && (self.push() == PushProgress::Pending || !filter.next_attempt_at.is_set())
    }

    /// Its part of a list in this order. What is one in the class stands there by its sequence.
    pub(super) fn rank(self, order: DeliveryOrder) -> Rank {
        let number = |number: Option<i64>| number.map_or(Rank::Missing, Rank::Number);
        let name = |name: &str| Rank::Name(name.to_owned());
        match order {
            DeliveryOrder::Status => match self.push() {
                PushProgress::Delivered => name("complete"),
                PushProgress::Failed => name("error"),
                PushProgress::Pending | PushProgress::None => name("pending"),
            },
            DeliveryOrder::Retries => number(Some(self.retries())),
            DeliveryOrder::ErrorMessage => self.error().map_or(Rank::Missing, |error| name(error.as_str())),
            DeliveryOrder::ResponseStatus => number(self.response_status()),
            DeliveryOrder::LastProcessedAt => number(self.is_processed().then_some(0)),
            _ => number(Some(0)),
        }
    }
}

/// A range of an index, in the order of a key and the sequence.
#[derive(Clone)]
pub(super) enum Run {
    /// A class by sequence: its key is 0.
    Class(i64),
    /// A class by the time of the last attempt.
    Processed(i64),
    /// What is put off, by time.
    Due,
    /// Events by time.
    Created,
    /// Events of a type by sequence: its key is 0.
    Type(String),
}

/// What the rows of a run have to meet.
#[derive(Clone, Default)]
pub(super) struct Conditions {
    pub(super) state: Vec<String>,
    pub(super) event: Vec<String>,
}

/// From one key and sequence to another, both exclusive.
pub(super) type Bounds = ((i64, i64), (i64, i64));

pub(super) const EVERYTHING: Bounds = ((i64::MIN, 0), (i64::MAX, i64::MAX));

/// A text as SQL writes it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn list(items: impl IntoIterator<Item = impl ToString>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// The conditions of a span.
pub(super) fn span(column: &str, span: Span) -> impl Iterator<Item = String> {
    let from = span.from.map(|from| format!("{column} >= {from}"));
    from.into_iter().chain(span.before.map(|before| format!("{column} < {before}")))
}

/// Bounds that hold the times of a span and no others.
pub(super) fn within(span: Span, (low, high): Bounds) -> Bounds {
    // Sequences begin at 1.
    (low.max((span.from.unwrap_or(i64::MIN), 0)), high.min((span.before.unwrap_or(i64::MAX), 0)))
}

/// The statement that reads a run.
pub(super) fn statement(
    tenant: i64,
    run: &Run,
    conditions: &Conditions,
    bounds: Bounds,
    down: bool,
    limit: usize,
) -> String {
    let (table, other, keys, fixed, condition) = match run {
        Run::Class(class) => {
            let keys = &["class", "sequence"][..];
            ("states", "notifications", keys, Some(class.to_string()), Some("states.push_state <> 0"))
        }
        Run::Processed(class) => {
            let keys = &["class", "processed_at", "sequence"][..];
            (
                "states",
                "notifications",
                keys,
                Some(class.to_string()),
                Some("states.processed_at IS NOT NULL"),
            )
        }
        Run::Due => {
            ("states", "notifications", &["due_at", "sequence"][..], None, Some("states.push_state = 1"))
        }
        Run::Created => ("notifications", "states", &["created_at", "sequence"][..], None, None),
        Run::Type(name) => {
            ("notifications", "states", &["event_type", "sequence"][..], Some(quoted(name)), None)
        }
    };
    let columns: Vec<String> = keys.iter().map(|key| format!("{table}.{key}")).collect();
    let timed = columns.iter().find(|column| column.ends_with("_at"));
    // What is the same for all rows of the run stands among the columns too: no other index has that order.
    let edge = |(key, sequence): (i64, i64)| {
        let key = timed.map(|_| key.to_string());
        list(fixed.iter().cloned().chain(key).chain([sequence.to_string()]))
    };
    let row = columns.join(", ");
    let mut all = vec![format!("{table}.tenant_id = {tenant}")];
    all.extend(condition.map(str::to_owned));
    all.push(format!("({row}) > ({})", edge(bounds.0)));
    all.push(format!("({row}) < ({})", edge(bounds.1)));
    let (own, others) = match table {
        "states" => (&conditions.state, &conditions.event),
        _ => (&conditions.event, &conditions.state),
    };
    all.extend(own.iter().cloned());
    if !others.is_empty() {
        let others = others.join(" AND ");
        all.push(format!("EXISTS (SELECT 1 FROM {other} WHERE {JOINED} AND {others})"));
    }
    let way = if down { " DESC" } else { "" };
    format!(
        "SELECT CAST({} AS BIGINT) AS key, {table}.sequence FROM {table} WHERE {} ORDER BY {} LIMIT {limit}",
        timed.map_or("0", String::as_str),
        all.join(" AND "),
        list(columns.iter().map(|column| format!("{column}{way}"))),
    )
}

/// The statement that finds each class of a tenant once, by as many steps in its index.
pub(super) fn classes(tenant: i64) -> String {
    let first = format!("SELECT class FROM states WHERE tenant_id = {tenant} AND push_state <> 0");
    format!(
        "WITH RECURSIVE steps (value) AS (SELECT ({first} ORDER BY class LIMIT 1) UNION ALL \
         SELECT ({first} AND class > steps.value ORDER BY class LIMIT 1) FROM steps \
         WHERE steps.value IS NOT NULL) SELECT value FROM steps WHERE value IS NOT NULL"
    )
}

/// The statement that reads events by their type and sequence, from a place on.
pub(super) fn types(
    tenant: i64,
    conditions: &Conditions,
    from: Option<(&str, i64)>,
    down: bool,
    limit: usize,
) -> String {
    let (than, way) = if down { ("<", " DESC") } else { (">", "") };
    let mut all = vec![format!("notifications.tenant_id = {tenant}")];
    all.extend(from.map(|(name, sequence)| {
        format!("(notifications.event_type, notifications.sequence) {than} ({}, {sequence})", quoted(name))
    }));
    all.extend(conditions.event.iter().cloned());
    let others = conditions.state.join(" AND ");
    all.push(format!("EXISTS (SELECT 1 FROM states WHERE {JOINED} AND {others})"));
    format!(
        "SELECT notifications.event_type AS name, notifications.sequence FROM notifications WHERE {} \
         ORDER BY notifications.event_type{way}, notifications.sequence{way} LIMIT {limit}",
        all.join(" AND ")
    )
}
