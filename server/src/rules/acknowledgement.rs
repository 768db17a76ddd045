//! Which answers count as delivered.
//!
//! Receivers written for other systems say it in their own ways: by the status alone, by repeating an id, by a small
//! document. What can be read in two ways isn't accepted: a push that is repeated does less harm than one that is lost.

use hyper::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidings_api::delivery::AttemptError;
use tidings_api::settings::{AcknowledgementKind, PushSettings};

/// Whether an answer delivers a notification.
///
/// # Errors
/// Why it doesn't.
pub fn accepts(
    push: &PushSettings,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), AttemptError> {
    match status {
        200..300 => {}
        410 => return Err(AttemptError::Gone),
        _ => return Err(AttemptError::Status),
    }
    let accepted = match push.acknowledgement.kind {
        AcknowledgementKind::Status => true,
        AcknowledgementKind::ClientIdEcho => echoes(push, headers, body),
        AcknowledgementKind::SuccessEnvelope => succeeded(body),
    };
    if accepted { Ok(()) } else { Err(AttemptError::Rejected) }
}

/// Whether an answer repeats the client id: in a header of the name under which it was sent, or in the member
/// `xAdobeSignClientId` of a JSON body.
pub fn echoes(push: &PushSettings, headers: &HeaderMap, body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Echo {
        #[serde(rename = "xAdobeSignClientId")]
        client_id: String,
    }
    let id = &push.client_id;
    headers
        .get_all(push.client_id_header.as_str())
        .iter()
        .any(|value| value.as_bytes().trim_ascii() == id.as_bytes())
        || object::<Echo>(body).is_some_and(|echo| echo.client_id == *id)
}

/// Whether a body is the document of success: `Success` is true, `Code` is 0 as number or text, and `Message` is a text.
fn succeeded(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Envelope {
        success: bool,
        code: Value,
        #[expect(dead_code, reason = "it must be there, whatever it says")]
        message: String,
    }
    object::<Envelope>(body).is_some_and(|envelope| {
        envelope.success && (envelope.code.as_i64() == Some(0) || envelope.code.as_str() == Some("0"))
    })
}

