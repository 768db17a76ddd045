//! The server in memory: its thread, its handle, its pushes, and what goes wrong on purpose.

use std::fmt;
use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::{App, HttpServer, middleware, web};
use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt as _;
use futures_util::future::{self, Either};
use tidings_api::BASE_PATH;

use super::answers;
use super::store::{Store, Target};
use crate::{Client, ClientBuilder, Event, NotificationDocument, Sequence};

pub(super) const KEY: &str = "the-key-of-the-test";
/// How many pushes are under way at once.
const PUSHES: usize = 8;
/// How long a receiver has for its answer.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is refused with this status, before anything is done.
    Refuse(u16),
    /// The request is carried out, and its answer is cut off on the way.
    Cut,
    /// The request has to wait first.
    Delay(Duration),
}

/// A fault that is to come.
struct Planned {
    part: String,
    fault: Fault,
    times: usize,
}

/// A push to be made, and who wants to know its end.
pub(super) struct Order {
    id: i64,
    done: Option<oneshot::Sender<Option<u16>>>,
}

/// What the handle, the answers and the pushes share.
pub(super) struct Shared {
    store: Mutex<Store>,
    faults: Mutex<Vec<Planned>>,
    requests: Mutex<Vec<String>>,
    orders: mpsc::UnboundedSender<Order>,
}

/// A panic of one test says enough; what it held is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Notes a request, and tells what is to go wrong with it.
    pub(super) fn note(&self, line: String) -> Option<Fault> {
        let mut faults = lock(&self.faults);
        let planned = faults.iter_mut().find(|planned| planned.times > 0 && line.contains(&planned.part));
        let fault = planned.map(|planned| {
            planned.times -= 1;
            planned.fault
        });
        lock(&self.requests).push(line);
        fault
    }

    /// Has a new notification pushed, if there is a place to push to.
    pub(super) fn push(&self, id: Sequence) {
        if self.store().target.is_some() {
            // While the server ends, nobody waits for a push.
            let _ = self.orders.unbounded_send(Order { id: id.get(), done: None });
        }
    }
}

/// A Tidings server in memory, to test one's own program against: at 127.0.0.1, on a thread of its own, until it is
/// dropped. It has one tenant.
///
/// It knows `/notifications` (posting; reading; flags; the list with `filter[isDismissed]`, `filter[isRead]`,
/// `filter[isFlagged]`, `filter[type]`, `sort` by the sequence, `page[size]`, `page[after]`, and `Prefer: wait`) and
/// `/operations`, and pushes. Unlike a real one it pushes each notification once by itself and never again, so that a
/// test decides what gets lost; it has no settings; and it does not compare the bodies of events that have the same
/// idempotency key. Calls that it doesn't know are answered with 404, parameters with 400.
pub struct Server {
    url: String,
    shared: web::Data<Shared>,
    thread: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Server {
    /// The key to which the server listens, for all roles.
    pub const KEY: &str = KEY;

    /// A server, listening.
    ///
    /// # Panics
    /// Without a free port or thread.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a test needs a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let url = format!("http://{address}");
        let (orders, ordered) = mpsc::unbounded();
        let (stop, stopped) = oneshot::channel();
        let shared = web::Data::new(Shared {
            store: Mutex::new(Store::new(format!("{url}{BASE_PATH}"))),
            faults: Mutex::default(),
            requests: Mutex::default(),
            orders,
        });
        let state = shared.clone();
        let body = move || {
            actix_rt::System::new().block_on(async move {
                let pushes = push_all(state.clone(), ordered);
                let app = move || {
                    let scope = web::scope(BASE_PATH)
                        .configure(answers::routes)
                        .default_service(web::to(answers::nothing_here))
                        .wrap(middleware::from_fn(answers::guard));
                    App::new()
                        .app_data(state.clone())
                        .app_data(web::PayloadConfig::new(64 << 20))
                        .service(scope)
                };
                let server = HttpServer::new(app)
                    .workers(1)
                    .disable_signals()
                    .listen(listener)
                    .expect("a listener that is open can be listened to")
                    .run();
                let handle = server.handle();
                let work = future::join(server, pushes);
                if let Either::Right((_, work)) = future::select(Box::pin(work), stopped).await {
                    future::select(Box::pin(handle.stop(false)), work).await;
                }
            });
        };
        let thread = std::thread::Builder::new().name("tidings-testing".to_owned()).spawn(body);
        let thread = thread.expect("a test needs a thread");
        Server { url, shared, thread: Some(thread), stop: Some(stop) }
    }

