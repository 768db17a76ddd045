//! Whose the lanes are: one node at a time, whatever the others do.

use std::time::Duration;

use tidings_server::store::seam::{Outcome, Peer, Release};

use super::leases::{DELIVERED, NOON, claim, claimed, due, numbers, record, report};
use super::*;

/// Something new that goes to the lane at once, if the node may. Answers its sequence, and whether it was leased.
async fn push(store: &Store, tenant: TenantId) -> (i64, bool) {
    match store.append(Append { push_now: true, ..event(tenant, content("close", NOON)) }).await.unwrap() {
        Appended::Stored { sequence, leased } => (sequence, leased),
        other => panic!("not stored: {other:?}"),
    }
}

async fn release(store: &Store, tenants: &[TenantId], how: Release) -> Vec<TenantId> {
    let (node, tenants) = (store.node(), tenants.to_vec());
    let locked = tenants.clone();
    store.write_of(locked, move |conn| conn.lanes_release(&tenants, node, how)).await.unwrap()
}

/// The others find the node dead.
async fn bury(store: &Store) {
    let node = store.node();
    store.write(None, move |conn| conn.node_leave(node)).await.unwrap();
}

on_both! {
    fn a_lane_is_the_node_s_that_leases_first_and_the_others_store_for_it(db) {
        block_on(async {
            let (mut one, mut other) = (open(&db), open(&db));
            for node in [&one, &other] {
                assert!(!beat(&node.store).await, "it is new");
            }
            let a = tenant(&one.store, "a").await;
            assert_eq!(push(&one.store, a).await, (1, true));
            assert!(matches!(one.to_lane.try_recv(), Ok(ToLane::New { .. })));
            assert_eq!(push(&other.store, a).await, (2, false), "the lane is elsewhere");
            assert!(other.to_lane.try_recv().is_err(), "a lane that isn't here is told nothing");
            assert!(claim(&other.store, a, NOON, 9, false).await.is_elsewhere);
            assert!(claim(&other.store, a, NOON, 9, true).await.is_elsewhere, "nor under strict order");
            assert_eq!(all_due(&other.store).await, [], "so it isn't asked for");
            // The node whose lane it is finds it.
            assert_eq!(all_due(&one.store).await, [due(a, 2)]);
            let of = async |store: &Store| store.read(move |conn| conn.due_of(&[a])).await.unwrap();
            assert_eq!(of(&one.store).await, [due(a, 2)]);
            let taken = claim(&one.store, a, NOON, 9, false).await;
            assert_eq!((numbers(&taken), taken.is_inherited), (vec![2], false));
            assert_eq!(of(&one.store).await, [], "what is leased is not due");
            assert_eq!(push(&one.store, a).await, (3, true));
            // Another tenant is nobody's yet: the first to claim has it.
            let b = tenant(&one.store, "b").await;
            post(&one.store, b, NOON).await;
            assert_eq!(claimed(&other.store, b, 1).await, [1]);
            assert_eq!(push(&one.store, b).await, (2, false));
            assert_eq!(push(&other.store, b).await, (3, true));
        });
    }

    fn the_lanes_of_a_node_that_is_gone_are_inherited_and_those_of_a_living_one_are_not(db) {
        block_on(async {
            let (dead, mut heir) = (open(&db), open(&db));
            beat(&dead.store).await;
            beat(&heir.store).await;
            let (a, b) = (tenant(&heir.store, "a").await, tenant(&heir.store, "b").await);
            for tenant in [a, b] {
                assert_eq!(push(&dead.store, tenant).await, (1, true));
                assert_eq!(push(&heir.store, tenant).await, (2, false));
            }
            bury(&dead.store).await;
            assert_eq!(all_due(&heir.store).await, [due(a, 1), due(b, 1)]);
            let taken = claim(&heir.store, a, NOON, 9, false).await;
            assert_eq!((numbers(&taken), taken.is_inherited), (vec![1, 2], true), "what it has sent is not known");
            // With a new notification, too.
            assert_eq!(push(&heir.store, b).await, (3, true));
            assert!(matches!(heir.to_lane.try_recv(), Ok(ToLane::New { tenant, .. }) if tenant == b));
            // The dead one comes back, and has lost them.
            assert!(!beat(&dead.store).await, "it is told that it was taken for dead");
            assert_eq!(push(&dead.store, a).await, (3, false));
            assert!(claim(&dead.store, b, NOON, 9, false).await.is_elsewhere);
            let taken = claim(&heir.store, b, NOON, 9, false).await;
            assert_eq!((numbers(&taken), taken.is_inherited), (vec![1, 2], false), "now it is its own");
        });
    }

    fn a_lane_is_let_go_only_when_nothing_is_due_or_leased(db) {
        block_on(async {
            let (one, other) = (open(&db), open(&db));
            beat(&one.store).await;
            beat(&other.store).await;
            let (a, b) = (tenant(&one.store, "a").await, tenant(&one.store, "b").await);
            for tenant in [a, b] {
                assert_eq!(push(&one.store, tenant).await, (1, true));
            }
            let idle = Release::Idle(NOON);
            assert_eq!(release(&one.store, &[a, b], idle).await, [], "both have something leased");
            record(&one.store, vec![report(a, 1, DELIVERED), report(b, 1, Outcome::Retry(NOON + 5))]).await;
            post(&other.store, a, NOON).await;
            assert_eq!(release(&other.store, &[a, b], idle).await, [], "not its own");
            assert_eq!(release(&one.store, &[a, b], idle).await, [b], "another has stored something for the first");
            assert_eq!(all_due(&other.store).await, [due(b, NOON + 5)]);
            assert_eq!(push(&other.store, b).await, (2, true), "who is first has it");
            assert!(claim(&one.store, b, NOON + 5, 9, false).await.is_elsewhere);
            let retried = claim(&other.store, b, NOON + 5, 9, false).await;
            assert_eq!((numbers(&retried), retried.is_inherited), (vec![1], false), "nothing had to be remembered");
        });
    }

    fn a_node_that_departs_leaves_its_lanes_with_a_warning(db) {
        block_on(async {
            let (one, other) = (open(&db), open(&db));
            beat(&one.store).await;
            beat(&other.store).await;
            let a = tenant(&one.store, "a").await;
            assert_eq!(push(&one.store, a).await, (1, true));
            assert_eq!(release(&one.store, &[a], Release::Departing).await, [], "it has something leased");
            record(&one.store, vec![report(a, 1, Outcome::HandBack(0))]).await;
            assert_eq!(release(&one.store, &[a], Release::Departing).await, [a]);
            assert_eq!(all_due(&other.store).await, [due(a, 1)]);
            assert!(claim(&other.store, a, NOON, 9, false).await.is_inherited);
            assert!(claim(&one.store, a, NOON, 9, false).await.is_elsewhere);
        });
    }

    fn a_node_knows_who_else_is_there_and_buries_only_who_shows_no_sign(db) {
        block_on(async {
            let (one, other) = (open(&db), open(&db));
            beat(&other.store).await;
            let id = one.store.node();
            let vitals = Vitals { name: "one:8080".into(), version: "1", started_at: 7, lanes: 3, leases: 2 };
            one.store.write(None, move |conn| conn.node_seen(id, &vitals)).await.unwrap();
            let peers = async |id| one.store.read(move |conn| conn.node_others(id)).await.unwrap();
            let [Peer { node, lanes: Some(3), .. }] = peers(other.store.node()).await[..] else {
                panic!("{:?}", peers(other.store.node()).await)
            };
            assert_eq!(node, id);
            let seen = peers(id).await;
            assert_eq!((seen.len(), seen[0].node), (1, other.store.node()));
            // It has shown itself since.
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(beat(&other.store).await);
            let bury = async |peer| one.store.write(None, move |conn| conn.node_bury(peer)).await.unwrap();
            bury(seen[0]).await;
            let now = peers(id).await;
            assert_eq!(now.len(), 1);
            assert!(now[0].seen_at > seen[0].seen_at);
            bury(now[0]).await;
            assert_eq!(peers(id).await, []);
            assert!(!beat(&other.store).await, "it is told");
        });
    }

    fn a_node_that_has_just_joined_is_not_robbed_by_one_that_was_waiting(db) {
        block_on(async {
            let (one, other) = (open(&db), open(&db));
            if !one.store.is_shared() {
                return;
            }
            beat(&one.store).await;
            let a = tenant(&one.store, "a").await;
            let (id, held) = (other.store.node(), one.store.clone());
            // Something that it can claim.
            post(&held, a, NOON).await;
            // While the position is locked, the other joins and has the lane.
            let (begun, wait) = tokio::sync::oneshot::channel();
            let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
            let locking = tokio::spawn(async move {
                let other = other.store;
                let locked = other.write(Some(a), move |conn| {
                    begun.send(()).unwrap();
                    goes_on.recv_timeout(Duration::from_secs(4)).unwrap();
                    conn.node_seen(id, &Vitals::default())?;
                    let claimed = conn.claim(a, id, NOON, want(1))?;
                    Ok(claimed.notifications.len())
                });
                locked.await.unwrap()
            });
            wait.await.unwrap();
            let pushed = tokio::spawn(async move { push(&held, a).await });
            tokio::time::sleep(Duration::from_millis(300)).await;
            go_on.send(()).unwrap();
            assert_eq!(locking.await.unwrap(), 1);
            assert_eq!(pushed.await.unwrap(), (2, false), "the lane is the newcomer's");
        });
    }
}
