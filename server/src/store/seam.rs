//! The seam between the store and its two databases: what can be asked of a connection.
//!
//! The traits are implemented once, in `queries/`, and that source is compiled for each database. Everything here is
//! synchronous and runs inside the transaction of its caller. Every call names its tenant, but for the few that look
//! for one. Each subject has a room of its own; the push queue, jobs, alerts and what waits for too long stand beside this.

mod append;
mod delivery;
mod nodes;
mod notifications;
mod tenants;

pub use self::append::{Append, AppendQueries, Appended, Idempotency};
pub use self::delivery::{AT_ONCE, AttemptRecord, Claimed, DeliveryQueries, Due, Outcome, Report, Want};
pub use self::nodes::{NodeInfo, NodeQueries, Peer, Release, Vitals};
pub use self::notifications::{
    Filter, NotificationQueries, PageQuery, Position, Resource, ResourceKey, ResourceKind, Seek, Update,
};
pub use self::tenants::{ApiKey, NewTenant, PUT_ON, Tenant, TenantQueries};
use super::alerts::AlertQueries;
use super::error::StoreError;
use super::overdue::OverdueQueries;
use super::queue::{JobQueries, QueueQueries};
use super::statistics::StatisticsQueries;

/// What store calls answer with.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The small internal number of a tenant. A value of this type was found in the database; a request can't make one up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub(super) i64);

impl TenantId {
    /// One for tests that need no database.
    #[cfg(test)]
    pub(crate) const fn for_tests(number: i64) -> Self {
        TenantId(number)
    }

    /// For spreading tenants over threads.
    pub fn number(self) -> u64 {
        self.0.unsigned_abs()
    }
}

/// One run of a server process. A lease is good for as long as its node is seen alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub(super) i64);

impl NodeId {
    /// One for tests that need no database.
    #[cfg(test)]
    pub(crate) const fn for_tests(number: i64) -> Self {
        NodeId(number)
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything that can be asked of a connection.
pub trait Queries:
    TenantQueries
    + NotificationQueries
    + AppendQueries
    + DeliveryQueries
    + NodeQueries
    + QueueQueries
    + JobQueries
    + AlertQueries
    + OverdueQueries
    + StatisticsQueries
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
