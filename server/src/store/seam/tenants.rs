//! Asking for tenants, their keys and their settings.

use super::{Result, TenantId};
use crate::rules::notification::Micros;

/// A tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its number.
    pub id: TenantId,
    /// Its id on the wire: a UUID.
    pub public_id: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: Micros,
    /// What an admin has set, as JSON; secrets are sealed.
    pub settings: String,
    /// Counts the changes of the settings.
    pub version: i64,
    /// Why the push was stopped without an admin: by the receiver's own answer, or because it had no success.
    pub push_stopped: Option<String>,
    /// Whether that was for want of success.
    pub push_disabled: bool,
    /// When an admin last set the URL or resumed the push.
    pub push_resumed_at: Micros,
    /// Whether its pushes may go to loopback addresses: the tenant of the first run.
    pub may_reach_loopback: bool,
}

/// A tenant that is to be.
pub struct NewTenant {
    /// Its id on the wire: a UUID.
    pub public_id: String,
    /// Its name.
    pub name: String,
    /// The time now.
    pub created_at: Micros,
    /// Its settings, as JSON with sealed secrets.
    pub settings: String,
    /// Whether its pushes may go to loopback addresses.
    pub may_reach_loopback: bool,
}

/// A key of a tenant. The key itself is not kept.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The tenant.
    pub tenant: TenantId,
    /// Its id on the wire: a UUID.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Its role, as on the wire.
    pub role: String,
    /// When it was created.
    pub created_at: Micros,
    /// When it was last used, to within a minute.
    pub last_used_at: Option<Micros>,
}

/// Tenants, their keys and settings, and the installation.
pub trait TenantQueries {
    /// Stores a tenant.
    fn tenant_create(&mut self, tenant: &NewTenant) -> Result<Tenant>;
    /// The tenant with this id on the wire.
    fn tenant_find(&mut self, public_id: &str) -> Result<Option<Tenant>>;
    /// The tenant with this number.
    fn tenant_get(&mut self, id: TenantId) -> Result<Option<Tenant>>;
    /// Tenants in the order of their creation, behind the one with this id on the wire.
    fn tenant_list(&mut self, after: Option<&str>, limit: i64) -> Result<Vec<Tenant>>;
    /// Gives a tenant another name. False: there is none.
    fn tenant_rename(&mut self, id: TenantId, name: &str) -> Result<bool>;
    /// Deletes a tenant and its keys at once; its notifications are swept later.
    fn tenant_delete(&mut self, id: TenantId, now: Micros) -> Result<()>;
    /// Deleted tenants whose content is not all swept yet.
    fn tenant_deleted_list(&mut self) -> Result<Vec<TenantId>>;
    /// Sweeps up to `limit` notifications of a deleted tenant, and the tenant itself once nothing is left: then true.
    fn tenant_sweep(&mut self, id: TenantId, limit: i64) -> Result<bool>;
    /// Replaces the settings. With `resume` (the time now) the push goes on if it had been stopped, and the first
    /// [`PUT_ON`] of what an earlier receiver has put off are due at once; the rest is for [`TenantQueries::put_on`].
    /// Answers with the tenant.
    fn settings_put(&mut self, id: TenantId, settings: &str, resume: Option<Micros>) -> Result<Tenant>;
    /// Makes up to `limit` notifications that are put off due at once, in their order. Answers how many: fewer than
    /// `limit` when no others are put off.
    fn put_on(&mut self, id: TenantId, limit: i64) -> Result<i64>;
    /// Stops the push: for want of success (`disabled`), or for a reason that the receiver gave. Answers whether it did.
    ///
    /// Only if the settings are still those of this version: the answer may come from a URL that was replaced.
    fn push_stop(&mut self, id: TenantId, version: i64, reason: &str, disabled: bool) -> Result<bool>;
    /// Stores a key.
    fn key_create(&mut self, key: &ApiKey, hash: &[u8]) -> Result<()>;
    /// All keys of a tenant, in the order of their creation.
    fn key_list(&mut self, tenant: TenantId) -> Result<Vec<ApiKey>>;
    /// Deletes a key. False: there is none.
    fn key_delete(&mut self, tenant: TenantId, id: &str) -> Result<bool>;
    /// The key with this hash, of whichever tenant.
    fn key_find(&mut self, hash: &[u8]) -> Result<Option<ApiKey>>;
    /// Notes that a key was used.
    fn key_used(&mut self, tenant: TenantId, id: &str, now: Micros) -> Result<()>;
    /// A value of the installation.
    fn instance_get(&mut self, name: &str) -> Result<Option<String>>;
    /// Stores a value of the installation, unless there is one. False: there is.
    fn instance_put(&mut self, name: &str, value: &str) -> Result<bool>;
}

/// The most notifications that are put on in one transaction: others are waiting to write.
pub const PUT_ON: i64 = 1_000;
