//! An application as a user writes it, for the suites to kill: it receives pushes, catches up, and has an effect for each
//! notification that must not come twice.
//!
//! The table that the effects are in lets them come twice, so that it would show. Handlers fail now and then, in all the
//! ways in which a handler can.

use std::error::Error;
use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::{App, HttpServer};
use clap::Parser;
use tidings_client::Client;
use tidings_client::archiver::{Archiver, Item, Outcome, Tx, every};
use tidings_client::inbox::diesel::connection::SimpleConnection as _;
use tidings_client::inbox::diesel::sql_types::BigInt;
use tidings_client::inbox::diesel::{Connection as _, RunQueryDsl as _, SqliteConnection, sql_query};
use tidings_client::inbox::{BoxError, Inbox};
use tidings_tests::random::Random;

/// Keeps every notification of a tenant, with an effect for each, until it is killed.
#[derive(Parser, Debug)]
struct Options {
    /// The server.
    #[arg(long)]
    url: String,
    /// A key of the role consumer.
    #[arg(long)]
    key: String,
    /// The tenant's signing secret.
    #[arg(long)]
    secret: String,
    /// The port of 127.0.0.1 at which it receives pushes, below `/hook`.
    #[arg(long)]
    port: u16,
    /// The file.
    #[arg(long)]
    inbox: PathBuf,
    /// Seconds from one catch-up to the next.
    #[arg(long, default_value_t = 1)]
    every: u64,
    /// Of so many attempts to handle one fails; 0 for none.
    #[arg(long, default_value_t = 0)]
    fails: u64,
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let inbox = Inbox::open(&options.inbox)?;
    SqliteConnection::establish(&options.inbox.to_string_lossy())?.batch_execute(
        "PRAGMA busy_timeout = 10000; CREATE TABLE IF NOT EXISTS effects (id INTEGER NOT NULL, at INTEGER NOT NULL)",
    )?;

    let random = Arc::new(Mutex::new(Random::seeded("archiver")));
    let fails = options.fails;
    let client =
        Client::builder(&options.url).key(&options.key).timeout(Duration::from_secs(5)).retries(1).build()?;
    let archiver = Archiver::builder(client, inbox)
        .secret(&options.secret)
        .otherwise(move |item, tx| {
            let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
            let (number, way) = (if fails > 0 { random.between(0, fails) } else { 1 }, random.between(0, 5));
            handle(item, tx, (number == 0).then_some(way))
        })
        .catch_up(every(Duration::from_secs(options.every)))
        .backoff(Duration::from_millis(20), Duration::from_millis(200))
        // It is killed more often than anything else.
        .max_attempts(1_000_000)
        .build()?;

    let receiving = archiver.clone();
    let receiver = HttpServer::new(move || App::new().service(receiving.receiver("/hook")));
    let receiver = receiver.workers(1).disable_signals().bind(("127.0.0.1", options.port))?.run();
    actix_web::rt::spawn(receiver);
    Ok(archiver.run(pending::<()>()).await?)
}

/// Has the effect, unless it is to fail, and in which way. What is called slow takes its time.
async fn handle(item: Item, tx: Tx, failure: Option<u64>) -> Result<Outcome, BoxError> {
    let id = item.id().get();
    if item.event_type() == "slow" {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    tx.commit_with(move |conn| {
        let insert = sql_query("INSERT INTO effects (id, at) VALUES (?, unixepoch())");
        insert.bind::<BigInt, _>(id).execute(conn)?;
        // What it has just written must be undone.
        if failure == Some(0) { Err("the effect failed after it was written".into()) } else { Ok(()) }
    });
    match failure {
        Some(1) => Err("it did not want to".into()),
        Some(2) => Ok(Outcome::RetryAfter(Duration::from_millis(50))),
        Some(3) => panic!("it lost its nerve"),
        Some(4) => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(Outcome::Done)
        }
        _ => Ok(Outcome::Done),
    }
}
