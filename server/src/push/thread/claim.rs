//! Claims: what a lane gets from the database.

use std::sync::Arc;

use tidings_api::settings::Ordering;

use super::now;
use crate::directory::TenantEntry;
use crate::push::attempt::Attempts;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::seam::{self, Claimed, TenantId};

/// How often a claim is made again because the settings have changed meanwhile.
const TRIES: usize = 3;

/// What a lane wants.
#[derive(Clone, Copy)]
pub(super) struct Want {
    pub(super) tenant: TenantId,
    /// At most so many notifications.
    pub(super) count: usize,
    /// So many of them first such as were tried before.
    pub(super) retries: usize,
    /// Of so many bytes together.
    pub(super) bytes: usize,
}

/// What came of a claim.
pub(super) struct Claim {
    /// The settings by which it was made.
    pub(super) entry: Arc<TenantEntry>,
    /// What is leased to this node.
    pub(super) claimed: Claimed,
}

impl Claim {
    /// Whether it was made under strict order.
    pub(super) fn is_fifo(&self) -> bool {
        self.entry.settings.push.ordering == Ordering::Fifo
    }
}

/// Leases what is due to this node. None: the tenant's push isn't active.
pub(super) async fn claim(
    store: &Store,
    attempts: &Attempts,
    want: Want,
) -> Result<Option<Claim>, StoreError> {
    let tenant = want.tenant;
    let mut tries = 0;
    loop {
        let entry = attempts.directory.tenant(tenant).await?;
        let Some(entry) = entry.filter(|entry| entry.push_is_active()) else {
            // What waits is found by a poll, once the push goes on.
            store.rooms().caught_up(tenant);
            return Ok(None);
        };
        let mut claim = Claim { entry, claimed: Claimed::default() };
        claim.claimed = lease(store, want, &claim).await?;
        if claim.claimed.is_outdated && tries < TRIES {
            // Another node has stored other settings.
            attempts.directory.forget(tenant);
            tries += 1;
        } else if !claim.claimed.is_unfinished {
            // Not before the commit: what was not leased after all takes no place.
            let sizes = claim.claimed.notifications.iter().map(|notification| notification.content.size());
            store.rooms().put(tenant, claim.claimed.notifications.len(), sizes.sum());
            return Ok(Some(claim));
        }
    }
}

/// Leases what is due by these settings.
async fn lease(store: &Store, want: Want, claim: &Claim) -> Result<Claimed, StoreError> {
    let Want { tenant, count, retries, bytes } = want;
    let (node, rooms) = (store.node(), store.rooms().clone());
    let want = seam::Want {
        version: claim.entry.tenant.version,
        limit: i64::try_from(count).unwrap_or(1),
        retries: i64::try_from(retries).unwrap_or(1),
        bytes,
        fifo: claim.is_fifo(),
    };
    let run = store.write(Some(tenant), move |conn| {
        let claimed = conn.claim(tenant, node, now(), want)?;
        // Said before the writer goes on: what is new from now on waits behind the rest, or goes straight to the lane
        // again.
        if claimed.notifications.len() >= count {
            rooms.overflow(tenant);
        } else if claimed.notifications.is_empty()
            && claimed.held_until.is_none()
            && !claimed.is_outdated
            && !claimed.is_unfinished
        {
            rooms.caught_up(tenant);
        }
        Ok(claimed)
    });
    run.await
}
