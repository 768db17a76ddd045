//! Makes a documentation test of each Rust example in README.md and docs/, so that it is compiled and run as it stands.
//!
//! What a reader puts in for himself is put in here: the address of the server, keys and secrets. The names that an
//! example uses without having made them are the members of `tidings_tests::documentation::At`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = manifest.parent().expect("the tests are in a workspace");
    let mut tests = String::new();
    for file in documents(root) {
        println!("cargo::rerun-if-changed={}", file.display());
        let text = fs::read_to_string(&file).expect("documentation can be read");
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        examples(&name, &text, &mut tests);
    }
    fs::write(out.join("examples.md"), tests).expect("the output directory can be written");
    // Below the profile's directory, where the programs are.
    let built = out.ancestors().nth(3).expect("the output is in build/<crate>/out").display();
    println!("cargo::rustc-env=TIDINGS_BUILT={built}");
}

fn documents(root: &Path) -> Vec<PathBuf> {
    let docs = root.join("docs");
    println!("cargo::rerun-if-changed={}", docs.display());
    let mut files: Vec<PathBuf> = fs::read_dir(docs)
        .expect("there is a folder docs")
        .map(|entry| entry.expect("a folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    files.push(root.join("README.md"));
    files.sort();
    files
}

/// Adds the tests of one file.
fn examples(file: &str, text: &str, tests: &mut String) {
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```").filter(|info| info.starts_with("rust")) else { continue };
        assert!(!info.contains("ignore"), "{file}, line {}: every example is compiled", number + 1);
        let code: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| !line.starts_with("```")).collect();
        let code = put_in(&code.join("\n"));
        let place = format!("{file}, line {}", number + 1);
        let test = if code.contains("fn main()") {
            format!("// {place}\n{code}")
        } else {
            format!(
                "// {place}\n\
                 fn main() {{ tidings_tests::documentation::run({place:?}, |at| async move {{\n\
                 let tidings_tests::documentation::At {{ url, key, producer_key, consumer_key, admin_key, secret, \
                 listen, stop, shutdown }} = at;\n\
                 {code}\n\
                 Ok::<(), Box<dyn std::error::Error>>(()) }}) }}"
            )
        };
        // Each has a process of its own: it may make files where it is.
        write!(tests, "{place}:\n\n```{info},standalone_crate\n{test}\n```\n\n")
            .expect("a String can be written");
    }
}

/// The code with what a reader would put in.
fn put_in(code: &str) -> String {
    let mut done = String::new();
    for (nth, part) in code.split('"').enumerate() {
        let name = match part {
            "http://127.0.0.1:8080" => Some("url"),
            "127.0.0.1:9090" => Some("listen"),
            "PRODUCER_KEY" => Some("producer_key"),
            "CONSUMER_KEY" => Some("consumer_key"),
            "ADMIN_KEY" => Some("admin_key"),
            _ if part.starts_with("tidings_producer_") => Some("producer_key"),
            _ if part.starts_with("tidings_consumer_") => Some("consumer_key"),
            _ if part.starts_with("tidings_admin_") => Some("admin_key"),
            _ if part.starts_with("whsec_") => Some("secret"),
            _ => None,
        };
        match (nth % 2, name) {
            (0, _) => done.push_str(part),
            (_, Some(name)) => done.push_str(name),
            (_, None) => write!(done, "\"{part}\"").expect("a String can be written"),
        }
    }
    done
}
