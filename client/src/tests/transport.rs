//! Retries, deadlines, broken answers, and the thread.

use std::time::{Duration, Instant};

use super::server::{Reply, Server, json};
use super::{document, sequence, wait_for};
use crate::{Client, Error, ErrorCode, Event, Posted};

const BUSY: &str = r#"{"errors":[{"status":"503","code":"unavailable","title":"t","detail":"d"}]}"#;

#[test]
fn a_post_is_repeated_with_the_same_idempotency_key() {
    let server = Server::start([
        json(503, "", BUSY),
        Reply::Close(String::new()),
        Reply::Close("HTTP/1.1 201 X\r\ncontent-length: 500\r\n\r\n{".into()),
        json(201, "", &document(1)),
        json(201, "", &document(2)),
    ]);
    let client = server.client().build().unwrap();
    let posted = wait_for(client.post(Event::new("close").unwrap())).unwrap();
    assert!(matches!(posted, Posted::Stored(stored) if stored.data.id == sequence(1)));
    wait_for(client.post(Event::new("close").unwrap())).unwrap();

    let seen = server.seen();
    let keys: Vec<_> = seen.iter().map(|seen| seen.header("idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 5);
    assert!(keys[..4].iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_ne!(keys[4], keys[0], "another post has another key");
    assert!(seen[..4].iter().all(|other| other.body == seen[0].body));
}

#[test]
fn retry_after_is_obeyed() {
    let server = Server::start([json(429, "retry-after: 2\r\n", "{}"), json(200, "", &document(1))]);
    wait_for(server.client().build().unwrap().get(sequence(1))).unwrap();
    let seen = server.seen();
    let delay = seen[1].at - seen[0].at;
    assert!(delay >= Duration::from_secs(2), "{delay:?}");
}

#[test]
fn a_retry_after_that_is_too_long_is_handed_to_the_caller() {
    let server = Server::start([json(503, "retry-after: 61\r\n", BUSY)]);
    let error = wait_for(server.client().build().unwrap().get(sequence(1))).unwrap_err();
    assert!(matches!(error, Error::Api { retry_after: Some(after), .. } if after == Duration::from_secs(61)));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn retries_are_bounded() {
    let server = Server::start((0..10).map(|_| json(503, "", BUSY)));
    let client = server.client().retries(2).build().unwrap();
    let error = wait_for(client.get(sequence(1))).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unavailable));
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn nobody_listening_is_an_error_after_the_retries() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::builder(format!("http://{free}")).key("k").retries(1).build().unwrap();
    assert!(matches!(wait_for(client.get(sequence(1))), Err(Error::Transport(_))));
}

#[test]
fn what_the_server_refuses_is_not_repeated() {
    let server = Server::start([json(404, "", "{}"), json(200, "", &document(1))]);
    let error = wait_for(server.client().build().unwrap().get(sequence(1))).unwrap_err();
    assert!(matches!(error, Error::Api { status: 404, .. }));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_truncated_answer_is_an_error() {
    let body = document(1);
    let half = &body[..body.len() / 2];
    let counted = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{half}", body.len());
    let chunked = format!("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{half}", body.len());
    for broken in [counted, chunked] {
        let server = Server::start([Reply::Close(broken)]);
        let client = server.client().retries(0).build().unwrap();
        assert!(matches!(wait_for(client.get(sequence(1))), Err(Error::Transport(_))));
    }
}

#[test]
fn the_deadline_covers_a_dripping_body() {
    let server = Server::start([Reply::Drip("HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n".into())]);
    let client = server.client().timeout(Duration::from_millis(300)).build().unwrap();
    let begun = Instant::now();
    assert!(matches!(wait_for(client.get(sequence(1))), Err(Error::Timeout(_))));
    let took = begun.elapsed();
    assert!((300..5_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(server.seen().len(), 1, "a timeout is not repeated");
}

#[test]
fn an_answer_that_is_too_large_is_an_error() {
    let counted = json(200, "", &" ".repeat(2_000));
    let chunked =
        "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n".to_owned() + &" ".repeat(2_000);
    for large in [counted, Reply::Keep(chunked)] {
        let server = Server::start([large]);
        let client = server.client().max_body(1_000).build().unwrap();
        let error = wait_for(client.get(sequence(1))).unwrap_err();
        assert!(error.to_string().contains("larger than 1000 bytes"), "{error}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn an_interim_answer_is_never_taken_for_the_next_ones() {
    let server = Server::start([Reply::Keep("HTTP/1.1 103 X\r\n\r\n".into()), json(200, "", &document(2))]);
    let client = server.client().retries(0).build().unwrap();
    let error = wait_for(client.get(sequence(1))).unwrap_err();
    assert!(error.to_string().contains("103"), "{error}");
    // On this connection, the next thing to come would be the final answer.
    server.wait_for_close();
    assert_eq!(wait_for(client.get(sequence(2))).unwrap().data.id, sequence(2));
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Server::start([json(200, "", &document(1))]);
    let location = format!("location: http://{}/\r\n", elsewhere.address);
    let server = Server::start([json(307, &location, "")]);
    let error = wait_for(server.client().build().unwrap().get(sequence(1))).unwrap_err();
    assert!(matches!(error, Error::Api { status: 307, .. }));
    assert!(elsewhere.seen().is_empty());
}

#[test]
fn a_connection_that_was_closed_meanwhile_does_no_harm() {
    // Answers as if the connection would stay, and closes it.
    let reply = |id| match json(200, "", &document(id)) {
        Reply::Keep(text) => Reply::Close(text),
        other => other,
    };
    let server = Server::start((1..=20).map(reply));
    let client = server.client().build().unwrap();
    for id in 1..=20 {
        assert_eq!(wait_for(client.get(sequence(id))).unwrap().data.id, sequence(id));
    }
}

#[test]
fn it_works_under_tokio_and_from_many_threads() {
    let server = Server::start((0..9).map(|_| json(200, "", &document(1))));
    let client = server.client().build().unwrap();
    actix_rt::Runtime::new().unwrap().block_on(client.get(sequence(1))).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| wait_for(client.get(sequence(1))).unwrap());
        }
    });
    assert_eq!(server.seen().len(), 9);
}

#[test]
fn clients_futures_and_streams_can_be_sent() {
    fn is_sendable<T: Send>(_: T) {}
    fn is_shareable<T: Send + Sync + Clone>(_: &T) {}
    let client = Client::builder("http://127.0.0.1:1").key("k").build().unwrap();
    is_shareable(&client);
    is_sendable(client.get(sequence(1)));
    is_sendable(client.post(Event::new("close").unwrap()));
    is_sendable(client.operations().send());
    is_sendable(client.notifications().page());
    is_sendable(client.notifications().items());
}

#[test]
fn dropping_a_call_takes_it_back() {
    let server = Server::start([Reply::Drip("HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n".into())]);
    let client = server.client().build().unwrap();
    let (dropped, drop_it) = futures_channel::oneshot::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            while server.seen().is_empty() {
                assert!(begun.elapsed() < Duration::from_secs(10), "the request never came");
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(dropped);
        });
        let call = std::pin::pin!(client.get(sequence(1)));
        wait_for(futures_util::future::select(call, drop_it));
    });
    server.wait_for_close();
}

#[test]
fn the_thread_ends_with_the_last_clone() {
    let server = Server::start([json(200, "", &document(1)), json(200, "", &document(1))]);
    let client = server.client().build().unwrap();
    let clone = client.clone();
    wait_for(client.get(sequence(1))).unwrap();
    drop(client);
    wait_for(clone.get(sequence(1))).unwrap();
    drop(clone);
    // Its connections are closed with it.
    server.wait_for_close();
}
