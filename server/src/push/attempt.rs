//! One attempt: from a notification to a request, and from an answer to a verdict and a line in the log.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use tidings_api::delivery::{AttemptError, AttemptReason, TestRequest};
use tidings_api::settings::{AcknowledgementKind, PayloadSettings, VerificationKind};

use super::authentication::{Request, Trouble, shown};
use super::prepared::{Prepared, Remembered};
use super::sender::Sender;
use super::token::{TokenError, Tokens};
use super::verification::Permits;
use crate::directory::{Directory, TenantEntry};
use crate::rules::document::{Shape, Writer};
use crate::rules::format::{self, Format};
use crate::rules::notification::{Content, Micros, PushProgress, State, StoredNotification};
use crate::rules::{acknowledgement, payload};
use crate::secrets;
use crate::store::seam::{AttemptRecord, TenantId};
use crate::telemetry::Metrics;

/// From this size on, what is pushed is written and signed apart from the thread that sends: it takes a moment, which
/// the lanes of others don't wait.
const LARGE: usize = 256 * 1024;
/// A lane with a rate begins its attempts at their times. One that has to wait longer than this for the tenant's
/// settings, from a database in trouble, has missed its time: made later, together with others that waited as well, it
/// would exceed the rate.
const LATE: Duration = Duration::from_millis(500);

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
        /// Whether the receiver is well and only won't have this notification, rather than being in trouble itself.
        rejected: bool,
    },
    /// No retry can help: the body is too large. Says nothing about the receiver, which was not called.
    Hopeless {
        /// The tenant.
        entry: Arc<TenantEntry>,
    },
    /// The receiver is gone for good (410).
    Gone {
        /// The version of the settings that led there.
        version: i64,
    },
    /// Nothing was sent: there is no access token, and none is asked for at the moment.
    Resting {
        /// The version of the settings that led there.
        version: i64,
        /// How long none is asked for.
        left: Duration,
    },
    /// The tenant's push is not active (any more).
    Inactive,
    /// The tenant could not be read, or not in time.
    Unknown,
}

/// What became of an attempt, and what the log keeps of it.
#[derive(Debug)]
pub struct Attempted {
    /// What is to be done.
    pub verdict: Verdict,
    /// What was done; none where nothing was.
    pub record: Option<AttemptRecord>,
}

impl From<Verdict> for Attempted {
    fn from(verdict: Verdict) -> Self {
        Attempted { verdict, record: None }
    }
}

/// All that goes out to receivers on one thread: pushes, tests and verifications.
///
/// Connections belong to the runtime that made them, so each sending thread and each worker of the HTTP server has its
/// own of these. Tokens and permits are one for all.
pub struct Attempts {
    /// Sends.
    pub sender: Sender,
    /// Access tokens.
    pub tokens: Arc<Tokens>,
    /// Bounds verifications and tests.
    pub permits: Arc<Permits>,
    /// Knows the tenants.
    pub directory: Arc<Directory>,
    /// What was read from their settings.
    pub prepared: Remembered,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// What links in pushed bodies begin with.
    pub base: String,
    /// Whether the tenant of the first run may be reached on loopback addresses.
    pub demo_loopback: bool,
}

/// What is pushed, and what for.
struct Parcel<'a> {
    notification: &'a StoredNotification,
    /// The `webhook-id`.
    id: String,
    reason: AttemptReason,
    test: bool,
}

/// What became of a parcel.
struct Pushed {
    record: AttemptRecord,
    /// How long the receiver wants to be left alone.
    asked: Option<Duration>,
    /// How long no access token is asked for, if it was not sent for want of one.
    resting: Option<Duration>,
    /// Of a test, what was sent, but for what shows who sends it.
    sent: Option<(HeaderMap, Bytes)>,
}

