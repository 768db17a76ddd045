//! Wrong requests get a clear errors document and change nothing; the server lives on.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::raw::{self, RawAnswer};
use tidings_tests::wait;
use tidings_tests::{Api, Database, Kind, Server, Tenant, event, on_both};

const PATH: &str = "/api/rest/v1.0/notifications";

/// A tenant with one notification, and the check that this is still so.
struct Ground {
    server: Server,
    tenant: Tenant,
}

impl Ground {
    fn new(db: &Database) -> Self {
        let server = Server::start(db);
        let tenant = server.tenant("hostile");
        tenant.producer.post_event(&event("close"));
        Ground { server, tenant }
    }

    fn post(&self, body: impl AsRef<[u8]>) -> tidings_tests::Answer {
        self.tenant.admin.send("POST", "notifications", &[], Some(body.as_ref()))
    }

    /// The errors document of a raw answer.
    #[track_caller]
    fn raw_refused(&self, what: &str, answer: &RawAnswer) -> Value {
        let status = answer.status().unwrap_or_else(|| panic!("{what}: no answer: {answer:?}"));
        assert!((400..500).contains(&status), "{what}: {answer:?}");
        let document: Value = serde_json::from_str(&answer.body())
            .unwrap_or_else(|error| panic!("{what}: {error}: {:?}", String::from_utf8_lossy(&answer.bytes)));
        assert_eq!(document["errors"][0]["status"], status.to_string(), "{what}: {document}");
        document["errors"][0].clone()
    }

    /// Nothing has been stored or changed, and the server answers.
    #[track_caller]
    fn unharmed(&mut self, what: &str) {
        assert!(self.server.is_alive(), "{what}: the server has ended");
        assert_eq!(self.tenant.consumer.count(), 1, "{what}: something was stored");
        let first = self.tenant.consumer.get("notifications/1").expect(200);
        for flag in ["isDismissed", "isRead", "isFlagged"] {
            assert_eq!(first["data"]["attributes"][flag], false, "{what}: changed");
        }
    }
}

