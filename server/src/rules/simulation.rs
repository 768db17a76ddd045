//! A day in virtual time: many tenants whose receivers fail in the ways real ones do, and one small node.
//!
//! The lanes and the schedules are the real ones, and they are driven as a sending thread drives them: claims by turns, a
//! poll every second, a place in memory for each that is leased, a lane that is closed while its receiver is down. What
//! is around them is a model: the database is a shelf for each tenant, a receiver a function of the time
//! ([`receivers`]), a sending thread makes one attempt after another, each for a millisecond. What the database costs isn't
//! counted, but for the wait for a commit before a claim.
//!
//! The same seed gives the same day, to the microsecond. Nothing here runs in a server: `cargo run --release --example
//! day` prints a day, and a short one is a test.

pub mod receivers;
mod report;
mod shelf;
mod tenant;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use self::receivers::{Answer, HOUR, Kind, MILLISECOND, Meaning, Random, Receiver, SECOND, mix};
pub use self::report::Report;
use self::report::{Return, Tally};
use self::shelf::Item;
use self::tenant::{Tenant, push_settings};
use super::lane::{Lane, Step};
use super::notification::Micros;
use super::retry;

/// How long the day is.
pub const DAY: Micros = 24 * HOUR;
/// The sending threads of the node.
const THREADS: usize = 2;
/// For so long an attempt keeps its thread: ten times what was measured, so that the node is a small one.
const COST: Micros = MILLISECOND;
/// From a claim to its commit.
const COMMIT: Micros = 5 * MILLISECOND;
/// How often a thread asks for what is due.
const POLL: Micros = SECOND;
/// After a failure it asks again this soon at the earliest.
const AGAIN: Micros = SECOND / 2;
/// The most notifications of one tenant that are in memory.
const LANE_ROOM: usize = 512;
/// The most of all tenants: as many of a kilobyte as there is room for.
const TOTAL_ROOM: usize = 27_000;
/// How busy the hours of the day are, in hundredths of the mean.
const CURVE: [u64; 24] = [
    30, 25, 20, 20, 25, 40, 70, 110, 150, 175, 185, 180, 160, 170, 180, 175, 160, 140, 115, 90, 70, 55, 45,
    35,
];
/// Bulk work: every hour one tenant has this share of the day's events at once.
const BULK: u64 = 5_000;
/// When everything is imported that one tenant has.
const IMPORT_AT: Micros = 11 * HOUR + HOUR / 4;

/// A day.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// What all chance comes from.
    pub seed: u64,
    /// How many tenants there are.
    pub tenants: usize,
    /// About how many events come, beside those that are imported.
    pub events: u64,
    /// So many of one tenant come at once.
    pub imported: i64,
    /// Whether receivers fail. Otherwise all are well, and everything else is as it was.
    pub sick: bool,
}

impl Day {
    /// Lets the day pass.
    pub fn pass(self) -> Report {
        let mut engine = Engine::new(self);
        engine.run();
        Report::new(self, engine.tally, &engine.tenants)
    }
}

/// What happens.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next event of whichever tenant.
    Arrival,
    /// One tenant has many at once.
    Bulk(usize, i64),
    Finished(usize, Item, Answer),
    Claimed(usize, usize, usize),
    Poll(usize),
    Wake(usize),
    /// A receiver is back.
    Back(usize),
    /// An hour is over.
    Hour,
}

#[derive(Default)]
struct Thread {
    free_at: Micros,
    poll_at: Micros,
    due: BTreeSet<(Micros, usize)>,
}

struct Engine {
    day: Day,
    now: Micros,
    queue: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    /// So many events were planned.
    planned: u64,
    arrivals: Random,
    /// The weights of the tenants, added up.
    weights: Vec<f64>,
    tenants: Vec<Tenant>,
    threads: [Thread; THREADS],
    taken: usize,
    tally: Tally,
}

