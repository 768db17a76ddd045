//! The program around an [`Inbox`] that misses nothing: receives pushes, catches up, handles, dismisses.
//!
//! Notifications come in three ways: as pushes ([`Archiver::receive`]), by catching up on a schedule, and again at
//! someone's request ([`Inbox::replay`]). All of them end in one inbox, and from there in one handler. The promise:
//! **at least once to your inbox; effectively once for effects committed with the inbox; nothing is forgotten until
//! dismissed.**
//!
//! ```no_run
//! # async fn example(stop: impl Future) -> Result<(), tidings_client::Error> {
//! use std::time::Duration;
//! use tidings_client::archiver::{Archiver, Outcome::Done, every};
//! use tidings_client::{Client, Inbox};
//!
//! let client = Client::builder("http://127.0.0.1:8080").key("CONSUMER_KEY").build()?;
//! let archiver = Archiver::builder(client, Inbox::open("inbox.db")?)
//!     .secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
//!     .on("close", |item, _| async move {
//!         println!("{} was closed by {:?}", item.id(), item.created_by());
//!         Ok(Done)
//!     })
//!     .otherwise(|_, _| async { Ok(Done) })
//!     .catch_up(every(Duration::from_secs(300)))
//!     .build()?;
//! archiver.run(stop).await
//! # }
//! ```
//!
//! A handler that ends with an error is called again later, see [`ArchiverBuilder::on`]; what it wants to write exactly
//! once, it writes with [`Tx::commit_with`]. What was handled is dismissed at the server.
//!
//! Pushes are taken by [`Archiver::receive`] from any web framework, or by `Archiver::receiver` as a service of
//! actix-web (feature `actix-web`). They don't need [`Archiver::run`]: whatever process they come to stores them, and
//! the one that runs handles them.
//!
//! No part of it needs a certain async runtime, and it starts no tasks: [`Archiver::run`] is one future that does it
//! all. A handler that blocks its thread therefore blocks the others; give such work to your runtime's threads for
//! it.

mod builder;
mod catch_up;
mod dismiss;
mod handle;
mod health;
mod item;
mod proof;
mod receive;
#[cfg(feature = "actix-web")]
mod service;
#[cfg(feature = "testing")]
#[cfg(test)]
mod tests;
mod timing;

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::future::pending;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{FutureExt as _, select_biased};

pub use builder::{ArchiverBuilder, Complete, Every, every};
pub use health::{Health, Problem};
pub use item::{DataError, Item, Outcome, Tx};
pub use proof::Proof;
use receive::Budget;
pub use receive::{MAX_PUSH, Receipt};

use crate::backoff::Backoff;
use crate::{Error, Inbox, blocking};
use builder::Settings;
use dismiss::Round;
use health::Status;
use timing::Signal;

/// How long to wait after what fails without anyone's fault here: the network, the disk.
const OUTAGE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// Receives, catches up, handles and dismisses; see the [module](self). Clones are the same archiver.
#[derive(Clone)]
pub struct Archiver {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    status: Status,
    /// Something may be waiting to be handled.
    arrived: Signal,
    /// A push has shown that others are missing.
    hole: Signal,
    /// Something may be waiting to be dismissed.
    handled: Signal,
    /// The pushes that are being read or stored.
    pushes: Budget,
}

impl fmt::Debug for Archiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archiver").field("inbox", &self.inner.settings.inbox).finish_non_exhaustive()
    }
}

/// What [`Archiver::drain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Notifications that were new to the inbox.
    pub fetched: u64,
    /// Notifications that were handled.
    pub handled: u64,
    /// Attempts to handle that failed and will be made again, and those that the handler has put off.
    pub failed: u64,
    /// Notifications that were given up.
    pub dead: u64,
    /// Notifications that were dismissed at the server, or are no longer there.
    pub dismissed: u64,
}

impl Archiver {
    fn new(settings: Settings) -> Self {
        let inner = Inner {
            settings,
            status: Status::default(),
            arrived: Signal::default(),
            hole: Signal::default(),
            handled: Signal::default(),
            pushes: Budget::default(),
        };
        Archiver { inner: Arc::new(inner) }
    }

    /// The inbox that it works on.
    pub fn inbox(&self) -> &Inbox {
        &self.inner.settings.inbox
    }

