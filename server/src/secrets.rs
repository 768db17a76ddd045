//! Keys and secrets: how they are made, hashed and sealed.
//!
//! API keys are kept as hashes only. What must be sent on (a header's value, a signing secret) is sealed with the
//! server's secret key before it is stored.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// Before every sealed text: names the way it was sealed.
const SEALED: &str = "sealed:1:";

/// Random bytes that nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system's random source never fails once it has started");
    bytes
}

/// A new API key: what it is for, and 256 random bits.
pub fn new_key(purpose: &str) -> String {
    format!("tidings_{purpose}_{}", URL_SAFE_NO_PAD.encode(random::<32>()))
}

/// The SHA-256 of a key. Keys are long and random, so no slower hash is needed.
pub fn hash(key: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, key);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// The first half of the SHA-256: enough to tell idempotency keys and bodies apart.
pub fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    for (short, byte) in short.iter_mut().zip(hash(bytes)) {
        *short = byte;
    }
    short
}

/// A secret in memory. It can't be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: String) -> Self {
        Secret(text)
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Why a secret key or a sealed text can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The secret key is not 32 bytes in base64.
    #[error("the secret key must be 32 random bytes in base64, as `openssl rand -base64 32` makes them")]
    Key,
    /// The text was sealed with another key, or damaged.
    #[error("a stored secret can't be opened: it was sealed with another secret key")]
    Text,
}

/// Seals and opens secrets with the server's secret key.
pub struct Vault(LessSafeKey);

impl Vault {
    /// A vault for a key: 32 bytes in base64.
    ///
    /// # Errors
    /// When the key is anything else.
    pub fn new(key: &str) -> Result<Self, SealError> {
        let bytes = STANDARD.decode(key.trim()).map_err(|_| SealError::Key)?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| SealError::Key)?;
        Ok(Vault(LessSafeKey::new(key)))
    }

    /// A new key.
    pub fn new_key() -> String {
        STANDARD.encode(random::<32>())
    }

    /// Seals a text.
    pub fn seal(&self, text: &str) -> String {
        let nonce: [u8; NONCE_LEN] = random();
        let mut bytes = text.as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes)
            .expect("sealing fails only for texts of many gigabytes");
        format!("{SEALED}{}", STANDARD.encode([&nonce[..], &bytes].concat()))
    }

    /// Opens a sealed text.
    ///
    /// # Errors
    /// When it was sealed with another key, or damaged.
    pub fn open(&self, sealed: &str) -> Result<Secret, SealError> {
        let encoded = sealed.strip_prefix(SEALED).ok_or(SealError::Text)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SealError::Text)?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Text)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Text)?;
        let mut text = text.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::empty(), &mut text).map_err(|_| SealError::Text)?;
        String::from_utf8(opened.to_vec()).map(Secret).map_err(|_| SealError::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_only() {
        let vault = Vault::new(&Vault::new_key()).unwrap();
        let sealed = vault.seal("whsec_abc");
        assert!(!sealed.contains("whsec"));
        assert_ne!(sealed, vault.seal("whsec_abc"), "the same text must not be recognisable");
        assert_eq!(vault.open(&sealed).unwrap().reveal(), "whsec_abc");
        assert_eq!(Vault::new(&Vault::new_key()).unwrap().open(&sealed), Err(SealError::Text));
        let mut damaged = sealed.clone();
        damaged.replace_range(20..21, if &sealed[20..21] == "A" { "B" } else { "A" });
        assert_eq!(vault.open(&damaged), Err(SealError::Text));
        assert!(Vault::new("short").is_err());
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("abc".into())), "Secret(***)");
    }
}
