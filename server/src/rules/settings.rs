//! A tenant's settings: what an admin may set, what is in force, and how the one becomes the other.
//!
//! Only what was set is stored, as the JSON of a [`SettingsPatch`] whose secrets are sealed. Defaults are added when it
//! is read, so a better default reaches everybody who never chose.

use std::collections::HashSet;

use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use tidings_api::error::ErrorCode;
use tidings_api::event_type::TypeSelector;
use tidings_api::settings::{AuthenticationKind, PushPatch, Retry, RetryKind, SettingsPatch};

use crate::secrets::Secret;

/// The settings in force, as the server uses them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether events are stored at all.
    pub enabled: bool,
    /// Which events.
    pub types: Vec<TypeSelector>,
    /// How long they are kept.
    pub retention_days: u32,
    /// How they are pushed.
    pub push: Push,
}

/// How notifications are pushed.
#[derive(Clone, Debug)]
pub struct Push {
    /// Where to.
    pub url: Option<String>,
    /// Whether now.
    pub enabled: bool,
    /// A header of the tenant's own.
    pub header: Option<(HeaderName, Secret)>,
    /// The kind of authentication.
    pub authentication: AuthenticationKind,
    /// The header's name, whether it is in use or not.
    pub header_name: Option<String>,
    /// The secret for signatures, `whsec_…`.
    pub signing_secret: Option<Secret>,
    /// Whether what is delivered is dismissed.
    pub auto_dismiss: bool,
    /// When a failed push is tried again.
    pub retry: Retry,
}

/// The default schedule: twenty attempts over about four days.
pub fn default_retry() -> Retry {
    Retry { kind: RetryKind::Exponential, first_seconds: 5, factor: 2.0, cap_seconds: 43_200, attempts: 20 }
}

/// Adds the defaults to what was set. `open` opens sealed secrets.
///
/// # Errors
/// Those of `open`.
pub fn resolve<E>(set: &SettingsPatch, open: impl Fn(&str) -> Result<Secret, E>) -> Result<Settings, E> {
    let push = set.push.clone().unwrap_or_default();
    let authentication = push.authentication.unwrap_or_default();
    let kind = authentication.kind.unwrap_or_default();
    let name = authentication.name.as_ref().and_then(|name| name.parse::<HeaderName>().ok());
    let header = match (kind, name, &authentication.value) {
        (AuthenticationKind::Header, Some(name), Some(value)) => Some((name, open(value)?)),
        _ => None,
    };
    let signing_secret =
        push.signing.and_then(|signing| signing.secret).map(|secret| open(&secret)).transpose()?;
    let retry = push.retry.unwrap_or_default();
    let default = default_retry();
    Ok(Settings {
        enabled: set.enabled.unwrap_or(true),
        types: set
            .selection
            .as_ref()
            .and_then(|s| s.types.clone())
            .unwrap_or_else(|| vec![TypeSelector::All]),
        retention_days: set.retention.as_ref().and_then(|r| r.days).unwrap_or(180),
        push: Push {
            url: push.url,
            enabled: push.enabled.unwrap_or(true),
            header,
            authentication: kind,
            header_name: authentication.name,
            signing_secret,
            auto_dismiss: push.auto_dismiss.unwrap_or(false),
            retry: Retry {
                kind: retry.kind.unwrap_or_default(),
                first_seconds: retry.first_seconds.unwrap_or(default.first_seconds),
                factor: retry.factor.unwrap_or(default.factor),
                cap_seconds: retry.cap_seconds.unwrap_or(default.cap_seconds),
                attempts: retry.attempts.unwrap_or(default.attempts),
            },
        },
    })
}

/// Why settings are refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The error's code.
    pub code: ErrorCode,
    /// The member, as a JSON pointer below the settings: `/push/retry/factor`.
    pub pointer: &'static str,
    /// What is wrong, and what is expected.
    pub detail: String,
}

fn refused<T>(pointer: &'static str, detail: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { code: ErrorCode::InvalidValue, pointer, detail: detail.into() })
}

/// Merges a change into what was set before and checks the whole. Answers what is to be stored.
///
/// The change must have the shape of a [`SettingsPatch`] already; its URL and its signing secret must be checked by
/// those who use them. `seal` seals secrets.
///
/// # Errors
/// The member that can't be set so; nothing changes then.
pub fn change(stored: &str, mut change: Value, seal: impl Fn(&str) -> String) -> Result<String, Refused> {
    if let Some(value) = change.pointer("/push/authentication/value").and_then(Value::as_str)
        && (value.is_empty() || value.len() > 4096 || HeaderValue::from_str(value).is_err())
    {
        return refused("/push/authentication/value", "1 to 4,096 visible ASCII characters are expected");
    }
    for secret in ["/push/authentication/value", "/push/signing/secret"] {
        if let Some(value) = change.pointer_mut(secret)
            && let Some(text) = value.as_str()
        {
            *value = Value::String(seal(text));
        }
    }
    let mut merged: Value =
        serde_json::from_str(stored).unwrap_or_else(|_| Value::Object(Default::default()));
    merge(&mut merged, change);
    let set: SettingsPatch = match serde_json::from_value(merged) {
        Ok(set) => set,
        Err(error) => return refused("", error.to_string()),
    };
    check(&set)?;
    match serde_json::to_string(&set) {
        Ok(text) => Ok(text),
        Err(error) => refused("", error.to_string()),
    }
}

/// A JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Default::default());
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

