//! Pushes as CloudEvents: what a receiver sees, and what an SDK of another language reads from it.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tidings_client::webhook::Verifier;
use tidings_tests::wait::SOON;
use tidings_tests::{Database, Kind, Receiver, Reply, Request, Server, Tenant, event, on_both, program};

const ENTITY: &str = "experiment:100% \"größe\" €😀 %25";
/// [`ENTITY`] as the HTTP binding wants it in a header.
const ENCODED: &str = "experiment:100%25%20%22gr%C3%B6%C3%9Fe%22%20%E2%82%AC%F0%9F%98%80%20%2525";
const TIME: &str = "2023-12-13T20:42:50.427Z";

fn rich() -> Value {
    json!({"data": {"type": "notification",
        "attributes": {"type": "com.example.order.paid", "createdAt": TIME, "comment": "50 % größer", "data": {"n": 1.50}},
        "relationships": {"entity": {"data": {"type": "entity", "id": ENTITY}}}}})
}

#[track_caller]
fn set(tenant: &Tenant, settings: Value) {
    tenant.admin.settings(settings).expect(200);
}

/// Posts an event, and gives its id with the requests by which it was pushed.
#[track_caller]
fn pushed(tenant: &Tenant, receiver: &Receiver) -> (u64, Vec<Request>) {
    let before = receiver.count();
    let id = tenant.producer.post_event(&rich());
    tenant.wait_for_state(id, "delivered");
    (id, receiver.requests().split_off(before))
}

/// The headers of CloudEvents, and the media type.
fn ce_headers(request: &Request) -> BTreeMap<&str, &str> {
    let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    headers.filter(|(name, _)| name.starts_with("ce-") || *name == "content-type").collect()
}

/// What the attributes of a notification are.
fn attributes(tenant: &Tenant, id: u64) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("specversion", "1.0".to_owned()),
        ("id", format!("msg_{}_{id}", tenant.id)),
        ("source", format!("urn:uuid:{}", tenant.id)),
        ("type", "com.example.order.paid".to_owned()),
        ("time", TIME.to_owned()),
        ("sequence", format!("{id:0>19}")),
        ("subject", ENTITY.to_owned()),
    ])
}

/// The document that is the data of a push, checked to be what `tidings-client` reads too.
#[track_caller]
fn document(tenant: &Tenant, request: &Request) -> Value {
    assert!(
        request.is_signed_with(&tenant.signing_secret),
        "the signature is that of the body as it was sent"
    );
    let verifier = Verifier::new([&tenant.signing_secret]).unwrap();
    let header = |name: &str| Some(request.header(name)).filter(|value| !value.is_empty());
    let push = verifier.verify(header, &request.body).unwrap();
    assert_eq!(push.document.data.id.to_string(), request.sequence().to_string());
    assert_eq!(push.webhook_id, request.header("webhook-id"));
    let body = request.json();
    if body.get("specversion").is_some() { body["data"].clone() } else { body }
}

