//! Catching up: reading everything after the cursor, once at least, into the inbox.

use std::pin::pin;
use std::time::Duration;

use futures_timer::Delay;
use futures_util::future::{join, select};

use super::builder::Settings;
use super::health::Part;
use super::{Archiver, OUTAGE};
use crate::backoff::between;
use crate::inbox::{Incoming, Kept};
use crate::query::{LONGEST_ASKED, documents};
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
            match self.catch_up(&mut 0).await {
                Ok(()) => {
                    failures = 0;
                    inner.status.works(Part::CatchUp);
                    let pause = Delay::new(interval.mul_f64(between(0.9, 1.0)));
                    select(pause, pin!(hole(self))).await;
                }
                Err(error @ (Error::OtherTenant { .. } | Error::OtherHistory { .. })) => return error,
                Err(error) => {
                    failures += 1;
                    inner.status.fails(Part::CatchUp, &error);
                    let pause = OUTAGE.after(failures).min(interval);
                    Delay::new(pause).await;
                    // It may be back sooner than it said: a push shows that it is.
                    let more = asked(&error, interval).saturating_sub(pause);
                    if !more.is_zero() {
                        select(Delay::new(more), pin!(hole(self))).await;
                    }
                }
            }
        }
    }

    /// Reads from the cursor to the end of the list, and counts how many were new.
    pub(super) async fn catch_up(&self, new: &mut u64) -> Result<(), Error> {
        let inner = &*self.inner;
        let mut size = PAGE;
        let cursor = inner.settings.inbox.cursor().await?;
        self.check_history(cursor).await?;
        let mut page = self.page(cursor, &mut size).await?;
        if !page.is_last {
            // Much is to come: so that one can tell how much.
            inner.status.newest_is(inner.settings.client.newest().await?);
        }
        loop {
            let Page { tenant, items, cursor, is_last } = page;
            let store = async {
                let new = inner.settings.inbox.store_page(tenant, items, cursor).await?;
                inner.arrived.set();
                inner.handled.set();
                Ok::<_, Error>(new as u64)
            };
            if is_last {
                *new += store.await?;
                inner.status.newest_is(cursor);
                return Ok(());
            }
            // The next one comes while this one is written.
            let (stored, next) = join(store, self.page(cursor, &mut size)).await;
            *new += stored?;
            page = next?;
        }
    }

    /// Makes sure that the server is where the inbox knows it: that it still has, under the cursor, what the inbox has.
    /// A server that was restored from a backup numbers new notifications like those that it has lost; what comes after
    /// the cursor would then not be all that is new.
    pub(super) async fn check_history(&self, cursor: Sequence) -> Result<(), Error> {
        let Ok(before) = Sequence::new(cursor.get() - 1) else { return Ok(()) };
        let Settings { client, inbox, .. } = &self.inner.settings;
        let query = client.notifications().any_dismissed().oldest_first().page_size(1).after(before);
        let (page, tenant) = match query.record_of_tenant().await {
            // The server has been there.
            Err(error) if error.is_cursor_expired() => return Ok(()),
            answer => answer?,
        };
        let is_other = match documents(page).pop() {
            Some(given) if given.data.id == cursor => {
                inbox.get(cursor).await?.is_some_and(|held| is_other(&held, &given))
            }
            // This one has expired.
            Some(_) => false,
            // It has lost its newest, or expired all: what is kept are always the newest.
            None => client.newest().await? != Sequence::START,
        };
        if !is_other {
            return Ok(());
        }
        // If it is another tenant's, that is the better reason.
        inbox.store_page(tenant, Vec::new(), Sequence::START).await?;
        Err(Error::OtherHistory { id: cursor })
    }

    /// The page after a cursor, smaller if its size takes too long. After a cursor that has expired: the first page of
    /// all that are kept.
    async fn page(&self, after: Sequence, size: &mut u16) -> Result<Page, Error> {
        let mut from = after;
        let (page, tenant) = loop {
            let query = self.inner.settings.client.notifications().any_dismissed().oldest_first();
            match query.page_size(*size).after(from).record_of_tenant().await {
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

/// Whether these are two different notifications. A push may have less of the same one than its list.
fn is_other(held: &Kept, given: &NotificationDocument) -> bool {
    let attributes = &given.data.attributes;
    let held_at = serde_json::from_str::<NotificationDocument>(&held.document);
    held.event_type != attributes.r#type.as_str()
        || held_at.is_ok_and(|held| held.data.attributes.created_at != attributes.created_at)
}

/// How long the server has asked to be left alone, within reason.
fn asked(error: &Error, interval: Duration) -> Duration {
    match error {
        Error::Api { retry_after, .. } => retry_after.unwrap_or_default().min(interval.max(LONGEST_ASKED)),
        _ => Duration::ZERO,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_ask_for_years_of_peace() {
        let of = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            Error::Api { status: 503, errors: Vec::new(), retry_after }
        };
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
        assert_eq!(asked(&of(600), minute), Duration::from_secs(600));
        assert_eq!(asked(&of(100_000_000), minute), Duration::from_secs(3_600));
        assert_eq!(asked(&of(100_000_000), day), day);
        assert_eq!(asked(&Error::Timeout(day), minute), Duration::ZERO);
    }
}
