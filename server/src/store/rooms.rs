//! How much the lanes of this node can still take, so that a new notification can go to its lane without being read
//! back from the database.
//!
//! The writer takes a place for each notification that it leases, the lane gives it back when it is done with it.
//! What finds no place stays due in the database, and the lane is told that there is more.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::seam::TenantId;

/// The most notifications of one tenant that are in memory: twice what a tenant may have in flight, so that a lane has
/// work while more is fetched.
pub const LANE_ROOM: usize = 512;
/// The most bytes of notifications in memory, over all tenants. A tenant may take as many of them as are still free, so
/// that small ones of one more always find room, however many have slow receivers. Where large ones have taken it all,
/// each tenant may still have one at a time: so much it can be more.
pub const TOTAL_BYTES: usize = 32 << 20;

/// The places of all lanes.
#[derive(Default)]
pub struct Rooms(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    taken: HashMap<TenantId, Taken>,
    count: usize,
    bytes: usize,
    closed: HashSet<TenantId>,
    /// Who waits in the database, and whether its lane was told.
    overflowed: HashMap<TenantId, bool>,
    /// Lanes that were taken over with a new notification from a node that is gone. Their threads don't know yet.
    inherited: HashSet<TenantId>,
    all_closed: bool,
}

#[derive(Clone, Copy, Default)]
struct Taken {
    count: usize,
    bytes: usize,
}

impl Inner {
    fn put(&mut self, tenant: TenantId, count: usize, bytes: usize) {
        self.count += count;
        self.bytes += bytes;
        let taken = self.taken.entry(tenant).or_default();
        taken.count += count;
        taken.bytes += bytes;
    }

    /// How many more notifications the lane may take, and how many bytes. One always, however large, if it has none.
    fn left(&self, tenant: TenantId) -> (usize, usize) {
        if self.all_closed {
            return (0, 0);
        }
        let taken = self.taken.get(&tenant).copied().unwrap_or_default();
        let bytes = TOTAL_BYTES.saturating_sub(self.bytes).saturating_sub(taken.bytes);
        let count = match (taken.count, bytes) {
            (0, 0) => 1,
            (_, 0) => 0,
            (count, _) => LANE_ROOM.saturating_sub(count),
        };
        (count, bytes)
    }
}

impl Rooms {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a notification of this size. False: there is none, and the lane will have to claim it; so it is
    /// with all of them under strict order (`fifo`), where one node after the other has a run of the oldest.
    pub(super) fn take(&self, tenant: TenantId, bytes: usize, fifo: bool) -> bool {
        let mut inner = self.inner();
        let (count, room) = inner.left(tenant);
        // One waiting in the database goes before a new one: order is kept as well as can be without blocking.
        let overflowed = inner.overflowed.contains_key(&tenant);
        let fits = count > 0 && (bytes <= room || !inner.taken.contains_key(&tenant));
        if fifo || overflowed || !fits || inner.closed.contains(&tenant) {
            inner.overflowed.entry(tenant).or_insert(false);
            return false;
        }
        inner.put(tenant, 1, bytes);
        true
    }

    /// Whether the lane has to be told that something of its tenant waits: once, until it has caught up.
    pub(super) fn tell(&self, tenant: TenantId) -> bool {
        self.inner().overflowed.get_mut(&tenant).is_some_and(|told| !std::mem::replace(told, true))
    }

    /// Takes places for notifications that are being claimed.
    pub(crate) fn put(&self, tenant: TenantId, count: usize, bytes: usize) {
        self.inner().put(tenant, count, bytes);
    }

    /// Gives a place back.
    pub(crate) fn give_back(&self, tenant: TenantId, bytes: usize) {
        let inner = &mut *self.inner();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        if let Some(taken) = inner.taken.get_mut(&tenant) {
            inner.count = inner.count.saturating_sub(1);
            taken.count = taken.count.saturating_sub(1);
            taken.bytes = taken.bytes.saturating_sub(bytes);
            if taken.count == 0 {
                inner.taken.remove(&tenant);
            }
        }
    }

