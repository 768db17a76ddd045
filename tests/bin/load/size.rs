//! How large things are and stay: bytes on disk, the server's memory, what a notification costs in stores of several
//! sizes, and what writers notice of the removal of old content.
//!
//! Each figure stands beside its goal. Unlike speeds, bytes are the same on every machine, so they need no other side; where
//! time is measured, two servers take turns. What would take too long to post is copied inside the database from
//! notifications that a server has stored.

mod disk;
mod growth;
mod memory;
mod process;
mod retention;
mod store;

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use tidings_api::BASE_PATH;
use tidings_tests::database::Kind;
use tidings_tests::server::Options as ServerOptions;
use tidings_tests::{Database, Server};

use crate::Options;
use crate::generator::Measured;
use crate::http::{STAMP, post};
use crate::receiver::Status;
use crate::target::Receiver;
use crate::turns::progress;

/// How long pushes may go on after the last post.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Bytes on disk.
    Disk,
    /// Memory of the server.
    Memory,
    /// Cost by size of the store.
    Growth,
    /// Ingest beside the removal of what has expired.
    Retention,
}

/// What is to be measured, and where.
#[derive(Args, Debug)]
pub(crate) struct Scope {
    /// What is measured; everything, if nothing is named.
    #[arg(value_enum)]
    what: Vec<What>,
    /// Use new databases of the PostgreSQL at TIDINGS_TEST_POSTGRES.
    #[arg(long)]
    postgres: bool,
    /// Notifications of the backlog and of the largest store.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(10_000..))]
    most: i64,
    /// Tenants whose memory is measured.
    #[arg(long, default_value_t = 10_000)]
    owners: u32,
}

impl Scope {
    fn has(&self, what: What) -> bool {
        self.what.is_empty() || self.what.contains(&what)
    }

    /// A new database, on a real disk.
    fn database(&self) -> Database {
        if self.postgres {
            return Database::new(Kind::Postgres);
        }
        let program = std::env::current_exe().expect("the path of this program");
        Database::sqlite_in(program.parent().expect("a program is in a directory"))
    }
}

/// What was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figures {
    database: &'static str,
    body_bytes: u32,
    figures: Vec<Figure>,
    /// Whether no request failed and nothing was missing.
    complete: bool,
}

#[derive(Serialize)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    /// It is to be at most this.
    goal: Option<f64>,
}

impl Figures {
    fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: Option<f64>) {
        let what = what.into();
        progress(&format!("{what}: {value:.2} {unit}"));
        self.figures.push(Figure { what, value, unit, goal });
    }

    fn check(&mut self, measured: &Measured) {
        if let Some(failure) = &measured.first_failure {
            println!("FAILED: {} requests, the first: {failure}", measured.failures);
            self.complete = false;
        }
    }

    fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string_pretty(self).expect("figures are JSON"));
            return;
        }
        println!("\n{}, {} bytes", self.database, self.body_bytes);
        for Figure { what, value, unit, goal } in &self.figures {
            let goal = goal
                .map(|goal| format!("goal ≤ {goal}: {}", if *value <= goal { "reached" } else { "MISSED" }));
            println!("{what:<62}{value:>10.2} {unit:<10}{}", goal.unwrap_or_default());
        }
    }
}

/// Measures and prints. False: something went wrong. Whether a goal is reached it only shows.
pub(crate) async fn run(options: &Options, scope: &Scope) -> bool {
    let database = if scope.postgres { "PostgreSQL" } else { "SQLite" };
    let mut figures = Figures { database, body_bytes: options.body, figures: Vec::new(), complete: true };
    if scope.has(What::Disk) {
        disk::measure(&mut figures, options, scope).await;
    }
    if scope.has(What::Memory) {
        memory::measure(&mut figures, options, scope).await;
    }
    if scope.has(What::Growth) {
        growth::measure(&mut figures, options, scope).await;
    }
    if scope.has(What::Retention) {
        retention::measure(&mut figures, options, scope).await;
    }
    figures.print(options.json);
    figures.complete
}

/// A server on a database, as the load tool starts it elsewhere.
fn server(options: &Options, database: &Database) -> Server {
    let arguments = vec!["--workers".into(), options.workers().to_string()];
    Server::start_with(database, ServerOptions { arguments, ..ServerOptions::default() })
}

/// The request that posts an event of a size, for each of the keys.
fn posts<'k>(keys: impl IntoIterator<Item = &'k str>, size: u32) -> Vec<Vec<u8>> {
    let body = |padding: &str| {
        json!({"data": {"type": "notification",
            "attributes": {"type": "close", "data": {"sentAt": STAMP, "padding": padding}}}})
        .to_string()
    };
    let body = body(&"x".repeat((size as usize).saturating_sub(body("").len())));
    keys.into_iter().map(|key| post(&format!("{BASE_PATH}/notifications"), key, &body)).collect()
}

/// Waits until so many notifications have come.
async fn wait_for(figures: &mut Figures, receiver: &Receiver, count: u64) -> Status {
    let begun = std::time::Instant::now();
    loop {
        let status = receiver.status().await;
        if status.distinct() >= count {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            println!("MISSING: of {count} notifications {} came", status.distinct());
            figures.complete = false;
            return status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
