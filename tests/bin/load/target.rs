//! What the load is for: processes that are started, and the tenants that are made for it.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tidings_tests::database::psql_at;
use tidings_tests::program::peak_memory;
use tidings_tests::server::Options as ServerOptions;
use tidings_tests::{Api, Database, Server, Tenant, ports, until};

use crate::Options;
use crate::http::{Connection, get};
use crate::receiver::Status;

/// The server under load.
pub(crate) struct Target {
    operator: Api,
    started: Option<(Server, Database)>,
}

impl Target {
    /// The server at `--url`, or one that is started.
    pub(crate) fn new(options: &Options) -> Self {
        match (&options.url, &options.operator_key) {
            (Some(url), Some(key)) => {
                Target { operator: Api::new(url.trim_end_matches('/'), Some(key)), started: None }
            }
            _ => Self::start(options, None),
        }
    }

    /// One that is started, on a database of its own or on that at `--database-url`; of another program, if one is given.
    pub(crate) fn start(options: &Options, binary: Option<PathBuf>) -> Self {
        // Beside the build, because a temporary directory may be in memory, where nothing needs to be durable.
        let database = Database::sqlite_in(&beside());
        let server = Server::start_with(
            &database,
            ServerOptions {
                database_url: options.database_url.clone(),
                arguments: vec!["--workers".into(), options.workers().to_string()],
                binary,
                ..ServerOptions::default()
            },
        );
        Target { operator: server.operator(), started: Some((server, database)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let host = self.operator.url().trim_start_matches("http://");
        host.to_socket_addrs().ok().and_then(|mut all| all.next()).expect("--url is http://HOST:PORT")
    }

    pub(crate) fn tenants(&self, what: &str, count: u32) -> Vec<Tenant> {
        (0..count).map(|nth| Tenant::create(&self.operator, &format!("load {what} {nth}"))).collect()
    }

    /// The most memory that the server has had, in MB, if it is ours.
    pub(crate) fn memory(&self) -> Option<f64> {
        let (server, _) = self.started.as_ref()?;
        peak_memory(server.pid())
    }

    pub(crate) fn database(&self) -> &str {
        match &self.started {
            Some((server, _)) if server.database_url().starts_with("postgres") => "PostgreSQL",
            Some(_) => "SQLite",
            None => self.operator.url(),
        }
    }

    /// Runs statements beside a server that was started here.
    pub(crate) fn execute(&self, statements: &str) {
        match &self.started {
            Some((server, database)) if server.database_url() == database.url() => {
                database.execute(statements)
            }
            _ => drop(psql_at(self.database_url(), statements)),
        }
    }

    /// Where a server that was started here keeps its data.
    pub(crate) fn database_url(&self) -> &str {
        let (server, _) = self.started.as_ref().expect("the database is looked into, so --url can't be used");
        server.database_url()
    }
}

/// This program again, in another part, on a port of its own. Killed with the value.
pub(crate) struct Process {
    child: Child,
    pub(crate) port: u16,
}

impl Process {
    fn start(part: &str, arguments: &[String]) -> Self {
        let port = ports::free();
        let child = this_program(part)
            .arg(port.to_string())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("this program can be started again");
        until(part, Duration::from_secs(10), || TcpStream::connect(("127.0.0.1", port)).ok());
        Process { child, port }
    }

    pub(crate) fn echo(workers: usize) -> Self {
        Self::start("echo", &[workers.to_string()])
    }

    /// A relay to the receiver.
    pub(crate) fn relay(workers: usize, receiver: &Receiver) -> Self {
        Self::start("relay", &[workers.to_string(), receiver.url(0)])
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The receiver's process.
pub(crate) struct Receiver(Process);

impl Receiver {
    pub(crate) fn start() -> Self {
        Receiver(Process::start("receiver", &[]))
    }

    /// Where a tenant's pushes go.
    pub(crate) fn url(&self, tenant: usize) -> String {
        format!("http://127.0.0.1:{}/{tenant}", self.0.port)
    }

    /// How far it is.
    pub(crate) async fn status(&self) -> Status {
        let mut connection =
            Connection::open(self.0.address()).await.expect("the receiver takes connections");
        let answer = connection.exchange(&get("/", "")).await.expect("the receiver answers");
        serde_json::from_slice(answer.body).expect("a status")
    }
}

/// This program again, in a part that ends by itself and says what it has done.
pub(crate) struct Worker(Child);

impl Worker {
    pub(crate) fn start(part: &str, arguments: &[String], input: &[u8]) -> Self {
        let mut child = this_program(part)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let mut stdin = child.stdin.take().expect("its input is piped");
        stdin.write_all(input).expect("it reads its input");
        Worker(child)
    }

    /// Waits for its end.
    pub(crate) fn done<T: DeserializeOwned>(self) -> T {
        let output = self.0.wait_with_output().expect("it can be waited for");
        assert!(output.status.success(), "a part of this program: {}", output.status);
        serde_json::from_slice(&output.stdout).expect("it says what it has done")
    }
}

/// A bare client that posts a body to the receiver, in a process of its own.
pub(crate) fn bare_client(receiver: &Receiver, concurrency: usize, until: Until, body: &[u8]) -> Worker {
    let (count, seconds) = match until {
        Until::Count(count) => (count, f64::MAX),
        Until::Seconds(seconds) => (u64::MAX, seconds),
    };
    let arguments = [receiver.url(0), concurrency.to_string(), count.to_string(), seconds.to_string()];
    Worker::start("bare-client", &arguments, body)
}

/// When a client has done enough.
pub(crate) enum Until {
    Count(u64),
    Seconds(f64),
}

/// The body that is pushed for a tenant's first notification.
pub(crate) fn pushed_body(tenant: &Tenant) -> Vec<u8> {
    let mut document = tenant.consumer.get("notifications/1").expect(200);
    if let Some(data) = document["data"].as_object_mut() {
        data.remove("meta");
    }
    document.to_string().into_bytes()
}

/// The directory of this program. It is on a real disk.
pub(crate) fn beside() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    program.parent().expect("a program is in a directory").to_owned()
}

fn this_program(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.arg(part);
    command
}
