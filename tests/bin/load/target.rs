//! What the load is for: processes that are started, and the tenants that are made for it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_tests::program::peak_memory;
use tidings_tests::server::Options as ServerOptions;
use tidings_tests::{Api, Database, Server, Tenant, ports, until};

use crate::Options;
use crate::receiver::Status;

/// The server under load.
pub(crate) struct Target {
    operator: Api,
    started: Option<(Server, Database)>,
}

impl Target {
    pub(crate) fn new(options: &Options) -> Self {
        if let (Some(url), Some(key)) = (&options.url, &options.operator_key) {
            return Target { operator: Api::new(url.trim_end_matches('/'), Some(key)), started: None };
        }
        // Beside the build, because a temporary directory may be in memory, where nothing needs to be durable.
        let beside = std::env::current_exe().expect("the path of this program");
        let database = Database::sqlite_in(beside.parent().expect("a program is in a directory"));
        let server = Server::start_with(
            &database,
            ServerOptions {
                database_url: options.database_url.clone(),
                arguments: vec!["--workers".into(), options.workers().to_string()],
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
        match (&self.started, self.operator.url()) {
            (Some((server, _)), _) if server.database_url().starts_with("postgres") => "PostgreSQL",
            (Some(_), _) => "SQLite",
            (None, url) => url,
        }
    }
}

/// This program again, in another part, on a port of its own. Killed with the value.
pub(crate) struct Process {
    child: Child,
    pub(crate) port: u16,
}

impl Process {
    fn start(part: &str, arguments: &[String], stdout: Stdio) -> Self {
        let port = ports::free();
        let program = std::env::current_exe().expect("the path of this program");
        let child = Command::new(program)
            .args([part, &port.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .spawn()
            .expect("this program can be started again");
        until(part, Duration::from_secs(10), || TcpStream::connect(("127.0.0.1", port)).ok());
        Process { child, port }
    }

    pub(crate) fn echo(workers: usize) -> Self {
        Self::start("echo", &[workers.to_string()], Stdio::null())
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

/// The receiver's process, and the last that it has said.
pub(crate) struct Receiver {
    process: Process,
    last: Arc<Mutex<Status>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let mut process = Process::start("receiver", &[], Stdio::piped());
        let said = process.child.stdout.take().expect("its output is piped");
        let last = Arc::new(Mutex::new(Status::default()));
        let heard = Arc::clone(&last);
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                if let Ok(status) = serde_json::from_str(&line) {
                    *heard.lock().unwrap_or_else(PoisonError::into_inner) = status;
                }
            }
        });
        Receiver { process, last }
    }

    /// Where a tenant's pushes go.
    pub(crate) fn url(&self, tenant: usize) -> String {
        format!("http://127.0.0.1:{}/{tenant}", self.process.port)
    }

    pub(crate) fn status(&self) -> Status {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
