//! Changing flags: a PATCH for each over many connections, and a job for all, beside bare UPDATEs in the same batches.
//!
//! The bare UPDATEs go to the rows of another tenant in the same tables, which nobody else touches.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_api::job::{JobDocument, JobState};
use tidings_api::{BASE_PATH, MEDIA_TYPE};
use tidings_tests::{Tenant, until};

use crate::Options;
use crate::bare_rows::{Work, measure};
use crate::fill::{fill, templates};
use crate::generator;
use crate::http::send;
use crate::target::{Process, Target};
use crate::turns::{Report, Row, progress};

/// How many the server changes in one transaction of a job.
const STEP: i64 = 500;

/// Measures both in turns.
pub(crate) async fn run(options: &Options, count: u64) -> Report {
    let target = Target::start(options, None);
    let mut report = Report::new(options, target.database());
    let tenants = target.tenants("flags", 2);
    for tenant in &tenants {
        fill(&mut report, options, &target, tenant, count).await;
    }
    let [ours, bare] = &tenants[..] else { unreachable!("two were made") };
    let rows = i64::try_from(count).expect("a count");
    let connections = options.connections();
    let batch = i64::try_from(connections).expect("a count");

    let mut single = Row::rate(
        format!("PATCH of {count}, {connections} connections"),
        format!("UPDATEs, {connections} a commit"),
        Some(0.5),
    );
    // No PATCH can be faster than HTTP itself.
    let mut over_http = Row::rate("the same", "bare echo of an event", None);
    let echo = Process::echo(options.workers());
    let events = templates(std::slice::from_ref(ours), options);
    let mut bulk =
        Row::rate(format!("job over {count}"), format!("UPDATEs of {STEP}, a commit each"), Some(0.5));
    for _ in 0..options.rounds {
        let beside = measure(&target, bare, &Work::Dismiss { count: rows, batch, one_by_one: true });
        let length = options.phase().min(Duration::from_secs(3));
        let echoed = generator::run(echo.address(), &events, connections, length, None).await;
        report.check(&echoed);
        let key = ours.consumer.key().to_owned();
        let patches = (1..=count).map(move |id| {
            let data =
                json!({"type": "notification", "id": id.to_string(), "attributes": {"isDismissed": true}});
            let path = format!("{BASE_PATH}/notifications/{id}");
            send("PATCH", &path, &key, MEDIA_TYPE, &json!({"data": data}).to_string())
        });
        let patched = generator::each(target.address(), patches, connections, 200).await;
        report.check(&patched);
        all_dismissed(&mut report, ours);
        single.add(patched.per_second(), beside.per_second());
        over_http.add(patched.per_second(), echoed.per_second());
        put_back(&target);

        let beside = measure(&target, bare, &Work::Dismiss { count: rows, batch: STEP, one_by_one: false });
        let seconds = job(ours, count);
        all_dismissed(&mut report, ours);
        bulk.add(count as f64 / seconds, beside.per_second());
        put_back(&target);
    }
    report.add([single, over_http, bulk]);
    report
}

/// Has a job dismiss all. How many seconds it took from the request on.
fn job(tenant: &Tenant, count: u64) -> f64 {
    let attributes = json!({"action": "update", "set": {"isDismissed": true},
        "filter": {"filter[isDismissed]": "false"}, "upTo": count.to_string()});
    let body = json!({"data": {"type": "job", "attributes": attributes}});
    let created = tenant.admin.post("jobs", &body).expect(202);
    let path = format!("jobs/{}", created["data"]["id"].as_str().expect("an id"));
    let done = until("the end of the job", Duration::from_secs(600), || {
        // Seldom enough to cost nothing: how long it took, the job says itself.
        std::thread::sleep(Duration::from_millis(100));
        let job: JobDocument = serde_json::from_value(tenant.admin.get(&path).expect(200)).expect("a job");
        (job.data.attributes.state == JobState::Done).then_some(job.data.attributes)
    });
    assert_eq!((done.processed, done.failed), (count, 0));
    let ended = done.ended_at.expect("a job that is done has ended");
    (ended - done.created_at).as_seconds_f64()
}

fn all_dismissed(report: &mut Report, tenant: &Tenant) {
    let left: Value = tenant.consumer.get("notifications?page[size]=1").expect(200)["data"].take();
    if left != json!([]) {
        report.missing("not everything is dismissed");
    }
}

fn put_back(target: &Target) {
    progress("flags are put back");
    target.execute("UPDATE states SET is_dismissed = FALSE WHERE is_dismissed");
}
