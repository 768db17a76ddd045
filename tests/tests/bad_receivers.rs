//! Receivers that behave badly harm nobody, under no profile, and get what they deserve: delivered after a complete 2xx
//! that the acknowledgement rule accepts, else a retry, and in the log the right error.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_tests::server::Options;
use tidings_tests::systems::CLIENT_ID_HEADER;
use tidings_tests::wait::SOON;
use tidings_tests::{Api, Receiver, Reply, Server, event, on_both, until};

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

/// A complete 2xx that says no more than that: delivered where the status decides.
const TAKEN: Option<&str> = None;
/// No complete HTTP answer.
const BROKEN: Option<&str> = Some("protocol");
/// A complete answer, and no 2xx.
const REFUSED: Option<&str> = Some("status");

/// What each receiver answers, and the error that this is in the log where the status decides. Whoever closes the
/// connection behind a complete answer says so: else the next push may meet the close, which is an error of its own.
fn behaviours() -> Vec<(&'static str, Reply, Option<&'static str>)> {
    let drip = |parts: &[&str], millis| {
        Reply::Drip(
            parts.iter().map(|part| part.as_bytes().to_vec()).collect(),
            Duration::from_millis(millis),
        )
    };
    vec![
        ("closes at the end of its body, no length", raw("HTTP/1.1 200 OK\r\n\r\nthank you"), TAKEN),
        ("speaks HTTP/1.0", raw("HTTP/1.0 200 OK\r\n\r\nok"), TAKEN),
        (
            "says 100 first",
            raw(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            ),
            TAKEN,
        ),
        (
            "says 103 first",
            raw(
                "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
            ),
            TAKEN,
        ),
        (
            "drips its answer",
            drip(
                &["HTTP/1.1 2", "00 OK\r\nconnection: close\r\ncontent-", "length: 2\r\n\r\n", "o", "k"],
                100,
            ),
            TAKEN,
        ),
        (
            "chunked",
            raw(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ),
            TAKEN,
        ),
        ("takes a second", Reply::After(Duration::from_secs(1), Box::new(Reply::Status(202))), TAKEN),
        (
            "has no reason phrase",
            raw("HTTP/1.1 200\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
            TAKEN,
        ),
        (
            "a body that is not text",
            Reply::Raw(
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\n\x00\xff\xfe\x80".to_vec(),
            ),
            TAKEN,
        ),
        ("closes without an answer", Reply::Close, BROKEN),
        ("resets", Reply::Reset, BROKEN),
        ("isn't HTTP", raw("220 mail.example.com ESMTP\r\n"), BROKEN),
        ("ends in its head", raw("HTTP/1.1 200 OK\r\ncontent-le"), BROKEN),
        (
            "a status beyond all",
            raw("HTTP/1.1 999 ?\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
            REFUSED,
        ),
        (
            "switches protocols",
            raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
            REFUSED,
        ),
        (
            "headers without end",
            Reply::Raw(
                [
                    b"HTTP/1.1 200 OK\r\n".to_vec(),
                    b"x-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(100_000),
                    b"\r\n".to_vec(),
                ]
                .concat(),
            ),
            BROKEN,
        ),
        (
            "a 500 with a long story",
            Reply::Raw([b"HTTP/1.1 500 Oops\r\n\r\n".to_vec(), vec![b'x'; 3 << 20]].concat()),
            REFUSED,
        ),
        (
            "a 200 with a long story",
            Reply::Raw([b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 3 << 20]].concat()),
            TAKEN,
        ),
        ("says that it isn't there", Reply::Status(404), REFUSED),
        ("promises more than it sends", raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"), BROKEN),
        (
            "chunks that aren't",
            raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok\r\n"),
            BROKEN,
        ),
        ("two lengths", raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok"), BROKEN),
        (
            "a redirect without a place",
            raw("HTTP/1.1 302 Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
            REFUSED,
        ),
    ]
}

/// Answers that never end, for attempts with a short deadline.
fn endless() -> Vec<(&'static str, Reply)> {
    let drops = std::iter::repeat_n(b"for ever and ever\n".to_vec(), 200);
    let drip = std::iter::once(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).chain(drops).collect();
    vec![
        ("says nothing", Reply::Hang),
        ("never comes to an end", Reply::Drip(drip, Duration::from_millis(50))),
    ]
}

/// Our own defaults, and every model system.
const PROFILES: [Option<&str>; 7] = [
    None,
    Some("signals"),
    Some("acrobatSign"),
    Some("socrateCloud"),
    Some("sertifi"),
    Some("serviceOptimizer"),
    Some("standardWebhooks"),
];

/// What a complete 2xx that says no more is under a profile.
fn taken(profile: Option<&str>) -> Option<&'static str> {
    matches!(profile, Some("acrobatSign" | "serviceOptimizer")).then_some("rejected")
}

/// How many attempts a notification gets: Signals has no retries, the others get one here.
fn attempts(profile: Option<&str>) -> usize {
    if profile == Some("signals") { 1 } else { 2 }
}

/// A place to push to, and what comes of it.
struct Bad {
    name: &'static str,
    url: String,
    error: Option<&'static str>,
    /// None where nobody answers.
    receiver: Option<Receiver>,
    timeout: Option<u32>,
}

/// Everything bad there is. What runs besides receivers ends with the process.
fn all_bad() -> Vec<Bad> {
    let short = Some(1);
    let answering = |name, reply: Reply, error, timeout| {
        // A verification of intent is answered well: what is tried is the push.
        let receiver = Receiver::start(move |request, _| match request.method.as_str() {
            "GET" => {
                let id = request.header(&CLIENT_ID_HEADER.to_ascii_lowercase());
                Reply::WithHeaders(200, vec![(CLIENT_ID_HEADER.into(), id.into())])
            }
            _ => reply.clone(),
        });
        Bad { name, url: receiver.url(), error, receiver: Some(receiver), timeout }
    };
    let nowhere =
        |name, url: String, error| Bad { name, url, error: Some(error), receiver: None, timeout: None };
    let mut all: Vec<Bad> =
        behaviours().into_iter().map(|(name, reply, error)| answering(name, reply, error, None)).collect();
    all.extend(endless().into_iter().map(|(name, reply)| answering(name, reply, Some("timeout"), short)));
    all.push(nowhere("has no address", "http://receiver.invalid/hook".into(), "dns"));
    let closed = tidings_tests::ports::free();
    all.push(nowhere("doesn't listen", format!("http://127.0.0.1:{closed}/hook"), "connect"));
    let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = plain.local_addr().expect("it listens").port();
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 This is not TLS\r\n\r\n");
        }
    });
    all.push(nowhere("speaks no TLS", format!("https://127.0.0.1:{port}/hook"), "tls"));
    all
}

