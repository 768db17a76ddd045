//! The seam between the store and its two databases: what can be asked of a connection.
//!
//! The traits are implemented once, in `queries/`, and that source is compiled for each database. Everything here is
//! synchronous and runs inside the transaction of its caller. Every call names its tenant, but for the few that look
//! for one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_api::delivery::{AttemptError, AttemptReason};
use tidings_api::notification::Flags;

use super::alerts::AlertQueries;
use super::error::StoreError;
use super::queue::{JobQueries, QueueQueries};
use super::rooms::Rooms;
use crate::rules::notification::{Content, Micros, PushProgress, StoredNotification};

/// What store calls answer with.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The small internal number of a tenant. A value of this type was found in the database; a request can't make one up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub(super) i64);

impl TenantId {
    /// For spreading tenants over threads.
    pub fn number(self) -> u64 {
        self.0.unsigned_abs()
    }
}

/// One run of a server process. A lease is good for as long as its node is seen alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(pub(super) i64);

/// Everything that can be asked of a connection.
pub trait Queries:
    TenantQueries
    + NotificationQueries
    + AppendQueries
    + DeliveryQueries
    + QueueQueries
    + JobQueries
    + AlertQueries
    + Send
{
    /// Runs the function in a transaction (in a savepoint, inside another): all of it or nothing.
    ///
    /// # Errors
    /// Those of the function and those of the commit.
    fn atomically(&mut self, run: &mut dyn FnMut(&mut dyn Queries) -> Result<()>) -> Result<()>;

    /// Answers when the database does.
    ///
    /// # Errors
    /// When it doesn't.
    fn ping(&mut self) -> Result<()>;
}

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

/// Where a tenant's list begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The newest sequence; 0 where nothing was ever stored.
    pub last_sequence: i64,
    /// The newest sequence that retention has removed; 0 where nothing was.
    pub removed_through: i64,
    /// The last accepted push.
    pub last_success_at: Option<Micros>,
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

/// Which notifications a list holds. Empty lists select everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Only dismissed, or only not dismissed.
    pub is_dismissed: Option<bool>,
    /// Only read, or only unread.
    pub is_read: Option<bool>,
    /// Only flagged, or only not flagged.
    pub is_flagged: Option<bool>,
    /// Event types.
    pub types: Vec<String>,
    /// Entities.
    pub entities: Vec<String>,
    /// Users.
    pub created_by: Vec<String>,
    /// Push states; `Some` of an empty list selects nothing.
    pub push: Option<Vec<PushProgress>>,
    /// Events of this time or later.
    pub created_from: Option<Micros>,
    /// Events before this time.
    pub created_before: Option<Micros>,
}

/// The order of a list, and the place in it to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// By sequence: behind this one, or before it, or from the end of the list.
    Sequence(Option<i64>),
    /// By time and sequence.
    CreatedAt(Option<(Micros, i64)>),
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// Which notifications.
    pub filter: Filter,
    /// Where to begin.
    pub seek: Seek,
    /// Towards larger sequences and times, or smaller ones.
    pub ascending: bool,
    /// At most so many.
    pub limit: i64,
    /// Leaving out so many first.
    pub offset: i64,
}

/// Users and entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// A user.
    User,
    /// An entity.
    Entity,
}

/// What is known of a user or an entity.
pub enum Resource {
    /// The `included` of the newest notification that brought it.
    Included(Arc<Content>),
    /// It was only ever named.
    Named,
}

/// Which user or entity, as it is stored.
pub type ResourceKey = (i16, String);

