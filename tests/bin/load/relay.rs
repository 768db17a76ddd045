//! The ceiling of latency: a relay that forwards each body to the receiver, then answers, and keeps nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::{App, HttpResponse, HttpServer, web};

use crate::bare_client::Poster;

async fn forward(body: web::Bytes, poster: web::Data<Poster>, count: web::Data<AtomicU64>) -> HttpResponse {
    poster.post(count.fetch_add(1, Ordering::Relaxed) + 1, body).await;
    HttpResponse::Created().finish()
}

/// Forwards every POST until it is killed.
pub(crate) fn run(port: u16, workers: usize, receiver: String) {
    let count = web::Data::from(Arc::new(AtomicU64::new(0)));
    let served = actix_web::rt::System::new().block_on(async {
        HttpServer::new(move || {
            // Connections belong to the worker that made them.
            App::new()
                .app_data(web::Data::new(Poster::new(&receiver)))
                .app_data(count.clone())
                .app_data(web::PayloadConfig::new(1 << 24))
                .default_service(web::post().to(forward))
        })
        .workers(workers)
        .bind(("127.0.0.1", port))?
        .run()
        .await
    });
    served.expect("the relay runs until it is killed");
}
