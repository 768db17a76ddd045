//! The thread that holds the HTTP connections: requests go in by a channel, answers come out.
//!
//! The connections are those of awc, which can't leave the thread it was made on; hence the thread, and hence
//! every timer is here too: callers may run on an executor that has none. What awc 3.11 leaves to its
//! user is done here:
//! - its timeout ends with the head of the answer, so one deadline is set around head and body;
//! - a body that is shorter than its `Content-Length` is given out as if it were whole, so it is counted;
//! - an interim answer (1xx) is taken for the final one, and the connection goes back to the pool with
//!   the final one still to come, so the pool is thrown away;
//! - it follows redirects, which would carry the key elsewhere, so they are switched off;
//! - HTTP/2 waits for delayed acknowledgements (no `TCP_NODELAY`), so HTTP/1.1 is used.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use actix_rt::time::{sleep, timeout};
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, RETRY_AFTER};
use awc::http::{Method, Version};
use chrono::{DateTime, Utc};
use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use tidings_api::TENANT_HEADER;

use crate::Error;
use crate::backoff::Backoff;

/// No longer than this is waited because a server said `Retry-After`; beyond, the caller decides.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(10) };

/// A request.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// How much longer than usual the server may take, because it was asked to wait.
    pub(crate) wait: Duration,
    /// How long to hold the request back.
    pub(crate) delay: Duration,
    /// Whether it can be carried out twice without harm: it reads, or sets values, or has an idempotency key.
    pub(crate) repeatable: bool,
}

/// A complete answer, of whatever status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// Whose key it was: the tenant's id. Absent in answers of proxies and of older servers.
    pub(crate) tenant: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// What every request has in common.
pub(crate) struct Settings {
    pub(crate) key: HeaderValue,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) max_body: usize,
}

struct Job {
    request: Request,
    answer: oneshot::Sender<Result<Answer, Error>>,
}

/// The way to the thread. The thread ends when this is dropped.
pub(crate) struct Transport {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Transport {
    pub(crate) fn start(settings: Settings) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::unbounded();
        let (started, starting) = std::sync::mpsc::channel();
        let body = move || match actix_rt::Runtime::new() {
            Ok(runtime) => {
                let _ = started.send(Ok(()));
                runtime.block_on(serve(settings, queue));
            }
            Err(error) => drop(started.send(Err(error))),
        };
        std::thread::Builder::new().name("tidings-client".to_owned()).spawn(body).map_err(Error::Start)?;
        match starting.recv() {
            Ok(Ok(())) => Ok(Transport { jobs }),
            Ok(Err(error)) => Err(Error::Start(error)),
            Err(_) => Err(thread_is_gone()),
        }
    }

    /// Sends a request, and again where that can help. Dropping the future takes the request back.
    pub(crate) async fn exchange(&self, request: Request) -> Result<Answer, Error> {
        // No bound is needed: every job in the queue has a caller who waits for it.
        let (answer, answered) = oneshot::channel();
        self.jobs.unbounded_send(Job { request, answer }).map_err(|_| thread_is_gone())?;
        answered.await.map_err(|_| thread_is_gone())?
    }
}

fn thread_is_gone() -> Error {
    Error::Transport("the thread of the client has ended".to_owned())
}

async fn serve(settings: Settings, mut queue: mpsc::UnboundedReceiver<Job>) {
    // An error says that the process has chosen its provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = Rc::new(Http { client: RefCell::new(new_pool()), settings });
    while let Some(job) = queue.next().await {
        actix_rt::spawn(Rc::clone(&http).run(job));
    }
}

fn new_pool() -> awc::Client {
    awc::Client::builder()
        // By default 100 requests may be under way; long polls would soon use that up.
        .connector(awc::Connector::new().limit(0))
        .max_http_version(Version::HTTP_11)
        .disable_redirects()
        .disable_timeout()
        .finish()
}

struct Http {
    client: RefCell<awc::Client>,
    settings: Settings,
}

/// A failed attempt, and whether another may do better.
struct Failure {
    error: Error,
    passing: bool,
    /// Whether the server can't have seen the request.
    unsent: bool,
}

impl Failure {
    fn passing(reason: impl ToString) -> Self {
        Failure { error: Error::Transport(reason.to_string()), passing: true, unsent: false }
    }

