use std::sync::Arc;

use serde_json::{Value, json};
use tidings_api::notification::{NotificationDocument, NotificationPage, PushState};

use super::*;
use crate::rules::notification::{Content, PushProgress, State};

fn notification(sequence: i64, user_name: &str) -> StoredNotification {
    StoredNotification {
        sequence,
        content: Arc::new(Content {
            event_type: "close".into(),
            created_at: 1_702_500_170_427_000,
            received_at: 1_702_500_171_000_000,
            comment: Some("a \"success\"\n".into()),
            extra: r#""data":{"n":12345678901234567890123},"unit":"u1""#.into(),
            entity: Some("experiment:d5 dc".into()),
            created_by: Some("100".into()),
            included: format!(
                r#"[{{"type":"entity","id":"experiment:d5 dc","attributes":{{"name":"E","eid":1}}}},{{"type":"user","id":"100","attributes":{{"userName":"{user_name}"}}}}]"#
            ),
        }),
        state: State::new(PushProgress::Pending, Some(1_702_500_172_000_000)),
    }
}

fn write(shape: &Shape, notification: &StoredNotification) -> Value {
    let writer = Writer { base: "http://h/api", shape, push_is_active: Some(true) };
    serde_json::from_slice(&writer.document(notification)).unwrap()
}

#[test]
fn a_document_has_the_contract_s_shape_and_reads_back_as_the_wire_type() {
    let shape = Shape::default();
    let writer = Writer { base: "http://h/api", shape: &shape, push_is_active: Some(true) };
    let text = writer.document(&notification(519, "ann"));
    assert!(
        String::from_utf8(text.clone()).unwrap().contains("12345678901234567890123"),
        "numbers pass through"
    );
    let typed: NotificationDocument = serde_json::from_slice(&text).unwrap();
    assert_eq!(typed.data.id.get(), 519);
    assert_eq!(typed.data.attributes.comment.as_deref(), Some("a \"success\"\n"));
    assert_eq!(typed.data.attributes.unit.as_deref(), Some("u1"));
    let entity = typed.data.relationships.entity.unwrap();
    assert_eq!(entity.links.this, "http://h/api/entities/experiment:d5%20dc");
    assert_eq!(typed.data.meta.unwrap().push.state, PushState::Pending);
    assert_eq!(typed.included.len(), 2);
    let value: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(value["data"]["attributes"]["createdAt"], "2023-12-13T20:42:50.427Z");
    assert_eq!(value["data"]["meta"]["push"]["nextAttemptAt"], "2023-12-13T20:42:52.000Z");
}

#[test]
fn a_push_has_no_meta() {
    let shape = Shape::default();
    let writer = Writer { base: "http://h/api", shape: &shape, push_is_active: None };
    let value: Value = serde_json::from_slice(&writer.document(&notification(1, "ann"))).unwrap();
    assert_eq!(value["data"].get("meta"), None);
}

#[test]
fn while_push_is_paused_what_is_pending_is_paused() {
    let shape = Shape::default();
    let writer = Writer { base: "", shape: &shape, push_is_active: Some(false) };
    let value: Value = serde_json::from_slice(&writer.document(&notification(1, "ann"))).unwrap();
    let paused = json!({"state": "paused", "attempts": 0, "nextAttemptAt": null});
    assert_eq!(value["data"]["meta"]["push"], paused);
}

#[test]
fn sparse_fieldsets_leave_out_the_rest() {
    let fields = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let shape = Shape {
        include: Some(vec![Related::Entity]),
        notification: fields(&["comment", "unit", "entity"]),
        entity: fields(&["eid"]),
        ..Shape::default()
    };
    let value = write(&shape, &notification(1, "ann"));
    assert_eq!(value["data"]["attributes"], json!({"comment": "a \"success\"\n", "unit": "u1"}));
    assert_eq!(value["data"]["relationships"].as_object().unwrap().len(), 1);
    let entity = json!({"type": "entity", "id": "experiment:d5 dc", "attributes": {"eid": 1}});
    assert_eq!(value["included"], json!([entity]));
    let empty = Shape { include: Some(vec![]), notification: Some(vec![]), ..Shape::default() };
    let value = write(&empty, &notification(1, "ann"));
    assert_eq!(value["data"]["attributes"], json!({}));
    assert_eq!(value["included"], json!([]));
}

#[test]
fn a_page_includes_each_resource_once_in_its_newest_copy() {
    let shape = Shape::default();
    let writer = Writer { base: "http://h/api", shape: &shape, push_is_active: Some(true) };
    let frame = PageFrame {
        this: "s".into(),
        first: "f".into(),
        next: Some("n".into()),
        after: Some("2".into()),
        ..PageFrame::default()
    };
    let text = writer.page(&[notification(2, "new"), notification(1, "old")], &frame);
    let page: NotificationPage = serde_json::from_slice(&text).unwrap();
    assert_eq!(page.data.len(), 2);
    let users: Vec<&str> =
        page.included.iter().filter(|r| r.identifier.r#type == "user").map(|r| r.get()).collect();
    assert_eq!(users.len(), 1);
    assert!(users[0].contains("new"));
    let value: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(value["links"], json!({"self": "s", "first": "f", "prev": null, "next": "n"}));
    let offset = PageFrame { after: None, ..frame };
    let value: Value = serde_json::from_slice(&writer.page(&[], &offset)).unwrap();
    assert_eq!(
        value["links"],
        json!({"self": "s", "first": "f", "next": "n"}),
        "offset paging leaves links out"
    );
}
