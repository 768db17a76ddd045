//! Dismissing at the server what was handled, in batches.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures_timer::Delay;
use futures_util::future::select;
use tidings_api::operations::MAX_OPERATIONS;

use super::Archiver;
use super::health::Part;
use super::timing::Backoff;
use crate::{Error, ErrorCode, Flags, Sequence};

/// How long to wait for others to be handled, which can be dismissed in the same request.
const GATHERING: Duration = Duration::from_millis(100);
/// How often to look without a sign: another process may have stored that something is to be dismissed.
const LOOK: Duration = Duration::from_secs(10);
/// How long the end of an archiver may wait for the last request.
const FAREWELL: Duration = Duration::from_secs(5);

impl Archiver {
    pub(super) async fn keep_dismissing(&self) -> Infallible {
        let inner = &*self.inner;
        let mut failures = 0;
        loop {
            let refused = match self.dismiss_all().await {
                Ok((_, refused)) => refused,
                Err(error) => Some(error),
            };
            match refused {
                None => {
                    failures = 0;
                    inner.status.works(Part::Dismiss);
                    select(Delay::new(LOOK), pin!(inner.handled.seen())).await;
                    Delay::new(GATHERING).await;
                }
                Some(error) => {
                    failures += 1;
                    inner.status.fails(Part::Dismiss, &error);
                    Delay::new(Backoff::OUTAGE.after(failures)).await;
                }
            }
        }
    }

    /// Dismisses all that is to be dismissed, if that works at once.
    pub(super) async fn dismiss_quickly(&self) {
        let dismissing = async {
            if let Ok((_, Some(error))) | Err(error) = self.dismiss_all().await {
                self.inner.status.fails(Part::Dismiss, &error);
            }
        };
        select(pin!(dismissing), Delay::new(FAREWELL)).await;
    }

    /// Dismisses all that is to be dismissed. Returns how many, and whether the server has refused some, for another
    /// reason than that they are gone. Those stay as they are; they don't hold up the rest.
    pub(super) async fn dismiss_all(&self) -> Result<(u64, Option<Error>), Error> {
        let inbox = &self.inner.settings.inbox;
        let (mut count, mut refused) = (0, None);
        let mut after = Sequence::START;
        loop {
            let ids = inbox.to_dismiss(after, MAX_OPERATIONS).await?;
            let Some(last) = ids.last() else { return Ok((count, refused)) };
            after = *last;
            let mut batches = vec![ids];
            while let Some(mut batch) = batches.pop() {
                match self.send(&batch).await {
                    Ok(()) => {}
                    Err(error) if !is_refusal(&error) => return Err(error),
                    // All or none: one that can't be dismissed is found by halving.
                    Err(_) if batch.len() > 1 => {
                        batches.push(batch.split_off(batch.len() / 2));
                        batches.push(batch);
                        continue;
                    }
                    // It has expired. It won't come again.
                    Err(error) if error.code() == Some(ErrorCode::NotFound) => {}
                    Err(error) => {
                        refused = Some(error);
                        continue;
                    }
                }
                count += batch.len() as u64;
                inbox.dismissed(batch).await?;
            }
        }
    }

    async fn send(&self, ids: &[Sequence]) -> Result<(), Error> {
        let flags = Flags { is_dismissed: Some(true), ..Flags::default() };
        let operations = self.inner.settings.client.operations();
        ids.iter().fold(operations, |operations, id| operations.update(*id, flags)).send().await.map(drop)
    }
}

/// Whether the server itself, not some proxy, has refused this request, and not the key or the time.
fn is_refusal(error: &Error) -> bool {
    match error {
        Error::Api { status: 401 | 403 | 408 | 429, .. } => false,
        // Fewer may do.
        Error::Api { status: 413, .. } => true,
        Error::Api { status: 400..=499, errors, .. } => !errors.is_empty(),
        _ => false,
    }
}
