//! What an attempt's end means: for the notification, for the lane, and for those who are told.

use super::{AGAIN, Thread, after, now};
use crate::push::attempt::{Attempted, Verdict};
use crate::rules::notification::StoredNotification;
use crate::rules::retry;
use crate::store::seam::{AT_ONCE, Outcome, TenantId};

impl Thread {
    pub(super) fn finish(
        &mut self,
        tenant: TenantId,
        notification: &StoredNotification,
        attempted: Attempted,
    ) {
        let at = now();
        let state = &notification.state;
        let failed = u32::try_from(state.attempts.saturating_sub(state.attempts_before)).unwrap_or(0) + 1;
        let Attempted { verdict, record } = attempted;
        let Some(queue) = self.lanes.get_mut(&tenant) else { return };
        let lane = &mut queue.lane;
        let (was_down, fifo) = (lane.is_down(), lane.is_fifo());
        let mut ends_outage = false;
        let outcome = match &verdict {
            Verdict::Delivered { dismiss } => {
                ends_outage = lane.succeeded();
                Outcome::Delivered { dismiss: *dismiss }
            }
            Verdict::Failed { entry, asked, rejected } => {
                let allowed = retry::attempts(&entry.settings.push.retry);
                self.watch.failed(tenant, entry, (failed, allowed), record.as_ref(), at);
                queue.failed_version = entry.tenant.version;
                if *rejected {
                    // The receiver is there; it is this notification that it won't have.
                    lane.rejected(at, notification.sequence);
                } else {
                    lane.failed(at, notification.sequence, *asked);
                }
                if lane.is_down() && !was_down {
                    let why = record.as_ref().and_then(|record| record.error).map(|error| error.as_str());
                    tracing::warn!(
                        tenant = entry.tenant.public_id,
                        why,
                        "the receiver is down, or refuses everything; it will be probed"
                    );
                }
                let chance = f64::from(u32::from_be_bytes(crate::secrets::random())) / f64::from(u32::MAX);
                match retry::delay(&entry.settings.push.retry, failed, chance, *asked) {
                    Some(delay) if fifo => {
                        lane.hold(after(at, delay));
                        Outcome::Hold(after(at, delay))
                    }
                    Some(delay) => Outcome::Retry(after(at, delay)),
                    None => {
                        self.exhausted.insert(tenant, entry.clone());
                        Outcome::Failed
                    }
                }
            }
            Verdict::Hopeless { entry } => {
                self.watch.failed(tenant, entry, (failed, failed), record.as_ref(), at);
                lane.not_sent();
                Outcome::Failed
            }
            Verdict::Gone { version } => {
                lane.not_sent();
                // Until it is stored that the push has stopped.
                lane.hold(after(at, AGAIN));
                self.stop_gone(tenant, *version);
                if fifo { Outcome::Hold(at) } else { Outcome::Retry(AT_ONCE) }
            }
            Verdict::Resting { version, left } => {
                lane.not_sent();
                queue.failed_version = *version;
                lane.hold(after(at, *left));
                Outcome::HandBack(AT_ONCE)
            }
            Verdict::Inactive => {
                lane.not_sent();
                Outcome::HandBack(AT_ONCE)
            }
            Verdict::Unknown => {
                lane.not_sent();
                lane.hold(after(at, AGAIN));
                Outcome::HandBack(AT_ONCE)
            }
        };
        if let Outcome::Retry(time) = outcome {
            self.poll_at = self.poll_at.min(time.max(after(at, AGAIN)));
        }
        self.report(tenant, notification, outcome, record);
        let queue = self.queue(tenant);
        let is_down = queue.lane.is_down();
        queue.more |= was_down || is_down || matches!(outcome, Outcome::Hold(_) | Outcome::HandBack(_));
        if was_down && !is_down {
            tracing::info!(attempts = failed, "a receiver is back");
        }
        if ends_outage {
            self.put_on(tenant);
        }
        // What waits behind a receiver that is down, a push that is paused or, under strict order, behind a notification
        // that has to go first, waits in the database.
        let goes_on = matches!(outcome, Outcome::Delivered { .. } | Outcome::Failed);
        if is_down || (fifo && !goes_on) || matches!(verdict, Verdict::Gone { .. } | Verdict::Inactive) {
            self.hand_back(tenant);
        }
        self.pump(tenant);
    }

    /// Makes due at once what was put off while the receiver was down; the next poll finds it.
    fn put_on(&self, tenant: TenantId) {
        let store = self.store.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = store.put_on(tenant).await {
                tracing::warn!(%error, "what was put off waits for its own time: it could not be made due");
            }
        });
    }

    /// Hands back what waits in the lane, to be claimed again.
    pub(super) fn hand_back(&mut self, tenant: TenantId) {
        let queue = self.queue(tenant);
        let waiting = queue.lane.drain();
        queue.more |= !waiting.is_empty();
        for notification in waiting {
            self.report(tenant, &notification, Outcome::HandBack(AT_ONCE), None);
        }
    }

    pub(super) fn hand_back_everything(&mut self) {
        let tenants: Vec<TenantId> = self.lanes.keys().copied().collect();
        tenants.into_iter().for_each(|tenant| self.hand_back(tenant));
    }
}

#[cfg(test)]
mod tests;
