//! The two threads that have a connection each: SQLite blocks, and callers are futures.
//!
//! The writer takes everything that is waiting, runs it in one transaction, commits, and only then answers. Batches grow
//! by themselves while a commit is under way. What fails, fails alone: each job of a batch has a savepoint, and when the
//! transaction as a whole fails, its jobs are run again one by one.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use futures_channel::oneshot;

use super::file;
use crate::Error;

/// The most jobs in one transaction: enough that the commit no longer counts.
const BATCH: usize = 256;
/// The most bytes of documents in one transaction, unless one job alone has more.
const BATCH_BYTES: usize = 8 << 20;

type Transactions = AnsiTransactionManager;

type Work = Box<dyn FnMut(&mut SqliteConnection) -> Result<(), Error> + Send>;

/// Something to write. It may be run again if the transaction that it was part of has failed.
struct Job {
    work: Work,
    weight: Weight,
    /// Answers the caller, once the fate of the transaction is known.
    answer: Box<dyn FnOnce(Result<(), Error>) + Send>,
}

/// What a job is to a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weight {
    /// It writes about this much.
    Bytes(usize),
    /// It may make the whole transaction fail, and gets one of its own.
    Alone,
}

/// The way to the thread that writes. The thread ends when this is dropped and all is written.
pub(super) struct Writer(mpsc::Sender<Job>);

impl Writer {
    pub(super) fn start(conn: SqliteConnection, path: PathBuf) -> Result<Self, Error> {
        // No bound is needed: every job in the queue has a caller who waits for it.
        let (jobs, queue) = mpsc::channel();
        start("tidings-inbox", move || write(conn, &path, &queue))?;
        Ok(Writer(jobs))
    }

    /// Runs this in a transaction, which is on disk when this returns. An error undoes what it has done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut SqliteConnection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run_as(Weight::Bytes(0), work).await
    }

    /// [`Writer::run`] for what weighs something.
    pub(super) async fn run_as<T: Send + 'static>(
        &self,
        weight: Weight,
        mut work: impl FnMut(&mut SqliteConnection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, answered) = oneshot::channel();
        let value = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&value);
        let job = Job {
            work: Box::new(move |conn| {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(work(conn)?);
                Ok(())
            }),
            weight,
            answer: Box::new(move |outcome| {
                let value = value.lock().unwrap_or_else(PoisonError::into_inner).take();
                let _ = sender.send(outcome.and_then(|()| value.ok_or_else(broken_off)));
            }),
        };
        self.0.send(job).map_err(|_| broken_off())?;
        answered.await.map_err(|_| broken_off())?
    }
}

type Question = Box<dyn FnOnce(Result<&mut SqliteConnection, Error>) + Send>;

/// The way to the thread that only reads. The thread ends when this is dropped.
pub(super) struct Reader(mpsc::Sender<Question>);

impl Reader {
    pub(super) fn start(conn: SqliteConnection, path: PathBuf) -> Result<Self, Error> {
        let (questions, queue) = mpsc::channel();
        start("tidings-inbox-reader", move || read(conn, &path, &queue))?;
        Ok(Reader(questions))
    }

    /// Reads the inbox as it is at one moment.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut SqliteConnection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, answered) = oneshot::channel();
        let question: Question =
            Box::new(move |conn| drop(sender.send(conn.and_then(|conn| conn.transaction(read)))));
        self.0.send(question).map_err(|_| broken_off())?;
        answered.await.map_err(|_| broken_off())?
    }
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(Error::Start)?;
    Ok(())
}

fn broken_off() -> Error {
    Error::Inbox("its thread broke off".to_owned())
}

fn read(conn: SqliteConnection, path: &Path, queue: &mpsc::Receiver<Question>) {
    let mut conn = Some(conn);
    for question in queue {
        let ask = || match &mut conn {
            Some(conn) => question(Ok(conn)),
            None => question(file::reader(path).map(|new| conn.insert(new))),
        };
        // The next one gets another connection.
        if catch_unwind(AssertUnwindSafe(ask)).is_err() {
            conn = None;
        }
    }
}

fn write(conn: SqliteConnection, path: &Path, queue: &mpsc::Receiver<Job>) {
    let mut conn = Some(conn);
    let mut next = None;
    while let Some(first) = next.take().or_else(|| queue.recv().ok()) {
        let (jobs, too_much) = batch(first, queue);
        next = too_much;
        let write = || {
            if let Err(jobs) = commit(&mut conn, path, jobs) {
                for job in jobs {
                    // A job alone is answered in any case.
                    let _ = commit(&mut conn, path, vec![job]);
                }
            }
        };
        // The next batch gets another connection.
        if catch_unwind(AssertUnwindSafe(write)).is_err() {
            conn = None;
        }
    }
}

