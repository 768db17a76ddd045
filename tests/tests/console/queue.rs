//! The push queue: its filters, and pushing again what they find.

use serde_json::json;
use tidings_tests::{Receiver, Screen, until, wait};

use crate::desk::{Desk, event};

const FAILED: usize = 40;

/// Forty are too large, and fail at once; then larger ones may be pushed, and one more arrives.
fn desk(screen: Screen) -> (Desk, Receiver) {
    let receiver = Receiver::accepting();
    let desk = Desk::new(screen);
    desk.tenant
        .admin
        .settings(json!({"push": {"url": receiver.url()}, "payload": {"maxBytes": 1000}}))
        .expect(200);
    for n in 0..FAILED {
        desk.tenant
            .producer
            .post_event(&event(if n % 2 == 0 { "close" } else { "print" }, &"long ".repeat(300)));
    }
    waiting(&desk, "error", FAILED);
    desk.tenant.admin.settings(json!({"payload": {"maxBytes": null}})).expect(200);
    desk.tenant.producer.post_event(&event("sign", ""));
    waiting(&desk, "complete", 1);
    (desk, receiver)
}

#[track_caller]
fn waiting(desk: &Desk, status: &str, count: usize) {
    until(&format!("{count} with {status}"), wait::SOON, || {
        let page =
            desk.tenant.admin.get(&format!("deliveries?filter[status]={status}&page[size]=100")).expect(200);
        (page["data"].as_array().map(Vec::len) == Some(count)).then_some(())
    });
}

fn by_clicks(screen: Screen) {
    let (desk, _receiver) = desk(screen);
    let browser = &desk.browser;
    desk.sign_in(&desk.tenant.admin);
    browser.click("#nav-queue");
    browser.see("#list tr[data-id='41']");
    browser.click("//nav[@id='views']/a[contains(., 'Delivered')]");
    browser.see_no("#list tr[data-id='40']");
    assert_eq!(browser.count("#list tbody tr"), 1);
    browser.click("//nav[@id='views']/a[contains(., 'Given up')]");
    browser.see("#list tr[data-id='40']");

    // Each column can be filtered by.
    browser.click("#filters-panel summary");
    browser.choose("#filter-errorMessage", "too_large");
    browser.fill("#filter-eventType", "close");
    browser.click("//form[@id='filters']//button[@type='submit']");
    browser.see_no("#list tr[data-id='40']");
    browser.see("#list tr[data-id='39']");
    browser.read("#list tr[data-id='39']", "Too large");

    // Chosen ones.
    browser.click("#list tr[data-id='39'] .pick input");
    browser.click("#repush-selected");
    browser.read("#toasts", "Put in the queue again: 1");
    waiting(&desk, "error", FAILED - 1);

    // All that match, and only these.
    browser.click("#repush-all");
    browser.click("//dialog//button[contains(., 'Push 19 again')]");
    browser.read("#toasts", "Put in the queue again: 19");
    waiting(&desk, "error", FAILED / 2);
    browser.click("#refresh");
    browser.read("#list", "Nothing matches");
    browser.click("#clear");
    browser.see("#list tr[data-id='40']");
    browser.see("#list tr[data-id='41']");
    desk.leave();
}

fn by_keys(screen: Screen) {
    let (desk, _receiver) = desk(screen);
    let browser = &desk.browser;
    desk.sign_in(&desk.tenant.admin);
    browser.press("g");
    browser.press("q");
    browser.see("#list tr[data-id='41']");
    browser.press("/");
    browser.press("2,4");
    browser.enter();
    browser.see_no("#list tr[data-id='41']");
    browser.see("#list tr[data-id='4']");
    browser.tab_to("#repush-all");
    browser.enter();
    browser.read("dialog", "Push 2 notifications again?");
    browser.enter();
    browser.read("#toasts", "Put in the queue again: 2");
    waiting(&desk, "error", FAILED - 2);
    desk.leave();
}

#[test]
fn it_is_filtered_and_pushed_again_by_mouse_at_a_desk() {
    by_clicks(Screen::DESKTOP);
}

#[test]
fn it_is_filtered_and_pushed_again_by_mouse_on_a_phone() {
    by_clicks(Screen::PHONE);
}

#[test]
fn it_is_filtered_and_pushed_again_by_keyboard_at_a_desk() {
    by_keys(Screen::DESKTOP);
}

#[test]
fn it_is_filtered_and_pushed_again_by_keyboard_on_a_phone() {
    by_keys(Screen::PHONE);
}

#[test]
fn the_progress_of_a_job_is_shown() {
    let (desk, _receiver) = desk(Screen::DESKTOP);
    let browser = &desk.browser;
    desk.sign_in(&desk.tenant.admin);
    browser.click("#nav-queue");
    browser.see("#list tr[data-id='41']");
    // What is shown for a moment only is written down by the page itself.
    browser.script(
        "window.seen = [];
         new MutationObserver(() => {
             const bar = document.querySelector('#jobs progress');
             if (bar) window.seen.push([bar.value, bar.max, bar.closest('.job').textContent]);
         }).observe(document.getElementById('jobs'), {childList: true, subtree: true, attributes: true});",
        &[],
    );
    browser.click("#repush-all");
    browser.click("//dialog//button[contains(., 'Push 41 again')]");
    browser.read("#toasts", "Put in the queue again: 41");
    let seen = browser.script("return window.seen", &[]);
    assert!(seen.to_string().contains("Pushing 41 notifications again"), "{seen}");
    browser.see_no("#jobs progress");
    waiting(&desk, "complete", FAILED + 1);
    desk.leave();
}

#[test]
fn it_is_sorted_by_its_columns() {
    let (desk, _receiver) = desk(Screen::DESKTOP);
    let browser = &desk.browser;
    desk.sign_in(&desk.tenant.admin);
    browser.click("#nav-queue");
    let first = |id: u64| browser.see(&format!("#list tbody tr:first-child[data-id='{id}']"));
    first(41);
    browser.click("#sort-id");
    first(1);
    // Of those of one type the newest is first, and last when the order is turned round: close, print, sign.
    browser.click("#sort-eventType");
    first(41);
    browser.see("th[aria-sort=descending] #sort-eventType");
    browser.click("#sort-eventType");
    first(1);
    browser.click("#sort-status");
    browser.see("th[aria-sort=descending] #sort-status");
    first(40);
    desk.leave();
}
