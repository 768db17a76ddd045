//! What the calls send, and what they make of the answers.

use std::error::Error as _;

use serde_json::json as value;

use super::server::{Server, json};
use super::{document, sequence, wait_for};
use crate::api::event::NotStoredReason;
use crate::{Client, Error, ErrorCode, Event, Flags, Posted, Resource, SettingsPatch};

const DISMISS: Flags = Flags { is_dismissed: Some(true), is_read: None, is_flagged: None };

#[test]
fn an_event_is_sent_as_the_contract_says() {
    let server = Server::start([json(201, "", &document(1))]);
    let event = Event::new("my.own-type")
        .unwrap()
        .comment("a comment")
        .data(&value!({"b": 1, "a": 2}))
        .unwrap()
        .unit("unit")
        .entity(Resource::new("experiment:1").attributes(&value!({"name": "Titration"})).unwrap())
        .created_by("100");
    wait_for(server.client().build().unwrap().post(event)).unwrap();

    let seen = server.seen().remove(0);
    assert_eq!(seen.line, "POST /api/rest/v1.0/notifications HTTP/1.1");
    assert_eq!(seen.header("x-api-key"), Some("a-secret-key"));
    assert_eq!(seen.header("content-type"), Some("application/vnd.api+json"));
    assert_eq!(seen.header("accept"), Some("application/vnd.api+json"));
    let expected = value!({
        "data": {
            "type": "notification",
            "attributes": {"type": "my.own-type", "comment": "a comment", "data": {"b": 1, "a": 2}, "unit": "unit"},
            "relationships": {
                "entity": {"data": {"type": "entity", "id": "experiment:1"}},
                "createdBy": {"data": {"type": "user", "id": "100"}},
            },
        },
        "included": [{"type": "entity", "id": "experiment:1", "attributes": {"name": "Titration"}}],
    });
    assert_eq!(seen.json(), expected);
}

#[test]
fn an_event_id_takes_the_place_of_the_key() {
    let server = Server::start([json(200, "", &document(7))]);
    let event = Event::new("close").unwrap().event_id("mine");
    let posted = wait_for(server.client().build().unwrap().post(event)).unwrap();
    assert!(matches!(posted, Posted::Duplicate(first) if first.data.id == sequence(7)));
    let seen = server.seen().remove(0);
    assert_eq!(seen.header("idempotency-key"), None);
    assert_eq!(seen.json()["data"]["attributes"]["eventId"], "mine");
}

