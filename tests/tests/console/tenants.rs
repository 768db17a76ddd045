//! Tenants and keys, by the operator: made, shown once, revoked.

use tidings_tests::{Screen, until, wait};

use crate::desk::Desk;

fn tenants_and_keys(screen: Screen, uses_keys: bool) {
    let desk = Desk::new(screen);
    let browser = &desk.browser;
    // A button, by mouse or by keyboard.
    let act = |selector: &str| {
        if uses_keys {
            browser.see(selector);
            browser.tab_to(selector);
            browser.enter();
        } else {
            browser.click(selector);
        }
    };
    desk.sign_in(&desk.server.operator());
    browser.see("#well");
    act("#nav-tenants");
    browser.read("#main table", "Acme");
    act("#new-tenant");
    browser.see("dialog #tenant-name");
    browser.press("Zenith");
    browser.enter();
    // The secret is shown once, and Escape does not lose it.
    assert!(browser.text("#secret").starts_with("whsec_"));
    browser.escape();
    browser.see("#secret");
    act("dialog button[type=submit]");
    browser.read("#title", "Zenith");

    act("#new-key");
    browser.see("dialog #key-name");
    browser.press("archive");
    browser.enter();
    let secret = browser.text("#secret");
    act("dialog button[type=submit]");
    browser.read("#main table", "archive");
    let holds = browser.script(
        "return document.documentElement.outerHTML.includes(arguments[0])",
        &[secret.as_str().into()],
    );
    assert_eq!(holds, false, "a key is shown once");
    let archive = desk.server.operator().with_key(&secret);
    archive.get("notifications").expect(200);

    act("button[aria-label='Revoke the key archive']");
    browser.see("dialog");
    act("dialog button[type=submit]");
    browser.read("#main", "No keys yet");
    until("the key to be worth nothing", wait::SOON, || {
        (archive.get("notifications").status == 401).then_some(())
    });

    act("#rename");
    browser.see("dialog #tenant-name");
    browser.select_all();
    browser.press("Nadir");
    browser.enter();
    browser.read("#title", "Nadir");
    // Only who types its name deletes it.
    for (typed, told) in [("Zenith", "nothing was deleted"), ("Nadir", "Nadir was deleted")] {
        act("#delete");
        browser.see("dialog #tenant-name");
        browser.press(typed);
        browser.enter();
        browser.read("#toasts", told);
    }
    browser.read("#main table", "Acme");
    let left = desk.server.operator().get("tenants").expect(200).to_string();
    assert!(left.contains("Acme") && !left.contains("Nadir"), "{left}");
    desk.leave();
}

#[test]
fn they_are_made_and_revoked_by_mouse_at_a_desk() {
    tenants_and_keys(Screen::DESKTOP, false);
}

#[test]
fn they_are_made_and_revoked_by_mouse_on_a_phone() {
    tenants_and_keys(Screen::PHONE, false);
}

#[test]
fn they_are_made_and_revoked_by_keyboard_at_a_desk() {
    tenants_and_keys(Screen::DESKTOP, true);
}

#[test]
fn they_are_made_and_revoked_by_keyboard_on_a_phone() {
    tenants_and_keys(Screen::PHONE, true);
}