/// Reads a body as a JSON object. A byte order mark before it does no harm; a member that stands twice does, and so does
/// a list, which serde would take for the members in their order.
fn object<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    body.starts_with(b"{").then(|| serde_json::from_slice(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn push(kind: &str) -> PushSettings {
        let profiles: Value = serde_json::from_str(include_str!("profiles.json")).unwrap();
        let mut push = profiles["default"]["push"].clone();
        push["acknowledgement"]["kind"] = json!(kind);
        push["clientId"] = json!("BGBQIIE7H253K6");
        push["retry"] = json!({"kind": "none"});
        serde_json::from_value(push).unwrap()
    }

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_status_comes_first_whatever_the_rule() {
        let echo = headers(&[("x-adobesign-clientid", "BGBQIIE7H253K6")]);
        let body = br#"{"Success":true,"Code":0,"Message":"OK"}"#;
        for kind in ["status", "clientIdEcho", "successEnvelope"] {
            let push = push(kind);
            for status in [200, 201, 202, 204, 299] {
                assert_eq!(accepts(&push, status, &echo, body), Ok(()), "{kind} {status}");
            }
            for status in [101, 199, 300, 302, 304, 400, 404, 429, 500, 503, 599] {
                let expected = Err(AttemptError::Status);
                assert_eq!(accepts(&push, status, &echo, body), expected, "{kind} {status}");
            }
            assert_eq!(accepts(&push, 410, &echo, body), Err(AttemptError::Gone), "{kind}");
        }
        assert_eq!(accepts(&push("status"), 200, &HeaderMap::new(), b"<html>"), Ok(()));
    }

    #[test]
    fn the_client_id_is_found_in_header_or_body() {
        let huge = format!(r#"{{"filler":"{}","xAdobeSignClientId":"BGBQIIE7H253K6"}}"#, "x".repeat(60_000));
        let cut = &huge[..50_000];
        let deep = format!(
            r#"{{"a":{}{},"xAdobeSignClientId":"BGBQIIE7H253K6"}}"#,
            "[".repeat(9_000),
            "]".repeat(9_000)
        );
        for (given, body, accepted) in [
            (&[("x-adobesign-clientid", "BGBQIIE7H253K6")][..], "", true),
            (&[("X-AdobeSign-ClientId", " BGBQIIE7H253K6 ")], "<html>", true),
            (&[("x-adobesign-clientid", "other"), ("x-adobesign-clientid", "BGBQIIE7H253K6")], "", true),
            (&[("x-adobesign-clientid", "other")], r#"{"xAdobeSignClientId":"BGBQIIE7H253K6"}"#, true),
            (&[], r#"{"xAdobeSignClientId":"BGBQIIE7H253K6"}"#, true),
            (&[], "\u{feff} \r\n{\"ok\":[1], \"xAdobeSignClientId\" : \"BGBQIIE7H253K6\"}\n", true),
            (&[], &huge, true),
            (&[], &deep, true),
            (&[], "", false),
            (&[], cut, false),
            (&[], "BGBQIIE7H253K6", false),
            (&[], "\"BGBQIIE7H253K6\"", false),
            (&[], "[\"BGBQIIE7H253K6\"]", false),
            (&[], r#"{"xadobesignclientid":"BGBQIIE7H253K6"}"#, false),
            (&[], r#"{"xAdobeSignClientId":"bgbqiie7h253k6"}"#, false),
            (&[], r#"{"xAdobeSignClientId":" BGBQIIE7H253K6"}"#, false),
            (&[], r#"{"xAdobeSignClientId":["BGBQIIE7H253K6"]}"#, false),
            (&[], r#"{"xAdobeSignClientId":null}"#, false),
            (&[], r#"{"xAdobeSignClientId":"x","xAdobeSignClientId":"BGBQIIE7H253K6"}"#, false),
            (&[], r#"{"xAdobeSignClientId":"BGBQIIE7H253K6"} and more"#, false),
            (&[], r#"{"data":{"xAdobeSignClientId":"BGBQIIE7H253K6"}}"#, false),
            (&[("x-adobesign-clientid", "bgbqiie7h253k6")], "", false),
            (&[("x-adobesign-clientid", "BGBQIIE7H253K6, other")], "", false),
            (&[("x-clientid", "BGBQIIE7H253K6")], "", false),
            (&[("x-adobesign-clientid", "")], "", false),
        ] {
            let answer = accepts(&push("clientIdEcho"), 200, &headers(given), body.as_bytes());
            let expected = if accepted { Ok(()) } else { Err(AttemptError::Rejected) };
            assert_eq!(answer, expected, "{given:?} {}", &body[..body.len().min(200)]);
        }
        let mut renamed = push("clientIdEcho");
        renamed.client_id_header = "X-My-Id".to_owned();
        assert!(echoes(&renamed, &headers(&[("x-my-id", "BGBQIIE7H253K6")]), b""));
        assert!(!echoes(&renamed, &headers(&[("x-adobesign-clientid", "BGBQIIE7H253K6")]), b""));
    }

    #[test]
    fn the_document_of_success_is_told_from_all_else() {
        let huge = format!(r#"{{"Success":true,"Code":0,"Message":"{}"}}"#, "x".repeat(60_000));
        for body in [
            r#"{"Success":true,"Code":0,"Message":"OK"}"#,
            r#"{ "Success": true, "Code": "0", "Message": "OK" }"#,
            r#"{"Message":"","Code":"0","Success":true}"#,
            r#"{"Success":true,"Code":0,"Message":"OK","Detail":{"a":[1]},"Detail":2}"#,
            "\u{feff}\r\n\t{\"Success\":true,\"Code\":0,\"Message\":\"OK\"} \n",
            &huge,
        ] {
            assert!(succeeded(body.as_bytes()), "{}", &body[..body.len().min(200)]);
        }
        for body in [
            "",
            " ",
            "OK",
            "true",
            "<html><body>Success</body></html>",
            "{}",
            r#"{"Success":false,"Code":0,"Message":"OK"}"#,
            r#"{"Success":true,"Code":1,"Message":"OK"}"#,
            r#"{"Success":true,"Code":"7","Message":"no such order"}"#,
            r#"{"Success":true,"Code":-1,"Message":"OK"}"#,
            r#"{"Success":true,"Code":0.5,"Message":"OK"}"#,
            r#"{"Success":true,"Code":"00","Message":"OK"}"#,
            r#"{"Success":true,"Code":"","Message":"OK"}"#,
            r#"{"Success":true,"Code":null,"Message":"OK"}"#,
            r#"{"Success":true,"Code":false,"Message":"OK"}"#,
            r#"{"Success":true,"Message":"OK"}"#,
            r#"{"Success":true,"Code":0}"#,
            r#"{"Success":true,"Code":0,"Message":null}"#,
            r#"{"Success":true,"Code":0,"Message":0}"#,
            r#"{"Success":"true","Code":0,"Message":"OK"}"#,
            r#"{"Success":1,"Code":0,"Message":"OK"}"#,
            r#"{"Code":0,"Message":"OK"}"#,
            r#"{"success":true,"code":0,"message":"OK"}"#,
            r#"{"Success":false,"Success":true,"Code":0,"Message":"OK"}"#,
            r#"{"Success":true,"Code":1,"Code":0,"Message":"OK"}"#,
            r#"[true,0,"OK"]"#,
            r#"[{"Success":true,"Code":0,"Message":"OK"}]"#,
            r#""{\"Success\":true,\"Code\":0,\"Message\":\"OK\"}""#,
            r#"{"Success":true,"Code":0,"Message":"OK"}{"Success":false}"#,
            r#"{"Success":true,"Code":0,"Message":"#,
            &huge[..50_000],
        ] {
            assert!(!succeeded(body.as_bytes()), "{}", &body[..body.len().min(200)]);
        }
        assert!(!succeeded(b"{\"Success\":true,\"Code\":0,\"Message\":\"\xff\"}"));
    }
}
