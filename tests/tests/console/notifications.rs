//! Signing in, the list, and one notification.

use serde_json::{Value, json};
use tidings_tests::{Receiver, Reply, Screen, until, wait};

use crate::desk::{Desk, event};

/// Three of two types, each refused once.
fn desk(screen: Screen) -> (Desk, Receiver) {
    let receiver = Receiver::start(|_, _| Reply::WithBody(500, Vec::new(), b"out of paper".to_vec()));
    let desk = Desk::new(screen);
    desk.tenant
        .admin
        .settings(json!({"push": {"url": receiver.url(), "retry": {"kind": "none"}}}))
        .expect(200);
    for (kind, comment) in [("close", "the first"), ("my.own.type", "the second"), ("close", "the third")] {
        let id = desk.tenant.producer.post_event(&event(kind, comment));
        desk.tenant.wait_for_state(id, "failed");
    }
    (desk, receiver)
}

/// Waits until a flag is what it should be, at the server.
#[track_caller]
fn flag(desk: &Desk, id: u64, name: &str, value: bool) {
    until(&format!("{name} of {id} to be {value}"), wait::SOON, || {
        let answer = desk.tenant.consumer.get(&format!("notifications/{id}")).expect(200);
        (answer["data"]["attributes"][name] == value).then_some(())
    });
}

#[track_caller]
fn tried(desk: &Desk, id: u64, attempts: usize) {
    until(&format!("{attempts} attempts for {id}"), wait::SOON, || {
        let answer = desk.tenant.admin.get(&format!("deliveries/{id}/attempts")).expect(200);
        (answer["data"].as_array().map(Vec::len) == Some(attempts)).then_some(())
    });
}

fn by_clicks(screen: Screen) {
    let (desk, _receiver) = desk(screen);
    let browser = &desk.browser;
    // A wrong key is told, and the right one opens.
    browser.open(&format!("{}/", desk.server.url()));
    browser.fill("#key", "tidings_admin_wrong");
    browser.click("#login");
    browser.read("#key-error", "does not know this key");
    browser.fill("#key", desk.tenant.admin.key());
    browser.click("#login");
    browser.read("#whose", "Acme");
    // The key outlives a reload, and not more.
    browser.reload();
    browser.read("#todos", "3 pushes given up");

    browser.click("#nav-notifications");
    browser.read("#row-3", "Signed and closed");
    browser.read("#row-3 .push", "Given up");
    browser.click("#row-3 [data-part=read]");
    flag(&desk, 3, "isRead", true);
    browser.click("#row-3 [data-part=flag]");
    flag(&desk, 3, "isFlagged", true);
    browser.click("#row-2 [data-part=dismiss]");
    flag(&desk, 2, "isDismissed", true);
    browser.click("//*[@id='toasts']//button[contains(., 'Undo')]");
    flag(&desk, 2, "isDismissed", false);

    // The chips: what they select, and how many.
    browser.read("//nav[@id='views']/a[contains(., 'Flagged')]", "1");
    browser.click("//nav[@id='views']/a[contains(., 'Flagged')]");
    browser.see_no("#row-2");
    browser.see("#row-3");
    browser.back();
    browser.see("#row-2");
    browser.fill("#search", "type:my.own.type pushed:failed since:2h");
    browser.click("form.search button[type=submit]");
    browser.see_no("#row-3");
    browser.see("#row-2");
    assert!(browser.url().contains("q=type:my.own.type"), "a link can be sent: {}", browser.url());
    browser.fill("#search", "type:none.such");
    browser.click("form.search button[type=submit]");
    browser.read("#list", "Nothing matches");

    // One of them: its JSON, its attempts, and once more.
    desk.go("notifications/1");
    browser.read("//pre[@aria-label='The notification as JSON']", "\"comment\": \"the first\"");
    browser.read("#timeline", "Refused (500)");
    browser.click("#timeline summary");
    browser.read("#timeline details", "out of paper");
    browser.click("#repush");
    tried(&desk, 1, 2);
    browser.see("#timeline li.bad:nth-of-type(2)");
    browser.click("#isFlagged");
    flag(&desk, 1, "isFlagged", true);

    browser.click("#logout");
    browser.see("#key");
    assert_eq!(browser.script("return sessionStorage.length", &[]), 0, "the key is forgotten");
    desk.leave();
}

