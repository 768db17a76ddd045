//! Taking a push: check it, store it, and only then say so.

use std::pin::Pin;
use std::time::Duration;

use tidings_api::TENANT_HEADER;

use super::Archiver;
use super::catch_up::incoming;
use super::health::Part;
use crate::inbox::Incoming;
use crate::webhook::equal;
use crate::{Error, NotificationDocument, Sequence};

/// The largest push that is taken, in bytes.
pub const MAX_PUSH: usize = 16 << 20;
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
    /// - 409: it belongs to another tenant than what is in the inbox;
    /// - 413: it is larger than [`MAX_PUSH`];
    /// - 503: it could not be stored. It is to be sent again.
    pub status: u16,
    /// With 503: the value of the header `Retry-After`, in seconds.
    pub retry_after: Option<Duration>,
    /// The reason, which may be answered as the body: the server shows it to the tenant's admin. Empty with 200.
    pub reason: String,
}

impl Receipt {
    fn refused(status: u16, error: &Error) -> Self {
        let retry_after = (status == 503).then_some(RETRY_AFTER);
        // What troubles the disk is not for others.
        let reason = if status == 503 { "it could not be stored".to_owned() } else { error.to_string() };
        Receipt { status, retry_after, reason }
    }
}

impl Archiver {
    /// Takes a push, whatever the web framework is. `header` finds a header by its name, given in lower case; `body` is
    /// the request's body as it came. Answer with what the [`Receipt`] says.
    ///
    /// It is checked before it is read, and stored before it is answered: what 200 was answered for survives the
    /// death of the process at that very moment. It is stored only if the returned future is awaited.
    pub fn receive<'h>(
        &self,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
    ) -> Pin<Box<dyn Future<Output = Receipt> + Send>> {
        let archiver = self.clone();
        let tenant = header(TENANT_HEADER).map(str::to_owned);
        let read = self.check(header, body).and_then(|()| read(body).map_err(|error| (400, error)));
        Box::pin(async move {
            let stored = match read {
                Ok(push) => archiver.store(tenant, push).await,
                Err(refused) => Err(refused),
            };
            let status = &archiver.inner.status;
            match stored {
                Ok(()) => {
                    status.works(Part::Push);
                    Receipt { status: 200, retry_after: None, reason: String::new() }
                }
                Err((code, error)) => {
                    status.fails(Part::Push, &error);
                    Receipt::refused(code, &error)
                }
            }
        })
    }

    /// Whether it comes from the server.
    fn check<'h>(&self, header: impl Fn(&str) -> Option<&'h str>, body: &[u8]) -> Result<(), (u16, Error)> {
        let settings = &self.inner.settings;
        if body.len() > MAX_PUSH {
            return Err((413, Error::Invalid(format!("a push of more than {MAX_PUSH} bytes is not taken"))));
        }
        if settings.verifier.is_none() && settings.header.is_none() {
            return Err((401, Error::Signature("no secret to check it with is known here")));
        }
        if let Some((name, value)) = &settings.header
            && !header(name).is_some_and(|given| equal(given.as_bytes(), value.as_bytes()))
        {
            return Err((401, Error::Signature("the header that it must have is missing or wrong")));
        }
        if let Some(verifier) = &settings.verifier {
            verifier.check(header, body, chrono::Utc::now()).map_err(|error| (401, error))?;
        }
        Ok(())
    }

    async fn store(&self, tenant: Option<String>, push: Incoming) -> Result<(), (u16, Error)> {
        let inner = &*self.inner;
        let id = push.id;
        let refused = |error| match error {
            Error::OtherTenant { .. } => (409, error),
            error => (503, error),
        };
        // A test push is no notification.
        if id == Sequence::START {
            return inner.settings.inbox.note_push(tenant).await.map_err(refused);
        }
        let received = inner.settings.inbox.receive(tenant, push).await.map_err(refused)?;
        if received.is_new {
            inner.status.newest_is(id);
            inner.arrived.set();
        }
        if received.shows_hole {
            inner.hole.set();
        }
        Ok(())
    }
}

/// Reads a push that can be trusted. It is stored as it came, but for what the server's store knows about it.
fn read(body: &[u8]) -> Result<Incoming, Error> {
    let document: NotificationDocument = serde_json::from_slice(body).map_err(Error::Decode)?;
    let is_as_stored = document.data.meta.is_none();
    let mut incoming = incoming(document)?;
    if is_as_stored && let Ok(text) = std::str::from_utf8(body) {
        incoming.document = text.to_owned();
    }
    Ok(incoming)
}
