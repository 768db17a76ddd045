//! Removes what has expired and gives up pushes that have waited for too long, in small batches between which other
//! writes go ahead.
//!
//! After each batch it rests, several times as long as the batch took from its place in the queue to its commit: so it takes
//! the same part of a writer's time whether that is busy or idle, fast or slow, and waits longest where others wait too.
//!
//! What was tried, with 64 connections posting 1 KB as fast as they could on SQLite, to ingest alone: batches of 200 one
//! after the other (0.30 of the rate, p99 6.3 times as long; 18,000 removed a second), which was dropped; a rest twice as
//! long as the batch (0.73, 1.35 times; 5,000/s), which is kept for when removal is late; batches of 50 with a rest
//! four times as long (0.82, 1.2 times; 700/s under this load, more under less), which is the usual. On PostgreSQL
//! the usual made no difference that could be told from chance.
//!
//! Dropping partitions was tried on PostgreSQL and left: 300,000 notifications were gone in 0.3 s and writers hardly
//! noticed, while batches without a rest had halved their rate. But every unique key needs the time in it then: neither
//! sequences nor idempotency keys would be unique any more, and states and attempts would have to hold the time as well. A
//! partition also goes only when the longest retention of all tenants is over, so the others' content would be deleted
//! row by row after all, and SQLite has none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::rules::notification::Micros;
use crate::rules::settings::{resolve, unreadable};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::seam::TenantId;
use crate::telemetry::Metrics;

/// How often expired notifications are looked for.
const EVERY: Duration = Duration::from_secs(60);
/// The most that one transaction gives up or removes, but for what has expired: a few milliseconds' work.
const BATCH: i64 = 50;
/// How expired notifications are removed.
const USUAL: Pace = Pace { batch: BATCH, rest: 4 };
/// The same when that is [`LATE`]: rather somewhat slower writers than a full disk.
const HURRIED: Pace = Pace { batch: 200, rest: 2 };
const LATE: Micros = 2 * MICROS_A_DAY;
/// The longest rest: a stop waits for it.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How many users and entities are looked up at once.
const RESOURCES: i64 = 10_000;
/// How many tenants are listed at once.
const TENANTS: i64 = 500;
const MICROS_A_DAY: i64 = 86_400_000_000;

/// How much is removed at once, and how many times as long as that took is the rest behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    batch: i64,
    rest: u32,
}

impl Pace {
    /// That for what should have gone so much earlier.
    fn of(late: Micros) -> Self {
        if late > LATE { HURRIED } else { USUAL }
    }

    fn rest_of(self, took: Duration) -> Duration {
        took.saturating_mul(self.rest).min(LONGEST_REST)
    }

    /// Rests behind a batch that was begun at that time.
    async fn rest(self, begun: Instant) {
        tokio::time::sleep(self.rest_of(begun.elapsed())).await;
    }
}

