//! The receiver as a service of actix-web.

use actix_web::dev::HttpServiceFactory;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpRequest, HttpResponse, web};

use super::{Archiver, MAX_PUSH};

impl Archiver {
    /// A service of actix-web that takes pushes at this path, see [`Archiver::receive`].
    ///
    /// ```no_run
    /// # use tidings_client::archiver::Archiver;
    /// # async fn example(archiver: Archiver) -> std::io::Result<()> {
    /// use actix_web::{App, HttpServer};
    ///
    /// HttpServer::new(move || App::new().service(archiver.receiver("/hook"))).bind("127.0.0.1:9090")?.run().await
    /// # }
    /// ```
    pub fn receiver(&self, path: &str) -> impl HttpServiceFactory + use<> {
        let archiver = self.clone();
        let take = move |request: HttpRequest, body: web::Bytes| {
            let header = |name: &str| request.headers().get(name)?.to_str().ok();
            let receipt = archiver.receive(header, &body);
            async move {
                let receipt = receipt.await;
                let status = StatusCode::from_u16(receipt.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                let mut response = HttpResponse::build(status);
                if let Some(time) = receipt.retry_after {
                    response.insert_header((RETRY_AFTER, time.as_secs()));
                }
                response.body(receipt.reason)
            }
        };
        web::resource(path).app_data(web::PayloadConfig::new(MAX_PUSH)).route(web::post().to(take))
    }
}
