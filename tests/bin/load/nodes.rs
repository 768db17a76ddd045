//! Two nodes that take the events of one tenant, beside one of them alone, on the same cores and the same database.

use futures_util::future::join;

use crate::Options;
use crate::fill::templates;
use crate::generator::{self, Measured};
use crate::http::Connection;
use crate::pull;
use crate::target::Target;
use crate::turns::{Report, Row};

/// Measures both in turns.
pub(crate) async fn run(options: &Options) -> Report {
    let shared = options.database_url.as_deref().is_some_and(|url| url.starts_with("postgres"));
    assert!(shared, "several nodes need the --database-url of a PostgreSQL");
    let nodes = [Target::start(options, None), Target::start(options, None)];
    let mut report = Report::new(options, nodes[0].database());
    let connections = options.connections();
    let mut row = Row::rate(
        format!("ingest at two nodes, one tenant, {connections} connections"),
        "one node",
        Some(0.8),
    );
    for nth in 0..options.rounds {
        let tenant = nodes[0].tenants(&format!("nodes {nth}"), 1);
        let requests = templates(&tenant, options);
        let post = |node: &Target, connections| {
            generator::run(node.address(), &requests, connections, options.phase(), None)
        };
        // Who goes first changes: the table grows meanwhile.
        let (one, two) = if nth % 2 == 0 {
            let one = post(&nodes[0], connections).await;
            (one, join(post(&nodes[0], connections / 2), post(&nodes[1], connections / 2)).await)
        } else {
            let two = join(post(&nodes[0], connections / 2), post(&nodes[1], connections / 2)).await;
            (post(&nodes[0], connections).await, two)
        };
        let all = [&one, &two.0, &two.1];
        all.iter().for_each(|measured| report.check(measured));
        row.add(two.0.per_second() + two.1.per_second(), one.per_second());
        let accepted: u64 = all.iter().map(|measured: &&Measured| measured.accepted[0]).sum();
        let mut connection =
            Connection::open(nodes[1].address()).await.expect("the server takes connections");
        let pulled = pull::run(&mut connection, tenant[0].consumer.key()).await;
        if pulled.items != accepted || !pulled.in_order {
            let there = format!("{} are there, in order: {}", pulled.items, pulled.in_order);
            report.missing(&format!("{accepted} were answered 201, {there}"));
        }
    }
    report.add([row]);
    report
}
