//! The story that the product exists for, with the built example: pushes are kept, the archive is killed, comes back,
//! catches up on what it missed, and holds 1..N, each once.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::{Server, Tenant, on_both, ports, server, until};

/// The running example. Killed with the value, as one kills such a program: without a word.
struct Archive {
    child: Child,
    log: PathBuf,
}

impl Archive {
    fn start(url: &str, tenant: &Tenant, port: u16, dir: &Path, log: PathBuf) -> Self {
        let output = File::create(&log).unwrap();
        let child = Command::new(server::built("examples/archive"))
            .args(["--url", url, "--key", tenant.consumer.key(), "--secret", &tenant.signing_secret])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--every", "1"])
            .args(["--dir", dir.to_str().unwrap(), "--demo-admin-key", tenant.admin.key()])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Archive { child, log }
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it says that it holds all up to `last`, and has a file of each.
    fn wait_until_it_holds(&self, last: usize) {
        let line = format!("holds 1..{last}, nothing missing; 0 still to be filed");
        until(&line, Duration::from_secs(40), || self.printed().contains(&line).then_some(()));
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("archive: {}", self.printed());
        }
    }
}

fn post(tenant: &Tenant, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let event = json!({"data": {"type": "notification", "attributes": {"type": "close", "data": {"number": number}}}});
        tenant.producer.post_event(&event);
    }
}

/// The numbers of the events on disk; there must be one file for each id, and nothing else.
fn on_disk(dir: &Path) -> Vec<u64> {
    let mut ids = BTreeSet::new();
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let id: u64 = path
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap_or_else(|_| panic!("{}", path.display()));
        let document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(document["data"]["id"], id.to_string(), "{}", path.display());
        numbers.push(document["data"]["attributes"]["data"]["number"].as_u64().unwrap());
        ids.insert(id);
    }
    assert_eq!(ids, (1..=ids.len() as u64).collect());
    numbers.sort_unstable();
    numbers
}

on_both! {
    fn an_archive_that_was_killed_catches_up_and_misses_nothing(db) {
        let mut server = Server::start(&db);
        let tenant = server.tenant("archive");
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("records");
        let port = ports::free();
        let start = |name: &str, url: &str| Archive::start(url, &tenant, port, &dir, scratch.path().join(name));
        let url = server.url();

        // Some before it has ever run, some while it runs.
        post(&tenant, 0..10);
        let archive = start("first", &url);
        archive.wait_until_it_holds(10);
        post(&tenant, 10..30);
        archive.wait_until_it_holds(30);
        drop(archive);

        // Killed: events come, and the server is killed too.
        post(&tenant, 30..60);
        server.kill9();
        server.restart();
        post(&tenant, 60..70);
        let archive = start("second", &url);
        archive.wait_until_it_holds(70);
        assert_eq!(on_disk(&dir), (0..70).collect::<Vec<_>>());
        until("all to be dismissed", Duration::from_secs(30), || tenant.consumer.ids("").is_empty().then_some(()));

        // Pushes come to it again at once, and a kill in the middle of a load costs nothing.
        std::thread::scope(|scope| {
            let posting = scope.spawn(|| post(&tenant, 70..270));
            std::thread::sleep(Duration::from_millis(150));
            drop(archive);
            posting.join().unwrap();
        });
        // A lost record comes back from the inbox, although the server counts it as done.
        fs::remove_file(dir.join("7.json")).unwrap();
        let archive = start("third", &url);
        archive.wait_until_it_holds(270);
        assert_eq!(on_disk(&dir), (0..270).collect::<Vec<_>>());
    }
}
