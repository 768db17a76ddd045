//! Events: what is posted one by one, and how many are stored at once for what is measured later.

use serde_json::json;
use tidings_api::{ATOMIC_EXTENSION, BASE_PATH, MEDIA_TYPE};
use tidings_tests::Tenant;

use crate::Options;
use crate::generator;
use crate::http::{STAMP, post, send};
use crate::target::Target;
use crate::turns::{Report, progress};

/// How many are stored by one request.
const BATCH: u64 = 500;

/// An event of the wanted size, with a place for the time.
fn event(size: usize) -> serde_json::Value {
    let event = |padding: &str| {
        json!({"type": "notification",
            "attributes": {"type": "close", "data": {"sentAt": STAMP, "padding": padding}}})
    };
    let around = json!({"data": event("")}).to_string().len();
    event(&"x".repeat(size.saturating_sub(around)))
}

/// The request of each tenant.
pub(crate) fn templates(tenants: &[Tenant], options: &Options) -> Vec<Vec<u8>> {
    let body = json!({"data": event(options.body as usize)}).to_string();
    let path = format!("{BASE_PATH}/notifications");
    tenants.iter().map(|tenant| post(&path, tenant.producer.key(), &body)).collect()
}

/// Stores so many for a tenant.
pub(crate) async fn fill(
    report: &mut Report,
    options: &Options,
    target: &Target,
    tenant: &Tenant,
    count: u64,
) {
    if count > 10_000 {
        progress(&format!("{count} events are stored"));
    }
    let operation = json!({"op": "add", "data": event(options.body as usize)}).to_string();
    let media_type = format!("{MEDIA_TYPE}; ext=\"{ATOMIC_EXTENSION}\"");
    let (path, key) = (format!("{BASE_PATH}/operations"), tenant.producer.key().to_owned());
    let batches = (0..count).step_by(BATCH as usize).map(move |first| {
        let operations = vec![operation.as_str(); BATCH.min(count - first) as usize].join(",");
        send("POST", &path, &key, &media_type, &format!("{{\"atomic:operations\":[{operations}]}}"))
    });
    report.check(&generator::each(target.address(), batches, 2, 200).await);
}
