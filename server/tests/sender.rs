//! The sender against receivers that behave as they please. Each receiver is a socket in this process.

#![expect(clippy::unwrap_used, reason = "the helpers belong to the tests")]

use std::future::{Future, pending};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tidings_api::settings::TlsSettings;
use tidings_server::push::egress::{Egress, PushUrl};
use tidings_server::push::sender::{Answer, Attempt, Failure, MAX_BODY, Outgoing, OwnTls, Sender, TlsHash};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Longer than anything here takes.
const PLENTY: Duration = Duration::from_secs(20);

/// What a busy machine may add to a deadline.
const LEEWAY: Duration = Duration::from_secs(3);

struct Receiver {
    address: SocketAddr,
    /// Who has connected, in order.
    peers: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Receiver {
    async fn start<F, Fut>(behave: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self { address: listener.local_addr().unwrap(), peers: Arc::default() };
        let peers = Arc::clone(&receiver.peers);
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                peers.lock().unwrap().push(peer);
                tokio::spawn(behave(stream));
            }
        });
        receiver
    }

    /// Reads one request, answers with these bytes and closes.
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Bytes::from(answer.into());
        Self::start(move |mut stream| {
            let answer = answer.clone();
            async move {
                if request(&mut stream).await.is_some() {
                    stream.write_all(&answer).await.unwrap();
                }
            }
        })
        .await
    }

    /// Answers every request well and keeps the connection.
    async fn keeping() -> Self {
        Self::start(|stream| async move { serve(stream).await }).await
    }

    fn url(&self) -> PushUrl {
        url(&format!("http://{}/hook", self.address))
    }

    fn connections(&self) -> usize {
        self.peers.lock().unwrap().len()
    }

    /// Connections are accepted in order: if ours comes first, none was made before.
    async fn assert_untouched(&self) {
        let ours = TcpStream::connect(self.address).await.unwrap();
        until(|| self.connections() > 0).await;
        assert_eq!(*self.peers.lock().unwrap(), [ours.local_addr().unwrap()]);
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while request(&mut stream).await.is_some() {
        stream.write_all(OK.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

/// Reads one request with its body. None if there comes none.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => text.push_str(std::str::from_utf8(&buffer[..n]).unwrap()),
        }
    }
}

async fn until(condition: impl Fn() -> bool) {
    timeout(PLENTY, async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("must become true in time");
}

fn url(text: &str) -> PushUrl {
    PushUrl::parse(text).unwrap()
}

fn sender() -> Sender {
    Sender::new(Arc::default())
}

fn outgoing(url: &PushUrl) -> Outgoing<'_> {
    let headers = HeaderMap::from_iter([(
        hyper::header::HeaderName::from_static("webhook-id"),
        HeaderValue::from_static("n_1"),
    )]);
    Outgoing {
        method: Method::POST,
        url,
        headers,
        body: Bytes::from_static(b"{}"),
        deadline: PLENTY,
        loopback_too: true,
        tls: None,
    }
}

fn text(answer: &Answer) -> String {
    answer.text(&[])
}

async fn push(sender: &Sender, receiver: &Receiver) -> Attempt {
    sender.send(outgoing(&receiver.url())).await
}

async fn push_strictly(sender: &Sender, url: &PushUrl) -> Attempt {
    sender.send(Outgoing { loopback_too: false, ..outgoing(url) }).await
}

async fn answer_to(answer: impl Into<Vec<u8>>) -> Result<Answer, Failure> {
    push(&sender(), &Receiver::answering(answer).await).await.outcome
}

/// Pushes with a short deadline and checks that it held.
async fn assert_times_out(sender: &Sender, url: &PushUrl) -> Attempt {
    let deadline = Duration::from_millis(300);
    let attempt = sender.send(Outgoing { deadline, ..outgoing(url) }).await;
    assert_eq!(attempt.outcome.as_ref().unwrap_err(), &Failure::Timeout);
    assert!(
        attempt.duration >= deadline && attempt.duration < deadline + LEEWAY,
        "took {:?}",
        attempt.duration
    );
    attempt
}

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

#[tokio::test]
async fn a_closed_port_is_a_connect_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(&format!("http://{}/", listener.local_addr().unwrap()));
    drop(listener);
    let attempt = sender().send(outgoing(&url)).await;
    assert_eq!((attempt.outcome.unwrap_err(), attempt.address), (Failure::Connect, None));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_failure() {
    // No name server is asked for a label this long.
    let url = url(&format!("http://{}.invalid/", "a".repeat(64)));
    assert_eq!(push_strictly(&sender(), &url).await.outcome.unwrap_err(), Failure::Dns);
}

