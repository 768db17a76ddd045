//! Which database: chosen by the URL's scheme, and known to nobody outside the store.

use std::fmt;
use std::str::FromStr;

use diesel::r2d2::{ConnectionManager, Pool};

use super::error::StoreError;
use super::seam::{Queries, Result};
use super::{postgres, sqlite};

/// Where the database is.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// A file: `sqlite:PATH`.
    Sqlite(String),
    /// A server: `postgres://…`, as libpq reads it.
    Postgres(String),
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
            "postgres" | "postgresql" => Ok(DatabaseUrl::Postgres(url.to_owned())),
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
            DatabaseUrl::Postgres(url) => match url::Url::parse(url) {
                Ok(mut url) => {
                    if url.password().is_some() {
                        let _ = url.set_password(Some("***"));
                    }
                    // libpq also takes the password as a parameter.
                    let masked: Vec<(String, String)> = url
                        .query_pairs()
                        .map(|(name, value)| {
                            let value = if name.contains("password") { "***".into() } else { value };
                            (name.into_owned(), value.into_owned())
                        })
                        .collect();
                    if !masked.is_empty() {
                        url.query_pairs_mut().clear().extend_pairs(masked);
                    }
                    write!(f, "{url}")
                }
                Err(_) => f.write_str("postgres://***"),
            },
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl DatabaseUrl {
    /// Whether several nodes can use it at once.
    pub fn is_shared(&self) -> bool {
        matches!(self, DatabaseUrl::Postgres(_))
    }

    /// The path of the file, if it is one.
    pub fn file(&self) -> Option<&str> {
        match self {
            DatabaseUrl::Sqlite(path) => Some(path),
            DatabaseUrl::Postgres(_) => None,
        }
    }

    /// SQLite has one writer by nature; PostgreSQL overlaps the commits of a few.
    pub(super) fn writers(&self) -> usize {
        match self {
            DatabaseUrl::Sqlite(_) => 1,
            DatabaseUrl::Postgres(_) => 2,
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
            DatabaseUrl::Postgres(url) => Box::new(postgres::connect(url)?),
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
    pub(super) fn pool(&self, size: u32) -> Readers {
        match self {
            DatabaseUrl::Sqlite(path) => Readers::Sqlite(sqlite::pool(path, size)),
            DatabaseUrl::Postgres(url) => Readers::Postgres(postgres::pool(url, size)),
        }
    }
}

/// The connections for reading.
pub(super) enum Readers {
    Sqlite(Pool<ConnectionManager<sqlite::Conn>>),
    Postgres(Pool<ConnectionManager<postgres::Conn>>),
}

impl Readers {
    /// Runs a function on one of them.
    pub(super) fn run<T>(&self, run: impl FnOnce(&mut dyn Queries) -> Result<T>) -> Result<T> {
        let unavailable = |error: diesel::r2d2::PoolError| StoreError::Unavailable(error.to_string());
        match self {
            Readers::Sqlite(pool) => run(&mut *pool.get().map_err(unavailable)?),
            Readers::Postgres(pool) => run(&mut *pool.get().map_err(unavailable)?),
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
        assert!(matches!("postgres://h/db".parse(), Ok(DatabaseUrl::Postgres(_))));
        for bad in ["typo-name", "postgers://h/db", "mysql://h/db", "sqlite:", "sqlite::memory:", ""] {
            assert!(matches!(bad.parse::<DatabaseUrl>(), Err(StoreError::Url(_))), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://u:s3cret@h/db?sslmode=require",
            "postgres://h/db?password=s3cret",
            "postgres://[s3cret",
        ] {
            let url: DatabaseUrl = url.parse().unwrap();
            assert!(!format!("{url} {url:?}").contains("s3cret"), "{url}");
        }
    }
}
