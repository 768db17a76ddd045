//! What the tests of a sending thread share: a store with one tenant, and a thread for its lane.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch as signal;

use super::{Share, Thread};
use crate::directory::Directory;
use crate::push::attempt::Attempts;
use crate::push::egress::Egress;
use crate::push::sender::Sender;
use crate::rules::notification::{Content, State, StoredNotification};
use crate::secrets::{self, Vault};
use crate::store::seam::{Append, Appended, NewTenant, TenantId, Vitals};
use crate::store::{Opened, Store, ToLane};

/// A node of a shared database, as far as its pulse goes, with one tenant.
pub(super) struct Scene {
    directory: std::path::PathBuf,
    pub(super) opened: Opened,
    pub(super) tenant: TenantId,
}

impl Scene {
    /// One whose tenant pushes to this URL, one notification at a time.
    pub(super) async fn new(url: &str) -> Self {
        let name = format!("tidings-thread-{:016x}", u64::from_be_bytes(secrets::random()));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let database = format!("sqlite:{}", directory.join("tidings.db").display()).parse().unwrap();
        let opened = Store::open_as(&database, &Arc::default(), 1, true).unwrap();
        opened.store.pulse().beat(Instant::now(), false);
        let new = NewTenant {
            public_id: "a".to_owned(),
            name: "a".to_owned(),
            created_at: 1,
            settings: format!(r#"{{"push":{{"url":"{url}","maxConcurrency":1}}}}"#),
            may_reach_loopback: true,
        };
        let node = opened.store.node();
        let create = opened.store.write(None, move |conn| {
            conn.node_seen(node, &Vitals::default())?;
            conn.tenant_create(&new)
        });
        let tenant = create.await.unwrap().id;
        Scene { directory, opened, tenant }
    }

    /// Stores a notification that goes straight to the lane.
    pub(super) async fn push(&self, sequence: i64) {
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
            tenant: self.tenant,
            version: 1,
            content: Arc::new(content),
            resources: Vec::new(),
            idempotency: None,
            has_url: true,
            push_now: true,
            fifo: false,
        };
        let stored = self.opened.store.append(event).await.unwrap();
        assert_eq!(stored, Appended::Stored { sequence, leased: true });
    }

    /// As [`Scene::push`], and takes it off on its way to the lane.
    pub(super) async fn lease(&mut self, sequence: i64) -> StoredNotification {
        self.push(sequence).await;
        let Some(ToLane::New { notification, .. }) = self.opened.to_lanes[0].recv().await else {
            panic!("not told")
        };
        notification
    }

    /// How a notification is, by what is stored.
    pub(super) async fn state(&self, sequence: i64) -> State {
        let tenant = self.tenant;
        let get = self.opened.store.read(move |conn| conn.notification_get(tenant, sequence));
        get.await.unwrap().unwrap().state
    }

    /// The thread that sends, and its end.
    pub(super) fn thread(&self) -> (Thread, signal::Sender<bool>) {
        let store = self.opened.store.clone();
        let directory = Directory::new(store.clone(), Vault::new(&Vault::new_key()).unwrap());
        let attempts = Attempts {
            sender: Sender::new(Arc::new(Egress::new(Vec::new()))),
            tokens: Arc::default(),
            permits: Arc::default(),
            directory: Arc::new(directory),
            prepared: Default::default(),
            metrics: Arc::default(),
            base: String::new(),
            demo_loopback: true,
        };
        let (stop, stopping) = signal::channel(false);
        let share = Share { index: 0, count: 1 };
        (Thread::new(share, store, attempts, Arc::default(), stopping), stop)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A folder that stays says nothing of what was tested.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