impl Engine {
    fn new(day: Day) -> Self {
        let mut random = Random::new(day.seed);
        let profiles = ["default", "standardWebhooks", "acrobatSign", "socrateCloud"].map(push_settings);
        // By Zipf's law, each class of receivers with large and small tenants.
        let mut ranks: Vec<usize> = (1..=day.tenants).collect();
        for at in (1..ranks.len()).rev() {
            ranks.swap(at, random.below(at as u64 + 1) as usize);
        }
        let total: f64 = ranks.iter().map(|rank| 1.0 / *rank as f64).sum();
        let (mut weights, mut sum) = (Vec::new(), 0.0);
        let tenants = ranks.iter().enumerate().map(|(id, rank)| {
            let share = 1.0 / *rank as f64 / total;
            sum += share;
            weights.push(sum);
            let kind = if id == 0 { Kind::Importing } else { Kind::of(id) };
            let push = &profiles[id % profiles.len()];
            let mean = share * day.events as f64 / 86_400.0;
            let key = mix(day.seed, id as u64);
            Tenant::new(Receiver::new(kind, day.sick, key, mean, push.timeout_seconds), push)
        });
        let tenants = tenants.collect();
        let mut engine = Engine {
            day,
            now: 0,
            queue: BinaryHeap::new(),
            planned: 0,
            arrivals: Random::new(!day.seed),
            weights,
            tenants,
            threads: Default::default(),
            taken: 0,
            tally: Tally::default(),
        };
        engine.plan(0, Event::Arrival);
        engine.plan(IMPORT_AT, Event::Bulk(0, day.imported));
        for hour in 1..24 {
            let busy = 1 + random.below(day.tenants as u64 - 1) as usize;
            engine.plan(hour * HOUR - HOUR / 3, Event::Bulk(busy, (day.events / BULK) as i64));
        }
        (1..=24).for_each(|hour| engine.plan(hour * HOUR, Event::Hour));
        (0..THREADS).for_each(|thread| engine.plan(0, Event::Poll(thread)));
        for id in 0..day.tenants {
            let backs: Vec<Micros> =
                engine.tenants[id].receiver.downs().iter().map(|(_, back)| *back).collect();
            backs.into_iter().for_each(|back| engine.plan(back, Event::Back(id)));
        }
        engine
    }

    fn plan(&mut self, at: Micros, event: Event) {
        self.planned += 1;
        self.queue.push(Reverse((at, self.planned, event)));
    }

