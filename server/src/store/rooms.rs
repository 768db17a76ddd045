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
/// The most bytes of notifications in memory, over all tenants. A tenant may take as many of them as are still free, so
/// that one more always finds room, however many have slow receivers.
pub const TOTAL_BYTES: usize = 32 << 20;

/// The places of all lanes.
#[derive(Default)]
pub struct Rooms(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    taken: HashMap<TenantId, Taken>,
    bytes: usize,
    closed: HashSet<TenantId>,
    overflowed: HashSet<TenantId>,
    all_closed: bool,
}

#[derive(Clone, Copy, Default)]
struct Taken {
    count: usize,
    bytes: usize,
}

impl Inner {
    fn put(&mut self, tenant: TenantId, count: usize, bytes: usize) {
        self.bytes += bytes;
        let taken = self.taken.entry(tenant).or_default();
        taken.count += count;
        taken.bytes += bytes;
    }

    /// How many more notifications the lane may take, and how many bytes.
    fn left(&self, tenant: TenantId) -> (usize, usize) {
        let taken = self.taken.get(&tenant).copied().unwrap_or_default();
        if self.all_closed || self.bytes >= TOTAL_BYTES {
            return (0, 0);
        }
        (LANE_ROOM.saturating_sub(taken.count), (TOTAL_BYTES - self.bytes).saturating_sub(taken.bytes))
    }
}

impl Rooms {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a notification of this size. False: there is none, and the lane will have to claim it.
    pub(super) fn take(&self, tenant: TenantId, bytes: usize) -> bool {
        let mut inner = self.inner();
        let (count, room) = inner.left(tenant);
        // One waiting in the database goes before a new one: order is kept as well as can be without blocking.
        if count == 0 || room < bytes || inner.closed.contains(&tenant) || inner.overflowed.contains(&tenant)
        {
            inner.overflowed.insert(tenant);
            return false;
        }
        inner.put(tenant, 1, bytes);
        true
    }

    /// Takes places for notifications that are being claimed.
    pub(crate) fn put(&self, tenant: TenantId, count: usize, bytes: usize) {
        self.inner().put(tenant, count, bytes);
    }

    /// Gives a place back.
    pub(crate) fn give_back(&self, tenant: TenantId, bytes: usize) {
        let mut inner = self.inner();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        if let Some(taken) = inner.taken.get_mut(&tenant) {
            taken.count = taken.count.saturating_sub(1);
            taken.bytes = taken.bytes.saturating_sub(bytes);
            if taken.count == 0 {
                inner.taken.remove(&tenant);
            }
        }
    }

    /// How many more notifications the lane may claim, and how many bytes.
    pub(crate) fn left(&self, tenant: TenantId) -> (usize, usize) {
        self.inner().left(tenant)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_lanes_are_full_another_finds_room() {
        let rooms = Rooms::default();
        for tenant in 1..=200 {
            while rooms.take(TenantId(tenant), 100_000) {}
        }
        assert!(rooms.bytes() < TOTAL_BYTES);
        assert!(rooms.take(TenantId(201), 1_000));
    }

    #[test]
    fn what_overflows_goes_behind_what_waits_until_the_lane_has_caught_up() {
        let (rooms, tenant) = (Rooms::default(), TenantId(1));
        for _ in 0..LANE_ROOM {
            assert!(rooms.take(tenant, 10));
        }
        assert!(!rooms.take(tenant, 10));
        rooms.give_back(tenant, 10);
        assert!(!rooms.take(tenant, 10), "it would overtake what waits in the database");
        assert_eq!(rooms.left(tenant).0, 1);
        rooms.caught_up(tenant);
        assert!(rooms.take(tenant, 10));
    }

    #[test]
    fn every_place_is_given_back() {
        let (rooms, tenant) = (Rooms::default(), TenantId(1));
        rooms.put(tenant, 3, 30);
        assert!(rooms.take(tenant, 5));
        [10, 10, 10, 5].into_iter().for_each(|bytes| rooms.give_back(tenant, bytes));
        assert_eq!((rooms.bytes(), rooms.left(tenant).0), (0, LANE_ROOM));
    }
}
