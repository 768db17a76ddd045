//! Reading notifications, and changing their flags.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::dsl::{not, sql};
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::delivery::{held, release};
use super::{Conn, Db, dialect};
use crate::rules::notification::{Micros, StoredNotification};
use crate::store::rows::{
    ContentRow, LEASED, PUT_OFF, PositionRow, StateRow, kind_number, push_number, stored,
};
use crate::store::schema::{attempts, notifications, positions, resources, states};
use crate::store::seam::{
    NotificationQueries, PageQuery, Position, Resource, ResourceKey, ResourceKind, Result, Seek, TenantId,
    Update,
};

/// The most bytes of one page: what is read for one request must fit into memory beside that of others.
const PAGE_BYTES: usize = 16 << 20;

/// The notifications with these states. Not joined: PostgreSQL would read all that the tenant has, for as long as it has no
/// statistics.
pub(super) fn with_contents(
    conn: &mut Conn,
    tenant: TenantId,
    states: Vec<StateRow>,
) -> Result<Vec<StoredNotification>> {
    let sequences: Vec<i64> = states.iter().map(|state| state.sequence).collect();
    let contents: Vec<(i64, ContentRow)> = notifications::table
        .filter(notifications::tenant_id.eq(tenant.0).and(notifications::sequence.eq_any(sequences)))
        .select((notifications::sequence, ContentRow::as_select()))
        .load(conn)?;
    let mut contents: HashMap<i64, ContentRow> = contents.into_iter().collect();
    let both = |state: StateRow| contents.remove(&state.sequence).map(|content| stored((state, content)));
    Ok(states.into_iter().filter_map(both).collect())
}

/// The first of these changes, up to where one is of a notification that was changed before.
fn once_each(updates: &[Update]) -> &[Update] {
    let mut named = HashSet::with_capacity(updates.len());
    let count = updates.iter().take_while(|update| named.insert((update.tenant, update.sequence))).count();
    updates.split_at(count).0
}

/// Both rows of a notification.
#[diesel::dsl::auto_type(no_type_alias)]
pub(super) fn joined() -> _ {
    states::table.inner_join(
        notifications::table.on(notifications::tenant_id
            .eq(states::tenant_id)
            .and(notifications::sequence.eq(states::sequence))),
    )
}

/// Under strict order the next attempt for the one that holds up the rest is when the hold ends.
fn show_hold(conn: &mut Conn, tenant: TenantId, notifications: &mut [StoredNotification]) -> Result<()> {
    // What is delivered or on its way has none.
    if notifications.iter().all(|notification| notification.state.next_attempt_at.is_none()) {
        return Ok(());
    }
    let Some((head, until)) = held(conn, tenant)? else { return Ok(()) };
    if let Some(notification) = notifications.iter_mut().find(|notification| notification.sequence == head) {
        notification.state.next_attempt_at = Some(until);
    }
    Ok(())
}

/// Adds the conditions of a filter to a query of both rows, whatever it selects.
macro_rules! matching {
    ($query:expr, $tenant:expr, $filter:expr) => {{
        let (mut query, filter) = ($query, $filter);
        // A literal condition, not a bound one: only so do the databases know that the partial index serves.
        query = match filter.is_dismissed {
            Some(true) => query.filter(states::is_dismissed),
            Some(false) => query.filter(not(states::is_dismissed)),
            None => query,
        };
        if let Some(is_read) = filter.is_read {
            query = query.filter(states::is_read.eq(is_read));
        }
        if let Some(is_flagged) = filter.is_flagged {
            query = query.filter(states::is_flagged.eq(is_flagged));
        }
        if !filter.types.is_empty() {
            query = query.filter(notifications::event_type.eq_any(&filter.types));
        }
        if !filter.entities.is_empty() {
            query = query.filter(notifications::entity.eq_any(&filter.entities));
        }
        if !filter.created_by.is_empty() {
            query = query.filter(notifications::created_by.eq_any(&filter.created_by));
        }
        if let Some(push) = &filter.push {
            query = query.filter(states::push_state.eq_any(push.iter().map(|push| push_number(*push))));
        }
        // The condition names the table by which the list is ordered, so that one index serves both.
        if filter.created_from.is_some() || filter.created_before.is_some() {
            query = query.filter(notifications::tenant_id.eq($tenant.0));
        }
        if let Some(from) = filter.created_from {
            query = query.filter(notifications::created_at.ge(from));
        }
        if let Some(before) = filter.created_before {
            query = query.filter(notifications::created_at.lt(before));
        }
        query
    }};
}
pub(super) use matching;

