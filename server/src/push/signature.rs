//! Signatures of pushes, as Standard Webhooks (`v1`, HMAC-SHA256) lays down: a receiver that holds the tenant's secret
//! can tell that a push came from here and wasn't changed or replayed.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

/// What the text of a secret begins with.
const PREFIX: &str = "whsec_";

/// Secrets are often pasted without the padding at their end.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A tenant's signing secret.
#[derive(Clone)]
pub struct SigningSecret {
    bytes: Vec<u8>,
    key: hmac::Key,
}

impl SigningSecret {
    /// Reads `whsec_` and 24 to 64 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret::Prefix)?;
        let bytes = LENIENT.decode(encoded).map_err(|_| InvalidSecret::Encoding)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(InvalidSecret::Length);
        }
        Ok(Self::new(bytes))
    }

    /// Makes a new one of 32 random bytes.
    pub fn generate() -> Self {
        let mut bytes = vec![0; 32];
        SystemRandom::new()
            .fill(&mut bytes)
            .expect("the operating system always has random bytes once it is up");
        Self::new(bytes)
    }

    fn new(bytes: Vec<u8>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Self { bytes, key }
    }

    /// The text that [`SigningSecret::parse`] reads: for the tenant, and for the store.
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.bytes))
    }

    /// The signature of one attempt: `v1,` and the base64 of the HMAC over `id.timestamp.body`.
    /// `timestamp` is that of the attempt, in seconds since 1970, and `body` exactly what is sent.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// Without the secret.
impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// Why a text isn't a signing secret. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// It doesn't begin as secrets do.
    #[error("a signing secret begins with whsec_")]
    Prefix,
    /// The rest isn't base64.
    #[error("a signing secret is base64 after whsec_")]
    Encoding,
    /// Too short to be safe, or longer than receivers must accept.
    #[error("a signing secret has 24 to 64 bytes")]
    Length,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    #[test]
    fn signs_as_the_published_example() {
        let secret = SigningSecret::parse(TEXT).unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            secret.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn text_and_secret_turn_into_each_other() {
        assert_eq!(SigningSecret::parse(TEXT).unwrap().to_text(), TEXT);
        let made = SigningSecret::generate();
        let read = SigningSecret::parse(&made.to_text()).unwrap();
        assert_eq!(read.sign("a", 1, b"b"), made.sign("a", 1, b"b"));
        assert_ne!(SigningSecret::generate().to_text(), made.to_text());
        let unpadded = made.to_text().trim_end_matches('=').to_owned();
        assert_eq!(SigningSecret::parse(&unpadded).unwrap().to_text(), made.to_text());
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let of_length = |n: usize| SigningSecret::parse(&format!("whsec_{}", STANDARD.encode(vec![7; n])));
        for length in [24, 64] {
            assert!(of_length(length).is_ok(), "{length}");
        }
        for length in [0, 23, 65] {
            assert_eq!(of_length(length).unwrap_err(), InvalidSecret::Length, "{length}");
        }
        let without_prefix = TEXT.strip_prefix("whsec_").unwrap();
        assert_eq!(SigningSecret::parse(without_prefix).unwrap_err(), InvalidSecret::Prefix);
        assert_eq!(SigningSecret::parse("whsec_not base64!").unwrap_err(), InvalidSecret::Encoding);
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", SigningSecret::parse(TEXT).unwrap()), "SigningSecret(…)");
    }
}
