//! What is stored of what comes, and what becomes of it.

use std::time::Duration;

use chrono::Utc;

use super::*;
use crate::inbox::{Received, Source, State};

#[test]
fn what_comes_twice_is_stored_once() {
    let (_folder, _, inbox) = new_inbox();
    let receive = |id| block_on(inbox.receive(None, incoming(id, false))).unwrap();
    assert!(receive(1).is_new);
    assert!(!receive(1).is_new);
    assert_eq!(block_on(inbox.store_page(None, page(1..=3), sequence(3))).unwrap(), 2);
    assert!(!receive(2).is_new);
    let first = block_on(inbox.get(sequence(1))).unwrap().unwrap();
    let second = block_on(inbox.get(sequence(2))).unwrap().unwrap();
    assert_eq!((first.source, second.source), (Source::Push, Source::Pull));
    assert_eq!(second.document, incoming(2, false).document);
    assert_eq!((second.event_type.as_str(), second.state, second.attempts), ("close", State::Waiting, 0));
    assert!(block_on(inbox.get(sequence(4))).unwrap().is_none());
}

#[test]
fn a_push_shows_a_hole_only_beyond_what_is_known() {
    let (_folder, _, inbox) = new_inbox();
    let receive = |id| block_on(inbox.receive(None, incoming(id, false))).unwrap();
    let (new, duplicate) = (true, false);
    assert_eq!(receive(1), Received { is_new: new, shows_hole: false });
    assert_eq!(receive(2), Received { is_new: new, shows_hole: false });
    assert_eq!(receive(5), Received { is_new: new, shows_hole: true });
    assert_eq!(receive(6), Received { is_new: new, shows_hole: false }, "it was told with 5");
    // Whoever pushed it may be gone before he was told.
    assert_eq!(receive(5), Received { is_new: duplicate, shows_hole: true });
    assert_eq!(receive(4), Received { is_new: new, shows_hole: true });
    assert_eq!(receive(3), Received { is_new: new, shows_hole: false }, "it fills the hole");
    assert_eq!(receive(4), Received { is_new: duplicate, shows_hole: false });
    block_on(inbox.store_page(None, Vec::new(), sequence(8))).unwrap();
    assert_eq!(receive(9), Received { is_new: new, shows_hole: false }, "what had expired is no hole");
    assert_eq!(receive(11), Received { is_new: new, shows_hole: true });
}

fn dated(id: i64, time: &str, comment: &str) -> Incoming {
    let document =
        format!(r#"{{"data":{{"id":"{id}","attributes":{{"createdAt":"{time}","comment":"{comment}"}}}}}}"#);
    Incoming { document, ..incoming(id, false) }
}

#[test]
fn another_notification_with_the_same_id_is_refused() {
    let (_folder, _, inbox) = new_inbox();
    const TIME: &str = "2026-05-01T10:00:00.25Z";
    block_on(inbox.receive(None, dated(1, TIME, ""))).unwrap();
    // The same, as the list shows it later, and with its time written in another way.
    assert_eq!(block_on(inbox.store_page(None, vec![dated(1, TIME, "seen")], sequence(1))).unwrap(), 0);
    block_on(inbox.receive(None, dated(1, "2026-05-01T12:00:00.250+02:00", ""))).unwrap();

    let later = dated(1, "2026-05-01T10:00:00.26Z", "");
    let other_type = Incoming { event_type: "open".to_owned(), ..dated(1, TIME, "seen") };
    for other in [later, other_type] {
        let error = block_on(inbox.receive(None, other.clone())).unwrap_err();
        assert!(matches!(error, Error::OtherHistory { id } if id == sequence(1)), "{error:?}");
        let items = vec![other, dated(2, TIME, "")];
        let error = block_on(inbox.store_page(None, items, sequence(2))).unwrap_err();
        assert!(matches!(error, Error::OtherHistory { id } if id == sequence(1)), "{error:?}");
    }
    assert_eq!(block_on(inbox.held()).unwrap(), [1..=1], "nothing of the page is kept");
    assert_eq!(block_on(inbox.cursor()).unwrap(), sequence(1));
}

#[test]
fn an_attempt_that_was_not_begun_does_not_count() {
    let (_folder, _, inbox) = new_inbox();
    block_on(inbox.store_page(None, page(1..=4), sequence(4))).unwrap();
    let attempts = |limit| -> Vec<_> {
        let claimed = block_on(inbox.claim(limit, Vec::new())).unwrap();
        claimed.into_iter().map(|claimed| (claimed.id.get(), claimed.attempt)).collect()
    };
    assert_eq!(attempts(3), [(1, 1), (2, 1), (3, 1)]);
    finish(&inbox, 3, End::Handled);
    // 3 is handled, 4 was never claimed.
    block_on(inbox.release(sequences([2, 3, 4, 99]))).unwrap();
    assert_eq!(attempts(9), [(1, 2), (2, 1), (4, 1)]);
    assert_eq!(block_on(inbox.get(sequence(3))).unwrap().unwrap().attempts, 1);
}

#[test]
fn what_is_put_off_costs_a_claim_nothing() {
    let (_folder, _, inbox) = new_inbox();
    #[derive(diesel::QueryableByName)]
    struct Step {
        #[diesel(sql_type = diesel::sql_types::Text)]
        detail: String,
    }
    let steps = block_on(inbox.inner.reader.run(|conn| {
        let plan = diesel::sql_query(format!("EXPLAIN QUERY PLAN {}", crate::inbox::store::DUE));
        Ok(diesel::RunQueryDsl::load::<Step>(plan, conn)?)
    }));
    let steps: Vec<_> = steps.unwrap().into_iter().map(|step| step.detail).collect();
    assert!(steps[0].contains("SEARCH n USING INDEX inbox_waiting (due_at<?)"), "{steps:?}");
    assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:?}");
}

