//! How much the lanes of this node can still take, so that a new notification can go to its lane without being read
//! back from the database.
//!
//! The writer takes a place for each notification that it leases, the lane gives it back when it is done with it.
//! What finds no place stays due in the database, and the lane is told that there is more.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::seam::TenantId;

/// The most notifications of one tenant that are in memory.
pub const LANE_ROOM: usize = 256;
/// The most bytes of notifications in memory, over all tenants.
pub const TOTAL_BYTES: usize = 32 << 20;

/// The places of all lanes.
#[derive(Default)]
pub struct Rooms(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    taken: HashMap<TenantId, usize>,
    bytes: usize,
    closed: HashSet<TenantId>,
    overflowed: HashSet<TenantId>,
    all_closed: bool,
}

impl Rooms {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a notification of this size. False: there is none, and the lane will have to claim it.
    pub(super) fn take(&self, tenant: TenantId, bytes: usize) -> bool {
        let mut inner = self.inner();
        let taken = inner.taken.get(&tenant).copied().unwrap_or(0);
        // One waiting in the database goes before a new one: order is kept as well as can be without blocking.
        let full = inner.all_closed
            || taken >= LANE_ROOM
            || inner.bytes + bytes > TOTAL_BYTES
            || inner.closed.contains(&tenant)
            || inner.overflowed.contains(&tenant);
        if full {
            inner.overflowed.insert(tenant);
            return false;
        }
        inner.bytes += bytes;
        inner.taken.insert(tenant, taken + 1);
        true
    }

    /// Takes places for notifications that are being claimed.
    pub(crate) fn put(&self, tenant: TenantId, count: usize, bytes: usize) {
        let mut inner = self.inner();
        inner.bytes += bytes;
        *inner.taken.entry(tenant).or_default() += count;
    }

    /// Gives a place back.
    pub(crate) fn give_back(&self, tenant: TenantId, bytes: usize) {
        let mut inner = self.inner();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        if let Some(taken) = inner.taken.get_mut(&tenant) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                inner.taken.remove(&tenant);
            }
        }
    }

    /// How many more the lane may claim.
    pub(crate) fn left(&self, tenant: TenantId) -> usize {
        let inner = self.inner();
        if inner.all_closed || inner.bytes >= TOTAL_BYTES {
            return 0;
        }
        LANE_ROOM.saturating_sub(inner.taken.get(&tenant).copied().unwrap_or(0))
    }

    /// Closes or opens a lane to new notifications: a lane whose receiver is down takes none.
    pub(crate) fn close(&self, tenant: TenantId, closed: bool) {
        let mut inner = self.inner();
        if closed {
            inner.closed.insert(tenant);
        } else {
            inner.closed.remove(&tenant);
        }
    }

    /// Closes all lanes, because the server stops.
    pub(crate) fn close_all(&self) {
        self.inner().all_closed = true;
    }

    /// Whether something of this tenant had to stay in the database.
    pub(crate) fn has_overflowed(&self, tenant: TenantId) -> bool {
        self.inner().overflowed.contains(&tenant)
    }

    /// Notes that nothing of this tenant is waiting in the database any more.
    pub(crate) fn caught_up(&self, tenant: TenantId) {
        self.inner().overflowed.remove(&tenant);
    }

    /// Bytes of notifications in memory.
    pub fn bytes(&self) -> usize {
        self.inner().bytes
    }
}
