use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use tokio::task::LocalSet;

use super::*;
use crate::directory::Directory;
use crate::push::attempt::Attempts;
use crate::push::egress::Egress;
use crate::push::sender::Sender;
use crate::push::thread::Share;
use crate::rules::notification::{Content, PushProgress};
use crate::secrets::{self, Vault};
use crate::store::seam::{Append, Appended, NewTenant, TenantId, Vitals};
use crate::store::{Opened, Store};

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node of a shared database, as far as its pulse goes, and a receiver that never answers.
struct Scene {
    directory: std::path::PathBuf,
    opened: Opened,
    receiver: TcpListener,
    tenant: TenantId,
}

impl Scene {
    async fn new() -> Self {
        let name = format!("tidings-own-{:016x}", u64::from_be_bytes(secrets::random()));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let url = format!("sqlite:{}", directory.join("tidings.db").display()).parse().unwrap();
        let opened = Store::open_as(&url, &Arc::default(), 1, true).unwrap();
        opened.store.pulse().beat(Instant::now(), false);
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        let port = receiver.local_addr().unwrap().port();
        let settings = format!(r#"{{"push":{{"url":"http://127.0.0.1:{port}/","maxConcurrency":1}}}}"#);
        let new = NewTenant {
            public_id: "a".to_owned(),
            name: "a".to_owned(),
            created_at: 1,
            settings,
            may_reach_loopback: true,
        };
        let node = opened.store.node();
        let create = opened.store.write(None, move |conn| {
            conn.node_seen(node, &Vitals::default())?;
            conn.tenant_create(&new)
        });
        let tenant = create.await.unwrap().id;
        Scene { directory, opened, receiver, tenant }
    }

    /// Stores a notification that goes straight to the lane.
    async fn push(&self, sequence: i64) {
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

    /// The thread that sends, and its end.
    fn thread(&mut self) -> (impl Future<Output = ()> + use<>, tokio::sync::watch::Sender<bool>) {
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
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let share = Share { index: 0, count: 1 };
        let thread = Thread::new(share, store, attempts, Arc::default(), stopping);
        (thread.run(self.opened.to_lanes.remove(0)), stop)
    }

    /// The next request that reaches the receiver.
    async fn request(&self) -> TcpStream {
        let mut stream = until("a request", async || self.receiver.accept().ok()).await.0;
        stream.set_nonblocking(true).unwrap();
        until("its bytes", async || stream.read(&mut [0; 9000]).ok().filter(|read| *read > 0)).await;
        stream
    }

    async fn is_handed_back(&self, sequence: i64) {
        let tenant = self.tenant;
        until("a hand-back", async || {
            let get = self.opened.store.read(move |conn| conn.notification_get(tenant, sequence));
            get.await.unwrap().unwrap().state.next_attempt_at
        })
        .await;
    }
}

/// What comes of it, as soon as something does.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn has_ended(mut stream: &TcpStream) -> Option<()> {
    // A reset is an end, too.
    let read = stream.read(&mut [0; 9000]);
    (!matches!(read, Err(ref error) if error.kind() == std::io::ErrorKind::WouldBlock)).then_some(())
}

#[tokio::test]
async fn a_node_that_may_be_taken_for_dead_sends_nothing_and_ends_what_it_has_sent() {
    let mut scene = Scene::new().await;
    scene.push(1).await;
    scene.push(2).await;
    let (thread, stop) = scene.thread();
    let local = LocalSet::new();
    local.spawn_local(thread);
    let scenario = async {
        let pulse = scene.opened.store.pulse();
        let first = scene.request().await;
        until("the lane", async || (pulse.lanes() == 1).then_some(())).await;

        // Seven seconds pass in which no beat succeeds.
        pulse.beat(Instant::now().checked_sub(Duration::from_secs(7)).unwrap(), true);
        until("the end of the request", async || has_ended(&first)).await;
        scene.is_handed_back(1).await;
        scene.is_handed_back(2).await;
        // What is still leased to this node isn't sent either.
        scene.push(3).await;
        scene.is_handed_back(3).await;
        assert!(scene.receiver.accept().is_err(), "nobody is called");
        assert_eq!(pulse.lanes(), 0, "they are forgotten");

        // The database is there again, and nobody has noticed.
        pulse.beat(Instant::now(), true);
        let second = scene.request().await;
        assert!(has_ended(&second).is_none());

        // It is there again, but others took this node for dead meanwhile.
        pulse.beat(Instant::now(), false);
        until("the end of the request", async || has_ended(&second)).await;
        let third = scene.request().await;
        assert!(has_ended(&third).is_none(), "it goes on in another life");

        stop.send_replace(true);
        pulse.beat(Instant::now(), false);
        until("the end of the request", async || has_ended(&third)).await;
    };
    local.run_until(scenario).await;
    std::fs::remove_dir_all(&scene.directory).unwrap();
}

#[tokio::test]
async fn a_step_of_work_is_not_taken_when_the_lease_is_lost() {
    let mut scene = Scene::new().await;
    scene.opened.to_lanes.clear();
    let pulse = scene.opened.store.pulse();
    let life = pulse.life();
    assert_eq!(while_held(pulse, life, async { 1 }).await, Some(1));
    let work = async {
        // As if the process had been frozen here.
        pulse.beat(Instant::now().checked_sub(Duration::from_secs(7)).unwrap(), true);
        tokio::task::yield_now().await;
        panic!("it went on")
    };
    assert_eq!(while_held(pulse, life, work).await, None::<()>);
    std::fs::remove_dir_all(&scene.directory).unwrap();
}

#[tokio::test]
async fn in_company_idle_lanes_are_let_go_and_alone_they_are_kept() {
    let mut scene = Scene::new().await;
    scene.push(1).await;
    let (thread, _stop) = scene.thread();
    let local = LocalSet::new();
    local.spawn_local(thread);
    let store = scene.opened.store.clone();
    local.spawn_local(async move {
        loop {
            store.pulse().beat(Instant::now(), true);
            tokio::time::sleep(POLL).await;
        }
    });
    let scenario = async {
        let pulse = scene.opened.store.pulse();
        let deliver = async |sequence| {
            let mut request = scene.request().await;
            request.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
            let tenant = scene.tenant;
            until("the outcome", async || {
                let get = scene.opened.store.read(move |conn| conn.notification_get(tenant, sequence));
                (get.await.unwrap().unwrap().state.push == PushProgress::Delivered).then_some(())
            })
            .await;
        };
        deliver(1).await;
        // Longer than a lane is idle before it is let go, if it is.
        let kept = Instant::now() + IDLE + 2 * POLL;
        until("the time", async || {
            assert_eq!(pulse.lanes(), 1, "nobody else is there");
            (Instant::now() >= kept).then_some(())
        })
        .await;
        pulse.note_others(1, 0);
        until("the end of the lane", async || (pulse.lanes() == 0).then_some(())).await;
        // It is taken again with the next.
        scene.push(2).await;
        deliver(2).await;
        assert_eq!(pulse.lanes(), 1);
        // More than its share: others may have it, as busy as it is.
        scene.push(3).await;
        let busy = scene.request().await;
        scene.push(4).await;
        pulse.note_others(1, 1);
        scene.is_handed_back(4).await;
        drop(busy);
        until("the end of the lane", async || (pulse.lanes() == 0).then_some(())).await;
    };
    local.run_until(scenario).await;
    std::fs::remove_dir_all(&scene.directory).unwrap();
}
