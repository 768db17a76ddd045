//! Which key a request has: what a client that only holds a key needs to know before it shows anything.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::jsonapi::{Identifier, SelfLink};
use crate::tenant::Role;

/// The answer of `GET /api-key`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnKeyDocument {
    /// The link to this document.
    pub links: SelfLink,
    /// The key.
    pub data: OwnKey,
    /// The key's tenant; nothing with the operator's key.
    pub included: Vec<NamedTenant>,
}

/// The key of the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnKey {
    /// Always `apiKey`.
    #[cfg_attr(feature = "openapi", schema(example = "apiKey"))]
    pub r#type: String,
    /// The id of the key, not the key itself; `operator` for the operator's.
    pub id: String,
    /// What is known of it.
    pub attributes: OwnKeyAttributes,
    /// Whose it is.
    pub relationships: OwnKeyRelationships,
}

/// What is known of the key of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnKeyAttributes {
    /// What the key is for; `operator` for the operator's.
    #[cfg_attr(feature = "openapi", schema(example = "archive"))]
    pub name: String,
    /// What it may do.
    pub role: KeyRole,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum KeyRole {
    /// Post events.
    Producer,
    /// Read notifications and change their flags.
    Consumer,
    /// Both, and settings.
    Admin,
    /// Manage tenants and their keys.
    Operator,
}

impl From<Role> for KeyRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Producer => KeyRole::Producer,
            Role::Consumer => KeyRole::Consumer,
            Role::Admin => KeyRole::Admin,
        }
    }
}

/// Whose a key is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnKeyRelationships {
    /// The tenant.
    pub tenant: KeyTenant,
}

/// The tenant of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyTenant {
    /// Its type and id; null for the operator's key.
    pub data: Option<Identifier>,
}

/// A tenant and its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NamedTenant {
    /// Always `tenant`.
    #[cfg_attr(feature = "openapi", schema(example = "tenant"))]
    pub r#type: String,
    /// The id.
    pub id: Uuid,
    /// Its name.
    pub attributes: TenantName,
}

/// A tenant's name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantName {
    /// The name.
    #[cfg_attr(feature = "openapi", schema(example = "Acme"))]
    pub name: String,
}
