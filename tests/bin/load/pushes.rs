//! Pushes to the receiver: turned on, waited for, and checked off.

use std::time::{Duration, Instant};

use serde_json::json;
use tidings_tests::Tenant;

use crate::receiver::Status;
use crate::target::Receiver;
use crate::turns::Report;

/// How many pushes of a tenant are on their way at a time, if its settings say nothing else.
pub(crate) const CONCURRENCY: usize = 32;

/// How long pushes may go on after the last post.
const PATIENCE: Duration = Duration::from_secs(300);

/// Has everything pushed to the receiver and dismissed then, at once or later.
pub(crate) fn push_to(tenant: &Tenant, url: &str, enabled: bool) {
    let push = json!({"url": url, "enabled": enabled, "autoDismiss": true});
    tenant.admin.settings(json!({"push": push})).expect(200);
}

/// How many wait for their push or its record, counted up to 10,000.
pub(crate) fn undelivered(tenant: &Tenant) -> u64 {
    let settings = tenant.admin.get("external-notifications").expect(200);
    settings["data"]["meta"]["undelivered"].as_u64().expect("settings tell how many wait")
}

/// Waits until all are delivered and recorded as dismissed, and checks every one of them off.
pub(crate) async fn all_arrived(
    report: &mut Report,
    receiver: &Receiver,
    tenants: &[Tenant],
    counts: &[u64],
) -> Status {
    let begun = Instant::now();
    let expected: u64 = counts.iter().sum();
    while receiver.status().await.distinct() < expected && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let recorded =
        |tenant: &Tenant| undelivered(tenant) == 0 && tenant.consumer.ids("page[size]=1").is_empty();
    while !tenants.iter().all(recorded) {
        if begun.elapsed() > PATIENCE {
            report.missing("not everything that was pushed is recorded as dismissed");
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = receiver.status().await;
    for (nth, count) in counts.iter().enumerate() {
        let (distinct, greatest) = status.tenants.get(&format!("/{nth}")).copied().unwrap_or_default();
        if (distinct, greatest) != (*count, *count) {
            report.missing(&format!("tenant {nth}: {distinct} of {count} were pushed, up to {greatest}"));
        }
    }
    status
}
