//! One outgoing request: from a URL to an [`Answer`] or a [`Failure`], within one deadline.
//!
//! Receivers are other people's servers: slow, wrong, sometimes hostile. What this room promises whatever they do:
//!
//! - Only addresses that [`Egress`] permits are dialled, exactly those that were checked, with no second look-up
//!   between check and dial. Redirects are never followed. No proxies, no cookies.
//! - One deadline holds for all of it: resolving, connecting, TLS, sending, and the answer's last byte.
//! - At most [`MAX_BODY`] bytes of an answer are read. An answer counts when it is complete or has filled that bound;
//!   one that breaks off before is a [`Failure`], whatever its status says.
//! - A request is sent once. The one exception: the receiver had closed a kept connection before anything was sent on
//!   it. All other retrying is the dispatcher's.
//!
//! # Why hyper
//! The client crate speaks awc, actix's HTTP client. The server's pushes don't, because awc 3.11 fails this room's
//! tests (`tests/sender.rs`) in ways that lose or repeat notifications: an answer whose body ends by closing the
//! connection reads as empty, which can't be mended from outside; a truncated body reads as complete; an interim
//! answer (103) is taken for the final one; its timeout stops at the answer's head; its limit of connections is one
//! for all hosts, so that a dead receiver holds up the others; and idle connections are closed only when the same host
//! is called again. hyper does each of these right. It also lets the connector be written here, which is where the
//! egress guard has to stand: awc's resolver hook never sees hosts that are addresses.

mod connect;

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::RETRY_AFTER;
use hyper::http::Extensions;
use hyper::{HeaderMap, Method, Request};
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;

use self::connect::{ConnectError, Connector, Dialer, Held};
use super::egress::{Egress, PushUrl};

/// How much of an answer's body is read. The connection is closed on what follows.
pub const MAX_BODY: usize = 64 * 1024;

/// How many characters of an answer are kept for the attempt log.
pub const MAX_TEXT: usize = 1_000;

/// How long an answer's head may be, give or take one read.
const MAX_HEAD: usize = 64 * 1024;

/// How long a connection is kept for the next push to the same receiver: a little less than the five seconds after which
/// many servers close it, so that a push seldom meets the close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// How many are kept for one receiver.
const MAX_IDLE: usize = 64;

/// Sends pushes. One for each sending thread.
pub struct Sender {
    // Two clients, because a kept connection isn't checked again: what was dialled for a tenant that may reach
    // loopback must never carry a push of one that may not.
    strict: Http,
    with_loopback: Http,
}

type Http = Client<Connector, Full<Bytes>>;

/// A push as it leaves.
pub struct Outgoing<'a> {
    /// Where to.
    pub url: &'a PushUrl,
    /// Its headers, besides those that HTTP itself needs.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How long it may take in all.
    pub deadline: Duration,
    /// Whether it may go to this machine itself.
    pub loopback_too: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The answer, or why there is none.
    pub outcome: Result<Answer, Failure>,
    /// The address that it was sent to, if a connection came about.
    pub address: Option<IpAddr>,
    /// How long it took.
    pub duration: Duration,
}

/// What the receiver answered. Whether that delivers the push is for the acknowledgement rule to say.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, never an interim one.
    pub status: u16,
    /// When the receiver asks to be tried again, counted from now. Any length: bound it before use.
    pub retry_after: Option<Duration>,
    /// The beginning of the body as text, at most [`MAX_TEXT`] characters. What isn't UTF-8 is replaced, and so is NUL,
    /// which a PostgreSQL text can't hold.
    pub text: String,
    /// The body, at most [`MAX_BODY`] bytes of it.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// The name has no address, or the resolver failed.
    #[error("the host's name could not be resolved")]
    Dns,
    /// No address could be connected to.
    #[error("no connection could be made")]
    Connect,
    /// TLS could not be agreed on, or the certificate isn't trusted.
    #[error("TLS failed, or the certificate isn't trusted")]
    Tls,
    /// The deadline passed.
    #[error("the receiver took too long")]
    Timeout,
    /// The host has no address that pushes may go to.
    #[error("pushes may not be sent to this address")]
    BlockedAddress,
    /// Connected, but no complete HTTP answer came back.
    #[error("the receiver did not send a complete HTTP answer")]
    Protocol,
}

impl Failure {
    /// The name in the attempt log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::BlockedAddress => "blocked_address",
            Self::Protocol => "protocol",
        }
    }

    /// The failure that an error of hyper's stands for, by the types of its causes.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<ConnectError>() {
                return error.into();
            }
            if error.is::<rustls::Error>() {
                return Self::Tls;
            }
            // `source` of an io::Error leaves out the error that it wraps.
            cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        Self::Protocol
    }
}

