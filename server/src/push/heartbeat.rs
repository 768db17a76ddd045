//! Shows the other nodes that this one lives, and frees the leases of those that don't.

use std::time::Duration;

use tokio::sync::watch;

use crate::store::Store;
use crate::store::error::StoreError;

/// How often a node shows itself.
const EVERY: Duration = Duration::from_secs(2);
/// A node that was silent for so long is dead. Long enough for a slow disk, short enough that nobody waits.
const SILENCE: Duration = Duration::from_secs(8);

/// Every so many beats all leases are looked at, not only those of nodes that were just found dead.
const SWEEP: u32 = 15;

/// Makes this node known, before it leases anything. Where no other node can be alive, all old leases are freed.
///
/// # Errors
/// Those of the store.
pub async fn join(store: &Store) -> Result<(), StoreError> {
    let (node, shared) = (store.node(), store.is_shared());
    store
        .write(None, move |conn| {
            let silence =
                if shared { i64::try_from(SILENCE.as_micros()).unwrap_or(i64::MAX) } else { i64::MIN };
            let freed = conn.node_reap(silence)? + conn.node_free()?;
            if freed > 0 {
                tracing::info!(notifications = freed, "taken over from a server that has died");
            }
            conn.node_seen(node)?;
            Ok(())
        })
        .await
}

/// Beats until it is told to stop, which is after everything that holds leases has ended.
pub async fn run(store: Store, mut stopping: watch::Receiver<bool>) {
    for beat in 1_u32.. {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let (node, sweep) = (store.node(), store.is_shared() && beat.is_multiple_of(SWEEP));
        let beat = store.write(None, move |conn| {
            if !conn.node_seen(node)? {
                tracing::warn!("other nodes took this one for dead; some notifications may be pushed twice");
            }
            let reaped = conn.node_reap(i64::try_from(SILENCE.as_micros()).unwrap_or(i64::MAX))?;
            // A node that was taken for dead may have leased something just before it really died.
            Ok(reaped + if sweep { conn.node_free()? } else { 0 })
        });
        match beat.await {
            Ok(0) => {}
            Ok(freed) => tracing::info!(notifications = freed, "taken over from a server that has died"),
            Err(error) => tracing::warn!(%error, "this node could not show that it lives"),
        }
    }
}

/// Takes leave: whatever this node still has is free at once.
///
/// # Errors
/// Those of the store.
pub async fn leave(store: &Store) -> Result<(), StoreError> {
    let node = store.node();
    store.write(None, move |conn| conn.node_leave(node)).await
}
