//! Pushes: what is kept, and how they are answered.

use super::*;
use crate::inbox::Source;
use crate::testing::{SignedPush, document, signed_push};

fn take(archiver: &Archiver, push: &SignedPush) -> Receipt {
    block_on(archiver.receive(|name| push.header(name), &push.body))
}

/// A push with this body.
fn sign_again(secret: &str, body: Vec<u8>) -> SignedPush {
    let push = signed_push(secret, &document(1, "close"));
    let key = crate::webhook::parse_secret(secret).unwrap();
    let (id, time) = (push.header("webhook-id").unwrap(), push.header("webhook-timestamp").unwrap());
    let signature = key.sign(id, time.parse().unwrap(), &body).unwrap();
    SignedPush { body, ..push.with_header("webhook-signature", signature) }
}

/// Whether the inbox knows nothing, not even of a push.
fn is_untouched(archiver: &Archiver) -> bool {
    let counts = block_on(archiver.inbox().counts()).unwrap();
    counts.waiting == 0 && counts.handled == 0 && counts.last_push.is_none()
}

#[test]
fn a_push_is_kept_as_it_came_and_once() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    let push = signed_push(&rig.secret, &document(3, "close"));
    for _ in 0..2 {
        let receipt = take(&archiver, &push);
        assert_eq!((receipt.status, receipt.retry_after, &*receipt.reason), (200, None, ""));
    }
    let kept = kept(&archiver, 3);
    assert_eq!(kept.document.as_bytes(), push.body);
    assert_eq!((kept.state, kept.source, &*kept.event_type), (State::Waiting, Source::Push, "close"));
    let health = block_on(archiver.health()).unwrap();
    assert!(health.last_push.is_some() && health.last_pull.is_none());
    assert_eq!((health.depth, health.newest, health.cursor), (1, Some(id(3)), Sequence::START));
    assert_eq!((health.lag, health.last_error), (Some(3), None));
    // Another process finds it: it is on disk.
    assert_eq!(block_on(rig.inbox().counts()).unwrap().waiting, 1);
}

#[test]
fn of_a_cloud_event_the_document_is_kept_as_it_came() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    let document = String::from_utf8(signed_push(&rig.secret, &document(3, "close")).body).unwrap();
    // With a space that nobody would write again.
    let document = document.replacen(':', ": ", 1);
    let event = format!(r#"{{"specversion":"1.0","id":"msg_3","data":{document},"type":"close"}}"#);
    let push = sign_again(&rig.secret, event.into_bytes());
    assert_eq!(take(&archiver, &push).status, 200);
    assert_eq!(kept(&archiver, 3).document, document);
    assert_eq!(take(&archiver, &sign_again(&rig.secret, b"{\"specversion\":\"1.0\"}".to_vec())).status, 400);
}

#[test]
fn what_can_not_be_trusted_leaves_nothing() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    let genuine = signed_push(&rig.secret, &document(1, "close"));
    let mut tampered = genuine.clone();
    tampered.body.push(b' ');
    let forged = [
        signed_push(&testing::secret(), &document(1, "close")),
        tampered,
        genuine.clone().with_header("webhook-id", "msg_2"),
        genuine.clone().with_header("webhook-timestamp", "1700000000"),
        genuine.clone().with_header("webhook-signature", ""),
        SignedPush { headers: Vec::new(), ..genuine.clone() },
    ];
    for push in &forged {
        let receipt = take(&archiver, push);
        assert_eq!((receipt.status, receipt.retry_after), (401, None), "{push:?}");
    }
    let no_secret =
        Archiver::builder(rig.server.client(), rig.inbox()).otherwise(|_, _| async { Ok(Outcome::Done) });
    assert_eq!(take(&no_secret.build().unwrap(), &genuine).status, 401);
    assert!(is_untouched(&archiver));
    // Nor can it hide what is really wrong.
    let health = block_on(archiver.health()).unwrap();
    assert_eq!((health.refused_pushes, health.last_error), (forged.len() as u64, None));
}

#[test]
fn one_of_several_secrets_is_enough() {
    let rig = Rig::new();
    let old = testing::secret();
    let archiver = rig.builder().secret(&old).otherwise(|_, _| async { Ok(Outcome::Done) }).build().unwrap();
    for (number, secret) in [(1, &old), (2, &rig.secret)] {
        assert_eq!(take(&archiver, &signed_push(secret, &document(number, "close"))).status, 200);
    }
}

