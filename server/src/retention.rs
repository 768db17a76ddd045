//! Removes what has expired and gives up pushes that have waited for too long, in small batches between which other
//! writes go ahead.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::rules::notification::Micros;
use crate::rules::settings::{resolve, unreadable};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::seam::TenantId;
use crate::telemetry::Metrics;

/// How often expired notifications are looked for.
const EVERY: Duration = Duration::from_secs(60);
/// The most that one transaction removes or gives up: a few milliseconds' work.
const BATCH: i64 = 200;
/// How many users and entities are looked up at once.
const RESOURCES: i64 = 10_000;
/// How many tenants are listed at once.
const TENANTS: i64 = 500;
const MICROS_A_DAY: i64 = 86_400_000_000;

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
        while !*stopping.borrow()
            && !store.write(Some(tenant), move |conn| conn.tenant_sweep(tenant, BATCH)).await?
        {
            tokio::task::yield_now().await;
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
        given_up +=
            store.write(Some(tenant), move |conn| conn.expire_pushes(tenant, &overdue, before, now)).await?;
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
    if oldest.is_none_or(|oldest| oldest >= received_before) {
        return Ok(0);
    }
    let tune =
        |name: &str, usual: i64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(usual);
    let (size, pause, share) = (tune("SWEEP_BATCH", BATCH), tune("SWEEP_PAUSE", 0), tune("SWEEP_SHARE", 0));
    while !*stopping.borrow() {
        let begun = std::time::Instant::now();
        let batch = store.write(Some(tenant), move |conn| conn.expire(tenant, received_before, size)).await?;
        removed += batch;
        if batch < size {
            break;
        }
        let rest =
            Duration::from_millis(pause.unsigned_abs()) + begun.elapsed() * u32::try_from(share).unwrap_or(0);
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
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
            store.write(Some(tenant), move |conn| conn.resources_remove(tenant, &keys)).await?;
        }
    }
}
