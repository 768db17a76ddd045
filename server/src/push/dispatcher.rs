//! The dispatcher: the lanes, on threads of their own.
//!
//! A lane belongs to one thread, chosen by its tenant. New notifications come straight from the writer, already leased
//! to this node; what found no room, what is due again and what a dead node has left behind is claimed from the
//! database, within a second at the latest. Outcomes are gathered and recorded in batches.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::attempt::{Attempts, Verdict};
use crate::rules::lane::{Lane, Step};
use crate::rules::notification::{Micros, StoredNotification};
use crate::rules::retry;
use crate::store::error::StoreError;
use crate::store::seam::{Outcome, Report, TenantId};
use crate::store::{Leased, Store};

/// How often the database is asked for what is due.
const POLL: Duration = Duration::from_secs(1);
/// How many attempts a lane makes at once.
const CONCURRENCY: usize = 32;
/// How often a stopping server tries to record an outcome.
const LAST_TRIES: usize = 6;
/// How long to wait before something is tried again that failed for reasons of our own.
const AGAIN: Duration = Duration::from_millis(500);

/// The sending threads.
pub struct Dispatcher {
    threads: Vec<std::thread::JoinHandle<()>>,
    alive: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
}

impl Dispatcher {
    /// Starts a thread for each channel of new notifications. `attempts` makes what a thread sends with.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub fn start(
        store: &Store,
        channels: Vec<mpsc::UnboundedReceiver<Leased>>,
        attempts: impl Fn() -> Attempts + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopping) = watch::channel(false);
        let alive = Arc::new(AtomicUsize::new(0));
        let count = channels.len() as u64;
        let threads = channels
            .into_iter()
            .zip(0..)
            .map(|(leased, index)| {
                let (store, attempts, stopping) = (store.clone(), attempts.clone(), stopping.clone());
                let guard = Alive::new(&alive);
                std::thread::Builder::new().name("tidings-push".to_owned()).spawn(move || {
                    let _guard = guard;
                    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                        Ok(runtime) => runtime,
                        Err(error) => return tracing::error!(%error, "a sending thread could not start"),
                    };
                    let (events, received) = mpsc::unbounded_channel();
                    let thread = Thread {
                        index,
                        count,
                        attempts: Rc::new(attempts()),
                        store,
                        lanes: HashMap::new(),
                        reports: Vec::new(),
                        reporting: 0,
                        poll_at: 0,
                        polling: false,
                        stopping,
                        events,
                    };
                    let local = tokio::task::LocalSet::new();
                    local.block_on(&runtime, thread.run(leased, received));
                })
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Dispatcher { threads, alive, stop })
    }

    /// Whether all threads run: for `/readyz`.
    pub fn alive(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let (alive, all) = (self.alive.clone(), self.threads.len());
        Arc::new(move || alive.load(Ordering::Relaxed) == all)
    }

    /// Lets what is in flight end, hands back the rest, and ends the threads.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a sending thread has panicked");
            }
        }
    }
}

/// Counts a thread for as long as it lives, whichever way it ends.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the tasks of a thread tell it.
enum Event {
    Finished(TenantId, StoredNotification, Verdict),
    Claimed(TenantId, Result<Vec<StoredNotification>, StoreError>),
    Settings(TenantId, i64),
    Due(Result<Vec<(TenantId, Micros)>, StoreError>),
    Reported,
}

/// A lane with what belongs to it.
struct Queue {
    lane: Lane<StoredNotification>,
    /// More is due in the database.
    more: bool,
    claiming: bool,
    /// The version of the settings with which the receiver went down.
    version: i64,
}

/// One sending thread.
struct Thread {
    /// Tenants whose number leaves this remainder are this thread's.
    index: u64,
    count: u64,
    attempts: Rc<Attempts>,
    store: Store,
    lanes: HashMap<TenantId, Queue>,
    reports: Vec<Report>,
    reporting: usize,
    poll_at: Micros,
    polling: bool,
    stopping: watch::Receiver<bool>,
    events: mpsc::UnboundedSender<Event>,
}

