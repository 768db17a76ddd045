//! The sender against receivers that behave as they please. Each receiver is a socket in this process.

#![expect(clippy::unwrap_used, reason = "the helpers belong to the tests")]

mod addresses;
mod answers;
mod deadlines;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method};
use tidings_server::push::egress::PushUrl;
use tidings_server::push::sender::{Answer, Attempt, Failure, Outgoing, Sender};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

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
