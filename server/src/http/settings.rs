//! `/external-notifications`: a tenant's settings and the health of its push.

use actix_web::{HttpRequest, HttpResponse, get, patch, web};
use chrono::Utc;
use serde_json::Value;
use tidings_api::error::ErrorCode;
use tidings_api::jsonapi::SelfLink;
use tidings_api::settings::{
    Authentication, PushHealth, PushHealthState, PushSettings, Retention, Selection, Settings,
    SettingsDocument, SettingsMeta, SettingsPatch, SettingsPatchDocument, SettingsResource,
};

use super::auth::Admin;
use super::body::Body;
use super::error::Error;
use super::query::NoParameters;
use super::{State, base, json, time};
use crate::directory::{Directory, TenantEntry};
use crate::push::egress::{Egress, PushUrl};
use crate::push::signature::SigningSecret;
use crate::rules::settings::change;
use crate::store::error::StoreError;
use crate::store::seam::{Position, Queries, Tenant, TenantId};

/// Undelivered notifications are counted up to this many.
const COUNTED: i64 = 10_000;

/// Reads the settings
///
/// The settings in force, without secrets, and in `meta` the health of the push. Role: `admin`.
#[utoipa::path(
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
/// (RFC 7396). The signing secret stays if it is set to `null`: a tenant always has one. Secrets are written, never read
/// back. A change lets a push go on that the receiver had stopped. Role: `admin`.
#[utoipa::path(
    tag = "settings",
    request_body(content = SettingsPatchDocument, example = json!({"data": {"type": "externalNotifications", "attributes": {
        "push": {"url": "https://archive.example.com/hook", "autoDismiss": true,
            "authentication": {"kind": "header", "name": "X-Hook", "value": "a secret"}},
        "selection": {"types": ["allSigningEvents", "print"]}}}})),
    responses((status = 200, description = "The settings as they are now", body = SettingsDocument))
)]
#[patch("/external-notifications")]
pub(super) async fn patch_external_notifications(
    caller: Admin,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    body: Body<SettingsPatchDocument>,
) -> Result<HttpResponse, Error> {
    let data = body.value.data;
    if data.r#type != "externalNotifications" {
        let detail = format!("{:?} is not `externalNotifications`", data.r#type);
        return Err(Error::new(ErrorCode::Conflict, detail).at("/data/type"));
    }
    let entry = state.tenant(caller.0).await?;
    if data.id.as_ref().is_some_and(|id| *id != entry.tenant.public_id) {
        return Err(Error::new(ErrorCode::Conflict, "it is not the tenant's id").at("/data/id"));
    }
    // What a typed document can't tell apart, a member that is null from one that is left out, decides here.
    let mut attributes: Value = serde_json::from_slice::<Value>(&body.bytes)
        .ok()
        .and_then(|mut body| body.pointer_mut("/data/attributes").map(Value::take))
        .unwrap_or_default();
    let loopback_too = entry.tenant.may_reach_loopback && state.demo_loopback;
    check_push(&mut attributes, &state.egress, loopback_too)?;
    let (tenant, directory) = (caller.0, state.directory.clone());
    let run = state.store.write(Some(tenant), move |conn| put(conn, &directory, tenant, attributes));
    run.await??;
    state.directory.forget();
    respond(&state, &request, tenant).await
}

/// Checks what is for the sender to judge, and puts the URL into its canonical form.
fn check_push(attributes: &mut Value, egress: &Egress, loopback_too: bool) -> Result<(), Error> {
    const URL: &str = "/data/attributes/push/url";
    if let Some(value) = attributes.pointer_mut("/push/url")
        && let Some(text) = value.as_str()
    {
        let url = PushUrl::parse(text).map_err(|error| Error::value(URL, error.to_string()))?;
        egress
            .check_literal(&url, loopback_too)
            .map_err(|blocked| Error::new(ErrorCode::BlockedAddress, blocked.to_string()).at(URL))?;
        *value = url.as_str().into();
    }
    if let Some(secret) = attributes.pointer("/push/signing/secret").and_then(Value::as_str) {
        SigningSecret::parse(secret)
            .map_err(|error| Error::value("/data/attributes/push/signing/secret", error.to_string()))?;
    }
    Ok(())
}

