//! The ceiling of pushing: a client that posts the same bytes from memory, and keeps nothing.
//!
//! It is made of the same library as the server's sender, with the same settings, and runs as many requests at once as the
//! server may for a tenant. It signs nothing, records nothing, and asks nobody for an address.

use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// Posts to one receiver.
#[derive(Clone)]
pub(crate) struct Poster {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Uri,
}

impl Poster {
    pub(crate) fn new(url: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(4))
            .pool_max_idle_per_host(64)
            .build(connector);
        Poster { client, url: url.parse().expect("a URL") }
    }

    /// Posts a body with headers like those of a push.
    pub(crate) async fn post(&self, sequence: u64, body: Bytes) {
        let request = Request::post(&self.url)
            .header("content-type", "application/json")
            .header("user-agent", "tidings")
            .header("webhook-id", format!("msg_00000000-0000-0000-0000-000000000000_{sequence}"))
            .header("webhook-timestamp", "1700000000")
            .header("webhook-signature", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
            .header("tidings-sequence", sequence)
            .header("tidings-attempt", 1)
            .body(Full::new(body))
            .expect("a well-formed request");
        let answer = self.client.request(request).await.expect("the receiver answers");
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.into_body().collect().await.expect("a whole answer");
    }
}

/// What the client has done.
#[derive(Serialize, Deserialize)]
pub(crate) struct Posted {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
}

impl Posted {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// Posts what comes from the standard input, at most `count` times and for at most so long, and says what it has done.
pub(crate) async fn run(url: &str, concurrency: usize, count: u64, seconds: f64) {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).expect("a body");
    let (body, poster, begun) = (Bytes::from(body), Poster::new(url), Instant::now());
    let done = Rc::new(Cell::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..concurrency {
        let (body, poster, done) = (body.clone(), poster.clone(), Rc::clone(&done));
        tasks.spawn_local(async move {
            while done.get() < count && begun.elapsed().as_secs_f64() < seconds {
                done.set(done.get() + 1);
                poster.post(done.get(), body.clone()).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("the receiver takes everything");
    }
    let posted = Posted { requests: done.get(), seconds: begun.elapsed().as_secs_f64() };
    println!("{}", serde_json::to_string(&posted).expect("numbers are JSON"));
}
