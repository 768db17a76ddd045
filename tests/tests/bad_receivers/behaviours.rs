//! What badly behaved receivers do, and which error that is.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use tidings_tests::systems::CLIENT_ID_HEADER;
use tidings_tests::{Receiver, Reply};

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
pub(crate) fn behaviours() -> Vec<(&'static str, Reply, Option<&'static str>)> {
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

/// A place to push to, and what comes of it.
pub(crate) struct Bad {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) error: Option<&'static str>,
    /// None where nobody answers.
    pub(crate) receiver: Option<Receiver>,
    pub(crate) timeout: Option<u32>,
}

/// Everything bad there is. What runs besides receivers ends with the process.
pub(crate) fn all_bad() -> Vec<Bad> {
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
