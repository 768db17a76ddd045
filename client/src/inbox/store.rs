//! What is stored, and how it changes. Each function runs inside a transaction of its caller.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{self, BigInt, Nullable};

use super::sql::Bind::{Number, Text};
use super::sql::{self, Sql};
use super::{BoxError, Claimed, Effect, End, Incoming, Received, Source, State};
use crate::{Error, Sequence};

type Conn = SqliteConnection;

/// Stores a push, unless it is there already.
pub(super) fn receive(conn: &mut Conn, tenant: Option<&str>, push: &Incoming) -> Result<Received, Error> {
    let now = Utc::now();
    check_tenant(conn, tenant)?;
    let is_new = insert(conn, push, Source::Push, now)?;
    if !is_new && !push.dismissed {
        // The server counts on nobody else to dismiss it, even if that was done before.
        let id = [Number(push.id.get())];
        Sql("UPDATE inbox_notifications SET dismiss = 1 WHERE id = ? AND dismiss <> 1", &id).execute(conn)?;
    }
    set_last_push(conn, now)?;
    // Told of one that comes again, too: the first time, nobody may have waited for the answer.
    let before = push.id.get() - 1;
    let is_known = sql::number(
        conn,
        "SELECT cursor >= ? OR EXISTS (SELECT 1 FROM inbox_notifications WHERE id = ?) AS number FROM inbox_state",
        &[Number(before), Number(before)],
    )?;
    Ok(Received { is_new, shows_hole: is_known == Some(0) })
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

/// Stores what is new. What has the same id must be the same.
fn insert(conn: &mut Conn, new: &Incoming, source: Source, now: DateTime<Utc>) -> Result<bool, Error> {
    let id = new.id.get();
    let source = match source {
        Source::Push => 0,
        Source::Pull => 1,
    };
    let now = now.timestamp_micros();
    let inserted = Sql(
        "INSERT INTO inbox_notifications \
         (id, type, state, dismiss, source, attempts, received_at, due_at, due_since) \
         VALUES (?, ?, 0, ?, ?, 0, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        &[
            Number(id),
            Text(&new.event_type),
            Number((!new.dismissed).into()),
            Number(source),
            Number(now),
            Number(now),
            Number(now),
        ],
    )
    .execute(conn)?;
    if inserted == 0 {
        check_same(conn, new)?;
        return Ok(false);
    }
    Sql("INSERT INTO inbox_documents (id, document) VALUES (?, ?)", &[Number(id), Text(&new.document)])
        .execute(conn)?;
    Ok(true)
}

/// Whether a notification is the one that is held under its id. A push may have less in it than the list, and flags change:
/// what stays is the type and the time.
fn check_same(conn: &mut Conn, new: &Incoming) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = sql_types::Text)]
        event_type: String,
        #[diesel(sql_type = sql_types::Text)]
        document: String,
    }
    let held: Option<Row> = Sql(
        "SELECT n.type AS event_type, d.document \
         FROM inbox_notifications AS n CROSS JOIN inbox_documents AS d ON d.id = n.id WHERE n.id = ?",
        &[Number(new.id.get())],
    )
    .get_result(conn)
    .optional()?;
    let is_same = held.is_none_or(|held| {
        let is_same_text = held.document == new.document;
        is_same_text
            || (held.event_type == new.event_type && created_at(&held.document) == created_at(&new.document))
    });
    if is_same { Ok(()) } else { Err(Error::OtherHistory { id: new.id }) }
}

