//! The lane: the sending queue of one tenant, as a state machine.
//!
//! Times and results come in, "send this" and "wait until" come out. A lane never has more in flight than its limit.
//! After [`DOWN_AFTER`] failures in a row its receiver counts as down: the lane then sends one probe at a time, at
//! growing intervals, and takes no new notifications. The first success opens it again, with a window that grows by
//! one with each further success, so that a receiver which has just come back isn't met by everything at once.

use std::collections::VecDeque;
use std::time::Duration;

use super::notification::Micros;

/// So many failures in a row mean that the receiver is down, not that a notification is bad.
pub const DOWN_AFTER: u32 = 5;
/// The pause before the first probe.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between probes: a receiver that is back is noticed within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause that a receiver can ask for with `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// What a lane wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// This is to be sent now.
    Send(T),
    /// Nothing before this time: the receiver is down.
    WaitUntil(Micros),
    /// Nothing until something is offered or finished.
    Idle,
}

/// The sending queue of one tenant.
#[derive(Debug)]
pub struct Lane<T> {
    ready: VecDeque<T>,
    in_flight: usize,
    limit: usize,
    window: usize,
    failures: u32,
    pause: Duration,
    paused_until: Option<Micros>,
    /// Until when the receiver has asked to be left alone.
    asked_until: Option<Micros>,
}

fn after(now: Micros, delay: Duration) -> Micros {
    now.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX))
}

impl<T> Lane<T> {
    /// A lane with at most `limit` in flight.
    pub fn new(limit: usize) -> Self {
        Lane {
            ready: VecDeque::new(),
            in_flight: 0,
            limit,
            window: limit,
            failures: 0,
            pause: Duration::ZERO,
            paused_until: None,
            asked_until: None,
        }
    }

    /// Queues something behind the rest.
    pub fn offer(&mut self, item: T) {
        self.ready.push_back(item);
    }

    /// What to do now. What is sent must be finished with [`Lane::succeeded`], [`Lane::rejected`],
    /// [`Lane::failed`] or [`Lane::not_sent`].
    pub fn next(&mut self, now: Micros) -> Step<T> {
        if let Some(until) = self.probe_at() {
            if now < until {
                return Step::WaitUntil(until);
            }
            if self.in_flight > 0 {
                return Step::Idle;
            }
            self.asked_until = None;
        }
        if self.in_flight >= self.window {
            return Step::Idle;
        }
        match self.ready.pop_front() {
            Some(item) => {
                self.in_flight += 1;
                Step::Send(item)
            }
            None => Step::Idle,
        }
    }

    /// An attempt was accepted. What the receiver has asked for still holds: this attempt may be older.
    pub fn succeeded(&mut self) {
        self.not_sent();
        self.failures = 0;
        self.pause = Duration::ZERO;
        if self.paused_until.take().is_some() {
            self.window = 1;
        }
        self.window = self.limit.min(self.window + 1);
    }

    /// An attempt failed. `asked` is how long the receiver wants to be left alone.
    pub fn failed(&mut self, now: Micros, asked: Option<Duration>) {
        self.not_sent();
        self.failures = self.failures.saturating_add(1);
        // Those that were in flight when the lane went down tell nothing new.
        let news = self.paused_until.is_none_or(|until| now >= until);
        if self.failures >= DOWN_AFTER && news {
            self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            self.paused_until = Some(after(now, self.pause));
        }
        if let Some(asked) = asked {
            let until = after(now, asked.min(LONGEST_ASKED));
            self.asked_until = Some(self.asked_until.map_or(until, |earlier| earlier.max(until)));
        }
        if self.is_down() {
            self.window = 1;
        }
    }

    /// Forgets what is known of the receiver: it is another one now.
    pub fn forgive(&mut self) {
        (self.failures, self.pause) = (0, Duration::ZERO);
        (self.paused_until, self.asked_until) = (None, None);
        self.window = self.limit;
    }

    /// An attempt ended that says nothing about how the receiver is.
    pub fn not_sent(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// An attempt was refused by a receiver that is well: it won't have this notification, but perhaps the next.
    pub fn rejected(&mut self) {
        self.succeeded();
    }

    /// Whether the receiver is down: the lane takes nothing new, and what waits in it is better handed back.
    pub fn is_down(&self) -> bool {
        self.probe_at().is_some()
    }

    /// How many more notifications the lane has use for now.
    pub fn wants(&self, now: Micros) -> usize {
        match self.probe_at() {
            Some(until) if now < until || self.in_flight > 0 => 0,
            Some(_) => 1_usize.saturating_sub(self.ready.len()),
            // Enough that the lane has work while more is fetched.
            None => (4 * self.window).saturating_sub(self.ready.len()),
        }
    }

    /// Takes out everything that waits.
    pub fn drain(&mut self) -> Vec<T> {
        self.ready.drain(..).collect()
    }

    /// Whether nothing waits, nothing is in flight and nothing has to be remembered.
    pub fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.in_flight == 0 && self.failures == 0 && !self.is_down()
    }

