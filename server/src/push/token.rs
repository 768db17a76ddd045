//! Access tokens by OAuth 2.0 client credentials (RFC 6749 §4.4): fetched once for all who need one, and kept in memory.
//!
//! A token is renewed shortly before it ends, or when the receiver doesn't take it any more. However many attempts wait,
//! one of them asks the token endpoint. One that fails is left alone for a moment, longer each time.
//!
//! The client shows itself by HTTP Basic, as every server must allow; where that is refused, by the members
//! `client_id` and `client_secret` of the body, which is all that some servers know.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use ring::digest;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded::{self, byte_serialize};

use super::egress::PushUrl;
use super::sender::{Answer, Failure, Outgoing, OwnTls, Sender};

/// The most that a token is renewed before its end; of a short one, the last fifth of its time.
const EARLY: Duration = Duration::from_secs(60);
/// How long an endpoint rests after its first failure in a row, and at most.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// How long a token is kept that nobody asks for.
const KEEP: Duration = Duration::from_secs(3_600);
/// The longest token.
const LONGEST_TOKEN: usize = 16 * 1024;

/// What a token is asked for with.
#[derive(Clone, Copy)]
pub(super) struct Grant<'a> {
    pub(super) tenant: u64,
    /// The tenant's id on the wire, for the log.
    pub(super) public_id: &'a str,
    pub(super) token_url: &'a str,
    pub(super) client_id: &'a str,
    pub(super) client_secret: &'a str,
    pub(super) scope: Option<&'a str>,
    pub(super) tls: Option<OwnTls<'a>>,
    pub(super) loopback_too: bool,
}

/// Why there is no token. Shows nothing of the secret, nor of the answer but the codes that RFC 6749 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The URL isn't one.
    #[error("the token URL can't be used")]
    Url,
    /// There was no answer.
    #[error("no answer from the token endpoint: {0}")]
    Failure(Failure),
    /// The endpoint refused.
    #[error("the token endpoint answered with status {0}{1}")]
    Refused(u16, ErrorName),
    /// The answer holds no bearer token.
    #[error("the token endpoint answered without a bearer token that can be used")]
    NoToken,
    /// The endpoint failed a moment ago, and isn't asked before this time has passed.
    #[error("the token endpoint failed a moment ago and isn't asked again yet")]
    Resting(Duration),
}

/// The name of an error that a token endpoint may answer with, in brackets, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorName(Option<&'static str>);

impl std::fmt::Display for ErrorName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// A token, and how long it is good.
pub(super) struct Token {
    text: String,
    renew_at: Option<Instant>,
    ends_at: Option<Instant>,
}

impl Token {
    /// The token itself.
    pub(super) fn reveal(&self) -> &str {
        &self.text
    }
}

/// The tokens of all tenants, for all threads.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<Key, Arc<Slot>>>);

/// The tenant, and the hash of all that its token depends on.
type Key = (u64, [u8; 32]);

#[derive(Default)]
struct Slot {
    known: Mutex<Known>,
    /// Held by the one who asks the endpoint.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    token: Option<Arc<Token>>,
    /// The endpoint isn't asked before this time.
    rest_until: Option<Instant>,
    failures: u32,
    used_at: Option<Instant>,
}

impl Slot {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The token, if it is still good, and whether it is time for another.
    fn good(&self, now: Instant) -> Option<(Arc<Token>, bool)> {
        let token = self.token.as_ref().filter(|token| token.ends_at.is_none_or(|end| now < end))?;
        Some((Arc::clone(token), token.renew_at.is_some_and(|at| at <= now)))
    }

    fn rests(&self, now: Instant) -> Option<Duration> {
        self.rest_until?.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    fn rest(&mut self, now: Instant) {
        let rest = FIRST_REST.saturating_mul(1 << self.failures.min(5)).min(LONGEST_REST);
        self.failures += 1;
        self.rest_until = Some(now + rest);
    }
}

impl Tokens {
    /// A token, fetched if there is none. May be called on any thread; `sender` is that thread's.
    pub(super) async fn get(
        &self,
        sender: &Sender,
        grant: &Grant<'_>,
        deadline: Duration,
    ) -> Result<Arc<Token>, TokenError> {
        let started = Instant::now();
        let slot = self.slot(grant, started);
        let good = slot.known().good(started);
        let _asking = match good {
            Some((token, false)) => return Ok(token),
            // One renews it; the others go on with what is still good.
            Some((token, true)) => match slot.asking.try_lock() {
                Ok(asking) => asking,
                Err(_) => return Ok(token),
            },
            // Who asks has the same deadline, and is the one whose attempt fails.
            None => tokio::time::timeout(deadline, slot.asking.lock())
                .await
                .map_err(|_| TokenError::Resting(FIRST_REST))?,
        };
        let fallback = {
            let now = Instant::now();
            let known = slot.known();
            match known.good(now) {
                Some((token, false)) => return Ok(token),
                good => {
                    let good = good.map(|(token, _)| token);
                    if let Some(left) = known.rests(now) {
                        return good.ok_or(TokenError::Resting(left));
                    }
                    good
                }
            }
        };
        let fetched = fetch(sender, grant, deadline.saturating_sub(started.elapsed())).await;
        let mut known = slot.known();
        match fetched {
            Ok(token) => {
                let token = Arc::new(token);
                known.token = Some(Arc::clone(&token));
                (known.failures, known.rest_until) = (0, None);
                Ok(token)
            }
            Err(error) => {
                known.rest(Instant::now());
                tracing::warn!(tenant = grant.public_id, %error, "no access token");
                fallback.ok_or(error)
            }
        }
    }