/// Sets a profile and a URL, and makes retries come quickly.
fn aim(admin: &Api, profile: Option<&str>, bad: &Bad) {
    // Where the time isn't the matter, a busy machine must not make it so.
    let mut push = json!({"url": bad.url, "timeoutSeconds": bad.timeout.unwrap_or(60)});
    if bad.receiver.is_none() {
        push["verification"] = json!({"kind": "none"});
    }
    if attempts(profile) > 1 {
        push["retry"] =
            json!({"kind": "fixed", "everySeconds": 1, "attempts": attempts(profile), "jitter": 0.0});
    }
    admin.settings(json!({"profile": profile, "push": push})).expect(200);
}

/// The end of a delivery, as `meta.push` has it.
fn wait_for_end(admin: &Api, id: u64, what: &str) -> Value {
    until(what, Duration::from_secs(60), || {
        let push = admin.get(&format!("notifications/{id}?fields[notification]=type")).expect(200)["data"]["meta"]["push"].clone();
        (push["state"] == "delivered" || push["state"] == "failed").then_some(push)
    })
}

/// Checks state and log of a notification whose attempts all ended the same way.
fn check(admin: &Api, id: u64, error: Option<&str>, attempts: usize, what: &str) {
    let (state, count) = if error.is_some() { ("failed", attempts) } else { ("delivered", 1) };
    let push = wait_for_end(admin, id, what);
    assert_eq!(push, json!({"state": state, "attempts": count, "nextAttemptAt": null}), "{what}");
    let log = admin.get(&format!("deliveries/{id}/attempts")).expect(200);
    let log = log["data"].as_array().expect("a list");
    assert_eq!(log.len(), count, "{what}: {log:?}");
    for attempt in log {
        let attempt = &attempt["attributes"];
        assert_eq!(attempt["error"], json!(error), "{what}: {attempt}");
        let answered = matches!(error, None | Some("status" | "rejected"));
        assert_eq!(attempt["responseStatus"].is_number(), answered, "{what}: {attempt}");
        assert!(attempt["responseText"].as_str().unwrap_or_default().chars().count() <= 1000, "{what}");
    }
}