#[test]
fn the_tenants_header_must_be_there_with_its_value() {
    let rig = Rig::new();
    let build = |builder: ArchiverBuilder| {
        builder.header("X-Hook", "value").otherwise(|_, _| async { Ok(Outcome::Done) }).build().unwrap()
    };
    let header_only = build(Archiver::builder(rig.server.client(), rig.inbox()));
    let both = build(rig.builder());
    let unsigned = SignedPush { headers: Vec::new(), ..signed_push(&rig.secret, &document(1, "close")) };
    let signed = signed_push(&rig.secret, &document(2, "close"));
    for (archiver, push, value, status) in [
        (&header_only, &unsigned, "", 401),
        (&header_only, &unsigned, "Value", 401),
        (&header_only, &unsigned, "value", 200),
        (&both, &unsigned, "value", 401),
        (&both, &signed, "values", 401),
        (&both, &signed, "value", 200),
    ] {
        assert_eq!(take(archiver, &push.clone().with_header("x-hook", value)).status, status, "{value:?}");
    }
    assert_eq!(take(&both, &signed).status, 401);
    // While the value is being replaced, both will do; a second name is needed too.
    let replaced = build(rig.builder().header("x-hook", "old").header("X-Other", "1"));
    for (value, other, status) in
        [("old", "1", 200), ("value", "1", 200), ("older", "1", 401), ("old", "2", 401)]
    {
        let push = signed.clone().with_header("x-hook", value).with_header("x-other", other);
        assert_eq!(take(&replaced, &push).status, status, "{value} {other}");
    }
}

#[test]
fn no_more_are_taken_than_there_is_memory_for() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    let push = signed_push(&rig.secret, &document(1, "close"));
    let mut others = archiver.inner.pushes.share();
    others.grow(crate::archiver::receive::MOST_PUSHES - push.body.len()).unwrap();
    // It just fits, as often as one likes.
    assert_eq!([take(&archiver, &push).status, take(&archiver, &push).status], [200, 200]);
    others.grow(crate::archiver::receive::MOST_PUSHES).unwrap();
    let receipt = take(&archiver, &push);
    assert_eq!((receipt.status, receipt.retry_after), (503, Some(Duration::from_secs(10))));
    drop(others);
    assert_eq!(take(&archiver, &push).status, 200);
}

#[test]
fn what_is_no_notification_is_refused() {
    let rig = Rig::new();
    let archiver = Archiver::builder(rig.server.client(), rig.inbox()).header("x-hook", "value");
    let archiver = archiver.otherwise(|_, _| async { Ok(Outcome::Done) }).build().unwrap();
    let status =
        |body: &[u8]| block_on(archiver.receive(|name| (name == "x-hook").then_some("value"), body)).status;
    assert_eq!(status(b"{}"), 400);
    assert_eq!(status(b"\xff"), 400);
    assert_eq!(status(&vec![b' '; super::super::MAX_PUSH]), 400);
    assert_eq!(status(&vec![b' '; super::super::MAX_PUSH + 1]), 413);
    assert!(is_untouched(&archiver));
}

#[test]
fn the_push_of_another_tenant_is_refused() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    let push = |number, tenant: &str| signed_push(&rig.secret, &document(number, "close")).of_tenant(tenant);
    let (mine, other) = ("7f3e0a52-0000-4000-8000-000000000001", "7f3e0a52-0000-4000-8000-000000000002");
    assert_eq!(take(&archiver, &push(1, mine)).status, 200);
    assert_eq!(take(&archiver, &push(2, other)).status, 409);
    assert_eq!(take(&archiver, &push(3, mine)).status, 200);
    assert_eq!(block_on(archiver.inbox().held()).unwrap(), [1..=1, 3..=3]);
}

#[test]
fn a_test_push_is_answered_and_not_kept() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    let push = signed_push(&rig.secret, &document(0, "test")).with_header("tidings-test", "true");
    assert_eq!(take(&archiver, &push).status, 200);
    let health = block_on(archiver.health()).unwrap();
    assert!(health.last_push.is_some());
    assert_eq!((health.depth, health.newest), (0, None));
    assert!(block_on(archiver.inbox().held()).unwrap().is_empty());
}

#[test]
fn what_can_not_be_stored_is_to_be_sent_again() {
    let rig = Rig::new();
    let archiver = rig.archiver();
    let push = signed_push(&rig.secret, &document(1, "close"));
    rig.break_inbox();
    let receipt = take(&archiver, &push);
    assert_eq!((receipt.status, receipt.retry_after), (503, Some(Duration::from_secs(10))));
    assert!(!receipt.reason.contains("gone") && !receipt.reason.contains("inbox_"), "{receipt:?}");
    rig.mend_inbox();
    assert!(is_untouched(&archiver));
    assert_eq!(take(&archiver, &push).status, 200);
    assert_eq!(block_on(archiver.health()).unwrap().last_error, None);
}

#[test]
fn what_is_not_known_here_is_kept_too() {
    let rig = Rig::new();
    let archiver = Archiver::builder(rig.server.client(), rig.inbox()).header("x-hook", "value");
    let archiver = archiver.otherwise(|_, _| async { Ok(Outcome::Done) }).build().unwrap();
    let mut document = serde_json::to_value(document(1, "close")).unwrap();
    document["data"]["attributes"]["addedByANewerServer"] = 1.into();
    let body = serde_json::to_string_pretty(&document).unwrap();
    let header = |name: &str| (name == "x-hook").then_some("value");
    assert_eq!(block_on(archiver.receive(header, body.as_bytes())).status, 200);
    assert_eq!(kept(&archiver, 1).document, body);
}
