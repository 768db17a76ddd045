//! The same story under every runtime: what is pushed and what is missed is handled once each, and dismissed.

use futures_timer::Delay;

use super::*;

/// What a program does around an archiver that runs: it takes pushes, some get lost, and it ends.
async fn story(rig: &Rig, archiver: Archiver, calls: &Calls, stop: oneshot::Sender<()>) {
    rig.add(20);
    for number in (1..=20).filter(|number| number % 3 != 0) {
        let push = testing::signed_push(&rig.secret, &rig.server.get(id(number)).unwrap());
        assert_eq!(archiver.receive(|name| push.header(name), &push.body).await.status, 200);
    }
    let begun = Instant::now();
    while !rig.server.undismissed().is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?} are not dismissed",
            rig.server.undismissed()
        );
        Delay::new(Duration::from_millis(5)).await;
    }
    assert_eq!(calls.ids(), (1..=20).collect::<Vec<_>>());
    assert!(archiver.verify().await.unwrap().is_whole());
    drop(stop);
}

fn start() -> (Rig, Calls, Archiver, oneshot::Sender<()>, oneshot::Receiver<()>) {
    let rig = Rig::new();
    let calls = Calls::default();
    let archiver = rig.builder().otherwise(calls.handler()).build().unwrap();
    let (stop, stopped) = oneshot::channel();
    (rig, calls, archiver, stop, stopped)
}

fn under_tokio(mut runtime: tokio::runtime::Builder) {
    let (rig, calls, archiver, stop, stopped) = start();
    runtime.build().unwrap().block_on(async {
        let running = archiver.clone();
        let running = tokio::spawn(async move { running.run(stopped).await });
        story(&rig, archiver, &calls, stop).await;
        running.await.unwrap().unwrap();
    });
}

#[test]
fn tokio_on_one_thread() {
    under_tokio(tokio::runtime::Builder::new_current_thread());
}

#[test]
fn tokio_on_many_threads() {
    under_tokio(tokio::runtime::Builder::new_multi_thread());
}

#[test]
fn smol() {
    let (rig, calls, archiver, stop, stopped) = start();
    smol::block_on(async {
        let running = archiver.clone();
        let running = smol::spawn(async move { running.run(stopped).await });
        story(&rig, archiver, &calls, stop).await;
        running.await.unwrap();
    });
}

#[test]
fn plain_threads() {
    let (rig, calls, archiver, stop, stopped) = start();
    let running = archiver.clone();
    let running = std::thread::spawn(move || running.run_blocking(stopped));
    block_on(story(&rig, archiver, &calls, stop));
    running.join().unwrap().unwrap();
}
