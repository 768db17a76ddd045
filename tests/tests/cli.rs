//! The command `tidings` as it is built, against the server as it is built: each command, each exit code, each format.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

mod cli {
    pub(crate) mod formats;
    pub(crate) mod inboxes;
    pub(crate) mod many;
    pub(crate) mod one;
}

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use tidings_tests::program::{bare, command, ended};
use tidings_tests::{Api, Database, Kind, Server, Tenant, event};

/// A server, a tenant, and a place to be.
struct Desk {
    server: Server,
    tenant: Tenant,
    dir: TempDir,
    _database: Database,
}

/// How a command ended.
struct Ended {
    line: String,
    code: i32,
    stdout: String,
    stderr: String,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ended with {}\n{}{}", self.line, self.code, self.stdout, self.stderr)
    }
}

impl Ended {
    fn new(line: String, output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Ended {
            line,
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        assert!(!ended.stderr.contains("panicked"), "{ended}");
        // Nobody is at a terminal.
        assert!(!ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'), "{ended}");
        ended
    }

    /// The standard output, given that it ended so.
    #[track_caller]
    fn with(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self}");
        self.stdout
    }

    /// The standard error, given that it ended so and printed no result.
    #[track_caller]
    fn says(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self}");
        assert_eq!(self.stdout, "", "{self}");
        self.stderr
    }

    /// The result as JSON.
    #[track_caller]
    fn json(self) -> Value {
        let text = self.to_string();
        serde_json::from_str(&self.with(0)).unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

impl Desk {
    fn new() -> Self {
        let database = Database::new(Kind::Sqlite);
        let server = Server::start(&database);
        let tenant = server.tenant("cli");
        Desk { server, tenant, dir: tempfile::tempdir().unwrap(), _database: database }
    }

    /// With so many events of the type `close`.
    fn with_events(count: usize) -> Self {
        let desk = Desk::new();
        desk.post(count);
        desk
    }

    fn post(&self, count: usize) {
        for _ in 0..count {
            self.tenant.producer.post_event(&event("close"));
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, key: &Api, arguments: &[&str]) -> Command {
        let mut command = command("tidings");
        self.at_home(&mut command);
        command.args(arguments).env("TIDINGS_KEY", key.key());
        command
    }

    /// Where nobody else's configuration is.
    fn at_home(&self, command: &mut Command) {
        command
            .current_dir(self.path())
            .env("HOME", self.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("NO_COLOR")
            .env("TIDINGS_URL", self.server.url());
    }

    fn run(&self, key: &Api, arguments: &[&str]) -> Ended {
        Ended::new(arguments.join(" "), ended(self.command(key, arguments)))
    }

    /// With a consumer's key.
    fn consumer(&self, arguments: &[&str]) -> Ended {
        self.run(&self.tenant.consumer, arguments)
    }

    /// With a producer's key.
    fn producer(&self, arguments: &[&str]) -> Ended {
        self.run(&self.tenant.producer, arguments)
    }

    /// With an admin's key.
    fn admin(&self, arguments: &[&str]) -> Ended {
        self.run(&self.tenant.admin, arguments)
    }

    /// With this on its standard input, and an admin's key.
    fn given(&self, input: &str, arguments: &[&str]) -> Ended {
        let path = self.path().join("input");
        std::fs::write(&path, input).unwrap();
        let mut command = self.command(&self.tenant.admin, arguments);
        command.stdin(File::open(path).unwrap());
        Ended::new(arguments.join(" "), ended(command))
    }

    /// A line of a shell, in which `tidings` is the command with an admin's key.
    fn shell(&self, line: &str) -> Ended {
        let mut shell = Command::new("sh");
        bare(&mut shell);
        self.at_home(&mut shell);
        let place = tidings_tests::server::beside();
        let path = format!("{}:{}", place.display(), std::env::var("PATH").unwrap());
        shell.args(["-c", line]).env("PATH", path).env("TIDINGS_KEY", self.tenant.admin.key());
        Ended::new(line.to_owned(), ended(shell))
    }
}
