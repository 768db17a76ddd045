//! Types every shell example of README.md and docs/ as a reader would, in the order in which it stands there.
//!
//! All lines of a ```` ```console ```` block that begin with `$ ` are typed, with what continues them, and must succeed. A
//! program that has no end by itself must still run after a while. Of what a reader has to put in, keys and secrets are
//! the server's; ports are free ones. `cargo`, `git` and `tests/run` are stand-ins that run what is built already. Rust
//! examples are documentation tests of this crate, see `tidings_tests::documentation`.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidings_tests::program::{Program, bare};
use tidings_tests::server::beside;
use tidings_tests::{Api, event, ports, until};

const BOUND: Duration = Duration::from_secs(120);
/// How long a program without an end is looked at.
const A_WHILE: Duration = Duration::from_secs(3);

/// In the place of `cargo`: what was built for the tests. The load tool has less to do.
const CARGO: &str = r#"#!/bin/sh
command=$1; shift
program=tidings-server
package=
while [ $# -gt 0 ]; do
  case $1 in
    --release | --locked | --workspace) ;;
    -p | --profile) shift ;;
    --path) package=$2; shift ;;
    --features) features=$2; shift ;;
    --example) program=examples/$2; shift ;;
    --bin) program=$2; shift ;;
    --) shift; break ;;
    *) echo "the test knows nothing of cargo $command $1" >&2; exit 9 ;;
  esac
  shift
