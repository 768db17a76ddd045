//! The pace of a lane: so many attempts in a minute, evenly.

use crate::rules::notification::Micros;

const MINUTE: Micros = 60_000_000;
/// The most attempts at once, however many a minute may have: what a thread that wakes every few milliseconds needs.
const LARGEST_BURST: Micros = 32;

/// A bucket that holds a second's worth of attempts, at least one, and is refilled evenly: so slowly that with a full
/// bucket, too, no sixty seconds see more attempts than the limit.
#[derive(Debug)]
pub(super) struct Pace {
    /// From one attempt to the next.
    interval: Micros,
    burst: Micros,
    /// When the bucket will be full.
    full_at: Micros,
}

impl Pace {
    /// A full bucket.
    pub(super) fn new(per_minute: u32) -> Self {
        let limit = Micros::from(per_minute.max(1));
        let burst = (1 + limit / 60).min(LARGEST_BURST);
        // A window sees the burst and what is refilled behind it: together one more than there are intervals in it.
        Pace { interval: ceiling(MINUTE, limit - burst + 1), burst, full_at: Micros::MIN }
    }

    /// The same, empty.
    pub(super) fn empty(per_minute: u32, now: Micros) -> Self {
        let mut pace = Pace::new(per_minute);
        pace.full_at = now.saturating_add(pace.burst * pace.interval);
        pace
    }

    /// When the next attempt may be made, if not now.
    pub(super) fn free_at(&self, now: Micros) -> Option<Micros> {
        let free_at = self.full_at(now).saturating_sub((self.burst - 1) * self.interval);
        (now < free_at).then_some(free_at)
    }

    /// An attempt is made.
    pub(super) fn take(&mut self, now: Micros) {
        self.full_at = self.full_at(now).max(now).saturating_add(self.interval);
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_full(&self, now: Micros) -> bool {
        self.full_at(now) <= now
    }

    /// A clock that was put back doesn't make the bucket emptier than empty.
    fn full_at(&self, now: Micros) -> Micros {
        self.full_at.min(now.saturating_add(self.burst * self.interval))
    }
}

fn ceiling(value: Micros, divisor: Micros) -> Micros {
    (value + divisor - 1) / divisor
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When attempts are made by one who always has something to send, and looks every so often.
    fn attempts(pace: &mut Pace, from: Micros, to: Micros, step: Micros) -> Vec<Micros> {
        let mut made = Vec::new();
        let mut now = from;
        while now < to {
            while pace.free_at(now).is_none() {
                pace.take(now);
                made.push(now);
            }
            now += step;
        }
        made
    }

    #[test]
    fn no_minute_sees_more_than_the_limit_and_little_is_given_away() {
        for limit in [1, 2, 3, 10, 59, 60, 61, 100, 600, 1_000, 5_000] {
            let made = attempts(&mut Pace::new(limit), 0, 5 * MINUTE, 1_000);
            let window = limit as usize;
            for (nth, start) in made.iter().enumerate() {
                let next = made.get(nth + window);
                assert!(next.is_none_or(|next| next - start >= MINUTE), "more than {limit} from {start}");
            }
            let least = f64::from(limit) * 5.0 * 0.9;
            assert!(made.len() as f64 >= least, "{} in five minutes, allowed are {limit} in one", made.len());
        }
    }

    #[test]
    fn the_pace_is_even() {
        let made = attempts(&mut Pace::new(60), 0, 2 * MINUTE, 1_000);
        assert_eq!(made[..2], [0, 0], "a second's worth at once");
        let gaps: Vec<Micros> = made[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (1_000_000..1_100_000).contains(gap)), "{gaps:?}");
    }

    #[test]
    fn the_fastest_pace_is_reached_by_one_who_looks_every_millisecond() {
        let made = attempts(&mut Pace::new(1_000_000), 0, MINUTE / 10, 1_000);
        assert!((90_000..=100_000).contains(&made.len()), "{}", made.len());
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let mut pace = Pace::new(10);
        pace.take(0);
        assert!(!pace.is_full(1_000_000));
        assert!(pace.is_full(MINUTE));
        assert_eq!(attempts(&mut pace, 100 * MINUTE, 101 * MINUTE, 1_000).len(), 10);
    }

    #[test]
    fn a_clock_put_back_delays_the_next_attempt_by_one_interval_at_most() {
        let mut pace = Pace::new(10);
        pace.take(1_000 * MINUTE);
        assert_eq!(pace.free_at(0), Some(6_000_000));
        assert_eq!(Pace::empty(10, 0).free_at(0), Some(6_000_000));
    }
}
