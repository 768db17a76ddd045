//! The format of what is sent to a tenant's URLs: a document as it is, or a CloudEvent (1.0) that has it as its data.
//!
//! The attributes of an event, each chosen so that it is the same for every attempt, whichever node makes it:
//!
//! - `id` is the `webhook-id`, so that there is one name for a push whatever it is read with.
//! - `source` is the tenant, as a URN. It is no URL of the server: that differs between nodes which were not told their
//!   public one, and changes when the server moves; a receiver takes equal `source` and `id` for the same event.
//! - `type` is the event's own, as it was posted, so that rules about types are the same here and there. The
//!   specification wants the domain of who defines it before it; that is the producer, who can name it so.
//! - `sequence` must be in order as text and stands for a number of 64 bits: it has zeros before it. The sequence type
//!   `Integer` is one of 32 bits, which begins anew, so none is given.

use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tidings_api::alert::AlertKind;
use tidings_api::settings::{PayloadFormat, Settings};

use super::document::rfc3339;
use super::json;
use super::notification::StoredNotification;
use super::payload;

/// The media type of a CloudEvent in the structured mode.
pub const CLOUD_EVENT: &str = "application/cloudevents+json";

/// What is encoded in a header of the binary mode (HTTP binding, 3.1.3.2), besides all that isn't ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The `webhook-id` of a notification.
pub fn message_id(tenant: &str, sequence: i64) -> String {
    format!("msg_{tenant}_{sequence}")
}

/// The attributes of an event, under the names of their headers.
type Attributes = Vec<(&'static str, String)>;

/// How one document is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The header `Content-Type`.
    pub content_type: &'static str,
    /// The headers that belong to the document.
    pub headers: Vec<(&'static str, String)>,
    /// What stands before the document in the body; empty where nothing stands around it.
    head: Vec<u8>,
}

impl Format {
    /// That of a notification's push. `tenant` is its id on the wire, and `id` the `webhook-id`.
    pub fn of_push(settings: &Settings, tenant: &str, id: &str, notification: &StoredNotification) -> Self {
        let content = &*notification.content;
        Self::new(settings.payload.format, settings.push.content_type.as_str(), || {
            let mut attributes =
                attributes(tenant, id, content.event_type.clone(), rfc3339(content.created_at));
            attributes.push(("ce-sequence", format!("{:019}", notification.sequence)));
            let shown = payload::shows_entity(&settings.payload, &content.event_type);
            if let Some(entity) = content.entity.as_ref().filter(|entity| shown && is_allowed(entity)) {
                attributes.push(("ce-subject", entity.clone()));
            }
            attributes
        })
    }

    /// That of an alert.
    pub fn of_alert(
        settings: &Settings,
        tenant: &str,
        id: &str,
        kind: AlertKind,
        at: &DateTime<Utc>,
    ) -> Self {
        Self::new(settings.payload.format, "application/json", || {
            attributes(tenant, id, format!("tidings.alert.{}", kind.as_str()), tidings_api::time::format(at))
        })
    }

    fn new(format: PayloadFormat, media_type: &'static str, attributes: impl FnOnce() -> Attributes) -> Self {
        let bare = Format { content_type: media_type, headers: Vec::new(), head: Vec::new() };
        match format {
            PayloadFormat::JsonApi => bare,
            PayloadFormat::CloudEvents => {
                Format { content_type: CLOUD_EVENT, head: head(&attributes(), media_type), ..bare }
            }
            PayloadFormat::CloudEventsBinary => {
                let encoded = |value: String| utf8_percent_encode(&value, ENCODED).to_string();
                let headers = attributes().into_iter().map(|(name, value)| (name, encoded(value)));
                Format { headers: headers.collect(), ..bare }
            }
        }
    }

    /// How many bytes a body has more than its document.
    pub fn size(&self) -> usize {
        if self.head.is_empty() { 0 } else { self.head.len() + 1 }
    }

    /// The body with this document.
    pub fn body(&self, document: Vec<u8>) -> Vec<u8> {
        if self.head.is_empty() {
            return document;
        }
        let mut body = Vec::with_capacity(document.len() + self.size());
        body.extend_from_slice(&self.head);
        body.extend_from_slice(&document);
        body.push(b'}');
        body
    }
}

/// What every event has.
fn attributes(tenant: &str, id: &str, event_type: String, time: String) -> Attributes {
    vec![
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", id.to_owned()),
        ("ce-source", format!("urn:uuid:{tenant}")),
        ("ce-type", event_type),
        ("ce-time", time),
    ]
}

/// The beginning of an event in the JSON format, up to its data.
fn head(attributes: &Attributes, media_type: &str) -> Vec<u8> {
    let mut out = vec![b'{'];
    let named = attributes.iter().map(|(name, value)| (name.trim_start_matches("ce-"), value.as_str()));
    for (name, value) in named.chain([("datacontenttype", media_type)]) {
        json::string(&mut out, name);
        out.push(b':');
        json::string(&mut out, value);
        out.push(b',');
    }
    out.extend_from_slice(b"\"data\":");
    out
}

/// Whether an attribute may have this text: control characters and what Unicode calls noncharacters are not allowed.
fn is_allowed(text: &str) -> bool {
    let is_character = |c: char| u32::from(c) & 0xFFFE != 0xFFFE && !('\u{FDD0}'..='\u{FDEF}').contains(&c);
    text.chars().all(|c| !c.is_control() && is_character(c))
}

#[cfg(test)]
mod tests;
