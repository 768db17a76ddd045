//! From the post of an event to its push, at a rate that nobody finds hard, beside a relay without a database.
//!
//! What a push has to wait for is its commit, so the time that the disk takes for one is measured too.

use std::fs::File;
use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Options;
use crate::fill::templates;
use crate::generator;
use crate::pushes::{all_arrived, push_to};
use crate::target::{Process, Receiver, Target, beside};
use crate::turns::{Report, Row};

/// Few, so that each is used often enough to stay open.
const CONNECTIONS: usize = 8;

/// The median and the hundredth of what is slowest, in milliseconds.
#[derive(Clone, Copy)]
struct Times {
    p50: f64,
    p99: f64,
}

/// Measures both in turns.
pub(crate) async fn run(options: &Options) -> Report {
    let target = Target::new(options);
    let mut report = Report::new(options, target.database());
    let rate = options.rate.unwrap_or(50.0);
    let mut median = Row::time(format!("post to receiver at {rate}/s, p50"), "relay", 3.0);
    let mut slow = Row::time(format!("post to receiver at {rate}/s, p99"), "relay and one fsync", 1.0);
    for nth in 0..options.rounds {
        let tenants = target.tenants(&format!("latency {nth}"), 1);
        let requests = templates(&tenants, options);

        let receiver = Receiver::start();
        let relay = Process::relay(options.workers(), &receiver);
        post(&mut report, options, relay.address(), &requests, rate).await;
        let relayed = arrived(&receiver).await;

        let receiver = Receiver::start();
        push_to(&tenants[0], &receiver.url(0), true);
        let accepted = post(&mut report, options, target.address(), &requests, rate).await;
        all_arrived(&mut report, &receiver, &tenants, &accepted).await;
        let pushed = arrived(&receiver).await;

        let disk = commits(rate, options.phase().min(Duration::from_secs(10))).await;
        median.add(pushed.p50, relayed.p50);
        slow.add(pushed.p99, relayed.p99 + disk.p99);
        report.note(format!(
            "p50, p99: relay {:.2} ms, {:.2} ms; fsync {:.2} ms, {:.2} ms; to the receiver {:.2} ms, {:.2} ms",
            relayed.p50, relayed.p99, disk.p50, disk.p99, pushed.p50, pushed.p99
        ));
    }
    report.add([median, slow]);
    report
}

async fn post(
    report: &mut Report,
    options: &Options,
    address: SocketAddr,
    requests: &[Vec<u8>],
    rate: f64,
) -> Vec<u64> {
    let posted = generator::run(address, requests, CONNECTIONS, options.phase(), Some(rate)).await;
    report.check(&posted);
    posted.accepted
}

async fn arrived(receiver: &Receiver) -> Times {
    let status = receiver.status().await;
    Times { p50: status.p50 as f64 / 1_000.0, p99: status.p99 as f64 / 1_000.0 }
}

/// What a commit costs on the disk of this program: a page is written where there is room for it, and known to be there.
async fn commits(rate: f64, length: Duration) -> Times {
    let mut file: File = tempfile::tempfile_in(beside()).expect("a file beside this program");
    let sync = |file: &mut File, bytes: &[u8]| file.write_all(bytes).and_then(|()| file.sync_data());
    sync(&mut file, &vec![0; 16 << 20]).expect("the disk has room");
    file.rewind().expect("a file can be rewound");
    let mut times = generator::histogram();
    let begun = Instant::now();
    while begun.elapsed() < length {
        let at = Instant::now();
        sync(&mut file, &[7; 4096]).expect("the disk takes a page");
        times.saturating_record(u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX));
        tokio::time::sleep(Duration::from_secs_f64(1.0 / rate)).await;
    }
    let millis = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
    Times { p50: millis(0.5), p99: millis(0.99) }
}
