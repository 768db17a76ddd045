//! One attempt: from a notification to a request, and from an answer to a verdict.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::egress::PushUrl;
use super::sender::{Outgoing, Sender};
use super::signature::SigningSecret;
use crate::directory::{Directory, TenantEntry};
use crate::rules::document::{Shape, Writer};
use crate::rules::notification::StoredNotification;
use crate::store::seam::TenantId;
use crate::telemetry::Metrics;

/// How long an attempt may take in all, from the look-up of the name to the end of the answer.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// What became of an attempt.
#[derive(Debug)]
pub enum Verdict {
    /// Accepted.
    Delivered {
        /// Whether the tenant wants it dismissed now.
        dismiss: bool,
    },
    /// Not accepted.
    Failed {
        /// The tenant, for its retry schedule.
        entry: Arc<TenantEntry>,
        /// How long the receiver wants to be left alone.
        asked: Option<Duration>,
        /// What the log says about it.
        why: String,
        /// Whether the receiver refused this notification, rather than being in trouble itself.
        rejected: bool,
    },
    /// The receiver is gone for good (410).
    Gone {
        /// The version of the settings that led there.
        version: i64,
    },
    /// The tenant's push is not active (any more).
    Inactive,
    /// The tenant could not be read.
    Unknown,
}

/// What all attempts share.
pub struct Attempts {
    /// Sends.
    pub sender: Sender,
    /// Knows the tenants.
    pub directory: Arc<Directory>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// What links in pushed bodies begin with.
    pub base: String,
    /// Whether the tenant of the first run may be reached on loopback addresses.
    pub demo_loopback: bool,
}

impl Attempts {
    /// Makes one attempt.
    pub async fn make(&self, tenant: TenantId, notification: &StoredNotification) -> Verdict {
        let entry = match self.directory.tenant(tenant).await {
            Ok(Some(entry)) if entry.push_is_active() => entry,
            Ok(_) => return Verdict::Inactive,
            Err(_) => return Verdict::Unknown,
        };
        let push = &entry.settings.push;
        let Some(Ok(url)) = push.url.as_deref().map(PushUrl::parse) else { return Verdict::Inactive };
        let (headers, body) = self.request(&entry, notification);
        let loopback_too = self.demo_loopback && entry.tenant.may_reach_loopback;
        let attempt =
            self.sender.send(Outgoing { url: &url, headers, body, deadline: DEADLINE, loopback_too }).await;
        let (result, verdict) = match attempt.outcome {
            Ok(answer) if (200..300).contains(&answer.status) => {
                ("accepted", Verdict::Delivered { dismiss: push.auto_dismiss })
            }
            Ok(answer) if answer.status == 410 => ("gone", Verdict::Gone { version: entry.tenant.version }),
            Ok(answer) => {
                let asked = answer.retry_after.filter(|_| matches!(answer.status, 429 | 503));
                let why = format!("status {}", answer.status);
                let rejected = matches!(answer.status, 400 | 406 | 409 | 411..=415 | 417 | 422);
                ("refused", Verdict::Failed { entry, asked, why, rejected })
            }
            Err(failure) => {
                let why = failure.as_str().to_owned();
                (failure.as_str(), Verdict::Failed { entry, asked: None, why, rejected: false })
            }
        };
        self.metrics.attempt(result, attempt.duration);
        verdict
    }

    /// Headers and body of an attempt.
    fn request(&self, entry: &TenantEntry, notification: &StoredNotification) -> (HeaderMap, Bytes) {
        let push = &entry.settings.push;
        // The receiver sees the notification as it will be once it has accepted it.
        let mut accepted = notification.clone();
        accepted.state.is_dismissed |= push.auto_dismiss;
        let writer = Writer { base: &self.base, shape: &Shape::default(), push_is_active: None };
        let body = Bytes::from(writer.document(&accepted));

        let id = format!("msg_{}_{}", entry.tenant.public_id, notification.sequence);
        let timestamp = chrono::Utc::now().timestamp();
        let mut headers = HeaderMap::with_capacity(10);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("Tidings/", env!("CARGO_PKG_VERSION"))));
        headers.insert("tidings-sequence", HeaderValue::from(notification.sequence));
        headers.insert("tidings-attempt", HeaderValue::from(notification.state.attempts + 1));
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        let secret =
            push.signing_secret.as_ref().and_then(|secret| SigningSecret::parse(secret.reveal()).ok());
        if let Some(secret) = secret {
            set(
                &mut headers,
                HeaderName::from_static("webhook-signature"),
                &secret.sign(&id, timestamp, &body),
            );
        }
        set(&mut headers, HeaderName::from_static("webhook-id"), &id);
        if let Some((name, value)) = &push.header {
            set(&mut headers, name.clone(), value.reveal());
        }
        (headers, body)
    }
}

/// Sets a header whose value was checked when it was made or stored.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(mut value) = HeaderValue::from_str(value) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}
