//! What is kept: tenants, notifications and their state, on SQLite or PostgreSQL.
//!
//! Writes go through [`Store::append`], [`Store::report`] and [`Store::write`] to the writer threads, reads through
//! [`Store::read`] to a pool of connections. What may not enter: HTTP, JSON:API and decisions about events; the store
//! keeps what it is given.

pub mod alerts;
mod database;
pub mod error;
mod migrations;
pub mod overdue;
mod postgres;
pub mod pulse;
pub mod queue;
mod replica;
pub mod rooms;
mod rows;
mod runs;
mod schema;
pub mod seam;
mod sqlite;
pub mod statistics;
mod waiters;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

pub use self::database::DatabaseUrl;
use self::database::Readers;
use self::error::StoreError;
use self::pulse::Pulse;
use self::replica::Replica;
use self::rooms::Rooms;
use self::seam::{Append, Appended, NodeId, PUT_ON, Queries, Report, Result, TenantId, Update};
use self::waiters::Waiters;
use self::writer::{Command, Work, Writer};
use crate::rules::notification::StoredNotification;
use crate::telemetry::Metrics;

/// How long a read waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a writer tells a lane after a commit.
pub enum ToLane {
    /// A new notification, leased to this node, on its way straight to the lane.
    New {
        /// The tenant.
        tenant: TenantId,
        /// The notification.
        notification: StoredNotification,
        /// In which of the node's lives it was leased.
        life: u64,
    },
    /// Something new of this tenant waits in the database, to be claimed. Not said again before the lane has caught up.
    Waiting(TenantId),
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    readers: Arc<Readers>,
    replica: Option<Arc<Replica>>,
    permits: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    writers: Arc<[Writer]>,
    rooms: Arc<Rooms>,
    pulse: Arc<Pulse>,
    waiters: Arc<Waiters>,
    new_job: Arc<Notify>,
    node: NodeId,
    shared: bool,
}

/// What [`Store::open`] hands out besides the store: for the push and for the end.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// What the writers tell the lanes, a channel for each sending thread.
    pub to_lanes: Vec<mpsc::UnboundedReceiver<ToLane>>,
    /// Ends when every [`Store`] is dropped and everything is written.
    pub writers: Vec<std::thread::JoinHandle<()>>,
}

/// Why reports were not recorded, and which.
#[derive(Debug)]
pub struct Unrecorded {
    /// The first reason.
    pub error: StoreError,
    /// The reports.
    pub reports: Vec<Report>,
}

impl Store {
    /// Opens the database and brings its schema up to date. New notifications are spread over `lanes` channels.
    ///
    /// # Errors
    /// When it can't be reached or migrated.
    pub fn open(url: &DatabaseUrl, metrics: &Arc<Metrics>, lanes: usize) -> Result<Opened> {
        Self::open_as(url, metrics, lanes, url.is_shared())
    }