/// Merges the change into what is stored. The outer error is the store's, the inner one that of the change.
fn put(
    conn: &mut dyn Queries,
    directory: &Directory,
    tenant: TenantId,
    attributes: Value,
) -> Result<Result<(), Error>, StoreError> {
    let Some(stored) = conn.tenant_get(tenant)? else { return Ok(Err(Error::unauthenticated())) };
    // Whoever sets the URL or the switch means the push to go on; whoever sets anything else says nothing about it.
    let resumes = ["/push/url", "/push/enabled"].iter().any(|member| attributes.pointer(member).is_some());
    let resume = resumes.then(|| Utc::now().timestamp_micros());
    let changed = change(&stored.settings, attributes, |secret| directory.vault().seal(secret));
    match changed {
        Ok(settings) => {
            conn.settings_put(tenant, &keep_signing(&stored.settings, settings), resume)?;
            Ok(Ok(()))
        }
        Err(refused) => {
            let pointer = format!("/data/attributes{}", refused.pointer);
            Ok(Err(Error::new(refused.code, refused.detail).at(pointer)))
        }
    }
}

/// A tenant is never without a signing secret: if the change took it away, it is put back.
fn keep_signing(before: &str, after: String) -> String {
    let parse = |text: &str| serde_json::from_str::<SettingsPatch>(text).unwrap_or_default();
    let signing = |set: &SettingsPatch| {
        set.push.as_ref().and_then(|push| push.signing.clone()).filter(|signing| signing.secret.is_some())
    };
    let mut set = parse(&after);
    if signing(&set).is_some() {
        return after;
    }
    match signing(&parse(before)) {
        Some(kept) => {
            set.push.get_or_insert_default().signing = Some(kept);
            serde_json::to_string(&set).unwrap_or(after)
        }
        None => after,
    }
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
        push: health(&entry),
        undelivered,
        oldest_undelivered_at: oldest.map(time),
        last_success_at: position.last_success_at.map(time),
    };
    json(&SettingsDocument {
        links: SelfLink { this: format!("{}/external-notifications", base(state, request)) },
        data: SettingsResource {
            r#type: "externalNotifications".to_owned(),
            id: entry.tenant.public_id.clone(),
            attributes: in_force(&entry),
            meta,
        },
    })
}

fn in_force(entry: &TenantEntry) -> Settings {
    let settings = &entry.settings;
    let push = &settings.push;
    Settings {
        enabled: settings.enabled,
        push: PushSettings {
            url: push.url.clone(),
            enabled: push.enabled,
            authentication: Authentication { kind: push.authentication, name: push.header_name.clone() },
            auto_dismiss: push.auto_dismiss,
            retry: push.retry.clone(),
        },
        selection: Selection { types: settings.types.clone() },
        retention: Retention { days: settings.retention_days },
    }
}

fn health(entry: &TenantEntry) -> PushHealth {
    let push = &entry.settings.push;
    let paused =
        |reason: &str| PushHealth { state: PushHealthState::Paused, reason: Some(reason.to_owned()) };
    if push.url.is_none() {
        PushHealth { state: PushHealthState::None, reason: None }
    } else if !entry.settings.enabled {
        paused("external notifications are disabled")
    } else if !push.enabled {
        paused("paused by an admin")
    } else if let Some(reason) = &entry.tenant.push_stopped {
        paused(reason)
    } else {
        PushHealth { state: PushHealthState::Active, reason: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tenant_is_never_without_a_signing_secret() {
        let before = json!({"push": {"url": "https://a/", "signing": {"secret": "s"}}}).to_string();
        for patch in [
            json!({"push": null}),
            json!({"push": {"signing": null}}),
            json!({"push": {"signing": {"secret": null}}}),
        ] {
            let after = change(&before, patch.clone(), str::to_owned).unwrap();
            let kept: Value = serde_json::from_str(&keep_signing(&before, after)).unwrap();
            assert_eq!(kept["push"]["signing"]["secret"], "s", "{patch}");
        }
        let after = change(&before, json!({"push": {"signing": {"secret": "t"}}}), str::to_owned).unwrap();
        assert!(keep_signing(&before, after).contains("\"t\""));
    }

    #[test]
    fn urls_are_checked_and_made_canonical() {
        let code = |url: &str, loopback| {
            let mut attributes = json!({"push": {"url": url}});
            let checked = check_push(&mut attributes, &Egress::default(), loopback);
            checked.map(|()| attributes["push"]["url"].clone()).map_err(|error| error.object().code)
        };
        assert_eq!(code("https://Example.com", false), Ok(json!("https://example.com/")));
        assert_eq!(code("ftp://example.com", false), Err(ErrorCode::InvalidValue));
        assert_eq!(code("http://127.1:9/", false), Err(ErrorCode::BlockedAddress));
        assert_eq!(code("http://127.1:9/", true), Ok(json!("http://127.0.0.1:9/")));
        let mut secret = json!({"push": {"signing": {"secret": "short"}}});
        assert!(check_push(&mut secret, &Egress::default(), false).is_err());
    }
}
