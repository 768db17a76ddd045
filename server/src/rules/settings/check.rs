//! Which values settings may have. Each refusal names the member.

use std::collections::HashSet;

use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use tidings_api::error::ErrorCode;
use tidings_api::event_type::{EventType, TypeSelector};
use tidings_api::settings::{
    Authentication, PayloadFormat, PayloadSettings, PushSettings, Retry, Scope, Selection, Settings,
};

use super::{Refused, refused};
use crate::rules::condition::Condition;

/// Headers that the server sets itself.
const RESERVED: [&str; 18] = [
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
    "proxy-authorization",
    "proxy-connection",
    "http2-settings",
    "content-encoding",
    "accept-encoding",
    "date",
    "content-location",
];

/// The longest name, id or the like, in characters.
const LONGEST: usize = 255;
/// The most entries of a list.
const MOST: usize = 1000;

/// Checks a secret as it was written.
pub(super) fn secret(pointer: &str, text: &str, most: usize) -> Result<(), Refused> {
    let pem = pointer.ends_with("/clientKey");
    let legal = |c: char| c.is_ascii_graphic() || c == ' ' || (pem && matches!(c, '\n' | '\r'));
    // A password is encoded before it is sent, so it may hold anything but control characters.
    let password = pointer.ends_with("/password") || pointer.ends_with("/clientSecret");
    let fits = if password { !text.chars().any(char::is_control) } else { text.chars().all(legal) };
    if text.trim().is_empty() || text.chars().count() > most || !fits {
        return refused(pointer, format!("1 to {most} visible characters are expected"));
    }
    Ok(())
}

/// Checks that the members are there which a kind can't do without.
pub(super) fn complete(in_force: &Value, stored: &Value) -> Result<(), Refused> {
    const NEEDED: [(&str, &str, &[&str]); 9] = [
        ("/push/authentication", "header", &["name", "value"]),
        ("/push/authentication", "basic", &["username", "password"]),
        ("/push/authentication", "bearer", &["token"]),
        ("/push/authentication", "authorization", &["value"]),
        ("/push/authentication", "oauth2", &["tokenUrl", "clientId", "clientSecret"]),
        ("/selection/scope", "account", &["accountId"]),
        ("/selection/scope", "group", &["groupId"]),
        ("/selection/scope", "user", &["userId"]),
        ("/selection/scope", "resource", &["resourceId"]),
    ];
    let missing =
        |pointer: String, detail: String| Err(Refused { code: ErrorCode::MissingMember, pointer, detail });
    for (group, kind, members) in NEEDED {
        if in_force.pointer(&format!("{group}/kind")).and_then(Value::as_str) != Some(kind) {
            continue;
        }
        for member in members {
            let pointer = format!("{group}/{member}");
            if stored.pointer(&pointer).is_none() {
                return missing(pointer, format!("the kind `{kind}` needs {}", members.join(" and ")));
            }
        }
    }
    let tls = |member: &str| stored.pointer(&format!("/push/tls/{member}")).is_some();
    for (there, other) in [("clientCertificate", "clientKey"), ("clientKey", "clientCertificate")] {
        if tls(there) && !tls(other) {
            return missing(format!("/push/tls/{other}"), format!("{there} is of no use without it"));
        }
    }
    Ok(())
}

/// Checks what is in force.
pub(super) fn settings(settings: &Settings) -> Result<(), Refused> {
    push(&settings.push)?;
    payload(&settings.payload)?;
    own_headers(settings)?;
    selection(&settings.selection)?;
    let retention = &settings.retention;
    within("/retention/days", Some(retention.days), 1, 36_500)?;
    within("/retention/undeliveredDays", retention.undelivered_days, 1, 36_500)?;
    within("/alerts/backlogAgeSeconds", settings.alerts.backlog_age_seconds, 60, 31_536_000)
}

