//! Asks a receiver whether it wants pushes, before its URL is accepted and before a push is resumed.
//!
//! A URL is only a text that somebody has typed. What a receiver must do to show that it means to be called, is one of
//! two: repeat the client id that it gets by `GET` (Acrobat Sign's verification of intent), or allow the server's name in
//! the answer to `OPTIONS` (CloudEvents' HTTP webhook).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderValue};
use tidings_api::settings::VerificationKind;

use super::attempt::Attempts;
use super::authentication::{Request, Trouble};
use super::prepared::Prepared;
use crate::directory::TenantEntry;
use crate::rules::acknowledgement::echoes;
use crate::store::seam::TenantId;

/// How long a verification may take; less, if a push may take less.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many verifications and tests of a tenant may be under way at a time, on a node.
pub const MOST: usize = 10;
/// How much of an answer is told.
const TOLD: usize = 200;

/// Counts what is under way for each tenant, on all threads.
#[derive(Debug, Default)]
pub struct Permits(Mutex<HashMap<TenantId, usize>>);

/// One that is under way.
pub struct Permit {
    permits: Arc<Permits>,
    tenant: TenantId,
}

impl Permits {
    /// A permit, unless [`MOST`] are given out. It is given back when it is dropped.
    pub fn take(self: &Arc<Self>, tenant: TenantId) -> Option<Permit> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(tenant).or_default();
        (*count < MOST).then(|| {
            *count += 1;
            Permit { permits: Arc::clone(self), tenant }
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.permits.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.tenant);
            }
        }
    }
}

/// Why a URL was not verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// [`MOST`] are under way.
    #[error("{MOST} verifications and tests of this tenant are under way; try again in a moment")]
    TooMany,
    /// There was no answer.
    #[error("{method} of the URL got no answer: {trouble}")]
    NoAnswer {
        /// The method.
        method: Method,
        /// Why not.
        trouble: Trouble,
    },
    /// The answer has another status than 2xx.
    #[error("GET of the URL was answered with status {status} instead of a 2xx: {text:?}")]
    Status {
        /// The status.
        status: u16,
        /// The beginning of the answer's body.
        text: String,
    },
    /// The client id isn't repeated.
    #[error(
        "GET of the URL was answered with status {status}, but without the client id: it is expected in the header \
         {header}, or in the member xAdobeSignClientId of a JSON body; the body is {text:?}"
    )]
    NoEcho {
        /// The status.
        status: u16,
        /// The header in which it was sent, and expected.
        header: String,
        /// The beginning of the answer's body.
        text: String,
    },
    /// The server's name isn't allowed.
    #[error(
        "OPTIONS of the URL was answered with status {status}, but does not allow pushes: WebHook-Allowed-Origin is \
         expected to be {origin} or *, and is {found}"
    )]
    NoOrigin {
        /// The status.
        status: u16,
        /// The server's name.
        origin: String,
        /// What came instead.
        found: String,
    },
    /// Fewer pushes in a minute are allowed than the tenant's limit.
    #[error(
        "OPTIONS of the URL allows pushes, but WebHook-Allowed-Rate is expected to be at least {wanted} in a minute, or \
         *, and is {found}; set push.rateLimit to what the receiver allows"
    )]
    NoRate {
        /// What was asked for.
        wanted: u32,
        /// What came.
        found: String,
    },
}

