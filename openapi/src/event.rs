//! What a producer posts: an event.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event_type::EventType;
use crate::jsonapi::{Identifier, RawObject, RawResource};

/// The body of `POST /notifications`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EventDocument {
    /// The event.
    pub data: EventData,
    /// The user and the entity that the event is about, and whatever else of these types belongs to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included: Vec<RawResource>,
    /// JSON:API allows it; it is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jsonapi: Option<RawObject>,
    /// JSON:API allows it; it is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<RawObject>,
}

/// The primary resource of an event document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EventData {
    /// Always `notification`.
    #[cfg_attr(feature = "openapi", schema(example = "notification"))]
    pub r#type: String,
    /// Never sent: the server assigns the id. A document that has one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub id: Option<String>,
    /// What happened.
    pub attributes: EventAttributes,
    /// Whom and what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relationships: Option<EventRelationships>,
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventAttributes {
    /// The event's type; `eventType` is another name for it, that of the strict profile.
    #[serde(alias = "eventType")]
    pub r#type: EventType,
    /// When it happened; the time of receipt where it is left out.
    #[serde(default, with = "crate::time::option", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime<Utc>>,
    /// The comment of whoever caused it, at most 100,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 100_000))]
    pub comment: Option<String>,
    /// The event's own fields, kept as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<RawObject>,
    /// The change of a record that caused the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// On whose behalf it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originator: Option<Originator>,
    /// The unit of the organisation where it happened, at most 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub unit: Option<String>,
    /// The producer's own id of the event, at most 255 characters: another way to give an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub event_id: Option<String>,
}

/// The change of a record that caused an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// The table.
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub table: String,
    /// The type of change.
    pub r#type: ChangeType,
    /// The columns whose values changed.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    pub columns: Vec<String>,
    /// The record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub record_id: Option<String>,
}

/// The type of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ChangeType {
    /// A new record.
    Insert,
    /// New values in a record.
    Update,
    /// A record that is gone.
    Delete,
}

/// On whose behalf an event happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Originator {
    /// The account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub account_id: Option<String>,
    /// The group within the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub group_id: Option<String>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub user_id: Option<String>,
}

/// Whom and what an event is about.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventRelationships {
    /// The entity: linkage of type `entity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<EventRelationship>,
    /// Who caused it: linkage of type `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<EventRelationship>,
}

/// A relationship as a producer sends it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EventRelationship {
    /// The related resource.
    pub data: Identifier,
    /// JSON:API allows it; the server writes links of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<RawObject>,
}

/// The answer to an event that the tenant has not selected: 200, and nothing is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotStoredDocument {
    /// Why.
    pub meta: NotStored,
}

/// Why an event was not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotStored {
    /// Always false.
    pub stored: bool,
    /// Which of the tenant's settings excludes it.
    pub reason: NotStoredReason,
}

/// Which setting of the tenant excludes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum NotStoredReason {
    /// `enabled` is false.
    Disabled,
    /// `selection.types` does not name the event's type.
    TypeNotSelected,
    /// A switch in `selection.units` is off for the event's unit.
    SwitchedOffForUnit,
    /// `selection.scope` is about others than the event's originator.
    OutOfScope,
    /// None of `selection.columns` has changed.
    ColumnsNotChanged,
    /// `selection.condition` is not true.
    ConditionNotMet,
}
