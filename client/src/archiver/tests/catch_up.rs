//! Catching up, and the proof that it has.

use super::*;
use crate::archiver::every;
use crate::testing::Fault;

/// The cursors that the list was asked with, in steps of whole pages.
fn cursors(rig: &Rig) -> Vec<String> {
    let lines = rig.requests("GET /notifications?");
    let all = lines.iter().filter(|line| line.contains("=1000"));
    all.filter_map(|line| {
        let (_, query) = line.split_once('?')?;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == "page[after]").map(|(_, value)| value.into_owned())
    })
    .collect()
}

#[test]
fn everything_is_fetched_once_page_after_page() {
    let rig = Rig::new();
    rig.add(2_500);
    let calls = Calls::default();
    let archiver = rig.builder().otherwise(calls.handler()).build().unwrap();
    let summary = archiver.drain_blocking().unwrap();
    let done =
        crate::archiver::Summary { fetched: 2_500, handled: 2_500, failed: 0, dead: 0, dismissed: 2_500 };
    assert_eq!(summary, done);
    assert_eq!(calls.ids(), (1..=2_500).collect::<Vec<_>>());
    assert_eq!(cursors(&rig), ["0", "1000", "2000"]);
    assert!(rig.server.undismissed().is_empty());
    let health = block_on(archiver.health()).unwrap();
    assert_eq!((health.cursor, health.newest, health.lag), (id(2_500), Some(id(2_500)), Some(0)));
    assert_eq!((health.depth, health.dead, health.to_dismiss, health.stale_since), (0, 0, 0, None));
    // Nothing is new, and nothing is fetched again.
    assert_eq!(archiver.drain_blocking().unwrap(), crate::archiver::Summary::default());
    assert_eq!(cursors(&rig)[3..], ["2500"]);
}

#[test]
fn it_goes_on_where_it_was_cut_off() {
    let rig = Rig::new();
    rig.add(2_500);
    let archiver = rig.archiver();
    rig.server.fault("page%5Bafter%5D=2000", Fault::Cut, 1);
    assert!(matches!(archiver.drain_blocking(), Err(Error::Transport(_))));
    assert_eq!(block_on(archiver.inbox().held()).unwrap(), [1..=2_000]);
    assert_eq!(block_on(archiver.health()).unwrap().cursor, id(2_000));
    // In another process, for example.
    drop(archiver);
    assert_eq!(rig.archiver().drain_blocking().unwrap().fetched, 500);
    assert_eq!(cursors(&rig), ["0", "1000", "2000", "2000"]);
}

#[test]
fn a_push_does_not_move_the_cursor() {
    let rig = Rig::new();
    rig.add(4);
    let archiver = rig.archiver();
    for number in [1, 2, 4] {
        assert_eq!(rig.push(&archiver, number).status, 200);
    }
    assert_eq!(block_on(archiver.health()).unwrap().cursor, Sequence::START);
    assert_eq!(archiver.drain_blocking().unwrap().fetched, 1);
    assert_eq!(cursors(&rig), ["0"]);
}

#[test]
fn a_push_that_shows_a_hole_has_it_filled() {
    let rig = Rig::new();
    let calls = Calls::default();
    let hourly = every(Duration::from_secs(3_600));
    let archiver = rig.builder().otherwise(calls.handler()).catch_up(hourly).build().unwrap();
    let running = Running::start(&archiver);
    until("the catch-up of the start", || block_on(archiver.health()).unwrap().last_pull.is_some());
    rig.add(3);
    assert_eq!(rig.push(&archiver, 3).status, 200);
    until("all to be handled", || calls.ids() == [1, 2, 3]);
    // Nothing is missing before the next.
    rig.add(1);
    assert_eq!(rig.push(&archiver, 4).status, 200);
    until("the next to be handled", || calls.ids() == [1, 2, 3, 4]);
    running.end().unwrap();
    assert_eq!(cursors(&rig), ["0", "0"]);
}

