//! The client for programs without async: the same calls, which return when they are done.
//!
//! ```no_run
//! # fn main() -> Result<(), tidings_client::Error> {
//! use tidings_client::{Client, Flags};
//!
//! let client = Client::builder("http://127.0.0.1:8080").key("CONSUMER_KEY").build()?.blocking();
//! for item in client.notifications().items() {
//!     let item = item?;
//!     println!("{} {}", item.data.id, item.data.attributes.r#type);
//!     client.update(item.data.id, Flags { is_dismissed: Some(true), ..Flags::default() })?;
//! }
//! # Ok(()) }
//! ```
//!
//! It works on any thread that may be blocked: one of one's own, or one that a runtime keeps for such work
//! (`tokio::task::spawn_blocking`, `smol::unblock`). On a thread that drives futures it would hold up all of them.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_util::{Stream, StreamExt as _};
use tidings_api::alert::AlertTestDocument;
use tidings_api::delivery::{AttemptDocument, AttemptPage, DeliveryDocument, DeliveryPage, DeliveryResource};
use tidings_api::job::{JobDocument, JobPage, JobResource};
use tidings_api::notification::ResourceDocument;
use tidings_api::operations::OperationResult;
use tidings_api::settings::SettingsDocument;
use uuid::Uuid;

use crate::{
    Deliveries, Error, Event, Flags, Jobs, NewJob, NotificationDocument, NotificationPage, Operations,
    Posted, Query, Sequence, SettingsPatch,
};

/// The way to one tenant of a Tidings server, for programs without async. From
/// [`Client::blocking`](crate::Client::blocking). Clone it freely: clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: crate::Client,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Waits for a future on this thread, with nothing that any runtime would bring along: for the calls that have no
/// blocking form of their own, such as those of an inbox. What it waits for may wait in the same way: a handler that
/// blocks, within an archiver that blocks.
///
/// A future that needs a runtime, for its timers or its sockets, panics here or waits for ever; those of this crate need
/// none.
pub fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark {
        thread: Thread,
        /// Without it, a wait within this one would take the wake-ups of both.
        woken: AtomicBool,
    }
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::Release);
            self.thread.unpark();
        }
    }
    let unpark = Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(true) });
    let waker = Waker::from(Arc::clone(&unpark));
    let mut future = pin!(future);
    loop {
        while !unpark.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
    }
}

/// What a stream gives, one after the other.
fn each<S: Stream + Send + Unpin>(mut stream: S) -> impl Iterator<Item = S::Item> + Send {
    std::iter::from_fn(move || wait(stream.next()))
}

impl crate::Client {
    /// The same client for a thread that may be blocked. See [`blocking`](crate::blocking).
    pub fn blocking(self) -> Client {
        Client { inner: self }
    }
}

/// Declares the calls that only wait for the one of the same name.
macro_rules! calls {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl Client {
            $(
                #[doc = concat!("Like [`", stringify!($name), "`](crate::Client::", stringify!($name), "),")]
                /// and returns when it is done.
                ///
                /// # Errors
                /// Those of the same call.
                pub fn $name(&self, $($argument: $type),*) -> Result<$answer, Error> {
                    wait(self.inner.$name($($argument),*))
                }
            )*
        }
    };
}

calls! {
    post(event: Event) -> Posted;
    get(id: Sequence) -> NotificationDocument;
    update(id: Sequence, flags: Flags) -> NotificationDocument;
    newest() -> Sequence;
    user(id: &str) -> ResourceDocument;
    entity(id: &str) -> ResourceDocument;
    settings() -> SettingsDocument;
    update_settings(settings: SettingsPatch) -> SettingsDocument;
    patch_settings(patch: &serde_json::Value) -> SettingsDocument;
    test_push() -> AttemptDocument;
    test_alerts() -> AlertTestDocument;
    delivery(id: Sequence) -> DeliveryDocument;
    attempts(id: Sequence) -> AttemptPage;
    job(id: Uuid) -> JobDocument;
    create_job(job: NewJob) -> JobDocument;
    cancel_job(id: Uuid) -> JobDocument;
}

