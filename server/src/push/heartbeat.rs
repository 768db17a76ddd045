//! Shows the other nodes that this one lives, and frees the leases of those that don't: see [`crate::store::pulse`].
//!
//! On a shared database the beat has a thread and a connection of its own: it must not wait behind a writer that waits for a
//! lock which a frozen node still has. Nor does it wait for the freeing of leases, which may be many.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::rules::notification::Micros;
use crate::store::error::StoreError;
use crate::store::pulse::{SILENCE, UNCHANGED};
use crate::store::seam::{NodeId, Peer, Queries, Vitals};
use crate::store::{DatabaseUrl, Store};

/// How often a node shows itself.
const EVERY: Duration = Duration::from_secs(1);
/// How often where nobody looks on but people.
const ALONE: Duration = Duration::from_secs(2);
/// How soon it tries again when that failed.
const AGAIN: Duration = Duration::from_millis(500);
/// Every so many beats all leases are looked at, not only those of nodes that were just found dead.
const SWEEP: u32 = 30;
/// A node that has more than its share of the lanes by a quarter, and so many, lets the surplus go.
const SLACK: i64 = 8;

/// The heartbeat of this node.
pub struct Heartbeat {
    store: Store,
    database: DatabaseUrl,
    name: String,
    started_at: Micros,
}

impl Heartbeat {
    /// Makes this node known, before it leases anything. Where no other node can be alive, all old leases are freed.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn join(store: &Store, database: &DatabaseUrl, listen: SocketAddr) -> Result<Self, StoreError> {
        let started_at = chrono::Utc::now().timestamp_micros();
        let name = name(listen);
        let heartbeat = Heartbeat { store: store.clone(), database: database.clone(), name, started_at };
        let (node, vitals) = (store.node(), heartbeat.vitals());
        let silence =
            if store.is_shared() { i64::try_from(SILENCE.as_micros()).unwrap_or(i64::MAX) } else { i64::MIN };
        let begun = Instant::now();
        let join = store.write(None, move |conn| {
            let freed = conn.node_reap(silence)? + conn.node_free()?;
            Ok((freed, conn.node_seen(node, &vitals)?))
        });
        let (freed, known) = join.await?;
        note_freed(freed);
        store.pulse().beat(begun, known);
        Ok(heartbeat)
    }

    /// Beats until it is told to stop, which is after everything that holds leases has ended.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        if self.store.is_shared() {
            let (stop, stopped) = mpsc::channel();
            let thread = std::thread::Builder::new().name("tidings-beat".to_owned());
            match thread.spawn(move || self.beat_on(&stopped)) {
                Ok(thread) => {
                    let _ = stopping.wait_for(|stopping| *stopping).await;
                    drop(stop);
                    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
                }
                Err(error) => tracing::error!(%error, "this node can't show that it lives"),
            }
            return;
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(ALONE) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            let (node, vitals) = (self.store.node(), self.vitals());
            if let Err(error) = self.store.write(None, move |conn| conn.node_seen(node, &vitals)).await {
                note_failure(&error);
            }
        }
    }

    /// Beats on a connection of its own until the channel is closed.
    fn beat_on(&self, stopped: &mpsc::Receiver<()>) {
        let mut conn = None;
        let mut seen = Seen::default();
        let mut reaper: Option<JoinHandle<()>> = None;
        let mut pause = EVERY;
        for beat in 1_u32.. {
            match stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            match self.beat(&mut conn, &mut seen) {
                Ok(dead) => {
                    pause = EVERY;
                    let is_due = !dead.is_empty() || beat.is_multiple_of(SWEEP);
                    if is_due && reaper.as_ref().is_none_or(JoinHandle::is_finished) {
                        let database = self.database.clone();
                        let thread = std::thread::Builder::new().name("tidings-reap".to_owned());
                        // If there can be no thread now, the next beat tries again.
                        reaper = thread.spawn(move || note_reaped(reap(&database, &dead))).ok();
                    }
                }
                Err(error) => {
                    note_failure(&error);
                    conn = None;
                    pause = AGAIN;
                }
            }
        }
    }

    /// One beat. Answers which other nodes are dead.
    fn beat(&self, conn: &mut Option<Box<dyn Queries>>, seen: &mut Seen) -> Result<Vec<Peer>, StoreError> {
        let conn = match conn {
            Some(conn) => conn,
            None => conn.insert(self.database.connect()?),
        };
        let pulse = self.store.pulse();
        // Before anything is asked: however long the answer takes, nobody takes this node for dead earlier.
        let begun = Instant::now();
        // Each statement is a transaction of its own: a node that freezes holds no lock on its row.
        let known = conn.node_seen(self.store.node(), &self.vitals())?;
        if !known {
            tracing::warn!("other nodes took this one for dead; some notifications may be pushed twice");
        }
        pulse.beat(begun, known);
        let peers = conn.node_others(self.store.node())?;
        let (dead, alive) = seen.look(peers, Instant::now());
        pulse.note_others(alive.len(), surplus(pulse.lanes(), alive.iter().filter_map(|peer| peer.lanes)));
        Ok(dead)
    }

    fn vitals(&self) -> Vitals {
        Vitals {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.started_at,
            lanes: self.store.pulse().lanes(),
            leases: i64::try_from(self.store.rooms().count()).unwrap_or(i64::MAX),
        }
    }
}

