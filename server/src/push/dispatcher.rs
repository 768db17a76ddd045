//! The dispatcher: the sending threads, and the tenants spread over them.
//!
//! A tenant's lane belongs to one node, and there to one thread, chosen by its number: a sick receiver can hold up its own lane and nothing
//! else. What a thread does stands in `thread.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, watch as signal};

use super::attempt::Attempts;
use super::thread::{Share, Thread};
use super::watch::Watch;
use crate::store::{Store, ToLane};

/// The sending threads.
pub struct Dispatcher {
    threads: Vec<std::thread::JoinHandle<()>>,
    alive: Arc<AtomicUsize>,
    stop: signal::Sender<bool>,
}

impl Dispatcher {
    /// Starts a thread for each channel from the writers. `attempts` makes what a thread sends with; `watch` is told of
    /// what fails.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub fn start(
        store: &Store,
        channels: Vec<mpsc::UnboundedReceiver<ToLane>>,
        watch: &Arc<Watch>,
        attempts: impl Fn() -> Attempts + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopping) = signal::channel(false);
        let alive = Arc::new(AtomicUsize::new(0));
        let count = channels.len() as u64;
        let threads = channels
            .into_iter()
            .zip(0..)
            .map(|(told, index)| {
                let (store, attempts, stopping) = (store.clone(), attempts.clone(), stopping.clone());
                let watch = watch.clone();
                let guard = Alive::new(&alive);
                std::thread::Builder::new().name("tidings-push".to_owned()).spawn(move || {
                    let _guard = guard;
                    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                        Ok(runtime) => runtime,
                        Err(error) => return tracing::error!(%error, "a sending thread could not start"),
                    };
                    let thread = Thread::new(Share { index, count }, store, attempts(), watch, stopping);
                    tokio::task::LocalSet::new().block_on(&runtime, thread.run(told));
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
