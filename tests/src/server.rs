//! A running `tidings-server`: the built binary, in a directory of its own, on a port of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::api::{Api, Tenant};
use crate::{Database, ports, program, wait};

/// The operator key of every test server.
pub const OPERATOR_KEY: &str = "operator-key-of-the-end-to-end-tests";

/// The key that encrypts stored secrets, the same for all nodes of one database: base64 of 32 bytes.
const SECRET_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The key that a server on this database seals secrets with, once it has started.
pub fn secret_key(database: &Database) -> String {
    match database.url().strip_prefix("sqlite:") {
        Some(path) => {
            std::fs::read_to_string(format!("{path}.key")).expect("the key stands beside the database")
        }
        None => SECRET_KEY.to_owned(),
    }
}

/// The directory that programs are built into. Tests are built below it.
pub fn beside() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    let below = test.ancestors().find(|dir| dir.file_name().is_some_and(|name| name == "deps"));
    let found = below.and_then(Path::parent).or_else(|| test.parent());
    // A documentation test is built elsewhere.
    found
        .filter(|dir| dir.join("tidings-server").is_file())
        .unwrap_or(Path::new(env!("TIDINGS_BUILT")))
        .to_owned()
}

/// The built program next to the running test, `tidings-server` or an example such as `examples/archive`.
pub fn built(name: &str) -> PathBuf {
    let path = beside().join(name);
    assert!(
        path.is_file(),
        "{} is missing: build it first, or start the tests with tests/run",
        path.display()
    );
    path
}

/// The server's binary, without any of the caller's configuration.
pub fn command() -> Command {
    program::command("tidings-server")
}

/// How many servers stand behind one on PostgreSQL: `TIDINGS_TEST_NODES=2` shows that what a suite says of one holds when
/// events come to several, and are pushed by any.
fn nodes() -> usize {
    let set = std::env::var("TIDINGS_TEST_NODES");
    set.map_or(1, |text| text.parse().expect("TIDINGS_TEST_NODES is a number"))
}

/// Which servers work on the same database, by the URL of the first.
static BESIDE: Mutex<Vec<(String, Vec<String>)>> = Mutex::new(Vec::new());

/// Where the next event for the server at this URL goes: to it, or to one beside it, in turns.
pub(crate) fn next_for_events(url: &str) -> String {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let beside = BESIDE.lock().unwrap_or_else(PoisonError::into_inner);
    let others = beside.iter().find(|(first, _)| first == url).map_or(&[][..], |(_, others)| others);
    let turn = TURN.fetch_add(1, Ordering::SeqCst) % (others.len() + 1);
    turn.checked_sub(1).map_or(url, |index| &others[index]).to_owned()
}

/// What a test may want otherwise.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--allow-egress`, or none.
    pub allow_egress: Option<String>,
    /// `--database-url`, where it is not the database's own.
    pub database_url: Option<String>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Another program than the one that was built: an older version.
    pub binary: Option<PathBuf>,
}

impl Default for Options {
    /// Pushes may go to loopback.
    fn default() -> Self {
        Options {
            allow_egress: Some("127.0.0.0/8".into()),
            database_url: None,
            arguments: Vec::new(),
            binary: None,
        }
    }
}

/// A running server. Killed with the value.
#[derive(Debug)]
pub struct Server {
    database_url: String,
    port: u16,
    dir: TempDir,
    options: Options,
    child: Option<Child>,
    /// Those that are to be there as well.
    others: Vec<Server>,
}

impl Server {
    /// Starts a server on the database, and waits until it is ready.
    pub fn start(database: &Database) -> Self {
        Self::start_with(database, Options::default())
    }

    /// Starts a server on the database with other options, and waits until it is ready.
    pub fn start_with(database: &Database, options: Options) -> Self {
        let mut server = Self::start_alone(database, options);
        if server.database_url.starts_with("postgres") && server.options.database_url.is_none() {
            let mut options = server.options.clone();
            if !options.arguments.iter().any(|argument| argument == "--public-url") {
                options.arguments.extend(["--public-url".to_owned(), server.url()]);
            }
            server.others = (1..nodes()).map(|_| Self::start_alone(database, options.clone())).collect();
            let urls = server.others.iter().map(Server::url).collect();
            BESIDE.lock().unwrap_or_else(PoisonError::into_inner).push((server.url(), urls));
        }
        server
    }

