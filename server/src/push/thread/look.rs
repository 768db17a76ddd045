//! What a thread looks for by the clock: what is due, and what has changed in the settings.

use super::{Event, GONE, POLL, Seen, Share, Thread, after, now, word};
use crate::directory::TenantEntry;
use crate::rules::lane::Limits;
use crate::rules::notification::Micros;
use crate::store::error::StoreError;
use crate::store::seam::{Due, TenantId};

impl Thread {
    pub(super) fn poll(&mut self) {
        self.polling = true;
        let (store, Share { index, count }) = (self.store.clone(), self.share);
        let node = store.node();
        word::begin(&self.events, Event::Due(Ok(Vec::new())), async move {
            Event::Due(store.read(move |conn| conn.due(index, count, node)).await)
        });
    }

    pub(super) fn due(&mut self, due: Result<Vec<Due>, StoreError>) {
        self.polling = false;
        let at = now();
        self.poll_at = after(at, POLL);
        let due = due.unwrap_or_else(|error| {
            tracing::warn!(%error, "what is due could not be read");
            Vec::new()
        });
        let before = std::mem::take(&mut self.inactive);
        for due in due {
            // Nobody makes a lane for them anew each time.
            if before.get(&due.tenant) == Some(&due.version) {
                self.inactive.insert(due.tenant, due.version);
                continue;
            }
            self.found(due, at);
        }
        self.let_go();
        // Lanes without anything due are looked at too: a pause may be over.
        let tenants: Vec<TenantId> = self.lanes.keys().copied().collect();
        if !self.looking && !tenants.is_empty() {
            self.looking = true;
            self.look_at(tenants.clone(), Event::Looked);
        }
        tenants.into_iter().for_each(|tenant| self.pump(tenant));
    }

    /// Lets a lane know that something is due.
    pub(super) fn found(&mut self, Due { tenant, at: time, held_until, .. }: Due, at: Micros) {
        if time > at {
            self.poll_at = self.poll_at.min(time);
            return;
        }
        let queue = self.queue(tenant);
        queue.more = true;
        // What held up the rest is given up, has expired or is pushed anew. What isn't recorded yet isn't stored.
        if queue.unrecorded == 0
            && !queue.claiming
            && let Some(held) = queue.held_until.filter(|held| held_until.is_none_or(|until| until < *held))
        {
            queue.held_until = held_until;
            queue.lane.release(held);
        }
    }

    /// Looks at the settings of tenants: an admin may have changed them, or replaced a receiver that is down.
    pub(super) fn look_at(&self, tenants: Vec<TenantId>, event: fn(Seen) -> Event) {
        let attempts = self.attempts.clone();
        word::begin(&self.events, event(Seen::new()), async move {
            let mut seen = Vec::new();
            for tenant in tenants {
                // A database in trouble isn't asked for the rest: the next poll does that.
                let Ok(entry) = attempts.directory.tenant(tenant).await else { break };
                seen.push((tenant, entry));
            }
            event(seen)
        });
    }

    pub(super) fn settings_seen(&mut self, seen: Seen) {
        for (tenant, entry) in seen {
            let Some(queue) = self.lanes.get_mut(&tenant) else { continue };
            let Some(entry) = entry else {
                queue.lane.configure(GONE, now());
                queue.lane.forgive();
                self.pump(tenant);
                continue;
            };
            let is_new = queue.failed_version != entry.tenant.version;
            if is_new && (queue.lane.is_down() || queue.lane.is_held()) {
                queue.lane.forgive();
                queue.more = true;
            }
            self.configure(tenant, &entry);
            if !entry.push_is_active() {
                self.inactive.insert(tenant, entry.tenant.version);
                self.hand_back(tenant);
            }
            self.pump(tenant);
        }
    }

    /// Lets the lane keep to the settings.
    pub(super) fn configure(&mut self, tenant: TenantId, entry: &TenantEntry) {
        let at = now();
        let queue = self.queue(tenant);
        if entry.tenant.version < queue.version {
            return;
        }
        queue.version = entry.tenant.version;
        let was_fifo = queue.lane.is_fifo();
        queue.lane.configure(Limits::from(&entry.settings.push), at);
        if queue.lane.is_fifo() && !was_fifo {
            self.hand_back(tenant);
        }
    }
}
