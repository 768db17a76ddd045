//! The server in memory and the signed pushes do what the real ones do.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use serde_json::json as value;

use super::server::{Server as Receiver, json};
use super::{sequence, wait_for};
use crate::testing::{self, Fault, Server};
use crate::webhook::Verifier;
use crate::{Client, Error, ErrorCode, Event, Flags, NotificationDocument, Posted, PushState, Resource};

const DISMISS: Flags = Flags { is_dismissed: Some(true), is_read: None, is_flagged: None };

fn event(r#type: &str) -> Event {
    Event::new(r#type).unwrap()
}

fn ids(items: &[NotificationDocument]) -> Vec<i64> {
    items.iter().map(|item| item.data.id.get()).collect()
}

#[test]
fn a_signed_push_is_one_until_something_of_it_is_changed() {
    let secret = testing::secret();
    assert_ne!(secret, testing::secret());
    let push = testing::signed_push(&secret, &testing::document(7, "my.own")).of_tenant("t");
    let verifier = Verifier::new([&secret]).unwrap();
    let verified = verifier.verify(|name| push.header(name), &push.body).unwrap();
    assert_eq!(verified.document.data.attributes.r#type.as_str(), "my.own");
    assert_eq!((push.header("tidings-sequence"), push.header("tidings-tenant")), (Some("7"), Some("t")));
    let forged = push.clone().with_header("Webhook-Id", "another");
    assert!(matches!(verifier.verify(|name| forged.header(name), &push.body), Err(Error::Signature(_))));
    let other = Verifier::new([testing::secret()]).unwrap();
    assert!(matches!(other.verify(|name| push.header(name), &push.body), Err(Error::Signature(_))));
}

#[test]
fn what_is_posted_is_read_flagged_and_listed() {
    let server = Server::start();
    let client = server.client();
    let event_of_all = event("my.own")
        .event_id("mine")
        .comment("c")
        .data(&value!({"a": 1}))
        .unwrap()
        .entity(Resource::new("e:1").attributes(&value!({"name": "E"})).unwrap())
        .created_by("100");
    let Posted::Stored(first) = wait_for(client.post(event_of_all.clone())).unwrap() else {
        panic!("it is new")
    };
    assert!(matches!(wait_for(client.post(event_of_all)).unwrap(), Posted::Duplicate(_)));
    let read = wait_for(client.get(first.data.id)).unwrap();
    assert_eq!(read.data.attributes.data.as_ref().unwrap().get(), r#"{"a":1}"#);
    assert_eq!(read.data.relationships.created_by.as_ref().unwrap().data.id, "100");
    assert_eq!(read.included[0].identifier.id, "e:1");
    assert_eq!(wait_for(client.get(sequence(2))).unwrap_err().code(), Some(ErrorCode::NotFound));

    for _ in 0..4 {
        server.add(event("close"));
    }
    assert!(wait_for(client.update(sequence(3), DISMISS)).unwrap().data.attributes.is_dismissed);
    let all =
        |query: crate::Query| ids(&wait_for(query.page_size(2).items().try_collect::<Vec<_>>()).unwrap());
    assert_eq!(all(client.notifications()), [1, 2, 4, 5]);
    assert_eq!(all(client.notifications().any_dismissed().newest_first()), [5, 4, 3, 2, 1]);
    assert_eq!(all(client.notifications().dismissed(true)), [3]);
    assert_eq!(all(client.notifications().types(["close"]).after(2)), [4, 5]);
    assert_eq!(wait_for(client.newest()).unwrap(), sequence(5));
    assert_eq!(server.undismissed(), [1, 2, 4, 5].map(sequence));
    let items: Vec<_> = wait_for(client.notifications().items().try_collect()).unwrap();
    assert_eq!(items[0].included[0].identifier.id, "e:1");
    let error = wait_for(client.notifications().entities(["e:1"]).page()).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownParameter), "a filter is never left out in silence");
}

#[test]
fn operations_are_all_or_none() {
    let server = Server::start();
    let client = server.client();
    server.add(event("close"));
    let bad =
        client.operations().add(event("close")).update(sequence(1), DISMISS).update(sequence(9), DISMISS);
    assert_eq!(wait_for(bad.send()).unwrap_err().code(), Some(ErrorCode::NotFound));
    assert_eq!(server.undismissed(), [sequence(1)]);
    let good = client.operations().add(event("close")).update(sequence(1), DISMISS);
    let results = wait_for(good.send()).unwrap();
    assert_eq!(results[0].data.as_ref().unwrap().id, sequence(2));
    assert_eq!(server.undismissed(), [sequence(2)]);
}

#[test]
fn what_is_forgotten_expires_cursors() {
    let server = Server::start();
    let client = server.client();
    for _ in 0..5 {
        server.add(event("close"));
    }
    server.forget(sequence(3));
    let after = |cursor| wait_for(client.notifications().oldest_first().after(cursor).page());
    let error = after(1).unwrap_err();
    assert!(error.is_cursor_expired() && error.oldest() == Some(sequence(4)), "{error:?}");
    for cursor in [0, 3] {
        let page = after(cursor).unwrap();
        assert_eq!(page.data.iter().map(|item| item.id.get()).collect::<Vec<_>>(), [4, 5]);
    }
    assert!(server.get(sequence(3)).is_none());
    server.forget(sequence(5));
    server.add(event("close"));
    assert_eq!(server.undismissed(), [sequence(6)], "no id is given twice");
}

#[test]
fn a_page_waits_for_what_comes() {
    let server = Server::start();
    let client = server.client();
    let begun = Instant::now();
    let waiting = client.notifications().oldest_first().after(0).wait(Duration::from_secs(20)).page();
    let page = std::thread::scope(|scope| {
        let page = scope.spawn(|| wait_for(waiting));
        while server.requests().is_empty() {
            std::thread::yield_now();
        }
        server.add(event("close"));
        page.join().unwrap()
    });
    assert_eq!(page.unwrap().data.len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn things_go_wrong_as_often_as_they_should_and_where() {
    let server = Server::start();
    let client = server.client_builder().retries(0).build().unwrap();
    server.fault("POST /notifications", Fault::Refuse(503), 2);
    server.fault("", Fault::Cut, 1);
    let post = || wait_for(client.post(event("close").event_id("mine")));
    for _ in 0..2 {
        assert!(matches!(post(), Err(Error::Api { status: 503, .. })));
    }
    assert_eq!(server.undismissed(), []);
    // Carried out, and nobody knows.
    assert!(matches!(post(), Err(Error::Transport(_))));
    assert_eq!(server.undismissed(), [sequence(1)]);
    assert!(matches!(post(), Ok(Posted::Duplicate(_))));
    server.fault("GET", Fault::Delay(Duration::from_secs(1)), usize::MAX);
    let hasty = server.client_builder().timeout(Duration::from_millis(200)).build().unwrap();
    assert!(matches!(wait_for(hasty.get(sequence(1))), Err(Error::Timeout(_))));
    server.heal();
    wait_for(client.get(sequence(1))).unwrap();
    assert_eq!(server.requests().iter().filter(|line| *line == "POST /notifications").count(), 4);
    assert!(server.requests().contains(&"GET /notifications/1".to_owned()));
}

#[test]
fn answers_name_the_tenant_and_a_wrong_key_is_refused() {
    let (server, other) = (Server::start(), Server::start());
    assert_ne!(server.tenant(), other.tenant());
    let list = server.client();
    let (_, tenant) = wait_for(list.list::<serde_json::Value>("", None, Duration::ZERO)).unwrap();
    assert_eq!(tenant, Some(server.tenant()));
    let stranger = Client::builder(server.url()).key("another").build().unwrap();
    let error = wait_for(stranger.notifications().page()).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unauthenticated));
}

#[test]
fn new_notifications_are_pushed_once_and_dismissed_if_that_is_wanted() {
    let secret = testing::secret();
    let receiver = Receiver::start([json(500, "", ""), json(200, "", ""), json(200, "", "")]);
    let server = Server::start();
    server.push_to(format!("http://{}/hook", receiver.address), &secret);
    server.auto_dismiss(true);
    let client = server.client();
    wait_for(client.post(event("close"))).unwrap();
    let state = |id| server.get(sequence(id)).unwrap().data.meta.unwrap().push;
    let until = |id, wanted| {
        let begun = Instant::now();
        while state(id).state != wanted {
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", state(id));
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until(1, PushState::Failed);
    server.add(event("sign"));
    until(2, PushState::Delivered);
    assert_eq!(server.undismissed(), [sequence(1)]);
    assert_eq!(wait_for(server.push(sequence(1))), Some(200));
    assert_eq!(wait_for(server.push(sequence(9))), None);
    assert_eq!(server.undismissed(), []);
    assert_eq!(state(1).attempts, 2);
    server.stop_pushing();
    assert_eq!(wait_for(server.push(sequence(1))), None);

    let seen = receiver.seen();
    assert_eq!(seen.len(), 3);
    let verifier = Verifier::new([&secret]).unwrap();
    for (seen, (id, attempt)) in seen.iter().zip([("1", "1"), ("2", "1"), ("1", "2")]) {
        assert_eq!(seen.line, "POST /hook HTTP/1.1");
        let push = verifier.verify(|name| seen.header(name), seen.body.as_bytes()).unwrap();
        assert_eq!(push.document.data.id.to_string(), id);
        assert!(push.document.data.attributes.is_dismissed && push.document.data.meta.is_none());
        assert_eq!(seen.header("tidings-attempt"), Some(attempt));
        assert_eq!(seen.header("tidings-tenant"), Some(server.tenant().as_str()));
    }
}

#[test]
fn a_server_that_is_dropped_listens_no_longer() {
    let server = Server::start();
    let client = server.client_builder().retries(0).build().unwrap();
    wait_for(client.newest()).unwrap();
    drop(server);
    assert!(matches!(wait_for(client.newest()), Err(Error::Transport(_))));
}