    fn start_alone(database: &Database, options: Options) -> Self {
        let mut server = Server {
            database_url: options.database_url.clone().unwrap_or_else(|| database.url().to_owned()),
            port: 0,
            dir: tempfile::tempdir().expect("a temporary directory"),
            options,
            child: None,
            others: Vec::new(),
        };
        // Somebody else may take the port between the look and the start: then another one.
        for _ in 0..3 {
            server.port = ports::free();
            server.spawn();
            if server.ready() {
                return server;
            }
            assert!(server.log().to_lowercase().contains("in use"), "{}", server.log());
        }
        panic!("no port to listen on; {}", server.log());
    }

    /// Starts the server again on the same database and port, and waits until it is ready.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the server still runs");
        self.spawn();
        assert!(self.ready(), "the server doesn't start again; {}", self.log());
    }

    /// From the next start on it is this program; none: the one that was built.
    pub fn replace(&mut self, binary: Option<&Path>) {
        self.options.binary = binary.map(Path::to_owned);
    }

    /// SIGKILL: the process is gone, whatever it was doing.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the server can be killed");
            child.wait().expect("the server has ended");
        }
    }

    /// Whether no other works on the same database: see `TIDINGS_TEST_NODES`.
    pub fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// SIGTERM, and waits for the end.
    pub fn term(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal. After `STOP` the process does nothing more until `CONT`, and doesn't know that time goes by.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "SIG{signal} could not be sent");
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Waits for an end that somebody has asked for.
    pub fn wait(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("the server runs");
        let status = wait::until("the server to end after SIGTERM", Duration::from_secs(40), || {
            child.try_wait().expect("the server can be waited for")
        });
        self.child = None;
        status
    }

    /// Whether the process is there.
    pub fn is_alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().expect("the server can be waited for").is_none())
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where it keeps its data.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A client with the operator's key.
    pub fn operator(&self) -> Api {
        Api::new(&self.url(), Some(OPERATOR_KEY))
    }

    /// A client without any key.
    pub fn anonymous(&self) -> Api {
        Api::new(&self.url(), None)
    }

    /// A new tenant with a key of each role.
    pub fn tenant(&self, name: &str) -> Tenant {
        Tenant::create(&self.operator(), name)
    }

    /// A new tenant with one key, that of an admin.
    pub fn admin(&self, name: &str) -> Api {
        let operator = self.operator();
        let body = serde_json::json!({"data": {"type": "tenant", "attributes": {"name": name}}});
        let tenant = operator.post("tenants", &body).expect(201);
        let id = tenant["data"]["id"].as_str().expect("an id");
        operator.with_key(&crate::api::create_key(&operator, id, "admin").1)
    }

    /// What the server has written to stdout and stderr.
    pub fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        format!("stdout:\n{}\nstderr:\n{}", read("stdout"), read("stderr"))
    }

    fn spawn(&mut self) {
        let append = |name: &str| {
            File::options()
                .create(true)
                .append(true)
                .open(self.dir.path().join(name))
                .expect("the server's output can be kept")
        };
        let mut command = match &self.options.binary {
            Some(binary) => Command::new(binary),
            None => command(),
        };
        program::bare(&mut command);
        command
            .current_dir(self.dir.path())
            .args(["--database-url", &self.database_url])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .env("TIDINGS_OPERATOR_KEY", OPERATOR_KEY)
            .stdout(append("stdout"))
            .stderr(append("stderr"));
        if let Some(networks) = &self.options.allow_egress {
            command.args(["--allow-egress", networks]);
        }
        if self.database_url.starts_with("postgres") {
            command.env("TIDINGS_SECRET_KEY", SECRET_KEY);
        }
        command.args(&self.options.arguments);
        self.child = Some(command.spawn().expect("the server's binary can be run"));
    }

    /// Waits for `/readyz`; false when the process ended before.
    fn ready(&mut self) -> bool {
        let api = self.anonymous();
        wait::until(&format!("a ready server on port {}", self.port), Duration::from_secs(60), || {
            if !self.is_alive() {
                self.child = None;
                return Some(false);
            }
            match api.try_send("GET", "/readyz", &[], None) {
                Ok(answer) if answer.status == 200 => Some(true),
                _ => None,
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        BESIDE.lock().unwrap_or_else(PoisonError::into_inner).retain(|(url, _)| *url != self.url());
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            eprintln!("server on port {}: …{}", self.port, &log[tail..]);
        }
    }
}
