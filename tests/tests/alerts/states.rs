//! States and the outbox in the store, by a clock that the test turns.

use std::sync::Arc;

use serde_json::json;
use tidings_api::alert::AlertKind;
use tidings_server::alerts::{check_backlogs, end_streaks};
use tidings_server::directory::Directory;
use tidings_server::rules::alerts::STREAK;
use tidings_server::rules::notification::Content;
use tidings_server::secrets::Vault;
use tidings_server::store::alerts::{OutboxAlert, Raising, Way};
use tidings_server::store::seam::{Append, NewTenant, NodeId, TenantId, Vitals};
use tidings_server::store::{Opened, Store};
use tidings_tests::{Database, on_both};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

fn open(db: &Database) -> Store {
    let Opened { store, .. } = Store::open(&db.url().parse().unwrap(), &Arc::default(), 1).unwrap();
    store
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

async fn tenant(store: &Store, settings: serde_json::Value) -> TenantId {
    let new = NewTenant {
        public_id: uuid::Uuid::new_v4().to_string(),
        name: "Acme".to_owned(),
        created_at: 1,
        settings: settings.to_string(),
        may_reach_loopback: false,
    };
    store.write(None, move |conn| conn.tenant_create(&new)).await.unwrap().id
}

async fn raise(store: &Store, tenant: TenantId, kind: AlertKind, at: i64) -> Raising {
    store.write(Some(tenant), move |conn| conn.alert_raise(tenant, kind, "why", at, at)).await.unwrap()
}

async fn recover(store: &Store, tenant: TenantId, before: i64, at: i64) -> usize {
    let told = Some(AlertKind::Recovered);
    store.write(Some(tenant), move |conn| conn.alert_clear(tenant, &STREAK, before, told, at)).await.unwrap()
}

/// Everything that is due by mail is told. Answers what that was.
async fn told(store: &Store, at: i64) -> Vec<(AlertKind, i64)> {
    let mut all = Vec::new();
    loop {
        let claimed = claim(store, store.node(), at).await;
        if claimed.is_empty() {
            return all;
        }
        all.extend(
            claimed.iter().filter(|alert| alert.way == Way::Email).map(|alert| (alert.kind, alert.since)),
        );
        for alert in claimed {
            sent(store, store.node(), alert, None).await;
        }
    }
}

async fn claim(store: &Store, node: NodeId, at: i64) -> Vec<OutboxAlert> {
    store.write(None, move |conn| conn.alert_claim(node, at, 100, &[])).await.unwrap()
}

async fn sent(store: &Store, node: NodeId, alert: OutboxAlert, again: Option<i64>) {
    store.write(Some(alert.tenant), move |conn| conn.alert_sent(&alert, node, again)).await.unwrap();
}

on_both! {
    fn a_state_is_raised_by_one_node_and_told_once(db) {
        block_on(async {
            let one = open(&db);
            let other = if one.is_shared() { open(&db) } else { one.clone() };
            let (a, b) = (tenant(&one, json!({})).await, tenant(&one, json!({})).await);
            let tries = (0..20).map(|index| raise(if index % 2 == 0 { &one } else { &other }, a, AlertKind::Failing, 10));
            let raised = futures_util::future::join_all(tries).await;
            assert_eq!(raised.iter().filter(|raising| **raising == Raising::Raised).count(), 1);
            assert_eq!(raise(&one, b, AlertKind::Failing, 11).await, Raising::Raised, "another tenant has states of its own");
            assert_eq!(raise(&one, a, AlertKind::Retries70, 20).await, Raising::Raised);
            assert_eq!(raise(&one, a, AlertKind::Retries50, 21).await, Raising::Already, "70 % are more than 50");
            assert_eq!(raise(&one, a, AlertKind::Retries90, 22).await, Raising::Raised);
            assert_eq!(
                told(&one, 100).await,
                [
                    (AlertKind::Failing, 10),
                    (AlertKind::Failing, 11),
                    (AlertKind::Retries70, 10),
                    (AlertKind::Retries90, 10),
                ]
            );
            assert_eq!(told(&other, 100).await, []);
        });
    }

    fn a_streak_ends_with_a_success_after_its_begin_and_only_once(db) {
        block_on(async {
            let store = open(&db);
            let a = tenant(&store, json!({})).await;
            assert_eq!(raise(&store, a, AlertKind::Failing, 10).await, Raising::Raised);
            assert_eq!(raise(&store, a, AlertKind::Retries50, 20).await, Raising::Raised);
            assert_eq!(recover(&store, a, 10, 30).await, 0, "the success was not after the failure");
            assert_eq!(recover(&store, a, 15, 30).await, 1);
            assert_eq!(told(&store, 100).await.len(), 2, "while something of the streak lasts, nobody is told that it ended");
            assert_eq!(recover(&store, a, 25, 40).await, 1);
            assert_eq!(recover(&store, a, 50, 50).await, 0);
            assert_eq!(told(&store, 100).await, [(AlertKind::Recovered, 20)]);
            let states = store.read(|conn| conn.alert_states()).await.unwrap();
            assert_eq!(states, []);
            end_streaks(&store, &states).await.unwrap();
        });
    }

    fn what_comes_and_goes_without_end_is_told_five_times_an_hour(db) {
        block_on(async {
            let store = open(&db);
            let a = tenant(&store, json!({})).await;
            let start = 100 * HOUR;
            let mut raised = 0;
            for flap in 0..200 {
                let at = start + flap * 10 * SECOND;
                match raise(&store, a, AlertKind::Failing, at).await {
                    Raising::Raised => raised += 1,
                    other => assert_eq!(other, Raising::Quiet(start + HOUR), "until the first of the five is an hour old"),
                }
                recover(&store, a, at + SECOND, at + SECOND).await;
            }
            assert_eq!(raised, 5);
            assert_eq!(told(&store, i64::MAX - 1).await.len(), 10, "each with its end");
            assert_eq!(raise(&store, a, AlertKind::Failing, start + HOUR).await, Raising::Raised, "if it lasts, it is told");
        });
    }

    fn a_push_that_is_stopped_again_and_again_by_itself_is_told_each_time(db) {
        block_on(async {
            let store = open(&db);
            let a = tenant(&store, json!({})).await;
            for round in 1..=8 {
                let at = round * SECOND;
                store
                    .write(Some(a), move |conn| {
                        tidings_server::push::watch::stopped(conn, a, true, "no success", at)?;
                        tidings_server::push::watch::stopped(conn, a, true, "no success", at)?;
                        tidings_server::push::watch::resumed(conn, a, at + 1)?;
                        tidings_server::push::watch::resumed(conn, a, at + 2)
                    })
                    .await
                    .unwrap();
            }
            let kinds: Vec<AlertKind> = told(&store, HOUR).await.into_iter().map(|(kind, _)| kind).collect();
            assert_eq!(kinds, [AlertKind::Disabled, AlertKind::Resumed].repeat(8));
        });
    }

    fn a_lease_ends_with_its_node_and_an_alert_that_failed_comes_again(db) {
        block_on(async {
            let store = open(&db);
            let a = tenant(&store, json!({})).await;
            raise(&store, a, AlertKind::Failing, 10).await;
            raise(&store, a, AlertKind::Retries100, 11).await;
            // The first node lives, then dies.
            let one = store.node();
            store.write(None, move |conn| conn.node_seen(one, &Vitals::default())).await.unwrap();
            let first = claim(&store, one, 100).await;
            assert_eq!(first.iter().map(|alert| alert.kind).collect::<Vec<_>>(), [AlertKind::Failing; 2], "in their order");
            let two = open(&db).node();
            assert!(claim(&store, two, 100).await.is_empty(), "what another node has isn't taken, nor what comes after it");
            store.write(None, move |conn| conn.node_leave(one)).await.unwrap();
            let taken_over = claim(&store, two, 100).await;
            assert_eq!(taken_over.iter().map(|alert| alert.kind).collect::<Vec<_>>(), [AlertKind::Failing; 2]);
            // The dead can't end what others have.
            sent(&store, one, taken_over[0].clone(), None).await;
            sent(&store, two, taken_over[0].clone(), Some(500)).await;
            sent(&store, two, taken_over[1].clone(), None).await;
            let again = claim(&store, two, 500).await;
            let failing: Vec<_> = again.iter().filter(|alert| alert.kind == AlertKind::Failing).collect();
            assert_eq!(failing.len(), 1, "{again:?}");
            assert_eq!(again.len(), 2, "the other way goes on by itself: {again:?}");
            assert_eq!((failing[0].id.as_str(), failing[0].attempts), (taken_over[0].id.as_str(), 1));
        });
    }

    fn an_alert_that_can_t_be_sent_yet_is_not_overtaken(db) {
        block_on(async {
            let store = open(&db);
            let (a, b) = (tenant(&store, json!({})).await, tenant(&store, json!({})).await);
            let node = store.node();
            raise(&store, a, AlertKind::Failing, 10).await;
            recover(&store, a, 20, 20).await;
            raise(&store, b, AlertKind::Failing, 30).await;
            let due = async |at| store.read(move |conn| conn.alert_due(node, at, &[])).await.unwrap();
            let claimed = async |at, busy: Vec<(TenantId, Way)>| {
                let claimed = store.write(None, move |conn| conn.alert_claim(node, at, 100, &busy)).await.unwrap();
                claimed.into_iter().filter(|alert| alert.tenant == a).collect::<Vec<_>>()
            };
            let kinds = |alerts: &[OutboxAlert]| alerts.iter().map(|alert| (alert.way, alert.kind)).collect::<Vec<_>>();
            let first = claimed(100, vec![(a, Way::Url)]).await;
            assert_eq!(kinds(&first), [(Way::Email, AlertKind::Failing)], "what is being sent is left alone");
            for way in [Way::Email, Way::Url] {
                let theirs = claim(&store, node, 100).await.into_iter().find(|alert| alert.tenant == b && alert.way == way);
                sent(&store, node, theirs.unwrap(), None).await;
            }
            sent(&store, node, first[0].clone(), Some(500)).await;
            assert_eq!(kinds(&claimed(499, vec![(a, Way::Url)]).await), [], "the end waits for the beginning");
            assert!(due(499).await, "by the other way it can be told");
            let by_url = claimed(499, vec![]).await;
            assert_eq!(kinds(&by_url), [(Way::Url, AlertKind::Failing)]);
            sent(&store, node, by_url[0].clone(), None).await;
            let by_url = claimed(499, vec![]).await;
            assert_eq!(kinds(&by_url), [(Way::Url, AlertKind::Recovered)]);
            sent(&store, node, by_url[0].clone(), None).await;
            assert!(!due(499).await);
            let by_mail = claimed(500, vec![]).await;
            assert_eq!(kinds(&by_mail), [(Way::Email, AlertKind::Failing)]);
            // Given up at last, it holds up nothing any more.
            sent(&store, node, by_mail[0].clone(), None).await;
            assert_eq!(kinds(&claimed(500, vec![]).await), [(Way::Email, AlertKind::Recovered)]);
        });
    }

    fn a_streak_begins_with_its_failure_however_late_that_is_noted(db) {
        block_on(async {
            let store = open(&db);
            let a = tenant(&store, json!({})).await;
            let raised = async |kind, since, now| {
                store.write(Some(a), move |conn| conn.alert_raise(a, kind, "", since, now)).await.unwrap()
            };
            assert_eq!(raised(AlertKind::Failing, 10, 40).await, Raising::Raised);
            assert_eq!(raised(AlertKind::Retries100, 10, 41).await, Raising::Raised);
            assert_eq!(recover(&store, a, 30, 50).await, 2, "a success came between the failure and the note");
            let kinds = told(&store, 100).await;
            assert_eq!(kinds, [(AlertKind::Failing, 10), (AlertKind::Retries100, 10), (AlertKind::Recovered, 10)]);
        });
    }

    fn a_test_by_mail_is_sent_once_a_minute_to_each_tenant(db) {
        block_on(async {
            let store = open(&db);
            let (a, b) = (tenant(&store, json!({})).await, tenant(&store, json!({})).await);
            let test = async |tenant, at| {
                let id = uuid::Uuid::new_v4().to_string();
                store.write(Some(tenant), move |conn| conn.alert_test(tenant, &id, at)).await.unwrap()
            };
            let noon = 1_000_000 * SECOND;
            assert_eq!(test(a, noon).await, None);
            assert_eq!(test(a, noon + 59 * SECOND).await, Some(noon + 60 * SECOND));
            assert_eq!(test(b, noon + 1).await, None, "another tenant has tests of its own");
            assert_eq!(test(a, noon + 60 * SECOND).await, None);
            assert_eq!(test(a, noon + 61 * SECOND).await, Some(noon + 120 * SECOND));
            assert_eq!(told(&store, i64::MAX - 1).await, [], "what was sent at once isn't sent again");
        });
    }

    fn tenants_whose_settings_speak_of_a_backlog_are_known(db) {
        block_on(async {
            let store = open(&db);
            let (a, _) = (tenant(&store, json!({})).await, tenant(&store, json!({})).await);
            let known = async || store.read(|conn| conn.alert_backlog_tenants()).await.unwrap();
            assert_eq!(known().await, []);
            let settings = json!({"alerts": {"backlogAgeSeconds": 60}});
            for (settings, expected) in [(settings.to_string(), vec![a]), ("{}".to_owned(), vec![])] {
                store.write(Some(a), move |conn| conn.settings_put(a, &settings, None)).await.unwrap();
                assert_eq!(known().await, expected);
            }
            let born = tenant(&store, settings).await;
            assert_eq!(known().await, [born]);
            store.write(Some(born), move |conn| conn.tenant_delete(born, 1)).await.unwrap();
            assert_eq!(known().await, []);
        });
    }

    fn a_backlog_is_told_when_it_is_too_old_and_again_only_after_it_was_not(db) {
        block_on(async {
            let store = open(&db);
            let directory = Directory::new(store.clone(), Vault::new(&Vault::new_key()).unwrap());
            let alerts = json!({"alerts": {"email": "ops@example.com", "backlogAgeSeconds": 60}});
            let (a, silent) = (tenant(&store, alerts).await, tenant(&store, json!({})).await);
            let received = 1_000_000 * SECOND;
            for tenant in [a, silent] {
                let content = Content {
                    event_type: "close".to_owned(),
                    created_at: received,
                    received_at: received,
                    comment: None,
                    extra: String::new(),
                    entity: None,
                    created_by: None,
                    included: String::new(),
                };
                store
                    .append(Append {
                        tenant,
                        version: 1,
                        content: Arc::new(content),
                        resources: Vec::new(),
                        idempotency: None,
                        has_url: true,
                        push_now: false,
                        fifo: false,
                    })
                    .await
                    .unwrap();
            }
            let check = async |at| {
                let states = store.read(|conn| conn.alert_states()).await.unwrap();
                check_backlogs(&store, &directory, &states, at).await.unwrap();
                told(&store, at).await.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
            };
            assert_eq!(check(received + 60 * SECOND).await, [], "just old enough");
            assert_eq!(check(received + 61 * SECOND).await, [AlertKind::Backlog]);
            assert_eq!(check(received + 90 * SECOND).await, [], "it is known");
            // A clock that is set back stands for a backlog that is gone.
            assert_eq!(check(received + 30 * SECOND).await, []);
            assert_eq!(store.read(|conn| conn.alert_states()).await.unwrap(), []);
            assert_eq!(check(received + 61 * SECOND).await, [AlertKind::Backlog]);
        });
    }

    fn what_is_forgotten_with_a_tenant_is_not_another_s(db) {
        block_on(async {
            let store = open(&db);
            let (a, b) = (tenant(&store, json!({})).await, tenant(&store, json!({})).await);
            raise(&store, a, AlertKind::Failing, 10).await;
            raise(&store, b, AlertKind::Failing, 10).await;
            store.write(Some(a), move |conn| conn.tenant_delete(a, 20)).await.unwrap();
            let left = store.read(|conn| conn.alert_states()).await.unwrap();
            assert_eq!(left.iter().map(|state| state.tenant).collect::<Vec<_>>(), [b]);
            assert_eq!(told(&store, 100).await.len(), 1);
            store.write(None, |conn| conn.alert_sweep(10)).await.unwrap();
            assert_eq!(raise(&store, b, AlertKind::Failing, 30).await, Raising::Already, "states outlive what was told of them");
        });
    }
}
