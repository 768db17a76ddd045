//! Storing events.

use std::sync::Arc;

use super::{NodeId, ResourceKind, Result, TenantId};
use crate::rules::notification::Content;
use crate::store::rooms::Rooms;

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
    /// Stores events in the order given, and locks their tenants. Leases those for which there is room in a lane that is the node's,
    /// or that nobody has; the rest waits.
    fn append(&mut self, events: &[&Append], node: NodeId, rooms: &Rooms) -> Result<Vec<Appended>>;
}
