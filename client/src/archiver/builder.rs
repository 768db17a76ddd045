//! How an archiver is put together.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidings_api::event_type::EventType;

use super::{Archiver, Item, Outcome, Tx};
use crate::backoff::Backoff;
use crate::inbox::BoxError;
use crate::webhook::Verifier;
use crate::{Client, Error, Inbox};

pub(super) type Handler =
    Box<dyn Fn(Item, Tx) -> BoxFuture<'static, Result<Outcome, BoxError>> + Send + Sync>;

/// A schedule. From [`every`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every(Duration);

/// At once, and then each time that this time has passed.
pub fn every(interval: Duration) -> Every {
    Every(interval)
}

/// What an archiver is made of, once it is complete.
pub(super) struct Settings {
    pub(super) client: Client,
    pub(super) inbox: Inbox,
    pub(super) verifier: Option<Verifier>,
    /// By name, in lower case: the values of which each push must have one.
    pub(super) headers: HashMap<String, Vec<String>>,
    pub(super) handlers: HashMap<String, Handler>,
    pub(super) otherwise: Handler,
    pub(super) interval: Duration,
    pub(super) concurrency: usize,
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
}

/// Settings of an [`Archiver`]. From [`Archiver::builder`].
///
/// It can be built once [`otherwise`](ArchiverBuilder::otherwise) has been called, because types of events will come
/// that nobody knows of yet.
#[must_use]
pub struct ArchiverBuilder<Otherwise = ()> {
    client: Client,
    inbox: Inbox,
    secrets: Vec<String>,
    headers: Vec<(String, String)>,
    handlers: Vec<(String, Handler)>,
    otherwise: Otherwise,
    interval: Duration,
    concurrency: usize,
    max_attempts: u32,
    backoff: Backoff,
}

/// The mark of an [`ArchiverBuilder`] that has a handler for every type of event.
pub struct Complete(Handler);

impl fmt::Debug for Complete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Complete").finish_non_exhaustive()
    }
}

impl<Otherwise> fmt::Debug for ArchiverBuilder<Otherwise> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiverBuilder")
            .field("inbox", &self.inbox)
            .field("types", &self.handlers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("interval", &self.interval)
            .field("concurrency", &self.concurrency)
            .field("max_attempts", &self.max_attempts)
            .finish_non_exhaustive()
    }
}

impl Archiver {
    /// An archiver of the notifications that the client's key can read, in this inbox. The key is of the role
    /// `consumer`.
    pub fn builder(client: Client, inbox: Inbox) -> ArchiverBuilder {
        ArchiverBuilder {
            client,
            inbox,
            secrets: Vec::new(),
            headers: Vec::new(),
            handlers: Vec::new(),
            otherwise: (),
            interval: Duration::from_secs(300),
            concurrency: 8,
            max_attempts: 20,
            backoff: Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(3_600) },
        }
    }
}

fn boxed<F, Fut>(handler: F) -> Handler
where
    F: Fn(Item, Tx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, BoxError>> + Send + 'static,
{
    Box::new(move |item, tx| Box::pin(handler(item, tx)))
}

impl<Otherwise> ArchiverBuilder<Otherwise> {
    /// A signing secret of the tenant, `whsec_…`. Pushes must be signed with it; with several, with any of them, so
    /// that a secret can be replaced.
    ///
    /// Without a secret and without a [`header`](ArchiverBuilder::header), every push is refused.
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// The header that the tenant's settings have each push carry, and its value: pushes must have it. With a
    /// [`secret`](ArchiverBuilder::secret) too, both must be right. With several values for the same name, any of them
    /// will do, so that the value can be replaced; of several names, each is needed.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// What to do with events of this type.
    ///
    /// A handler that ends with an error, or panics, is called again: after a second, then twice as long each time up
    /// to an hour, up to half of it earlier by chance. After [`max_attempts`](ArchiverBuilder::max_attempts) the
    /// notification is dead, with the error's text as the reason. Others don't wait for it, so their order is not
    /// kept.
    ///
    /// It can also happen that a handler has done its work and is called again nevertheless, when its process was
    /// killed before that was recorded. What it writes with [`Tx::commit_with`] is not written twice.
    pub fn on<F, Fut>(mut self, event_type: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Item, Tx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome, BoxError>> + Send + 'static,
    {
        self.handlers.push((event_type.into(), boxed(handler)));
        self
    }

    /// When to catch up, besides at the start and after a push has shown that others are missing. Default: every 300
    /// seconds; at least every second. It is up to a tenth earlier by chance.
    pub fn catch_up(mut self, schedule: Every) -> Self {
        self.interval = schedule.0;
        self
    }

    /// How many handlers may run at a time. Default 8, at least 1.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// How often to try to handle a notification before it is given up as dead. Default 20, at least 1. An attempt
    /// that was cut off, because the process was killed, counts too.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// How long to wait before a failed handler is called again: `first` after the first failure, twice as long after
    /// each further one, `longest` at most. Default: a second, an hour.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = Backoff { first, longest };
        self
    }
}

impl ArchiverBuilder<()> {
    /// What to do with events of any other type. Required.
    pub fn otherwise<F, Fut>(self, handler: F) -> ArchiverBuilder<Complete>
    where
        F: Fn(Item, Tx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome, BoxError>> + Send + 'static,
    {
        let ArchiverBuilder { client, inbox, secrets, headers, handlers, otherwise: (), .. } = self;
        let ArchiverBuilder { interval, concurrency, max_attempts, backoff, .. } = self;
        let otherwise = Complete(boxed(handler));
        ArchiverBuilder {
            client,
            inbox,
            secrets,
            headers,
            handlers,
            otherwise,
            interval,
            concurrency,
            max_attempts,
            backoff,
        }
    }
}

impl ArchiverBuilder<Complete> {
    /// The archiver. It does nothing until it is called.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a type has two handlers, or a setting can't be used.
    pub fn build(self) -> Result<Archiver, Error> {
        let invalid = |why: &str| Err(Error::Invalid(why.to_owned()));
        let mut handlers = HashMap::new();
        for (name, handler) in self.handlers {
            if let Err(error) = name.parse::<EventType>() {
                return invalid(&format!("a handler can't be called for {name:?}: {error}"));
            }
            if handlers.contains_key(&name) {
                return invalid(&format!("there are two handlers for events of the type {name}"));
            }
            handlers.insert(name, handler);
        }
        if self.interval < Duration::from_secs(1) {
            return invalid("catch up every second or less often");
        }
        if self.concurrency == 0 || self.max_attempts == 0 {
            return invalid("nothing can be handled with a concurrency of 0, or in 0 attempts");
        }
        let mut headers: HashMap<_, Vec<_>> = HashMap::new();
        for (name, value) in self.headers {
            if name.is_empty() || value.is_empty() {
                return invalid("the header of pushes needs a name and a value");
            }
            headers.entry(name.to_lowercase()).or_default().push(value);
        }
        let verifier = match self.secrets.is_empty() {
            true => None,
            false => Some(Verifier::new(&self.secrets)?),
        };
        Ok(Archiver::new(Settings {
            client: self.client,
            inbox: self.inbox,
            verifier,
            headers,
            handlers,
            otherwise: self.otherwise.0,
            interval: self.interval,
            concurrency: self.concurrency,
            max_attempts: self.max_attempts,
            backoff: self.backoff,
        }))
    }
}
