//! PostgreSQL: the connection, and the statements that differ.
//!
//! Batches are sent as arrays, one statement for all rows: a round trip costs more than a row.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};

use super::error::StoreError;
use super::seam::Result;

pub(super) type Conn = diesel::PgConnection;
pub(super) type Db = diesel::pg::Pg;

#[path = "queries/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "the same source is compiled for each database on purpose")]
mod queries;

/// The URL with time-outs, unless it brings its own: a connection that leads nowhere is noticed within seconds.
fn with_timeouts(url: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else { return url.to_owned() };
    let given: Vec<String> = parsed.query_pairs().map(|(name, _)| name.into_owned()).collect();
    for (name, value) in [("connect_timeout", "5"), ("keepalives_idle", "10"), ("tcp_user_timeout", "10000")]
    {
        if !given.iter().any(|given| given == name) {
            parsed.query_pairs_mut().append_pair(name, value);
        }
    }
    parsed.into()
}

/// Opens the connection of a writer. A node that freezes inside a transaction loses it, and its locks, after 5 seconds.
pub(super) fn connect(url: &str) -> Result<Conn> {
    let mut conn = Conn::establish(&with_timeouts(url)).map_err(StoreError::Connect)?;
    conn.batch_execute(
        "SET statement_timeout = '60s'; SET lock_timeout = '20s'; SET client_min_messages = warning; \
         SET idle_in_transaction_session_timeout = '5s'",
    )?;
    Ok(conn)
}

#[derive(Debug)]
struct ReadOnly;

impl CustomizeConnection<Conn, diesel::r2d2::Error> for ReadOnly {
    fn on_acquire(&self, conn: &mut Conn) -> std::result::Result<(), diesel::r2d2::Error> {
        conn.batch_execute("SET default_transaction_read_only = on; SET statement_timeout = '30s'")
            .map_err(diesel::r2d2::Error::QueryError)
    }
}

/// The connections for reading.
pub(super) fn pool(url: &str, size: u32) -> Pool<ConnectionManager<Conn>> {
    Pool::builder()
        .max_size(size)
        .min_idle(Some(1))
        .connection_timeout(Duration::from_secs(2))
        .connection_customizer(Box::new(ReadOnly))
        .build_unchecked(ConnectionManager::new(with_timeouts(url)))
}

/// Runs the function while no other node does: migrations take no lock of their own.
pub(super) fn alone(conn: &mut Conn, run: impl FnOnce(&mut Conn) -> Result<()>) -> Result<()> {
    // Any number will do, as long as it is always the same.
    conn.batch_execute("SELECT pg_advisory_lock(8433664521)")?;
    let result = run(conn);
    conn.batch_execute("SELECT pg_advisory_unlock(8433664521)")?;
    result
}

/// What PostgreSQL does in its own way.
mod dialect {
    use std::collections::HashSet;

