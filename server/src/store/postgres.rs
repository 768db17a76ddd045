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

    use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
    use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text, Untyped};

    use super::*;
    use crate::rules::notification::Micros;
    use crate::store::rows::{AttemptEnd, BatchRows, HandedBack, LockedRow, LogRow, PositionRow};
    use crate::store::schema::{nodes, positions};
    use crate::store::seam::Update;

    /// How rows are read one after the other, without having all of them in memory first.
    pub(super) type RowByRow = diesel::pg::PgRowByRowLoadingMode;

    /// A statement with a fixed text, in which each `?` is the next value. Unlike diesel's own it stays in the statement
    /// cache, and is prepared once for a connection: to prepare it is a round trip, as long as the statement itself.
    struct Fixed<'a>(&'static str, Vec<Value<'a>>);

    type Value<'a> = Box<dyn QueryFragment<Db> + 'a>;

    impl QueryId for Fixed<'_> {
        type QueryId = ();
        const HAS_STATIC_QUERY_ID: bool = false;
    }

    impl QueryFragment<Db> for Fixed<'_> {
        fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
            let mut pieces = self.0.split('?');
            out.push_sql(pieces.next().unwrap_or_default());
            for (piece, value) in pieces.zip(&self.1) {
                value.walk_ast(out.reborrow())?;
                out.push_sql(piece);
            }
            Ok(())
        }
    }

    impl Query for Fixed<'_> {
        type SqlType = Untyped;
    }

    impl RunQueryDsl<Conn> for Fixed<'_> {}

    /// An array with a value of each row.
    macro_rules! array {
        ($type:ty, $values:expr) => {
            Box::new($values.into_sql::<Array<$type>>()) as Value<'_>
        };
    }

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

    /// Stores a batch, by one statement: each more would be a round trip more.
    pub(super) fn insert(conn: &mut Conn, rows: &BatchRows<'_>) -> Result<()> {
        let BatchRows { notifications, states, resources, positions } = rows;
        Fixed(
            "WITH stored AS (\
             INSERT INTO notifications (tenant_id, sequence, event_type, created_at, received_at, comment, extra, \
             entity, created_by, included, idempotency_key, body_hash) \
             SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)), \
             waiting AS (\
             INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, \
             due_at, owner, size) SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)), \
             named AS (\
             INSERT INTO resources (tenant_id, kind, id, included_in, named_by) \
             SELECT * FROM unnest(?, ?, ?, ?, ?) ON CONFLICT (tenant_id, kind, id) DO UPDATE SET \
             included_in = greatest(resources.included_in, excluded.included_in), named_by = excluded.named_by) \
             UPDATE positions SET last_sequence = new.last, lane_owner = coalesce(new.owner, lane_owner) \
             FROM unnest(?, ?, ?) AS new (tenant, last, owner) WHERE positions.tenant_id = new.tenant",
            vec![
                array!(BigInt, column(notifications, |row| row.tenant_id)),
                array!(BigInt, column(notifications, |row| row.sequence)),
                array!(Text, column(notifications, |row| row.event_type)),
                array!(BigInt, column(notifications, |row| row.created_at)),
                array!(BigInt, column(notifications, |row| row.received_at)),
                array!(Nullable<Text>, column(notifications, |row| row.comment)),
                array!(Text, column(notifications, |row| row.extra)),
                array!(Nullable<Text>, column(notifications, |row| row.entity)),
                array!(Nullable<Text>, column(notifications, |row| row.created_by)),
                array!(Text, column(notifications, |row| row.included)),
                array!(Nullable<Binary>, column(notifications, |row| row.idempotency_key)),
                array!(Nullable<Binary>, column(notifications, |row| row.body_hash)),
                array!(BigInt, column(states, |row| row.tenant_id)),
                array!(BigInt, column(states, |row| row.sequence)),
                array!(Bool, column(states, |row| row.is_dismissed)),
                array!(Bool, column(states, |row| row.is_read)),
                array!(Bool, column(states, |row| row.is_flagged)),
                array!(SmallInt, column(states, |row| row.push_state)),
                array!(Integer, column(states, |row| row.attempts)),
                array!(Nullable<BigInt>, column(states, |row| row.due_at)),
                array!(Nullable<BigInt>, column(states, |row| row.owner)),
                array!(Integer, column(states, |row| row.size)),
                array!(BigInt, column(resources, |row| row.tenant_id)),
                array!(SmallInt, column(resources, |row| row.kind)),
                array!(Text, column(resources, |row| row.id)),
                array!(BigInt, column(resources, |row| row.included_in)),
                array!(BigInt, column(resources, |row| row.named_by)),
                array!(BigInt, column(positions, |row| row.tenant)),
                array!(BigInt, column(positions, |row| row.last)),
                array!(Nullable<BigInt>, column(positions, |row| row.owner)),
            ],
        )
        .execute(conn)?;
        Ok(())
    }

    pub(super) fn put_success(conn: &mut Conn, successes: &[(i64, Micros)]) -> Result<()> {
        Fixed(
            "UPDATE positions SET last_success_at = new.time, held_until = NULL \
             FROM unnest(?, ?) AS new (tenant, time) WHERE positions.tenant_id = new.tenant",
            vec![
                array!(BigInt, column(successes, |(tenant, _)| *tenant)),
                array!(BigInt, column(successes, |(_, at)| *at)),
            ],
        )
        .execute(conn)?;
        Ok(())
    }

    pub(super) fn set_flags(conn: &mut Conn, updates: &[Update]) -> Result<()> {
        Fixed(
            "UPDATE states SET is_dismissed = coalesce(new.dismissed, is_dismissed), \
             is_read = coalesce(new.read, is_read), is_flagged = coalesce(new.flagged, is_flagged) \
             FROM unnest(?, ?, ?, ?, ?) AS new (tenant, sequence, dismissed, read, flagged) \
             WHERE states.tenant_id = new.tenant AND states.sequence = new.sequence",
            vec![
                array!(BigInt, column(updates, |update| update.tenant.0)),
                array!(BigInt, column(updates, |update| update.sequence)),
                array!(Nullable<Bool>, column(updates, |update| update.flags.is_dismissed)),
                array!(Nullable<Bool>, column(updates, |update| update.flags.is_read)),
                array!(Nullable<Bool>, column(updates, |update| update.flags.is_flagged)),
            ],
        )
        .execute(conn)?;
        Ok(())
    }

    /// Gives up leases where the node still has them.
    pub(super) fn hand_back(conn: &mut Conn, rows: &[HandedBack], node: i64) -> Result<()> {
        Fixed(
            "UPDATE states SET owner = NULL, due_at = new.due_at \
             FROM unnest(?, ?, ?, ?) AS new (tenant, sequence, attempts, due_at) \
             WHERE states.tenant_id = new.tenant AND states.sequence = new.sequence AND states.owner = ? \
             AND states.attempts = new.attempts",
            vec![
                array!(BigInt, column(rows, |row| row.tenant_id)),
                array!(BigInt, column(rows, |row| row.sequence)),
                array!(Integer, column(rows, |row| row.attempts)),
                array!(BigInt, column(rows, |row| row.due_at)),
                Box::new(node.into_sql::<BigInt>()),
            ],
        )
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
        let recorded: Vec<Recorded> = Fixed(
            "WITH new AS (SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             AS new (tenant, sequence, push_state, due_at, dismiss, processed_at, started_at, duration_ms, url, \
             address, reason, response_status, response_text, error, attempts)), \
             done AS (UPDATE states SET push_state = new.push_state, attempts = states.attempts + 1, \
             due_at = new.due_at, owner = NULL, is_dismissed = is_dismissed OR new.dismiss, \
             processed_at = new.processed_at, response_status = new.response_status, error = new.error FROM new \
             WHERE states.tenant_id = new.tenant AND states.sequence = new.sequence AND states.owner = ? \
             AND states.attempts = new.attempts RETURNING states.tenant_id, states.sequence, states.attempts AS number), \
             log AS (INSERT INTO attempts (tenant_id, sequence, number, started_at, duration_ms, url, address, \
             reason, response_status, response_text, error) \
             SELECT done.tenant_id, done.sequence, done.number, new.started_at, new.duration_ms, new.url, \
             new.address, new.reason, new.response_status, new.response_text, new.error FROM done JOIN new \
             ON done.tenant_id = new.tenant AND done.sequence = new.sequence AND done.number = new.attempts + 1 \
             WHERE new.started_at IS NOT NULL \
             ON CONFLICT DO NOTHING) \
             SELECT tenant_id, sequence FROM done",
            vec![
                array!(BigInt, column(ends, |end| end.tenant_id)),
                array!(BigInt, column(ends, |end| end.sequence)),
                array!(SmallInt, column(ends, |end| end.push_state)),
                array!(Nullable<BigInt>, column(ends, |end| end.due_at)),
                array!(Bool, column(ends, |end| end.dismiss)),
                array!(BigInt, column(ends, |end| end.processed_at)),
                array!(Nullable<BigInt>, log(ends, |log| log.started_at)),
                array!(Nullable<Integer>, log(ends, |log| log.duration_ms)),
                array!(Nullable<Text>, log(ends, |log| log.url)),
                array!(Nullable<Text>, flat(log(ends, |log| log.address))),
                array!(Nullable<SmallInt>, log(ends, |log| log.reason)),
                array!(Nullable<SmallInt>, flat(log(ends, |log| log.response_status))),
                array!(Nullable<Text>, log(ends, |log| &*log.response_text)),
                array!(Nullable<SmallInt>, flat(log(ends, |log| log.error))),
                array!(Integer, column(ends, |end| end.attempts)),
                Box::new(node.into_sql::<BigInt>()),
            ],
        )
        .load(conn)?;
        Ok(recorded.into_iter().map(|row| (row.tenant_id, row.sequence)).collect())
    }
}
