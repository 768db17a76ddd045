//! A receiver fails; it is seen, understood and repaired from the console alone.

use std::time::Duration;

use serde_json::json;
use tidings_tests::{Kind, Receiver, Reply, Screen};

use crate::desk::{Desk, event};

/// A tenant whose URL is wrong, and what was given up for it.
struct Told {
    desk: Desk,
    receiver: Receiver,
    ids: Vec<u64>,
}

fn told(kind: Kind, screen: Screen) -> Told {
    let receiver =
        Receiver::start(|request, _| Reply::Status(if request.path == "/hook" { 200 } else { 404 }));
    let desk = Desk::on(kind, screen);
    let wrong = receiver.url().replace("/hook", "/hok");
    desk.tenant.admin.settings(json!({"push": {"url": wrong, "retry": {"kind": "none"}}})).expect(200);
    let ids: Vec<u64> =
        (0..3).map(|n| desk.tenant.producer.post_event(&event("close", &format!("number {n}")))).collect();
    for id in &ids {
        desk.tenant.wait_for_state(*id, "failed");
    }
    Told { desk, receiver, ids }
}

fn story(kind: Kind, screen: Screen) {
    let Told { desk, receiver, ids } = told(kind, screen);

    // It is seen: the first screen says it.
    let browser = &desk.browser;
    desk.sign_in(&desk.tenant.admin);
    browser.read("#todos", "3 pushes given up since yesterday");
    browser.click("//*[@id='todos']//a[contains(., 'See why')]");

    // It is understood: what was answered, and to what URL.
    browser.read(&format!("#list tr[data-id='{}']", ids[0]), "Refused (404)");
    browser.click(&format!("#list tr[data-id='{}'] a", ids[0]));
    browser.read("#timeline", "Refused (404)");
    browser.click("#timeline summary");
    browser.read("#timeline details", "/hok");

    // It is repaired.
    browser.click("#nav-settings");
    browser.fill("#field-push-url", &receiver.url());
    browser.click("#save");
    browser.see_no("#save");
    assert_eq!(
        desk.tenant.admin.get("external-notifications").expect(200)["data"]["attributes"]["push"]["url"],
        receiver.url()
    );
    browser.click("#test");
    browser.read("#test-result", "The receiver accepted the test");

    // What was missed goes out.
    browser.click("#nav-queue");
    browser.click("//nav[@id='views']/a[contains(., 'Given up')]");
    browser.read("#filters-set", "Status");
    browser.see(&format!("#list tr[data-id='{}']", ids[0]));
    browser.click("#repush-all");
    browser.click("//dialog//button[contains(., 'Push 3 again')]");
    browser.read("#toasts", "Put in the queue again: 3");
    for id in &ids {
        desk.tenant.wait_for_state(*id, "delivered");
    }
    browser.click("#refresh");
    browser.read("#list", "No push has been given up");
    let arrived = receiver.wait_for(7, Duration::from_secs(20));
    let late = arrived.iter().filter(|one| one.path == "/hook" && one.header("tidings-attempt") == "2");
    assert_eq!(late.count(), 3);
    browser.click("#nav-overview");
    browser.read("#well", "All is well");
    desk.leave();
}

#[test]
fn a_wrong_url_is_seen_understood_and_repaired_at_a_desk() {
    story(Kind::Sqlite, Screen::DESKTOP);
}

#[test]
fn a_wrong_url_is_seen_understood_and_repaired_on_a_phone_with_postgres() {
    story(Kind::Postgres, Screen::PHONE);
}

/// The same with no mouse: what is to be used is gone to by Tab, or has a key of its own.
#[test]
fn a_wrong_url_is_seen_understood_and_repaired_by_keyboard() {
    let Told { desk, receiver, ids } = told(Kind::Sqlite, Screen::DESKTOP);
    let browser = &desk.browser;
    let use_it = |selector: &str| {
        browser.see(selector);
        browser.tab_to(selector);
        browser.enter();
    };
    desk.sign_in(&desk.tenant.admin);
    browser.read("#todos", "3 pushes given up since yesterday");
    use_it("#todos a");
    let row = format!("#list tr[data-id='{}']", ids[0]);
    browser.read(&row, "Refused (404)");
    use_it(&format!("{row} a"));
    use_it("#timeline summary");
    browser.read("#timeline details", "/hok");

    browser.press("g");
    browser.press("s");
    browser.see("#field-push-url");
    browser.tab_to("#field-push-url");
    browser.select_all();
    browser.press(&receiver.url());
    browser.enter();
    browser.see_no("#save");
    use_it("#test");
    browser.read("#test-result", "The receiver accepted the test");

    browser.press("g");
    browser.press("q");
    use_it("#views a[href*='status=error']");
    browser.read("#filters-set", "Status");
    use_it("#repush-all");
    browser.read("dialog", "Push 3 again");
    browser.enter();
    for id in &ids {
        desk.tenant.wait_for_state(*id, "delivered");
    }
    use_it("#refresh");
    browser.read("#list", "No push has been given up");
    desk.leave();
}
