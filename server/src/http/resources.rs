//! Users and entities: the newest copy that an event brought.

use actix_web::{HttpRequest, HttpResponse, get, web};
use serde_json::value::RawValue;
use tidings_api::jsonapi::{RawResource, SelfLink};
use tidings_api::notification::ResourceDocument;

use super::auth::Consumer;
use super::error::Error;
use super::query::Parameters;
use super::{State, base, json, media, shape};
use crate::rules::document::{is_field, segment, sparse};
use crate::store::seam::{Resource, ResourceKind, TenantId};

/// Reads a user
///
/// The newest copy that an event brought; only type and id where the user was only ever named. Role: `consumer`.
#[utoipa::path(
    tag = "users and entities",
    params(
        ("id" = String, Path, description = "The user's id", example = "100"),
        ("fields[user]" = Option<String>, Query, description = "The attributes to show, a comma list"),
    ),
    responses((status = 200, description = "The user", body = ResourceDocument))
)]
#[get("/users/{id}")]
pub(super) async fn get_user(
    caller: Consumer,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    respond(&state, &request, caller.0, ResourceKind::User, &id).await
}

/// Reads an entity
///
/// The newest copy that an event brought; only type and id where the entity was only ever named. Role: `consumer`.
#[utoipa::path(
    tag = "users and entities",
    params(
        ("id" = String, Path, description = "The entity's id", example = "experiment:d5dc8e92-580d-41e2-9c65-99726294966c"),
        ("fields[entity]" = Option<String>, Query, description = "The attributes to show, a comma list"),
    ),
    responses((status = 200, description = "The entity", body = ResourceDocument))
)]
#[get("/entities/{id}")]
pub(super) async fn get_entity(
    caller: Consumer,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    respond(&state, &request, caller.0, ResourceKind::Entity, &id).await
}

async fn respond(
    state: &State,
    request: &HttpRequest,
    tenant: TenantId,
    kind: ResourceKind,
    id: &str,
) -> Result<HttpResponse, Error> {
    let (name, path) = match kind {
        ResourceKind::User => ("user", "users"),
        ResourceKind::Entity => ("entity", "entities"),
    };
    let mut parameters = Parameters::parse(request.query_string())?;
    let fields = shape::names(&mut parameters, &format!("fields[{name}]"));
    parameters.finish()?;
    // No stored id holds it, and PostgreSQL would refuse to look.
    if id.contains('\0') {
        return Err(Error::not_found(name));
    }
    let wanted = id.to_owned();
    let found = state.store.read(move |conn| conn.resource_get(tenant, kind, &wanted)).await?;
    let raw = match found {
        None => return Err(Error::not_found(name)),
        Some(Resource::Included(content)) => find(&content.included, name, id),
        Some(Resource::Named) => None,
    };
    let mut text = match raw {
        Some(raw) => raw,
        None => serde_json::json!({"type": name, "id": id}).to_string(),
    };
    let strict = media::wants_strict(request.headers());
    if strict || fields.is_some() {
        let wanted = |field: &str| fields.as_ref().is_none_or(|fields| fields.iter().any(|it| it == field));
        let mut out = Vec::with_capacity(text.len());
        sparse(&mut out, &text, |field| wanted(field) && (!strict || is_field(field)));
        text = String::from_utf8(out).unwrap_or(text);
    }
    let data: RawResource = serde_json::from_str(&text).map_err(|error| {
        tracing::error!(%error, "a stored resource can't be read");
        Error::internal()
    })?;
    let links = SelfLink { this: format!("{}/{path}/{}", base(state, request), segment(id)) };
    json(&ResourceDocument { links, data })
}

/// The resource object with this type and id.
fn find(included: &str, name: &str, id: &str) -> Option<String> {
    let all: Vec<&RawValue> = serde_json::from_str(included).ok()?;
    let is_it = |raw: &&RawValue| {
        serde_json::from_str::<tidings_api::jsonapi::Identifier>(raw.get())
            .is_ok_and(|identifier| identifier.r#type == name && identifier.id == id)
    };
    all.into_iter().find(is_it).map(|raw| raw.get().to_owned())
}
