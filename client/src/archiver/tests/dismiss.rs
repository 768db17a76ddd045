//! Dismissing what was handled.

use super::*;
use crate::testing::Fault;

fn to_dismiss(archiver: &Archiver) -> u64 {
    block_on(archiver.inbox().counts()).unwrap().to_dismiss
}

#[test]
fn it_is_done_in_batches() {
    let rig = Rig::new();
    rig.add(1_500);
    assert_eq!(rig.archiver().drain_blocking().unwrap().dismissed, 1_500);
    assert!(rig.server.undismissed().is_empty());
    assert_eq!(rig.requests("POST /operations").len(), 2);
}

#[test]
fn what_the_server_dismissed_itself_is_left_alone() {
    let rig = Rig::new();
    rig.add(2);
    let archiver = rig.archiver();
    let mut document = rig.server.get(id(1)).unwrap();
    document.data.attributes.is_dismissed = true;
    let push = testing::signed_push(&rig.secret, &document);
    assert_eq!(block_on(archiver.receive(|name| push.header(name), &push.body)).status, 200);
    let flags = crate::Flags { is_dismissed: Some(true), ..crate::Flags::default() };
    for number in [1, 2] {
        block_on(rig.server.client().update(id(number), flags)).unwrap();
    }
    let summary = archiver.drain_blocking().unwrap();
    assert_eq!((summary.handled, summary.dismissed), (2, 0));
    assert!(rig.requests("POST /operations").is_empty());
}

#[test]
fn those_that_have_expired_do_not_stop_the_rest() {
    let rig = Rig::new();
    rig.add(40);
    rig.server.fault("POST /operations", Fault::Refuse(503), 1);
    let archiver = rig.archiver();
    assert!(matches!(archiver.drain_blocking(), Err(Error::Api { status: 503, .. })));
    assert_eq!(to_dismiss(&archiver), 40);
    rig.server.forget(id(1));
    assert_eq!(archiver.drain_blocking().unwrap().dismissed, 40);
    assert_eq!(to_dismiss(&archiver), 0);
    assert!(rig.server.undismissed().is_empty());
    // The one was found by halving.
    assert!(rig.requests("POST /operations").len() < 20);
}

#[test]
fn one_that_is_refused_does_not_stop_the_rest() {
    let rig = Rig::new();
    rig.add(4);
    // All four, the first two, the first.
    rig.server.fault("POST /operations", Fault::Refuse(422), 3);
    let archiver = rig.archiver();
    assert_eq!(archiver.drain_blocking().unwrap().dismissed, 3);
    assert_eq!((rig.server.undismissed(), to_dismiss(&archiver)), (vec![id(1)], 1));
    assert!(block_on(archiver.health()).unwrap().last_error.unwrap().what.contains("422"));
    // It is not forgotten.
    assert_eq!(archiver.drain_blocking().unwrap().dismissed, 1);
    assert!(rig.server.undismissed().is_empty());
}

#[test]
fn a_key_that_is_refused_is_no_reason_to_try_one_by_one() {
    let rig = Rig::new();
    rig.add(4);
    rig.server.fault("POST /operations", Fault::Refuse(403), usize::MAX);
    assert!(matches!(rig.archiver().drain_blocking(), Err(Error::Api { status: 403, .. })));
    assert_eq!(rig.requests("POST /operations").len(), 1);
}

#[test]
fn a_lost_answer_is_asked_for_again() {
    let rig = Rig::new();
    rig.add(3);
    rig.server.fault("POST /operations", Fault::Cut, 2);
    let archiver = rig.archiver();
    let running = Running::start(&archiver);
    until("all to be recorded as dismissed", || {
        let counts = block_on(archiver.inbox().counts()).unwrap();
        (counts.handled, counts.to_dismiss) == (3, 0)
    });
    running.end().unwrap();
    assert!(rig.server.undismissed().is_empty());
    assert_eq!(rig.requests("POST /operations").len(), 3);
}

#[test]
fn an_end_does_not_wait_for_a_server_that_does_not_answer() {
    let rig = Rig::new();
    rig.add(1);
    rig.server.fault("POST /operations", Fault::Delay(Duration::from_secs(60)), usize::MAX);
    let archiver = rig.archiver();
    let running = Running::start(&archiver);
    until("it to be handled", || to_dismiss(&archiver) == 1);
    let begun = Instant::now();
    running.end().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(to_dismiss(&archiver), 1);
}

#[test]
fn one_that_is_refused_does_not_slow_the_rest() {
    let rig = Rig::new();
    rig.add(2);
    // Both, the first.
    rig.server.fault("POST /operations", Fault::Refuse(422), 2);
    let archiver = rig.archiver();
    let running = Running::start(&archiver);
    until("the other to be dismissed", || rig.server.undismissed() == [id(1)]);
    for number in 3..=6 {
        rig.add(1);
        assert_eq!(rig.push(&archiver, number).status, 200);
        until("the next to be dismissed", || {
            to_dismiss(&archiver) == 1 && state(&archiver, number) == Some(State::Handled)
        });
    }
    // It was not asked for again each time, nor are its problems forgotten.
    assert_eq!(rig.server.undismissed(), [id(1)]);
    assert!(block_on(archiver.health()).unwrap().last_error.unwrap().what.contains("422"));
    running.end().unwrap();
}
