//! A standby from which clients' lists are read, so that pulling doesn't weigh on the server that everything is written to.
//!
//! A client must never see less than it has seen: not an event that was answered with 201, by whichever node, nor a page
//! behind a cursor it was given. So the primary is asked for its position first, which is one short statement, and the
//! standby is read from only once it shows all up to there. It is given a moment for that. One that lags, or is down, or was
//! promoted rests for a while, and then nobody waits for it: the primary is read from.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::StoreError;
use super::postgres::{Address, Reader, Readers, progress};
use super::seam::{Queries, Result};

/// How long a standby may take to catch up, and how long a list waits for its turn there.
const CATCH_UP: Duration = Duration::from_millis(50);
/// How long a new connection to it may take.
const CONNECT: Duration = Duration::from_millis(400);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(1);
/// How long it may take for an answer at all: where a connection leads nowhere, nobody waits for it to be noticed.
const ANSWER: Duration = Duration::from_millis(500);
/// How long it rests when it lags.
const LAGGING: Duration = Duration::from_millis(500);
/// How long it rests when something is wrong.
const DOWN: Duration = Duration::from_secs(2);

/// The standby.
pub(super) struct Replica {
    address: Address,
    size: u32,
    /// Connected to when it is first wanted: the server starts without it.
    readers: OnceLock<Readers>,
    /// As many as there are connections.
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rests_until: Option<Instant>,
    /// Whether something was wrong with it when it was last asked.
    is_down: bool,
}

impl Replica {
    pub(super) fn new(address: Address, size: u32) -> Self {
        let permits = Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(1)));
        Replica { address, size, readers: OnceLock::new(), permits, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it isn't worth asking.
    pub(super) fn rests(&self) -> bool {
        self.state().rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// Reads from it, if it has all up to the position. None: it hasn't in time, or something is wrong with it.
    ///
    /// # Errors
    /// Those of the function that have nothing to do with the database.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        position: String,
        run: Arc<impl Fn(&mut dyn Queries) -> Result<T> + Send + Sync + 'static>,
    ) -> Result<Option<T>> {
        // Where all are busy the primary helps, which says nothing against the standby.
        let permit = tokio::time::timeout(CATCH_UP, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Ok(None) };
        let replica = self.clone();
        let looking = tokio::task::spawn_blocking(move || replica.caught_up(&position, permit));
        let (mut reader, permit) = match tokio::time::timeout(ANSWER, looking).await {
            Ok(Ok(Ok(Some(ready)))) => ready,
            Ok(Ok(Ok(None))) => {
                self.state().rests_until = Some(Instant::now() + LAGGING);
                return Ok(None);
            }
            Ok(Ok(Err(error))) => return Ok(self.is_down(&error)),
            Ok(Err(_)) | Err(_) => {
                return Ok(self.is_down(&StoreError::Unavailable("it doesn't answer".to_owned())));
            }
        };
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            reader.run(|conn| run(conn))
        });
        match task.await.map_err(|_| StoreError::Unavailable("a query panicked".to_owned()))? {
            Ok(value) => {
                let was_down = std::mem::take(&mut self.state().is_down);
                if was_down {
                    tracing::info!(replica = %self.address, "lists are read from the replica again");
                }
                Ok(Some(value))
            }
            // Whatever it was, the primary may know better: a standby also gives up what stands in the way of its replay.
            Err(error @ StoreError::Query(_)) => Ok(self.is_down(&error)),
            Err(error) => Err(error),
        }
    }

    /// A connection that shows all up to the position.
    fn caught_up(
        &self,
        position: &str,
        permit: OwnedSemaphorePermit,
    ) -> Result<Option<(Reader, OwnedSemaphorePermit)>> {
        let readers = match self.readers.get() {
            Some(readers) => readers,
            None => {
                let readers = Readers::new(&self.address, self.size)?;
                self.readers.get_or_init(|| readers)
            }
        };
        let mut reader = readers.get_within(CONNECT)?;
        let until = Instant::now() + CATCH_UP;
        loop {
            let progress = reader.run(|conn| progress(conn, position))?;
            if !progress.follows {
                return Err(StoreError::Unavailable("it is no standby that follows its primary".to_owned()));
            }
            if progress.has_all {
                return Ok(Some((reader, permit)));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Lets it rest; said once, not for every list.
    fn is_down<T>(&self, error: &StoreError) -> Option<T> {
        let mut state = self.state();
        state.rests_until = Some(Instant::now() + DOWN);
        if !std::mem::replace(&mut state.is_down, true) {
            let error = error as &dyn std::error::Error;
            tracing::warn!(replica = %self.address, error, "the replica can't be read from; the primary is");
        }
        None
    }
}
