//! A change of settings: checked by all who will use them, shown to the receiver if need be, and stored.

use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use tidings_api::delivery::AttemptError;
use tidings_api::error::ErrorCode;
use tidings_api::settings::{Resume, VerificationKind};
use tokio::time::{Instant, sleep};

use crate::directory::TenantEntry;
use crate::http::State;
use crate::http::error::Error;
use crate::push::attempt::Attempts;
use crate::push::egress::{Egress, PushUrl};
use crate::push::sender::check_tls;
use crate::push::signature::SigningSecret;
use crate::push::verification::Unverified;
use crate::push::watch;
use crate::rules;
use crate::rules::settings::change;
use crate::secrets::Secret;
use crate::store::seam::{Queries, TenantId};

/// How many notifications are given up in one transaction.
const BATCH: i64 = 1000;
/// How long a push rests until what was being sent when it was resumed has ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before it is looked again.
const PAUSE: Duration = Duration::from_millis(50);
/// Why a push rests whose resumption was cut short.
const UNFINISHED: &str = "resuming it from now on was not finished; set push.enabled again";

/// A change that may be made.
pub(super) struct Change {
    /// What is to be stored.
    settings: String,
    /// The tenant as it would be.
    pub(super) after: TenantEntry,
    /// Whether the push goes on by it. Whoever sets the URL or a switch means that; whoever sets anything else says
    /// nothing about it.
    pub(super) resumes: bool,
    /// Whether the receiver has to show first that it wants pushes: before a URL is accepted, before another way of
    /// verification is, and before the push is resumed.
    is_to_be_verified: bool,
}

impl Change {
    /// Checks a change and shows what would become of the tenant.
    ///
    /// # Errors
    /// The member that can't be set so.
    pub(super) fn prepare(
        state: &State,
        before: &TenantEntry,
        mut attributes: Value,
    ) -> Result<Change, Error> {
        let loopback_too = before.tenant.may_reach_loopback && state.demo_loopback;
        check_urls(&mut attributes, &state.egress, loopback_too)?;
        check_email(&attributes, state.alerts.mailer.is_some())?;
        leave_the_same_secret(&mut attributes, before);
        let touches =
            |pointers: &[&str]| pointers.iter().any(|pointer| attributes.pointer(pointer).is_some());
        let asks_to_resume = touches(&["/push/url", "/push/enabled"]);
        let is_other = touches(&[
            "/profile",
            "/push/url",
            "/push/verification",
            "/push/clientId",
            "/push/clientIdHeader",
        ]);
        let has_tls = touches(&["/push/tls"]);
        let (stored, id, now) =
            (&before.tenant.settings, &before.tenant.public_id, Utc::now().timestamp_micros());
        let settings = change(stored, attributes, id, now, |secret| state.directory.vault().seal(secret))
            .map_err(|refused| {
                Error::new(refused.code, refused.detail).at(format!("/data/attributes{}", refused.pointer))
            })?;
        let mut tenant = before.tenant.clone();
        tenant.settings.clone_from(&settings);
        tenant.push_stopped = None;
        let after = state.directory.entry(tenant);
        if has_tls {
            let key = after.secrets.client_key.as_ref().map(Secret::reveal);
            check_tls(&after.settings.push.tls, key).map_err(|invalid| {
                Error::value(format!("/data/attributes/push/tls/{}", invalid.member()), invalid.to_string())
            })?;
        }
        let was_on = before.settings.enabled && before.settings.push.enabled;
        let resumes = (asks_to_resume || !was_on) && after.push_is_active();
        let push = &after.settings.push;
        let is_to_be_verified =
            push.verification.kind != VerificationKind::None && push.url.is_some() && (is_other || resumes);
        Ok(Change { settings, after, resumes, is_to_be_verified })
    }

