//! The tenants that need something done, for the operator.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::jsonapi::SelfLink;
use crate::settings::PushHealthState;

/// The answer of `GET /overview`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OverviewDocument {
    /// The link to this document.
    pub links: SelfLink,
    /// At most 100 tenants: those that need something done, worst first, then others.
    pub data: Vec<TenantHealth>,
    /// How many there are.
    pub meta: OverviewMeta,
}

/// How many tenants there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OverviewMeta {
    /// All tenants, counted up to 100,000.
    pub tenants: i64,
    /// Those of which something needs to be done, as far as they were looked at.
    pub need_action: i64,
    /// False where there are more tenants that are stopped, have failures or have something to push than were looked at:
    /// 1,000 of each.
    pub is_complete: bool,
}

/// How a tenant's push stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantHealth {
    /// Always `tenantHealth`.
    #[cfg_attr(feature = "openapi", schema(example = "tenantHealth"))]
    pub r#type: String,
    /// The tenant's id.
    pub id: Uuid,
    /// The link to the tenant.
    pub links: SelfLink,
    /// How it stands.
    pub attributes: TenantHealthAttributes,
}

/// How a tenant's push stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TenantHealthAttributes {
    /// The tenant's name.
    pub name: String,
    /// Whether notifications are pushed.
    pub push: TenantPush,
    /// Notifications that wait for their push, counted up to 1,000.
    pub undelivered: i64,
    /// When the oldest of them was received.
    #[serde(default, with = "crate::time::option")]
    pub oldest_undelivered_at: Option<DateTime<Utc>>,
    /// Given up within the last 24 hours, counted up to 1,000.
    pub failed_since_yesterday: i64,
    /// Whether the server or the receiver has stopped the push, something was given up within the last 24 hours, or
    /// something has waited for more than 15 minutes.
    pub needs_action: bool,
}

/// Whether a tenant's notifications are pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantPush {
    /// The state.
    pub state: PushHealthState,
    /// Why push is paused or disabled.
    pub reason: Option<String>,
    /// Since when the server or the receiver has stopped it, where that was noted.
    #[serde(default, with = "crate::time::option")]
    pub since: Option<DateTime<Utc>>,
}
