//! `/tenants/{id}/api-keys`: the keys of a tenant. A key is told once and kept as a hash.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use tidings_api::jsonapi::{PageLinks, SelfLink};
use tidings_api::tenant::{ApiKey, ApiKeyAttributes, ApiKeyDocument, ApiKeyPage, ApiKeyWriteDocument, Role};
use uuid::Uuid;

use super::auth::Operator;
use super::body::Body;
use super::error::Error;
use super::query::NoParameters;
use super::tenants::{check_name, check_type, find, uuid};
use super::{State, base, bytes, json, time};
use crate::provision;
use crate::store::seam;

fn list_url(base: &str, tenant: Uuid) -> String {
    format!("{base}/tenants/{tenant}/api-keys")
}

fn resource(url: &str, key: seam::ApiKey, text: Option<String>) -> ApiKey {
    let id = Uuid::parse_str(&key.id).unwrap_or_default();
    let role = [Role::Producer, Role::Consumer].into_iter().find(|role| role.as_str() == key.role);
    ApiKey {
        r#type: "apiKey".to_owned(),
        id,
        links: SelfLink { this: format!("{url}/{id}") },
        attributes: ApiKeyAttributes {
            name: key.name,
            role: role.unwrap_or(Role::Admin),
            created_at: time(key.created_at),
            last_used_at: key.last_used_at.map(time),
            key: text,
        },
    }
}

/// Creates a key
///
/// The answer holds the key itself; it is never told again. Needs the operator's key.
#[utoipa::path(
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The tenant's id")),
    request_body(content = ApiKeyWriteDocument, example = json!({"data": {"type": "apiKey", "attributes": {"name": "archive", "role": "consumer"}}})),
    responses((status = 201, description = "The new key", body = ApiKeyDocument, headers(("Location" = String, description = "The URL of the key"))))
)]
#[post("/tenants/{id}/api-keys")]
pub(super) async fn post_api_key(
    _: Operator,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Body<ApiKeyWriteDocument>,
) -> Result<HttpResponse, Error> {
    let tenant = uuid(&id, "tenant")?;
    let data = body.value.data;
    check_type(&data.r#type, "apiKey")?;
    check_name(&data.attributes.name)?;
    let create = state.store.write(None, move |conn| match find(conn, tenant)? {
        Ok(found) => {
            provision::create_key(conn, found.id, &data.attributes.name, data.attributes.role).map(Ok)
        }
        Err(error) => Ok(Err(error)),
    });
    let (key, text) = create.await??;
    let data = resource(&list_url(&base(&state, &request), tenant), key, Some(text));
    let document = ApiKeyDocument { links: data.links.clone(), data };
    Ok(HttpResponse::Created()
        .content_type(tidings_api::MEDIA_TYPE)
        .insert_header((header::LOCATION, document.links.this.as_str()))
        .body(bytes(&document)?))
}

/// Lists the keys of a tenant
///
/// In the order of their creation. Needs the operator's key.
#[utoipa::path(
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The tenant's id")),
    responses((status = 200, description = "The keys", body = ApiKeyPage))
)]
#[get("/tenants/{id}/api-keys")]
pub(super) async fn list_api_keys(
    _: Operator,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let tenant = uuid(&id, "tenant")?;
    let url = list_url(&base(&state, &request), tenant);
    let keys = keys(&state, tenant).await?;
    let data = keys.into_iter().map(|key| resource(&url, key, None)).collect();
    json(&ApiKeyPage { links: PageLinks { this: url.clone(), first: url, prev: None, next: None }, data })
}

async fn keys(state: &State, tenant: Uuid) -> Result<Vec<seam::ApiKey>, Error> {
    let read = state.store.read(move |conn| match find(conn, tenant)? {
        Ok(found) => conn.key_list(found.id).map(Ok),
        Err(error) => Ok(Err(error)),
    });
    read.await?
}

/// Reads a key
///
/// What is known of it, not the key itself. Needs the operator's key.
#[utoipa::path(
    tag = "tenants",
    params(
        ("id" = Uuid, Path, description = "The tenant's id"),
        ("keyId" = Uuid, Path, description = "The id of the key"),
    ),
    responses((status = 200, description = "The key", body = ApiKeyDocument))
)]
#[get("/tenants/{id}/api-keys/{keyId}")]
pub(super) async fn get_api_key(
    _: Operator,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    ids: web::Path<(String, String)>,
) -> Result<HttpResponse, Error> {
    let (tenant, id) = (uuid(&ids.0, "tenant")?, uuid(&ids.1, "key")?.to_string());
    let found = keys(&state, tenant).await?.into_iter().find(|key| key.id == id);
    let key = found.ok_or_else(|| Error::not_found("key"))?;
    let data = resource(&list_url(&base(&state, &request), tenant), key, None);
    json(&ApiKeyDocument { links: data.links.clone(), data })
}

/// Deletes a key
///
/// It ends at once; on other nodes of the server within seconds. Needs the operator's key.
#[utoipa::path(
    tag = "tenants",
    params(
        ("id" = Uuid, Path, description = "The tenant's id"),
        ("keyId" = Uuid, Path, description = "The id of the key"),
    ),
    responses((status = 204, description = "Deleted"))
)]
#[delete("/tenants/{id}/api-keys/{keyId}")]
pub(super) async fn delete_api_key(
    _: Operator,
    _: NoParameters,
    state: web::Data<State>,
    ids: web::Path<(String, String)>,
) -> Result<HttpResponse, Error> {
    let (tenant, id) = (uuid(&ids.0, "tenant")?, uuid(&ids.1, "key")?.to_string());
    let delete = state.store.write(None, move |conn| match find(conn, tenant)? {
        Ok(found) => conn.key_delete(found.id, &id).map(Ok),
        Err(error) => Ok(Err(error)),
    });
    if !delete.await?? {
        return Err(Error::not_found("key"));
    }
    state.directory.forget_all();
    Ok(HttpResponse::NoContent().finish())
}
