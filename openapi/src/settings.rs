//! A tenant's settings: the resource `/external-notifications`.
//!
//! [`SettingsPatch`] is what an admin writes, [`Settings`] what the server answers. Secrets are only in the first.
//! Where a group of settings has a `kind`, the other members belong to single kinds: they are read as an enum and
//! written as a struct whose members are all optional.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use self::macros::{choice, settings};
use crate::jsonapi::SelfLink;

mod macros;
mod push;
mod secret;
mod selection;

pub use self::push::*;
pub use self::secret::SecretText;
pub use self::selection::*;

/// The answer of `GET` and `PATCH /external-notifications`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingsDocument {
    /// The link to this document.
    pub links: SelfLink,
    /// The settings.
    pub data: SettingsResource,
}

/// The settings as a resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingsResource {
    /// Always `externalNotifications`.
    #[cfg_attr(feature = "openapi", schema(example = "externalNotifications"))]
    pub r#type: String,
    /// The tenant's id.
    pub id: String,
    /// The settings in force: what was set, and the defaults for the rest.
    pub attributes: Settings,
    /// The health of the tenant's push.
    pub meta: SettingsMeta,
}

settings! {
    /// The settings in force: what was set, what the profile says about the rest, and the defaults. Secrets are never
    /// among them.
    Settings, SettingsPatch {
        /// Whether events are stored at all. Default true.
        enabled: bool => bool,
        /// The model system whose values hold for what isn't set. Null, the default: Tidings' own.
        ///
        /// Setting it puts the rest back to that system's values: all of `push` and `payload`, but for the URL, the
        /// switch, authentication, TLS, secrets and the client id.
        profile: Option<Profile> => Profile,
        /// How notifications are pushed.
        push: PushSettings => PushPatch,
        /// How much of a notification is pushed.
        payload: PayloadSettings => PayloadPatch,
        /// Which events are stored and pushed.
        selection: Selection => SelectionPatch,
        /// How long notifications are kept.
        retention: Retention => RetentionPatch,
        /// Who is told about trouble.
        alerts: Alerts => AlertsPatch,
    }
}

choice! {
    /// A model system: the name of a bundle of settings.
    Profile {
        /// Signals Notebook.
        Signals,
        /// Adobe Acrobat Sign.
        AcrobatSign,
        /// SocrateCloud.
        SocrateCloud,
        /// Sertifi.
        Sertifi,
        /// ServiceOptimizer.
        ServiceOptimizer,
        /// The recommendations of Standard Webhooks.
        StandardWebhooks,
    }
}

/// The health of a tenant's push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SettingsMeta {
    /// Whether notifications are pushed.
    pub push: PushHealth,
    /// Notifications that wait for their push, counted up to 10,000.
    pub undelivered: i64,
    /// When the oldest of them was received.
    #[serde(default, with = "crate::time::option")]
    pub oldest_undelivered_at: Option<DateTime<Utc>>,
    /// The last accepted push.
    #[serde(default, with = "crate::time::option")]
    pub last_success_at: Option<DateTime<Utc>>,
}

/// The body of `PATCH /external-notifications`.
///
/// A member that is left out stays; objects are merged member by member; `null` puts a member back to its default
/// (RFC 7396).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SettingsPatchDocument {
    /// The resource with the settings to change.
    pub data: SettingsPatchData,
}

/// The resource object of a settings PATCH.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SettingsPatchData {
    /// Always `externalNotifications`.
    #[cfg_attr(feature = "openapi", schema(example = "externalNotifications"))]
    pub r#type: String,
    /// The tenant's id, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The settings to change.
    pub attributes: SettingsPatch,
}
