//! The receiver as a service of actix-web.
#![cfg(feature = "actix-web")]

use actix_web::http::header::RETRY_AFTER;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, rt};

use super::*;
use crate::archiver::MAX_PUSH;
use crate::testing::{SignedPush, document, signed_push};

/// The status and `Retry-After` of the answer to a push, and the whole receiver's if it is another path or method.
fn answer(archiver: &Archiver, push: &SignedPush, path: &str, method: &str) -> (u16, Option<String>) {
    let service = archiver.receiver("/hook");
    let mut request =
        TestRequest::with_uri(path).method(method.parse().unwrap()).set_payload(push.body.clone());
    for (name, value) in &push.headers {
        request = request.insert_header((name.as_str(), value.as_str()));
    }
    rt::System::new().block_on(async {
        let app = init_service(App::new().service(service)).await;
        let response = call_service(&app, request.to_request()).await;
        let retry_after = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), retry_after)
    })
}

#[test]
fn it_answers_as_the_receipt_says() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    let push = signed_push(&rig.secret, &document(1, "close"));
    assert_eq!(answer(&archiver, &push, "/hook", "POST"), (200, None));
    assert_eq!(kept(&archiver, 1).document.as_bytes(), push.body);
    assert_eq!(answer(&archiver, &push, "/hook", "GET").0, 405);
    assert_eq!(answer(&archiver, &push, "/other", "POST").0, 404);
    let forged = push.with_header("webhook-id", "msg_2");
    assert_eq!(answer(&archiver, &forged, "/hook", "POST"), (401, None));
    rig.break_inbox();
    let next = signed_push(&rig.secret, &document(2, "close"));
    assert_eq!(answer(&archiver, &next, "/hook", "POST"), (503, Some("10".to_owned())));
}

#[test]
fn a_body_of_more_than_its_limit_is_not_read() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    let mut large = document(1, "close");
    // More than any framework reads by default, and less than the limit.
    large.data.attributes.comment = Some("x".repeat(MAX_PUSH - 10_000));
    assert_eq!(answer(&archiver, &signed_push(&rig.secret, &large), "/hook", "POST").0, 200);
    large.data.attributes.comment = Some("x".repeat(MAX_PUSH));
    assert_eq!(answer(&archiver, &signed_push(&rig.secret, &large), "/hook", "POST").0, 413);
}

#[test]
fn the_body_of_a_stranger_is_not_read() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    let mut large = document(1, "close");
    large.data.attributes.comment = Some("x".repeat(MAX_PUSH));
    let large = signed_push(&rig.secret, &large);
    let old = large.clone().with_header("webhook-timestamp", "1700000000");
    let unsigned = SignedPush { headers: Vec::new(), ..large };
    for stranger in [&old, &unsigned] {
        assert_eq!(answer(&archiver, stranger, "/hook", "POST").0, 401);
    }
    assert_eq!(block_on(archiver.health()).unwrap().refused_pushes, 2);
}
