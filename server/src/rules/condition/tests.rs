use std::time::{Duration, Instant};

use tidings_api::event::{Change, ChangeType, Originator};
use tidings_api::event_type::EventType;

use super::*;

/// An event with everything, whose own data is this.
fn with_event<T>(data: Option<&str>, then: impl FnOnce(&EventView<'_>) -> T) -> T {
    let event_type: EventType = "close".parse().unwrap();
    let change = Change {
        table: "orders".into(),
        r#type: ChangeType::Update,
        columns: vec!["status".into(), "total".into()],
        record_id: Some("77".into()),
    };
    let originator =
        Originator { account_id: Some("acme".into()), group_id: None, user_id: Some("u1".into()) };
    then(&EventView {
        event_type: &event_type,
        // 2023-12-13T20:42:50.427Z, a Wednesday.
        created_at: 1_702_500_170_427_000,
        comment: Some("Übergabe done"),
        data,
        change: Some(&change),
        originator: Some(&originator),
        unit: Some("north"),
        entity: Some("experiment:1"),
        created_by: None,
    })
}

const DATA: &str = r#"{"amount": 10.5, "count": 3, "big": 18446744073709551615, "name": "a\u00e9\"x", "open": true,
    "none": null, "tags": ["red", "blue"], "lines": [{"sku": "A-1", "qty": 2}, {"sku": "B-2", "qty": 7}],
    "nested": {"a": {"b": [1, 2, 3]}}, "half": "\ud800", "twice": 1, "twice": 2}"#;

