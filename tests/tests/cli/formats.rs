//! What is printed for programs can be read by programs; pipes may be closed early; colours are for terminals.

use serde_json::Value;

use crate::Desk;

/// The records of a CSV text (RFC 4180).
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            '\r' if !quoted => {}
            other => field.push(other),
        }
    }
    assert!(!quoted && field.is_empty() && record.is_empty(), "the last record has no end: {text}");
    records
}

const COMMENT: &str = "one, \"two\"\nthree";

fn desk() -> Desk {
    let desk = Desk::with_events(2);
    desk.producer(&["post", "--type", "print", "--comment", COMMENT]).with(0);
    desk
}

#[test]
fn each_format_can_be_read_and_holds_everything() {
    let desk = desk();
    let list = desk.consumer(&["ls", "-o", "json"]).json();
    let list = list.as_array().unwrap();
    let lines: Vec<Value> = desk
        .consumer(&["ls", "-o", "ndjson"])
        .with(0)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(*list, lines);
    assert_eq!(list.len(), 3);
    assert_eq!(list[0]["data"]["attributes"]["comment"], COMMENT);
    let records = csv(&desk.consumer(&["ls", "-o", "csv"]).with(0));
    assert_eq!(records.len(), 4);
    let column = |name: &str| records[0].iter().position(|have| have == name).unwrap();
    assert!(records.iter().all(|record| record.len() == records[0].len()), "{records:?}");
    assert_eq!(records[1][column("comment")], COMMENT);
    assert_eq!(records[1][column("type")], "print");
    assert_eq!((records[1][column("id")].as_str(), records[3][column("id")].as_str()), ("3", "1"));
    assert_eq!(desk.consumer(&["ls", "-o", "ids"]).with(0), "3\n2\n1\n");
    let (table, wide) = (desk.consumer(&["ls"]).with(0), desk.consumer(&["ls", "-o", "wide"]).with(0));
    let width = |text: &str| text.lines().next().unwrap().split_whitespace().count();
    assert!(width(&wide) > width(&table), "{wide}");

    // Of nothing, too.
    let nothing = ["ls", "--type", "void", "-o"];
    let of_nothing = |format| desk.consumer(&[&nothing[..], &[format]].concat()).with(4);
    assert_eq!(serde_json::from_str::<Value>(&of_nothing("json")).unwrap(), Value::Array(vec![]));
    assert_eq!(of_nothing("ndjson") + &of_nothing("ids"), "");
    assert_eq!(csv(&of_nothing("csv")), records[..1]);
}

#[test]
fn every_list_has_every_format() {
    let desk = desk();
    desk.admin(&["settings", "set", "push.url=http://127.0.0.1:9/", "push.retry.kind=none"]).with(0);
    desk.admin(&["repush", "1..3", "--yes"]).with(0);
    desk.tenant.wait_for_state(1, "failed");
    for list in [&["deliveries"][..], &["deliveries", "attempts", "1"], &["jobs"], &["tail"]] {
        let with = |format| desk.admin(&[list, &["-o", format]].concat()).with(0);
        let lines = with("ndjson");
        for line in lines.lines() {
            serde_json::from_str::<Value>(line).unwrap();
        }
        let records = csv(&with("csv"));
        assert!(
            records.len() > 1 && records.iter().all(|record| record.len() == records[0].len()),
            "{list:?}"
        );
        assert_eq!(lines.lines().count(), records.len() - 1, "{list:?}");
        let ids: Vec<String> = with("ids").lines().map(str::to_owned).collect();
        let column = records[0].iter().position(|name| name == "id").unwrap();
        assert_eq!(ids, records[1..].iter().map(|record| record[column].clone()).collect::<Vec<_>>());
        // The live list is one document after another.
        if list != ["tail"] {
            assert!(serde_json::from_str::<Value>(&with("json")).is_ok(), "{list:?}");
        }
        assert!(!with("table").is_empty() && !with("wide").is_empty());
    }
}

#[test]
fn a_pipe_that_is_closed_early_ends_it_quietly() {
    let desk = Desk::with_events(3_000);
    for command in [
        "tidings ls --all",
        "tidings ls --all -o json",
        "tidings ls --all -o ndjson",
        "tidings ls --all -o csv",
        "tidings ls --all -o ids",
        "tidings get 1..500 -o ndjson",
        "tidings completion bash",
    ] {
        let ended = desk.shell(&format!("{{ {command}; echo \"ended $?\" >&2; }} | head -n 1"));
        assert_eq!(ended.stderr, "ended 0\n", "{command}");
        assert_eq!(ended.with(0).lines().count(), 1, "{command}");
    }
}

#[test]
fn colours_and_questions_are_for_terminals() {
    let desk = desk();
    // A terminal of its own; what it shows is kept in a file.
    let at_a_terminal = |line: &str, typed: &str| {
        let file = desk.path().join("shown");
        let quoted = format!("printf '{typed}' | script -qec \"{line}\" {} >/dev/null", file.display());
        let ended = desk.shell(&quoted);
        (ended.code, std::fs::read_to_string(file).unwrap())
    };
    let (code, shown) = at_a_terminal("tidings ls", "");
    assert!(code == 0 && shown.contains("\u{1b}["), "no colours: {shown}");
    for plain in ["tidings ls --no-color", "NO_COLOR=1 tidings ls", "TERM=dumb tidings ls"] {
        let shown = at_a_terminal(plain, "").1;
        assert!(!shown.contains("\u{1b}[3") && !shown.contains("\u{1b}[1m"), "{plain}: {shown}");
    }
    let (code, shown) = at_a_terminal("tidings mark read --all", "n\\n");
    assert!(code == 2 && shown.contains("3 notifications"), "{code}: {shown}");
    assert!(desk.tenant.consumer.ids("filter[isRead]=true").is_empty());
    let (code, shown) = at_a_terminal("tidings mark read --all", "y\\n");
    assert_eq!((code, desk.tenant.consumer.ids("filter[isRead]=true").len()), (0, 3), "{shown}");
}
