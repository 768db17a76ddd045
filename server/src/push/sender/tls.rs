//! What a tenant adds to TLS: a certificate that the server shows to the receiver, and authorities that it trusts
//! besides the public ones.

use std::sync::Arc;

use ring::digest;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use tidings_api::settings::TlsSettings;

/// The longest text in PEM.
const LONGEST: usize = 64 * 1024;

/// A tenant's own TLS.
#[derive(Clone, Copy)]
pub struct OwnTls<'a> {
    /// The tenant's number. Connections of one tenant are never lent to another, even if all else is the same.
    pub tenant: u64,
    /// Certificate and authorities.
    pub settings: &'a TlsSettings,
    /// The private key of the certificate, in PEM.
    pub key: Option<&'a str>,
    /// [`TlsHash::of`] these.
    pub hash: TlsHash,
}

/// Tells settings of TLS from every other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TlsHash([u8; 32]);

impl TlsHash {
    /// The hash of settings and key.
    pub fn of(settings: &TlsSettings, key: Option<&str>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for text in [settings.client_certificate.as_deref(), key, settings.authorities.as_deref()] {
            // With its length before it, so that no text can pass for parts of two.
            context.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
            context.update(text.unwrap_or_default().as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        TlsHash(hash)
    }
}

/// Why TLS can't be spoken with these settings. Shows nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTls {
    /// Longer than anybody needs.
    #[error("it is longer than 65,536 characters")]
    TooLong(Member),
    /// Damaged PEM.
    #[error("the PEM is damaged: a section isn't base64, or has no end")]
    Pem(Member),
    /// PEM without any certificate.
    #[error("there is no certificate in it: PEM sections of `-----BEGIN CERTIFICATE-----` are expected")]
    NoCertificate(Member),
    /// A certificate that isn't one.
    #[error("a certificate in it can't be read as X.509")]
    Certificate(Member),
    /// PEM without any private key.
    #[error("there is no private key in it: one in PEM (PKCS#8, PKCS#1 or SEC1), not encrypted, is expected")]
    NoKey,
    /// A key of a kind that can't be used.
    #[error(
        "the private key can't be used: RSA of 2,048 to 8,192 bits, ECDSA P-256 or P-384, or Ed25519 is expected"
    )]
    Key,
    /// A certificate, and no key.
    #[error("a client certificate needs its private key")]
    KeyMissing,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the client certificate")]
    Mismatch,
}

/// A member of the settings of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// `clientCertificate`.
    ClientCertificate,
    /// `clientKey`.
    ClientKey,
    /// `authorities`.
    Authorities,
}

impl InvalidTls {
    /// The member that is to blame, as it stands in the settings.
    pub fn member(self) -> &'static str {
        let member = match self {
            Self::TooLong(member)
            | Self::Pem(member)
            | Self::NoCertificate(member)
            | Self::Certificate(member) => member,
            Self::NoKey | Self::Key | Self::KeyMissing | Self::Mismatch => Member::ClientKey,
        };
        match member {
            Member::ClientCertificate => "clientCertificate",
            Member::ClientKey => "clientKey",
            Member::Authorities => "authorities",
        }
    }
}

/// Checks what an admin sets: the certificate and the authorities can be read, and the key belongs to the certificate.
///
/// # Errors
/// What is wrong, and with which member.
pub fn check_tls(settings: &TlsSettings, key: Option<&str>) -> Result<(), InvalidTls> {
    OwnTls { tenant: 0, settings, key, hash: TlsHash::of(settings, key) }
        .config(RootCertStore::empty())
        .map(|_| ())
}

impl OwnTls<'_> {
    /// Whether there is nothing own about it.
    pub(super) fn is_plain(&self) -> bool {
        self.settings.client_certificate.is_none() && self.settings.authorities.is_none()
    }

    /// The client's end of TLS, trusting these authorities and the tenant's own.
    pub(super) fn config(&self, mut roots: RootCertStore) -> Result<ClientConfig, InvalidTls> {
        if let Some(text) = &self.settings.authorities {
            for certificate in certificates(text, Member::Authorities)? {
                roots.add(certificate).map_err(|_| InvalidTls::Certificate(Member::Authorities))?;
            }
        }
        let own = self.certified_key()?;
        let mut config = config(roots);
        if let Some(own) = own {
            config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(own));
        }
        Ok(config)
    }

    fn certified_key(&self) -> Result<Option<CertifiedKey>, InvalidTls> {
        // A key that stands alone is checked too: it was set for the certificate that follows.
        let key = self.key.map(private_key).transpose()?;
        let Some(text) = &self.settings.client_certificate else { return Ok(None) };
        let chain = certificates(text, Member::ClientCertificate)?;
        let key = key.ok_or(InvalidTls::KeyMissing)?;
        let key = provider().key_provider.load_private_key(key).map_err(|_| InvalidTls::Key)?;
        let own = CertifiedKey::new(chain, key);
        match own.keys_match() {
            Ok(()) => Ok(Some(own)),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Some(own)),
            Err(rustls::Error::InconsistentKeys(_)) => Err(InvalidTls::Mismatch),
            Err(_) => Err(InvalidTls::Certificate(Member::ClientCertificate)),
        }
    }
}