    /// When the next probe is due, if the receiver is down.
    fn probe_at(&self) -> Option<Micros> {
        self.paused_until.max(self.asked_until)
    }

    /// How many are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    fn sent(lane: &mut Lane<u32>, now: Micros) -> Vec<u32> {
        std::iter::from_fn(|| match lane.next(now) {
            Step::Send(item) => Some(item),
            _ => None,
        })
        .collect()
    }

    fn lane(limit: usize, items: u32) -> Lane<u32> {
        let mut lane = Lane::new(limit);
        (1..=items).for_each(|item| lane.offer(item));
        lane
    }

    #[test]
    fn the_limit_is_never_passed_and_order_is_kept() {
        let mut lane = lane(3, 10);
        assert_eq!(sent(&mut lane, 0), [1, 2, 3]);
        lane.succeeded();
        lane.failed(0, None);
        assert_eq!(sent(&mut lane, 0), [4, 5]);
        assert_eq!(lane.in_flight(), 3);
    }

    #[test]
    fn a_bad_notification_does_not_stop_the_lane() {
        let mut lane = lane(1, 100);
        for _ in 0..20 {
            for _ in 0..DOWN_AFTER - 1 {
                assert_eq!(sent(&mut lane, 0).len(), 1);
                lane.failed(0, None);
            }
            assert_eq!(sent(&mut lane, 0).len(), 1, "the lane went down though the receiver answers");
            lane.succeeded();
        }
    }

    #[test]
    fn a_receiver_that_is_down_is_probed_one_at_a_time_at_growing_intervals() {
        let mut lane = lane(8, 100);
        assert_eq!(sent(&mut lane, 0).len(), 8);
        (0..8).for_each(|_| lane.failed(0, None));
        assert!(lane.is_down());
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert!(sent(&mut lane, now).is_empty(), "nothing is sent during the pause");
            let Step::WaitUntil(until) = lane.next(now) else { panic!("the lane should wait") };
            pauses.push((until - now) / SECOND);
            now = until;
            assert_eq!(sent(&mut lane, now).len(), 1, "one probe");
            assert_eq!(lane.wants(now), 0);
            lane.failed(now, None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60], "failures of those in flight count once");
    }

    #[test]
    fn after_a_probe_succeeds_the_rate_rises_step_by_step() {
        let mut lane = lane(8, 100);
        sent(&mut lane, 0);
        (0..8).for_each(|_| lane.failed(0, None));
        let now = 2 * SECOND;
        assert_eq!(sent(&mut lane, now).len(), 1);
        lane.succeeded();
        let mut flights = Vec::new();
        for _ in 0..4 {
            let flight = sent(&mut lane, now).len();
            flights.push(flight);
            (0..flight).for_each(|_| lane.succeeded());
        }
        assert_eq!(flights, [2, 4, 8, 8]);
    }

    #[test]
    fn retry_after_is_obeyed_within_an_hour() {
        let mut lane = lane(4, 10);
        assert_eq!(sent(&mut lane, 0).len(), 4);
        lane.failed(0, Some(Duration::from_secs(30)));
        assert_eq!(lane.next(29 * SECOND), Step::WaitUntil(30 * SECOND));
        lane.failed(0, Some(Duration::from_secs(u64::MAX)));
        assert_eq!(lane.next(0), Step::WaitUntil(3600 * SECOND));
        lane.not_sent();
        lane.succeeded();
        assert_eq!(lane.next(0), Step::WaitUntil(3600 * SECOND), "an older attempt's success doesn't end it");
        assert_eq!(sent(&mut lane, 3600 * SECOND).len(), 2, "then the rate rises from the beginning");
    }

    #[test]
    fn refused_notifications_take_no_lane_down_and_open_one_that_was() {
        let mut lane = lane(1, 100);
        for _ in 0..50 {
            assert_eq!(sent(&mut lane, 0).len(), 1);
            lane.rejected();
        }
        for _ in 0..DOWN_AFTER {
            assert_eq!(sent(&mut lane, 0).len(), 1);
            lane.failed(0, None);
        }
        assert!(lane.is_down());
        assert_eq!(sent(&mut lane, 2 * SECOND).len(), 1);
        lane.rejected();
        assert!(!lane.is_down(), "a receiver that refuses the probe is there");
    }

    #[test]
    fn another_receiver_starts_afresh() {
        let mut lane = lane(4, 10);
        sent(&mut lane, 0);
        (0..4).for_each(|_| lane.failed(0, Some(Duration::from_secs(600))));
        lane.failed(0, None);
        assert!(lane.is_down());
        lane.forgive();
        assert_eq!(sent(&mut lane, 0).len(), 4);
    }

    #[test]
    fn a_late_success_of_an_old_attempt_opens_the_lane() {
        let mut lane = lane(6, 20);
        sent(&mut lane, 0);
        (0..5).for_each(|_| lane.failed(0, None));
        assert!(lane.is_down());
        lane.succeeded();
        assert!(!lane.is_down());
        assert_eq!(sent(&mut lane, 0).len(), 2);
    }
}
