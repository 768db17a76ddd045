//! Which database: chosen by the URL's scheme, and known to nobody outside the store.

use std::fmt;
use std::str::FromStr;

use diesel::r2d2::{ConnectionManager, Pool};

use super::error::StoreError;
use super::replica::Replica;
use super::seam::{Queries, Result};
use super::{postgres, sqlite};

/// Where the database is.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// A file: `sqlite:PATH`.
    Sqlite(String),
    /// A server: `postgres://…`, as libpq reads it.
    Postgres {
        /// Where everything is written.
        primary: postgres::Address,
        /// Where clients' lists may be read.
        replica: Option<postgres::Address>,
    },
}

impl FromStr for DatabaseUrl {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(StoreError::Url(format!("it has no scheme; did you mean sqlite:{url}?")));
        };
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path == ":memory:" {
                    return Err(StoreError::Url(
                        "sqlite: needs the path of a file, as in sqlite:./tidings.db".into(),
                    ));
                }
                Ok(DatabaseUrl::Sqlite(path.to_owned()))
            }
            "postgres" | "postgresql" => {
                Ok(DatabaseUrl::Postgres { primary: postgres::Address::parse(url)?, replica: None })
            }
            other => {
                Err(StoreError::Url(format!("its scheme is {other:?}; known are sqlite: and postgres://")))
            }
        }
    }
}

/// Without the password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatabaseUrl::Sqlite(path) => write!(f, "sqlite:{path}"),
            DatabaseUrl::Postgres { primary, .. } => write!(f, "{primary}"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl DatabaseUrl {
    /// The same database with a standby of it, from which clients' lists may be read.
    ///
    /// # Errors
    /// When the URL can't be one of a standby, or the database has none.
    pub fn with_replica(self, url: &str) -> Result<Self> {
        let DatabaseUrl::Postgres { primary, .. } = self else {
            return Err(StoreError::Url("a replica needs PostgreSQL".to_owned()));
        };
        let DatabaseUrl::Postgres { primary: replica, .. } = url.parse()? else {
            return Err(StoreError::Url(
                "the replica of a PostgreSQL database is another postgres://".to_owned(),
            ));
        };
        Ok(DatabaseUrl::Postgres { primary, replica: Some(replica) })
    }

    /// The standby from which clients' lists may be read.
    pub fn replica(&self) -> Option<&postgres::Address> {
        match self {
            DatabaseUrl::Sqlite(_) => None,
            DatabaseUrl::Postgres { replica, .. } => replica.as_ref(),
        }
    }

    /// Whether several nodes can use it at once.
    pub fn is_shared(&self) -> bool {
        matches!(self, DatabaseUrl::Postgres { .. })
    }

    /// The path of the file, if it is one.
    pub fn file(&self) -> Option<&str> {
        match self {
            DatabaseUrl::Sqlite(path) => Some(path),
            DatabaseUrl::Postgres { .. } => None,
        }
    }

    /// SQLite has one writer by nature; PostgreSQL overlaps the commits of a few.
    pub(super) fn writers(&self) -> usize {
        match self {
            DatabaseUrl::Sqlite(_) => 1,
            DatabaseUrl::Postgres { .. } => 2,
        }
    }

    /// How many connections read.
    pub(super) fn readers(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get());
        u32::try_from(2 * cores + 1).unwrap_or(5)
    }

    /// A connection for writing: for a writer thread, or for a command that runs beside the server.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub fn connect(&self) -> Result<Box<dyn Queries>> {
        Ok(match self {
            DatabaseUrl::Sqlite(path) => Box::new(sqlite::connect(path)?),
            DatabaseUrl::Postgres { primary, .. } => Box::new(postgres::connect(primary)?),
        })
    }

    /// Copies a SQLite database to a new file, while it is in use.
    ///
    /// # Errors
    /// When there is such a file already, or the database is not SQLite.
    pub fn backup(&self, file: &std::path::Path) -> Result<()> {
        let DatabaseUrl::Sqlite(path) = self else {
            return Err(StoreError::Url("backup is for SQLite; use pg_dump for PostgreSQL".to_owned()));
        };
        if !std::path::Path::new(path).exists() {
            return Err(StoreError::File(format!("there is no database {path}")));
        }
        if file.exists() {
            return Err(StoreError::File(format!("{} exists already", file.display())));
        }
        sqlite::backup(path, &file.to_string_lossy())
    }

    /// The connections for reading.
    ///
    /// # Errors
    /// When the database can't be reached and has never been.
    pub(super) fn pool(&self, size: u32) -> Result<Readers> {
        Ok(match self {
            DatabaseUrl::Sqlite(path) => Readers::Sqlite(sqlite::pool(path, size)),
            DatabaseUrl::Postgres { primary, .. } => {
                Readers::Postgres(postgres::Readers::new(primary, size)?)
            }
        })
    }

    /// The standby, with as many connections.
    pub(super) fn standby(&self, size: u32) -> Option<Replica> {
        self.replica().map(|address| Replica::new(address.clone(), size))
    }
}

/// The connections for reading.
pub(super) enum Readers {
    Sqlite(Pool<ConnectionManager<sqlite::Conn>>),
    Postgres(postgres::Readers),
}

impl Readers {
    /// Runs a function on one of them.
    pub(super) fn run<T>(&self, run: impl FnOnce(&mut dyn Queries) -> Result<T>) -> Result<T> {
        let unavailable = |error: diesel::r2d2::PoolError| StoreError::Unavailable(error.to_string());
        match self {
            Readers::Sqlite(pool) => run(&mut *pool.get().map_err(unavailable)?),
            Readers::Postgres(readers) => readers.get()?.run(|conn| run(conn)),
        }
    }

    /// What a standby must have before it is read from: everything that anybody may have seen by now.
    pub(super) fn position(&self) -> Result<String> {
        match self {
            Readers::Sqlite(_) => Err(StoreError::Url("a replica needs PostgreSQL".to_owned())),
            Readers::Postgres(readers) => readers.get()?.run(postgres::position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_chooses_and_a_typo_is_an_error() {
        assert!(matches!("sqlite:./a.db".parse(), Ok(DatabaseUrl::Sqlite(path)) if path == "./a.db"));
        assert!(matches!("sqlite:///tmp/a.db".parse(), Ok(DatabaseUrl::Sqlite(path)) if path == "/tmp/a.db"));
        assert!(matches!("postgres://h/db".parse(), Ok(DatabaseUrl::Postgres { .. })));
        for bad in ["typo-name", "postgers://h/db", "mysql://h/db", "sqlite:", "sqlite::memory:", ""] {
            assert!(matches!(bad.parse::<DatabaseUrl>(), Err(StoreError::Url(_))), "{bad:?} was taken");
        }
    }

    #[test]
    fn only_postgresql_has_replicas_and_they_are_shown_without_password() {
        let replica = "postgres://u:s3cret@h2/db";
        let with =
            |database: &str, replica: &str| database.parse::<DatabaseUrl>().unwrap().with_replica(replica);
        let both = with("postgres://u:s3cret@h1/db", replica).unwrap();
        assert_eq!(both.to_string(), "postgres://u:***@h1/db");
        assert_eq!(both.replica().unwrap().to_string(), "postgres://u:***@h2/db");
        assert!(!format!("{both:?}").contains("s3cret"));
        assert!(with("sqlite:a.db", replica).is_err());
        assert!(with("postgres://h1/db", "sqlite:a.db").is_err());
    }
}