#[test]
fn it_catches_up_on_schedule() {
    let rig = Rig::new();
    let calls = Calls::default();
    let archiver =
        rig.builder().otherwise(calls.handler()).catch_up(every(Duration::from_secs(1))).build().unwrap();
    let running = Running::start(&archiver);
    for number in 1..=3 {
        rig.add(1);
        until("the event to be fetched", || calls.ids().len() == number);
    }
    running.end().unwrap();
}

#[test]
fn an_expired_cursor_starts_from_the_beginning() {
    let rig = Rig::new();
    rig.add(5);
    let archiver = rig.archiver();
    assert_eq!(archiver.drain_blocking().unwrap().fetched, 5);
    rig.add(5);
    rig.server.forget(id(8));
    assert_eq!(archiver.drain_blocking().unwrap().fetched, 2);
    assert_eq!(cursors(&rig), ["0", "5", "0"]);
    assert_eq!(block_on(archiver.health()).unwrap().cursor, id(10));

    let proof = block_on(archiver.verify()).unwrap();
    assert_eq!(proof.held, [1..=5, 9..=10]);
    assert_eq!((proof.newest, proof.oldest_kept), (id(10), Some(id(9))));
    assert_eq!((&*proof.missing, &*proof.expired), (&[][..], &[6..=8][..]));
    assert!(!proof.is_whole());

    // All that the server had after the cursor is gone.
    rig.add(2);
    rig.server.forget(id(12));
    assert_eq!(archiver.drain_blocking().unwrap().fetched, 0);
    assert_eq!(block_on(archiver.health()).unwrap().cursor, id(10));
    rig.add(1);
    assert_eq!(archiver.drain_blocking().unwrap().fetched, 1);
    assert_eq!(block_on(archiver.health()).unwrap().cursor, id(13));
}

#[test]
fn what_is_missing_is_told() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    assert_eq!(block_on(archiver.verify()).unwrap().to_string(), "there is nothing yet");
    rig.add(4);
    archiver.drain_blocking().unwrap();
    let proof = block_on(archiver.verify()).unwrap();
    assert!(proof.is_whole());
    assert_eq!(proof.to_string(), "holds 1..4, nothing missing");
    rig.add(4);
    assert_eq!(rig.push(&archiver, 6).status, 200);
    let proof = block_on(archiver.verify()).unwrap();
    assert_eq!((proof.missing.clone(), proof.expired.clone()), (vec![5..=5, 7..=8], vec![]));
    assert!(!proof.is_whole());
    assert_eq!(proof.to_string(), "holds 5 of 1..8, missing 5, 7..8");
}

#[test]
fn a_server_that_is_down_is_asked_again_and_again() {
    let rig = Rig::new();
    rig.add(3);
    rig.server.fault("", Fault::Refuse(503), usize::MAX);
    let calls = Calls::default();
    let archiver =
        rig.builder().otherwise(calls.handler()).catch_up(every(Duration::from_secs(1))).build().unwrap();
    let mut running = Running::start(&archiver);
    until("some attempts", || rig.requests("GET").len() >= 3);
    let health = || block_on(archiver.health()).unwrap();
    let trouble = health().last_error.unwrap();
    assert!(trouble.what.contains("503"), "{trouble:?}");
    // Pushes come all the same.
    assert_eq!(rig.push(&archiver, 2).status, 200);
    until("the push to be handled", || calls.ids() == [2]);
    until("it to be stale", || health().stale_since.is_some());
    rig.server.heal();
    until("all to be handled", || calls.ids() == [1, 2, 3]);
    until("all to be dismissed", || rig.server.undismissed().is_empty());
    until("no trouble", || health().last_error.is_none() && health().stale_since.is_none());
    running.stop();
    running.end().unwrap();
}

