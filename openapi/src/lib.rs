//! The wire types of Tidings: what a server answers and a client sends, and nothing that does I/O.
//!
//! Both sides use these types, so they can't drift apart. With the feature `openapi` each type also
//! describes itself as a schema, from which `openapi.json` is generated. What may not enter: HTTP
//! clients and servers, databases, and rules about what to do with a notification.

pub mod alert;
pub mod api_key;
pub mod delivery;
pub mod error;
pub mod event;
pub mod event_type;
pub mod job;
pub mod jsonapi;
pub mod notification;
pub mod operations;
pub mod overview;
pub mod settings;
pub mod statistics;
pub mod tenant;
pub mod time;

/// Where every resource lives, below the host.
pub const BASE_PATH: &str = "/api/rest/v1.0";

/// The media type of JSON:API 1.1, in which every answer is written.
pub const MEDIA_TYPE: &str = "application/vnd.api+json";

/// The URI of the atomic operations extension (JSON:API), used in the media type's `ext` parameter.
pub const ATOMIC_EXTENSION: &str = "https://jsonapi.org/ext/atomic";

/// The URI of the profile (JSON:API 1.1) under which documents keep to every rule of JSON:API, where the shape of Signals
/// Notebook doesn't: `eventType` instead of the attributes `id` and `type`, and relationships whose links are `related`.
pub const STRICT_PROFILE: &str = "urn:tidings:profile:strict";

/// The header in which the server names the tenant, by its id: in each push, and in each answer to a tenant's key.
pub const TENANT_HEADER: &str = "tidings-tenant";
