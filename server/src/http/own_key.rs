//! `/api-key`: which key the request has. Whoever only holds a key learns here what it is good for.

use actix_web::{HttpRequest, HttpResponse, get, web};
use tidings_api::api_key::{
    KeyRole, KeyTenant, NamedTenant, OwnKey, OwnKeyAttributes, OwnKeyDocument, OwnKeyRelationships,
    TenantName,
};
use tidings_api::jsonapi::{Identifier, SelfLink};
use uuid::Uuid;

use super::auth::AnyKey;
use super::error::Error;
use super::query::NoParameters;
use super::{State, base, json};

/// Tells which key this is
///
/// The name and the role of the key that the request has, and its tenant. With any key, the operator's too.
#[utoipa::path(
    tag = "tenants",
    responses((status = 200, description = "The key", body = OwnKeyDocument))
)]
#[get("/api-key")]
pub(super) async fn get_own_key(
    caller: AnyKey,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let (id, name, role, tenant) = match caller.0 {
        None => ("operator".to_owned(), "operator".to_owned(), KeyRole::Operator, None),
        Some((principal, hash)) => {
            let key = state.store.read(move |conn| conn.key_find(&hash)).await?;
            // It was deleted on another node a moment ago.
            let key = key.ok_or_else(Error::unauthenticated)?;
            let tenant = state.tenant(principal.tenant).await?;
            (key.id, key.name, principal.role.into(), Some(tenant))
        }
    };
    let included = tenant.map(|entry| NamedTenant {
        r#type: "tenant".to_owned(),
        id: Uuid::parse_str(&entry.tenant.public_id).unwrap_or_default(),
        attributes: TenantName { name: entry.tenant.name.clone() },
    });
    let tenant = included
        .as_ref()
        .map(|tenant| Identifier { r#type: tenant.r#type.clone(), id: tenant.id.to_string() });
    json(&OwnKeyDocument {
        links: SelfLink { this: format!("{}/api-key", base(&state, &request)) },
        data: OwnKey {
            r#type: "apiKey".to_owned(),
            id,
            attributes: OwnKeyAttributes { name, role },
            relationships: OwnKeyRelationships { tenant: KeyTenant { data: tenant } },
        },
        included: included.into_iter().collect(),
    })
}
