//! The numbers, as a table for people or a document for programs.

use serde::Serialize;

use crate::Options;
use crate::generator::Measured;
use crate::pull::Pulled;
use crate::receiver::Status;
use crate::target::Target;

/// Everything that a run has shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    database: String,
    connections: usize,
    body_bytes: u32,
    tenants: u32,
    offered_per_second: Option<f64>,
    rounds: Vec<Round>,
    /// The median of the rounds' ratios of ingest to echo.
    median_ratio: f64,
    pushes: Pushes,
    pulled_items: u64,
    pulled_items_per_second: f64,
    server_memory_mb: Option<f64>,
    /// Whether every id was there, by push and by pull, and no request failed.
    pub(crate) all_there: bool,
}

/// One echo and one ingest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Round {
    echo_per_second: f64,
    accepted_per_second: f64,
    ratio: f64,
    echo: Latency,
    ingest: Latency,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Latency {
    p50_ms: f64,
    p99_ms: f64,
}

impl Latency {
    fn of(measured: &Measured) -> Self {
        let quantile = |quantile| millis(measured.latency.value_at_quantile(quantile));
        Latency { p50_ms: quantile(0.5), p99_ms: quantile(0.99) }
    }
}

impl Round {
    pub(crate) fn new(echo: &Measured, ingest: &Measured) -> Self {
        let (echoed, accepted) = (echo.per_second(), ingest.per_second());
        Round {
            echo_per_second: echoed,
            accepted_per_second: accepted,
            ratio: accepted / echoed,
            echo: Latency::of(echo),
            ingest: Latency::of(ingest),
        }
    }
}

/// Ingest with pushes and auto-dismiss.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pushes {
    accepted_per_second: f64,
    ingest: Latency,
    pushed_per_second: f64,
    end_to_end: Latency,
    /// How many were not pushed yet when the last was posted.
    behind_at_the_end: u64,
    /// Requests that brought nothing new.
    repeated: u64,
}

impl Pushes {
    pub(crate) fn new(ingested: &Measured, status: &Status, behind: u64, begun_at: u64) -> Self {
        let seconds = status.last_at.saturating_sub(begun_at) as f64 / 1e6;
        Pushes {
            accepted_per_second: ingested.per_second(),
            ingest: Latency::of(ingested),
            pushed_per_second: if seconds > 0.0 { status.distinct() as f64 / seconds } else { 0.0 },
            end_to_end: Latency { p50_ms: millis(status.p50), p99_ms: millis(status.p99) },
            behind_at_the_end: behind,
            repeated: status.requests - status.distinct(),
        }
    }
}

impl Report {
    pub(crate) fn new(
        options: &Options,
        target: &Target,
        rounds: Vec<Round>,
        pushes: Pushes,
        pulled: &Pulled,
        all_there: bool,
    ) -> Self {
        let mut ratios: Vec<f64> = rounds.iter().map(|round| round.ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let middle = ratios.len() / 2;
        let median_ratio = match ratios.len() % 2 {
            0 => (ratios[middle - 1] + ratios[middle]) / 2.0,
            _ => ratios[middle],
        };
        Report {
            database: target.database().to_owned(),
            connections: options.connections,
            body_bytes: options.body,
            tenants: options.tenants,
            offered_per_second: options.rate,
            rounds,
            median_ratio,
            pushes,
            pulled_items: pulled.items,
            pulled_items_per_second: pulled.items as f64 / pulled.took.as_secs_f64(),
            server_memory_mb: target.memory(),
            all_there,
        }
    }

    pub(crate) fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string_pretty(self).expect("a report is JSON"));
            return;
        }
        println!(
            "\n{}, {} connections, {} bytes, {} tenant(s), {}",
            self.database,
            self.connections,
            self.body_bytes,
            self.tenants,
            self.offered_per_second.map_or("closed loop".to_owned(), |rate| format!("{rate}/s offered"))
        );
        println!("{:<18}{:>12}{:>12}{:>12}{:>10}", "", "per second", "p50 ms", "p99 ms", "ratio");
        for (nth, round) in self.rounds.iter().enumerate() {
            row(&format!("echo {}", nth + 1), round.echo_per_second, &round.echo, "");
            row(
                &format!("ingest {}", nth + 1),
                round.accepted_per_second,
                &round.ingest,
                &format!("{:.2}", round.ratio),
            );
        }
        println!("{:<54}{:>10.2}", "ingest / echo, median", self.median_ratio);
        row("ingest, pushing", self.pushes.accepted_per_second, &self.pushes.ingest, "");
        row("pushed", self.pushes.pushed_per_second, &self.pushes.end_to_end, "");
        println!(
            "  {} behind when the last was posted, {} pushed again",
            self.pushes.behind_at_the_end, self.pushes.repeated
        );
        println!("{:<18}{:>12.0}   ({} items)", "pulled", self.pulled_items_per_second, self.pulled_items);
        if let Some(memory) = self.server_memory_mb {
            println!("{:<18}{memory:>12.1} MB at most", "server memory");
        }
        println!(
            "{}",
            if self.all_there {
                "every id was pushed and pulled: 1..N"
            } else {
                "NOT EVERYTHING IS THERE, see above"
            }
        );
    }
}

fn row(name: &str, per_second: f64, latency: &Latency, ratio: &str) {
    println!("{name:<18}{per_second:>12.0}{:>12.2}{:>12.2}{ratio:>10}", latency.p50_ms, latency.p99_ms);
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