fn push(push: &PushSettings) -> Result<(), Refused> {
    for (pointer, text) in
        [("/push/userAgent", push.user_agent.as_deref()), ("/push/clientId", Some(push.client_id.as_str()))]
    {
        if let Some(text) = text
            && (!(1..=LONGEST).contains(&text.len())
                || text.trim() != text
                || HeaderValue::from_str(text).is_err()
                || !text.is_ascii())
        {
            return refused(pointer, format!("1 to {LONGEST} visible ASCII characters are expected"));
        }
    }
    header_name("/push/clientIdHeader", &push.client_id_header)?;
    let written = match &push.authentication {
        Authentication::None => None,
        Authentication::Header { name } => Some(name.as_str()),
        _ => Some("authorization"),
    };
    if written.is_some_and(|name| name.eq_ignore_ascii_case(&push.client_id_header)) {
        return refused("/push/clientIdHeader", "the authentication writes this header already");
    }
    within("/push/timeoutSeconds", Some(push.timeout_seconds), 1, 120)?;
    within("/push/maxConcurrency", Some(push.max_concurrency), 1, 256)?;
    within("/push/rateLimit", push.rate_limit, 1, 1_000_000)?;
    within("/push/disableAfterSeconds", push.disable_after_seconds, 60, 31_536_000)?;
    within("/push/signing/overlapSeconds", Some(push.signing.overlap_seconds), 0, 2_592_000)?;
    for (pointer, pem) in [
        ("/push/tls/clientCertificate", &push.tls.client_certificate),
        ("/push/tls/authorities", &push.tls.authorities),
    ] {
        if pem.as_ref().is_some_and(|pem| pem.len() > 65_536) {
            return refused(pointer, "at most 65,536 characters are expected");
        }
    }
    authentication(&push.authentication)?;
    retry(&push.retry)
}

/// Refuses headers of the tenant's own that would be read as attributes of a CloudEvent.
fn own_headers(settings: &Settings) -> Result<(), Refused> {
    if settings.payload.format == PayloadFormat::JsonApi {
        return Ok(());
    }
    let authentication = match &settings.push.authentication {
        Authentication::Header { name } => Some(("/push/authentication/name", name)),
        _ => None,
    };
    let own = [("/push/clientIdHeader", &settings.push.client_id_header)].into_iter().chain(authentication);
    for (pointer, name) in own {
        if name.to_ascii_lowercase().starts_with("ce-") {
            return refused(pointer, format!("{name} would be read as an attribute of the CloudEvent"));
        }
    }
    Ok(())
}

fn authentication(authentication: &Authentication) -> Result<(), Refused> {
    match authentication {
        Authentication::Header { name } => header_name("/push/authentication/name", name),
        Authentication::Basic { username } => {
            text("/push/authentication/username", username)?;
            if username.contains(':') || username.chars().any(char::is_control) {
                return refused(
                    "/push/authentication/username",
                    "no colon and no control character is expected",
                );
            }
            Ok(())
        }
        Authentication::Oauth2 { client_id, scope, .. } => {
            text("/push/authentication/clientId", client_id)?;
            match scope {
                Some(scope) => text("/push/authentication/scope", scope),
                None => Ok(()),
            }
        }
        Authentication::None | Authentication::Bearer | Authentication::Authorization => Ok(()),
    }
}

fn retry(retry: &Retry) -> Result<(), Refused> {
    const WEEK: u32 = 604_800;
    let jitter = match retry {
        Retry::None => return Ok(()),
        Retry::Fixed { every_seconds, attempts, jitter } => {
            within("/push/retry/everySeconds", Some(*every_seconds), 1, WEEK)?;
            within("/push/retry/attempts", Some(*attempts), 1, 100)?;
            jitter
        }
        Retry::Exponential {
            first_seconds,
            factor,
            cap_seconds,
            give_up_after_seconds,
            attempts,
            jitter,
        } => {
            within("/push/retry/firstSeconds", Some(*first_seconds), 1, 86_400)?;
            within("/push/retry/capSeconds", Some(*cap_seconds), 1, WEEK)?;
            within("/push/retry/giveUpAfterSeconds", *give_up_after_seconds, 1, 31_536_000)?;
            within("/push/retry/attempts", Some(*attempts), 1, 100)?;
            if !(1.0..=10.0).contains(factor) {
                return refused("/push/retry/factor", format!("{factor} is not between 1 and 10"));
            }
            jitter
        }
        Retry::List { delays_seconds, jitter } => {
            if !(1..=99).contains(&delays_seconds.len()) {
                return refused("/push/retry/delaysSeconds", "1 to 99 delays are expected");
            }
            for (index, delay) in delays_seconds.iter().enumerate() {
                within(&format!("/push/retry/delaysSeconds/{index}"), Some(*delay), 1, WEEK)?;
            }
            jitter
        }
    };
    if !(0.0..=1.0).contains(jitter) {
        return refused("/push/retry/jitter", format!("{jitter} is not between 0 and 1"));
    }
    Ok(())
}

