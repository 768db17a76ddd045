//! Built programs as processes: run to their end, or kept running until they are told to end, or killed.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::server::built;
use crate::until;

/// How long a program that ought to end by itself may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A built program, without any of the caller's configuration and without anything to read.
pub fn command(name: &str) -> Command {
    let mut command = Command::new(built(name));
    bare(&mut command);
    command
}

/// Takes the caller's configuration away.
pub fn bare(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
}

/// Waits for the end of a program that ought to end by itself.
#[track_caller]
pub fn ended(command: Command) -> Output {
    ended_within(command, PATIENCE)
}

/// As [`ended`], for one that takes longer.
#[track_caller]
pub fn ended_within(mut command: Command, patience: Duration) -> Output {
    // Into files, because a pipe that nobody empties would hold the program up.
    let file = || tempfile::tempfile().expect("a temporary file");
    let (mut stdout, mut stderr) = (file(), file());
    let clone = |file: &File| file.try_clone().expect("an open file can be shared");
    command.stdout(clone(&stdout)).stderr(clone(&stderr));
    let mut program = Running(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
    let status = until(&format!("the end of {command:?}"), patience, || {
        program.0.try_wait().expect("a child can be waited for")
    });
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).expect("output can be read");
        bytes
    };
    Output { status, stdout: read(&mut stdout), stderr: read(&mut stderr) }
}

/// All that a program has printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The most memory that a process has had, in MB, where the system tells it.
pub fn peak_memory(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

/// Killed with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that runs. Killed with the value.
pub struct Program {
    name: String,
    child: Running,
    dir: TempDir,
}

impl Program {
    /// Starts it. What it prints is kept.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str| File::create(dir.path().join(name)).expect("its output can be kept");
        command.stdout(file("stdout")).stderr(file("stderr"));
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let name = PathBuf::from(command.get_program());
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Program { name, child: Running(child), dir }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// SIGKILL: it is gone, whatever it was doing.
    pub fn kill9(&mut self) {
        self.child.0.kill().expect("a child can be killed");
        self.child.0.wait().expect("it has ended");
    }

    /// Sends a signal, such as `INT`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "SIG{signal} could not be sent to {}", self.name);
    }

    /// Whether it has ended, and how.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.0.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        until(&format!("the end of {}", self.name), PATIENCE, || self.status())
    }

    /// What it has printed on its standard output.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What it has printed on its standard error.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.dir.path().join(name)).expect("its output is kept");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let printed = format!("{}{}", self.stdout(), self.stderr());
            let tail = printed.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            eprintln!("{}: …{}", self.name, &printed[tail..]);
        }
    }
}
