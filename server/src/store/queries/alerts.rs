//! States that are raised, and the outbox of what is told of them.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use tidings_api::alert::AlertKind;

use super::Conn;
use crate::rules::alerts::{LATELY, OFTEN, STOPPED, TESTS_APART, at_least};
use crate::rules::notification::Micros;
use crate::store::alerts::{AlertQueries, OutboxAlert, RaisedState, Raising, Way};
use crate::store::schema::{alert_states, alerts, nodes, positions, tenants};
use crate::store::seam::{NodeId, Result, TenantId};

/// Nothing older of the same tenant and way is still to be told.
const FIRST: &str = "NOT EXISTS (SELECT 1 FROM alerts AS older WHERE older.tenant_id = alerts.tenant_id \
                     AND older.way = alerts.way AND older.due_at IS NOT NULL \
                     AND (older.at, older.id) < (alerts.at, alerts.id))";

#[derive(Insertable)]
#[diesel(table_name = alerts)]
#[diesel(treat_none_as_default_value = false)]
struct AlertInsert<'a> {
    tenant_id: i64,
    id: &'a str,
    way: i16,
    kind: &'a str,
    at: i64,
    since: i64,
    detail: &'a str,
    attempts: i32,
    due_at: Option<i64>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = alerts)]
struct AlertRow {
    tenant_id: i64,
    id: String,
    way: i16,
    kind: String,
    at: i64,
    since: i64,
    detail: String,
    attempts: i32,
}

impl AlertRow {
    fn way(&self) -> Way {
        if self.way == way_number(Way::Email) { Way::Email } else { Way::Url }
    }

    fn is_one_of(&self, others: &[(TenantId, Way)]) -> bool {
        others.contains(&(TenantId(self.tenant_id), self.way()))
    }
}

fn way_number(way: Way) -> i16 {
    match way {
        Way::Email => 0,
        Way::Url => 1,
    }
}

/// What is due, and no living node but this one has it.
#[diesel::dsl::auto_type(no_type_alias)]
fn free(node: NodeId, now: Micros) -> _ {
    let node: i64 = node.0;
    let of_the_dead = alerts::owner.ne_all(nodes::table.select(nodes::id.nullable()));
    let free = alerts::owner.is_null().or(alerts::owner.eq(node)).or(of_the_dead);
    alerts::due_at.le(now).and(free)
}

/// Of each tenant and way that isn't busy what comes first, at most `limit` of them, oldest first.
fn firsts(
    conn: &mut Conn,
    node: NodeId,
    now: Micros,
    limit: usize,
    busy: &[(TenantId, Way)],
) -> Result<Vec<AlertRow>> {
    let rows: Vec<AlertRow> = alerts::table
        .filter(free(node, now))
        .filter(sql::<Bool>(FIRST))
        .order((alerts::at, alerts::id))
        .limit(i64::try_from(limit + busy.len()).unwrap_or(i64::MAX))
        .select(AlertRow::as_select())
        .load(conn)?;
    Ok(rows.into_iter().filter(|row| !row.is_one_of(busy)).take(limit).collect())
}

