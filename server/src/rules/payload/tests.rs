use std::collections::BTreeMap;

use serde_json::{Value, json};

use tidings_api::settings::{PayloadFormat, Settings};

use super::*;
use crate::rules::notification::{PushProgress, State};

const DATA: &str =
    r#"{"id":12345678901234567890123,"comment":"inner","docs":"0123456789","people":["a","b"],"x y":1.50}"#;

fn notification(data: &str) -> StoredNotification {
    StoredNotification {
        sequence: 519,
        content: Arc::new(Content {
            event_type: "close".into(),
            created_at: 1_702_500_170_427_000,
            received_at: 1_702_500_171_000_000,
            comment: Some("a \"success\"".into()),
            extra: format!(r#""data":{data},"originator":{{"userId":"9"}},"unit":"north""#),
            entity: Some("e:1".into()),
            created_by: Some("100".into()),
            included: r#"[{"type":"entity","id":"e:1"}]"#.into(),
        }),
        state: State::new(PushProgress::Pending, None),
    }
}

fn settings() -> PayloadSettings {
    PayloadSettings {
        format: PayloadFormat::JsonApi,
        detail: Detail::Full,
        fields: BTreeMap::new(),
        optional_fields: Vec::new(),
        max_bytes: 10_000_000,
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The body as text, and the size that it would have if nothing were shaped.
fn pushed(settings: &PayloadSettings, notification: &StoredNotification) -> Result<String, TooLarge> {
    let writer = Writer { base: "http://h/api", shape: &Shape::default(), push_is_active: None };
    body(settings, &format(settings, notification), &writer, notification)
        .map(|body| String::from_utf8(body).unwrap())
}

/// The format under these settings.
fn format(payload: &PayloadSettings, notification: &StoredNotification) -> Format {
    let settings =
        Settings { payload: payload.clone(), ..crate::rules::settings::resolve("{}", "t").unwrap() };
    Format::of_push(&settings, "t", "msg_t_519", notification)
}

fn attributes(text: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(text).unwrap();
    document["data"]["attributes"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn in_full_it_is_the_document() {
    let notification = notification(DATA);
    let writer = Writer { base: "http://h/api", shape: &Shape::default(), push_is_active: None };
    let document = String::from_utf8(writer.document(&notification)).unwrap();
    assert_eq!(pushed(&settings(), &notification).unwrap(), document);
    // Nothing is trimmed that fits to the byte.
    let limit = u32::try_from(document.len()).unwrap();
    let trimming = PayloadSettings { optional_fields: names(&["data"]), max_bytes: limit, ..settings() };
    assert_eq!(pushed(&trimming, &notification).unwrap(), document);
    let smaller = PayloadSettings { max_bytes: limit - 1, ..trimming };
    assert!(pushed(&smaller, &notification).unwrap().contains("conditionalParametersTrimmed"));
}

#[test]
fn a_thin_push_says_who_and_what_it_is_about() {
    let thin = PayloadSettings {
        detail: Detail::Thin,
        fields: [("*".to_owned(), names(&["comment"]))].into(),
        ..settings()
    };
    let document: Value = serde_json::from_str(&pushed(&thin, &notification(DATA)).unwrap()).unwrap();
    let related = |path: &str, kind: &str, id: &str| json!({"links": {"self": format!("http://h/api/{path}/{id}")}, "data": {"type": kind, "id": id}});
    let expected = json!({
        "links": {"self": "http://h/api/notifications/519"},
        "data": {"type": "notification", "id": "519", "links": {"self": "http://h/api/notifications/519"},
            "attributes": {"id": "519", "createdAt": "2023-12-13T20:42:50.427Z", "type": "close",
                "isDismissed": false, "isRead": false, "isFlagged": false},
            "relationships": {"createdBy": related("users", "user", "100"), "entity": related("entities", "entity", "e:1")}},
        "included": []
    });
    assert_eq!(document, expected);
}

#[test]
fn fields_are_chosen_by_type() {
    let with = |fields: &[(&str, &[&str])]| PayloadSettings {
        fields: fields.iter().map(|(name, fields)| ((*name).to_owned(), names(fields))).collect(),
        ..settings()
    };
    let shown = |fields: &[(&str, &[&str])]| -> Value {
        serde_json::from_str(&pushed(&with(fields), &notification(DATA)).unwrap()).unwrap()
    };
    let always = ["createdAt", "id", "isDismissed", "isFlagged", "isRead", "type"];
    let plus = |more: &[&str]| {
        let mut names: Vec<String> = always.iter().chain(more).map(|name| (*name).to_owned()).collect();
        names.sort();
        names
    };
    let text = pushed(
        &with(&[("close", &["comment", "docs", "data.comment", "data.id", "entity"])]),
        &notification(DATA),
    )
    .unwrap();
    assert_eq!(attributes(&text), plus(&["comment", "data"]));
    assert!(
        text.contains(r#""data":{"id":12345678901234567890123,"comment":"inner","docs":"0123456789"}"#),
        "in their order, and as they were posted: {text}"
    );
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["data"]["attributes"]["comment"], "a \"success\"");
    assert_eq!(document["data"]["relationships"].as_object().unwrap().len(), 1);
    assert_eq!(document["included"], json!([]));

    let document = shown(&[("*", &["included", "unit", "data", "docs"])]);
    assert_eq!(document["data"]["attributes"]["data"].as_object().unwrap().len(), 5, "`data` is all of it");
    assert_eq!(document["included"].as_array().unwrap().len(), 1);
    assert_eq!(document["data"]["relationships"], json!({}));

    // The type's own fields go before those of all others; types that aren't named are whole.
    assert_eq!(attributes(&shown(&[("close", &[]), ("*", &["comment"])]).to_string()), plus(&[]));
    assert_eq!(
        attributes(&shown(&[("print", &[])]).to_string()),
        plus(&["comment", "data", "originator", "unit"])
    );
    assert_eq!(shown(&[("close", &["x y", "nothing"])])["data"]["attributes"]["data"], json!({"x y": 1.5}));
}

/// The fields that are named as trimmed under a limit that allows so many bytes.
fn trimmed(
    optional: &[&str],
    limit: usize,
    notification: &StoredNotification,
) -> Result<Vec<String>, TooLarge> {
    let settings = PayloadSettings {
        optional_fields: names(optional),
        max_bytes: u32::try_from(limit).unwrap(),
        ..settings()
    };
    let text = pushed(&settings, notification)?;
    assert!(text.len() <= limit, "{} > {limit}", text.len());
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["data"].get("meta"), None);
    let names = document["meta"]["conditionalParametersTrimmed"].as_array().cloned().unwrap_or_default();
    Ok(names.iter().map(|name| name.as_str().unwrap().to_owned()).collect())
}

#[test]
fn optional_fields_are_dropped_in_their_order_until_it_fits() {
    let order = ["data.docs", "nothing", "change", "people", "included", "comment", "data", "data.id"];
    let data = format!(
        r#"{{"id":1,"docs":"{}","people":["{}"],"rest":"{}"}}"#,
        "d".repeat(3000),
        "p".repeat(3000),
        "r".repeat(3000)
    );
    let mut notification = notification(&data);
    Arc::get_mut(&mut notification.content).unwrap().comment = Some("c".repeat(200));
    let whole = pushed(&settings(), &notification).unwrap().len();
    for (limit, expected) in [
        (whole, &[][..]),
        (whole - 1, &["data.docs"]),
        (whole - 2900, &["data.docs"]),
        (whole - 3010, &["data.docs", "people"]),
        (whole - 5900, &["data.docs", "people"]),
        // `included` alone is not enough, `comment` is.
        (whole - 6000, &["data.docs", "people", "included", "comment"]),
        (whole - 6300, &["data.docs", "people", "included", "comment", "data"]),
    ] {
        assert_eq!(trimmed(&order, limit, &notification).unwrap(), expected, "{}", whole - limit);
    }
    // What was dropped with the whole isn't named on its own.
    assert_eq!(trimmed(&["data", "docs"], 2000, &notification).unwrap(), ["data"]);
    let smallest = trimmed(&order, 500, &notification).unwrap_err();
    assert_eq!(smallest.limit, 500);
    assert!(
        smallest.bytes > 500 && smallest.bytes < 1200,
        "{smallest}: the size without all optional fields"
    );
    let nothing = trimmed(&[], whole - 1, &notification).unwrap_err();
    assert_eq!(nothing, TooLarge { bytes: whole, limit: whole - 1 });
}

#[test]
fn no_field_is_dropped_that_could_stay() {
    // Every limit: as many fields as are needed, and not one more.
    let members: Vec<String> = (0..20).map(|n| format!(r#""f{n}":"{}""#, "é\\n".repeat(n * 7))).collect();
    let notification = notification(&format!("{{{}}}", members.join(",")));
    let order: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
    let order: Vec<&str> = order.iter().map(String::as_str).collect();
    let sizes: Vec<usize> = (0..=20)
        .map(|dropped| {
            // What it takes without the first so many fields, by a body that has only the others.
            let data = format!("{{{}}}", members[dropped..].join(","));
            let body = pushed(&settings(), &self::notification(&data)).unwrap();
            let named = serde_json::to_string(&order[..dropped]).unwrap();
            let meta = format!(r#","meta":{{"conditionalParametersTrimmed":{named}}}"#);
            body.len() + if dropped == 0 { 0 } else { meta.len() }
        })
        .collect();
    for limit in (1000..=sizes[0]).step_by(13) {
        let expected = sizes.iter().position(|size| *size <= limit);
        let dropped = trimmed(&order, limit, &notification).ok().map(|names| names.len());
        assert_eq!(dropped, expected, "{limit}");
    }
}

#[test]
fn chosen_fields_can_be_trimmed_too() {
    let big = format!(r#"{{"a":"{}","b":"{}","c":1}}"#, "a".repeat(3000), "b".repeat(3000));
    let settings = PayloadSettings {
        fields: [("*".to_owned(), names(&["a", "c", "unit"]))].into(),
        optional_fields: names(&["b", "comment", "a"]),
        max_bytes: 2000,
        ..settings()
    };
    let document: Value = serde_json::from_str(&pushed(&settings, &notification(&big)).unwrap()).unwrap();
    assert_eq!(document["data"]["attributes"]["data"], json!({"c": 1}));
    assert_eq!(document["data"]["attributes"]["unit"], "north");
    assert_eq!(document["meta"], json!({"conditionalParametersTrimmed": ["a"]}), "only what was there");
}

#[test]
fn what_stands_around_the_document_counts() {
    let event = PayloadSettings { format: PayloadFormat::CloudEvents, ..settings() };
    let notification = notification(DATA);
    let document = pushed(&settings(), &notification).unwrap();
    let whole = pushed(&event, &notification).unwrap();
    assert!(
        whole.starts_with("{\"specversion\":\"1.0\",") && whole.ends_with(&format!("\"data\":{document}}}"))
    );
    let fits = |limit: usize| PayloadSettings { max_bytes: u32::try_from(limit).unwrap(), ..event.clone() };
    assert_eq!(pushed(&fits(whole.len()), &notification).unwrap(), whole);
    let limit = whole.len() - 1;
    let refused = pushed(&fits(limit), &notification).unwrap_err();
    assert_eq!(refused, TooLarge { bytes: whole.len(), limit });
    let trimmed = PayloadSettings { optional_fields: names(&["data"]), ..fits(limit) };
    let smaller: Value = serde_json::from_str(&pushed(&trimmed, &notification).unwrap()).unwrap();
    assert_eq!(smaller["data"]["meta"], json!({"conditionalParametersTrimmed": ["data"]}));
    // One that would not fit by itself.
    assert_eq!(pushed(&fits(10), &notification).unwrap_err(), TooLarge { bytes: whole.len(), limit: 10 });
}