done
case $command in
  build) ;;
  install)
    grep -q "^$features = " "$ROOT/$package/Cargo.toml" || { echo "$package has no feature $features" >&2; exit 9; } ;;
  run)
    case $program in
      tidings-server) [ $# -gt 0 ] || export TIDINGS_LISTEN=$SERVER ;;
      examples/*) export TIDINGS_URL=http://$SERVER TIDINGS_LISTEN=$RECEIVER ;;
      load) [ "$1" = catch-up ] && set -- "$@" --count 2000 || set -- --seconds 0.2 --rounds 1 "$@" ;;
    esac
    exec "$BUILT/$program" "$@" ;;
  *) echo "the test knows nothing of cargo $command" >&2; exit 9 ;;
esac
"#;

/// In the place of `git`: a checkout with no more than is used.
const GIT: &str = r#"#!/bin/sh
[ "$1" = clone ] || exit 9
for directory; do :; done
mkdir -p "$directory/tests"
printf '#!/bin/sh\n' >"$directory/tests/run"
chmod +x "$directory/tests/run"
"#;

const TIDINGS: &str = r#"#!/bin/sh
TIDINGS_URL=${TIDINGS_URL-http://$SERVER} exec "$BUILT/tidings" "$@"
"#;

const SERVER: &str = r#"#!/bin/sh
[ $# -gt 0 ] || export TIDINGS_LISTEN=$SERVER
exec "$BUILT/tidings-server" "$@"
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files that have examples.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    files.push(root().join("README.md"));
    files
}

/// A command, and the line of the file at which it begins.
#[derive(Debug, PartialEq, Eq)]
struct Typed {
    line: usize,
    text: String,
}

/// What is typed in the console blocks of a text.
fn typed(text: &str) -> Vec<Typed> {
    let mut commands: Vec<Typed> = Vec::new();
    let (mut in_console, mut continues) = (false, false);
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            in_console = line == "```console";
            continue;
        }
        if !in_console {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            assert!(!continues, "line {}: the command before it has no end", number + 1);
            commands.push(Typed { line: number + 1, text: command.to_owned() });
        } else if continues {
            let command = commands.last_mut().unwrap();
            command.text.push('\n');
            command.text.push_str(line);
        }
        continues = commands.last().is_some_and(|command| is_open(&command.text));
    }
    commands
}

/// Whether a shell would ask for more: within quotes, or after a backslash.
fn is_open(command: &str) -> bool {
    let (mut quote, mut is_escaped) = (None, false);
    for character in command.chars() {
        match (quote, character) {
            _ if is_escaped => is_escaped = false,
            (None | Some('"'), '\\') => is_escaped = true,
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    is_escaped || quote.is_some()
}

/// Whether a program goes on until it is told to end.
fn is_endless(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    let has = |word: &str| words.contains(&word);
    let is_server = command.starts_with("cargo run --release") && !has("--bin") && !has("--");
    is_server
        || command == "tidings-server"
        || has("archive")
        || has("listen")
        || (has("sync") && !has("--once"))
        || (has("tail") && (has("-f") || has("--follow")))
}

/// A reader at the keyboard, with a directory and a server.
struct Reader {
    home: tempfile::TempDir,
    server: String,
    receiver: String,
    /// What was printed only now: names, and keys or secrets.
    keys: Vec<(&'static str, String)>,
    running: Vec<Program>,
}

impl Reader {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let tools = home.path().join("bin");
        fs::create_dir(&tools).unwrap();
        for (name, script) in
            [("cargo", CARGO), ("git", GIT), ("tidings", TIDINGS), ("tidings-server", SERVER)]
        {
            let path = tools.join(name);
            fs::write(&path, script).unwrap();
            assert!(Command::new("chmod").arg("+x").arg(path).status().unwrap().success());
        }
        fs::write(home.path().join(".state"), "").unwrap();
        let address = || format!("127.0.0.1:{}", ports::free());
        Reader { server: address(), receiver: address(), keys: Vec::new(), running: Vec::new(), home }
    }

    /// A command with what a reader puts in.
    fn put_in(&self, command: &str) -> String {
        let mut text = command
            .replace("127.0.0.1:8080", &self.server)
            .replace("127.0.0.1:9090", &self.receiver)
            .replace("https://archive.example.com", &format!("http://{}", self.receiver))
            .replace("<this repository>", "tidings.git");
        for (name, value) in &self.keys {
            // As in the documentation: the beginning, and three dots in the place of the rest.
            // What follows it is random, and may have the same character in it.
            let parts = if *name == "SECRET" { 0 } else { 1 };
            let begin = &value[..value.match_indices('_').nth(parts).unwrap().0 + 1];
            while let Some(at) = text.find(begin).filter(|at| !text[*at..].starts_with(value.as_str())) {
                let end = text[at..]
                    .find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"'))
                    .unwrap_or(text.len() - at);
                text.replace_range(at..at + end, &format!("\u{1}{name}\u{1}"));
            }
            text = text.replace(&format!("\u{1}{name}\u{1}"), value);
        }
        text
    }

    /// A shell that goes on where the last one ended.
    fn shell(&self, command: &str) -> Command {
        let state = self.home.path().join(".state");
        let script = format!(
            ". '{0}'\n{command}\ncode=$?\n{{ export -p; echo cd \"'$PWD'\"; }} >'{0}'\nexit $code\n",
            state.display()
        );
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        bare(&mut shell);
        shell
            .args(["-c", &script])
            .current_dir(self.home.path())
            .env("PATH", format!("{}:{path}", self.home.path().join("bin").display()))
            .env("HOME", self.home.path())
            .env_remove("XDG_CONFIG_HOME")
            .envs(self.keys.iter().map(|(name, value)| (*name, value)))
            .envs([("SERVER", &self.server), ("RECEIVER", &self.receiver)])
            .env("BUILT", beside())
            .env("ROOT", root())
            .process_group(0);
        shell
    }

    #[track_caller]
    fn type_in(&mut self, place: &str, command: &str) {
        println!("{place}: {command}");
        let program = Program::start(self.shell(&self.put_in(command)));
        self.running.push(program);
        let program = self.running.last_mut().unwrap();
        if !is_endless(command) {
            let status = until(&format!("{place}: the end of {command}"), BOUND, || program.status());
            let (stdout, stderr) = (program.stdout(), program.stderr());
            assert!(status.success(), "{place}: {command}: {status}\n{stdout}{stderr}");
            // curl succeeds whatever is answered.
            assert!(!stdout.contains(r#""errors":["#), "{place}: {command}: {stdout}");
            self.running.pop();
            return;
        }
        let begun = Instant::now();
        while begun.elapsed() < A_WHILE {
            if let Some(status) = program.status() {
                panic!("{place}: {command}: ended, {status}: {}{}", program.stdout(), program.stderr());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if self.keys.is_empty() {
            self.meet_the_server();
        }
    }

    /// Reads the keys that a new server prints, and has some events posted.
    #[track_caller]
    fn meet_the_server(&mut self) {
        let server = self.running.last().unwrap();
        let url = format!("http://{}", self.server);
        until("the server", BOUND, || {
            let answer = Api::new(&url, None).try_send("GET", "/readyz", &[], None).ok()?;
            (answer.status == 200 && server.stdout().contains("whsec_")).then_some(())
        });
        let printed = server.stdout();
        for (name, begin) in [
            ("OPERATOR", "tidings_operator_"),
            ("PRODUCER", "tidings_producer_"),
            ("CONSUMER", "tidings_consumer_"),
            ("ADMIN", "tidings_admin_"),
            ("SECRET", "whsec_"),
        ] {
            let found = printed.split_whitespace().find(|word| word.starts_with(begin));
            self.keys.push((name, found.unwrap_or_else(|| panic!("no {name} in {printed}")).to_owned()));
        }
        let producer = self.keys.iter().find(|(name, _)| *name == "PRODUCER").unwrap();
        let api = Api::new(&url, Some(&producer.1));
        for _ in 0..3 {
            api.post_event(&event("close"));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The shells and what they have started, which would stay otherwise.
        for program in &self.running {
            let group = format!("-{}", program.pid());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        }
    }
}

#[test]
fn every_shell_example_of_the_documentation_works_as_it_is_typed() {
    let mut count = 0;
    for file in documents() {
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        let commands = typed(&fs::read_to_string(&file).unwrap());
        let mut reader = Reader::new();
        if !commands.is_empty() && !commands.iter().any(|command| command.text == "cargo run --release") {
            reader.type_in(&name, "tidings-server");
        }
        for command in &commands {
            reader.type_in(&format!("{name}, line {}", command.line), &command.text);
        }
        count += commands.len();
    }
    assert!(count >= 5, "there are examples");
}

#[test]
fn every_feature_that_the_documentation_names_for_a_dependency_is_there() {
    let manifest = fs::read_to_string(root().join("client/Cargo.toml")).unwrap();
    for file in documents() {
        for line in fs::read_to_string(&file).unwrap().lines() {
            let Some((_, rest)) = line.split_once("tidings-client = {") else { continue };
            let features =
                rest.split_once("features = [").map_or("", |(_, list)| list.split(']').next().unwrap());
            for feature in features.split(',').map(|feature| feature.trim().trim_matches('"')) {
                let there = feature.is_empty() || manifest.contains(&format!("\n{feature} = "));
                assert!(there, "{}: {line}: {feature}", file.display());
            }
        }
    }
}

#[test]
fn what_is_typed_is_found() {
    let text = "\
$ not in a block
```console
$ one \\
    --two
printed
$ three '{\"a\":
  1}' && four
```
```text
$ shown only
```
";
    let expected = [(3, "one \\\n    --two"), (6, "three '{\"a\":\n  1}' && four")];
    assert_eq!(typed(text), expected.map(|(line, text)| Typed { line, text: text.to_owned() }));
    assert!(!is_open("echo 'a\\'") && !is_open("echo \"it's\"") && is_open("echo \"it's") && is_open("a \\"));
}
