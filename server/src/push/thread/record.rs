//! What a thread leaves behind: outcomes, and pushes that have to stop.

use std::sync::Arc;

use super::{AGAIN, Event, Thread, now, word};
use crate::directory::TenantEntry;
use crate::push::attempt::Attempts;
use crate::push::watch::stopped;
use crate::rules::notification::StoredNotification;
use crate::rules::retry;
use crate::store::error::StoreError;
use crate::store::seam::{AT_ONCE, AttemptRecord, Outcome, Queries, Report, TenantId};
use crate::store::{Store, Unrecorded};

/// How often a stopping server tries to record an outcome.
const LAST_TRIES: usize = 6;

impl Thread {
    /// The end of a lease: its place is free, and its outcome is recorded with the next batch.
    pub(super) fn report(
        &mut self,
        tenant: TenantId,
        notification: &StoredNotification,
        outcome: Outcome,
        attempt: Option<AttemptRecord>,
    ) {
        self.store.rooms().give_back(tenant, notification.content.size());
        let queue = self.queue(tenant);
        queue.unrecorded += 1;
        if let Outcome::Hold(until) = outcome {
            queue.held_until = Some(until);
        }
        let StoredNotification { sequence, ref state, .. } = *notification;
        self.reports.push(Report { tenant, sequence, attempts: state.attempts, outcome, attempt });
    }

    /// Records the outcomes that have gathered.
    pub(super) fn flush(&mut self) {
        if self.reports.is_empty() {
            return;
        }
        let reports = std::mem::take(&mut self.reports);
        let exhausted = std::mem::take(&mut self.exhausted);
        let (store, attempts, stopping) = (self.store.clone(), self.attempts.clone(), self.stopping.clone());
        self.begin_report(reports, async move |reports| {
            let mut last_tries = LAST_TRIES;
            // An outcome must not be lost while this node lives: its lease would never end. With the node it ends.
            let mut reports = reports;
            while let Err(Unrecorded { error, reports: left }) = store.report(reports).await {
                reports = left;
                if matches!(error, StoreError::Closed) || last_tries == 0 {
                    tracing::warn!(%error, outcomes = reports.len(), "outcomes were not recorded; they will be pushed again");
                    break;
                }
                last_tries -= usize::from(*stopping.borrow());
                tracing::warn!(%error, outcomes = reports.len(), "outcomes could not be recorded; trying again");
                tokio::time::sleep(AGAIN).await;
            }
            // Only now, so that a success that was reported together with the failure counts.
            for (tenant, entry) in exhausted {
                disable(&store, &attempts, tenant, &entry).await;
            }
        });
    }

    /// Begins the recording of outcomes by the task.
    fn begin_report(&mut self, reports: Vec<Report>, record: impl AsyncFnOnce(Vec<Report>) + 'static) {
        self.reporting += 1;
        let tenants = reports.iter().map(|report| report.tenant).collect();
        // Should it panic, nobody knows what was recorded. What was is not touched by this.
        let leases = reports.iter().map(|&Report { tenant, sequence, attempts, .. }| {
            let outcome = Outcome::HandBack(AT_ONCE);
            Report { tenant, sequence, attempts, outcome, attempt: None }
        });
        word::begin(&self.events, Event::Unreported(leases.collect()), async move {
            record(reports).await;
            Event::Reported(tenants)
        });
    }

    /// Hands back what was leased for outcomes that are lost: others, or this node, push it again.
    pub(super) fn unreported(&mut self, leases: Vec<Report>) {
        tracing::error!(
            outcomes = leases.len(),
            "outcomes are lost; what isn't recorded will be pushed again"
        );
        self.reporting -= 1;
        // Not at once, so that a panic that comes each time costs little.
        self.unreported.extend(leases);
    }

    pub(super) fn reported(&mut self, tenants: &[TenantId]) {
        self.reporting -= 1;
        for tenant in tenants {
            if let Some(queue) = self.lanes.get_mut(tenant) {
                queue.unrecorded = queue.unrecorded.saturating_sub(1);
                if queue.unrecorded == 0 {
                    self.pump(*tenant);
                }
            }
        }
    }

    /// Stops the push to a receiver that is gone for good.
    pub(super) fn stop_gone(&self, tenant: TenantId, version: i64) {
        let (store, attempts) = (self.store.clone(), self.attempts.clone());
        tokio::task::spawn_local(async move {
            let reason = "the receiver answered 410 Gone";
            let stopped =
                store.write(Some(tenant), move |conn| stop(conn, tenant, version, reason, false)).await;
            // If it failed, the next attempt will be answered 410 again.
            note_stop(&attempts, tenant, stopped, "gone", reason);
        });
    }
}

/// Disables a push that had no success for too long, after the retries of one of its notifications were exhausted.
async fn disable(store: &Store, attempts: &Attempts, tenant: TenantId, entry: &Arc<TenantEntry>) {
    let Some(after) = entry.settings.push.disable_after_seconds else { return };
    let (version, resumed_at) = (entry.tenant.version, entry.tenant.push_resumed_at);
    let reason =
        format!("the retries of a notification are exhausted, and nothing was delivered for {after} seconds");
    let text = reason.clone();
    let stopped = store
        .write(Some(tenant), move |conn| {
            let last_success = conn.position(tenant)?.last_success_at;
            let disables = retry::disables(Some(after), now(), last_success, resumed_at);
            Ok(disables && stop(conn, tenant, version, &text, true)?)
        })
        .await;
    // If it failed, the next notification whose retries are exhausted asks again.
    note_stop(attempts, tenant, stopped, "disabled", &reason);
}

/// Stops a push, and has it told. Answers whether it did.
fn stop(
    conn: &mut dyn Queries,
    tenant: TenantId,
    version: i64,
    reason: &str,
    disabled: bool,
) -> Result<bool, StoreError> {
    let has_stopped = conn.push_stop(tenant, version, reason, disabled)?;
    if has_stopped {
        stopped(conn, tenant, disabled, reason, now())?;
    }
    Ok(has_stopped)
}

fn note_stop(
    attempts: &Attempts,
    tenant: TenantId,
    stopped: Result<bool, StoreError>,
    kind: &'static str,
    reason: &str,
) {
    match stopped {
        Ok(true) => {
            tracing::warn!(reason, "a push was stopped");
            attempts.metrics.push_stopped(kind);
            attempts.directory.forget(tenant);
        }
        // Stopped before, or not to be stopped.
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "a push could not be stopped"),
    }
}

#[cfg(test)]
mod tests;
