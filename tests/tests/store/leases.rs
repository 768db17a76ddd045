//! Leases: who has what, and what a report leaves behind.

use std::time::Duration;

use tidings_api::delivery::{AttemptError, AttemptReason};
use tidings_server::store::seam::{AT_ONCE, AttemptRecord, Claimed, Due, Outcome, Report};

use super::*;

/// A time as they are in earnest: far larger than any sequence.
pub(super) const NOON: i64 = 1_800_000_000_000_000;

pub(super) fn attempt(started_at: i64, error: Option<AttemptError>) -> AttemptRecord {
    AttemptRecord {
        started_at,
        duration_ms: 25,
        url: "https://receiver.example/in".into(),
        address: Some("192.0.2.1".to_owned()),
        reason: AttemptReason::First,
        response_status: Some(if error.is_some() { 503 } else { 204 }),
        response_text: "as it came".to_owned(),
        error,
    }
}

/// The end of a lease for the first attempt.
pub(super) fn report(tenant: TenantId, sequence: i64, outcome: Outcome) -> Report {
    let attempt = match outcome {
        Outcome::Delivered { .. } => Some(attempt(NOON, None)),
        Outcome::HandBack(_) => None,
        _ => Some(attempt(NOON, Some(AttemptError::Status))),
    };
    Report { tenant, sequence, attempts: 0, outcome, attempt }
}

pub(super) async fn claim(store: &Store, tenant: TenantId, now: i64, limit: i64, fifo: bool) -> Claimed {
    let node = store.node();
    let claim = store.write(Some(tenant), move |conn| {
        let version = conn.tenant_get(tenant)?.unwrap().version;
        conn.claim(tenant, node, now, Want { version, fifo, ..want(limit) })
    });
    claim.await.unwrap()
}

pub(super) fn numbers(claimed: &Claimed) -> Vec<i64> {
    claimed.notifications.iter().map(|notification| notification.sequence).collect()
}

/// Records these ends of leases that were just taken.
pub(super) async fn record(store: &Store, mut reports: Vec<Report>) {
    for report in &mut reports {
        report.attempts = get(store, report.tenant, report.sequence).await.state.attempts;
    }
    store.report(reports).await.unwrap();
}

/// Claims what is due at noon.
pub(super) async fn claimed(store: &Store, tenant: TenantId, limit: i64) -> Vec<i64> {
    numbers(&claim(store, tenant, NOON, limit, false).await)
}

pub(super) fn due(tenant: TenantId, at: i64) -> Due {
    Due { tenant, at, version: 1, held_until: None }
}

pub(super) async fn attempts(store: &Store, tenant: TenantId, sequence: i64) -> Vec<AttemptRecord> {
    let read = store.read(move |conn| conn.attempts(tenant, sequence, None, false, 1000));
    read.await.unwrap().into_iter().map(|(_, attempt)| attempt).collect()
}

pub(super) async fn with_backlog(store: &Store, count: i64) -> TenantId {
    let tenant = tenant(store, "a").await;
    for index in 0..count {
        post(store, tenant, NOON - 1000 + index).await;
    }
    tenant
}

pub(super) const DELIVERED: Outcome = Outcome::Delivered { dismiss: false };

