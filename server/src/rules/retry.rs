//! When a failed push is tried again, and when a push without success is disabled: arithmetic, not sleeping.
//!
//! A schedule is a list of delays, each counted from the end of the attempt before it. Nothing here knows what time it
//! is, so neither daylight saving nor a clock that is put forward or back changes how many retries there are.

use std::time::Duration;

use tidings_api::settings::Retry;

use super::notification::Micros;

/// The longest pause that a receiver's `Retry-After` can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// How long to wait after the given number of failed attempts; none after the last.
///
/// `chance` is a random number from 0 to 1: that share of the schedule's jitter is added, so that failures don't return
/// all at once. What the receiver asks for (`Retry-After`, RFC 9110 §10.2.3) lengthens the delay, up to a day, and never
/// shortens it.
///
/// `giveUpAfterSeconds` bounds the sum of the planned delays since the first failure, without jitter and without what
/// the receiver asked for. How many retries there are is therefore known beforehand, whatever the clock does meanwhile
/// and however long the attempts themselves take.
pub fn delay(retry: &Retry, failed: u32, chance: f64, asked: Option<Duration>) -> Option<Duration> {
    let planned = plan(retry).nth(usize::try_from(failed.checked_sub(1)?).ok()?)?;
    let jitter = match retry {
        Retry::None => 0.0,
        Retry::Fixed { jitter, .. } | Retry::Exponential { jitter, .. } | Retry::List { jitter, .. } => {
            jitter.clamp(0.0, 1.0)
        }
    };
    let delay = Duration::from_secs_f64(planned * (1.0 + chance.clamp(0.0, 1.0) * jitter));
    Some(delay.max(asked.unwrap_or_default().min(LONGEST_ASKED)))
}

/// How many attempts there are in all, if each of them fails.
pub fn attempts(retry: &Retry) -> u32 {
    u32::try_from(plan(retry).count() + 1).unwrap_or(u32::MAX)
}

/// The delays in seconds, without jitter.
fn plan(retry: &Retry) -> impl Iterator<Item = f64> {
    let most = match retry {
        Retry::Exponential { give_up_after_seconds: Some(most), .. } => f64::from(*most),
        _ => f64::INFINITY,
    };
    (1..).map_while(|failed| planned(retry, failed)).scan(0.0, move |since_first, delay| {
        *since_first += delay;
        (*since_first <= most).then_some(delay)
    })
}

/// The delay after the given number of failed attempts, but for `giveUpAfterSeconds`.
fn planned(retry: &Retry, failed: u32) -> Option<f64> {
    let before = failed.checked_sub(1)?;
    match retry {
        Retry::None => None,
        Retry::Fixed { every_seconds, attempts, .. } => {
            (failed < *attempts).then_some(f64::from(*every_seconds))
        }
        Retry::Exponential { first_seconds, factor, cap_seconds, attempts, .. } => {
            let exponent = i32::try_from(before).unwrap_or(i32::MAX);
            let seconds = f64::from(*first_seconds) * factor.powi(exponent);
            (failed < *attempts).then_some(seconds.min(f64::from(*cap_seconds)))
        }
        Retry::List { delays_seconds, .. } => {
            delays_seconds.get(usize::try_from(before).ok()?).copied().map(f64::from)
        }
    }
}

/// Whether a push is disabled, now that the retries of a notification are exhausted: there is a bound, and nothing was
/// delivered for that long. The time counts anew from when an admin set the URL or resumed the push.
pub fn disables(
    after_seconds: Option<u32>,
    now: Micros,
    last_success: Option<Micros>,
    resumed_at: Micros,
) -> bool {
    let since = last_success.map_or(resumed_at, |success| success.max(resumed_at));
    after_seconds.is_some_and(|seconds| now.saturating_sub(since) >= i64::from(seconds) * 1_000_000)
}

#[cfg(test)]
mod tests;
