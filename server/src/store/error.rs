//! What can go wrong in the store.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// An error of the store. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database URL can't be used.
    #[error("the database URL can't be used: {0}")]
    Url(String),
    /// Another server process has this SQLite file.
    #[error("the database {0} is in use by another tidings-server")]
    InUse(String),
    /// No connection could be had.
    #[error("the database can't be reached")]
    Connect(#[source] diesel::ConnectionError),
    /// No connection was free in time, or the database went away.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// More writes are waiting than the server keeps.
    #[error("too many writes are waiting")]
    Busy,
    /// The server is stopping.
    #[error("the store is closing")]
    Closed,
    /// The caller undid what it had begun.
    #[error("undone by the caller")]
    Undone,
    /// The schema could not be brought up to date.
    #[error("the migrations failed: {0}")]
    Migration(String),
    /// A file beside the database could not be used.
    #[error("{0}")]
    File(String),
    /// Something stored can't be understood.
    #[error("what is stored can't be read: {0}")]
    Unreadable(String),
    /// A statement failed.
    #[error("the database refused a statement")]
    Query(#[from] DieselError),
}

impl StoreError {
    /// Whether the connection is of no further use.
    pub(super) fn broke_connection(&self) -> bool {
        match self {
            StoreError::Query(DieselError::DatabaseError(kind, _)) => {
                matches!(kind, DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand)
            }
            // A commit that fails on a lost connection is reported as a rollback that failed.
            StoreError::Query(
                DieselError::BrokenTransactionManager | DieselError::RollbackErrorOnCommit { .. },
            )
            | StoreError::Connect(_) => true,
            _ => false,
        }
    }

    /// Whether the same call may succeed a little later.
    pub fn is_temporary(&self) -> bool {
        self.broke_connection()
            || matches!(
                self,
                StoreError::Unavailable(_) | StoreError::Busy | StoreError::Closed | StoreError::Connect(_)
            )
    }
}
