//! Documents as they are sent: a notification, a page of them, the body of a push.
//!
//! They are put together as text around the JSON that is stored, which is passed through as it is. Only sparse
//! fieldsets and the merging of `included` look inside it.

use std::collections::HashMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use tidings_api::STRICT_PROFILE;
use tidings_api::notification::PushStatus;

use super::json::{self, string};
use super::notification::{Micros, StoredNotification};

/// What may stand in a path segment as it is (RFC 3986, `pchar`).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// An id as a path segment.
pub fn segment(id: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(id, SEGMENT)
}

/// What of the related resources is included, and what of everything is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// `include`: the relationships whose resources are wanted; none: everything that came with the event.
    pub include: Option<Vec<Related>>,
    /// `fields[notification]`.
    pub notification: Option<Vec<String>>,
    /// `fields[user]`.
    pub user: Option<Vec<String>>,
    /// `fields[entity]`.
    pub entity: Option<Vec<String>>,
    /// By the strict profile: as JSON:API 1.1 has it, where Signals Notebook has it otherwise.
    pub strict: bool,
}

/// A relationship of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Related {
    /// Who caused the event.
    CreatedBy,
    /// What it happened to.
    Entity,
}

impl Shape {
    fn shows(&self, member: &str) -> bool {
        self.notification.as_ref().is_none_or(|fields| fields.iter().any(|field| field == member))
    }

    fn fields_of(&self, kind: &str) -> Option<&[String]> {
        match kind {
            "user" => self.user.as_deref(),
            "entity" => self.entity.as_deref(),
            _ => None,
        }
    }

    fn includes(&self, notification: &StoredNotification, kind: &str, id: &str) -> bool {
        // Full linkage: nothing is included that no relationship leads to.
        let all = self.strict.then_some(&[Related::CreatedBy, Related::Entity][..]);
        self.include.as_deref().or(all).is_none_or(|include| {
            include.iter().any(|related| match related {
                Related::CreatedBy => {
                    kind == "user" && notification.content.created_by.as_deref() == Some(id)
                }
                Related::Entity => kind == "entity" && notification.content.entity.as_deref() == Some(id),
            })
        })
    }
}

/// How documents are written: where links lead, and what is shown.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// What every link begins with: scheme, host and base path.
    pub base: &'a str,
    /// What is shown.
    pub shape: &'a Shape,
    /// Whether the tenant's push is active; none leaves `meta` out, as in the body of a push.
    pub push_is_active: Option<bool>,
}

/// The links and the cursor of a page, as they are to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageFrame {
    /// The link to this page.
    pub this: String,
    /// The link to the first page.
    pub first: String,
    /// The link to the page before.
    pub prev: Option<String>,
    /// The link to the page after.
    pub next: Option<String>,
    /// Where to go on; none under offset paging, which leaves out the links that lead nowhere.
    pub after: Option<String>,
}

/// A resource object of `included`, as it is stored.
#[derive(Deserialize)]
struct Included<'a> {
    #[serde(borrow)]
    r#type: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

