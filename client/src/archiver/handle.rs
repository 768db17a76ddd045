//! Handling: taking what is due from the inbox, calling its handler, recording how that ended.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures_timer::Delay;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _, select_biased};

use super::builder::Handler;
use super::health::{Part, with_sources};
use super::timing::Backoff;
use super::{Archiver, DataError, Item, Outcome, Tx};
use crate::inbox::{BoxError, Claimed, Effect, End};
use crate::{Error, Sequence};

/// How often to look without a sign: another process may have stored something, or revived it.
const LOOK: Duration = Duration::from_secs(1);
/// The longest reason that is kept, in characters.
const LONGEST_REASON: usize = 1_000;

/// What became of attempts to handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) handled: u64,
    pub(super) failed: u64,
    pub(super) dead: u64,
}

/// How an attempt ended.
struct Attempt {
    id: Sequence,
    number: u32,
    result: Result<Outcome, BoxError>,
    effects: Vec<Effect>,
}

/// What an attempt's end means for the notification.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Handled,
    Retry(Duration, String),
    Dead(String),
}

/// What has been waited for.
enum Step {
    Claimed { asked: usize, claimed: Result<Vec<Claimed>, Error> },
    Ended(Attempt),
    Recorded(Sequence, Result<Verdict, Error>),
}

/// The work under way.
struct Desk<'a> {
    archiver: &'a Archiver,
    steps: FuturesUnordered<BoxFuture<'a, Step>>,
    /// What has been claimed, and whose end has not been recorded yet.
    busy: BTreeSet<i64>,
    /// How many of those are being handled.
    running: usize,
    is_claiming: bool,
    /// Something may be due.
    is_hungry: bool,
    /// When to look without a sign.
    look: Delay,
    look_at: Instant,
    tally: Tally,
    /// Why nothing is claimed at present.
    trouble: Option<Error>,
}

impl Archiver {
    /// Handles what is due, and what will be, until `ending` is done; then waits for the handlers that run.
    pub(super) async fn keep_handling<T>(&self, ending: impl Future<Output = T>) -> T {
        let status = &self.inner.status;
        let mut ending = pin!(ending.fuse());
        let mut desk = Desk::new(self);
        let mut failures = 0;
        let ended = loop {
            desk.claim();
            select_biased! {
                // First, since handlers that are always ready must hold up neither the end nor catching up, which is
                // in it.
                ended = ending => break ended,
                () = self.inner.arrived.seen().fuse() => desk.is_hungry = true,
                () = (&mut desk.look).fuse() => desk.looks_again(),
                step = desk.steps.select_next_some() => {
                    let is_proof = matches!(step, Step::Claimed { .. });
                    desk.take(step);
                    if let Some(error) = desk.trouble.take() {
                        failures += 1;
                        status.fails(Part::Handle, &error);
                        desk.rests(Backoff::OUTAGE.after(failures));
                    } else if is_proof {
                        failures = 0;
                        status.works(Part::Handle);
                    }
                }
            }
        };
        while let Some(step) = desk.steps.next().await {
            desk.take(step);
        }
        if let Some(error) = &desk.trouble {
            status.fails(Part::Handle, error);
        }
        ended
    }

    /// Handles what is due until nothing is.
    pub(super) async fn handle_all(&self) -> Result<Tally, Error> {
        let mut desk = Desk::new(self);
        loop {
            if desk.trouble.is_none() {
                desk.claim();
            }
            match desk.steps.next().await {
                Some(step) => desk.take(step),
                None => return desk.trouble.map_or(Ok(desk.tally), Err),
            }
        }
    }
}

impl<'a> Desk<'a> {
    fn new(archiver: &'a Archiver) -> Self {
        Desk {
            archiver,
            steps: FuturesUnordered::new(),
            busy: BTreeSet::new(),
            running: 0,
            is_claiming: false,
            is_hungry: true,
            look: Delay::new(LOOK),
            look_at: Instant::now() + LOOK,
            tally: Tally::default(),
            trouble: None,
        }
    }

    /// Takes more from the inbox if there is room, and if there may be more.
    fn claim(&mut self) {
        let settings = &self.archiver.inner.settings;
        // While ends are being recorded, others may be handled already; but not without limit.
        let room = (2 * settings.concurrency).saturating_sub(self.busy.len());
        let limit = settings.concurrency.saturating_sub(self.running).min(room);
        if self.is_claiming || !self.is_hungry || limit == 0 {
            return;
        }
        (self.is_claiming, self.is_hungry) = (true, false);
        let busy = self.busy.iter().copied().collect();
        self.steps.push(Box::pin(async move {
            Step::Claimed { asked: limit, claimed: settings.inbox.claim(limit, busy).await }
        }));
    }

    /// Looks for what is due no later than this.
    fn look_within(&mut self, time: Duration) {
        let now = Instant::now();
        if time < self.look_at.saturating_duration_since(now) {
            self.look.reset(time);
            self.look_at = now + time;
        }
    }

    fn looks_again(&mut self) {
        self.is_hungry = true;
        self.look.reset(LOOK);
        self.look_at = Instant::now() + LOOK;
    }