impl NotificationQueries for Conn {
    fn notification_page(
        &mut self,
        tenant: TenantId,
        page: &PageQuery,
    ) -> Result<(Vec<StoredNotification>, bool)> {
        let mut query = joined()
            .filter(states::tenant_id.eq(tenant.0))
            .limit(page.limit)
            .offset(page.offset)
            .select((StateRow::as_select(), ContentRow::as_select()))
            .into_boxed::<Db>();
        query = matching!(query, tenant, &page.filter);
        query = match (page.seek, page.ascending) {
            (Seek::Sequence(Some(at)), true) => query.filter(states::sequence.gt(at)),
            (Seek::Sequence(Some(at)), false) => query.filter(states::sequence.lt(at)),
            (Seek::CreatedAt(Some((time, at))), true) => {
                let tied = notifications::created_at.eq(time).and(notifications::sequence.gt(at));
                query
                    .filter(notifications::created_at.ge(time))
                    .filter(notifications::created_at.gt(time).or(tied))
            }
            (Seek::CreatedAt(Some((time, at))), false) => {
                let tied = notifications::created_at.eq(time).and(notifications::sequence.lt(at));
                query
                    .filter(notifications::created_at.le(time))
                    .filter(notifications::created_at.lt(time).or(tied))
            }
            (Seek::Sequence(None) | Seek::CreatedAt(None), _) => query,
        };
        query = match (page.seek, page.ascending) {
            (Seek::Sequence(_), true) => query.order(states::sequence.asc()),
            (Seek::Sequence(_), false) => query.order(states::sequence.desc()),
            (Seek::CreatedAt(_), true) => query
                .filter(notifications::tenant_id.eq(tenant.0))
                .order((notifications::created_at.asc(), notifications::sequence.asc())),
            (Seek::CreatedAt(_), false) => query
                .filter(notifications::tenant_id.eq(tenant.0))
                .order((notifications::created_at.desc(), notifications::sequence.desc())),
        };
        let (mut notifications, mut bytes, mut is_cut) = (Vec::new(), 0, false);
        dialect::by_index(self, |conn| {
            for row in query.load_iter::<(StateRow, ContentRow), dialect::RowByRow>(conn)? {
                let notification = stored(row?);
                bytes += notification.content.size();
                is_cut = bytes > PAGE_BYTES && !notifications.is_empty();
                if is_cut {
                    break;
                }
                notifications.push(notification);
            }
            Ok(())
        })?;
        show_hold(self, tenant, &mut notifications)?;
        Ok((notifications, is_cut))
    }

    fn notification_get(&mut self, tenant: TenantId, sequence: i64) -> Result<Option<StoredNotification>> {
        let row: Option<(StateRow, ContentRow)> = joined()
            .filter(states::tenant_id.eq(tenant.0).and(states::sequence.eq(sequence)))
            .select((StateRow::as_select(), ContentRow::as_select()))
            .first(self)
            .optional()?;
        let mut found: Vec<StoredNotification> = row.map(stored).into_iter().collect();
        show_hold(self, tenant, &mut found)?;
        Ok(found.pop())
    }