fn by_keys(screen: Screen) {
    let (desk, _receiver) = desk(screen);
    let browser = &desk.browser;
    desk.sign_in(&desk.tenant.admin);
    browser.read("#todos", "3 pushes given up");
    browser.press("g");
    browser.press("n");
    browser.see("#row-3");

    browser.press("?");
    browser.read("dialog", "next and previous notification");
    browser.escape();
    browser.see_no("dialog");

    browser.press("j");
    focused(&desk, "#row-3 *");
    browser.press("j");
    focused(&desk, "#row-2 *");
    browser.press("k");
    focused(&desk, "#row-3 *");
    browser.press("r");
    flag(&desk, 3, "isRead", true);
    browser.press("f");
    flag(&desk, 3, "isFlagged", true);
    browser.press("x");
    browser.read("#toasts", "Number 3 dismissed");
    flag(&desk, 3, "isDismissed", true);
    browser.press("z");
    flag(&desk, 3, "isDismissed", false);
    browser.press("p");
    tried(&desk, 3, 2);

    // Several at once.
    browser.press(" ");
    browser.press("j");
    browser.press(" ");
    browser.read("#selected-count", "2 selected");
    browser.press("r");
    flag(&desk, 2, "isRead", true);
    browser.press(" ");
    browser.press("k");
    browser.press(" ");
    browser.see_no("#selected-count");

    browser.press("/");
    focused(&desk, "#search");
    browser.press("type:my.own.type");
    browser.enter();
    browser.see_no("#row-3");
    browser.escape();
    focused(&desk, "#row-2 *");
    browser.enter();
    browser.read("#timeline", "Refused (500)");
    browser.press("p");
    tried(&desk, 2, 2);
    browser.press("x");
    flag(&desk, 2, "isDismissed", true);
    browser.escape();
    browser.read("#list", "Nothing matches");

    // Everything that only has a button can be reached, too.
    browser.tab_to("#help");
    browser.enter();
    browser.see("dialog");
    browser.escape();
    browser.tab_to("#logout");
    browser.enter();
    browser.see("#key");
    desk.leave();
}

#[track_caller]
fn focused(desk: &Desk, selector: &str) {
    until(&format!("{selector} to have the focus"), wait::SOON, || {
        let is =
            desk.browser.script("return document.activeElement.matches(arguments[0])", &[json!(selector)]);
        (is == Value::Bool(true)).then_some(())
    });
}

#[test]
fn they_are_found_flagged_and_pushed_again_by_mouse_at_a_desk() {
    by_clicks(Screen::DESKTOP);
}

#[test]
fn they_are_found_flagged_and_pushed_again_by_mouse_on_a_phone() {
    by_clicks(Screen::PHONE);
}

#[test]
fn they_are_found_flagged_and_pushed_again_by_keyboard_at_a_desk() {
    by_keys(Screen::DESKTOP);
}

#[test]
fn they_are_found_flagged_and_pushed_again_by_keyboard_on_a_phone() {
    by_keys(Screen::PHONE);
}

