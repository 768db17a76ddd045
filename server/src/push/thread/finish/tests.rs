use super::super::scene::Scene;
use super::*;
use crate::rules::lane::{DOWN_AFTER, Step};
use crate::rules::notification::Micros;

const HOUR: Micros = 3_600_000_000;

#[tokio::test]
async fn the_end_of_a_long_outage_makes_due_at_once_what_was_put_off() {
    for probes in [1, 8] {
        let mut scene = Scene::new("http://127.0.0.1:9/").await;
        let tenant = scene.tenant;
        let (put_off, accepted) = (scene.lease(1).await, scene.lease(2).await);
        let (mut thread, _stop) = scene.thread();
        let later = now() + 9 * HOUR;
        let scenario = async {
            thread.report(tenant, &put_off, Outcome::Retry(later), None);
            thread.flush();
            while thread.queue(tenant).unrecorded > 0 {
                let event = thread.received.recv().await.unwrap();
                thread.handle(event);
            }
            assert_eq!(scene.state(1).await.next_attempt_at, Some(later));
            // The receiver went down an hour ago, and was probed so often.
            let lane = &mut thread.queue(tenant).lane;
            let mut at = now() - HOUR;
            (1..).take(DOWN_AFTER).for_each(|sequence| lane.failed(at, sequence, None));
            for _ in 0..probes {
                let Step::WaitUntil(until) = lane.next(at) else { panic!("it is not down") };
                at = until;
                lane.failed(at, 1, None);
            }
            let delivered = Verdict::Delivered { dismiss: false };
            thread.finish(tenant, &accepted, delivered.into());
        };
        let tasks = tokio::task::LocalSet::new();
        tasks.run_until(scenario).await;
        drop(thread);
        // All that it has begun.
        tasks.await;
        let is_put_on = scene.state(1).await.next_attempt_at.is_some_and(|at| at < later);
        assert_eq!(is_put_on, probes == 8, "after {probes} probes");
    }
}