/// What is waiting and fits into one transaction, and the first that does not.
fn batch(first: Job, queue: &mpsc::Receiver<Job>) -> (Vec<Job>, Option<Job>) {
    let mut weight = first.weight;
    let mut jobs = vec![first];
    while jobs.len() < BATCH
        && let Weight::Bytes(before) = weight
        && let Ok(job) = queue.try_recv()
    {
        match job.weight {
            Weight::Bytes(more) if before.saturating_add(more) <= BATCH_BYTES => {
                weight = Weight::Bytes(before + more);
                jobs.push(job);
            }
            _ => return (jobs, Some(job)),
        }
    }
    (jobs, None)
}

/// Runs jobs in one transaction and answers them, or gives them back if it fails and they may do better alone.
fn commit(conn: &mut Option<SqliteConnection>, path: &Path, mut jobs: Vec<Job>) -> Result<(), Vec<Job>> {
    let mut open = match begin(conn.take(), path) {
        Ok(open) => open,
        // Alone, each of them would wait for the same thing again.
        Err(error) => {
            jobs.into_iter().for_each(|job| answer(job, Err(copy(&error))));
            return Ok(());
        }
    };
    let outcomes = run_all(&mut open, &mut jobs);
    // A connection that is still in a transaction after all this is replaced by the next batch.
    *conn = roll_back_to(&mut open, 0).is_ok().then_some(open);
    match outcomes {
        Ok(outcomes) => jobs.into_iter().zip(outcomes).for_each(|(job, outcome)| answer(job, outcome)),
        Err(_) if jobs.len() > 1 => return Err(jobs),
        Err(error) => {
            if let Some(job) = jobs.pop() {
                answer(job, Err(error));
            }
        }
    }
    Ok(())
}

/// Answers a job, and lets go of what it holds: a handler's values may panic even then.
fn answer(job: Job, outcome: Result<(), Error>) {
    (job.answer)(outcome);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(job.work)));
}

/// The same error for another one.
pub(super) fn copy(error: &Error) -> Error {
    match error {
        Error::DiskFull => Error::DiskFull,
        Error::Inbox(why) => Error::Inbox(why.clone()),
        error => Error::Inbox(error.to_string()),
    }
}

fn begin(conn: Option<SqliteConnection>, path: &Path) -> Result<SqliteConnection, Error> {
    let mut conn = conn.map_or_else(|| file::reconnect(path), Ok)?;
    // The write lock is taken at once: what reads first and then writes can't be told to try again.
    Transactions::begin_transaction_sql(&mut conn, "BEGIN IMMEDIATE")?;
    Ok(conn)
}

/// Runs jobs in the transaction that has begun, and commits. An error undoes them all.
fn run_all(conn: &mut SqliteConnection, jobs: &mut [Job]) -> Result<Vec<Result<(), Error>>, Error> {
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        Transactions::begin_transaction(conn)?;
        let outcome = match (job.work)(conn) {
            Ok(()) if depth(conn)? == 2 => Transactions::commit_transaction(conn).map_err(Error::from),
            Ok(()) => Err(Error::Effect("it did not leave the transaction as it found it".into())),
            Err(error) => Err(error),
        };
        match outcome {
            // SQLite has undone the whole transaction, as it may when the disk is full.
            Err(error) if roll_back_to(conn, 1).is_err() => return Err(error),
            outcome => outcomes.push(outcome),
        }
    }
    Transactions::commit_transaction(conn)?;
    Ok(outcomes)
}

/// Undoes savepoints, and the transaction, until this many are left.
fn roll_back_to(conn: &mut SqliteConnection, left: u32) -> QueryResult<()> {
    while depth(conn)? > left {
        Transactions::rollback_transaction(conn)?;
    }
    if depth(conn)? == left { Ok(()) } else { Err(DieselError::NotInTransaction) }
}

/// How many transactions are open: 1 is the outermost, further ones are savepoints in it.
fn depth(conn: &mut SqliteConnection) -> QueryResult<u32> {
    let depth = Transactions::transaction_manager_status_mut(conn).transaction_depth()?;
    Ok(depth.map_or(0, NonZeroU32::get))
}
