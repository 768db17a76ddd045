//! Reading a page of notifications, and waiting for one that isn't there yet.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::error::Error;
use super::list::List;
use crate::rules::notification::StoredNotification;
use crate::store::Store;
use crate::store::seam::TenantId;

/// The longest wait for something new.
const LONGEST_WAIT: u64 = 60;
/// How often a waiting reader looks by itself where other nodes write too.
const POLL: Duration = Duration::from_millis(500);
/// A waiting reader looks no more often than this, however much is stored that it doesn't want.
const PAUSE: Duration = Duration::from_millis(50);

/// A page as it was read.
pub(super) struct Page {
    /// The notifications, in the order of the list.
    pub(super) notifications: Vec<StoredNotification>,
    /// Whether there is more in the direction in which it was read.
    pub(super) more: bool,
    /// Whether [`List::probe`] found something.
    pub(super) probed: bool,
}

/// Reads a page.
///
/// # Errors
/// 410 when retention has removed what stood behind the cursor, and those of the store.
pub(super) async fn fetch(store: &Store, tenant: TenantId, list: &Arc<List>) -> Result<Page, Error> {
    let list = list.clone();
    let read = store.page(move |conn| {
        let (mut notifications, cut) = conn.notification_page(tenant, list.query())?;
        let more = list.arrange(&mut notifications) || cut;
        let probed = match list.probe(&notifications) {
            Some(query) => !conn.notification_page(tenant, &query)?.0.is_empty(),
            None => false,
        };
        // After the page was read: what it lacks, because it has just been removed, is removed by now.
        let expired = match list.cursor() {
            Some(after) => Some(conn.position(tenant)?.removed_through).filter(|removed| after < *removed),
            None => None,
        };
        Ok((Page { notifications, more, probed }, expired))
    });
    let (page, expired) = read.await?;
    match expired {
        Some(removed) => Err(Error::cursor_expired(removed + 1)),
        None => Ok(page),
    }
}

/// Reads a page; if it is empty, waits until it isn't, so many seconds are over, or the server stops.
///
/// # Errors
/// Those of [`fetch`].
pub(super) async fn follow(
    store: &Store,
    mut stopping: watch::Receiver<bool>,
    tenant: TenantId,
    list: &Arc<List>,
    seconds: u64,
) -> Result<Page, Error> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let waiter = store.waiter(tenant);
        let changed = waiter.notified();
        let looked = Instant::now();
        let page = fetch(store, tenant, list).await?;
        if !page.notifications.is_empty() || looked >= deadline {
            return Ok(page);
        }
        let again = if store.is_shared() { deadline.min(looked + POLL) } else { deadline };
        tokio::select! {
            () = changed => sleep_until(deadline.min(looked + PAUSE)).await,
            () = sleep_until(again) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(page),
        }
    }
}

