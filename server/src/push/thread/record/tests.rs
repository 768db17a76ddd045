use crate::directory::Directory;
use crate::push::attempt::Attempts;
use crate::push::egress::Egress;
use crate::push::sender::Sender;
use crate::push::thread::Share;
use crate::rules::notification::{Content, PushProgress};
use crate::secrets::{self, Vault};
use crate::store::seam::{Append, Appended, NewTenant, Vitals, Want};
use crate::store::{Opened, ToLane};

use super::*;

/// A tenant with two notifications that are leased to this node and on their way to its lane.
async fn leased(opened: &mut Opened) -> (TenantId, [StoredNotification; 2]) {
    let (store, node) = (&opened.store, opened.store.node());
    let settings = r#"{"push":{"url":"http://127.0.0.1:9/"}}"#.to_owned();
    let new = NewTenant {
        public_id: "a".to_owned(),
        name: "a".to_owned(),
        created_at: 1,
        settings,
        may_reach_loopback: false,
    };
    let create = store.write(None, move |conn| {
        conn.node_seen(node, &Vitals::default())?;
        conn.tenant_create(&new)
    });
    let tenant = create.await.unwrap().id;
    let mut leased = Vec::new();
    for sequence in 1..=2 {
        let content = Content {
            event_type: "close".into(),
            created_at: 1,
            received_at: 1,
            comment: None,
            extra: String::new(),
            entity: None,
            created_by: None,
            included: String::new(),
        };
        let event = Append {
            tenant,
            version: 1,
            content: Arc::new(content),
            resources: Vec::new(),
            idempotency: None,
            has_url: true,
            push_now: true,
            fifo: false,
        };
        assert_eq!(store.append(event).await.unwrap(), Appended::Stored { sequence, leased: true });
        let Some(ToLane::New { notification, .. }) = opened.to_lanes[0].recv().await else {
            panic!("not told")
        };
        leased.push(notification);
    }
    (tenant, leased.try_into().unwrap())
}

#[tokio::test]
async fn when_the_recording_of_outcomes_panics_what_is_not_recorded_is_handed_back() {
    let name = format!("tidings-record-{:016x}", u64::from_be_bytes(secrets::random()));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory).unwrap();
    let url = format!("sqlite:{}", directory.join("tidings.db").display()).parse().unwrap();
    let mut opened = Store::open(&url, &Arc::default(), 1).unwrap();
    let (tenant, [recorded, lost]) = leased(&mut opened).await;
    let store = opened.store.clone();
    let attempts = Attempts {
        sender: Sender::new(Arc::new(Egress::new(Vec::new()))),
        tokens: Arc::default(),
        permits: Arc::default(),
        directory: Arc::new(Directory::new(store.clone(), Vault::new(&Vault::new_key()).unwrap())),
        prepared: Default::default(),
        metrics: Arc::default(),
        base: String::new(),
        demo_loopback: false,
    };
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    let share = Share { index: 0, count: 1 };
    let mut thread = Thread::new(share, store.clone(), attempts, Arc::default(), stopping);
    let scenario = async {
        let delivered = Outcome::Delivered { dismiss: false };
        thread.report(tenant, &recorded, delivered, None);
        thread.report(tenant, &lost, delivered, None);
        let reports = std::mem::take(&mut thread.reports);
        let begun = store.clone();
        thread.begin_report(reports, async move |mut reports| {
            reports.truncate(1);
            begun.report(reports).await.unwrap();
            panic!("as this test wants it")
        });
        while thread.lanes.get(&tenant).is_some_and(|queue| queue.unrecorded > 0) {
            let event = thread.received.recv().await.unwrap();
            thread.handle(event);
            thread.tick();
            thread.flush();
        }
        assert_eq!(thread.reporting, 0);
    };
    tokio::task::LocalSet::new().run_until(scenario).await;

    let state = async |sequence| {
        let get = store.read(move |conn| conn.notification_get(tenant, sequence)).await;
        get.unwrap().unwrap().state.push
    };
    assert_eq!([state(1).await, state(2).await], [PushProgress::Delivered, PushProgress::Pending]);
    let node = store.node();
    let want = Want { version: 1, limit: 9, retries: 0, bytes: 1, fifo: false };
    let claim = store.write(Some(tenant), move |conn| conn.claim(tenant, node, now(), want));
    let claimed: Vec<i64> = claim.await.unwrap().notifications.iter().map(|it| it.sequence).collect();
    assert_eq!(claimed, [2], "its lease has ended");
    std::fs::remove_dir_all(directory).unwrap();
}
