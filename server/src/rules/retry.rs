//! When a failed push is tried again: arithmetic, not sleeping.

use std::time::Duration;

use tidings_api::settings::Retry;

/// The longest pause that a receiver's `Retry-After` can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// How long to wait after the given number of failed attempts; none after the last.
///
/// `chance` is a random number from 0 to 1: up to a fifth of the delay is added, so that failures don't return all at
/// once. What the receiver asks for (`Retry-After`, RFC 9110 §10.2.3) lengthens the delay, up to a day, and never
/// shortens it.
pub fn delay(retry: &Retry, failed: u32, chance: f64, asked: Option<Duration>) -> Option<Duration> {
    if failed >= retry.attempts {
        return None;
    }
    let cap = f64::from(retry.cap_seconds);
    let exponent = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = (f64::from(retry.first_seconds) * retry.factor.powi(exponent)).min(cap);
    let jittered = Duration::from_secs_f64(seconds * (1.0 + chance.clamp(0.0, 1.0) / 5.0));
    Some(jittered.max(asked.unwrap_or_default().min(LONGEST_ASKED)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::settings::default_retry;

    fn seconds(retry: &Retry, chance: f64) -> Vec<u64> {
        (1..).map_while(|failed| delay(retry, failed, chance, None)).map(|delay| delay.as_secs()).collect()
    }

    #[test]
    fn delays_double_up_to_twelve_hours_and_end_after_the_last_attempt() {
        let all = seconds(&default_retry(), 0.0);
        assert_eq!(all.len(), 19, "twenty attempts have nineteen delays between them");
        assert_eq!(all[..4], [5, 10, 20, 40]);
        assert_eq!(all[13], 40_960);
        assert_eq!(all[14..], [43_200; 5]);
        let days = all.iter().sum::<u64>() / 86_400;
        assert_eq!(days, 3, "the schedule spans several days");
    }

    #[test]
    fn jitter_adds_at_most_a_fifth() {
        let plain = seconds(&default_retry(), 0.0);
        let most = seconds(&default_retry(), 1.0);
        for (plain, most) in plain.iter().zip(&most) {
            assert_eq!(*most, plain * 6 / 5);
        }
    }

    #[test]
    fn retry_after_lengthens_within_a_day() {
        let asked = |seconds| delay(&default_retry(), 1, 0.0, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(1), Some(Duration::from_secs(5)));
        assert_eq!(asked(90), Some(Duration::from_secs(90)));
        assert_eq!(asked(u64::MAX), Some(LONGEST_ASKED));
        assert_eq!(delay(&default_retry(), 20, 0.0, Some(Duration::from_secs(1))), None);
    }
}
