//! Leases and their ends, and the log of attempts.
//!
//! Only the node whose a tenant's lane is leases its notifications: see `nodes.rs`. A lease is the pair of a node's number in `owner` and the largest time in `due_at`. It needs no renewal of its own:
//! it is good while its node is seen. An outcome counts only where the row still names the node, so a node that was
//! taken for dead can't record anything over its successor; and only where as many attempts were made as when it was
//! leased, so that no outcome counts twice.
//!
//! What waits has its own sequence in `due_at`, or a time if it is put off. Sequences never come near times, so the index
//! by `due_at` holds first what is due at once, in order, and whatever is larger than the newest sequence is put off.
//! A second index has what is put off by its sequence.

use std::collections::{BTreeMap, BTreeSet};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable};
use tidings_api::delivery::AttemptError;

use super::nodes::{self, Lane};
use super::notifications::with_contents;
use super::{Conn, dialect};
use crate::rules::notification::{Micros, PushProgress, StoredNotification};
use crate::store::rows::{
    AttemptEnd, HandedBack, LEASED, LogRow, PUT_OFF, StateRow, error_number, push_number,
};
use crate::store::schema::{notifications, positions, states, tenants};
use crate::store::seam::{
    AT_ONCE, AttemptRecord, Claimed, DeliveryQueries, Due, NodeId, Outcome, PUT_ON, Report, Result, TenantId,
    Want,
};

#[derive(QueryableByName)]
struct DueRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    due_at: i64,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    held_until: Option<i64>,
}

#[derive(QueryableByName)]
struct PutOffRow {
    #[diesel(sql_type = BigInt)]
    sequence: i64,
    #[diesel(sql_type = Integer)]
    size: i32,
}

/// Among so many of those that are put off the oldest that is due is looked for: more than ever can keep their schedule
/// while a receiver is probed, and few enough to be read at any time.
const OLDEST: i64 = 500;

/// When the first notification of a tenant is due, with one seek. (Citus knows no LIMIT in a subquery like this.)
const FIRST_DUE: &str = "(SELECT min(due_at) FROM states WHERE tenant_id = tenants.id AND push_state = 1)";

impl DeliveryQueries for Conn {
    fn report(&mut self, reports: &[&Report], node: NodeId, now: Micros) -> Result<()> {
        let (mut ends, mut handed_back) = (Vec::new(), Vec::new());
        for report in reports {
            let (tenant_id, sequence, attempts) = (report.tenant.0, report.sequence, report.attempts);
            let at = |time| Some(if time == AT_ONCE { sequence } else { time });
            let (progress, due_at, dismiss) = match report.outcome {
                Outcome::Delivered { dismiss } => (PushProgress::Delivered, None, dismiss),
                Outcome::Retry(time) => (PushProgress::Pending, at(time), false),
                Outcome::Hold(_) => (PushProgress::Pending, at(AT_ONCE), false),
                Outcome::Failed => (PushProgress::Failed, None, false),
                Outcome::HandBack(time) => {
                    let due_at = if time == AT_ONCE { sequence } else { time };
                    handed_back.push(HandedBack { tenant_id, sequence, attempts, due_at });
                    continue;
                }
            };
            ends.push(AttemptEnd {
                tenant_id,
                sequence,
                attempts,
                push_state: push_number(progress),
                due_at,
                dismiss,
                processed_at: ended_at(report, now),
                log: report.attempt.as_ref().map(LogRow::from),
            });
        }
        if !handed_back.is_empty() {
            dialect::hand_back(self, &handed_back, node.0)?;
        }
        if ends.is_empty() {
            return Ok(());
        }
        let recorded = dialect::end_attempts(self, &ends, node.0)?;
        let (mut succeeded, mut failed) = (BTreeMap::<i64, Micros>::new(), BTreeSet::new());
        let mut holds = Vec::new();
        for report in reports.iter().filter(|report| recorded.contains(&(report.tenant.0, report.sequence))) {
            match report.outcome {
                // When it was, not when it is recorded: what failed in between begins another streak.
                Outcome::Delivered { .. } => {
                    let last = succeeded.entry(report.tenant.0).or_default();
                    *last = ended_at(report, now).max(*last);
                }
                Outcome::Failed => drop(failed.insert(report.tenant.0)),
                Outcome::Hold(until) => holds.push((report.tenant.0, until)),
                Outcome::Retry(_) | Outcome::HandBack(_) => {}
            }
        }
        if !succeeded.is_empty() {
            dialect::put_success(self, &succeeded.into_iter().collect::<Vec<_>>())?;
        }
        release(self, &failed.into_iter().collect::<Vec<_>>())?;
        // Last, because what was delivered or given up in the same batch went before it.
        for (tenant, until) in holds {
            diesel::update(positions::table.find(tenant))
                .set(positions::held_until.eq(Some(until)))
                .execute(self)?;
        }
        Ok(())
    }

