//! Signatures of pushes, with the test vector of Standard Webhooks.

use chrono::{DateTime, Utc};
use standardwebhooks::Webhook;

use super::document;
use crate::Error;
use crate::webhook::Verifier;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn headers<'a>(id: &'a str, time: &'a str, signature: &'a str) -> impl Fn(&str) -> Option<&'a str> + Copy {
    move |name| match name {
        "webhook-id" => Some(id),
        "webhook-timestamp" => Some(time),
        "webhook-signature" => Some(signature),
        _ => None,
    }
}

#[test]
fn the_test_vector_of_the_standard_is_verified() {
    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    let signature = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
    let header = headers("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", "1649367553", signature);
    let at = |seconds: i64| DateTime::from_timestamp(1_649_367_553 + seconds, 0).unwrap();
    let verifier = Verifier::new([SECRET]).unwrap();

    for seconds in [-300, 0, 300] {
        assert!(verifier.check(header, body, at(seconds)).is_ok(), "{seconds} s later");
    }
    for seconds in [-301, 301] {
        assert!(verifier.check(header, body, at(seconds)).is_err(), "{seconds} s later");
    }
    assert!(verifier.check(header, &body[1..], at(0)).is_err());
    assert!(Verifier::new([OTHER]).unwrap().check(header, body, at(0)).is_err());
    assert!(Verifier::new([OTHER, SECRET]).unwrap().check(header, body, at(0)).is_ok());
}

/// Checks a push that was signed now, after something was done to it.
fn push(change: impl Fn(&mut String, &mut String, &mut String, &mut Vec<u8>)) -> Result<i64, Error> {
    let (mut id, mut time, mut body) =
        ("n-1".to_owned(), Utc::now().timestamp().to_string(), document(7).into_bytes());
    let mut signature = Webhook::new(SECRET).unwrap().sign(&id, time.parse().unwrap(), &body).unwrap();
    change(&mut id, &mut time, &mut signature, &mut body);
    let push = Verifier::new([SECRET]).unwrap().verify(headers(&id, &time, &signature), &body)?;
    assert_eq!(push.webhook_id, id);
    Ok(push.document.data.id.get())
}

#[test]
fn a_push_is_read_only_if_it_is_genuine() {
    assert_eq!(push(|_, _, _, _| ()).unwrap(), 7);
    assert_eq!(push(|_, _, signature, _| *signature = format!("v1a,x v1,y {signature}")).unwrap(), 7);

    let refused =
        |result: Result<i64, Error>| assert!(matches!(result, Err(Error::Signature(_))), "{result:?}");
    refused(push(|id, _, _, _| id.push('2')));
    refused(push(|_, time, _, _| *time = (time.parse::<i64>().unwrap() + 1).to_string()));
    refused(push(|_, time, _, _| *time = "now".to_owned()));
    refused(push(|_, time, _, _| *time = i64::MAX.to_string()));
    refused(push(|_, _, signature, _| signature.clear()));
    refused(push(|_, _, signature, _| signature.truncate(10)));
    refused(push(|_, _, signature, _| *signature = signature.replace("v1,", "v2,")));
    refused(push(|_, _, _, body| body.push(b' ')));
    refused(push(|_, _, _, body| body[0] = 0xff));
    refused(push(|_, _, _, body| *body = b"not even JSON".to_vec()));
}

#[test]
fn cloud_events_are_read_in_both_modes() {
    // In the binary mode the body is that of every push. In the structured mode the media type says what it is, which is
    // not signed, so that it isn't asked.
    let event = |body: &[u8]| {
        let data = String::from_utf8(body.to_vec()).unwrap();
        format!(
            r#"{{"specversion":"1.0","id":"n-1","source":"urn:uuid:a","type":"close","datacontenttype":"application/json","data":{data}}}"#
        )
    };
    let signed = |body: &[u8]| {
        let time = Utc::now().timestamp();
        let signature = Webhook::new(SECRET).unwrap().sign("n-1", time, body).unwrap();
        let verifier = Verifier::new([SECRET]).unwrap();
        verifier.verify(headers("n-1", &time.to_string(), &signature), body)
    };
    let document = document(7).into_bytes();
    assert_eq!(signed(event(&document).as_bytes()).unwrap().document.data.id.get(), 7);
    assert_eq!(signed(&document).unwrap().document.data.id.get(), 7);
    // Something else in an event, and something else that has data.
    let no_event = event(&document).replace("specversion", "version");
    for body in [event(b"{}"), event(br#""text""#), no_event] {
        let result = signed(body.as_bytes());
        assert!(matches!(result, Err(Error::Decode(_))), "{body}: {result:?}");
    }
}

#[test]
fn a_secret_may_lack_its_padding() {
    let (body, time) = (document(1), Utc::now());
    let padded = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBk=";
    let signature = Webhook::new(padded).unwrap().sign("a", time.timestamp(), body.as_bytes()).unwrap();
    let timestamp = time.timestamp().to_string();
    for secret in [padded, padded.trim_end_matches('=')] {
        let verifier = Verifier::new([secret]).unwrap();
        assert!(verifier.verify(headers("a", &timestamp, &signature), body.as_bytes()).is_ok(), "{secret}");
    }
}

#[test]
fn a_missing_header_is_named() {
    let verifier = Verifier::new([SECRET]).unwrap();
    for missing in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let header = headers("a", "1", "v1,x");
        let error = verifier.verify(|name| header(name).filter(|_| name != missing), b"{}").unwrap_err();
        assert!(error.to_string().contains(missing), "{error}");
    }
}

#[test]
fn a_genuine_push_of_another_shape_is_an_error() {
    let (time, body) = (Utc::now().timestamp(), b"{}");
    let signature = Webhook::new(SECRET).unwrap().sign("a", time, body).unwrap();
    let result = Verifier::new([SECRET]).unwrap().verify(headers("a", &time.to_string(), &signature), body);
    assert!(matches!(result, Err(Error::Decode(_))), "{result:?}");
}

#[test]
fn weak_secrets_are_refused_and_none_is_printed() {
    for bad in [
        "",
        "whsec_",
        "whsec_c2hvcnQ=",
        "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
    ] {
        let error = Verifier::new([bad]).expect_err(bad);
        assert!(matches!(error, Error::Invalid(_)));
    }
    assert!(Verifier::new(Vec::<&str>::new()).is_err());
    assert!(!format!("{:?}", Verifier::new([SECRET]).unwrap()).contains("C2FV"));
}
