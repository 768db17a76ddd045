//! Tenants and their keys: what the operator manages.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::jsonapi::{PageLinks, SelfLink};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Post events.
    Producer,
    /// Read notifications and change their flags.
    Consumer,
    /// Both, and settings.
    Admin,
}

impl Role {
    /// The role as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Producer => "producer",
            Role::Consumer => "consumer",
            Role::Admin => "admin",
        }
    }

    /// Whether a key of this role may do what needs the other.
    pub fn includes(self, needed: Role) -> bool {
        self == Role::Admin || self == needed
    }
}

/// The body of `POST /tenants` and `PATCH /tenants/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TenantWriteDocument {
    /// The tenant.
    pub data: TenantWrite,
}

/// A tenant as the operator writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TenantWrite {
    /// Always `tenant`.
    #[cfg_attr(feature = "openapi", schema(example = "tenant"))]
    pub r#type: String,
    /// With PATCH: the id in the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What can be written.
    pub attributes: TenantWriteAttributes,
}

/// What an operator can write of a tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TenantWriteAttributes {
    /// The name, 1 to 255 characters. Two tenants may share one.
    #[cfg_attr(
        feature = "openapi",
        schema(
            example = "Acme",
            min_length = 1,
            max_length = 255,
            pattern = "^[^\\u0000-\\u001F\\u007F-\\u009F]*$"
        )
    )]
    pub name: String,
}

/// One tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantDocument {
    /// The link to this document.
    pub links: SelfLink,
    /// The tenant.
    pub data: Tenant,
}

/// A page of tenants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantPage {
    /// The links to this page and its neighbours.
    pub links: PageLinks,
    /// The tenants, in the order of their creation.
    pub data: Vec<Tenant>,
}

/// One customer of the host application.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tenant {
    /// Always `tenant`.
    #[cfg_attr(feature = "openapi", schema(example = "tenant"))]
    pub r#type: String,
    /// The id.
    pub id: Uuid,
    /// The link to the tenant.
    pub links: SelfLink,
    /// What is known of it.
    pub attributes: TenantAttributes,
}

/// What is known of a tenant.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TenantAttributes {
    /// The name.
    pub name: String,
    /// When it was created.
    #[serde(with = "crate::time")]
    pub created_at: DateTime<Utc>,
    /// The secret with which its pushes are signed, `whsec_…`. Only in the answer to its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<String>,
}

impl std::fmt::Debug for TenantAttributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantAttributes").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The body of `POST /tenants/{id}/api-keys`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKeyWriteDocument {
    /// The key.
    pub data: ApiKeyWrite,
}

/// A key as the operator writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKeyWrite {
    /// Always `apiKey`.
    #[cfg_attr(feature = "openapi", schema(example = "apiKey"))]
    pub r#type: String,
    /// What can be written.
    pub attributes: ApiKeyWriteAttributes,
}

/// What an operator can write of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKeyWriteAttributes {
    /// What the key is for, 1 to 255 characters.
    #[cfg_attr(
        feature = "openapi",
        schema(
            example = "archive",
            min_length = 1,
            max_length = 255,
            pattern = "^[^\\u0000-\\u001F\\u007F-\\u009F]*$"
        )
    )]
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// The answer of `POST /tenants/{id}/api-keys`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeyDocument {
    /// The link to this document.
    pub links: SelfLink,
    /// The key.
    pub data: ApiKey,
}

/// All keys of a tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeyPage {
    /// The links to this list.
    pub links: PageLinks,
    /// The keys, in the order of their creation.
    pub data: Vec<ApiKey>,
}

/// A key of a tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKey {
    /// Always `apiKey`.
    #[cfg_attr(feature = "openapi", schema(example = "apiKey"))]
    pub r#type: String,
    /// The id; not the key itself.
    pub id: Uuid,
    /// The link to the key.
    pub links: SelfLink,
    /// What is known of it.
    pub attributes: ApiKeyAttributes,
}

/// What is known of a key.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyAttributes {
    /// What the key is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was created.
    #[serde(with = "crate::time")]
    pub created_at: DateTime<Utc>,
    /// When it was last used, to within a minute.
    #[serde(default, with = "crate::time::option")]
    pub last_used_at: Option<DateTime<Utc>>,
    /// The key itself. Only in the answer to its creation; the server keeps a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl std::fmt::Debug for ApiKeyAttributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeyAttributes")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