#[test]
fn what_arrives_is_shown_unless_one_reads() {
    let (desk, _receiver) = desk(Screen::DESKTOP);
    let browser = &desk.browser;
    desk.sign_in(&desk.tenant.consumer);
    browser.click("#nav-notifications");
    browser.see("#row-3");
    // Away from the list.
    browser.hover("#title");
    desk.tenant.producer.post_event(&event("close", "the fourth"));
    browser.see("#row-4");
    browser.press("j");
    desk.tenant.producer.post_event(&event("close", "the fifth"));
    browser.read("#arrived", "1 new notification");
    assert_eq!(browser.count("#row-5"), 0, "the list holds still while one reads");
    browser.click("#arrived");
    browser.see("#row-5");

    // Where it stood has expired meanwhile: it is read anew, and goes on.
    browser.script(
        "const real = window.fetch;
         window.fetch = (url, options) => {
             if (window.expired || !String(url).includes('sort=sequence')) return real(url, options);
             window.expired = true;
             const body = '{\"errors\": [{\"status\": \"410\", \"code\": \"cursor_expired\"}]}';
             return Promise.resolve(new Response(body, {status: 410}));
         };",
        &[],
    );
    desk.tenant.producer.post_event(&event("close", "the sixth"));
    browser.hover("#title");
    until("the cursor to expire", wait::SOON, || {
        (browser.script("return window.expired", &[]) == true).then_some(())
    });
    desk.tenant.producer.post_event(&event("close", "the seventh"));
    browser.see("#row-7");
    desk.leave();
}

#[test]
fn all_that_match_are_selected_counted_and_changed_and_it_can_be_taken_back() {
    let receiver = Receiver::accepting();
    let desk = Desk::new(Screen::DESKTOP);
    let (browser, tenant) = (&desk.browser, &desk.tenant);
    tenant.admin.settings(json!({"push": {"url": receiver.url()}})).expect(200);
    for _ in 0..3 {
        tenant.producer.post_event(&event("close", "another type"));
    }
    // More than a page.
    for n in 0..70 {
        tenant.producer.post_event(&event("print", &format!("number {n}")));
    }
    desk.sign_in(&tenant.admin);
    desk.go("notifications?q=type:print");
    browser.see("#row-73");
    browser.click("#select-page");
    browser.read("#selected-count", "50 selected");
    browser.click("#select-all");
    browser.read("#selected-count", "All 70 that match");

    // What arrives from now on isn't meant.
    let late = tenant.producer.post_event(&event("print", "too late"));
    // What is shown for a moment only is written down by the page itself.
    browser.script(
        "window.seen = '';
         new MutationObserver(() => {
             const bar = document.querySelector('#jobs progress');
             if (bar) window.seen += bar.closest('.job').textContent;
         }).observe(document.getElementById('jobs'), {childList: true, subtree: true, attributes: true});",
        &[],
    );
    browser.click("[data-act=Dismiss]");
    browser.read("#toasts", "Now dismissed: 70");
    let seen = browser.script("return window.seen", &[]);
    assert!(seen.to_string().contains("70 notifications"), "its progress was shown: {seen}");
    let left = || {
        let list = tenant.consumer.get("notifications?sort=sequence&filter[type]=print&page[size]=100");
        let ids = list.expect(200)["data"].as_array().unwrap().clone();
        ids.iter().map(|item| item["id"].as_str().unwrap().parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(left(), [late]);
    let untouched = tenant.consumer.get("notifications?filter[type]=close").expect(200);
    assert_eq!(untouched["data"].as_array().map(Vec::len), Some(3));

    browser.click("//*[@id='toasts']//button[contains(., 'Undo')]");
    browser.read("#toasts", "Taken back: 70");
    assert_eq!(left().len(), 71);

    // So is it when they are pushed again.
    desk.go("overview");
    desk.go("notifications?q=type:print");
    browser.see("#row-74");
    browser.click("#select-page");
    browser.click("#select-all");
    browser.read("#selected-count", "All 71 that match");
    let later = tenant.producer.post_event(&event("print", "later still"));
    tenant.wait_for_state(later, "delivered");
    browser.click("#repush-selected");
    browser.click("//dialog//button[contains(., 'Push 71 again')]");
    browser.read("#toasts", "Put in the queue again: 71");
    tried(&desk, late, 2);
    tried(&desk, later, 1);
    desk.leave();
}
