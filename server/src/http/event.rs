//! From an event, as a producer posts it, to what is stored: checked, and its JSON put together for good.

mod pieces;

use std::ops::Range;
use std::sync::Arc;

use actix_web::web;
use chrono::Datelike as _;
use tidings_api::error::ErrorCode;
use tidings_api::event::{Change, EventData, NotStoredReason, Originator};
use tidings_api::event_type::EventType;
use tidings_api::jsonapi::RawResource;

use self::pieces::{array, check, extra, included_resources, linkage};
use super::error::Error;
use crate::directory::TenantEntry;
use crate::rules::condition::Answer;
use crate::rules::json;
use crate::rules::notification::{Content, Micros, StoredNotification};
use crate::rules::selection::{EventView, select};
use crate::store::error::StoreError;
use crate::store::seam::{Append, Idempotency, Queries, ResourceKind, Tenant, TenantId};

/// How often the settings are looked at again when they change while an event is stored.
pub(super) const DECISIONS: usize = 5;

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

/// What is stored under the key of an event.
pub(super) enum Before {
    /// Nothing, or nothing any more.
    Nothing,
    /// The same event.
    Same(StoredNotification),
    /// Another one.
    Another,
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

    /// Whether this is the event that was stored before, however it was written and whichever way it came.
    fn is(&self, stored: &Content) -> bool {
        let Content { event_type, created_at, received_at, comment, extra, entity, created_by, included } =
            &*self.content;
        // What came without a time has that of its receipt.
        let time = match created_at == received_at {
            true => stored.created_at == stored.received_at,
            false => *created_at == stored.created_at,
        };
        let object = |members: &str| format!("{{{members}}}");
        time && *event_type == stored.event_type
            && *comment == stored.comment
            && *entity == stored.entity
            && *created_by == stored.created_by
            && json::same(&object(extra), &object(&stored.extra))
            && json::same(included, &stored.included)
    }

    /// What is stored under the event's key already.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn before(
        &self,
        conn: &mut dyn Queries,
        tenant: TenantId,
        key: &Idempotency,
    ) -> Result<Before, StoreError> {
        let Some((sequence, body)) = conn.idempotency_find(tenant, &key.key)? else {
            return Ok(Before::Nothing);
        };
        Ok(match conn.notification_get(tenant, sequence)? {
            Some(stored) if body[..] == key.body[..] || self.is(&stored.content) => Before::Same(stored),
            Some(_) => Before::Another,
            None => Before::Nothing,
        })
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
