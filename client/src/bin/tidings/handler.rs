//! What `sync` and `listen` do with a notification: run a command, write a file, or send it on.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use futures_util::future::{Either, select};
use tidings_client::archiver::{Item, Outcome};
use tidings_client::inbox::BoxError;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use crate::failure::Failure;
use crate::forward::Forward;
use crate::progress::say;
use crate::values::{duration, short};

/// The exit code by which a command says that trying again can't help (EX_DATAERR of sysexits.h).
const DATA_ERROR: i32 = 65;
/// How long what a command has started in the background may still hold its standard error.
const AFTER_EXIT: Duration = Duration::from_millis(200);

/// What to do with each notification.
#[derive(Args, Clone)]
#[command(next_help_heading = "What to do with each notification")]
pub(crate) struct Target {
    #[command(flatten)]
    way: Way,
    /// How long it may take; then it has failed. Default: 30s with --forward-to, no limit with --exec
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
}

#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
struct Way {
    /// Run a command by the shell: JSON on its standard input, fields in its environment
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Write it as a file ID.json into this directory
    #[arg(long, value_name = "DIR")]
    to_dir: Option<PathBuf>,
    /// Post it to this URL
    #[arg(long, value_name = "URL")]
    forward_to: Option<String>,
}

/// Does what was asked for.
pub(crate) enum Handler {
    Exec { command: String, timeout: Option<Duration> },
    Directory(PathBuf),
    Forward(Forward),
}

impl Target {
    /// Makes ready for it.
    pub(crate) fn handler(self) -> Result<Handler, Failure> {
        let Target { way, timeout } = self;
        let handler = match way {
            Way { exec: Some(command), .. } => Handler::Exec { command, timeout },
            Way { to_dir: Some(directory), .. } => {
                let shown = directory.display();
                fs::create_dir_all(&directory)
                    .map_err(|error| Failure::usage(format!("{shown} can't be made: {error}")))?;
                Handler::Directory(directory)
            }
            Way { forward_to: Some(url), .. } => Handler::Forward(Forward::start(&url, timeout)?),
            Way { .. } => return Err(Failure::usage("--exec, --to-dir or --forward-to is needed")),
        };
        Ok(handler)
    }
}

impl Handler {
    /// Handles one. What goes wrong is told on the standard error at once.
    pub(crate) async fn handle(&self, item: Item) -> Result<Outcome, BoxError> {
        let result = match self {
            Handler::Exec { command, timeout } => exec(command, *timeout, &item).await,
            Handler::Directory(directory) => {
                let (directory, name, text) =
                    (directory.clone(), item.id().to_string(), item.raw().to_owned());
                let written = tokio::task::spawn_blocking(move || write(&directory, &name, &text)).await;
                written.map_err(BoxError::from).and_then(|written| Ok(written.map(|()| Outcome::Done)?))
            }
            Handler::Forward(forward) => forward.send(&item).await,
        };
        let (id, event_type, attempt) = (item.id(), item.event_type(), item.attempt());
        match &result {
            Ok(Outcome::Done) => {}
            Ok(Outcome::RetryAfter(time)) => {
                say(&format!(
                    "tidings: {id} {event_type}: attempt {attempt} was put off for {}",
                    short(*time)
                ));
            }
            Ok(Outcome::Dead(reason)) => say(&format!("tidings: {id} {event_type}: given up: {reason}")),
            Err(error) => say(&format!("tidings: {id} {event_type}: attempt {attempt} failed: {error}")),
        }
        result
    }
}

