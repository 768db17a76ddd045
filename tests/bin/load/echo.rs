//! The ceiling: what the HTTP server that Tidings is built on can do when it does nothing but answer.

use actix_web::{App, HttpResponse, HttpServer, web};

async fn answer(body: web::Bytes) -> HttpResponse {
    HttpResponse::Created().content_type(tidings_api::MEDIA_TYPE).body(body)
}

/// Echoes every POST until it is killed.
pub(crate) fn run(port: u16, workers: usize) {
    let served = actix_web::rt::System::new().block_on(async {
        HttpServer::new(|| {
            App::new().app_data(web::PayloadConfig::new(1 << 24)).default_service(web::post().to(answer))
        })
        .workers(workers)
        .bind(("127.0.0.1", port))?
        .run()
        .await
    });
    served.expect("the echo runs until it is killed");
}
