//! An authority in the test's own process, and a receiver that speaks TLS and asks its callers for a certificate.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// What an authority has signed, with its key.
#[derive(Debug)]
pub struct Identity {
    /// The certificate, in DER.
    pub certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Identity {
    /// The certificate, in PEM.
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// The private key, in PEM.
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }
}

/// An authority that nobody trusts by himself.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Authority { issuer: rcgen::Issuer::new(params, key), certificate }
    }

    /// Its own certificate, in PEM: what those who trust it are given.
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Signs a certificate for a host's name or address.
    pub fn signs(&self, name: &str) -> Identity {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity { certificate: certificate.der().to_vec(), key: key.serialize_der() }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A receiver that takes everything from those who show a certificate of its authority, and nothing from others. Stopped
/// with the value.
pub struct TlsReceiver {
    port: u16,
    /// The certificate that came with each request.
    shown: Arc<Mutex<Vec<Vec<u8>>>>,
    stopped: Arc<AtomicBool>,
}

impl TlsReceiver {
    /// Starts one with a certificate for 127.0.0.1.
    pub fn start(authority: &Authority) -> Self {
        let own = authority.signs("127.0.0.1");
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks every version")
            .with_client_cert_verifier(verifier.build().expect("there is an authority"))
            .with_single_cert(vec![own.certificate.into()], PrivateKeyDer::Pkcs8(own.key.into()))
            .expect("the key is that of the certificate");
        let config = Arc::new(config);
        let port = crate::ports::free();
        // Another process may try the same port at this moment to see whether it is free.
        let listener = crate::until("the receiver's port to be free", Duration::from_secs(10), || {
            TcpListener::bind(("127.0.0.1", port)).ok()
        });
        let receiver = TlsReceiver { port, shown: Arc::default(), stopped: Arc::default() };
        let (shown, stopped) = (Arc::clone(&receiver.shown), Arc::clone(&receiver.stopped));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (shown, config) = (Arc::clone(&shown), Arc::clone(&config));
                std::thread::spawn(move || serve(stream, config, &shown));
            }
        });
        receiver
    }

    /// Where to push to.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/hook", self.port)
    }

    /// The certificates that were shown, one for each request.
    pub fn shown(&self) -> Vec<Vec<u8>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TlsReceiver {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Answers every request of a connection; ends when there comes none, or what isn't TLS.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, shown: &Mutex<Vec<Vec<u8>>>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let Ok(connection) = ServerConnection::new(config) else { return };
    let mut stream = StreamOwned::new(connection, stream);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
        }
        if !is_whole(&text) {
            continue;
        }
        text.clear();
        let certificate = stream.conn.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.map(|certificate| certificate.to_vec()).unwrap_or_default();
        shown.lock().unwrap_or_else(PoisonError::into_inner).push(certificate);
        if stream.write_all(b"HTTP/1.1 204 Taken\r\n\r\n").and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

/// Whether this is a request with all of its body.
fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| length.parse().is_ok_and(|length: usize| body.len() >= length))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: String =
        text.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}