    fn claim(&mut self, tenant: TenantId, node: NodeId, now: Micros, want: Want) -> Result<Claimed> {
        let columns =
            (positions::version, positions::last_sequence, positions::held_until, positions::lane_owner);
        let position = positions::table.find(tenant.0).select(columns);
        let position: Option<(i64, i64, Option<i64>, Option<i64>)> = position.first(self).optional()?;
        let Some((_, last, held_until, owner)) = position.filter(|(version, ..)| *version == want.version)
        else {
            return Ok(Claimed { is_outdated: true, ..Claimed::default() });
        };
        let lane = nodes::lane(self, owner, node)?;
        if lane == Lane::Elsewhere {
            return Ok(Claimed { is_elsewhere: true, ..Claimed::default() });
        }
        let waiting =
            || states::table.filter(states::tenant_id.eq(tenant.0)).filter(sql::<Bool>("push_state = 1"));
        if want.fifo {
            let held_until = held_until.filter(|until| *until > now);
            let leased = waiting().filter(states::due_at.eq(LEASED)).select(states::sequence);
            if held_until.is_some() || leased.first::<i64>(self).optional()?.is_some() {
                return Ok(Claimed { held_until, ..Claimed::default() });
            }
            // Put off before the order was strict.
            if put_on(self, tenant, last, PUT_ON)? == PUT_ON {
                return Ok(Claimed { is_unfinished: true, ..Claimed::default() });
            }
        }
        if held_until.is_some() {
            // It is over, or the order isn't strict any more.
            release(self, &[tenant.0])?;
        }
        let due = || {
            let due = waiting().filter(states::due_at.le(now)).order((states::due_at, states::sequence));
            due.select((states::sequence, states::size))
        };
        let mut chosen: Vec<(i64, i32)> = Vec::new();
        if want.retries > 0 && !want.fifo {
            let retries = want.retries.min(want.limit);
            chosen = oldest_due(self, tenant, now, retries)?;
            if chosen.len() < usize::try_from(retries).unwrap_or(0) {
                let longest = due().filter(states::due_at.gt(last)).limit(retries);
                add(&mut chosen, longest.load(self)?, retries);
            }
        }
        add(&mut chosen, due().limit(want.limit).load(self)?, want.limit);
        let mut room = want.bytes;
        let fits = chosen.iter().enumerate().take_while(|(index, (_, size))| {
            let size = usize::try_from(*size).unwrap_or(0);
            let fits = *index == 0 || size <= room;
            room = room.saturating_sub(size);
            fits
        });
        let sequences: Vec<i64> = fits.map(|(_, (sequence, _))| *sequence).collect();
        if sequences.is_empty() {
            return Ok(Claimed::default());
        }
        if lane != Lane::Mine {
            nodes::take(self, tenant, node)?;
        }
        let notifications = lease(self, tenant, node, &sequences)?;
        Ok(Claimed { notifications, is_inherited: lane == Lane::Inherited, ..Claimed::default() })
    }

