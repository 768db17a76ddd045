//! What can be asked about pushes that have waited for too long.

use super::seam::{Result, TenantId};
use crate::rules::notification::Micros;

/// Pushes that have waited for too long, and their end.
pub trait OverdueQueries {
    /// Up to `limit` waiting notifications behind the first of two sequences and up to the second, in their order, but none
    /// that a node has, nor one that was pushed again at this time or later.
    fn overdue(
        &mut self,
        tenant: TenantId,
        range: (i64, i64),
        repushed_before: Micros,
        limit: i64,
    ) -> Result<Vec<i64>>;
    /// Gives up those of them of which that is still so. Answers how many.
    fn expire_pushes(
        &mut self,
        tenant: TenantId,
        sequences: &[i64],
        repushed_before: Micros,
        now: Micros,
    ) -> Result<i64>;
}
