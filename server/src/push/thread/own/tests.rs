use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use tokio::task::LocalSet;

use super::super::scene::Scene;
use super::*;
use crate::rules::notification::PushProgress;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A receiver that never answers by itself, and a tenant that pushes to it.
async fn scene() -> (Scene, Receiver) {
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    receiver.set_nonblocking(true).unwrap();
    let port = receiver.local_addr().unwrap().port();
    (Scene::new(&format!("http://127.0.0.1:{port}/")).await, Receiver(receiver))
}

struct Receiver(TcpListener);

impl Receiver {
    /// The next request that reaches it.
    async fn request(&self) -> TcpStream {
        let mut stream = until("a request", async || self.0.accept().ok()).await.0;
        stream.set_nonblocking(true).unwrap();
        until("its bytes", async || stream.read(&mut [0; 9000]).ok().filter(|read| *read > 0)).await;
        stream
    }
}

async fn is_handed_back(scene: &Scene, sequence: i64) {
    until("a hand-back", async || scene.state(sequence).await.next_attempt_at).await;
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
    let (mut scene, receiver) = scene().await;
    scene.push(1).await;
    scene.push(2).await;
    let (thread, stop) = scene.thread();
    let local = LocalSet::new();
    local.spawn_local(thread.run(scene.opened.to_lanes.remove(0)));
    let scenario = async {
        let pulse = scene.opened.store.pulse();
        let first = receiver.request().await;
        until("the lane", async || (pulse.lanes() == 1).then_some(())).await;

        // Seven seconds pass in which no beat succeeds.
        pulse.beat(Instant::now().checked_sub(Duration::from_secs(7)).unwrap(), true);
        until("the end of the request", async || has_ended(&first)).await;
        is_handed_back(&scene, 1).await;
        is_handed_back(&scene, 2).await;
        // What is still leased to this node isn't sent either.
        scene.push(3).await;
        is_handed_back(&scene, 3).await;
        assert!(receiver.0.accept().is_err(), "nobody is called");
        assert_eq!(pulse.lanes(), 0, "they are forgotten");

        // The database is there again, and nobody has noticed.
        pulse.beat(Instant::now(), true);
        let second = receiver.request().await;
        assert!(has_ended(&second).is_none());

        // It is there again, but others took this node for dead meanwhile.
        pulse.beat(Instant::now(), false);
        until("the end of the request", async || has_ended(&second)).await;
        let third = receiver.request().await;
        assert!(has_ended(&third).is_none(), "it goes on in another life");

        stop.send_replace(true);
        pulse.beat(Instant::now(), false);
        until("the end of the request", async || has_ended(&third)).await;
    };
    local.run_until(scenario).await;
}

#[tokio::test]
async fn a_step_of_work_is_not_taken_when_the_lease_is_lost() {
    let mut scene = scene().await.0;
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
}

#[tokio::test]
async fn in_company_idle_lanes_are_let_go_and_alone_they_are_kept() {
    let (mut scene, receiver) = scene().await;
    scene.push(1).await;
    let (thread, _stop) = scene.thread();
    let local = LocalSet::new();
    local.spawn_local(thread.run(scene.opened.to_lanes.remove(0)));
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
            let mut request = receiver.request().await;
            request.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
            until("the outcome", async || {
                (scene.state(sequence).await.push == PushProgress::Delivered).then_some(())
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
        let busy = receiver.request().await;
        scene.push(4).await;
        pulse.note_others(1, 1);
        is_handed_back(&scene, 4).await;
        drop(busy);
        until("the end of the lane", async || (pulse.lanes() == 0).then_some(())).await;
    };
    local.run_until(scenario).await;
}
