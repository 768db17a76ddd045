//! What is done to many is counted first, and asked about; jobs and deliveries tell what became of it.

use std::time::Duration;

use tidings_tests::{Receiver, Reply};

use crate::Desk;

#[test]
fn a_bulk_repush_counts_first_and_is_refused_without_an_answer() {
    let desk = Desk::with_events(30);
    let receiver = Receiver::accepting();
    // Nothing was pushed before.
    let url = format!("push.url={}", receiver.url());
    desk.admin(&["settings", "set", &url, "push.enabled=false"]).with(0);
    desk.admin(&["settings", "set", "push.enabled=true", "push.resume=fromNow"]).with(0);

    assert_eq!(desk.admin(&["repush", "--all", "--dry-run"]).with(0), "30\n");
    let said = desk.admin(&["repush", "--all"]).says(2);
    assert!(said.contains("30 notifications") && said.contains("--yes"), "{said}");
    let said = desk.admin(&["repush"]).says(2);
    assert!(said.contains("--all"), "{said}");
    assert_eq!(receiver.count(), 0, "it asked, and nobody answered");
    desk.admin(&["repush", "--type", "print", "--yes"]).says(4);

    desk.admin(&["repush", "--all", "--yes"]).with(0);
    receiver.wait_for(30, Duration::from_secs(60));
    desk.tenant.wait_for_state(30, "delivered");
    assert_eq!(
        desk.admin(&["deliveries", "--status", "complete", "--all", "-o", "ids"]).with(0).lines().count(),
        30
    );
    desk.admin(&["repush", "7", "10..12"]).with(0);
    receiver.wait_for(34, Duration::from_secs(60));
    // One that was never there.
    desk.admin(&["repush", "7", "4000"]).with(3);
    desk.consumer(&["repush", "--all", "--yes"]).says(1);
}

#[test]
fn jobs_are_listed_shown_and_watched() {
    let desk = Desk::with_events(20);
    desk.admin(&["jobs"]).says(4);
    let job = desk.admin(&["mark", "read", "--all", "--yes", "--no-wait", "-o", "ids"]).with(0);
    let id = job.trim();
    desk.admin(&["jobs", "watch", id]).with(0);
    let shown = desk.admin(&["jobs", "get", id, "-o", "json"]).json();
    assert_eq!(
        (&shown["attributes"]["state"], &shown["attributes"]["processed"]),
        (&"done".into(), &20.into())
    );
    assert!(desk.admin(&["jobs", "-o", "ids"]).with(0).lines().any(|line| line == id));
    assert_eq!(desk.tenant.consumer.ids("filter[isRead]=true&page[size]=100").len(), 20);
    desk.admin(&["jobs", "get", "00000000-0000-4000-8000-000000000000"]).with(1);
}

#[test]
fn many_are_marked_by_filter_and_by_pipe_and_a_consumer_may_too() {
    let desk = Desk::with_events(10);
    desk.producer(&["post", "--type", "print"]).with(0);
    let said = desk.consumer(&["mark", "flagged", "--type", "close"]).says(2);
    assert!(said.contains("10 notifications"), "{said}");
    desk.consumer(&["mark", "flagged", "--type", "close", "--yes"]).with(0);
    assert_eq!(
        desk.tenant.consumer.ids("filter[isFlagged]=true&sort=sequence"),
        (1..=10).collect::<Vec<_>>()
    );
    desk.shell("tidings ls --type print -o ids | tidings mark dismissed -").with(0);
    assert_eq!(desk.tenant.consumer.ids("filter[isDismissed]=true"), [11]);
    desk.admin(&["mark", "undismissed", "--all", "--yes"]).with(0);
    assert!(desk.tenant.consumer.ids("filter[isDismissed]=true").is_empty());
}

#[test]
fn deliveries_and_their_attempts_tell_what_happened() {
    let desk = Desk::new();
    let receiver =
        Receiver::start(|request, _| Reply::Status(if request.sequence() == 2 { 500 } else { 204 }));
    let url = format!("push.url={}", receiver.url());
    desk.admin(&["settings", "set", &url, "push.retry.kind=none"]).with(0);
    desk.post(3);
    desk.tenant.wait_for_state(2, "failed");
    desk.tenant.wait_for_state(3, "delivered");
    assert_eq!(desk.admin(&["deliveries", "--status", "error", "-o", "ids"]).with(0), "2\n");
    assert_eq!(desk.admin(&["deliveries", "--answer", "500", "-o", "ids"]).with(0), "2\n");
    assert_eq!(desk.admin(&["deliveries", "--sort", "id", "-n", "2", "-o", "ids"]).with(0), "1\n2\n");
    let shown = desk.admin(&["deliveries", "get", "2", "-o", "json"]).json();
    assert_eq!(shown["data"]["attributes"]["responseStatus"], 500);
    let attempts = desk.admin(&["deliveries", "attempts", "2"]).with(0);
    assert!(attempts.contains("500"), "{attempts}");
    desk.admin(&["deliveries", "--retries", "9"]).with(4);
}