/// Every bad receiver under some profiles, each a tenant of its own, all at once, with comments of so many characters.
fn round(server: &Server, all: &[Bad], profiles: &[Option<&'static str>], size: usize) {
    let mut posted = event("close");
    posted["data"]["attributes"]["comment"] = "c".repeat(size).into();
    std::thread::scope(|scope| {
        for &profile in profiles {
            let posted = &posted;
            scope.spawn(move || {
                let tenants: Vec<(Api, &Bad)> = all
                    .iter()
                    .map(|bad| {
                        let admin = server.admin(bad.name);
                        aim(&admin, profile, bad);
                        admin.post_event(posted);
                        admin.post_event(posted);
                        (admin, bad)
                    })
                    .collect();
                for (admin, bad) in &tenants {
                    for id in [1, 2] {
                        let what = format!("number {id} to the one that {} under {profile:?}", bad.name);
                        check(admin, id, bad.error.or(taken(profile)), attempts(profile), &what);
                    }
                }
            });
        }
    });
}

/// What the server's process has: sending threads, open files, and kilobytes of memory of its own.
fn resources(server: &Server) -> (usize, usize, u64) {
    let proc = format!("/proc/{}", server.pid());
    let entries = |name: &str| {
        std::fs::read_dir(format!("{proc}/{name}")).expect("the process is there").filter_map(Result::ok)
    };
    let senders = entries("task")
        .filter(|task| {
            std::fs::read_to_string(task.path().join("comm"))
                .is_ok_and(|name| name.starts_with("tidings-push"))
        })
        .count();
    let status = std::fs::read_to_string(format!("{proc}/status")).expect("the process is there");
    let memory = ["RssAnon:", "VmRSS:"].iter().find_map(|name| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    });
    (senders, entries("fd").count(), memory.expect("the memory is told"))
}

