//! PostgreSQL: the connection, and the statements that differ.
//!
//! Batches are sent as arrays, one statement for all rows: a round trip costs more than a row.

mod address;

use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, CacheSize, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel::result::Error as DieselError;

pub(super) use self::address::Address;
use super::error::StoreError;
use super::seam::Result;

pub(super) type Conn = diesel::PgConnection;
pub(super) type Db = diesel::pg::Pg;

#[path = "queries/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "the same source is compiled for each database on purpose")]
mod queries;

/// How a transaction that writes begins. In one round trip, and with its time-outs, because behind a pooler it may run on
/// another connection of the server than the one before. A node that freezes inside of it loses it, and its locks, after
/// 5 seconds.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '20s'; \
                     SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// How one that reads begins, behind a pooler. Elsewhere there is none: it would be two round trips more.
const BEGIN_READING: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '30s'; \
                             SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Opens the connection of a writer.
pub(super) fn connect(address: &Address) -> Result<Conn> {
    let pooled = address.is_pooled()?;
    let mut conn = Conn::establish(address.url()).map_err(StoreError::Connect)?;
    if pooled {
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    } else {
        // For the few statements that are a transaction each.
        conn.batch_execute("SET statement_timeout = '60s'; SET lock_timeout = '20s'")?;
    }
    Ok(conn)
}

/// Sets up a connection that reads.
#[derive(Debug)]
struct Reading {
    pooled: bool,
}

impl CustomizeConnection<Conn, diesel::r2d2::Error> for Reading {
    fn on_acquire(&self, conn: &mut Conn) -> std::result::Result<(), diesel::r2d2::Error> {
        if self.pooled {
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
            return Ok(());
        }
        conn.batch_execute("SET default_transaction_read_only = on; SET statement_timeout = '30s'")
            .map_err(diesel::r2d2::Error::QueryError)
    }
}

/// The connections for reading from one server.
pub(super) struct Readers {
    pool: Pool<ConnectionManager<Conn>>,
    pooled: bool,
}

/// A connection for reading.
pub(super) struct Reader {
    conn: diesel::r2d2::PooledConnection<ConnectionManager<Conn>>,
    pooled: bool,
}

impl Readers {
    pub(super) fn new(address: &Address, size: u32) -> Result<Self> {
        let pooled = address.is_pooled()?;
        let pool = Pool::builder()
            .max_size(size)
            .min_idle(Some(1))
            .connection_timeout(Duration::from_secs(2))
            .connection_customizer(Box::new(Reading { pooled }))
            .build_unchecked(ConnectionManager::new(address.url()));
        Ok(Readers { pool, pooled })
    }

    /// One of them, when it is free within 2 seconds.
    pub(super) fn get(&self) -> Result<Reader> {
        self.get_within(self.pool.connection_timeout())
    }

    /// One of them, when it is free in time.
    pub(super) fn get_within(&self, patience: Duration) -> Result<Reader> {
        let conn = self.pool.get_timeout(patience);
        let conn = conn.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Reader { conn, pooled: self.pooled })
    }
}

impl Reader {
    /// Runs a function that reads.
    pub(super) fn run<T>(&mut self, run: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        if self.pooled { within(&mut self.conn, BEGIN_READING, run) } else { run(&mut self.conn) }
    }
}

/// Runs the function in a transaction that begins like this.
fn within<T>(conn: &mut Conn, begin: &str, run: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
    AnsiTransactionManager::begin_transaction_sql(conn, begin)?;
    match run(conn) {
        Ok(value) => {
            AnsiTransactionManager::commit_transaction(conn)?;
            Ok(value)
        }
        Err(error) => match AnsiTransactionManager::rollback_transaction(conn) {
            // Then the first error says more.
            Ok(()) | Err(DieselError::BrokenTransactionManager) => Err(error),
            Err(rollback) => Err(rollback.into()),
        },
    }
}

/// Runs the function while no other node does, on a connection of its own: migrations take no lock. The lock belongs to a
/// transaction on a second connection, because behind a pooler nothing else does.
pub(super) fn alone<T>(address: &Address, run: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
    // However long the migrations, or the other node's, may take. Any number will do, as long as it is always the same.
    const LOCK: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
                        SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_advisory_xact_lock(8433664521)";
    within(&mut connect(address)?, LOCK, |_| run(&mut connect(address)?))
}

