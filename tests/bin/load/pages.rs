//! Pulling: pages of a hundred by cursor, anywhere in a store of any size, beside the bare query and its serialisation.
//!
//! Half of what is stored is one tenant's, the rest is spread over the others. Of the large tenant's all but one in a
//! hundred are dismissed.

use std::time::Instant;

use serde_json::Value;
use tidings_api::BASE_PATH;
use tidings_tests::Tenant;

use crate::Options;
use crate::bare_rows::{PAGE, Walk, Work, measure};
use crate::fill::fill;
use crate::generator;
use crate::http::{Connection, get};
use crate::target::Target;
use crate::turns::{Report, Row};

/// The most pages that are read in turn: enough that they are not all the same.
const PAGES: i64 = 50;
/// What is stored while the store is still small.
const SMALL: u64 = 10_000;
/// One in so many is not dismissed.
const STRIDE: i64 = 100;

/// Fills the store, and measures.
pub(crate) async fn run(options: &Options, count: u64, tenants: u32) -> Report {
    let target = Target::start(options, None);
    let mut report = Report::new(options, target.database());
    let all = Walk { from: 0, step: PAGE, pages: PAGES, undismissed: false };

    let first = target.tenants("small", 1).remove(0);
    let small = SMALL.min(count);
    fill(&mut report, options, &target, &first, small).await;
    let mut before = row(&format!("{small} stored, the beginning"));
    for _ in 0..options.rounds {
        turn(&mut report, options, &target, &first, all, &mut before).await;
    }

    let large = target.tenants("large", 1).remove(0);
    let half = (count / 2).max(small);
    fill(&mut report, options, &target, &large, half).await;
    let others = target.tenants("other", tenants.saturating_sub(2));
    for tenant in &others {
        let share = count.saturating_sub(half + small) / u64::from(tenants - 2);
        fill(&mut report, options, &target, tenant, share).await;
    }
    target.execute(&format!(
        "UPDATE states SET is_dismissed = TRUE WHERE sequence % {STRIDE} <> 0 AND tenant_id = \
         (SELECT id FROM tenants WHERE public_id = '{}')",
        large.id
    ));

    let half = i64::try_from(half).expect("a count");
    let end = half - PAGES * PAGE;
    let few = Walk {
        step: PAGE * STRIDE,
        pages: (half / (PAGE * STRIDE)).clamp(1, PAGES),
        from: 0,
        undismissed: true,
    };
    let mut places = [
        ("the beginning", all),
        ("the middle", Walk { from: half / 2, ..all }),
        ("the end", Walk { from: end.max(0), ..all }),
        ("1 % undismissed", few),
    ]
    .map(|(place, walk)| (row(&format!("{count} stored, {place}")), walk));
    for _ in 0..options.rounds {
        for (row, walk) in &mut places {
            turn(&mut report, options, &target, &large, *walk, row).await;
        }
    }
    let [beginning, middle, end, few] = places.map(|(row, _)| row);
    let flat = [end.to(&beginning, Some(0.8)), beginning.to(&before, Some(0.8))];
    report.add([before, beginning, middle, end, few]);
    report.add(flat);
    report
}

fn row(what: &str) -> Row {
    Row::rate(format!("pages, {what}"), "bare query", Some(0.5))
}

/// Reads pages over HTTP and bare, and compares the first.
async fn turn(
    report: &mut Report,
    options: &Options,
    target: &Target,
    tenant: &Tenant,
    walk: Walk,
    row: &mut Row,
) {
    let bare = measure(target, tenant, &Work::Pages(walk, options.seconds));
    let key = tenant.consumer.key().to_owned();
    let request = move |nth: i64| {
        let (states, after) = (if walk.undismissed { "false" } else { "true,false" }, walk.after(nth));
        let page = format!("sort=sequence&page[size]={PAGE}&page[after]={after}");
        get(&format!("{BASE_PATH}/notifications?filter[isDismissed]={states}&{page}"), &key)
    };
    let mut connection = Connection::open(target.address()).await.expect("the server takes connections");
    let answer = connection.exchange(&request(0)).await.expect("a page is answered");
    if shown(answer.body) != shown(bare.page.as_bytes()) {
        report.missing("the bare query has read something else than the server");
    }
    let end = Instant::now() + options.phase();
    let requests = (0..).take_while(move |_| Instant::now() < end).map(request);
    let read = generator::each(target.address(), requests, 1, 200).await;
    report.check(&read);
    row.add(read.per_second(), bare.per_second());
}

/// What a page tells of each notification.
fn shown(page: &[u8]) -> Vec<Value> {
    let page: Value = serde_json::from_slice(page).unwrap_or_default();
    let data = page["data"].as_array().cloned().unwrap_or_default();
    data.into_iter().map(|mut item| item["attributes"].take()).collect()
}
