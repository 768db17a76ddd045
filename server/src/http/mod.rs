//! What is answered: one file for each resource, and what they share.
//!
//! A request passes `observe`, which counts it and turns HEAD into GET, and below the base path `auth::guard`, which
//! finds out who calls. Its handler checks role, parameters and body in this order, asks the store, and writes the
//! answer. Every answer with an error is an `errors` document.

mod alerts;
mod auth;
mod body;
mod console;
mod deliveries;
mod docs;
mod error;
mod event;
mod flags;
mod jobs;
mod keys;
mod list;
mod media;
mod notifications;
mod openapi;
mod operations;
mod overview;
mod own_key;
mod pages;
mod paging;
mod probes;
mod query;
mod resources;
mod settings;
mod shape;
mod statistics;
mod tenants;
mod test;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tidings_api::{BASE_PATH, MEDIA_TYPE};
use tokio::sync::watch;
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_actix_web::{AppExt as _, scope};
use utoipa_swagger_ui::{Config, SwaggerUi};

use self::error::Error;
use self::openapi::Description;
pub use self::openapi::openapi;
use crate::alerts::Alerts;
use crate::directory::{Directory, TenantEntry};
use crate::push::attempt::Attempts;
use crate::push::egress::Egress;
use crate::rules::notification::Micros;
use crate::store::Store;
use crate::store::seam::TenantId;
use crate::telemetry::Metrics;

/// What every handler works with.
pub struct State {
    /// The store.
    pub store: Store,
    /// Tenants and keys.
    pub directory: Arc<Directory>,
    /// Tells people about pushes in trouble.
    pub alerts: Arc<Alerts>,
    /// Which addresses may be called.
    pub egress: Arc<Egress>,
    /// Whether the tenant of the first run may be pushed to on loopback addresses.
    pub demo_loopback: bool,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The hash of the operator's key.
    pub operator_key: [u8; 32],
    /// What links begin with, without a slash at the end; none: taken from the request.
    pub public_url: Option<String>,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Turns true when the server stops: whoever waits gives up.
    pub stopping: watch::Receiver<bool>,
    /// Whether the sending threads run.
    pub push_alive: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl State {
    /// The caller's tenant. If it is gone, so are its keys.
    async fn tenant(&self, id: TenantId) -> Result<Arc<TenantEntry>, Error> {
        self.directory.tenant(id).await?.ok_or_else(Error::unauthenticated)
    }
}

/// Starts to listen. The server ends when it is told so by its handle; it leaves signals to its caller. `attempts` makes
/// what a worker calls receivers with.
///
/// # Errors
/// When the address can't be had.
pub fn server(
    state: State,
    attempts: impl Fn() -> Attempts + Clone + Send + 'static,
    workers: usize,
) -> std::io::Result<Server> {
    let listen = state.listen;
    let state = web::Data::new(state);
    let description = web::Data::new(Description::new());
    let nodes = web::Data::new(probes::Nodes::default());
    let server = HttpServer::new(move || {
        let calls = SwaggerUi::new("/docs/api/{_:.*}").config(Config::from("/openapi.json"));
        App::new()
            .app_data(state.clone())
            .app_data(description.clone())
            .app_data(nodes.clone())
            // Made on the worker's own thread: connections belong to its runtime.
            .app_data(web::Data::new(attempts()))
            .wrap(from_fn(observe))
            .into_utoipa_app()
            .configure(routes)
            .into_app()
            .service(calls)
            .configure(docs::routes)
            .default_service(web::to(nothing_here))
    });
    let server = server
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(30)
        .keep_alive(Duration::from_secs(75))
        .client_request_timeout(Duration::from_secs(10))
        .backlog(2048)
        .bind(listen)?;
    Ok(server.run())
}

/// Every route that is described. What is called most comes first.
fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(
            scope::scope(BASE_PATH)
                .wrap(from_fn(auth::guard))
                .service(notifications::post_notification)
                .service(notifications::list_notifications)
                .service(notifications::get_notification)
                .service(notifications::patch_notification)
                .service(operations::post_operations)
                .service(deliveries::list_deliveries)
                .service(deliveries::list_attempts)
                .service(deliveries::get_delivery)
                .service(jobs::post_job)
                .service(jobs::list_jobs)
                .service(jobs::get_job)
                .service(jobs::delete_job)
                .service(resources::get_user)
                .service(resources::get_entity)
                .service(settings::get_external_notifications)
                .service(settings::patch_external_notifications)
                .service(test::post_external_notifications_test)
                .service(alerts::post_external_notifications_alerts_test)
                .service(own_key::get_own_key)
                .service(statistics::get_statistics)
                .service(overview::get_overview)
                .service(tenants::post_tenant)
                .service(tenants::list_tenants)
                .service(tenants::get_tenant)
                .service(tenants::patch_tenant)
                .service(tenants::delete_tenant)
                .service(keys::post_api_key)
                .service(keys::list_api_keys)
                .service(keys::get_api_key)
                .service(keys::delete_api_key),
        )
        .service(probes::healthz)
        .service(probes::readyz)
        .service(probes::metrics)
        .service(probes::openapi_json)
        .service(probes::docs)
        .service(console::console)
        .service(console::console_file);
}

