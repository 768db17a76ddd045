//! What the end of an attempt means.

use super::*;

const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(3_600) };

fn judged(result: Result<Outcome, BoxError>, number: u32) -> Verdict {
    verdict(result, number, 20, BACKOFF)
}

#[test]
fn a_failure_is_tried_again_until_the_last_attempt() {
    for number in 1..20 {
        let Verdict::Retry(time, reason) = judged(Err("no room".into()), number) else {
            panic!("attempt {number} was the last");
        };
        let whole = Duration::from_secs(3_600.min(1 << (number - 1)));
        assert!((whole / 2..=whole).contains(&time), "{number}: {time:?}");
        assert_eq!(reason, "no room");
    }
    assert_eq!(judged(Err("no room".into()), 20), Verdict::Dead("no room".to_owned()));
}

#[test]
fn what_can_never_succeed_is_not_tried_again() {
    assert_eq!(judged(Ok(Outcome::Dead("void".to_owned())), 1), Verdict::Dead("void".to_owned()));
    let item = r#"{"links":{"self":""},"data":{"type":"notification","id":"1","links":{"self":""},"attributes":
        {"id":"1","createdAt":"2023-12-13T20:42:50.427Z","type":"close","isDismissed":false,"isRead":false,
        "isFlagged":false,"comment":null,"data":{"count":"many"}}}}"#;
    #[derive(Debug, serde::Deserialize)]
    struct Count {
        #[expect(dead_code, reason = "only its type matters")]
        count: u32,
    }
    let error = Item::read(item.to_owned(), 1).unwrap().data::<Count>().unwrap_err();
    let Verdict::Dead(reason) = judged(Err(error.into()), 1) else { panic!("it is tried again") };
    assert!(reason.contains("expected shape") && reason.contains("u32"), "{reason}");
}

#[test]
fn who_puts_it_off_is_asked_again_at_his_time_but_not_for_ever() {
    let later = || Ok(Outcome::RetryAfter(Duration::from_secs(7)));
    assert!(matches!(judged(later(), 19), Verdict::Retry(time, _) if time == Duration::from_secs(7)));
    assert!(matches!(judged(later(), 20), Verdict::Dead(_)));
    assert!(matches!(end(&Verdict::Retry(Duration::MAX, String::new())), End::RetryAt(..)));
}

#[test]
fn a_reason_is_cut_at_a_character() {
    let Verdict::Dead(reason) = judged(Ok(Outcome::Dead("é".repeat(2_000))), 1) else { panic!("not dead") };
    assert_eq!(reason, "é".repeat(1_000));
}
