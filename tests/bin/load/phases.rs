//! The order of things: echo and ingest in turns, then ingest with pushes, then a pull of everything.

use std::time::{Duration, Instant};

use serde_json::json;
use tidings_api::BASE_PATH;
use tidings_tests::Tenant;

use crate::Options;
use crate::generator::{self, Measured, now_micros};
use crate::http::{Connection, STAMP, post};
use crate::pull::{self, Pulled};
use crate::report::{Pushes, Report, Round};
use crate::target::{Process, Receiver, Target};

/// How long pushes may go on after the last post.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs all phases.
pub(crate) async fn run(options: &Options) -> Report {
    let target = Target::new(options);
    let address = target.address();
    let mut complete = true;

    let echo = Process::echo(options.workers());
    let plain = target.tenants("ingest", options.tenants);
    let requests = templates(&plain, options.body as usize);
    let mut accepted = vec![0; plain.len()];
    let mut rounds = Vec::new();
    for nth in 1..=options.rounds {
        progress(&format!("round {nth} of {}: echo", options.rounds));
        let echoed =
            generator::run(echo.address(), &requests, options.connections, options.phase(), None).await;
        progress(&format!("  {:.0}/s; ingest", echoed.per_second()));
        let ingested =
            generator::run(address, &requests, options.connections, options.phase(), options.rate).await;
        progress(&format!("  {:.0}/s", ingested.per_second()));
        complete &= check(&echoed) & check(&ingested);
        add(&mut accepted, &ingested);
        rounds.push(Round::new(&echoed, &ingested));
    }
    drop(echo);

    progress("ingest with pushes");
    let receiver = Receiver::start();
    let pushed = target.tenants("push", options.tenants);
    for (nth, tenant) in pushed.iter().enumerate() {
        let push = json!({"url": receiver.url(nth), "enabled": true, "autoDismiss": true});
        tenant.admin.settings(json!({"push": push})).expect(200);
    }
    let requests = templates(&pushed, options.body as usize);
    let begun_at = now_micros();
    let ingested =
        generator::run(address, &requests, options.connections, options.phase(), options.rate).await;
    complete &= check(&ingested);
    let expected: u64 = ingested.accepted.iter().sum();
    let behind = expected.saturating_sub(receiver.status().distinct());
    let ended = Instant::now();
    while receiver.status().distinct() < expected && ended.elapsed() < PATIENCE {
        progress(&format!("  {} of {expected} pushed", receiver.status().distinct()));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let status = receiver.status();
    for (nth, count) in ingested.accepted.iter().enumerate() {
        let seen = status.tenants.get(&format!("/{nth}")).copied().unwrap_or_default();
        if seen != (*count, *count) {
            println!("MISSING: tenant {nth} posted {count}; pushed: {} different, up to {}", seen.0, seen.1);
            complete = false;
        }
    }
    while !pushed.iter().all(|tenant| tenant.consumer.ids("page[size]=1").is_empty()) {
        if ended.elapsed() > PATIENCE {
            println!("MISSING: pushed, but not dismissed");
            complete = false;
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let pushes = Pushes::new(&ingested, &status, behind, begun_at);

    progress("pull");
    let mut total = Pulled::default();
    for (tenant, count) in plain.iter().zip(&accepted).chain(pushed.iter().zip(&ingested.accepted)) {
        let mut connection = Connection::open(address).await.expect("the server takes connections");
        let pulled = pull::run(&mut connection, tenant.consumer.key()).await;
        if pulled.items != *count || !pulled.in_order {
            println!(
                "MISSING: {count} were answered 201, {} are there, in order: {}",
                pulled.items, pulled.in_order
            );
            complete = false;
        }
        total.items += pulled.items;
        total.took += pulled.took;
    }
    Report::new(options, &target, rounds, pushes, &total, complete)
}

/// The request of each tenant: an event of the wanted size, with a place for the time.
fn templates(tenants: &[Tenant], size: usize) -> Vec<Vec<u8>> {
    let body = |padding: &str| {
        json!({"data": {"type": "notification",
            "attributes": {"type": "close", "data": {"sentAt": STAMP, "padding": padding}}}})
        .to_string()
    };
    let padding = "x".repeat(size.saturating_sub(body("").len()));
    let path = format!("{BASE_PATH}/notifications");
    tenants.iter().map(|tenant| post(&path, tenant.producer.key(), &body(&padding))).collect()
}

fn add(sums: &mut [u64], measured: &Measured) {
    for (sum, count) in sums.iter_mut().zip(&measured.accepted) {
        *sum += count;
    }
}

fn check(measured: &Measured) -> bool {
    if let Some(failure) = &measured.first_failure {
        println!("FAILED: {} requests, the first: {failure}", measured.failures);
    }
    measured.failures == 0
}

fn progress(what: &str) {
    eprintln!("load: {what}");
}