    fn give_up(
        &mut self,
        tenant: TenantId,
        through: i64,
        error: AttemptError,
        limit: i64,
        now: Micros,
    ) -> Result<i64> {
        let last = positions::table.find(tenant.0).select(positions::last_sequence);
        let Some(last) = last.first::<i64>(self).optional()? else { return Ok(0) };
        let through = through.min(last);
        let waiting = || {
            states::table
                .filter(states::tenant_id.eq(tenant.0))
                .filter(sql::<Bool>("push_state = 1"))
                .select(states::sequence)
        };
        // First those that are due at once, which stand in the index by their sequence, then those that are put off.
        let mut sequences: Vec<i64> =
            waiting().filter(states::due_at.le(through)).order(states::due_at).limit(limit).load(self)?;
        let count = |sequences: &Vec<i64>| i64::try_from(sequences.len()).unwrap_or(limit);
        if count(&sequences) < limit {
            sequences.extend(
                states::table
                    .filter(states::tenant_id.eq(tenant.0))
                    .filter(sql::<Bool>(PUT_OFF))
                    .filter(states::sequence.le(through))
                    .order(states::sequence)
                    .limit(limit - count(&sequences))
                    .select(states::sequence)
                    .load::<i64>(self)?,
            );
        }
        if sequences.is_empty() {
            return Ok(0);
        }
        let rows =
            states::table.filter(states::tenant_id.eq(tenant.0).and(states::sequence.eq_any(&sequences)));
        diesel::update(rows)
            .set((
                states::push_state.eq(push_number(PushProgress::Failed)),
                states::due_at.eq(None::<i64>),
                states::error.eq(Some(error_number(error))),
                // That of an earlier attempt: it isn't why.
                states::response_status.eq(None::<i16>),
                states::processed_at.eq(Some(now)),
            ))
            .execute(self)?;
        release(self, &[tenant.0])?;
        Ok(count(&sequences))
    }

    fn waits(&mut self, tenant: TenantId, through: i64) -> Result<bool> {
        let waiting = states::table
            .filter(states::tenant_id.eq(tenant.0))
            .filter(sql::<Bool>("push_state = 1"))
            .filter(states::sequence.le(through));
        Ok(waiting.select(states::sequence).first::<i64>(self).optional()?.is_some())
    }

    fn received_through(&mut self, tenant: TenantId, received_before: Micros) -> Result<i64> {
        let bounds = (positions::removed_through, positions::last_sequence);
        let bounds = positions::table.find(tenant.0).select(bounds).first(self).optional()?;
        let Some((removed, mut last)) = bounds else { return Ok(0) };
        // All through `first` were received before, none behind `last`.
        let mut first: i64 = removed;
        while first < last {
            let middle = last - (last - first) / 2;
            let received: Option<i64> = notifications::table
                .find((tenant.0, middle))
                .select(notifications::received_at)
                .first(self)
                .optional()?;
            if received.is_none_or(|received| received < received_before) {
                first = middle;
            } else {
                last = middle - 1;
            }
        }
        Ok(if first > removed { first } else { 0 })
    }

    fn due(&mut self, index: u64, count: u64, node: NodeId) -> Result<Vec<Due>> {
        // One seek in `states_pending` for each tenant, however many wait.
        let rows: Vec<DueRow> = diesel::sql_query(format!(
            "SELECT id, due_at, firsts.version, held_until FROM (SELECT id, version, {FIRST_DUE} AS due_at FROM tenants \
             WHERE deleted_at IS NULL AND push_stopped IS NULL AND id % {count} = {index}) AS firsts \
             JOIN positions ON positions.tenant_id = firsts.id WHERE due_at < {LEASED} \
             AND (lane_owner IS NULL OR lane_owner = {node} OR lane_owner NOT IN (SELECT nodes.id FROM nodes))",
            node = node.0
        ))
        .load(self)?;
        let due = |DueRow { id, due_at: at, version, held_until }| Due {
            tenant: TenantId(id),
            at,
            version,
            held_until,
        };
        Ok(rows.into_iter().map(due).collect())
    }

    fn due_of(&mut self, tenants: &[TenantId]) -> Result<Vec<Due>> {
        let rows: Vec<(i64, Option<i64>, i64, Option<i64>)> = tenants::table
            .inner_join(positions::table.on(positions::tenant_id.eq(tenants::id)))
            .filter(tenants::id.eq_any(tenants.iter().map(|tenant| tenant.0)))
            .filter(tenants::deleted_at.is_null().and(tenants::push_stopped.is_null()))
            .select((
                tenants::id,
                sql::<Nullable<BigInt>>(FIRST_DUE),
                tenants::version,
                positions::held_until,
            ))
            .load(self)?;
        let due = |(id, at, version, held_until): (_, Option<i64>, _, _)| {
            at.filter(|at| *at < LEASED).map(|at| Due { tenant: TenantId(id), at, version, held_until })
        };
        Ok(rows.into_iter().filter_map(due).collect())
    }
}

