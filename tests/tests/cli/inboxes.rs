//! An archiver as a program: `sync`, `listen`, `verify` and `inbox`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::program::Program;
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, ports, until};

use crate::Desk;

const BOUND: Duration = Duration::from_secs(60);

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The ids of the files; each must be a whole document, and there must be nothing else that one could take for one.
fn whole_files(dir: &Path) -> BTreeSet<i64> {
    let records = files(dir).into_iter().filter(|name| !name.starts_with('.'));
    records
        .map(|name| {
            let document: Value = serde_json::from_slice(&fs::read(dir.join(&name)).unwrap())
                .unwrap_or_else(|error| panic!("{name} is not whole: {error}"));
            let id = document["data"]["id"].as_str().unwrap();
            assert_eq!(name, format!("{id}.json"));
            id.parse().unwrap()
        })
        .collect()
}

#[test]
fn a_command_handles_each_notification_and_its_exit_code_decides() {
    let desk = Desk::new();
    let event = ["post", "--entity", "e:1", "--created-by", "u", "--data", r#"{"n": 1}"#, "--type"];
    for event_type in ["close", "hopeless", "later"] {
        desk.producer(&[&event[..], &[event_type]].concat()).with(0);
    }
    let exec = "cat > $TIDINGS_ID.in; echo $TIDINGS_TYPE $TIDINGS_ENTITY $TIDINGS_CREATED_BY $TIDINGS_ATTEMPT >> log; \
                case $TIDINGS_TYPE in hopeless) echo 'no hope' >&2; exit 65 ;; \
                later) [ $TIDINGS_ATTEMPT -gt 1 ] || exit 7 ;; esac";
    let sync = ["sync", "--once", "--inbox", "inbox.db", "--concurrency", "1", "--exec", exec];
    // One done, one given up, one to be tried again.
    let partly = desk.consumer(&[&sync[..], &["-o", "json"]].concat());
    assert!(partly.stderr.contains("no hope") && partly.stderr.contains("ended with 7"), "{partly}");
    let summary: Value = serde_json::from_str(&partly.with(3)).unwrap();
    assert_eq!(summary, json!({"fetched": 3, "handled": 1, "failed": 1, "dead": 1, "dismissed": 1}));
    let log = fs::read_to_string(desk.path().join("log")).unwrap();
    assert_eq!(log, "close e:1 u 1\nhopeless e:1 u 1\nlater e:1 u 1\n");
    let given: Value = serde_json::from_slice(&fs::read(desk.path().join("1.in")).unwrap()).unwrap();
    assert_eq!(given["data"]["attributes"]["data"], json!({"n": 1}));
    assert_eq!(desk.tenant.consumer.ids("sort=sequence"), [2, 3], "what was not handled is not dismissed");

    // The pause before the second attempt is over some time.
    until("the second attempt", BOUND, || {
        desk.consumer(&sync);
        (desk.tenant.consumer.ids("") == [2]).then_some(())
    });
    let inbox = |arguments: &[&str]| desk.consumer(&[&["inbox"], arguments].concat());
    let status = inbox(&["status", "-o", "json"]).json();
    assert_eq!((&status["handled"], &status["dead"], &status["waiting"]), (&2.into(), &1.into(), &0.into()));
    assert_eq!(inbox(&["dead", "-o", "ids"]).with(0), "2\n");
    assert!(inbox(&["dead"]).with(0).contains("no hope"));
    inbox(&["revive", "2"]).with(0);
    inbox(&["revive", "--all"]).with(4);
    inbox(&["dead"]).with(4);
    let all_well = ["sync", "--once", "--inbox", "inbox.db", "--exec", "exit 0"];
    desk.consumer(&all_well).with(0);
    assert!(desk.tenant.consumer.ids("").is_empty());
    inbox(&["replay", "1"]).with(0);
    desk.consumer(&["sync", "--once", "--inbox", "inbox.db", "--exec", "echo again > again"]).with(0);
    assert!(desk.path().join("again").exists());
    // Nothing left to do is no failure.
    desk.consumer(&all_well).with(0);
}

#[test]
fn notifications_become_files_and_verify_tells_what_is_missing() {
    let desk = Desk::with_events(25);
    desk.consumer(&["verify", "--inbox", "inbox.db"]).says(2);
    desk.consumer(&["sync", "--once", "--inbox", "inbox.db", "--to-dir", "records"]).with(0);
    assert_eq!(whole_files(&desk.path().join("records")), (1..=25).collect());
    assert!(desk.tenant.consumer.ids("").is_empty(), "all are dismissed");
    let verify = ["verify", "--inbox", "inbox.db"];
    assert_eq!(desk.consumer(&verify).with(0), "holds 1..25, nothing missing\n");
    desk.post(5);
    let missing = desk.consumer(&verify);
    assert!(missing.stderr.contains("sync --once"), "{missing}");
    assert_eq!(missing.with(3), "holds 25 of 1..30, missing 26..30\n");
    let proof = desk.consumer(&["verify", "--inbox", "inbox.db", "-o", "json"]);
    let proof: Value = serde_json::from_str(&proof.with(3)).unwrap();
    assert_eq!((&proof["whole"], &proof["missing"]), (&false.into(), &json!([[26, 30]])));
    // Another tenant's key is not for this inbox.
    let other = desk.server.tenant("other");
    let said =
        desk.run(&other.consumer, &["sync", "--once", "--inbox", "inbox.db", "--exec", "true"]).says(1);
    assert!(said.contains("--inbox"), "{said}");
    // What is no inbox is not made one.
    fs::write(desk.path().join("letter.txt"), "Dear all").unwrap();
    desk.consumer(&["sync", "--once", "--inbox", "letter.txt", "--exec", "true"]).says(1);
    assert_eq!(fs::read(desk.path().join("letter.txt")).unwrap(), b"Dear all");
}

#[test]
fn notifications_are_sent_on_to_a_url_until_they_are_taken() {
    let desk = Desk::with_events(6);
    let receiver = Receiver::start(|request, _| {
        let first = request.header("tidings-attempt") == "1";
        Reply::Status(if first && request.sequence() == 3 { 500 } else { 200 })
    });
    let sync = ["sync", "--once", "--inbox", "inbox.db", "--forward-to", &receiver.url()];
    desk.consumer(&sync).with(3);
    until("the one that was refused", BOUND, || {
        desk.consumer(&sync);
        desk.tenant.consumer.ids("").is_empty().then_some(())
    });
    let mut sent = receiver.sequences();
    sent.sort_unstable();
    assert_eq!(sent, [1, 2, 3, 3, 4, 5, 6]);
    assert!(receiver.requests().iter().all(|request| request.json()["data"]["type"] == "notification"));
}

#[test]
fn sync_goes_on_until_it_is_told_to_end_and_keeps_the_inbox_for_itself() {
    let desk = Desk::with_events(3);
    let arguments = ["sync", "--inbox", "inbox.db", "--every", "1s", "--to-dir", "records"];
    let mut sync = Program::start(desk.command(&desk.tenant.consumer, &arguments));
    let records = desk.path().join("records");
    until("the first", BOUND, || (records.exists() && whole_files(&records).len() == 3).then_some(()));
    desk.post(4);
    until("what came later", BOUND, || (whole_files(&records).len() == 7).then_some(()));
    let said = desk.consumer(&["sync", "--once", "--inbox", "inbox.db", "--exec", "true"]).says(1);
    assert!(said.contains("another"), "{said}");
    until("all to be dismissed", SOON, || desk.tenant.consumer.ids("").is_empty().then_some(()));
    sync.signal("INT");
    assert_eq!(sync.wait().code(), Some(0), "{}", sync.stderr());
    assert!(sync.stderr().contains("handled 7"), "{}", sync.stderr());
    assert!(!sync.stderr().contains('\u{1b}'), "no bars where there is no terminal");
}

#[test]
fn listen_takes_pushes_that_are_signed_and_handles_them() {
    let desk = Desk::with_events(2);
    let address = format!("127.0.0.1:{}", ports::free());
    let listen = [
        "listen", "--addr", &address, "--path", "/hook", "--inbox", "inbox.db", "--every", "1h", "--to-dir",
        "records",
    ];
    let mut command = desk.command(&desk.tenant.consumer, &listen);
    command.env("TIDINGS_SECRET", &desk.tenant.signing_secret);
    let mut program = Program::start(command);
    let api = tidings_tests::Api::new(&format!("http://{address}"), None);
    until("it to listen", BOUND, || api.try_send("GET", "/healthz", &[], None).ok());
    desk.tenant.push_to(&format!("http://{address}/hook"), false);
    let records = desk.path().join("records");
    until("what was there before", BOUND, || (whole_files(&records).len() == 2).then_some(()));
    desk.post(20);
    until("the pushes", BOUND, || (whole_files(&records).len() == 22).then_some(()));
    until("all to be dismissed", BOUND, || desk.tenant.consumer.ids("").is_empty().then_some(()));
    let unsigned = api.send("POST", "/hook", &[], Some(b"{}"));
    assert_eq!(unsigned.status, 401, "{unsigned}");
    let health = api.get("/healthz").expect(200);
    assert_eq!(health["waiting"], 0, "{health}");
    assert!(!health["lastPush"].is_null(), "{health}");
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.stderr());
    desk.consumer(&["verify", "--inbox", "inbox.db"]).with(0);
}

