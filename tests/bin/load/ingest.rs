//! What `load` measures if nothing else is said: ingest beside an echo, all the way, and then a pull of everything.

use crate::Options;
use crate::fill::templates;
use crate::generator::{self, Measured};
use crate::http::Connection;
use crate::pull::{self, Pulled};
use crate::steady;
use crate::target::{Process, Target};
use crate::turns::{Report, Row};

/// Runs all of it.
pub(crate) async fn run(options: &Options) -> Report {
    let target = Target::new(options);
    let mut report = Report::new(options, target.database());
    let echo = Process::echo(options.workers());
    let goal = if target.database() == "PostgreSQL" { 0.35 } else { 0.45 };

    let plain = target.tenants("ingest", options.tenants);
    let requests = templates(&plain, options);
    let mut accepted = vec![0; plain.len()];
    for &connections in &options.connections {
        let mut row = Row::rate(format!("ingest, {connections} connections"), "bare echo", Some(goal));
        for _ in 0..options.rounds {
            let echoed = generator::run(echo.address(), &requests, connections, options.phase(), None).await;
            let ingested =
                generator::run(target.address(), &requests, connections, options.phase(), options.rate).await;
            report.check(&echoed);
            report.check(&ingested);
            for (sum, count) in accepted.iter_mut().zip(&ingested.accepted) {
                *sum += count;
            }
            row.add(ingested.per_second(), echoed.per_second());
            report.note(format!(
                "{connections} connections: echo {}; ingest {}",
                latency(&echoed),
                latency(&ingested)
            ));
        }
        report.add([row]);
    }
    let stored = steady::run(&mut report, options, &target, &echo, &plain[0]).await;

    let mut total = Pulled::default();
    for (tenant, count) in plain.into_iter().zip(accepted).chain(stored) {
        let mut connection = Connection::open(target.address()).await.expect("the server takes connections");
        let pulled = pull::run(&mut connection, tenant.consumer.key()).await;
        if pulled.items != count || !pulled.in_order {
            let there = format!("{} are there, in order: {}", pulled.items, pulled.in_order);
            report.missing(&format!("{count} were answered 201, {there}"));
        }
        total.items += pulled.items;
        total.took += pulled.took;
    }
    report.note(format!("pulled {:.0}/s ({} items)", total.per_second(), total.items));
    if let Some(memory) = target.memory() {
        report.note(format!("the server's memory: {memory:.1} MB at most"));
    }
    report
}

fn latency(measured: &Measured) -> String {
    let millis = |quantile| measured.latency.value_at_quantile(quantile) as f64 / 1_000.0;
    format!("p50 {:.2} ms, p99 {:.2} ms", millis(0.5), millis(0.99))
}
