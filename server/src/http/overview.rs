//! `/overview`: the tenants of which something needs to be done, for the operator.

use std::cmp::Reverse;

use actix_web::{HttpRequest, HttpResponse, get, web};
use chrono::Utc;
use tidings_api::jsonapi::SelfLink;
use tidings_api::overview::{
    OverviewDocument, OverviewMeta, TenantHealth, TenantHealthAttributes, TenantPush,
};
use uuid::Uuid;

use super::auth::Operator;
use super::error::Error;
use super::query::NoParameters;
use super::settings::health;
use super::statistics::DAY;
use super::{State, base, json, time};
use crate::rules::notification::Micros;
use crate::store::error::StoreError;
use crate::store::seam::{Queries, Tenant, TenantId};
use crate::store::statistics::Trouble;

/// So many tenants are shown.
const SHOWN: usize = 100;
/// So many tenants of each kind of trouble are looked at.
const LOOKED_AT: usize = 1000;
/// Tenants are counted up to this many.
const COUNTED: i64 = 100_000;
/// A tenant's notifications are counted up to this many.
const OF_A_TENANT: i64 = 1000;
/// What has waited for longer needs someone to look.
const LONG: Micros = 15 * 60 * 1_000_000;

/// What is shown of a tenant, as it is stored.
struct Facts {
    tenant: Tenant,
    stopped_since: Option<Micros>,
    undelivered: i64,
    oldest: Option<Micros>,
    failed: i64,
    needs_action: bool,
}

/// Tells which tenants need something done
///
/// At most 100 tenants: first those whose push the server or the receiver has stopped, then those of which notifications were
/// given up within the last 24 hours, then those for whom something has waited for more than 15 minutes, longest first; if
/// there is room, others. At most 1,000 tenants of each kind are looked at; where there are more, `meta.isComplete` is
/// false. Needs the operator's key.
#[utoipa::path(
    tag = "tenants",
    responses((status = 200, description = "The tenants, worst first", body = OverviewDocument))
)]
#[get("/overview")]
pub(super) async fn get_overview(
    _: Operator,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let now = Utc::now().timestamp_micros();
    let read = state.store.list(move |conn| {
        let (mut troubles, is_complete) = conn.troubles(LOOKED_AT)?;
        troubles.sort_by_key(|trouble| rank(trouble, now));
        let need_action = troubles.iter().filter(|trouble| needs_action(trouble, now)).count();
        let mut facts = Vec::new();
        for trouble in troubles.iter().filter(|trouble| needs_action(trouble, now)) {
            if facts.len() == SHOWN {
                break;
            }
            facts.extend(look(conn, trouble.tenant, true, now)?);
        }
        for tenant in conn.tenant_list(None, i64::try_from(SHOWN).unwrap_or(i64::MAX))? {
            if facts.len() < SHOWN && facts.iter().all(|known: &Facts| known.tenant.id != tenant.id) {
                facts.extend(look(conn, tenant.id, false, now)?);
            }
        }
        Ok((facts, need_action, is_complete, conn.tenant_count(COUNTED)?))
    });
    let (facts, need_action, is_complete, tenants) = read.await?;
    let base = base(&state, &request);
    let data = facts.into_iter().map(|facts| resource(&state, &base, facts, now)).collect();
    json(&OverviewDocument {
        links: SelfLink { this: format!("{base}/overview") },
        data,
        meta: OverviewMeta {
            tenants,
            need_action: i64::try_from(need_action).unwrap_or(i64::MAX),
            is_complete,
        },
    })
}

fn failed_lately(trouble: &Trouble, now: Micros) -> bool {
    trouble.failed_at.is_some_and(|at| at >= now - DAY)
}

fn needs_action(trouble: &Trouble, now: Micros) -> bool {
    let waits_long = trouble.waiting_since.is_some_and(|since| since < now - LONG);
    trouble.stopped || failed_lately(trouble, now) || waits_long
}

/// Worst first.
fn rank(trouble: &Trouble, now: Micros) -> impl Ord + use<> {
    (
        Reverse(trouble.stopped),
        Reverse(failed_lately(trouble, now)),
        trouble.waiting_since.unwrap_or(Micros::MAX),
        trouble.tenant,
    )
}

/// What is shown of a tenant; none if it was deleted.
fn look(
    conn: &mut dyn Queries,
    id: TenantId,
    needs_action: bool,
    now: Micros,
) -> Result<Option<Facts>, StoreError> {
    let Some(tenant) = conn.tenant_get(id)? else { return Ok(None) };
    let stopped_since = if tenant.push_stopped.is_some() { conn.stopped_since(id)? } else { None };
    let (undelivered, oldest) = conn.undelivered(id, OF_A_TENANT)?;
    let failed = conn.failed_since(id, now - DAY, OF_A_TENANT)?;
    Ok(Some(Facts { tenant, stopped_since, undelivered, oldest, failed, needs_action }))
}

fn resource(state: &State, base: &str, facts: Facts, now: Micros) -> TenantHealth {
    let entry = state.directory.entry(facts.tenant);
    let id = Uuid::parse_str(&entry.tenant.public_id).unwrap_or_default();
    let push = health(&entry, now);
    TenantHealth {
        r#type: "tenantHealth".to_owned(),
        id,
        links: SelfLink { this: format!("{base}/tenants/{id}") },
        attributes: TenantHealthAttributes {
            name: entry.tenant.name,
            push: TenantPush { state: push.state, reason: push.reason, since: facts.stopped_since.map(time) },
            undelivered: facts.undelivered,
            oldest_undelivered_at: facts.oldest.map(time),
            failed_since_yesterday: facts.failed,
            needs_action: facts.needs_action,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopped_comes_before_failed_and_failed_before_what_waits() {
        let now = 10 * DAY;
        let trouble = |number, stopped, failed_at, waiting_since| Trouble {
            tenant: TenantId::for_tests(number),
            stopped,
            failed_at,
            waiting_since,
        };
        let mut all = [
            trouble(1, false, None, Some(now - 1)),
            trouble(2, false, None, Some(now - LONG - 1)),
            trouble(3, false, None, Some(now - DAY)),
            trouble(4, false, Some(now - DAY - 1), None),
            trouble(5, false, Some(now - 1), None),
            trouble(6, false, Some(now - 1), Some(now - 1)),
            trouble(7, true, None, None),
        ];
        all.sort_by_key(|trouble| rank(trouble, now));
        let order: Vec<u64> = all.iter().map(|trouble| trouble.tenant.number()).collect();
        assert_eq!(order, [7, 6, 5, 3, 2, 1, 4]);
        let needing: Vec<bool> = all.iter().map(|trouble| needs_action(trouble, now)).collect();
        assert_eq!(needing, [true, true, true, true, true, false, false]);
    }
}
