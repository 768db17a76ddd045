//! A receiver that bears witness: what came, when, how much was under way at a time, and what it was answered. By that a
//! test can tell whether a lane kept its limits, whichever node it was on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Proxy, Receiver, Reply, Request};

/// A request, as the receiver has seen it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The sequence of the notification.
    pub sequence: u64,
    /// Its `webhook-id`.
    pub id: String,
    /// When it had been read.
    pub at: Instant,
    /// What it was answered.
    pub status: u16,
}

impl Seen {
    /// Whether it counts as delivered.
    pub fn is_accepted(&self) -> bool {
        self.status == 204
    }
}

#[derive(Default)]
struct Inner {
    seen: Vec<Seen>,
    open: usize,
    most: usize,
    /// How often each sequence came.
    times: BTreeMap<u64, usize>,
    accepted: BTreeSet<u64>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request: while it is held, nothing of the answer is sent, so whoever sent it knows of it for all of this
    /// time.
    fn answer(&self, request: &Request, judge: impl Fn(&Request, usize) -> (Duration, u16)) -> Reply {
        let sequence = request.sequence();
        let mut inner = self.inner();
        inner.open += 1;
        inner.most = inner.most.max(inner.open);
        let times = inner.times.entry(sequence).or_default();
        *times += 1;
        let times = *times;
        drop(inner);
        // Not under the lock: it may take its time.
        let (hold, status) = judge(request, times);
        let mut inner = self.inner();
        let id = request.header("webhook-id").to_owned();
        inner.seen.push(Seen { sequence, id, at: request.at, status });
        drop(inner);
        std::thread::sleep(hold);
        let mut inner = self.inner();
        inner.open -= 1;
        if status == 204 {
            inner.accepted.insert(sequence);
        }
        drop(inner);
        self.changed.notify_all();
        Reply::Status(status)
    }
}

/// A receiver for one tenant, behind a way that can be cut.
pub struct Witness {
    receiver: Receiver,
    way: Proxy,
    shared: Arc<Shared>,
}

impl Witness {
    /// Starts one; the closure gets each request and how often its notification came, this time included, and tells how
    /// long it is held, and the status: 204 accepts it.
    pub fn start(judge: impl Fn(&Request, usize) -> (Duration, u16) + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let answering = Arc::clone(&shared);
        let receiver = Receiver::start(move |request, _| answering.answer(request, &judge));
        let way = Proxy::start(receiver.port());
        Witness { receiver, way, shared }
    }

    /// Where to push to.
    pub fn url(&self) -> String {
        format!("{}/hook", self.way.url())
    }

    /// Cuts it off. Only when nothing of what had come before is under way any more, it can come [back](Self::back).
    pub fn cut_off(&self) {
        self.way.down();
        self.receiver.wait_for_the_end_of_connections();
    }

    /// The way is there again.
    pub fn back(&self) {
        self.way.up();
    }

    /// What has come so far, in its order.
    pub fn seen(&self) -> Vec<Seen> {
        let mut seen = self.shared.inner().seen.clone();
        seen.sort_by_key(|seen| seen.at);
        seen
    }

    /// How many have come.
    pub fn count(&self) -> usize {
        self.shared.inner().seen.len()
    }

    /// The most that were under way at a time.
    pub fn most(&self) -> usize {
        self.shared.inner().most
    }

    /// What was accepted, and answered so.
    pub fn accepted(&self) -> BTreeSet<u64> {
        self.shared.inner().accepted.clone()
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.shared.inner().open
    }

    /// From now on the most is that from now on.
    pub fn forget_most(&self) {
        let mut inner = self.shared.inner();
        inner.most = inner.open;
    }

    /// Waits until so many have come.
    #[track_caller]
    pub fn wait_for(&self, count: usize, bound: Duration) {
        self.wait_until(&format!("{count} requests"), bound, |inner| inner.seen.len() >= count);
    }

    /// Waits until the notifications 1..N have all been accepted.
    #[track_caller]
    pub fn wait_for_accepted(&self, last: u64, bound: Duration) {
        self.wait_until(&format!("{last} to be accepted"), bound, |inner| {
            inner.accepted.len() as u64 >= last
        });
        assert_eq!(self.shared.inner().accepted, (1..=last).collect(), "other ones were pushed");
    }

    #[track_caller]
    fn wait_until(&self, what: &str, bound: Duration, enough: impl Fn(&Inner) -> bool) {
        let end = Instant::now() + bound;
        let mut inner = self.shared.inner();
        while !enough(&inner) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited {bound:?} in vain for {what}; {} came, {} were accepted",
                inner.seen.len(),
                inner.accepted.len()
            );
            inner = self.shared.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many accepted notifications came again.
    pub fn repeated(&self) -> usize {
        let mut accepted = BTreeSet::new();
        self.seen().iter().filter(|seen| seen.is_accepted() && !accepted.insert(seen.sequence)).count()
    }

    /// Checks that there were never more than so many under way at a time.
    #[track_caller]
    pub fn check_concurrency(&self, limit: usize) {
        assert!(self.most() <= limit, "{} at a time, and the limit is {limit}", self.most());
    }

    /// Checks that a notification had the same `webhook-id` each time, and no two the same.
    #[track_caller]
    pub fn check_ids(&self) {
        let mut ids = BTreeMap::new();
        for seen in self.seen() {
            let id = ids.entry(seen.sequence).or_insert_with(|| seen.id.clone());
            assert_eq!(*id, seen.id, "the id of {}", seen.sequence);
        }
        let count = ids.len();
        assert_eq!(ids.into_values().collect::<BTreeSet<_>>().len(), count, "two have the same id");
    }

    /// Checks strict order: one at a time, each until it is accepted, then the next. As often as the node that had the
    /// lane was gone, some that it could not record any more may come again.
    #[track_caller]
    pub fn check_order(&self, changes: usize) {
        self.check_concurrency(1);
        let seen = self.seen();
        let (mut accepted, mut back) = (0, Vec::new());
        for (index, next) in seen.iter().enumerate() {
            assert!(next.sequence <= accepted + 1, "{} came before {}", next.sequence, accepted + 1);
            if let Some(last) = index.checked_sub(1).map(|index| &seen[index]) {
                let expected = last.sequence + u64::from(last.is_accepted());
                assert!(next.sequence <= expected, "{} came after {}", next.sequence, last.sequence);
                if next.sequence != expected {
                    back.push((last.sequence, next.sequence));
                }
            }
            if next.is_accepted() {
                accepted = accepted.max(next.sequence);
            }
        }
        assert!(back.len() <= changes, "went back {back:?}, and the lane changed {changes} times at most");
    }

    /// Checks that no more came than the rate allows, in any time: a second's worth at once, the rest evenly. What is late
    /// on its way may be followed by others that aren't.
    #[track_caller]
    pub fn check_rate(&self, per_minute: u32) {
        let late = Duration::from_millis(700);
        let (limit, seen) = (f64::from(per_minute), self.seen());
        let burst = 1.0 + (limit / 60.0).floor();
        let interval = 60.0 / (limit - burst + 1.0);
        for (first, from) in seen.iter().enumerate() {
            for (last, to) in seen.iter().enumerate().skip(first) {
                let time = to.at.duration_since(from.at);
                let count = last - first + 1;
                let most = burst + (time + late).as_secs_f64() / interval;
                assert!(
                    (count as f64) <= most,
                    "{count} within {time:?}; the limit is {per_minute} a minute"
                );
                assert!(count <= per_minute as usize || time + late >= Duration::from_secs(60));
            }
        }
    }
}
