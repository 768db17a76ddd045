//! People are told when a push is in trouble: once for each change of state, by mail and at a URL, and never by a flood.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

#[path = "alerts/disabled.rs"]
mod disabled;
#[path = "alerts/states.rs"]
mod states;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::receivers::Mute;
use tidings_tests::smtp::Smtp;
use tidings_tests::wait::SOON;
use tidings_tests::{Database, Options, Receiver, Reply, Request, Server, Tenant, event, on_both};

const PASSWORD: &str = "sm7p-s3cret";

/// A server that can send mail, and what it sends alerts to.
struct House {
    server: Server,
    mail: Smtp,
    alerts: Receiver,
}

fn with_mail(mail: &Smtp) -> Options {
    let url = mail.url(&format!("user:{PASSWORD}"));
    let arguments = ["--smtp-url", &url, "--alert-from", "Tidings <tidings@example.com>"];
    Options { arguments: arguments.map(str::to_owned).to_vec(), ..Options::default() }
}

impl House {
    fn start(db: &Database) -> Self {
        let mail = Smtp::start();
        let server = Server::start_with(db, with_mail(&mail));
        House { server, mail, alerts: Receiver::accepting() }
    }

    /// A tenant that wants to be told, and whose push goes to this receiver by this schedule.
    fn tenant(&self, receiver: &Receiver, retry: Value) -> Tenant {
        let tenant = self.server.tenant("Acme");
        let alerts = json!({"email": "ops@example.com", "url": self.alerts.url()});
        tenant.admin.settings(json!({"alerts": alerts})).expect(200);
        tenant.admin.settings(json!({"push": {"url": receiver.url(), "retry": retry}})).expect(200);
        tenant
    }

    /// Waits until `last` was told at the URL and by mail, and expects that all that was told is this. What is raised
    /// is told in its order, so nothing earlier can still be on its way.
    #[track_caller]
    fn expect(&self, kinds: &[&str]) {
        let last = *kinds.last().unwrap();
        let count = |told: &[String]| told.iter().filter(|kind| *kind == last).count();
        let wanted = kinds.iter().filter(|kind| **kind == last).count();
        tidings_tests::until(&format!("{kinds:?}"), Duration::from_secs(60), || {
            (count(&self.posted()) >= wanted && self.mail.mails().len() >= kinds.len()).then_some(())
        });
        assert_eq!(self.posted(), kinds);
        let mails = self.mail.mails();
        assert_eq!(
            mails.len(),
            kinds.len(),
            "{:?}",
            mails.iter().map(|mail| mail.subject()).collect::<Vec<_>>()
        );
    }

    fn posted(&self) -> Vec<String> {
        self.alerts.requests().iter().map(kind).collect()
    }
}

fn kind(request: &Request) -> String {
    request.json()["data"]["attributes"]["kind"].as_str().unwrap().to_owned()
}

/// A receiver whose status can be changed while it runs.
fn receiver(status: u16) -> (Receiver, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(status));
    let now = Arc::clone(&answer);
    (Receiver::start(move |_, _| Reply::Status(now.load(Ordering::SeqCst))), answer)
}

fn every_second(attempts: u32) -> Value {
    json!({"kind": "fixed", "everySeconds": 1, "attempts": attempts, "jitter": 0.0})
}

