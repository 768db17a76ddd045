//! What a consumer reads: the notification. The shape is that of Signals Notebook's External Notifications.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event::{Change, Originator};
use crate::event_type::EventType;
use crate::jsonapi::{Identifier, PageLinks, RawObject, RawResource, SelfLink, Sequence};

/// One notification, as `GET /notifications/{id}` answers it. A push has the same body without `data.meta`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotificationDocument {
    /// The link to this document.
    pub links: SelfLink,
    /// The notification.
    pub data: Notification,
    /// The users and entities that the event brought, as they were then.
    #[serde(default)]
    pub included: Vec<RawResource>,
}

/// A page of `GET /notifications`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotificationPage {
    /// The links to this page and its neighbours.
    pub links: PageLinks,
    /// The notifications.
    pub data: Vec<Notification>,
    /// The users and entities of all notifications on the page, each once, in its newest copy.
    #[serde(default)]
    pub included: Vec<RawResource>,
    /// Where to go on.
    #[serde(default)]
    pub meta: Option<PageMeta>,
}

/// Facts about a page.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PageMeta {
    /// The cursors of the page. Absent under offset paging.
    #[serde(default)]
    pub page: Option<PageCursor>,
}

/// Where to go on after a page, also when there is no next page yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PageCursor {
    /// The cursor for `page[after]` that continues behind this page.
    pub after: String,
}

/// A stored event: the content never changes, the flags and the push state do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notification {
    /// Always `notification`.
    #[cfg_attr(feature = "openapi", schema(example = "notification"))]
    pub r#type: String,
    /// The sequence.
    pub id: Sequence,
    /// The link to the notification.
    pub links: SelfLink,
    /// Content and flags.
    pub attributes: NotificationAttributes,
    /// Whom and what it is about.
    #[serde(default)]
    pub relationships: NotificationRelationships,
    /// What the store knows about it. Absent in a push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<NotificationMeta>,
}

/// Content and flags of a notification.
///
/// Under `fields[notification]` a server leaves members out; this type is for whole notifications.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NotificationAttributes {
    /// The sequence once more, as Signals writes it.
    pub id: Sequence,
    /// When the event happened, in milliseconds.
    #[serde(with = "crate::time")]
    pub created_at: DateTime<Utc>,
    /// The event's type.
    pub r#type: EventType,
    /// Whether the receiver is done with it.
    pub is_dismissed: bool,
    /// Whether it has been read.
    pub is_read: bool,
    /// Whether it has been flagged.
    pub is_flagged: bool,
    /// The comment, where the event had one.
    pub comment: Option<String>,
    /// The event's own fields, as they were posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<RawObject>,
    /// The change of a record that caused the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// On whose behalf it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originator: Option<Originator>,
    /// The unit of the organisation where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// Whom and what a notification is about.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NotificationRelationships {
    /// Who caused the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Relationship>,
    /// The entity it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<Relationship>,
}

/// A relationship to a user or an entity.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Relationship {
    /// The link to the related resource (as Signals writes it).
    pub links: SelfLink,
    /// The related resource.
    pub data: Identifier,
}

/// What the store knows about a notification.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NotificationMeta {
    /// When the event was received.
    #[serde(with = "crate::time")]
    pub received_at: DateTime<Utc>,
    /// How far its push is.
    pub push: PushStatus,
}

/// How far the push of a notification is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PushStatus {
    /// The state.
    pub state: PushState,
    /// Attempts made.
    pub attempts: i32,
    /// When the next attempt is due; null when none is, or when it is being made now.
    #[serde(default, with = "crate::time::option")]
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// The state of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PushState {
    /// There was no URL to push to when the event came.
    None,
    /// Waiting for an attempt, or for its answer.
    Pending,
    /// Accepted by the receiver.
    Delivered,
    /// Given up after the last attempt.
    Failed,
    /// Waiting until push is resumed.
    Paused,
}

/// The answer of `GET /users/{id}` and `GET /entities/{id}`: the newest copy that an event brought.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceDocument {
    /// The link to this document.
    pub links: SelfLink,
    /// The user or entity.
    pub data: RawResource,
}

/// The flags of a notification that a consumer can change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flags {
    /// Whether the receiver is done with it. Left out: stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub is_dismissed: Option<bool>,
    /// Whether it has been read. Left out: stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub is_read: Option<bool>,
    /// Whether it has been flagged. Left out: stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub is_flagged: Option<bool>,
}

/// The body of `PATCH /notifications/{id}`, in either of two shapes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum FlagsDocument {
    /// The shape of JSON:API.
    #[cfg_attr(feature = "openapi", schema(title = "JsonApiFlags"))]
    JsonApi {
        /// The resource with the flags to change.
        data: FlagsData,
    },
    /// The shape of Signals Notebook.
    #[cfg_attr(feature = "openapi", schema(title = "SignalsFlags"))]
    Signals {
        /// A list of names and values.
        data: Vec<SignalsFlag>,
    },
}

/// The resource object of a PATCH.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FlagsData {
    /// Always `notification`.
    #[cfg_attr(feature = "openapi", schema(example = "notification"))]
    pub r#type: String,
    /// The id in the URL.
    pub id: Sequence,
    /// The flags to change.
    pub attributes: Flags,
}

/// One flag in Signals' shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignalsFlag {
    /// The flag's name and value.
    pub attributes: SignalsFlagAttributes,
}

/// Name and value of a flag in Signals' shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignalsFlagAttributes {
    /// `isDismissed`, `isRead` or `isFlagged`.
    #[cfg_attr(
        feature = "openapi",
        schema(example = "isDismissed", pattern = "^is(Dismissed|Read|Flagged)$")
    )]
    pub name: String,
    /// `"true"` or `"false"`.
    #[cfg_attr(feature = "openapi", schema(example = "true", pattern = "^(true|false)$"))]
    pub value: String,
}
