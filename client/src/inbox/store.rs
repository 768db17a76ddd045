//! What is stored, and how it changes. Each function runs inside a transaction of its caller.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{self, BigInt, Nullable};

use super::sql::Bind::{Number, Text};
use super::sql::{self, Sql};
use super::{BoxError, Claimed, Counts, Effect, End, Incoming, Kept, Received, Source, State};
use crate::{Error, Sequence};

type Conn = SqliteConnection;

/// Stores a push, unless it is there already.
pub(super) fn receive(conn: &mut Conn, tenant: Option<&str>, push: &Incoming) -> Result<Received, Error> {
    let now = Utc::now();
    check_tenant(conn, tenant)?;
    let newest = sql::number(
        conn,
        "SELECT max(cursor, coalesce((SELECT max(id) FROM inbox_notifications), 0)) AS number FROM inbox_state",
        &[],
    )?;
    let is_new = insert(conn, push, Source::Push, now)?;
    if !is_new && !push.dismissed {
        // The server counts on nobody else to dismiss it, even if that was done before.
        let id = [Number(push.id.get())];
        Sql("UPDATE inbox_notifications SET dismiss = 1 WHERE id = ? AND dismiss <> 1", &id).execute(conn)?;
    }
    set_last_push(conn, now)?;
    let shows_hole = is_new && push.id.get() > newest.unwrap_or_default() + 1;
    Ok(Received { is_new, shows_hole })
}

/// Notes that a push came.
pub(super) fn note_push(conn: &mut Conn, tenant: Option<&str>) -> Result<(), Error> {
    check_tenant(conn, tenant)?;
    set_last_push(conn, Utc::now())
}

/// Stores what is new of a page, and that the list was read up to its end.
pub(super) fn page(
    conn: &mut Conn,
    tenant: Option<&str>,
    items: &[Incoming],
    cursor: Sequence,
) -> Result<usize, Error> {
    let now = Utc::now();
    check_tenant(conn, tenant)?;
    let mut new = 0;
    for item in items {
        if insert(conn, item, Source::Pull, now)? {
            new += 1;
            continue;
        }
        let id = [Number(item.id.get())];
        match item.dismissed {
            true => Sql("UPDATE inbox_notifications SET dismiss = 0 WHERE id = ? AND dismiss = 1", &id),
            // What was done by us stays done: the page may be older.
            false => Sql("UPDATE inbox_notifications SET dismiss = 1 WHERE id = ? AND dismiss = 0", &id),
        }
        .execute(conn)?;
    }
    Sql(
        "UPDATE inbox_state SET cursor = max(cursor, ?), last_pull = ?",
        &[Number(cursor.get()), Number(now.timestamp_micros())],
    )
    .execute(conn)?;
    Ok(new)
}

/// An inbox belongs to the first tenant that is named to it.
fn check_tenant(conn: &mut Conn, given: Option<&str>) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<sql_types::Text>)]
        tenant: Option<String>,
    }
    let Some(given) = given else { return Ok(()) };
    let row: Row = Sql("SELECT tenant FROM inbox_state", &[]).get_result(conn)?;
    match row.tenant {
        Some(tenant) if tenant == given => Ok(()),
        Some(inbox) => Err(Error::OtherTenant { inbox, given: given.to_owned() }),
        None => {
            Sql("UPDATE inbox_state SET tenant = ?", &[Text(given)]).execute(conn)?;
            Ok(())
        }
    }
}

fn set_last_push(conn: &mut Conn, now: DateTime<Utc>) -> Result<(), Error> {
    Sql("UPDATE inbox_state SET last_push = ?", &[Number(now.timestamp_micros())]).execute(conn)?;
    Ok(())
}

fn insert(conn: &mut Conn, new: &Incoming, source: Source, now: DateTime<Utc>) -> Result<bool, Error> {
    let id = new.id.get();
    let source = match source {
        Source::Push => 0,
        Source::Pull => 1,
    };
    let inserted = Sql(
        "INSERT INTO inbox_notifications (id, type, state, dismiss, source, attempts, received_at, due_at) \
         VALUES (?, ?, 0, ?, ?, 0, ?, 0) ON CONFLICT (id) DO NOTHING",
        &[
            Number(id),
            Text(&new.event_type),
            Number((!new.dismissed).into()),
            Number(source),
            Number(now.timestamp_micros()),
        ],
    )
    .execute(conn)?;
    if inserted == 0 {
        return Ok(false);
    }
    Sql("INSERT INTO inbox_documents (id, document) VALUES (?, ?)", &[Number(id), Text(&new.document)])
        .execute(conn)?;
    Ok(true)
}

/// Takes what is due, and counts the attempts that are about to be made.
pub(super) fn claim(
    conn: &mut Conn,
    limit: usize,
    busy: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Claimed>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        id: i64,
        #[diesel(sql_type = BigInt)]
        attempt: i64,
        #[diesel(sql_type = sql_types::Text)]
        document: String,
    }
    let rows: Vec<Row> = Sql(
        "SELECT n.id, n.attempts + 1 AS attempt, d.document \
         FROM inbox_notifications AS n INDEXED BY inbox_waiting CROSS JOIN inbox_documents AS d ON d.id = n.id \
         WHERE n.state = 0 AND n.due_at <= ? AND n.id NOT IN (SELECT value FROM json_each(?)) \
         ORDER BY n.id LIMIT ?",
        &[Number(now.timestamp_micros()), Text(busy), limit_of(limit)],
    )
    .load(conn)?;
    let claim = |Row { id, attempt, document }| {
        Sql("UPDATE inbox_notifications SET attempts = attempts + 1 WHERE id = ?", &[Number(id)])
            .execute(conn)?;
        Ok(Claimed { id: sequence(id)?, attempt: count(attempt), document })
    };
    rows.into_iter().map(claim).collect()
}

