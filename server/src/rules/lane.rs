//! The lane: the sending queue of one tenant, as a state machine.
//!
//! Times and results come in, "send this" and "wait until" come out. What a lane does follows from its [`Limits`], which
//! may change while it lives, and from how its receiver is:
//!
//! - It never has more in flight than its limit, and never begins more attempts in a minute than its rate allows.
//! - After the failures of [`DOWN_AFTER`] notifications in a row its receiver counts as down: the lane then sends one
//!   probe at a time, at growing intervals, and takes no new notifications. That the same notification fails again tells
//!   nothing new, unless the order is strict. So is it with a receiver that is there, but has refused
//!   [`REFUSING_AFTER`] notifications and taken none since.
//! - The first success opens it again (where it was failures that closed it, the first refusal does too), with a window
//!   that grows by one with each further success, so that a receiver which has just come back isn't met by everything at
//!   once. A lane that begins with a backlog rises in the same way. After a long outage what was put off is due at once.
//! - A lane that claims less than [`SHARED_FROM`] at once, as one that probes does, claims by turns: first one that was
//!   tried before, of those whose retry is due the one with the lowest sequence, then the oldest that waits and was
//!   never tried. So the head of a backlog keeps its schedule, to within two probes, and is given up in time, however
//!   much waits behind it; and one that is always refused doesn't keep a lane down, because the others are tried too.
//! - Under strict order one is in flight at a time, and after a failure the lane holds: nothing is sent before the time of
//!   the retry. The window is then the number of notifications that are claimed at once.
//!
//! A clock that is put back never makes a pause longer than it was to be; the time until which a lane holds, which is
//! stored, moves with the clock.

mod pace;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tidings_api::settings::{Ordering, PushSettings};

use self::pace::Pace;
use super::notification::Micros;

/// The failures of so many notifications in a row mean that the receiver is down, not that a notification is bad.
pub const DOWN_AFTER: usize = 5;
/// So many notifications refused, and none accepted, mean that the receiver won't have anything.
pub const REFUSING_AFTER: usize = 50;
/// The pause before the first probe.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between probes: a receiver that is back is noticed within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause that a receiver can ask for with `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);
/// Of so many that are claimed at once, or more, a quarter may be such as were tried before. Of fewer, all or none.
pub const SHARED_FROM: usize = 4;
/// The most notifications that are claimed at once under strict order.
const LONGEST_RUN: usize = 64;

/// What a lane keeps to, by the tenant's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most in flight.
    pub concurrency: usize,
    /// The most attempts in a minute.
    pub per_minute: Option<u32>,
    /// Whether the order is strict.
    pub fifo: bool,
}

impl From<&PushSettings> for Limits {
    fn from(push: &PushSettings) -> Self {
        Limits {
            concurrency: usize::try_from(push.max_concurrency).unwrap_or(usize::MAX),
            per_minute: push.rate_limit,
            fifo: push.ordering == Ordering::Fifo,
        }
    }
}

/// What a lane wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// This is to be sent now.
    Send(T),
    /// Nothing before this time.
    WaitUntil(Micros),
    /// Nothing until something is offered or finished.
    Idle,
}

/// A pause of a known length. When the clock has been put back behind its beginning, it is over.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Micros,
    length: Micros,
}

impl Pause {
    fn new(now: Micros, length: Duration) -> Self {
        let length = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        Pause { until: now.saturating_add(length), length }
    }

    fn is_over(&self, now: Micros) -> bool {
        now >= self.until || now < self.until - self.length
    }
}

/// The sending queue of one tenant. A new one knows no limits yet, and sends nothing before [`Lane::configure`].
#[derive(Debug)]
pub struct Lane<T> {
    ready: VecDeque<T>,
    in_flight: usize,
    limits: Option<Limits>,
    pace: Option<Pace>,
    /// How many may be in flight now; under strict order, how many are claimed at once.
    window: usize,
    failures: usize,
    /// The notifications that have failed since the last answer that told of a receiver which is well.
    failed: BTreeSet<i64>,
    /// The notifications that were refused since the last that was accepted.
    refused: BTreeSet<i64>,
    /// How long the last pause between probes was.
    pause: Duration,
    paused: Option<Pause>,
    /// The receiver has asked to be left alone.
    asked: Option<Pause>,
    held_until: Option<Micros>,
    /// The last claim of a few began with one that had been tried before.
    retried: bool,
    /// Another may have sent as much as the limits allow, just before.
    spent: bool,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Lane {
            ready: VecDeque::new(),
            in_flight: 0,
            limits: None,
            pace: None,
            window: 0,
            failures: 0,
            failed: BTreeSet::new(),
            refused: BTreeSet::new(),
            pause: Duration::ZERO,
            paused: None,
            asked: None,
            held_until: None,
            retried: false,
            spent: false,
        }
    }
}