fn payload(payload: &PayloadSettings) -> Result<(), Refused> {
    for (name, fields) in &payload.fields {
        let pointer = format!("/payload/fields/{}", escape(name));
        if name != "*" && name.parse::<EventType>().is_err() {
            return refused(pointer, "the name of an event type or `*` is expected");
        }
        names(&pointer, fields, MOST)?;
    }
    if payload.fields.len() > MOST {
        return refused("/payload/fields", "at most 1,000 types are expected");
    }
    names("/payload/optionalFields", &payload.optional_fields, 100)?;
    within("/payload/maxBytes", Some(payload.max_bytes), 1000, 20_000_000)
}

fn selection(selection: &Selection) -> Result<(), Refused> {
    if selection.types.len() > MOST {
        return refused("/selection/types", "at most 1,000 types are expected");
    }
    if selection.types.iter().collect::<HashSet<_>>().len() < selection.types.len() {
        return refused("/selection/types", "a type stands twice");
    }
    names("/selection/columns", &selection.columns, MOST)?;
    scope(&selection.scope)?;
    if selection.units.len() > MOST {
        return refused("/selection/units", "at most 1,000 units are expected");
    }
    for (unit, switches) in &selection.units {
        let pointer = format!("/selection/units/{}", escape(unit));
        text(&pointer, unit)?;
        if let Some(illegal) = switches.keys().find(|name| name.parse::<TypeSelector>().is_err()) {
            let pointer = format!("{pointer}/{}", escape(illegal));
            return refused(pointer, "only types and groups can be switched for a unit");
        }
    }
    match &selection.condition {
        Some(condition) => match Condition::new(condition) {
            Ok(_) => Ok(()),
            Err(reason) => refused("/selection/condition", reason),
        },
        None => Ok(()),
    }
}

fn scope(scope: &Scope) -> Result<(), Refused> {
    let (account_id, other) = match scope {
        Scope::All => (None, None),
        Scope::Account { account_id } => (Some(account_id), None),
        Scope::Group { account_id, group_id } => (account_id.as_ref(), Some(("groupId", group_id))),
        Scope::User { account_id, user_id } => (account_id.as_ref(), Some(("userId", user_id))),
        Scope::Resource { resource_id } => (None, Some(("resourceId", resource_id))),
    };
    if let Some(account) = account_id {
        text("/selection/scope/accountId", account)?;
    }
    match other {
        Some((name, id)) => text(&format!("/selection/scope/{name}"), id),
        None => Ok(()),
    }
}

fn header_name(pointer: &str, name: &str) -> Result<(), Refused> {
    let Some(header) = name.parse::<HeaderName>().ok().filter(|_| name.len() <= LONGEST) else {
        return refused(pointer, "it is not the name of an HTTP header");
    };
    let header = header.as_str();
    if RESERVED.contains(&header) || header.starts_with("webhook-") || header.starts_with("tidings-") {
        return refused(pointer, format!("the header {header} is set by the server itself"));
    }
    Ok(())
}

fn names(pointer: &str, names: &[String], most: usize) -> Result<(), Refused> {
    if names.len() > most {
        return refused(pointer, format!("at most {most} names are expected"));
    }
    for (index, name) in names.iter().enumerate() {
        text(&format!("{pointer}/{index}"), name)?;
    }
    match names.iter().collect::<HashSet<_>>().len() < names.len() {
        true => refused(pointer, "a name stands twice"),
        false => Ok(()),
    }
}

fn text(pointer: &str, text: &str) -> Result<(), Refused> {
    if (1..=LONGEST).contains(&text.chars().count()) {
        Ok(())
    } else {
        refused(pointer, format!("1 to {LONGEST} characters are expected"))
    }
}

fn within(pointer: &str, value: Option<u32>, least: u32, most: u32) -> Result<(), Refused> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            refused(pointer, format!("{value} is not between {least} and {most}"))
        }
        _ => Ok(()),
    }
}

/// A name as part of a JSON pointer (RFC 6901).
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
