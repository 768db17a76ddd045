//! A database of its own for each test, on either engine.

use std::path::Path;
use std::process::Command;

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use tempfile::TempDir;
use uuid::Uuid;

/// The engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Embedded, in a temporary directory.
    Sqlite,
    /// A new database of the cluster that `tests/run` has started.
    Postgres,
}

/// An empty database, removed with the value.
#[derive(Debug)]
pub struct Database {
    kind: Kind,
    url: String,
    name: String,
    dir: TempDir,
}

impl Database {
    /// Creates one.
    pub fn new(kind: Kind) -> Self {
        if kind == Kind::Sqlite {
            return Self::sqlite_in(&std::env::temp_dir());
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let name = format!("t_{}", Uuid::new_v4().simple());
        let (server, _) = cluster();
        psql(&format!("CREATE DATABASE {name}"));
        Database { kind, url: format!("{server}/{name}"), name, dir }
    }

    /// The database of a cluster that the test has for itself, reached by this URL. It is as empty as the cluster is new.
    pub fn of_cluster(url: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Database { kind: Kind::Postgres, url: url.to_owned(), name: String::new(), dir }
    }

    /// An SQLite database somewhere below a directory.
    pub fn sqlite_in(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).expect("a temporary directory");
        let url = format!("sqlite:{}/tidings.db", dir.path().display());
        Database { kind: Kind::Sqlite, url, name: String::new(), dir }
    }

    /// What goes behind `--database-url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements on it, with a server beside or without, for what only time would bring about otherwise.
    #[track_caller]
    pub fn execute(&self, statements: &str) {
        let Some(path) = self.url.strip_prefix("sqlite:") else {
            psql_at(&self.url, statements);
            return;
        };
        let done = diesel::SqliteConnection::establish(path).map_err(|error| error.to_string()).and_then(
            |mut conn| {
                let statements = format!("PRAGMA busy_timeout = 10000; {statements}");
                conn.batch_execute(&statements).map_err(|error| error.to_string())
            },
        );
        assert_eq!(done, Ok(()), "{statements}");
    }

    /// The engine.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A directory that lives as long as the database.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.kind == Kind::Postgres && !self.name.is_empty() && !std::thread::panicking() {
            psql(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}

/// The URL of the test cluster, parted into server and database.
fn cluster() -> (String, String) {
    let url = std::env::var("TIDINGS_TEST_POSTGRES").unwrap_or_else(|_| {
        panic!("TIDINGS_TEST_POSTGRES is not set: start the tests with tests/run, which brings a PostgreSQL cluster")
    });
    let (server, database) =
        url.rsplit_once('/').expect("TIDINGS_TEST_POSTGRES is postgres://user@host:port/database");
    (server.to_owned(), database.to_owned())
}

/// Runs one statement on the cluster and gives its answer.
pub fn psql(statement: &str) -> String {
    let (server, database) = cluster();
    psql_at(&format!("{server}/{database}"), statement)
}

/// Runs one statement on a database and gives its answer.
pub fn psql_at(url: &str, statement: &str) -> String {
    let output = Command::new("psql")
        .args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--dbname",
            url,
            "--command",
            statement,
        ])
        .output()
        .expect("psql is installed (tests/run installs it)");
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
