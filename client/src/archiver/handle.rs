//! Handling: taking what is due from the inbox, calling its handler, recording how that ended.

#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures_timer::Delay;
use futures_util::future::{BoxFuture, FusedFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _, select_biased};

use super::builder::Handler;
use super::health::{Part, with_sources};
use super::{Archiver, DataError, Item, OUTAGE, Outcome, Tx};
use crate::backoff::Backoff;
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
    Claimed {
        asked: usize,
        claimed: Result<Vec<Claimed>, Error>,
    },
    Ended(Attempt),
    /// Without a verdict, the attempt does not count.
    Recorded(Sequence, Result<Option<Verdict>, Error>),
    Released(Result<(), Error>),
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
    /// No handler may begin any more.
    is_ending: bool,
    /// When to look without a sign.
    look: Delay,
    look_at: Instant,
    tally: Tally,
    /// Why nothing is claimed at present.
    trouble: Option<Error>,
    /// How often in a row there was trouble. What comes of the same trouble until the rest is over counts once.
    failures: u32,
    rests_until: Option<Instant>,
}

impl Archiver {
    /// Handles what is due, and what will be, until `ending` is done; then waits for the handlers that run.
    pub(super) async fn keep_handling<T>(&self, ending: impl Future<Output = T>) -> T {
        let status = &self.inner.status;
        let mut ending = pin!(ending.fuse());
        let mut desk = Desk::new(self);
        let ended = loop {
            desk.claim();
            select_biased! {
                // First, since handlers that are always ready must hold up neither the end nor catching up, which is
                // in it.
                ended = ending => break ended,
                () = self.inner.arrived.seen().fuse() => desk.is_hungry = true,
                () = (&mut desk.look).fuse() => desk.looks_again(),
                step = desk.steps.select_next_some() => {
                    let is_proof = desk.take(step);
                    if let Some(error) = desk.trouble.take() {
                        status.fails(Part::Handle, &error);
                        desk.rests();
                    } else if is_proof {
                        desk.recovers();
                        status.works(Part::Handle);
                    }
                }
            }
        };
        desk.is_ending = true;
        while let Some(step) = desk.steps.next().await {
            desk.take(step);
        }
        if let Some(error) = &desk.trouble {
            status.fails(Part::Handle, error);
        }
        ended
    }

    /// Handles what is due until nothing is, or until `stop` is done; then waits for the handlers that run.
    pub(super) async fn handle_all(
        &self,
        mut stop: Pin<&mut (impl FusedFuture<Output = ()> + ?Sized)>,
        is_stopped: &mut bool,
    ) -> Result<Tally, Error> {
        let mut desk = Desk::new(self);
        desk.is_ending = *is_stopped;
        loop {
            if desk.trouble.is_none() {
                desk.claim();
            }
            select_biased! {
                () = stop => (desk.is_ending, *is_stopped) = (true, true),
                step = desk.steps.next().fuse() => match step {
                    Some(step) => drop(desk.take(step)),
                    None => return desk.trouble.map_or(Ok(desk.tally), Err),
                },
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
            is_ending: false,
            look: Delay::new(LOOK),
            look_at: Instant::now() + LOOK,
            tally: Tally::default(),
            trouble: None,
            failures: 0,
            rests_until: None,
        }
    }

    /// Takes more from the inbox if there is room, and if there may be more.
    fn claim(&mut self) {
        let settings = &self.archiver.inner.settings;
        // While ends are being recorded, others may be handled already; but not without limit.
        let room = (2 * settings.concurrency).saturating_sub(self.busy.len());
        let limit = settings.concurrency.saturating_sub(self.running).min(room);
        if self.is_ending || self.is_claiming || !self.is_hungry || limit == 0 {
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

    /// The inbox works.
    fn recovers(&mut self) {
        self.failures = 0;
        if self.rests_until.take().is_some() {
            self.look_within(LOOK);
        }
    }

    /// Looks again after a while, if there is no sign before.
    fn rests(&mut self) {
        self.is_hungry = false;
        let now = Instant::now();
        if self.rests_until.is_some_and(|end| now < end) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let time = OUTAGE.after(self.failures);
        self.rests_until = Some(now + time);
        self.look.reset(time);
        self.look_at = Instant::now() + time;
    }

    /// Goes on after a step. Whether it has shown that the inbox can be written, or that nothing has to be.
    fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Claimed { asked, claimed } => {
                self.is_claiming = false;
                match claimed {
                    Ok(claimed) if claimed.is_empty() => return self.busy.is_empty(),
                    // It was on its way when the end came.
                    Ok(claimed) if self.is_ending => {
                        let ids = claimed.into_iter().map(|claimed| claimed.id).collect();
                        let inbox = &self.archiver.inner.settings.inbox;
                        self.steps.push(Box::pin(async move { Step::Released(inbox.release(ids).await) }));
                    }
                    Ok(claimed) => {
                        self.is_hungry |= claimed.len() == asked;
                        claimed.into_iter().for_each(|claimed| self.begin(claimed));
                    }
                    Err(error) => self.trouble = Some(error),
                }
                false
            }
            Step::Ended(attempt) => {
                self.running -= 1;
                self.steps.push(Box::pin(record(self.archiver, attempt)));
                false
            }
            Step::Released(Ok(())) => true,
            Step::Released(Err(error)) => {
                self.trouble = Some(error);
                false
            }
            Step::Recorded(id, recorded) => {
                self.busy.remove(&id.get());
                let is_proof = recorded.is_ok();
                match recorded {
                    Ok(Some(Verdict::Handled)) => {
                        self.tally.handled += 1;
                        self.archiver.inner.handled.set();
                    }
                    Ok(Some(Verdict::Retry(time, _))) => {
                        self.tally.failed += 1;
                        self.look_within(time);
                    }
                    Ok(Some(Verdict::Dead(_))) => self.tally.dead += 1,
                    Ok(None) => self.is_hungry = true,
                    // It is still due, and will be claimed again.
                    Err(error) => self.trouble = Some(error),
                }
                is_proof
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
    let recorded = match recorded {
        Ok(()) => Ok(Some(verdict)),
        // The handler can't help it: the attempt doesn't count.
        Err(error) => match (settings.inbox.release(vec![attempt.id]).await, error) {
            (Ok(()), Error::EffectsLost) => Ok(None),
            (_, error) => Err(error),
        },
    };
    Step::Recorded(attempt.id, recorded)
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
