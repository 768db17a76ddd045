//! Tenants, their keys and settings, and the installation.

use diesel::prelude::*;

use super::Conn;
use super::delivery::{put_on, release};
use crate::rules::notification::Micros;
use crate::store::alerts::AlertQueries;
use crate::store::rows::{KeyRow, PositionRow, TenantInsert, TenantRow};
use crate::store::schema::{
    api_keys, attempts, instance, jobs, notifications, positions, resources, states, tenants,
};
use crate::store::seam::{ApiKey, NewTenant, PUT_ON, Result, Tenant, TenantId, TenantQueries};

impl TenantQueries for Conn {
    fn tenant_create(&mut self, tenant: &NewTenant) -> Result<Tenant> {
        let row: TenantRow = diesel::insert_into(tenants::table)
            .values(TenantInsert {
                public_id: &tenant.public_id,
                name: &tenant.name,
                created_at: tenant.created_at,
                settings: &tenant.settings,
                version: 1,
                push_resumed_at: tenant.created_at,
                may_reach_loopback: tenant.may_reach_loopback,
                tells_of_backlog: tells_of_backlog(&tenant.settings),
            })
            .returning(TenantRow::as_returning())
            .get_result(self)?;
        let tenant = Tenant::from(row);
        diesel::insert_into(positions::table)
            .values(PositionRow {
                tenant_id: tenant.id.0,
                version: 1,
                last_sequence: 0,
                removed_through: 0,
                last_success_at: None,
            })
            .execute(self)?;
        Ok(tenant)
    }

    fn tenant_find(&mut self, public_id: &str) -> Result<Option<Tenant>> {
        let row: Option<TenantRow> = tenants::table
            .filter(tenants::public_id.eq(public_id).and(tenants::deleted_at.is_null()))
            .select(TenantRow::as_select())
            .first(self)
            .optional()?;
        Ok(row.map(Tenant::from))
    }

    fn tenant_get(&mut self, id: TenantId) -> Result<Option<Tenant>> {
        let row: Option<TenantRow> = tenants::table
            .filter(tenants::id.eq(id.0).and(tenants::deleted_at.is_null()))
            .select(TenantRow::as_select())
            .first(self)
            .optional()?;
        Ok(row.map(Tenant::from))
    }

    fn tenant_list(&mut self, after: Option<&str>, limit: i64) -> Result<Vec<Tenant>> {
        let after: i64 = match after {
            Some(public_id) => {
                let id = tenants::table.filter(tenants::public_id.eq(public_id)).select(tenants::id);
                id.first(self).optional()?.unwrap_or(i64::MAX)
            }
            None => 0,
        };
        let rows: Vec<TenantRow> = tenants::table
            .filter(tenants::id.gt(after).and(tenants::deleted_at.is_null()))
            .order(tenants::id)
            .limit(limit)
            .select(TenantRow::as_select())
            .load(self)?;
        Ok(rows.into_iter().map(Tenant::from).collect())
    }

    fn tenant_rename(&mut self, id: TenantId, name: &str) -> Result<bool> {
        let live = tenants::table.filter(tenants::id.eq(id.0).and(tenants::deleted_at.is_null()));
        Ok(diesel::update(live).set(tenants::name.eq(name)).execute(self)? > 0)
    }

    fn tenant_delete(&mut self, id: TenantId, now: Micros) -> Result<()> {
        diesel::delete(api_keys::table.filter(api_keys::tenant_id.eq(id.0))).execute(self)?;
        diesel::delete(jobs::table.filter(jobs::tenant_id.eq(id.0))).execute(self)?;
        self.alert_forget(id)?;
        // Without its position a tenant takes no more events.
        diesel::delete(positions::table.filter(positions::tenant_id.eq(id.0))).execute(self)?;
        let row = tenants::table.filter(tenants::id.eq(id.0));
        diesel::update(row).set(tenants::deleted_at.eq(Some(now))).execute(self)?;
        Ok(())
    }

    fn tenant_deleted_list(&mut self) -> Result<Vec<TenantId>> {
        let ids: Vec<i64> =
            tenants::table.filter(tenants::deleted_at.is_not_null()).select(tenants::id).load(self)?;
        Ok(ids.into_iter().map(TenantId).collect())
    }

    fn tenant_sweep(&mut self, id: TenantId, limit: i64) -> Result<bool> {
        let of_tenant = states::table.filter(states::tenant_id.eq(id.0));
        let sequences: Vec<i64> =
            of_tenant.order(states::sequence).select(states::sequence).limit(limit).load(self)?;
        if let Some(last) = sequences.last() {
            let old = states::table.filter(states::tenant_id.eq(id.0).and(states::sequence.le(last)));
            diesel::delete(old).execute(self)?;
            let old = notifications::table
                .filter(notifications::tenant_id.eq(id.0).and(notifications::sequence.le(last)));
            diesel::delete(old).execute(self)?;
            let old = attempts::table.filter(attempts::tenant_id.eq(id.0).and(attempts::sequence.le(last)));
            diesel::delete(old).execute(self)?;
            return Ok(false);
        }
        let some =
            resources::table.filter(resources::tenant_id.eq(id.0)).select((resources::kind, resources::id));
        let some: Vec<(i16, String)> = some.limit(limit).load(self)?;
        if !some.is_empty() {
            for (kind, key) in some {
                diesel::delete(resources::table.find((id.0, kind, key))).execute(self)?;
            }
            return Ok(false);
        }
        diesel::delete(tenants::table.filter(tenants::id.eq(id.0))).execute(self)?;
        Ok(true)
    }

