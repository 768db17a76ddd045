//! What came of a day: counted while it passes, and printed for people.

use std::fmt;

use super::receivers::{HOUR, Kind, MILLISECOND, MINUTE, SECOND};
use super::tenant::Tenant;
use super::{DAY, Day};
use crate::rules::notification::Micros;

/// Until when what a receiver's return met is delivered.
#[derive(Debug)]
pub(super) struct Return {
    at: Micros,
    /// What came until then.
    newest: i64,
    total: usize,
    left: usize,
    /// When all but a hundredth had been delivered, and when all.
    most: Option<Micros>,
    all: Option<Micros>,
}

impl Return {
    /// None: nothing waits.
    pub(super) fn new(at: Micros, waiting: usize, newest: i64) -> Option<Self> {
        (waiting > 0).then_some(Return { at, newest, total: waiting, left: waiting, most: None, all: None })
    }

    /// A notification was delivered or given up.
    pub(super) fn ended(&mut self, sequence: i64, now: Micros) {
        if sequence > self.newest {
            return;
        }
        self.left -= 1;
        if self.left * 100 <= self.total {
            self.most.get_or_insert(now - self.at);
        }
        if self.left == 0 {
            self.all = Some(now - self.at);
        }
    }
}

/// What is counted of one kind of receiver.
#[derive(Default)]
struct Counts {
    events: u64,
    given_up: u64,
    attempts: u64,
    wasted: u64,
    waiting: u64,
    /// How many waited at the end of each hour.
    hours: Vec<u64>,
    /// From the receipt to the delivery.
    times: Vec<Micros>,
    /// How long after a return nearly everything was delivered that had waited; how long until all was.
    most: Vec<Micros>,
    all: Vec<Micros>,
    /// Returns after which that was not reached before the receiver failed again, or the day ended.
    unfinished: usize,
}

/// What is counted.
#[derive(Default)]
pub(super) struct Tally {
    counts: [Counts; Kind::ALL.len()],
    /// Given up before the schedule's end.
    too_early: u64,
}

impl Tally {
    pub(super) fn arrived(&mut self, kind: Kind) {
        self.counts[kind as usize].events += 1;
        self.counts[kind as usize].waiting += 1;
    }

    pub(super) fn attempted(&mut self, kind: Kind, is_down: bool) {
        self.counts[kind as usize].attempts += 1;
        self.counts[kind as usize].wasted += u64::from(is_down);
    }

    pub(super) fn delivered(&mut self, kind: Kind, took: Micros) {
        self.counts[kind as usize].times.push(took);
        self.counts[kind as usize].waiting -= 1;
    }

    pub(super) fn given_up(&mut self, kind: Kind, in_time: bool) {
        self.counts[kind as usize].given_up += 1;
        self.counts[kind as usize].waiting -= 1;
        self.too_early += u64::from(!in_time);
    }

    pub(super) fn end_return(&mut self, kind: Kind, back: Option<Return>) {
        let counts = &mut self.counts[kind as usize];
        let Some(back) = back else { return };
        counts.most.extend(back.most);
        counts.all.extend(back.all);
        counts.unfinished += usize::from(back.all.is_none());
    }

    pub(super) fn hour(&mut self) {
        self.counts.iter_mut().for_each(|counts| counts.hours.push(counts.waiting));
    }
}

/// What came of a day.
pub struct Report {
    day: Day,
    rows: Vec<Row>,
    /// Tenants some of whose notifications are neither delivered nor given up nor waiting, or more than one of that.
    pub stranded: usize,
    /// Notifications that were given up before their schedule's end.
    pub too_early: u64,
}

/// What came of it for one kind of receiver.
pub struct Row {
    /// Which.
    pub kind: Kind,
    /// How many tenants have one.
    pub tenants: usize,
    /// What came for them.
    pub events: u64,
    /// What of it was delivered.
    pub delivered: u64,
    /// What was given up at the end of its schedule.
    pub given_up: u64,
    /// What waits.
    pub waiting: u64,
    /// From the receipt to the delivery: the median, the 99th percentile and the longest.
    pub times: [Micros; 3],
    /// Requests.
    pub attempts: u64,
    /// Those of them that were made while the receiver was down.
    pub wasted: u64,
    /// How long their receivers were down, all together.
    pub down: Micros,
    /// What waited at the end of each hour.
    pub hours: Vec<u64>,
    /// After how long all but a hundredth of what a returning receiver met was delivered: median, 99th percentile, longest.
    pub most: [Micros; 3],
    /// After how long all was.
    pub all: [Micros; 3],
    /// How often receivers came back to a backlog.
    pub returns: usize,
    /// How often not all was delivered before the receiver failed again, or the day ended.
    pub unfinished: usize,
}

