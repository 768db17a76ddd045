//! When someone is told of a push in trouble, and how often it is tried to tell them.

use std::time::Duration;

use tidings_api::alert::AlertKind;

/// The states that last until a push is accepted again.
pub const STREAK: [AlertKind; 5] = [
    AlertKind::Failing,
    AlertKind::Retries50,
    AlertKind::Retries70,
    AlertKind::Retries90,
    AlertKind::Retries100,
];

/// The states that last until an admin resumes the push.
pub const STOPPED: [AlertKind; 2] = [AlertKind::Disabled, AlertKind::Paused];

/// The shares of the retries that are told, in per cent, largest first.
const MARKS: [(u32, AlertKind); 4] = [
    (100, AlertKind::Retries100),
    (90, AlertKind::Retries90),
    (70, AlertKind::Retries70),
    (50, AlertKind::Retries50),
];

/// A state that comes and goes is told at most so often within [`LATELY`]. Once that is over and it lasts, it is told.
pub const OFTEN: usize = 5;
/// See [`OFTEN`].
pub const LATELY: Duration = Duration::from_secs(60 * 60);

/// Tests by mail are at least so far apart: whoever may set an address can name anybody's.
pub const TESTS_APART: Duration = Duration::from_secs(60);

/// The longest mail address (RFC 5321 §4.5.3.1.3).
const LONGEST_ADDRESS: usize = 254;

/// The share of its retries that a notification has used, if that is one to tell. The first attempt is no retry. Where
/// an attempt passes several marks, as the only one of a schedule without retries does, the largest says it all.
pub fn mark(failed: u32, allowed: u32) -> Option<AlertKind> {
    let used = u64::from(failed.checked_sub(1)?) * 100;
    let retries = u64::from(allowed.saturating_sub(1));
    let reached = MARKS.iter().find(|(share, _)| used >= u64::from(*share) * retries);
    reached.map(|(_, kind)| *kind)
}

/// The marks that are at least as large as this one; none for what isn't a mark.
pub fn at_least(kind: AlertKind) -> impl Iterator<Item = AlertKind> {
    let end = MARKS.iter().position(|(_, mark)| *mark == kind).map_or(0, |index| index + 1);
    MARKS.into_iter().take(end).map(|(_, kind)| kind)
}

/// How long to wait before an alert that could not be sent is tried again; none after the last time.
pub fn again(failed: u32) -> Option<Duration> {
    let seconds = match failed {
        0 | 1 => 10,
        2 => 60,
        3 => 10 * 60,
        4 => 60 * 60,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

/// Whether a text is one mail address, without a name and without what could end a line or begin another address.
///
/// # Errors
/// Why it isn't.
pub fn check_email(address: &str) -> Result<(), String> {
    let reason = if address.len() > LONGEST_ADDRESS {
        format!("it is longer than {LONGEST_ADDRESS} bytes")
    } else if address.chars().any(|c| c.is_control() || c.is_whitespace() || ",;<>\"()\\".contains(c)) {
        "one plain address such as ops@example.com is expected".to_owned()
    } else if let Err(error) = address.parse::<lettre::Address>() {
        error.to_string()
    } else {
        return Ok(());
    };
    Err(format!("this is no mail address: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_reached_at_its_share_of_the_retries() {
        use AlertKind::{Retries50, Retries70, Retries90, Retries100};
        let reached = |allowed| (1..=allowed).map(|failed| mark(failed, allowed)).collect::<Vec<_>>();
        let ten_retries = reached(11);
        assert_eq!(ten_retries[..5], [None; 5], "the first attempt and four retries");
        assert_eq!(ten_retries[5..7], [Some(Retries50); 2], "5 of 10 retries are half");
        assert_eq!(ten_retries[7..9], [Some(Retries70); 2], "7 of 10 are 70 %");
        assert_eq!(ten_retries[9..], [Some(Retries90), Some(Retries100)]);
        let twenty_retries = reached(21);
        assert_eq!(
            twenty_retries.iter().position(Option::is_some),
            Some(10),
            "the eleventh attempt is the tenth retry"
        );
        assert_eq!(twenty_retries[19], Some(Retries90));
        assert_eq!(reached(1), [Some(Retries100)], "the only attempt is the last");
        assert_eq!(reached(2), [None, Some(Retries100)], "before the only retry none is used");
        assert_eq!(reached(3), [None, Some(Retries50), Some(Retries100)]);
        assert_eq!(reached(4), [None, None, Some(Retries50), Some(Retries100)]);
        assert_eq!(mark(5, 4), Some(Retries100), "a schedule that was shortened meanwhile");
        assert_eq!(mark(1, 0), Some(Retries100));
        assert_eq!(mark(0, 20), None);
        assert_eq!(mark(0, 1), None);
    }

    #[test]
    fn a_mark_counts_for_the_smaller_ones() {
        let larger = |kind| at_least(kind).collect::<Vec<_>>();
        assert_eq!(larger(AlertKind::Retries100), [AlertKind::Retries100]);
        assert_eq!(larger(AlertKind::Retries50).len(), 4);
        assert!(larger(AlertKind::Failing).is_empty());
    }

    #[test]
    fn an_alert_is_given_up_after_an_hour_and_some_minutes() {
        let delays: Vec<u64> = (1..).map_while(again).map(|delay| delay.as_secs()).collect();
        assert_eq!(delays, [10, 60, 600, 3600]);
    }

    #[test]
    fn only_a_plain_address_is_taken() {
        for good in ["ops@example.com", "first.last+tag@mail.example.co.uk"] {
            assert_eq!(check_email(good), Ok(()), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(260));
        for bad in [
            "",
            "ops",
            "@example.com",
            "ops@",
            "ops@example.com\r\nBcc: all@example.com",
            "ops@example.com,all@example.com",
            "Ops <ops@example.com>",
            "ops @example.com",
            "ops@exa mple.com",
            &long,
        ] {
            assert!(check_email(bad).is_err(), "{bad:?}");
        }
    }
}