/// How far the write-ahead log of the primary is safe, as text. What was answered is before it, whichever node answered:
/// an answer is given after the commit, and a commit ends when the log is on disk up to it.
pub(super) fn position(conn: &mut Conn) -> Result<String> {
    #[derive(QueryableByName)]
    struct Flushed {
        #[diesel(sql_type = diesel::sql_types::Text)]
        flushed: String,
    }
    let query = diesel::sql_query("SELECT pg_current_wal_flush_lsn()::text AS flushed");
    Ok(query.get_result::<Flushed>(conn)?.flushed)
}

/// How far a replica is.
#[derive(QueryableByName)]
pub(super) struct Progress {
    /// Whether it is a standby that receives what the primary writes.
    #[diesel(sql_type = diesel::sql_types::Bool)]
    pub(super) follows: bool,
    /// Whether it shows everything up to the position.
    #[diesel(sql_type = diesel::sql_types::Bool)]
    pub(super) has_all: bool,
}

/// How far a replica is, measured by a position of its primary.
pub(super) fn progress(conn: &mut Conn, position: &str) -> Result<Progress> {
    // That it receives matters after a failover: one that doesn't follow the new primary may have what that one lost.
    let query = diesel::sql_query(
        "SELECT pg_is_in_recovery() AND EXISTS (SELECT FROM pg_stat_wal_receiver) AS follows, \
         coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, FALSE) AS has_all",
    );
    Ok(query.bind::<diesel::sql_types::Text, _>(position).get_result(conn)?)
}

/// What PostgreSQL does in its own way.
mod dialect {
    use std::collections::HashSet;

    use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text};

    use super::*;
    use crate::rules::notification::Micros;
    use crate::store::rows::{
        AttemptEnd, LockedRow, LogRow, NotificationInsert, PositionRow, ResourceRow, StateInsert,
    };
    use crate::store::schema::{nodes, positions};

    /// How rows are read one after the other, without having all of them in memory first.
    pub(super) type RowByRow = diesel::pg::PgRowByRowLoadingMode;

    fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
        rows.iter().map(value).collect()
    }

    pub(super) fn transaction(conn: &mut Conn, run: impl FnOnce(&mut Conn) -> Result<()>) -> Result<()> {
        let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
        match status.transaction_depth()? {
            Some(_) => conn.transaction(run),
            None => within(conn, BEGIN, run),
        }
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
    pub(super) fn positions(conn: &mut Conn, tenants: &[i64]) -> Result<Vec<LockedRow>> {
        // Not joined: what may be missing can't be locked.
        let owner = nodes::table.filter(nodes::id.nullable().eq(positions::lane_owner));
        let rows: Vec<(PositionRow, Option<i64>, bool)> = positions::table
            .filter(positions::tenant_id.eq_any(tenants))
            .order(positions::tenant_id)
            .select((PositionRow::as_select(), positions::lane_owner, diesel::dsl::exists(owner)))
            .for_update()
            .load(conn)?;
        let locked =
            |(position, lane_owner, owner_is_known)| LockedRow { position, lane_owner, owner_is_known };
        Ok(rows.into_iter().map(locked).collect())
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

    /// Stores the newest sequences, and the node whose the lane is from now on where that changes.
    pub(super) fn put_positions(conn: &mut Conn, positions: &[(i64, i64, Option<i64>)]) -> Result<()> {
        diesel::sql_query(
            "UPDATE positions SET last_sequence = new.last, lane_owner = coalesce(new.owner, lane_owner) \
             FROM unnest($1, $2, $3) AS new (tenant, last, owner) WHERE positions.tenant_id = new.tenant",
        )
        .bind::<Array<BigInt>, _>(column(positions, |row| row.0))
        .bind::<Array<BigInt>, _>(column(positions, |row| row.1))
        .bind::<Array<Nullable<BigInt>>, _>(column(positions, |row| row.2))
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