    /// The URL for [`Client::builder`].
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The id of its tenant, as it stands in the header `tidings-tenant`.
    pub fn tenant(&self) -> String {
        self.shared.store().tenant.clone()
    }

    /// A client of it, with the right key.
    ///
    /// # Panics
    /// Without resources for a thread.
    pub fn client(&self) -> Client {
        self.client_builder().build().expect("a test needs a thread")
    }

    /// A client of it, with the right key, to be set up further.
    pub fn client_builder(&self) -> ClientBuilder {
        Client::builder(&self.url).key(KEY)
    }

    /// Stores an event, and has it pushed as if a producer had posted it.
    pub fn add(&self, event: Event) -> Sequence {
        let document = event.into_document();
        let (new, is_new) = self.shared.store().add(document.data, document.included, None);
        if is_new {
            self.shared.push(new.data.id);
        }
        new.data.id
    }

    /// A notification as it is now, if it is kept.
    pub fn get(&self, id: Sequence) -> Option<NotificationDocument> {
        self.shared.store().kept.get(&id.get()).cloned()
    }

    /// The ids of all that are kept and not dismissed, in their order.
    pub fn undismissed(&self) -> Vec<Sequence> {
        let store = self.shared.store();
        let open = store.kept.values().filter(|document| !document.data.attributes.is_dismissed);
        open.map(|document| document.data.id).collect()
    }

    /// From now on, pushes each new notification to this URL, once and at once, signed with this secret (`whsec_…`).
    pub fn push_to(&self, url: impl Into<String>, secret: impl Into<String>) {
        self.shared.store().target = Some(Target { url: url.into(), secret: secret.into() });
    }

    /// Pushes no longer.
    pub fn stop_pushing(&self) {
        self.shared.store().target = None;
    }

    /// Whether an accepted push dismisses its notification. At first it does not.
    pub fn auto_dismiss(&self, yes: bool) {
        self.shared.store().auto_dismiss = yes;
    }

    /// Pushes a notification now, whatever became of it before. Gives the status of the answer; `None` when there was
    /// none within 10 s, or nothing to push, or no place to push it to.
    pub async fn push(&self, id: Sequence) -> Option<u16> {
        let (done, status) = oneshot::channel();
        let order = Order { id: id.get(), done: Some(done) };
        self.shared.orders.unbounded_send(order).ok()?;
        status.await.ok()?
    }

    /// Forgets all up to this id, as retention would: a cursor below it has expired.
    pub fn forget(&self, up_to: Sequence) {
        self.shared.store().forget(up_to);
    }

    /// Loses all after this id, as one does who restores a backup: the next event is stored under the id after it.
    pub fn lose(&self, after: Sequence) {
        self.shared.store().lose(after);
    }

    /// Lets something go wrong the next so many times (`usize::MAX`: until [`heal`](Server::heal)) with requests whose
    /// line, such as `POST /operations` or `GET /notifications?sort=sequence`, contains this part; the empty one is in
    /// all. Of several faults that fit, the one that was set first comes first.
    pub fn fault(&self, part: impl Into<String>, fault: Fault, times: usize) {
        lock(&self.shared.faults).push(Planned { part: part.into(), fault, times });
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// The lines of all requests so far, such as `POST /operations`, with those that went wrong.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // How it ended is of no concern any more; that it has ended is: its port is free again.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn push_all(shared: web::Data<Shared>, orders: mpsc::UnboundedReceiver<Order>) {
    // An error says that the process has chosen its provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = awc::Client::builder().timeout(PUSH_TIMEOUT).disable_redirects().finish();
    let push = |Order { id, done }| {
        let (shared, http) = (&shared, &http);
        async move {
            let made = shared.store().push(id);
            let Some((url, push)) = made else { return };
            let mut request = http.post(url);
            for (name, value) in &push.headers {
                request = request.insert_header((name.as_str(), value.as_str()));
            }
            let answer = request.send_body(push.body).await;
            let status = answer.ok().map(|answer| answer.status().as_u16());
            shared.store().pushed(id, status.is_some_and(|status| (200..300).contains(&status)));
            // Whoever asked may have gone.
            let _ = done.map(|done| done.send(status));
        }
    };
    orders.for_each_concurrent(PUSHES, push).await;
}
