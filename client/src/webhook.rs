//! Pushes, as a receiver takes them: check first, then read. No I/O, no web framework.
//!
//! ```no_run
//! # fn example(headers: std::collections::HashMap<String, String>, body: &[u8]) -> Result<(), tidings_client::Error> {
//! use tidings_client::webhook::Verifier;
//!
//! let verifier = Verifier::new(["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"])?;
//! let push = verifier.verify(|name| headers.get(name).map(String::as_str), body)?;
//! println!("{} {}", push.document.data.id, push.document.data.attributes.r#type);
//! # Ok(()) }
//! ```
//!
//! All formats are read (`payload.format`): the notification's document, and CloudEvents in both modes.
//!
//! Answer with 2xx once the notification is in safe hands, and not before: until then, the server will send it
//! again. It may also send it again afterwards, so be ready to see the same id twice.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use tidings_api::notification::NotificationDocument;

use crate::Error;

/// How far the time of a push may be from now, in seconds. Whoever overhears one can't repeat it later.
const TOLERANCE: i64 = 5 * 60;

/// Checks that pushes come from the server (Standard Webhooks, `v1`).
pub struct Verifier {
    secrets: Vec<Webhook>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("secrets", &self.secrets.len()).finish()
    }
}

/// A push that can be trusted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Push {
    /// `webhook-id`: the same for every attempt to push this notification.
    pub webhook_id: String,
    /// When this attempt was made.
    pub sent_at: DateTime<Utc>,
    /// The notification, without `meta`, and with `isDismissed` as it will be once the push is accepted.
    pub document: NotificationDocument,
}

impl Verifier {
    /// Takes the tenant's signing secret, or several while it is being replaced: one that fits is enough.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a secret, or when one is not `whsec_` and at least 24 bytes in base64.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let secrets: Vec<Webhook> =
            secrets.into_iter().map(|secret| parse_secret(secret.as_ref())).collect::<Result<_, _>>()?;
        if secrets.is_empty() {
            return Err(Error::Invalid("at least one signing secret is required".to_owned()));
        }
        Ok(Verifier { secrets })
    }

    /// Checks a push, and reads it if it can be trusted. `header` finds a header by its name, given in
    /// lower case; `body` is the request's body as it came.
    ///
    /// # Errors
    /// [`Error::Signature`] when it can't be trusted, [`Error::Decode`] when it is no notification.
    pub fn verify<'h>(&self, header: impl Fn(&str) -> Option<&'h str>, body: &[u8]) -> Result<Push, Error> {
        let (webhook_id, sent_at) = self.check(header, body, Utc::now())?;
        let (document, _) = read(body)?;
        Ok(Push { webhook_id, sent_at, document })
    }

    pub(crate) fn check<'h>(
        &self,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(String, DateTime<Utc>), Error> {
        let (id, sent_at, given) = stamp(&header, now)?;
        for secret in &self.secrets {
            let expected = secret
                .sign(id, sent_at.timestamp(), body)
                .map_err(|_| Error::Signature("the body is not UTF-8"))?;
            if given.split(' ').any(|given| equal(given.as_bytes(), expected.as_bytes())) {
                return Ok((id.to_owned(), sent_at));
            }
        }
        Err(Error::Signature("no signature fits"))
    }
}

/// The data of a CloudEvent in the structured mode.
#[derive(Deserialize)]
struct CloudEvent<'a> {
    /// Only an event has it.
    #[serde(rename = "specversion")]
    _version: IgnoredAny,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Reads the body of a push: the document, and its text. What format it has is seen by the body, which is signed, and not
/// by its media type, which isn't.
pub(crate) fn read(body: &[u8]) -> Result<(NotificationDocument, &[u8]), Error> {
    match serde_json::from_slice(body) {
        Ok(document) => Ok((document, body)),
        Err(error) => {
            let event: CloudEvent<'_> = serde_json::from_slice(body).map_err(|_| Error::Decode(error))?;
            let text = event.data.get();
            Ok((serde_json::from_str(text).map_err(Error::Decode)?, text.as_bytes()))
        }
    }
}

/// What the signature is made with besides the body, and the signatures. That much can be told before the body is there:
/// whether there are any, and whether the time is right.
pub(crate) fn stamp<'h>(
    header: impl Fn(&str) -> Option<&'h str>,
    now: DateTime<Utc>,
) -> Result<(&'h str, DateTime<Utc>, &'h str), Error> {
    let id = header(HEADER_WEBHOOK_ID).ok_or(Error::Signature("webhook-id is missing"))?;
    let time = header(HEADER_WEBHOOK_TIMESTAMP).ok_or(Error::Signature("webhook-timestamp is missing"))?;
    let given = header(HEADER_WEBHOOK_SIGNATURE).ok_or(Error::Signature("webhook-signature is missing"))?;
    let sent_at = time.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let sent_at = sent_at.ok_or(Error::Signature("webhook-timestamp is not a time"))?;
    if (now - sent_at).num_seconds().abs() > TOLERANCE {
        return Err(Error::Signature("webhook-timestamp is too far from now"));
    }
    Ok((id, sent_at, given))
}

pub(crate) fn parse_secret(secret: &str) -> Result<Webhook, Error> {
    let invalid = || Error::Invalid("a signing secret is whsec_ and 24 to 64 bytes in base64".to_owned());
    // Secrets are often pasted without the padding at their end.
    let encoded = secret.strip_prefix("whsec_").ok_or_else(invalid)?.trim_end_matches('=');
    if !(32..=86).contains(&encoded.len()) {
        return Err(invalid());
    }
    let padding = "=".repeat((4 - encoded.len() % 4) % 4);
    Webhook::new(&format!("{encoded}{padding}")).map_err(|_| invalid())
}

/// Compares in a time that does not tell how much is right.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
