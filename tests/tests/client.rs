//! The client crate with a real server: everything that it offers, once through.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use tidings_client::{
    Client, Error, ErrorCode, Event, Flags, Posted, PushState, Resource, Sequence, SettingsPatch, webhook,
};
use tidings_tests::wait::SOON;
use tidings_tests::{Api, Receiver, Server, on_both};

fn client(api: &Api) -> Client {
    Client::builder(api.url()).key(api.key()).build().unwrap()
}

/// Any runtime will do; this one is tokio's.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

const DISMISS: Flags = Flags { is_dismissed: Some(true), is_read: None, is_flagged: None };

fn id(number: i64) -> Sequence {
    Sequence::new(number).unwrap()
}

on_both! {
    fn what_is_posted_is_read_changed_and_dismissed(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("client");
        let (producer, consumer) = (client(&tenant.producer), client(&tenant.consumer));
        wait_for(async {
            let event = Event::new("close")?
                .comment("This experiment was a success")
                .created_by(Resource::new("100").attributes(&json!({"firstName": "Ada"}))?)
                .entity(Resource::new("experiment:a b/ü").attributes(&json!({"name": "E"}))?);
            let posted = producer.post(event).await?;
            let Posted::Stored(document) = posted else { panic!("{posted:?}") };
            assert_eq!(document.data.id, id(1));
            assert_eq!(document.data.attributes.comment.as_deref(), Some("This experiment was a success"));
            assert_eq!(document.data.meta.as_ref().unwrap().push.state, PushState::None);
            assert_eq!(document.included.len(), 2);

            let read = consumer.get(id(1)).await?;
            assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&document).unwrap());
            assert_eq!(consumer.user("100").await?.data.identifier.id, "100");
            assert_eq!(consumer.entity("experiment:a b/ü").await?.data.identifier.id, "experiment:a b/ü");

            let changed = consumer.update(id(1), Flags { is_read: Some(true), ..DISMISS }).await?;
            assert!(changed.data.attributes.is_dismissed && changed.data.attributes.is_read);
            assert!(consumer.notifications().page().await?.data.is_empty());
            assert_eq!(consumer.notifications().dismissed(true).page().await?.data.len(), 1);
            Ok::<_, Error>(())
        }).unwrap();
    }

    fn the_same_event_id_is_a_duplicate_and_an_unselected_type_is_told(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("client");
        let (producer, admin) = (client(&tenant.producer), client(&tenant.admin));
        wait_for(async {
            let event = || Ok::<_, Error>(Event::new("close")?.event_id("e-1"));
            assert!(matches!(producer.post(event()?).await?, Posted::Stored(_)));
            let again = producer.post(event()?).await?;
            assert!(matches!(again, Posted::Duplicate(_)), "{again:?}");
            assert_eq!(again.document().unwrap().data.id, id(1));
            let patch: SettingsPatch = serde_json::from_value(json!({"selection": {"types": ["void"]}})).unwrap();
            let settings = admin.update_settings(patch).await?;
            assert_eq!(settings.data.attributes.selection.types.len(), 1);
            let posted = producer.post(Event::new("print")?).await?;
            assert!(matches!(posted, Posted::NotSelected(_)), "{posted:?}");
            assert_eq!(admin.settings().await?.data.attributes, settings.data.attributes);
            Ok::<_, Error>(())
        }).unwrap();
    }

    fn a_stream_goes_through_all_pages_while_they_are_dismissed(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("client");
        let (producer, consumer) = (client(&tenant.producer), client(&tenant.consumer));
        wait_for(async {
            for part in 0..5 {
                let mut operations = producer.operations();
                for number in 0..50 {
                    operations = operations.add(Event::new("close")?.data(&json!({"number": part * 50 + number}))?);
                }
                assert_eq!(operations.send().await?.len(), 50);
            }
            let mut seen = Vec::new();
            let mut items = consumer.notifications().page_size(7).items();
            while let Some(item) = items.try_next().await? {
                consumer.update(item.data.id, DISMISS).await?;
                seen.push(item.data.id.get());
            }
            assert_eq!(seen, (1..=250).collect::<Vec<_>>());
            let left: Vec<_> = consumer.notifications().items().try_collect().await?;
            assert!(left.is_empty());
            let pages: Vec<_> = consumer.notifications().any_dismissed().page_size(100).pages().try_collect().await?;
            assert_eq!(pages.iter().map(|page| page.data.len()).collect::<Vec<_>>(), [100, 100, 50]);
            let after: Vec<_> = consumer.notifications().any_dismissed().after(id(240)).items().try_collect().await?;
            assert_eq!(after.iter().map(|item| item.data.id.get()).collect::<Vec<_>>(), (241..=250).collect::<Vec<_>>());
            Ok::<_, Error>(())
        }).unwrap();
    }

    fn a_waiting_stream_gets_what_comes_later(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("client");
        let (producer, consumer) = (client(&tenant.producer), client(&tenant.consumer));
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| wait_for(async {
                let mut items = consumer.notifications().wait(Duration::from_secs(30)).items();
                let mut seen = Vec::new();
                while seen.len() < 10 {
                    seen.push(items.next().await.expect("a waiting stream doesn't end")?.data.id.get());
                }
                Ok::<_, Error>(seen)
            }));
            let begun = Instant::now();
            for _ in 0..10 {
                wait_for(producer.post(Event::new("close").unwrap())).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
            assert_eq!(reading.join().unwrap().unwrap(), (1..=10).collect::<Vec<_>>());
            assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        });
    }

    fn operations_are_all_or_none(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("client");
        let admin = client(&tenant.admin);
        wait_for(async {
            let results = admin.operations()
                .add(Event::new("close")?)
                .add(Event::new("print")?)
                .update(id(1), DISMISS)
                .send().await?;
            assert!(results[2].data.as_ref().unwrap().attributes.is_dismissed);
            let failed = admin.operations().update(id(2), DISMISS).update(id(77), DISMISS).send().await.unwrap_err();
            assert_eq!(failed.code(), Some(ErrorCode::NotFound), "{failed}");
            assert!(!admin.get(id(2)).await?.data.attributes.is_dismissed);
            Ok::<_, Error>(())
        }).unwrap();
    }

    fn errors_carry_the_servers_code_and_no_key(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("client");
        wait_for(async {
            for (api, expected) in [
                (server.anonymous().with_key("a-wrong-key-that-must-not-be-shown"), ErrorCode::Unauthenticated),
                (tenant.producer.clone(), ErrorCode::Forbidden),
                (tenant.consumer.clone(), ErrorCode::NotFound),
            ] {
                let error = client(&api).get(id(99)).await.unwrap_err();
                assert_eq!(error.code(), Some(expected), "{error}");
                assert!(!format!("{error} {error:?}").contains(api.key()));
            }
            let error = client(&tenant.consumer).notifications().page_size(1001).page().await.unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::InvalidParameter), "{error}");
        });
    }

    fn a_call_goes_on_over_a_restart_of_the_server(db) {
        let mut server = Server::start(&db);
        let tenant = server.tenant("client");
        let producer = client(&tenant.producer);
        wait_for(producer.post(Event::new("close").unwrap())).unwrap();
        server.kill9();
        std::thread::scope(|scope| {
            let posting = scope.spawn(|| wait_for(producer.post(Event::new("close").unwrap())));
            std::thread::sleep(Duration::from_millis(200));
            server.restart();
            let posted = posting.join().unwrap().unwrap();
            assert_eq!(posted.document().unwrap().data.id, id(2));
        });
    }

    fn a_push_is_verified_and_parsed(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("client");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), true);
        wait_for(client(&tenant.producer).post(Event::new("close").unwrap())).unwrap();
        let request = receiver.wait_for(1, SOON).remove(0);
        let verifier = webhook::Verifier::new([&tenant.signing_secret]).unwrap();
        let push = verifier.verify(|name| Some(request.header(name)), &request.body).unwrap();
        assert_eq!(push.webhook_id, request.header("webhook-id"));
        assert_eq!(push.document.data.id, id(1));
        assert!(push.document.data.attributes.is_dismissed && push.document.data.meta.is_none());
        let other = webhook::Verifier::new(["whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]).unwrap();
        assert!(other.verify(|name| Some(request.header(name)), &request.body).is_err());
    }
}
