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
//! - A connection that was made with one tenant's certificate or authorities never carries what another tenant sends.
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
mod names;
mod tls;

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::RETRY_AFTER;
use hyper::http::Extensions;
use hyper::{HeaderMap, Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tidings_api::delivery::AttemptError;
use tokio::time::timeout;

use self::connect::{ConnectError, Connector, Dialer, Held};
use self::names::Names;
pub use self::tls::{InvalidTls, OwnTls, TlsHash, check_tls};
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

/// How many clients are kept for tenants with TLS of their own, and how long one that isn't used. It takes a moment to
/// make one, and its connections are closed before.
const MAX_OWN: usize = 256;
const KEEP_OWN: Duration = Duration::from_secs(60);

/// Sends pushes. One for each thread that sends.
pub struct Sender {
    egress: Arc<Egress>,
    names: Arc<Names>,
    authorities: RootCertStore,
    // Two clients, because a kept connection isn't checked again: what was dialled for a tenant that may reach
    // loopback must never carry a push of one that may not.
    strict: Http,
    with_loopback: Http,
    // For the same reason each tenant with TLS of its own has clients of its own.
    own: Mutex<HashMap<OwnKey, (Http, Instant)>>,
}

/// What must be the same for a connection to be used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct OwnKey {
    tenant: u64,
    tls: TlsHash,
    loopback_too: bool,
}

type Http = Client<Connector, Full<Bytes>>;

/// A request as it leaves: a push, or what prepares pushes.
pub struct Outgoing<'a> {
    /// `POST` for a push.
    pub method: Method,
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
    /// The tenant's own certificate and authorities, if it has any.
    pub tls: Option<OwnTls<'a>>,
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
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most [`MAX_BODY`] bytes of it.
    pub body: Bytes,
}

impl Answer {
    /// The beginning of the body as text, at most [`MAX_TEXT`] characters. What isn't UTF-8 is replaced, and so is NUL,
    /// which a PostgreSQL text can't hold. Where one of the `hidden` texts stands, there are asterisks.
    pub fn text(&self, hidden: &[String]) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let mut rest = &*text;
        let mut shown = String::new();
        // Counted before anything is hidden: what is cut off at the end is cut off whole.
        for _ in 0..MAX_TEXT {
            if rest.is_empty() {
                break;
            } else if let Some(behind) = hidden.iter().find_map(|hidden| rest.strip_prefix(hidden.as_str())) {
                shown.push_str("***");
                rest = behind;
            } else if let Some(next) = rest.chars().next() {
                shown.push(if next == '\0' { char::REPLACEMENT_CHARACTER } else { next });
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
        }
        shown.chars().take(MAX_TEXT).collect()
    }
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

impl From<Failure> for AttemptError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Dns => Self::Dns,
            Failure::Connect => Self::Connect,
            Failure::Tls => Self::Tls,
            Failure::Timeout => Self::Timeout,
            Failure::BlockedAddress => Self::BlockedAddress,
            Failure::Protocol => Self::Protocol,
        }
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
        Self::with_authorities(egress, tls::public_authorities())
    }

    /// A sender that trusts others, such as a private authority.
    pub fn with_authorities(egress: Arc<Egress>, authorities: RootCertStore) -> Self {
        let tls = tls::config(authorities.clone());
        let names = Arc::<Names>::default();
        let client = |loopback_too| {
            let dialer = Dialer::new(Arc::clone(&egress), Arc::clone(&names), loopback_too);
            client(dialer, tls.clone(), IDLE_TIMEOUT)
        };
        let (strict, with_loopback) = (client(false), client(true));
        Self { egress, names, authorities, strict, with_loopback, own: Mutex::default() }
    }

    /// Sends one request and reads its answer. Must be called on a tokio runtime, always the same.
    pub async fn send(&self, outgoing: Outgoing<'_>) -> Attempt {
        let started = Instant::now();
        let Ok(client) = self.client(&outgoing) else {
            return Attempt { outcome: Err(Failure::Tls), address: None, duration: started.elapsed() };
        };
        let mut request = Request::new(Full::new(outgoing.body));
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = outgoing.url.uri().clone();
        *request.headers_mut() = outgoing.headers;
        let connection = capture_connection(&mut request);
        let outcome =
            timeout(outgoing.deadline, exchange(&client, request)).await.unwrap_or(Err(Failure::Timeout));
        Attempt { outcome, address: remote_address(&connection), duration: started.elapsed() }
    }

    /// The client whose connections the request may use.
    fn client(&self, outgoing: &Outgoing<'_>) -> Result<Http, InvalidTls> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Whoever sends next clears away, so that nothing is kept by a thread that is in use.
        own.retain(|_, (_, used)| now.duration_since(*used) < KEEP_OWN);
        let loopback_too = outgoing.loopback_too;
        let Some(tls) = outgoing.tls.filter(|tls| !tls.is_plain()) else {
            return Ok(if loopback_too { &self.with_loopback } else { &self.strict }.clone());
        };
        let key = OwnKey { tenant: tls.tenant, tls: tls.hash, loopback_too };
        if let Some((http, used)) = own.get_mut(&key) {
            *used = now;
            return Ok(http.clone());
        }
        let config = tls.config(self.authorities.clone())?;
        let dialer = Dialer::new(Arc::clone(&self.egress), Arc::clone(&self.names), loopback_too);
        let http = client(dialer, config, IDLE_TIMEOUT);
        if own.len() >= MAX_OWN
            && let Some(oldest) = own.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)
        {
            own.remove(&oldest);
        }
        own.insert(key, (http.clone(), now));
        Ok(http)
    }
}

