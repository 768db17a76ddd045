//! Which lanes are this node's: what follows from it, how they are let go, and how everything is forgotten when the other
//! nodes may take this one for dead.
//!
//! A lane is this node's from the first notification that it leases. While no other node is alive it remains so. Otherwise
//! it is let go once it has been idle for a moment, so that whichever node gets the next event sends it straight from memory;
//! and until then the database is asked often for what the others have stored for it.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Event, POLL, Thread, after, now, word};
use crate::store::error::StoreError;
use crate::store::pulse::Pulse;
use crate::store::seam::{Due, Release, TenantId};

/// How often it is looked for what other nodes have stored for the lanes of this one.
const ASK: Duration = Duration::from_millis(100);
/// More lanes than this are asked for less often, so that it costs the database no more.
const ASKED: usize = 1_000;
/// A lane that was idle for so long is let go.
const IDLE: Duration = Duration::from_secs(2);
/// The most lanes that are let go at once: their tenants are locked together.
const AT_ONCE: usize = 256;
/// How long a lane that was let go to others is left to them.
const SHED: Duration = Duration::from_secs(5);

/// Does the work for as long as what was leased in this life of the node is its own. None: it isn't any more, and nothing
/// more is done.
pub(super) async fn while_held<T>(pulse: &Pulse, life: u64, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    // Before each step, because a process that was frozen goes on wherever it was.
    poll_fn(|cx| if pulse.holds(life) { work.as_mut().poll(cx).map(Some) } else { Poll::Ready(None) }).await
}

impl Thread {
    /// Whether what was leased in this life may be sent.
    pub(super) fn holds(&self, life: u64) -> bool {
        life == self.life && self.store.pulse().holds(life)
    }

    /// Notes that a lane is this node's, and busy.
    pub(super) fn own(&mut self, tenant: TenantId) {
        let is_new = self.owned.insert(tenant, Instant::now()).is_none();
        if is_new && self.store.rooms().was_inherited(tenant) {
            self.queue(tenant).lane.inherit(now());
        }
    }

    /// Forgets everything when others may have it, and goes on when that is over.
    pub(super) fn heed_pulse(&mut self) {
        if !self.is_cut_off && self.holds(self.life) {
            return;
        }
        let life = self.store.pulse().life();
        let holds = self.store.pulse().holds(life);
        if life != self.life || !self.is_cut_off {
            if !holds {
                tracing::warn!("this node can't show that it lives: nothing is pushed until it can");
            }
            self.under_way.abort_all();
            self.hand_back_everything();
            self.owned.clear();
            self.shed.keys().copied().collect::<Vec<_>>().into_iter().for_each(|tenant| self.unshed(tenant));
        }
        (self.life, self.is_cut_off) = (life, !holds);
        if holds {
            self.poll_at = 0;
            let tenants: Vec<TenantId> = self.lanes.keys().copied().collect();
            tenants.into_iter().for_each(|tenant| self.pump(tenant));
        }
    }

    /// Tells the pulse how many lanes are this node's.
    pub(super) fn tell_lanes(&mut self) {
        let count = |lanes: usize| i64::try_from(lanes).unwrap_or(i64::MAX);
        if self.told != self.owned.len() {
            self.store.pulse().note_lanes(count(self.owned.len()) - count(self.told));
            self.told = self.owned.len();
        }
    }

    /// Whether others may have stored something for a lane of this node.
    pub(super) fn asks(&self) -> bool {
        !self.asking && !self.owned.is_empty() && self.store.pulse().has_company()
    }

    /// Asks for what others have stored for the lanes that know of nothing.
    pub(super) fn ask(&mut self) {
        let knows = |tenant| self.lanes.get(tenant).is_some_and(|queue| queue.more || queue.claiming);
        let tenants: Vec<TenantId> = self.owned.keys().filter(|tenant| !knows(tenant)).copied().collect();
        self.ask_at = after(now(), ASK * u32::try_from(1 + tenants.len() / ASKED).unwrap_or(u32::MAX));
        // So many are found by the poll as soon.
        if tenants.is_empty() || self.ask_at >= after(now(), POLL) {
            return;
        }
        self.asking = true;
        let store = self.store.clone();
        word::begin(&self.events, Event::Waiting(Ok(Vec::new())), async move {
            Event::Waiting(store.read(move |conn| conn.due_of(&tenants)).await)
        });
    }

    pub(super) fn waiting(&mut self, waiting: Result<Vec<Due>, StoreError>) {
        self.asking = false;
        // What can't be read now is found by the next poll.
        for due in waiting.unwrap_or_default() {
            if self.owned.contains_key(&due.tenant) && self.inactive.get(&due.tenant) != Some(&due.version) {
                let tenant = due.tenant;
                self.found(due, now());
                self.pump(tenant);
            }
        }
    }