#[test]
fn ctrl_c_in_the_middle_of_a_sync_leaves_nothing_half_done() {
    const COUNT: usize = 1_500;
    let desk = Desk::with_events(COUNT);
    let records = desk.path().join("records");
    let sync = ["sync", "--once", "--inbox", "inbox.db", "--to-dir", "records"];
    let mut interrupted = 0;
    // Each time a little later: while it connects, fetches, handles, dismisses.
    for nth in 0..12 {
        let mut program = Program::start(desk.command(&desk.tenant.consumer, &sync));
        let before = if records.exists() { files(&records).len() } else { 0 };
        if nth % 2 == 1 {
            until("some files, or the end", BOUND, || {
                let more = records.exists() && files(&records).len() > before + 20;
                (more || program.status().is_some()).then_some(())
            });
        }
        std::thread::sleep(Duration::from_millis(30 * nth));
        if program.status().is_none() {
            program.signal("INT");
        }
        let status = program.wait();
        let stderr = program.stderr();
        assert!(!stderr.contains("panicked"), "{stderr}");
        if !status.success() {
            interrupted += 1;
            // Before it listens to signals, one ends it as it ends every program.
            let by_itself = status.code() == Some(1) && stderr.contains("interrupted");
            assert!(by_itself || status.code().is_none(), "{status}: {stderr}");
        }
        // What is there is whole; what the inbox takes for handled has its file.
        let written = if records.exists() { whole_files(&records) } else { BTreeSet::new() };
        let inbox = desk.path().join("inbox.db");
        if inbox.exists() && fs::metadata(&inbox).unwrap().len() > 0 {
            let handled = "SELECT id AS a, 0 AS b FROM inbox_notifications WHERE state = 1";
            for (id, _) in tidings_tests::archiver::numbers(&inbox, handled) {
                assert!(written.contains(&id), "{id} counts as handled and has no file");
            }
        }
    }
    assert!(interrupted > 0, "it was never interrupted");
    desk.consumer(&sync).with(0);
    assert_eq!(whole_files(&records), (1..=COUNT as i64).collect());
    assert_eq!(files(&records).len(), COUNT, "something was left behind: {:?}", files(&records));
    assert!(desk.tenant.consumer.ids("").is_empty());
    desk.consumer(&["verify", "--inbox", "inbox.db"]).with(0);
}
