//! `/external-notifications`: a tenant's settings and the health of its push.

mod change;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, get, patch, web};
use chrono::Utc;
use serde_json::Value;
use tidings_api::error::ErrorCode;
use tidings_api::jsonapi::SelfLink;
use tidings_api::settings::{
    PushHealth, PushHealthState, Resume, SettingsDocument, SettingsMeta, SettingsPatchDocument,
    SettingsResource,
};
use tokio::time::sleep;

use self::change::Change;
use super::auth::Admin;
use super::body::Body;
use super::error::Error;
use super::query::NoParameters;
use super::{State, base, json, time};
use crate::directory::TenantEntry;
use crate::push::attempt::Attempts;
use crate::store::error::StoreError;
use crate::store::seam::{Position, Tenant, TenantId};

/// Undelivered notifications are counted up to this many.
const COUNTED: i64 = 10_000;
/// How often a change is prepared again because another one came between.
const DECISIONS: u64 = 20;

/// Reads the settings
///
/// The settings in force, without secrets, and in `meta` the health of the push. Role: `admin`.
#[utoipa::path(
    operation_id = "getSettings",
    tag = "settings",
    responses((status = 200, description = "The settings", body = SettingsDocument))
)]
#[get("/external-notifications")]
pub(super) async fn get_external_notifications(
    caller: Admin,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    respond(&state, &request, caller.0).await
}

/// Changes the settings
///
/// A member that is left out stays; objects are merged member by member; `null` puts a member back to its default
/// (RFC 7396): that of the profile, if there is one. The signing secret stays if it is set to `null`: a tenant always has
/// one. Secrets are written, never read back. A change that is refused changes nothing.
///
/// Setting the URL or `push.enabled` lets a push go on that was stopped: with what waits, oldest first, or with
/// `push.resume` `fromNow` only with what comes from then on. Where `push.verification` asks for it, the receiver is
/// called first and has to show that it wants pushes; at most 10 such calls are made for one tenant at a time.
/// Role: `admin`.
#[utoipa::path(
    operation_id = "patchSettings",
    tag = "settings",
    request_body(content = SettingsPatchDocument, examples(
        ("One URL" = (value = json!({"data": {"type": "externalNotifications", "attributes": {
            "push": {"url": "https://archive.example.com/hook", "autoDismiss": true,
                "authentication": {"kind": "header", "name": "X-Hook", "value": "a secret"}},
            "selection": {"types": ["allSigningEvents", "print"]}}}}))),
        ("A profile" = (value = json!({"data": {"type": "externalNotifications", "attributes": {
            "profile": "acrobatSign", "push": {"url": "https://archive.example.com/sign", "clientId": "BGBQIIE7H253K6"}}}}))),
        ("Resume with what comes from now on" = (value = json!({"data": {"type": "externalNotifications", "attributes": {
            "push": {"enabled": true, "resume": "fromNow"}}}}))),
    )),
    responses(
        (status = 200, description = "The settings as they are now", body = SettingsDocument),
        (status = 429, description = "`too_many_verifications`: too many verifications of this tenant are under way", body = tidings_api::error::ErrorDocument),
    )
)]
#[patch("/external-notifications")]
pub(super) async fn patch_external_notifications(
    caller: Admin,
    _: NoParameters,
    state: web::Data<State>,
    attempts: web::Data<Attempts>,
    request: HttpRequest,
    body: Body<SettingsPatchDocument>,
) -> Result<HttpResponse, Error> {
    let data = body.value.data;
    if data.r#type != "externalNotifications" {
        let detail = format!("{:?} is not `externalNotifications`", data.r#type);
        return Err(Error::new(ErrorCode::Conflict, detail).at("/data/type"));
    }
    // What a typed document can't tell apart, a member that is null from one that is left out, decides here.
    let attributes: Value = serde_json::from_slice::<Value>(&body.bytes)
        .ok()
        .and_then(|mut body| body.pointer_mut("/data/attributes").map(Value::take))
        .unwrap_or_default();
    let resume = data.attributes.push.as_ref().and_then(|push| push.resume);
    let tenant = caller.0;
    for decision in 0..DECISIONS {
        if decision > 0 {
            // Of many who change at once one comes through each time; the others don't come back together.
            let [chance] = crate::secrets::random();
            sleep(Duration::from_millis(u64::from(chance % 32) * decision)).await;
        }
        // As it is stored, not as it is remembered: the change is made to what other nodes have set, too.
        let found = state.store.read(move |conn| conn.tenant_get(tenant)).await?;
        let before = state.directory.entry(found.ok_or_else(Error::unauthenticated)?);
        if data.id.as_ref().is_some_and(|id| *id != before.tenant.public_id) {
            return Err(Error::new(ErrorCode::Conflict, "it is not the tenant's id").at("/data/id"));
        }
        let change = Change::prepare(&state, &before, attributes.clone())?;
        if resume.is_some() && !change.resumes {
            let detail = "it belongs to a change of the URL or of `push.enabled` by which the push goes on";
            return Err(Error::value("/data/attributes/push/resume", detail));
        }
        change.verify(&attempts).await?;
        if change.put(&state, &before, resume.unwrap_or(Resume::Backlog)).await? {
            return respond(&state, &request, tenant).await;
        }
    }
    Err(Error::unavailable("the settings change all the time; try again"))
}

async fn respond(state: &State, request: &HttpRequest, tenant: TenantId) -> Result<HttpResponse, Error> {
    type Facts = (Tenant, (i64, Option<i64>), Position);
    let read = state.store.read(move |conn| -> Result<Option<Facts>, StoreError> {
        match conn.tenant_get(tenant)? {
            Some(found) => Ok(Some((found, conn.undelivered(tenant, COUNTED)?, conn.position(tenant)?))),
            None => Ok(None),
        }
    });
    let Some((found, (undelivered, oldest), position)) = read.await? else {
        return Err(Error::unauthenticated());
    };
    let entry = state.directory.entry(found);
    let meta = SettingsMeta {
        push: health(&entry, Utc::now().timestamp_micros()),
        undelivered,
        oldest_undelivered_at: oldest.map(time),
        last_success_at: position.last_success_at.map(time),
    };
    json(&SettingsDocument {
        links: SelfLink { this: format!("{}/external-notifications", base(state, request)) },
        data: SettingsResource {
            r#type: "externalNotifications".to_owned(),
            id: entry.tenant.public_id.clone(),
            attributes: entry.settings,
            meta,
        },
    })
}

/// The health of a push as it is shown.
pub(super) fn health(entry: &TenantEntry, now: i64) -> PushHealth {
    let push = &entry.settings.push;
    let (state, reason) = if push.url.is_none() {
        (PushHealthState::None, None)
    } else if !entry.settings.enabled {
        (PushHealthState::Paused, Some("external notifications are disabled"))
    } else if !push.enabled {
        (PushHealthState::Paused, Some("paused by an admin"))
    } else if let Some(reason) = &entry.tenant.push_stopped {
        let disabled = entry.tenant.push_disabled;
        (if disabled { PushHealthState::Disabled } else { PushHealthState::Paused }, Some(reason.as_str()))
    } else {
        (PushHealthState::Active, None)
    };
    let until = entry.secrets.signing.iter().filter_map(|key| key.until).filter(|until| *until > now).max();
    PushHealth { state, reason: reason.map(str::to_owned), previous_secret_until: until.map(time) }
}