/// Reading notifications, and changing their flags.
pub trait NotificationQueries {
    /// One page of a list, and whether it was cut short because the notifications are large.
    fn notification_page(
        &mut self,
        tenant: TenantId,
        page: &PageQuery,
    ) -> Result<(Vec<StoredNotification>, bool)>;
    /// One notification.
    fn notification_get(&mut self, tenant: TenantId, sequence: i64) -> Result<Option<StoredNotification>>;
    /// Changes flags. None: there is no such notification.
    fn notification_update(
        &mut self,
        tenant: TenantId,
        sequence: i64,
        flags: Flags,
    ) -> Result<Option<StoredNotification>>;
    /// What was stored under an idempotency key: where, and the hash of its body.
    fn idempotency_find(&mut self, tenant: TenantId, key: &[u8; 16]) -> Result<Option<(i64, Vec<u8>)>>;
    /// A user or an entity.
    fn resource_get(&mut self, tenant: TenantId, kind: ResourceKind, id: &str) -> Result<Option<Resource>>;
    /// Where the tenant's list begins and ends.
    fn position(&mut self, tenant: TenantId) -> Result<Position>;
    /// How many notifications wait for their push, counted up to `most`, and when the oldest was received.
    fn undelivered(&mut self, tenant: TenantId, most: i64) -> Result<(i64, Option<Micros>)>;
    /// When the oldest notification was received; none where there is none.
    fn oldest_received(&mut self, tenant: TenantId) -> Result<Option<Micros>>;
    /// Removes up to `limit` notifications that were received before a time, oldest first. Answers how many.
    fn expire(&mut self, tenant: TenantId, received_before: Micros, limit: i64) -> Result<i64>;
    /// Up to `limit` users and entities that only expired notifications have named.
    fn resources_expired(&mut self, tenant: TenantId, limit: i64) -> Result<Vec<ResourceKey>>;
    /// Removes those of them that are still expired.
    fn resources_remove(&mut self, tenant: TenantId, keys: &[ResourceKey]) -> Result<()>;
}

/// An idempotency key with the body that it stands for, both as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    /// The hash of the key.
    pub key: [u8; 16],
    /// The hash of the body.
    pub body: [u8; 16],
}

/// An event that is to be stored.
pub struct Append {
    /// The tenant.
    pub tenant: TenantId,
    /// The version of the settings by which it was selected.
    pub version: i64,
    /// What is stored.
    pub content: Arc<Content>,
    /// Users and entities that it names, and whether it brought a copy.
    pub resources: Vec<(ResourceKind, String, bool)>,
    /// The idempotency key.
    pub idempotency: Option<Idempotency>,
    /// Whether it is pushed at all.
    pub has_url: bool,
    /// Whether a lane may have it now: the push isn't paused.
    pub push_now: bool,
    /// Whether the order is strict: then it isn't leased here, but by the lane's claim.
    pub fifo: bool,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is stored.
    Stored {
        /// Where.
        sequence: i64,
        /// Whether a lane has it already.
        leased: bool,
    },
    /// The key was used before for the same body.
    Duplicate {
        /// Where the first is.
        sequence: i64,
    },
    /// The key was used before for another body.
    Conflict,
    /// The settings have changed since: look at them again.
    Stale,
    /// There is no such tenant any more.
    NoTenant,
}

/// Storing events.
pub trait AppendQueries {
    /// Locks the tenants against other writers until the end of the transaction, in one order for all.
    fn lock(&mut self, tenants: &[TenantId]) -> Result<()>;
    /// Stores events in the order given, and locks their tenants.
    fn append(&mut self, events: &[&Append], node: NodeId, rooms: &Rooms) -> Result<Vec<Appended>>;
}

/// Stored as the time at which a notification is due, it means: at once, in the order of the sequence.
pub const AT_ONCE: Micros = 0;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted; and dismissed, if the tenant wants that.
    Delivered {
        /// Whether to dismiss it.
        dismiss: bool,
    },
    /// Not accepted; the next attempt is at this time.
    Retry(Micros),
    /// Not accepted; under strict order nothing of this tenant is sent before this time, and then this one first.
    Hold(Micros),
    /// Not accepted, and there will be no other attempt.
    Failed,
    /// No attempt was made: handed back, due at this time or [`AT_ONCE`].
    HandBack(Micros),
}

/// An attempt, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// When it began.
    pub started_at: Micros,
    /// How long it took.
    pub duration_ms: i32,
    /// Where to, without user information and query.
    pub url: Arc<str>,
    /// The address that it was sent to, if a connection came about.
    pub address: Option<String>,
    /// Why it was made.
    pub reason: AttemptReason,
    /// The answer's status, if there was an answer.
    pub response_status: Option<i16>,
    /// The beginning of the answer's body; empty without one.
    pub response_text: String,
    /// Why it did not deliver; none if it did.
    pub error: Option<AttemptError>,
}