impl Attempts {
    /// Asks the receiver by the settings as they would be, if they want it to be asked.
    ///
    /// # Errors
    /// What was expected, and what came instead.
    pub async fn verify(&self, entry: &TenantEntry) -> Result<(), Unverified> {
        let push = &entry.settings.push;
        // Not the remembered one: these settings aren't in force yet.
        let Some(prepared) = Prepared::of(entry) else { return Ok(()) };
        let method = match push.verification.kind {
            VerificationKind::None => return Ok(()),
            VerificationKind::ClientIdEcho => Method::GET,
            VerificationKind::CloudEvents => Method::OPTIONS,
        };
        let _permit = self.permits.take(entry.tenant.id).ok_or(Unverified::TooMany)?;
        let mut headers = self.common_headers(entry);
        let rate = push.rate_limit.filter(|_| method == Method::OPTIONS);
        if let Some(rate) = rate {
            headers.insert("webhook-request-rate", HeaderValue::from(rate));
        }
        let deadline = DEADLINE.min(Duration::from_secs(push.timeout_seconds.into()));
        let request =
            Request { method: method.clone(), prepared: &prepared, headers, body: Bytes::new(), deadline };
        let exchanged = self.exchange(entry, request).await;
        let answer = match &exchanged.outcome {
            Ok(answer) => answer,
            Err(trouble) => return Err(Unverified::NoAnswer { method, trouble: *trouble }),
        };
        let (status, headers) = (answer.status, &answer.headers);
        // By `OPTIONS` the headers alone are consent, whatever the status.
        if method == Method::OPTIONS {
            return allowed(headers, self.origin(), rate, status);
        }
        let text = || exchanged.text(entry, answer).chars().take(TOLD).collect();
        if !(200..300).contains(&status) {
            return Err(Unverified::Status { status, text: text() });
        }
        if !echoes(push, headers, &answer.body) {
            return Err(Unverified::NoEcho { status, header: push.client_id_header.clone(), text: text() });
        }
        Ok(())
    }
}

/// Whether the headers of an answer allow the server's name and the rate that was asked for.
fn allowed(headers: &HeaderMap, origin: &str, rate: Option<u32>, status: u16) -> Result<(), Unverified> {
    let allows = |value: &str| value == "*" || value.eq_ignore_ascii_case(origin);
    let origins = values(headers, "webhook-allowed-origin");
    if !origins.iter().any(|value| allows(value)) {
        return Err(Unverified::NoOrigin { status, origin: origin.to_owned(), found: found(&origins) });
    }
    let Some(wanted) = rate else { return Ok(()) };
    let rates = values(headers, "webhook-allowed-rate");
    let enough =
        |value: &String| value == "*" || value.parse::<u64>().is_ok_and(|rate| rate >= wanted.into());
    if rates.iter().any(enough) {
        return Ok(());
    }
    Err(Unverified::NoRate { wanted, found: found(&rates) })
}

/// The values of a header, be they in one line or in several.
fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|value| value.trim().to_owned()).collect()
}

/// What came, as it is told.
fn found(values: &[String]) -> String {
    if values.is_empty() { "missing".to_owned() } else { values.join(", ").chars().take(TOLD).collect() }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn consent_is_in_the_headers() {
        const ORIGIN: &str = "webhook-allowed-origin";
        const RATE: &str = "webhook-allowed-rate";
        let check = |given: &[(&'static str, &'static str)], rate| {
            allowed(&headers(given), "tidings.example", rate, 200).map_err(|error| match error {
                Unverified::NoOrigin { found, .. } => format!("origin {found}"),
                Unverified::NoRate { found, .. } => format!("rate {found}"),
                other => panic!("{other}"),
            })
        };
        for (given, rate) in [
            (&[(ORIGIN, "*")][..], None),
            (&[(ORIGIN, "tidings.example")], None),
            (&[(ORIGIN, " Tidings.Example ")], None),
            (&[(ORIGIN, "a.example, tidings.example")], None),
            (&[(ORIGIN, "a.example"), (ORIGIN, "tidings.example")], None),
            (&[(ORIGIN, "*"), (RATE, "1")], None),
            (&[(ORIGIN, "*"), (RATE, "*")], Some(120)),
            (&[(ORIGIN, "*"), (RATE, "120")], Some(120)),
            (&[(ORIGIN, "*"), (RATE, "99999999999")], Some(120)),
        ] {
            assert_eq!(check(given, rate), Ok(()), "{given:?}");
        }
        for (given, rate, expected) in [
            (&[][..], None, "origin missing"),
            (&[(ORIGIN, "")], None, "origin "),
            (&[(ORIGIN, "other.example")], None, "origin other.example"),
            (&[(ORIGIN, "*.example")], None, "origin *.example"),
            (&[(ORIGIN, "https://tidings.example")], None, "origin https://tidings.example"),
            (&[(ORIGIN, "*")], Some(120), "rate missing"),
            (&[(ORIGIN, "*"), (RATE, "119")], Some(120), "rate 119"),
            (&[(ORIGIN, "*"), (RATE, "many")], Some(120), "rate many"),
            (&[(ORIGIN, "*"), (RATE, "-1")], Some(1), "rate -1"),
        ] {
            assert_eq!(check(given, rate), Err(expected.to_owned()), "{given:?}");
        }
    }
}