impl Client {
    /// The client for async programs. Both share their connections.
    pub fn into_async(self) -> crate::Client {
        self.inner
    }

    /// Many changes in one request, all or none.
    pub fn operations(&self) -> Operations<Client> {
        Operations::new(self.clone())
    }

    /// The list of notifications: say which, then read it as a page or go through it.
    pub fn notifications(&self) -> Query<Client> {
        Query::new(self.clone())
    }

    /// The push queue: say which deliveries, then read it as a page or go through it.
    pub fn deliveries(&self) -> Deliveries<Client> {
        Deliveries::new(self.clone())
    }

    /// The tenant's jobs: read them as a page or go through them.
    pub fn jobs(&self) -> Jobs<Client> {
        Jobs::new(self.clone())
    }
}

impl Operations<Client> {
    /// Has them carried out. The results are in the order of the operations. Without any, nothing is sent.
    ///
    /// # Errors
    /// When one fails, none has been carried out. More than 1,000 are refused ([`Error::Invalid`]).
    pub fn send(self) -> Result<Vec<OperationResult>, Error> {
        let Operations { client, operations } = self;
        wait(Operations { client: client.inner, operations }.send())
    }
}

impl Query<Client> {
    fn inner(self) -> Query {
        Query { client: self.client.inner, parameters: self.parameters, wait: self.wait }
    }

    /// One page.
    ///
    /// # Errors
    /// [`Error::is_cursor_expired`] when something after the cursor has expired unread.
    pub fn page(self) -> Result<NotificationPage, Error> {
        wait(self.inner().page())
    }

    /// Page after page until the end of the list. After an error it ends.
    pub fn pages(self) -> impl Iterator<Item = Result<NotificationPage, Error>> + Send + use<> {
        each(self.inner().pages())
    }

    /// Notification after notification until the end of the list, each with its user and entity; of those that several
    /// on a page share, the newest copy. After an error it ends.
    pub fn items(self) -> impl Iterator<Item = Result<NotificationDocument, Error>> + Send + use<> {
        each(self.inner().items())
    }

    /// Notification after notification in the order of their sequence, as [`items`](Query::items) has them; at the end
    /// of the list it waits for the next one. After an error that may pass ([`Error::may_pass`]) it goes on where it
    /// was, after any other it ends.
    pub fn follow(self) -> impl Iterator<Item = Result<NotificationDocument, Error>> + Send + use<> {
        each(self.inner().follow())
    }
}

impl Deliveries<Client> {
    fn inner(self) -> Deliveries {
        Deliveries { client: self.client.inner, parameters: self.parameters }
    }

    /// One page.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn page(self) -> Result<DeliveryPage, Error> {
        wait(self.inner().page())
    }

    /// Page after page until the end of the list. After an error it ends.
    pub fn pages(self) -> impl Iterator<Item = Result<DeliveryPage, Error>> + Send + use<> {
        each(self.inner().pages())
    }

    /// Delivery after delivery until the end of the list. After an error it ends.
    pub fn items(self) -> impl Iterator<Item = Result<DeliveryResource, Error>> + Send + use<> {
        each(self.inner().items())
    }
}

impl Jobs<Client> {
    fn inner(self) -> Jobs {
        Jobs { client: self.client.inner, parameters: self.parameters }
    }

    /// One page, the first.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn page(self) -> Result<JobPage, Error> {
        wait(self.inner().page())
    }

    /// Page after page until the end of the list. After an error it ends.
    pub fn pages(self) -> impl Iterator<Item = Result<JobPage, Error>> + Send + use<> {
        each(self.inner().pages())
    }

    /// Job after job until the end of the list. After an error it ends.
    pub fn items(self) -> impl Iterator<Item = Result<JobResource, Error>> + Send + use<> {
        each(self.inner().items())
    }
}