on_both! {
    fn each_badly_behaved_receiver_has_the_right_outcome(db) {
        let server = Server::start(&db);
        let good = server.tenant("good");
        let good_receiver = Receiver::accepting();
        good.push_to(&good_receiver.url(), false);
        // All at once, each a tenant of its own.
        let cases: Vec<_> = behaviours()
            .into_iter()
            .map(|(name, reply, error)| {
                let tenant = server.tenant(name);
                let receiver = Receiver::start(move |_, nth| if nth == 0 { reply.clone() } else { Reply::Status(200) });
                tenant.push_to(&receiver.url(), false);
                tenant.producer.post_event(&event("close"));
                (name, error, tenant, receiver)
            })
            .collect();
        // Beside them, the good one isn't slowed.
        let begun = Instant::now();
        let id = good.producer.post_event(&event("close"));
        good_receiver.wait_for(1, SOON);
        good.wait_for_state(id, "delivered");
        assert!(begun.elapsed() < Duration::from_secs(10), "the good tenant waited {:?}", begun.elapsed());

        for (name, error, tenant, receiver) in &cases {
            let status = until(&format!("delivery to the one that {name}"), Duration::from_secs(60), || {
                let status = tenant.push_status(1);
                (status["state"] == "delivered").then_some(status)
            });
            let mut expected = vec![Value::Null];
            expected.splice(0..0, error.map(Value::from));
            assert_eq!(status["attempts"], expected.len(), "{name}");
            assert_eq!(receiver.count(), expected.len(), "{name}");
            let log = tenant.admin.get("deliveries/1/attempts").expect(200);
            let errors: Vec<Value> =
                log["data"].as_array().expect("a list").iter().map(|attempt| attempt["attributes"]["error"].clone()).collect();
            assert_eq!(errors, expected, "{name}");
        }
    }

    fn endless_and_silent_receivers_end_at_the_deadline_and_slow_nobody(db) {
        let server = Server::start(&db);
        let endless: Vec<Vec<u8>> = std::iter::once(b"HTTP/1.1 500 Oops\r\n\r\n".to_vec())
            .chain(std::iter::repeat_n(b"for ever and ever\n".to_vec(), 2000))
            .collect();
        let cases = [
            ("silent", Receiver::start(|_, nth| if nth < 30 { Reply::Hang } else { Reply::Status(200) })),
            ("endless", Receiver::start(move |_, nth| match nth {
                0..30 => Reply::Drip(endless.clone(), Duration::from_millis(50)),
                _ => Reply::Status(200),
            })),
        ];
        let bad: Vec<_> = cases
            .iter()
            .map(|(name, receiver)| {
                let tenant = server.tenant(name);
                tenant.push_to(&receiver.url(), false);
                for _ in 0..30 {
                    tenant.producer.post_event(&event("close"));
                }
                receiver.wait_for(1, SOON);
                tenant
            })
            .collect();
        let good = server.tenant("good");
        let receiver = Receiver::accepting();
        good.push_to(&receiver.url(), true);
        let begun = Instant::now();
        for _ in 0..50 {
            good.producer.post_event(&event("close"));
        }
        receiver.wait_for(50, SOON);
        until("all to be dismissed", SOON, || good.consumer.ids("").is_empty().then_some(()));
        assert!(begun.elapsed() < Duration::from_secs(10), "the good tenant waited {:?}", begun.elapsed());
        // One deadline for all of it: the attempt ends although the receiver never does.
        for (tenant, (name, _)) in bad.iter().zip(&cases) {
            until(&format!("the deadline of the {name} one"), Duration::from_secs(75), || {
                (tenant.push_status(1)["attempts"].as_u64() >= Some(1)).then_some(())
            });
        }
    }

    fn a_receiver_that_is_down_is_not_hammered_and_gets_all_when_it_is_back(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("down");
        let well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = well.clone();
        let receiver = Receiver::start(move |_, _| {
            Reply::Status(if seen.load(std::sync::atomic::Ordering::SeqCst) { 200 } else { 500 })
        });
        tenant.push_to(&receiver.url(), true);
        for _ in 0..100 {
            tenant.producer.post_event(&event("close"));
        }
        // After the first failures it is probed at 1, 2 and 4 seconds: by the second probe a sender that hammers would
        // have tried all hundred.
        receiver.wait_until("a probe", SOON, |requests| {
            let first = requests.first().map(|request| request.at);
            let last = requests.last().map(|request| request.at);
            first.zip(last).is_some_and(|(first, last)| last.duration_since(first) > Duration::from_millis(2500))
        });
        assert!(receiver.count() < 60, "{} requests to a receiver that is down", receiver.count());
        well.store(true, std::sync::atomic::Ordering::SeqCst);
        receiver.wait_until("all 100", Duration::from_secs(60), |requests| {
            let all: std::collections::BTreeSet<_> = requests.iter().map(tidings_tests::Request::sequence).collect();
            all.len() == 100
        });
        until("all to be dismissed", SOON, || tenant.consumer.ids("").is_empty().then_some(()));
    }

    fn under_every_profile_each_attempt_has_its_error_and_nothing_is_lost(db) {
        let server = Server::start(&db);
        let all = all_bad();
        let (senders, ..) = resources(&server);
        assert!(senders > 0, "there are sending threads");
        round(&server, &all, &PROFILES, 10);
        // Large ones show when they are kept for longer than they are needed.
        let large = || round(&server, &all, &[None, Some("serviceOptimizer")], 100_000);
        large();
        // By now everything is there that is made when it is first needed.
        let (_, files, memory) = resources(&server);
        large();
        large();
        assert_eq!(resources(&server).0, senders, "a sending thread is lost");
        server.anonymous().get("/readyz").expect(200);
        until("connections to be closed", SOON, || (resources(&server).1 <= files + 16).then_some(()));
        let grown = resources(&server).2.saturating_sub(memory);
        assert!(grown < 24 * 1024, "the server has grown by {grown} kB");

        // And who is well is served at once, whatever the profile.
        for profile in PROFILES {
            let well = Receiver::start(|request, _| {
                let id = request.header(&CLIENT_ID_HEADER.to_ascii_lowercase()).to_owned();
                let body = json!({"Success": true, "Code": 0, "Message": "OK"}).to_string();
                Reply::WithBody(200, vec![(CLIENT_ID_HEADER.into(), id)], body.into())
            });
            let admin = server.admin("well");
            admin.settings(json!({"profile": profile, "push": {"url": well.url()}})).expect(200);
            let begun = Instant::now();
            let id = admin.post_event(&event("close"));
            let push = wait_for_end(&admin, id, "the push to a receiver that is well");
            assert_eq!((&push["state"], &push["attempts"]), (&json!("delivered"), &json!(1)), "{profile:?}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{profile:?}: it waited {:?}", begun.elapsed());
        }
    }

    fn under_every_profile_a_blocked_address_is_an_error_of_its_own(db) {
        let receiver = Receiver::accepting();
        let bad = Bad { name: "blocked", url: format!("http://127.0.0.2:{}/hook", receiver.port()), error: None, receiver: None, timeout: None };
        // Set while it is allowed; the operator takes that back.
        let allowing = Server::start(&db);
        let admins: Vec<(Option<&str>, Api)> = PROFILES
            .into_iter()
            .map(|profile| {
                let admin = allowing.admin("blocked");
                aim(&admin, profile, &bad);
                (profile, admin)
            })
            .collect();
        drop(allowing);
        let options = Options { allow_egress: Some("127.0.0.1/32".into()), ..Options::default() };
        let server = Server::start_with(&db, options);
        let admins: Vec<(Option<&str>, Api)> =
            admins.into_iter().map(|(profile, admin)| (profile, Api::new(&server.url(), Some(admin.key())))).collect();
        for (_, admin) in &admins {
            admin.post_event(&event("close"));
        }
        for (profile, admin) in &admins {
            check(admin, 1, Some("blocked_address"), attempts(*profile), &format!("blocked under {profile:?}"));
        }
        assert_eq!(receiver.count(), 0, "a blocked address was called");
    }
}
