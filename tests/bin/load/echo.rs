//! The ceiling: what the HTTP server that Tidings is built on can do when it reads the event as JSON and answers with it,
//! and keeps nothing.

use actix_web::{App, HttpResponse, HttpServer, web};
use tidings_api::event::EventDocument;

async fn answer(event: web::Json<EventDocument>) -> HttpResponse {
    HttpResponse::Created().content_type(tidings_api::MEDIA_TYPE).body(
        serde_json::to_vec(&event.into_inner()).expect("what was read from JSON can be written as JSON"),
    )
}

/// Echoes every POST until it is killed.
pub(crate) fn run(port: u16, workers: usize) {
    let served = actix_web::rt::System::new().block_on(async {
        HttpServer::new(|| {
            App::new()
                .app_data(web::JsonConfig::default().limit(1 << 24))
                .default_service(web::post().to(answer))
        })
        .workers(workers)
        .bind(("127.0.0.1", port))?
        .run()
        .await
    });
    served.expect("the echo runs until it is killed");
}