    fn lasting(error: Error) -> Self {
        Failure { error, passing: false, unsent: false }
    }
}

impl Http {
    async fn run(self: Rc<Self>, job: Job) {
        let Job { request, mut answer } = job;
        let outcome = match select(pin!(self.exchange(&request)), answer.cancellation()).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => return,
        };
        // The caller may have gone at this very moment; then nobody wants to know.
        let _ = answer.send(outcome);
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, Error> {
        sleep(request.delay).await;
        let deadline = self.settings.timeout.saturating_add(request.wait);
        let mut failures = 0;
        loop {
            let outcome = match timeout(deadline, self.attempt(request)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::lasting(Error::Timeout(deadline))),
            };
            let delay = match failures < self.settings.retries {
                true => delay_before_retry(&outcome, failures, request.repeatable),
                false => None,
            };
            match delay {
                Some(delay) => sleep(delay).await,
                None => return outcome.map_err(|failure| failure.error),
            }
            failures += 1;
        }
    }

    async fn attempt(&self, request: &Request) -> Result<Answer, Failure> {
        let client = self.client.borrow().clone();
        let mut outgoing = client
            .request(request.method.clone(), request.url.as_str())
            .insert_header(("x-api-key", self.settings.key.clone()))
            .insert_header(("accept", tidings_api::MEDIA_TYPE))
            .insert_header(("user-agent", concat!("tidings-client/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in &request.headers {
            outgoing = outgoing.insert_header((*name, value.as_str()));
        }
        let sent = match request.body.is_empty() {
            true => outgoing.send(),
            false => outgoing.send_body(request.body.clone()),
        };
        let mut incoming = sent.await.map_err(|error| match error {
            SendRequestError::Url(_) | SendRequestError::Http(_) => {
                Failure::lasting(Error::Invalid(format!("the request can't be written: {error}")))
            }
            // That a connection was closed is told in this way too, after the request was written to it.
            SendRequestError::Connect(ref reason) if !matches!(reason, ConnectError::Disconnected) => {
                Failure { unsent: true, ..Failure::passing(error) }
            }
            error => Failure::passing(error),
        })?;
        let status = incoming.status().as_u16();
        if status < 200 {
            // Before anyone else can take this connection from the pool.
            *self.client.borrow_mut() = new_pool();
            return Err(Failure::passing(format!(
                "an interim answer, {status}, where the final one was due"
            )));
        }
        let retry_after = retry_after(incoming.headers());
        let tenant = incoming.headers().get(TENANT_HEADER);
        let tenant = tenant.and_then(|tenant| tenant.to_str().ok()).map(str::to_owned);
        let announced = number(incoming.headers().get(CONTENT_LENGTH));
        let body = incoming.body().limit(self.settings.max_body).await.map_err(|error| match error {
            PayloadError::Overflow => {
                let limit = self.settings.max_body;
                Failure::lasting(Error::Transport(format!("the answer is larger than {limit} bytes")))
            }
            error => Failure::passing(error),
        })?;
        if announced.is_some_and(|announced| announced != body.len() as u64) {
            return Err(Failure::passing("the answer ended before its end"));
        }
        Ok(Answer { status, retry_after, tenant, body: body.into() })
    }
}

/// How long to wait before the next attempt, if there is to be one.
fn delay_before_retry(
    outcome: &Result<Answer, Failure>,
    failures: u32,
    repeatable: bool,
) -> Option<Duration> {
    let asked = match outcome {
        // These two say that it was not begun.
        Ok(Answer { status: 429 | 503, retry_after, .. }) => retry_after.unwrap_or_default(),
        Ok(Answer { status: 502 | 504, retry_after, .. }) if repeatable => retry_after.unwrap_or_default(),
        Err(Failure { passing: true, unsent, .. }) if repeatable || *unsent => Duration::ZERO,
        _ => return None,
    };
    let backoff = BACKOFF.after(failures.saturating_add(1));
    (asked <= LONGEST_RETRY_AFTER).then_some(backoff.max(asked))
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    if let Some(seconds) = number(Some(value)) {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(value.to_str().ok()?).ok()?;
    // A date that has passed means now.
    Some((date.to_utc() - Utc::now()).to_std().unwrap_or_default())
}

fn number(value: Option<&HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.trim().parse().ok()
}
