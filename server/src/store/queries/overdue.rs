//! Pushes that have waited for too long.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use tidings_api::delivery::AttemptError;

use super::Conn;
use super::delivery::release;
use crate::rules::notification::{Micros, PushProgress};
use crate::store::overdue::OverdueQueries;
use crate::store::rows::{LEASED, PUT_OFF, error_number, push_number};
use crate::store::schema::{positions, states};
use crate::store::seam::{Result, TenantId};

/// What isn't spared because it was pushed again.
#[diesel::dsl::auto_type(no_type_alias)]
fn not_repushed_since(time: Micros) -> _ {
    states::repushed_at.is_null().or(states::repushed_at.lt(time))
}

impl OverdueQueries for Conn {
    fn overdue(
        &mut self,
        tenant: TenantId,
        (after, through): (i64, i64),
        repushed_before: Micros,
        limit: i64,
    ) -> Result<Vec<i64>> {
        let last = positions::table.find(tenant.0).select(positions::last_sequence);
        let Some(last) = last.first::<i64>(self).optional()? else { return Ok(Vec::new()) };
        let through = through.min(last);
        // Those that are due at once stand in the index by their sequence, those that are put off in another.
        let mut found: Vec<i64> = states::table
            .filter(states::tenant_id.eq(tenant.0))
            .filter(sql::<Bool>("push_state = 1"))
            .filter(states::due_at.gt(after).and(states::due_at.le(through)))
            .filter(not_repushed_since(repushed_before))
            .order(states::due_at)
            .limit(limit)
            .select(states::sequence)
            .load(self)?;
        let put_off: Vec<i64> = states::table
            .filter(states::tenant_id.eq(tenant.0))
            .filter(sql::<Bool>(PUT_OFF))
            .filter(states::sequence.gt(after).and(states::sequence.le(through)))
            .filter(not_repushed_since(repushed_before))
            .order(states::sequence)
            .limit(limit)
            .select(states::sequence)
            .load(self)?;
        found.extend(put_off);
        found.sort_unstable();
        found.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(found)
    }

    fn expire_pushes(
        &mut self,
        tenant: TenantId,
        sequences: &[i64],
        repushed_before: Micros,
        now: Micros,
    ) -> Result<i64> {
        let rows = states::table
            .filter(states::tenant_id.eq(tenant.0).and(states::sequence.eq_any(sequences)))
            .filter(sql::<Bool>("push_state = 1"))
            .filter(states::due_at.lt(LEASED))
            .filter(not_repushed_since(repushed_before));
        let given_up = diesel::update(rows)
            .set((
                states::push_state.eq(push_number(PushProgress::Failed)),
                states::due_at.eq(None::<i64>),
                states::error.eq(Some(error_number(AttemptError::Expired))),
                states::response_status.eq(None::<i16>),
                states::processed_at.eq(Some(now)),
            ))
            .execute(self)?;
        if given_up > 0 {
            release(self, &[tenant.0])?;
        }
        Ok(i64::try_from(given_up).unwrap_or(i64::MAX))
    }
}
