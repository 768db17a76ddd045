//! Catching up: reading everything after the cursor, once at least, into the inbox.

use std::pin::pin;
use std::time::Duration;

use futures_timer::Delay;
use futures_util::future::{join, select};

use super::Archiver;
use super::health::Part;
use super::timing::{Backoff, between};
use crate::inbox::Incoming;
use crate::query::documents;
use crate::{Error, NotificationDocument, Sequence};

const PAGE: u16 = 1_000;
/// How long after a push that came too early the others may still come by themselves. With many pushes at a time it is
/// usual that some overtake others.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// A page of notifications, ready to be stored.
struct Page {
    tenant: Option<String>,
    items: Vec<Incoming>,
    /// The cursor behind it.
    cursor: Sequence,
    is_last: bool,
}

impl Archiver {
    /// Catches up at the start, on the schedule, and after each sign of a hole. Ends only with an error after which it
    /// would be wrong to go on.
    pub(super) async fn keep_catching_up(&self) -> Error {
        let inner = &*self.inner;
        let interval = inner.settings.interval;
        let mut failures = 0;
        loop {
            // A sign from before is answered by what follows.
            inner.hole.clear();
            match self.catch_up().await {
                Ok(_) => {
                    failures = 0;
                    inner.status.works(Part::CatchUp);
                    let pause = Delay::new(interval.mul_f64(between(0.9, 1.0)));
                    select(pause, pin!(hole(self))).await;
                }
                Err(error @ Error::OtherTenant { .. }) => return error,
                Err(error) => {
                    failures += 1;
                    inner.status.fails(Part::CatchUp, &error);
                    let asked = match &error {
                        Error::Api { retry_after, .. } => retry_after.unwrap_or_default(),
                        _ => Duration::ZERO,
                    };
                    Delay::new(Backoff::OUTAGE.after(failures).min(interval).max(asked)).await;
                }
            }
        }
    }

    /// Reads from the cursor to the end of the list. Returns how many were new.
    pub(super) async fn catch_up(&self) -> Result<u64, Error> {
        let inner = &*self.inner;
        let mut size = PAGE;
        let mut page = self.page(inner.settings.inbox.cursor().await?, &mut size).await?;
        if !page.is_last {
            // Much is to come: so that one can tell how much.
            let newest = inner.settings.client.notifications().any_dismissed().newest_first().page_size(1);
            if let Some(newest) = newest.page().await?.data.first() {
                inner.status.newest_is(newest.id);
            }
        }
        let mut new = 0;
        loop {
            let Page { tenant, items, cursor, is_last } = page;
            let store = async {
                let new = inner.settings.inbox.store_page(tenant, items, cursor).await?;
                inner.arrived.set();
                inner.handled.set();
                Ok::<_, Error>(new as u64)
            };
            if is_last {
                new += store.await?;
                inner.status.newest_is(cursor);
                return Ok(new);
            }
            // The next one comes while this one is written.
            let (stored, next) = join(store, self.page(cursor, &mut size)).await;
            new += stored?;
            page = next?;
        }
    }

    /// The page after a cursor, smaller if its size takes too long. After a cursor that has expired: the first page of
    /// all that are kept.
    async fn page(&self, after: Sequence, size: &mut u16) -> Result<Page, Error> {
        let mut from = after;
        let (page, tenant) = loop {
            let query = self.inner.settings.client.notifications().any_dismissed().oldest_first();
            match query.page_size(*size).after(from).page_of_tenant().await {
                Ok(answer) => break answer,
                Err(error) if error.is_cursor_expired() && from != Sequence::START => from = Sequence::START,
                // The way may be too slow for so many at once.
                Err(Error::Timeout(_)) if *size > 1 => *size /= 10,
                Err(error) => return Err(error),
            }
        };
        let named = page.meta.as_ref().and_then(|meta| meta.page.as_ref()?.after.parse().ok());
        let last = page.data.last().map(|last| last.id);
        let cursor = named.or(last).unwrap_or(after).max(after);
        // A link back to the same place would have no end.
        let is_last = page.links.next.is_none() || cursor == after;
        let items = documents(page).into_iter().map(incoming).collect::<Result<_, _>>()?;
        Ok(Page { tenant, items, cursor, is_last })
    }
}

/// Waits for the sign of a hole, and then for a moment.
async fn hole(archiver: &Archiver) {
    archiver.inner.hole.seen().await;
    Delay::new(DEBOUNCE).await;
}

/// A document as it is stored: without what the store of the server knows about it, which is no part of the record.
pub(super) fn incoming(mut document: NotificationDocument) -> Result<Incoming, Error> {
    document.data.meta = None;
    let text = serde_json::to_string(&document).map_err(Error::Encode)?;
    let attributes = document.data.attributes;
    let (event_type, dismissed) = (attributes.r#type.as_str().to_owned(), attributes.is_dismissed);
    Ok(Incoming { id: document.data.id, event_type, document: text, dismissed })
}
