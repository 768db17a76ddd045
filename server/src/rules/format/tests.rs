use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::rules::notification::{Content, PushProgress, State};
use crate::rules::settings::{change, resolve};

const TENANT: &str = "c4c5a3d0-58b8-4f6e-9d5f-6f3c8d6f2b1a";

fn settings(patch: Value) -> Settings {
    let stored = change("{}", patch, TENANT, 0, str::to_owned).unwrap();
    resolve(&stored, TENANT).unwrap()
}

fn notification(entity: Option<&str>) -> StoredNotification {
    StoredNotification {
        sequence: 519,
        content: Arc::new(Content {
            event_type: "com.example.order.paid".into(),
            created_at: 1_702_500_170_427_000,
            received_at: 1_702_500_171_000_000,
            comment: None,
            extra: String::new(),
            entity: entity.map(str::to_owned),
            created_by: None,
            included: String::new(),
        }),
        state: State::new(PushProgress::Pending, None),
    }
}

fn of_push(patch: Value, entity: Option<&str>) -> Format {
    Format::of_push(&settings(patch), TENANT, &message_id(TENANT, 519), &notification(entity))
}

fn structured(format: &Format) -> Value {
    serde_json::from_slice(&format.body(br#"{"a":1}"#.to_vec())).unwrap()
}

fn header<'a>(format: &'a Format, name: &str) -> Option<&'a str> {
    format.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
}

#[test]
fn by_default_it_is_the_document_alone() {
    for (patch, content_type) in [
        (json!({}), "application/json"),
        (json!({"push": {"contentType": "application/vnd.api+json"}}), "application/vnd.api+json"),
    ] {
        let format = of_push(patch, Some("e:1"));
        assert_eq!((format.content_type, format.headers.len(), format.size()), (content_type, 0, 0));
        assert_eq!(format.body(b"any \xff bytes".to_vec()), b"any \xff bytes");
    }
}

#[test]
fn in_the_structured_mode_all_of_it_is_in_the_body() {
    let patch =
        json!({"payload": {"format": "cloudEvents"}, "push": {"contentType": "application/vnd.api+json"}});
    let format = of_push(patch, Some("experiment:\"größe\" 100 %"));
    assert_eq!((format.content_type, format.headers.len()), ("application/cloudevents+json", 0));
    let expected = json!({
        "specversion": "1.0",
        "id": "msg_c4c5a3d0-58b8-4f6e-9d5f-6f3c8d6f2b1a_519",
        "source": "urn:uuid:c4c5a3d0-58b8-4f6e-9d5f-6f3c8d6f2b1a",
        "type": "com.example.order.paid",
        "subject": "experiment:\"größe\" 100 %",
        "time": "2023-12-13T20:42:50.427Z",
        "sequence": "0000000000000000519",
        "datacontenttype": "application/vnd.api+json",
        "data": {"a": 1},
    });
    assert_eq!(structured(&format), expected);
    assert_eq!(format.body(b"{}".to_vec()).len(), 2 + format.size());
}

#[test]
fn in_the_binary_mode_the_attributes_are_headers() {
    // The example of the HTTP binding, 3.1.3.2.
    let format = of_push(json!({"payload": {"format": "cloudEventsBinary"}}), Some("Euro € 😀"));
    assert_eq!((format.content_type, format.size()), ("application/json", 0));
    assert_eq!(format.body(b"{}".to_vec()), b"{}");
    assert_eq!(header(&format, "ce-subject"), Some("Euro%20%E2%82%AC%20%F0%9F%98%80"));
    assert_eq!(header(&format, "ce-specversion"), Some("1.0"));
    assert_eq!(header(&format, "ce-id"), Some("msg_c4c5a3d0-58b8-4f6e-9d5f-6f3c8d6f2b1a_519"));
    assert_eq!(header(&format, "ce-source"), Some("urn:uuid:c4c5a3d0-58b8-4f6e-9d5f-6f3c8d6f2b1a"));
    assert_eq!(header(&format, "ce-type"), Some("com.example.order.paid"));
    assert_eq!(header(&format, "ce-time"), Some("2023-12-13T20:42:50.427Z"));
    assert_eq!(header(&format, "ce-sequence"), Some("0000000000000000519"));
    assert_eq!(header(&format, "ce-datacontenttype"), None, "3.1.1 forbids it");
    assert_eq!(format.headers.len(), 7);
}

