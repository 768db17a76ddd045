//! Two builds of the server in turns under the same short load: whether a change has made something slower.

use std::path::{Path, PathBuf};

use crate::Options;
use crate::fill::templates;
use crate::generator;
use crate::http::Connection;
use crate::pull;
use crate::steady;
use crate::target::Target;
use crate::turns::{Report, Row};

/// Measures both in turns. Also answers whether all ratios reach the least that is allowed.
pub(crate) async fn run(options: &Options, against: &Path, least: f64) -> (Report, bool) {
    // The servers run in directories of their own.
    let against = against.canonicalize().expect("--against is the path of a server's binary");
    let mut report = Report::new(options, options.database_url.as_deref().unwrap_or("SQLite"));
    let mut rows =
        ["ingest", "all the way", "pull"].map(|what| Row::rate(what, "the other build", Some(least)));
    for nth in 0..options.rounds {
        // Who goes first changes, in case it matters.
        let (new, old) = if nth % 2 == 0 {
            let new = load(&mut report, options, None).await;
            (new, load(&mut report, options, Some(against.clone())).await)
        } else {
            let old = load(&mut report, options, Some(against.clone())).await;
            (load(&mut report, options, None).await, old)
        };
        for (row, (new, old)) in rows.iter_mut().zip(new.into_iter().zip(old)) {
            row.add(new, old);
        }
    }
    let mut holds = true;
    for row in &rows {
        if row.ratio().median < least {
            holds = false;
            report.note(format!("SLOWER: {} is below {least} of the other build", row.what()));
        }
    }
    report.add(rows);
    (report, holds)
}

/// Events per second: taken; taken, pushed and recorded; pulled.
async fn load(report: &mut Report, options: &Options, binary: Option<PathBuf>) -> [f64; 3] {
    let target = Target::start(options, binary);
    let connections = options.connections();
    let tenants = target.tenants("compare", options.tenants);
    let requests = templates(&tenants, options);
    let ingested = generator::run(target.address(), &requests, connections, options.phase(), None).await;
    report.check(&ingested);
    let steady = steady::measure(report, options, &target, connections).await;
    let mut connection = Connection::open(target.address()).await.expect("the server takes connections");
    let pulled = pull::run(&mut connection, tenants[0].consumer.key()).await;
    if pulled.items != ingested.accepted[0] || !pulled.in_order {
        report.missing(&format!("{} of {} are there", pulled.items, ingested.accepted[0]));
    }
    [ingested.per_second(), steady.per_second, pulled.per_second()]
}