/// Records how an attempt ended, and what is to be written with it.
pub(super) fn finish(
    conn: &mut Conn,
    id: Sequence,
    end: &End,
    effects: &mut [Option<Effect>],
) -> Result<(), Error> {
    let now = Number(Utc::now().timestamp_micros());
    let id = Number(id.get());
    let recorded = match end {
        End::Handled => Sql(
            "UPDATE inbox_notifications SET state = 1, ended_at = ?, reason = NULL WHERE id = ? AND state = 0",
            &[now, id],
        )
        .execute(conn)?,
        End::RetryAt(time, reason) => Sql(
            "UPDATE inbox_notifications SET due_at = ?, reason = ? WHERE id = ? AND state = 0",
            &[Number(time.timestamp_micros()), Text(reason), id],
        )
        .execute(conn)?,
        End::Dead(reason) => Sql(
            "UPDATE inbox_notifications SET state = 2, ended_at = ?, reason = ? WHERE id = ? AND state = 0",
            &[now, Text(reason), id],
        )
        .execute(conn)?,
    };
    if recorded == 0 {
        return Ok(());
    }
    for effect in effects {
        let Some(effect) = effect.take() else {
            return Err(Error::Inbox("the transaction with what the handler had to write failed".to_owned()));
        };
        catch_unwind(AssertUnwindSafe(|| effect(conn)))
            .unwrap_or_else(|_| Err(BoxError::from("it panicked")))
            .map_err(Error::Effect)?;
    }
    Ok(())
}

/// What was handled and is to be dismissed.
pub(super) fn to_dismiss(conn: &mut Conn, after: Sequence, limit: usize) -> Result<Vec<Sequence>, Error> {
    let rows: Vec<sql::Number> = Sql(
        "SELECT id AS number FROM inbox_notifications INDEXED BY inbox_to_dismiss \
         WHERE state = 1 AND dismiss = 1 AND id > ? ORDER BY id LIMIT ?",
        &[Number(after.get()), limit_of(limit)],
    )
    .load(conn)?;
    rows.into_iter().filter_map(|row| row.number).map(sequence).collect()
}

/// Records that these are dismissed.
pub(super) fn dismissed(conn: &mut Conn, ids: &str) -> Result<(), Error> {
    Sql(
        "UPDATE inbox_notifications SET dismiss = 2 WHERE dismiss = 1 AND id IN (SELECT value FROM json_each(?))",
        &[Text(ids)],
    )
    .execute(conn)?;
    Ok(())
}

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
        let retries = state == State::Waiting && self.due_at > 0;
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
        "SELECT n.id, n.type AS event_type, d.document, n.state, n.source, n.attempts, n.reason, n.received_at, \
         n.due_at, n.ended_at FROM inbox_notifications AS n CROSS JOIN inbox_documents AS d ON d.id = n.id \
         WHERE n.id = ?",
        &[Number(id.get())],
    )
    .get_result(conn)
    .optional()?;
    row.map(KeptRow::kept).transpose()
}

/// Those that were given up.
pub(super) fn dead(conn: &mut Conn, after: Sequence, limit: usize) -> Result<Vec<Kept>, Error> {
    let rows: Vec<KeptRow> = Sql(
        "SELECT n.id, n.type AS event_type, d.document, n.state, n.source, n.attempts, n.reason, n.received_at, \
         n.due_at, n.ended_at FROM inbox_notifications AS n INDEXED BY inbox_dead \
         CROSS JOIN inbox_documents AS d ON d.id = n.id WHERE n.state = 2 AND n.id > ? ORDER BY n.id LIMIT ?",
        &[Number(after.get()), limit_of(limit)],
    )
    .load(conn)?;
    rows.into_iter().map(KeptRow::kept).collect()
}

/// Has those of these that are in this state handled again.
pub(super) fn again(conn: &mut Conn, ids: &str, from: State) -> Result<usize, Error> {
    let from = match from {
        State::Waiting => 0,
        State::Handled => 1,
        State::Dead => 2,
    };
    let changed = Sql(
        "UPDATE inbox_notifications SET state = 0, attempts = 0, due_at = 0, reason = NULL, ended_at = NULL \
         WHERE state = ? AND id IN (SELECT value FROM json_each(?))",
        &[Number(from), Text(ids)],
    )
    .execute(conn)?;
    Ok(changed)
}

/// Has all that were given up handled again.
pub(super) fn revive_all(conn: &mut Conn) -> Result<usize, Error> {
    let changed = Sql(
        "UPDATE inbox_notifications SET state = 0, attempts = 0, due_at = 0, reason = NULL, ended_at = NULL \
         WHERE state = 2",
        &[],
    )
    .execute(conn)?;
    Ok(changed)
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

fn limit_of(limit: usize) -> sql::Bind<'static> {
    Number(i64::try_from(limit).unwrap_or(i64::MAX))
}

fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}

fn sequence(number: i64) -> Result<Sequence, Error> {
    Sequence::new(number).map_err(|error| Error::Inbox(error.to_string()))
}