on_both! {
    fn a_receiver_gets_the_same_document_in_each_format(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("formats");
        let receiver = Receiver::start(|request, _| match request.header("tidings-attempt") {
            "1" => Reply::Status(500),
            _ => Reply::Status(204),
        });
        tenant.push_to(&receiver.url(), false);
        // Under each format the document is what is pulled, but for `meta`.
        let expected = |id: u64| {
            let mut document = tenant.consumer.get(&format!("notifications/{id}")).expect(200);
            document["data"].as_object_mut().unwrap().remove("meta");
            document
        };
        let same_for_each_attempt = |requests: &[Request]| {
            assert_eq!(requests.len(), 2, "one that fails, and one that is accepted");
            assert_eq!(requests[0].body, requests[1].body);
            assert_eq!(ce_headers(&requests[0]), ce_headers(&requests[1]));
        };

        let (id, requests) = pushed(&tenant, &receiver);
        same_for_each_attempt(&requests);
        assert_eq!(document(&tenant, &requests[0]), expected(id));
        assert_eq!(ce_headers(&requests[0]), [("content-type", "application/json")].into());
        let plain = requests[0].body.clone();

        for media_type in ["application/json", "application/vnd.api+json"] {
            set(&tenant, json!({"payload": {"format": "cloudEvents"}, "push": {"contentType": media_type}}));
            let (id, requests) = pushed(&tenant, &receiver);
            same_for_each_attempt(&requests);
            assert_eq!(document(&tenant, &requests[0]), expected(id));
            assert_eq!(ce_headers(&requests[0]), [("content-type", "application/cloudevents+json")].into());
            let mut event = requests[0].json();
            let members = event.as_object_mut().unwrap();
            members.remove("data");
            let mut wanted = attributes(&tenant, id);
            wanted.insert("datacontenttype", media_type.to_owned());
            assert_eq!(event, json!(wanted));

            set(&tenant, json!({"payload": {"format": "cloudEventsBinary"}}));
            let (id, requests) = pushed(&tenant, &receiver);
            same_for_each_attempt(&requests);
            assert_eq!(document(&tenant, &requests[0]), expected(id));
            let mut wanted: BTreeMap<String, String> =
                attributes(&tenant, id).into_iter().map(|(name, value)| (format!("ce-{name}"), value)).collect();
            wanted.insert("ce-subject".to_owned(), ENCODED.to_owned());
            wanted.insert("content-type".to_owned(), media_type.to_owned());
            let sent = ce_headers(&requests[0]);
            assert_eq!(sent, wanted.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect());
        }

        // Back to the default, byte for byte but for the id.
        set(&tenant, json!({"payload": {"format": null}, "push": {"contentType": null}}));
        let (id, requests) = pushed(&tenant, &receiver);
        let text = |body: &[u8], id: u64| {
            let text = String::from_utf8(body.to_vec()).unwrap();
            text.replace(&format!("/notifications/{id}\""), "/notifications/N\"").replace(&format!("\"id\":\"{id}\""), "\"id\":\"N\"")
        };
        assert_eq!(text(&requests[0].body, id), text(&plain, 1));
        assert_eq!(ce_headers(&requests[0]), [("content-type", "application/json")].into());
    }

    fn payload_settings_hold_for_the_data(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("shaped");
        let receiver = Receiver::accepting();
        tenant.push_to(&receiver.url(), true);
        set(&tenant, json!({"payload": {"format": "cloudEvents", "detail": "thin"}}));
        let (_, requests) = pushed(&tenant, &receiver);
        let event = requests[0].json();
        let shown = &event["data"]["data"]["attributes"];
        assert_eq!(shown["isDismissed"], true, "as it will be");
        assert!(shown.get("comment").is_none() && shown.get("data").is_none(), "{shown}");
        assert_eq!(event["subject"], ENTITY);

        set(&tenant, json!({"payload": {"detail": null, "fields": {"*": ["comment"]}}}));
        let (_, requests) = pushed(&tenant, &receiver);
        let event = requests[0].json();
        assert_eq!(event["data"]["data"]["relationships"], json!({}));
        assert!(event.get("subject").is_none(), "what is left out of the data isn't told beside it: {event}");

        // The attributes count: what fits alone is too large in an event.
        let length = requests[0].body.len();
        set(&tenant, json!({"payload": {"fields": {"*": ["comment"]}, "maxBytes": 1000}}));
        assert!(length < 1000, "{length}");
        let mut large = rich();
        large["data"]["attributes"]["comment"] = json!("c".repeat(1000 - length + "50 % größer".len() + 1));
        let id = tenant.producer.post_event(&large);
        tenant.wait_for_state(id, "failed");
        assert_eq!(tenant.admin.get(&format!("deliveries/{id}")).expect(200)["data"]["attributes"]["errorMessage"], "too_large");
        set(&tenant, json!({"payload": {"format": "cloudEventsBinary"}}));
        let id = tenant.producer.post_event(&large);
        tenant.wait_for_state(id, "delivered");
    }

    fn tests_alerts_and_the_push_queue_have_the_format(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("everything");
        let (pushes, alerts) = (Receiver::accepting(), Receiver::accepting());
        tenant.push_to(&pushes.url(), false);
        set(&tenant, json!({"alerts": {"url": alerts.url()}, "payload": {"format": "cloudEvents"}}));

        // Of a test the request is shown as it was sent.
        let shown = tenant.admin.post("external-notifications/test", &json!({})).expect(200)["data"]["attributes"]["request"].clone();
        let sent = pushes.wait_for(1, SOON).remove(0);
        assert_eq!(shown["body"].as_str().unwrap().as_bytes(), sent.body);
        let test = sent.json();
        assert_eq!((&test["type"], &test["sequence"]), (&json!("test"), &json!("0".repeat(19))));
        assert_eq!(test["id"], sent.header("webhook-id"));
        assert_eq!(test["data"]["data"]["attributes"]["type"], "test");
        set(&tenant, json!({"payload": {"format": "cloudEventsBinary"}}));
        let shown = tenant.admin.post("external-notifications/test", &json!({})).expect(200)["data"]["attributes"]["request"].clone();
        let sent = pushes.wait_for(2, SOON).remove(1);
        for (name, value) in ce_headers(&sent) {
            assert!(shown["headers"].as_array().unwrap().contains(&json!({"name": name, "value": value})), "{name}: {shown}");
        }
        assert_eq!((sent.header("ce-type"), sent.header("ce-id")), ("test", sent.header("webhook-id")));

        // The queue shows what is pushed by the settings of now.
        let (id, requests) = pushed(&tenant, &pushes);
        let row = || tenant.admin.get(&format!("deliveries/{id}")).expect(200)["data"]["attributes"].clone();
        let binary = row();
        assert_eq!(binary["content"], requests[0].json());
        let headers = binary["contentHeaders"].as_array().unwrap();
        let headers = headers.iter().map(|header| (header["name"].as_str().unwrap(), header["value"].as_str().unwrap()));
        assert_eq!(headers.collect::<BTreeMap<_, _>>(), ce_headers(&requests[0]));
        set(&tenant, json!({"payload": {"format": "cloudEvents"}}));
        let structured = row();
        assert_eq!(structured["content"]["data"], requests[0].json());
        assert_eq!(structured["content"]["id"], requests[0].header("webhook-id"));
        assert_eq!(structured["contentHeaders"], json!([{"name": "content-type", "value": "application/cloudevents+json"}]));

        for (count, format) in ["cloudEvents", "cloudEventsBinary", "jsonApi"].into_iter().enumerate() {
            set(&tenant, json!({"payload": {"format": format}}));
            tenant.admin.post("external-notifications/alerts/test", &json!({})).expect(200);
            let alert = alerts.wait_for(count + 1, SOON).remove(count);
            assert!(alert.is_signed_with(&tenant.signing_secret), "{format}");
            let body = alert.json();
            let (document, event_type, id) = match format {
                "cloudEvents" => (body["data"].clone(), body["type"].clone(), body["id"].clone()),
                "cloudEventsBinary" => (body, json!(alert.header("ce-type")), json!(alert.header("ce-id"))),
                _ => (body, json!("tidings.alert.test"), json!(alert.header("webhook-id"))),
            };
            assert_eq!((event_type, id), (json!("tidings.alert.test"), json!(alert.header("webhook-id"))), "{format}");
            assert_eq!(document["data"]["attributes"]["kind"], "test", "{format}");
            let media_type = if format == "cloudEvents" { "application/cloudevents+json" } else { "application/json" };
            assert_eq!(alert.header("content-type"), media_type);
            assert_eq!(ce_headers(&alert).len(), if format == "cloudEventsBinary" { 6 } else { 1 });
        }
    }
}

