//! The file: how it is opened, and what is in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::sql;
use crate::Error;

/// The version of the tables below.
pub(super) const VERSION: i64 = 1;

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 10000;";
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Every commit is on disk before it is answered, on macOS too, where a plain fsync leaves it to the disk. The caches are
/// small: what is read is mostly what was just written.
const WRITER: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; \
     PRAGMA checkpoint_fullfsync = ON; PRAGMA cache_size = -8000; \
     PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;";
const READER: &str = "PRAGMA query_only = ON; PRAGMA cache_size = -4000;";

/// Documents have a table of their own, so that a change of state does not write them again, however large they are.
///
/// `state`: 0 waiting, 1 handled, 2 dead. `dismiss`: 0 nothing to do, 1 wanted once it is handled, 2 done by us.
/// `source`: 0 push, 1 pull. `due_since` is when `due_at` was set, by which one can tell when the clock went back. Times are
/// microseconds of UTC since 1970.
///
/// The version stands in a table and not in `PRAGMA user_version`, which is left to whoever else has tables here.
const TABLES: &str = "
CREATE TABLE inbox_state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL,
    tenant TEXT,
    cursor INTEGER NOT NULL,
    last_push INTEGER,
    last_pull INTEGER
) STRICT;
CREATE TABLE inbox_notifications (
    id INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    state INTEGER NOT NULL,
    dismiss INTEGER NOT NULL,
    source INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    due_since INTEGER NOT NULL,
    ended_at INTEGER,
    reason TEXT
) STRICT;
CREATE TABLE inbox_documents (
    id INTEGER PRIMARY KEY,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX inbox_waiting ON inbox_notifications (due_at, id, due_since, received_at) WHERE state = 0;
CREATE INDEX inbox_dead ON inbox_notifications (id) WHERE state = 2;
CREATE INDEX inbox_to_dismiss ON inbox_notifications (id) WHERE state = 1 AND dismiss = 1;
INSERT INTO inbox_state (one, version, cursor) VALUES (1, 1, 0);
";

/// An inbox that was just opened.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) writer: SqliteConnection,
    pub(super) reader: SqliteConnection,
}

/// Opens the file, and makes it an inbox if it is new.
pub(super) fn open(path: &Path) -> Result<Opened, Error> {
    let path = std::path::absolute(path)
        .map_err(|error| Error::Invalid(format!("{} is no path: {error}", path.display())))?;
    let begun = Instant::now();
    let writer = loop {
        match connect(&path) {
            // SQLite does not always wait for another process that makes the same file at the same time.
            Err(Error::Inbox(why)) if why.contains("is locked") && begun.elapsed() < OPEN_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            connected => break connected?,
        }
    };
    let reader = reader(&path)?;
    Ok(Opened { path, writer, reader })
}

/// A connection that only reads an inbox, which is there.
pub(super) fn reader(path: &Path) -> Result<SqliteConnection, Error> {
    must_exist(path)?;
    let mut conn = establish(path)?;
    conn.batch_execute(READER)?;
    Ok(conn)
}

/// Another connection that writes, in place of one that is broken.
pub(super) fn reconnect(path: &Path) -> Result<SqliteConnection, Error> {
    must_exist(path)?;
    connect(path)
}

/// A file that was removed is not to become a new inbox by itself.
fn must_exist(path: &Path) -> Result<(), Error> {
    path.exists().then_some(()).ok_or_else(|| Error::Inbox(format!("{} is gone", path.display())))
}

fn connect(path: &Path) -> Result<SqliteConnection, Error> {
    let mut conn = establish(path)?;
    // Nothing is written before it is known whose file it is.
    let is_inbox = is_inbox(&mut conn, path)?;
    conn.batch_execute(WRITER)?;
    if !is_inbox {
        conn.immediate_transaction(|conn| match self::is_inbox(conn, path)? {
            // Another process was faster.
            true => Ok(()),
            false => Ok::<_, Error>(conn.batch_execute(TABLES)?),
        })?;
    }
    Ok(conn)
}

fn establish(path: &Path) -> Result<SqliteConnection, Error> {
    let text =
        path.to_str().ok_or_else(|| Error::Invalid(format!("the path {} is not UTF-8", path.display())))?;
    let mut conn = SqliteConnection::establish(text)
        .map_err(|error| Error::Inbox(format!("{} can't be opened: {error}", path.display())))?;
    conn.batch_execute(BUSY_TIMEOUT)?;
    Ok(conn)
}

/// Whether a file has an inbox, of a version that this crate knows. If not, it can become one.
fn is_inbox(conn: &mut SqliteConnection, path: &Path) -> Result<bool, Error> {
    const OURS: &str = "SELECT count(*) AS number FROM sqlite_schema WHERE name LIKE 'inbox\\_%' ESCAPE '\\'";
    const MARKS: &str = "SELECT count(*) AS number FROM sqlite_schema AS s, pragma_table_info(s.name) AS c \
                         WHERE s.type = 'table' AND s.name = 'inbox_state' AND c.name IN ('version', 'cursor')";
    match sql::number(conn, OURS, &[]) {
        Ok(Some(0)) => return Ok(false),
        Ok(_) => {}
        Err(DieselError::DatabaseError(_, why)) if why.message().contains("not a database") => {
            return Err(not_an_inbox(path, "it is not a file of SQLite"));
        }
        Err(error) => return Err(error.into()),
    }
    if sql::number(conn, MARKS, &[])? != Some(2) {
        return Err(not_an_inbox(path, "its tables that begin with inbox_ are those of something else"));
    }
    match sql::number(conn, "SELECT version AS number FROM inbox_state", &[])? {
        Some(VERSION) => Ok(true),
        Some(version) if version > VERSION => {
            Err(Error::NewerInbox { path: path.to_owned(), version, known: VERSION })
        }
        _ => Err(not_an_inbox(path, "its table inbox_state is not one of this crate")),
    }
}

fn not_an_inbox(path: &Path, reason: &str) -> Error {
    Error::NotAnInbox { path: path.to_owned(), reason: reason.to_owned() }
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match &error {
            DieselError::DatabaseError(_, why) if why.message().contains("is full") => Error::DiskFull,
            // The tables of the inbox have no foreign keys; those of a handler may.
            DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) => {
                Error::Effect(error.into())
            }
            DieselError::RollbackErrorOnCommit { commit_error, .. } => Error::Inbox(commit_error.to_string()),
            _ => Error::Inbox(error.to_string()),
        }
    }
}