    /// Catches up, handles and dismisses, until `shutdown` is done.
    ///
    /// It catches up at once, on the schedule, and soon after a push has shown that others are missing. When
    /// `shutdown` is done, no further handler is called, those that run are waited for, what was handled is dismissed
    /// if that works at once, and this returns. Dropping it instead, or killing the process, loses nothing: the
    /// handlers that ran then are called again later.
    ///
    /// A server that can't be reached, and a disk that is full, don't end it: it tries again and again, and tells with
    /// [`Archiver::health`].
    ///
    /// # Errors
    /// [`Error::InboxBusy`] when the inbox is already being handled, by this process or another one.
    /// [`Error::OtherTenant`] when the client's key is one of another tenant than the inbox's;
    /// [`Error::OtherHistory`] when the server has other notifications under ids that the inbox holds, or has not come
    /// as far: it was restored from a backup.
    pub async fn run(&self, shutdown: impl Future) -> Result<(), Error> {
        let _lock = self.lock()?;
        let ending = async {
            match select(pin!(shutdown), pin!(self.keep_catching_up())).await {
                Either::Left(_) => Ok(()),
                Either::Right((error, _)) => Err(error),
            }
        };
        let ended = match select(pin!(self.keep_handling(ending)), pin!(self.keep_dismissing())).await {
            Either::Left((ended, _)) => ended,
            Either::Right((never, _)) => match never {},
        };
        self.dismiss_quickly(&mut Round::default()).await;
        ended
    }

    /// Catches up once, handles what is due until nothing is, dismisses what was handled, and returns: for a program
    /// that is started on a schedule. What failed, and what a handler has put off, is left to the next time.
    ///
    /// # Errors
    /// Those of [`Archiver::run`], and, unlike there, any error of the server and of the inbox. Call it again: what was
    /// done stays done.
    pub async fn drain(&self) -> Result<Summary, Error> {
        self.drain_until(pending::<()>()).await
    }

    /// [`Archiver::drain`] that can be ended early: when `stop` is done, no further handler is called, those that run
    /// are waited for, what was handled is dismissed if that works at once, and this returns what was done. The rest is
    /// left to the next time.
    ///
    /// # Errors
    /// Those of [`Archiver::drain`].
    pub async fn drain_until(&self, stop: impl Future) -> Result<Summary, Error> {
        let _lock = self.lock()?;
        let mut stop = pin!(stop.map(drop).fuse());
        let (mut fetched, mut round) = (0, Round::default());
        let mut is_stopped = select_biased! {
            () = stop => true,
            ended = pin!(self.catch_up(&mut fetched).fuse()) => ended.map(|()| false)?,
        };
        let tally = self.handle_all(stop.as_mut(), &mut is_stopped).await?;
        if !is_stopped {
            is_stopped = select_biased! {
                () = stop => true,
                ended = pin!(self.dismiss_all(&mut round).fuse()) => ended.map(|()| false)?,
            };
        }
        if is_stopped {
            self.dismiss_quickly(&mut round).await;
        }
        if let Some(error) = &round.refusal {
            self.inner.status.fails(health::Part::Dismiss, error);
        }
        let handle::Tally { handled, failed, dead } = tally;
        Ok(Summary { fetched, handled, failed, dead, dismissed: round.dismissed })
    }

    /// [`Archiver::run`] for a thread outside of any async runtime. A `shutdown` that such a program can have is, for
    /// example, the receiver of a `futures_channel::oneshot` channel, or [`std::future::pending`].
    ///
    /// # Errors
    /// Those of [`Archiver::run`].
    pub fn run_blocking(&self, shutdown: impl Future) -> Result<(), Error> {
        blocking::wait(self.run(shutdown))
    }

    /// [`Archiver::drain`] for a thread outside of any async runtime.
    ///
    /// # Errors
    /// Those of [`Archiver::drain`].
    pub fn drain_blocking(&self) -> Result<Summary, Error> {
        blocking::wait(self.drain())
    }

    /// Makes this the only one that handles the inbox. The system undoes it however the process ends.
    fn lock(&self) -> Result<File, Error> {
        // By whatever name it was opened, it is the same file.
        let inbox = self.inbox().path();
        let refused = |path: &Path, source| Error::Lock { path: path.to_owned(), source };
        let mut path = fs::canonicalize(inbox).map_err(|error| refused(inbox, error))?.into_os_string();
        path.push(".lock");
        let path = Path::new(&path);
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|error| refused(path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::InboxBusy { path: inbox.to_owned() }),
            Err(TryLockError::Error(error)) => Err(refused(path, error)),
        }
    }
}
