//! Something done to many notifications: pushed again, or flagged.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::delivery::names;
use crate::jsonapi::{SelfLink, Sequence};
use crate::notification::Flags;

names! {
    /// What a job does.
    JobAction {
        /// Pushes them again, whatever became of their push before.
        Repush = "repush",
        /// Sets flags.
        Update = "update",
    }
}

names! {
    /// How far a job is.
    JobState {
        /// Not begun yet.
        Pending = "pending",
        /// At work, or going on after a restart.
        Running = "running",
        /// Done.
        Done = "done",
        /// Cancelled; what was done stays done.
        Cancelled = "cancelled",
    }
}

/// The body of `POST /jobs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JobWriteDocument {
    /// The job.
    pub data: JobWriteData,
}

/// The resource object of a new job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JobWriteData {
    /// Always `job`.
    #[cfg_attr(feature = "openapi", schema(example = "job"))]
    pub r#type: String,
    /// What to do, and to which.
    pub attributes: JobWriteAttributes,
}

/// What to do, and to which: either `ids`, or `filter` with `upTo`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobWriteAttributes {
    /// What to do.
    pub action: JobAction,
    /// With `update`: the flags to set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Flags>,
    /// To these notifications, 1 to 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<Sequence>>,
    /// To those that a list with these parameters would hold: names and values as in the query of `GET /notifications`,
    /// such as `{"filter[push]": "failed"}`, or as in that of `GET /deliveries`, such as `{"filter[errorMessage]":
    /// "timeout"}`, but not of both. What isn't named isn't restricted. Needs `upTo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<std::collections::BTreeMap<String, String>>,
    /// The largest id that may be touched, so that what arrives meanwhile isn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<Sequence>,
    /// Says that an empty filter is meant: all up to `upTo`.
    #[serde(default)]
    pub all: bool,
    /// Only counts. Nothing is changed.
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer of `GET /jobs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobPage {
    /// The links to this page and its neighbours.
    pub links: crate::jsonapi::PageLinks,
    /// The jobs, newest first.
    pub data: Vec<JobResource>,
}

/// The answer of `POST /jobs` and `GET /jobs/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobDocument {
    /// The link to this document.
    pub links: SelfLink,
    /// The job.
    pub data: JobResource,
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobResource {
    /// Always `job`.
    #[cfg_attr(feature = "openapi", schema(example = "job"))]
    pub r#type: String,
    /// Its id.
    pub id: Uuid,
    /// The link to it.
    pub links: SelfLink,
    /// What it does, and how far it is.
    pub attributes: JobAttributes,
}

/// What a job does, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct JobAttributes {
    /// What it does.
    pub action: JobAction,
    /// How far it is.
    pub state: JobState,
    /// Whether it only counts.
    pub dry_run: bool,
    /// How many it is about, counted when it began; null before.
    pub total: Option<u64>,
    /// How many it has done.
    pub processed: u64,
    /// How many of them could not be done: they had expired, or were never there.
    pub failed: u64,
    /// When it was asked for.
    #[serde(with = "crate::time")]
    pub created_at: DateTime<Utc>,
    /// When it began.
    #[serde(default, with = "crate::time::option")]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[serde(default, with = "crate::time::option")]
    pub ended_at: Option<DateTime<Utc>>,
}
