//! Receivers that behave badly harm nobody, under no profile, and get what they deserve: delivered after a complete 2xx
//! that the acknowledgement rule accepts, else a retry, and in the log the right error.

#[path = "bad_receivers/behaviours.rs"]
mod behaviours;
#[path = "bad_receivers/profiles.rs"]
mod profiles;

use std::time::{Duration, Instant};

use serde_json::Value;
use tidings_tests::wait::SOON;
use tidings_tests::{Receiver, Reply, Server, event, on_both, until};

use self::behaviours::behaviours;

on_both! {
    fn each_badly_behaved_receiver_has_the_right_outcome(db) {
        let server = Server::start(&db);
        let good = server.tenant("good");
        let good_receiver = Receiver::accepting();
        good.push_to(&good_receiver.url(), false);
        // All at once, each a tenant of its own.
        let cases: Vec<_> = behaviours()
            .into_iter()
            .map(|(name, reply, error)| {
                let tenant = server.tenant(name);
                let receiver = Receiver::start(move |_, nth| if nth == 0 { reply.clone() } else { Reply::Status(200) });
                tenant.push_to(&receiver.url(), false);
                tenant.producer.post_event(&event("close"));
                (name, error, tenant, receiver)
            })
            .collect();
        // Beside them, the good one isn't slowed.
        let begun = Instant::now();
        let id = good.producer.post_event(&event("close"));
        good_receiver.wait_for(1, SOON);
        good.wait_for_state(id, "delivered");
        assert!(begun.elapsed() < Duration::from_secs(10), "the good tenant waited {:?}", begun.elapsed());

        for (name, error, tenant, receiver) in &cases {
            let status = until(&format!("delivery to the one that {name}"), Duration::from_secs(60), || {
                let status = tenant.push_status(1);
                (status["state"] == "delivered").then_some(status)
            });
            let mut expected = vec![Value::Null];
            expected.splice(0..0, error.map(Value::from));
            assert_eq!(status["attempts"], expected.len(), "{name}");
            assert_eq!(receiver.count(), expected.len(), "{name}");
            let log = tenant.admin.get("deliveries/1/attempts").expect(200);
            let errors: Vec<Value> =
                log["data"].as_array().expect("a list").iter().map(|attempt| attempt["attributes"]["error"].clone()).collect();
            assert_eq!(errors, expected, "{name}");
        }
    }

    fn endless_and_silent_receivers_end_at_the_deadline_and_slow_nobody(db) {
        let server = Server::start(&db);
        let endless: Vec<Vec<u8>> = std::iter::once(b"HTTP/1.1 500 Oops\r\n\r\n".to_vec())
            .chain(std::iter::repeat_n(b"for ever and ever\n".to_vec(), 2000))
            .collect();
        let cases = [
            ("silent", Receiver::start(|_, nth| if nth < 30 { Reply::Hang } else { Reply::Status(200) })),
            ("endless", Receiver::start(move |_, nth| match nth {
                0..30 => Reply::Drip(endless.clone(), Duration::from_millis(50)),
                _ => Reply::Status(200),
            })),
        ];
        let bad: Vec<_> = cases
            .iter()
            .map(|(name, receiver)| {
                let tenant = server.tenant(name);
                tenant.push_to(&receiver.url(), false);
                for _ in 0..30 {
                    tenant.producer.post_event(&event("close"));
                }
                receiver.wait_for(1, SOON);
                tenant
            })
            .collect();
        let good = server.tenant("good");
        let receiver = Receiver::accepting();
        good.push_to(&receiver.url(), true);
        let begun = Instant::now();
        for _ in 0..50 {
            good.producer.post_event(&event("close"));
        }
        receiver.wait_for(50, SOON);
        until("all to be dismissed", SOON, || good.consumer.ids("").is_empty().then_some(()));
        assert!(begun.elapsed() < Duration::from_secs(10), "the good tenant waited {:?}", begun.elapsed());
        // One deadline for all of it: the attempt ends although the receiver never does.
        for (tenant, (name, _)) in bad.iter().zip(&cases) {
            until(&format!("the deadline of the {name} one"), Duration::from_secs(75), || {
                (tenant.push_status(1)["attempts"].as_u64() >= Some(1)).then_some(())
            });
        }
    }

    fn a_receiver_that_is_down_is_not_hammered_and_gets_all_when_it_is_back(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("down");
        let well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = well.clone();
        let receiver = Receiver::start(move |_, _| {
            Reply::Status(if seen.load(std::sync::atomic::Ordering::SeqCst) { 200 } else { 500 })
        });
        tenant.push_to(&receiver.url(), true);
        for _ in 0..100 {
            tenant.producer.post_event(&event("close"));
        }
        // After the first failures it is probed at 1, 2 and 4 seconds: by the second probe a sender that hammers would
        // have tried all hundred.
        receiver.wait_until("a probe", SOON, |requests| {
            let first = requests.first().map(|request| request.at);
            let last = requests.last().map(|request| request.at);
            first.zip(last).is_some_and(|(first, last)| last.duration_since(first) > Duration::from_millis(2500))
        });
        assert!(receiver.count() < 60, "{} requests to a receiver that is down", receiver.count());
        well.store(true, std::sync::atomic::Ordering::SeqCst);
        receiver.wait_until("all 100", Duration::from_secs(60), |requests| {
            let all: std::collections::BTreeSet<_> = requests.iter().map(tidings_tests::Request::sequence).collect();
            all.len() == 100
        });
        until("all to be dismissed", SOON, || tenant.consumer.ids("").is_empty().then_some(()));
    }
}
