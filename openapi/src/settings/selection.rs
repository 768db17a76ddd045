//! Which events are stored and pushed, and how much of them is pushed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::macros::{choice, settings};
use crate::event_type::TypeSelector;

settings! {
    /// Which events are stored and pushed. All of its rules must agree.
    Selection, SelectionPatch {
        /// Types and groups. Default `["*"]`.
        #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
        types: Vec<TypeSelector> => Vec<TypeSelector>,
        /// Whose events, by the event's `originator`. Default `all`.
        scope: Scope => ScopePatch,
        /// Only events whose `change` names one of these columns, as `column` or `table.column`; events without a
        /// `change`, and changes that name no columns at all, are not affected. At most 1,000. Default empty: any.
        #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
        columns: Vec<String> => Vec<String>,
        /// Only events for which this CEL expression is true, at most 4,096 characters. Null, the default: all.
        ///
        /// It sees `type`, `createdAt` (a timestamp), `comment`, `data`, `change`, `originator`, `unit`, `entity` and
        /// `createdBy` (ids). What of these the event doesn't have is null. There are CEL's operators, macros and standard
        /// functions, but no bytes and messages; patterns of `matches` and time zones (`UTC`, `+02:00`) are literals. An
        /// expression that can't be evaluated for an event, because a member of `data` is missing or it would take too
        /// long, selects it: better one too many than one lost.
        #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
        condition: Option<String> => String,
        /// Switches of single units: by the event's `unit`, then by type or group, true or false. Where a unit has a
        /// switch for an event it decides instead of `types`; a type goes before a group, a group before `*`. Nothing else
        /// can be set for a unit. Default empty.
        #[cfg_attr(feature = "openapi", schema(value_type = DescribedUnits))]
        units: Units => UnitsPatch,
    }
}

/// Switches of single units: unit, type or group, whether its events are selected.
pub type Units = BTreeMap<String, BTreeMap<String, bool>>;

/// Switches of single units: by the unit, then by type or group, whether its events are selected. Written, null takes a
/// switch, or a unit with all of its switches, away.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = Units)]
#[expect(dead_code, reason = "a map has no name of its own in a description")]
pub struct DescribedUnits(BTreeMap<String, BTreeMap<String, bool>>);

/// What is written to change [`Units`]: null takes a switch, or a unit with all of its switches, away.
pub type UnitsPatch = BTreeMap<String, Option<BTreeMap<String, Option<bool>>>>;

/// Whose events are selected. An event belongs to its `originator`: who else takes part in it doesn't matter (Acrobat
/// Sign's "webhook of the sender").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Scope {
    /// Everybody's.
    #[cfg_attr(feature = "openapi", schema(title = "AllScope"))]
    All,
    /// Those of an account.
    #[cfg_attr(feature = "openapi", schema(title = "AccountScope"))]
    #[serde(rename_all = "camelCase")]
    Account {
        /// The originator's `accountId`.
        account_id: String,
    },
    /// Those of a group.
    #[cfg_attr(feature = "openapi", schema(title = "GroupScope"))]
    #[serde(rename_all = "camelCase")]
    Group {
        /// The originator's `accountId`; null: any.
        account_id: Option<String>,
        /// The originator's `groupId`.
        group_id: String,
    },
    /// Those of a user.
    #[cfg_attr(feature = "openapi", schema(title = "UserScope"))]
    #[serde(rename_all = "camelCase")]
    User {
        /// The originator's `accountId`; null: any.
        account_id: Option<String>,
        /// The originator's `userId`.
        user_id: String,
    },
    /// Those about one entity.
    #[cfg_attr(feature = "openapi", schema(title = "ResourceScope"))]
    #[serde(rename_all = "camelCase")]
    Resource {
        /// The entity's id.
        resource_id: String,
    },
}

choice! {
    /// The kind of scope.
    ScopeKind {
        /// Everybody's events.
        All,
        /// Those of an account.
        Account,
        /// Those of a group.
        Group,
        /// Those of a user.
        User,
        /// Those about one entity.
        Resource,
    }
}