fn check(set: &SettingsPatch) -> Result<(), Refused> {
    if let Some(push) = &set.push {
        check_authentication(push)?;
        check_retry(push)?;
    }
    if let Some(types) = set.selection.as_ref().and_then(|selection| selection.types.as_ref()) {
        if types.len() > 1000 {
            return refused("/selection/types", "at most 1,000 types are expected");
        }
        if types.iter().collect::<HashSet<_>>().len() < types.len() {
            return refused("/selection/types", "a type stands twice");
        }
    }
    match set.retention.as_ref().and_then(|retention| retention.days) {
        Some(days) if !(1..=36_500).contains(&days) => {
            refused("/retention/days", format!("{days} is not between 1 and 36,500"))
        }
        _ => Ok(()),
    }
}

fn check_authentication(push: &PushPatch) -> Result<(), Refused> {
    let Some(authentication) = &push.authentication else { return Ok(()) };
    if let Some(name) = &authentication.name {
        let Ok(header) = name.parse::<HeaderName>() else {
            return refused("/push/authentication/name", "it is not the name of an HTTP header");
        };
        let reserved = [
            "host",
            "content-length",
            "content-type",
            "transfer-encoding",
            "connection",
            "upgrade",
            "te",
            "trailer",
            "keep-alive",
            "expect",
            "user-agent",
        ];
        let header = header.as_str();
        if reserved.contains(&header) || header.starts_with("webhook-") || header.starts_with("tidings-") {
            return refused(
                "/push/authentication/name",
                format!("the header {header} is set by the server itself"),
            );
        }
    }
    if authentication.kind == Some(AuthenticationKind::Header) {
        for (pointer, member) in [
            ("/push/authentication/name", &authentication.name),
            ("/push/authentication/value", &authentication.value),
        ] {
            if member.is_none() {
                let detail = "the kind `header` needs a name and a value".to_owned();
                return Err(Refused { code: ErrorCode::MissingMember, pointer, detail });
            }
        }
    }
    Ok(())
}

fn check_retry(push: &PushPatch) -> Result<(), Refused> {
    let Some(retry) = &push.retry else { return Ok(()) };
    let bounds = [
        ("/push/retry/firstSeconds", retry.first_seconds, 1, 86_400),
        ("/push/retry/capSeconds", retry.cap_seconds, 1, 604_800),
        ("/push/retry/attempts", retry.attempts, 1, 100),
    ];
    for (pointer, value, least, most) in bounds {
        if let Some(value) = value
            && !(least..=most).contains(&value)
        {
            return refused(pointer, format!("{value} is not between {least} and {most}"));
        }
    }
    match retry.factor {
        Some(factor) if !(1.0..=10.0).contains(&factor) => {
            refused("/push/retry/factor", format!("{factor} is not between 1 and 10"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sealed(text: &str) -> String {
        format!("sealed({})", text.len())
    }

    #[test]
    fn members_merge_and_null_restores_the_default() {
        let first = json!({"push": {"url": "https://a/", "autoDismiss": true, "retry": {"attempts": 3}}});
        let stored = change("{}", first, sealed).unwrap();
        let second = json!({"push": {"autoDismiss": null, "retry": {"factor": 3.0}}});
        let stored = change(&stored, second, sealed).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&stored).unwrap(),
            json!({"push": {"url": "https://a/", "retry": {"attempts": 3, "factor": 3.0}}})
        );
        let set = serde_json::from_str(&stored).unwrap();
        let settings = resolve(&set, |_| Err("no secret was set")).unwrap();
        assert!(!settings.push.auto_dismiss);
        assert_eq!(settings.push.retry, Retry { factor: 3.0, attempts: 3, ..default_retry() });
        assert_eq!(settings.retention_days, 180);
    }

    #[test]
    fn secrets_are_stored_sealed() {
        let header = json!({"kind": "header", "name": "X-Hook", "value": "s3cret"});
        let change_ = json!({"push": {"authentication": header, "signing": {"secret": "whsec_x"}}});
        let stored = change("{}", change_, sealed).unwrap();
        assert!(!stored.contains("s3cret") && !stored.contains("whsec_x"), "{stored}");
        let set: SettingsPatch = serde_json::from_str(&stored).unwrap();
        let open = |text: &str| Ok::<_, ()>(Secret::new(format!("open {text}")));
        let settings = resolve(&set, open).unwrap();
        assert_eq!(settings.push.header.unwrap().1.reveal(), "open sealed(6)");
    }

    #[test]
    fn a_refusal_names_the_member() {
        let cases = [
            (
                json!({"push": {"authentication": {"kind": "header", "name": "X-A"}}}),
                "/push/authentication/value",
            ),
            (
                json!({"push": {"authentication": {"kind": "header", "value": "a"}}}),
                "/push/authentication/name",
            ),
            (json!({"push": {"authentication": {"name": "a b"}}}), "/push/authentication/name"),
            (json!({"push": {"authentication": {"name": "Webhook-Id"}}}), "/push/authentication/name"),
            (json!({"push": {"authentication": {"name": "Host"}}}), "/push/authentication/name"),
            (json!({"push": {"authentication": {"value": "a\nb"}}}), "/push/authentication/value"),
            (json!({"push": {"retry": {"attempts": 0}}}), "/push/retry/attempts"),
            (json!({"push": {"retry": {"firstSeconds": 86_401}}}), "/push/retry/firstSeconds"),
            (json!({"push": {"retry": {"factor": 0.5}}}), "/push/retry/factor"),
            (json!({"selection": {"types": ["a", "a"]}}), "/selection/types"),
            (json!({"retention": {"days": 0}}), "/retention/days"),
        ];
        for (value, pointer) in cases {
            assert_eq!(change("{}", value.clone(), sealed).unwrap_err().pointer, pointer, "{value}");
        }
    }
}