/// An event document with this text in the place of its attributes.
fn with_attributes(attributes: &str) -> String {
    format!(r#"{{"data":{{"type":"notification","attributes":{attributes}}}}}"#)
}

on_both! {
    fn what_is_not_json_is_refused(db) {
        let mut ground = Ground::new(&db);
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let deep_data = with_attributes(&format!(
            r#"{{"type":"close","data":{}1{}}}"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000)));
        let bodies: Vec<Vec<u8>> = vec![
            b"".to_vec(), b"{".to_vec(), b"null".to_vec(), b"hello".to_vec(), b"[]".to_vec(), b"1".to_vec(),
            br#"{"data":{"type":"notification","attributes":{"type":"close"}}} trailing"#.to_vec(),
            br#"{"data":{"type":"notification","attributes":{"type":"close",}}}"#.to_vec(),
            br#"{"data":{"type":"notification","attributes":{"type":"close","comment":NaN}}}"#.to_vec(),
            b"{\"data\":{\"type\":\"notification\",\"attributes\":{\"type\":\"close\",\"comment\":\"\xff\xfe\"}}}".to_vec(),
            b"{\"data\":{\"type\":\"notification\",\"attributes\":{\"type\":\"close\",\"data\":{\"a\":\"\xc3\x28\"}}}}".to_vec(),
            b"{\"data\":{\"type\":\"notification\",\"attributes\":{\"type\":\"close\",\"comment\":\"a\x00b\"}}}".to_vec(),
            with_attributes(r#"{"type":"close","comment":"\ud800"}"#).into_bytes(),
            with_attributes(r#"{"type":"close","data":{"a":"\ud800"}}"#).into_bytes(),
            with_attributes(r#"{"type":"close","data":{"a":"\udc00\ud800"}}"#).into_bytes(),
            deep.into_bytes(),
            deep_data.into_bytes(),
        ];
        for body in bodies {
            let what = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
            let answer = ground.post(&body);
            assert!(matches!(answer.status, 400 | 422), "{what}: {answer}");
            answer.refused(answer.status);
            ground.unharmed(&what);
        }
    }

    fn a_wrong_member_is_named_by_its_pointer(db) {
        let mut ground = Ground::new(&db);
        let (long, very_long) = ("x".repeat(300), "x".repeat(1001));
        for (body, pointer, code) in [
            (json!({}), "", ErrorCode::MissingMember),
            (json!({"data": []}), "/data", ErrorCode::InvalidValue),
            (json!({"data": ["notification", null, {"type": "close"}, null]}), "/data", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": ["close"]}}), "/data/attributes", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification"}}), "/data", ErrorCode::MissingMember),
            (json!({"data": {"type": "event", "attributes": {"type": "close"}}}), "/data/type", ErrorCode::Conflict),
            (json!({"data": {"type": "notification", "id": "7", "attributes": {"type": "close"}}}), "/data/id", ErrorCode::NotChangeable),
            (json!({"data": {"type": "notification", "attributes": {}}}), "/data/attributes", ErrorCode::MissingMember),
            (json!({"data": {"type": "notification", "attributes": {"type": 7}}}), "/data/attributes/type", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "a b"}}}), "/data/attributes/type", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": ""}}}), "/data/attributes/type", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "colour": 1}}}), "/data/attributes/colour", ErrorCode::UnknownMember),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "comment": 7}}}), "/data/attributes/comment", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "comment": "a\u{0}b"}}}), "/data/attributes/comment", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "comment": "c".repeat(100_001)}}}), "/data/attributes/comment", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "data": [1]}}}), "/data/attributes/data", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "createdAt": "today"}}}), "/data/attributes/createdAt", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "unit": long}}}), "/data/attributes/unit", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "eventId": long}}}), "/data/attributes/eventId", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "change": {"table": "t"}}}}), "/data/attributes/change", ErrorCode::MissingMember),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "change": {"table": "t", "type": "drop"}}}}), "/data/attributes/change/type", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close", "originator": {"x": "1"}}}}), "/data/attributes/originator/x", ErrorCode::UnknownMember),
            (json!({"data": {"type": "notification", "attributes": {"type": "close"}, "relationships": {"owner": {"data": {"type": "user", "id": "1"}}}}}), "/data/relationships/owner", ErrorCode::UnknownMember),
            (json!({"data": {"type": "notification", "attributes": {"type": "close"}, "relationships": {"entity": {"data": {"type": "user", "id": "1"}}}}}), "/data/relationships/entity/data/type", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close"}, "relationships": {"entity": {"data": {"type": "entity", "id": ""}}}}}), "/data/relationships/entity/data/id", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close"}, "relationships": {"entity": {"data": {"type": "entity", "id": very_long}}}}}), "/data/relationships/entity/data/id", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close"}}, "included": [{"type": "user"}]}), "/included/0", ErrorCode::MissingMember),
            (json!({"data": {"type": "notification", "attributes": {"type": "close"}}, "included": [{"type": "batch", "id": "1"}]}), "/included/0/type", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close"}}, "included": [{"type": "user", "id": "1", "attributes": null}]}), "/included/0/attributes", ErrorCode::InvalidValue),
            (json!({"data": {"type": "notification", "attributes": {"type": "close"}}, "extra": 1}), "/extra", ErrorCode::UnknownMember),
        ] {
            let answer = ground.post(body.to_string());
            let error = answer.refused_as(code);
            let at = error["source"]["pointer"].as_str().unwrap_or_else(|| panic!("{answer}: no pointer"));
            assert!(at == pointer || (code == ErrorCode::MissingMember && at.starts_with(pointer)), "{answer}");
            ground.unharmed(&body.to_string());
        }
    }

    fn a_nul_anywhere_is_refused(db) {
        // PostgreSQL can't keep it in a text, and nothing that is refused there may be kept elsewhere.
        let mut ground = Ground::new(&db);
        for body in [
            with_attributes(r#"{"type":"close","comment":"a\u0000"}"#),
            with_attributes(r#"{"type":"close","unit":"\u0000"}"#),
            with_attributes(r#"{"type":"close","eventId":"\u0000"}"#),
            with_attributes(r#"{"type":"close","change":{"table":"\u0000","type":"insert"}}"#),
            with_attributes(r#"{"type":"close","originator":{"userId":"\u0000"}}"#),
            r#"{"data":{"type":"notification","attributes":{"type":"close"},"relationships":{"entity":{"data":{"type":"entity","id":"\u0000"}}}}}"#.to_owned(),
        ] {
            let answer = ground.post(&body);
            answer.refused(422);
            ground.unharmed(&body);
        }
        let answer = ground.post(with_attributes(r#"{"type":"close","data":{"a":"x\u0000y"}}"#));
        assert_eq!(answer.refused(422)["source"]["pointer"], "/data/attributes/data/a");
        ground.unharmed("NUL in the event's own fields");
    }

    fn a_body_of_11_megabytes_is_too_large_and_the_answer_can_be_read(db) {
        let mut ground = Ground::new(&db);
        let large = with_attributes(&format!(r#"{{"type":"close","data":{{"a":"{}"}}}}"#, "x".repeat(11 << 20)));
        for path in ["notifications", "operations"] {
            let answer = ground.tenant.admin.send("POST", path, &[], Some(large.as_bytes()));
            answer.refused_as(ErrorCode::TooLarge);
        }
        // The same without a length that could be looked at beforehand.
        let key = ground.tenant.admin.key();
        let mut bytes = format!(
            "POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n\
             connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        .into_bytes();
        for part in large.as_bytes().chunks(1 << 16) {
            bytes.extend(format!("{:x}\r\n", part.len()).bytes());
            bytes.extend(part);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        let answer = raw::exchange(ground.server.port(), &bytes, Duration::from_secs(20));
        let error = ground.raw_refused("chunked", &answer);
        assert_eq!(error["code"], "too_large");
        ground.unharmed("11 MB");
    }

    fn ids_and_cursors_that_nobody_gave_are_refused(db) {
        let mut ground = Ground::new(&db);
        let huge = format!("1{}", "0".repeat(30));
        let consumer = ground.tenant.consumer.clone();
        for id in [huge.as_str(), "0", "-1", "01", "1.0", "abc", "%00", "%FF", "1%2F2", "9223372036854775808", "1e3", "١"] {
            let path = format!("notifications/{}", if id.is_ascii() { id.to_owned() } else { tidings_tests::api::encode(id) });
            let answer = consumer.get(&path);
            assert!(matches!(answer.status, 400 | 404), "{answer}");
            answer.refused(answer.status);
            let body = json!({"data": {"type": "notification", "id": id, "attributes": {"isRead": true}}});
            let answer = consumer.patch(&path, &body);
            assert!((400..500).contains(&answer.status), "{answer}");
            answer.refused(answer.status);
        }
        for cursor in [huge.as_str(), "abc", "-1", "1.5", "%00", "%FF%FE", "eyJhIjoxfQ", "0x10", "1;2", "9223372036854775808"] {
            for (sort, name) in [("sequence", "after"), ("-sequence", "before"), ("createdAt", "after"), ("-createdAt", "before")] {
                let answer = consumer.get(&format!("notifications?sort={sort}&page[{name}]={cursor}"));
                let error = answer.refused(400);
                // A query that isn't UTF-8 can't be told apart by name.
                if !cursor.contains("%F") {
                    assert_eq!(error["source"]["parameter"], format!("page[{name}]"), "{answer}");
                }
            }
        }
        for path in ["users/%00", "users/%FF", "entities/%00", "entities/..%2F..%2Fetc%2Fpasswd", "users/nobody"] {
            let answer = consumer.get(path);
            assert!(matches!(answer.status, 400 | 404), "{answer}");
            answer.refused(answer.status);
        }
        // A cursor beyond the end is the end, not an error.
        let page = consumer.get("notifications?sort=sequence&page[after]=9223372036854775807").expect(200);
        assert_eq!(page["data"], json!([]));
        ground.unharmed("ids and cursors");
    }

    fn duplicate_members_never_smuggle_a_second_value(db) {
        let mut ground = Ground::new(&db);
        for body in [
            with_attributes(r#"{"type":"close","type":"print"}"#),
            with_attributes(r#"{"type":"close","comment":"a","comment":"b"}"#),
            r#"{"data":{"type":"notification","attributes":{"type":"close"}},"data":{"type":"notification","attributes":{"type":"void"}}}"#.into(),
        ] {
            let answer = ground.post(&body);
            assert!(matches!(answer.status, 400 | 422), "{answer}");
            answer.refused(answer.status);
            ground.unharmed(&body);
        }
        let patch = r#"{"data":{"type":"notification","id":"1","attributes":{"isRead":true,"isRead":false}}}"#;
        let answer = ground.tenant.consumer.send("PATCH", "notifications/1", &[], Some(patch.as_bytes()));
        assert!((400..500).contains(&answer.status), "{answer}");
        ground.unharmed(patch);
    }

    fn a_call_for_a_test_says_nothing_or_only_that(db) {
        let ground = Ground::new(&db);
        let admin = &ground.tenant.admin;
        for path in ["external-notifications/test", "external-notifications/alerts/test"] {
            let send = |body: Option<&[u8]>| admin.send("POST", path, &[], body);
            // There is nowhere to send it: that is what is said, and not something about the body.
            let bodies = [None, Some("null"), Some(" null "), Some("{}"), Some(r#"{"data":null}"#), Some(r#"{"data":{"type":"test"}}"#)];
            for body in bodies {
                let answer = send(body.map(str::as_bytes));
                match path {
                    "external-notifications/test" => drop(answer.refused_as(ErrorCode::Conflict)),
                    _ => {
                        let error = answer.refused_as(ErrorCode::InvalidValue);
                        assert_eq!(error["source"]["pointer"], "", "{answer}");
                        assert!(error["detail"].as_str().unwrap().contains("alerts.url"), "{answer}");
                    }
                }
            }
            for (body, pointer) in [("[]", ""), ("5", ""), (r#"{"url":"x"}"#, "/url"), (r#"{"data":{"type":5}}"#, "/data/type")] {
                let error = send(Some(body.as_bytes())).refused(422);
                assert_eq!(error["source"]["pointer"], pointer, "{body}: {error}");
            }
            send(Some(b"nul")).refused_as(ErrorCode::InvalidJson);
        }
    }

    fn an_event_is_the_same_whichever_way_it_comes(db) {
        let ground = Ground::new(&db);
        let producer = &ground.tenant.producer;
        let data = json!({"type": "notification", "attributes": {"type": "my.own", "eventId": "e-1", "comment": "c",
            "createdAt": "2026-01-02T03:04:05.678Z", "data": {"a": {"b": [1, "ü"], "c": null}, "d": 1.5},
            "change": {"table": "t", "type": "update", "columns": ["x"]}},
            "relationships": {"entity": {"data": {"type": "entity", "id": "e:1"}}}});
        let included = json!([{"type": "entity", "id": "e:1", "attributes": {"name": "n", "size": 2}}]);
        let by_operation = |data: &Value, included: &Value| {
            let add = json!({"op": "add", "data": data, "included": included});
            producer.post("operations", &json!({"atomic:operations": [add]}))
        };
        let post = |text: &str| producer.send("POST", "notifications", &[], Some(text.as_bytes()));
        let document = json!({"data": data, "included": included});
        let first = post(&document.to_string()).expect(201);
        let id = first["data"]["id"].clone();
        assert_eq!(by_operation(&data, &included).expect(200)["atomic:results"][0]["data"]["id"], id);
        // Spaced and escaped otherwise, the members in another order, the same instant in another zone.
        let other = serde_json::to_string_pretty(&document).unwrap().replace('ü', "\\u00fc")
            .replace("03:04:05.678Z", "04:04:05.678+01:00");
        assert_eq!(post(&other).expect(200)["data"]["id"], id);
        let turned = r#"{"included":[{"attributes":{"size":2,"name":"n"},"id":"e:1","type":"entity"}],"data":{"relationships":{"entity":{"data":{"id":"e:1","type":"entity"}}},
            "attributes":{"data":{"d":1.5,"a":{"c":null,"b":[1,"ü"]}},"change":{"columns":["x"],"table":"t","type":"update"},"comment":"c",
            "createdAt":"2026-01-02T03:04:05.678Z","eventId":"e-1","type":"my.own"},"type":"notification"}}"#;
        assert_eq!(post(turned).expect(200)["data"]["id"], id);
        // Anything that differs is another event, both ways.
        for (pointer, value) in [
            ("/attributes/type", json!("close")),
            ("/attributes/comment", json!("d")),
            ("/attributes/comment", Value::Null),
            ("/attributes/createdAt", json!("2026-01-02T03:04:05.679Z")),
            ("/attributes/data/a/b", json!(["ü", 1])),
            ("/attributes/data/d", json!("1.5")),
            ("/attributes/change/columns", json!(["x", "y"])),
            ("/relationships/entity/data/id", json!("e:2")),
        ] {
            let mut changed = data.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            let document = json!({"data": changed, "included": included});
            let error = post(&document.to_string()).refused_as(ErrorCode::IdempotencyConflict);
            assert_eq!(error["source"]["pointer"], "/data/attributes/eventId", "{pointer}");
            let error = by_operation(&changed, &included).refused_as(ErrorCode::IdempotencyConflict);
            assert_eq!(error["source"]["pointer"], "/atomic:operations/0/data/attributes/eventId", "{pointer}");
        }
        by_operation(&data, &json!([])).refused_as(ErrorCode::IdempotencyConflict);
        // The first way round, and without a time of its own: that of its receipt differs each time.
        let plain = json!({"type": "notification", "attributes": {"type": "close", "eventId": "e-2"}});
        let first = by_operation(&plain, &json!([])).expect(200)["atomic:results"][0]["data"]["id"].clone();
        assert_eq!(post(&json!({"data": plain}).to_string()).expect(200)["data"]["id"], first);
        let mut timed = plain.clone();
        timed["attributes"]["createdAt"] = json!("2026-01-01T00:00:00Z");
        post(&json!({"data": timed}).to_string()).refused_as(ErrorCode::IdempotencyConflict);
        // Twice in one request, and once it is no longer selected.
        let twice = json!({"atomic:operations": [{"op": "add", "data": plain, "included": []}, {"op": "add", "data": plain}]});
        let results = producer.post("operations", &twice).expect(200);
        assert_eq!((&results["atomic:results"][0]["data"]["id"], &results["atomic:results"][1]["data"]["id"]), (&first, &first));
        ground.tenant.admin.settings(json!({"selection": {"types": ["print"]}})).expect(200);
        assert_eq!(post(&json!({"data": plain}).to_string()).expect(200)["data"]["id"], first);
        assert_eq!(ground.tenant.consumer.count(), 3);
    }

    fn media_types_are_held_to(db) {
        let mut ground = Ground::new(&db);
        let body = event("close").to_string();
        for wrong in [
            "text/plain", "application/vnd.api+json;charset=utf-8", "application/vnd.api+json; version=1",
            "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "nonsense", "*/*",
            "application/vnd.api+json; ext=\"https://example.com/unknown\"", "application/jsonx",
        ] {
            let answer = ground.tenant.producer.send("POST", "notifications", &[("content-type", wrong)], Some(body.as_bytes()));
            let error = answer.refused_as(ErrorCode::UnsupportedMediaType);
            assert_eq!(error["source"]["header"].as_str().map(str::to_lowercase).as_deref(), Some("content-type"), "{wrong}");
        }
        for wrong in ["text/html", "image/png, text/*;q=0.5", "application/xml", "application/vnd.api+json;charset=utf-8"] {
            let answer = ground.tenant.consumer.send("GET", "notifications", &[("accept", wrong)], None);
            let error = answer.refused_as(ErrorCode::NotAcceptable);
            assert_eq!(error["source"]["header"].as_str().map(str::to_lowercase).as_deref(), Some("accept"), "{wrong}");
        }
        // A body that is refused for its answer's type has not been stored either.
        ground.tenant.producer
            .send("POST", "notifications", &[("accept", "text/html")], Some(body.as_bytes()))
            .refused_as(ErrorCode::NotAcceptable);
        ground.unharmed("media types");

        for right in [
            "*/*", "application/*", "application/json", "application/vnd.api+json", "text/html, application/json;q=0.1",
            "application/vnd.api+json; profile=\"https://example.com/p\"",
        ] {
            let answer = ground.tenant.consumer.send("GET", "notifications", &[("accept", right)], None);
            answer.expect(200);
            assert!(answer.header("content-type").starts_with("application/vnd.api+json"), "{answer}");
        }
        for right in [
            "application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json",
            "application/vnd.api+json; profile=\"https://example.com/p\"",
        ] {
            ground.tenant.producer.send("POST", "notifications", &[("content-type", right)], Some(body.as_bytes())).expect(201);
        }
    }

    fn an_unknown_path_or_method_is_answered_in_the_same_form(db) {
        let mut ground = Ground::new(&db);
        let admin = ground.tenant.admin.clone();
        for (method, path) in [
            ("PUT", "notifications"), ("DELETE", "notifications"), ("DELETE", "notifications/1"), ("POST", "notifications/1"),
            ("PUT", "notifications/1"), ("GET", "operations"), ("POST", "external-notifications"), ("DELETE", "users/1"),
            ("POST", "/healthz"),
        ] {
            let answer = admin.send(method, path, &[], None);
            answer.refused_as(ErrorCode::MethodNotAllowed);
            assert!(!answer.header("allow").is_empty(), "{answer}: no Allow header");
        }
        for path in ["nothing", "notifications/1/2/3", "/api/rest/v2.0/notifications", "/api", "/nothing", "notifications/", "//"] {
            admin.get(path).refused_as(ErrorCode::NotFound);
        }
        ground.unharmed("paths and methods");
    }

    fn idempotency_keys_are_bounded_text(db) {
        let mut ground = Ground::new(&db);
        let body = event("close").to_string();
        for wrong in ["", &"k".repeat(256)] {
            let answer = ground.tenant.producer.send("POST", "notifications", &[("idempotency-key", wrong)], Some(body.as_bytes()));
            let error = answer.refused(400);
            assert_eq!(error["source"]["header"].as_str().map(str::to_lowercase).as_deref(), Some("idempotency-key"));
        }
        ground.unharmed("idempotency keys");
    }

    fn broken_http_is_refused_and_half_requests_hold_nobody_up(db) {
        let mut ground = Ground::new(&db);
        let port = ground.server.port();
        let key = ground.tenant.admin.key().to_owned();
        let whole = raw::request("POST", PATH, &key, "application/json", event("close").to_string().as_bytes());
        let patience = Duration::from_secs(3);
        for (what, bytes) in [
            ("not HTTP", b"hello\r\n\r\n".to_vec()),
            ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
            ("two lengths", format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: 5\r\ncontent-length: 61\r\n\r\n{}", event("close")).into_bytes()),
            ("length and chunks", format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes()),
            ("a negative length", format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: -5\r\n\r\n").into_bytes()),
            ("a bad chunk", format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes()),
            ("endless headers", format!("GET {PATH} HTTP/1.1\r\nhost: x\r\nx-a: {}\r\n\r\n", "a".repeat(1 << 20)).into_bytes()),
            ("a NUL in a header", format!("GET {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: a\0b\r\nconnection: close\r\n\r\n").into_bytes()),
            ("a raw NUL in the path", b"GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
            ("half a body, then gone", whole[..whole.len() - 10].to_vec()),
        ] {
            let answer = raw::exchange(port, &bytes, patience);
            if let Some(status) = answer.status() {
                assert!((400..500).contains(&status), "{what}: {:?}", String::from_utf8_lossy(&answer.bytes));
            }
            ground.unharmed(what);
        }
        let log = ground.server.log();
        assert!(!log.contains("ERROR"), "a client's mistakes are no errors of the server: {log}");

        // Two hundred that say half a word, and one that speaks.
        let half: Vec<TcpStream> = (0..200)
            .map(|nth| {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.write_all(&whole[..if nth % 2 == 0 { 20 } else { whole.len() - 1 }]).unwrap();
                stream
            })
            .collect();
        let begun = Instant::now();
        ground.tenant.consumer.get("notifications").expect(200);
        assert!(begun.elapsed() < Duration::from_secs(5), "held up for {:?}", begun.elapsed());
        drop(half);
        ground.unharmed("half requests");

        // A request that comes byte by byte is a request.
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in &whole {
            stream.write_all(&[*byte]).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    fn settings_that_make_no_sense_change_nothing(db) {
        let ground = Ground::new(&db);
        let admin: &Api = &ground.tenant.admin;
        let before = admin.get("external-notifications").expect(200)["data"]["attributes"].clone();
        for (attributes, pointer, code) in [
            (json!({"enabled": "yes"}), "/enabled", ErrorCode::InvalidValue),
            (json!({"colour": 1}), "/colour", ErrorCode::UnknownMember),
            (json!({"push": {"colour": 1}}), "/push/colour", ErrorCode::UnknownMember),
            (json!({"push": {"url": "not a url"}}), "/push/url", ErrorCode::InvalidValue),
            (json!({"push": {"url": "ftp://example.com/"}}), "/push/url", ErrorCode::InvalidValue),
            (json!({"push": {"url": "file:///etc/passwd"}}), "/push/url", ErrorCode::InvalidValue),
            (json!({"push": {"url": "https://"}}), "/push/url", ErrorCode::InvalidValue),
            (json!({"push": {"url": format!("https://example.com/{}", "a".repeat(10_000))}}), "/push/url", ErrorCode::InvalidValue),
            (json!({"push": {"retry": {"attempts": 0}}}), "/push/retry/attempts", ErrorCode::InvalidValue),
            (json!({"push": {"retry": {"attempts": 101}}}), "/push/retry/attempts", ErrorCode::InvalidValue),
            (json!({"push": {"retry": {"firstSeconds": 0}}}), "/push/retry/firstSeconds", ErrorCode::InvalidValue),
            (json!({"push": {"retry": {"factor": 11}}}), "/push/retry/factor", ErrorCode::InvalidValue),
            (json!({"push": {"retry": {"kind": "linear"}}}), "/push/retry/kind", ErrorCode::InvalidValue),
            (json!({"push": {"authentication": {"kind": "header", "name": "bad name", "value": "v"}}}), "/push/authentication/name", ErrorCode::InvalidValue),
            (json!({"push": {"authentication": {"kind": "header", "name": "x-hook", "value": "a\r\nb: c"}}}), "/push/authentication/value", ErrorCode::InvalidValue),
            (json!({"push": {"authentication": {"kind": "header", "name": "host", "value": "v"}}}), "/push/authentication/name", ErrorCode::InvalidValue),
            (json!({"push": {"authentication": {"kind": "header", "name": "webhook-signature", "value": "v"}}}), "/push/authentication/name", ErrorCode::InvalidValue),
            (json!({"push": {"signing": {"secret": "short"}}}), "/push/signing/secret", ErrorCode::InvalidValue),
            (json!({"selection": {"types": ["a b"]}}), "/selection/types/0", ErrorCode::InvalidValue),
            (json!({"selection": {"types": "close"}}), "/selection/types", ErrorCode::InvalidValue),
            (json!({"retention": {"days": 0}}), "/retention/days", ErrorCode::InvalidValue),
            (json!({"retention": {"days": 36_501}}), "/retention/days", ErrorCode::InvalidValue),
            // One wrong member among right ones: none is taken.
            (json!({"enabled": false, "retention": {"days": -1}}), "/retention/days", ErrorCode::InvalidValue),
        ] {
            let answer = admin.settings(attributes);
            let error = answer.refused_as(code);
            assert_eq!(error["source"]["pointer"], format!("/data/attributes{pointer}"), "{answer}");
            let now = admin.get("external-notifications").expect(200)["data"]["attributes"].clone();
            assert_eq!(now, before, "{answer}");
        }
        let wrong_type = json!({"data": {"type": "settings", "attributes": {"enabled": false}}});
        admin.patch("external-notifications", &wrong_type).refused_as(ErrorCode::Conflict);
        assert_eq!(admin.get("external-notifications").expect(200)["data"]["attributes"], before);
    }
}

/// Java's client asks for HTTP/2 with its first request. It isn't spoken here, and the connection ends with the answer:
/// unless that is said, the client's next request is lost with it.
#[test]
fn who_asks_for_another_protocol_is_answered_and_told_that_the_connection_ends() {
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let key = server.tenant("polite").consumer.key().to_owned();
    let request = format!(
        "GET /api/rest/v1.0/notifications HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\
         connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABk\r\n\r\n"
    );
    let answer = raw::exchange(server.port(), request.as_bytes(), wait::SOON);
    let text = String::from_utf8_lossy(&answer.bytes).to_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
}
