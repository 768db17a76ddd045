//! Taking a push: check it, store it, and only then say so.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidings_api::TENANT_HEADER;

use super::catch_up::incoming;
use super::health::Part;
use super::{Archiver, Inner};
use crate::inbox::Incoming;
use crate::webhook::{self, equal, stamp};
use crate::{Error, Sequence};

/// The largest push that is taken, in bytes.
pub const MAX_PUSH: usize = 16 << 20;
/// How much of pushes may be in memory, in bytes: those that are being read, and those that are being stored.
pub(super) const MOST_PUSHES: usize = 64 << 20;
/// When the server may try again what could not be stored.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// How to answer a push. From [`Archiver::receive`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the server pushes it again until it is answered"]
pub struct Receipt {
    /// The HTTP status:
    /// - 200: it is stored, or was stored before. The test push of an admin is answered so too, and not stored;
    /// - 400: it comes from the server, but is no notification;
    /// - 401: it can't be trusted;
    /// - 409: it belongs to another tenant than what is in the inbox, or the inbox has another one with its id;
    /// - 413: it is larger than [`MAX_PUSH`];
    /// - 503: it could not be stored, or too many others are being stored. It is to be sent again.
    pub status: u16,
    /// With 503: the value of the header `Retry-After`, in seconds.
    pub retry_after: Option<Duration>,
    /// The reason, which may be answered as the body: the server shows it to the tenant's admin. Empty with 200.
    pub reason: String,
}

impl Receipt {
    pub(super) fn refused(status: u16, error: &Error) -> Self {
        let retry_after = (status == 503).then_some(RETRY_AFTER);
        // What troubles the disk is not for others.
        let reason = if status == 503 { "it could not be stored".to_owned() } else { error.to_string() };
        Receipt { status, retry_after, reason }
    }
}

/// What pushes take of the memory, in bytes. It is shared by all who take them.
#[derive(Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// A part of the budget. It is given back when this is dropped.
pub(super) struct Share {
    budget: Budget,
    size: usize,
}

impl Budget {
    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), size: 0 }
    }
}

impl Share {
    /// Makes it this large, if there is so much.
    pub(super) fn grow(&mut self, size: usize) -> Result<(), Refusal> {
        let more = size.saturating_sub(self.size);
        let taken = self.budget.0.fetch_add(more, Ordering::Relaxed);
        self.size += more;
        match taken.saturating_add(more) > MOST_PUSHES {
            true => Err((503, Error::Inbox("too many pushes at once".to_owned()))),
            false => Ok(()),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A status, and the reason for it.
pub(super) type Refusal = (u16, Error);

/// Tells the others what a push may have changed. If whoever pushes hangs up while it is being stored, nobody hears
/// whether there was a hole before it; then one looks.
struct Signs<'a> {
    inner: &'a Inner,
    has_arrived: bool,
    shows_hole: bool,
}

impl Drop for Signs<'_> {
    fn drop(&mut self) {
        if self.has_arrived {
            self.inner.arrived.set();
        }
        if self.shows_hole {
            self.inner.hole.set();
        }
    }
}

impl Archiver {
    /// Takes a push of any format, whatever the web framework is. `header` finds a header by its name, given in lower case; `body` is
    /// the request's body as it came. Answer with what the [`Receipt`] says.
    ///
    /// It is checked before it is read, and stored before it is answered: what 200 was answered for survives the
    /// death of the process at that very moment. It is stored only if the returned future is awaited.
    pub fn receive<'h>(
        &self,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
    ) -> Pin<Box<dyn Future<Output = Receipt> + Send>> {
        let mut share = self.inner.pushes.share();
        let room = share.grow(body.len());
        self.take(room.map(|()| share), header, body)
    }