impl Writer<'_> {
    /// The document of one notification.
    pub fn document(&self, notification: &StoredNotification) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024 + notification.content.size());
        self.begin(&mut out);
        out.extend_from_slice(b"\"links\":{\"self\":");
        self.link(&mut out, "notifications", &notification.sequence.to_string());
        out.extend_from_slice(b"},\"data\":");
        self.resource(&mut out, notification);
        out.extend_from_slice(b",\"included\":");
        let Shape { include, user, entity, strict, .. } = self.shape;
        let plain = include.is_none() && user.is_none() && entity.is_none() && !strict;
        if plain && !notification.content.included.is_empty() {
            out.extend_from_slice(notification.content.included.as_bytes());
        } else {
            self.included(&mut out, std::slice::from_ref(notification));
        }
        out.push(b'}');
        out
    }

    /// The document of a page.
    pub fn page(&self, notifications: &[StoredNotification], frame: &PageFrame) -> Vec<u8> {
        let size: usize = notifications.iter().map(|notification| 700 + notification.content.size()).sum();
        let mut out = Vec::with_capacity(512 + size);
        self.begin(&mut out);
        out.extend_from_slice(b"\"links\":{\"self\":");
        string(&mut out, &frame.this);
        out.extend_from_slice(b",\"first\":");
        string(&mut out, &frame.first);
        for (name, link) in [("prev", &frame.prev), ("next", &frame.next)] {
            match link {
                Some(link) => {
                    member(&mut out, name);
                    string(&mut out, link);
                }
                None if frame.after.is_some() => {
                    member(&mut out, name);
                    out.extend_from_slice(b"null");
                }
                None => {}
            }
        }
        out.extend_from_slice(b"},\"data\":[");
        for (index, notification) in notifications.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.resource(&mut out, notification);
        }
        out.extend_from_slice(b"],\"included\":");
        self.included(&mut out, notifications);
        if let Some(after) = &frame.after {
            out.extend_from_slice(b",\"meta\":{\"page\":{\"after\":");
            string(&mut out, after);
            out.extend_from_slice(b"}}");
        }
        out.push(b'}');
        out
    }

    /// The beginning of a document; under the profile it says so.
    fn begin(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        if self.shape.strict {
            out.extend_from_slice(b"\"jsonapi\":{\"version\":\"1.1\",\"profile\":[");
            string(out, STRICT_PROFILE);
            out.extend_from_slice(b"]},");
        }
    }

    /// The resource object of one notification.
    pub fn resource(&self, out: &mut Vec<u8>, notification: &StoredNotification) {
        let (content, state) = (&*notification.content, &notification.state);
        let id = notification.sequence.to_string();
        out.extend_from_slice(b"{\"type\":\"notification\",\"id\":\"");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\",\"links\":{\"self\":");
        self.link(out, "notifications", &id);
        out.extend_from_slice(b"},\"attributes\":{");
        let start = out.len();
        let mut attribute = |name: &str, write: &dyn Fn(&mut Vec<u8>)| {
            if self.shape.shows(name) {
                if out.len() > start {
                    out.push(b',');
                }
                out.push(b'"');
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                write(out);
            }
        };
        if !self.shape.strict {
            attribute("id", &|out| string(out, &id));
        }
        attribute("createdAt", &|out| time(out, content.created_at));
        let event_type = if self.shape.strict { "eventType" } else { "type" };
        attribute(event_type, &|out| string(out, &content.event_type));
        attribute("isDismissed", &|out| boolean(out, state.is_dismissed));
        attribute("isRead", &|out| boolean(out, state.is_read));
        attribute("isFlagged", &|out| boolean(out, state.is_flagged));
        attribute("comment", &|out| match &content.comment {
            Some(comment) => string(out, comment),
            None => out.extend_from_slice(b"null"),
        });
        if self.shape.notification.is_none() {
            if !content.extra.is_empty() {
                out.push(b',');
                out.extend_from_slice(content.extra.as_bytes());
            }
        } else {
            for (name, value) in json::members(&format!("{{{}}}", content.extra)) {
                attribute(&name, &|out| out.extend_from_slice(value.get().as_bytes()));
            }
        }
        out.extend_from_slice(b"},\"relationships\":{");
        let start = out.len();
        let related = [
            ("createdBy", "user", "users", &content.created_by),
            ("entity", "entity", "entities", &content.entity),
        ];
        for (name, kind, path, id) in related {
            let Some(id) = id.as_ref().filter(|_| self.shape.shows(name)) else { continue };
            if out.len() > start {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":{\"links\":{\"");
            out.extend_from_slice(if self.shape.strict { b"related" } else { b"self" });
            out.extend_from_slice(b"\":");
            self.link(out, path, id);
            out.extend_from_slice(b"},\"data\":{\"type\":\"");
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(b"\",\"id\":");
            string(out, id);
            out.extend_from_slice(b"}}");
        }
        out.push(b'}');
        if let Some(push_is_active) = self.push_is_active {
            out.extend_from_slice(b",\"meta\":{\"receivedAt\":");
            time(out, content.received_at);
            member(out, "push");
            let push = PushStatus {
                state: state.push.state(push_is_active),
                attempts: state.attempts,
                next_attempt_at: state
                    .next_attempt_at
                    .filter(|_| push_is_active)
                    .and_then(chrono::DateTime::from_timestamp_micros),
            };
            serde_json::to_writer(&mut *out, &push).expect("a status is always written to memory");
            out.push(b'}');
        }
        out.push(b'}');
    }

    /// The users and entities of the notifications, each once; where copies differ, that of the largest sequence.
    fn included(&self, out: &mut Vec<u8>, notifications: &[StoredNotification]) {
        let mut order: Vec<(&str, String)> = Vec::new();
        let mut newest: HashMap<(String, String), (i64, usize)> = HashMap::new();
        for notification in
            notifications.iter().filter(|notification| !notification.content.included.is_empty())
        {
            let raw: Vec<&RawValue> =
                serde_json::from_str(&notification.content.included).unwrap_or_default();
            for raw in raw {
                let Ok(head) = serde_json::from_str::<Included<'_>>(raw.get()) else { continue };
                if !self.shape.includes(notification, &head.r#type, &head.id) {
                    continue;
                }
                let key = (head.r#type.clone().into_owned(), head.id.into_owned());
                match newest.get_mut(&key) {
                    Some((sequence, index)) if *sequence < notification.sequence => {
                        *sequence = notification.sequence;
                        if let Some(place) = order.get_mut(*index) {
                            place.0 = raw.get();
                        }
                    }
                    Some(_) => {}
                    None => {
                        newest.insert(key, (notification.sequence, order.len()));
                        order.push((raw.get(), head.r#type.into_owned()));
                    }
                }
            }
        }
        out.push(b'[');
        for (index, (raw, kind)) in order.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match self.shape.fields_of(kind) {
                None if !self.shape.strict => out.extend_from_slice(raw.as_bytes()),
                fields => sparse(out, raw, |field| {
                    fields.is_none_or(|fields| fields.iter().any(|wanted| wanted == field))
                        && (!self.shape.strict || is_field(field))
                }),
            }
        }
        out.push(b']');
    }

    fn link(&self, out: &mut Vec<u8>, path: &str, id: &str) {
        string(out, &format!("{}/{path}/{}", self.base, segment(id)));
    }
}

/// Whether a field may have this name: `type` and `id` are the resource's own (JSON:API 1.1, "Fields").
pub fn is_field(name: &str) -> bool {
    !matches!(name, "type" | "id")
}

/// A resource object with only the fields that are shown, among its attributes and relationships.
pub fn sparse(out: &mut Vec<u8>, resource: &str, shows: impl Fn(&str) -> bool) {
    out.push(b'{');
    for (index, (name, value)) in json::members(resource).into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, &name);
        out.push(b':');
        if name == "attributes" || name == "relationships" {
            let kept = json::members(value.get()).into_iter();
            json::object(out, kept.filter(|(name, _)| shows(name)));
        } else {
            out.extend_from_slice(value.get().as_bytes());
        }
    }
    out.push(b'}');
}

fn member(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn time(out: &mut Vec<u8>, time: Micros) {
    out.push(b'"');
    out.extend_from_slice(rfc3339(time).as_bytes());
    out.push(b'"');
}

/// A stored time as it is written on the wire.
pub fn rfc3339(time: Micros) -> String {
    tidings_api::time::format(&chrono::DateTime::from_timestamp_micros(time).unwrap_or_default())
}

#[cfg(test)]
mod tests;