#[test]
fn the_key_of_another_tenant_ends_it() {
    let rig = Rig::new();
    rig.add(1);
    rig.archiver().drain_blocking().unwrap();
    let other = Server::start();
    other.add(Event::new("close").unwrap());
    other.add(Event::new("close").unwrap());
    let archiver =
        Archiver::builder(other.client(), rig.inbox()).otherwise(|_, _| async { Ok(Outcome::Done) });
    let archiver = archiver.build().unwrap();
    let ended = archiver.run_blocking(std::future::pending::<()>());
    assert!(matches!(ended, Err(Error::OtherTenant { .. })), "{ended:?}");
    assert!(matches!(archiver.drain_blocking(), Err(Error::OtherTenant { .. })));
    assert_eq!(block_on(archiver.inbox().held()).unwrap(), [1..=1]);
    assert_eq!(other.undismissed().len(), 2);
}

#[test]
fn pages_that_take_too_long_get_smaller() {
    let rig = Rig::new();
    rig.add(250);
    rig.server.fault("=1000", Fault::Delay(Duration::from_secs(30)), usize::MAX);
    let client = rig.server.client_builder().retries(0).timeout(Duration::from_millis(500)).build().unwrap();
    let archiver = Archiver::builder(client, rig.inbox()).otherwise(|_, _| async { Ok(Outcome::Done) });
    assert_eq!(archiver.build().unwrap().drain_blocking().unwrap().fetched, 250);
    assert_eq!((rig.requests("size%5D=1000&").len(), rig.requests("size%5D=100&").len()), (1, 3));
}

#[test]
fn a_server_that_was_restored_from_a_backup_is_another_one() {
    let rig = Rig::new();
    rig.add(9);
    rig.archiver().drain_blocking().unwrap();
    rig.server.lose(id(5));
    let archiver = rig.archiver();
    let is_noticed = || {
        let ended = [
            archiver.drain_blocking().map(drop),
            block_on(archiver.verify()).map(drop),
            archiver.run_blocking(std::future::pending::<()>()),
        ];
        assert!(ended.iter().all(|end| matches!(end, Err(Error::OtherHistory { .. }))), "{ended:?}");
    };
    // It has not come as far.
    is_noticed();
    // It has come to where it was, with others.
    for _ in 6..=9 {
        rig.server.add(Event::new("print").unwrap());
    }
    is_noticed();
    // It has gone further.
    rig.server.add(Event::new("print").unwrap());
    is_noticed();
    assert_eq!(block_on(archiver.inbox().held()).unwrap(), [1..=9]);
    assert_eq!(kept(&archiver, 9).event_type, "close");
}

#[test]
fn a_push_of_another_history_is_refused_and_ends_it() {
    let rig = Rig::new();
    rig.add(9);
    let hourly = every(Duration::from_secs(3_600));
    let archiver = rig.builder().otherwise(Calls::default().handler()).catch_up(hourly).build().unwrap();
    let running = Running::start(&archiver);
    until("all to be fetched", || block_on(archiver.inbox().cursor()).unwrap() == id(9));
    rig.server.lose(id(5));
    rig.server.add(Event::new("print").unwrap());
    assert_eq!(rig.push(&archiver, 6).status, 409);
    until("it to end", || running.thread.is_finished());
    let ended = running.end();
    assert!(matches!(ended, Err(Error::OtherHistory { .. })), "{ended:?}");
}

#[test]
fn a_hole_is_filled_though_whoever_pushed_has_hung_up() {
    let rig = Rig::new();
    let calls = Calls::default();
    let hourly = every(Duration::from_secs(3_600));
    let archiver = rig.builder().otherwise(calls.handler()).catch_up(hourly).build().unwrap();
    let running = Running::start(&archiver);
    until("the catch-up of the start", || block_on(archiver.health()).unwrap().last_pull.is_some());
    rig.add(3);
    let push = testing::signed_push(&rig.secret, &rig.server.get(id(3)).unwrap());
    let mut answer = archiver.receive(|name| push.header(name), &push.body);
    assert!(block_on(async { futures_util::poll!(&mut answer) }).is_pending());
    drop(answer);
    until("all to be handled", || calls.ids() == [1, 2, 3]);
    running.end().unwrap();
}
