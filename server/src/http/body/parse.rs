//! From checked JSON to a type. What doesn't fit is named by its member, in words for whoever wrote the document, and
//! without the value that came.

use serde::de::DeserializeOwned;
use tidings_api::error::ErrorCode;

use super::escape;
use crate::http::error::Error;

/// Reads checked JSON as a type.
///
/// # Errors
/// 422 with the member that doesn't fit.
pub(in crate::http) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|_| explain::<T>(bytes))
}

/// Reads once more, slower, to know where it fails.
fn explain<T: DeserializeOwned>(bytes: &[u8]) -> Error {
    use serde_path_to_error::Segment;
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize::<_, T>(&mut from) {
        Err(error) => error,
        Ok(_) => return Error::new(ErrorCode::InvalidJson, "there is something behind the document"),
    };
    let pointer: String = error
        .path()
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", escape(key))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let text = error.inner().to_string();
    let detail = text.rsplit_once(" at line ").map_or(text.as_str(), |(detail, _)| detail);
    Error::new(kind(detail), without_value(detail)).at(pointer)
}

/// serde's message without the value that came: it may be a secret in the wrong place, or very long.
fn without_value(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    // A type is named as it is in the program; to whoever wrote the document it is an object.
    let expected = if expected.starts_with("struct ") { "an object" } else { expected };
    match found.split_once(": ") {
        Some((problem @ ("invalid type" | "invalid value"), found)) => {
            let kind = found.split([' ', '`', '"']).next().unwrap_or_default();
            format!("{problem}: {kind}, expected {expected}")
        }
        _ if found.starts_with("unknown variant ") => format!("unknown value, expected {expected}"),
        _ => message.to_owned(),
    }
}

/// What serde's message means. Its errors say nothing else about their kind.
fn kind(message: &str) -> ErrorCode {
    if message.starts_with("unknown field") {
        ErrorCode::UnknownMember
    } else if message.starts_with("missing field") {
        ErrorCode::MissingMember
    } else {
        ErrorCode::InvalidValue
    }
}

#[cfg(test)]
mod tests {
    use tidings_api::error::ErrorSource;
    use tidings_api::event::EventDocument;
    use tidings_api::settings::SettingsPatchDocument;

    use super::*;

    fn pointer(error: &Error) -> &str {
        match &error.object().source {
            Some(ErrorSource::Pointer(pointer)) => pointer,
            _ => panic!("no pointer: {error}"),
        }
    }

    #[test]
    fn what_came_is_not_repeated() {
        for (body, detail) in [
            (
                r#"{"push":{"authentication":"S3CRET, expected x"}}"#,
                "invalid type: string, expected an object",
            ),
            (r#"{"push":{"signing":{"secret":12345}}}"#, "invalid type: integer, expected a string"),
            (r#"{"push":{"enabled":"S3CRET"}}"#, "invalid type: string, expected a boolean"),
            (r#"{"profile":"S3CRET"}"#, "unknown value, expected one of `signals`"),
        ] {
            let document = format!(r#"{{"data":{{"type":"externalNotifications","attributes":{body}}}}}"#);
            let error = parse::<SettingsPatchDocument>(document.as_bytes()).unwrap_err();
            assert!(error.object().detail.starts_with(detail), "{error}");
            assert!(!error.to_string().contains("S3CRET") && !error.to_string().contains("12345"), "{error}");
        }
    }

    #[test]
    fn a_member_that_does_not_fit_is_named() {
        use ErrorCode::{InvalidValue, MissingMember, UnknownMember};
        let ok = r#"{"data":{"type":"notification","attributes":{"type":"close"}}}"#;
        assert!(parse::<EventDocument>(ok.as_bytes()).is_ok());
        for (body, code, expected) in [
            ("[]", InvalidValue, ""),
            ("{}", MissingMember, ""),
            (r#"{"data":{"type":"notification"}}"#, MissingMember, "/data"),
            (r#"{"data":{"type":"notification","attributes":{}}}"#, MissingMember, "/data/attributes"),
            (r#"{"data":{"type":5}}"#, InvalidValue, "/data/type"),
            (r#"{"data":{"colour":5}}"#, UnknownMember, "/data/colour"),
            (r#"{"data":{"attributes":{"a/b":5}}}"#, UnknownMember, "/data/attributes/a~1b"),
            (r#"{"data":{"attributes":{"type":"a b"}}}"#, InvalidValue, "/data/attributes/type"),
            (r#"{"data":{"attributes":{"type":"a","type":"b"}}}"#, InvalidValue, "/data/attributes"),
            (
                r#"{"data":{"attributes":{"createdAt":"yesterday"}}}"#,
                InvalidValue,
                "/data/attributes/createdAt",
            ),
            (r#"{"data":{"attributes":{"data":[1]}}}"#, InvalidValue, "/data/attributes/data"),
            (
                r#"{"data":{"attributes":{"change":{"type":"merge"}}}}"#,
                InvalidValue,
                "/data/attributes/change/type",
            ),
            (r#"{"included":[{"type":"user","id":"1"},{"type":"user"}]}"#, MissingMember, "/included/1"),
            (r#"{"included":[5]}"#, InvalidValue, "/included/0"),
        ] {
            let error = parse::<EventDocument>(body.as_bytes()).unwrap_err();
            assert_eq!((error.object().code, pointer(&error)), (code, expected), "{body}: {error}");
            assert!(!error.object().detail.contains(" at line "), "{error}");
        }
        let body = r#"{"data":{"type":"x","attributes":{"push":{"retry":{"attempts":-1}}}}}"#;
        let error = parse::<SettingsPatchDocument>(body.as_bytes()).unwrap_err();
        assert_eq!(pointer(&error), "/data/attributes/push/retry/attempts");
    }
}