on_both! {
    fn a_streak_of_failures_is_told_once_and_so_is_its_end(db) {
        let house = House::start(&db);
        let (receiver, answer) = receiver(500);
        let tenant = house.tenant(&receiver, every_second(4));
        tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(1, "failed");
        // Another one in the same streak is no news.
        tenant.producer.post_event(&event("close"));
        tidings_tests::until("the second to be given up", Duration::from_secs(60), || {
            (tenant.push_status(2)["state"] == "failed").then_some(())
        });
        answer.store(200, Ordering::SeqCst);
        tenant.producer.post_event(&event("close"));
        house.expect(&["failing", "retries50", "retries100", "recovered"]);

        let posted = house.alerts.requests();
        for request in &posted {
            assert!(request.is_signed_with(&tenant.signing_secret), "the signature is right");
            assert_eq!(request.header("webhook-id"), format!("alert_{}", request.json()["data"]["id"].as_str().unwrap()));
        }
        let told = posted[0].json();
        assert_eq!(told["data"]["type"], "alert");
        let attributes = &told["data"]["attributes"];
        assert_eq!(attributes["tenantId"], tenant.id);
        assert_eq!(attributes["tenantName"], "Acme");
        assert_eq!(attributes["pushState"], "active");
        assert_eq!(attributes["host"], "127.0.0.1");
        assert!(attributes["detail"].as_str().unwrap().contains("the receiver answered 500"), "{attributes}");
        let last = posted[3].json();
        assert_eq!(last["data"]["attributes"]["since"], attributes["since"], "well again since the streak began");

        let first = &house.mail.mails()[0];
        assert_eq!(first.to, [" TO:<ops@example.com>"]);
        assert_eq!(first.subject(), "[Tidings] Acme: a push failed, the first one since the last success");
        assert_eq!(first.headers("auto-submitted"), ["auto-generated"]);
        for part in [&tenant.id, "the receiver answered 500", "Receiver: 127.0.0.1", "What to do: "] {
            assert!(first.text().contains(part), "{part} is missing in {}", first.text());
        }

        answer.store(500, Ordering::SeqCst);
        tenant.producer.post_event(&event("close"));
        tidings_tests::until("a second streak to be told", SOON, || {
            house.posted().get(4).map(|kind| assert_eq!(kind, "failing"))
        });
    }

    fn many_failures_are_no_more_than_one(db) {
        let house = House::start(&db);
        // The receiver is well and won't have these. All are tried: they are too few to mean that it refuses everything.
        let (receiver, answer) = receiver(422);
        let tenant = house.tenant(&receiver, json!({"kind": "none"}));
        (0..45).for_each(|_| {
            tenant.producer.post_event(&event("close"));
        });
        receiver.wait_for(45, Duration::from_secs(60));
        house.expect(&["failing", "retries100"]);
        answer.store(200, Ordering::SeqCst);
        tenant.producer.post_event(&event("close"));
        house.expect(&["failing", "retries100", "recovered"]);
    }

    fn a_receiver_that_is_gone_is_told_once_and_so_is_its_resumption(db) {
        let house = House::start(&db);
        let (receiver, answer) = receiver(410);
        let tenant = house.tenant(&receiver, every_second(20));
        tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(1, "paused");
        tenant.producer.post_event(&event("close"));
        answer.store(200, Ordering::SeqCst);
        tenant.admin.settings(json!({"push": {"enabled": true}})).expect(200);
        tenant.wait_for_state(2, "delivered");
        house.expect(&["paused", "resumed"]);
    }

    fn a_restart_repeats_nothing_and_loses_nothing(db) {
        let mut house = House::start(&db);
        let (receiver, answer) = receiver(500);
        let tenant = house.tenant(&receiver, every_second(100));
        tenant.producer.post_event(&event("close"));
        house.expect(&["failing"]);
        let before = receiver.count();
        house.server.kill9();
        house.server.restart();
        receiver.wait_for(before + 2, Duration::from_secs(60));
        answer.store(200, Ordering::SeqCst);
        house.expect(&["failing", "recovered"]);
    }

    fn a_failure_that_is_over_at_once_is_over(db) {
        let house = House::start(&db);
        let receiver = Receiver::start(|_, nth| Reply::Status(if nth == 0 { 500 } else { 200 }));
        let tenant = house.tenant(&receiver, json!({"kind": "none"}));
        tenant.producer.post_event(&event("close"));
        tenant.wait_for_state(1, "failed");
        tenant.producer.post_event(&event("close"));
        house.expect(&["failing", "retries100", "recovered"]);
    }

    fn a_url_that_hangs_holds_up_no_other_tenant(db) {
        let house = House::start(&db);
        let hangs = Mute::start();
        let (receiver, _) = receiver(500);
        let sick = house.tenant(&receiver, every_second(100));
        sick.admin.settings(json!({"alerts": {"url": hangs.url(), "email": null}})).expect(200);
        sick.producer.post_event(&event("close"));
        tidings_tests::until("the alert to hang", SOON, || (hangs.count() == 1).then_some(()));
        let well = house.tenant(&receiver, every_second(100));
        well.producer.post_event(&event("close"));
        // A request is given up after fifteen seconds.
        tidings_tests::until("the other to be told", Duration::from_secs(8), || (house.posted() == ["failing"]).then_some(()));
        assert_eq!(hangs.count(), 1, "and the first is still being told");
    }

    fn what_could_not_be_sent_is_sent_later(db) {
        let house = House::start(&db);
        house.mail.refuse(true);
        let (receiver, _) = receiver(500);
        let tenant = house.tenant(&receiver, every_second(100));
        tenant.producer.post_event(&event("close"));
        house.alerts.wait_for(1, SOON);
        assert!(house.mail.mails().is_empty());
        house.mail.refuse(false);
        house.mail.wait_for(1, Duration::from_secs(30));
        house.expect(&["failing"]);
    }

    fn a_test_says_for_each_way_whether_it_works(db) {
        let house = House::start(&db);
        let tenant = house.server.tenant("Acme");
        let test = || tenant.admin.send("POST", "external-notifications/alerts/test", &[], None);
        assert!(test().refused(422)["detail"].as_str().unwrap().contains("alerts.email"));
        let alerts = json!({"email": "ops@example.com", "url": house.alerts.url()});
        tenant.admin.settings(json!({"alerts": alerts})).expect(200);
        let answer = test().expect(200);
        assert_eq!(answer["data"]["attributes"], json!({"email": {"sent": true, "error": null}, "url": {"sent": true, "error": null}}));
        house.expect(&["test"]);
        assert!(house.alerts.requests()[0].is_signed_with(&tenant.signing_secret));

        let again = test();
        again.refused_as(ErrorCode::TooManyVerifications);
        let seconds: u64 = again.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        assert_eq!(house.mail.mails().len(), 1, "nobody's mailbox can be filled");
        let a_minute_later = || db.execute("UPDATE alerts SET at = at - 60000000 WHERE kind = 'test';");

        a_minute_later();
        house.mail.refuse(true);
        let nowhere = format!("http://127.0.0.1:{}/", tidings_tests::ports::free());
        tenant.admin.settings(json!({"alerts": {"url": nowhere}})).expect(200);
        let answer = test().expect(200)["data"]["attributes"].clone();
        assert_eq!(answer["email"]["sent"], false);
        assert!(answer["email"]["error"].as_str().unwrap().contains("550"), "{answer}");
        assert_eq!(answer["url"], json!({"sent": false, "error": "no connection could be made"}));

        a_minute_later();
        tenant.admin.settings(json!({"alerts": {"url": null}})).expect(200);
        assert_eq!(test().expect(200)["data"]["attributes"]["url"], Value::Null);
        let refused = tenant.consumer.send("POST", "external-notifications/alerts/test", &[], None);
        refused.refused_as(ErrorCode::Forbidden);
    }
}

