//! Whether this node lives: what the other nodes can know of it, and what follows for it.
//!
//! On a shared database a node shows itself every second. Another that sees no sign of it for [`UNCHANGED`] takes it for
//! dead, and with it go its leases and its lanes. So that no two nodes ever send for one tenant, a node goes by its own clock: when
//! its last beat is older than [`HOLDS`] it sends nothing, ends what is in flight and forgets its lanes, before anybody else can
//! have them. It may have been frozen, or cut off from the database. Both measure by clocks that only ever go forward,
//! never by that of the database, which may be another after a standby was promoted.
//!
//! One that finds that it was taken for dead begins another life: what it got in an earlier one is not its own any more.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Another node that didn't show itself for so long, while this one was looking, is dead. Long enough for a slow disk, short
/// enough that nobody waits.
pub const UNCHANGED: Duration = Duration::from_secs(7);
/// The same by the database's clock: for one that has just started, and has not looked on yet; and for those who ask.
pub const SILENCE: Duration = Duration::from_secs(8);
/// How long a node counts on its last beat: shorter than [`UNCHANGED`] by what it may take to end all that is in flight.
pub const HOLDS: Duration = Duration::from_millis(6500);

/// Before any machine was started.
const NEVER: i64 = i64::MIN / 2;

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// The pulse of this node.
pub struct Pulse {
    shared: bool,
    began: Instant,
    /// When the last beat that succeeded was begun, in microseconds since `began`; very long ago if there was none.
    beat: AtomicI64,
    life: AtomicU64,
    others: AtomicUsize,
    lanes: AtomicI64,
    surplus: AtomicI64,
}

impl Pulse {
    /// One that has not beaten yet. Where the database isn't shared, nothing depends on it.
    pub(super) fn new(shared: bool) -> Self {
        Pulse {
            shared,
            began: Instant::now(),
            beat: AtomicI64::new(NEVER),
            life: AtomicU64::new(0),
            others: AtomicUsize::new(0),
            lanes: AtomicI64::new(0),
            surplus: AtomicI64::new(0),
        }
    }

    /// Notes a beat that succeeded. `begun` is when it began, before anything was asked of the database; `known` is
    /// whether the node still stood there.
    pub fn beat(&self, begun: Instant, known: bool) {
        // First, so that nobody takes what is of the earlier life for good.
        if !known && self.shared {
            self.life.fetch_add(1, SeqCst);
        }
        let since = micros(begun.saturating_duration_since(self.began));
        self.beat.store(since - micros(self.began.saturating_duration_since(begun)), SeqCst);
    }

    /// Which life this is. What was leased in another is not this node's any more.
    pub fn life(&self) -> u64 {
        self.life.load(SeqCst)
    }

    /// Whether what was leased in this life is still this node's, and may be sent.
    pub fn holds(&self, life: u64) -> bool {
        !self.shared || (self.life() == life && !self.left().is_zero())
    }

    /// How long the last beat is still good for. Zero: it is too old.
    pub fn left(&self) -> Duration {
        if !self.shared {
            return Duration::MAX;
        }
        let age = micros(self.began.elapsed()).saturating_sub(self.beat.load(SeqCst));
        HOLDS.saturating_sub(Duration::from_micros(u64::try_from(age).unwrap_or(0)))
    }

    /// Notes how many other nodes are alive, and how many lanes this one should let go to them.
    pub fn note_others(&self, others: usize, surplus: i64) {
        self.others.store(others, SeqCst);
        self.surplus.store(surplus, SeqCst);
    }

    /// Whether any other node is alive.
    pub fn has_company(&self) -> bool {
        self.others.load(SeqCst) > 0
    }

    /// Notes that so many more lanes are this node's, or fewer.
    pub fn note_lanes(&self, more: i64) {
        self.lanes.fetch_add(more, SeqCst);
    }

    /// How many lanes are this node's.
    pub fn lanes(&self) -> i64 {
        self.lanes.load(SeqCst)
    }

    /// How many lanes this node should let go, because others have far fewer.
    pub fn surplus(&self) -> i64 {
        self.surplus.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(time: Duration) -> Instant {
        Instant::now().checked_sub(time).expect("the machine runs for longer")
    }

    #[test]
    fn a_node_holds_its_lanes_only_while_its_last_beat_is_young() {
        let pulse = Pulse::new(true);
        assert!(!pulse.holds(pulse.life()), "it has not shown itself yet");
        pulse.beat(ago(Duration::from_millis(6400)), true);
        assert!(pulse.holds(pulse.life()));
        assert!(pulse.left() <= Duration::from_millis(100));
        // It was begun long ago, however late it came to its end.
        pulse.beat(ago(Duration::from_millis(6600)), true);
        assert!(!pulse.holds(pulse.life()), "others may have its lanes");
        assert_eq!(pulse.left(), Duration::ZERO);
        assert!(
            HOLDS + Duration::from_millis(500) <= UNCHANGED && UNCHANGED < SILENCE,
            "time to end what is in flight"
        );
    }

    #[test]
    fn what_was_leased_before_a_node_was_taken_for_dead_is_not_its_own() {
        let pulse = Pulse::new(true);
        pulse.beat(Instant::now(), false);
        let first = pulse.life();
        pulse.beat(Instant::now(), true);
        assert!(pulse.holds(first));
        pulse.beat(Instant::now(), false);
        assert!(!pulse.holds(first));
        assert!(pulse.holds(pulse.life()));
    }

    #[test]
    fn where_nothing_is_shared_nothing_depends_on_the_clock() {
        let pulse = Pulse::new(false);
        assert!(pulse.holds(0));
        pulse.beat(ago(Duration::from_secs(30)), false);
        assert!(pulse.holds(0));
    }
}
