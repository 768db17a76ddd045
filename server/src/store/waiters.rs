//! Who waits for something new of a tenant, so that a reader at the end of the list need not ask again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::seam::TenantId;

/// The tenants that somebody waits for.
#[derive(Default)]
pub(super) struct Waiters(Mutex<HashMap<TenantId, Arc<Notify>>>);

impl Waiters {
    /// What is notified after the next commit of this tenant on this node. Ask for it before looking.
    pub(super) fn of(&self, tenant: TenantId) -> Arc<Notify> {
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds any more go first, so that the map stays as small as its use.
        waiters.retain(|_, notify| Arc::strong_count(notify) > 1);
        waiters.entry(tenant).or_default().clone()
    }

    /// Wakes everyone who waits for one of the tenants.
    pub(super) fn wake(&self, tenants: &[TenantId]) {
        let waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiters.is_empty() {
            return;
        }
        for notify in tenants.iter().filter_map(|tenant| waiters.get(tenant)) {
            notify.notify_waiters();
        }
    }
}
