//! Claims: who may send what, and in which order.

use tidings_api::delivery::AttemptError;
use tidings_api::job::JobAction;
use tidings_server::store::queue::{Found, Targets, Task, Work};
use tidings_server::store::seam::{AT_ONCE, Due, Outcome, PUT_ON};

use super::leases::{DELIVERED, NOON, claim, claimed, due, numbers, record, report, with_backlog};
use super::*;

on_both! {
    fn retries_that_are_due_are_claimed_however_much_waits(db) {
        block_on(async {
            let node = open(&db);
            let id = node.store.node();
            let a = with_backlog(&node.store, 20).await;
            assert_eq!(claimed(&node.store, a, 4).await, [1, 2, 3, 4]);
            let put_off = [(1, 300), (2, 100), (3, 200), (4, 900)];
            let put_off = put_off.map(|(at, time)| report(a, at, Outcome::Retry(NOON + time)));
            record(&node.store, put_off.to_vec()).await;
            let claim_at = async |now, limit, retries| {
                let claim = node.store.write(Some(a), move |conn| {
                    conn.claim(a, id, now, Want { retries, ..want(limit) })
                });
                numbers(&claim.await.unwrap())
            };
            assert_eq!(claim_at(NOON + 99, 2, 1).await, [5, 6], "none is due yet");
            assert_eq!(claim_at(NOON + 300, 4, 1).await, [1, 7, 8, 9], "the oldest, however late it is due, then the backlog");
            assert_eq!(claim_at(NOON + 300, 1, 1).await, [2], "as a probe, too");
            assert_eq!(claim_at(NOON + 300, 1, 0).await, [10], "and by turns with what was never tried");
            assert_eq!(claim_at(NOON + 300, 20, 5).await, [&[3][..], &(11..=20).collect::<Vec<_>>()].concat());
            assert_eq!(claim_at(NOON + 900, 20, 0).await, [4], "nothing was lost");
        });
    }

    fn however_many_older_ones_are_put_off_a_retry_that_is_due_is_found(db) {
        block_on(async {
            let node = open(&db);
            let id = node.store.node();
            let a = tenant(&node.store, "a").await;
            futures_util::future::join_all((0..600).map(|_| post(&node.store, a, NOON))).await;
            assert_eq!(claimed(&node.store, a, 595).await.len(), 595);
            let due_in = |sequence| if sequence > 590 { 800 - sequence } else { 10_000 };
            let put_off = (1..=595).map(|at| report(a, at, Outcome::Retry(NOON + due_in(at))));
            node.store.report(put_off.collect()).await.unwrap();
            let claim_one = async || {
                let want = Want { retries: 1, ..want(1) };
                numbers(&node.store.write(Some(a), move |conn| conn.claim(a, id, NOON + 900, want)).await.unwrap())
            };
            assert_eq!([claim_one().await, claim_one().await], [[595], [594]], "the one that is due longest");
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
            let all_due = async || all_due(&node.store).await;
            assert_eq!(numbers(&claim(&node.store, a, NOON, 1, true).await), [1]);
            record(&node.store, vec![report(a, 1, Outcome::Hold(NOON + 500))]).await;
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

    fn each_thread_reads_what_is_due_of_its_own_tenants(db) {
        block_on(async {
            let node = open(&db);
            let mut tenants = Vec::new();
            for _ in 0..5 {
                tenants.push(with_backlog(&node.store, 1).await);
            }
            let (id, mut seen) = (node.store.node(), Vec::new());
            for index in 0..3 {
                let share = node.store.read(move |conn| conn.due(index, 3, id)).await.unwrap();
                assert!(share.iter().all(|due| due.tenant.number() % 3 == index), "{share:?}");
                seen.extend(share.into_iter().map(|due| due.tenant));
            }
            seen.sort();
            assert_eq!(seen, tenants, "each tenant is somebody's");
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

    fn the_hold_ends_when_what_goes_first_is_pushed_anew(db) {
        block_on(async {
            let node = open(&db);
            let id = node.store.node();
            let a = with_backlog(&node.store, 3).await;
            assert_eq!(numbers(&claim(&node.store, a, NOON, 1, true).await), [1]);
            record(&node.store, vec![report(a, 1, DELIVERED)]).await;
            let hold = async || {
                assert_eq!(numbers(&claim(&node.store, a, NOON, 1, true).await), [2]);
                record(&node.store, vec![report(a, 2, Outcome::Hold(NOON + 500))]).await;
            };
            let held = async || all_due(&node.store).await[0].held_until;
            let repush = async |sequence| {
                let targets = Targets::Ids(vec![sequence]);
                let task = Task { action: JobAction::Repush, set: Flags::default(), targets, dry_run: false };
                let job = Work::new(a, NOON, task);
                node.store.write(Some(a), move |conn| {
                    assert!(conn.job_create(&job, 9)?);
                    let job = conn.job_claim(a, id, NOON)?.unwrap();
                    conn.job_step(&job, id, &Found { sequences: vec![sequence], through: sequence })?;
                    conn.job_done(&job.job, id, NOON)
                }).await.unwrap();
            };
            beat(&node.store).await;
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
            record(&node.store, vec![report(a, 2, Outcome::HandBack(AT_ONCE))]).await;
            assert_eq!(claimed(&node.store, a, 2).await, [2, 3], "what is handed back is in its place again");
            record(&node.store, vec![report(a, 2, Outcome::Retry(NOON))]).await;
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
            record(&one.store, reports.to_vec()).await;
            assert_eq!(strictly(&one, NOON, 2).await, (vec![2, 3], None), "the oldest, though it is put off");
            assert_eq!(strictly(&one, NOON, 9).await, (vec![], None));
            assert_eq!(strictly(&other, NOON, 9).await, (vec![], None));

            let hold = vec![report(a, 2, Outcome::Hold(NOON + 100)), report(a, 3, Outcome::HandBack(AT_ONCE))];
            record(&one.store, hold).await;
            for node in [&one, &other] {
                assert_eq!(strictly(node, NOON + 99, 9).await, (vec![], Some(NOON + 100)));
            }
            assert_eq!(strictly(&other, NOON + 100, 2).await, (vec![2, 3], None), "the same head, the same order");
            assert_eq!(get(&one.store, a, 2).await.state.attempts, 2);

            // Whatever ends the head lets the rest go on: here it failed for good, then it was given up.
            let failed = vec![report(a, 2, Outcome::Hold(NOON + 300)), report(a, 3, Outcome::HandBack(AT_ONCE))];
            record(&other.store, failed).await;
            assert_eq!(strictly(&other, NOON + 200, 9).await, (vec![], Some(NOON + 300)));
            let given_up = one.store.write(Some(a), move |conn| {
                conn.give_up(a, 2, AttemptError::Expired, 10, NOON + 200)
            }).await.unwrap();
            assert_eq!(given_up, 1);
            assert_eq!(strictly(&other, NOON + 200, 1).await, (vec![3], None));
            for (last, next) in [(DELIVERED, 4), (Outcome::Failed, 5)] {
                record(&other.store, vec![report(a, next - 1, Outcome::Hold(NOON + 400))]).await;
                assert_eq!(strictly(&other, NOON + 400, 1).await.0, [next - 1]);
                record(&other.store, vec![report(a, next - 1, last)]).await;
                assert_eq!(strictly(&other, NOON + 200, 1).await, (vec![next], None), "{last:?}");
            }
            record(&other.store, vec![report(a, 5, Outcome::Hold(NOON + 900))]).await;
            assert_eq!(strictly(&one, NOON, 9).await.1, Some(NOON + 900));
            one.store.write(Some(a), move |conn| conn.settings_put(a, "{}", Some(NOON))).await.unwrap();
            assert_eq!(strictly(&one, NOON, 9).await, (vec![5, 6], None), "an admin's word counts at once");
        });
    }

    fn resuming_makes_what_was_put_off_due_oldest_first_and_forgets_why_it_was_stopped(db) {
        block_on(async {
            let node = open(&db);
            let a = with_backlog(&node.store, 4).await;
            assert_eq!(claimed(&node.store, a, 3).await, [1, 2, 3]);
            let put_off = [(1, 900), (2, 300), (3, 600)].map(|(at, time)| report(a, at, Outcome::Retry(NOON + time)));
            record(&node.store, put_off.to_vec()).await;
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
