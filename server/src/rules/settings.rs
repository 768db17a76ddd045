//! A tenant's settings: what an admin has set, what is in force, and how the one becomes the other.
//!
//! Only what was set is stored, as JSON whose secrets are sealed. In force is what was set, over what the tenant's
//! profile says, over the defaults; the three are merged as JSON (RFC 7396) whenever settings are read, so a better
//! default reaches everybody who never chose. Defaults and profiles are data: `profiles.json`. Nothing else knows that
//! there are profiles.
//!
//! Some groups of settings have a `kind` to which the other members belong. Where the kind changes, they begin with the
//! defaults of the new kind; a member of another kind is refused.

mod check;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidings_api::error::ErrorCode;
use tidings_api::settings::{Authentication, Settings};

use super::notification::Micros;
use crate::secrets::Secret;

/// What the settings keep secret.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The header's value, password, token or client secret, whichever the kind of authentication has.
    pub authentication: Option<Secret>,
    /// The secrets that sign pushes, the newest first.
    pub signing: Vec<SigningKey>,
    /// The private key of the client certificate, in PEM.
    pub client_key: Option<Secret>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// A secret that signs pushes.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// `whsec_…`.
    pub secret: Secret,
    /// Until when it signs; none for the current one.
    pub until: Option<Micros>,
}

/// `profiles.json`.
#[derive(Deserialize)]
struct Bundles {
    /// What is in force where nobody has said anything.
    default: Value,
    /// By pointer and kind: the members of the kind with their defaults; null where there is none.
    kinds: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    /// What differs from the defaults under a profile.
    profiles: BTreeMap<String, Value>,
}

static BUNDLES: LazyLock<Bundles> = LazyLock::new(|| {
    serde_json::from_str(include_str!("profiles.json")).expect("the file is part of the program and tested")
});

/// Every profile by its name, with the settings that differ from the defaults under it.
pub fn profiles() -> &'static BTreeMap<String, Value> {
    &BUNDLES.profiles
}

/// A secret that signed before the current one, as it is stored.
#[derive(Serialize, Deserialize)]
struct Previous {
    secret: String,
    until: Micros,
}

/// Where earlier signing secrets are stored, beside the settings.
const PREVIOUS: &str = "previousSecrets";
/// How many of them are kept at most.
const MOST_PREVIOUS: usize = 4;

/// What setting a profile leaves as it was: who the receiver is and what the tenant wants, not how the system behaves.
const OUTSIDE_PROFILES: [&str; 11] = [
    "/enabled",
    "/push/url",
    "/push/enabled",
    "/push/authentication",
    "/push/tls",
    "/push/signing",
    "/push/clientId",
    "/selection",
    "/retention",
    "/alerts",
    "/previousSecrets",
];

/// Every place of a secret, with the most characters that it may have.
const SECRETS: [(&str, usize); 6] = [
    ("/push/authentication/value", 4096),
    ("/push/authentication/password", 4096),
    ("/push/authentication/token", 4096),
    ("/push/authentication/clientSecret", 4096),
    ("/push/signing/secret", 200),
    ("/push/tls/clientKey", 65_536),
];

