//! What is read of the inbox, for those who look into it. Each function runs inside a transaction of its caller.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{self, BigInt, Nullable};

use super::sql::Bind::Number;
use super::sql::{self, Sql};
use super::store::{count, limit_of, sequence};
use super::{Counts, Kept, Source, State};
use crate::{Error, Sequence};

type Conn = SqliteConnection;

/// Up to where the server's list was read.
pub(super) fn cursor(conn: &mut Conn) -> Result<Sequence, Error> {
    sequence(sql::number(conn, "SELECT cursor AS number FROM inbox_state", &[])?.unwrap_or_default())
}

/// How much there is of everything.
pub(super) fn counts(conn: &mut Conn) -> Result<Counts, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        held: i64,
        #[diesel(sql_type = BigInt)]
        waiting: i64,
        #[diesel(sql_type = BigInt)]
        dead: i64,
        #[diesel(sql_type = BigInt)]
        to_dismiss: i64,
        #[diesel(sql_type = Nullable<BigInt>)]
        oldest_waiting: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        last_push: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        last_pull: Option<i64>,
        #[diesel(sql_type = BigInt)]
        cursor: i64,
    }
    // Those that were handled are most, so they are what is left of all, which SQLite counts without reading them.
    let row: Row = Sql(
        "SELECT (SELECT count(*) FROM inbox_notifications) AS held, \
         (SELECT count(*) FROM inbox_notifications INDEXED BY inbox_waiting WHERE state = 0) AS waiting, \
         (SELECT count(*) FROM inbox_notifications INDEXED BY inbox_dead WHERE state = 2) AS dead, \
         (SELECT count(*) FROM inbox_notifications INDEXED BY inbox_to_dismiss \
          WHERE state = 1 AND dismiss = 1) AS to_dismiss, \
         (SELECT min(received_at) FROM inbox_notifications INDEXED BY inbox_waiting \
          WHERE state = 0) AS oldest_waiting, \
         last_push, last_pull, cursor FROM inbox_state",
        &[],
    )
    .get_result(conn)?;
    Ok(Counts {
        waiting: row.waiting.unsigned_abs(),
        handled: (row.held - row.waiting - row.dead).unsigned_abs(),
        dead: row.dead.unsigned_abs(),
        to_dismiss: row.to_dismiss.unsigned_abs(),
        oldest_waiting: row.oldest_waiting.and_then(time),
        last_push: row.last_push.and_then(time),
        last_pull: row.last_pull.and_then(time),
        cursor: sequence(row.cursor)?,
    })
}

/// A statement that answers [`KeptRow`]s.
macro_rules! kept {
    ($from:literal) => {
        concat!(
            "SELECT n.id, n.type AS event_type, d.document, n.state, n.source, n.attempts, n.reason, ",
            "n.received_at, n.due_at, n.ended_at ",
            $from
        )
    };
}

#[derive(QueryableByName)]
struct KeptRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = sql_types::Text)]
    event_type: String,
    #[diesel(sql_type = sql_types::Text)]
    document: String,
    #[diesel(sql_type = BigInt)]
    state: i64,
    #[diesel(sql_type = BigInt)]
    source: i64,
    #[diesel(sql_type = BigInt)]
    attempts: i64,
    #[diesel(sql_type = Nullable<sql_types::Text>)]
    reason: Option<String>,
    #[diesel(sql_type = BigInt)]
    received_at: i64,
    #[diesel(sql_type = BigInt)]
    due_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    ended_at: Option<i64>,
}

impl KeptRow {
    fn kept(self) -> Result<Kept, Error> {
        let state = match self.state {
            0 => State::Waiting,
            1 => State::Handled,
            _ => State::Dead,
        };
        let retries = state == State::Waiting && self.reason.is_some();
        Ok(Kept {
            id: sequence(self.id)?,
            event_type: self.event_type,
            document: self.document,
            state,
            attempts: count(self.attempts),
            reason: self.reason,
            source: if self.source == 0 { Source::Push } else { Source::Pull },
            received_at: time(self.received_at).unwrap_or_default(),
            retry_at: retries.then(|| time(self.due_at)).flatten(),
            ended_at: self.ended_at.and_then(time),
        })
    }
}

/// One notification.
pub(super) fn get(conn: &mut Conn, id: Sequence) -> Result<Option<Kept>, Error> {
    let row: Option<KeptRow> = Sql(
        kept!("FROM inbox_notifications AS n CROSS JOIN inbox_documents AS d ON d.id = n.id WHERE n.id = ?"),
        &[Number(id.get())],
    )
    .get_result(conn)
    .optional()?;
    row.map(KeptRow::kept).transpose()
}

/// Those that were given up.
pub(super) fn dead(conn: &mut Conn, after: Sequence, limit: usize) -> Result<Vec<Kept>, Error> {
    let rows: Vec<KeptRow> = Sql(
        kept!(
            "FROM inbox_notifications AS n INDEXED BY inbox_dead CROSS JOIN inbox_documents AS d ON d.id = n.id \
             WHERE n.state = 2 AND n.id > ? ORDER BY n.id LIMIT ?"
        ),
        &[Number(after.get()), limit_of(limit)],
    )
    .load(conn)?;
    rows.into_iter().map(KeptRow::kept).collect()
}

/// Whole strides are only counted, which takes a fraction of the time that a look at each id would take (and of the time
/// of SQLite's window functions).
pub(super) fn held(conn: &mut Conn) -> Result<Vec<RangeInclusive<i64>>, Error> {
    const STRIDE: i64 = 4096;
    let mut ranges = Vec::new();
    let mut next = sql::number(conn, "SELECT min(id) AS number FROM inbox_notifications", &[])?;
    while let Some(first) = next {
        let last = first.saturating_add(STRIDE - 1);
        let stride = [Number(first), Number(last)];
        let count = "SELECT count(*) AS number FROM inbox_notifications WHERE id BETWEEN ? AND ?";
        if sql::number(conn, count, &stride)? == Some(STRIDE) {
            append(&mut ranges, first, last);
        } else {
            let ids = "SELECT id AS number FROM inbox_notifications WHERE id BETWEEN ? AND ? ORDER BY id";
            let ids: Vec<sql::Number> = Sql(ids, &stride).load(conn)?;
            ids.into_iter().filter_map(|id| id.number).for_each(|id| append(&mut ranges, id, id));
        }
        let beyond = "SELECT min(id) AS number FROM inbox_notifications WHERE id > ?";
        next = sql::number(conn, beyond, &[Number(last)])?;
    }
    Ok(ranges)
}

/// Adds what follows all the others.
fn append(ranges: &mut Vec<RangeInclusive<i64>>, first: i64, last: i64) {
    match ranges.last_mut() {
        Some(range) if range.end() + 1 == first => *range = *range.start()..=last,
        _ => ranges.push(first..=last),
    }
}

fn time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}