/// The client's end of TLS, trusting these authorities and showing no certificate.
pub(super) fn config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring supports every protocol version that rustls does")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The authorities that browsers trust.
pub(super) fn public_authorities() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// Named, because with two crypto providers in one process rustls refuses to choose.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(text: &str, member: Member) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    if text.len() > LONGEST {
        return Err(InvalidTls::TooLong(member));
    }
    let found = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| InvalidTls::Pem(member))?;
    if found.is_empty() { Err(InvalidTls::NoCertificate(member)) } else { Ok(found) }
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, InvalidTls> {
    if text.len() > LONGEST {
        return Err(InvalidTls::TooLong(Member::ClientKey));
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => InvalidTls::NoKey,
        _ => InvalidTls::Pem(Member::ClientKey),
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        let (first, rest) = text.split_at(64);
        format!("-----BEGIN {label}-----\n{first}\n{rest}\n-----END {label}-----\n")
    }

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        (pem("CERTIFICATE", made.cert.der()), pem("PRIVATE KEY", &made.signing_key.serialize_der()))
    }

    fn check(
        certificate: Option<&str>,
        key: Option<&str>,
        authorities: Option<&str>,
    ) -> Result<(), InvalidTls> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        check_tls(&TlsSettings { client_certificate: text(certificate), authorities: text(authorities) }, key)
    }

    #[test]
    fn what_fits_together_is_accepted() {
        let ((a, key), (b, _)) = (made(), made());
        let chain = format!("a note before it\n{a}\n{b}");
        assert_eq!(check(None, None, None), Ok(()));
        assert_eq!(check(Some(&a), Some(&key), None), Ok(()));
        assert_eq!(check(Some(&chain), Some(&key.replace('\n', "\r\n")), Some(&chain)), Ok(()));
        assert_eq!(check(None, None, Some(&b)), Ok(()));
        assert_eq!(check(None, Some(&key), None), Ok(()));
    }

    #[test]
    fn a_key_in_sec1_is_read_too() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let pkcs8 = made.signing_key.serialize_der();
        // PKCS#8 ends with the SEC1 structure, as an octet string of 109 bytes for P-256.
        let (head, sec1) = pkcs8.split_at(pkcs8.len() - 109);
        assert!(head.ends_with(&[0x04, 109]));
        let (certificate, key) = (pem("CERTIFICATE", made.cert.der()), pem("EC PRIVATE KEY", sec1));
        assert_eq!(check(Some(&certificate), Some(&key), None), Ok(()));
    }

    #[test]
    fn each_refusal_names_what_is_wrong_and_where() {
        let ((a, key), (_, other)) = (made(), made());
        let long = "x".repeat(LONGEST + 1);
        let no_x509 = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let cut = &a[..a.len() - 40];
        use Member::{Authorities, ClientCertificate, ClientKey};
        for (certificate, given, authorities, expected) in [
            (Some(&*a), None, None, InvalidTls::KeyMissing),
            (Some(&a), Some(&*other), None, InvalidTls::Mismatch),
            (Some(&a), Some(&a), None, InvalidTls::NoKey),
            (Some(&a), Some(&encrypted), None, InvalidTls::NoKey),
            (Some(&a), Some("secret"), None, InvalidTls::NoKey),
            (Some(&a), Some(&long), None, InvalidTls::TooLong(ClientKey)),
            (Some(&key), Some(&key), None, InvalidTls::NoCertificate(ClientCertificate)),
            (Some("hello"), Some(&key), None, InvalidTls::NoCertificate(ClientCertificate)),
            (Some(cut), Some(&key), None, InvalidTls::Pem(ClientCertificate)),
            (Some(no_x509), Some(&key), None, InvalidTls::Certificate(ClientCertificate)),
            (None, None, Some(""), InvalidTls::NoCertificate(Authorities)),
            (None, None, Some(no_x509), InvalidTls::Certificate(Authorities)),
            (None, None, Some(&long), InvalidTls::TooLong(Authorities)),
        ] {
            assert_eq!(check(certificate, given, authorities), Err(expected));
        }
        assert_eq!(InvalidTls::Mismatch.member(), "clientKey");
        assert_eq!(InvalidTls::Pem(Authorities).member(), "authorities");
    }

    #[test]
    fn no_two_are_taken_for_one() {
        let hash = |certificate: Option<&str>, key, authorities: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let settings =
                TlsSettings { client_certificate: text(certificate), authorities: text(authorities) };
            TlsHash::of(&settings, key)
        };
        let all = [
            hash(None, None, None),
            hash(Some(""), None, None),
            hash(Some("ab"), Some("c"), None),
            hash(Some("a"), Some("bc"), None),
            hash(None, Some("ab"), Some("c")),
            hash(Some("ab"), None, Some("c")),
        ];
        for (index, hash) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == hash), Some(index));
        }
    }
}