/// What an expression says; none where it can't be told. It is selected then.
fn says(expression: &str) -> Option<bool> {
    let condition = Condition::new(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    with_event(Some(DATA), |event| {
        let told = match Run::new(&condition.0, event, STEPS).value(&condition.0.expression) {
            Ok(Value::Bool(value)) => Some(value),
            _ => None,
        };
        assert_eq!(condition.selects(event), told.unwrap_or(true), "{expression}");
        told
    })
}

#[test]
fn an_expression_sees_the_event() {
    for (expression, expected) in [
        ("type == 'close'", true),
        ("type in ['print', 'close']", true),
        ("type == 'print' || unit == 'north'", true),
        ("type == 'print' && unit == 'north'", false),
        ("comment.startsWith('Über') && comment.endsWith('done') && comment.size() == 13", true),
        ("entity == 'experiment:1' && createdBy == null", true),
        ("change.table == 'orders' && change.type == 'update' && 'total' in change.columns", true),
        ("change.recordId == '77' && 'price' in change.columns", false),
        ("originator.accountId == 'acme' && originator.groupId == null", true),
        ("createdAt > timestamp('2023-12-13T20:42:50Z')", true),
        ("createdAt - timestamp('2023-12-13T20:42:50.427Z') == duration('0s')", true),
        ("createdAt + duration('1h30m') < timestamp('2023-12-13T22:12:50Z')", false),
        ("createdAt.getFullYear() == 2023 && createdAt.getMonth() == 11 && createdAt.getDate() == 13", true),
        ("createdAt.getDayOfWeek() == 3 && createdAt.getHours() == 20 && createdAt.getMinutes() == 42", true),
        ("createdAt.getHours('+05:30') == 2 && createdAt.getDayOfMonth('+05:30') == 13", true),
        ("createdAt.getMilliseconds() == 427 && duration('90s').getMinutes() == 1", true),
    ] {
        assert_eq!(says(expression), Some(expected), "{expression}");
    }
}

#[test]
fn an_expression_sees_the_event_s_own_data() {
    for (expression, expected) in [
        ("data.amount > 10", true),
        ("data.amount * 2 == 21", true),
        ("data.count * 1.5 == 4.5", true),
        ("data.count % 2 == 1 && data.count / 2 == 1 && -data.count == -3", true),
        ("data.big > 9223372036854775807 && data.big == 18446744073709551615u", true),
        ("data.name == 'aé\"x' && data['name'].contains('é')", true),
        ("data.open && !(data.none != null)", true),
        ("data.tags[1] == 'blue' && size(data.tags) == 2 && data.tags == ['red', 'blue']", true),
        ("data.nested.a.b[2] == 3 && data.nested == {'a': {'b': [1, 2.0, 3u]}}", true),
        ("has(data.count) && !has(data.nothing) && !has(createdBy.x) && 'count' in data", true),
        ("data.lines.exists(l, l.sku.startsWith('B') && l.qty > 5)", true),
        ("data.lines.all(l, l.qty > 5)", false),
        ("data.lines.exists_one(l, l.qty > 5)", true),
        ("data.lines.filter(l, l.qty > 1).map(l, l.sku) == ['A-1', 'B-2']", true),
        ("data.lines.map(l, l.qty > 5, l.sku) + ['x'] == ['B-2', 'x']", true),
        ("data.nested.exists(k, k == 'a') && {'x': 1}.all(k, k == 'x')", true),
        ("data.lines[0].sku.matches('^[A-Z]-[0-9]+$') && matches(data.lines[1].sku, '^b')", false),
        ("data.twice == 2", true),
        ("int('7') + int(7.9) == 14 && uint(7) == 7u && double('1.5') == 1.5", true),
        ("string(data.count) + string(true) == '3true' && bool('true') && dyn(1) == 1", true),
        ("data.amount > 10 ? data.count == 3 : data.nothing", true),
        ("1 == 1.0 && 9007199254740993 != 9007199254740992.0 && 1 < 1.5 && !(2 < 1.5)", true),
        ("'a' < 'b' && 'a' + 'b' == 'ab' && false < true", true),
    ] {
        assert_eq!(says(expression), Some(expected), "{expression}");
    }
}

#[test]
fn what_can_not_be_told_selects_the_event() {
    for expression in [
        "data.nothing == 1",
        "createdBy.size() > 3",
        "data.count",
        "data.count + 'x' == 'y'",
        "data.count / 0 == 1",
        "9223372036854775807 + 1 > 0",
        "data.tags[2] == 'x'",
        "data.half == 'x'",
        "data.lines.exists(l, l.price > 5)",
        "data.name > 5",
        "type ? true : false",
        "timestamp(data.name) > createdAt",
        "duration('1y') > duration('1s')",
    ] {
        assert_eq!(says(expression), None, "{expression}");
    }
    // What decides alone, decides.
    assert_eq!(says("data.nothing == 1 || type == 'close'"), Some(true));
    assert_eq!(says("data.nothing == 1 && type == 'print'"), Some(false));
    assert_eq!(says("data.lines.all(l, l.qty > 2 && l.price > 5)"), Some(false));
    assert_eq!(says("data.lines.exists(l, l.qty > 2 || l.price > 5)"), Some(true));
}

#[test]
fn what_is_never_true_or_false_is_refused() {
    for expression in ["1", "'a'", "data", "[true]", "{'a': true}", "1 + 1", "-data.count", "data.count / 2"]
    {
        assert!(Condition::new(expression).is_err(), "{expression}");
    }
    for expression in ["true", "data.open", "size(data.tags) > 1", "data.open ? true : false"] {
        assert!(Condition::new(expression).is_ok(), "{expression}");
    }
}

#[test]
fn an_event_without_anything_has_nulls() {
    let event_type: EventType = "x".parse().unwrap();
    let event = EventView {
        event_type: &event_type,
        created_at: 0,
        comment: None,
        data: None,
        change: None,
        originator: None,
        unit: None,
        entity: None,
        created_by: None,
    };
    let all =
        "[comment, data, change, originator, unit, entity, createdBy].all(v, v == null) && !has(data.x)";
    assert_eq!(Condition::new(all).unwrap().quickly(&event), Answer::Selected);
    assert_eq!(Condition::new("unit != null").unwrap().quickly(&event), Answer::NotMet);
    assert!(Condition::new("change.table == 'x'").unwrap().selects(&event), "it can't be told");
}

#[test]
fn what_can_not_be_right_is_refused_with_its_place() {
    for (expression, place, reason) in [
        ("", "", "1 to 4096 characters"),
        ("type ==", "line 1, column 8", "Syntax error"),
        ("type == 'close' and true", "line 1, column 17", "and"),
        ("type == 'close' &&\n  typ == 'x'", "line 2, column 3", "no variable `typ`"),
        ("data.lines.all(l, l.qty > 1) && l.qty > 1", "line 1, column 33", "no variable `l`"),
        ("comment.lower() == 'x'", "line 1, column 14", "no function `lower`"),
        ("size(data, 1) > 1", "line 1, column 5", "`size` is not called with 2"),
        ("comment.matches(unit)", "line 1, column 16", "as a literal"),
        ("comment.matches('(')", "line 1, column 16", "unclosed group"),
        ("comment.matches('(\\\\w{50}){50}')", "line 1, column 16", "exceeded limit"),
        ("comment.matches('a[ab]{200}c')", "line 1, column 16", "exceeded size limit"),
        ("comment.matches('\\\\bx\\\\b')", "line 1, column 16", "ASCII word boundaries"),
        ("createdAt.getHours('Europe/Berlin') > 8", "line 1, column 19", "such as `+02:00`"),
        ("comment == b'abc'", "line 1, column 12", "bytes"),
        (r"comment == b'\u00e9'", "line 1, column 12", "bytes are not supported"),
        (r"comment == '\ud800'", "line 1, column 12", "an escape in the text stands for no character"),
        (r"comment == 'a\z'", "line 1, column 12", "token recognition error"),
        ("data.a == 99999999999999999999", "line 1, column 11", "int literal"),
        ("Event{a: 1} == null", "line 1, column", "messages"),
        ("has(data)", "line 1, column", "has()"),
        ("type == 'é' && nope", "line 1, column 16", "no variable `nope`"),
    ] {
        let refused = Condition::new(expression).map(|_| ()).expect_err(expression);
        assert!(refused.starts_with(place) && refused.contains(reason), "{expression}: {refused}");
        assert!(refused.len() < 600, "{expression}: {refused}");
        assert!(
            !refused.contains("{ ") && !refused.contains("(\""),
            "{expression}: a program's words: {refused}"
        );
    }
    assert!(Condition::new(&format!("type == '{}'", "ü".repeat(4086))).is_ok());
    assert!(Condition::new(&format!("type == '{}'", "ü".repeat(4087))).is_err());
}

/// In a thread with the little stack that the server's threads have.
fn on_a_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().expect("the stack is enough")
}