#[test]
fn an_event_that_is_not_selected_is_no_error() {
    let server = Server::start([json(200, "", r#"{"meta":{"stored":false,"reason":"typeNotSelected"}}"#)]);
    let posted = wait_for(server.client().build().unwrap().post(Event::new("print").unwrap())).unwrap();
    assert!(matches!(posted, Posted::NotSelected(NotStoredReason::TypeNotSelected)));
    assert!(posted.document().is_none());
}

#[test]
fn flags_and_settings_are_patched() {
    let server = Server::start([json(200, "", &document(5)), json(401, "", "{}")]);
    let client = server.client().build().unwrap();
    wait_for(client.update(sequence(5), DISMISS)).unwrap();
    let patch = SettingsPatch { enabled: Some(false), ..SettingsPatch::default() };
    wait_for(client.update_settings(patch)).unwrap_err();

    let seen = server.seen();
    assert_eq!(seen[0].line, "PATCH /api/rest/v1.0/notifications/5 HTTP/1.1");
    let flags = value!({"data": {"type": "notification", "id": "5", "attributes": {"isDismissed": true}}});
    assert_eq!(seen[0].json(), flags);
    assert_eq!(seen[1].line, "PATCH /api/rest/v1.0/external-notifications HTTP/1.1");
    let settings = value!({"data": {"type": "externalNotifications", "attributes": {"enabled": false}}});
    assert_eq!(seen[1].json(), settings);
}

#[test]
fn a_setting_is_put_back_with_null() {
    let server = Server::start([json(401, "", "{}")]);
    let patch = value!({"push": {"rateLimit": null}});
    wait_for(server.client().build().unwrap().patch_settings(&patch)).unwrap_err();
    let expected = value!({"data": {"type": "externalNotifications", "attributes": patch}});
    assert_eq!(server.seen()[0].json(), expected);
}

#[test]
fn an_event_can_come_as_its_document() {
    let document = value!({
        "data": {
            "type": "notification",
            "attributes": {"type": "close", "comment": "a comment", "data": {"b": 1, "a": 2}, "eventId": "mine"},
            "relationships": {
                "entity": {"data": {"type": "entity", "id": "experiment:1"}},
                "createdBy": {"data": {"type": "user", "id": "100"}},
            },
        },
        "included": [{"type": "entity", "id": "experiment:1", "attributes": {"name": "Titration"}}],
    });
    let read = |document: &serde_json::Value| {
        Event::from_document(serde_json::from_value(document.clone()).unwrap())
    };
    let event = read(&document).unwrap();
    assert_eq!(serde_json::to_value(event.into_document()).unwrap(), document);
    for (place, wrong) in [
        ("/data/type", "job"),
        ("/data/relationships/entity/data/type", "user"),
        ("/data/relationships/createdBy/data/type", "entity"),
    ] {
        let mut document = document.clone();
        *document.pointer_mut(place).unwrap() = wrong.into();
        assert!(matches!(read(&document), Err(Error::Invalid(_))), "{place}");
    }
    let mut with_id = document;
    with_id["data"]["id"] = "7".into();
    assert!(matches!(read(&with_id), Err(Error::Invalid(_))));
}

#[test]
fn operations_are_one_request_in_which_each_event_has_an_id() {
    let results = r#"{"atomic:results":[{"meta":{"stored":false,"reason":"disabled"}},{}]}"#;
    let server = Server::start([json(200, "", results)]);
    let client = server.client().build().unwrap();
    let operations = client.operations().add(Event::new("close").unwrap()).update(sequence(5), DISMISS);
    let results = wait_for(operations.send()).unwrap();
    assert_eq!(results[0].meta.as_ref().unwrap().reason, NotStoredReason::Disabled);

    let seen = server.seen().remove(0);
    let media_type = r#"application/vnd.api+json;ext="https://jsonapi.org/ext/atomic""#;
    assert_eq!(seen.header("content-type"), Some(media_type));
    let body = seen.json();
    let operations = &body["atomic:operations"];
    assert_eq!(operations[0]["op"], "add");
    assert_eq!(operations[0]["data"]["attributes"]["eventId"].as_str().unwrap().len(), 36);
    assert_eq!(operations[1]["op"], "update");
    assert_eq!(operations[1]["data"]["id"], "5");
}

#[test]
fn no_operations_and_too_many_operations_send_nothing() {
    let server = Server::start([]);
    let client = server.client().build().unwrap();
    assert!(wait_for(client.operations().send()).unwrap().is_empty());
    let many = (0..1_001).fold(client.operations(), |all, id| all.update(sequence(id), DISMISS));
    assert!(matches!(wait_for(many.send()), Err(Error::Invalid(_))));
    assert!(server.seen().is_empty());
}

#[test]
fn ids_stay_within_their_segment_of_the_path() {
    let server = Server::start([]);
    let client = server.client().build().unwrap();
    wait_for(client.entity("a/b?c d%é")).unwrap_err();
    assert_eq!(server.seen()[0].line, "GET /api/rest/v1.0/entities/a%2Fb%3Fc%20d%25%C3%A9 HTTP/1.1");
    for bad in ["", ".", ".."] {
        assert!(matches!(wait_for(client.user(bad)), Err(Error::Invalid(_))));
    }
    assert!(server.seen().is_empty());
}

#[test]
fn an_error_carries_what_the_server_said() {
    let gone = r#"{"errors":[{"status":"410","code":"cursor_expired","title":"t","detail":"ask again",
        "meta":{"oldest":"42"}}]}"#;
    let server =
        Server::start([json(410, "", gone), json(400, "", "<html>"), json(200, "", r#"{"data":1}"#)]);
    let client = server.client().build().unwrap();

    let error = wait_for(client.notifications().after(3).page()).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::CursorExpired));
    assert!(error.is_cursor_expired());
    assert_eq!(error.oldest(), Some(sequence(42)));
    assert_eq!(error.to_string(), "the server answered 410 (cursor_expired: ask again)");

    let error = wait_for(client.get(sequence(1))).unwrap_err();
    assert!(matches!(&error, Error::Api { status: 400, errors, .. } if errors.is_empty()));
    assert_eq!((error.code(), error.oldest()), (None, None));

    let error = wait_for(client.get(sequence(1))).unwrap_err();
    let source = error.source().expect("the error of the decoder").to_string();
    assert!(!error.to_string().contains(&source), "{error} repeats {source}");
}

#[test]
fn nothing_printed_holds_the_key() {
    let builder = Client::builder("http://127.0.0.1:1").key("a-secret-key").retries(0);
    let client = builder.clone().build().unwrap();
    let error = wait_for(client.get(sequence(1))).unwrap_err();
    let printed = format!("{builder:?} {client:?} {:?} {error:?} {error}", client.notifications());
    assert!(!printed.contains("a-secret-key"), "{printed}");
}

#[test]
fn the_base_url_is_completed_or_refused() {
    let build = |url: &str| Client::builder(url).key("k").build();
    for (given, base) in [
        ("http://h:8080", "http://h:8080/api/rest/v1.0"),
        ("http://h:8080/", "http://h:8080/api/rest/v1.0"),
        ("https://h/api/rest/v1.0/", "https://h/api/rest/v1.0"),
        ("https://h/behind/a/proxy", "https://h/behind/a/proxy/api/rest/v1.0"),
    ] {
        assert!(format!("{:?}", build(given).unwrap()).contains(&format!("{base:?}")), "{given}");
    }
    for bad in ["", "h:8080", "ftp://h", "http://user:secret@h", "http://h?a=b", "http://h#a"] {
        let error = build(bad).expect_err(bad);
        assert!(matches!(error, Error::Invalid(_)) && !error.to_string().contains("secret"), "{bad}");
    }
    for bad in ["", "line\nbreak"] {
        assert!(matches!(Client::builder("http://h").key(bad).build(), Err(Error::Invalid(_))), "{bad:?}");
    }
}
