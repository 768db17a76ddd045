//! The connections of the sender: resolved, checked, dialled, and cut off when nobody has a use for them.

use std::error::Error;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower_service::Service;

use super::names::Names;
use crate::push::egress::Egress;

/// The longest that resolving, connecting and TLS may take together. Holds for connections that outlive the request
/// they were begun for, too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the name could not be resolved")]
    Dns(#[source] Arc<io::Error>),
    #[error("no address of the host is permitted")]
    Blocked,
    #[error("no connection could be made")]
    Dial(#[source] io::Error),
    #[error("TLS failed")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    #[error("connecting took too long")]
    Timeout,
}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, ConnectError>> + Send>>;

/// Makes the connections of a client: the dialer and TLS, bounded in time.
#[derive(Clone)]
pub(super) struct Connector(HttpsConnector<Dialer>);

impl Connector {
    pub(super) fn new(dialer: Dialer, tls: ClientConfig) -> Self {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(dialer);
        Self(https)
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Line>;
    type Error = ConnectError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async {
            match timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(stream)) => Ok(stream),
                // What isn't the dialer's error came after it.
                Ok(Err(error)) => Err(error.downcast().map_or_else(ConnectError::Tls, |error| *error)),
                Err(_) => Err(ConnectError::Timeout),
            }
        })
    }
}

/// Resolves, asks the guard, and dials what it permits.
#[derive(Clone)]
pub(super) struct Dialer {
    egress: Arc<Egress>,
    names: Arc<Names>,
    loopback_too: bool,
}

impl Service<Uri> for Dialer {
    type Response = Line;
    type Error = ConnectError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial(&uri).await })
    }
}

impl Dialer {
    pub(super) fn new(egress: Arc<Egress>, names: Arc<Names>, loopback_too: bool) -> Self {
        Self { egress, names, loopback_too }
    }

    async fn dial(&self, uri: &Uri) -> Result<Line, ConnectError> {
        let mut addresses = self.resolve(uri).await.map_err(ConnectError::Dns)?;
        addresses.retain(|address| self.egress.permits(address.ip(), self.loopback_too));
        let mut failure = ConnectError::Blocked;
        for address in &addresses {
            // Each gets its share of the time, so that a dead first one leaves some for the others.
            match timeout(CONNECT_TIMEOUT / addresses.len() as u32, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(ConnectError::Dial)?;
                    return Ok(Line::new(stream, address.ip()));
                }
                Ok(Err(error)) => failure = ConnectError::Dial(error),
                Err(_) => failure = ConnectError::Timeout,
            }
        }
        Err(failure)
    }

    async fn resolve(&self, uri: &Uri) -> Result<Vec<SocketAddr>, Arc<io::Error>> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let ips = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => self.names.find(host).await?,
        };
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }
}

/// Shows that somebody has a use for a connection: a request that is on its way, or the pool.
#[derive(Clone)]
pub(super) struct Held {
    /// Where the connection leads.
    pub(super) address: IpAddr,
    _until_dropped: Arc<oneshot::Sender<()>>,
}

/// A TCP connection that fails to write once every copy of its [`Held`] is gone.
///
/// hyper ends a connection politely, by writing first what it has buffered. A receiver that doesn't read would so keep
/// the socket and the push's body for ever, one more with each attempt.
pub(super) struct Line {
    tcp: TokioIo<TcpStream>,
    /// Waits here until hyper asks for it, right after connecting.
    held: Mutex<Option<Held>>,
    dropped: oneshot::Receiver<()>,
    is_dropped: bool,
}

impl Line {
    fn new(stream: TcpStream, address: IpAddr) -> Self {
        let (until_dropped, dropped) = oneshot::channel();
        let held = Held { address, _until_dropped: Arc::new(until_dropped) };
        Self { tcp: TokioIo::new(stream), held: Mutex::new(Some(held)), dropped, is_dropped: false }
    }

    fn check_held(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.is_dropped = self.is_dropped || Pin::new(&mut self.dropped).poll(cx).is_ready();
        if self.is_dropped { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        match self.held.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(held) => Connected::new().extra(held),
            None => Connected::new(),
        }
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_held(cx)?;
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_held(cx)?;
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }
}
