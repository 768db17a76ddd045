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
use crate::store::queue::{Job, Work};
use crate::store::seam::TenantId;

/// How often jobs of other nodes are looked for: those that they haven't begun, and those of nodes that have died.
const EVERY: Duration = Duration::from_millis(500);
/// The most notifications of one step: a few milliseconds' work.
const STEP: usize = 1000;
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
            () = store.new_job().notified() => {}
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
        match oldest(&store, tenant, &turn, &stopping).await {
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

/// Carries out the tenant's oldest open job. False: there is none for this node.
async fn oldest(
    store: &Store,
    tenant: TenantId,
    turn: &Semaphore,
    stopping: &watch::Receiver<bool>,
) -> Result<bool, StoreError> {
    let (node, now) = (store.node(), Utc::now().timestamp_micros());
    let Some(mut work) = store.write(Some(tenant), move |conn| conn.job_claim(tenant, node, now)).await?
    else {
        return Ok(false);
    };
    while !*stopping.borrow() {
        match step(store, &work, turn).await? {
            Some(job) if job.ended_at.is_none() => work.job = job,
            // It is done, or was cancelled, or another node's.
            _ => break,
        }
    }
    Ok(true)
}

/// One step of a job. Answers with the job as it is then, if it is open and this node's.
async fn step(store: &Store, work: &Work, turn: &Semaphore) -> Result<Option<Job>, StoreError> {
    let (node, tenant) = (store.node(), work.job.tenant);
    // Looking may take a while, so it is done by a reader, and nobody waits for it.
    let (work, looked, counts) = (work.clone(), work.clone(), work.job.total.is_none());
    let limit = if counts { COUNTED } else { STEP };
    let found = store.list(move |conn| conn.job_next(&looked, limit)).await?;
    let _turn = turn.acquire().await.map_err(|_| StoreError::Closed)?;
    let (begun, given) = (Instant::now(), store.given());
    let write = store.write(Some(tenant), move |conn| {
        let now = Utc::now().timestamp_micros();
        match (found, counts) {
            (Some(found), true) => conn.job_count(&work.job, node, &found),
            (None, true) => conn.job_counted(&work, node, now),
            (Some(found), false) => conn.job_step(&work, node, &found),
            (None, false) => conn.job_done(&work.job, node, now),
        }
    });
    let job = write.await?;
    // As much time for everybody else, if there is anybody.
    if store.given() > given + 1 {
        tokio::time::sleep(begun.elapsed()).await;
    }
    Ok(job)
}
