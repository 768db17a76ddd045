//! From an event, as a producer posts it, to what is stored: checked, and its JSON put together for good.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use actix_web::web;
use chrono::Datelike as _;
use tidings_api::error::ErrorCode;
use tidings_api::event::{
    Change, EventAttributes, EventData, EventRelationship, NotStoredReason, Originator,
};
use tidings_api::event_type::EventType;
use tidings_api::jsonapi::RawResource;

use super::error::Error;
use crate::directory::TenantEntry;
use crate::rules::condition::Answer;
use crate::rules::notification::{Content, Micros};
use crate::rules::selection::{EventView, select};
use crate::store::seam::{Append, Idempotency, ResourceKind, Tenant};

/// How often the settings are looked at again when they change while an event is stored.
pub(super) const DECISIONS: usize = 5;
const SHORT: usize = 255;
const MAX_ID: usize = 1000;
const MAX_COMMENT: usize = 100_000;
const MAX_INCLUDED: usize = 1000;
const MAX_COLUMNS: usize = 1000;

/// An event that can be stored.
pub(super) struct Event {
    /// Its type.
    pub(super) event_type: EventType,
    /// What is stored.
    pub(super) content: Arc<Content>,
    /// The producer's own id.
    pub(super) id: Option<String>,
    resources: Vec<(ResourceKind, String, bool)>,
    change: Option<Change>,
    originator: Option<Originator>,
    unit: Option<String>,
    /// Where its own data stands in what is stored.
    data: Option<Range<usize>>,
}

impl Event {
    /// Checks an event. Pointers of errors begin at `/data` and `/included`.
    ///
    /// # Errors
    /// The first member that can't be stored.
    pub(super) fn new(data: EventData, included: &[RawResource], now: Micros) -> Result<Event, Error> {
        if data.r#type != "notification" {
            let detail = format!("{:?} can't be posted here; `notification` can", data.r#type);
            return Err(Error::new(ErrorCode::Conflict, detail).at("/data/type"));
        }
        if data.id.is_some() {
            let detail = "the server assigns the id; use `eventId` for one of your own";
            return Err(Error::new(ErrorCode::NotChangeable, detail).at("/data/id"));
        }
        let attributes = data.attributes;
        check(&attributes)?;
        let created_at = match &attributes.created_at {
            Some(time) if !(1970..=9999).contains(&time.year()) => {
                return Err(Error::value(
                    "/data/attributes/createdAt",
                    "a year from 1970 to 9999 is expected",
                ));
            }
            Some(time) => time.timestamp_micros(),
            None => now,
        };
        let (extra, own) = extra(&attributes)?;
        let mut resources = included_resources(included)?;
        let relationships = data.relationships.unwrap_or_default();
        let entity = linkage(relationships.entity, "entity", "entity")?;
        let created_by = linkage(relationships.created_by, "createdBy", "user")?;
        for (kind, id) in [(ResourceKind::Entity, &entity), (ResourceKind::User, &created_by)] {
            if let Some(id) = id
                && !resources.iter().any(|(other, known, _)| *other == kind && known == id)
            {
                resources.push((kind, id.clone(), false));
            }
        }
        Ok(Event {
            content: Arc::new(Content {
                event_type: attributes.r#type.as_str().to_owned(),
                created_at,
                received_at: now,
                comment: attributes.comment,
                extra,
                entity,
                created_by,
                included: array(included),
            }),
            event_type: attributes.r#type,
            id: attributes.event_id,
            resources,
            change: attributes.change,
            originator: attributes.originator,
            unit: attributes.unit,
            data: own,
        })
    }

    /// What the tenant's rules see.
    fn view(&self) -> EventView<'_> {
        EventView {
            event_type: &self.event_type,
            created_at: self.content.created_at,
            comment: self.content.comment.as_deref(),
            data: self.data.clone().and_then(|range| self.content.extra.get(range)),
            change: self.change.as_ref(),
            originator: self.originator.as_ref(),
            unit: self.unit.as_deref(),
            entity: self.content.entity.as_deref(),
            created_by: self.content.created_by.as_deref(),
        }
    }

    /// Whether the tenant's settings select it; if not, why. Not for a thread that others wait for: with a condition it can
    /// take long.
    ///
    /// # Errors
    /// The setting that excludes it.
    pub(super) fn select(&self, entry: &TenantEntry) -> Result<(), NotStoredReason> {
        let view = self.view();
        select(&entry.settings, &view)?;
        match &entry.condition {
            Some(condition) if !condition.selects(&view) => Err(NotStoredReason::ConditionNotMet),
            _ => Ok(()),
        }
    }

    /// Whether the tenant's settings select it; if not, why. A condition that takes long is run on another thread.
    ///
    /// # Errors
    /// The setting that excludes it.
    pub(super) async fn selected(self: &Arc<Self>, entry: &Arc<TenantEntry>) -> Result<(), NotStoredReason> {
        let view = self.view();
        select(&entry.settings, &view)?;
        match entry.condition.as_ref().map(|condition| condition.quickly(&view)) {
            None | Some(Answer::Selected) => Ok(()),
            Some(Answer::NotMet) => Err(NotStoredReason::ConditionNotMet),
            Some(Answer::TakesLonger) => {
                let (event, entry) = (self.clone(), entry.clone());
                // Without threads the server is about to stop; then it is better selected than lost.
                web::block(move || event.select(&entry)).await.unwrap_or(Ok(()))
            }
        }
    }

    /// What the store is asked to keep, for a tenant with these settings.
    pub(super) fn append(
        &self,
        tenant: &Tenant,
        idempotency: Option<Idempotency>,
        has_url: bool,
        push_now: bool,
        fifo: bool,
    ) -> Append {
        Append {
            tenant: tenant.id,
            version: tenant.version,
            content: self.content.clone(),
            resources: self.resources.clone(),
            idempotency,
            has_url,
            push_now,
            fifo,
        }
    }
}

