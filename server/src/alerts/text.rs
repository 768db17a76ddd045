//! What alerts say.
//!
//! Names are a tenant's own and end up in a mail's head and body: they are shown on one line. Of a receiver's answer
//! only its status is told.

use tidings_api::alert::{AlertAttributes, AlertKind};
use tidings_api::settings::PushHealthState;
use tidings_api::time::format;

use crate::directory::TenantEntry;
use crate::store::alerts::OutboxAlert;

/// The longest name in a subject, in characters.
const LONGEST_NAME: usize = 80;

/// All that an alert tells.
pub(super) fn attributes(alert: &OutboxAlert, entry: &TenantEntry) -> AlertAttributes {
    let time = |micros| chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    let url = entry.settings.push.url.as_deref().and_then(|url| url::Url::parse(url).ok());
    AlertAttributes {
        kind: alert.kind,
        at: time(alert.at),
        since: time(alert.since),
        summary: summary(alert.kind).to_owned(),
        detail: Some(alert.detail.clone()).filter(|detail| !detail.is_empty()),
        tenant_id: entry.tenant.public_id.clone(),
        tenant_name: entry.tenant.name.clone(),
        push_state: state(entry),
        host: url.and_then(|url| url.host_str().map(str::to_owned)),
    }
}

fn state(entry: &TenantEntry) -> PushHealthState {
    if entry.settings.push.url.is_none() {
        PushHealthState::None
    } else if entry.push_is_active() {
        PushHealthState::Active
    } else if entry.tenant.push_disabled {
        PushHealthState::Disabled
    } else {
        PushHealthState::Paused
    }
}

fn summary(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::Failing => "a push failed, the first one since the last success",
        AlertKind::Retries50 => "a notification has used half of its retries",
        AlertKind::Retries70 => "a notification has used 70 % of its retries",
        AlertKind::Retries90 => "a notification has used 90 % of its retries",
        AlertKind::Retries100 => "a notification has used all its retries and was given up",
        AlertKind::Recovered => "pushes are accepted again",
        AlertKind::Disabled => "the push was disabled for want of success",
        AlertKind::Paused => "the push was paused because the receiver is gone",
        AlertKind::Resumed => "the push was resumed",
        AlertKind::Backlog => "notifications have waited for their push for too long",
        AlertKind::Test => "this is a test of alerts",
    }
}

fn advice(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::Failing => {
            "Nothing yet: it is tried again by the schedule. If this lasts, look at the receiver. You will be told when \
             pushes are accepted again."
        }
        AlertKind::Retries50 | AlertKind::Retries70 | AlertKind::Retries90 => {
            "Look at the receiver, and at the attempts of the notification (GET /deliveries/{id}/attempts), before its \
             retries are used up."
        }
        AlertKind::Retries100 => {
            "Mend the receiver, and push again what was given up (POST /jobs with the action repush), or pull it."
        }
        AlertKind::Disabled | AlertKind::Paused => {
            "Mend the receiver, or set another push.url; then resume the push by setting push.enabled to true. What \
             waits is pushed then, oldest first."
        }
        AlertKind::Backlog => {
            "Look whether the push is paused and whether the receiver is fast enough (GET /external-notifications, \
             meta)."
        }
        AlertKind::Recovered | AlertKind::Resumed | AlertKind::Test => "Nothing.",
    }
}

/// A text on one line, whatever it was.
fn line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if breaks(c) { ' ' } else { c }).collect()
}

/// The subject of the mail.
pub(super) fn subject(alert: &AlertAttributes) -> String {
    let name: String = line(&alert.tenant_name).chars().take(LONGEST_NAME).collect();
    format!("[Tidings] {name}: {}", alert.summary)
}

/// The text of the mail.
pub(super) fn body(alert: &AlertAttributes) -> String {
    let mut text = format!("What happened: {}.\n", alert.summary);
    let mut say = |name: &str, value: &str| text.push_str(&format!("{name}: {}\n", line(value)));
    if let Some(detail) = &alert.detail {
        say("Details", detail);
    }
    say("When", &format(&alert.at));
    say("Since", &format(&alert.since));
    say("Tenant", &format!("{} ({})", alert.tenant_name, alert.tenant_id));
    say("Receiver", alert.host.as_deref().unwrap_or("none"));
    let state = match alert.push_state {
        PushHealthState::None => "there is no URL",
        PushHealthState::Active => "active",
        PushHealthState::Paused => "paused",
        PushHealthState::Disabled => "disabled",
    };
    say("Push", state);
    text.push_str(&format!("\nWhat to do: {}\n", advice(alert.kind)));
    if !matches!(alert.kind, AlertKind::Recovered | AlertKind::Resumed | AlertKind::Test) {
        text.push_str("\nNothing is lost: every notification is kept and can be pulled until it expires.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(name: &str) -> AlertAttributes {
        AlertAttributes {
            kind: AlertKind::Failing,
            at: "2026-03-01T12:00:05Z".parse().unwrap(),
            since: "2026-03-01T12:00:00Z".parse().unwrap(),
            summary: summary(AlertKind::Failing).to_owned(),
            detail: Some("1 of 20 attempts".to_owned()),
            tenant_id: "the-id".to_owned(),
            tenant_name: name.to_owned(),
            push_state: PushHealthState::Active,
            host: Some("archive.example.com".to_owned()),
        }
    }

    #[test]
    fn a_name_with_line_breaks_stays_on_its_line() {
        let nasty = alert("Acme\r\nBcc: all@example.com\u{2028}\u{85}What to do: pay");
        assert!(!subject(&nasty).chars().any(|c| c.is_control() || c == '\u{2028}'), "{:?}", subject(&nasty));
        let body = body(&nasty);
        assert_eq!(body.lines().filter(|line| line.starts_with("What to do")).count(), 1, "{body}");
        assert!(!body.lines().any(|line| line.starts_with("Bcc")), "{body}");
        assert!(subject(&alert(&"x".repeat(5_000))).chars().count() < 200);
    }

    #[test]
    fn a_mail_says_what_since_when_why_where_and_what_to_do() {
        let body = body(&alert("Acme"));
        for part in [
            "a push failed, the first one since the last success",
            "Since: 2026-03-01T12:00:00.000Z",
            "1 of 20 attempts",
            "Acme (the-id)",
            "archive.example.com",
            "What to do: ",
        ] {
            assert!(body.contains(part), "{part} is missing in {body}");
        }
    }
}
