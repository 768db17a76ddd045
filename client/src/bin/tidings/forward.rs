//! Sending notifications on by HTTP.

use std::time::Duration;

use awc::http::header::RETRY_AFTER;
use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt as _;
use tidings_client::archiver::{Item, Outcome};
use tidings_client::inbox::BoxError;
use url::Url;

use crate::failure::{Failure, chain};

const TIMEOUT: Duration = Duration::from_secs(30);
/// No longer than this is waited because a receiver says `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

struct Request {
    id: String,
    attempt: u32,
    body: String,
    answer: oneshot::Sender<Result<Outcome, String>>,
}

/// The way to one URL. The connections stay with the task that holds them, since they can't leave their thread.
pub(crate) struct Forward {
    requests: mpsc::UnboundedSender<Request>,
}

impl Forward {
    pub(crate) fn start(url: &str, timeout: Option<Duration>) -> Result<Self, Failure> {
        let parsed =
            Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = parsed.ok_or_else(|| Failure::usage(format!("{url:?} is no http or https URL")))?;
        // An error says that it is chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = awc::Client::builder()
            .disable_redirects()
            .timeout(timeout.unwrap_or(TIMEOUT))
            .add_default_header(("user-agent", concat!("tidings/", env!("CARGO_PKG_VERSION"))))
            .finish();
        let (requests, mut queue) = mpsc::unbounded::<Request>();
        actix_web::rt::spawn(async move {
            while let Some(request) = queue.next().await {
                let sent = send(&client, &url, request.id, request.attempt, request.body);
                let answer = request.answer;
                // Whoever asked may have been told to end.
                actix_web::rt::spawn(async move { drop(answer.send(sent.await)) });
            }
        });
        Ok(Forward { requests })
    }

    pub(crate) async fn send(&self, item: &Item) -> Result<Outcome, BoxError> {
        let (answer, answered) = oneshot::channel();
        let (id, attempt, body) = (item.id().to_string(), item.attempt(), item.raw().to_owned());
        self.requests.unbounded_send(Request { id, attempt, body, answer })?;
        Ok(answered.await??)
    }
}

fn send(
    client: &awc::Client,
    url: &Url,
    id: String,
    attempt: u32,
    body: String,
) -> impl Future<Output = Result<Outcome, String>> + use<> {
    let request = client
        .post(url.as_str())
        .insert_header(("content-type", "application/json"))
        .insert_header(("tidings-sequence", id))
        .insert_header(("tidings-attempt", attempt.to_string()))
        .send_body(body);
    async move {
        let mut response = request.await.map_err(|error| chain(&error))?;
        // Read to its end, so that the connection can be used again.
        let _ = response.body().limit(1 << 20).await;
        let status = response.status();
        let pause = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match (status.as_u16(), pause) {
            (200..300, _) => Ok(Outcome::Done),
            (429 | 503, Some(seconds)) => {
                Ok(Outcome::RetryAfter(Duration::from_secs(seconds).min(LONGEST_PAUSE)))
            }
            (status, _) => Err(format!("the receiver answered {status}")),
        }
    }
}
