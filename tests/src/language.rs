//! Another language: its generated client and its examples, built below `target/` by the scripts of `tests/clients`.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::bare;
use crate::server::{beside, built};

/// How many seconds a first build may take, with all that it fetches.
const PATIENCE: &str = "900";

/// What is built of a language.
#[derive(Debug)]
pub struct Language {
    name: &'static str,
    dir: PathBuf,
}

impl Language {
    /// Builds all of it, unless nothing has changed since the last time.
    pub fn build(name: &'static str) -> Self {
        let top =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there");
        let target = beside().parent().expect("programs are built below target").to_owned();
        let dir = target.join("clients").join(name);
        fs::create_dir_all(&dir).expect("a folder below target");

        let (clients, document) = (top.join("tests/clients"), top.join("openapi/openapi.json"));
        let mut hasher = DefaultHasher::new();
        for path in [
            &clients.join(name),
            &clients.join("generator"),
            &top.join("openapi/examples").join(name),
            &document,
        ] {
            hash(path, &mut hasher);
        }
        let (stamp, now) = (dir.join("stamp"), hasher.finish().to_string());
        if fs::read_to_string(&stamp).is_ok_and(|built| built == now) {
            return Language { name, dir };
        }
        let _ = fs::remove_file(&stamp);
        let output = Command::new("timeout")
            .arg(PATIENCE)
            .arg(clients.join(name).join("build"))
            .arg(&dir)
            .env("TIDINGS_OPENAPI", &document)
            .output()
            .expect("bash runs");
        assert!(output.status.success(), "{name}: {}{}", lossy(&output.stdout), lossy(&output.stderr));
        fs::write(stamp, now).expect("a stamp can be written");
        Language { name, dir }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// A program of it, such as `conversation`, `catch_up` or `receiver`.
    pub fn program(&self, program: &str) -> Command {
        let dir = self.dir.display();
        let run = |binary: &str, arguments: &[String]| {
            let mut command = Command::new(binary);
            command.args(arguments);
            command
        };
        let mut command = match self.name {
            "python" => run(&format!("{dir}/bin/python"), &[format!("{dir}/{program}.py")]),
            "typescript" | "jsonapi" => run("node", &[format!("{dir}/{program}.js")]),
            "java" => {
                let class: String = program.split('_').map(capital).collect();
                run("java", &["-cp".to_owned(), format!("{dir}/classes:{dir}/lib/*"), class])
            }
            "go" => run(&format!("{dir}/bin/{program}"), &[]),
            "schemathesis" => {
                let mut command = run(&format!("{dir}/bin/{program}"), &[]);
                command.current_dir(&self.dir);
                command
            }
            "rust" if program == "conversation" => run(&format!("{dir}/target/debug/{program}"), &[]),
            "rust" => Command::new(built(&format!("examples/{program}"))),
            other => panic!("nobody knows how to run {other}"),
        };
        bare(&mut command);
        command
    }
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file's content, or that of all files below a folder.
fn hash(path: &Path, hasher: &mut DefaultHasher) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a folder can be read");
        let mut below: Vec<_> = entries.map(|entry| entry.expect("a folder can be read").path()).collect();
        below.sort();
        below.iter().for_each(|path| hash(path, hasher));
    } else if let Ok(content) = fs::read(path) {
        (path, content).hash(hasher);
    }
}
