//! How the server shows a receiver who it is: headers, access tokens, TLS; and what must be hidden of that.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tidings_api::delivery::{AttemptError, TestHeader, TestRequest};
use tidings_api::settings::Authentication;
use url::form_urlencoded::byte_serialize;

use super::attempt::{Attempts, set};
use super::prepared::Prepared;
use super::sender::{Answer, Failure, Outgoing, OwnTls};
use super::token::{Grant, Token, TokenError};
use crate::directory::TenantEntry;

/// Shorter secrets aren't hidden: asterisks in the place of each such word would tell more than they hide.
const SHORTEST: usize = 4;

/// A request to a receiver, without what shows who sends it.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) prepared: &'a Prepared,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// How long all of it may take, the access token's way included.
    pub(super) deadline: Duration,
}

/// What became of it.
pub(super) struct Exchanged {
    pub(super) outcome: Result<Answer, Trouble>,
    /// The address that it was sent to, if a connection came about.
    pub(super) address: Option<IpAddr>,
    /// The access tokens that were used.
    tokens: Vec<Arc<Token>>,
}

impl Exchanged {
    /// The beginning of the answer's body as text, without what must not be shown, should the receiver repeat it.
    pub(super) fn text(&self, entry: &TenantEntry, answer: &Answer) -> String {
        // Few receivers answer anything.
        if answer.body.is_empty() {
            return String::new();
        }
        let mut hidden = Hidden::default();
        let bearers = self.tokens.iter().map(|token| format!("Bearer {}", token.reveal()));
        for value in fixed(entry).map(|(_, value)| value).into_iter().chain(bearers) {
            // As it was sent; and what stands behind the name of a scheme, which a receiver may repeat alone.
            hidden.add(&value);
            if let Some((_, credentials)) = value.split_once(' ') {
                hidden.add(credentials);
            }
        }
        hidden.add_secrets(entry);
        answer.text(&hidden.0)
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The receiver gave none.
    #[error("{0}")]
    Failure(Failure),
    /// It wasn't asked, for want of an access token.
    #[error("{0}")]
    Token(TokenError),
}

impl Trouble {
    /// Its name in the log of attempts.
    pub(super) fn error(self) -> AttemptError {
        match self {
            Trouble::Failure(failure) => failure.into(),
            Trouble::Token(_) => AttemptError::Token,
        }
    }
}

impl Attempts {
    /// Sends a request with the tenant's authentication and TLS, once more with a new access token if the receiver
    /// doesn't take the one that it gets.
    pub(super) async fn exchange(&self, entry: &TenantEntry, request: Request<'_>) -> Exchanged {
        let started = Instant::now();
        let loopback_too = self.demo_loopback && entry.tenant.may_reach_loopback;
        let tls = OwnTls {
            tenant: entry.tenant.id.number(),
            settings: &entry.settings.push.tls,
            key: entry.secrets.client_key.as_ref().map(|key| key.reveal()),
            hash: request.prepared.tls,
        };
        let grant = grant(entry, tls, loopback_too);
        let mut tokens = Vec::new();
        let mut renewed = false;
        loop {
            let left = || request.deadline.saturating_sub(started.elapsed());
            let mut headers = request.headers.clone();
            let mut token: Option<Arc<Token>> = None;
            if let Some(grant) = &grant {
                match self.tokens.get(&self.sender, grant, left()).await {
                    Ok(found) => {
                        tokens.push(Arc::clone(&found));
                        set(&mut headers, AUTHORIZATION, &format!("Bearer {}", found.reveal()));
                        token = Some(found);
                    }
                    Err(error) => {
                        let outcome = Err(Trouble::Token(error));
                        return Exchanged { outcome, address: None, tokens };
                    }
                }
            } else if let Some((name, value)) = fixed(entry) {
                set(&mut headers, name, &value);
            }
            let attempt = self
                .sender
                .send(Outgoing {
                    method: request.method.clone(),
                    url: &request.prepared.url,
                    headers,
                    body: request.body.clone(),
                    deadline: left(),
                    loopback_too,
                    tls: Some(tls),
                })
                .await;
            if let (Some(grant), Some(token), Ok(Answer { status: 401, .. })) =
                (&grant, &token, &attempt.outcome)
            {
                if renewed {
                    self.tokens.refused_again(grant);
                } else if self.tokens.refused(grant, token) {
                    renewed = true;
                    continue;
                }
            }
            let outcome = attempt.outcome.map_err(Trouble::Failure);
            return Exchanged { outcome, address: attempt.address, tokens };
        }
    }
}

/// What an access token is asked for with, if the receiver wants one.
fn grant<'a>(entry: &'a TenantEntry, tls: OwnTls<'a>, loopback_too: bool) -> Option<Grant<'a>> {
    let Authentication::Oauth2 { token_url, client_id, scope } = &entry.settings.push.authentication else {
        return None;
    };
    Some(Grant {
        tenant: tls.tenant,
        public_id: &entry.tenant.public_id,
        token_url,
        client_id,
        client_secret: entry.secrets.authentication.as_ref().map_or("", |secret| secret.reveal()),
        scope: scope.as_deref(),
        tls: Some(tls),
        loopback_too,
    })
}

/// A test's request as it is shown: of the header that shows who sends it only the name.
pub(super) fn shown(entry: &TenantEntry, url: &str, headers: &HeaderMap, body: &[u8]) -> TestRequest {
    let secret = match &entry.settings.push.authentication {
        Authentication::Oauth2 { .. } => Some(AUTHORIZATION),
        _ => fixed(entry).map(|(name, _)| name),
    };
    let header = |name: &HeaderName, value: &[u8]| TestHeader {
        name: name.as_str().to_owned(),
        value: String::from_utf8_lossy(value).into_owned(),
    };
    let plain = headers.iter().filter(|(name, _)| Some(*name) != secret.as_ref());
    let mut headers: Vec<TestHeader> = plain.map(|(name, value)| header(name, value.as_bytes())).collect();
    headers.extend(secret.iter().map(|name| header(name, "…".as_bytes())));
    TestRequest {
        method: Method::POST.to_string(),
        url: url.to_owned(),
        headers,
        body: String::from_utf8_lossy(body).into_owned(),
    }
}

/// The header of the kinds whose header is always the same.
fn fixed(entry: &TenantEntry) -> Option<(HeaderName, String)> {
    let secret = entry.secrets.authentication.as_ref()?.reveal();
    Some(match &entry.settings.push.authentication {
        Authentication::None | Authentication::Oauth2 { .. } => return None,
        Authentication::Header { name } => (name.parse().ok()?, secret.to_owned()),
        Authentication::Basic { username } => {
            (AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{username}:{secret}"))))
        }
        Authentication::Bearer => (AUTHORIZATION, format!("Bearer {secret}")),
        Authentication::Authorization => (AUTHORIZATION, secret.to_owned()),
    })
}

/// What percent-encoding leaves as it is (RFC 3986 §2.3).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Texts that must not be shown, and the forms in which a receiver may repeat them: as JSON, forms, URLs and base64 have
/// them. A base64 text counts without the `=` at its end, and only where it is that of the secret alone.
#[derive(Default)]
struct Hidden(Vec<String>);

impl Hidden {
    fn add(&mut self, secret: &str) {
        if secret.len() < SHORTEST {
            return;
        }
        let json = serde_json::Value::from(secret).to_string();
        let json = json.trim_matches('"').to_owned();
        let percent = utf8_percent_encode(secret, &UNRESERVED).to_string();
        let form: String = byte_serialize(secret.as_bytes()).collect();
        let forms = [
            secret.to_owned(),
            json.replace('/', "\\/"),
            json,
            lower_hex(&percent),
            percent,
            lower_hex(&form),
            form,
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
        ];
        for text in forms {
            if !self.0.contains(&text) {
                self.0.push(text);
            }
        }
    }

    fn add_secrets(&mut self, entry: &TenantEntry) {
        let secrets = &entry.secrets;
        let signing = secrets.signing.iter().map(|key| &key.secret);
        for secret in secrets.authentication.iter().chain(signing) {
            self.add(secret.reveal());
        }
    }
}

/// The same text with small letters in its `%2F`, as some write them.
fn lower_hex(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (hex, rest) = part.split_at(part.len().min(2));
        text + "%" + &hex.to_ascii_lowercase() + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_in_every_form_in_which_they_are_repeated() {
        let mut hidden = Hidden::default();
        hidden.add("a/b\"c d~");
        hidden.add("abc");
        assert_eq!(
            hidden.0,
            [
                "a/b\"c d~",
                "a\\/b\\\"c d~",
                "a/b\\\"c d~",
                "a%2fb%22c%20d~",
                "a%2Fb%22c%20d~",
                "a%2fb%22c+d%7e",
                "a%2Fb%22c+d%7E",
                "YS9iImMgZH4",
            ]
        );
        let mut plain = Hidden::default();
        plain.add("plain");
        plain.add("plain");
        // RFC 4648 §5: where base64 has `+` and `/`, that of URLs has `-` and `_`.
        plain.add("??>>");
        assert_eq!(plain.0[..2], ["plain", "cGxhaW4"]);
        assert_eq!(plain.0[plain.0.len() - 2..], ["Pz8+Pg", "Pz8-Pg"]);
    }
}
