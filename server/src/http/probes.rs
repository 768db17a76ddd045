//! What stands outside the base path: for monitors, for readers of the documentation, and the way there.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpResponse, get, web};
use serde::Serialize;

use super::State;
use super::error::Error;
use super::openapi::Description;

/// How a server is.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Health {
    /// `ok`, or why it isn't.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the server is alive
#[utoipa::path(tag = "server", responses((status = 200, description = "It is", body = Health)))]
#[get("/healthz")]
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// Whether the server can do its work
///
/// The database answers and the senders run.
#[utoipa::path(
    tag = "server",
    responses(
        (status = 200, description = "It can", body = Health),
        (status = 503, description = "It can't", body = Health),
    )
)]
#[get("/readyz")]
pub(super) async fn readyz(state: web::Data<State>) -> HttpResponse {
    let status = if *state.stopping.borrow() {
        "the server is stopping"
    } else if !(state.push_alive)() {
        "the senders don't run"
    } else {
        match tokio::time::timeout(Duration::from_secs(2), state.store.read(|conn| conn.ping())).await {
            Ok(Ok(())) => return HttpResponse::Ok().json(Health { status: "ok" }),
            Ok(Err(_)) | Err(_) => "the database doesn't answer",
        }
    };
    HttpResponse::ServiceUnavailable().json(Health { status })
}

/// What the server counts
///
/// For Prometheus, in the format of OpenMetrics.
#[utoipa::path(
    tag = "server",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"))
)]
#[get("/metrics")]
pub(super) async fn metrics(state: web::Data<State>) -> Result<HttpResponse, Error> {
    let text = state.metrics.text(state.store.rooms().bytes()).map_err(|error| {
        tracing::error!(%error, "the metrics can't be written");
        Error::internal()
    })?;
    Ok(HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(text))
}

/// The description of this API
#[utoipa::path(
    tag = "server",
    responses((status = 200, description = "An OpenAPI document", body = Object, content_type = "application/json"))
)]
#[get("/openapi.json")]
pub(super) async fn openapi_json(description: web::Data<Description>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(description.json.clone())
}

/// Leads to the documentation
#[utoipa::path(tag = "server", responses((status = 302, description = "To `/docs/`")))]
#[get("/")]
pub(super) async fn index() -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, "/docs/")).finish()
}

/// Leads to the documentation
#[utoipa::path(tag = "server", responses((status = 302, description = "To `/docs/`")))]
#[get("/docs")]
pub(super) async fn docs() -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, "/docs/")).finish()
}
