//! Dismissing at the server what was handled, in batches.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_timer::Delay;
use futures_util::future::select;
use tidings_api::operations::MAX_OPERATIONS;

use super::health::Part;
use super::{Archiver, OUTAGE};
use crate::{Error, ErrorCode, Flags, Sequence};

/// How long to wait for others to be handled, which can be dismissed in the same request.
const GATHERING: Duration = Duration::from_millis(100);
/// How often to look without a sign: another process may have stored that something is to be dismissed.
const LOOK: Duration = Duration::from_secs(10);
/// How often those are asked for again that the server has refused.
const REFUSED: Duration = Duration::from_secs(600);
/// How long the end of an archiver may wait for the last request.
const FAREWELL: Duration = Duration::from_secs(5);

/// What has become of notifications that were to be dismissed.
#[derive(Default)]
pub(super) struct Round {
    /// How many were dismissed, or are no longer there.
    pub(super) dismissed: u64,
    /// Those that the server has refused, for another reason than that they are gone. They stay as they are, and are
    /// left out until they are taken from here.
    refused: BTreeSet<Sequence>,
    /// Why the last of them was refused.
    pub(super) refusal: Option<Error>,
}

impl Archiver {
    pub(super) async fn keep_dismissing(&self) -> Infallible {
        let inner = &*self.inner;
        let (mut round, mut failures) = (Round::default(), 0);
        let mut all_asked = Instant::now();
        loop {
            if all_asked.elapsed() >= REFUSED {
                all_asked = Instant::now();
                round = Round::default();
            }
            let before = round.dismissed;
            let ended = self.dismiss_all(&mut round).await;
            if ended.is_ok() || round.dismissed > before {
                failures = 0;
            }
            match (ended, &round.refusal) {
                (Ok(()), None) => inner.status.works(Part::Dismiss),
                (Ok(()), Some(error)) => inner.status.fails(Part::Dismiss, error),
                (Err(error), _) => {
                    failures += 1;
                    inner.status.fails(Part::Dismiss, &error);
                    Delay::new(OUTAGE.after(failures)).await;
                    continue;
                }
            }
            select(Delay::new(LOOK), pin!(inner.handled.seen())).await;
            Delay::new(GATHERING).await;
        }
    }

    /// Dismisses all that is to be dismissed, if that works at once.
    pub(super) async fn dismiss_quickly(&self, round: &mut Round) {
        let dismissing = async {
            let ended = self.dismiss_all(round).await;
            if let Some(error) = ended.err().as_ref().or(round.refusal.as_ref()) {
                self.inner.status.fails(Part::Dismiss, error);
            }
        };
        select(pin!(dismissing), Delay::new(FAREWELL)).await;
    }

    /// Dismisses all that is to be dismissed, but for those that were refused in this round. They don't hold up the
    /// rest.
    pub(super) async fn dismiss_all(&self, round: &mut Round) -> Result<(), Error> {
        let inbox = &self.inner.settings.inbox;
        let mut after = Sequence::START;
        loop {
            let mut ids = inbox.to_dismiss(after, MAX_OPERATIONS).await?;
            let Some(last) = ids.last() else { return Ok(()) };
            after = *last;
            ids.retain(|id| !round.refused.contains(id));
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
                        round.refused.extend(batch);
                        round.refusal = Some(error);
                        continue;
                    }
                }
                let count = batch.len() as u64;
                if count > 0 {
                    inbox.dismissed(batch).await?;
                }
                round.dismissed += count;
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
