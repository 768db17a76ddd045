//! Carries out jobs: what is done to many notifications, in small steps between which other writes go ahead.
//!
//! Each step and its progress are one transaction, so a server that is killed neither repeats nor skips anything: the
//! next one goes on from where the job is. A tenant's jobs run one after the other, those of different tenants take turns
//! step by step.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::seam::TenantId;

/// How often new jobs are looked for, and those of nodes that have died.
const EVERY: Duration = Duration::from_millis(500);
/// The most notifications of one step: a few milliseconds' work.
const STEP: usize = 500;
/// The most that are counted at once.
const COUNTED: usize = 10_000;
/// How long a job is kept after its end.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// How often ended jobs are removed, and the most at once.
const SWEEP: Duration = Duration::from_secs(3600);
const SWEPT: i64 = 500;

/// Carries out jobs until the server stops.
pub async fn run(store: Store, mut stopping: watch::Receiver<bool>) {
    let turn = Arc::new(Semaphore::new(1));
    let mut working: HashMap<TenantId, JoinHandle<()>> = HashMap::new();
    let mut swept: Option<Instant> = None;
    loop {
        working.retain(|_, task| !task.is_finished());
        match store.read(|conn| conn.job_tenants()).await {
            Ok(tenants) => {
                for tenant in tenants {
                    working.entry(tenant).or_insert_with(|| {
                        tokio::spawn(work(store.clone(), tenant, turn.clone(), stopping.clone()))
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "jobs could not be looked for"),
        }
        if swept.is_none_or(|swept| swept.elapsed() >= SWEEP) {
            swept = Some(Instant::now());
            let before = Utc::now().timestamp_micros() - i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX);
            if let Err(error) = store.write(None, move |conn| conn.job_expire(before, SWEPT)).await {
                tracing::warn!(%error, "ended jobs could not be removed; it will be tried again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    for task in working.into_values() {
        let _ = task.await;
    }
}

/// Does what there is to do for a tenant.
async fn work(store: Store, tenant: TenantId, turn: Arc<Semaphore>, stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        match step(&store, tenant, &turn).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                // It is tried again from where the job is.
                tracing::warn!(%error, "a step of a job failed; it will be tried again");
                return;
            }
        }
    }
}

/// One step of the tenant's oldest open job. False: there is none for this node.
async fn step(store: &Store, tenant: TenantId, turn: &Semaphore) -> Result<bool, StoreError> {
    let (node, now) = (store.node(), Utc::now().timestamp_micros());
    let Some(work) = store.write(Some(tenant), move |conn| conn.job_claim(tenant, node, now)).await? else {
        return Ok(false);
    };
    // Looking may take a while, so it is done by a reader, and nobody waits for it.
    let (looked, counts) = (work.clone(), work.job.total.is_none());
    let limit = if counts { COUNTED } else { STEP };
    let found = store.list(move |conn| conn.job_next(&looked, limit)).await?;
    let _turn = turn.acquire().await.map_err(|_| StoreError::Closed)?;
    let begun = Instant::now();
    store
        .write(Some(tenant), move |conn| match (found, counts) {
            (Some(found), true) => conn.job_count(&work.job, node, &found),
            (None, true) => conn.job_counted(&work, node, now),
            (Some(found), false) => conn.job_step(&work, node, &found),
            (None, false) => conn.job_done(&work.job, node, Utc::now().timestamp_micros()),
        })
        .await?;
    // As much time for everybody else.
    tokio::time::sleep(begun.elapsed()).await;
    Ok(true)
}
