//! The load tool: how much a server takes, pushes and hands out, beside a bare echo as the ceiling.
//!
//! Without a `--url` it starts a server of its own, on SQLite in a temporary directory beside the build, so that what
//! is measured reaches a real disk. Rounds of echo and ingest take turns, because machines are not equally fast
//! from one minute to the next: the median of the rounds' ratios is worth more than any number per second.
//! `load catch-up` measures the client in the same way: how fast it gets what waits into its inbox, beside a bare loop.

mod catch_up;
mod echo;
mod generator;
mod http;
mod phases;
mod pull;
mod receiver;
mod report;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Load for a Tidings server: ingest beside a bare echo, then pushes, then a pull of everything.
#[derive(Parser, Debug)]
struct Options {
    #[command(subcommand)]
    part: Option<Part>,
    /// Connections that post.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Length of each phase.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Bytes of the body of an event, at least 200.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(200..))]
    body: u32,
    /// Open loop: so many events a second, whether the server keeps up or not. Without it each connection posts the
    /// next event when the last is answered.
    #[arg(long)]
    rate: Option<f64>,
    /// Tenants to spread the events over.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    tenants: u32,
    /// Rounds of echo and ingest.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Worker threads of the echo, and of the server if it is started here.
    #[arg(long)]
    workers: Option<usize>,
    /// Where the server that is started here keeps its data.
    #[arg(long)]
    database_url: Option<String>,
    /// A server that runs already; it must be allowed to push to loopback.
    #[arg(long, requires = "operator_key")]
    url: Option<String>,
    /// The operator key of the server at `--url`.
    #[arg(long, env = "TIDINGS_OPERATOR_KEY", hide_env_values = true)]
    operator_key: Option<String>,
    /// Print one JSON document at the end instead of a table.
    #[arg(long)]
    json: bool,
}

impl Options {
    fn phase(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn workers(&self) -> usize {
        self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// The parts that run in a process of their own, and what else there is.
#[derive(Subcommand, Debug)]
enum Part {
    #[command(hide = true)]
    Echo { port: u16, workers: usize },
    #[command(hide = true)]
    Receiver { port: u16 },
    /// How fast an archiver catches up, beside a bare loop; --rounds, --body and the like come before it
    CatchUp {
        /// Notifications that wait.
        #[arg(long, default_value_t = 100_000)]
        count: usize,
    },
    #[command(hide = true)]
    CaughtUp { way: catch_up::Way, url: String, key: String, count: i64, file: PathBuf },
}

fn main() {
    let options = Options::parse();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    match options.part {
        Some(Part::Echo { port, workers }) => echo::run(port, workers),
        Some(Part::Receiver { port }) => runtime.block_on(receiver::run(port)),
        Some(Part::CatchUp { count }) => {
            // The server is gone by then.
            if !runtime.block_on(catch_up::run(&options, count)) {
                std::process::exit(1);
            }
        }
        Some(Part::CaughtUp { way, ref url, ref key, count, ref file }) => {
            runtime.block_on(catch_up::part(way, url, key, file, count));
        }
        None => {
            let report = tokio::task::LocalSet::new().block_on(&runtime, phases::run(&options));
            report.print(options.json);
            if !report.all_there {
                std::process::exit(1);
            }
        }
    }
}
