//! What the server counts, for Prometheus, and how it logs.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Labels of a counted attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// Labels of an answered request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

/// Labels of an alert that was to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Told {
    kind: &'static str,
    way: &'static str,
    result: &'static str,
}

/// What is not counted, but looked at when it is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Bytes of notifications in memory.
    pub lane_bytes: usize,
    /// Nodes on this database that are alive.
    pub nodes: usize,
    /// Lanes that are this node's.
    pub lanes: i64,
    /// Notifications that this node has leased.
    pub leases: usize,
}

/// Everything that is counted. No label names a tenant: their number has no bound.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    events: Family<Outcome, Counter>,
    attempts: Family<Outcome, Counter>,
    attempt_seconds: Histogram,
    pushes_stopped: Family<Outcome, Counter>,
    commit_seconds: Histogram,
    commit_commands: Histogram,
    lane_bytes: Gauge<i64>,
    nodes: Gauge<i64>,
    lanes: Gauge<i64>,
    leases: Gauge<i64>,
    expired: Counter<u64, AtomicU64>,
    alerts: Family<Told, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("tidings"),
            requests: Family::default(),
            events: Family::default(),
            attempts: Family::default(),
            attempt_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            pushes_stopped: Family::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
            commit_commands: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            lane_bytes: Gauge::default(),
            nodes: Gauge::default(),
            lanes: Gauge::default(),
            leases: Gauge::default(),
            expired: Counter::default(),
            alerts: Family::default(),
        };
        let to = &mut metrics.registry;
        to.register("http_requests", "Requests answered", metrics.requests.clone());
        to.register("events", "Events posted, by what became of them", metrics.events.clone());
        to.register("push_attempts", "Attempts to push, by result", metrics.attempts.clone());
        let attempt = metrics.attempt_seconds.clone();
        to.register_with_unit("push_attempt", "Duration of an attempt", Unit::Seconds, attempt);
        to.register(
            "pushes_stopped",
            "Pushes stopped without an admin, by why",
            metrics.pushes_stopped.clone(),
        );
        to.register_with_unit(
            "commit",
            "Duration of a commit",
            Unit::Seconds,
            metrics.commit_seconds.clone(),
        );
        to.register("commit_commands", "Commands in a commit", metrics.commit_commands.clone());
        let bytes = metrics.lane_bytes.clone();
        to.register_with_unit(
            "lanes",
            "Notifications in memory on their way to a receiver",
            Unit::Bytes,
            bytes,
        );
        to.register("nodes", "Nodes on this database that are alive", metrics.nodes.clone());
        to.register("lanes", "Lanes that are this node's", metrics.lanes.clone());
        to.register("leases", "Notifications that this node has leased", metrics.leases.clone());
        to.register("expired", "Notifications removed by retention", metrics.expired.clone());
        to.register("alerts", "Alerts sent, tried and given up, by kind and way", metrics.alerts.clone());
        metrics
    }
}

impl Metrics {
    /// Counts a transaction.
    pub fn commit(&self, commands: usize, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
        self.commit_commands.observe(u32::try_from(commands).map_or(f64::MAX, f64::from));
    }

    /// Counts an event that was posted.
    pub fn event(&self, result: &'static str) {
        self.events.get_or_create(&Outcome { result }).inc();
    }

    /// Counts an attempt to push.
    pub fn attempt(&self, result: &'static str, took: Duration) {
        self.attempts.get_or_create(&Outcome { result }).inc();
        self.attempt_seconds.observe(took.as_secs_f64());
    }

    /// Counts a push that was stopped without an admin: `gone` or `disabled`.
    pub fn push_stopped(&self, result: &'static str) {
        self.pushes_stopped.get_or_create(&Outcome { result }).inc();
    }

    /// Counts an answered request. The route is the pattern, not the path.
    pub fn request(&self, method: &str, route: &str, status: u16) {
        let labels = Answered { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts notifications that have expired.
    pub fn expired(&self, count: u64) {
        self.expired.inc_by(count);
    }

    /// Counts an attempt to send an alert.
    pub fn alert(&self, kind: &'static str, way: &'static str, result: &'static str) {
        self.alerts.get_or_create(&Told { kind, way, result }).inc();
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// When it can't be formatted.
    pub fn text(&self, gauges: Gauges) -> Result<String, std::fmt::Error> {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.lane_bytes.set(number(gauges.lane_bytes));
        self.nodes.set(number(gauges.nodes));
        self.lanes.set(gauges.lanes);
        self.leases.set(number(gauges.leases));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What is logged unless `RUST_LOG` says otherwise. What a client sends that is no HTTP is no error of the server, so the
/// library that reads requests says nothing.
const LOGGED: &str = "info,actix_http::h1=off";

/// Starts logging to standard error. `RUST_LOG` chooses what; else everything from `info` on.
pub fn start_logging(format: LogFormat) {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOGGED));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start, as in tests, changes nothing.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_that_the_documentation_names_is_there() {
        let metrics = Metrics::default();
        metrics.event("stored");
        metrics.attempt("accepted", Duration::ZERO);
        metrics.push_stopped("gone");
        metrics.request("GET", "/", 200);
        metrics.alert("failing", "email", "sent");
        metrics.commit(1, Duration::ZERO);
        let text = metrics.text(Gauges::default()).unwrap();
        let guide = include_str!("../../docs/production.md");
        let is_of_a_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let words = guide.split(|c| !is_of_a_name(c)).filter(|word| word.starts_with("tidings_"));
        let mut count = 0;
        for name in words {
            let is_there = text.lines().any(|line| {
                let line = line.strip_prefix("# TYPE ").unwrap_or(line);
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            });
            assert!(is_there, "{name}");
            count += 1;
        }
        assert!(count > 10, "there are metrics to watch");
    }
}
