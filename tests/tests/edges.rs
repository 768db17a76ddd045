//! The moments in which a kill could lose something or do it twice, each hit on purpose: the process dies while what would
//! tell the other side is on its way.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings_client::testing::signed_push;
use tidings_tests::chain::Chain;
use tidings_tests::proxy::{Piece, Verdict, Way};
use tidings_tests::wait::SOON;
use tidings_tests::{Api, Proxy, event, on_both, until};

const OPERATIONS: &str = "POST /api/rest/v1.0/operations";
/// Nothing is caught up on but at the start.
const NEVER: u64 = 3_600;

/// The pieces that were to be held, as text.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Vec<String>>>);

impl Held {
    /// Holds back what is chosen: from the piece, and from the request that came last on its connection.
    fn on(way: &Proxy, choose: impl Fn(&Piece<'_>, &str) -> bool + Send + Sync + 'static) -> Self {
        let held = Held::default();
        let (kept, requests) = (held.clone(), Mutex::new(HashMap::new()));
        way.watch(move |piece| {
            let text = String::from_utf8_lossy(piece.bytes).into_owned();
            let mut requests = requests.lock().unwrap();
            if piece.way == Way::Request && text.contains(" HTTP/1.1\r\n") {
                requests.insert(piece.connection, text.clone());
            }
            let request = requests.get(&piece.connection).map_or("", String::as_str);
            if !choose(&piece, request) {
                return Verdict::Pass;
            }
            kept.0.lock().unwrap().push(text);
            Verdict::Hold
        });
        held
    }

    #[track_caller]
    fn wait(&self, what: &str) {
        until(what, SOON, || (!self.0.lock().unwrap().is_empty()).then_some(()));
    }
}

fn is_taken(piece: &Piece<'_>, _: &str) -> bool {
    piece.way == Way::Answer && piece.begins("HTTP/1.1 200")
}

/// How often the server has tried to push the first notification.
fn attempts(chain: &Chain) -> usize {
    let page = chain.tenant.admin.get("deliveries/1/attempts").expect(200);
    page["data"].as_array().unwrap().len()
}

fn in_the_inbox(chain: &Chain, condition: &str) -> bool {
    chain.archiver.count(&format!("SELECT count(*) FROM inbox_notifications WHERE id = 1 AND {condition}"))
        == 1
}

#[track_caller]
fn wait_for_the_effect(chain: &Chain) {
    until("the effect", SOON, || (chain.archiver.effects().get(&1) == Some(&1)).then_some(()));
}

on_both! {
    fn the_server_dies_between_the_receivers_2xx_and_its_recording(db) {
        let mut chain = Chain::start(&db, true, NEVER, 0);
        let held = Held::on(&chain.pushes, is_taken);
        chain.post(1);
        held.wait("the archiver to take the push");
        wait_for_the_effect(&chain);
        assert_eq!(attempts(&chain), 0, "nothing is recorded yet");
        chain.server.kill9();
        chain.pushes.cut();
        chain.pushes.pass();
        chain.server.restart();
        // Pushed again, and nobody else could have dismissed it.
        let bound = Duration::from_secs(60);
        until("the push to be recorded", bound, || (attempts(&chain) == 1).then_some(()));
        chain.tenant.wait_for_state(1, "delivered");
        chain.settle(&[1].into());
    }

    fn the_server_dies_while_it_records_the_receivers_2xx(db) {
        let mut chain = Chain::start(&db, true, NEVER, 0);
        for nth in 1..=5 {
            let held = Held::on(&chain.pushes, is_taken);
            chain.post(3);
            held.wait("the archiver to take a push");
            // Now it learns of it, and has so many milliseconds.
            chain.pushes.pass();
            std::thread::sleep(Duration::from_millis(nth - 1));
            chain.server.kill9();
            chain.server.restart();
        }
        chain.settle(&(1..=15).collect());
    }

    fn the_archiver_dies_between_its_inbox_and_the_200(db) {
        let mut chain = Chain::start(&db, true, NEVER, 0);
        let held = Held::on(&chain.pushes, is_taken);
        chain.post(1);
        held.wait("the archiver to take the push");
        chain.archiver.kill9();
        assert!(in_the_inbox(&chain, "source = 0"), "answered 200 and not in the inbox");
        chain.pushes.cut();
        chain.pushes.pass();
        chain.archiver.restart();
        // The server has heard of nothing, pushes it again, and is answered 200 for what is there already.
        chain.tenant.wait_for_state(1, "delivered");
        assert_eq!(attempts(&chain), 2);
        chain.settle(&[1].into());
    }

    fn the_archiver_dies_before_it_has_dismissed_what_it_handled(db) {
        let mut chain = Chain::start(&db, false, NEVER, 0);
        let held = Held::on(&chain.calls, |piece, _| piece.begins(OPERATIONS));
        chain.post(1);
        held.wait("the archiver to dismiss");
        assert_eq!(chain.archiver.effects(), [(1, 1)].into(), "it is dismissed before it is handled");
        chain.archiver.kill9();
        assert!(in_the_inbox(&chain, "state = 1 AND dismiss = 1"));
        chain.calls.cut();
        chain.calls.pass();
        assert_eq!(chain.tenant.consumer.ids(""), [1], "the server has heard of nothing");
        chain.archiver.restart();
        chain.settle(&[1].into());
    }

    fn the_archiver_dies_before_it_has_noted_what_the_server_has_dismissed(db) {
        let mut chain = Chain::start(&db, false, NEVER, 0);
        let held = Held::on(&chain.calls, |piece, request| {
            piece.way == Way::Answer && request.starts_with(OPERATIONS)
        });
        chain.post(1);
        held.wait("the server to answer");
        assert!(chain.tenant.consumer.ids("").is_empty(), "the server has dismissed it");
        chain.archiver.kill9();
        assert!(in_the_inbox(&chain, "state = 1 AND dismiss = 1"), "the inbox knows nothing of it");
        chain.calls.cut();
        chain.calls.pass();
        chain.archiver.restart();
        chain.settle(&[1].into());
    }

    fn what_is_still_being_handled_is_not_dismissed_with_the_rest(db) {
        let mut chain = Chain::start(&db, false, NEVER, 0);
        chain.tenant.producer.post_event(&event("slow"));
        chain.post(1);
        until("one to be dismissed", SOON, || (chain.tenant.consumer.ids("") != [2, 1]).then_some(()));
        assert_eq!(chain.tenant.consumer.ids(""), [1], "it is dismissed before it is handled");
        assert_eq!(chain.archiver.effects(), [(2, 1)].into());
        chain.settle(&[1, 2].into());
    }

    fn a_push_does_not_hide_what_came_before_it(db) {
        let mut chain = Chain::start(&db, false, 1, 0);
        chain.pushes.down();
        chain.calls.down();
        chain.post(6);
        // Of all pushes, only the last one arrives.
        let document = serde_json::from_str(&chain.tenant.consumer.get("notifications/6").text).unwrap();
        let push = signed_push(&chain.tenant.signing_secret, &document);
        let headers: Vec<_> = push.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let archiver = Api::new(&format!("http://127.0.0.1:{}", chain.archiver.port()), None);
        assert_eq!(archiver.send("POST", "/hook", &headers, Some(&push.body)).status, 200);
        until("the effect", SOON, || (chain.archiver.effects() == [(6, 1)].into()).then_some(()));
        assert_eq!(chain.archiver.count("SELECT cursor FROM inbox_state"), 0);
        chain.calls.up();
        let bound = Duration::from_secs(60);
        until("what came before it", bound, || (chain.archiver.effects().len() == 6).then_some(()));
        chain.settle(&(1..=6).collect());
    }

    fn the_archiver_dies_between_a_page_and_its_place_in_the_inbox(db) {
        let mut chain = Chain::start(&db, false, 1, 0);
        chain.pushes.down();
        let page = |piece: &Piece<'_>, request: &str| {
            piece.way == Way::Answer && request.starts_with("GET /api/rest/v1.0/notifications")
        };
        let held = Held::on(&chain.calls, page);
        chain.post(20);
        held.wait("a page");
        chain.archiver.kill9();
        chain.calls.cut();
        chain.calls.pass();
        chain.archiver.restart();
        // No push comes at all.
        until("all to be caught up on", SOON, || (chain.archiver.effects().len() == 20).then_some(()));
        chain.settle(&(1..=20).collect());
    }
}
