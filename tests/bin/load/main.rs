//! The load tool: what a server takes, pushes and hands out, beside the ceiling of each on the machine at hand.
//!
//! ```text
//! load                      ingest beside a bare echo, all the way beside echo and client at once, then a pull of everything
//! load backlog              push of what has waited, beside a bare client
//! load latency              from post to receiver at --rate (50/s), beside a relay without a database
//! load pull                 pages by cursor anywhere in a large store, beside the bare query
//! load nodes                two nodes on one PostgreSQL that take events for one tenant, beside one
//! load flags                PATCHes and a job, beside bare UPDATEs
//! load size                 bytes on disk and in memory, and what growing and expiring cost, beside their goals
//! load catch-up             the client's archiver, beside a bare loop
//! load compare --against F  this build of the server beside another; fails when it is slower than --least allows
//! ```
//!
//! What they share stands before the subcommand: `load --rounds 5 --seconds 60 --connections 64,256 --json latency`.
//!
//! Without a `--url` it starts a server of its own, on SQLite in a temporary directory beside the build, so that what
//! is measured reaches a real disk, or on the PostgreSQL at `--database-url`. What is measured and its ceiling take turns,
//! because machines are not equally fast from one minute to the next: the median of the rounds' ratios is worth more than
//! any number per second. Everything is checked off; where something is missing, the tool says so and fails. Whether a
//! goal is reached it only shows.

mod backlog;
mod bare_client;
mod bare_rows;
mod catch_up;
mod compare;
mod echo;
mod fill;
mod flags;
mod generator;
mod http;
mod ingest;
mod latency;
mod nodes;
mod pages;
mod pull;
mod pushes;
mod receiver;
mod relay;
mod size;
mod steady;
mod target;
mod turns;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Load for a Tidings server: what it takes, pushes and hands out, beside the ceiling of each.
#[derive(Parser, Debug)]
struct Options {
    #[command(subcommand)]
    part: Option<Part>,
    /// Connections that post: one number, or several to be measured one after the other, such as 64,256.
    #[arg(long, default_value = "64", value_delimiter = ',')]
    connections: Vec<usize>,
    /// Length of each phase.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Length of the phases that go all the way, if it is another.
    #[arg(long)]
    steady: Option<f64>,
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
    /// Rounds, in each of which what is measured and its ceiling have their turn.
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

    fn steady(&self) -> Duration {
        Duration::from_secs_f64(self.steady.unwrap_or(self.seconds))
    }

    /// Where one number of connections is enough: the first.
    fn connections(&self) -> usize {
        self.connections.first().copied().unwrap_or(64)
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
    #[command(hide = true)]
    Relay { port: u16, workers: usize, receiver: String },
    #[command(hide = true)]
    BareClient { url: String, concurrency: usize, count: u64, seconds: f64 },
    #[command(hide = true)]
    BareRows { url: String, tenant: String },
    /// How fast a backlog is pushed, beside a bare client; --rounds, --body and the like come before it
    Backlog {
        /// Notifications that wait.
        #[arg(long, default_value_t = 100_000)]
        count: u64,
    },
    /// How long an event takes to the receiver, beside a relay without a database
    Latency,
    /// Pages by cursor at several places of a large store, beside the bare query; it needs a server of its own
    Pull {
        /// Notifications that are stored.
        #[arg(long, default_value_t = 1_000_000)]
        count: u64,
        /// Tenants that they are spread over; one of them has half of all.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(3..))]
        tenants: u32,
    },
    /// PATCHes and a job that change flags, beside bare UPDATEs; it needs a server of its own
    Flags {
        /// Notifications that are changed.
        #[arg(long, default_value_t = 100_000)]
        count: u64,
    },
    /// Two nodes that take the events of one tenant, beside one of them; it needs the --database-url of a PostgreSQL
    Nodes,
    /// This build of the server beside another, in turns under the same load
    Compare {
        /// The other build's binary.
        #[arg(long)]
        against: PathBuf,
        /// Fail when a median ratio is below this.
        #[arg(long, default_value_t = 0.5)]
        least: f64,
    },
    /// Bytes on disk, memory, cost by size of the store, and what removal costs; each beside its goal
    Size(size::Scope),
    /// How fast an archiver catches up, beside a bare loop; --rounds, --body and the like come before it
    CatchUp {
        /// Notifications that wait.
        #[arg(long, default_value_t = 100_000)]
        count: u64,
    },
    #[command(hide = true)]
    CaughtUp { way: catch_up::Way, url: String, key: String, count: i64, file: PathBuf },
}

fn main() {
    let options = Options::parse();
    // actix has runtimes of its own.
    match &options.part {
        Some(Part::Echo { port, workers }) => return echo::run(*port, *workers),
        Some(Part::Relay { port, workers, receiver }) => {
            return relay::run(*port, *workers, receiver.clone());
        }
        _ => {}
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    // What was started is gone by the time that it answers.
    if !tokio::task::LocalSet::new().block_on(&runtime, run(&options)) {
        std::process::exit(1);
    }
}

/// Runs a part. False: something is not as it must be.
async fn run(options: &Options) -> bool {
    let report = match &options.part {
        Some(Part::Echo { .. } | Part::Relay { .. }) => return true,
        Some(Part::Receiver { port }) => {
            receiver::run(*port).await;
            return true;
        }
        Some(Part::BareClient { url, concurrency, count, seconds }) => {
            bare_client::run(url, *concurrency, *count, *seconds).await;
            return true;
        }
        Some(Part::BareRows { url, tenant }) => {
            bare_rows::run(url, tenant);
            return true;
        }
        Some(Part::CaughtUp { way, url, key, count, file }) => {
            catch_up::part(*way, url, key, file, *count).await;
            return true;
        }
        Some(Part::Backlog { count }) => backlog::run(options, *count).await,
        Some(Part::Nodes) => nodes::run(options).await,
        Some(Part::Latency) => latency::run(options).await,
        Some(Part::Pull { count, tenants }) => pages::run(options, *count, *tenants).await,
        Some(Part::Size(scope)) => return size::run(options, scope).await,
        Some(Part::CatchUp { count }) => catch_up::run(options, *count).await,
        Some(Part::Flags { count }) => flags::run(options, *count).await,
        Some(Part::Compare { against, least }) => {
            let (report, holds) = compare::run(options, against, *least).await;
            return report.print(options.json) && holds;
        }
        None => ingest::run(options).await,
    };
    report.print(options.json)
}
