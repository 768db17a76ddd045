//! A tenant's settings: the resource `/external-notifications`.
//!
//! [`SettingsPatch`] is what an admin writes, [`Settings`] what the server answers. Secrets are only in the first.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event_type::TypeSelector;
use crate::jsonapi::SelfLink;

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

/// The settings in force. Secrets are never among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Settings {
    /// Whether events are stored at all. Default true.
    pub enabled: bool,
    /// How notifications are pushed.
    pub push: PushSettings,
    /// Which events are stored and pushed.
    pub selection: Selection,
    /// How long notifications are kept.
    pub retention: Retention,
}

/// How notifications are pushed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PushSettings {
    /// The one URL to push to. Null: nothing is pushed, everything can be pulled.
    pub url: Option<String>,
    /// False pauses pushing; what arrives meanwhile waits. Default true.
    pub enabled: bool,
    /// How the server shows the receiver who it is, apart from the signature.
    pub authentication: Authentication,
    /// Whether a notification is dismissed once it is delivered. Default false.
    pub auto_dismiss: bool,
    /// When a failed push is tried again.
    pub retry: Retry,
}

/// How the server shows the receiver who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Authentication {
    /// The kind. Default `none`.
    pub kind: AuthenticationKind,
    /// With `header`: the header's name. Its value is never read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The kind of authentication towards the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuthenticationKind {
    /// The signature alone.
    #[default]
    None,
    /// A header with a fixed value, as Signals Notebook sends it.
    Header,
}

/// When a failed push is tried again: `firstSeconds`, then each time `factor` as long, up to `capSeconds`.
/// Up to a fifth is added at random to each delay, so that failures don't return all at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Always `exponential`.
    pub kind: RetryKind,
    /// Seconds before the first retry, 1 to 86,400. Default 5.
    pub first_seconds: u32,
    /// By how much each delay is longer than the one before, 1 to 10. Default 2.
    pub factor: f64,
    /// The longest delay in seconds, 1 to 604,800. Default 43,200 (12 hours).
    pub cap_seconds: u32,
    /// Attempts in all, the first among them, 1 to 100. Default 20, which takes about four days.
    pub attempts: u32,
}

/// The kind of retry schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RetryKind {
    /// Delays that grow by a factor.
    #[default]
    Exponential,
}

/// Which events are stored and pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Selection {
    /// Types and groups. Default `["*"]`.
    pub types: Vec<TypeSelector>,
}

/// How long notifications are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Retention {
    /// Days from receipt until a notification expires, dismissed or not, 1 to 36,500. Default 180.
    pub days: u32,
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

/// Whether notifications are pushed, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PushHealth {
    /// The state.
    pub state: PushHealthState,
    /// Why push is paused.
    pub reason: Option<String>,
}

/// Whether notifications are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PushHealthState {
    /// There is no URL.
    None,
    /// They are pushed.
    Active,
    /// They wait until an admin resumes the push.
    Paused,
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

/// The settings that an admin writes. Every member is optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettingsPatch {
    /// See [`Settings::enabled`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// See [`Settings::push`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushPatch>,
    /// See [`Settings::selection`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<SelectionPatch>,
    /// See [`Settings::retention`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionPatch>,
}

/// See [`PushSettings`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PushPatch {
    /// See [`PushSettings::url`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// See [`PushSettings::enabled`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// See [`PushSettings::authentication`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationPatch>,
    /// See [`PushSettings::auto_dismiss`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_dismiss: Option<bool>,
    /// See [`PushSettings::retry`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPatch>,
    /// The signature of pushes. Written, never read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<SigningPatch>,
}

/// See [`Authentication`].
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AuthenticationPatch {
    /// See [`Authentication::kind`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<AuthenticationKind>,
    /// See [`Authentication::name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The header's value, a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The secret with which pushes are signed (Standard Webhooks).
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SigningPatch {
    /// `whsec_` and 24 to 64 bytes in base64. A tenant has one from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl std::fmt::Debug for AuthenticationPatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthenticationPatch")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SigningPatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningPatch").finish_non_exhaustive()
    }
}

/// See [`Retry`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryPatch {
    /// See [`Retry::kind`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RetryKind>,
    /// See [`Retry::first_seconds`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seconds: Option<u32>,
    /// See [`Retry::factor`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// See [`Retry::cap_seconds`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_seconds: Option<u32>,
    /// See [`Retry::attempts`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

/// See [`Selection`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SelectionPatch {
    /// See [`Selection::types`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<TypeSelector>>,
}

/// See [`Retention`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RetentionPatch {
    /// See [`Retention::days`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}