#[test]
fn exactly_what_the_binding_names_is_encoded() {
    // Of the printable characters of ASCII, U+0021 to U+007E, only the quote and the percent sign.
    let printable: String = ('!'..='~').collect();
    let format = of_push(json!({"payload": {"format": "cloudEventsBinary"}}), Some(&printable));
    assert_eq!(header(&format, "ce-subject").unwrap(), printable.replace('%', "%25").replace('"', "%22"));
    let format = of_push(json!({"payload": {"format": "cloudEventsBinary"}}), Some("50%25 é\u{a0}"));
    assert_eq!(header(&format, "ce-subject"), Some("50%2525%20%C3%A9%C2%A0"));
}

#[test]
fn a_subject_is_there_where_there_is_one_that_is_wanted_and_allowed() {
    let subject = |payload: Value, entity: Option<&str>| {
        let mut patch = json!({"payload": payload});
        patch["payload"]["format"] = json!("cloudEvents");
        structured(&of_push(patch.clone(), entity)).get("subject").is_some_and(|subject| {
            patch["payload"]["format"] = json!("cloudEventsBinary");
            assert!(header(&of_push(patch, entity), "ce-subject").is_some());
            subject == entity.unwrap()
        })
    };
    assert!(!subject(json!({}), None));
    assert!(subject(json!({}), Some("e:1")));
    assert!(subject(json!({"detail": "thin", "fields": {"*": ["comment"]}}), Some("e:1")));
    assert!(!subject(json!({"fields": {"*": ["comment"]}}), Some("e:1")));
    assert!(subject(json!({"fields": {"*": [], "com.example.order.paid": ["entity"]}}), Some("e:1")));
    // The specification's type `String`.
    for forbidden in
        ["\0", "\n", "\u{1f}", "\u{7f}", "\u{9f}", "\u{fdd0}", "\u{fdef}", "\u{fffe}", "\u{10ffff}"]
    {
        assert!(!subject(json!({}), Some(&format!("e{forbidden}1"))), "{forbidden:?}");
    }
    for allowed in [" ", "~", "\u{a0}", "\u{fdcf}", "\u{fdf0}", "\u{fffd}", "\u{10fffd}"] {
        assert!(subject(json!({}), Some(&format!("e{allowed}1"))), "{allowed:?}");
    }
}

#[test]
fn sequences_are_in_order_as_text() {
    let of = |sequence: i64| {
        let notification = StoredNotification { sequence, ..notification(None) };
        let settings = settings(json!({"payload": {"format": "cloudEventsBinary"}}));
        let format = Format::of_push(&settings, TENANT, "m", &notification);
        header(&format, "ce-sequence").unwrap().to_owned()
    };
    let texts: Vec<String> = [0, 1, 9, 10, 2_147_483_648, i64::MAX].map(of).into();
    assert!(texts.is_sorted(), "{texts:?}");
    assert_eq!(texts[5], i64::MAX.to_string());
}

#[test]
fn alerts_have_the_same_format() {
    let at = DateTime::from_timestamp_micros(1_702_500_170_427_000).unwrap();
    let of = |format: &str| {
        let settings = settings(
            json!({"payload": {"format": format}, "push": {"contentType": "application/vnd.api+json"}}),
        );
        Format::of_alert(&settings, TENANT, "alert_1", AlertKind::Failing, &at)
    };
    let bare = of("jsonApi");
    assert_eq!((bare.content_type, bare.headers.len(), bare.size()), ("application/json", 0, 0));
    let expected = json!({"specversion": "1.0", "id": "alert_1", "source": format!("urn:uuid:{TENANT}"),
        "type": "tidings.alert.failing", "time": "2023-12-13T20:42:50.427Z", "datacontenttype": "application/json",
        "data": {"a": 1}});
    assert_eq!(structured(&of("cloudEvents")), expected);
    let binary = of("cloudEventsBinary");
    assert_eq!(binary.content_type, "application/json");
    assert_eq!((binary.headers.len(), header(&binary, "ce-type")), (5, Some("tidings.alert.failing")));
}
