//! Claims: what a lane gets from the database.

use std::sync::Arc;

use tidings_api::settings::Ordering;

use super::{Thread, now};
use crate::directory::TenantEntry;
use crate::push::attempt::Attempts;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::seam::{self, AT_ONCE, Claimed, Outcome, TenantId};

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
    /// In which of its lives.
    pub(super) life: u64,
}

impl Claim {
    /// Whether it was made under strict order.
    pub(super) fn is_fifo(&self) -> bool {
        self.entry.settings.push.ordering == Ordering::Fifo
    }
}

impl Thread {
    pub(super) fn claimed(&mut self, tenant: TenantId, claimed: Result<Option<Claim>, StoreError>) {
        let queue = self.queue(tenant);
        queue.claiming = false;
        // Otherwise nothing else is due now, and the next poll finds out what is due then.
        queue.more = false;
        match claimed {
            Ok(Some(claim)) if claim.claimed.is_elsewhere => {
                self.owned.remove(&tenant);
                // The other node knows how the receiver is.
                self.queue(tenant).lane.forgive();
            }
            Ok(Some(claim)) => self.take(tenant, claim),
            Ok(None) => {}
            // Left to the next poll, so that a database in trouble isn't asked without pause.
            Err(error) => return tracing::debug!(%error, "nothing could be claimed"),
        }
        self.pump(tenant);
    }

    fn take(&mut self, tenant: TenantId, claim: Claim) {
        self.configure(tenant, &claim.entry);
        let is_fifo = claim.is_fifo();
        let Claim { entry, claimed, life } = claim;
        let is_outdated = (self.queue(tenant).lane.is_fifo() && !is_fifo) || !self.holds(life);
        if !claimed.notifications.is_empty() {
            self.own(tenant);
        }
        let queue = self.queue(tenant);
        queue.more = !claimed.notifications.is_empty() || claimed.held_until.is_some();
        if let Some(until) = claimed.held_until {
            queue.failed_version = entry.tenant.version;
            queue.held_until = Some(until);
            queue.lane.hold(until);
        }
        let resumed_at = Some(entry.tenant.push_resumed_at);
        if queue.resumed_at != resumed_at {
            queue.resumed_at = resumed_at;
            queue.lane.rise();
        }
        if claimed.is_inherited {
            queue.lane.inherit(now());
        }
        for notification in claimed.notifications {
            if is_outdated {
                self.report(tenant, &notification, Outcome::HandBack(AT_ONCE), None);
            } else {
                self.queue(tenant).lane.offer(notification);
            }
        }
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
        let mut claim = Claim { entry, claimed: Claimed::default(), life: store.pulse().life() };
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
