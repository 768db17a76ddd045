//! Whatever a receiver does or leaves, an attempt ends at its deadline and holds up no other.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidings_server::push::sender::{Failure, Outgoing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{LEEWAY, OK, PLENTY, Receiver, assert_times_out, outgoing, push, request, sender, until, url};

#[tokio::test]
async fn the_deadline_holds_for_an_answer_that_does_not_come() {
    let silent = Receiver::start(|mut stream| async move {
        request(&mut stream).await.unwrap();
        pending().await
    })
    .await;
    let attempt = assert_times_out(&sender(), &silent.url()).await;
    assert_eq!(attempt.address, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
}

#[tokio::test]
async fn the_deadline_holds_for_tls_that_is_not_answered() {
    let silent = Receiver::start(|stream| async move {
        let _open = stream;
        pending().await
    })
    .await;
    assert_times_out(&sender(), &url(&format!("https://{}/", silent.address))).await;
}

#[tokio::test]
async fn the_deadline_holds_for_dripping_heads_and_bodies() {
    for beginning in [
        "HTTP/1.1 200 OK\r\nx: ",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n",
    ] {
        let dripping = Receiver::start(move |mut stream| async move {
            request(&mut stream).await.unwrap();
            stream.write_all(beginning.as_bytes()).await.unwrap();
            while stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert_times_out(&sender(), &dripping.url()).await;
    }
}

#[tokio::test]
async fn the_deadline_holds_for_endless_interim_answers() {
    let stalling = Receiver::start(|mut stream| async move {
        request(&mut stream).await.unwrap();
        while stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_times_out(&sender(), &stalling.url()).await;
}

#[tokio::test]
async fn a_receiver_that_does_not_read_is_left_at_the_deadline() {
    let (closed, mut was_closed) = mpsc::unbounded_channel();
    let (read_on, may_read) = tokio::sync::watch::channel(false);
    let receiver = Receiver::start(move |mut stream| {
        let (closed, mut may_read) = (closed.clone(), may_read.clone());
        async move {
            may_read.wait_for(|may| *may).await.unwrap();
            let mut received = Vec::new();
            let _ = stream.read_to_end(&mut received).await;
            closed.send(received.len()).unwrap();
        }
    })
    .await;
    let size = 64 << 20;
    let (url, deadline) = (receiver.url(), Duration::from_millis(300));
    let attempt = sender().send(Outgoing { body: vec![b'x'; size].into(), deadline, ..outgoing(&url) }).await;
    assert_eq!(attempt.outcome.unwrap_err(), Failure::Timeout);
    assert!(attempt.duration < deadline + LEEWAY, "took {:?}", attempt.duration);
    read_on.send(true).unwrap();
    let received = timeout(PLENTY, was_closed.recv()).await.expect("the connection must be closed").unwrap();
    assert!(received < size, "all {received} bytes were sent after the deadline");
}

#[tokio::test]
async fn what_timed_out_is_not_used_again() {
    let slow_at_first = Receiver::start(|mut stream| async move {
        let text = request(&mut stream).await.unwrap();
        if text.ends_with("slow") {
            pending::<()>().await;
        }
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let (sender, url) = (sender(), slow_at_first.url());
    let deadline = Duration::from_millis(100);
    let slow = Outgoing { body: Bytes::from_static(b"slow"), deadline, ..outgoing(&url) };
    assert_eq!(sender.send(slow).await.outcome.unwrap_err(), Failure::Timeout);
    assert_eq!(push(&sender, &slow_at_first).await.outcome.unwrap().text(&[]), "ok");
    assert_eq!(slow_at_first.connections(), 2);
}

#[tokio::test]
async fn receivers_that_hang_do_not_hold_up_others() {
    let (hanging, healthy) = (Receiver::start(hang).await, Receiver::keeping().await);
    let sender = Arc::new(sender());
    let mut hung = JoinSet::new();
    for _ in 0..200 {
        let (sender, url) = (Arc::clone(&sender), hanging.url());
        hung.spawn(async move { sender.send(outgoing(&url)).await });
    }
    until(|| hanging.connections() == 200).await;
    let began = Instant::now();
    assert_eq!(push(&sender, &healthy).await.outcome.unwrap().status, 200);
    assert!(began.elapsed() < PLENTY / 2, "took {:?}", began.elapsed());
    assert!(hung.try_join_next().is_none(), "the others must still hang");
}

async fn hang(mut stream: TcpStream) {
    request(&mut stream).await;
    pending().await
}