/// Runs the command, and takes its exit code for the answer.
async fn exec(command: &str, timeout: Option<Duration>, item: &Item) -> Result<Outcome, BoxError> {
    let mut shell = shell(command);
    shell.envs(environment(item)).stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // Out of the reach of Ctrl-C, which is for us: what has begun is finished.
    #[cfg(unix)]
    shell.process_group(0);
    let mut child = shell.spawn().map_err(|error| format!("the shell can't be started: {error}"))?;
    let (id, input, errors) = (child.id(), child.stdin.take(), child.stderr.take());
    let text = format!("{}\n", item.raw());
    let write = async {
        if let Some(mut input) = input {
            // A command that needs no input doesn't read it.
            let _ = input.write_all(text.as_bytes()).await;
        }
    };
    let mut last = String::new();
    let run = async {
        let tell = async {
            if let Some(errors) = errors {
                pass_on(errors, &mut last).await;
            }
        };
        let wait = async { tokio::join!(child.wait(), write).0 };
        match select(pin!(wait), pin!(tell)).await {
            Either::Left((status, tell)) => {
                let _ = tokio::time::timeout(AFTER_EXIT, tell).await;
                status
            }
            Either::Right(((), wait)) => wait.await,
        }
    };
    let limit = timeout.unwrap_or(Duration::MAX);
    let status = match tokio::time::timeout(limit, run).await {
        Ok(status) => status?,
        Err(_) => {
            if let Some(id) = id {
                kill(id).await;
            }
            return Err(format!("it took longer than {}", short(limit)).into());
        }
    };
    verdict(status, &last)
}

#[cfg(unix)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    shell
}

#[cfg(not(unix))]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(command);
    shell
}

/// Ends a command and all that it has started.
async fn kill(id: u32) {
    // Its group is its own. Without a shell there would be no command either.
    if cfg!(unix) {
        let _ = shell(&format!("kill -s KILL -- -{id}")).stderr(Stdio::null()).status().await;
    }
}

/// What a command finds in its environment.
fn environment(item: &Item) -> Vec<(&'static str, String)> {
    let unit = item.document().data.attributes.unit.as_deref();
    let fields = [
        ("TIDINGS_ID", item.id().to_string()),
        ("TIDINGS_TYPE", item.event_type().to_owned()),
        ("TIDINGS_CREATED_AT", tidings_client::api::time::format(&item.created_at())),
        ("TIDINGS_ENTITY", item.entity().unwrap_or_default().to_owned()),
        ("TIDINGS_CREATED_BY", item.created_by().unwrap_or_default().to_owned()),
        ("TIDINGS_UNIT", unit.unwrap_or_default().to_owned()),
        ("TIDINGS_ATTEMPT", item.attempt().to_string()),
    ];
    // A variable can't hold a NUL.
    fields.into_iter().map(|(name, value)| (name, value.replace('\0', ""))).collect()
}

/// Passes on what a command says, and keeps its last line.
async fn pass_on(errors: impl AsyncRead + Unpin, last: &mut String) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while let Ok(1..) = errors.read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line);
        say(text.trim_end_matches(['\n', '\r']));
        if !text.trim().is_empty() {
            *last = text.trim().chars().take(500).collect();
        }
        line.clear();
    }
}

fn verdict(status: ExitStatus, said: &str) -> Result<Outcome, BoxError> {
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    match status.code() {
        Some(0) => Ok(Outcome::Done),
        Some(DATA_ERROR) => Ok(Outcome::Dead(format!("the command ended with {DATA_ERROR}{said}"))),
        Some(code) => Err(format!("the command ended with {code}{said}").into()),
        None => Err(format!("the command was killed{said}").into()),
    }
}

/// Writes a file that is whole or not there, and survives a power cut.
fn write(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let unfinished = directory.join(format!(".{name}.json.part"));
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    drop(file);
    fs::rename(&unfinished, directory.join(format!("{name}.json")))?;
    // The name, too, must be on the disk.
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn the_exit_code_decides() {
        let judged = |code: i32| verdict(ExitStatus::from_raw(code << 8), "no room");
        assert_eq!(judged(0).unwrap(), Outcome::Done);
        assert_eq!(judged(65).unwrap(), Outcome::Dead("the command ended with 65: no room".to_owned()));
        for code in [1, 2, 64, 66, 75, 126, 127, 255] {
            assert_eq!(
                judged(code).unwrap_err().to_string(),
                format!("the command ended with {code}: no room")
            );
        }
        let killed = verdict(ExitStatus::from_raw(9), "").unwrap_err();
        assert_eq!(killed.to_string(), "the command was killed");
    }

    #[test]
    fn a_file_is_written_whole_and_again() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["{}", "{\"a\":1}"] {
            write(folder.path(), "7", text).unwrap();
            assert_eq!(fs::read_to_string(folder.path().join("7.json")).unwrap(), format!("{text}\n"));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