/// A text of at most so many characters.
fn bounded(text: &str, most: usize, pointer: &str) -> Result<(), Error> {
    // No text has more characters than bytes.
    if text.len() <= most || text.chars().count() <= most {
        return Ok(());
    }
    Err(Error::value(pointer, format!("at most {most} characters are expected")))
}

/// An id: counted in bytes, because it is kept in an index, whose entries are bounded in both databases.
fn named(text: &str, most: usize, pointer: &str) -> Result<(), Error> {
    if (1..=most).contains(&text.len()) {
        return Ok(());
    }
    Err(Error::value(pointer, format!("1 to {most} bytes are expected")))
}

fn check(attributes: &EventAttributes) -> Result<(), Error> {
    if let Some(comment) = &attributes.comment {
        bounded(comment, MAX_COMMENT, "/data/attributes/comment")?;
    }
    if let Some(unit) = &attributes.unit {
        bounded(unit, SHORT, "/data/attributes/unit")?;
    }
    if let Some(id) = &attributes.event_id {
        named(id, SHORT, "/data/attributes/eventId")?;
    }
    if let Some(Change { table, columns, record_id, .. }) = &attributes.change {
        bounded(table, SHORT, "/data/attributes/change/table")?;
        if columns.len() > MAX_COLUMNS {
            return Err(Error::value(
                "/data/attributes/change/columns",
                "at most 1,000 columns are expected",
            ));
        }
        for (index, column) in columns.iter().enumerate() {
            bounded(column, SHORT, &format!("/data/attributes/change/columns/{index}"))?;
        }
        if let Some(record) = record_id {
            bounded(record, SHORT, "/data/attributes/change/recordId")?;
        }
    }
    if let Some(Originator { account_id, group_id, user_id }) = &attributes.originator {
        for (text, name) in [(account_id, "accountId"), (group_id, "groupId"), (user_id, "userId")] {
            if let Some(text) = text {
                bounded(text, SHORT, &format!("/data/attributes/originator/{name}"))?;
            }
        }
    }
    Ok(())
}

/// The optional attributes as members of a JSON object, without its braces; and where in it the event's own data stands.
fn extra(attributes: &EventAttributes) -> Result<(String, Option<Range<usize>>), Error> {
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| {
            tracing::error!(%error, "an event can't be written as JSON");
            Error::internal()
        })
    };
    let mut extra = String::new();
    let mut member = |name: &str, json: &str| -> Range<usize> {
        if !extra.is_empty() {
            extra.push(',');
        }
        extra.push('"');
        extra.push_str(name);
        extra.push_str("\":");
        extra.push_str(json);
        extra.len() - json.len()..extra.len()
    };
    let data = attributes.data.as_ref().map(|data| member("data", data.get()));
    if let Some(change) = &attributes.change {
        member("change", &json(serde_json::to_string(change))?);
    }
    if let Some(originator) = &attributes.originator {
        member("originator", &json(serde_json::to_string(originator))?);
    }
    if let Some(unit) = &attributes.unit {
        member("unit", &json(serde_json::to_string(unit))?);
    }
    Ok((extra, data))
}

fn included_resources(included: &[RawResource]) -> Result<Vec<(ResourceKind, String, bool)>, Error> {
    if included.len() > MAX_INCLUDED {
        return Err(Error::value("/included", "at most 1,000 resources are expected"));
    }
    let mut seen = HashSet::with_capacity(included.len());
    let mut resources = Vec::with_capacity(included.len() + 2);
    for (index, resource) in included.iter().enumerate() {
        let identifier = &resource.identifier;
        let kind = match identifier.r#type.as_str() {
            "user" => ResourceKind::User,
            "entity" => ResourceKind::Entity,
            other => {
                let detail = format!("{other:?} can't be included; `user` and `entity` can");
                return Err(Error::value(format!("/included/{index}/type"), detail));
            }
        };
        named(&identifier.id, MAX_ID, &format!("/included/{index}/id"))?;
        if !seen.insert((kind, identifier.id.as_str())) {
            return Err(Error::value(format!("/included/{index}"), "this resource is included twice"));
        }
        resources.push((kind, identifier.id.clone(), true));
    }
    Ok(resources)
}

