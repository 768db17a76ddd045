//! Who is who: tenants with their settings, and keys, read from the store and remembered for a moment.
//!
//! A change made on this node holds at once, one made on another node after at most [`FRESH`]. An event is never stored
//! by outdated settings all the same: the store compares their version when it stores it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidings_api::settings::Settings;
use tidings_api::tenant::Role;

use crate::push::egress::PushUrl;
use crate::rules::condition::Condition;
use crate::rules::settings::{Secrets, resolve, secrets, unreadable};
use crate::secrets::{Vault, hash};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::seam::{ApiKey, Tenant, TenantId};

/// How long an entry is used before it is read again.
pub const FRESH: Duration = Duration::from_secs(2);
/// The most entries of a kind that are remembered.
const MOST: usize = 20_000;

/// Stops the push of a tenant whose settings can't be used.
fn stop(tenant: &mut Tenant, error: &dyn std::fmt::Display) {
    tracing::error!(tenant = tenant.public_id, %error, "push is stopped");
    tenant.push_stopped = Some(error.to_string());
}

/// A tenant with its settings resolved.
#[derive(Debug)]
pub struct TenantEntry {
    /// The tenant as it is stored.
    pub tenant: Tenant,
    /// Its settings in force.
    pub settings: Settings,
    /// What they keep secret.
    pub secrets: Secrets,
    /// `settings.selection.condition`, ready to run.
    pub condition: Option<Condition>,
}

impl TenantEntry {
    /// Whether notifications are pushed now: there is a URL, and neither an admin nor the receiver has stopped it.
    pub fn push_is_active(&self) -> bool {
        let push = &self.settings.push;
        self.settings.enabled && push.enabled && push.url.is_some() && self.tenant.push_stopped.is_none()
    }
}

/// Whom a key belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Principal {
    /// The tenant.
    pub tenant: TenantId,
    /// What it may do.
    pub role: Role,
}

/// A map that forgets.
struct Remembered<K, V>(Mutex<Entries<K, V>>);

struct Entries<K, V> {
    map: HashMap<K, (Instant, V)>,
    forgotten_at: Instant,
}

impl<K: Hash + Eq, V: Clone> Remembered<K, V> {
    fn new() -> Self {
        Remembered(Mutex::new(Entries { map: HashMap::new(), forgotten_at: Instant::now() }))
    }

    fn get(&self, key: &K) -> Option<V> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.map.get(key).filter(|(since, _)| since.elapsed() < FRESH).map(|(_, value)| value.clone())
    }

    /// Remembers what was read since `read_at`, unless something was forgotten meanwhile: it may be outdated then.
    fn put(&self, key: K, value: V, read_at: Instant) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.map.len() >= MOST {
            entries.map.retain(|_, (since, _)| since.elapsed() < FRESH);
        }
        if entries.map.len() < MOST && entries.forgotten_at < read_at {
            entries.map.insert(key, (read_at, value));
        }
    }

    /// Forgets what `which` chooses. What is being read at this moment isn't remembered: it may be outdated.
    fn forget(&self, which: impl Fn(&K) -> bool) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.map.retain(|key, _| !which(key));
        entries.forgotten_at = Instant::now();
    }
}

/// Tenants and keys.
pub struct Directory {
    store: Store,
    vault: Vault,
    tenants: Remembered<TenantId, Arc<TenantEntry>>,
    keys: Remembered<[u8; 32], Principal>,
}

impl Directory {
    /// A directory over a store. The vault opens the secrets in settings.
    pub fn new(store: Store, vault: Vault) -> Self {
        Directory { store, vault, tenants: Remembered::new(), keys: Remembered::new() }
    }

    /// The vault for secrets in settings.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// A tenant; none if it is gone.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn tenant(&self, id: TenantId) -> Result<Option<Arc<TenantEntry>>, StoreError> {
        if let Some(entry) = self.tenants.get(&id) {
            return Ok(Some(entry));
        }
        let read_at = Instant::now();
        let Some(tenant) = self.store.read(move |conn| conn.tenant_get(id)).await? else { return Ok(None) };
        let entry = Arc::new(self.entry(tenant));
        self.tenants.put(id, entry.clone(), read_at);
        Ok(Some(entry))
    }

    /// A tenant as it is stored, with its settings resolved.
    ///
    /// Secrets that can't be opened, because they were sealed with another key, stop the push and nothing else. So do
    /// settings that can't be read, because a newer server has written them, and a URL that isn't one: events are stored
    /// all the same, wait for their push, and don't expire.
    pub fn entry(&self, mut tenant: Tenant) -> TenantEntry {
        let settings = resolve(&tenant.settings, &tenant.public_id).unwrap_or_else(|error| {
            stop(&mut tenant, &error);
            unreadable(&tenant.public_id)
        });
        let opened = secrets(&tenant.settings, &settings, |sealed| self.vault.open(sealed));
        let secrets = opened.unwrap_or_else(|error| {
            stop(&mut tenant, &error);
            Secrets::default()
        });
        if let Some(Err(error)) = settings.push.url.as_deref().map(PushUrl::stored) {
            stop(&mut tenant, &format_args!("the push URL can't be used: {error}"));
        }
        let condition = settings.selection.condition.as_deref().and_then(|text| {
            let condition = Condition::new(text);
            if let Err(reason) = &condition {
                tracing::error!(
                    tenant = tenant.public_id,
                    reason,
                    "the condition can't be read; it selects everything"
                );
            }
            condition.ok()
        });
        TenantEntry { tenant, settings, secrets, condition }
    }

    /// Whom a key belongs to.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn principal(&self, key: &str) -> Result<Option<Principal>, StoreError> {
        let hash = hash(key.as_bytes());
        if let Some(principal) = self.keys.get(&hash) {
            return Ok(Some(principal));
        }
        let read_at = Instant::now();
        let Some(key) = self.store.read(move |conn| conn.key_find(&hash)).await? else { return Ok(None) };
        let role =
            [Role::Producer, Role::Consumer, Role::Admin].into_iter().find(|role| role.as_str() == key.role);
        let Some(role) = role else { return Ok(None) };
        let principal = Principal { tenant: key.tenant, role };
        self.note_use(key).await;
        self.keys.put(hash, principal, read_at);
        Ok(Some(principal))
    }

    /// Notes that a key was used, at most once a minute.
    async fn note_use(&self, key: ApiKey) {
        let now = chrono::Utc::now().timestamp_micros();
        if key.last_used_at.is_none_or(|last| now - last > 60_000_000) {
            let noted =
                self.store.write(Some(key.tenant), move |conn| conn.key_used(key.tenant, &key.id, now)).await;
            if let Err(error) = noted {
                tracing::debug!(%error, "the use of a key was not noted");
            }
        }
    }

    /// Forgets a tenant, because its settings were changed.
    pub fn forget(&self, tenant: TenantId) {
        self.tenants.forget(|id| *id == tenant);
    }

    /// Forgets everything, because a tenant or a key was deleted on this node.
    pub fn forget_all(&self) {
        self.tenants.forget(|_| true);
        self.keys.forget(|_| true);
    }
}
