//! The writers: threads that own a connection each and commit many commands at once.
//!
//! A writer takes everything that is waiting, runs it in one transaction, commits, and only then answers. Batches grow by
//! themselves while a commit is under way. Those who were answered together tend to come back together, so under load a
//! writer gives them a moment, a fraction of what a commit takes, before it begins the next; a lone command doesn't, once the load is over.
//! Commands of one tenant always go to the same writer. A command that fails, fails alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::ToLane;
use super::error::StoreError;
use super::pulse::Pulse;
use super::rooms::Rooms;
use super::seam::{Append, Appended, NodeId, Queries, Report, Result, TenantId, Update};
use super::waiters::Waiters;
use crate::rules::notification::{PushProgress, State, StoredNotification};
use crate::telemetry::Metrics;

/// The most commands in one transaction: enough that the commit no longer counts.
const BATCH: usize = 256;
/// The most commands that wait for a writer; more are refused with [`StoreError::Busy`].
const QUEUE: usize = 8192;
/// The longest that a writer waits for a batch to become half as large as the last ones.
const GATHER: Duration = Duration::from_millis(1);
/// How long it sleeps while it waits: to be woken for each command would cost more.
const NAP: Duration = Duration::from_micros(50);
/// How long to wait before a lost database is tried again.
const RECONNECT: Duration = Duration::from_millis(250);

/// Answers the caller, once the fate of the transaction is known.
pub(super) type Answer = Box<dyn FnOnce(Result<()>) + Send>;

/// Runs inside the transaction; its answer is given after the commit.
pub(super) type Job = Box<dyn FnOnce(&mut dyn Queries) -> Answer + Send>;

/// Something to write.
pub(super) enum Command {
    Append(Append, oneshot::Sender<Result<Appended>>),
    Report(Vec<Report>, oneshot::Sender<Result<()>>),
    Update(Update, oneshot::Sender<Result<Option<StoredNotification>>>),
    /// These tenants are locked before.
    Run(Vec<TenantId>, Job),
}

/// A handle on one writer thread.
pub(super) struct Writer {
    commands: mpsc::Sender<Command>,
    /// How many it was given.
    given: AtomicU64,
}

impl Writer {
    /// Starts the thread. It ends when the last handle is gone and everything is written.
    pub(super) fn start(work: Work) -> (Writer, std::thread::JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("tidings-writer".to_owned())
            .spawn(move || work.run(receiver))
            .expect("a thread can be started while the server starts");
        (Writer { commands: sender, given: AtomicU64::new(0) }, thread)
    }

    /// How many commands it was given until now.
    pub(super) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    pub(super) fn send(&self, command: Command) -> Result<()> {
        self.given.fetch_add(1, Ordering::Relaxed);
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })
    }

    /// As [`Writer::send`], but waits for room: what a lane has to report must not be refused.
    pub(super) async fn send_in_turn(&self, command: Command) -> Result<()> {
        self.given.fetch_add(1, Ordering::Relaxed);
        self.commands.send(command).await.map_err(|_| StoreError::Closed)
    }
}

/// What a writer thread works with.
pub(super) struct Work {
    pub(super) connect: Box<dyn Fn() -> Result<Box<dyn Queries>> + Send>,
    pub(super) node: NodeId,
    pub(super) rooms: Arc<Rooms>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) to_lanes: Vec<mpsc::UnboundedSender<ToLane>>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) metrics: Arc<Metrics>,
}

/// The commands of one transaction, by kind.
#[derive(Default)]
struct Batch {
    appends: Vec<(Append, oneshot::Sender<Result<Appended>>)>,
    reports: Vec<(Vec<Report>, oneshot::Sender<Result<()>>)>,
    updates: Vec<(Update, oneshot::Sender<Result<Option<StoredNotification>>>)>,
    jobs: Vec<(Vec<TenantId>, Job)>,
}

impl Batch {
    fn push(&mut self, command: Command) {
        match command {
            Command::Append(event, reply) => self.appends.push((event, reply)),
            Command::Report(reports, reply) => self.reports.push((reports, reply)),
            Command::Update(update, reply) => self.updates.push((update, reply)),
            Command::Run(tenants, job) => self.jobs.push((tenants, job)),
        }
    }

