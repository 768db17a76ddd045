//! One sending thread: its lanes, and what they need of the database.
//!
//! New notifications come straight from the writer, already leased to this node; what found no room, what is due again,
//! what waits under strict order and what a dead node has left behind is claimed from the database, within a second at
//! the latest. Outcomes are gathered and recorded in batches.
//!
//! A tenant's lane is one node's at a time, so that its limits hold over all nodes: see `own.rs`. What the others store for it
//! waits in the database.
//!
//! Under strict order a lane claims a run of the oldest only when it is empty and all that it has sent is recorded, and
//! the store leases nothing while any node has something of this tenant: so one notification is under way at a time,
//! over all nodes, and a failure hands back whatever stands behind it.

mod claim;
mod finish;
mod look;
mod own;
mod record;
#[cfg(test)]
mod scene;
mod word;

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings_api::delivery::AttemptReason;
use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinSet;

use self::claim::{Claim, Want};
use super::attempt::{Attempted, Attempts, Verdict};
use super::watch::Watch;
use crate::directory::TenantEntry;
use crate::rules::lane::{Lane, Limits, Step};
use crate::rules::notification::{Micros, State, StoredNotification};
use crate::store::error::StoreError;
use crate::store::seam::{AT_ONCE, Due, Outcome, Report, TenantId};
use crate::store::{Store, ToLane};

/// How often the database is asked for what is due.
const POLL: Duration = Duration::from_secs(1);
/// How long to wait before something is tried again that failed for reasons of our own.
const AGAIN: Duration = Duration::from_millis(500);
/// The limits of a tenant that is gone: what its lane still has is handed back, one after another.
const GONE: Limits = Limits { concurrency: 1, per_minute: None, fifo: false };

/// Which tenants are a thread's: those whose number leaves `index` when it is divided by `count`.
#[derive(Clone, Copy)]
pub(super) struct Share {
    pub(super) index: u64,
    pub(super) count: u64,
}

/// The settings of tenants as they were seen; none where the tenant is gone.
type Seen = Vec<(TenantId, Option<Arc<TenantEntry>>)>;

/// What the tasks of a thread tell it.
enum Event {
    Finished(TenantId, StoredNotification, Box<Attempted>),
    Claimed(TenantId, Result<Option<Claim>, StoreError>),
    /// The settings of a lane that is new.
    Settings(Seen),
    /// The settings of all lanes, looked at again.
    Looked(Seen),
    Due(Result<Vec<Due>, StoreError>),
    /// What others have stored for lanes of this node.
    Waiting(Result<Vec<Due>, StoreError>),
    /// Of these lanes, which had been busy last at these times, those were let go.
    LetGo(Vec<(TenantId, Instant)>, Result<Vec<TenantId>, StoreError>),
    Reported(Vec<TenantId>),
    /// Outcomes are lost, and these leases with them, unless they are handed back.
    Unreported(Vec<Report>),
}

/// A lane with what belongs to it.
#[derive(Default)]
struct Queue {
    lane: Lane<StoredNotification>,
    /// More is due in the database.
    more: bool,
    /// The receiver is down, so nothing new is leased for the lane.
    closed: bool,
    claiming: bool,
    /// Until when the lane holds by what is stored.
    held_until: Option<Micros>,
    /// Outcomes that are not yet recorded.
    unrecorded: usize,
    /// The version of the settings that the lane keeps to.
    version: i64,
    /// The version of the settings with which the receiver failed last.
    failed_version: i64,
    /// The resumption of the push whose backlog the lane has begun.
    resumed_at: Option<Micros>,
}

/// One sending thread.
pub(super) struct Thread {
    share: Share,
    attempts: Rc<Attempts>,
    store: Store,
    lanes: HashMap<TenantId, Queue>,
    /// Tenants whose push isn't active, by the version of the settings that say so.
    inactive: HashMap<TenantId, i64>,
    /// The tenants whose lanes are this node's, and when they were last busy.
    owned: HashMap<TenantId, Instant>,
    /// So many of them the pulse knows of.
    told: usize,
    /// Lanes that are let go because this node has more than its share, and not taken again before this time.
    shed: HashMap<TenantId, Instant>,
    releasing: bool,
    ask_at: Micros,
    asking: bool,
    /// The attempts under way.
    under_way: JoinSet<()>,
    /// The node's life in which everything here was leased.
    life: u64,
    /// The other nodes may take this one for dead: nothing is sent.
    is_cut_off: bool,
    /// When lanes want to be looked at again.
    wakes: BTreeSet<(Micros, TenantId)>,
    reports: Vec<Report>,
    reporting: usize,
    /// To be reported with the next tick.
    unreported: Vec<Report>,
    /// Tenants with a notification whose retries are exhausted, by the settings of its last attempt.
    exhausted: HashMap<TenantId, Arc<TenantEntry>>,
    poll_at: Micros,
    polling: bool,
    looking: bool,
    watch: Arc<Watch>,
    stopping: signal::Receiver<bool>,
    events: mpsc::UnboundedSender<Event>,
    received: mpsc::UnboundedReceiver<Event>,
}

