//! Settings: saved, refused at their field, tried; by mouse and by keyboard.

use serde_json::{Value, json};
use tidings_tests::{Receiver, Screen};

use crate::desk::Desk;

fn saved(desk: &Desk) -> Value {
    desk.tenant.admin.get("external-notifications").expect(200)["data"]["attributes"].clone()
}

fn by_clicks(screen: Screen) {
    let receiver = Receiver::accepting();
    let desk = Desk::new(screen);
    let browser = &desk.browser;
    desk.sign_in(&desk.tenant.admin);
    browser.click("#nav-settings");
    browser.fill("#field-push-url", &receiver.url());
    browser.choose("#field-push-authentication", "header");
    browser.fill("#field-push-authentication-name", "X-Hook");
    browser.fill("#field-push-authentication-value", "open \"sesame\"");
    browser.fill("#field-push-timeoutSeconds", "500");
    browser.click("#save");
    // What is refused is said at its field, and nothing is saved.
    browser.see("#field-push-timeoutSeconds[aria-invalid=true]");
    browser.read("#field-push-timeoutSeconds-problem", "120");
    assert_eq!(saved(&desk)["push"]["url"], Value::Null);
    browser.fill("#field-push-timeoutSeconds", "12");
    browser.click("#save");
    browser.see_no("#save");
    let now = saved(&desk);
    assert_eq!(now["push"]["timeoutSeconds"], 12);
    assert_eq!(now["push"]["authentication"]["name"], "X-Hook");
    assert!(!now.to_string().contains("sesame"), "secrets are not read back");
    // Nor by the page.
    assert_eq!(browser.script("return document.documentElement.outerHTML.includes('sesame')", &[]), false);

    browser.click("#test");
    browser.read("#test-result", "The receiver accepted the test");
    browser.read("#test-result", "Status 204");
    browser.read("#test-result", "webhook-signature: v1,");
    browser.read("#test-result", "x-hook: …");
    browser.read("#test-result", "\"comment\": \"This is a test.\"");
    let request = receiver.requests().pop().expect("the test arrived");
    assert_eq!(request.header("x-hook"), "open \"sesame\"");
    assert_eq!(browser.script("return document.documentElement.outerHTML.includes('sesame')", &[]), false);

    // A profile as a start.
    browser.choose("#profile-choice", "socrateCloud");
    browser.click("#profile-apply");
    browser.click("//dialog//button[contains(., 'Start from it')]");
    browser.read("#profile", "Now: SocrateCloud");
    assert_eq!(saved(&desk)["push"]["retry"]["everySeconds"], 300);
    desk.leave();
}

fn by_keys(screen: Screen) {
    let receiver = Receiver::accepting();
    let desk = Desk::new(screen);
    let browser = &desk.browser;
    desk.tenant.admin.settings(json!({"push": {"url": receiver.url()}})).expect(200);
    desk.sign_in(&desk.tenant.admin);
    browser.press("g");
    browser.press("s");
    browser.see("#field-push-autoDismiss");
    browser.tab_to("#field-push-autoDismiss");
    browser.press(" ");
    browser.tab_to("#field-push-maxConcurrency");
    browser.press("0");
    browser.enter();
    browser.see("#field-push-maxConcurrency[aria-invalid=true]");
    browser.tab_to("#field-push-maxConcurrency");
    browser.select_all();
    browser.press("3");
    browser.enter();
    browser.see_no("#save");
    let now = saved(&desk);
    assert_eq!((&now["push"]["autoDismiss"], &now["push"]["maxConcurrency"]), (&json!(true), &json!(3)));
    browser.tab_to("#test");
    browser.enter();
    browser.read("#test-result", "The receiver accepted the test");
    desk.leave();
}

#[test]
fn they_are_saved_refused_and_tried_by_mouse_at_a_desk() {
    by_clicks(Screen::DESKTOP);
}

#[test]
fn they_are_saved_refused_and_tried_by_mouse_on_a_phone() {
    by_clicks(Screen::PHONE);
}

#[test]
fn they_are_saved_refused_and_tried_by_keyboard_at_a_desk() {
    by_keys(Screen::DESKTOP);
}

#[test]
fn they_are_saved_refused_and_tried_by_keyboard_on_a_phone() {
    by_keys(Screen::PHONE);
}