/// Reads requests, one in a line, with the SDK, which finds out by itself in which mode they are.
const SCRIPT: &str = r#"
import json, sys
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

for line in open(sys.argv[1], encoding="utf-8"):
    request = json.loads(line)
    event = from_http_event(HTTPMessage(headers=request["headers"], body=request["body"].encode()))
    attributes = {name: value if isinstance(value, str) else value.isoformat() for name, value in event.get_attributes().items()}
    print(json.dumps({"attributes": attributes, "data": event.get_data()}))
"#;

/// Python with the SDK of CloudEvents in it. It is installed where it isn't yet.
fn python_with_sdk() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    fs::create_dir_all(&target).unwrap();
    // One at a time.
    let lock = File::create(target.join("cloudevents.lock")).unwrap();
    lock.lock().unwrap();
    let folder = target.join("cloudevents");
    let python = folder.join("bin/python");
    let is_there = Command::new(&python).args(["-c", "import cloudevents.core.bindings.http"]).output();
    if is_there.is_ok_and(|output| output.status.success()) {
        return python;
    }
    let run = |command: &mut Command| {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {}", program::text(&output));
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "cloudevents==2.2.0"]));
    python
}

/// What the SDK reads.
fn read_by_sdk(requests: &[Request]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("requests");
    let line = |request: &Request| {
        let headers: BTreeMap<_, _> = request.headers.iter().cloned().collect();
        json!({"headers": headers, "body": String::from_utf8(request.body.clone()).unwrap()}).to_string()
            + "\n"
    };
    fs::write(&file, requests.iter().map(line).collect::<String>()).unwrap();
    let mut command = Command::new(python_with_sdk());
    command.arg("-c").arg(SCRIPT).arg(&file);
    let output = program::ended(command);
    assert!(output.status.success(), "{}", program::text(&output));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_sdk_of_another_language_reads_both_modes() {
    let server = Server::start(&Database::new(Kind::Sqlite));
    let tenant = server.tenant("sdk");
    let (receiver, alerts) = (Receiver::accepting(), Receiver::accepting());
    tenant.push_to(&receiver.url(), false);
    set(&tenant, json!({"alerts": {"url": alerts.url()}}));
    let (mut requests, mut ids) = (Vec::new(), Vec::new());
    for format in ["cloudEvents", "cloudEventsBinary"] {
        set(
            &tenant,
            json!({"payload": {"format": format}, "push": {"contentType": "application/vnd.api+json"}}),
        );
        let (id, mut pushed) = pushed(&tenant, &receiver);
        requests.append(&mut pushed);
        ids.push(id);
        tenant.admin.post("external-notifications/alerts/test", &json!({})).expect(200);
    }
    // One without anything that it could lack.
    let plain = tenant.producer.post_event(&event("close"));
    tenant.wait_for_state(plain, "delivered");
    requests.extend(receiver.requests().pop());
    requests.extend(alerts.wait_for(2, Duration::from_secs(10)));

    let read = read_by_sdk(&requests);
    assert_eq!(read.len(), 5);
    let time = |text: &Value| text.as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    for (nth, id) in ids.into_iter().enumerate() {
        let mut found = read[nth]["attributes"].clone();
        assert_eq!(time(&found["time"]), time(&json!(TIME)));
        found["time"] = json!(TIME);
        let mut wanted = attributes(&tenant, id);
        wanted.insert("datacontenttype", "application/vnd.api+json".to_owned());
        assert_eq!(found, json!(wanted), "{}", requests[nth].header("content-type"));
        assert_eq!(read[nth]["data"], document(&tenant, &requests[nth]));
    }
    let attributes = &read[2]["attributes"];
    assert_eq!((&attributes["type"], attributes.get("subject")), (&json!("close"), None));
    assert_eq!(read[2]["data"]["data"]["id"], plain.to_string());
    for alert in &read[3..] {
        assert_eq!(alert["attributes"]["type"], "tidings.alert.test");
        assert_eq!(alert["attributes"]["datacontenttype"], "application/json");
        assert_eq!(alert["data"]["data"]["attributes"]["tenantId"], tenant.id.as_str());
    }
}
