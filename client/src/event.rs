//! Events, as a producer writes them, and what became of them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tidings_api::event::{
    Change, EventAttributes, EventData, EventDocument, EventRelationship, EventRelationships,
    NotStoredReason, Originator,
};
use tidings_api::event_type::{EventType, InvalidEventType};
use tidings_api::jsonapi::{Identifier, RawObject, RawResource};
use tidings_api::notification::NotificationDocument;

use crate::Error;

/// Something that happened, to be posted with [`Client::post`](crate::Client::post).
#[derive(Clone, Debug)]
#[must_use = "an event does nothing until it is posted"]
pub struct Event {
    pub(crate) attributes: EventAttributes,
    entity: Option<Resource>,
    created_by: Option<Resource>,
    included: Vec<RawResource>,
}

impl Event {
    /// An event of a type: one of Signals Notebook's, or any name of `[A-Za-z0-9_.-]{1,100}`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the type is no such name.
    pub fn new(event_type: &str) -> Result<Self, Error> {
        let r#type: EventType =
            event_type.parse().map_err(|error: InvalidEventType| Error::Invalid(error.to_string()))?;
        Ok(Event {
            attributes: EventAttributes {
                r#type,
                created_at: None,
                comment: None,
                data: None,
                change: None,
                originator: None,
                unit: None,
                event_id: None,
            },
            entity: None,
            created_by: None,
            included: Vec::new(),
        })
    }

    /// An event that is a document already, as [`Event::into_document`] makes them and `POST /notifications` takes them.
    ///
    /// # Errors
    /// [`Error::Invalid`] when its `type` or that of a relationship is another than the server takes, or when it has
    /// an id: the server assigns that.
    pub fn from_document(document: EventDocument) -> Result<Self, Error> {
        let EventDocument { data, included, .. } = document;
        let EventData { r#type, id, attributes, relationships } = data;
        let invalid = |why: &str| Err(Error::Invalid(why.to_owned()));
        if r#type != "notification" {
            return invalid("the `type` of an event's `data` is `notification`");
        }
        if id.is_some() {
            return invalid("an event has no `id` before it is posted; its own is `attributes.eventId`");
        }
        let EventRelationships { entity, created_by } = relationships.unwrap_or_default();
        let is = |related: &Option<EventRelationship>, r#type: &str| {
            related.as_ref().is_none_or(|related| related.data.r#type == r#type)
        };
        if !is(&entity, "entity") || !is(&created_by, "user") {
            return invalid("`entity` is a relationship to an `entity`, `createdBy` to a `user`");
        }
        let resource =
            |related: Option<EventRelationship>| related.map(|related| Resource::new(related.data.id));
        Ok(Event { attributes, entity: resource(entity), created_by: resource(created_by), included })
    }

    /// When it happened; without this, the time of receipt.
    pub fn created_at(mut self, time: DateTime<Utc>) -> Self {
        self.attributes.created_at = Some(time);
        self
    }

