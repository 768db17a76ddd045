//! `/tenants`: what the operator manages.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, web};
use chrono::Utc;
use tidings_api::error::ErrorCode;
use tidings_api::jsonapi::{PageLinks, SelfLink};
use tidings_api::tenant::{
    Tenant, TenantAttributes, TenantDocument, TenantPage, TenantWrite, TenantWriteDocument,
};
use uuid::Uuid;

use super::auth::Operator;
use super::body::Body;
use super::error::Error;
use super::query::{NoParameters, Parameters};
use super::{State, base, bytes, json, time};
use crate::provision;
use crate::store::error::StoreError;
use crate::store::seam::{self, Queries};

/// A path's id as a UUID.
///
/// # Errors
/// 404: nothing else was ever an id.
pub(super) fn uuid(id: &str, what: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(id).map_err(|_| Error::not_found(what))
}

/// A tenant by its id on the wire. The outer error is the store's.
///
/// # Errors
/// 404 where there is none.
pub(super) fn find(conn: &mut dyn Queries, id: Uuid) -> Result<Result<seam::Tenant, Error>, StoreError> {
    Ok(conn.tenant_find(&id.to_string())?.ok_or_else(|| Error::not_found("tenant")))
}

/// A name of 1 to 255 characters that can be shown.
///
/// # Errors
/// 422 for any other.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    if (1..=255).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::value("/data/attributes/name", "1 to 255 characters without control characters are expected"))
}

/// That a body is about this type of resource.
///
/// # Errors
/// 409 when it isn't.
pub(super) fn check_type(given: &str, expected: &str) -> Result<(), Error> {
    if given == expected {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Conflict, format!("{given:?} is not `{expected}`")).at("/data/type"))
}

/// A resource object with a signing secret only where there is a new one.
fn resource(base: &str, tenant: seam::Tenant, signing_secret: Option<String>) -> Tenant {
    let id = Uuid::parse_str(&tenant.public_id).unwrap_or_default();
    Tenant {
        r#type: "tenant".to_owned(),
        id,
        links: SelfLink { this: format!("{base}/tenants/{id}") },
        attributes: TenantAttributes {
            name: tenant.name,
            created_at: time(tenant.created_at),
            signing_secret,
        },
    }
}

fn document(base: &str, tenant: seam::Tenant, signing_secret: Option<String>) -> TenantDocument {
    let data = resource(base, tenant, signing_secret);
    TenantDocument { links: data.links.clone(), data }
}

/// Creates a tenant
///
/// The answer holds the secret by which its pushes are signed; it is never told again. Needs the operator's key.
#[utoipa::path(
    tag = "tenants",
    request_body(content = TenantWriteDocument, example = json!({"data": {"type": "tenant", "attributes": {"name": "Acme"}}})),
    responses((status = 201, description = "The new tenant", body = TenantDocument, headers(("Location" = String, description = "The URL of the tenant"))))
)]
#[post("/tenants")]
pub(super) async fn post_tenant(
    _: Operator,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    body: Body<TenantWriteDocument>,
) -> Result<HttpResponse, Error> {
    let TenantWrite { r#type, id, attributes } = body.value.data;
    check_type(&r#type, "tenant")?;
    if id.is_some() {
        return Err(Error::new(ErrorCode::NotChangeable, "the server assigns the id").at("/data/id"));
    }
    check_name(&attributes.name)?;
    let first = provision::first_settings(state.directory.vault());
    let create =
        state.store.write(None, move |conn| provision::create_tenant(conn, first, &attributes.name, false));
    let (tenant, secret) = create.await?;
    let document = document(&base(&state, &request), tenant, Some(secret));
    Ok(HttpResponse::Created()
        .content_type(tidings_api::MEDIA_TYPE)
        .insert_header((header::LOCATION, document.links.this.as_str()))
        .body(bytes(&document)?))
}

/// Lists tenants
///
/// In the order of their creation. Needs the operator's key.
#[utoipa::path(
    tag = "tenants",
    params(
        ("page[size]" = Option<u32>, Query, description = "The most tenants of a page, 1 to 1,000, by default 100", minimum = 1, maximum = 1000),
        ("page[after]" = Option<String>, Query, description = "The cursor behind which the page begins, as found in `links.next`"),
    ),
    responses((status = 200, description = "A page", body = TenantPage))
)]
#[get("/tenants")]
pub(super) async fn list_tenants(
    _: Operator,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let unknown = || Error::parameter("page[after]", "it is no cursor of this list; take it from a link");
    let mut parameters = Parameters::parse(request.query_string())?;
    let size = parameters.number("page[size]", 1, 1000)?.unwrap_or(100);
    let after =
        parameters.take("page[after]").map(|id| Uuid::parse_str(&id).map_err(|_| unknown())).transpose()?;
    parameters.finish()?;
    let read = state.store.read(move |conn| {
        let after = after.map(|id| id.to_string());
        let tenants = conn.tenant_list(after.as_deref(), size + 1)?;
        // Behind a tenant that is gone there is nothing to be found; that must not look like the end.
        let lost = match after {
            Some(after) if tenants.is_empty() => conn.tenant_find(&after)?.is_none(),
            _ => false,
        };
        Ok((tenants, lost))
    });
    let (mut tenants, lost) = read.await?;
    if lost {
        return Err(unknown());
    }
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = tenants.len() > size;
    tenants.truncate(size);
    let base = base(&state, &request);
    let first = format!("{base}/tenants?page%5Bsize%5D={size}");
    let next =
        tenants.last().filter(|_| more).map(|last| format!("{first}&page%5Bafter%5D={}", last.public_id));
    let this = match request.query_string() {
        "" => format!("{base}/tenants"),
        query => format!("{base}/tenants?{query}"),
    };
    let data = tenants.into_iter().map(|tenant| resource(&base, tenant, None)).collect();
    json(&TenantPage { links: PageLinks { this, first, prev: None, next }, data })
}