    /// How many more notifications the lane may claim, and how many bytes. A claim brings one at least, however large; so
    /// a tenant that has any may claim none once no bytes are left, and one that has none may always claim one.
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
        self.inner().overflowed.contains_key(&tenant)
    }

    /// Notes that more of this tenant waits in the database than its lane could take. The lane knows.
    pub(crate) fn overflow(&self, tenant: TenantId) {
        self.inner().overflowed.insert(tenant, true);
    }

    /// Notes that nothing of this tenant is waiting in the database any more.
    pub(crate) fn caught_up(&self, tenant: TenantId) {
        self.inner().overflowed.remove(&tenant);
    }

    /// Notes that a lane was taken over from a node that is gone.
    pub(super) fn inherit(&self, tenant: TenantId) {
        self.inner().inherited.insert(tenant);
    }

    /// Whether the lane was taken over from a node that is gone. Says so once.
    pub(crate) fn was_inherited(&self, tenant: TenantId) -> bool {
        self.inner().inherited.remove(&tenant)
    }

    /// How many notifications are leased to this node.
    pub fn count(&self) -> usize {
        self.inner().count
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
            while rooms.take(TenantId(tenant), 100_000, false) {}
        }
        assert!(rooms.bytes() <= TOTAL_BYTES + 200 * 100_000, "one each is the most beyond");
        assert!(rooms.take(TenantId(201), 1_000, false));
    }

    #[test]
    fn large_ones_of_a_slow_tenant_leave_a_place_to_every_other() {
        let (rooms, slow, well) = (Rooms::default(), TenantId(1), TenantId(2));
        let large = 10 << 20;
        while rooms.take(slow, large, false) {}
        rooms.caught_up(slow);
        // Its lane claims what it may: one at least, however large.
        while rooms.left(slow).0 > 0 {
            rooms.put(slow, 1, large);
        }
        assert!(rooms.bytes() <= TOTAL_BYTES, "{} bytes", rooms.bytes());
        rooms.put(slow, 1, TOTAL_BYTES);
        assert_eq!(rooms.left(slow), (0, 0));
        assert_eq!(rooms.left(well).0, 1, "a claim of one");
        assert!(rooms.take(well, large, false), "however large");
        assert!(!rooms.take(well, 1, false), "but only one");
        rooms.give_back(well, large);
        rooms.caught_up(well);
        assert!(rooms.take(well, 1, false), "and then the next");
        rooms.close_all();
        assert_eq!(rooms.left(TenantId(3)), (0, 0));
    }

    #[test]
    fn what_overflows_goes_behind_what_waits_until_the_lane_has_caught_up() {
        let (rooms, tenant) = (Rooms::default(), TenantId(1));
        for _ in 0..LANE_ROOM {
            assert!(rooms.take(tenant, 10, false));
        }
        assert!(!rooms.take(tenant, 10, false));
        rooms.give_back(tenant, 10);
        assert!(!rooms.take(tenant, 10, false), "it would overtake what waits in the database");
        assert_eq!(rooms.left(tenant).0, 1);
        rooms.caught_up(tenant);
        assert!(rooms.take(tenant, 10, false));
    }

    #[test]
    fn a_lane_is_told_once_until_it_has_caught_up() {
        let (rooms, tenant) = (Rooms::default(), TenantId(1));
        assert!(rooms.take(tenant, 10, false));
        assert!(!rooms.tell(tenant), "nothing waits");
        for _ in 0..2 {
            assert!(!rooms.take(tenant, 10, true), "under strict order the lane claims");
            assert!(rooms.tell(tenant));
            assert!(!rooms.take(tenant, 10, true));
            assert!(!rooms.tell(tenant), "it knows");
            rooms.caught_up(tenant);
        }
    }

    #[test]
    fn every_place_is_given_back() {
        let (rooms, tenant) = (Rooms::default(), TenantId(1));
        rooms.put(tenant, 3, 30);
        assert!(rooms.take(tenant, 5, false));
        [10, 10, 10, 5].into_iter().for_each(|bytes| rooms.give_back(tenant, bytes));
        assert_eq!((rooms.count(), rooms.bytes(), rooms.left(tenant).0), (0, 0, LANE_ROOM));
    }
}