fn created_at(document: &str) -> Option<DateTime<Utc>> {
    #[derive(serde::Deserialize)]
    struct Document {
        data: Data,
    }
    #[derive(serde::Deserialize)]
    struct Data {
        attributes: Attributes,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Attributes {
        created_at: DateTime<Utc>,
    }
    let document: Document = serde_json::from_str(document).ok()?;
    Some(document.data.attributes.created_at)
}

/// What is due, of the index alone: what is put off is not looked at, however much it is.
pub(super) const DUE: &str = "SELECT n.id, n.attempts + 1 AS attempt, d.document \
     FROM inbox_notifications AS n INDEXED BY inbox_waiting CROSS JOIN inbox_documents AS d ON d.id = n.id \
     WHERE n.state = 0 AND n.due_at <= ? AND n.id NOT IN (SELECT value FROM json_each(?)) \
     ORDER BY n.due_at, n.id LIMIT ?";

/// Has what was put off while the clock was ahead wait for as long as was meant, from now.
pub(super) fn follow_clock_back(conn: &mut Conn, now: DateTime<Utc>) -> Result<(), Error> {
    let now = now.timestamp_micros();
    Sql(
        "UPDATE inbox_notifications SET due_at = ? + (due_at - due_since), due_since = ? WHERE id IN \
         (SELECT id FROM inbox_notifications INDEXED BY inbox_waiting \
          WHERE state = 0 AND due_at > ? AND due_since > ?)",
        &[Number(now), Number(now), Number(now), Number(now)],
    )
    .execute(conn)?;
    Ok(())
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
    let rows: Vec<Row> =
        Sql(DUE, &[Number(now.timestamp_micros()), Text(busy), limit_of(limit)]).load(conn)?;
    let claim = |Row { id, attempt, document }| {
        Sql("UPDATE inbox_notifications SET attempts = attempts + 1 WHERE id = ?", &[Number(id)])
            .execute(conn)?;
        Ok(Claimed { id: sequence(id)?, attempt: count(attempt), document })
    };
    rows.into_iter().map(claim).collect()
}

/// Gives back what was claimed.
pub(super) fn release(conn: &mut Conn, ids: &str) -> Result<(), Error> {
    Sql(
        "UPDATE inbox_notifications SET attempts = attempts - 1 \
         WHERE state = 0 AND attempts > 0 AND id IN (SELECT value FROM json_each(?))",
        &[Text(ids)],
    )
    .execute(conn)?;
    Ok(())
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
            "UPDATE inbox_notifications SET due_at = ?, due_since = ?, reason = ? WHERE id = ? AND state = 0",
            &[Number(time.timestamp_micros()), now, Text(reason), id],
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
            return Err(Error::EffectsLost);
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

/// A statement that has notifications handled again, after those that are waiting already.
macro_rules! again {
    ($which:literal) => {
        concat!(
            "UPDATE inbox_notifications ",
            "SET state = 0, attempts = 0, due_at = ?, due_since = ?, reason = NULL, ended_at = NULL ",
            $which
        )
    };
}

/// Has those of these that are in this state handled again.
pub(super) fn again(conn: &mut Conn, ids: &str, from: State) -> Result<usize, Error> {
    let from = match from {
        State::Waiting => 0,
        State::Handled => 1,
        State::Dead => 2,
    };
    let now = Utc::now().timestamp_micros();
    let changed = Sql(
        again!("WHERE state = ? AND id IN (SELECT value FROM json_each(?))"),
        &[Number(now), Number(now), Number(from), Text(ids)],
    )
    .execute(conn)?;
    Ok(changed)
}

/// Has all that were given up handled again.
pub(super) fn revive_all(conn: &mut Conn) -> Result<usize, Error> {
    let now = Utc::now().timestamp_micros();
    Ok(Sql(again!("WHERE state = 2"), &[Number(now), Number(now)]).execute(conn)?)
}

/// A limit as a value of a statement.
pub(super) fn limit_of(limit: usize) -> sql::Bind<'static> {
    Number(i64::try_from(limit).unwrap_or(i64::MAX))
}

/// A count as it is told.
pub(super) fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// An id as it is told.
pub(super) fn sequence(number: i64) -> Result<Sequence, Error> {
    Sequence::new(number).map_err(|error| Error::Inbox(error.to_string()))
}
