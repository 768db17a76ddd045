//! Reading notifications, and changing their flags.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_api::notification::Flags;

use super::{Result, TenantId};
use crate::rules::notification::{Content, Micros, PushProgress, StoredNotification};

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

/// A change of a notification's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// Whose.
    pub tenant: TenantId,
    /// Which notification.
    pub sequence: i64,
    /// What is to change.
    pub flags: Flags,
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
    /// Changes flags, one after the other; answers each notification as its change left it. None: there is no such
    /// notification.
    fn update(&mut self, updates: &[Update]) -> Result<Vec<Option<StoredNotification>>>;
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