    /// Takes a push whose body has its share of the memory.
    pub(super) fn take<'h>(
        &self,
        share: Result<Share, Refusal>,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
    ) -> Pin<Box<dyn Future<Output = Receipt> + Send>> {
        let archiver = self.clone();
        let tenant = header(TENANT_HEADER).map(str::to_owned);
        let checked = self.check(&header, body);
        let read = checked.and_then(|()| Ok((share?, read(body).map_err(|error| (400, error))?)));
        Box::pin(async move {
            let stored = match read {
                Ok((_share, push)) => archiver.store(tenant, push).await,
                Err(refused) => Err(refused),
            };
            match stored {
                Ok(()) => {
                    archiver.inner.status.works(Part::Push);
                    Receipt { status: 200, retry_after: None, reason: String::new() }
                }
                Err(refused) => archiver.refuses(refused),
            }
        })
    }

    /// Refuses a push.
    pub(super) fn refuses(&self, (status, error): Refusal) -> Receipt {
        match status {
            // Anyone can have sent it.
            401 | 408 | 413 => self.inner.status.refuses(),
            _ => self.inner.status.fails(Part::Push, &error),
        }
        Receipt::refused(status, &error)
    }

    /// Whether it may come from the server, as far as that can be told before its body is there.
    pub(super) fn check_head<'h>(&self, header: impl Fn(&str) -> Option<&'h str>) -> Result<(), Refusal> {
        let settings = &self.inner.settings;
        if settings.verifier.is_none() && settings.headers.is_empty() {
            return Err((401, Error::Signature("no secret to check it with is known here")));
        }
        for (name, values) in &settings.headers {
            let is_one = |given: &str| {
                // All of them are compared, so that the time does not tell which.
                values.iter().fold(false, |is_one, value| equal(given.as_bytes(), value.as_bytes()) | is_one)
            };
            if !header(name).is_some_and(is_one) {
                return Err((401, Error::Signature("the header that it must have is missing or wrong")));
            }
        }
        if settings.verifier.is_some() {
            stamp(header, chrono::Utc::now()).map_err(|error| (401, error))?;
        }
        Ok(())
    }

    /// Whether it comes from the server.
    fn check<'h>(&self, header: impl Fn(&str) -> Option<&'h str>, body: &[u8]) -> Result<(), Refusal> {
        if body.len() > MAX_PUSH {
            return Err(too_large());
        }
        self.check_head(&header)?;
        if let Some(verifier) = &self.inner.settings.verifier {
            verifier.check(header, body, chrono::Utc::now()).map_err(|error| (401, error))?;
        }
        Ok(())
    }

    async fn store(&self, tenant: Option<String>, push: Incoming) -> Result<(), Refusal> {
        let inner = &*self.inner;
        let id = push.id;
        let refused = |error| match error {
            Error::OtherTenant { .. } => (409, error),
            Error::OtherHistory { .. } => {
                // Catching up finds it too, and ends with it.
                inner.hole.set();
                (409, error)
            }
            error => (503, error),
        };
        // A test push is no notification.
        if id == Sequence::START {
            return inner.settings.inbox.note_push(tenant).await.map_err(refused);
        }
        let mut signs = Signs { inner, has_arrived: true, shows_hole: true };
        let received = inner.settings.inbox.receive(tenant, push).await;
        let is_new = received.as_ref().is_ok_and(|received| received.is_new);
        signs.has_arrived = is_new;
        signs.shows_hole = received.as_ref().is_ok_and(|received| received.shows_hole);
        drop(signs);
        if is_new {
            inner.status.newest_is(id);
        }
        received.map(drop).map_err(refused)
    }
}

pub(super) fn too_large() -> Refusal {
    (413, Error::Invalid(format!("a push of more than {MAX_PUSH} bytes is not taken")))
}

/// Reads a push that can be trusted. Its document is stored as it came, but for what the server's store knows about it; of
/// a CloudEvent, that is its data.
fn read(body: &[u8]) -> Result<Incoming, Error> {
    let (document, text) = webhook::read(body)?;
    let is_as_stored = document.data.meta.is_none();
    let mut incoming = incoming(document)?;
    if is_as_stored && let Ok(text) = std::str::from_utf8(text) {
        incoming.document = text.to_owned();
    }
    Ok(incoming)
}