#[test]
fn no_expression_overflows_the_stack_or_takes_long_to_read() {
    on_a_small_stack(|| {
        let around = |open: &str, middle: &str, close: &str, n: usize| {
            format!("{}{middle}{}", open.repeat(n), close.repeat(n))
        };
        for expression in [
            around("(", "true", ")", 2000),
            around("(", "", "", 4096),
            around("[", "", "", 4096),
            around("{1:", "1", "}", 1000),
            around("!", "true", "", 4000),
            around("-", "1", "", 4000),
            around("true?true:", "true", "", 400),
            around("data.all(x,", "true", ")", 300),
            around("[1].map(x,", "x", ")", 300),
            around("size(", "'a'", ")", 600),
            around("1+", "1", "", 2000),
            around("true&&", "true", "", 680),
            around("data", ".a", "", 1) + &".a".repeat(2000),
            around("data", "[0]", "", 1) + &"[0]".repeat(1300),
            around("x.", "f()", "", 1300),
            around("'", "", "", 4095),
            around("😀", "", "", 4096),
            around("a?(b<c[", "", "", 580),
            around("type.matches('\\\\w{3}') && ", "true", "", 140),
            around("type.matches('a.{50}c') && ", "true", "", 140),
        ] {
            let start = Instant::now();
            // Long is what never ends: a busy machine needs a while for each.
            if let Ok(condition) = Condition::new(&expression) {
                with_event(Some(DATA), |event| condition.selects(event));
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{expression}");
        }
        // As deep as it may be, and run.
        for expression in [
            around("(", "type == 'close'", ")", 20),
            around("[1].all(x,", "type == 'close'", ")", 15),
            format!("{}0 == 100", "1+".repeat(100)),
        ] {
            let condition =
                Condition::new(&expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert!(
                with_event(Some(DATA), |event| condition.quickly(event) == Answer::Selected),
                "{expression}"
            );
        }
        // Deep data is compared only so far, and not by recursion without end.
        let deep = format!("{{\"a\":{0}{1},\"b\":{0}{1}}}", "[".repeat(100_000), "]".repeat(100_000));
        let condition = Condition::new("data.a == data.b").unwrap();
        assert!(with_event(Some(&deep), |event| condition.selects(event)));
    });
}

/// Expressions that try to take long, each with data of so many bytes.
fn greedy(size: usize) -> Vec<(&'static str, String)> {
    let text = |of: &str| format!("{{\"t\":\"{}\"}}", of.repeat(size / of.len()));
    let random = |of: &str| {
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(of.as_bytes()[usize::try_from(state >> 33).unwrap() % of.len()])
        };
        format!("{{\"t\":\"{}\"}}", (0..size).map(next).collect::<String>())
    };
    let list = |of: &str| format!("{{\"l\":[{}0]}}", format!("{of},").repeat(size / (of.len() + 1)));
    let members: String = (0..size / 11).map(|n| format!("\"{n:06}\":0,")).collect();
    let both = format!("{{\"t\":\"{}\",\"l\":[{}0]}}", "a".repeat(size / 2), "0,".repeat(size / 4));
    vec![
        (
            "[1,2,3,4,5,6,7,8,9,0].all(a, [1,2,3,4,5,6,7,8,9,0].all(b, [1,2,3,4,5,6,7,8,9,0].all(c, [1,2,3,4,5,6,7,8,9,0].all(d, [1,2,3,4,5,6,7,8,9,0].all(e, [1,2,3,4,5,6,7,8,9,0].all(f, true))))))",
            "{}".to_owned(),
        ),
        ("data.l.all(a, data.l.all(b, a == b))", list("0")),
        ("data.l.all(a, data.t.contains('aaaaaaaaaaaaaaab'))", both.clone()),
        ("data.l.map(a, data.t + data.t).size() > 0", both),
        ("data.l.map(a, a).map(a, a).map(a, a).map(a, a).size() > 0", list("0")),
        ("data.l.map(a, data.l).size() > 0", list("0")),
        ("[data.l.map(a, a)].all(l, l.all(a, l + l == l))", list("\"\\n\"")),
        (
            "[data.l.map(a, a)].all(l, [0,0,0,0,0,0].all(i, l[0] == l[0]))",
            format!("{{\"l\":[\"\\n{}\"]}}", "a".repeat(size)),
        ),
        ("data.t.matches('^(\\\\w+\\\\s?)*$')", text("aé ")),
        ("data.t.matches('(x+x+)+y')", text("x")),
        ("data.t.matches('a[ab]{10}c')", random("ab")),
        ("data.t.matches('(a?){30}b{30}c')", random("ab")),
        ("data.t.matches('(\\\\w+\\\\s){3}!')", random("ab ")),
        ("data.m == data.m", format!("{{\"m\":{{{members}\"\":0}}}}")),
        ("data.m.all(k, data.m[k] == 0)", format!("{{\"m\":{{{members}\"\":0}}}}")),
        ("data.l == data.l", list("[[]]")),
        ("data.l.exists(a, a.x == 'y')", list("{\"x\":\"z\"}")),
        ("data.t.size() + data.t.size() + data.t.size() > 0", text("é")),
        ("data.l.filter(a, a in data.l).size() > 0", list("0")),
        ("int(data.t) > 0 || double(data.t) > 0.0 || bool(data.t)", text("1")),
    ]
}

#[test]
fn no_expression_takes_long_to_run() {
    for size in [1000, 3_000_000] {
        for (expression, data) in greedy(size) {
            let condition =
                Condition::new(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            let start = Instant::now();
            with_event(Some(&data), |event| condition.quickly(event));
            let quick = start.elapsed();
            let start = Instant::now();
            with_event(Some(&data), |event| condition.selects(event));
            let whole = start.elapsed();
            println!("{size:>9} {quick:>12?} {whole:>12?} {}", &expression[..expression.len().min(70)]);
            // Unoptimised code on a busy machine is a few dozen times slower than what is served.
            assert!(quick < Duration::from_secs(1), "{expression} over {size}: {quick:?}");
            assert!(whole < Duration::from_secs(20), "{expression} over {size}: {whole:?}");
        }
    }
}

#[test]
fn large_events_are_told_as_small_ones_are() {
    let line = r#"{"sku":"A-1","qty":2,"text":"some words that make the line longer"},"#;
    let data = format!(
        "{{\"lines\":[{}{{\"sku\":\"B-2\",\"qty\":9}}],\"end\":1}}",
        line.repeat(10_000_000 / line.len())
    );
    let told = |expression: &str| {
        let condition = Condition::new(expression).unwrap();
        with_event(Some(&data), |event| condition.run(event, STEPS + data.len() / BYTES_A_STEP))
    };
    assert_eq!(told("data.lines.exists(l, l.qty > 5) && data.end == 1"), Some(Answer::Selected));
    assert_eq!(told("data.lines.exists(l, l.qty > 50) && data.end == 1"), Some(Answer::NotMet));
    assert_eq!(told("data.end == 2"), Some(Answer::NotMet));
    let condition = Condition::new("data.end == 2").unwrap();
    assert_eq!(with_event(Some(&data), |event| condition.quickly(event)), Answer::TakesLonger);
}
