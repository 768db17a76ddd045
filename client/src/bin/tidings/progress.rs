//! How far long work is: a bar on a terminal, a plain line now and then elsewhere. Always on the standard error.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::output::Out;
use crate::values::{short, thousands};

/// The bar that is on the screen: whatever else is said has to stand above it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says something on the standard error. Nobody need listen: a closed pipe is no reason to break off.
pub(crate) fn say(text: &str) {
    let write = || drop(writeln!(io::stderr(), "{text}"));
    match &*shown() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// How often a plain line is written.
const EVERY: Duration = Duration::from_secs(10);

/// Work of which so much is done.
pub(crate) struct Progress {
    what: &'static str,
    begun: Instant,
    told: Instant,
    done: u64,
    total: Option<u64>,
    /// None: plain lines.
    bar: Option<ProgressBar>,
    quiet: bool,
    colored: bool,
}

impl Progress {
    /// `what` is done to so many; without a number, to as many as there turn out to be.
    pub(crate) fn new(out: &Out, what: &'static str, total: Option<u64>) -> Self {
        let bar = (io::stderr().is_terminal() && !out.quiet).then(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(style(total.is_some(), out.colored));
            bar.set_prefix(what);
            *shown() = Some(bar.clone());
            bar
        });
        let now = Instant::now();
        Progress { what, begun: now, told: now, done: 0, total, bar, quiet: out.quiet, colored: out.colored }
    }

    /// Says how much there is to do, once that is known.
    pub(crate) fn total(&mut self, total: Option<u64>) {
        if self.total == total {
            return;
        }
        if let (Some(bar), Some(total)) = (&self.bar, total) {
            bar.set_style(style(true, self.colored));
            bar.set_length(total);
        }
        self.total = total;
    }

    /// So much is done now.
    pub(crate) fn set(&mut self, done: u64) {
        let moved = self.done != done;
        self.done = done;
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if !self.quiet && moved && self.told.elapsed() >= EVERY => {
                self.told = Instant::now();
                say(&line(self.what, done, self.total, self.begun.elapsed()));
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            *shown() = None;
        }
    }
}

fn style(known: bool, colored: bool) -> ProgressStyle {
    let text = match (known, colored) {
        (true, true) => "{prefix} {bar:30.green/dim} {human_pos} of {human_len}  {rate}  {eta} left",
        (true, false) => "{prefix} {bar:30} {human_pos} of {human_len}  {rate}  {eta} left",
        (false, _) => "{prefix} {spinner} {human_pos}  {rate}",
    };
    // A template that can't be read would be seen at once; the plain bar does as well.
    let style = ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", |state: &ProgressState, to: &mut dyn fmt::Write| {
        // What can't be written is not seen.
        let _ = to.write_str(&per_second(state.per_sec()));
    })
}

fn per_second(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}/s") } else { format!("{}/s", thousands(rate as u64)) }
}

/// A line such as `fetched 12,000 of 100,000 (12 %), 8,100/s, 11s left`.
fn line(what: &str, done: u64, total: Option<u64>, took: Duration) -> String {
    let rate = done as f64 / took.as_secs_f64().max(0.001);
    let each = per_second(rate);
    match total {
        Some(total) if total > 0 => {
            let percent = (done as f64 * 100.0 / total as f64).min(100.0) as u64;
            let left = total.saturating_sub(done) as f64 / rate.max(f64::MIN_POSITIVE);
            let left = Duration::try_from_secs_f64(left).map_or("?".to_owned(), short);
            format!("{what} {} of {} ({percent} %), {each}, {left} left", thousands(done), thousands(total))
        }
        _ => format!("{what} {}, {each}", thousands(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_and_time_left() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line("fetched", 12_000, Some(100_000), second),
            "fetched 12,000 of 100,000 (12 %), 12,000/s, 7s left"
        );
        assert_eq!(line("fetched", 3, None, second * 2), "fetched 3, 1.5/s");
        assert_eq!(line("fetched", 0, Some(5), second), "fetched 0 of 5 (0 %), 0.0/s, ? left");
    }
}
