//! Figures of one tenant: how many notifications there are of which kind, and what became of the attempts lately.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::jsonapi::SelfLink;

/// The answer of `GET /statistics`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatisticsDocument {
    /// The link to this document.
    pub links: SelfLink,
    /// The figures.
    pub data: Statistics,
}

/// Figures as a resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Statistics {
    /// Always `statistics`.
    #[cfg_attr(feature = "openapi", schema(example = "statistics"))]
    pub r#type: String,
    /// The tenant's id.
    pub id: String,
    /// The figures.
    pub attributes: StatisticsAttributes,
}

/// The figures of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StatisticsAttributes {
    /// When the first bucket begins.
    #[serde(with = "crate::time")]
    pub since: DateTime<Utc>,
    /// When the figures were read, in the last bucket.
    #[serde(with = "crate::time")]
    pub until: DateTime<Utc>,
    /// False where any figure is a lower bound or an estimate; which, the groups say.
    pub is_complete: bool,
    /// What is kept.
    pub notifications: NotificationCounts,
    /// How their pushes stand.
    pub push: PushCounts,
    /// When the oldest one that waits for its push was received.
    #[serde(default, with = "crate::time::option")]
    pub oldest_undelivered_at: Option<DateTime<Utc>>,
    /// Given up within the last 24 hours, counted up to 10,000.
    pub failed_since_yesterday: i64,
    /// The attempts by the time they ended, oldest first: of 5 minutes each with `hours=1`, else of an hour each. They
    /// begin at round times.
    pub buckets: Vec<AttemptBucket>,
    /// The attempts of all buckets.
    pub attempts: AttemptCounts,
    /// How long notifications are kept.
    pub retention: RetentionFacts,
}

/// How many notifications are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct NotificationCounts {
    /// All of them. Always exact.
    pub total: i64,
    /// Not dismissed.
    pub undismissed: i64,
    /// Neither dismissed nor read.
    pub unread: i64,
    /// Flagged and not dismissed.
    pub flagged: i64,
    /// False where only the newest 100,000 that aren't dismissed were counted.
    pub is_complete: bool,
}

/// How many notifications there are in each push state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PushCounts {
    /// Never to be pushed: there was no URL.
    pub none: i64,
    /// To be pushed.
    pub pending: i64,
    /// Accepted.
    pub delivered: i64,
    /// Given up.
    pub failed: i64,
    /// To be pushed once the push goes on.
    pub paused: i64,
    /// False where 100,000 of one state were counted and there may be more; then `none` and `delivered` are estimates.
    pub is_complete: bool,
}

/// The attempts of a part of the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AttemptBucket {
    /// When it begins.
    #[serde(with = "crate::time")]
    pub started_at: DateTime<Utc>,
    /// The attempts that ended in it.
    #[serde(flatten)]
    pub attempts: AttemptCounts,
}

/// How many attempts there were, and how long they took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AttemptCounts {
    /// Accepted by the receiver.
    pub accepted: i64,
    /// Not accepted.
    pub failed: i64,
    /// What half of them took at most, in milliseconds; null where there were none.
    pub p50_ms: Option<i64>,
    /// What 95 % of them took at most, in milliseconds; null where there were none.
    pub p95_ms: Option<i64>,
    /// False where there were more than are counted: of a busy bucket the attempts of the latest 1,000 notifications
    /// are. Then the numbers are lower bounds, and shares and times those of a sample.
    pub is_complete: bool,
}

/// How long notifications are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RetentionFacts {
    /// The setting `retention.days`.
    pub days: u32,
    /// When the oldest one that is kept was received.
    #[serde(default, with = "crate::time::option")]
    pub oldest_received_at: Option<DateTime<Utc>>,
}