/// Sweeps until the server stops.
pub async fn run(store: Store, metrics: Arc<Metrics>, mut stopping: watch::Receiver<bool>) {
    loop {
        match sweep(&store, chrono::Utc::now().timestamp_micros(), &stopping).await {
            Ok(0) => {}
            Ok(removed) => {
                metrics.expired(removed.unsigned_abs());
                tracing::info!(notifications = removed, "removed what has expired");
            }
            Err(error) => {
                tracing::warn!(%error, "what has expired could not be removed; it will be tried again")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Removes everything that has expired at the given time, and gives up the pushes that have waited too long by then.
/// Answers how many notifications were removed.
///
/// # Errors
/// Those of the store; what was removed until then stays removed.
pub async fn sweep(store: &Store, now: Micros, stopping: &watch::Receiver<bool>) -> Result<i64, StoreError> {
    let mut removed = 0;
    for tenant in store.read(|conn| conn.tenant_deleted_list()).await? {
        let mut begun = Instant::now();
        while !*stopping.borrow()
            && !store.write(Some(tenant), move |conn| conn.tenant_sweep(tenant, BATCH)).await?
        {
            USUAL.rest(begun).await;
            begun = Instant::now();
        }
    }
    let mut after: Option<String> = None;
    loop {
        let from = after.clone();
        let tenants = store.read(move |conn| conn.tenant_list(from.as_deref(), TENANTS)).await?;
        let Some(last) = tenants.last() else { return Ok(removed) };
        after = Some(last.public_id.clone());
        for tenant in tenants {
            let id = tenant.id;
            let settings = resolve(&tenant.settings, &tenant.public_id);
            let retention = settings.unwrap_or_else(|_| unreadable(&tenant.public_id)).retention;
            removed += expire(store, id, days_before(now, retention.days), stopping).await?;
            if let Some(days) = retention.undelivered_days {
                give_up(store, id, days_before(now, days), stopping).await?;
            }
        }
    }
}

fn days_before(now: Micros, days: u32) -> Micros {
    now.saturating_sub(i64::from(days).saturating_mul(MICROS_A_DAY))
}

/// Gives up the pushes that have waited since before a time: since the receipt, or since the last re-push. The
/// notifications stay and can be pulled.
async fn give_up(
    store: &Store,
    tenant: TenantId,
    before: Micros,
    stopping: &watch::Receiver<bool>,
) -> Result<(), StoreError> {
    // Most tenants have nothing to give up: that is found out without a place in the writer's queue.
    let through = store.read(move |conn| match conn.undelivered(tenant, 1)? {
        (0, _) => Ok(0),
        _ => conn.received_through(tenant, before),
    });
    let through = through.await?;
    let (mut given_up, mut after) = (0, 0);
    while through > after && !*stopping.borrow() {
        // Looked for by a reader: between them may stand many that were pushed again.
        let overdue = store.list(move |conn| conn.overdue(tenant, (after, through), before, BATCH)).await?;
        let Some(last) = overdue.last() else { break };
        after = *last;
        let now = chrono::Utc::now().timestamp_micros();
        let begun = Instant::now();
        given_up +=
            store.write(Some(tenant), move |conn| conn.expire_pushes(tenant, &overdue, before, now)).await?;
        USUAL.rest(begun).await;
    }
    if given_up > 0 {
        tracing::info!(notifications = given_up, "gave up pushes that have waited for too long");
    }
    Ok(())
}

async fn expire(
    store: &Store,
    tenant: TenantId,
    received_before: Micros,
    stopping: &watch::Receiver<bool>,
) -> Result<i64, StoreError> {
    let mut removed = 0;
    // Most tenants have nothing to remove: that is found out without a place in the writer's queue.
    let oldest = store.read(move |conn| conn.oldest_received(tenant)).await?;
    let Some(oldest) = oldest.filter(|oldest| *oldest < received_before) else { return Ok(0) };
    let pace = Pace::of(received_before.saturating_sub(oldest));
    while !*stopping.borrow() {
        let begun = Instant::now();
        let batch =
            store.write(Some(tenant), move |conn| conn.expire(tenant, received_before, pace.batch)).await?;
        removed += batch;
        pace.rest(begun).await;
        if batch < pace.batch {
            break;
        }
    }
    // Users and entities that nothing names any more are looked for by a reader, and removed in small steps too.
    loop {
        let keys = store.list(move |conn| conn.resources_expired(tenant, RESOURCES)).await?;
        if keys.is_empty() || *stopping.borrow() {
            return Ok(removed);
        }
        for keys in keys.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let keys = keys.to_vec();
            let begun = Instant::now();
            store.write(Some(tenant), move |conn| conn.resources_remove(tenant, &keys)).await?;
            if *stopping.borrow() {
                return Ok(removed);
            }
            pace.rest(begun).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_have_most_of_the_time_and_a_removal_that_is_late_takes_more_of_it() {
        let took = Duration::from_millis(10);
        assert!(Pace::of(LATE).rest_of(took) >= 4 * took);
        assert!(Pace::of(LATE + 1).rest_of(took) >= 2 * took);
        assert!(Pace::of(LATE + 1).rest_of(took) < Pace::of(LATE).rest_of(took));
        assert!(Pace::of(LATE + 1).batch > Pace::of(LATE).batch);
        assert_eq!(USUAL.rest_of(Duration::from_secs(60)), LONGEST_REST, "a stop isn't held up");
    }
}