/// The end of a lease.
#[derive(Clone, Debug)]
pub struct Report {
    /// The tenant.
    pub tenant: TenantId,
    /// The notification.
    pub sequence: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// The attempt that was made, for the log; none where none was made.
    pub attempt: Option<AttemptRecord>,
}

/// The most notifications that are put on in one transaction: others are waiting to write.
pub const PUT_ON: i64 = 1_000;

/// What a node wants to claim.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// The version of the settings that the node goes by.
    pub version: i64,
    /// At most so many.
    pub limit: i64,
    /// So many of them first such as were put off and are due, with those that wait longest: however large a backlog is,
    /// they are tried again. Without meaning under strict order.
    pub retries: i64,
    /// Of so many bytes together; but one at least, however large.
    pub bytes: usize,
    /// Whether the order is strict.
    pub fifo: bool,
}

/// What a node has claimed.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Leased to the node, in the order in which they are to be sent.
    pub notifications: Vec<StoredNotification>,
    /// Under strict order: nothing can be claimed before this time.
    pub held_until: Option<Micros>,
    /// Nothing was claimed, because the settings have changed since, or the tenant is gone.
    pub is_outdated: bool,
    /// Nothing was claimed yet, because much had to be put in order first: it is to be asked for again.
    pub is_unfinished: bool,
}

/// A tenant with something pending that no node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The tenant.
    pub tenant: TenantId,
    /// When the first is due; a sequence where that is at once.
    pub at: Micros,
    /// The version of its settings.
    pub version: i64,
    /// Under strict order: until when the oldest holds up the rest.
    pub held_until: Option<Micros>,
}

/// Leases and their ends.
pub trait DeliveryQueries {
    /// Records how leases ended; a report by a node that has lost the lease changes nothing. The tenants must be locked.
    fn report(&mut self, reports: &[&Report], node: NodeId, now: Micros) -> Result<()>;
    /// Leases due notifications to the node, if the settings are still those that it goes by: some of those that were put
    /// off, then what waits by its sequence, then the rest that was put off. With `fifo` strictly in sequence: the oldest
    /// that waits is the first, due or not, and nothing is leased while any node has a notification of this tenant, or
    /// before the time until which it is held. The tenant must be locked.
    fn claim(&mut self, tenant: TenantId, node: NodeId, now: Micros, want: Want) -> Result<Claimed>;
    /// Gives up to `limit` waiting notifications up to this sequence up, for this reason, but none that a node has.
    /// Answers how many.
    fn give_up(
        &mut self,
        tenant: TenantId,
        through: i64,
        error: AttemptError,
        limit: i64,
        now: Micros,
    ) -> Result<i64>;
    /// Whether a notification up to this sequence waits for its push, or a node has it.
    fn waits(&mut self, tenant: TenantId, through: i64) -> Result<bool>;
    /// The largest sequence that was received before a time; 0 where there is none. Found by halving, because sequences and
    /// times of receipt rise together.
    fn received_through(&mut self, tenant: TenantId, received_before: Micros) -> Result<i64>;
    /// All attempts for a notification, oldest first.
    fn attempts(&mut self, tenant: TenantId, sequence: i64) -> Result<Vec<AttemptRecord>>;
    /// Each tenant with something pending that no node has, unless its push was stopped.
    fn due(&mut self) -> Result<Vec<Due>>;
    /// Notes that the node is alive, by the database's clock. False: it wasn't known (any more); now it is.
    fn node_seen(&mut self, node: NodeId) -> Result<bool>;
    /// Forgets nodes that were silent for so long and frees their leases. Answers how many leases were freed.
    fn node_reap(&mut self, silence: Micros) -> Result<usize>;
    /// Frees the leases of nodes that are not known. Answers how many.
    fn node_free(&mut self) -> Result<usize>;
    /// Forgets the node and frees its leases.
    fn node_leave(&mut self, node: NodeId) -> Result<()>;
}
