//! Reading, flagging and posting; settings; how it is set up; and how it says that something is wrong.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tidings_tests::program::Program;
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, ports, until};

use crate::{Desk, Ended};

#[test]
fn what_is_posted_is_listed_shown_and_flagged() {
    let desk = Desk::new();
    let posted = desk.producer(&[
        "post",
        "--type",
        "close",
        "--comment",
        "Signed, \"sealed\"",
        "--data",
        r#"{"amount": 5}"#,
        "--entity",
        "experiment:7",
        "--created-by",
        "100",
        "-o",
        "json",
    ]);
    let posted = posted.json();
    assert!(posted.to_string().contains(r#""id":"1""#), "{posted}");
    desk.post(2);

    let table = desk.consumer(&["ls"]).with(0);
    let ids: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids, ["3", "2", "1"], "{table}");
    let shown = desk.consumer(&["get", "1"]).with(0);
    for part in ["experiment:7", "Signed, \"sealed\"", "amount", "100"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    let document = desk.consumer(&["get", "1", "-o", "json"]).json();
    assert_eq!(document["data"]["attributes"]["data"], json!({"amount": 5}));
    assert_eq!(document["data"]["relationships"]["entity"]["data"]["id"], "experiment:7");

    for (mark, flag, value) in [
        ("read", "isRead", true),
        ("unread", "isRead", false),
        ("flagged", "isFlagged", true),
        ("unflagged", "isFlagged", false),
        ("dismissed", "isDismissed", true),
        ("undismissed", "isDismissed", false),
    ] {
        desk.consumer(&["mark", mark, "1", "3"]).with(0);
        for (id, expected) in [(1, value), (2, false), (3, value)] {
            let document = desk.tenant.consumer.get(&format!("notifications/{id}")).expect(200);
            assert_eq!(document["data"]["attributes"][flag], expected, "{mark} {id}");
        }
    }
    desk.consumer(&["mark", "dismissed", "1..2"]).with(0);
    assert_eq!(desk.consumer(&["ls", "-o", "ids"]).with(0), "3\n");
    assert_eq!(desk.consumer(&["ls", "--dismissed", "-o", "ids", "--sort", "oldest"]).with(0), "1\n2\n");
    assert_eq!(desk.consumer(&["ls", "--with-dismissed", "--type", "print", "-o", "ids"]).with(4), "");
}

#[test]
fn events_are_posted_from_files_and_pipes_each_once() {
    let desk = Desk::new();
    let event = |number: u32| {
        let attributes = json!({"type": "close", "data": {"number": number}});
        json!({"data": {"type": "notification", "attributes": attributes}}).to_string()
    };
    let lines: String = (0..450).map(|number| event(number) + "\n").collect();
    desk.given(&lines, &["post", "-"]).with(0);
    fs::write(desk.path().join("events.json"), format!("[{},\n{}]", event(450), event(451))).unwrap();
    desk.producer(&["post", "events.json"]).with(0);
    let numbers: Vec<u64> = desk
        .tenant
        .consumer
        .all("")
        .iter()
        .map(|notification| notification["attributes"]["data"]["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..452).collect::<Vec<_>>(), "in their order, each once");

    for _ in 0..2 {
        desk.producer(&["post", "--type", "close", "--event-id", "e-1"]).with(0);
    }
    assert_eq!(desk.tenant.consumer.count(), 453);
    // What is wrong is told, and what came before it is there.
    let said = desk.given(&format!("{}\nno JSON", event(999)), &["post", "-"]);
    assert!(matches!(said.code, 2 | 3), "{said}");
    assert_eq!(desk.tenant.consumer.count(), 454);
    desk.producer(&["post", "--type", "close", "--data", "[]"]).says(2);
}

#[test]
fn tail_shows_the_last_and_what_comes() {
    let desk = Desk::with_events(15);
    let last = desk.consumer(&["tail", "-n", "3", "-o", "ids"]).with(0);
    assert_eq!(last, "13\n14\n15\n");
    let mut tail =
        Program::start(desk.command(&desk.tenant.consumer, &["tail", "-f", "-n", "1", "-o", "ids"]));
    until("the last", SOON, || (tail.stdout() == "15\n").then_some(()));
    desk.post(2);
    until("what comes", SOON, || (tail.stdout() == "15\n16\n17\n").then_some(()));
    assert!(tail.status().is_none(), "it goes on");
    tail.signal("INT");
    tail.wait();
    assert!(!tail.stderr().contains("panicked"), "{}", tail.stderr());
}

#[test]
fn settings_are_read_changed_and_tried() {
    let desk = Desk::new();
    let receiver = Receiver::start(|_, nth| Reply::Status(if nth == 0 { 204 } else { 500 }));
    let url = format!("push.url={}", receiver.url());
    desk.admin(&["settings", "set", &url, "push.retry.kind=none", "selection.types=[\"close\"]"]).with(0);
    assert_eq!(desk.admin(&["settings", "get", "push.url"]).with(0).trim(), receiver.url());
    let settings = desk.admin(&["settings", "get", "-o", "json"]).json();
    assert_eq!(settings["selection"]["types"], json!(["close"]));
    assert_eq!(settings["push"]["retry"]["kind"], "none");
    desk.admin(&["settings", "test"]).with(0);
    desk.admin(&["settings", "test"]).with(1);
    assert_eq!(receiver.count(), 2);
    desk.admin(&["settings", "get", "push.nothing"]).says(4);
    let said = desk.admin(&["settings", "set", "push.timeoutSeconds=1000"]).says(1);
    assert!(said.contains("push.timeoutSeconds"), "{said}");
    // A secret goes in by a file, and comes out nowhere.
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    fs::write(desk.path().join("secret.txt"), format!("{secret}\n")).unwrap();
    let printed = desk.admin(&["settings", "set", "push.signing.secret=@secret.txt"]).with(0);
    assert!(!printed.contains(secret), "{printed}");
}

#[test]
fn the_exit_code_tells_how_it_ended_and_the_message_what_to_do() {
    let desk = Desk::with_events(2);
    // 0 and 4: something, and nothing.
    desk.consumer(&["ls"]).with(0);
    desk.consumer(&["ls", "--type", "print"]).with(4);
    desk.consumer(&["get", "77"]).with(4);
    desk.consumer(&["mark", "read", "77"]).with(4);
    // 3: one of two.
    let partly = desk.consumer(&["mark", "read", "1", "77"]);
    assert!(partly.stderr.contains("77"), "{partly}");
    partly.with(3);
    assert_eq!(desk.tenant.consumer.ids("filter[isRead]=true"), [1]);
    let partly = desk.consumer(&["get", "1", "77", "-o", "ids"]);
    assert!(partly.stderr.contains("77"), "{partly}");
    assert_eq!(partly.with(3), "1\n");
    // 2: wrong arguments, before anything is done.
    for wrong in [
        &["ls", "--no-such-option"][..],
        &["mark", "read"],
        &["mark", "read", "one"],
        &["sync", "--inbox", "inbox.db"],
        &["sync", "--inbox", "inbox.db", "--exec", "true", "--to-dir", "x"],
        &["listen", "--inbox", "inbox.db", "--exec", "true"],
        &["ls", "-o", "xml"],
        &["post"],
    ] {
        let said = desk.consumer(wrong).says(2);
        assert!(!said.trim().is_empty(), "{wrong:?}");
    }
    // 1: it was tried.
    let said = desk.consumer(&["settings", "get"]).says(1);
    assert!(said.contains("role"), "{said}");
    let said = desk.consumer(&["ls", "--key", "tidings_consumer_wrong"]).says(1);
    assert!(said.contains("key"), "{said}");
    let nobody = format!("http://127.0.0.1:{}", ports::free());
    let said = desk.consumer(&["ls", "--url", &nobody]).says(1);
    assert!(said.to_lowercase().contains("running"), "{said}");
    // No key at all.
    let mut keyless = desk.command(&desk.tenant.consumer, &["ls"]);
    keyless.env_remove("TIDINGS_KEY");
    let said = Ended::new("ls without a key".into(), tidings_tests::program::ended(keyless)).says(2);
    assert!(said.contains("TIDINGS_KEY") && said.contains("config.toml"), "{said}");
    // A key is never shown.
    let said = desk.consumer(&["config"]).with(0);
    assert!(!said.contains(desk.tenant.consumer.key()), "{said}");
}

#[test]
fn profiles_of_the_configuration_file_choose_server_and_key() {
    let desk = Desk::with_events(1);
    let config = desk.path().join(".config/tidings/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let (url, key) = (desk.server.url(), desk.tenant.consumer.key());
    let text = format!(
        "[profiles.work]\nurl = {url:?}\nkey-file = \"work.key\"\n[profiles.gone]\nurl = \"http://127.0.0.1:9\"\nkey = \"none\"\n"
    );
    fs::write(&config, text).unwrap();
    fs::write(config.with_file_name("work.key"), format!("{key}\n")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = desk.command(&desk.tenant.consumer, arguments);
        command.env_remove("TIDINGS_KEY").env_remove("TIDINGS_URL");
        Ended::new(arguments.join(" "), tidings_tests::program::ended(command))
    };
    assert_eq!(run(&["ls", "--profile", "work", "-o", "ids"]).with(0), "1\n");
    run(&["ls", "--profile", "gone", "-o", "ids"]).says(1);
    let said = run(&["ls", "--profile", "nowhere"]).says(2);
    assert!(said.contains("work") && said.contains("gone"), "{said}");
    let shown = run(&["config", "--profile", "work"]).with(0);
    assert!(shown.contains(&url) && !shown.contains(key), "{shown}");
}

#[test]
fn completion_scripts_are_printed_for_each_shell() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = desk.consumer(&["completion", shell]).with(0);
        assert!(script.contains("repush") && script.contains("tidings"), "{shell}");
    }
    let script = desk.shell("tidings completion bash | bash -n && echo fine");
    assert_eq!(script.with(0), "fine\n", "bash can read it");
}

#[test]
fn the_server_that_restarts_is_waited_for() {
    let mut desk = Desk::with_events(1);
    let mut tail = Program::start(desk.command(&desk.tenant.consumer, &["tail", "-f", "-o", "ids"]));
    until("the last", SOON, || (tail.stdout() == "1\n").then_some(()));
    desk.server.kill9();
    std::thread::sleep(Duration::from_millis(300));
    desk.server.restart();
    desk.post(1);
    until("what comes after it", Duration::from_secs(60), || (tail.stdout() == "1\n2\n").then_some(()));
    assert!(tail.status().is_none());
}