    /// Takes what is waiting.
    fn fill(&mut self, commands: &mut mpsc::Receiver<Command>) {
        while self.len() < BATCH
            && let Ok(command) = commands.try_recv()
        {
            self.push(command);
        }
    }

    fn tenants(&self) -> Vec<TenantId> {
        let appends = self.appends.iter().map(|(event, _)| event.tenant);
        let reports = self.reports.iter().flat_map(|(reports, _)| reports).map(|report| report.tenant);
        let updates = self.updates.iter().map(|(update, _)| update.tenant);
        let jobs = self.jobs.iter().flat_map(|(tenants, _)| tenants).copied();
        appends.chain(reports).chain(updates).chain(jobs).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn len(&self) -> usize {
        self.appends.len() + self.reports.len() + self.updates.len() + self.jobs.len()
    }

    /// Whoever sent a job learns of it by the end of its channel.
    fn fail(self, error: impl Fn() -> StoreError) {
        for (_, reply) in self.appends {
            let _ = reply.send(Err(error()));
        }
        for (_, reply) in self.reports {
            let _ = reply.send(Err(error()));
        }
        for (_, reply) in self.updates {
            let _ = reply.send(Err(error()));
        }
    }

    /// Each append, report and update as a batch of its own, and the jobs together: they fail alone in any case.
    fn parts(self) -> Vec<Batch> {
        let appends = self.appends.into_iter().map(|item| Batch { appends: vec![item], ..Batch::default() });
        let reports = self.reports.into_iter().map(|item| Batch { reports: vec![item], ..Batch::default() });
        let updates = self.updates.into_iter().map(|item| Batch { updates: vec![item], ..Batch::default() });
        let jobs = Batch { jobs: self.jobs, ..Batch::default() };
        appends.chain(reports).chain(updates).chain([jobs]).filter(|batch| batch.len() > 0).collect()
    }
}

impl Work {
    fn run(self, mut commands: mpsc::Receiver<Command>) {
        let mut lost_connection = false;
        loop {
            // At once after a loss, not with the next command: what was leased in a lost commit must not wait for one.
            match (self.connect)().and_then(|fresh| self.recover(fresh, lost_connection)) {
                Ok(mut conn) => {
                    if !self.serve(conn.as_mut(), &mut commands) {
                        return;
                    }
                    lost_connection = true;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "no connection for writing");
                    loop {
                        match commands.try_recv() {
                            Ok(command) => {
                                let mut batch = Batch::default();
                                batch.push(command);
                                batch
                                    .fail(|| StoreError::Unavailable("no connection for writing".to_owned()));
                            }
                            Err(mpsc::error::TryRecvError::Empty) => break,
                            Err(mpsc::error::TryRecvError::Disconnected) => return,
                        }
                    }
                    std::thread::sleep(RECONNECT);
                }
            }
        }
    }

    /// Writes what comes. True: the connection is lost; false: nothing more will come.
    fn serve(&self, conn: &mut dyn Queries, commands: &mut mpsc::Receiver<Command>) -> bool {
        let (mut expected, mut took) = (1, Duration::ZERO);
        while let Some(first) = commands.blocking_recv() {
            let mut batch = Batch::default();
            batch.push(first);
            batch.fill(commands);
            let patience = Instant::now() + (took / 2).min(GATHER);
            // Half of them, so that the other half is read and answered while this one is committed.
            while batch.len() < expected / 2 && Instant::now() < patience {
                std::thread::sleep(NAP);
                batch.fill(commands);
            }
            // As many as lately: one small batch among large ones means nothing.
            expected = batch.len().max(expected * 7 / 8);
            let begun = Instant::now();
            if self.write(conn, batch).is_err_and(|error| error.broke_connection()) {
                return true;
            }
            took = begun.elapsed();
        }
        false
    }

    /// After a connection was lost in a commit, nobody knows whether that commit took effect: notifications may be
    /// leased to this node that none of its lanes has. All leases are given up; whoever gets them pushes them.
    fn recover(&self, mut conn: Box<dyn Queries>, lost_connection: bool) -> Result<Box<dyn Queries>> {
        if lost_connection {
            conn.atomically(&mut |conn| conn.node_lose(self.node))?;
        }
        Ok(conn)
    }

