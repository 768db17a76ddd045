//! A receiver that is down for days while much waits: the lane, its schedule and the store, by a clock that the test turns.

use std::collections::BTreeMap;

use tidings_api::delivery::AttemptError;
use tidings_api::settings::Settings;
use tidings_server::rules::lane::{Lane, Limits, Step};
use tidings_server::rules::retry;
use tidings_server::rules::settings::resolve;
use tidings_server::store::seam::{AT_ONCE, NodeId, Outcome, Queries, Report};

use super::leases::{NOON, attempt};
use super::*;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
/// How long an attempt takes to fail.
const FAILS_WITHIN: i64 = SECOND;
/// The longest from one probe to the next.
const PROBES: i64 = 60 * SECOND + FAILS_WITHIN;

/// What a sending thread does for one tenant, and what came of it.
struct Outage {
    tenant: TenantId,
    node: NodeId,
    settings: Settings,
    lane: Lane<StoredNotification>,
    now: i64,
    /// How long it waits when nothing is due.
    poll: i64,
    /// When the attempts of each notification began.
    begun: BTreeMap<i64, Vec<i64>>,
    /// When notifications were given up.
    given_up: BTreeMap<i64, i64>,
    /// When the push would have been disabled.
    disabled_at: Option<i64>,
    /// The last success before it all.
    last_success_at: i64,
}

impl Outage {
    fn run(&mut self, conn: &mut dyn Queries, until: i64) {
        while self.now < until {
            match self.lane.next(self.now) {
                Step::Send(notification) => self.fail(conn, &notification),
                Step::WaitUntil(time) => self.now = time,
                Step::Idle => {
                    let limit = self.lane.wants(self.now);
                    let retries = self.lane.retries(limit) as i64;
                    let want = Want { retries, ..want(limit as i64) };
                    let claimed = conn.claim(self.tenant, self.node, self.now, want).unwrap().notifications;
                    if claimed.is_empty() {
                        // The next poll.
                        self.now += self.poll;
                    }
                    claimed.into_iter().for_each(|notification| self.lane.offer(notification));
                }
            }
        }
    }

    fn fail(&mut self, conn: &mut dyn Queries, notification: &StoredNotification) {
        let StoredNotification { sequence, ref state, .. } = *notification;
        self.begun.entry(sequence).or_default().push(self.now);
        let began = self.now;
        self.now += FAILS_WITHIN;
        self.lane.failed(self.now, sequence, None);
        let push = &self.settings.push;
        let outcome = match retry::delay(&push.retry, state.attempts as u32 + 1, 0.0, None) {
            Some(delay) => Outcome::Retry(self.now + delay.as_micros() as i64),
            None => {
                self.given_up.insert(sequence, self.now);
                let (after, last) = (push.disable_after_seconds, Some(self.last_success_at));
                if retry::disables(after, self.now, last, 0) {
                    self.disabled_at.get_or_insert(self.now);
                }
                Outcome::Failed
            }
        };
        let record = attempt(began, Some(AttemptError::Connect));
        let end = |sequence, attempts, outcome, attempt| Report {
            tenant: self.tenant,
            sequence,
            attempts,
            outcome,
            attempt,
        };
        let mut reports = vec![end(sequence, state.attempts, outcome, Some(record))];
        if self.lane.is_down() {
            let waiting = self.lane.drain();
            let back = waiting.into_iter().map(|waiting| {
                end(waiting.sequence, waiting.state.attempts, Outcome::HandBack(AT_ONCE), None)
            });
            reports.extend(back);
        }
        conn.report(&reports.iter().collect::<Vec<_>>(), self.node, self.now).unwrap();
    }
}

on_both! {
    fn the_head_of_a_backlog_keeps_its_schedule_while_the_receiver_is_down_for_days(db) {
        block_on(async {
            let node = open(&db);
            let tenant = tenant(&node.store, "a").await;
            // Each statement takes its way to PostgreSQL and back: there fewer wait, and what is due is found later, by
            // half of the time between two probes. They are more than are probed in an hour all the same.
            let (count, poll) = if node.store.is_shared() { (150, PROBES / 2) } else { (1_000, SECOND) };
            futures_util::future::join_all((0..count).map(|_| post(&node.store, tenant, NOON))).await;
            let settings = resolve(r#"{"profile":"acrobatSign"}"#, "a").unwrap();
            let mut lane = Lane::default();
            lane.configure(Limits::from(&settings.push), NOON);
            let mut outage = Outage {
                tenant,
                node: node.store.node(),
                settings,
                lane,
                now: NOON,
                poll,
                begun: BTreeMap::new(),
                given_up: BTreeMap::new(),
                disabled_at: None,
                // Seven days without success are over after 72 hours of the outage.
                last_success_at: NOON - 4 * 24 * HOUR,
            };
            for hour in 1..=80 {
                // An hour in a transaction.
                let run = node.store.write(Some(tenant), move |conn| {
                    outage.run(conn, NOON + hour * HOUR);
                    Ok(outage)
                });
                outage = run.await.unwrap();
            }

            // Half a minute, twice as long each time, twelve hours at most: 15 retries within 72 hours.
            let mut delay = 30 * SECOND;
            let head = &outage.begun[&1];
            assert_eq!(head.len(), 16);
            for (nth, pair) in (1..).zip(head.windows(2)) {
                let late = pair[1] - (pair[0] + FAILS_WITHIN + delay);
                assert!((0..=2 * PROBES).contains(&late), "retry {nth} came {} s late", late / SECOND);
                delay = (2 * delay).min(12 * HOUR);
            }
            // Its last attempt ends by the schedule after 65 hours, and it was late by half an hour at most.
            let given_up = outage.given_up[&1] - NOON;
            assert!((65 * HOUR..66 * HOUR).contains(&given_up), "given up after {} s", given_up / SECOND);
            // Those next to it wait for two more probes each time for each that goes before them.
            let in_time = |sequence: i64| outage.given_up.get(&sequence).is_some_and(|at| *at <= NOON + 72 * HOUR);
            assert!((1..=8).all(in_time), "{:?}", outage.given_up);
            // Nobody was forgotten over the head.
            assert_eq!(outage.begun.len() as i64, count, "each was tried");
            let last = *outage.begun[&count].first().unwrap() - NOON;
            assert!(last <= 36 * HOUR, "the last was tried first after {} s", last / SECOND);
            // The seven days end at 72 hours. The next that is given up lets the push be disabled.
            let disabled_at = outage.disabled_at.expect("the push is disabled") - NOON;
            assert!((72 * HOUR..73 * HOUR).contains(&disabled_at), "disabled after {} s", disabled_at / SECOND);
        });
    }
}
