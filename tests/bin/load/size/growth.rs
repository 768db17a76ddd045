//! What a notification costs, all the way and pulled, in stores of several sizes.
//!
//! A server for each size, and they take turns. Of each cost the time and the processor time of the server are told: beside
//! a disk that others use too, the second is the one that can be compared.

use std::time::{Duration, Instant};

use tidings_api::BASE_PATH;
use tidings_tests::{Database, Server};

use super::process::cpu;
use super::{Figures, Scope, posts, server, store, wait_for};
use crate::Options;
use crate::generator;
use crate::http::get;
use crate::target::Receiver;
use crate::turns::progress;

/// What a store is spread over.
const TENANTS: usize = 100;
/// The smallest store.
const LEAST: i64 = 10_000;
/// The size of what fills the stores: 10,000,000 are to have room on a disk.
const FILLING: u32 = 200;
/// How many pages of 100 are pulled in a turn, and over how many connections.
const PAGES: usize = 1_000;
const PULLERS: usize = 2;
/// The most that a notification may cost in the largest store, of what it costs in the smallest.
const GOAL: f64 = 1.2;

/// What one took, in microseconds.
struct Cost {
    what: &'static str,
    time: f64,
    cpu: f64,
}

struct Store {
    rows: i64,
    keys: Vec<String>,
    delivered: u64,
    rounds: Vec<[Cost; 2]>,
    server: Server,
    receiver: Receiver,
    _database: Database,
}

impl Store {
    async fn new(figures: &mut Figures, options: &Options, scope: &Scope, rows: i64) -> Self {
        progress(&format!("a store of {rows}"));
        let database = scope.database();
        let mut server = server(options, &database);
        let receiver = Receiver::start();
        let keys = store::tenants(&database, (0..TENANTS).map(|nth| receiver.url(nth)));
        let address = ([127, 0, 0, 1], server.port()).into();
        let first = posts(keys.iter().map(String::as_str), FILLING);
        figures.check(&generator::each(address, first.into_iter(), 1, 201).await);
        wait_for(figures, &receiver, TENANTS as u64).await;
        server.term();
        store::copies(&database, rows / TENANTS as i64, 3_600_000_000);
        server.restart();
        let delivered = TENANTS as u64;
        Store { rows, keys, delivered, rounds: Vec::new(), server, receiver, _database: database }
    }

    /// Posts, until all is pushed; then pulls pages from everywhere.
    async fn round(&mut self, figures: &mut Figures, options: &Options) -> [Cost; 2] {
        let address = ([127, 0, 0, 1], self.server.port()).into();
        let pid = self.server.pid();
        let requests = posts(self.keys.iter().map(String::as_str), options.body);
        let connections = options.connections().max(TENANTS);
        let (begun, taken) = (Instant::now(), cpu(pid));
        let posted = generator::run(address, &requests, connections, options.phase(), None).await;
        figures.check(&posted);
        let count: u64 = posted.accepted.iter().sum();
        self.delivered += count;
        wait_for(figures, &self.receiver, self.delivered).await;
        let pushed = cost("all the way", begun.elapsed(), cpu(pid) - taken, count as f64);

        // The whole page is of what the store was filled with: no other is as large.
        let places = self.rows as usize / TENANTS - 99;
        let pages = (0..PAGES).map(|nth| {
            // Somewhere else each time; any large prime will do.
            let after = nth * 2_654_435_761 % places;
            let path = format!(
                "{BASE_PATH}/notifications?filter[isDismissed]=true,false&sort=sequence&page[size]=100&page[after]={after}"
            );
            get(&path, &self.keys[nth % TENANTS])
        });
        let pages: Vec<Vec<u8>> = pages.collect();
        let (begun, taken) = (Instant::now(), cpu(pid));
        let pulled = generator::each(address, pages.into_iter(), PULLERS, 200).await;
        figures.check(&pulled);
        [pushed, cost("a page of 100", begun.elapsed(), cpu(pid) - taken, PAGES as f64)]
    }
}

fn cost(what: &'static str, time: Duration, cpu: Duration, count: f64) -> Cost {
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / count;
    Cost { what, time: micros(time), cpu: micros(cpu) }
}

/// Ten thousand, and a hundred or a thousand times as many.
pub(crate) async fn measure(figures: &mut Figures, options: &Options, scope: &Scope) {
    let mut sizes = vec![LEAST, 1_000_000.min(scope.most), scope.most];
    sizes.dedup();
    let mut stores = Vec::new();
    for rows in sizes {
        stores.push(Store::new(figures, options, scope, rows).await);
    }
    for store in &mut stores {
        // Not counted: what a server does for the first time takes longer.
        store.round(figures, options).await;
    }
    for _ in 0..options.rounds {
        for store in &mut stores {
            let costs = store.round(figures, options).await;
            for Cost { what, time, cpu } in &costs {
                progress(&format!("  {} stored, {what}: {time:.0} µs, processor {cpu:.0} µs", store.rows));
            }
            store.rounds.push(costs);
        }
    }
    let Some((least, larger)) = stores.split_first() else { return };
    for store in &stores {
        for nth in 0..2 {
            let what = format!("{} stored, {}", store.rows, store.rounds[0][nth].what);
            figures.add(what.clone(), median(store.rounds.iter().map(|round| round[nth].time)), "µs", None);
            let cpu = median(store.rounds.iter().map(|round| round[nth].cpu));
            figures.add(format!("{what}, processor"), cpu, "µs", None);
        }
    }
    for store in larger {
        for nth in 0..2 {
            let to = |figure: fn(&Cost) -> f64| {
                let rounds = store.rounds.iter().zip(&least.rounds);
                median(rounds.map(|(larger, least)| figure(&larger[nth]) / figure(&least[nth])))
            };
            let what = format!("{}, {} to {} stored", store.rounds[0][nth].what, store.rows, least.rows);
            figures.add(what.clone(), to(|cost| cost.time), "×", Some(GOAL));
            figures.add(format!("{what}, processor"), to(|cost| cost.cpu), "×", Some(GOAL));
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}
