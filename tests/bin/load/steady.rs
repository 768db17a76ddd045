//! All the way: ingest, push, the receiver's answer and its record, steadily for a while.
//!
//! The ceiling is what the machine can do of both at once when nothing is kept: a bare echo takes posts while a bare client
//! posts to the receiver, and the slower of the two counts. Of Tidings counts what was delivered and recorded before the
//! time was over: what waits by then was accepted, but it doesn't count.

use tidings_tests::Tenant;

use crate::Options;
use crate::bare_client::Posted;
use crate::fill::templates;
use crate::generator;
use crate::pushes::{CONCURRENCY, all_arrived, push_to, undelivered};
use crate::target::{Process, Receiver, Target, Until, bare_client, pushed_body};
use crate::turns::{Report, Row};

/// What a while has shown.
pub(crate) struct Steady {
    /// Accepted, delivered and recorded within the time.
    pub(crate) per_second: f64,
    pub(crate) tenants: Vec<Tenant>,
    /// How many each tenant has accepted.
    pub(crate) accepted: Vec<u64>,
}

/// Posts and pushes for as long as said.
pub(crate) async fn measure(
    report: &mut Report,
    options: &Options,
    target: &Target,
    connections: usize,
) -> Steady {
    let receiver = Receiver::start();
    let tenants = target.tenants("push", options.tenants);
    for (nth, tenant) in tenants.iter().enumerate() {
        push_to(tenant, &receiver.url(nth), true);
    }
    let requests = templates(&tenants, options);
    let posted =
        generator::run(target.address(), &requests, connections, options.steady(), options.rate).await;
    let delivered = receiver.status().await.distinct();
    let waiting: u64 = tenants.iter().map(undelivered).sum();
    report.check(&posted);
    let expected: u64 = posted.accepted.iter().sum();
    let recorded = delivered.min(expected.saturating_sub(waiting));

    let status = all_arrived(report, &receiver, &tenants, &posted.accepted).await;
    let millis = |micros: u64| micros as f64 / 1_000.0;
    report.note(format!(
        "all the way, {connections} connections: {:.0}/s accepted, p50 {:.2} ms, p99 {:.2} ms; to the receiver p50 \
         {:.2} ms, p99 {:.2} ms; {} behind at the end, {} pushed again",
        posted.per_second(),
        millis(posted.latency.value_at_quantile(0.5)),
        millis(posted.latency.value_at_quantile(0.99)),
        millis(status.p50),
        millis(status.p99),
        expected - recorded,
        status.requests - status.distinct(),
    ));
    let per_second = recorded as f64 / posted.took.as_secs_f64();
    Steady { per_second, tenants, accepted: posted.accepted }
}

/// The slower of a bare echo and a bare client that share the cores.
async fn ceiling(
    report: &mut Report,
    options: &Options,
    echo: &Process,
    like: &Tenant,
    connections: usize,
) -> f64 {
    let receiver = Receiver::start();
    let until = Until::Seconds(options.steady().as_secs_f64());
    let concurrency = CONCURRENCY * options.tenants.min(8) as usize;
    let client = bare_client(&receiver, concurrency, until, &pushed_body(like));
    let template = templates(std::slice::from_ref(like), options);
    let echoed = generator::run(echo.address(), &template, connections, options.steady(), None).await;
    let posted: Posted = client.done();
    report.check(&echoed);
    let (echoed, posted) = (echoed.per_second(), posted.per_second());
    report.note(format!("bare echo and bare client at once: {echoed:.0}/s and {posted:.0}/s"));
    echoed.min(posted)
}

/// Both in turns. Also answers what was stored.
pub(crate) async fn run(
    report: &mut Report,
    options: &Options,
    target: &Target,
    echo: &Process,
    like: &Tenant,
) -> Vec<(Tenant, u64)> {
    let connections = options.connections();
    let mut row = Row::rate(
        format!("all the way, {connections} connections"),
        "slower of echo and client at once",
        Some(0.35),
    );
    let mut stored = Vec::new();
    for _ in 0..options.rounds {
        let beside = ceiling(report, options, echo, like, connections).await;
        let steady = measure(report, options, target, connections).await;
        row.add(steady.per_second, beside);
        stored.extend(steady.tenants.into_iter().zip(steady.accepted));
    }
    report.add([row]);
    stored
}