impl Report {
    pub(super) fn new(day: Day, tally: Tally, tenants: &[Tenant]) -> Self {
        let is_whole = |tenant: &&Tenant| {
            let waiting: i64 = tenant.shelf.sequences().sum();
            tenant.ended + waiting == tenant.last * (tenant.last + 1) / 2
                && tenant.shelf.sequences().count() == tenant.waiting
        };
        let stranded = tenants.iter().filter(|tenant| !is_whole(tenant)).count();
        let too_early = tally.too_early;
        let row = |(kind, mut counts): (Kind, Counts)| {
            let of_kind = || tenants.iter().filter(|tenant| tenant.receiver.kind == kind);
            let downs = of_kind().flat_map(|tenant| tenant.receiver.downs());
            Row {
                kind,
                tenants: of_kind().count(),
                events: counts.events,
                delivered: counts.times.len() as u64,
                given_up: counts.given_up,
                waiting: counts.waiting,
                times: quantiles(&mut counts.times),
                attempts: counts.attempts,
                wasted: counts.wasted,
                down: downs.map(|(from, to)| (*to).min(DAY) - from).sum(),
                returns: counts.all.len() + counts.unfinished,
                most: quantiles(&mut counts.most),
                all: quantiles(&mut counts.all),
                unfinished: counts.unfinished,
                hours: counts.hours,
            }
        };
        let rows = Kind::ALL.into_iter().zip(tally.counts).map(row).collect();
        Report { day, rows, stranded, too_early }
    }

    /// Of one kind of receiver.
    pub fn row(&self, kind: Kind) -> &Row {
        &self.rows[kind as usize]
    }

    /// Of all kinds.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// The median, the 99th percentile and the largest.
fn quantiles(values: &mut [Micros]) -> [Micros; 3] {
    values.sort_unstable();
    let at = |hundredths: usize| values.len().saturating_sub(1) * hundredths / 100;
    [50, 99, 100].map(|hundredths| values.get(at(hundredths)).copied().unwrap_or(0))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Day { seed, tenants, .. } = self.day;
        let events: u64 = self.rows.iter().map(|row| row.events).sum();
        let attempts: u64 = self.rows.iter().map(|row| row.attempts).sum();
        writeln!(f, "seed {seed}: {tenants} tenants, {events} events, {attempts} attempts")?;
        writeln!(
            f,
            "\n{:<20}{:>7}{:>9}{:>10}{:>9}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "receiver",
            "tenants",
            "events",
            "delivered",
            "given up",
            "waits",
            "p50",
            "p99",
            "longest",
            "attempts",
            "wasted"
        )?;
        for row in &self.rows {
            let [median, most, longest] = row.times.map(span);
            writeln!(
                f,
                "{:<20}{:>7}{:>9}{:>10}{:>9}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}",
                row.kind.name(),
                row.tenants,
                row.events,
                row.delivered,
                row.given_up,
                row.waiting,
                median,
                most,
                longest,
                row.attempts,
                row.wasted
            )?;
        }
        writeln!(f, "\nwhat waits, hour by hour")?;
        for row in &self.rows {
            let most = row.hours.iter().copied().max().unwrap_or(0);
            writeln!(f, "{:<20}{}  at most {most}", row.kind.name(), line(&row.hours, most))?;
        }
        writeln!(
            f,
            "\n{:<20}{:>8}{:>34}{:>34}{:>12}",
            "receivers back", "times", "99 % of the backlog gone after", "all of it", "unfinished"
        )?;
        for row in self.rows.iter().filter(|row| row.returns > 0) {
            let three = |[median, most, longest]: [Micros; 3]| {
                format!("{} / {} / {}", span(median), span(most), span(longest))
            };
            writeln!(
                f,
                "{:<20}{:>8}{:>34}{:>34}{:>12}",
                row.kind.name(),
                row.returns,
                three(row.most),
                three(row.all),
                row.unfinished
            )?;
        }
        writeln!(
            f,
            "\ntenants with something lost {}, given up before their time {}",
            self.stranded, self.too_early
        )
    }
}

/// A line of columns as high as the numbers are large.
fn line(numbers: &[u64], most: u64) -> String {
    const COLUMNS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let column =
        |number: &u64| COLUMNS[usize::try_from((number * 8).div_ceil(most.max(1))).unwrap_or(8).min(8)];
    numbers.iter().map(column).collect()
}

/// A time, for people.
fn span(micros: Micros) -> String {
    let units = |unit: Micros| micros as f64 / unit as f64;
    if micros < SECOND {
        format!("{:.0} ms", units(MILLISECOND))
    } else if micros < 2 * MINUTE {
        format!("{:.1} s", units(SECOND))
    } else if micros < HOUR {
        format!("{:.1} min", units(MINUTE))
    } else {
        format!("{:.1} h", units(HOUR))
    }
}
