//! The receiver as a service of actix-web.

use std::pin::pin;
use std::time::Duration;

use actix_web::dev::HttpServiceFactory;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpRequest, HttpResponse, web};

use futures_timer::Delay;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};

use super::receive::{Refusal, Share, too_large};
use super::{Archiver, MAX_PUSH};
use crate::Error;

/// How long a body may take to come.
const LONGEST_READ: Duration = Duration::from_secs(30);

impl Archiver {
    /// A service of actix-web that takes pushes at this path, see [`Archiver::receive`]. What can't come from the server by its
    /// headers is refused before its body is read; a body that takes longer than 30 seconds is answered with 408.
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
        let take = move |request: HttpRequest, body: web::Payload| {
            let archiver = archiver.clone();
            async move {
                let header = |name: &str| request.headers().get(name)?.to_str().ok();
                let reading = async {
                    // Who can't be right is refused before anything is read.
                    archiver.check_head(header)?;
                    archiver.read_body(body).await
                };
                let receipt = match reading.await {
                    Ok((share, body)) => archiver.take(Ok(share), header, &body).await,
                    Err(refused) => archiver.refuses(refused),
                };
                let status = StatusCode::from_u16(receipt.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                let mut response = HttpResponse::build(status);
                if let Some(time) = receipt.retry_after {
                    response.insert_header((RETRY_AFTER, time.as_secs()));
                }
                response.body(receipt.reason)
            }
        };
        web::resource(path).route(web::post().to(take))
    }

    /// Reads a body, with its share of the memory, in not too long a time.
    async fn read_body(&self, mut body: web::Payload) -> Result<(Share, Vec<u8>), Refusal> {
        let reading = async {
            let (mut share, mut whole) = (self.inner.pushes.share(), Vec::new());
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(|error| (400, Error::Transport(error.to_string())))?;
                if whole.len() + chunk.len() > MAX_PUSH {
                    return Err(too_large());
                }
                share.grow(whole.len() + chunk.len())?;
                whole.extend_from_slice(&chunk);
            }
            Ok((share, whole))
        };
        match select(pin!(reading), Delay::new(LONGEST_READ)).await {
            Either::Left((read, _)) => read,
            Either::Right(_) => Err((408, Error::Timeout(LONGEST_READ))),
        }
    }
}
