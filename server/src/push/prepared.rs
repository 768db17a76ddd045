//! What every push of a tenant needs of its settings, read once for each version of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::egress::PushUrl;
use super::sender::TlsHash;
use super::signature::SigningSecret;
use crate::directory::TenantEntry;
use crate::rules::notification::Micros;
use crate::store::seam::TenantId;

/// The most tenants that are remembered.
const MOST: usize = 4_096;

/// What was read from settings.
pub(super) struct Prepared {
    version: i64,
    pub(super) url: PushUrl,
    pub(super) tls: TlsHash,
    /// The signing keys, newest first, with the time until which they are used.
    signing: Vec<(SigningSecret, Option<Micros>)>,
}

impl Prepared {
    /// Reads it; none if there is no URL.
    pub(super) fn of(entry: &TenantEntry) -> Option<Self> {
        let (push, secrets) = (&entry.settings.push, &entry.secrets);
        let key = secrets.client_key.as_ref().map(|key| key.reveal());
        let signing = secrets
            .signing
            .iter()
            .filter_map(|key| Some((SigningSecret::parse(key.secret.reveal()).ok()?, key.until)));
        Some(Prepared {
            version: entry.tenant.version,
            url: PushUrl::stored(push.url.as_deref()?).ok()?,
            tls: TlsHash::of(&push.tls, key),
            signing: signing.collect(),
        })
    }

    /// The signatures of a body by the keys that are used now, with spaces between them.
    pub(super) fn signatures(&self, id: &str, now: Micros, body: &[u8]) -> String {
        let timestamp = now.div_euclid(1_000_000);
        let keys = self.signing.iter().filter(|(_, until)| until.is_none_or(|until| now < until));
        keys.map(|(secret, _)| secret.sign(id, timestamp, body)).collect::<Vec<_>>().join(" ")
    }
}

/// What is remembered. Only for settings that are in force: those that are to be tried have no version of their own.
#[derive(Default)]
pub struct Remembered(Mutex<HashMap<TenantId, Arc<Prepared>>>);

impl Remembered {
    pub(super) fn get(&self, entry: &TenantEntry) -> Option<Arc<Prepared>> {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tenants.get(&entry.tenant.id).filter(|known| known.version == entry.tenant.version);
        if let Some(known) = known {
            return Some(Arc::clone(known));
        }
        let prepared = Arc::new(Prepared::of(entry)?);
        if tenants.len() >= MOST {
            tenants.clear();
        }
        tenants.insert(entry.tenant.id, Arc::clone(&prepared));
        Some(prepared)
    }
}
