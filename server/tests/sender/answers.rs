//! What arrives at a receiver, and every answer that it may give.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tidings_server::push::sender::{Failure, MAX_BODY, Outgoing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{OK, PLENTY, Receiver, answer_to, outgoing, push, request, sender, text};

#[tokio::test]
async fn a_push_arrives_as_it_was_given_and_its_answer_comes_back() {
    let (requests, mut seen) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream| {
        let requests = requests.clone();
        async move {
            requests.send(request(&mut stream).await.unwrap()).unwrap();
            stream
                .write_all(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy")
                .await
                .unwrap();
        }
    })
    .await;
    let attempt = push(&sender(), &receiver).await;
    let answer = attempt.outcome.unwrap();
    assert_eq!((answer.status, text(&answer).as_str(), &answer.body[..]), (503, "busy", &b"busy"[..]));
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(attempt.address, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let request = seen.recv().await.unwrap();
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{}"), "{request}");
    let mut headers: Vec<_> = request.lines().skip(1).take_while(|line| !line.is_empty()).collect();
    headers.sort_unstable();
    assert_eq!(headers, ["content-length: 2", &format!("host: {}", receiver.address), "webhook-id: n_1"]);
}

#[tokio::test]
async fn other_methods_are_sent_without_a_body_and_their_answers_have_headers() {
    for method in [Method::GET, Method::OPTIONS] {
        let (requests, mut seen) = mpsc::unbounded_channel();
        let receiver = Receiver::start(move |mut stream| {
            let requests = requests.clone();
            async move {
                requests.send(request(&mut stream).await.unwrap()).unwrap();
                let answer = "HTTP/1.1 200 OK\r\nX-Echo: a\r\nx-echo: b\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        })
        .await;
        let url = receiver.url();
        let outgoing = Outgoing { method: method.clone(), body: Bytes::new(), ..outgoing(&url) };
        let answer = sender().send(outgoing).await.outcome.unwrap();
        let echoes: Vec<_> = answer.headers.get_all("x-echo").iter().collect();
        assert_eq!(echoes, ["a", "b"]);
        let request = seen.recv().await.unwrap();
        assert!(request.starts_with(&format!("{method} /hook HTTP/1.1\r\n")), "{request}");
        assert!(request.ends_with("\r\n\r\n") && !request.contains("content-length"), "{request}");
    }
}

#[tokio::test]
async fn connections_are_kept() {
    let receiver = Receiver::keeping().await;
    let sender = sender();
    for _ in 0..3 {
        let attempt = push(&sender, &receiver).await;
        assert_eq!(attempt.outcome.unwrap().text(&[]), "ok");
        assert_eq!(attempt.address, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_the_receiver_closed_meanwhile_is_no_failure() {
    let (closed, mut was_closed) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut stream| {
        let closed = closed.clone();
        async move {
            request(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            assert!(request(&mut stream).await.is_none(), "nothing may be sent on a closed connection");
            closed.send(()).unwrap();
        }
    })
    .await;
    let sender = sender();
    for pushes in 1..=10 {
        assert_eq!(push(&sender, &receiver).await.outcome.unwrap().status, 200);
        timeout(PLENTY, was_closed.recv()).await.unwrap().unwrap();
        assert_eq!(receiver.connections(), pushes);
    }
}

#[tokio::test]
async fn answers_of_every_legal_form_are_read() {
    let closing = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "0123456789".repeat(500));
    for (answer, status, text) in [
        ("HTTP/1.1 200 OK\r\n\r\nends by closing", 200, "ends by closing"),
        (&closing, 200, &"0123456789".repeat(100)),
        ("HTTP/1.0 200 OK\r\n\r\nold", 200, "old"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", 200, "old"),
        ("HTTP/1.1 204\r\n\r\n", 204, ""),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nt: 1\r\n\r\n",
            200,
            "abc",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", 200, "ok"),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            200,
            "ok",
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 202 Yes\r\n\r\n", 202, ""),
        ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", 410, ""),
        ("HTTP/1.1 599 ?\r\ncontent-length: 0\r\n\r\nmore than was announced", 599, ""),
    ] {
        let read = answer_to(answer).await.unwrap_or_else(|failure| panic!("{failure:?} for {answer}"));
        assert_eq!((read.status, read.text(&[]).as_str()), (status, text), "{answer}");
    }
}

#[tokio::test]
async fn what_is_no_complete_answer_is_a_protocol_failure() {
    let large_header =
        format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(300 * 1024));
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(5_000));
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
        "HTTP/1.1 99999 OK\r\n\r\n",
        "HTTP/3.0 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\0\x01\x02\x03",
        "",
        &large_header,
        &many_headers,
    ] {
        let shown = &answer[..answer.len().min(100)];
        assert_eq!(answer_to(answer).await.err(), Some(Failure::Protocol), "{shown}");
    }
}

#[tokio::test]
async fn a_reset_is_a_protocol_failure() {
    // What isn't read when a socket is dropped makes it a reset.
    let at_once = Receiver::start(|stream| async move { stream.readable().await.unwrap() }).await;
    assert_eq!(push(&sender(), &at_once).await.outcome.unwrap_err(), Failure::Protocol);
    let in_the_body = Receiver::start(|mut stream| async move {
        let mut first = [0];
        stream.read_exact(&mut first).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok").await.unwrap();
    })
    .await;
    assert_eq!(push(&sender(), &in_the_body).await.outcome.unwrap_err(), Failure::Protocol);
}

#[tokio::test]
async fn an_endless_body_is_read_up_to_the_bound_and_cut_off() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"] {
        let (closed, mut was_closed) = mpsc::unbounded_channel();
        let endless = Receiver::start(move |mut stream| {
            let closed = closed.clone();
            async move {
                request(&mut stream).await.unwrap();
                stream.write_all(head.as_bytes()).await.unwrap();
                while stream.write_all(&[b'x'; 1000]).await.is_ok() {}
                closed.send(()).unwrap();
            }
        })
        .await;
        let answer = push(&sender(), &endless).await.outcome.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, MAX_BODY));
        assert_eq!(text(&answer), "x".repeat(1_000));
        timeout(PLENTY, was_closed.recv()).await.expect("the connection must be closed").unwrap();
    }
}

#[tokio::test]
async fn redirects_are_answers_and_not_followed() {
    let other = Receiver::keeping().await;
    for status in [301, 302, 303, 307, 308] {
        let redirect = format!(
            "HTTP/1.1 {status} Go\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n",
            other.address
        );
        assert_eq!(answer_to(redirect).await.unwrap().status, status);
    }
    other.assert_untouched().await;
}