#[test]
fn a_name_can_t_add_headers_or_recipients() {
    let db = Database::new(tidings_tests::Kind::Sqlite);
    let house = House::start(&db);
    let tenant =
        house.server.tenant("Acme\u{2028}Bcc: all@example.com\u{2029}\u{2029}Übersee, \"<x@example.com>\"");
    tenant.admin.settings(json!({"alerts": {"email": "ops@example.com"}})).expect(200);
    tenant.admin.send("POST", "external-notifications/alerts/test", &[], None).expect(200);
    let mail = house.mail.wait_for(1, SOON).remove(0);
    assert_eq!(mail.to.len(), 1);
    assert_eq!(mail.headers("to"), ["ops@example.com"]);
    assert!(mail.headers("bcc").is_empty());
    assert!(!mail.text().lines().any(|line| line.starts_with("Bcc")), "{}", mail.text());
    assert!(mail.text().contains("Übersee"), "{}", mail.text());
}

#[test]
fn the_password_of_the_mail_server_is_shown_nowhere() {
    let db = Database::new(tidings_tests::Kind::Sqlite);
    let house = House::start(&db);
    let tenant = house.server.tenant("Acme");
    tenant.admin.settings(json!({"alerts": {"email": "ops@example.com"}})).expect(200);
    tenant.admin.send("POST", "external-notifications/alerts/test", &[], None).expect(200);
    assert!(!house.mail.wait_for(1, SOON)[0].login.is_empty(), "the mail server was logged in to");
    let printed = tidings_tests::server::command()
        .arg("config")
        .args(with_mail(&house.mail).arguments)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("smtp://user:***@127.0.0.1"), "{printed}");
    for text in [printed, house.server.log(), house.server.anonymous().get("/metrics").text] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[test]
fn without_a_mail_server_no_address_can_be_set() {
    let db = Database::new(tidings_tests::Kind::Sqlite);
    let server = Server::start(&db);
    let tenant = server.tenant("Acme");
    let error = tenant.admin.settings(json!({"alerts": {"email": "ops@example.com"}})).refused(422);
    assert_eq!(error["source"]["pointer"], "/data/attributes/alerts/email");
    let settings = tenant.admin.get("external-notifications").expect(200);
    assert_eq!(settings["data"]["attributes"]["alerts"]["email"], Value::Null, "nothing was changed");
}

#[test]
fn an_address_that_pushes_may_not_reach_gets_no_alert() {
    let db = Database::new(tidings_tests::Kind::Sqlite);
    let alerts = Receiver::accepting();
    let mut server = Server::start(&db);
    let tenant = server.tenant("Acme");
    tenant.admin.settings(json!({"alerts": {"url": alerts.url()}})).expect(200);
    server.term();
    // The same database under an operator who allows nothing.
    let server = Server::start_with(&db, Options { allow_egress: None, ..Options::default() });
    let admin = tidings_tests::Api::new(&server.url(), Some(tenant.admin.key()));
    let error =
        admin.settings(json!({"alerts": {"url": alerts.url()}})).refused_as(ErrorCode::BlockedAddress);
    assert_eq!(error["source"]["pointer"], "/data/attributes/alerts/url");
    let answer = admin.send("POST", "external-notifications/alerts/test", &[], None).expect(200);
    assert_eq!(answer["data"]["attributes"]["url"]["sent"], false);
    assert_eq!(alerts.count(), 0);
}
