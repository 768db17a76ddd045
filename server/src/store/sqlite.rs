//! SQLite: the connection, and the statements that differ.
//!
//! Rows are written one by one: a multi-row statement is no faster here, and its text could not be cached.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};

use super::error::StoreError;
use super::seam::Result;

pub(super) type Conn = diesel::SqliteConnection;
pub(super) type Db = diesel::sqlite::Sqlite;

#[path = "queries/mod.rs"]
mod queries;

/// How long a statement waits for another process that has the file, such as `tidings-server key`.
const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 10000;";

/// Opens the connection of a writer: every commit is on disk before it is answered.
pub(super) fn connect(path: &str) -> Result<Conn> {
    let mut conn = Conn::establish(path).map_err(StoreError::Connect)?;
    conn.batch_execute(BUSY_TIMEOUT)?;
    conn.batch_execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864; \
         PRAGMA cache_size = -8000; PRAGMA wal_autocheckpoint = 16000;",
    )?;
    Ok(conn)
}

/// Copies the database, as it is at one moment, to a new file.
pub(super) fn backup(path: &str, file: &str) -> Result<()> {
    diesel::sql_query("VACUUM INTO ?")
        .bind::<diesel::sql_types::Text, _>(file)
        .execute(&mut connect(path)?)?;
    Ok(())
}

#[derive(Debug)]
struct ReadOnly;

impl CustomizeConnection<Conn, diesel::r2d2::Error> for ReadOnly {
    fn on_acquire(&self, conn: &mut Conn) -> std::result::Result<(), diesel::r2d2::Error> {
        conn.batch_execute(BUSY_TIMEOUT)
            .and_then(|()| conn.batch_execute("PRAGMA query_only = ON; PRAGMA cache_size = -2000;"))
            .map_err(diesel::r2d2::Error::QueryError)
    }
}

/// The connections for reading.
pub(super) fn pool(path: &str, size: u32) -> Pool<ConnectionManager<Conn>> {
    Pool::builder()
        .max_size(size)
        .min_idle(Some(1))
        .connection_timeout(Duration::from_secs(2))
        .connection_customizer(Box::new(ReadOnly))
        .test_on_check_out(false)
        .build_unchecked(ConnectionManager::new(path))
}

/// What SQLite does in its own way.
mod dialect {
    use std::collections::HashSet;

    use diesel::query_builder::{AstPass, QueryFragment, QueryId};
    use diesel::sql_types::{self, BigInt, Nullable};

    use super::*;
    use crate::rules::notification::Micros;
    use crate::store::rows::{AttemptEnd, BatchRows, HandedBack, LockedRow, PositionRow};
    use crate::store::schema::{notifications, positions, states};
    use crate::store::seam::Update;

    /// How rows are read one after the other.
    pub(super) type RowByRow = diesel::connection::DefaultLoadingMode;