on_both! {
    fn a_new_notification_goes_leased_to_its_lane_and_nobody_else_can_claim_it(db) {
        block_on(async {
            let (mut one, other) = (open(&db), open(&db));
            beat(&one.store).await;
            let a = tenant(&one.store, "a").await;
            let now = Append { push_now: true, ..event(a, content("close", 1)) };
            assert_eq!(one.store.append(now).await.unwrap(), Appended::Stored { sequence: 1, leased: true });
            let Some(ToLane::New { tenant, notification, .. }) = one.to_lane.recv().await else {
                panic!("the lane was not given it")
            };
            assert_eq!((tenant, notification.sequence), (a, 1));
            assert!(claim(&other.store, a, i64::MAX - 1, 10, false).await.notifications.is_empty());
            assert_eq!(get(&one.store, a, 1).await.state.next_attempt_at, None, "it is being made");
            assert_eq!(all_due(&one.store).await, [], "what is leased is not due");

            // The other node takes the first for dead; its late report counts for nothing.
            let freed = other.store.write(None, |conn| conn.node_reap(i64::MIN)).await.unwrap();
            assert_eq!(freed, 1);
            assert_eq!(claimed(&other.store, a, 10).await, [1]);
            let delivered = Outcome::Delivered { dismiss: true };
            for late in [delivered, Outcome::Failed, Outcome::Hold(2 * NOON), Outcome::HandBack(AT_ONCE)] {
                record(&one.store, vec![report(a, 1, late)]).await;
            }
            let state = get(&one.store, a, 1).await.state;
            assert_eq!((state.push, state.attempts, state.next_attempt_at), (PushProgress::Pending, 0, None));
            assert_eq!(attempts(&one.store, a, 1).await, [], "nor is it logged");
            let position = one.store.read(move |conn| conn.position(a)).await.unwrap();
            assert_eq!(position.last_success_at, None);
            record(&other.store, vec![report(a, 1, delivered)]).await;
            let state = get(&one.store, a, 1).await.state;
            assert_eq!((state.push, state.is_dismissed, state.attempts), (PushProgress::Delivered, true, 1));
            assert_eq!(attempts(&one.store, a, 1).await, [attempt(NOON, None)]);
            let position = one.store.read(move |conn| conn.position(a)).await.unwrap();
            assert_eq!(position.last_success_at, Some(NOON + 25_000), "when the attempt ended");
            // Nothing was held: the late `Hold` came from nobody.
            post(&one.store, a, NOON).await;
            assert_eq!(numbers(&claim(&one.store, a, NOON, 10, true).await), [2]);
        });
    }

    fn a_lane_is_told_once_of_what_it_has_to_claim_and_not_while_the_push_is_paused(db) {
        block_on(async {
            let mut node = open(&db);
            let (strict, paused) = (tenant(&node.store, "a").await, tenant(&node.store, "b").await);
            let append = async |tenant, push_now, sequence| {
                let event = Append { push_now, fifo: true, ..event(tenant, content("close", 1)) };
                let stored = Appended::Stored { sequence, leased: false };
                assert_eq!(node.store.append(event).await.unwrap(), stored);
            };
            append(paused, false, 1).await;
            append(strict, true, 1).await;
            append(strict, true, 2).await;
            assert!(matches!(node.to_lane.try_recv(), Ok(ToLane::Waiting(tenant)) if tenant == strict));
            assert!(node.to_lane.try_recv().is_err());
        });
    }

    fn a_dead_node_s_leases_are_freed_and_a_living_one_s_are_not(db) {
        block_on(async {
            let (living, dead) = (open(&db), open(&db));
            let (a, b) = (with_backlog(&living.store, 2).await, with_backlog(&living.store, 2).await);
            for (node, tenant) in [(&dead, a), (&living, b)] {
                beat(&node.store).await;
                assert_eq!(claimed(&node.store, tenant, 2).await.len(), 2);
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            // The dead node was seen 60 ms or more before the living one.
            let id = living.store.node();
            let silence = 50_000;
            let freed = living.store.write(None, move |conn| {
                conn.node_seen(id, &Vitals::default())?;
                conn.node_reap(silence)
            }).await.unwrap();
            assert_eq!(freed, 2);
            assert_eq!(all_due(&living.store).await, [due(a, 1)], "at once, in its order");
            assert_eq!(claimed(&living.store, a, 10).await, [1, 2]);
            assert!(claimed(&living.store, b, 10).await.is_empty(), "those of the living one aren't");
        });
    }

    fn outcomes_decide_when_it_is_due_again(db) {
        block_on(async {
            let node = open(&db);
            let a = with_backlog(&node.store, 5).await;
            assert_eq!(claimed(&node.store, a, 4).await, [1, 2, 3, 4]);
            let reports = vec![
                report(a, 1, Outcome::Retry(NOON + 100)),
                report(a, 2, Outcome::Failed),
                report(a, 3, Outcome::HandBack(NOON + 50)),
                report(a, 4, Outcome::HandBack(AT_ONCE)),
            ];
            // Told twice, also within one transaction: that counts once.
            node.store.report([reports.clone(), reports.clone()].concat()).await.unwrap();
            node.store.report(reports).await.unwrap();
            assert_eq!(attempts(&node.store, a, 1).await.len(), 1);
            let state = |n: StoredNotification| (n.state.push, n.state.attempts, n.state.next_attempt_at);
            let pending = PushProgress::Pending;
            assert_eq!(state(get(&node.store, a, 1).await), (pending, 1, Some(NOON + 100)));
            assert_eq!(state(get(&node.store, a, 2).await), (PushProgress::Failed, 1, None));
            assert_eq!(state(get(&node.store, a, 3).await), (pending, 0, Some(NOON + 50)));
            let received = get(&node.store, a, 4).await.content.received_at;
            assert_eq!(state(get(&node.store, a, 4).await), (pending, 0, Some(received)));
            assert_eq!(claimed(&node.store, a, 10).await, [4, 5], "what is put off is not claimed before its time");
            assert_eq!(numbers(&claim(&node.store, a, NOON + 99, 10, false).await), [3]);
            assert_eq!(numbers(&claim(&node.store, a, NOON + 100, 10, false).await), [1]);
        });
    }

    fn a_report_that_is_repeated_does_not_end_a_newer_lease_of_the_same_node(db) {
        block_on(async {
            let node = open(&db);
            let a = with_backlog(&node.store, 1).await;
            assert_eq!(claimed(&node.store, a, 1).await, [1]);
            let first = report(a, 1, Outcome::Retry(AT_ONCE));
            node.store.report(vec![first.clone()]).await.unwrap();
            assert_eq!(claimed(&node.store, a, 1).await, [1]);
            // Nobody knew whether it was recorded; or it was lost, and the lease is handed back.
            let repeated = [first.outcome, Outcome::HandBack(AT_ONCE), DELIVERED, Outcome::Failed];
            node.store.report(repeated.map(|outcome| report(a, 1, outcome)).to_vec()).await.unwrap();
            assert!(claimed(&node.store, a, 1).await.is_empty(), "it is leased");
            let second = Report { attempts: 1, ..report(a, 1, DELIVERED) };
            // In one batch with the first once more: each is logged as what it was.
            node.store.report(vec![first, second.clone()]).await.unwrap();
            assert_eq!(get(&node.store, a, 1).await.state.push, PushProgress::Delivered);
            assert_eq!(attempts(&node.store, a, 1).await[1..], [second.attempt.unwrap()]);
        });
    }

    fn only_what_was_not_recorded_comes_back(db) {
        block_on(async {
            let node = open(&db);
            // On PostgreSQL each of the two has a writer of its own.
            let (a, b) = (with_backlog(&node.store, 1).await, with_backlog(&node.store, 1).await);
            for tenant in [a, b] {
                assert_eq!(claimed(&node.store, tenant, 1).await, [1]);
            }
            let is_shared = node.store.is_shared();
            upgrade::run_sql(&db, if is_shared {
                "ALTER TABLE attempts ADD CONSTRAINT refuse CHECK (tenant_id <> 2)"
            } else {
                "CREATE TRIGGER refuse BEFORE INSERT ON attempts WHEN NEW.tenant_id = 2 \
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            });
            let reports = [a, b].map(|tenant| report(tenant, 1, Outcome::Retry(AT_ONCE)));
            let Err(left) = node.store.report(reports.to_vec()).await else { panic!("all was recorded") };
            let tenants: Vec<TenantId> = left.reports.iter().map(|report| report.tenant).collect();
            assert_eq!(tenants, if is_shared { vec![b] } else { vec![a, b] });
            // This node has it again: a repeat must not end that.
            if is_shared {
                assert_eq!(claimed(&node.store, a, 1).await, [1]);
            }
            upgrade::run_sql(&db, if is_shared {
                "ALTER TABLE attempts DROP CONSTRAINT refuse"
            } else {
                "DROP TRIGGER refuse"
            });
            node.store.report(left.reports).await.unwrap();
            assert_eq!(claimed(&node.store, a, 1).await, if is_shared { vec![] } else { vec![1] });
            for tenant in [a, b] {
                assert_eq!(get(&node.store, tenant, 1).await.state.attempts, 1);
            }
        });
    }

    fn what_expires_takes_its_log_and_its_hold_along(db) {
        block_on(async {
            let node = open(&db);
            let a = with_backlog(&node.store, 3).await;
            assert_eq!(numbers(&claim(&node.store, a, NOON, 1, true).await), [1]);
            record(&node.store, vec![report(a, 1, Outcome::Hold(2 * NOON))]).await;
            assert_eq!(attempts(&node.store, a, 1).await.len(), 1);
            let expired = node.store.write(Some(a), move |conn| conn.expire(a, NOON - 999, 10)).await.unwrap();
            assert_eq!(expired, 1);
            assert_eq!(attempts(&node.store, a, 1).await, []);
            assert_eq!(numbers(&claim(&node.store, a, NOON, 1, true).await), [2]);
            record(&node.store, vec![report(a, 2, DELIVERED)]).await;
            node.store.write(Some(a), move |conn| conn.tenant_delete(a, NOON)).await.unwrap();
            node.store.write(Some(a), move |conn| conn.tenant_sweep(a, 10)).await.unwrap();
            assert_eq!(attempts(&node.store, a, 2).await, [], "nor does a deleted tenant leave one");
        });
    }

    fn every_attempt_is_logged_in_order_and_a_hand_back_is_none(db) {
        block_on(async {
            let node = open(&db);
            let a = with_backlog(&node.store, 2).await;
            let long = AttemptRecord {
                duration_ms: 30_000,
                address: None,
                reason: AttemptReason::Probe,
                response_status: None,
                response_text: "a\0b\u{1F4E8}".to_owned(),
                ..attempt(NOON + 1, Some(AttemptError::Timeout))
            };
            // The third goes back without an attempt.
            let made = [Some(attempt(NOON, Some(AttemptError::Status))), Some(long.clone()), None, Some(attempt(NOON + 9, None))];
            for attempt in made {
                assert_eq!(claimed(&node.store, a, 1).await, [1]);
                let outcome = match &attempt {
                    None => Outcome::HandBack(AT_ONCE),
                    Some(attempt) if attempt.error.is_none() => DELIVERED,
                    Some(_) => Outcome::Retry(AT_ONCE),
                };
                record(&node.store, vec![Report { attempt, ..report(a, 1, outcome) }]).await;
            }
            let kept = AttemptRecord { response_text: "a\u{fffd}b\u{1F4E8}".to_owned(), ..long };
            let expected = [attempt(NOON, Some(AttemptError::Status)), kept, attempt(NOON + 9, None)];
            assert_eq!(attempts(&node.store, a, 1).await, expected);
            assert_eq!(get(&node.store, a, 1).await.state.attempts, 3);
            assert_eq!(attempts(&node.store, a, 2).await, []);
            // No request was made: it counts, but there is nothing to log.
            assert_eq!(claimed(&node.store, a, 1).await, [2]);
            let none = Report { attempt: None, ..report(a, 2, Outcome::Failed) };
            record(&node.store, vec![none]).await;
            assert_eq!(attempts(&node.store, a, 2).await, []);
            assert_eq!(get(&node.store, a, 2).await.state.push, PushProgress::Failed);
        });
    }

    fn what_waits_is_given_up_in_batches_but_nothing_that_a_node_has(db) {
        block_on(async {
            let node = open(&db);
            let a = with_backlog(&node.store, 7).await;
            assert_eq!(claimed(&node.store, a, 2).await, [1, 2]);
            record(&node.store, vec![report(a, 2, Outcome::Retry(NOON + 100))]).await;
            let give_up = async |through| {
                node.store.write(Some(a), move |conn| conn.give_up(a, through, AttemptError::Expired, 2, NOON)).await.unwrap()
            };
            assert_eq!([give_up(5).await, give_up(5).await, give_up(5).await], [2, 2, 0]);
            let mut states = Vec::new();
            for sequence in 1..=7 {
                states.push(get(&node.store, a, sequence).await.state.push);
            }
            let (pending, failed) = (PushProgress::Pending, PushProgress::Failed);
            assert_eq!(states, [pending, failed, failed, failed, failed, pending, pending], "a node has the first");
            let given_up = node.store.read(move |conn| conn.delivery_get(a, 2)).await.unwrap().unwrap();
            let shown = (given_up.error, given_up.response_status, given_up.attempts);
            assert_eq!(shown, (Some(AttemptError::Expired), None, 1), "the status of its attempt isn't why");
            assert_eq!(claimed(&node.store, a, 9).await, [6, 7]);
            let hand_back = [6, 7].map(|sequence| report(a, sequence, Outcome::HandBack(AT_ONCE)));
            record(&node.store, hand_back.to_vec()).await;
            assert_eq!(give_up(i64::MAX).await, 2, "through the last");
        });
    }

    fn the_last_that_was_received_before_a_time_is_found(db) {
        block_on(async {
            let node = open(&db);
            let a = tenant(&node.store, "a").await;
            let through = async |time| node.store.read(move |conn| conn.received_through(a, time)).await.unwrap();
            assert_eq!(through(NOON).await, 0);
            for time in [10, 20, 20, 30, 40] {
                post(&node.store, a, time).await;
            }
            for (time, expected) in [(10, 0), (11, 1), (20, 1), (21, 3), (30, 3), (31, 4), (40, 4), (41, 5), (NOON, 5)] {
                assert_eq!(through(time).await, expected, "before {time}");
            }
            node.store.write(Some(a), move |conn| conn.expire(a, 25, 9)).await.unwrap();
            assert_eq!([through(25).await, through(35).await], [0, 4], "what has expired is not found");
        });
    }
}