/// What was set can't be read: a newer server has written it, or it is damaged.
#[derive(Debug, thiserror::Error)]
#[error("the settings can't be read by this version of the server")]
pub struct Unreadable(#[source] serde_json::Error);

/// The settings in force for a tenant with this id on the wire.
///
/// # Errors
/// When what is stored can't be used.
pub fn resolve(stored: &str, tenant: &str) -> Result<Settings, Unreadable> {
    let stored = serde_json::from_str(stored).map_err(Unreadable)?;
    in_force(&stored, tenant).map_err(Unreadable)
}

/// What these settings keep secret. `open` opens sealed secrets.
///
/// # Errors
/// Those of `open`.
pub fn secrets<E>(
    stored: &str,
    settings: &Settings,
    open: impl Fn(&str) -> Result<Secret, E>,
) -> Result<Secrets, E> {
    let stored: Value = serde_json::from_str(stored).unwrap_or_default();
    let at = |pointer: &str| stored.pointer(pointer).and_then(Value::as_str).map(&open).transpose();
    let authentication = match settings.push.authentication {
        Authentication::None => None,
        Authentication::Header { .. } | Authentication::Authorization => at("/push/authentication/value")?,
        Authentication::Basic { .. } => at("/push/authentication/password")?,
        Authentication::Bearer => at("/push/authentication/token")?,
        Authentication::Oauth2 { .. } => at("/push/authentication/clientSecret")?,
    };
    let current = at("/push/signing/secret")?.map(|secret| SigningKey { secret, until: None });
    let mut signing: Vec<SigningKey> = current.into_iter().collect();
    // One that was sealed with a lost key signs no more; the current one can be set anew.
    signing.extend(previous(&stored).into_iter().filter_map(|earlier| {
        Some(SigningKey { secret: open(&earlier.secret).ok()?, until: Some(earlier.until) })
    }));
    Ok(Secrets { authentication, signing, client_key: at("/push/tls/clientKey")? })
}

/// The settings of a tenant whose own can't be read: events are stored all the same, wait for their push, and don't
/// expire.
pub fn unreadable(tenant: &str) -> Settings {
    let stored = serde_json::json!({"push": {"url": ""}, "retention": {"days": u32::MAX}});
    in_force(&stored, tenant).expect("the defaults with two members of the right type are settings")
}

fn previous(stored: &Value) -> Vec<Previous> {
    stored.get(PREVIOUS).and_then(|list| Vec::deserialize(list).ok()).unwrap_or_default()
}

/// What is in force: what was set, over the profile, over the defaults.
fn in_force(stored: &Value, tenant: &str) -> Result<Settings, serde_json::Error> {
    serde_json::from_value(layered(stored, tenant))
}

fn layered(stored: &Value, tenant: &str) -> Value {
    let mut all = BUNDLES.default.clone();
    let profile = stored.get("profile").and_then(Value::as_str).and_then(|name| BUNDLES.profiles.get(name));
    for layer in profile.into_iter().chain([stored]) {
        for pointer in BUNDLES.kinds.keys() {
            let kind = layer.pointer(&format!("{pointer}/kind"));
            if kind.is_some()
                && let Some(below) = all.pointer_mut(pointer)
                && below.get("kind") != kind
            {
                *below = Value::Object(Map::new());
            }
        }
        merge(&mut all, layer.clone());
    }
    for (pointer, kinds) in &BUNDLES.kinds {
        let Some(Value::Object(group)) = all.pointer_mut(pointer) else { continue };
        let Some(members) = group.get("kind").and_then(Value::as_str).and_then(|kind| kinds.get(kind)) else {
            continue;
        };
        group.retain(|name, _| name == "kind" || members.contains_key(name));
        for (name, default) in members {
            group.entry(name.clone()).or_insert_with(|| default.clone());
        }
    }
    if let Some(Value::Object(push)) = all.get_mut("push") {
        push.entry("clientId").or_insert_with(|| tenant.into());
    }
    all
}

/// A JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(&name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Why settings are refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The error's code.
    pub code: ErrorCode,
    /// The member, as a JSON pointer below the settings: `/push/retry/factor`.
    pub pointer: String,
    /// What is wrong, and what is expected.
    pub detail: String,
}

fn refused<T>(pointer: impl Into<String>, detail: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { code: ErrorCode::InvalidValue, pointer: pointer.into(), detail: detail.into() })
}

