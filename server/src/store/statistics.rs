//! What can be asked about figures: how many there are of what, what became of the attempts, and which tenants are in
//! trouble. Each question reads at most so many rows, however much is stored, and its answer says if that cut it short.

use super::seam::{Result, TenantId};
use crate::rules::notification::Micros;

/// How many notifications a tenant has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub total: i64,
    /// Not dismissed, up to a limit.
    pub undismissed: i64,
    /// Of these not read.
    pub unread: i64,
    /// Of these flagged.
    pub flagged: i64,
    /// Never to be pushed.
    pub none: i64,
    /// To be pushed, up to a limit.
    pub pending: i64,
    /// Delivered.
    pub delivered: i64,
    /// Given up, up to a limit.
    pub failed: i64,
    /// Whether the limit was not reached for `undismissed`.
    pub flags_are_complete: bool,
    /// Whether no limit was reached for the others; else `none` and `delivered` are estimates.
    pub push_is_complete: bool,
}

/// An attempt: when it ended, how long it took, and whether it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When it ended.
    pub at: Micros,
    /// How long it took, in milliseconds.
    pub duration_ms: i32,
    /// Whether it was accepted.
    pub accepted: bool,
}

/// The attempts of a part of the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Those that ended in it, or in its latest part.
    pub attempts: Vec<Ended>,
    /// Whether these are all.
    pub is_complete: bool,
}

/// What a tenant's trouble may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The tenant.
    pub tenant: TenantId,
    /// Whether the server or the receiver has stopped its push.
    pub stopped: bool,
    /// When something was given up last.
    pub failed_at: Option<Micros>,
    /// When the oldest that waits, and that nobody is sending, was received.
    pub waiting_since: Option<Micros>,
}

/// Figures.
pub trait StatisticsQueries {
    /// How many notifications a tenant has, each kind counted up to `most`.
    fn counts(&mut self, tenant: TenantId, most: i64) -> Result<Counts>;
    /// The attempts that ended between each two neighbours of these times, those of at most `most` notifications each.
    fn attempts_between(&mut self, tenant: TenantId, times: &[Micros], most: usize) -> Result<Vec<Bucket>>;
    /// How many were given up since a time, counted up to `most`.
    fn failed_since(&mut self, tenant: TenantId, since: Micros, most: i64) -> Result<i64>;
    /// Since when the push of a tenant is stopped, where that was noted.
    fn stopped_since(&mut self, tenant: TenantId) -> Result<Option<Micros>>;
    /// The number of tenants, counted up to `most`.
    fn tenant_count(&mut self, most: i64) -> Result<i64>;
    /// Tenants that are stopped, that have given something up, or for whom something waits, at most `most` of each, and
    /// whether these are all.
    fn troubles(&mut self, most: usize) -> Result<(Vec<Trouble>, bool)>;
}