#[tokio::test]
async fn loopback_is_not_dialled_in_any_spelling() {
    let receiver = Receiver::keeping().await;
    let port = receiver.address.port();
    let sender = sender();
    for host in [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "0",
        "[::]",
    ] {
        for scheme in ["http", "https"] {
            let attempt = push_strictly(&sender, &url(&format!("{scheme}://{host}:{port}/"))).await;
            let failure = attempt.outcome.unwrap_err();
            // Not every resolver knows the name with its final dot.
            let unknown = host == "localhost." && failure == Failure::Dns;
            assert!(failure == Failure::BlockedAddress || unknown, "{failure:?} for {scheme}://{host}");
        }
    }
    for host in ["0.0.0.0", "[::]", "169.254.169.254", "10.0.0.1"] {
        let attempt = sender.send(outgoing(&url(&format!("http://{host}:{port}/")))).await;
        assert_eq!(attempt.outcome.unwrap_err(), Failure::BlockedAddress, "{host} with loopback");
    }
    receiver.assert_untouched().await;
}

#[tokio::test]
async fn names_are_dialled_when_their_addresses_are_permitted() {
    let receiver = Receiver::keeping().await;
    let url = url(&format!("http://localhost:{}/", receiver.address.port()));
    assert_eq!(sender().send(outgoing(&url)).await.outcome.unwrap().text(&[]), "ok");
    let allowing = Sender::new(Arc::new(Egress::new(vec!["127.0.0.0/8".parse().unwrap()])));
    assert_eq!(push_strictly(&allowing, &url).await.outcome.unwrap().text(&[]), "ok");
}

#[tokio::test]
async fn a_connection_to_loopback_is_never_lent_to_a_strict_push() {
    let receiver = Receiver::keeping().await;
    let sender = sender();
    for _ in 0..2 {
        assert_eq!(push(&sender, &receiver).await.outcome.unwrap().status, 200);
        let strict = push_strictly(&sender, &receiver.url()).await;
        assert_eq!(strict.outcome.unwrap_err(), Failure::BlockedAddress);
    }
    assert_eq!(receiver.connections(), 1, "the kept connection was there to be lent");
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

/// A self-signed certificate for `localhost`, and a receiver's end of TLS with it.
fn tls(protocols: &[&str]) -> (CertificateDer<'static>, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    (certificate, TlsAcceptor::from(Arc::new(config)))
}

fn trusting(certificate: CertificateDer<'static>) -> Sender {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    Sender::with_authorities(Arc::default(), roots)
}

async fn tls_receiver(acceptor: TlsAcceptor) -> Receiver {
    Receiver::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn tls_is_spoken_with_whom_is_trusted_alone() {
    let (certificate, acceptor) = tls(&["http/1.1"]);
    let receiver = tls_receiver(acceptor).await;
    let by_name = url(&format!("https://localhost:{}/", receiver.address.port()));
    let by_address = url(&format!("https://{}/", receiver.address));
    let trusting = trusting(certificate);
    assert_eq!(trusting.send(outgoing(&by_name)).await.outcome.unwrap().text(&[]), "ok");
    let other_name = trusting.send(outgoing(&by_address)).await;
    assert_eq!(other_name.outcome.unwrap_err(), Failure::Tls);
    assert_eq!(sender().send(outgoing(&by_name)).await.outcome.unwrap_err(), Failure::Tls);
}

#[tokio::test]
async fn what_does_not_speak_tls_is_a_tls_failure() {
    let plain = Receiver::start(|mut stream| async move {
        let mut hello = [0; 100];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    })
    .await;
    let closing = Receiver::start(|mut stream| async move {
        let mut hello = [0; 100];
        stream.read_exact(&mut hello).await.unwrap();
    })
    .await;
    for receiver in [plain, closing] {
        let url = url(&format!("https://localhost:{}/", receiver.address.port()));
        assert_eq!(sender().send(outgoing(&url)).await.outcome.unwrap_err(), Failure::Tls);
    }
}

#[tokio::test]
async fn http_2_is_spoken_where_offered_on_one_connection() {
    let (certificate, acceptor) = tls(&["h2", "http/1.1"]);
    let receiver = Receiver::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_request, mut respond))) = connection.accept().await {
                let mut body = respond.send_response(hyper::Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"two"), true).unwrap();
            }
        }
    })
    .await;
    let url = url(&format!("https://localhost:{}/", receiver.address.port()));
    let sender = Arc::new(trusting(certificate));
    assert_eq!(sender.send(outgoing(&url)).await.outcome.unwrap().text(&[]), "two");
    let mut pushes = JoinSet::new();
    for _ in 0..20 {
        let (sender, url) = (Arc::clone(&sender), url.clone());
        pushes.spawn(async move { sender.send(outgoing(&url)).await.outcome.unwrap().text(&[]) });
    }
    assert_eq!(pushes.join_all().await, vec!["two"; 20]);
    assert_eq!(receiver.connections(), 1);
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// An authority, and what it has signed.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: rcgen::Issuer::new(params, key), certificate }
    }

    /// A certificate for this name, and its key.
    fn signs(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The settings of a tenant that trusts this authority, and shows a certificate of this name.
    fn client(&self, name: &str) -> (TlsSettings, String) {
        let (certificate, key) = self.signs(name);
        let settings = TlsSettings {
            client_certificate: Some(pem("CERTIFICATE", certificate.der())),
            authorities: Some(pem("CERTIFICATE", self.certificate.der())),
        };
        (settings, pem("PRIVATE KEY", &key.serialize_der()))
    }

    /// A receiver that asks for a certificate of this authority, and answers with its bytes in hexadecimal.
    async fn receiver(&self) -> Receiver {
        let (certificate, key) = self.signs("localhost");
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Receiver::start(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
                let shown: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
                while request(&mut stream).await.is_some() {
                    let length = shown.len();
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{shown}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
            }
        })
        .await
    }
}