    /// Asks the receiver whether it wants pushes, where the settings want that.
    ///
    /// # Errors
    /// That it doesn't show it, or that too many are asked.
    pub(super) async fn verify(&self, attempts: &Attempts) -> Result<(), Error> {
        if !self.is_to_be_verified {
            return Ok(());
        }
        attempts.verify(&self.after).await.map_err(|unverified| {
            let code = match unverified {
                Unverified::TooMany => ErrorCode::TooManyVerifications,
                _ => ErrorCode::VerificationFailed,
            };
            Error::new(code, unverified.to_string()).at("/data/attributes/push/url")
        })
    }

    /// Stores the change, unless another one came between: then false. What waits is pushed, or given up first.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn put(
        &self,
        state: &State,
        before: &TenantEntry,
        resume: Resume,
    ) -> Result<bool, Error> {
        let tenant = before.tenant.id;
        if self.resumes && resume == Resume::FromNow {
            // While what waits is given up the push rests; if that is cut short it goes on resting, and says so.
            if !self.store(state, before.tenant.version, Goes::Not).await? {
                return Ok(false);
            }
            return go_on_from_now(state, tenant).await;
        }
        let goes = if self.resumes { Goes::On } else { Goes::AsBefore };
        self.store(state, before.tenant.version, goes).await
    }

    async fn store(&self, state: &State, version: i64, goes: Goes) -> Result<bool, Error> {
        let (tenant, settings) = (self.after.tenant.id, self.settings.clone());
        let run = state.store.write(Some(tenant), move |conn| {
            let Some(current) = conn.tenant_get(tenant)? else { return Ok(None) };
            if current.version != version {
                return Ok(Some(false));
            }
            let now = Utc::now().timestamp_micros();
            let stored = conn.settings_put(tenant, &settings, (goes == Goes::On).then_some(now))?;
            match goes {
                Goes::On => watch::resumed(conn, tenant, now)?,
                Goes::Not => drop(conn.push_stop(tenant, stored.version, UNFINISHED, false)?),
                Goes::AsBefore => {}
            }
            Ok(Some(true))
        });
        let stored = run.await?.ok_or_else(Error::unauthenticated)?;
        if stored {
            state.directory.forget(tenant);
        }
        if stored && goes == Goes::On {
            state.store.put_on(tenant).await?;
        }
        Ok(stored)
    }
}

