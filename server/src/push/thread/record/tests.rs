use super::super::scene::Scene;
use super::*;
use crate::rules::notification::PushProgress;
use crate::store::seam::Want;

#[tokio::test]
async fn when_the_recording_of_outcomes_panics_what_is_not_recorded_is_handed_back() {
    let mut scene = Scene::new("http://127.0.0.1:9/").await;
    let (tenant, store) = (scene.tenant, scene.opened.store.clone());
    let (recorded, lost) = (scene.lease(1).await, scene.lease(2).await);
    let (mut thread, _stop) = scene.thread();
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

    let pushed = [scene.state(1).await.push, scene.state(2).await.push];
    assert_eq!(pushed, [PushProgress::Delivered, PushProgress::Pending]);
    let node = store.node();
    let want = Want { version: 1, limit: 9, retries: 0, bytes: 1, fifo: false };
    let claim = store.write(Some(tenant), move |conn| conn.claim(tenant, node, now(), want));
    let claimed: Vec<i64> = claim.await.unwrap().notifications.iter().map(|it| it.sequence).collect();
    assert_eq!(claimed, [2], "its lease has ended");
}