    /// Lets go the lanes that are idle while other nodes are alive; when the server stops, all that have nothing under way;
    /// and as many as this node has beyond its share.
    pub(super) fn let_go(&mut self) {
        let stopping = self.is_stopping();
        self.shed_surplus();
        if self.releasing || self.is_cut_off || !(stopping || self.store.pulse().has_company()) {
            return;
        }
        let at = now();
        let mut lanes = Vec::new();
        let (mut idle, mut departing) = (Vec::new(), Vec::new());
        for (tenant, since) in &self.owned {
            let departs = stopping || self.shed.contains_key(tenant);
            let (is_free, is_idle) = match self.lanes.get(tenant) {
                None => (departs || since.elapsed() >= IDLE, true),
                Some(queue) => {
                    let has_ended = queue.lane.in_flight() == 0 && queue.unrecorded == 0 && !queue.claiming;
                    (departs && has_ended, queue.lane.is_idle(at))
                }
            };
            if is_free {
                lanes.push((*tenant, *since));
                idle.extend(is_idle.then_some(*tenant));
                // Also one that is idle, if something waits for it.
                departing.extend(departs.then_some(*tenant));
            }
            if lanes.len() == AT_ONCE {
                break;
            }
        }
        if lanes.is_empty() {
            return;
        }
        self.releasing = true;
        let store = self.store.clone();
        let otherwise = Event::LetGo(Vec::new(), Ok(Vec::new()));
        word::begin(&self.events, otherwise, async move {
            let (node, tenants) = (store.node(), lanes.iter().map(|(tenant, _)| *tenant).collect());
            let released = store.write_of(tenants, move |conn| {
                let mut released = conn.lanes_release(&idle, node, Release::Idle(at))?;
                if !departing.is_empty() {
                    released.extend(conn.lanes_release(&departing, node, Release::Departing)?);
                }
                Ok(released)
            });
            Event::LetGo(lanes, released.await)
        });
    }

    pub(super) fn has_let_go(
        &mut self,
        lanes: Vec<(TenantId, Instant)>,
        released: Result<Vec<TenantId>, StoreError>,
    ) {
        self.releasing = false;
        let released: HashSet<TenantId> = match released {
            Ok(released) => released.into_iter().collect(),
            Err(error) => {
                tracing::debug!(%error, "lanes could not be let go");
                HashSet::new()
            }
        };
        let was_full = released.len() == AT_ONCE;
        for (tenant, since) in lanes {
            // Taken again meanwhile.
            if self.owned.get(&tenant) != Some(&since) {
                continue;
            }
            if released.contains(&tenant) {
                self.owned.remove(&tenant);
                if let Some(until) = self.shed.get_mut(&tenant) {
                    *until = Instant::now() + SHED;
                    self.lanes.remove(&tenant);
                }
            } else if self.is_stopping() {
                // Free as soon as this node has left.
                self.owned.remove(&tenant);
            } else {
                // Something waits for it.
                self.owned.insert(tenant, Instant::now());
            }
        }
        if was_full {
            self.let_go();
        }
    }

    /// Begins to let go what this thread has of the surplus, and takes again what it has left to others for long enough.
    fn shed_surplus(&mut self) {
        let (lanes, surplus) = (self.store.pulse().lanes().max(1), self.store.pulse().surplus());
        let goes_on = self.store.pulse().has_company() && !self.is_stopping();
        let at = Instant::now();
        let over = |(tenant, until): (&TenantId, &Instant)| {
            (!goes_on || (*until <= at && !self.owned.contains_key(tenant))).then_some(*tenant)
        };
        let over: Vec<TenantId> = self.shed.iter().filter_map(over).collect();
        over.into_iter().for_each(|tenant| self.unshed(tenant));
        if !goes_on || surplus == 0 {
            return;
        }
        let mine = i64::try_from(self.owned.len()).unwrap_or(i64::MAX);
        let part = usize::try_from(mine.saturating_mul(surplus) / lanes).unwrap_or(0).min(AT_ONCE);
        let others = self.owned.keys().filter(|tenant| !self.shed.contains_key(tenant));
        let more: Vec<TenantId> = others.take(part.saturating_sub(self.shed.len())).copied().collect();
        for tenant in more {
            self.shed.insert(tenant, at + SHED);
            self.hand_back(tenant);
            self.pump(tenant);
        }
    }

    /// Takes a lane again that was left to others, if it is to be had.
    fn unshed(&mut self, tenant: TenantId) {
        self.shed.remove(&tenant);
        if self.lanes.contains_key(&tenant) {
            self.pump(tenant);
        } else {
            self.store.rooms().close(tenant, false);
            self.store.rooms().caught_up(tenant);
        }
    }
}

#[cfg(test)]
mod tests;
