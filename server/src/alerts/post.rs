//! Alerts to a tenant's own URL: signed as pushes are, and sent through the same guard.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use tidings_api::alert::{AlertAttributes, AlertDocument, AlertResource};

use crate::directory::TenantEntry;
use crate::push::egress::PushUrl;
use crate::push::sender::{Outgoing, Sender};
use crate::push::signature::SigningSecret;
use crate::rules::format::Format;

/// How long a request may take in all.
const DEADLINE: Duration = Duration::from_secs(15);

/// Posts an alert. Any 2xx will do, and nothing else of the answer matters.
pub(super) async fn send(
    sender: &Sender,
    entry: &TenantEntry,
    loopback_too: bool,
    url: &str,
    id: &str,
    alert: AlertAttributes,
) -> Result<(), String> {
    let url = PushUrl::parse(url).map_err(|error| error.to_string())?;
    let webhook_id = format!("alert_{id}");
    let format =
        Format::of_alert(&entry.settings, &entry.tenant.public_id, &webhook_id, alert.kind, &alert.at);
    let resource = AlertResource { r#type: "alert".to_owned(), id: id.to_owned(), attributes: alert };
    let document =
        serde_json::to_vec(&AlertDocument { data: resource }).map_err(|error| error.to_string())?;
    let body = Bytes::from(format.body(document));
    let headers = headers(entry, &format, &webhook_id, &body);
    let outgoing = Outgoing {
        method: Method::POST,
        url: &url,
        headers,
        body,
        deadline: DEADLINE,
        loopback_too,
        tls: None,
    };
    match sender.send(outgoing).await.outcome {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(format!("the URL answered {}", answer.status)),
        Err(failure) => Err(failure.to_string()),
    }
}

fn headers(entry: &TenantEntry, format: &Format, id: &str, body: &[u8]) -> HeaderMap {
    let now = chrono::Utc::now().timestamp_micros();
    let timestamp = now.div_euclid(1_000_000);
    let keys = entry.secrets.signing.iter().filter(|key| key.until.is_none_or(|until| now < until));
    let secrets = keys.filter_map(|key| SigningSecret::parse(key.secret.reveal()).ok());
    let signatures: Vec<String> = secrets.map(|secret| secret.sign(id, timestamp, body)).collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("Tidings/", env!("CARGO_PKG_VERSION"))));
    headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
    let signed = [("webhook-id", id.to_owned()), ("webhook-signature", signatures.join(" "))];
    for (name, value) in signed.iter().chain(&format.headers) {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(*name, value);
        }
    }
    headers
}