impl<T> Lane<T> {
    /// Sets the limits, at first or anew. What is in flight by earlier ones ends first.
    pub fn configure(&mut self, limits: Limits, now: Micros) {
        let before = self.limits.replace(limits);
        if before == Some(limits) {
            return;
        }
        if before.map(|before| before.per_minute) != Some(limits.per_minute) {
            let is_fresh = !self.spent && self.pace.as_ref().is_none_or(|pace| pace.is_full(now));
            let pace = |limit| if is_fresh { Pace::new(limit) } else { Pace::empty(limit, now) };
            self.pace = limits.per_minute.map(pace);
        }
        let is_new = before.is_none() && !std::mem::take(&mut self.spent);
        self.window = if is_new { self.widest() } else { self.window.clamp(1, self.widest()) };
    }

    /// Begins as if all that the limits allow had just been sent, and with one at a time: a node that is gone had this
    /// lane, and nobody knows what it has sent.
    pub fn inherit(&mut self, now: Micros) {
        match self.limits {
            Some(limits) => self.pace = limits.per_minute.map(|limit| Pace::empty(limit, now)),
            None => self.spent = true,
        }
        self.rise();
    }

    /// How far the window opens.
    fn widest(&self) -> usize {
        self.limits.map_or(0, |limits| if limits.fifo { LONGEST_RUN } else { limits.concurrency })
    }

    /// Whether the order is strict.
    pub fn is_fifo(&self) -> bool {
        self.limits.is_some_and(|limits| limits.fifo)
    }

    /// Queues something behind the rest.
    pub fn offer(&mut self, item: T) {
        self.ready.push_back(item);
    }

    /// What to do now. What is sent must be finished with [`Lane::succeeded`], [`Lane::rejected`],
    /// [`Lane::failed`] or [`Lane::not_sent`].
    pub fn next(&mut self, now: Micros) -> Step<T> {
        if let Some(until) = self.waits_until(now) {
            return Step::WaitUntil(until);
        }
        self.held_until = None;
        if self.is_down() {
            if self.in_flight > 0 {
                return Step::Idle;
            }
            self.asked = None;
        }
        let limit = if self.is_fifo() { self.window.min(1) } else { self.window };
        if self.in_flight >= limit || self.ready.is_empty() {
            return Step::Idle;
        }
        if let Some(pace) = &mut self.pace {
            if let Some(until) = pace.free_at(now) {
                return Step::WaitUntil(until);
            }
            pace.take(now);
        }
        match self.ready.pop_front() {
            Some(item) => {
                self.in_flight += 1;
                Step::Send(item)
            }
            None => Step::Idle,
        }
    }

    /// Until when nothing is sent, because the lane holds or the receiver is down.
    fn waits_until(&self, now: Micros) -> Option<Micros> {
        let pauses = [self.paused, self.asked].into_iter().flatten();
        let paused = pauses.filter(|pause| !pause.is_over(now)).map(|pause| pause.until);
        paused.chain(self.held_until.filter(|until| now < *until)).max()
    }

    /// An attempt was accepted. What the receiver has asked for still holds: this attempt may be older.
    ///
    /// Answers whether this ends an outage so long that probes had come to be a minute apart. What was put off meanwhile
    /// needn't wait for its own time then, which may be hours away. After a shorter one it isn't far, and a receiver that
    /// comes and goes would use up the attempts of whatever it keeps failing.
    pub fn succeeded(&mut self) -> bool {
        let ends_outage = self.paused.is_some() && self.pause == LONGEST_PAUSE;
        self.not_sent();
        self.refused.clear();
        self.open();
        ends_outage
    }

    /// The attempt of the notification with this sequence failed. `asked` is how long the receiver wants to be left
    /// alone.
    pub fn failed(&mut self, now: Micros, sequence: i64, asked: Option<Duration>) {
        self.not_sent();
        // Under strict order there is no other that could tell more.
        if self.failures < DOWN_AFTER && (self.failed.insert(sequence) || self.is_fifo()) {
            self.failures += 1;
        }
        if self.failures >= DOWN_AFTER || self.paused.is_some() {
            self.close(now);
        }
        if let Some(asked) = asked {
            let asked = Pause::new(now, asked.min(LONGEST_ASKED));
            let earlier = self.asked.filter(|earlier| !earlier.is_over(now) && earlier.until > asked.until);
            self.asked = Some(earlier.unwrap_or(asked));
        }
        if self.is_down() {
            self.window = 1;
        }
    }

