//! The store's conformance suite: the same promises on both databases.
#![expect(clippy::unwrap_used, reason = "in a test a failure is a panic")]

use std::collections::HashSet;
use std::sync::Arc;

use tidings_api::notification::Flags;
use tidings_server::rules::notification::{Content, PushProgress, StoredNotification};
use tidings_server::store::error::StoreError;
use tidings_server::store::seam::{
    Append, Appended, Due, Filter, Idempotency, NewTenant, PageQuery, Resource, ResourceKind, Seek, TenantId,
    Update, Vitals, Want,
};
use tidings_server::store::{Opened, Store, ToLane};
use tidings_server::telemetry::Metrics;
use tidings_tests::{Database, on_both};
use tokio::sync::mpsc::UnboundedReceiver;

#[path = "store/claims.rs"]
mod claims;
#[path = "store/lane_owners.rs"]
mod lane_owners;
#[path = "store/leases.rs"]
mod leases;
#[path = "store/outage.rs"]
mod outage;
#[path = "store/upgrade.rs"]
mod upgrade;

struct Node {
    store: Store,
    to_lane: UnboundedReceiver<ToLane>,
}

fn open(db: &Database) -> Node {
    let url = db.url().parse().unwrap();
    let Opened { store, mut to_lanes, .. } = Store::open(&url, &Arc::new(Metrics::default()), 1).unwrap();
    Node { store, to_lane: to_lanes.remove(0) }
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

async fn tenant(store: &Store, name: &str) -> TenantId {
    let new = NewTenant {
        public_id: uuid::Uuid::new_v4().to_string(),
        name: name.to_owned(),
        created_at: 1,
        settings: "{}".to_owned(),
        may_reach_loopback: false,
    };
    store.write(None, move |conn| conn.tenant_create(&new)).await.unwrap().id
}

fn content(event_type: &str, time: i64) -> Content {
    Content {
        event_type: event_type.to_owned(),
        created_at: time,
        received_at: time,
        comment: None,
        extra: String::new(),
        entity: None,
        created_by: None,
        included: String::new(),
    }
}

fn event(tenant: TenantId, content: Content) -> Append {
    Append {
        tenant,
        version: 1,
        content: Arc::new(content),
        resources: Vec::new(),
        idempotency: None,
        has_url: true,
        push_now: false,
        fifo: false,
    }
}

fn flagged(flag: bool) -> Flags {
    Flags { is_flagged: Some(flag), ..Flags::default() }
}

async fn post(store: &Store, tenant: TenantId, time: i64) -> i64 {
    match store.append(event(tenant, content("close", time))).await.unwrap() {
        Appended::Stored { sequence, .. } => sequence,
        other => panic!("not stored: {other:?}"),
    }
}

/// What a lane wants that knows the first settings of a tenant.
fn want(limit: i64) -> Want {
    Want { version: 1, limit, retries: limit / 4, bytes: 1 << 20, fifo: false }
}

/// The node shows itself. Answers whether it was known.
async fn beat(store: &Store) -> bool {
    let node = store.node();
    store.write(None, move |conn| conn.node_seen(node, &Vitals::default())).await.unwrap()
}

/// What is due that this node may have.
async fn all_due(store: &Store) -> Vec<Due> {
    let node = store.node();
    store.read(move |conn| conn.due(0, 1, node)).await.unwrap()
}

fn everything(ascending: bool) -> PageQuery {
    PageQuery { filter: Filter::default(), seek: Seek::Sequence(None), ascending, limit: 10_000, offset: 0 }
}

async fn page(store: &Store, tenant: TenantId, query: PageQuery) -> Vec<StoredNotification> {
    store.read(move |conn| conn.notification_page(tenant, &query)).await.unwrap().0
}

async fn sequences(store: &Store, tenant: TenantId, query: PageQuery) -> Vec<i64> {
    page(store, tenant, query).await.iter().map(|notification| notification.sequence).collect()
}

async fn get(store: &Store, tenant: TenantId, sequence: i64) -> StoredNotification {
    store.read(move |conn| conn.notification_get(tenant, sequence)).await.unwrap().expect("it is stored")
}

on_both! {
    fn sequences_have_no_gaps_whoever_writes(db) {
        block_on(async {
            let (one, other) = (open(&db), open(&db));
            let (a, b) = (tenant(&one.store, "a").await, tenant(&one.store, "b").await);
            let mut tasks = Vec::new();
            for writer in 0..8 {
                // SQLite belongs to one process: a second store is a second node only on PostgreSQL.
                let node = if writer % 2 == 0 || !one.store.is_shared() { &one } else { &other };
                let store = node.store.clone();
                tasks.push(tokio::spawn(async move {
                    for _ in 0..50 {
                        post(&store, a, 1).await;
                        post(&store, b, 1).await;
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            for tenant in [a, b] {
                assert_eq!(sequences(&one.store, tenant, everything(true)).await, (1..=400).collect::<Vec<_>>());
            }
        });
    }

    fn one_key_stores_one_notification_also_within_a_batch(db) {
        block_on(async {
            let node = open(&db);
            let a = tenant(&node.store, "a").await;
            let keyed = |body: u8| Append {
                idempotency: Some(Idempotency { key: [7; 16], body: [body; 16] }),
                ..event(a, content("close", 1))
            };
            let posts = (0..20).map(|_| node.store.append(keyed(1)));
            let results = futures_util::future::join_all(posts).await;
            let mut stored = 0;
            for result in results {
                match result.unwrap() {
                    Appended::Stored { sequence: 1, .. } => stored += 1,
                    Appended::Duplicate { sequence: 1 } => {}
                    other => panic!("unexpected: {other:?}"),
                }
            }
            assert_eq!(stored, 1);
            assert_eq!(node.store.append(keyed(2)).await.unwrap(), Appended::Conflict);
            let b = tenant(&node.store, "b").await;
            let same_key = Append { tenant: b, ..keyed(2) };
            let result = node.store.append(same_key).await.unwrap();
            assert!(matches!(result, Appended::Stored { sequence: 1, .. }), "another tenant's key is another key");
            assert_eq!(post(&node.store, a, 1).await, 2, "duplicates and conflicts take no sequence");
        });
    }

    fn an_event_selected_by_outdated_settings_is_not_stored(db) {
        block_on(async {
            let node = open(&db);
            let a = tenant(&node.store, "a").await;
            node.store.write(Some(a), move |conn| conn.settings_put(a, r#"{"enabled":false}"#, None)).await.unwrap();
            assert_eq!(node.store.append(event(a, content("close", 1))).await.unwrap(), Appended::Stale);
            let fresh = Append { version: 2, ..event(a, content("close", 1)) };
            assert!(matches!(node.store.append(fresh).await.unwrap(), Appended::Stored { sequence: 1, .. }));
            node.store.write(Some(a), move |conn| conn.tenant_delete(a, 1)).await.unwrap();
            let late = Append { version: 2, ..event(a, content("close", 1)) };
            assert_eq!(node.store.append(late).await.unwrap(), Appended::NoTenant);
        });
    }

    fn a_failing_command_fails_alone(db) {
        block_on(async {
            let node = open(&db);
            let a = tenant(&node.store, "a").await;
            // All of these wait together, so that they share transactions.
            let bad = (0..20).map(|index| {
                let store = node.store.clone();
                async move {
                    let failed = store.write(Some(a), move |conn| {
                        conn.update(&[Update { tenant: a, sequence: 1, flags: flagged(true) }])?;
                        if index % 2 == 0 {
                            // A statement that the database refuses: the hash is there already.
                            let key = tidings_server::store::seam::ApiKey {
                                tenant: a, id: format!("{index}"), name: "k".into(), role: "admin".into(),
                                created_at: 1, last_used_at: None,
                            };
                            conn.key_create(&key, b"same")?;
                            conn.key_create(&tidings_server::store::seam::ApiKey { id: format!("{index}b"), ..key }, b"same")?;
                        }
                        Err::<(), _>(StoreError::Busy)
                    }).await;
                    assert!(failed.is_err());
                }
            });
            let good = futures_util::future::join_all((0..20).map(|_| post(&node.store, a, 1)));
            let (_, good) = futures_util::join!(futures_util::future::join_all(bad), good);
            assert_eq!(good.into_iter().collect::<HashSet<_>>(), (1..=20).collect());
            assert!(!get(&node.store, a, 1).await.state.is_flagged, "what a failed command did is undone");
            assert!(node.store.read(move |conn| conn.key_list(a)).await.unwrap().is_empty());
        });
    }

    fn each_change_of_many_is_answered_as_it_left_the_notification(db) {
        block_on(async {
            let node = open(&db);
            let (a, b) = (tenant(&node.store, "a").await, tenant(&node.store, "b").await);
            for tenant in [a, b, a] {
                post(&node.store, tenant, 1).await;
            }
            let read = Flags { is_read: Some(true), ..Flags::default() };
            let changes = [
                (a, 1, flagged(true)), (b, 1, read), (b, 2, read), (a, 2, Flags::default()),
                (a, 1, read), (a, 1, flagged(false)), (b, 1, flagged(true)),
            ];
            let updates = changes.map(|(tenant, sequence, flags)| Update { tenant, sequence, flags });
            let changed = node.store.write_of(vec![a, b], move |conn| conn.update(&updates)).await.unwrap();
            let flags = |n: &StoredNotification| (n.sequence, n.state.is_dismissed, n.state.is_read, n.state.is_flagged);
            assert_eq!(changed.iter().map(|n| n.as_ref().map(flags)).collect::<Vec<_>>(), [
                Some((1, false, false, true)), Some((1, false, true, false)), None, Some((2, false, false, false)),
                Some((1, false, true, true)), Some((1, false, true, false)), Some((1, false, true, true)),
            ]);
            assert_eq!(flags(&get(&node.store, a, 1).await), (1, false, true, false));
            assert_eq!(flags(&get(&node.store, b, 1).await), (1, false, true, true));
        });
    }

    fn every_filter_selects_what_it_says(db) {
        block_on(async {
            let node = open(&db);
            let a = tenant(&node.store, "a").await;
            let stranger = tenant(&node.store, "b").await;
            for index in 0..60_i64 {
                let mut content = content(["close", "sign", "print"][index as usize % 3], (index * 7) % 20);
                content.entity = (index % 4 != 0).then(|| format!("e{}", index % 5));
                content.created_by = Some(format!("u{}", index % 2));
                let has_url = index % 6 != 0;
                node.store.append(Append { has_url, ..event(a, content) }).await.unwrap();
                post(&node.store, stranger, index).await;
                let flags = Flags {
                    is_dismissed: Some(index % 2 == 0),
                    is_read: Some(index % 3 == 0),
                    is_flagged: Some(index % 5 == 0),
                };
                node.store.update(Update { tenant: a, sequence: index + 1, flags }).await.unwrap();
            }
            let all = page(&node.store, a, everything(true)).await;
            assert_eq!(all.len(), 60);
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let filters = [
                Filter::default(),
                Filter { is_dismissed: Some(false), ..Filter::default() },
                Filter { is_dismissed: Some(true), is_read: Some(true), ..Filter::default() },
                Filter { is_read: Some(false), is_flagged: Some(true), ..Filter::default() },
                Filter { types: texts(&["close", "print"]), ..Filter::default() },
                Filter { entities: texts(&["e1", "e2"]), is_dismissed: Some(false), ..Filter::default() },
                Filter { created_by: texts(&["u1"]), ..Filter::default() },
                Filter { push: Some(vec![PushProgress::None]), ..Filter::default() },
                Filter { push: Some(vec![]), ..Filter::default() },
                Filter { created_from: Some(5), created_before: Some(15), ..Filter::default() },
            ];
            for filter in filters {
                let selects = |n: &&StoredNotification| {
                    let (content, state) = (&n.content, &n.state);
                    let named = |list: &[String], id: &Option<String>| {
                        list.is_empty() || id.as_ref().is_some_and(|id| list.contains(id))
                    };
                    filter.is_dismissed.is_none_or(|is| is == state.is_dismissed)
                        && filter.is_read.is_none_or(|is| is == state.is_read)
                        && filter.is_flagged.is_none_or(|is| is == state.is_flagged)
                        && (filter.types.is_empty() || filter.types.contains(&content.event_type))
                        && named(&filter.entities, &content.entity)
                        && named(&filter.created_by, &content.created_by)
                        && filter.push.as_ref().is_none_or(|push| push.contains(&state.push))
                        && filter.created_from.is_none_or(|from| content.created_at >= from)
                        && filter.created_before.is_none_or(|before| content.created_at < before)
                };
                let selected: Vec<&StoredNotification> = all.iter().filter(selects).collect();
                for by_time in [false, true] {
                    for ascending in [true, false] {
                        let mut wanted: Vec<(i64, i64)> = selected
                            .iter()
                            .map(|n| (if by_time { n.content.created_at } else { 0 }, n.sequence))
                            .collect();
                        wanted.sort_unstable();
                        if !ascending {
                            wanted.reverse();
                        }
                        // In pages of seven, each begun where the one before has ended.
                        let mut seen: Vec<(i64, i64)> = Vec::new();
                        loop {
                            let last = seen.last().copied();
                            let seek = if by_time { Seek::CreatedAt(last) } else { Seek::Sequence(last.map(|l| l.1)) };
                            let query = PageQuery { filter: filter.clone(), seek, ascending, limit: 7, offset: 0 };
                            let page = page(&node.store, a, query).await;
                            if page.is_empty() {
                                break;
                            }
                            seen.extend(
                                page.iter().map(|n| (if by_time { n.content.created_at } else { 0 }, n.sequence)),
                            );
                        }
                        assert_eq!(seen, wanted, "{filter:?} by_time={by_time} ascending={ascending}");
                    }
                }
            }
        });
    }

    fn a_page_of_large_notifications_is_cut_and_says_so(db) {
        block_on(async {
            let node = open(&db);
            let a = tenant(&node.store, "a").await;
            for _ in 0..3 {
                let content = Content { extra: format!(r#""data":{{"x":"{}"}}"#, "x".repeat(9 << 20)), ..content("close", 1) };
                node.store.append(event(a, content)).await.unwrap();
            }
            for (after, expected) in [(0, (vec![1], true)), (1, (vec![2], true)), (2, (vec![3], false))] {
                let query = PageQuery { seek: Seek::Sequence(Some(after)), ..everything(true) };
                let (page, cut) = node.store.read(move |conn| conn.notification_page(a, &query)).await.unwrap();
                assert_eq!((page.iter().map(|n| n.sequence).collect::<Vec<_>>(), cut), expected);
            }
            assert_eq!(get(&node.store, a, 3).await.sequence, 3, "the connection is fit for use after a page was cut");
            let id = node.store.node();
            let claimed = node.store.write(Some(a), move |conn| conn.claim(a, id, 9, Want { bytes: 20 << 20, ..want(100) })).await.unwrap();
            assert_eq!(claimed.notifications.len(), 2, "claims keep to their bytes as well");
        });
    }

    fn a_user_is_found_in_its_newest_copy_until_the_last_mention_expires(db) {
        block_on(async {
            let node = open(&db);
            let a = tenant(&node.store, "a").await;
            let naming = |time: i64, included: &str| {
                let mut content = content("close", time);
                content.included = included.to_owned();
                let resources = vec![(ResourceKind::User, "100".to_owned(), !included.is_empty())];
                Append { resources, ..event(a, content) }
            };
            let find = async || {
                let found = node.store.read(move |conn| conn.resource_get(a, ResourceKind::User, "100")).await.unwrap();
                found.map(|found| match found {
                    Resource::Included(content) => content.included.clone(),
                    Resource::Named => "named".to_owned(),
                })
            };
            assert_eq!(find().await, None);
            node.store.append(naming(1, "")).await.unwrap();
            assert_eq!(find().await.as_deref(), Some("named"));
            node.store.append(naming(2, "[old]")).await.unwrap();
            node.store.append(naming(3, "[new]")).await.unwrap();
            node.store.append(naming(4, "")).await.unwrap();
            assert_eq!(find().await.as_deref(), Some("[new]"), "a mention without a copy leaves the newest copy");
            let expire = async |before: i64| {
                node.store.write(Some(a), move |conn| {
                    let expired = conn.expire(a, before, 100)?;
                    let keys = conn.resources_expired(a, 100)?;
                    conn.resources_remove(a, &keys)?;
                    Ok(expired)
                }).await.unwrap()
            };
            assert_eq!(expire(4).await, 3);
            assert_eq!(find().await.as_deref(), Some("named"));
            assert_eq!(expire(5).await, 1);
            assert_eq!(find().await, None);
        });
    }

    fn expiry_removes_the_oldest_in_batches_and_moves_the_beginning(db) {
        block_on(async {
            let node = open(&db);
            let (a, b) = (tenant(&node.store, "a").await, tenant(&node.store, "b").await);
            for time in [1, 2, 3, 9, 4] {
                post(&node.store, a, time).await;
                post(&node.store, b, time).await;
            }
            let expire = async |limit: i64| node.store.write(Some(a), move |conn| conn.expire(a, 5, limit)).await.unwrap();
            assert_eq!(expire(2).await, 2);
            assert_eq!(expire(2).await, 1);
            assert_eq!(expire(2).await, 0, "only ever a prefix: 5 stands behind 4, which is young");
            assert_eq!(sequences(&node.store, a, everything(true)).await, [4, 5]);
            let position = node.store.read(move |conn| conn.position(a)).await.unwrap();
            assert_eq!((position.removed_through, position.last_sequence), (3, 5));
            assert_eq!(post(&node.store, a, 10).await, 6, "numbers are never used again");
            assert_eq!(sequences(&node.store, b, everything(true)).await.len(), 5, "another tenant keeps its own");
        });
    }

    fn a_deleted_tenant_is_gone_at_once_and_swept_in_batches(db) {
        block_on(async {
            let node = open(&db);
            let a = tenant(&node.store, "a").await;
            for time in 0..5 {
                post(&node.store, a, time).await;
            }
            node.store.write(Some(a), move |conn| conn.tenant_delete(a, 1)).await.unwrap();
            assert!(node.store.read(move |conn| conn.tenant_get(a)).await.unwrap().is_none());
            assert!(all_due(&node.store).await.is_empty());
            let sweep = async || node.store.write(Some(a), move |conn| conn.tenant_sweep(a, 3)).await.unwrap();
            assert_eq!([sweep().await, sweep().await, sweep().await], [false, false, true]);
            assert!(node.store.read(|conn| conn.tenant_deleted_list()).await.unwrap().is_empty());
            assert!(sequences(&node.store, a, everything(true)).await.is_empty());
        });
    }
}