/// Reads a tenant
///
/// Needs the operator's key.
#[utoipa::path(
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The tenant's id")),
    responses((status = 200, description = "The tenant", body = TenantDocument))
)]
#[get("/tenants/{id}")]
pub(super) async fn get_tenant(
    _: Operator,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let id = uuid(&id, "tenant")?;
    let tenant = state.store.read(move |conn| find(conn, id)).await??;
    json(&document(&base(&state, &request), tenant, None))
}

/// Renames a tenant
///
/// Needs the operator's key.
#[utoipa::path(
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The tenant's id")),
    request_body(content = TenantWriteDocument, example = json!({"data": {"type": "tenant", "attributes": {"name": "Acme Labs"}}})),
    responses((status = 200, description = "The tenant as it is now", body = TenantDocument))
)]
#[patch("/tenants/{id}")]
pub(super) async fn patch_tenant(
    _: Operator,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Body<TenantWriteDocument>,
) -> Result<HttpResponse, Error> {
    let id = uuid(&id, "tenant")?;
    let data = body.value.data;
    check_type(&data.r#type, "tenant")?;
    if data.id.is_some_and(|given| given != id.to_string()) {
        return Err(Error::new(ErrorCode::Conflict, "it is not the id in the URL").at("/data/id"));
    }
    check_name(&data.attributes.name)?;
    let rename = state.store.write(None, move |conn| {
        let found = find(conn, id)?;
        if let Ok(tenant) = &found {
            conn.tenant_rename(tenant.id, &data.attributes.name)?;
            return find(conn, id);
        }
        Ok(found)
    });
    let tenant = rename.await??;
    state.directory.forget(tenant.id);
    json(&document(&base(&state, &request), tenant, None))
}

/// Deletes a tenant
///
/// Its keys end at once, its notifications are removed soon after. It can't be undone. Needs the operator's key.
#[utoipa::path(
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The tenant's id")),
    responses((status = 204, description = "Deleted"))
)]
#[delete("/tenants/{id}")]
pub(super) async fn delete_tenant(
    _: Operator,
    _: NoParameters,
    state: web::Data<State>,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let id = uuid(&id, "tenant")?;
    let tenant = state.store.read(move |conn| find(conn, id)).await??;
    let now = Utc::now().timestamp_micros();
    // In the tenant's turn among the writers, so that nothing of it is being stored meanwhile.
    state.store.write(Some(tenant.id), move |conn| conn.tenant_delete(tenant.id, now)).await?;
    state.directory.forget_all();
    Ok(HttpResponse::NoContent().finish())
}
