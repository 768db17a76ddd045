//! How an archiver is.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::error::Category;

use super::Archiver;
use crate::{Error, Sequence};

/// How an archiver is. From [`Archiver::health`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// When the last push was stored, or a test push taken; pushes that were refused don't count.
    pub last_push: Option<DateTime<Utc>>,
    /// How many requests were refused since the start because they could not be trusted, or were too large. Anyone can
    /// send such ones, so they are no trouble; but if `last_push` stands still meanwhile, look at the secret and the
    /// clock.
    pub refused_pushes: u64,
    /// When the last page was read.
    pub last_pull: Option<DateTime<Utc>>,
    /// Up to where the inbox has caught up.
    pub cursor: Sequence,
    /// The newest notification that the server is known to have; nothing until it has been asked, or has pushed one.
    pub newest: Option<Sequence>,
    /// How many notifications the server is known to have after the cursor. Some of them may have been pushed already.
    pub lag: Option<u64>,
    /// How many notifications wait to be handled, those included that wait for their next attempt.
    pub depth: u64,
    /// How many notifications have been given up; see [`Inbox::dead`](crate::Inbox::dead).
    pub dead: u64,
    /// How many notifications are handled and still to be dismissed at the server.
    pub to_dismiss: u64,
    /// When the one came that has been waiting longest to be handled.
    pub oldest_waiting: Option<DateTime<Utc>>,
    /// Since when nothing could be pulled, if that is longer ago than two intervals of the schedule.
    pub stale_since: Option<DateTime<Utc>>,
    /// The newest trouble that hasn't passed yet.
    pub last_error: Option<Problem>,
}

/// Something that did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// When it last happened.
    pub at: DateTime<Utc>,
    /// What happened, for people. Never a key, a secret, or a notification's content.
    pub what: String,
}

/// What can be in trouble, independently of the others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Push,
    CatchUp,
    Handle,
    Dismiss,
}

/// What an archiver knows of itself, beside what is in the inbox.
pub(super) struct Status {
    since: Instant,
    refused: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    newest: Option<Sequence>,
    problems: [Option<Problem>; 4],
}

impl Default for Status {
    fn default() -> Self {
        Status { since: Instant::now(), refused: AtomicU64::new(0), known: Mutex::default() }
    }
}

impl Status {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part works, or works again.
    pub(super) fn works(&self, part: Part) {
        self.known().problems[part as usize] = None;
    }

    pub(super) fn fails(&self, part: Part, error: &Error) {
        let what = describe(part, error);
        self.known().problems[part as usize] = Some(Problem { at: Utc::now(), what });
    }