impl Attempts {
    /// Makes one attempt, if the tenant's push is active.
    pub async fn make(
        &self,
        tenant: TenantId,
        notification: &StoredNotification,
        reason: AttemptReason,
    ) -> Attempted {
        let asked = Instant::now();
        let entry = match self.directory.tenant(tenant).await {
            Ok(Some(entry)) if entry.push_is_active() => entry,
            Ok(_) => return Verdict::Inactive.into(),
            Err(_) => return Verdict::Unknown.into(),
        };
        if entry.settings.push.rate_limit.is_some() && asked.elapsed() > LATE {
            return Verdict::Unknown.into();
        }
        let (started_at, started) = (now(), Instant::now());
        let pushed = caught(async {
            let prepared = self.prepared.get(&entry)?;
            let id = format::message_id(&entry.tenant.public_id, notification.sequence);
            let parcel = Parcel { notification, id, reason, test: false };
            Some(self.push(&entry, &prepared, &parcel).await)
        });
        let pushed = pushed.await.unwrap_or_else(|| {
            tracing::error!(
                tenant = entry.tenant.public_id,
                sequence = notification.sequence,
                "an attempt panicked; it counts as one that failed"
            );
            Some(Pushed {
                record: panicked(&entry, reason, started_at),
                asked: None,
                resting: None,
                sent: None,
            })
        });
        let Some(Pushed { record, asked, resting, .. }) = pushed else { return Verdict::Inactive.into() };
        if let Some(left) = resting {
            return Verdict::Resting { version: entry.tenant.version, left }.into();
        }
        self.metrics.attempt(record.error.map_or("accepted", AttemptError::as_str), started.elapsed());
        let verdict = match record.error {
            None => Verdict::Delivered { dismiss: entry.settings.push.auto_dismiss },
            Some(AttemptError::Gone) => Verdict::Gone { version: entry.tenant.version },
            Some(AttemptError::TooLarge) => Verdict::Hopeless { entry },
            Some(error) => {
                let rejected = match error {
                    AttemptError::Rejected => true,
                    AttemptError::Status => {
                        matches!(record.response_status, Some(400 | 406 | 409 | 411..=415 | 417 | 422))
                    }
                    _ => false,
                };
                Verdict::Failed { entry, asked, rejected }
            }
        };
        Attempted { verdict, record: Some(record) }
    }

    /// Sends one test notification by the tenant's settings, whether its push is paused or not. It isn't stored, and
    /// changes nothing. None: there is no URL. It is for the caller to take one of the permits. The request comes with
    /// it, if there was one.
    pub async fn test(&self, entry: &TenantEntry) -> Option<(AttemptRecord, Option<TestRequest>)> {
        let prepared = self.prepared.get(entry)?;
        let now = now();
        let content = Content {
            event_type: "test".to_owned(),
            created_at: now,
            received_at: now,
            comment: Some("This is a test.".to_owned()),
            extra: String::new(),
            entity: None,
            created_by: None,
            included: String::new(),
        };
        let notification = StoredNotification {
            sequence: 0,
            content: Arc::new(content),
            state: State::new(PushProgress::Pending, None),
        };
        let random = u128::from_be_bytes(secrets::random());
        let parcel = Parcel {
            notification: &notification,
            // Apart from every id of a notification, so that a receiver which remembers ids never takes one for this.
            id: format!("msg_{}_test_{random:032x}", entry.tenant.public_id),
            reason: AttemptReason::First,
            test: true,
        };
        let Pushed { record, sent, .. } = self.push(entry, &prepared, &parcel).await;
        // Without an access token nothing is sent.
        let sent = sent.filter(|_| record.error != Some(AttemptError::Token));
        let request = sent.map(|(headers, body)| shown(entry, &record.url, &headers, &body));
        Some((record, request))
    }

    /// Sends a parcel.
    async fn push(&self, entry: &TenantEntry, prepared: &Arc<Prepared>, parcel: &Parcel<'_>) -> Pushed {
        let mut record = AttemptRecord {
            started_at: now(),
            duration_ms: 0,
            url: prepared.url.shown().into(),
            address: None,
            reason: parcel.reason,
            response_status: None,
            response_text: String::new(),
            error: None,
        };
        let Ok((headers, body)) = self.request(entry, prepared, parcel).await else {
            record.error = Some(AttemptError::TooLarge);
            return Pushed { record, asked: None, resting: None, sent: None };
        };
        let sent = parcel.test.then(|| (headers.clone(), body.clone()));
        let push = &entry.settings.push;
        let started = Instant::now();
        let deadline = Duration::from_secs(push.timeout_seconds.into());
        let request = Request { method: Method::POST, prepared, headers, body, deadline };
        let exchanged = self.exchange(entry, request).await;
        record.duration_ms = i32::try_from(started.elapsed().as_millis()).unwrap_or(i32::MAX);
        record.address = exchanged.address.map(|address| address.to_string());
        let (mut asked, mut resting) = (None, None);
        match &exchanged.outcome {
            Ok(answer) => {
                record.response_status = i16::try_from(answer.status).ok();
                record.response_text = exchanged.text(entry, answer);
                record.error =
                    acknowledgement::accepts(push, answer.status, &answer.headers, &answer.body).err();
                asked = answer.retry_after.filter(|_| matches!(answer.status, 429 | 502..=504));
            }
            Err(trouble) => {
                record.error = Some(trouble.error());
                if let Trouble::Token(TokenError::Resting(left)) = trouble {
                    resting = Some(*left);
                }
            }
        }
        Pushed { record, asked, resting, sent }
    }