/// Gives up what waits, and lets a push go on that rests for this. The change is stored already, and is refused no more:
/// if another comes between, what waits by then is given up too, and the push goes on by the settings as they are then.
async fn go_on_from_now(state: &State, tenant: TenantId) -> Result<bool, Error> {
    for _ in 0..super::DECISIONS {
        let version = give_up(state, tenant).await?;
        let run = state.store.write(Some(tenant), move |conn| {
            let Some(current) = conn.tenant_get(tenant)? else { return Ok(None) };
            if current.push_stopped.as_deref() != Some(UNFINISHED) {
                // The other change was to let it go on as well.
                return Ok(Some(true));
            }
            if current.version != version {
                return Ok(Some(false));
            }
            let now = Utc::now().timestamp_micros();
            conn.settings_put(tenant, &current.settings, Some(now))?;
            watch::resumed(conn, tenant, now)?;
            Ok(Some(true))
        });
        if run.await?.ok_or_else(Error::unauthenticated)? {
            state.directory.forget(tenant);
            state.store.put_on(tenant).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a change says about the push.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// It goes on.
    On,
    /// It rests until it is resumed.
    Not,
    /// Nothing.
    AsBefore,
}

/// Gives up everything that waits now. What is being sent at this moment ends as it ends, and is waited for, within
/// bounds. Answers with the version of the settings, which must still be that one when the push goes on.
async fn give_up(state: &State, tenant: TenantId) -> Result<i64, Error> {
    let store = &state.store;
    let facts = store.read(move |conn| Ok((conn.position(tenant)?.last_sequence, conn.tenant_get(tenant)?)));
    let (through, found) = facts.await?;
    let version = found.ok_or_else(Error::unauthenticated)?.version;
    let patience = Instant::now() + PATIENCE;
    loop {
        let now = Utc::now().timestamp_micros();
        let batch = move |conn: &mut dyn Queries| {
            let given_up = conn.give_up(tenant, through, AttemptError::Skipped, BATCH, now)?;
            Ok((given_up, conn.waits(tenant, through)?))
        };
        match store.write(Some(tenant), batch).await? {
            (_, false) => return Ok(version),
            (0, true) if Instant::now() > patience => return Ok(version),
            (0, true) => sleep(PAUSE).await,
            _ => {}
        }
    }
}

/// Setting the secret that is in force already is no rotation.
fn leave_the_same_secret(attributes: &mut Value, before: &TenantEntry) {
    let current = before.secrets.signing.first().map(|key| key.secret.reveal());
    if let Some(Value::Object(signing)) = attributes.pointer_mut("/push/signing")
        && signing.get("secret").and_then(Value::as_str).is_some_and(|secret| Some(secret) == current)
    {
        signing.remove("secret");
    }
}

/// Checks what is for the sender to judge, and puts URLs into their canonical form.
fn check_urls(attributes: &mut Value, egress: &Egress, loopback_too: bool) -> Result<(), Error> {
    for pointer in ["/push/url", "/push/authentication/tokenUrl", "/alerts/url"] {
        if let Some(value) = attributes.pointer_mut(pointer)
            && let Some(text) = value.as_str()
        {
            let at = format!("/data/attributes{pointer}");
            let url = PushUrl::parse(text).map_err(|error| Error::value(at.as_str(), error.to_string()))?;
            egress
                .check_literal(&url, loopback_too)
                .map_err(|blocked| Error::new(ErrorCode::BlockedAddress, blocked.to_string()).at(at))?;
            *value = url.as_str().into();
        }
    }
    if let Some(secret) = attributes.pointer("/push/signing/secret").and_then(Value::as_str) {
        SigningSecret::parse(secret)
            .map_err(|error| Error::value("/data/attributes/push/signing/secret", error.to_string()))?;
    }
    Ok(())
}

/// Checks the address for alerts.
fn check_email(attributes: &Value, can_send: bool) -> Result<(), Error> {
    const EMAIL: &str = "/data/attributes/alerts/email";
    let Some(address) = attributes.pointer("/alerts/email").and_then(Value::as_str) else { return Ok(()) };
    if !can_send {
        return Err(Error::value(
            EMAIL,
            "this server sends no mail: its operator has to set --smtp-url; use `url`",
        ));
    }
    rules::alerts::check_email(address).map_err(|reason| Error::value(EMAIL, reason))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn urls_are_checked_and_made_canonical() {
        for (pointer, member) in [
            ("/push/url", json!({"push": {"url": null}})),
            ("/push/authentication/tokenUrl", json!({"push": {"authentication": {"tokenUrl": null}}})),
            ("/alerts/url", json!({"alerts": {"url": null}})),
        ] {
            let code = |url: &str, loopback| {
                let mut attributes = member.clone();
                if let Some(value) = attributes.pointer_mut(pointer) {
                    *value = url.into();
                }
                let checked = check_urls(&mut attributes, &Egress::default(), loopback);
                checked.map(|()| attributes.pointer(pointer).cloned()).map_err(|error| error.object().code)
            };
            assert_eq!(code("https://Example.com", false), Ok(Some(json!("https://example.com/"))));
            assert_eq!(code("ftp://example.com", false), Err(ErrorCode::InvalidValue));
            assert_eq!(code("http://127.1:9/", false), Err(ErrorCode::BlockedAddress));
            assert_eq!(code("http://127.1:9/", true), Ok(Some(json!("http://127.0.0.1:9/"))));
        }
        let mut secret = json!({"push": {"signing": {"secret": "short"}}});
        assert!(check_urls(&mut secret, &Egress::default(), false).is_err());
    }
}
