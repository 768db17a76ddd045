//! PostgreSQL clusters that a test has for itself: to kill them, to promote them, to read what they log; and a connection
//! pooler before one.
//!
//! Most suites need a database only, and get one on the cluster that `tests/run` has started ([`crate::Database`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::database::psql_at;
use crate::{ports, until};

/// How long a cluster may take to start, to stop or to be copied.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without care for power cuts, which starts faster. Every statement is logged as JSON (PostgreSQL 15 and later), for
/// [`Cluster::log`].
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
fsync = off
wal_level = replica
hot_standby = on
logging_collector = on
log_destination = 'jsonlog'
log_directory = 'log'
log_filename = 'all'
log_rotation_size = 0
log_file_mode = 0644
log_statement = 'all'
";

/// PostgreSQL refuses to run as root, so root lets the user `postgres` do it. The process that is started is the program
/// itself, so that its child can be signalled.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("a process has a directory")) == 0
}

/// A directory of the user `postgres`.
fn directory() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    if is_root() {
        let owned = Command::new("chown").arg("postgres").arg(dir.path()).status();
        assert!(owned.expect("chown runs").success(), "there is no user postgres");
    }
    dir
}

/// A program of PostgreSQL's server, which stands outside of PATH in Debian.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    let mut found = folders.chain(["/usr/local/bin".into(), "/usr/bin".into(), "/usr/sbin".into()]);
    found
        .find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()))
        .unwrap_or_else(|| panic!("{name} is not installed (tests/run installs it)"))
}

fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success(), "SIG{signal} could not be sent");
}

/// A cluster. Stopped and removed with the value.
pub struct Cluster {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Cluster {
    /// A new one, with these lines more in its settings.
    pub fn start(settings: &str) -> Self {
        let dir = directory();
        let mut initdb = as_postgres(&program("initdb"));
        initdb.args(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"]);
        initdb.arg(dir.path().join("data"));
        run(initdb);
        let mut cluster = Cluster { dir, port: ports::free(), child: None };
        cluster.configure(&format!("{SETTINGS}{settings}"));
        cluster.resume();
        cluster
    }

    /// A standby that receives what this one writes. It is no standby for synchronous commits before
    /// [`Cluster::commit_on_standby`].
    pub fn standby(&self) -> Self {
        let dir = directory();
        let mut copy = as_postgres(&program("pg_basebackup"));
        copy.args(["-h", "127.0.0.1", "-U", "postgres", "-R", "-X", "stream", "-c", "fast", "--no-sync"]);
        copy.args(["-p", &self.port.to_string(), "-D"]).arg(dir.path().join("data"));
        run(copy);
        let mut cluster = Cluster { dir, port: ports::free(), child: None };
        let _ = fs::remove_file(cluster.data("log/all.json"));
        cluster.configure("");
        cluster.resume();
        until("a standby that receives", PATIENCE, || {
            (self.query("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") != "0")
                .then_some(())
        });
        cluster
    }

    /// From now on a commit waits until a standby has it too.
    pub fn commit_on_standby(&self) {
        self.query("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.query("SELECT pg_reload_conf()");
        until("a synchronous standby", PATIENCE, || {
            (self.query("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != "0")
                .then_some(())
        });
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        assert_eq!(self.query("SELECT pg_promote(TRUE, 60)"), "t", "the standby was not promoted");
    }

    fn data(&self, path: &str) -> PathBuf {
        self.dir.path().join("data").join(path)
    }

    fn configure(&self, settings: &str) {
        let path = self.data("postgresql.conf");
        let before = fs::read_to_string(&path).expect("a cluster has its settings");
        fs::write(&path, format!("{before}\n{settings}\nport = {}\n", self.port))
            .expect("settings can be written");
    }

    /// Starts it again, and waits until it answers.
    pub fn resume(&mut self) {
        assert!(self.child.is_none(), "the cluster still runs");
        let mut postgres = as_postgres(&program("postgres"));
        postgres
            .arg("-D")
            .arg(self.data(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(postgres.spawn().expect("PostgreSQL can be started"));
        until(&format!("PostgreSQL on port {}", self.port), PATIENCE, || {
            let asked = Command::new("psql").args(["-qtAc", "SELECT 1", "-d", &self.url()]).output();
            asked.expect("psql is installed").status.success().then_some(())
        });
    }

    /// Ends it at once, as a crash would: nothing is finished or written.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, "QUIT");
            child.wait().expect("PostgreSQL has ended");
        }
    }

    /// Stops all its processes, or lets them go on: it neither answers nor refuses.
    pub fn freeze(&self, frozen: bool) {
        let child = self.child.as_ref().expect("the cluster runs");
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let of_parent = Command::new("pkill").args([signal, "-P", &child.id().to_string()]).status();
        of_parent.expect("pkill runs");
        self::signal(child, signal.trim_start_matches('-'));
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Runs a statement, and gives its answer.
    pub fn query(&self, statement: &str) -> String {
        psql_at(&self.url(), statement)
    }

    /// What it has logged about its clients of this name, oldest first.
    pub fn log(&self, application: &str) -> Vec<String> {
        let text = fs::read_to_string(self.data("log/all.json")).expect("the cluster has a log");
        // The last line may be half written.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["application_name"] == application)
            .filter_map(|line| line["message"].as_str().map(str::to_owned))
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A pgbouncer that gives connections out by the transaction. Stopped with the value.
pub struct Pooler {
    port: u16,
    child: Child,
    _dir: TempDir,
}

impl Pooler {
    /// One before a cluster, with so many connections to it.
    pub fn start(cluster: &Cluster, size: usize) -> Self {
        let dir = directory();
        let port = ports::free();
        let users = dir.path().join("users");
        fs::write(&users, "\"postgres\" \"\"\n").expect("a file can be written");
        let settings = dir.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {size}\nmax_client_conn = 200\n",
            cluster.port,
            users.display()
        );
        fs::write(&settings, text).expect("a file can be written");
        let mut pgbouncer = as_postgres(&program("pgbouncer"));
        pgbouncer.arg(&settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = pgbouncer.spawn().expect("pgbouncer can be started");
        let pooler = Pooler { port, child, _dir: dir };
        until("pgbouncer", PATIENCE, || {
            let asked = Command::new("psql").args(["-qtAc", "SELECT 1", "-d", &pooler.url()]).output();
            asked.expect("psql is installed").status.success().then_some(())
        });
        pooler
    }

    /// The cluster's database, through the pooler.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