    /// The notification with this sequence was refused by a receiver that is there: it won't have this one, but perhaps
    /// the next.
    pub fn rejected(&mut self, now: Micros, sequence: i64) {
        self.not_sent();
        if self.refused.len() < REFUSING_AFTER {
            self.refused.insert(sequence);
        }
        if self.refused.len() < REFUSING_AFTER {
            self.open();
        } else {
            self.close(now);
            self.window = 1;
        }
    }

    /// The receiver is well.
    fn open(&mut self) {
        self.failures = 0;
        self.failed.clear();
        self.pause = Duration::ZERO;
        if self.paused.take().is_some() {
            self.window = 1;
        }
        self.window = self.widest().min(self.window + 1);
    }

    /// The receiver is down, or still is.
    fn close(&mut self, now: Micros) {
        // Those that were in flight when the lane went down tell nothing new.
        if self.paused.is_none_or(|pause| pause.is_over(now)) {
            self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            self.paused = Some(Pause::new(now, self.pause));
        }
    }

    /// An attempt ended that says nothing about how the receiver is.
    pub fn not_sent(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Sends nothing before this time.
    pub fn hold(&mut self, until: Micros) {
        self.held_until = self.held_until.max(Some(until));
        self.window = self.window.min(1);
    }

    /// Ends a hold until this time, unless another is longer: what it was for is gone.
    pub fn release(&mut self, until: Micros) {
        self.held_until = self.held_until.filter(|held| *held != until);
    }

    /// Whether it holds, or did when it was last looked at.
    pub fn is_held(&self) -> bool {
        self.held_until.is_some()
    }

    /// Forgets what is known of the receiver: it is another one now, or an admin wants it tried again.
    pub fn forgive(&mut self) {
        (self.failures, self.pause) = (0, Duration::ZERO);
        self.failed.clear();
        self.refused.clear();
        (self.paused, self.asked, self.held_until) = (None, None, None);
        self.rise();
    }

    /// Begins with one at a time: a backlog is about to come.
    pub fn rise(&mut self) {
        self.window = self.window.min(1);
    }

    /// Whether the receiver is down, or refuses everything: the lane takes nothing new, and what waits in it is better handed back.
    pub fn is_down(&self) -> bool {
        self.paused.is_some() || self.asked.is_some()
    }

    /// How many more notifications the lane has use for now. Under strict order none before it is empty.
    pub fn wants(&self, now: Micros) -> usize {
        let is_empty = self.ready.is_empty() && self.in_flight == 0;
        if self.waits_until(now).is_some() {
            0
        } else if self.is_down() {
            usize::from(is_empty)
        } else if self.is_fifo() {
            if is_empty { self.window } else { 0 }
        } else {
            // Enough that the lane has work while more is fetched, but no more than a minute's worth.
            let minute = self.limits.and_then(|limits| limits.per_minute).unwrap_or(u32::MAX);
            let most = usize::try_from(minute).unwrap_or(usize::MAX).min(4 * self.window);
            most.saturating_sub(self.ready.len())
        }
    }

    /// How many of so many that are about to be claimed are to be such as were tried before: by turns, or a share.
    /// Neither is one that is always refused tried for ever while all others wait, nor is none ever given up behind a
    /// backlog of new ones.
    pub fn retries(&mut self, count: usize) -> usize {
        if count >= SHARED_FROM {
            return count / 4;
        }
        self.retried = !self.retried;
        usize::from(self.retried)
    }

    /// Takes out everything that waits.
    pub fn drain(&mut self) -> Vec<T> {
        self.ready.drain(..).collect()
    }

    /// Whether nothing waits, nothing is in flight and nothing has to be remembered.
    pub fn is_idle(&self, now: Micros) -> bool {
        let is_empty = self.ready.is_empty() && self.in_flight == 0;
        let is_well = self.failures == 0
            && self.refused.is_empty()
            && !self.is_down()
            && self.held_until.is_none_or(|until| now >= until);
        is_empty && is_well && self.pace.as_ref().is_none_or(|pace| pace.is_full(now))
    }

    /// How many are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}
