//! TLS: whom the sender trusts, the certificates of tenants, and HTTP/2.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tidings_api::settings::TlsSettings;
use tidings_server::push::egress::PushUrl;
use tidings_server::push::sender::{Answer, Failure, Outgoing, OwnTls, Sender, TlsHash};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Receiver, outgoing, request, sender, serve, url};

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
