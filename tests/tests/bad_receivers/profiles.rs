//! Every badly behaved receiver under every profile, and what is left of it: the right errors, and no more memory, open
//! files or lost threads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_tests::server::Options;
use tidings_tests::systems::CLIENT_ID_HEADER;
use tidings_tests::wait::SOON;
use tidings_tests::{Api, Receiver, Reply, Server, event, on_both, until};

use crate::behaviours::{Bad, all_bad};

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