    /// Runs a batch in one transaction and answers it. If a statement fails, the parts are tried one by one.
    fn write(&self, conn: &mut dyn Queries, mut batch: Batch) -> Result<()> {
        let started = Instant::now();
        let size = batch.len();
        let tenants = batch.tenants();
        // Before anything is leased: should the node be taken for dead meanwhile, that lease is worth nothing.
        let life = self.pulse.life();
        let (mut appended, mut updated) = (Vec::new(), Vec::new());
        let mut answers: Vec<Answer> = Vec::new();
        let result = conn.atomically(&mut |conn| {
            if batch.len() > batch.appends.len() {
                conn.lock(&tenants)?;
            }
            if !batch.appends.is_empty() {
                let events: Vec<&Append> = batch.appends.iter().map(|(event, _)| event).collect();
                appended = conn.append(&events, self.node, &self.rooms)?;
            }
            if !batch.reports.is_empty() {
                let reports: Vec<&Report> = batch.reports.iter().flat_map(|(reports, _)| reports).collect();
                conn.report(&reports, self.node, chrono::Utc::now().timestamp_micros())?;
            }
            if !batch.updates.is_empty() {
                let updates: Vec<Update> = batch.updates.iter().map(|(update, _)| *update).collect();
                updated = conn.update(&updates)?;
            }
            // Last, because they can't be run twice; each in a savepoint of its own.
            answers.extend(batch.jobs.drain(..).map(|(_, job)| job(conn)));
            Ok(())
        });
        self.metrics.commit(size, started.elapsed());
        match result {
            Ok(()) => {
                self.answer(batch, appended, updated, answers, life);
                self.waiters.wake(&tenants);
                Ok(())
            }
            Err(error) => {
                for ((event, _), result) in batch.appends.iter().zip(&appended) {
                    if matches!(result, Appended::Stored { leased: true, .. }) {
                        self.rooms.give_back(event.tenant, event.content.size());
                    }
                }
                if size > 1 && answers.is_empty() && !error.broke_connection() {
                    let mut parts = batch.parts().into_iter();
                    // One that fails has been answered and concerns nobody else, unless the connection is lost with it.
                    let lost = parts
                        .find_map(|part| self.write(conn, part).err().filter(StoreError::broke_connection));
                    parts.for_each(|part| {
                        part.fail(|| StoreError::Unavailable("the connection was lost".to_owned()))
                    });
                    return lost.map_or(Ok(()), Err);
                }
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    commands = size,
                    "a transaction failed"
                );
                let text = "the transaction failed";
                answers.into_iter().for_each(|answer| answer(Err(StoreError::Unavailable(text.to_owned()))));
                batch.fail(|| StoreError::Unavailable(text.to_owned()));
                Err(error)
            }
        }
    }

    fn answer(
        &self,
        batch: Batch,
        appended: Vec<Appended>,
        updated: Vec<Option<StoredNotification>>,
        answers: Vec<Answer>,
        life: u64,
    ) {
        for ((event, reply), result) in batch.appends.into_iter().zip(appended) {
            let tenant = event.tenant;
            match result {
                Appended::Stored { sequence, leased: true } => {
                    let state = State::new(PushProgress::Pending, None);
                    let notification = StoredNotification { sequence, content: event.content, state };
                    self.tell(tenant, ToLane::New { tenant, notification, life });
                }
                Appended::Stored { leased: false, .. }
                    if event.has_url && event.push_now && self.rooms.tell(tenant) =>
                {
                    self.tell(tenant, ToLane::Waiting(tenant));
                }
                _ => {}
            }
            let _ = reply.send(Ok(result));
        }
        for (_, reply) in batch.reports {
            let _ = reply.send(Ok(()));
        }
        for ((_, reply), notification) in batch.updates.into_iter().zip(updated) {
            let _ = reply.send(Ok(notification));
        }
        answers.into_iter().for_each(|answer| answer(Ok(())));
    }

    fn tell(&self, tenant: TenantId, what: ToLane) {
        let lane = tenant.number() % (self.to_lanes.len() as u64).max(1);
        if let Some(lane) = usize::try_from(lane).ok().and_then(|lane| self.to_lanes.get(lane)) {
            // Fails only when the sending threads are gone, and then the node's leases go with it.
            let _ = lane.send(what);
        }
    }
}
