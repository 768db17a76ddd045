//! Leases: who may send what, in which order, and what a report leaves behind.

use std::time::Duration;

use tidings_api::delivery::{AttemptError, AttemptReason};
use tidings_api::job::JobAction;
use tidings_server::store::queue::{Job, Targets, Task};
use tidings_server::store::seam::{AT_ONCE, AttemptRecord, Claimed, Due, Outcome, PUT_ON, Report};

use super::*;

/// A time as they are in earnest: far larger than any sequence.
const NOON: i64 = 1_800_000_000_000_000;

fn attempt(started_at: i64, error: Option<AttemptError>) -> AttemptRecord {
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

fn report(tenant: TenantId, sequence: i64, outcome: Outcome) -> Report {
    let attempt = match outcome {
        Outcome::Delivered { .. } => Some(attempt(NOON, None)),
        Outcome::HandBack(_) => None,
        _ => Some(attempt(NOON, Some(AttemptError::Status))),
    };
    Report { tenant, sequence, outcome, attempt }
}

async fn claim(store: &Store, tenant: TenantId, now: i64, limit: i64, fifo: bool) -> Claimed {
    let node = store.node();
    let claim = store.write(Some(tenant), move |conn| {
        let version = conn.tenant_get(tenant)?.unwrap().version;
        conn.claim(tenant, node, now, Want { version, fifo, ..want(limit) })
    });
    claim.await.unwrap()
}

fn numbers(claimed: &Claimed) -> Vec<i64> {
    claimed.notifications.iter().map(|notification| notification.sequence).collect()
}

/// Claims what is due at noon.
async fn claimed(store: &Store, tenant: TenantId, limit: i64) -> Vec<i64> {
    numbers(&claim(store, tenant, NOON, limit, false).await)
}

fn due(tenant: TenantId, at: i64) -> Due {
    Due { tenant, at, version: 1, held_until: None }
}

async fn attempts(store: &Store, tenant: TenantId, sequence: i64) -> Vec<AttemptRecord> {
    store.read(move |conn| conn.attempts(tenant, sequence)).await.unwrap()
}

async fn with_backlog(store: &Store, count: i64) -> TenantId {
    let tenant = tenant(store, "a").await;
    for index in 0..count {
        post(store, tenant, NOON - 1000 + index).await;
    }
    tenant
}

const DELIVERED: Outcome = Outcome::Delivered { dismiss: false };

on_both! {
    fn a_new_notification_goes_leased_to_its_lane_and_nobody_else_can_claim_it(db) {
        block_on(async {
            let (mut one, other) = (open(&db), open(&db));
            one.store.write(None, { let n = one.store.node(); move |conn| conn.node_seen(n) }).await.unwrap();
            let a = tenant(&one.store, "a").await;
            let now = Append { push_now: true, ..event(a, content("close", 1)) };
            assert_eq!(one.store.append(now).await.unwrap(), Appended::Stored { sequence: 1, leased: true });
            let Some(ToLane::New { tenant, notification }) = one.to_lane.recv().await else {
                panic!("the lane was not given it")
            };
            assert_eq!((tenant, notification.sequence), (a, 1));
            assert!(claim(&other.store, a, i64::MAX - 1, 10, false).await.notifications.is_empty());
            assert_eq!(get(&one.store, a, 1).await.state.next_attempt_at, None, "it is being made");
            assert_eq!(one.store.read(|conn| conn.due()).await.unwrap(), [], "what is leased is not due");

            // The other node takes the first for dead; its late report counts for nothing.
            let freed = other.store.write(None, |conn| conn.node_reap(i64::MIN)).await.unwrap();
            assert_eq!(freed, 1);
            assert_eq!(claimed(&other.store, a, 10).await, [1]);
            let delivered = Outcome::Delivered { dismiss: true };
            for late in [delivered, Outcome::Failed, Outcome::Hold(2 * NOON), Outcome::HandBack(AT_ONCE)] {
                one.store.report(vec![report(a, 1, late)]).await.unwrap();
            }
            let state = get(&one.store, a, 1).await.state;
            assert_eq!((state.push, state.attempts, state.next_attempt_at), (PushProgress::Pending, 0, None));
            assert_eq!(attempts(&one.store, a, 1).await, [], "nor is it logged");
            let position = one.store.read(move |conn| conn.position(a)).await.unwrap();
            assert_eq!(position.last_success_at, None);
            other.store.report(vec![report(a, 1, delivered)]).await.unwrap();
            let state = get(&one.store, a, 1).await.state;
            assert_eq!((state.push, state.is_dismissed, state.attempts), (PushProgress::Delivered, true, 1));
            assert_eq!(attempts(&one.store, a, 1).await, [attempt(NOON, None)]);
            let position = one.store.read(move |conn| conn.position(a)).await.unwrap();
            assert!(position.last_success_at.is_some());
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
            let a = with_backlog(&living.store, 4).await;
            for node in [&dead, &living] {
                let id = node.store.node();
                node.store.write(None, move |conn| conn.node_seen(id)).await.unwrap();
                assert_eq!(claimed(&node.store, a, 2).await.len(), 2);
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            // The dead node was seen 60 ms or more before the living one.
            let id = living.store.node();
            let silence = 50_000;
            let freed = living.store.write(None, move |conn| {
                conn.node_seen(id)?;
                conn.node_reap(silence)
            }).await.unwrap();
            assert_eq!(freed, 2);
            assert_eq!(living.store.read(|conn| conn.due()).await.unwrap(), [due(a, 1)], "at once, in its order");
            assert_eq!(claimed(&living.store, a, 10).await, [1, 2]);
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

    fn retries_that_are_due_are_claimed_however_much_waits(db) {
        block_on(async {
            let node = open(&db);
            let id = node.store.node();
            let a = with_backlog(&node.store, 20).await;
            assert_eq!(claimed(&node.store, a, 4).await, [1, 2, 3, 4]);
            let put_off = [(1, 300), (2, 100), (3, 200), (4, 900)];
            let put_off = put_off.map(|(at, time)| report(a, at, Outcome::Retry(NOON + time)));
            node.store.report(put_off.to_vec()).await.unwrap();
            let claim_at = async |now, limit, retries| {
                let claim = node.store.write(Some(a), move |conn| {
                    conn.claim(a, id, now, Want { retries, ..want(limit) })
                });
                numbers(&claim.await.unwrap())
            };
            assert_eq!(claim_at(NOON + 99, 2, 1).await, [5, 6], "none is due yet");
            assert_eq!(claim_at(NOON + 300, 4, 1).await, [2, 7, 8, 9], "the one that is due longest, then the backlog");
            assert_eq!(claim_at(NOON + 300, 1, 1).await, [3], "as a probe, too");
            assert_eq!(claim_at(NOON + 300, 1, 0).await, [10], "and by turns with what was never tried");
            assert_eq!(claim_at(NOON + 300, 20, 5).await, [&[1][..], &(11..=20).collect::<Vec<_>>()].concat());
            assert_eq!(claim_at(NOON + 900, 20, 0).await, [4], "nothing was lost");
        });
    }

    fn nothing_is_claimed_by_outdated_settings(db) {
        block_on(async {
            let node = open(&db);
            let id = node.store.node();
            let a = with_backlog(&node.store, 2).await;
            let claim = async |version| {
                let claimed = node.store.write(Some(a), move |conn| conn.claim(a, id, NOON, Want { version, ..want(1) }));
                let claimed = claimed.await.unwrap();
                (numbers(&claimed), claimed.is_outdated)
            };
            assert_eq!(claim(1).await, (vec![1], false));
            node.store.write(Some(a), move |conn| conn.settings_put(a, "{}", None)).await.unwrap();
            assert_eq!(claim(1).await, (vec![], true));
            assert_eq!(claim(2).await, (vec![2], false));
            node.store.write(Some(a), move |conn| conn.push_stop(a, 2, "gone", false)).await.unwrap();
            assert_eq!(claim(2).await, (vec![], true));
            node.store.write(Some(a), move |conn| conn.tenant_delete(a, NOON)).await.unwrap();
            assert_eq!(claim(3).await, (vec![], true), "nor of a tenant that is gone");
        });
    }

    fn what_is_due_names_no_push_that_was_stopped_and_says_until_when_it_is_held(db) {
        block_on(async {
            let node = open(&db);
            let a = with_backlog(&node.store, 2).await;
            let all_due = async || node.store.read(|conn| conn.due()).await.unwrap();
            assert_eq!(numbers(&claim(&node.store, a, NOON, 1, true).await), [1]);
            node.store.report(vec![report(a, 1, Outcome::Hold(NOON + 500))]).await.unwrap();
            assert_eq!(all_due().await, [Due { held_until: Some(NOON + 500), ..due(a, 1) }]);
            let shown = |notification: StoredNotification| notification.state.next_attempt_at;
            assert_eq!(shown(get(&node.store, a, 1).await), Some(NOON + 500));
            assert_eq!(page(&node.store, a, everything(true)).await.into_iter().map(shown).collect::<Vec<_>>(),
                [Some(NOON + 500), Some(NOON - 999)], "the one behind it waits since it was received");
            let row = node.store.read(move |conn| conn.delivery_get(a, 1)).await.unwrap();
            assert_eq!(row.unwrap().next_attempt_at, Some(NOON + 500));
            assert_eq!(numbers(&claim(&node.store, a, NOON + 500, 1, true).await), [1]);
            assert_eq!(all_due().await, [due(a, 2)], "the hold is over");
            node.store.write(Some(a), move |conn| conn.push_stop(a, 1, "gone", false)).await.unwrap();
            assert_eq!(all_due().await, []);
            node.store.write(Some(a), move |conn| conn.settings_put(a, "{}", Some(NOON))).await.unwrap();
            assert_eq!(all_due().await, [Due { version: 3, ..due(a, 2) }]);
        });
    }

    fn what_is_put_off_is_put_on_in_bounded_steps(db) {
        block_on(async {
            let node = open(&db);
            let count = PUT_ON + 5;
            let a = tenant(&node.store, "a").await;
            let posts = (0..count).map(|_| post(&node.store, a, NOON));
            futures_util::future::join_all(posts).await;
            let put_off = async || {
                let claim = node.store.write(Some(a), {
                    let id = node.store.node();
                    move |conn| {
                        let version = conn.tenant_get(a)?.unwrap().version;
                        conn.claim(a, id, NOON, Want { version, ..want(count) })
                    }
                });
                let all = numbers(&claim.await.unwrap());
                assert_eq!(all.len() as i64, count);
                let reports = all.into_iter().map(|at| report(a, at, Outcome::HandBack(NOON + 1_000 + at)));
                node.store.report(reports.collect()).await.unwrap();
            };
            put_off().await;
            node.store.write(Some(a), move |conn| conn.settings_put(a, "{}", Some(NOON))).await.unwrap();
            let put_on = async |limit| node.store.write(Some(a), move |conn| conn.put_on(a, limit)).await.unwrap();
            assert_eq!([put_on(3).await, put_on(3).await, put_on(3).await], [3, 2, 0]);

            put_off().await;
            let first = claim(&node.store, a, NOON, 2, true).await;
            assert!(first.is_unfinished && first.notifications.is_empty(), "{first:?}");
            assert_eq!(numbers(&claim(&node.store, a, NOON, 2, true).await), [1, 2]);
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

    fn the_hold_ends_when_what_goes_first_is_pushed_anew(db) {
        block_on(async {
            let node = open(&db);
            let id = node.store.node();
            let a = with_backlog(&node.store, 3).await;
            assert_eq!(numbers(&claim(&node.store, a, NOON, 1, true).await), [1]);
            node.store.report(vec![report(a, 1, DELIVERED)]).await.unwrap();
            let hold = async || {
                assert_eq!(numbers(&claim(&node.store, a, NOON, 1, true).await), [2]);
                node.store.report(vec![report(a, 2, Outcome::Hold(NOON + 500))]).await.unwrap();
            };
            let held = async || node.store.read(|conn| conn.due()).await.unwrap()[0].held_until;
            let repush = async |sequence| {
                let targets = Targets::Ids(vec![sequence]);
                let task = Task { action: JobAction::Repush, set: Flags::default(), targets, dry_run: false };
                let job = Job::new(a, NOON, task);
                node.store.write(Some(a), move |conn| {
                    assert!(conn.job_create(&job, 9)?);
                    let job = conn.job_claim(a, id, NOON)?.unwrap();
                    conn.job_step(&job, id, &[sequence])?;
                    conn.job_done(&job, id, NOON)
                }).await.unwrap();
            };
            node.store.write(None, move |conn| conn.node_seen(id)).await.unwrap();
            hold().await;
            repush(3).await;
            assert_eq!(held().await, Some(NOON + 500), "it stands behind the one that holds up the rest");
            repush(2).await;
            assert_eq!(held().await, None);
            hold().await;
            repush(1).await;
            assert_eq!(held().await, None, "it goes before");
            assert_eq!(numbers(&claim(&node.store, a, NOON, 9, true).await), [1, 2, 3]);
        });
    }

    fn a_backlog_is_claimed_by_sequence_whatever_clocks_said_when_it_came(db) {
        block_on(async {
            let node = open(&db);
            let a = tenant(&node.store, "a").await;
            for time in [NOON + 9, 3, NOON, 7, NOON - 5, 1] {
                post(&node.store, a, time).await;
            }
            assert_eq!(claimed(&node.store, a, 2).await, [1, 2]);
            node.store.report(vec![report(a, 2, Outcome::HandBack(AT_ONCE))]).await.unwrap();
            assert_eq!(claimed(&node.store, a, 2).await, [2, 3], "what is handed back is in its place again");
            node.store.report(vec![report(a, 2, Outcome::Retry(NOON))]).await.unwrap();
            assert_eq!(claimed(&node.store, a, 2).await, [4, 5], "without a share a retry goes behind the backlog");
            assert_eq!(claimed(&node.store, a, 9).await, [2, 6]);
        });
    }

    fn under_strict_order_one_node_has_a_run_of_the_oldest_and_the_head_holds_up_the_rest(db) {
        block_on(async {
            let (one, other) = (open(&db), open(&db));
            let a = with_backlog(&one.store, 6).await;
            let strictly = async |node: &Node, now, limit| {
                let claimed = claim(&node.store, a, now, limit, true).await;
                (numbers(&claimed), claimed.held_until)
            };
            // Before the order was strict, 2 was put off.
            assert_eq!(claimed(&one.store, a, 2).await, [1, 2]);
            assert_eq!(strictly(&other, NOON, 9).await, (vec![], None), "nothing while anything is leased");
            let outcomes = [(1, DELIVERED), (2, Outcome::Retry(NOON + 500))];
            let reports = outcomes.map(|(sequence, outcome)| report(a, sequence, outcome));
            one.store.report(reports.to_vec()).await.unwrap();
            assert_eq!(strictly(&one, NOON, 2).await, (vec![2, 3], None), "the oldest, though it is put off");
            assert_eq!(strictly(&one, NOON, 9).await, (vec![], None));
            assert_eq!(strictly(&other, NOON, 9).await, (vec![], None));

            let hold = vec![report(a, 2, Outcome::Hold(NOON + 100)), report(a, 3, Outcome::HandBack(AT_ONCE))];
            one.store.report(hold).await.unwrap();
            for node in [&one, &other] {
                assert_eq!(strictly(node, NOON + 99, 9).await, (vec![], Some(NOON + 100)));
            }
            assert_eq!(strictly(&other, NOON + 100, 2).await, (vec![2, 3], None), "the same head, the same order");
            assert_eq!(get(&one.store, a, 2).await.state.attempts, 2);

            // Whatever ends the head lets the rest go on: here it failed for good, then it was given up.
            let failed = vec![report(a, 2, Outcome::Hold(NOON + 300)), report(a, 3, Outcome::HandBack(AT_ONCE))];
            other.store.report(failed).await.unwrap();
            assert_eq!(strictly(&other, NOON + 200, 9).await, (vec![], Some(NOON + 300)));
            let given_up = one.store.write(Some(a), move |conn| {
                conn.give_up(a, 2, AttemptError::Expired, 10, NOON + 200)
            }).await.unwrap();
            assert_eq!(given_up, 1);
            assert_eq!(strictly(&other, NOON + 200, 1).await, (vec![3], None));
            for (last, next) in [(DELIVERED, 4), (Outcome::Failed, 5)] {
                other.store.report(vec![report(a, next - 1, Outcome::Hold(NOON + 400))]).await.unwrap();
                assert_eq!(strictly(&other, NOON + 400, 1).await.0, [next - 1]);
                other.store.report(vec![report(a, next - 1, last)]).await.unwrap();
                assert_eq!(strictly(&other, NOON + 200, 1).await, (vec![next], None), "{last:?}");
            }
            other.store.report(vec![report(a, 5, Outcome::Hold(NOON + 900))]).await.unwrap();
            assert_eq!(strictly(&one, NOON, 9).await.1, Some(NOON + 900));
            one.store.write(Some(a), move |conn| conn.settings_put(a, "{}", Some(NOON))).await.unwrap();
            assert_eq!(strictly(&one, NOON, 9).await, (vec![5, 6], None), "an admin's word counts at once");
        });
    }

    fn what_expires_takes_its_log_and_its_hold_along(db) {
        block_on(async {
            let node = open(&db);
            let a = with_backlog(&node.store, 3).await;
            assert_eq!(numbers(&claim(&node.store, a, NOON, 1, true).await), [1]);
            node.store.report(vec![report(a, 1, Outcome::Hold(2 * NOON))]).await.unwrap();
            assert_eq!(attempts(&node.store, a, 1).await.len(), 1);
            let expired = node.store.write(Some(a), move |conn| conn.expire(a, NOON - 999, 10)).await.unwrap();
            assert_eq!(expired, 1);
            assert_eq!(attempts(&node.store, a, 1).await, []);
            assert_eq!(numbers(&claim(&node.store, a, NOON, 1, true).await), [2]);
            node.store.report(vec![report(a, 2, DELIVERED)]).await.unwrap();
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
                node.store.report(vec![Report { tenant: a, sequence: 1, outcome, attempt }]).await.unwrap();
            }
            let kept = AttemptRecord { response_text: "a\u{fffd}b\u{1F4E8}".to_owned(), ..long };
            let expected = [attempt(NOON, Some(AttemptError::Status)), kept, attempt(NOON + 9, None)];
            assert_eq!(attempts(&node.store, a, 1).await, expected);
            assert_eq!(get(&node.store, a, 1).await.state.attempts, 3);
            assert_eq!(attempts(&node.store, a, 2).await, []);
            // No request was made: it counts, but there is nothing to log.
            assert_eq!(claimed(&node.store, a, 1).await, [2]);
            let none = Report { attempt: None, ..report(a, 2, Outcome::Failed) };
            node.store.report(vec![none]).await.unwrap();
            assert_eq!(attempts(&node.store, a, 2).await, []);
            assert_eq!(get(&node.store, a, 2).await.state.push, PushProgress::Failed);
        });
    }

    fn what_waits_is_given_up_in_batches_but_nothing_that_a_node_has(db) {
        block_on(async {
            let node = open(&db);
            let a = with_backlog(&node.store, 7).await;
            assert_eq!(claimed(&node.store, a, 2).await, [1, 2]);
            node.store.report(vec![report(a, 2, Outcome::Retry(NOON + 100))]).await.unwrap();
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
            assert_eq!(claimed(&node.store, a, 9).await, [6, 7]);
            let hand_back = [6, 7].map(|sequence| report(a, sequence, Outcome::HandBack(AT_ONCE)));
            node.store.report(hand_back.to_vec()).await.unwrap();
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

    fn resuming_makes_what_was_put_off_due_oldest_first_and_forgets_why_it_was_stopped(db) {
        block_on(async {
            let node = open(&db);
            let a = with_backlog(&node.store, 4).await;
            assert_eq!(claimed(&node.store, a, 3).await, [1, 2, 3]);
            let put_off = [(1, 900), (2, 300), (3, 600)].map(|(at, time)| report(a, at, Outcome::Retry(NOON + time)));
            node.store.report(put_off.to_vec()).await.unwrap();
            let stop = async |version| {
                node.store.write(Some(a), move |conn| conn.push_stop(a, version, "no success", true)).await.unwrap()
            };
            assert_eq!([stop(2).await, stop(1).await, stop(1).await], [false, true, false]);
            let now = async || node.store.read(move |conn| conn.tenant_get(a)).await.unwrap().unwrap();
            let stopped = now().await;
            let reason = Some("no success");
            assert_eq!((stopped.push_stopped.as_deref(), stopped.push_disabled, stopped.version), (reason, true, 2));
            assert_eq!(stopped.push_resumed_at, stopped.created_at);

            node.store.write(Some(a), move |conn| conn.settings_put(a, "{}", None)).await.unwrap();
            assert!(now().await.push_disabled, "other settings leave it stopped");
            let resumed = node.store.write(Some(a), move |conn| conn.settings_put(a, "{}", Some(NOON))).await.unwrap();
            let state = (resumed.push_stopped.as_deref(), resumed.push_disabled, resumed.push_resumed_at);
            assert_eq!(state, (None, false, NOON));
            assert_eq!(claimed(&node.store, a, 2).await, [1, 2]);
            assert_eq!(claimed(&node.store, a, 9).await, [3, 4]);
            let gone = node.store.write(Some(a), move |conn| conn.push_stop(a, 4, "gone", false)).await.unwrap();
            assert!(gone && !now().await.push_disabled);
        });
    }
}