/// Takes leave: whatever this node still has is free at once.
///
/// # Errors
/// Those of the store.
pub async fn leave(store: &Store) -> Result<(), StoreError> {
    let node = store.node();
    store.write(None, move |conn| conn.node_leave(node)).await
}

/// When the other nodes last showed themselves, and since when that is known.
#[derive(Default)]
struct Seen(HashMap<NodeId, (Micros, Instant)>);

impl Seen {
    /// Those that are dead, and those that are alive.
    fn look(&mut self, peers: Vec<Peer>, now: Instant) -> (Vec<Peer>, Vec<Peer>) {
        self.0.retain(|node, _| peers.iter().any(|peer| peer.node == *node));
        peers.into_iter().partition(|peer| {
            let seen = self.0.entry(peer.node).or_insert((peer.seen_at, now));
            if seen.0 != peer.seen_at {
                *seen = (peer.seen_at, now);
            }
            now.saturating_duration_since(seen.1) >= UNCHANGED
        })
    }
}

/// Frees what dead nodes had.
fn reap(database: &DatabaseUrl, dead: &[Peer]) -> Result<usize, StoreError> {
    let mut freed = 0;
    database.connect()?.atomically(&mut |conn| {
        dead.iter().try_for_each(|peer| conn.node_bury(*peer))?;
        // A node that was taken for dead may have leased something just before it really died.
        freed = conn.node_free()?;
        Ok(())
    })?;
    Ok(freed)
}

/// How many of its lanes a node should let go, when the others have so many each.
fn surplus(mine: i64, others: impl Iterator<Item = i64>) -> i64 {
    let (count, all) = others.fold((1, mine), |(count, all), lanes| (count + 1, all + lanes));
    let share = (all + count - 1) / count;
    if mine > share + share / 4 + SLACK { mine - share } else { 0 }
}

fn note_reaped(freed: Result<usize, StoreError>) {
    match freed {
        Ok(freed) => note_freed(freed),
        Err(error) => tracing::warn!(%error, "the leases of dead nodes could not be freed"),
    }
}

fn note_freed(freed: usize) {
    if freed > 0 {
        tracing::info!(notifications = freed, "taken over from a server that has died");
    }
}

fn note_failure(error: &StoreError) {
    tracing::warn!(%error, "this node could not show that it lives");
}

/// A short name for people: that of the machine, and the port.
fn name(listen: SocketAddr) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => listen.to_string(),
        host => format!("{host}:{}", listen.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_dead_when_it_was_seen_to_be_silent_whatever_the_database_s_clock_says() {
        let (mut seen, begun) = (Seen::default(), Instant::now());
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let peer = |seen_at| Peer { node: NodeId::for_tests(7), seen_at, lanes: None };
        // However old it is when it is seen first, and however the clock jumps.
        for (second, seen_at) in [(0, 5), (6, 5), (6, 1_000_000_000), (12, -3)] {
            let (dead, alive) = seen.look(vec![peer(seen_at)], at(second));
            assert_eq!((dead, alive), (vec![], vec![peer(seen_at)]), "at {second}");
        }
        let (dead, alive) = seen.look(vec![peer(-3)], at(19));
        assert_eq!((dead, alive), (vec![peer(-3)], vec![]));
        assert_eq!(seen.look(vec![], at(20)), (vec![], vec![]));
        assert_eq!(seen.look(vec![peer(-3)], at(21)).0, [], "it is back, and looked at anew");
    }

    #[test]
    fn a_node_lets_go_what_it_has_beyond_its_share() {
        assert_eq!(surplus(1_000, [].into_iter()), 0, "alone");
        assert_eq!(surplus(100, [0].into_iter()), 50);
        assert_eq!(surplus(60, [40].into_iter()), 0, "nearly even");
        assert_eq!(surplus(8, [0, 0].into_iter()), 0, "too few to matter");
        assert_eq!(surplus(900, [0, 0].into_iter()), 600);
        assert_eq!(surplus(10, [500].into_iter()), 0);
    }
}
