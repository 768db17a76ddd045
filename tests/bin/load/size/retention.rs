//! What writers notice of the removal of what has expired.
//!
//! Two stores of the same size: in one of them nothing has expired, in the other nearly everything. A server begins to
//! remove when it starts, so each turn starts both anew, and the second is filled again when too little is left. A turn
//! counts only if there was something to remove until its end.

use std::time::{Duration, Instant};

use tidings_tests::{Database, Server};

use super::{Figures, Scope, posts, server, store};
use crate::Options;
use crate::generator::{self, Measured};
use crate::target::Receiver;
use crate::turns::progress;

/// Notifications that have expired.
const EXPIRED: i64 = 400_000;
/// The tenants that they belong to.
const TENANTS: usize = 4;
/// A day before the usual retention ends, and a day behind it, in microseconds.
const KEPT: i64 = 179 * 86_400_000_000;
const OLD: i64 = 181 * 86_400_000_000;

struct Store {
    database: Database,
    server: Server,
    keys: Vec<String>,
}

impl Store {
    async fn new(figures: &mut Figures, options: &Options, scope: &Scope, age: i64) -> Self {
        let database = scope.database();
        let mut server = server(options, &database);
        let receiver = Receiver::start();
        let keys = store::tenants(&database, (0..TENANTS).map(|nth| receiver.url(nth)));
        let address = ([127, 0, 0, 1], server.port()).into();
        let first = posts(keys.iter().map(String::as_str), options.body);
        figures.check(&generator::each(address, first.into_iter(), 1, 201).await);
        super::wait_for(figures, &receiver, TENANTS as u64).await;
        server.term();
        // The first of all stands before the copies: it has to be as old.
        database.execute(&format!("UPDATE notifications SET received_at = {}", store::now() - age));
        store::copies(&database, EXPIRED / TENANTS as i64, age);
        Store { database, server, keys }
    }

    fn count(&self) -> i64 {
        let count = store::numbers(
            &self.database,
            &format!(
                "SELECT 'old' AS name, count(*) AS number FROM notifications WHERE received_at < {}",
                store::now() - KEPT + 3_600_000_000
            ),
        );
        count.first().map_or(0, |(_, count)| *count)
    }

    async fn turn(&mut self, figures: &mut Figures, options: &Options) -> (Measured, f64) {
        let before = self.count();
        self.server.restart();
        let begun = Instant::now();
        let address = ([127, 0, 0, 1], self.server.port()).into();
        let requests = posts(self.keys.iter().map(String::as_str), options.body);
        let measured =
            generator::run(address, &requests, options.connections(), options.phase(), options.rate).await;
        figures.check(&measured);
        self.server.kill9();
        let after = self.count();
        let removed = (before - after) as f64 / begun.elapsed().as_secs_f64();
        (measured, if after > 0 || before == 0 { removed } else { f64::NAN })
    }
}

/// Ingest without and with removal, in turns.
pub(crate) async fn measure(figures: &mut Figures, options: &Options, scope: &Scope) {
    progress("two stores, of which one has expired");
    let mut kept = Store::new(figures, options, scope, KEPT).await;
    let mut expired = Store::new(figures, options, scope, OLD).await;
    let (mut rates, mut tails, mut removals) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let (alone, _) = kept.turn(figures, options).await;
        let (beside, removed) = expired.turn(figures, options).await;
        if removed.is_nan() {
            println!("MISSING: all that had expired was removed before the turn was over");
            figures.complete = false;
            break;
        }
        progress(&format!(
            "  alone {:.0}/s, p99 {:.2} ms; while {removed:.0}/s are removed {:.0}/s, p99 {:.2} ms",
            alone.per_second(),
            p99(&alone),
            beside.per_second(),
            p99(&beside)
        ));
        rates.push(beside.per_second() / alone.per_second());
        tails.push(p99(&beside) / p99(&alone));
        removals.push(removed);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if !rates.is_empty() {
        figures.add("ingest while old content is removed, to alone", median(rates), "×", None);
        figures.add("  its p99", median(tails), "×", None);
        figures.add("  removed", median(removals), "/s", None);
    }
}

/// In milliseconds.
fn p99(measured: &Measured) -> f64 {
    measured.latency.value_at_quantile(0.99) as f64 / 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}