    /// Forgets a token that the receiver has refused. Answers whether another is worth a try.
    pub(super) fn refused(&self, grant: &Grant<'_>, token: &Arc<Token>) -> bool {
        let now = Instant::now();
        let slot = self.slot(grant, now);
        let mut known = slot.known();
        if known.token.as_ref().is_some_and(|known| !Arc::ptr_eq(known, token)) {
            return true;
        }
        if known.rests(now).is_some() {
            return false;
        }
        known.token = None;
        true
    }

    /// Keeps a new token that the receiver has refused as well: asking for more of them would not help for now.
    pub(super) fn refused_again(&self, grant: &Grant<'_>) {
        let now = Instant::now();
        self.slot(grant, now).known().rest(now);
    }

    fn slot(&self, grant: &Grant<'_>, now: Instant) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = grant.key();
        if !slots.contains_key(&key) {
            slots.retain(|_, slot| {
                slot.known().used_at.is_some_and(|used| now.saturating_duration_since(used) < KEEP)
            });
        }
        let slot = Arc::clone(slots.entry(key).or_default());
        slot.known().used_at = Some(now);
        slot
    }
}

impl Grant<'_> {
    fn key(&self) -> Key {
        let mut context = digest::Context::new(&digest::SHA256);
        let texts = [self.token_url, self.client_id, self.client_secret, self.scope.unwrap_or_default()];
        for text in texts {
            // With its length before it, so that no text can pass for parts of two.
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        (self.tenant, hash)
    }

    /// What shows who asks, in the form of HTTP Basic. Both are encoded as in forms first (RFC 6749 §2.3.1).
    fn basic(&self) -> String {
        let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encode(self.client_id), encode(self.client_secret));
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn body(&self, with_client: bool) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = self.scope {
            form.append_pair("scope", scope);
        }
        if with_client {
            form.append_pair("client_id", self.client_id).append_pair("client_secret", self.client_secret);
        }
        form.finish()
    }
}

async fn fetch(sender: &Sender, grant: &Grant<'_>, deadline: Duration) -> Result<Token, TokenError> {
    let url = PushUrl::stored(grant.token_url).map_err(|_| TokenError::Url)?;
    let started = Instant::now();
    let first = ask(sender, grant, &url, false, deadline).await?;
    let answer = if unknown_client(&first) {
        ask(sender, grant, &url, true, deadline.saturating_sub(started.elapsed())).await?
    } else {
        first
    };
    // Counted from before the answer, so that it is never thought good for longer than it is.
    read(&answer, started)
}

async fn ask(
    sender: &Sender,
    grant: &Grant<'_>,
    url: &PushUrl,
    in_body: bool,
    deadline: Duration,
) -> Result<Answer, TokenError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if !in_body && let Ok(mut value) = HeaderValue::from_str(&grant.basic()) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let outgoing = Outgoing {
        method: Method::POST,
        url,
        headers,
        body: Bytes::from(grant.body(in_body)),
        deadline,
        loopback_too: grant.loopback_too,
        tls: grant.tls,
    };
    sender.send(outgoing).await.outcome.map_err(TokenError::Failure)
}

/// Whether the endpoint says that it does not know the client.
fn unknown_client(answer: &Answer) -> bool {
    matches!(answer.status, 400 | 401) && error_name(&answer.body).0 == Some("invalid_client")
}

/// The error that the endpoint names, if it is one that RFC 6749 §5.2 knows.
fn error_name(body: &[u8]) -> ErrorName {
    const KNOWN: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    let named = serde_json::from_slice::<Value>(body).ok();
    let named = named.as_ref().and_then(|body| body.get("error")?.as_str());
    ErrorName(KNOWN.into_iter().find(|known| Some(*known) == named))
}

/// Reads the endpoint's answer.
fn read(answer: &Answer, asked_at: Instant) -> Result<Token, TokenError> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
        token_type: Option<String>,
        expires_in: Option<Value>,
    }
    if !(200..300).contains(&answer.status) {
        return Err(TokenError::Refused(answer.status, error_name(&answer.body)));
    }
    let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| TokenError::NoToken)?;
    let text = granted.access_token;
    let sendable =
        (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !sendable || granted.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(TokenError::NoToken);
    }
    // Some write the number as text. At least a second, so that the endpoint isn't asked for each push.
    let seconds = granted.expires_in.and_then(|value| match value {
        Value::String(text) => text.trim().parse::<f64>().ok(),
        value => value.as_f64(),
    });
    let finite = seconds.filter(|seconds| seconds.is_finite());
    let lifetime = finite.map(|seconds| Duration::from_secs_f64(seconds.clamp(1.0, 1e9)));
    Ok(Token {
        text,
        renew_at: lifetime.map(|lifetime| asked_at + lifetime - EARLY.min(lifetime / 5)),
        ends_at: lifetime.map(|lifetime| asked_at + lifetime),
    })
}

#[cfg(test)]
mod tests;