    use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text};

    use super::*;
    use crate::rules::notification::Micros;
    use crate::store::rows::{AttemptEnd, LogRow, NotificationInsert, PositionRow, ResourceRow, StateInsert};
    use crate::store::schema::positions;

    /// How rows are read one after the other, without having all of them in memory first.
    pub(super) type RowByRow = diesel::pg::PgRowByRowLoadingMode;

    fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
        rows.iter().map(value).collect()
    }

    pub(super) fn transaction(conn: &mut Conn, run: impl FnOnce(&mut Conn) -> Result<()>) -> Result<()> {
        conn.transaction(run)
    }

    /// Runs statements of which each is written for one index. The planner estimates the rows of a range over two columns
    /// by the first alone, and would rather sort what it takes for few.
    pub(super) fn by_index<T>(conn: &mut Conn, run: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        conn.transaction(|conn| {
            conn.batch_execute(
                "SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off; \
                 SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off",
            )?;
            run(conn)
        })
    }

    /// The database's clock: the one that all nodes share.
    pub(super) fn clock(conn: &mut Conn) -> Result<Micros> {
        #[derive(QueryableByName)]
        struct Clock {
            #[diesel(sql_type = BigInt)]
            micros: i64,
        }
        let query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros";
        Ok(diesel::sql_query(query).get_result::<Clock>(conn)?.micros)
    }

    /// The positions of the tenants, locked in one order so that two nodes can't block each other.
    pub(super) fn positions(conn: &mut Conn, tenants: &[i64]) -> Result<Vec<PositionRow>> {
        Ok(positions::table
            .filter(positions::tenant_id.eq_any(tenants))
            .order(positions::tenant_id)
            .select(PositionRow::as_select())
            .for_update()
            .load(conn)?)
    }

    pub(super) fn insert_notifications(conn: &mut Conn, rows: &[NotificationInsert<'_>]) -> Result<()> {
        diesel::sql_query(
            "INSERT INTO notifications (tenant_id, sequence, event_type, created_at, received_at, comment, extra, \
             entity, created_by, included, idempotency_key, body_hash) \
             SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind::<Array<BigInt>, _>(column(rows, |row| row.tenant_id))
        .bind::<Array<BigInt>, _>(column(rows, |row| row.sequence))
        .bind::<Array<Text>, _>(column(rows, |row| row.event_type))
        .bind::<Array<BigInt>, _>(column(rows, |row| row.created_at))
        .bind::<Array<BigInt>, _>(column(rows, |row| row.received_at))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.comment))
        .bind::<Array<Text>, _>(column(rows, |row| row.extra))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.entity))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.created_by))
        .bind::<Array<Text>, _>(column(rows, |row| row.included))
        .bind::<Array<Nullable<Binary>>, _>(column(rows, |row| row.idempotency_key))
        .bind::<Array<Nullable<Binary>>, _>(column(rows, |row| row.body_hash))
        .execute(conn)?;
        Ok(())
    }

    pub(super) fn insert_states(conn: &mut Conn, rows: &[StateInsert]) -> Result<()> {
        diesel::sql_query(
            "INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, \
             due_at, owner, size) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind::<Array<BigInt>, _>(column(rows, |row| row.tenant_id))
        .bind::<Array<BigInt>, _>(column(rows, |row| row.sequence))
        .bind::<Array<Bool>, _>(column(rows, |row| row.is_dismissed))
        .bind::<Array<Bool>, _>(column(rows, |row| row.is_read))
        .bind::<Array<Bool>, _>(column(rows, |row| row.is_flagged))
        .bind::<Array<SmallInt>, _>(column(rows, |row| row.push_state))
        .bind::<Array<Integer>, _>(column(rows, |row| row.attempts))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.due_at))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.owner))
        .bind::<Array<Integer>, _>(column(rows, |row| row.size))
        .execute(conn)?;
        Ok(())
    }

    pub(super) fn put_resources(conn: &mut Conn, rows: &[ResourceRow<'_>]) -> Result<()> {
        diesel::sql_query(
            "INSERT INTO resources (tenant_id, kind, id, included_in, named_by) \
             SELECT * FROM unnest($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, kind, id) DO UPDATE SET \
             included_in = greatest(resources.included_in, excluded.included_in), named_by = excluded.named_by",
        )
        .bind::<Array<BigInt>, _>(column(rows, |row| row.tenant_id))
        .bind::<Array<SmallInt>, _>(column(rows, |row| row.kind))
        .bind::<Array<Text>, _>(column(rows, |row| row.id))
        .bind::<Array<BigInt>, _>(column(rows, |row| row.included_in))
        .bind::<Array<BigInt>, _>(column(rows, |row| row.named_by))
        .execute(conn)?;
        Ok(())
    }

    pub(super) fn put_positions(conn: &mut Conn, positions: &[(i64, i64)]) -> Result<()> {
        diesel::sql_query(
            "UPDATE positions SET last_sequence = new.last FROM unnest($1, $2) AS new (tenant, last) \
             WHERE positions.tenant_id = new.tenant",
        )
        .bind::<Array<BigInt>, _>(column(positions, |row| row.0))
        .bind::<Array<BigInt>, _>(column(positions, |row| row.1))
        .execute(conn)?;
        Ok(())
    }

    pub(super) fn put_success(conn: &mut Conn, successes: &[(i64, Micros)]) -> Result<()> {
        diesel::sql_query(
            "UPDATE positions SET last_success_at = new.time, held_until = NULL \
             FROM unnest($1, $2) AS new (tenant, time) WHERE positions.tenant_id = new.tenant",
        )
        .bind::<Array<BigInt>, _>(column(successes, |(tenant, _)| *tenant))
        .bind::<Array<BigInt>, _>(column(successes, |(_, at)| *at))
        .execute(conn)?;
        Ok(())
    }

    /// Records the ends of attempts where the node still has the lease, and logs them. Answers which those were.
    pub(super) fn end_attempts(
        conn: &mut Conn,
        ends: &[AttemptEnd<'_>],
        node: i64,
    ) -> Result<HashSet<(i64, i64)>> {
        #[derive(QueryableByName)]
        struct Recorded {
            #[diesel(sql_type = BigInt)]
            tenant_id: i64,
            #[diesel(sql_type = BigInt)]
            sequence: i64,
        }
        fn log<'a, T>(ends: &'a [AttemptEnd<'a>], value: impl Fn(&'a LogRow<'a>) -> T) -> Vec<Option<T>> {
            ends.iter().map(|end| end.log.as_ref().map(&value)).collect()
        }
        fn flat<T>(values: Vec<Option<Option<T>>>) -> Vec<Option<T>> {
            values.into_iter().map(Option::flatten).collect()
        }
        // An attempt may be told of twice in one batch, when the first telling was in doubt; its log rows are the same.
        let recorded: Vec<Recorded> = diesel::sql_query(
            "WITH new AS (SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
             AS new (tenant, sequence, push_state, due_at, dismiss, processed_at, started_at, duration_ms, url, \
             address, reason, response_status, response_text, error, attempts)), \
             done AS (UPDATE states SET push_state = new.push_state, attempts = states.attempts + 1, \
             due_at = new.due_at, owner = NULL, is_dismissed = is_dismissed OR new.dismiss, \
             processed_at = new.processed_at, response_status = new.response_status, error = new.error FROM new \
             WHERE states.tenant_id = new.tenant AND states.sequence = new.sequence AND states.owner = $16 \
             AND states.attempts = new.attempts RETURNING states.tenant_id, states.sequence, states.attempts AS number), \
             log AS (INSERT INTO attempts (tenant_id, sequence, number, started_at, duration_ms, url, address, \
             reason, response_status, response_text, error) \
             SELECT done.tenant_id, done.sequence, done.number, new.started_at, new.duration_ms, new.url, \
             new.address, new.reason, new.response_status, new.response_text, new.error FROM done JOIN new \
             ON done.tenant_id = new.tenant AND done.sequence = new.sequence AND done.number = new.attempts + 1 \
             WHERE new.started_at IS NOT NULL \
             ON CONFLICT DO NOTHING) \
             SELECT tenant_id, sequence FROM done",
        )
        .bind::<Array<BigInt>, _>(column(ends, |end| end.tenant_id))
        .bind::<Array<BigInt>, _>(column(ends, |end| end.sequence))
        .bind::<Array<SmallInt>, _>(column(ends, |end| end.push_state))
        .bind::<Array<Nullable<BigInt>>, _>(column(ends, |end| end.due_at))
        .bind::<Array<Bool>, _>(column(ends, |end| end.dismiss))
        .bind::<Array<BigInt>, _>(column(ends, |end| end.processed_at))
        .bind::<Array<Nullable<BigInt>>, _>(log(ends, |log| log.started_at))
        .bind::<Array<Nullable<Integer>>, _>(log(ends, |log| log.duration_ms))
        .bind::<Array<Nullable<Text>>, _>(log(ends, |log| log.url))
        .bind::<Array<Nullable<Text>>, _>(flat(log(ends, |log| log.address)))
        .bind::<Array<Nullable<SmallInt>>, _>(log(ends, |log| log.reason))
        .bind::<Array<Nullable<SmallInt>>, _>(flat(log(ends, |log| log.response_status)))
        .bind::<Array<Nullable<Text>>, _>(log(ends, |log| &*log.response_text))
        .bind::<Array<Nullable<SmallInt>>, _>(flat(log(ends, |log| log.error)))
        .bind::<Array<Integer>, _>(column(ends, |end| end.attempts))
        .bind::<BigInt, _>(node)
        .load(conn)?;
        Ok(recorded.into_iter().map(|row| (row.tenant_id, row.sequence)).collect())
    }
}
