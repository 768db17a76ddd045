//! Removes what has expired, in small batches between which other writes go ahead.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::directory::Directory;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::seam::TenantId;
use crate::telemetry::Metrics;

/// How often expired notifications are looked for.
const EVERY: Duration = Duration::from_secs(60);
/// The most that one transaction removes: a few milliseconds' work.
const BATCH: i64 = 200;
/// How many users and entities are looked up at once.
const RESOURCES: i64 = 10_000;
/// How many tenants are listed at once.
const TENANTS: i64 = 500;
const MICROS_A_DAY: i64 = 86_400_000_000;

/// Sweeps until the server stops.
pub async fn run(
    store: Store,
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        match sweep(&store, &directory, chrono::Utc::now().timestamp_micros(), &stopping).await {
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

/// Removes everything that has expired at the given time. Answers how many notifications that were.
///
/// # Errors
/// Those of the store; what was removed until then stays removed.
pub async fn sweep(
    store: &Store,
    directory: &Directory,
    now: i64,
    stopping: &watch::Receiver<bool>,
) -> Result<i64, StoreError> {
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
            let days = i64::from(directory.entry(tenant).settings.retention_days);
            removed += expire(store, id, now - days * MICROS_A_DAY, stopping).await?;
        }
    }
}

async fn expire(
    store: &Store,
    tenant: TenantId,
    received_before: i64,
    stopping: &watch::Receiver<bool>,
) -> Result<i64, StoreError> {
    let mut removed = 0;
    // Most tenants have nothing to remove: that is found out without a place in the writer's queue.
    let oldest = store.read(move |conn| conn.oldest_received(tenant)).await?;
    if oldest.is_none_or(|oldest| oldest >= received_before) {
        return Ok(0);
    }
    while !*stopping.borrow() {
        let batch =
            store.write(Some(tenant), move |conn| conn.expire(tenant, received_before, BATCH)).await?;
        removed += batch;
        if batch < BATCH {
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
            store.write(Some(tenant), move |conn| conn.resources_remove(tenant, &keys)).await?;
        }
    }
}
