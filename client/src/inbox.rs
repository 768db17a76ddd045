//! The inbox: what was received, on disk, until it is handled and dismissed.
//!
//! It is one SQLite file for one tenant. Whatever the way on which a notification comes, it is stored here first, once,
//! and handled from here. An [`Archiver`](crate::archiver::Archiver) does both; this module is for looking into the
//! inbox, and for giving notifications that were given up another chance.
//!
//! ```no_run
//! # async fn example() -> Result<(), tidings_client::Error> {
//! use tidings_client::{Inbox, Sequence};
//!
//! let inbox = Inbox::open("inbox.db")?;
//! for kept in inbox.dead(Sequence::START, 100).await? {
//!     println!("{} was given up: {}", kept.id, kept.reason.unwrap_or_default());
//! }
//! inbox.revive_all().await?;
//! # Ok(()) }
//! ```
//!
//! Tables of your own are welcome in the same file, so that they change together with the inbox, see
//! [`Tx::commit_with`](crate::archiver::Tx::commit_with); and the inbox can be kept in the database that you have. Those
//! whose names begin with `inbox_` are the inbox's: read them if you like, but don't write them. Any number of processes
//! may have the file open; keep it on a local disk, as SQLite wants.
//!
//! What was stored is on disk before a call returns, and stays there when the process is killed or the power fails.
//! Documents stay when they are handled; nothing is ever deleted.

mod file;
mod look;
mod sql;
mod store;
mod thread;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

/// The library that reads and writes the inbox, for tables of your own in the same file.
pub use ::diesel;

pub use crate::error::BoxError;
use crate::{Error, Sequence};
use thread::{Reader, Weight, Writer};

/// How often it is looked whether the clock has gone back, in microseconds.
const CLOCK_CHECK: i64 = 60_000_000;

/// An inbox. Clone it freely: clones are the same. From [`Inbox::open`].
#[derive(Clone)]
pub struct Inbox {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// Does all that writes, many things in one commit.
    writer: Writer,
    /// Does all that only reads, so that a long search never holds up a push.
    reader: Reader,
    /// Those whose effects were lost with those of others, perhaps by their own fault.
    suspects: Mutex<HashSet<Sequence>>,
    /// When it was last looked whether the clock has gone back, in microseconds.
    clock_checked: AtomicI64,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

/// Something to write into the inbox's database together with the end of an attempt.
pub(crate) type Effect = Box<dyn FnOnce(&mut diesel::SqliteConnection) -> Result<(), BoxError> + Send>;

/// A notification that is to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) id: Sequence,
    pub(crate) event_type: String,
    /// The notification's document, without `meta`.
    pub(crate) document: String,
    /// Whether it is dismissed at the server; in a push, whether it will be once the push is answered.
    pub(crate) dismissed: bool,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// It was not in the inbox before.
    pub(crate) is_new: bool,
    /// Of the one right before it the inbox knows nothing, not even by catching up.
    pub(crate) shows_hole: bool,
}

/// A notification that is to be handled now.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) id: Sequence,
    pub(crate) document: String,
    /// Which attempt this is, from 1.
    pub(crate) attempt: u32,
}

/// How an attempt to handle a notification ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Handled,
    RetryAt(DateTime<Utc>, String),
    Dead(String),
}

/// What has become of a notification in the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is to be handled, for the first time or again.
    Waiting,
    /// It was handled.
    Handled,
    /// It could not be handled and was given up, see [`Kept::reason`]. [`Inbox::revive`] has it tried again.
    Dead,
}

/// On which way a notification came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The server pushed it.
    Push,
    /// It was found while catching up.
    Pull,
}

/// A notification in the inbox.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Kept {
    /// Its id.
    pub id: Sequence,
    /// The type of its event.
    pub event_type: String,
    /// Its document as JSON, as it came first.
    pub document: String,
    /// What has become of it.
    pub state: State,
    /// How often it was tried to handle it, since it came or since it was revived or replayed.
    pub attempts: u32,
    /// Why the last attempt failed, or why it was given up.
    pub reason: Option<String>,
    /// On which way it came first.
    pub source: Source,
    /// When it came first.
    pub received_at: DateTime<Utc>,
    /// When it is tried again, if it is waiting and was tried before.
    pub retry_at: Option<DateTime<Utc>>,
    /// When it was handled or given up.
    pub ended_at: Option<DateTime<Utc>>,
}

