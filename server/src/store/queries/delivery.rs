//! Leases and their ends.
//!
//! A lease is the pair of a node's number in `owner` and the largest time in `due_at`. It needs no renewal of its own:
//! it is good while its node is seen. An outcome counts only where the row still names the node, so a node that was
//! taken for dead can't record anything over its successor.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

use super::{Conn, dialect};
use crate::rules::notification::PushProgress;
use crate::rules::notification::{Micros, StoredNotification};
use crate::store::rows::{ContentRow, LEASED, StateRow, push_number, stored};
use crate::store::schema::{nodes, notifications, states};
use crate::store::seam::{DeliveryQueries, NodeId, Outcome, Report, Result, TenantId};

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    due_at: i64,
}

impl DeliveryQueries for Conn {
    fn report(&mut self, reports: &[Report], node: NodeId, now: Micros) -> Result<()> {
        let mut delivered = Vec::new();
        for report in reports {
            let row = states::table
                .filter(states::tenant_id.eq(report.tenant.0).and(states::sequence.eq(report.sequence)))
                .filter(states::owner.eq(node.0));
            let free = (states::owner.eq(None::<i64>), states::attempts.eq(states::attempts + 1));
            match report.outcome {
                Outcome::Delivered { dismiss } => delivered.push((report.tenant.0, report.sequence, dismiss)),
                Outcome::Retry(at) => {
                    diesel::update(row).set((free, states::due_at.eq(Some(at)))).execute(self)?;
                }
                Outcome::Failed => {
                    let failed = states::push_state.eq(push_number(PushProgress::Failed));
                    diesel::update(row).set((free, failed, states::due_at.eq(None::<i64>))).execute(self)?;
                }
                Outcome::HandBack(at) => {
                    let changes = (states::owner.eq(None::<i64>), states::due_at.eq(Some(at)));
                    diesel::update(row).set(changes).execute(self)?;
                }
            }
        }
        if !delivered.is_empty() {
            dialect::mark_delivered(self, &delivered, node.0)?;
            let mut tenants: Vec<i64> = delivered.iter().map(|(tenant, ..)| *tenant).collect();
            tenants.sort_unstable();
            tenants.dedup();
            dialect::put_success(self, &tenants, now)?;
        }
        Ok(())
    }

    fn claim(
        &mut self,
        tenant: TenantId,
        node: NodeId,
        now: Micros,
        limit: i64,
        bytes: usize,
    ) -> Result<Vec<StoredNotification>> {
        let due: Vec<(i64, i32)> = states::table
            .filter(states::tenant_id.eq(tenant.0))
            .filter(sql::<Bool>("push_state = 1"))
            .filter(states::due_at.le(now))
            .order((states::due_at, states::sequence))
            .select((states::sequence, states::size))
            .limit(limit)
            .load(self)?;
        let mut room = bytes;
        let fits = due.iter().enumerate().take_while(|(index, (_, size))| {
            let size = usize::try_from(*size).unwrap_or(0);
            let fits = *index == 0 || size <= room;
            room = room.saturating_sub(size);
            fits
        });
        let sequences: Vec<i64> = fits.map(|(_, (sequence, _))| *sequence).collect();
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let rows =
            states::table.filter(states::tenant_id.eq(tenant.0).and(states::sequence.eq_any(&sequences)));
        diesel::update(rows)
            .set((states::owner.eq(Some(node.0)), states::due_at.eq(Some(LEASED))))
            .execute(self)?;
        let rows: Vec<(StateRow, ContentRow)> = states::table
            .inner_join(
                notifications::table.on(notifications::tenant_id
                    .eq(states::tenant_id)
                    .and(notifications::sequence.eq(states::sequence))),
            )
            .filter(states::tenant_id.eq(tenant.0).and(states::sequence.eq_any(&sequences)))
            .order(states::sequence)
            .select((StateRow::as_select(), ContentRow::as_select()))
            .load(self)?;
        Ok(rows.into_iter().map(stored).collect())
    }

    fn due(&mut self) -> Result<Vec<(TenantId, Micros)>> {
        // One seek in `states_pending` for each tenant, however many wait.
        let rows: Vec<Due> = diesel::sql_query(
            "SELECT id, due_at FROM (SELECT id, (SELECT due_at FROM states WHERE tenant_id = tenants.id \
             AND push_state = 1 ORDER BY due_at LIMIT 1) AS due_at FROM tenants WHERE deleted_at IS NULL) AS firsts \
             WHERE due_at < 9223372036854775807",
        )
        .load(self)?;
        Ok(rows.into_iter().map(|row| (TenantId(row.id), row.due_at)).collect())
    }

    fn node_seen(&mut self, node: NodeId) -> Result<bool> {
        let now = dialect::clock(self)?;
        let known = diesel::update(nodes::table.find(node.0)).set(nodes::seen_at.eq(now)).execute(self)? > 0;
        if !known {
            diesel::insert_into(nodes::table)
                .values((nodes::id.eq(node.0), nodes::seen_at.eq(now)))
                .execute(self)?;
        }
        Ok(known)
    }

    fn node_reap(&mut self, silence: Micros, now: Micros) -> Result<usize> {
        let seen_before = dialect::clock(self)?.saturating_sub(silence);
        let dead: Vec<i64> = diesel::delete(nodes::table.filter(nodes::seen_at.le(seen_before)))
            .returning(nodes::id)
            .get_results(self)?;
        if dead.is_empty() { Ok(0) } else { free_unowned(self, now) }
    }

    fn node_free(&mut self, now: Micros) -> Result<usize> {
        free_unowned(self, now)
    }

    fn node_leave(&mut self, node: NodeId, now: Micros) -> Result<()> {
        diesel::delete(nodes::table.find(node.0)).execute(self)?;
        free_unowned(self, now)?;
        Ok(())
    }
}

/// Frees the leases of nodes that are not known (any more).
fn free_unowned(conn: &mut Conn, now: Micros) -> Result<usize> {
    let leased = states::table
        .filter(sql::<Bool>("push_state = 1"))
        .filter(states::due_at.eq(LEASED))
        .filter(states::owner.ne_all(nodes::table.select(nodes::id.nullable())));
    Ok(diesel::update(leased)
        .set((states::owner.eq(None::<i64>), states::due_at.eq(Some(now))))
        .execute(conn)?)
}