    /// A statement with a fixed text. Unlike diesel's own UPDATE and upsert it stays in the statement cache.
    struct Fixed<'a>(&'static str, &'a [Bind<'a>]);

    enum Bind<'a> {
        Number(i64),
        Text(&'a str),
        MaybeNumber(Option<i64>),
        MaybeText(Option<&'a str>),
    }
    use Bind::{MaybeNumber, MaybeText, Number, Text};

    impl QueryId for Fixed<'_> {
        type QueryId = ();
        const HAS_STATIC_QUERY_ID: bool = false;
    }

    impl QueryFragment<Db> for Fixed<'_> {
        fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
            let mut pieces = self.0.split('?');
            out.push_sql(pieces.next().unwrap_or_default());
            for (piece, bind) in pieces.zip(self.1) {
                match bind {
                    Number(number) => out.push_bind_param::<BigInt, _>(number)?,
                    Text(text) => out.push_bind_param::<sql_types::Text, _>(text)?,
                    MaybeNumber(number) => out.push_bind_param::<Nullable<BigInt>, _>(number)?,
                    MaybeText(text) => out.push_bind_param::<Nullable<sql_types::Text>, _>(text)?,
                }
                out.push_sql(piece);
            }
            Ok(())
        }
    }

    impl RunQueryDsl<Conn> for Fixed<'_> {}

    /// Takes the write lock at the start, so that a transaction which reads first can't fail when it writes.
    pub(super) fn transaction(conn: &mut Conn, run: impl FnOnce(&mut Conn) -> Result<()>) -> Result<()> {
        use diesel::connection::{AnsiTransactionManager, TransactionManager};
        let depth = AnsiTransactionManager::transaction_manager_status_mut(conn).transaction_depth()?;
        if depth.is_none() { conn.immediate_transaction(run) } else { conn.transaction(run) }
    }

    /// Runs statements of which each is written for one index: SQLite takes it by the fixed statistics.
    pub(super) fn by_index<T>(conn: &mut Conn, run: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        run(conn)
    }

    pub(super) fn clock(_: &mut Conn) -> Result<Micros> {
        Ok(chrono::Utc::now().timestamp_micros())
    }

    /// The positions of the tenants. SQLite has one writer, so there is nothing to lock; and one node, so nobody has to
    /// know of others.
    pub(super) fn positions(conn: &mut Conn, tenants: &[i64]) -> Result<Vec<LockedRow>> {
        let mut rows = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            let row = positions::table.find(tenant).select((PositionRow::as_select(), positions::lane_owner));
            let row: Option<(PositionRow, Option<i64>)> = row.first(conn).optional()?;
            rows.extend(row.map(|(position, lane_owner)| LockedRow {
                position,
                lane_owner,
                owner_is_known: false,
            }));
        }
        Ok(rows)
    }

    /// Stores a batch.
    pub(super) fn insert(conn: &mut Conn, rows: &BatchRows<'_>) -> Result<()> {
        for row in &rows.notifications {
            diesel::insert_into(notifications::table).values(row).execute(conn)?;
        }
        for row in &rows.states {
            diesel::insert_into(states::table).values(row).execute(conn)?;
        }
        for row in &rows.resources {
            Fixed(
                "INSERT INTO resources (tenant_id, kind, id, included_in, named_by) VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT (tenant_id, kind, id) DO UPDATE SET \
                 included_in = max(included_in, excluded.included_in), named_by = excluded.named_by",
                &[
                    Number(row.tenant_id),
                    Number(row.kind.into()),
                    Text(row.id),
                    Number(row.included_in),
                    Number(row.named_by),
                ],
            )
            .execute(conn)?;
        }
        for row in &rows.positions {
            match row.owner {
                None => Fixed(
                    "UPDATE positions SET last_sequence = ? WHERE tenant_id = ?",
                    &[Number(row.last), Number(row.tenant)],
                )
                .execute(conn)?,
                Some(owner) => Fixed(
                    "UPDATE positions SET last_sequence = ?, lane_owner = ? WHERE tenant_id = ?",
                    &[Number(row.last), Number(owner), Number(row.tenant)],
                )
                .execute(conn)?,
            };
        }
        Ok(())
    }

    pub(super) fn put_success(conn: &mut Conn, successes: &[(i64, Micros)]) -> Result<()> {
        for (tenant, at) in successes {
            Fixed(
                "UPDATE positions SET last_success_at = ?, held_until = NULL WHERE tenant_id = ?",
                &[Number(*at), Number(*tenant)],
            )
            .execute(conn)?;
        }
        Ok(())
    }

    pub(super) fn set_flags(conn: &mut Conn, updates: &[Update]) -> Result<()> {
        let number = |flag: Option<bool>| MaybeNumber(flag.map(Into::into));
        for Update { tenant, sequence, flags } in updates {
            Fixed(
                "UPDATE states SET is_dismissed = coalesce(?, is_dismissed), is_read = coalesce(?, is_read), \
                 is_flagged = coalesce(?, is_flagged) WHERE tenant_id = ? AND sequence = ?",
                &[
                    number(flags.is_dismissed),
                    number(flags.is_read),
                    number(flags.is_flagged),
                    Number(tenant.0),
                    Number(*sequence),
                ],
            )
            .execute(conn)?;
        }
        Ok(())
    }

    /// Gives up leases where the node still has them.
    pub(super) fn hand_back(conn: &mut Conn, rows: &[HandedBack], node: i64) -> Result<()> {
        for row in rows {
            Fixed(
                "UPDATE states SET owner = NULL, due_at = ? \
                 WHERE tenant_id = ? AND sequence = ? AND owner = ? AND attempts = ?",
                &[
                    Number(row.due_at),
                    Number(row.tenant_id),
                    Number(row.sequence),
                    Number(node),
                    Number(row.attempts.into()),
                ],
            )
            .execute(conn)?;
        }
        Ok(())
    }

    /// Records the ends of attempts where the node still has the lease, and logs them. Answers which those were.
    pub(super) fn end_attempts(
        conn: &mut Conn,
        ends: &[AttemptEnd<'_>],
        node: i64,
    ) -> Result<HashSet<(i64, i64)>> {
        let mut recorded = HashSet::new();
        for end in ends {
            let updated = Fixed(
                "UPDATE states SET push_state = ?, attempts = attempts + 1, due_at = ?, owner = NULL, \
                 is_dismissed = is_dismissed OR ?, processed_at = ?, response_status = ?, error = ? \
                 WHERE tenant_id = ? AND sequence = ? AND owner = ? AND attempts = ?",
                &[
                    Number(end.push_state.into()),
                    MaybeNumber(end.due_at),
                    Number(end.dismiss.into()),
                    Number(end.processed_at),
                    MaybeNumber(end.log.as_ref().and_then(|log| log.response_status).map(Into::into)),
                    MaybeNumber(end.log.as_ref().and_then(|log| log.error).map(Into::into)),
                    Number(end.tenant_id),
                    Number(end.sequence),
                    Number(node),
                    Number(end.attempts.into()),
                ],
            )
            .execute(conn)?;
            if updated == 0 {
                continue;
            }
            recorded.insert((end.tenant_id, end.sequence));
            if let Some(log) = &end.log {
                // An attempt may be told of twice in one batch, when the first telling was in doubt; it was updated once.
                Fixed(
                    "INSERT INTO attempts (tenant_id, sequence, number, started_at, duration_ms, url, address, \
                     reason, response_status, response_text, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    &[
                        Number(end.tenant_id),
                        Number(end.sequence),
                        Number(i64::from(end.attempts) + 1),
                        Number(log.started_at),
                        Number(log.duration_ms.into()),
                        Text(log.url),
                        MaybeText(log.address),
                        Number(log.reason.into()),
                        MaybeNumber(log.response_status.map(Into::into)),
                        Text(&log.response_text),
                        MaybeNumber(log.error.map(Into::into)),
                    ],
                )
                .execute(conn)?;
            }
        }
        Ok(recorded)
    }
}