fn now() -> Micros {
    chrono::Utc::now().timestamp_micros()
}

fn micros(duration: Duration) -> Micros {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Thread {
    async fn run(
        mut self,
        mut leased: mpsc::UnboundedReceiver<Leased>,
        mut events: mpsc::UnboundedReceiver<Event>,
    ) {
        loop {
            let stopping = self.is_stopping();
            let pause = u64::try_from(self.poll_at - now()).unwrap_or(0).min(60_000_000);
            tokio::select! {
                biased;
                Some(event) = events.recv() => self.handle(event),
                Some(new) = leased.recv() => self.accept(new),
                _ = self.stopping.changed() => {}
                () = tokio::time::sleep(Duration::from_micros(pause)), if !stopping && !self.polling => self.poll(),
            }
            // What has come meanwhile is taken together, so that its outcomes are recorded together.
            while let Ok(event) = events.try_recv() {
                self.handle(event);
            }
            while let Ok(new) = leased.try_recv() {
                self.accept(new);
            }
            if self.is_stopping() {
                self.hand_back_everything();
            }
            self.flush();
            if self.is_stopping()
                && self.reporting == 0
                && self.lanes.values().all(|queue| queue.lane.in_flight() == 0)
            {
                return;
            }
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    fn queue(&mut self, tenant: TenantId) -> &mut Queue {
        let new = || Queue { lane: Lane::new(CONCURRENCY), more: false, claiming: false, version: 0 };
        self.lanes.entry(tenant).or_insert_with(new)
    }

    fn accept(&mut self, new: Leased) {
        self.queue(new.tenant).lane.offer(new.notification);
        self.pump(new.tenant);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Finished(tenant, notification, verdict) => self.finish(tenant, &notification, verdict),
            Event::Claimed(tenant, claimed) => self.claimed(tenant, claimed),
            Event::Settings(tenant, version) => self.settings_seen(tenant, version),
            Event::Due(due) => self.due(due),
            Event::Reported => self.reporting -= 1,
        }
    }

    /// Sends what the lane wants to send, and claims what it has room for.
    fn pump(&mut self, tenant: TenantId) {
        if self.is_stopping() {
            return;
        }
        let Some(queue) = self.lanes.get_mut(&tenant) else { return };
        loop {
            match queue.lane.next(now()) {
                Step::Send(notification) => {
                    let (attempts, events) = (self.attempts.clone(), self.events.clone());
                    tokio::task::spawn_local(async move {
                        let verdict = attempts.make(tenant, &notification).await;
                        // Fails only when the thread has ended.
                        let _ = events.send(Event::Finished(tenant, notification, verdict));
                    });
                }
                Step::WaitUntil(time) => {
                    self.poll_at = self.poll_at.min(time);
                    break;
                }
                Step::Idle => break,
            }
        }
        let more = queue.more || self.store.rooms().has_overflowed(tenant);
        let (room, bytes) = self.store.rooms().left(tenant);
        let wanted = queue.lane.wants(now()).min(room);
        if more && !queue.claiming && wanted > 0 {
            queue.claiming = true;
            let (store, attempts, events) = (self.store.clone(), self.attempts.clone(), self.events.clone());
            tokio::task::spawn_local(async move {
                let claimed = claim(&store, &attempts, tenant, wanted, bytes).await;
                let _ = events.send(Event::Claimed(tenant, claimed));
            });
        }
        if queue.lane.is_idle() && !queue.claiming && !more {
            self.lanes.remove(&tenant);
        }
    }

    fn claimed(&mut self, tenant: TenantId, claimed: Result<Vec<StoredNotification>, StoreError>) {
        let queue = self.queue(tenant);
        queue.claiming = false;
        match claimed {
            Ok(claimed) => {
                // None: nothing else is due now, and the next poll finds out what is due then.
                queue.more = !claimed.is_empty();
                claimed.into_iter().for_each(|notification| queue.lane.offer(notification));
                self.pump(tenant);
            }
            // Left to the next poll, so that a database in trouble isn't asked without pause.
            Err(error) => tracing::debug!(%error, "nothing could be claimed"),
        }
    }

    fn finish(&mut self, tenant: TenantId, notification: &StoredNotification, verdict: Verdict) {
        let at = now();
        let attempts = u32::try_from(notification.state.attempts).unwrap_or(0) + 1;
        let queue = self.queue(tenant);
        let lane = &mut queue.lane;
        let was_down = lane.is_down();
        let outcome = match &verdict {
            Verdict::Delivered { dismiss } => {
                lane.succeeded();
                Outcome::Delivered { dismiss: *dismiss }
            }
            Verdict::Failed { entry, asked, why, rejected } => {
                queue.version = entry.tenant.version;
                if *rejected {
                    // The receiver is there; it is this notification that it won't have.
                    lane.rejected();
                } else {
                    lane.failed(at, *asked);
                }
                if lane.is_down() && !was_down {
                    tracing::warn!(
                        tenant = entry.tenant.public_id,
                        why,
                        "the receiver is down; it will be probed"
                    );
                }
                let chance = f64::from(u32::from_be_bytes(crate::secrets::random())) / f64::from(u32::MAX);
                match retry::delay(&entry.settings.push.retry, attempts, chance, *asked) {
                    Some(delay) => Outcome::Retry(at.saturating_add(micros(delay))),
                    None => Outcome::Failed,
                }
            }
            Verdict::Gone { version } => {
                lane.not_sent();
                self.stop_push(tenant, *version);
                Outcome::Retry(at)
            }
            Verdict::Inactive => {
                lane.not_sent();
                Outcome::HandBack(at)
            }
            Verdict::Unknown => {
                lane.not_sent();
                Outcome::HandBack(at.saturating_add(micros(AGAIN)))
            }
        };
        if let Outcome::Retry(time) | Outcome::HandBack(time) = outcome {
            self.poll_at = self.poll_at.min(time.max(at + micros(AGAIN)));
        }
        let lane = &mut self.queue(tenant).lane;
        let is_down = lane.is_down();
        // What waits behind a receiver that is down, or a push that is paused, waits in the database.
        let idle = is_down || matches!(verdict, Verdict::Gone { .. } | Verdict::Inactive);
        let waiting = if idle { lane.drain() } else { Vec::new() };
        if was_down != is_down {
            self.store.rooms().close(tenant, is_down);
        }
        if was_down && !is_down {
            tracing::info!(attempts, "a receiver is back");
            self.queue(tenant).more = true;
        }
        self.report(tenant, notification, outcome);
        for waiting in waiting {
            self.report(tenant, &waiting, Outcome::HandBack(at));
        }
        self.pump(tenant);
    }

    /// The end of a lease: its place is free, and its outcome is recorded with the next batch.
    fn report(&mut self, tenant: TenantId, notification: &StoredNotification, outcome: Outcome) {
        self.store.rooms().give_back(tenant, notification.content.size());
        self.reports.push(Report { tenant, sequence: notification.sequence, outcome });
    }

    /// Records the outcomes that have gathered.
    fn flush(&mut self) {
        if self.reports.is_empty() {
            return;
        }
        let reports = std::mem::take(&mut self.reports);
        let (store, events) = (self.store.clone(), self.events.clone());
        self.reporting += 1;
        let stopping = self.stopping.clone();
        tokio::task::spawn_local(async move {
            let mut last_tries = LAST_TRIES;
            // An outcome must not be lost while this node lives: its lease would never end. With the node it ends.
            while let Err(error) = store.report(reports.clone()).await {
                if matches!(error, StoreError::Closed) || last_tries == 0 {
                    tracing::warn!(%error, outcomes = reports.len(), "outcomes were not recorded; they will be pushed again");
                    break;
                }
                last_tries -= usize::from(*stopping.borrow());
                tracing::warn!(%error, outcomes = reports.len(), "outcomes could not be recorded; trying again");
                tokio::time::sleep(AGAIN).await;
            }
            let _ = events.send(Event::Reported);
        });
    }

    fn stop_push(&self, tenant: TenantId, version: i64) {
        let (store, attempts) = (self.store.clone(), self.attempts.clone());
        tokio::task::spawn_local(async move {
            let reason = "the receiver answered 410 Gone";
            if let Err(error) =
                store.write(Some(tenant), move |conn| conn.push_stop(tenant, version, reason)).await
            {
                // The next attempt will be answered 410 again.
                tracing::warn!(%error, "a push could not be stopped");
            }
            attempts.directory.forget();
        });
    }

    fn poll(&mut self) {
        self.polling = true;
        let (store, events) = (self.store.clone(), self.events.clone());
        tokio::task::spawn_local(async move {
            let _ = events.send(Event::Due(store.read(|conn| conn.due()).await));
        });
    }

    fn due(&mut self, due: Result<Vec<(TenantId, Micros)>, StoreError>) {
        self.polling = false;
        let at = now();
        self.poll_at = at + micros(POLL);
        let due = due.unwrap_or_else(|error| {
            tracing::warn!(%error, "what is due could not be read");
            Vec::new()
        });
        for (tenant, time) in due {
            if tenant.number() % self.count != self.index {
                continue;
            }
            if time > at {
                self.poll_at = self.poll_at.min(time);
                continue;
            }
            self.queue(tenant).more = true;
        }
        self.look_at_settings();
        // Lanes without anything due are looked at too: a pause may be over.
        let tenants: Vec<TenantId> = self.lanes.keys().copied().collect();
        tenants.into_iter().for_each(|tenant| self.pump(tenant));
    }

    /// A receiver that is down may have been replaced by an admin, and then there is nothing to wait for.
    fn look_at_settings(&self) {
        for (tenant, _) in self.lanes.iter().filter(|(_, queue)| queue.lane.is_down()) {
            let (tenant, attempts, events) = (*tenant, self.attempts.clone(), self.events.clone());
            tokio::task::spawn_local(async move {
                if let Ok(Some(entry)) = attempts.directory.tenant(tenant).await {
                    let _ = events.send(Event::Settings(tenant, entry.tenant.version));
                }
            });
        }
    }

    fn settings_seen(&mut self, tenant: TenantId, version: i64) {
        let Some(queue) = self.lanes.get_mut(&tenant) else { return };
        if queue.lane.is_down() && queue.version != version {
            queue.lane.forgive();
            queue.more = true;
            self.store.rooms().close(tenant, false);
            self.pump(tenant);
        }
    }

    fn hand_back_everything(&mut self) {
        let at = now();
        let mut waiting = Vec::new();
        for (tenant, queue) in &mut self.lanes {
            waiting.extend(queue.lane.drain().into_iter().map(|notification| (*tenant, notification)));
        }
        for (tenant, notification) in waiting {
            self.report(tenant, &notification, Outcome::HandBack(at));
        }
    }
}

/// Leases what is due to this node, if the tenant's push is active.
async fn claim(
    store: &Store,
    attempts: &Attempts,
    tenant: TenantId,
    wanted: usize,
    bytes: usize,
) -> Result<Vec<StoredNotification>, StoreError> {
    let entry = attempts.directory.tenant(tenant).await?;
    let (node, rooms, at) = (store.node(), store.rooms().clone(), now());
    if !entry.is_some_and(|entry| entry.push_is_active()) {
        // What waits is found by a poll, once the push goes on.
        rooms.caught_up(tenant);
        return Ok(Vec::new());
    }
    let limit = i64::try_from(wanted).unwrap_or(1);
    let claimed = store
        .write(Some(tenant), {
            let rooms = rooms.clone();
            move |conn| {
                let claimed = conn.claim(tenant, node, at, limit, bytes)?;
                if claimed.is_empty() {
                    // Said before the writer goes on, so that what it can't place from now on counts again.
                    rooms.caught_up(tenant);
                }
                Ok(claimed)
            }
        })
        .await?;
    // Not before the commit: what was not leased after all takes no place.
    rooms.put(tenant, claimed.len(), claimed.iter().map(|notification| notification.content.size()).sum());
    Ok(claimed)
}
