//! A backlog: stored while push was paused, then pushed as fast as it goes, beside a bare client.

use crate::Options;
use crate::bare_client::Posted;
use crate::fill::fill;
use crate::generator::now_micros;
use crate::pushes::{CONCURRENCY, all_arrived, push_to};
use crate::target::{Receiver, Target, Until, bare_client, pushed_body};
use crate::turns::{Report, Row};

/// Measures both in turns.
pub(crate) async fn run(options: &Options, count: u64) -> Report {
    let target = Target::new(options);
    let mut report = Report::new(options, target.database());
    let mut row = Row::rate(format!("push of a backlog of {count}"), "bare client", Some(0.5));
    for nth in 0..options.rounds {
        let receiver = Receiver::start();
        let tenant = target.tenants(&format!("backlog {nth}"), 1).remove(0);
        push_to(&tenant, &receiver.url(0), false);
        fill(&mut report, options, &target, &tenant, count).await;

        let bare_receiver = Receiver::start();
        let client = bare_client(&bare_receiver, CONCURRENCY, Until::Count(count), &pushed_body(&tenant));
        let posted: Posted = client.done();

        let resumed = now_micros();
        push_to(&tenant, &receiver.url(0), true);
        let status = all_arrived(&mut report, &receiver, std::slice::from_ref(&tenant), &[count]).await;
        let recorded = now_micros();
        let seconds = |until: u64| until.saturating_sub(resumed) as f64 / 1e6;
        row.add(count as f64 / seconds(status.last_at), posted.per_second());
        report.note(format!(
            "all at the receiver after {:.2} s, recorded after {:.2} s; {} pushed again",
            seconds(status.last_at),
            seconds(recorded),
            status.requests - status.distinct(),
        ));
    }
    report.add([row]);
    if let Some(memory) = target.memory() {
        report.note(format!("the server's memory: {memory:.1} MB at most"));
    }
    report
}