    /// As [`Store::open`]; `shared` is whether there may be other nodes.
    pub(crate) fn open_as(
        url: &DatabaseUrl,
        metrics: &Arc<Metrics>,
        lanes: usize,
        shared: bool,
    ) -> Result<Opened> {
        url.migrate()?;
        let (senders, to_lanes) =
            (0..lanes).map(|_| mpsc::unbounded_channel()).unzip::<_, _, Vec<_>, Vec<_>>();
        let rooms = Arc::new(Rooms::default());
        let pulse = Arc::new(Pulse::new(shared));
        let waiters = Arc::new(Waiters::default());
        let node = NodeId(i64::from_be_bytes(crate::secrets::random()) & i64::MAX);
        let (writers, threads) = (0..url.writers())
            .map(|_| {
                let url = url.clone();
                Writer::start(Work {
                    connect: Box::new(move || url.connect()),
                    node,
                    rooms: rooms.clone(),
                    pulse: pulse.clone(),
                    to_lanes: senders.clone(),
                    waiters: waiters.clone(),
                    metrics: metrics.clone(),
                })
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let size = url.readers();
        let store = Store {
            readers: Arc::new(url.pool(size)?),
            replica: url.standby(size).map(Arc::new),
            permits: Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(1))),
            lists: Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(1).saturating_sub(2).max(1))),
            writers: writers.into(),
            rooms,
            pulse,
            waiters,
            new_job: Arc::default(),
            node,
            shared,
        };
        Ok(Opened { store, to_lanes, writers: threads })
    }

    /// This run of the server.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The places of the lanes.
    pub fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    /// Whether this node lives.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Whether other nodes may write to the same database.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Notified after the next commit of this tenant on this node. Ask for it before looking.
    pub fn waiter(&self, tenant: TenantId) -> Arc<Notify> {
        self.waiters.of(tenant)
    }

    /// Reads on a connection of the pool.
    ///
    /// # Errors
    /// Those of the function; [`StoreError::Unavailable`] when no connection is free in time.
    pub async fn read<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut dyn Queries) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(move |readers| readers.run(run)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Readers) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // As many threads wait as there are connections: the rest waits here, where it costs nothing.
        let permit = tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned())
            .await
            .map_err(|_| StoreError::Unavailable("all connections are busy".to_owned()))?
            .map_err(|_| StoreError::Closed)?;
        let readers = self.readers.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            run(&readers)
        });
        task.await.map_err(|_| StoreError::Unavailable("a query panicked".to_owned()))?
    }

    /// As [`Store::read`], for what may read much: a few connections stay free for what must not wait behind it.
    ///
    /// # Errors
    /// As those of [`Store::read`].
    pub async fn list<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut dyn Queries) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _permit = tokio::time::timeout(PATIENCE, self.lists.acquire())
            .await
            .map_err(|_| StoreError::Unavailable("too many lists are being read".to_owned()))?
            .map_err(|_| StoreError::Closed)?;
        self.read(run).await
    }

    /// As [`Store::list`], for what a client asks for: from the replica, if there is one and it has everything that was
    /// answered until now, by whichever node; else from where all is written. The function may run twice.
    ///
    /// # Errors
    /// As those of [`Store::list`].
    pub async fn page<T: Send + 'static>(
        &self,
        run: impl Fn(&mut dyn Queries) -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let run = Arc::new(run);
        if let Some(replica) = self.replica.as_ref().filter(|replica| !replica.rests()) {
            let position = self.ask(|readers| readers.position()).await?;
            if let Some(page) = replica.read(position, run.clone()).await? {
                return Ok(page);
            }
        }
        self.list(move |conn| run(conn)).await
    }

    /// How much was given to the writers until now: by its growth one sees whether others write as well.
    pub fn given(&self) -> u64 {
        self.writers.iter().map(Writer::given).sum()
    }

    /// Somebody has asked for a job.
    pub fn new_job(&self) -> &Notify {
        &self.new_job
    }

    fn writer(&self, tenant: Option<TenantId>) -> Result<&Writer> {
        let count = self.writers.len() as u64;
        let index = tenant.map_or(0, |tenant| tenant.number() % count.max(1));
        usize::try_from(index).ok().and_then(|index| self.writers.get(index)).ok_or(StoreError::Closed)
    }

    /// Stores an event; answers after the commit.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when too much is waiting, and those of the database.
    pub async fn append(&self, event: Append) -> Result<Appended> {
        let (reply, answer) = oneshot::channel();
        self.writer(Some(event.tenant))?.send(Command::Append(event, reply))?;
        answer.await.map_err(|_| StoreError::Unavailable("the transaction failed".to_owned()))?
    }

    /// Records how leases ended; answers after the commit. Waits for its turn rather than being refused.
    ///
    /// # Errors
    /// Those of the database, with the reports that were not recorded, or of which nobody knows. They may be repeated: an
    /// outcome that was recorded after all isn't recorded again.
    pub async fn report(&self, mut reports: Vec<Report>) -> std::result::Result<(), Unrecorded> {
        let count = self.writers.len() as u64;
        let mut parts = Vec::new();
        for (index, writer) in (0..).zip(self.writers.iter()) {
            let (mine, others): (Vec<Report>, Vec<Report>) =
                reports.into_iter().partition(|report| report.tenant.number() % count == index);
            reports = others;
            if !mine.is_empty() {
                let (reply, answer) = oneshot::channel();
                let sent = writer.send_in_turn(Command::Report(mine.clone(), reply)).await;
                parts.push((mine, sent, answer));
            }
        }
        let mut unrecorded: Option<Unrecorded> = None;
        for (mine, sent, answer) in parts {
            let lost = |_| StoreError::Unavailable("the transaction failed".to_owned());
            let recorded = match sent {
                Ok(()) => answer.await.map_err(lost).and_then(|recorded| recorded),
                Err(error) => Err(error),
            };
            if let Err(error) = recorded {
                match &mut unrecorded {
                    Some(earlier) => earlier.reports.extend(mine),
                    None => unrecorded = Some(Unrecorded { error, reports: mine }),
                }
            }
        }
        unrecorded.map_or(Ok(()), Err)
    }

    /// Changes a notification's flags; answers it as it is after the commit, or nothing if there is none.
    ///
    /// # Errors
    /// As those of [`Store::append`].
    pub async fn update(&self, update: Update) -> Result<Option<StoredNotification>> {
        let (reply, answer) = oneshot::channel();
        self.writer(Some(update.tenant))?.send(Command::Update(update, reply))?;
        answer.await.map_err(|_| StoreError::Unavailable("the transaction failed".to_owned()))?
    }

    /// Runs a function in a writer's transaction, all or nothing; answers after the commit.
    ///
    /// # Errors
    /// Those of the function and those of the database.
    pub async fn write<T: Send + 'static>(
        &self,
        tenant: Option<TenantId>,
        run: impl FnOnce(&mut dyn Queries) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_of(tenant.into_iter().collect(), run).await
    }

    /// As [`Store::write`], for several tenants at once.
    ///
    /// # Errors
    /// As those of [`Store::write`].
    pub async fn write_of<T: Send + 'static>(
        &self,
        tenants: Vec<TenantId>,
        run: impl FnOnce(&mut dyn Queries) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job: writer::Job = Box::new(move |conn| {
            let mut run = Some(run);
            let mut value = None;
            let result = conn.atomically(&mut |conn| {
                if let Some(run) = run.take() {
                    value = Some(run(conn)?);
                }
                Ok(())
            });
            Box::new(move |committed| {
                let value = result.and(committed).and_then(|()| value.ok_or(StoreError::Closed));
                let _ = reply.send(value);
            })
        });
        self.writer(tenants.first().copied())?.send(Command::Run(tenants, job))?;
        answer.await.map_err(|_| StoreError::Unavailable("the transaction failed".to_owned()))?
    }

    /// Makes everything of a tenant that is put off due at once, [`PUT_ON`] in a transaction. Were it cut short, the rest
    /// would be pushed by its schedule.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn put_on(&self, tenant: TenantId) -> Result<()> {
        while self.write(Some(tenant), move |conn| conn.put_on(tenant, PUT_ON)).await? == PUT_ON {}
        Ok(())
    }
}