impl AlertQueries for Conn {
    fn alert_raise(
        &mut self,
        tenant: TenantId,
        kind: AlertKind,
        detail: &str,
        since: Micros,
        now: Micros,
    ) -> Result<Raising> {
        let same: Vec<&str> = at_least(kind).chain([kind]).map(AlertKind::as_str).collect();
        let of_tenant = alert_states::table.filter(alert_states::tenant_id.eq(tenant.0));
        let raised: i64 = of_tenant.filter(alert_states::kind.eq_any(same)).count().get_result(self)?;
        if raised > 0 {
            return Ok(Raising::Already);
        }
        // What happens once by someone's doing can't come and go by itself.
        if !STOPPED.contains(&kind) {
            let lately = now.saturating_sub(i64::try_from(LATELY.as_micros()).unwrap_or(i64::MAX));
            let told: Vec<i64> = alerts::table
                .filter(alerts::tenant_id.eq(tenant.0).and(alerts::kind.eq(kind.as_str())))
                .filter(alerts::way.eq(way_number(Way::Email)).and(alerts::at.gt(lately)))
                .order(alerts::at.desc())
                .limit(i64::try_from(OFTEN).unwrap_or(i64::MAX))
                .select(alerts::at)
                .load(self)?;
            if let Some(first) = told.get(OFTEN - 1) {
                return Ok(Raising::Quiet(now + (first - lately)));
            }
        }
        let row = (
            alert_states::tenant_id.eq(tenant.0),
            alert_states::kind.eq(kind.as_str()),
            alert_states::since.eq(since),
        );
        let inserted =
            diesel::insert_into(alert_states::table).values(row).on_conflict_do_nothing().execute(self)?;
        if inserted == 0 {
            return Ok(Raising::Already);
        }
        // A share of the retries was used since the streak began.
        let begun: Option<i64> = alert_states::table
            .find((tenant.0, AlertKind::Failing.as_str()))
            .select(alert_states::since)
            .first(self)
            .optional()?;
        let since = begun.filter(|_| at_least(kind).next().is_some()).unwrap_or(since);
        tell(self, tenant, kind, since, detail, now)?;
        Ok(Raising::Raised)
    }

    fn alert_clear(
        &mut self,
        tenant: TenantId,
        kinds: &[AlertKind],
        begun_before: Micros,
        told: Option<AlertKind>,
        now: Micros,
    ) -> Result<usize> {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let of_kinds = alert_states::table
            .filter(alert_states::tenant_id.eq(tenant.0).and(alert_states::kind.eq_any(&names)));
        let ended: Vec<i64> = diesel::delete(of_kinds.clone().filter(alert_states::since.lt(begun_before)))
            .returning(alert_states::since)
            .get_results(self)?;
        let left: i64 = of_kinds.count().get_result(self)?;
        if let (Some(since), Some(kind), 0) = (ended.iter().min(), told, left) {
            tell(self, tenant, kind, *since, "", now)?;
        }
        Ok(ended.len())
    }

    fn alert_states(&mut self) -> Result<Vec<RaisedState>> {
        let rows: Vec<(i64, String, i64, Option<i64>)> = alert_states::table
            .inner_join(positions::table.on(positions::tenant_id.eq(alert_states::tenant_id)))
            .select((
                alert_states::tenant_id,
                alert_states::kind,
                alert_states::since,
                positions::last_success_at,
            ))
            .load(self)?;
        let states = rows.into_iter().filter_map(|(tenant, kind, since, last_success_at)| {
            let kind = kind.parse().ok()?;
            Some(RaisedState { tenant: TenantId(tenant), kind, since, last_success_at })
        });
        Ok(states.collect())
    }

    fn alert_backlog_tenants(&mut self) -> Result<Vec<TenantId>> {
        let telling = tenants::table.filter(tenants::tells_of_backlog).filter(tenants::deleted_at.is_null());
        let ids: Vec<i64> = telling.select(tenants::id).load(self)?;
        Ok(ids.into_iter().map(TenantId).collect())
    }

    fn alert_test(&mut self, tenant: TenantId, id: &str, now: Micros) -> Result<Option<Micros>> {
        let apart = i64::try_from(TESTS_APART.as_micros()).unwrap_or(i64::MAX);
        let kind = AlertKind::Test.as_str();
        let last: Option<i64> = alerts::table
            .filter(alerts::tenant_id.eq(tenant.0).and(alerts::kind.eq(kind)))
            // A clock that was set back must not forbid tests for long.
            .filter(alerts::at.gt(now.saturating_sub(apart)).and(alerts::at.le(now)))
            .order(alerts::at.desc())
            .select(alerts::at)
            .first(self)
            .optional()?;
        if let Some(last) = last {
            return Ok(Some(last.saturating_add(apart)));
        }
        let row = AlertInsert {
            tenant_id: tenant.0,
            id,
            way: way_number(Way::Email),
            kind,
            at: now,
            since: now,
            detail: "",
            attempts: 0,
            due_at: None,
        };
        diesel::insert_into(alerts::table).values(row).execute(self)?;
        Ok(None)
    }