    fn settings_put(&mut self, id: TenantId, settings: &str, resume: Option<Micros>) -> Result<Tenant> {
        if let Some(now) = resume {
            diesel::update(tenants::table.filter(tenants::id.eq(id.0)))
                .set((
                    tenants::push_stopped.eq(None::<String>),
                    tenants::push_disabled.eq(false),
                    tenants::push_resumed_at.eq(now),
                ))
                .execute(self)?;
            release(self, &[id.0])?;
            TenantQueries::put_on(self, id, PUT_ON)?;
        }
        let row: TenantRow = diesel::update(tenants::table.filter(tenants::id.eq(id.0)))
            .set((
                tenants::settings.eq(settings),
                tenants::version.eq(tenants::version + 1),
                tenants::tells_of_backlog.eq(tells_of_backlog(settings)),
            ))
            .returning(TenantRow::as_returning())
            .get_result(self)?;
        let tenant = Tenant::from(row);
        diesel::update(positions::table.filter(positions::tenant_id.eq(id.0)))
            .set(positions::version.eq(tenant.version))
            .execute(self)?;
        Ok(tenant)
    }

    fn put_on(&mut self, id: TenantId, limit: i64) -> Result<i64> {
        let last = positions::table.find(id.0).select(positions::last_sequence);
        let Some(last) = last.first::<i64>(self).optional()? else { return Ok(0) };
        put_on(self, id, last, limit)
    }

    fn push_stop(&mut self, id: TenantId, version: i64, reason: &str, disabled: bool) -> Result<bool> {
        let same = tenants::table.filter(tenants::id.eq(id.0).and(tenants::version.eq(version)));
        let stopped = diesel::update(same)
            .set((
                tenants::version.eq(version + 1),
                tenants::push_stopped.eq(Some(reason)),
                tenants::push_disabled.eq(disabled),
            ))
            .execute(self)?;
        if stopped > 0 {
            diesel::update(positions::table.filter(positions::tenant_id.eq(id.0)))
                .set(positions::version.eq(version + 1))
                .execute(self)?;
        }
        Ok(stopped > 0)
    }

    fn key_create(&mut self, key: &ApiKey, hash: &[u8]) -> Result<()> {
        let row = KeyRow {
            tenant_id: key.tenant.0,
            id: key.id.clone(),
            name: key.name.clone(),
            role: key.role.clone(),
            created_at: key.created_at,
            last_used_at: None,
        };
        diesel::insert_into(api_keys::table).values((row, api_keys::hash.eq(hash))).execute(self)?;
        Ok(())
    }

    fn key_list(&mut self, tenant: TenantId) -> Result<Vec<ApiKey>> {
        let rows: Vec<KeyRow> = api_keys::table
            .filter(api_keys::tenant_id.eq(tenant.0))
            .order((api_keys::created_at, api_keys::id))
            .select(KeyRow::as_select())
            .load(self)?;
        Ok(rows.into_iter().map(ApiKey::from).collect())
    }

    fn key_delete(&mut self, tenant: TenantId, id: &str) -> Result<bool> {
        let row = api_keys::table.filter(api_keys::tenant_id.eq(tenant.0).and(api_keys::id.eq(id)));
        Ok(diesel::delete(row).execute(self)? > 0)
    }

    fn key_find(&mut self, hash: &[u8]) -> Result<Option<ApiKey>> {
        let row: Option<KeyRow> = api_keys::table
            .filter(api_keys::hash.eq(hash))
            .select(KeyRow::as_select())
            .first(self)
            .optional()?;
        Ok(row.map(ApiKey::from))
    }

    fn key_used(&mut self, tenant: TenantId, id: &str, now: Micros) -> Result<()> {
        let row = api_keys::table.filter(api_keys::tenant_id.eq(tenant.0).and(api_keys::id.eq(id)));
        diesel::update(row).set(api_keys::last_used_at.eq(Some(now))).execute(self)?;
        Ok(())
    }

    fn instance_get(&mut self, name: &str) -> Result<Option<String>> {
        Ok(instance::table.find(name).select(instance::value).first(self).optional()?)
    }

    fn instance_put(&mut self, name: &str, value: &str) -> Result<bool> {
        let inserted = diesel::insert_into(instance::table)
            .values((instance::name.eq(name), instance::value.eq(value)))
            .on_conflict_do_nothing()
            .execute(self)?;
        Ok(inserted > 0)
    }
}

/// Settings are JSON as this server writes it; a name that is found where it means nothing does no harm.
fn tells_of_backlog(settings: &str) -> bool {
    settings.contains("\"backlogAgeSeconds\"")
}