/// Merges a change into what was set before and checks the whole. Answers what is to be stored.
///
/// The change must have the shape of a [`tidings_api::settings::SettingsPatch`] already; its URLs, its signing secret and
/// its certificates must be checked by those who use them. `seal` seals secrets.
///
/// # Errors
/// The member that can't be set so; nothing changes then.
pub fn change(
    stored: &str,
    mut change: Value,
    tenant: &str,
    now: Micros,
    seal: impl Fn(&str) -> String,
) -> Result<String, Refused> {
    let before: Value = serde_json::from_str(stored).unwrap_or_else(|_| Value::Object(Map::new()));
    if let Some(Value::Object(push)) = change.get_mut("push") {
        push.remove("resume");
    }
    for (pointer, most) in SECRETS {
        if let Some(value) = change.pointer_mut(pointer)
            && let Some(text) = value.as_str()
        {
            check::secret(pointer, text, most)?;
            *value = Value::String(seal(text));
        }
    }
    let mut after = before.clone();
    if change.get("profile").is_some() {
        after = only(&after, &OUTSIDE_PROFILES);
    }
    restart_kinds(&mut after, &change, tenant);
    let rotates = change.pointer("/push/signing/secret").is_some_and(Value::is_string);
    merge(&mut after, change.clone());
    let all = layered(&after, tenant);
    foreign_members(&change, &all)?;
    check::complete(&all, &after)?;
    let settings = in_force(&after, tenant).or_else(|error| refused("", error.to_string()))?;
    check::settings(&settings)?;
    keep_signing(&before, &mut after, rotates.then_some(settings.push.signing.overlap_seconds), now);
    Ok(after.to_string())
}

/// The members at these pointers, and nothing else.
fn only(from: &Value, pointers: &[&str]) -> Value {
    let mut kept = Value::Object(Map::new());
    for pointer in pointers {
        if let Some(value) = from.pointer(pointer) {
            let nested = pointer
                .rsplit('/')
                .filter(|name| !name.is_empty())
                .fold(value.clone(), |value, name| Value::Object(Map::from_iter([(name.to_owned(), value)])));
            merge(&mut kept, nested);
        }
    }
    kept
}

/// Forgets the members of groups whose kind is about to change: they belong to another kind.
fn restart_kinds(set: &mut Value, change: &Value, tenant: &str) {
    let mut changed = set.clone();
    merge(&mut changed, change.clone());
    let (before, after) = (layered(set, tenant), layered(&changed, tenant));
    for pointer in BUNDLES.kinds.keys() {
        let kind = format!("{pointer}/kind");
        if before.pointer(&kind) != after.pointer(&kind)
            && let Some(group) = set.pointer_mut(pointer)
        {
            *group = Value::Object(Map::new());
        }
    }
}

/// Refuses members of a change that belong to another kind than the one in force.
fn foreign_members(change: &Value, in_force: &Value) -> Result<(), Refused> {
    for (pointer, kinds) in &BUNDLES.kinds {
        let Some(Value::Object(group)) = change.pointer(pointer) else { continue };
        let kind = in_force.pointer(&format!("{pointer}/kind")).and_then(Value::as_str).unwrap_or_default();
        let Some(members) = kinds.get(kind) else { continue };
        let foreign = group
            .iter()
            .find(|(name, value)| *name != "kind" && !value.is_null() && !members.contains_key(*name));
        if let Some((name, _)) = foreign {
            let of: Vec<&str> = kinds
                .iter()
                .filter(|(_, members)| members.contains_key(name))
                .map(|(kind, _)| kind.as_str())
                .collect();
            let detail = format!("`{name}` belongs to the kind {}; the kind is `{kind}`", of.join(" or "));
            return refused(format!("{pointer}/{name}"), detail);
        }
    }
    Ok(())
}

/// A tenant is never without a signing secret, and one that was replaced signs on for a while.
fn keep_signing(before: &Value, after: &mut Value, overlap: Option<u32>, now: Micros) {
    const SECRET: &str = "/push/signing/secret";
    let Some(secret) = before.pointer(SECRET).and_then(Value::as_str) else { return };
    if after.pointer(SECRET).is_none() {
        merge(after, serde_json::json!({"push": {"signing": {"secret": secret}}}));
    }
    let mut earlier = previous(before);
    if let Some(overlap) = overlap {
        let until = now.saturating_add(i64::from(overlap) * 1_000_000);
        earlier.insert(0, Previous { secret: secret.to_owned(), until });
    }
    earlier.retain(|earlier| earlier.until > now);
    earlier.truncate(MOST_PREVIOUS);
    if let Value::Object(after) = after {
        after.insert(PREVIOUS.to_owned(), serde_json::to_value(earlier).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
