//! At home in other languages: clients made of `openapi.json` by the tools that people use, and the examples, each
//! compiled and run against a real server.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tidings_tests::program::{Program, ended, text};
use tidings_tests::wait::SOON;
use tidings_tests::{Api, Database, Kind, Language, Server, Tenant, event, ports, until};

/// The tests of a language under its name, so that a failure names it.
macro_rules! in_language {
    ($($language:ident: $($test:ident),*;)*) => {$(
        mod $language {
            use super::*;

            fn language() -> &'static Language {
                static BUILT: OnceLock<Language> = OnceLock::new();
                BUILT.get_or_init(|| Language::build(stringify!($language)))
            }

            $(#[test]
            fn $test() {
                super::$test(language());
            })*
        }
    )*};
}

in_language! {
    python: conversation, catch_up, receiver;
    typescript: conversation, catch_up, receiver;
    java: conversation, catch_up, receiver;
    go: conversation, catch_up, receiver;
    // Its receiver is the example `archive`, which has a suite of its own.
    rust: conversation, catch_up;
}

fn server() -> (Database, Server, Tenant) {
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let tenant = server.tenant("polyglot");
    (database, server, tenant)
}

#[track_caller]
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The generated client posts, lists by filter and cursor to the end, changes flags, does many things at once, and reads
/// what it gets, errors too, as values of its types.
fn conversation(language: &Language) {
    let (_database, server, tenant) = server();
    let mut program = language.program("conversation");
    program.env("TIDINGS_URL", server.url()).env("TIDINGS_KEY", tenant.admin.key());
    let said: Value = serde_json::from_str(&good(&ended(program))).expect("it says what it has read in JSON");
    let expected = json!({
        "posted": ["1", "2", "3", "4", "5"],
        "repeated": "1",
        "listed": ["1", "3", "5"],
        "isRead": true,
        "added": "6",
        "isFlagged": true,
        "refused": ["invalid_parameter", "page[after]"],
        "unknown": ["404", "not_found"],
    });
    assert_eq!(said, expected);

    let kept = tenant.consumer.all("");
    let of = |pointer: &str| kept.iter().map(|one| one.pointer(pointer).cloned()).collect::<Option<Vec<_>>>();
    let types = ["close", "print", "close", "print", "close", "sign"].map(Value::from);
    assert_eq!(of("/attributes/type").as_deref(), Some(&types[..]));
    let nth = |n: usize| (0..6).map(|at| Value::from(at == n)).collect();
    assert_eq!(of("/attributes/isRead"), Some(nth(0)));
    assert_eq!(of("/attributes/isFlagged"), Some(nth(1)));
    assert_eq!(of("/relationships/createdBy/data/id"), Some(vec!["100".into(); 6]));
    let comments = of("/attributes/comment").expect("each has a comment");
    let from =
        |comment: &Value| comment.as_str().is_some_and(|text| text.to_lowercase().contains(language.name()));
    assert!(comments.iter().all(from), "{comments:?}");
}

/// Posts as many events in one request.
fn post(tenant: &Tenant, count: usize) {
    let add = json!({"op": "add", "data": event("close")["data"]});
    tenant.producer.post("operations", &json!({"atomic:operations": vec![add; count]})).expect(200);
}

fn kept(folder: &Path, id: u64) -> Option<Value> {
    serde_json::from_slice(&fs::read(folder.join(format!("{id}.json"))).ok()?).ok()
}

/// It keeps everything, over several pages and dismissed or not, goes on from the cursor of the last run, and begins again
/// where the cursor is lost.
fn catch_up(language: &Language) {
    let (database, server, tenant) = server();
    let folder = database.dir().join("archive");
    let run = || {
        let mut program = language.program("catch_up");
        program.arg(&folder).env("TIDINGS_URL", server.url()).env("TIDINGS_KEY", tenant.consumer.key());
        ended(program)
    };
    let check = |ids: std::ops::RangeInclusive<u64>| {
        for id in ids {
            let there = tenant.consumer.get(&format!("notifications/{id}")).expect(200);
            let here = kept(&folder, id).unwrap_or_else(|| panic!("{id} is missing"));
            assert_eq!(here["attributes"], there["data"]["attributes"]);
        }
    };
    post(&tenant, 230);
    tenant.consumer.set(7, json!({"isDismissed": true})).expect(200);
    good(&run());
    check(1..=230);

    // Nothing new, and then something; what came before isn't fetched again.
    good(&run());
    post(&tenant, 3);
    fs::remove_file(folder.join("5.json")).expect("it was kept");
    good(&run());
    check(231..=233);
    assert_eq!(kept(&folder, 5), None);

    fs::remove_file(folder.join("cursor")).expect("it was kept");
    good(&run());
    check(1..=233);

    // A refusal is told, and is no end.
    let mut refused = language.program("catch_up");
    refused.arg(&folder).env("TIDINGS_URL", server.url()).env("TIDINGS_KEY", "wrong");
    let refused = ended(refused);
    assert!(!refused.status.success() && text(&refused).contains("key"), "{}", text(&refused));
}

/// It keeps what the server pushes before it says so, and takes nothing else.
fn receiver(language: &Language) {
    let (database, _server, tenant) = server();
    let (folder, port) = (database.dir().join("archive"), ports::free());
    let mut program = language.program("receiver");
    program.arg(&folder).arg(port.to_string()).env("TIDINGS_SECRET", &tenant.signing_secret);
    let _running = Program::start(program);
    until("the receiver to listen", SOON, || TcpStream::connect(("127.0.0.1", port)).ok());
    let url = format!("http://127.0.0.1:{port}");
    tenant.push_to(&format!("{url}/"), true);

    for id in 1..=3 {
        assert_eq!(tenant.producer.post_event(&event("close")), id);
        tenant.wait_for_state(id, "delivered");
        let kept = kept(&folder, id).expect("what was answered with 2xx is kept");
        assert_eq!(kept["attributes"]["type"], "close");
        assert_eq!(kept["id"], id.to_string());
    }
    let test = tenant.admin.post("external-notifications/test", &json!({})).expect(200);
    assert_eq!(test["data"]["attributes"]["responseStatus"], 204, "{test}");
    assert_eq!(kept(&folder, 0), None, "a test is no notification");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let body = json!({"data": {"type": "notification", "id": "99", "attributes": {}}}).to_string();
    let receiver = Api::new(&url, None);
    let send = |headers: &[(&str, &str)]| {
        let json = ("content-type", "application/json");
        receiver.send("POST", "/", &[&[json], headers].concat(), Some(body.as_bytes())).status
    };
    let sign = |secret: &str, at: Duration| {
        let seconds = i64::try_from(at.as_secs()).expect("a time of these days");
        Webhook::new(secret).expect("a secret").sign("msg_1", seconds, body.as_bytes()).expect("a signature")
    };
    let with = |at: Duration, signature: &str| {
        let seconds = at.as_secs().to_string();
        send(&[("webhook-id", "msg_1"), ("webhook-timestamp", &seconds), ("webhook-signature", signature)])
    };
    let old = now.saturating_sub(Duration::from_secs(3600));
    assert_eq!(send(&[]), 401, "without a signature");
    assert_eq!(with(now, "nonsense"), 401);
    assert_eq!(with(now, &sign("whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA==", now)), 401, "another's");
    assert_eq!(with(old, &sign(&tenant.signing_secret, old)), 401, "an old one");
    assert_eq!(kept(&folder, 99), None);
    assert_eq!(with(now, &sign(&tenant.signing_secret, now)), 204);
    assert!(kept(&folder, 99).is_some());
}
