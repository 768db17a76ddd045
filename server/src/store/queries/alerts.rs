//! States that are raised, and the outbox of what is told of them.

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use tidings_api::alert::AlertKind;

use super::Conn;
use crate::rules::alerts::{LATELY, OFTEN, STOPPED, at_least};
use crate::rules::notification::Micros;
use crate::store::alerts::{AlertQueries, OutboxAlert, RaisedState, Raising, Way};
use crate::store::schema::{alert_states, alerts, nodes, positions, tenants};
use crate::store::seam::{NodeId, Result, TenantId};

/// How many due alerts are looked at to find the oldest of each tenant.
const LOOK_AT: i64 = 1_000;

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

#[derive(QueryableByName)]
struct Tenant {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

fn way_number(way: Way) -> i16 {
    match way {
        Way::Email => 0,
        Way::Url => 1,
    }
}

impl AlertQueries for Conn {
    fn alert_raise(
        &mut self,
        tenant: TenantId,
        kind: AlertKind,
        detail: &str,
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
            alert_states::since.eq(now),
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
        let since = begun.filter(|_| at_least(kind).next().is_some()).unwrap_or(now);
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
        // Settings are JSON as this server writes it; a name that is found where it means nothing does no harm.
        let rows: Vec<Tenant> = diesel::sql_query(
            "SELECT id FROM tenants WHERE deleted_at IS NULL AND settings LIKE '%\"backlogAgeSeconds\"%'",
        )
        .load(self)?;
        Ok(rows.into_iter().map(|row| TenantId(row.id)).collect())
    }

    fn alert_due(&mut self, now: Micros) -> Result<bool> {
        let due = alerts::table.filter(alerts::due_at.le(now)).select(alerts::way).limit(1);
        Ok(due.first::<i16>(self).optional()?.is_some())
    }

    fn alert_claim(&mut self, node: NodeId, now: Micros, limit: usize) -> Result<Vec<OutboxAlert>> {
        let free = || {
            let of_the_dead = alerts::owner.ne_all(nodes::table.select(nodes::id.nullable()));
            let free = alerts::owner.is_null().or(alerts::owner.eq(node.0)).or(of_the_dead);
            alerts::due_at.le(now).and(free)
        };
        let rows: Vec<AlertRow> = alerts::table
            .filter(free())
            .order((alerts::at, alerts::id))
            .limit(LOOK_AT)
            .select(AlertRow::as_select())
            .load(self)?;
        let mut claimed: Vec<OutboxAlert> = Vec::new();
        for row in rows {
            let way = if row.way == way_number(Way::Email) { Way::Email } else { Way::Url };
            let Ok(kind) = row.kind.parse() else { continue };
            let tenant = TenantId(row.tenant_id);
            if claimed.len() >= limit
                || claimed.iter().any(|other| (other.tenant, other.way) == (tenant, way))
            {
                continue;
            }
            // Another node may be at it: the row decides, not what was read of it.
            let row_now = alerts::table.find((row.tenant_id, &row.id, row.way)).filter(free());
            if diesel::update(row_now).set(alerts::owner.eq(Some(node.0))).execute(self)? > 0 {
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
    let id = uuid::Uuid::new_v4().to_string();
    for way in [Way::Email, Way::Url] {
        let row = AlertInsert {
            tenant_id: tenant.0,
            id: &id,
            way: way_number(way),
            kind: kind.as_str(),
            at: now,
            since,
            detail,
            attempts: 0,
            due_at: Some(now),
        };
        diesel::insert_into(alerts::table).values(row).execute(conn)?;
    }
    Ok(())
}