async fn exchange(client: &Http, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
    let response = client.request(request).await.map_err(|error| Failure::of(&error))?;
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), Utc::now());
    let (head, body) = response.into_parts();
    let body = read(body).await.map_err(|error| Failure::of(&error))?;
    Ok(Answer { status, retry_after, headers: head.headers, body })
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

/// `Retry-After`: seconds, or a time, of which one that has passed means at once.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?;
    Some(at.signed_duration_since(now).to_std().unwrap_or_default())
}

fn remote_address(connection: &CaptureConnection) -> Option<IpAddr> {
    let mut extras = Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extras);
    extras.get::<Held>().map(|held| held.address)
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
            ("18446744073709551616", Some(u64::MAX)),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn text_is_bounded_and_storable() {
        assert_eq!(text("grüß".as_bytes(), &[]), "grüß");
        assert_eq!(text(b"a\0b\xffc", &[]), "a\u{fffd}b\u{fffd}c");
        assert_eq!(text("ü".repeat(2_000).as_bytes(), &[]), "ü".repeat(MAX_TEXT));
    }

    #[test]
    fn what_is_hidden_is_not_in_the_text_not_even_in_part() {
        let hidden = ["s3cret-token".to_owned(), "geheim".to_owned()];
        assert_eq!(text("a s3cret-token, ägeheim".as_bytes(), &hidden), "a ***, ä***");
        let at_the_end = format!("{}s3cret-token", "x".repeat(MAX_TEXT - 5));
        assert_eq!(text(at_the_end.as_bytes(), &hidden), format!("{}***", "x".repeat(MAX_TEXT - 5)));
        assert_eq!(text("s3cret-token".repeat(2_000).as_bytes(), &hidden), "***".repeat(333) + "*");
    }

    fn text(body: &[u8], hidden: &[String]) -> String {
        let body = Bytes::copy_from_slice(body);
        Answer { status: 200, retry_after: None, headers: HeaderMap::new(), body }.text(hidden)
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
        let dialer = Dialer::new(Arc::default(), Arc::default(), true);
        let client = client(dialer, tls::config(RootCertStore::empty()), Duration::from_millis(200));
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri;
        assert_eq!(exchange(&client, request).await.unwrap().status, 200);
        let kept = timeout(Duration::from_secs(5), receiver).await.expect("must be closed in time").unwrap();
        assert!(kept >= Duration::from_millis(150), "kept for {kept:?} only");
    }
}
