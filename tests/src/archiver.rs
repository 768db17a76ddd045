//! A running `archiver`, the application that the suites kill, and what is in its inbox.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use diesel::sql_types::BigInt;
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query};
use tempfile::TempDir;

use crate::program::{self, Program};
use crate::{ports, until};

/// What a test may want otherwise.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server, or a way to it.
    pub url: String,
    /// A key of the role consumer.
    pub key: String,
    /// The tenant's signing secret.
    pub secret: String,
    /// Seconds from one catch-up to the next.
    pub every: u64,
    /// Of so many attempts to handle one fails; 0 for none.
    pub fails: u64,
    /// Bytes that a file of it may have until [`Archiver::has_room`].
    pub largest_file: Option<u64>,
}

impl Options {
    /// For this server, key and secret: catches up every second, nothing fails.
    pub fn new(url: &str, key: &str, secret: &str) -> Self {
        let (url, key, secret) = (url.to_owned(), key.to_owned(), secret.to_owned());
        Options { url, key, secret, every: 1, fails: 0, largest_file: None }
    }
}

/// A running archiver with an inbox of its own. Killed with the value.
pub struct Archiver {
    options: Options,
    port: u16,
    dir: TempDir,
    program: Option<Program>,
}

impl Archiver {
    /// Starts one, and waits until it takes pushes.
    #[track_caller]
    pub fn start(options: Options) -> Self {
        let mut archiver = Self::stopped(options);
        archiver.restart();
        archiver
    }

    /// One that isn't started yet.
    pub fn stopped(options: Options) -> Self {
        // Beside the build, because a temporary directory may be in memory.
        let dir = tempfile::tempdir_in(crate::server::beside()).expect("a temporary directory");
        Archiver { options, port: ports::free(), dir, program: None }
    }

    /// Starts it, or starts it again.
    pub fn spawn(&mut self) {
        assert!(self.program.is_none(), "the archiver still runs");
        let options = &self.options;
        let program = crate::server::built("archiver");
        let mut command = match options.largest_file {
            None => Command::new(program),
            Some(bytes) => {
                // Of what it ignores when it is started, a program is not killed.
                let script = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$@\"", bytes / 512);
                let mut command = Command::new("sh");
                command.args(["-c", &script, "sh"]).arg(program);
                command
            }
        };
        program::bare(&mut command);
        command
            .args(["--url", &options.url, "--key", &options.key, "--secret", &options.secret])
            .args(["--port", &self.port.to_string(), "--every", &options.every.to_string()])
            .args(["--fails", &options.fails.to_string()])
            .arg("--inbox")
            .arg(self.inbox());
        self.program = Some(Program::start(command));
    }

    /// Starts it, or starts it again, and waits until it takes pushes.
    #[track_caller]
    pub fn restart(&mut self) {
        self.spawn();
        until("the archiver to take pushes", Duration::from_secs(60), || {
            let program = self.program.as_mut().expect("it was just started");
            if let Some(status) = program.status() {
                panic!("the archiver has ended, {status}: {}", program.stderr());
            }
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// SIGKILL: the process is gone, whatever it was doing.
    pub fn kill9(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill9();
        }
    }

    /// Whether the process is there.
    pub fn is_alive(&mut self) -> bool {
        self.program.as_mut().is_some_and(|program| program.status().is_none())
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.program.as_ref().expect("the archiver runs").pid()
    }

    /// Takes the limit of its files away.
    pub fn has_room(&self) {
        let pid = self.pid();
        let done = Command::new("prlimit").args(["--pid", &pid.to_string(), "--fsize=unlimited:"]).status();
        assert!(done.expect("prlimit is installed, a part of util-linux").success());
    }

    /// Where it takes pushes.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file.
    pub fn inbox(&self) -> PathBuf {
        self.dir.path().join("inbox.db")
    }

    /// How often each notification had its effect.
    pub fn effects(&self) -> BTreeMap<i64, i64> {
        numbers(&self.inbox(), "SELECT id AS a, count(*) AS b FROM effects GROUP BY id").into_iter().collect()
    }

    /// What the inbox counts: a query for one number.
    pub fn count(&self, query: &str) -> i64 {
        numbers(&self.inbox(), &format!("SELECT ({query}) AS a, 0 AS b"))[0].0
    }
}

/// Pairs of numbers from an inbox, whoever uses it meanwhile: a query with the columns `a` and `b`.
pub fn numbers(inbox: &Path, query: &str) -> Vec<(i64, i64)> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        a: i64,
        #[diesel(sql_type = BigInt)]
        b: i64,
    }
    let path = inbox.to_str().expect("a path in UTF-8");
    let mut conn = SqliteConnection::establish(path).expect("the inbox can be opened");
    sql_query("PRAGMA busy_timeout = 10000").execute(&mut conn).expect("a timeout can be set");
    let rows: Vec<Row> = sql_query(query).load(&mut conn).unwrap_or_else(|error| panic!("{query}: {error}"));
    rows.into_iter().map(|row| (row.a, row.b)).collect()
}
