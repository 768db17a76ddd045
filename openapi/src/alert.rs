//! Alerts: what is posted to a tenant's `alerts.url`, and the answer to a test.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::delivery::names;
use crate::settings::PushHealthState;

names! {
    /// What an alert tells. Each is told once for each change of state.
    AlertKind {
        /// A push failed, the first one since the last success.
        Failing = "failing",
        /// Some notification has used half of its retries.
        Retries50 = "retries50",
        /// Some notification has used 70 % of its retries.
        Retries70 = "retries70",
        /// Some notification has used 90 % of its retries.
        Retries90 = "retries90",
        /// Some notification has used all its retries and was given up.
        Retries100 = "retries100",
        /// A push was accepted again, after `failing` or `retries…`.
        Recovered = "recovered",
        /// The push was disabled for want of success, see `disableAfterSeconds`.
        Disabled = "disabled",
        /// The push was paused because the receiver answered 410 Gone.
        Paused = "paused",
        /// An admin resumed the push, after `disabled` or `paused`.
        Resumed = "resumed",
        /// The oldest undelivered notification is older than `backlogAgeSeconds`.
        Backlog = "backlog",
        /// Someone has asked for a test.
        Test = "test",
    }
}

/// The document that is posted to `alerts.url`, signed as pushes are (Standard Webhooks).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertDocument {
    /// The alert.
    pub data: AlertResource,
}

/// An alert.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertResource {
    /// Always `alert`.
    #[cfg_attr(feature = "openapi", schema(example = "alert"))]
    pub r#type: String,
    /// Its id, the same however often it has to be posted.
    pub id: String,
    /// What it tells.
    pub attributes: AlertAttributes,
}

/// What an alert tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AlertAttributes {
    /// What has changed.
    pub kind: AlertKind,
    /// When it changed.
    #[serde(with = "crate::time")]
    pub at: DateTime<Utc>,
    /// Since when it has been going on.
    #[serde(with = "crate::time")]
    pub since: DateTime<Utc>,
    /// What has happened, for people: one line.
    pub summary: String,
    /// The particulars, such as the last error; null where there are none.
    pub detail: Option<String>,
    /// The tenant's id.
    pub tenant_id: String,
    /// The tenant's name.
    pub tenant_name: String,
    /// The state of its push now.
    pub push_state: PushHealthState,
    /// The host of its push URL.
    pub host: Option<String>,
}

/// The answer of `POST /external-notifications/alerts/test`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertTestDocument {
    /// What became of the test.
    pub data: AlertTestResource,
}

/// What became of a test.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertTestResource {
    /// Always `alertTest`.
    #[cfg_attr(feature = "openapi", schema(example = "alertTest"))]
    pub r#type: String,
    /// The id of the alert that was sent.
    pub id: String,
    /// What became of it, by way.
    pub attributes: AlertTestAttributes,
}

/// What became of a test, by way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertTestAttributes {
    /// The mail to `alerts.email`; null where no address is set.
    pub email: Option<AlertTestResult>,
    /// The request to `alerts.url`; null where no URL is set.
    pub url: Option<AlertTestResult>,
}

/// What became of a test on one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertTestResult {
    /// Whether it was taken.
    pub sent: bool,
    /// Why not; null if it was.
    pub error: Option<String>,
}