#[test]
fn what_was_put_off_by_a_clock_that_was_ahead_waits_no_longer_than_was_meant() {
    const YEAR: &str = "365 * 86400 * 1000000";
    let (_folder, path, inbox) = new_inbox();
    block_on(inbox.store_page(None, page(1..=3), sequence(3))).unwrap();
    assert_eq!(claim(&inbox, 2), [1, 2]);
    let hours = |hours: u64| Utc::now() + Duration::from_secs(hours * 3600);
    finish(&inbox, 1, End::RetryAt(hours(2), "ahead".to_owned()));
    finish(&inbox, 2, End::RetryAt(hours(24 * 30), "asked for".to_owned()));
    // As if the clock had been a year ahead as 1 failed and 3 came.
    let ahead = format!(
        "UPDATE inbox_notifications SET due_at = due_at + {YEAR}, due_since = due_since + {YEAR} WHERE id <> 2"
    );
    let ahead: &'static str = Box::leak(ahead.into_boxed_str());
    execute(&inbox, ahead).unwrap();
    let retry_at = |inbox: &Inbox, id| block_on(inbox.get(sequence(id))).unwrap().unwrap().retry_at.unwrap();
    // The clock is found to have gone back: it was later before.
    let later = (Utc::now() + Duration::from_secs(365 * 86_400)).timestamp_micros();
    inbox.inner.clock_checked.store(later, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(claim(&inbox, 9), [3]);
    assert!(retry_at(&inbox, 1) > hours(1) && retry_at(&inbox, 1) <= hours(2));
    assert!(retry_at(&inbox, 2) > hours(24 * 29), "that one was meant to");
    // Or it went back before the program began.
    execute(&inbox, ahead).unwrap();
    drop(inbox);
    let inbox = Inbox::open(path).unwrap();
    assert_eq!(claim(&inbox, 9), [3]);
    assert!(retry_at(&inbox, 1) <= hours(2));
}

#[test]
fn whether_the_clock_has_gone_back_is_looked_at_once_in_a_while() {
    let (_folder, _, inbox) = new_inbox();
    let begin = Utc::now();
    let at = |seconds| inbox.checks_clock(begin + chrono::TimeDelta::seconds(seconds));
    assert_eq!([0, 0, 59, 60, 61, 58, 59].map(at), [true, false, false, true, false, true, false]);
}

#[test]
fn only_a_page_moves_the_cursor_and_never_back() {
    let (_folder, path, inbox) = new_inbox();
    let cursor = || block_on(inbox.cursor()).unwrap().get();
    block_on(inbox.receive(None, incoming(7, false))).unwrap();
    assert_eq!(cursor(), 0);
    block_on(inbox.store_page(None, page(1..=4), sequence(4))).unwrap();
    assert_eq!(cursor(), 4);
    // Another process that had begun earlier comes later.
    block_on(inbox.store_page(None, page(1..=2), sequence(2))).unwrap();
    assert_eq!(cursor(), 4);
    drop(inbox);
    assert_eq!(block_on(Inbox::open(path).unwrap().cursor()).unwrap().get(), 4);
}

#[test]
fn what_the_server_says_last_decides_what_is_to_be_dismissed() {
    const PUSH: bool = true;
    // What comes, one after the other: whether it is a push, and whether it is dismissed.
    let cases: &[(&[(bool, bool)], bool)] = &[
        (&[(PUSH, false)], true),
        (&[(PUSH, true)], false),
        (&[(!PUSH, false)], true),
        (&[(!PUSH, true)], false),
        // The 200 of a push was lost: the list says that it is not dismissed after all.
        (&[(PUSH, true), (!PUSH, false)], true),
        // The list was read before the push: whether its 200 will arrive is not known.
        (&[(!PUSH, false), (PUSH, true)], true),
        (&[(PUSH, false), (!PUSH, true)], false),
        (&[(!PUSH, true), (PUSH, false)], true),
    ];
    for (number, (ways, expected)) in cases.iter().enumerate() {
        let (_folder, _, inbox) = new_inbox();
        for (is_push, dismissed) in *ways {
            let item = incoming(1, *dismissed);
            match is_push {
                true => drop(block_on(inbox.receive(None, item)).unwrap()),
                false => drop(block_on(inbox.store_page(None, vec![item], sequence(1))).unwrap()),
            }
        }
        assert!(to_dismiss(&inbox).is_empty(), "case {number}: it is not handled yet");
        assert_eq!(claim(&inbox, 1), [1]);
        finish(&inbox, 1, End::Handled);
        assert_eq!(to_dismiss(&inbox) == [1], *expected, "case {number}");
        // Done by us: an older page does not undo it, a newer push does.
        block_on(inbox.dismissed(sequences([1]))).unwrap();
        block_on(inbox.store_page(None, page([1]), sequence(1))).unwrap();
        assert_eq!(to_dismiss(&inbox) == [1], !expected, "case {number}: it had not been done by us");
        block_on(inbox.dismissed(sequences([1]))).unwrap();
        assert!(to_dismiss(&inbox).is_empty(), "case {number}");
        block_on(inbox.store_page(None, page([1]), sequence(1))).unwrap();
        assert!(to_dismiss(&inbox).is_empty(), "case {number}: an older page");
        block_on(inbox.receive(None, incoming(1, false))).unwrap();
        assert_eq!(to_dismiss(&inbox), [1], "case {number}: a newer push");
    }
}

#[test]
fn what_is_to_be_dismissed_comes_in_parts() {
    let (_folder, _, inbox) = new_inbox();
    block_on(inbox.store_page(None, page(1..=6), sequence(6))).unwrap();
    claim(&inbox, 6);
    for id in [1, 2, 4, 5] {
        finish(&inbox, id, End::Handled);
    }
    finish(&inbox, 3, End::Dead("no".to_owned()));
    let part = |after, limit| block_on(inbox.to_dismiss(sequence(after), limit)).unwrap();
    assert_eq!(part(0, 3), sequences([1, 2, 4]));
    assert_eq!(part(4, 3), sequences([5]));
    block_on(inbox.dismissed(sequences([1, 4, 6, 99]))).unwrap();
    assert_eq!(to_dismiss(&inbox), [2, 5]);
}

#[test]
fn another_tenant_is_refused_and_nothing_of_it_is_kept() {
    let (_folder, path, inbox) = new_inbox();
    let tenant = |name: &str| Some(name.to_owned());
    block_on(inbox.receive(None, incoming(1, false))).unwrap();
    block_on(inbox.receive(tenant("ours"), incoming(2, false))).unwrap();
    let inbox = {
        drop(inbox);
        Inbox::open(path).unwrap()
    };
    let refused = |outcome: Result<(), Error>| match outcome {
        Err(Error::OtherTenant { inbox, given }) => assert_eq!((&*inbox, &*given), ("ours", "theirs")),
        other => panic!("{other:?}"),
    };
    refused(block_on(inbox.receive(tenant("theirs"), incoming(3, false))).map(drop));
    refused(block_on(inbox.store_page(tenant("theirs"), page(1..=5), sequence(5))).map(drop));
    refused(block_on(inbox.note_push(tenant("theirs"))));
    assert_eq!(block_on(inbox.held()).unwrap(), [1..=2]);
    assert_eq!(block_on(inbox.cursor()).unwrap(), Sequence::START);
    block_on(inbox.store_page(tenant("ours"), page(3..=3), sequence(3))).unwrap();
    block_on(inbox.store_page(None, page(4..=4), sequence(4))).unwrap();
    assert_eq!(block_on(inbox.held()).unwrap(), [1..=4]);
}

#[test]
fn the_oldest_that_is_due_and_not_busy_is_claimed() {
    let (_folder, _, inbox) = new_inbox();
    block_on(inbox.store_page(None, page(1..=6), sequence(6))).unwrap();
    assert_eq!(claim(&inbox, 2), [1, 2]);
    finish(&inbox, 1, End::RetryAt(Utc::now() + Duration::from_secs(3600), "later".to_owned()));
    finish(&inbox, 2, End::RetryAt(Utc::now() - Duration::from_secs(1), "soon".to_owned()));
    finish(&inbox, 3, End::Handled);
    finish(&inbox, 4, End::Dead("never".to_owned()));
    let claimed = block_on(inbox.claim(9, vec![5])).unwrap();
    let claimed: Vec<_> =
        claimed.into_iter().map(|claimed| (claimed.id.get(), claimed.attempt, claimed.document)).collect();
    assert_eq!(claimed, [(2, 2, incoming(2, false).document), (6, 1, incoming(6, false).document)]);
    let later = block_on(inbox.get(sequence(1))).unwrap().unwrap();
    assert_eq!((later.state, later.attempts, later.reason.as_deref()), (State::Waiting, 1, Some("later")));
    assert!(later.retry_at.unwrap() > Utc::now() + Duration::from_secs(3000));
    assert!(later.ended_at.is_none());
}

#[test]
fn attempts_are_counted_before_they_are_made() {
    let (_folder, path, inbox) = new_inbox();
    block_on(inbox.receive(None, incoming(1, false))).unwrap();
    let mut inbox = Some(inbox);
    for attempt in 1..=3 {
        let claimed = block_on(inbox.as_ref().unwrap().claim(1, Vec::new())).unwrap();
        assert_eq!(claimed[0].attempt, attempt, "whoever had it before never came back");
        drop(inbox.take());
        inbox = Some(Inbox::open(&path).unwrap());
    }
}

#[test]
fn what_was_given_up_or_handled_is_handled_again_at_request() {
    let (_folder, _, inbox) = new_inbox();
    block_on(inbox.store_page(None, page(1..=6), sequence(6))).unwrap();
    claim(&inbox, 5);
    for id in [1, 2, 3] {
        finish(&inbox, id, End::Dead(format!("reason {id}")));
    }
    finish(&inbox, 4, End::Handled);
    let dead = |after, limit| -> Vec<_> {
        let dead = block_on(inbox.dead(sequence(after), limit)).unwrap();
        dead.into_iter().map(|kept| (kept.id.get(), kept.reason.unwrap(), kept.state)).collect()
    };
    assert_eq!(dead(0, 1), [(1, "reason 1".to_owned(), State::Dead)]);
    assert_eq!(dead(1, 9).iter().map(|dead| dead.0).collect::<Vec<_>>(), [2, 3]);

    // 4 is handled, 5 and 6 are waiting, 99 is unknown: only 2 is dead.
    assert_eq!(block_on(inbox.revive(sequences([2, 4, 5, 6, 99]))).unwrap(), 1);
    assert_eq!(block_on(inbox.claim(1, vec![5, 6])).unwrap()[0].attempt, 1, "counted anew");
    finish(&inbox, 2, End::Handled);
    assert_eq!(block_on(inbox.revive_all()).unwrap(), 2);
    assert!(dead(0, 9).is_empty());

    assert_eq!(block_on(inbox.replay(sequences([1, 4, 5]))).unwrap(), 1);
    let replayed = block_on(inbox.get(sequence(4))).unwrap().unwrap();
    assert_eq!((replayed.state, replayed.attempts, replayed.ended_at), (State::Waiting, 0, None));
    assert_eq!(claim(&inbox, 9), [5, 6, 1, 3, 4], "after those that have been waiting");
}

#[test]
fn everything_is_counted() {
    let (_folder, _, inbox) = new_inbox();
    let counts = || block_on(inbox.counts()).unwrap();
    let empty = counts();
    assert_eq!((empty.waiting, empty.handled, empty.dead, empty.to_dismiss), (0, 0, 0, 0));
    assert_eq!((empty.oldest_waiting, empty.last_push, empty.last_pull), (None, None, None));
    let before = Utc::now() - Duration::from_millis(1);
    block_on(inbox.receive(None, incoming(1, true))).unwrap();
    let pushed = counts();
    assert!(pushed.last_push.unwrap() > before && pushed.last_pull.is_none());
    assert!(pushed.oldest_waiting.unwrap() > before);
    block_on(inbox.store_page(None, page(2..=7), sequence(7))).unwrap();
    assert_eq!(counts().oldest_waiting, pushed.oldest_waiting);
    claim(&inbox, 9);
    for id in [1, 2, 3] {
        finish(&inbox, id, End::Handled);
    }
    finish(&inbox, 4, End::Dead("no".to_owned()));
    let counted = counts();
    assert_eq!((counted.waiting, counted.handled, counted.dead, counted.to_dismiss), (3, 3, 1, 2));
    assert_eq!(counted.cursor, sequence(7));
    assert!(counted.oldest_waiting > pushed.oldest_waiting, "that one is handled");
    let noted = counted.last_push;
    block_on(inbox.note_push(None)).unwrap();
    assert!(counts().last_push > noted);
    assert_eq!(counts().waiting, 3, "nothing is stored of it");
}

#[test]
fn a_million_ids_are_told_as_ranges() {
    let (_folder, _, inbox) = new_inbox();
    let held = || block_on(inbox.held()).unwrap();
    assert!(held().is_empty());
    execute(
        &inbox,
        "WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < 1000000) \
         INSERT INTO inbox_notifications (id, type, state, dismiss, source, attempts, received_at, due_at, due_since) \
         SELECT id, 'close', 1, 0, 1, 1, 0, 0, 0 FROM ids",
    )
    .unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(held(), [1..=1_000_000]);
    println!("whole: {:?}", begun.elapsed());
    execute(
        &inbox,
        "DELETE FROM inbox_notifications WHERE id = 1 OR id % 1000 IN (7, 8) OR id BETWEEN 5000 AND 19999",
    )
    .unwrap();
    execute(
        &inbox,
        "INSERT INTO inbox_notifications (id, type, state, dismiss, source, attempts, received_at, due_at, due_since) \
         VALUES (9223372036854775806, 'close', 0, 0, 0, 0, 0, 0, 0), (9223372036854775807, 'close', 0, 0, 0, 0, 0, 0, 0)",
    )
    .unwrap();
    let begun = std::time::Instant::now();
    let ranges = held();
    println!("with gaps: {:?}", begun.elapsed());
    let mut expected = vec![2..=6];
    expected.extend((0..4).map(|k| k * 1000 + 9..=k * 1000 + 1006));
    expected.push(4009..=4999);
    expected.push(20_000..=20_006);
    expected.extend((20..999).map(|k| k * 1000 + 9..=k * 1000 + 1006));
    expected.push(999_009..=1_000_000);
    expected.push(i64::MAX - 1..=i64::MAX);
    assert_eq!(ranges, expected);
}

#[test]
fn an_error_says_which_file_it_is_and_what_to_do() {
    let path = PathBuf::from("of/mine/inbox.db");
    let source = std::io::Error::other("no");
    for (error, expected) in [
        (Error::InboxBusy { path: path.clone() }, ["of/mine/inbox.db", "end the other one first"]),
        (Error::Lock { path, source }, ["of/mine/inbox.db", "must be writable"]),
        (Error::DiskFull, ["full", "make room"]),
        (Error::OtherTenant { inbox: "a".to_owned(), given: "b".to_owned() }, ["tenant a", "of its own"]),
        (Error::OtherHistory { id: sequence(7) }, ["id 7", "begin a new one"]),
    ] {
        let text = error.to_string();
        assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    }
}