fn now() -> Micros {
    chrono::Utc::now().timestamp_micros()
}

fn after(at: Micros, delay: Duration) -> Micros {
    at.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX))
}

impl Thread {
    pub(super) fn new(
        share: Share,
        store: Store,
        attempts: Attempts,
        watch: Arc<Watch>,
        stopping: signal::Receiver<bool>,
    ) -> Self {
        let (events, received) = mpsc::unbounded_channel();
        let life = store.pulse().life();
        Thread {
            share,
            attempts: Rc::new(attempts),
            store,
            lanes: HashMap::new(),
            inactive: HashMap::new(),
            owned: HashMap::new(),
            told: 0,
            shed: HashMap::new(),
            releasing: false,
            ask_at: 0,
            asking: false,
            under_way: JoinSet::new(),
            life,
            is_cut_off: false,
            wakes: BTreeSet::new(),
            reports: Vec::new(),
            reporting: 0,
            unreported: Vec::new(),
            exhausted: HashMap::new(),
            poll_at: 0,
            polling: false,
            looking: false,
            watch,
            stopping,
            events,
            received,
        }
    }

    /// Runs until it is told to stop and everything in flight has ended and is recorded.
    pub(super) async fn run(mut self, mut told: mpsc::UnboundedReceiver<ToLane>) {
        loop {
            let pause = Duration::from_micros(u64::try_from(self.next_tick() - now()).unwrap_or(0));
            let pause = if self.is_cut_off {
                AGAIN
            } else if self.is_stopping() {
                self.store.pulse().left()
            } else {
                pause.min(self.store.pulse().left())
            };
            tokio::select! {
                biased;
                Some(event) = self.received.recv() => self.handle(event),
                Some(new) = told.recv() => self.accept(new),
                _ = self.stopping.changed() => {}
                // No longer than this, so that a clock that was put back makes nobody wait.
                () = tokio::time::sleep(pause.min(POLL)) => self.tick(),
            }
            self.heed_pulse();
            // What has come meanwhile is taken together, so that its outcomes are recorded together.
            while let Ok(event) = self.received.try_recv() {
                self.handle(event);
            }
            while let Ok(new) = told.try_recv() {
                self.accept(new);
            }
            while self.under_way.try_join_next().is_some() {}
            if self.is_stopping() {
                self.hand_back_everything();
                self.let_go();
            }
            self.flush();
            self.tell_lanes();
            if self.is_stopping()
                && self.reporting == 0
                && !self.releasing
                && self.lanes.values().all(|queue| queue.lane.in_flight() == 0)
            {
                return;
            }
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// When there is something to do by the clock.
    fn next_tick(&self) -> Micros {
        let wake = self.wakes.first().map_or(Micros::MAX, |(time, _)| *time);
        let wake = if self.polling { wake } else { wake.min(self.poll_at) };
        if self.asks() { wake.min(self.ask_at) } else { wake }
    }

    fn tick(&mut self) {
        if self.is_stopping() || self.is_cut_off {
            return;
        }
        let at = now();
        while let Some((time, tenant)) = self.wakes.pop_first() {
            if time > at {
                self.wakes.insert((time, tenant));
                break;
            }
            self.pump(tenant);
        }
        self.reports.append(&mut self.unreported);
        // Never longer than a poll's interval, if the clock was put back.
        self.poll_at = self.poll_at.min(after(at, POLL));
        if !self.polling && self.poll_at <= at {
            self.poll();
        }
        // Nor does this.
        self.ask_at = self.ask_at.min(after(at, POLL));
        if self.asks() && self.ask_at <= at {
            self.ask();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Finished(tenant, notification, attempted) => {
                self.finish(tenant, &notification, *attempted)
            }
            Event::Claimed(tenant, claimed) => self.claimed(tenant, claimed),
            Event::Settings(seen) => self.settings_seen(seen),
            Event::Looked(seen) => {
                self.looking = false;
                self.settings_seen(seen);
            }
            Event::Due(due) => self.due(due),
            Event::Waiting(waiting) => self.waiting(waiting),
            Event::LetGo(lanes, released) => self.has_let_go(lanes, released),
            Event::Reported(tenants) => self.reported(&tenants),
            Event::Unreported(leases) => self.unreported(leases),
        }
    }

    /// The lane of a tenant. A new one asks for its limits.
    fn queue(&mut self, tenant: TenantId) -> &mut Queue {
        if !self.lanes.contains_key(&tenant) {
            self.look_at(vec![tenant], Event::Settings);
        }
        self.lanes.entry(tenant).or_default()
    }

    fn accept(&mut self, told: ToLane) {
        match told {
            ToLane::New { tenant, notification, life } => {
                let holds = self.holds(life);
                if holds {
                    self.own(tenant);
                }
                let queue = self.queue(tenant);
                if !holds || queue.lane.is_fifo() {
                    // Not this node's any more; or stored while the order wasn't strict yet, and now it takes its turn.
                    queue.more = true;
                    self.report(tenant, &notification, Outcome::HandBack(AT_ONCE), None);
                } else {
                    queue.lane.offer(notification);
                }
                self.pump(tenant);
            }
            ToLane::Waiting(tenant) => {
                self.queue(tenant).more = true;
                self.pump(tenant);
            }
        }
    }

    /// Sends what the lane wants to send, and claims what it has room for.
    fn pump(&mut self, tenant: TenantId) {
        if self.is_stopping() || !self.holds(self.life) {
            return;
        }
        let at = now();
        let is_shed = self.shed.contains_key(&tenant);
        let Some(queue) = self.lanes.get_mut(&tenant) else { return };
        loop {
            let probing = queue.lane.is_down();
            let step = if is_shed { Step::Idle } else { queue.lane.next(at) };
            match step {
                Step::Send(notification) => {
                    let (store, life, attempts) = (self.store.clone(), self.life, self.attempts.clone());
                    let reason = reason(probing, &notification.state);
                    let unknown = Box::new(Verdict::Unknown.into());
                    let otherwise = Event::Finished(tenant, notification.clone(), unknown);
                    word::begin_among(&mut self.under_way, &self.events, otherwise, async move {
                        let attempt = attempts.make(tenant, &notification, reason);
                        let attempted = own::while_held(store.pulse(), life, attempt).await;
                        let attempted = attempted.unwrap_or_else(|| Verdict::Unknown.into());
                        Event::Finished(tenant, notification, Box::new(attempted))
                    });
                }
                Step::WaitUntil(time) => {
                    self.wakes.insert((time, tenant));
                    break;
                }
                Step::Idle => break,
            }
        }
        let is_down = queue.lane.is_down();
        let is_closed = is_down || is_shed;
        if queue.closed != is_closed {
            queue.closed = is_closed;
            self.store.rooms().close(tenant, is_closed);
        }
        let more = queue.more || self.store.rooms().has_overflowed(tenant);
        let is_recorded = queue.unrecorded == 0;
        if more && !is_shed && !queue.claiming && (is_recorded || !queue.lane.is_fifo()) {
            let (room, bytes) = self.store.rooms().left(tenant);
            let count = queue.lane.wants(at).min(room);
            if count > 0 {
                queue.claiming = true;
                let retries = queue.lane.retries(count);
                let want = Want { tenant, count, retries, bytes };
                let (store, attempts) = (self.store.clone(), self.attempts.clone());
                let panicked = StoreError::Unavailable("a task panicked".to_owned());
                word::begin(&self.events, Event::Claimed(tenant, Err(panicked)), async move {
                    Event::Claimed(tenant, claim::claim(&store, &attempts, want).await)
                });
            }
        }
        if queue.lane.is_idle(at) && !queue.claiming && !more && is_recorded && !is_shed {
            self.lanes.remove(&tenant);
        }
    }
}

/// Why an attempt is made.
fn reason(probing: bool, state: &State) -> AttemptReason {
    match (probing, state.attempts) {
        (true, _) => AttemptReason::Probe,
        (false, 0) => AttemptReason::First,
        (false, made) if made == state.attempts_before => AttemptReason::Repush,
        (false, _) => AttemptReason::Retry,
    }
}