    fn alert_due(&mut self, node: NodeId, now: Micros, busy: &[(TenantId, Way)]) -> Result<bool> {
        Ok(!firsts(self, node, now, 1, busy)?.is_empty())
    }

    fn alert_claim(
        &mut self,
        node: NodeId,
        now: Micros,
        limit: usize,
        busy: &[(TenantId, Way)],
    ) -> Result<Vec<OutboxAlert>> {
        let mut claimed: Vec<OutboxAlert> = Vec::new();
        for row in firsts(self, node, now, limit, busy)? {
            let Ok(kind) = row.kind.parse() else { continue };
            // Another node may be at it: the row decides, not what was read of it.
            let row_now = alerts::table.find((row.tenant_id, &row.id, row.way)).filter(free(node, now));
            if diesel::update(row_now).set(alerts::owner.eq(Some(node.0))).execute(self)? > 0 {
                let (tenant, way) = (TenantId(row.tenant_id), row.way());
                let AlertRow { id, at, since, detail, attempts, .. } = row;
                claimed.push(OutboxAlert { tenant, id, way, kind, at, since, detail, attempts });
            }
        }
        Ok(claimed)
    }

    fn alert_sent(&mut self, alert: &OutboxAlert, node: NodeId, again: Option<Micros>) -> Result<()> {
        let row = alerts::table.find((alert.tenant.0, &alert.id, way_number(alert.way)));
        diesel::update(row.filter(alerts::owner.eq(node.0)))
            .set((
                alerts::due_at.eq(again),
                alerts::owner.eq(None::<i64>),
                alerts::attempts.eq(alerts::attempts + 1),
            ))
            .execute(self)?;
        Ok(())
    }

    fn alert_forget(&mut self, tenant: TenantId) -> Result<()> {
        diesel::delete(alert_states::table.filter(alert_states::tenant_id.eq(tenant.0))).execute(self)?;
        diesel::delete(alerts::table.filter(alerts::tenant_id.eq(tenant.0))).execute(self)?;
        Ok(())
    }

    fn alert_sweep(&mut self, before: Micros) -> Result<()> {
        diesel::delete(alerts::table.filter(alerts::at.lt(before))).execute(self)?;
        let living = tenants::table.filter(tenants::deleted_at.is_null()).select(tenants::id);
        diesel::delete(alert_states::table.filter(alert_states::tenant_id.ne_all(living))).execute(self)?;
        Ok(())
    }
}

/// Puts an alert into the outbox, for both ways: which of them are set is known when it is sent.
fn tell(
    conn: &mut Conn,
    tenant: TenantId,
    kind: AlertKind,
    since: Micros,
    detail: &str,
    now: Micros,
) -> Result<()> {
    let waiting = alerts::table.filter(alerts::tenant_id.eq(tenant.0).and(alerts::due_at.is_not_null()));
    let last: Option<i64> = waiting.select(diesel::dsl::max(alerts::at)).get_result(conn)?;
    // Nodes' clocks differ, and what is told tells its order by its time.
    let at = last.map_or(now, |last| now.max(last.saturating_add(1)));
    let id = uuid::Uuid::new_v4().to_string();
    for way in [Way::Email, Way::Url] {
        let row = AlertInsert {
            tenant_id: tenant.0,
            id: &id,
            way: way_number(way),
            kind: kind.as_str(),
            at,
            since,
            detail,
            attempts: 0,
            due_at: Some(now),
        };
        diesel::insert_into(alerts::table).values(row).execute(conn)?;
    }
    Ok(())
}