    fn update(&mut self, updates: &[Update]) -> Result<Vec<Option<StoredNotification>>> {
        let mut answers = Vec::with_capacity(updates.len());
        while let Some(rest) = updates.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            let run = once_each(rest);
            dialect::set_flags(self, run)?;
            let mut named = BTreeMap::<TenantId, Vec<i64>>::new();
            for update in run {
                named.entry(update.tenant).or_default().push(update.sequence);
            }
            let mut found = HashMap::with_capacity(run.len());
            for (tenant, sequences) in named {
                let rows = states::table
                    .filter(states::tenant_id.eq(tenant.0).and(states::sequence.eq_any(sequences)));
                let rows: Vec<StateRow> = rows.select(StateRow::as_select()).load(self)?;
                let mut notifications = with_contents(self, tenant, rows)?;
                show_hold(self, tenant, &mut notifications)?;
                found.extend(notifications.into_iter().map(|one| ((tenant, one.sequence), one)));
            }
            answers.extend(run.iter().map(|update| found.remove(&(update.tenant, update.sequence))));
        }
        Ok(answers)
    }

    fn idempotency_find(&mut self, tenant: TenantId, key: &[u8; 16]) -> Result<Option<(i64, Vec<u8>)>> {
        let row: Option<(i64, Option<Vec<u8>>)> = notifications::table
            .filter(notifications::tenant_id.eq(tenant.0))
            .filter(notifications::idempotency_key.eq(&key[..]))
            .select((notifications::sequence, notifications::body_hash))
            .first(self)
            .optional()?;
        Ok(row.map(|(sequence, body)| (sequence, body.unwrap_or_default())))
    }

    fn resource_get(&mut self, tenant: TenantId, kind: ResourceKind, id: &str) -> Result<Option<Resource>> {
        let included_in: Option<i64> = resources::table
            .filter(resources::tenant_id.eq(tenant.0))
            .filter(resources::kind.eq(kind_number(kind)))
            .filter(resources::id.eq(id))
            .select(resources::included_in)
            .first(self)
            .optional()?;
        let Some(included_in) = included_in else { return Ok(None) };
        let row = self.notification_get(tenant, included_in)?;
        Ok(Some(row.map_or(Resource::Named, |row| Resource::Included(row.content))))
    }

    fn position(&mut self, tenant: TenantId) -> Result<Position> {
        let row: PositionRow = positions::table
            .filter(positions::tenant_id.eq(tenant.0))
            .select(PositionRow::as_select())
            .first(self)?;
        Ok(row.into())
    }

    fn undelivered(&mut self, tenant: TenantId, most: i64) -> Result<(i64, Option<Micros>)> {
        // The first of each kind, because their index is by when they are due: at once, in order; put off; being sent.
        let waiting =
            || states::table.filter(states::tenant_id.eq(tenant.0)).filter(sql::<Bool>("push_state = 1"));
        let count: Vec<i64> = waiting().select(states::sequence).limit(most).load(self)?;
        let at_once = waiting().filter(states::due_at.lt(LEASED)).order((states::due_at, states::sequence));
        let put_off = states::table.filter(states::tenant_id.eq(tenant.0)).filter(sql::<Bool>(PUT_OFF));
        let leased = waiting().filter(states::due_at.eq(LEASED)).order(states::sequence);
        let firsts = [
            at_once.select(states::sequence).first::<i64>(self).optional()?,
            put_off.order(states::sequence).select(states::sequence).first::<i64>(self).optional()?,
            leased.select(states::sequence).first::<i64>(self).optional()?,
        ];
        let oldest: Option<i64> = match firsts.into_iter().flatten().min() {
            Some(oldest) => notifications::table
                .filter(notifications::tenant_id.eq(tenant.0).and(notifications::sequence.eq(oldest)))
                .select(notifications::received_at)
                .first(self)
                .optional()?,
            None => None,
        };
        let count = i64::try_from(count.len()).unwrap_or(most);
        Ok((count, oldest))
    }

    fn resources_expired(&mut self, tenant: TenantId, limit: i64) -> Result<Vec<ResourceKey>> {
        let removed =
            positions::table.filter(positions::tenant_id.eq(tenant.0)).select(positions::removed_through);
        let Some(removed): Option<i64> = removed.first(self).optional()? else { return Ok(Vec::new()) };
        Ok(resources::table
            .filter(resources::tenant_id.eq(tenant.0).and(resources::named_by.le(removed)))
            .select((resources::kind, resources::id))
            .limit(limit)
            .load(self)?)
    }

    fn resources_remove(&mut self, tenant: TenantId, keys: &[ResourceKey]) -> Result<()> {
        let removed = self.position(tenant)?.removed_through;
        for (kind, id) in keys {
            let key = resources::table.find((tenant.0, kind, id));
            diesel::delete(key.filter(resources::named_by.le(removed))).execute(self)?;
        }
        Ok(())
    }

    fn oldest_received(&mut self, tenant: TenantId) -> Result<Option<Micros>> {
        Ok(notifications::table
            .filter(notifications::tenant_id.eq(tenant.0))
            .order(notifications::sequence)
            .select(notifications::received_at)
            .first(self)
            .optional()?)
    }

    fn expire(&mut self, tenant: TenantId, received_before: Micros, limit: i64) -> Result<i64> {
        let Some(position) = positions::table
            .filter(positions::tenant_id.eq(tenant.0))
            .select(PositionRow::as_select())
            .first::<PositionRow>(self)
            .optional()?
        else {
            return Ok(0);
        };
        let oldest: Vec<(i64, i64)> = notifications::table
            .filter(notifications::tenant_id.eq(tenant.0))
            .filter(notifications::sequence.gt(position.removed_through))
            .order(notifications::sequence)
            .select((notifications::sequence, notifications::received_at))
            .limit(limit)
            .load(self)?;
        // Only ever a prefix of the list, so that one number says what is gone.
        let expired: Vec<i64> = oldest
            .into_iter()
            .take_while(|(_, received)| *received < received_before)
            .map(|(at, _)| at)
            .collect();
        let Some(through) = expired.last() else { return Ok(0) };
        let old = states::table.filter(states::tenant_id.eq(tenant.0).and(states::sequence.le(through)));
        let waiting = diesel::delete(old.filter(sql::<Bool>("push_state = 1"))).execute(self)?;
        diesel::delete(old).execute(self)?;
        diesel::delete(
            attempts::table.filter(attempts::tenant_id.eq(tenant.0).and(attempts::sequence.le(through))),
        )
        .execute(self)?;
        diesel::delete(
            notifications::table
                .filter(notifications::tenant_id.eq(tenant.0).and(notifications::sequence.le(through))),
        )
        .execute(self)?;
        diesel::update(positions::table.filter(positions::tenant_id.eq(tenant.0)))
            .set(positions::removed_through.eq(through))
            .execute(self)?;
        if waiting > 0 {
            release(self, &[tenant.0])?;
        }
        Ok(i64::try_from(expired.len()).unwrap_or(limit))
    }
}