    fn run(&mut self) {
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            if at > DAY {
                // It is under way, and waits on.
                if let Event::Finished(id, item, _) = event {
                    self.tenants[id].shelf.put(item);
                }
                continue;
            }
            self.now = at;
            match event {
                Event::Arrival => {
                    let id = self.weights.partition_point(|sum| *sum < self.arrivals.unit());
                    self.arrive(id.min(self.day.tenants - 1));
                    let hour = usize::try_from(at / HOUR).unwrap_or(0).min(23);
                    let each: f64 = 86_400e6 / self.day.events as f64 * 100.0 / CURVE[hour] as f64;
                    let pause = -each * (1.0 - self.arrivals.unit()).ln();
                    self.plan(at + pause as Micros + 1, Event::Arrival);
                }
                Event::Bulk(id, count) => (0..count).for_each(|_| self.arrive(id)),
                Event::Finished(id, item, answer) => self.finish(id, item, answer),
                Event::Claimed(id, count, retries) => self.claimed(id, count, retries),
                Event::Poll(thread) => self.poll(thread),
                Event::Wake(id) => self.pump(id),
                Event::Back(id) => {
                    let Tenant { waiting, last, back, receiver, .. } = &mut self.tenants[id];
                    self.tally.end_return(receiver.kind, back.take());
                    *back = Return::new(at, *waiting, *last);
                }
                Event::Hour => self.tally.hour(),
            }
        }
        for tenant in &mut self.tenants {
            self.tally.end_return(tenant.receiver.kind, tenant.back.take());
            let ready = tenant.lane.as_mut().map_or_else(Vec::new, Lane::drain);
            ready.into_iter().for_each(|item| tenant.shelf.put(item));
        }
    }

    /// An event is stored, leased at once if there is room.
    fn arrive(&mut self, id: usize) {
        let (now, total) = (self.now, self.taken);
        let tenant = &mut self.tenants[id];
        tenant.last += 1;
        tenant.waiting += 1;
        self.tally.arrived(tenant.receiver.kind);
        let item = Item { sequence: tenant.last, created_at: now, attempts: 0 };
        let has_room = tenant.taken < LANE_ROOM && (total < TOTAL_ROOM || tenant.taken == 0);
        if has_room && !tenant.overflowed && !tenant.closed && !tenant.stopped {
            tenant.taken += 1;
            self.taken += 1;
            tenant.lane(now).offer(item);
            return self.pump(id);
        }
        tenant.shelf.put(item);
        let knows = std::mem::replace(&mut tenant.overflowed, true);
        self.list(id);
        if !knows && !self.tenants[id].stopped {
            let tenant = &mut self.tenants[id];
            tenant.lane(now);
            tenant.more = true;
            self.pump(id);
        }
    }

    /// Sends what the lane wants to send, and claims what it has room for.
    fn pump(&mut self, id: usize) {
        let now = self.now;
        loop {
            let Some(lane) = &mut self.tenants[id].lane else { return };
            match lane.next(now) {
                Step::Send(item) => self.send(id, item),
                Step::WaitUntil(time) => {
                    if self.tenants[id].wake != time {
                        self.tenants[id].wake = time;
                        self.plan(time, Event::Wake(id));
                    }
                    break;
                }
                Step::Idle => break,
            }
        }
        let tenant = &mut self.tenants[id];
        let Some(lane) = &mut tenant.lane else { return };
        tenant.closed = lane.is_down();
        let more = (tenant.more || tenant.overflowed) && !tenant.stopped;
        if more && !tenant.claiming {
            let room = if self.taken < TOTAL_ROOM {
                LANE_ROOM - tenant.taken
            } else {
                usize::from(tenant.taken == 0)
            };
            let count = lane.wants(now).min(room);
            if count > 0 {
                tenant.claiming = true;
                let retries = lane.retries(count);
                return self.plan(now + COMMIT, Event::Claimed(id, count, retries));
            }
        }
        if lane.is_idle(now) && !tenant.claiming && !more {
            tenant.lane = None;
            tenant.begun = false;
        }
    }

    fn send(&mut self, id: usize, item: Item) {
        let thread = &mut self.threads[id % THREADS];
        thread.free_at = thread.free_at.max(self.now) + COST;
        let begun = thread.free_at;
        let receiver = &mut self.tenants[id].receiver;
        self.tally.attempted(receiver.kind, receiver.is_down(begun));
        let answer = receiver.answer(begun, item.sequence, item.attempts);
        self.plan(begun + answer.after, Event::Finished(id, item, answer));
    }

    fn claimed(&mut self, id: usize, count: usize, retries: usize) {
        let now = self.now;
        let tenant = &mut self.tenants[id];
        (tenant.claiming, tenant.more) = (false, false);
        if tenant.stopped {
            tenant.overflowed = false;
            return self.pump(id);
        }
        let items = tenant.shelf.claim(now, count, retries);
        if items.len() >= count {
            tenant.overflowed = true;
        } else if items.is_empty() {
            tenant.overflowed = false;
        }
        tenant.more = !items.is_empty();
        tenant.taken += items.len();
        self.taken += items.len();
        if !std::mem::replace(&mut tenant.begun, true) {
            tenant.lane(now).rise();
        }
        items.into_iter().for_each(|item| tenant.lane(now).offer(item));
        self.list(id);
        self.pump(id);
    }

    /// What an attempt's end means.
    fn finish(&mut self, id: usize, item: Item, answer: Answer) {
        let now = self.now;
        self.taken -= 1;
        let tenant = &mut self.tenants[id];
        tenant.taken -= 1;
        let (key, kind) = (tenant.receiver.key, tenant.receiver.kind);
        let failed = item.attempts + 1;
        let lane = tenant.lane(now);
        let was_down = lane.is_down();
        let asked = answer.asked();
        let mut ends_outage = false;
        match answer.meaning {
            Meaning::Accepted => ends_outage = lane.succeeded(),
            Meaning::Refused => lane.rejected(now, item.sequence),
            Meaning::Failed(_) => lane.failed(now, item.sequence, asked),
            Meaning::Gone => lane.not_sent(),
        }
        let is_down = lane.is_down();
        match answer.meaning {
            Meaning::Accepted => {
                self.tally.delivered(kind, now - item.created_at);
                self.end(id, &item);
            }
            Meaning::Gone => {
                tenant.stopped = true;
                tenant.shelf.put(Item { attempts: failed, ..item });
            }
            Meaning::Refused | Meaning::Failed(_) => {
                let chance = Random::new(mix(mix(key, item.sequence as u64), u64::from(failed))).unit();
                match retry::delay(&tenant.retry, failed, chance, asked) {
                    Some(delay) => {
                        let due = now + micros(delay);
                        tenant.shelf.put_off(Item { attempts: failed, ..item }, due);
                        self.poll_by(id % THREADS, due.max(now + AGAIN));
                    }
                    None => {
                        self.tally.given_up(kind, failed == retry::attempts(&tenant.retry));
                        self.end(id, &item);
                    }
                }
            }
        }
        let tenant = &mut self.tenants[id];
        tenant.more |= was_down || is_down;
        if ends_outage {
            tenant.shelf.put_on();
        }
        if is_down || tenant.stopped {
            for waiting in tenant.lane(now).drain() {
                tenant.more = true;
                tenant.taken -= 1;
                self.taken -= 1;
                tenant.shelf.put(waiting);
            }
        }
        self.list(id);
        self.pump(id);
    }

    /// It was delivered, or given up.
    fn end(&mut self, id: usize, item: &Item) {
        let tenant = &mut self.tenants[id];
        tenant.ended += item.sequence;
        tenant.waiting -= 1;
        if let Some(back) = &mut tenant.back {
            back.ended(item.sequence, self.now);
        }
    }

    /// Keeps the tenant's place among what is due.
    fn list(&mut self, id: usize) {
        let tenant = &mut self.tenants[id];
        let first = tenant.shelf.first_due().filter(|_| !tenant.stopped);
        if first != tenant.listed {
            let due = &mut self.threads[id % THREADS].due;
            if let Some(before) = std::mem::replace(&mut tenant.listed, first) {
                due.remove(&(before, id));
            }
            due.extend(first.map(|first| (first, id)));
        }
    }

    fn poll(&mut self, thread: usize) {
        let now = self.now;
        if self.threads[thread].poll_at != now {
            return;
        }
        let due: Vec<usize> =
            self.threads[thread].due.range(..=(now, usize::MAX)).map(|(_, id)| *id).collect();
        for id in due {
            let tenant = &mut self.tenants[id];
            tenant.lane(now);
            tenant.more = true;
            // One that waits would say so again.
            if !tenant.closed || tenant.wake <= now {
                self.pump(id);
            }
        }
        let next =
            self.threads[thread].due.range((now + 1, 0)..).next().map_or(now + POLL, |(first, _)| *first);
        self.threads[thread].poll_at = Micros::MAX;
        self.poll_by(thread, next.min(now + POLL));
    }

    /// Asks for what is due at this time, if not before.
    fn poll_by(&mut self, thread: usize, at: Micros) {
        if at < self.threads[thread].poll_at {
            self.threads[thread].poll_at = at;
            self.plan(at, Event::Poll(thread));
        }
    }
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
