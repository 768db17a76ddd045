//! The body of a push: the document of a notification, with the fields that the tenant wants, and no larger than it may be.
//!
//! It shapes pushes only; what is pulled is always the whole. What is kept passes through as it was posted.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;
use tidings_api::settings::{Detail, PayloadSettings};

use super::document::{Shape, Writer};
use super::format::Format;
use super::json;
use super::notification::{Content, StoredNotification};

/// What every push has.
const ALWAYS: [&str; 6] = ["id", "createdAt", "type", "isDismissed", "isRead", "isFlagged"];
/// What else it can have.
const PARTS: [&str; 8] =
    ["comment", "data", "change", "originator", "unit", "entity", "createdBy", "included"];

/// A body that is too large, without its optional fields too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body of the push has {bytes} bytes; at most {limit} are allowed")]
pub struct TooLarge {
    /// Its size.
    pub bytes: usize,
    /// The largest that is allowed.
    pub limit: usize,
}

/// The body of a push in this format.
///
/// # Errors
/// When it is too large.
pub fn body(
    settings: &PayloadSettings,
    format: &Format,
    writer: &Writer<'_>,
    notification: &StoredNotification,
) -> Result<Vec<u8>, TooLarge> {
    let limit = usize::try_from(settings.max_bytes).unwrap_or(usize::MAX);
    let left = limit.saturating_sub(format.size());
    let document = document(settings, writer, notification, left);
    document
        .map(|document| format.body(document))
        .map_err(|bytes| TooLarge { bytes: bytes + format.size(), limit })
}

/// The fields that are pushed of an event of this type; none: all.
fn fields<'a>(settings: &'a PayloadSettings, event_type: &str) -> Option<&'a Vec<String>> {
    settings.fields.get(event_type).or_else(|| settings.fields.get("*"))
}

/// Whether a push of an event of this type names its entity.
pub fn shows_entity(settings: &PayloadSettings, event_type: &str) -> bool {
    let fields = fields(settings, event_type).filter(|_| settings.detail == Detail::Full);
    fields.is_none_or(|fields| fields.iter().any(|field| field == "entity"))
}

/// The document that is pushed.
///
/// # Errors
/// Its size, when it is larger than allowed without its optional fields too.
fn document(
    settings: &PayloadSettings,
    writer: &Writer<'_>,
    notification: &StoredNotification,
    limit: usize,
) -> Result<Vec<u8>, usize> {
    let content = &*notification.content;
    let fields = fields(settings, &content.event_type);
    if settings.detail == Detail::Full && fields.is_none() {
        // The usual case: nothing is looked into.
        let body = writer.document(notification);
        if body.len() <= limit {
            return Ok(body);
        }
    }
    let attributes = format!("{{{}}}", content.extra);
    let mut parts = Parts::new(content, &attributes);
    match (settings.detail, fields) {
        (Detail::Thin, _) => parts.shown = vec!["entity", "createdBy"],
        (Detail::Full, Some(fields)) => parts.keep(fields),
        (Detail::Full, None) => {}
    }
    let mut trimmed: Vec<&str> = Vec::new();
    let mut optional = settings.optional_fields.iter();
    loop {
        let body = parts.write(writer, notification, &trimmed);
        if body.len() <= limit {
            return Ok(body);
        }
        // What a field takes is rated too high rather than too low: so none is dropped that could have stayed, and the
        // body is written again only a few times.
        let (mut expected, before) = (body.len(), trimmed.len());
        while expected > limit
            && let Some(field) = optional.next()
        {
            if let Some(size) = parts.drop(field, writer.base) {
                trimmed.push(field);
                expected = expected.saturating_sub(size);
            }
        }
        if trimmed.len() == before {
            return Err(body.len());
        }
    }
}

/// A member of a JSON object.
type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// What is pushed of a notification.
struct Parts<'a> {
    content: &'a Content,
    /// The optional attributes.
    attributes: Vec<Member<'a>>,
    /// Which of [`PARTS`] are pushed.
    shown: Vec<&'static str>,
    /// The members of the event's own data that are pushed; none: all.
    data: Option<Vec<Member<'a>>>,
}

/// The part that a field names; none: it names a member of the event's own data.
fn part(field: &str) -> Option<&'static str> {
    PARTS.into_iter().find(|part| *part == field)
}