    /// Headers and body of a push, but for those that show who sends it.
    async fn request(
        &self,
        entry: &TenantEntry,
        prepared: &Arc<Prepared>,
        parcel: &Parcel<'_>,
    ) -> Result<(HeaderMap, Bytes), payload::TooLarge> {
        let push = &entry.settings.push;
        // The receiver sees the notification as it will be once it has accepted it.
        let mut accepted = parcel.notification.clone();
        accepted.state.is_dismissed |= push.auto_dismiss;
        let now = now();
        let mut headers = self.common_headers(entry);
        let format = Format::of_push(&entry.settings, &entry.tenant.public_id, &parcel.id, &accepted);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type));
        for (name, value) in &format.headers {
            set(&mut headers, HeaderName::from_static(name), value);
        }
        set(&mut headers, HeaderName::from_static(tidings_api::TENANT_HEADER), &entry.tenant.public_id);
        headers.insert("tidings-sequence", HeaderValue::from(accepted.sequence));
        headers.insert("tidings-attempt", HeaderValue::from(accepted.state.attempts + 1));
        if parcel.test {
            headers.insert("tidings-test", HeaderValue::from_static("true"));
        }
        headers.insert("webhook-timestamp", HeaderValue::from(now.div_euclid(1_000_000)));
        set(&mut headers, HeaderName::from_static("webhook-id"), &parcel.id);
        let (payload, base) = (&entry.settings.payload, &self.base);
        let (body, signatures) = if accepted.content.size() < LARGE {
            write(payload, &format, base, &accepted, prepared, &parcel.id, now)?
        } else {
            let (payload, base, id) = (payload.clone(), base.clone(), parcel.id.clone());
            let prepared = Arc::clone(prepared);
            let write = move || write(&payload, &format, &base, &accepted, &prepared, &id, now);
            // It ends otherwise only by a panic, which goes on here.
            let written = tokio::task::spawn_blocking(write).await;
            written.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?
        };
        if !signatures.is_empty() {
            set(&mut headers, HeaderName::from_static("webhook-signature"), &signatures);
        }
        Ok((headers, body))
    }

    /// The headers of pushes and of verifications: who sends, and what the receiver is to repeat or to allow.
    pub(super) fn common_headers(&self, entry: &TenantEntry) -> HeaderMap {
        let push = &entry.settings.push;
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("Tidings/", env!("CARGO_PKG_VERSION"))));
        if let Some(user_agent) = &push.user_agent {
            set(&mut headers, USER_AGENT, user_agent);
        }
        let echo = push.acknowledgement.kind == AcknowledgementKind::ClientIdEcho
            || push.verification.kind == VerificationKind::ClientIdEcho;
        if echo && let Ok(name) = push.client_id_header.parse() {
            set(&mut headers, name, &push.client_id);
        }
        if push.verification.kind == VerificationKind::CloudEvents {
            set(&mut headers, HeaderName::from_static("webhook-request-origin"), self.origin());
        }
        headers
    }

    /// The name under which the server asks for consent: the host that its links lead to.
    pub(super) fn origin(&self) -> &str {
        let host = self.base.split_once("://").map_or(&*self.base, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or(host);
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        }
    }
}

/// What the work comes to; none if it panics.
///
/// A notification on which the server fails each time would otherwise have no attempts, and so no end: whatever waits
/// behind it would wait for ever.
async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        // What has panicked isn't polled again, and what it shares with others is never left half changed.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
    })
    .await
}

/// What the log keeps of an attempt that panicked.
fn panicked(entry: &TenantEntry, reason: AttemptReason, started_at: Micros) -> AttemptRecord {
    let url = entry.settings.push.url.as_deref().unwrap_or_default();
    AttemptRecord {
        started_at,
        duration_ms: i32::try_from((now() - started_at) / 1000).unwrap_or(0),
        // Without the query, which often holds a token.
        url: url.split('?').next().unwrap_or_default().into(),
        address: None,
        reason,
        response_status: None,
        response_text: String::new(),
        error: Some(AttemptError::Internal),
    }
}

/// The body of a push, and its signatures.
fn write(
    payload: &PayloadSettings,
    format: &Format,
    base: &str,
    notification: &StoredNotification,
    prepared: &Prepared,
    id: &str,
    now: Micros,
) -> Result<(Bytes, String), payload::TooLarge> {
    let writer = Writer { base, shape: &Shape::default(), push_is_active: None };
    let body = Bytes::from(payload::body(payload, format, &writer, notification)?);
    let signatures = prepared.signatures(id, now, &body);
    Ok((body, signatures))
}

fn now() -> Micros {
    chrono::Utc::now().timestamp_micros()
}

/// Sets a header whose value was checked when it was made or stored.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(mut value) = HeaderValue::from_str(value) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