fn linkage(relationship: Option<EventRelationship>, name: &str, kind: &str) -> Result<Option<String>, Error> {
    let Some(EventRelationship { data, .. }) = relationship else { return Ok(None) };
    if data.r#type != kind {
        let pointer = format!("/data/relationships/{name}/data/type");
        return Err(Error::value(pointer, format!("`{kind}` is expected")));
    }
    named(&data.id, MAX_ID, &format!("/data/relationships/{name}/data/id"))?;
    Ok(Some(data.id))
}

fn array(included: &[RawResource]) -> String {
    if included.is_empty() {
        return String::new();
    }
    let mut text =
        String::with_capacity(included.iter().map(|resource| resource.get().len() + 1).sum::<usize>() + 1);
    for (index, resource) in included.iter().enumerate() {
        text.push(if index == 0 { '[' } else { ',' });
        text.push_str(resource.get());
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidings_api::error::ErrorSource;
    use tidings_api::event::EventDocument;

    use super::*;

    fn event(document: Value) -> Result<Event, Error> {
        let document: EventDocument = serde_json::from_value(document).unwrap();
        Event::new(document.data, &document.included, 7)
    }

    #[test]
    fn an_event_becomes_what_is_stored() {
        let event = event(json!({
            "data": {"type": "notification",
                "attributes": {"type": "close", "comment": "c", "data": {"b": 1, "a": 2}, "unit": "u\"",
                    "change": {"table": "t", "type": "update", "columns": ["x"]}, "originator": {"userId": "9"}},
                "relationships": {"entity": {"data": {"type": "entity", "id": "e:1"}},
                    "createdBy": {"data": {"type": "user", "id": "100"}, "links": {}}}},
            "included": [{"type": "user", "id": "100", "attributes": {}}, {"type": "entity", "id": "e:2"}]
        }))
        .unwrap();
        let content = &event.content;
        assert_eq!((content.created_at, content.received_at), (7, 7));
        let extra: Value = serde_json::from_str(&format!("{{{}}}", content.extra)).unwrap();
        assert_eq!(extra["data"], json!({"b": 1, "a": 2}));
        assert_eq!(extra["change"], json!({"table": "t", "type": "update", "columns": ["x"]}));
        assert_eq!((&extra["originator"], &extra["unit"]), (&json!({"userId": "9"}), &json!("u\"")));
        assert_eq!(serde_json::from_str::<Vec<Value>>(&content.included).unwrap().len(), 2);
        let named = |kind, id: &str, included| (kind, id.to_owned(), included);
        let expected = [
            named(ResourceKind::User, "100", true),
            named(ResourceKind::Entity, "e:2", true),
            named(ResourceKind::Entity, "e:1", false),
        ];
        assert_eq!(event.resources, expected);
    }

    #[test]
    fn what_can_not_be_stored_is_named() {
        let long = |n: usize| "ü".repeat(n);
        let attributes = |name: &str, value: Value| {
            let mut attributes = json!({"type": "close"});
            attributes[name] = value;
            json!({"data": {"type": "notification", "attributes": attributes}})
        };
        let with = |name: &str, value: Value| {
            let mut document = attributes("type", json!("close"));
            document["data"][name] = value;
            document
        };
        let included = |included: Value| {
            let mut document = attributes("type", json!("close"));
            document["included"] = included;
            document
        };
        for (document, status, pointer) in [
            (with("type", json!("user")), "409", "/data/type"),
            (with("id", json!("5")), "403", "/data/id"),
            (attributes("comment", json!(long(100_001))), "422", "/data/attributes/comment"),
            (attributes("unit", json!(long(256))), "422", "/data/attributes/unit"),
            (attributes("eventId", json!("")), "422", "/data/attributes/eventId"),
            (attributes("createdAt", json!("1969-12-31T23:59:59Z")), "422", "/data/attributes/createdAt"),
            (
                attributes("change", json!({"table": "t", "type": "insert", "columns": ["a", long(256)]})),
                "422",
                "/data/attributes/change/columns/1",
            ),
            (
                attributes("originator", json!({"groupId": long(256)})),
                "422",
                "/data/attributes/originator/groupId",
            ),
            (
                with("relationships", json!({"entity": {"data": {"type": "experiment", "id": "1"}}})),
                "422",
                "/data/relationships/entity/data/type",
            ),
            (
                with("relationships", json!({"createdBy": {"data": {"type": "user", "id": long(1001)}}})),
                "422",
                "/data/relationships/createdBy/data/id",
            ),
            (included(json!([{"type": "task", "id": "1"}])), "422", "/included/0/type"),
            (included(json!([{"type": "user", "id": ""}])), "422", "/included/0/id"),
            (
                included(json!([{"type": "user", "id": "1"}, {"type": "user", "id": "1"}])),
                "422",
                "/included/1",
            ),
        ] {
            let error = event(document.clone()).err().unwrap_or_else(|| panic!("{document} was taken"));
            let source = Some(ErrorSource::Pointer(pointer.into()));
            assert_eq!(
                (error.object().status.as_str(), &error.object().source),
                (status, &source),
                "{document}"
            );
        }
        assert!(event(attributes("comment", json!(long(100_000)))).is_ok(), "characters count, not bytes");
        assert!(event(attributes("comment", json!(""))).is_ok());
    }
}