/// `Prefer: wait=N` (RFC 7240). What can't be understood is ignored, as the RFC wants.
pub(super) fn wait(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all("prefer").filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split(','));
    let mut waits = preferences.filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u64>().ok())
    });
    waits.next()?.filter(|seconds| *seconds > 0).map(|seconds| seconds.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;
    use tidings_api::error::{ErrorCode, ErrorMeta};
    use tidings_api::jsonapi::Sequence;

    use super::*;
    use crate::provision;
    use crate::rules::notification::Content;
    use crate::secrets::{self, Vault};
    use crate::store::seam::{Append, Appended};

    /// A store in a directory of its own, with a tenant.
    async fn store() -> (Store, TenantId, std::path::PathBuf) {
        let name = u64::from_be_bytes(secrets::random());
        let directory = std::env::temp_dir().join(format!("tidings-pages-{name:016x}"));
        std::fs::create_dir(&directory).unwrap();
        let url = format!("sqlite:{}", directory.join("tidings.db").display()).parse().unwrap();
        let store = Store::open(&url, &Arc::default(), 1).unwrap().store;
        let first = provision::first_settings(&Vault::new(&Vault::new_key()).unwrap());
        let create = store.write(None, move |conn| provision::create_tenant(conn, first, "test", false));
        let tenant = create.await.unwrap().0.id;
        (store, tenant, directory)
    }

    /// Stores an event that was received at this time.
    async fn append(store: &Store, tenant: TenantId, received_at: i64) {
        let content = Content {
            event_type: "close".into(),
            created_at: received_at,
            received_at,
            comment: None,
            extra: String::new(),
            entity: None,
            created_by: None,
            included: String::new(),
        };
        let (resources, idempotency) = (Vec::new(), None);
        let content = Arc::new(content);
        let event = Append {
            tenant,
            version: 1,
            content,
            resources,
            idempotency,
            has_url: false,
            push_now: false,
            fifo: false,
        };
        assert!(matches!(store.append(event).await, Ok(Appended::Stored { .. })));
    }

    fn list(query: &str) -> Arc<List> {
        Arc::new(List::parse(query, true, false).unwrap())
    }

    fn ids(page: &Page) -> Vec<i64> {
        page.notifications.iter().map(|notification| notification.sequence).collect()
    }

    #[actix_web::test]
    async fn a_cursor_below_what_has_expired_is_told() {
        let (store, tenant, directory) = store().await;
        for received_at in 1..=5 {
            append(&store, tenant, received_at).await;
        }
        assert_eq!(store.write(Some(tenant), move |conn| conn.expire(tenant, 4, 100)).await.unwrap(), 3);
        for (query, expected) in [
            ("sort=sequence", vec![4, 5]),
            ("sort=sequence&page[after]=0", vec![4, 5]),
            ("sort=sequence&page[after]=3", vec![4, 5]),
            ("sort=sequence&page[after]=4", vec![5]),
            ("sort=sequence&page[before]=2", vec![]),
            ("page[after]=2", vec![]),
            ("sort=createdAt&page[after]=1_1", vec![4, 5]),
        ] {
            let page = fetch(&store, tenant, &list(query)).await;
            assert_eq!(ids(&page.unwrap_or_else(|error| panic!("{query}: {error}"))), expected, "{query}");
        }
        for query in ["sort=sequence&page[after]=1", "sort=sequence&page[after]=2"] {
            let error = fetch(&store, tenant, &list(query))
                .await
                .err()
                .unwrap_or_else(|| panic!("{query} was answered"));
            assert_eq!(error.object().code, ErrorCode::CursorExpired, "{query}");
            assert_eq!(error.object().meta, Some(ErrorMeta { oldest: Sequence::new(4).ok() }), "{query}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[actix_web::test]
    async fn pages_lead_back_to_where_they_came_from() {
        let (store, tenant, directory) = store().await;
        for time in [30, 10, 20, 20, 40] {
            append(&store, tenant, time).await;
        }
        for (sort, order) in [
            ("sequence", [1, 2, 3, 4, 5]),
            ("-sequence", [5, 4, 3, 2, 1]),
            ("createdAt", [2, 3, 4, 1, 5]),
            ("-createdAt", [5, 1, 4, 3, 2]),
        ] {
            let (mut query, mut seen, mut last) = (format!("sort={sort}&page[size]=2"), Vec::new(), None);
            loop {
                let list = list(&query);
                let page = fetch(&store, tenant, &list).await.unwrap();
                seen.extend(ids(&page));
                let frame = list.frame("u", &query, &page.notifications, page.more, page.probed);
                last = frame.prev.or(last);
                let Some(next) = frame.next else { break };
                query = next.split_once('?').unwrap().1.to_owned();
            }
            assert_eq!(seen, order, "{sort}");
            let mut back = Vec::new();
            while let Some(prev) = last {
                let list = list(prev.split_once('?').unwrap().1);
                let page = fetch(&store, tenant, &list).await.unwrap();
                let frame = list.frame("u", "", &page.notifications, page.more, page.probed);
                assert!(frame.next.is_some(), "{sort}: {prev}");
                back.splice(0..0, ids(&page));
                last = frame.prev;
            }
            assert_eq!(back, order[..4], "{sort}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[actix_web::test]
    async fn a_waiting_reader_is_woken_by_what_it_wants_and_by_the_end() {
        let (store, tenant, directory) = store().await;
        let (stop, stopping) = watch::channel(false);
        let list = list("sort=sequence&page[after]=0");
        let begun = Instant::now();
        let (page, ()) =
            tokio::join!(follow(&store, stopping.clone(), tenant, &list, 60), append(&store, tenant, 1));
        assert_eq!(ids(&page.unwrap()), [1]);
        let list = self::list("sort=sequence&page[after]=1&filter[type]=print");
        let unwanted = async {
            append(&store, tenant, 2).await;
            stop.send_replace(true);
        };
        let (page, ()) = tokio::join!(follow(&store, stopping, tenant, &list, 60), unwanted);
        assert!(page.unwrap().notifications.is_empty());
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody waits for the deadline");
        std::fs::remove_dir_all(directory).unwrap();
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HeaderName::from_static("prefer"), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn preferences_are_understood_or_ignored() {
        for (values, expected) in [
            (&["wait=30"][..], Some(30)),
            (&["respond-async, Wait = \"5\"; x=y"], Some(5)),
            (&["handling=lenient", "wait=600"], Some(60)),
            (&["wait=0"], None),
            (&["wait=-1"], None),
            (&["wait=soon"], None),
            (&["wait"], None),
            (&["waiting=5"], None),
            (&[], None),
        ] {
            assert_eq!(wait(&headers(values)), expected, "{values:?}");
        }
    }
}