/// The member of the event's own data that a field names.
fn data_member(field: &str) -> &str {
    field.strip_prefix("data.").unwrap_or(field)
}

impl<'a> Parts<'a> {
    fn new(content: &'a Content, attributes: &'a str) -> Self {
        Parts { content, attributes: json::members(attributes), shown: PARTS.to_vec(), data: None }
    }

    /// The members of the event's own data that are pushed.
    fn data(&mut self) -> &mut Vec<Member<'a>> {
        let data = self.attributes.iter().find(|(name, _)| name == "data").map(|(_, data)| *data);
        self.data.get_or_insert_with(|| data.map(|data| json::members(data.get())).unwrap_or_default())
    }

    /// Leaves out all but these fields.
    fn keep(&mut self, fields: &[String]) {
        self.shown = fields.iter().filter_map(|field| part(field)).collect();
        if self.shown.contains(&"data") || self.shown.len() == fields.len() {
            return;
        }
        self.shown.push("data");
        self.data().retain(|(name, _)| {
            fields.iter().any(|field| part(field).is_none() && data_member(field) == name)
        });
    }

    /// Leaves out a field. Answers with at least the bytes that it takes in the body; none if it wasn't there.
    fn drop(&mut self, field: &str, base: &str) -> Option<usize> {
        // Everything that stands around a value, and what escaping makes of a byte.
        const AROUND: usize = 200;
        const ESCAPED: usize = 6;
        let Some(part) = part(field) else {
            if !self.shown.contains(&"data") {
                return None;
            }
            let name = data_member(field);
            let data = self.data();
            let size: usize =
                data.iter().filter(|(known, _)| known == name).map(|(_, raw)| raw.get().len()).sum();
            data.retain(|(known, _)| known != name);
            return (size > 0).then_some(AROUND + ESCAPED * name.len() + size);
        };
        let index = self.shown.iter().position(|shown| *shown == part)?;
        let related = |id: &Option<String>| id.as_ref().map(|id| base.len() + 2 * ESCAPED * id.len());
        let size = match part {
            "comment" => self.content.comment.as_ref().map(|comment| ESCAPED * comment.len()),
            "entity" => related(&self.content.entity),
            "createdBy" => related(&self.content.created_by),
            "included" => Some(self.content.included.len()).filter(|size| *size > 0),
            name => self.attributes.iter().find(|(known, _)| known == name).map(|(_, raw)| raw.get().len()),
        };
        self.shown.remove(index);
        size.map(|size| AROUND + size)
    }

    /// The body; `trimmed` names what was dropped because it would have been too large.
    fn write(&self, writer: &Writer<'_>, notification: &StoredNotification, trimmed: &[&str]) -> Vec<u8> {
        let shape = Shape {
            notification: Some(ALWAYS.iter().chain(&self.shown).map(|name| (*name).to_owned()).collect()),
            include: (!self.shown.contains(&"included")).then(Vec::new),
            ..Shape::default()
        };
        let writer = Writer { shape: &shape, ..*writer };
        let mut body = match &self.data {
            Some(data) => writer.document(&self.with_data(notification, data)),
            None => writer.document(notification),
        };
        if !trimmed.is_empty() {
            body.pop();
            body.extend_from_slice(b",\"meta\":{\"conditionalParametersTrimmed\":");
            for (index, field) in trimmed.iter().enumerate() {
                body.push(if index == 0 { b'[' } else { b',' });
                json::string(&mut body, field);
            }
            body.extend_from_slice(b"]}}");
        }
        body
    }

    /// The notification with this as the event's own data.
    fn with_data(&self, notification: &StoredNotification, data: &[Member<'a>]) -> StoredNotification {
        let mut extra = Vec::with_capacity(self.content.extra.len());
        for (name, value) in &self.attributes {
            if !extra.is_empty() {
                extra.push(b',');
            }
            json::string(&mut extra, name);
            extra.push(b':');
            match name.as_ref() {
                "data" => json::object(&mut extra, data.iter().cloned()),
                _ => extra.extend_from_slice(value.get().as_bytes()),
            }
        }
        let extra = String::from_utf8(extra).expect("it is put together from texts");
        StoredNotification {
            content: Arc::new(Content { extra, ..self.content.clone() }),
            ..notification.clone()
        }
    }
}

#[cfg(test)]
mod tests;