/// Counts requests, lets HEAD read what GET does, and answers for handlers that panic.
async fn observe<B: MessageBody>(
    state: web::Data<State>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let method = counted(request.method());
    if request.method() == Method::HEAD {
        // The connection still knows, and leaves the body out.
        request.head_mut().method = Method::GET;
    }
    let upgrades = request.head().connection_type() == ConnectionType::Upgrade;
    let mut answering = pin!(next.call(request));
    let mut answer =
        poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(_) => {
                tracing::error!("a handler panicked");
                Poll::Ready(Err(Error::internal().into()))
            }
        })
        .await;
    if upgrades && let Ok(response) = &mut answer {
        // Some ask for HTTP/2 in passing (`Upgrade: h2c`, as Java's client does). actix answers in HTTP/1.1 and then closes;
        // unless that is said, a client uses the connection once more and loses its request.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let (route, status) = match &answer {
        Ok(response) => (response.request().match_pattern(), response.status()),
        Err(error) => (None, error.as_response_error().status_code()),
    };
    state.metrics.request(method, route.as_deref().unwrap_or("unmatched"), status.as_u16());
    answer
}

/// A method as it is counted: of those that nobody knows there may be any number.
fn counted(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// For paths that are not known, and for methods that a known path hasn't.
async fn nothing_here(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Error> {
    body::drain(payload.into_inner()).await;
    let description = request.app_data::<web::Data<Description>>();
    Err(match description.and_then(|description| description.allowed(request.path())) {
        Some(allow) => Error::method_not_allowed(request.method().as_str(), allow),
        None => Error::not_found("path"),
    })
}

/// What every link begins with: scheme, host and base path.
fn base(state: &State, request: &HttpRequest) -> String {
    if let Some(url) = &state.public_url {
        return format!("{url}{BASE_PATH}");
    }
    let connection = request.connection_info();
    let scheme = if connection.scheme() == "https" { "https" } else { "http" };
    let host = connection.host();
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if (1..=255).contains(&host.len()) && host.bytes().all(sane) {
        format!("{scheme}://{host}{BASE_PATH}")
    } else {
        format!("{scheme}://{}{BASE_PATH}", state.listen)
    }
}

/// An answer whose document is written already.
fn answer(document: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().content_type(MEDIA_TYPE).body(document)
}

/// A document as JSON.
fn bytes(document: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document).map_err(|error| {
        tracing::error!(%error, "an answer can't be written as JSON");
        Error::internal()
    })
}

/// An answer with this document.
fn json(document: &impl Serialize) -> Result<HttpResponse, Error> {
    bytes(document).map(answer)
}

/// A stored time.
fn time(micros: Micros) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