/// When the attempt ended that a report is about.
fn ended_at(report: &Report, now: Micros) -> Micros {
    let took = |attempt: &AttemptRecord| i64::from(attempt.duration_ms).saturating_mul(1000);
    report.attempt.as_ref().map_or(now, |attempt| attempt.started_at.saturating_add(took(attempt)))
}

/// Of the oldest that are put off, up to `limit` that are due: sequences and sizes. Whichever is tried first keeps its
/// schedule, whatever else is due.
fn oldest_due(conn: &mut Conn, tenant: TenantId, now: Micros, limit: i64) -> Result<Vec<(i64, i32)>> {
    let tenant = tenant.0;
    let rows: Vec<PutOffRow> = diesel::sql_query(format!(
        "SELECT sequence, size FROM (SELECT sequence, size, due_at FROM states WHERE tenant_id = {tenant} AND {PUT_OFF} \
         ORDER BY sequence LIMIT {OLDEST}) AS oldest WHERE due_at <= {now} ORDER BY sequence LIMIT {limit}",
    ))
    .load(conn)?;
    Ok(rows.into_iter().map(|row| (row.sequence, row.size)).collect())
}

/// Adds those that aren't there yet, up to `limit` in all.
fn add(chosen: &mut Vec<(i64, i32)>, more: Vec<(i64, i32)>, limit: i64) {
    let there = chosen.len();
    for row in more {
        if !chosen[..there].contains(&row) {
            chosen.push(row);
        }
    }
    chosen.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
}

/// Leases notifications to a node, and reads them.
fn lease(
    conn: &mut Conn,
    tenant: TenantId,
    node: NodeId,
    sequences: &[i64],
) -> Result<Vec<StoredNotification>> {
    let rows = states::table.filter(states::tenant_id.eq(tenant.0).and(states::sequence.eq_any(sequences)));
    let mut leased: Vec<StateRow> = diesel::update(rows)
        .set((states::owner.eq(Some(node.0)), states::due_at.eq(Some(LEASED))))
        .returning(StateRow::as_returning())
        .get_results(conn)?;
    leased.sort_unstable_by_key(|row| row.sequence);
    with_contents(conn, tenant, leased)
}

/// Makes up to `limit` of those that are put off due at once; answers how many. `last` is the tenant's newest sequence: no
/// time is as small.
pub(super) fn put_on(conn: &mut Conn, tenant: TenantId, last: i64, limit: i64) -> Result<i64> {
    let put_off: Vec<i64> = states::table
        .filter(states::tenant_id.eq(tenant.0))
        .filter(sql::<Bool>("push_state = 1"))
        .filter(states::due_at.gt(last).and(states::due_at.lt(LEASED)))
        .order((states::due_at, states::sequence))
        .select(states::sequence)
        .limit(limit)
        .load(conn)?;
    if !put_off.is_empty() {
        let rows =
            states::table.filter(states::tenant_id.eq(tenant.0).and(states::sequence.eq_any(&put_off)));
        diesel::update(rows).set(states::due_at.eq(states::sequence.nullable())).execute(conn)?;
    }
    Ok(i64::try_from(put_off.len()).unwrap_or(limit))
}

/// Under strict order: which notification holds up the rest, and until when.
pub(super) fn held(conn: &mut Conn, tenant: TenantId) -> Result<Option<(i64, Micros)>> {
    let until = positions::table.find(tenant.0).select(positions::held_until);
    let Some(until) = until.first::<Option<i64>>(conn).optional()?.flatten() else { return Ok(None) };
    Ok(head(conn, tenant)?.map(|head| (head, until)))
}

/// The first of those that wait in sequence.
pub(super) fn head(conn: &mut Conn, tenant: TenantId) -> Result<Option<i64>> {
    let waiting = states::table
        .filter(states::tenant_id.eq(tenant.0))
        .filter(sql::<Bool>("push_state = 1"))
        .filter(states::due_at.lt(LEASED));
    Ok(waiting.order((states::due_at, states::sequence)).select(states::sequence).first(conn).optional()?)
}

/// Lets these tenants go on under strict order: what held up the rest is done with.
pub(super) fn release(conn: &mut Conn, tenants: &[i64]) -> Result<()> {
    for tenant in tenants {
        let held = positions::table.find(tenant).filter(positions::held_until.is_not_null());
        diesel::update(held).set(positions::held_until.eq(None::<i64>)).execute(conn)?;
    }
    Ok(())
}