    /// Looks again after this time, if there is no sign before.
    fn rests(&mut self, time: Duration) {
        self.is_hungry = false;
        self.look.reset(time);
        self.look_at = Instant::now() + time;
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Claimed { asked, claimed } => {
                self.is_claiming = false;
                match claimed {
                    Ok(claimed) => {
                        self.is_hungry |= claimed.len() == asked;
                        claimed.into_iter().for_each(|claimed| self.begin(claimed));
                    }
                    Err(error) => self.trouble = Some(error),
                }
            }
            Step::Ended(attempt) => {
                self.running -= 1;
                self.steps.push(Box::pin(record(self.archiver, attempt)));
            }
            Step::Recorded(id, recorded) => {
                self.busy.remove(&id.get());
                match recorded {
                    Ok(Verdict::Handled) => {
                        self.tally.handled += 1;
                        self.archiver.inner.handled.set();
                    }
                    Ok(Verdict::Retry(time, _)) => {
                        self.tally.failed += 1;
                        self.look_within(time);
                    }
                    Ok(Verdict::Dead(_)) => self.tally.dead += 1,
                    // It is still due, and will be claimed again.
                    Err(error) => self.trouble = Some(error),
                }
            }
        }
    }

    /// Calls the handler of what was claimed.
    fn begin(&mut self, claimed: Claimed) {
        let settings = &self.archiver.inner.settings;
        let Claimed { id, document, attempt: number } = claimed;
        self.busy.insert(id.get());
        let hopeless = |reason: String| {
            let result = Ok(Outcome::Dead(reason));
            record(self.archiver, Attempt { id, number, result, effects: Vec::new() })
        };
        if number > settings.max_attempts {
            let most = settings.max_attempts;
            let reason = format!("the last of {most} attempts was cut off: the program may have ended in it");
            self.steps.push(Box::pin(hopeless(reason)));
            return;
        }
        match Item::read(document, number) {
            Ok(item) => {
                let handler = settings.handlers.get(item.event_type()).unwrap_or(&settings.otherwise);
                self.running += 1;
                self.steps.push(Box::pin(async move { Step::Ended(run(handler, item).await) }));
            }
            Err(error) => {
                let reason = format!("its document can't be read: {error}");
                self.steps.push(Box::pin(hopeless(reason)));
            }
        }
    }
}

/// Calls a handler and waits for its end, whatever that is.
async fn run(handler: &Handler, item: Item) -> Attempt {
    let (id, number) = (item.id(), item.attempt());
    let (tx, effects) = Tx::new();
    let handling = async { handler(item, tx).await };
    let result = AssertUnwindSafe(handling).catch_unwind().await;
    let result = result.unwrap_or_else(|panic| Err(panicked(&*panic).into()));
    match Arc::into_inner(effects) {
        Some(effects) => {
            let effects = effects.into_inner().unwrap_or_else(PoisonError::into_inner);
            Attempt { id, number, result, effects }
        }
        // What would be added now would be lost without a word.
        None => {
            let result = result
                .and_then(|_| Err("the handler ended while its `Tx` was still in use elsewhere".into()));
            Attempt { id, number, result, effects: Vec::new() }
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("it did not say why"))
}

/// Records how an attempt ended.
async fn record(archiver: &Archiver, attempt: Attempt) -> Step {
    let settings = &archiver.inner.settings;
    let judge = |result| verdict(result, attempt.number, settings.max_attempts, settings.backoff);
    let mut verdict = judge(attempt.result);
    let mut recorded =
        settings.inbox.finish(attempt.id, end(&verdict), kept(&verdict, attempt.effects)).await;
    if let Err(Error::Effect(error)) = recorded {
        verdict = judge(Err(error));
        recorded = settings.inbox.finish(attempt.id, end(&verdict), Vec::new()).await;
    }
    Step::Recorded(attempt.id, recorded.map(|()| verdict))
}

/// What is written with this end.
fn kept(verdict: &Verdict, effects: Vec<Effect>) -> Vec<Effect> {
    if *verdict == Verdict::Handled { effects } else { Vec::new() }
}

fn end(verdict: &Verdict) -> End {
    match verdict {
        Verdict::Handled => End::Handled,
        Verdict::Retry(time, reason) => {
            let time = TimeDelta::from_std(*time).unwrap_or(TimeDelta::MAX);
            let at = Utc::now().checked_add_signed(time).unwrap_or(DateTime::<Utc>::MAX_UTC);
            End::RetryAt(at, reason.clone())
        }
        Verdict::Dead(reason) => End::Dead(reason.clone()),
    }
}

/// What the end of an attempt means.
fn verdict(result: Result<Outcome, BoxError>, number: u32, most: u32, backoff: Backoff) -> Verdict {
    let is_last = number >= most;
    match result {
        Ok(Outcome::Done) => Verdict::Handled,
        Ok(Outcome::Dead(reason)) => Verdict::Dead(cut(&reason)),
        Ok(Outcome::RetryAfter(_)) if is_last => Verdict::Dead(format!("put off, in {most} attempts")),
        Ok(Outcome::RetryAfter(time)) => Verdict::Retry(time, "put off by the handler".to_owned()),
        Err(error) => {
            let reason = cut(&with_sources(&*error));
            match is_last || DataError::is_in(&error) {
                true => Verdict::Dead(reason),
                false => Verdict::Retry(backoff.after(number), reason),
            }
        }
    }
}

fn cut(reason: &str) -> String {
    reason.chars().take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
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
        let Verdict::Dead(reason) = judged(Ok(Outcome::Dead("é".repeat(2_000))), 1) else {
            panic!("not dead")
        };
        assert_eq!(reason, "é".repeat(1_000));
    }
}
