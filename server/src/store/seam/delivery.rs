//! Leases and their ends, and the log of attempts.

use std::sync::Arc;

use tidings_api::delivery::{AttemptError, AttemptReason};

use super::{NodeId, Result, TenantId};
use crate::rules::notification::{Micros, StoredNotification};

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
    /// How many attempts there had been when it was leased. The lease was for the next and is good for no other, so a
    /// report may be repeated when nobody knows whether it was recorded.
    pub attempts: i32,
    /// How it ended.
    pub outcome: Outcome,
    /// The attempt that was made, for the log; none where none was made.
    pub attempt: Option<AttemptRecord>,
}

/// What a node wants to claim.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// The version of the settings that the node goes by.
    pub version: i64,
    /// At most so many.
    pub limit: i64,
    /// So many of them first such as were put off and are due, oldest first: however large a backlog is, they are tried
    /// again, and its head in time. Without meaning under strict order.
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
    /// Nothing was claimed, because the lane is another node's.
    pub is_elsewhere: bool,
    /// The lane was that of a node which is gone, and nobody knows what that one has sent lately.
    pub is_inherited: bool,
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
    /// Records how leases ended; a report by a node that has lost the lease, or has reported its end, changes nothing. The tenants must be locked.
    fn report(&mut self, reports: &[&Report], node: NodeId, now: Micros) -> Result<()>;
    /// Leases due notifications to the node, if the settings are still those that it goes by: some of those that were put
    /// off, then what waits, both by their sequence, then the rest that was put off, by time. With `fifo` strictly in sequence: the oldest
    /// that waits is the first, due or not, and nothing is leased while any node has a notification of this tenant, or
    /// before the time until which it is held. Whoever leases anything has the lane from then on; nothing is leased where it is
    /// another node's. The tenant must be locked.
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
    /// Each tenant with something pending that no node has, unless its push was stopped or its lane is that of another
    /// node than this: of those whose number leaves `index` when it is divided by `count`.
    fn due(&mut self, index: u64, count: u64, node: NodeId) -> Result<Vec<Due>>;
    /// The same, of these tenants, whose lanes are the node's.
    fn due_of(&mut self, tenants: &[TenantId]) -> Result<Vec<Due>>;
}