/// What is written to change [`Scope`]. Each member belongs to the kinds that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScopePatch {
    /// The kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ScopeKind>,
    /// `account`, and optional for `group` and `user`: the originator's `accountId`, 1 to 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub account_id: Option<String>,
    /// `group`: the originator's `groupId`, 1 to 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub group_id: Option<String>,
    /// `user`: the originator's `userId`, 1 to 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub user_id: Option<String>,
    /// `resource`: the entity's id, 1 to 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub resource_id: Option<String>,
}

settings! {
    /// How much of a notification is pushed, and in which format. What is stored and pulled is always the whole.
    PayloadSettings, PayloadPatch {
        /// What a push, and an alert to `alerts.url`, looks like. Default `jsonApi`.
        format: PayloadFormat => PayloadFormat,
        /// Everything, or only what it takes to pull the rest. Default `full`.
        detail: Detail => Detail,
        /// By event type, or `*` for all others: the fields that are pushed besides `id`, `type`, `createdAt` and the
        /// flags. A field is `comment`, `data`, `change`, `originator`, `unit`, `entity`, `createdBy` or `included`;
        /// any other name, or one with `data.` before it, is a member of the event's own `data`. Types that aren't named
        /// here are pushed with all fields. Only where `detail` is `full`. Default empty.
        fields: BTreeMap<String, Vec<String>> => BTreeMap<String, Option<Vec<String>>>,
        /// The fields that are dropped, in this order, from a push that is larger than `maxBytes`; those that were
        /// dropped are named in `meta.conditionalParametersTrimmed` of the pushed document. At most 100. Default empty.
        #[cfg_attr(feature = "openapi", schema(max_items = 100))]
        optional_fields: Vec<String> => Vec<String>,
        /// The largest body of a push in bytes, with a CloudEvent's attributes where they are in it, 1,000 to 20,000,000.
        /// A notification that is still larger without its
        /// optional fields fails at once, and can be pulled. Default 10,000,000.
        #[cfg_attr(feature = "openapi", schema(minimum = 1000, maximum = 20_000_000))]
        max_bytes: u32 => u32,
    }
}

choice! {
    /// What a push looks like.
    ///
    /// A CloudEvent (1.0) has as `id` the `webhook-id`, as `source` `urn:uuid:` and the tenant's id, as `type` the event's
    /// type, as `subject` the entity's id, as `time` the event's, and as `sequence` (the extension) the notification's,
    /// with zeros before it up to 19 digits; its data is the document.
    PayloadFormat {
        /// The notification's document.
        JsonApi,
        /// A CloudEvent in HTTP's structured mode, `application/cloudevents+json`.
        CloudEvents,
        /// A CloudEvent in HTTP's binary mode: the document, and `ce-` headers.
        CloudEventsBinary,
    }
}

choice! {
    /// How much is pushed.
    Detail {
        /// The whole notification.
        Full,
        /// Id, type, time, flags and who and what it is about: a receiver pulls the rest.
        Thin,
    }
}

settings! {
    /// How long notifications are kept.
    Retention, RetentionPatch {
        /// Days from receipt until a notification expires, dismissed or not, 1 to 36,500. Default 180.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 36_500))]
        days: u32 => u32,
        /// Days from receipt until the push of an undelivered notification is given up, 1 to 36,500. It stays and can be
        /// pulled. Null, the default: only its retries decide.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 36_500))]
        undelivered_days: Option<u32> => u32,
    }
}

settings! {
    /// Who is told when the push is in trouble, and when it is well again.
    Alerts, AlertsPatch {
        /// The address that mail is sent to. Null, the default: none.
        #[cfg_attr(feature = "openapi", schema(format = Email))]
        email: Option<String> => String,
        /// The URL that alerts are posted to, signed as pushes are. Null, the default: none.
        #[cfg_attr(feature = "openapi", schema(format = "uri"))]
        url: Option<String> => String,
        /// How old the oldest undelivered notification may become, in seconds, 60 to 31,536,000. Null, the default: any
        /// age.
        #[cfg_attr(feature = "openapi", schema(minimum = 60, maximum = 31_536_000))]
        backlog_age_seconds: Option<u32> => u32,
    }
}