/// The certificate in a PEM, as [`Authority::receiver`] answers with it.
fn hex(pem: &str) -> String {
    use rustls::pki_types::pem::PemObject as _;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    certificate.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn push_with(
    sender: &Sender,
    url: &PushUrl,
    tenant: u64,
    own: &(TlsSettings, String),
) -> Result<Answer, Failure> {
    let key = own.0.client_certificate.is_some().then_some(own.1.as_str());
    let tls = Some(OwnTls { tenant, settings: &own.0, key, hash: TlsHash::of(&own.0, key) });
    sender.send(Outgoing { tls, ..outgoing(url) }).await.outcome
}

#[tokio::test]
async fn a_tenant_shows_its_certificate_and_trusts_its_own_authorities_besides_the_others() {
    let authority = Authority::new();
    let receiver = authority.receiver().await;
    let by_name = url(&format!("https://localhost:{}/", receiver.address.port()));
    let (certificate, acceptor) = tls(&["http/1.1"]);
    let public = tls_receiver(acceptor).await;
    let public_url = url(&format!("https://localhost:{}/", public.address.port()));
    let sender = trusting(certificate);
    let own = authority.client("tenant.example");

    let answer = push_with(&sender, &by_name, 1, &own).await.unwrap();
    let shown = std::str::from_utf8(&answer.body).unwrap();
    assert_eq!(shown, hex(own.0.client_certificate.as_deref().unwrap()));
    assert_eq!(push_with(&sender, &public_url, 1, &own).await.unwrap().text(&[]), "ok");

    let without_authority = (TlsSettings { authorities: None, ..own.0.clone() }, own.1.clone());
    assert_eq!(push_with(&sender, &by_name, 1, &without_authority).await.unwrap_err(), Failure::Tls);
    let without_certificate = (TlsSettings { client_certificate: None, ..own.0.clone() }, String::new());
    assert_eq!(push_with(&sender, &by_name, 1, &without_certificate).await.unwrap_err(), Failure::Tls);
    let of_others = (
        TlsSettings { authorities: own.0.authorities.clone(), ..Authority::new().client("x").0 },
        own.1.clone(),
    );
    assert_eq!(push_with(&sender, &by_name, 1, &of_others).await.unwrap_err(), Failure::Tls);
    assert_eq!(sender.send(outgoing(&by_name)).await.outcome.unwrap_err(), Failure::Tls);
}

#[tokio::test]
async fn a_connection_with_one_tenants_tls_is_never_lent_to_another() {
    let authority = Authority::new();
    let receiver = authority.receiver().await;
    let by_name = url(&format!("https://localhost:{}/", receiver.address.port()));
    let sender = sender();
    let (first, second) = (authority.client("first.example"), authority.client("second.example"));
    let trusting = (TlsSettings { client_certificate: None, ..first.0.clone() }, String::new());
    for _ in 0..2 {
        for own in [&first, &second] {
            let answer = push_with(&sender, &by_name, 1, own).await.unwrap();
            let certificate = own.0.client_certificate.as_deref().unwrap();
            assert_eq!(std::str::from_utf8(&answer.body).unwrap(), hex(certificate));
        }
    }
    assert_eq!(receiver.connections(), 2, "each certificate has a connection, which is kept");
    // The same certificate by another tenant.
    assert_eq!(push_with(&sender, &by_name, 2, &first).await.unwrap().status, 200);
    assert_eq!(receiver.connections(), 3);
    // The kept connections are there to be lent to those who have no certificate, or no trust.
    assert_eq!(push_with(&sender, &by_name, 1, &trusting).await.unwrap_err(), Failure::Tls);
    assert_eq!(sender.send(outgoing(&by_name)).await.outcome.unwrap_err(), Failure::Tls);
}

#[tokio::test]
async fn a_tenant_with_tls_of_its_own_is_not_let_through_to_loopback() {
    let authority = Authority::new();
    let receiver = authority.receiver().await;
    let by_name = url(&format!("https://localhost:{}/", receiver.address.port()));
    let sender = sender();
    let own = authority.client("tenant.example");
    assert_eq!(push_with(&sender, &by_name, 1, &own).await.unwrap().status, 200);
    let tls = Some(OwnTls {
        tenant: 1,
        settings: &own.0,
        key: Some(&own.1),
        hash: TlsHash::of(&own.0, Some(&own.1)),
    });
    let strict = sender.send(Outgoing { tls, loopback_too: false, ..outgoing(&by_name) }).await;
    assert_eq!(strict.outcome.unwrap_err(), Failure::BlockedAddress);
}