/// How many notifications the inbox has, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Those that are to be handled.
    pub waiting: u64,
    /// Those that were handled.
    pub handled: u64,
    /// Those that were given up.
    pub dead: u64,
    /// Those that were handled and are not yet dismissed at the server.
    pub to_dismiss: u64,
    /// When the one that waits for the longest time came.
    pub oldest_waiting: Option<DateTime<Utc>>,
    /// When a push came last that could be trusted.
    pub last_push: Option<DateTime<Utc>>,
    /// When the server's list was read last.
    pub last_pull: Option<DateTime<Utc>>,
    /// Up to where the server's list was read.
    pub cursor: Sequence,
}

impl Inbox {
    /// Opens the inbox in this file, and makes a new one if there is no such file.
    ///
    /// A database of SQLite that has no inbox yet gets one: a few tables whose names begin with `inbox_`. Its own tables
    /// stay as they are; its journal becomes a write-ahead log (`PRAGMA journal_mode = WAL`).
    ///
    /// # Errors
    /// [`Error::NotAnInbox`] for a file that is no database, or has such tables of something else, [`Error::NewerInbox`] for one of a newer version of this crate,
    /// [`Error::Inbox`] and [`Error::DiskFull`] when it can't be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Inbox, Error> {
        let file::Opened { path, writer, reader } = file::open(path.as_ref())?;
        let writer = Writer::start(writer, path.clone())?;
        let reader = Reader::start(reader, path.clone())?;
        let (suspects, clock_checked) = (Mutex::default(), AtomicI64::new(i64::MIN));
        let inner = Inner { path, writer, reader, suspects, clock_checked };
        Ok(Inbox { inner: Arc::new(inner) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Stores a push, durably. [`Error::OtherHistory`] if another notification has the same id.
    pub(crate) async fn receive(
        &self,
        tenant: Option<String>,
        incoming: Incoming,
    ) -> Result<Received, Error> {
        let weight = Weight::Bytes(incoming.document.len());
        self.inner.writer.run_as(weight, move |conn| store::receive(conn, tenant.as_deref(), &incoming)).await
    }

    /// Notes that a push came of which nothing is to be stored.
    pub(crate) async fn note_push(&self, tenant: Option<String>) -> Result<(), Error> {
        self.inner.writer.run(move |conn| store::note_push(conn, tenant.as_deref())).await
    }

    /// Stores a page of the server's list together with the cursor after it, and says how many were new. The cursor never
    /// goes back here: another process may have gone further. [`Error::OtherHistory`] if another notification has the id of
    /// one of them.
    pub(crate) async fn store_page(
        &self,
        tenant: Option<String>,
        items: Vec<Incoming>,
        cursor: Sequence,
    ) -> Result<usize, Error> {
        let weight = Weight::Bytes(items.iter().map(|item| item.document.len()).sum());
        let store = move |conn: &mut _| store::page(conn, tenant.as_deref(), &items, cursor);
        self.inner.writer.run_as(weight, store).await
    }

    /// Takes notifications that are due, first those that have been for the longest time, but none of those in `busy`. The
    /// attempts are counted on disk before this returns.
    pub(crate) async fn claim(&self, limit: usize, busy: Vec<i64>) -> Result<Vec<Claimed>, Error> {
        let busy = sql::list(busy);
        let checks_clock = self.checks_clock(Utc::now());
        let claim = move |conn: &mut _| {
            let now = Utc::now();
            if checks_clock {
                store::follow_clock_back(conn, now)?;
            }
            store::claim(conn, limit, &busy, now)
        };
        self.inner.writer.run(claim).await
    }

    /// Whether it is time to look for what was put off by a clock that was wrong: at first, when the clock is found to
    /// have gone back, and once in a while, since not all is seen from here.
    fn checks_clock(&self, now: DateTime<Utc>) -> bool {
        let now = now.timestamp_micros();
        let last = self.inner.clock_checked.load(Ordering::Relaxed);
        let checks = now < last || now >= last.saturating_add(CLOCK_CHECK);
        if checks {
            self.inner.clock_checked.store(now, Ordering::Relaxed);
        }
        checks
    }

    /// Records how an attempt ended, and the effects with it, all or nothing. Of a notification that is not waiting,
    /// nothing is recorded, and the effects are not written.
    ///
    /// After an error the effects are gone: [`End::Handled`] may only be recorded after another attempt. If it was
    /// [`Error::EffectsLost`], then by no fault of theirs: what is written with this id next is written alone.
    pub(crate) async fn finish(&self, id: Sequence, end: End, effects: Vec<Effect>) -> Result<(), Error> {
        let is_suspect = !effects.is_empty() && self.suspects(|suspects| suspects.remove(&id));
        let weight = if is_suspect { Weight::Alone } else { Weight::Bytes(0) };
        let mut effects: Vec<_> = effects.into_iter().map(Some).collect();
        let finish = move |conn: &mut _| store::finish(conn, id, &end, &mut effects);
        let finished = self.inner.writer.run_as(weight, finish).await;
        if matches!(finished, Err(Error::EffectsLost)) {
            self.suspects(|suspects| suspects.insert(id));
        }
        finished
    }

    fn suspects<T>(&self, change: impl FnOnce(&mut HashSet<Sequence>) -> T) -> T {
        change(&mut self.inner.suspects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives back what was claimed and not begun: these attempts don't count.
    pub(crate) async fn release(&self, ids: Vec<Sequence>) -> Result<(), Error> {
        let ids = sql::list(ids);
        self.inner.writer.run(move |conn| store::release(conn, &ids)).await
    }

    /// Notifications after this one that were handled and have to be dismissed at the server, by id.
    pub(crate) async fn to_dismiss(&self, after: Sequence, limit: usize) -> Result<Vec<Sequence>, Error> {
        self.inner.reader.run(move |conn| store::to_dismiss(conn, after, limit)).await
    }

    /// Records that these need not be dismissed at the server any more.
    pub(crate) async fn dismissed(&self, ids: Vec<Sequence>) -> Result<(), Error> {
        let ids = sql::list(ids);
        self.inner.writer.run(move |conn| store::dismissed(conn, &ids)).await
    }

    /// Up to where the server's list was read: all that is not newer is in the inbox, or had expired.
    ///
    /// # Errors
    /// [`Error::Inbox`], as of all that follow.
    pub async fn cursor(&self) -> Result<Sequence, Error> {
        self.inner.reader.run(look::cursor).await
    }

    /// How many notifications there are, and since when.
    ///
    /// # Errors
    /// [`Error::Inbox`].
    pub async fn counts(&self) -> Result<Counts, Error> {
        self.inner.reader.run(look::counts).await
    }

    /// The notification with this id.
    ///
    /// # Errors
    /// [`Error::Inbox`].
    pub async fn get(&self, id: Sequence) -> Result<Option<Kept>, Error> {
        self.inner.reader.run(move |conn| look::get(conn, id)).await
    }

    /// Notifications that were given up, by id, at most `limit` of those after this one.
    ///
    /// # Errors
    /// [`Error::Inbox`].
    pub async fn dead(&self, after: Sequence, limit: usize) -> Result<Vec<Kept>, Error> {
        self.inner.reader.run(move |conn| look::dead(conn, after, limit)).await
    }

    /// Has notifications that were given up handled again, their attempts counted anew. Says how many were.
    ///
    /// # Errors
    /// [`Error::Inbox`], [`Error::DiskFull`].
    pub async fn revive(&self, ids: impl IntoIterator<Item = Sequence>) -> Result<usize, Error> {
        let ids = sql::list(ids);
        self.inner.writer.run(move |conn| store::again(conn, &ids, State::Dead)).await
    }

    /// Has all that were given up handled again. Says how many were.
    ///
    /// # Errors
    /// [`Error::Inbox`], [`Error::DiskFull`].
    pub async fn revive_all(&self) -> Result<usize, Error> {
        self.inner.writer.run(store::revive_all).await
    }

    /// Has notifications that were handled handled once more, their effects included. Says how many were; those that are
    /// waiting or were given up stay as they are.
    ///
    /// # Errors
    /// [`Error::Inbox`], [`Error::DiskFull`].
    pub async fn replay(&self, ids: impl IntoIterator<Item = Sequence>) -> Result<usize, Error> {
        let ids = sql::list(ids);
        self.inner.writer.run(move |conn| store::again(conn, &ids, State::Handled)).await
    }

    /// The ids that the inbox has, handled or not, as ranges in order. Where one ends and the next begins, ids are
    /// missing.
    ///
    /// # Errors
    /// [`Error::Inbox`].
    pub async fn held(&self) -> Result<Vec<RangeInclusive<i64>>, Error> {
        self.inner.reader.run(look::held).await
    }
}