    /// A request was refused that may have come from anyone.
    pub(super) fn refuses(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The newest trouble that hasn't passed.
    pub(super) fn last_problem(&self) -> Option<Problem> {
        let known = self.known();
        known.problems.iter().flatten().max_by_key(|problem| problem.at).cloned()
    }

    /// The server has this notification.
    pub(super) fn newest_is(&self, id: Sequence) {
        let newest = &mut self.known().newest;
        *newest = (*newest).max(Some(id));
    }
}

fn describe(part: Part, error: &Error) -> String {
    let what = match part {
        Part::Push => "a push was not taken",
        Part::CatchUp => "catching up failed",
        Part::Handle => "the inbox failed",
        Part::Dismiss => "dismissing failed",
    };
    match error {
        // Its own words may quote what was read.
        Error::Decode(source) => {
            let kind = match source.classify() {
                Category::Io => "it could not be read",
                Category::Syntax => "it is no JSON",
                Category::Data => "its shape is another",
                Category::Eof => "it ends early",
            };
            format!("{what}: {error}: {kind}, at line {} column {}", source.line(), source.column())
        }
        error => format!("{what}: {}", with_sources(error)),
    }
}

/// The text of an error with those of its sources.
pub(super) fn with_sources(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        // Many an error repeats its source.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}

impl Archiver {
    /// How it is. Cheap: it asks only the inbox.
    ///
    /// # Errors
    /// When the inbox can't be read.
    pub async fn health(&self) -> Result<Health, Error> {
        let settings = &self.inner.settings;
        let counts = settings.inbox.counts().await?;
        let cursor = counts.cursor;
        let status = &self.inner.status;
        let newest = status.known().newest;
        let lag = newest.map(|newest| newest.get().saturating_sub(cursor.get()).max(0).cast_unsigned());
        let now = Utc::now();
        let begun = TimeDelta::from_std(status.since.elapsed()).unwrap_or(TimeDelta::MAX);
        let begun = now.checked_sub_signed(begun).unwrap_or(DateTime::<Utc>::MIN_UTC);
        let stale_since = stale(counts.last_pull, begun, settings.interval, now);
        Ok(Health {
            last_push: counts.last_push,
            refused_pushes: status.refused.load(Ordering::Relaxed),
            last_pull: counts.last_pull,
            cursor,
            newest,
            lag,
            depth: counts.waiting,
            dead: counts.dead,
            to_dismiss: counts.to_dismiss,
            oldest_waiting: counts.oldest_waiting,
            stale_since,
            last_error: status.last_problem(),
        })
    }
}

/// Since when nothing could be pulled, of an archiver that has `begun` then, if that is too long.
fn stale(
    last_pull: Option<DateTime<Utc>>,
    begun: DateTime<Utc>,
    interval: Duration,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    // What is yet to come was noted by a clock that has been set back since.
    let since = last_pull.filter(|pulled| *pulled <= now).unwrap_or(begun);
    let allowed = TimeDelta::from_std(interval.saturating_mul(2)).unwrap_or(TimeDelta::MAX);
    (now - since > allowed).then_some(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_is_who_has_not_pulled_for_two_intervals() {
        let pulled = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let begun = pulled - TimeDelta::seconds(100);
        let interval = Duration::from_secs(10);
        let at = |seconds| stale(Some(pulled), begun, interval, pulled + TimeDelta::seconds(seconds));
        assert_eq!([at(0), at(20), at(21)], [None, None, Some(pulled)]);
        assert_eq!(stale(Some(pulled), begun, Duration::MAX, pulled + TimeDelta::days(10_000)), None);
        // Who has never pulled, since it began.
        assert_eq!(stale(None, begun, interval, begun + TimeDelta::seconds(20)), None);
        assert_eq!(stale(None, begun, interval, begun + TimeDelta::seconds(21)), Some(begun));
        // The clock was ahead when it pulled last, and has been set back.
        let ahead = pulled + TimeDelta::days(365);
        assert_eq!(stale(Some(ahead), begun, interval, pulled), Some(begun));
        assert_eq!(stale(Some(ahead), begun, interval, begun + TimeDelta::seconds(5)), None);
    }

    #[test]
    fn a_problem_quotes_nothing_of_what_was_read() {
        let status = Status::default();
        let source = serde_json::from_str::<u32>("\n \"the patient's name\"").unwrap_err();
        assert!(source.to_string().contains("patient"));
        status.fails(Part::CatchUp, &Error::Decode(source));
        let what = status.last_problem().unwrap().what;
        assert!(
            !what.contains("patient") && what.ends_with("its shape is another, at line 2 column 21"),
            "{what}"
        );
    }

    #[test]
    fn the_newest_trouble_is_told_until_it_has_passed() {
        let status = Status::default();
        status.fails(Part::CatchUp, &Error::Transport("no route".to_owned()));
        status.fails(Part::Dismiss, &Error::Transport("cut".to_owned()));
        let told = || status.last_problem().map(|problem| problem.what);
        assert!(told().is_some());
        status.works(Part::Dismiss);
        assert_eq!(told().unwrap(), "catching up failed: no usable answer came from the server: no route");
        status.works(Part::CatchUp);
        assert_eq!(told(), None);
    }
}
