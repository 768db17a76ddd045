//! How it looks to whoever sees it, and to whoever doesn't: axe finds no serious fault on any screen, and the pictures of
//! the README are taken where `TIDINGS_SCREENSHOTS` names a folder.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tidings_tests::{Receiver, Reply, Screen};

use crate::desk::{Desk, event};

/// A tenant that has something to show: most is delivered, some was given up, and one is flagged.
fn desk() -> (Desk, Receiver) {
    let receiver = Receiver::start(|request, _| match request.sequence() % 5 {
        0 => Reply::WithBody(
            503,
            Vec::new(),
            b"{\"error\": \"the archive is closed for maintenance\"}".to_vec(),
        ),
        _ => Reply::After(Duration::from_millis(5), Box::new(Reply::Status(200))),
    });
    let desk = Desk::new(Screen::DESKTOP);
    let retry = json!({"kind": "fixed", "everySeconds": 1, "attempts": 2, "jitter": 0});
    desk.tenant.admin.settings(json!({"push": {"url": receiver.url(), "retry": retry}})).expect(200);
    let kinds = ["close", "create", "print", "review_request_for_reviewer", "sign", "order.shipped"];
    for (n, kind) in kinds.iter().cycle().take(24).enumerate() {
        desk.tenant
            .producer
            .post_event(&event(kind, if n % 3 == 0 { "This experiment was a success" } else { "" }));
    }
    for id in 1..=24 {
        desk.tenant.wait_for_state(id, if id % 5 == 0 { "failed" } else { "delivered" });
    }
    desk.tenant.consumer.set(23, json!({"isFlagged": true})).expect(200);
    desk.tenant.consumer.set(22, json!({"isRead": true})).expect(200);
    desk.server.tenant("Zenith");
    (desk, receiver)
}

/// A screen: its name, its address, and what shows that it is there.
type Place = (&'static str, &'static str, &'static str);

const OF_A_TENANT: [Place; 5] = [
    ("overview", "overview", "#chart-outcomes"),
    ("notifications", "notifications", "#row-24"),
    ("notification", "notifications/20", "#timeline details"),
    ("queue", "queue", "#list tr[data-id='24']"),
    ("settings", "settings", "#field-push-url"),
];

/// Looks at a screen by day and by night, at a desk and on a phone.
fn look(desk: &Desk, (name, path, selector): Place) {
    let browser = &desk.browser;
    for (size, screen) in [("a desk", Screen::DESKTOP), ("a phone", Screen::PHONE)] {
        for (time, screen) in [("day", screen), ("night", screen.dark())] {
            browser.resize(screen);
            desk.go(path);
            browser.see(selector);
            browser.check_accessibility(&format!("{name} by {time} at {size}"));
            let over = browser.script("return document.documentElement.scrollWidth - innerWidth", &[]);
            assert!(
                over.as_f64().is_some_and(|over| over <= 0.0),
                "{name} is {over} pixels wider than {size}"
            );
        }
    }
    browser.resize(Screen::DESKTOP);
    if let Some(folder) = std::env::var_os("TIDINGS_SCREENSHOTS") {
        browser.script("scrollTo(0, 0)", &[]);
        browser.see(selector);
        browser.screenshot(&Path::new(&folder).join(format!("console-{name}.png")));
    }
}

#[test]
fn axe_finds_no_serious_fault_on_a_tenants_screens() {
    let (desk, _receiver) = desk();
    desk.browser.open(&format!("{}/", desk.server.url()));
    for screen in [Screen::DESKTOP, Screen::DESKTOP.dark(), Screen::PHONE, Screen::PHONE.dark()] {
        desk.browser.resize(screen);
        desk.browser.see("#key");
        desk.browser.check_accessibility("the way in");
    }
    desk.sign_in(&desk.tenant.admin);
    for place in OF_A_TENANT {
        look(&desk, place);
    }
    desk.go("post");
    desk.browser.see("#post");
    desk.browser.check_accessibility("post");
    desk.go("notifications");
    desk.browser.press("?");
    desk.browser.see("dialog");
    desk.browser.check_accessibility("help");
}

#[test]
fn axe_finds_no_serious_fault_on_the_operators_screens() {
    let (desk, _receiver) = desk();
    desk.sign_in(&desk.server.operator());
    look(&desk, ("operator", "overview", "#well"));
    let tenant = format!("tenants/{}", desk.tenant.id);
    for (screen, path, selector) in [
        (Screen::DESKTOP, "tenants", "#new-tenant"),
        (Screen::PHONE.dark(), "tenants", "#new-tenant"),
        (Screen::PHONE, tenant.as_str(), "#new-key"),
        (Screen::DESKTOP.dark(), tenant.as_str(), "#new-key"),
        (Screen::DESKTOP, tenant.as_str(), "#new-key"),
    ] {
        desk.browser.resize(screen);
        desk.go(path);
        desk.browser.see(selector);
        desk.browser.check_accessibility(path);
    }
    if let Some(folder) = std::env::var_os("TIDINGS_SCREENSHOTS") {
        desk.browser.screenshot(&Path::new(&folder).join("console-tenant.png"));
    }
}