    /// The comment of whoever caused it.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.attributes.comment = Some(comment.into());
        self
    }

    /// The event's own fields.
    ///
    /// # Errors
    /// [`Error::Encode`] when the value can't be written as a JSON object.
    pub fn data(mut self, fields: &impl Serialize) -> Result<Self, Error> {
        self.attributes.data = Some(RawObject::from_value(fields).map_err(Error::Encode)?);
        Ok(self)
    }

    /// The change of a record that caused it.
    pub fn change(mut self, change: Change) -> Self {
        self.attributes.change = Some(change);
        self
    }

    /// On whose behalf it happened.
    pub fn originator(mut self, originator: Originator) -> Self {
        self.attributes.originator = Some(originator);
        self
    }

    /// The unit of the organisation where it happened.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.attributes.unit = Some(unit.into());
        self
    }

    /// An id of one's own as the idempotency key: however often it is posted, by whichever process, it is
    /// stored once. Without this, each call of [`Client::post`](crate::Client::post) makes a key that lasts for
    /// the retries of that call.
    pub fn event_id(mut self, id: impl Into<String>) -> Self {
        self.attributes.event_id = Some(id.into());
        self
    }

    /// The entity it happened to: an id, or a [`Resource`] with attributes.
    pub fn entity(mut self, entity: impl Into<Resource>) -> Self {
        self.entity = Some(entity.into());
        self
    }

    /// The user who caused it: an id, or a [`Resource`] with attributes.
    pub fn created_by(mut self, user: impl Into<Resource>) -> Self {
        self.created_by = Some(user.into());
        self
    }

    /// A whole resource object of type `user` or `entity` that goes with it, as it is.
    ///
    /// # Errors
    /// [`Error::Encode`] when the value is not an object with `type` and `id`.
    pub fn include(mut self, resource: &impl Serialize) -> Result<Self, Error> {
        self.included.push(RawResource::from_value(resource).map_err(Error::Encode)?);
        Ok(self)
    }

    /// The event as it is sent.
    pub fn into_document(self) -> EventDocument {
        let Event { attributes, entity, created_by, mut included } = self;
        let mut relate = |r#type: &str, resource: Resource| {
            let identifier = Identifier { r#type: r#type.to_owned(), id: resource.id };
            included.extend(resource.attributes.map(|attributes| full_resource(&identifier, &attributes)));
            EventRelationship { data: identifier, links: None }
        };
        let entity = entity.map(|resource| relate("entity", resource));
        let created_by = created_by.map(|resource| relate("user", resource));
        let relationships =
            (entity.is_some() || created_by.is_some()).then_some(EventRelationships { entity, created_by });
        let data = EventData { r#type: "notification".to_owned(), id: None, attributes, relationships };
        EventDocument { data, included, jsonapi: None, meta: None }
    }
}

fn full_resource(identifier: &Identifier, attributes: &RawObject) -> RawResource {
    #[derive(Serialize)]
    struct Full<'a> {
        #[serde(flatten)]
        identifier: &'a Identifier,
        attributes: &'a RawObject,
    }
    RawResource::from_value(&Full { identifier, attributes })
        .expect("an object with a type, an id and an object of attributes is a resource")
}

/// A user or an entity that an event is about. An id alone is one too: `"100".into()`.
#[derive(Clone, Debug)]
pub struct Resource {
    id: String,
    attributes: Option<RawObject>,
}

impl Resource {
    /// The resource with this id, of which nothing else is told.
    pub fn new(id: impl Into<String>) -> Self {
        Resource { id: id.into(), attributes: None }
    }

    /// What is known of it. It is stored with the event, and sent to whoever reads the notification.
    ///
    /// # Errors
    /// [`Error::Encode`] when the value can't be written as a JSON object.
    pub fn attributes(mut self, attributes: &impl Serialize) -> Result<Self, Error> {
        self.attributes = Some(RawObject::from_value(attributes).map_err(Error::Encode)?);
        Ok(self)
    }
}

impl From<&str> for Resource {
    fn from(id: &str) -> Self {
        Resource::new(id)
    }
}

impl From<String> for Resource {
    fn from(id: String) -> Self {
        Resource::new(id)
    }
}

/// What became of an event.
#[derive(Clone, Debug)]
pub enum Posted {
    /// It is stored, durably.
    Stored(Box<NotificationDocument>),
    /// It had been stored before: by another post with the same event id, or by an earlier attempt of this one
    /// whose answer was lost. This is the notification of then.
    Duplicate(Box<NotificationDocument>),
    /// The tenant's settings exclude it. It is not stored.
    NotSelected(NotStoredReason),
}

impl Posted {
    /// The notification, unless the event was not selected.
    pub fn document(&self) -> Option<&NotificationDocument> {
        match self {
            Posted::Stored(document) | Posted::Duplicate(document) => Some(document),
            Posted::NotSelected(_) => None,
        }
    }
}
