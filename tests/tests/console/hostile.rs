//! What an event or a receiver can put on the screen: text, and nothing else.

use serde_json::json;
use tidings_tests::{Receiver, Reply, Screen};

use crate::desk::Desk;

const EVIL: &str =
    "</script></code><script>alert(1)</script><img src=x onerror=\"alert('2')\">'\"`<b id=\"evil\">&amp;";

#[test]
fn a_payload_full_of_script_stays_text() {
    let receiver = Receiver::start(|_, _| Reply::WithBody(500, Vec::new(), EVIL.as_bytes().to_vec()));
    let desk = Desk::new(Screen::DESKTOP);
    let browser = &desk.browser;
    desk.tenant
        .admin
        .settings(json!({"push": {"url": receiver.url(), "retry": {"kind": "none"}}}))
        .expect(200);
    let id = desk.tenant.producer.post_event(&json!({"data": {"type": "notification",
        "attributes": {"type": "close", "comment": EVIL, "data": {EVIL: EVIL}},
        "relationships": {"entity": {"data": {"type": "entity", "id": EVIL}}, "createdBy": {"data": {"type": "user", "id": EVIL}}}},
        "included": [{"type": "entity", "id": EVIL, "attributes": {"name": EVIL}}]}));
    desk.tenant.wait_for_state(id, "failed");

    // A script runs in the page only while no dialog is open: each of these would fail.
    let harmless = |where_: &str| {
        let found = browser
            .script("return document.querySelectorAll('#evil, img[src=x], script:not([src])').length", &[]);
        assert_eq!(found, 0, "{where_}");
    };
    desk.sign_in(&desk.tenant.admin);
    browser.click("#nav-notifications");
    browser.read("#row-1 .comment", "<script>alert(1)</script>");
    harmless("the list");
    browser.click("#row-1 .about a");
    browser.read("#views", "Everything");
    browser.see("#row-1");
    harmless("a search for it");
    desk.go("notifications/1");
    browser.read("//pre[@aria-label='The notification as JSON']", "<script>alert(1)</script>");
    browser.click("#timeline summary");
    browser.read("#timeline details", "<script>alert(1)</script>");
    harmless("one");
    browser.click("#nav-settings");
    browser.click("#test");
    browser.read("#test-result", "<script>alert(1)</script>");
    harmless("the settings");
    browser.click("#nav-queue");
    browser.see("#list tr[data-id='1']");
    harmless("the queue");
    desk.leave();

    let page = desk.server.anonymous().get("/");
    let policy = page.header("content-security-policy");
    for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.split(';').any(|one| one.trim() == part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}