impl From<&ConnectError> for Failure {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Dns(_) => Self::Dns,
            ConnectError::Blocked => Self::BlockedAddress,
            ConnectError::Dial(error) if error.kind() == io::ErrorKind::TimedOut => Self::Timeout,
            ConnectError::Dial(_) => Self::Connect,
            ConnectError::Tls(_) => Self::Tls,
            ConnectError::Timeout => Self::Timeout,
        }
    }
}

impl Sender {
    /// A sender that trusts the authorities that browsers trust.
    pub fn new(egress: Arc<Egress>) -> Self {
        Self::with_tls(egress, public_authorities())
    }

    /// A sender that trusts others, such as a private authority. `alpn_protocols` must be left empty.
    pub fn with_tls(egress: Arc<Egress>, tls: ClientConfig) -> Self {
        Self {
            strict: client(Dialer::new(Arc::clone(&egress), false), tls.clone(), IDLE_TIMEOUT),
            with_loopback: client(Dialer::new(egress, true), tls, IDLE_TIMEOUT),
        }
    }

    /// Sends one push and reads its answer. Must be called on a tokio runtime, always the same.
    pub async fn send(&self, outgoing: Outgoing<'_>) -> Attempt {
        let started = Instant::now();
        let client = if outgoing.loopback_too { &self.with_loopback } else { &self.strict };
        let mut request = Request::new(Full::new(outgoing.body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = outgoing.url.uri().clone();
        *request.headers_mut() = outgoing.headers;
        let connection = capture_connection(&mut request);
        let outcome =
            timeout(outgoing.deadline, exchange(client, request)).await.unwrap_or(Err(Failure::Timeout));
        Attempt { outcome, address: remote_address(&connection), duration: started.elapsed() }
    }
}

async fn exchange(client: &Http, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
    let response = client.request(request).await.map_err(|error| Failure::of(&error))?;
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), Utc::now());
    let body = read(response.into_body()).await.map_err(|error| Failure::of(&error))?;
    Ok(Answer { status, retry_after, text: text(&body), body })
}

async fn read(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    let mut kept = BytesMut::new();
    while kept.len() < MAX_BODY
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            kept.extend_from_slice(&data[..data.len().min(MAX_BODY - kept.len())]);
        }
    }
    Ok(kept.freeze())
}

fn text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }).take(MAX_TEXT).collect()
}

/// `Retry-After`: seconds, or a time, of which one that has passed means at once.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?;
    Some(at.signed_duration_since(now).to_std().unwrap_or_default())
}

fn remote_address(connection: &CaptureConnection) -> Option<IpAddr> {
    let mut extras = Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extras);
    extras.get::<Held>().map(|held| held.address)
}

fn public_authorities() -> ClientConfig {
    // Named, because with two crypto providers in one process rustls refuses to choose.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports every protocol version that rustls does")
        .with_webpki_roots()
        .with_no_client_auth()
}

fn client(dialer: Dialer, tls: ClientConfig, idle_timeout: Duration) -> Http {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle_timeout)
        .pool_max_idle_per_host(MAX_IDLE)
        .http1_max_buf_size(MAX_HEAD)
        // Many pushes share a connection of HTTP/2: one that has silently died must not take the next ones with it,
        // and what a receiver can make us hold in memory is bounded for each of them and in all.
        .http2_keep_alive_interval(Duration::from_secs(10))
        .http2_keep_alive_timeout(Duration::from_secs(5))
        .http2_initial_stream_window_size(MAX_BODY as u32)
        .http2_initial_connection_window_size(16 * MAX_BODY as u32)
        .build(Connector::new(dialer, tls))
}

#[cfg(test)]
mod tests {
    use hyper::Uri;
    use hyper::header::HeaderValue;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_time() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("18446744073709551615", Some(u64::MAX)),
            ("Sun, 01 Mar 2026 12:01:30 GMT", Some(90)),
            ("Sun, 01 Mar 2026 11:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("18446744073709551616", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn text_is_bounded_and_storable() {
        assert_eq!(text("grüß".as_bytes()), "grüß");
        assert_eq!(text(b"a\0b\xffc"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(text("ü".repeat(2_000).as_bytes()), "ü".repeat(MAX_TEXT));
    }

    /// The receiver never closes, and is never called again: only the client can end the connection.
    #[tokio::test]
    async fn idle_connections_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let receiver = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            assert_ne!(stream.read(&mut buffer).await.unwrap(), 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            let answered = Instant::now();
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
            answered.elapsed()
        });
        let dialer = Dialer::new(Arc::default(), true);
        let client = client(dialer, public_authorities(), Duration::from_millis(200));
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri;
        assert_eq!(exchange(&client, request).await.unwrap().status, 200);
        let kept = timeout(Duration::from_secs(5), receiver).await.expect("must be closed in time").unwrap();
        assert!(kept >= Duration::from_millis(150), "kept for {kept:?} only");
    }
}
