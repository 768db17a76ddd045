//! Two sides measured in turns, and the table that shows them.
//!
//! Machines are not equally fast from one minute to the next, so a number alone says little. What is measured stands beside
//! its ceiling, taken a moment before, and the median of the rounds' ratios is what counts.

use serde::Serialize;

use crate::Options;
use crate::generator::Measured;

/// What a row is meant to reach.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Goal {
    /// For rates.
    AtLeast(f64),
    /// For times.
    AtMost(f64),
}

/// One thing that was measured beside another, round after round.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    what: String,
    beside: String,
    unit: &'static str,
    goal: Option<Goal>,
    rounds: Vec<Round>,
    ratio: Spread,
}

#[derive(Clone, Copy, Serialize)]
struct Round {
    measured: f64,
    beside: f64,
}

/// The median, and how far it may be trusted.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else { return Spread::default() };
        let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        Spread { median, least: *least, most: *most }
    }
}

impl Row {
    /// A rate beside its ceiling.
    pub(crate) fn rate(what: impl Into<String>, beside: impl Into<String>, goal: Option<f64>) -> Self {
        Self::new(what.into(), beside.into(), "/s", goal.map(Goal::AtLeast))
    }

    /// A time in milliseconds beside the shortest that is possible.
    pub(crate) fn time(what: impl Into<String>, beside: impl Into<String>, goal: f64) -> Self {
        Self::new(what.into(), beside.into(), "ms", Some(Goal::AtMost(goal)))
    }

    fn new(what: String, beside: String, unit: &'static str, goal: Option<Goal>) -> Self {
        Row { what, beside, unit, goal, rounds: Vec::new(), ratio: Spread::default() }
    }

    /// Adds a round.
    pub(crate) fn add(&mut self, measured: f64, beside: f64) {
        progress(&format!(
            "{}: {}{unit} beside {}{unit}: {:.2}",
            self.what,
            number(measured),
            number(beside),
            measured / beside,
            unit = self.unit,
        ));
        self.rounds.push(Round { measured, beside });
        self.ratio = Spread::of(self.rounds.iter().map(|round| round.measured / round.beside));
    }

    /// The ratios of the rounds.
    pub(crate) fn ratio(&self) -> Spread {
        self.ratio
    }

    /// What is measured.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The rows of two kinds of turns beside each other: what this one measured to what the other did.
    pub(crate) fn to(&self, other: &Row, goal: Option<f64>) -> Row {
        let mut row = Row::rate(&self.what, &other.what, goal);
        for (mine, others) in self.rounds.iter().zip(&other.rounds) {
            row.add(mine.measured, others.measured);
        }
        row
    }

    fn print(&self) {
        let median = |side: fn(&Round) -> f64| number(Spread::of(self.rounds.iter().map(side)).median);
        let Spread { median: ratio, least, most } = self.ratio;
        let goal = match self.goal {
            Some(Goal::AtLeast(goal)) => format!("≥ {goal:.2}"),
            Some(Goal::AtMost(goal)) => format!("≤ {goal:.2}"),
            None => String::new(),
        };
        println!(
            "{:<62}{:>10}{:>10} {:<3}{ratio:>6.2}{:>14}{goal:>9}",
            format!("{} / {}", self.what, self.beside),
            median(|round| round.measured),
            median(|round| round.beside),
            self.unit,
            format!("{least:.2}–{most:.2}"),
        );
    }
}

/// Everything that a run has shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    database: String,
    body_bytes: u32,
    rows: Vec<Row>,
    notes: Vec<String>,
    /// Whether nothing was missing and no request failed.
    complete: bool,
}

impl Report {
    pub(crate) fn new(options: &Options, database: &str) -> Self {
        Report {
            database: database.to_owned(),
            body_bytes: options.body,
            rows: Vec::new(),
            notes: Vec::new(),
            complete: true,
        }
    }

    pub(crate) fn add(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    /// Something else worth knowing.
    pub(crate) fn note(&mut self, note: String) {
        progress(&note);
        self.notes.push(note);
    }

    /// Something that is not as it must be: the run fails.
    pub(crate) fn missing(&mut self, what: &str) {
        self.note(format!("MISSING: {what}"));
        self.complete = false;
    }

    /// Requests that failed: so does the run.
    pub(crate) fn check(&mut self, measured: &Measured) {
        if let Some(failure) = &measured.first_failure {
            self.note(format!("FAILED: {} requests, the first: {failure}", measured.failures));
            self.complete = false;
        }
    }

    /// Prints all of it. True: nothing was missing.
    pub(crate) fn print(&self, json: bool) -> bool {
        if json {
            println!("{}", serde_json::to_string_pretty(self).expect("a report is JSON"));
            return self.complete;
        }
        println!("\n{}, {} bytes", self.database, self.body_bytes);
        println!("{:<62}{:>10}{:>10}    {:>6}{:>14}{:>9}", "", "measured", "beside", "ratio", "", "goal");
        self.rows.iter().for_each(Row::print);
        for note in &self.notes {
            println!("{note}");
        }
        println!(
            "{}",
            if self.complete { "nothing is missing" } else { "NOT EVERYTHING IS THERE, see above" }
        );
        self.complete
    }
}

/// Says what is being done.
pub(crate) fn progress(what: &str) {
    eprintln!("load: {what}");
}

/// Short, however large or small it is.
fn number(number: f64) -> String {
    if number < 100.0 { format!("{number:.2}") } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_ratios_counts_and_not_the_ratio_of_medians() {
        let mut row = Row::rate("this", "that", None);
        assert_eq!(row.ratio().median, 0.0);
        for (measured, beside, median) in [(1.0, 10.0, 0.1), (30.0, 100.0, 0.2), (500.0, 1_000.0, 0.3)] {
            row.add(measured, beside);
            assert!((row.ratio().median - median).abs() < 1e-9, "{}", row.ratio().median);
        }
        assert_eq!((row.ratio().least, row.ratio().most), (0.1, 0.5));
    }

    #[test]
    fn rows_of_two_turns_are_compared_round_by_round() {
        let (mut one, mut other) = (Row::rate("one", "that", None), Row::rate("other", "that", None));
        for round in 1..=2 {
            one.add(f64::from(round), 9.0);
            other.add(f64::from(2 * round), 9.0);
        }
        let both = one.to(&other, Some(0.8));
        assert_eq!((both.ratio().least, both.ratio().most), (0.5, 0.5));
    }
}
