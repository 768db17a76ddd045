//! What stands outside the base path: for monitors, for readers of the documentation, and the way there.

mod nodes;

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, get, web};
use serde::Serialize;
use tidings_api::error::ErrorDocument;

use self::nodes::Node;
pub(super) use self::nodes::Nodes;
use super::State;
use super::error::Error;
use super::openapi::Description;
use super::query::Parameters;
use crate::telemetry::Gauges;

/// What is wrong when the database is gone.
const NO_DATABASE: &str = "the database doesn't answer";

/// How a server is.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Health {
    /// `ok`, or why it isn't.
    #[schema(example = "ok")]
    status: &'static str,
}

/// That a server is alive, and who else works on its database.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Alive {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
    /// With `verbose`: `ok`, or what is wrong with the database. Then the nodes are those that were known before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "ok")]
    database: Option<&'static str>,
    /// With `verbose`: all nodes, in the order in which they started.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<Node>>,
}

/// Whether the server is alive
///
/// With `?verbose` also which nodes work on the same database, and how much each has to push. Nothing of any tenant is
/// told. Without the database it answers 200 too.
#[utoipa::path(
    tag = "server",
    params(("verbose" = Option<String>, Query, description = "Tell of all nodes; its value doesn't matter")),
    responses((status = 200, description = "It is", body = Alive))
)]
#[get("/healthz")]
pub(super) async fn healthz(
    request: HttpRequest,
    state: web::Data<State>,
    nodes: web::Data<Nodes>,
) -> HttpResponse {
    let mut parameters = url::form_urlencoded::parse(request.query_string().as_bytes());
    if !parameters.any(|(name, _)| name == "verbose") {
        return HttpResponse::Ok().json(Alive { status: "ok", database: None, nodes: None });
    }
    let (nodes, answers) = nodes.list(&state.store).await;
    let database = if answers { "ok" } else { NO_DATABASE };
    HttpResponse::Ok().json(Alive { status: "ok", database: Some(database), nodes: Some(nodes) })
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
            Ok(Err(_)) | Err(_) => NO_DATABASE,
        }
    };
    HttpResponse::ServiceUnavailable().json(Health { status })
}

/// What the server counts
///
/// For Prometheus, in the format of OpenMetrics. `tidings_nodes` counts all nodes that are alive, `tidings_lanes` and
/// `tidings_leases` what is this node's.
#[utoipa::path(
    tag = "server",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"))
)]
#[get("/metrics")]
pub(super) async fn metrics(state: web::Data<State>, nodes: web::Data<Nodes>) -> Result<HttpResponse, Error> {
    let store = &state.store;
    let gauges = Gauges {
        lane_bytes: store.rooms().bytes(),
        nodes: nodes.alive(store).await,
        lanes: store.pulse().lanes(),
        leases: store.rooms().count(),
    };
    let text = state.metrics.text(gauges).map_err(|error| {
        tracing::error!(%error, "the metrics can't be written");
        Error::internal()
    })?;
    Ok(HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(text))
}

/// The description of this API
///
/// As OpenAPI 3.1, or as 3.0 for what doesn't read that yet. Both say the same.
#[utoipa::path(
    tag = "server",
    params(("version" = Option<String>, Query, description = "The version of OpenAPI: `3.0` or, by default, `3.1`", example = "3.0")),
    responses(
        (status = 200, description = "An OpenAPI document", body = Object, content_type = "application/json"),
        (status = 400, description = "A version that there isn't, or an unknown parameter", body = ErrorDocument),
    )
)]
#[get("/openapi.json")]
pub(super) async fn openapi_json(
    description: web::Data<Description>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let mut parameters = Parameters::parse(request.query_string())?;
    let version = parameters.take("version");
    parameters.finish()?;
    let json = match version.as_deref() {
        None | Some("3.1") => &description.json,
        Some("3.0") => &description.json_3_0,
        Some(_) => return Err(Error::parameter("version", "3.0 or 3.1 is expected")),
    };
    Ok(HttpResponse::Ok().content_type("application/json").body(json.clone()))
}

/// Leads to the documentation
///
/// A page for people; all calls can be tried from it.
#[utoipa::path(tag = "server", responses((status = 302, description = "To `/docs/`")))]
#[get("/docs")]
pub(super) async fn docs() -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, "/docs/")).finish()
}
