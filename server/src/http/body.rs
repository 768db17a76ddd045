//! Bodies: read within bounds, checked once as JSON, then read as a type, with errors that name the member.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::time::Duration;

use actix_web::body::{BodyStream, MessageBody as _};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use bytes::{Bytes, BytesMut};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tidings_api::delivery::TestDocument;
use tidings_api::error::ErrorCode;
use tidings_api::event::EventDocument;
use tidings_api::job::JobWriteDocument;
use tidings_api::settings::SettingsPatchDocument;
use tidings_api::tenant::{ApiKeyWriteDocument, TenantWriteDocument};
use tokio::time::timeout;

use super::error::Error;
use super::media;

/// The largest body.
const LARGEST: usize = 10 * 1024 * 1024;
/// How deeply a body may be nested.
const DEEPEST: usize = 64;
/// How long a body may take to arrive.
const SLOWEST: Duration = Duration::from_secs(120);
/// How much of a refused body is read all the same, and for how long: a client that still writes doesn't read the answer.
const DRAINED: usize = 64 * 1024 * 1024;
const DRAINING: Duration = Duration::from_secs(5);

/// A request's body: as it came, and what it says. `ATOMIC`: in the media type of the extension for operations.
pub(super) struct Body<T, const ATOMIC: bool = false> {
    /// What it says.
    pub(super) value: T,
    /// As it came.
    pub(super) bytes: Bytes,
}

/// What a body is read as.
pub(super) trait Shape: DeserializeOwned + 'static {
    /// Whether it is read as it comes, without a type that knows its members: lists may stand anywhere then, and it has
    /// to be seen to that no member stands twice.
    const FREE: bool = false;
}

impl Shape for Value {
    const FREE: bool = true;
}
impl Shape for EventDocument {}
impl Shape for JobWriteDocument {}
impl Shape for SettingsPatchDocument {}
impl Shape for TenantWriteDocument {}
impl Shape for ApiKeyWriteDocument {}

impl<T: Shape, const ATOMIC: bool> FromRequest for Body<T, ATOMIC> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let mut admitted = media::check_body(request.headers(), ATOMIC);
        if length.is_some_and(|length| length > LARGEST) {
            admitted = admitted.and(Err(too_large()));
        }
        let payload = payload.take();
        Box::pin(async move {
            let bytes = read(admitted, payload).await?;
            check(&bytes, T::FREE)?;
            Ok(Body { value: parse(&bytes)?, bytes })
        })
    }
}

/// The body of a call for a test: none, or one that says no more than that.
pub(super) struct TestBody;

impl FromRequest for TestBody {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let admitted = media::check_body(request.headers(), false);
        let payload = payload.take();
        Box::pin(async move {
            let bytes = read(Ok(()), payload).await?;
            if bytes.is_empty() {
                return Ok(TestBody);
            }
            admitted?;
            check(&bytes, false)?;
            match parse::<TestDocument>(&bytes)?.data {
                Some(data) if data.r#type != "test" => {
                    let detail = format!("{:?} is not `test`", data.r#type);
                    Err(Error::new(ErrorCode::Conflict, detail).at("/data/type"))
                }
                _ => Ok(TestBody),
            }
        })
    }
}

fn too_large() -> Error {
    Error::new(ErrorCode::TooLarge, "the body is larger than 10 MiB")
}

async fn read(admitted: Result<(), Error>, payload: Payload) -> Result<Bytes, Error> {
    let mut chunks = pin!(BodyStream::new(payload));
    let read = match admitted {
        Ok(()) => match timeout(SLOWEST, collect(chunks.as_mut())).await {
            Ok(read) => read,
            Err(_) => {
                return Err(Error::new(ErrorCode::InvalidJson, "the body did not arrive within two minutes"));
            }
        },
        Err(error) => Err(error),
    };
    if read.is_err() {
        drain_chunks(chunks).await;
    }
    read
}

type Chunks<'a> = Pin<&'a mut BodyStream<Payload>>;

async fn next(chunks: &mut Chunks<'_>) -> Option<Result<Bytes, PayloadError>> {
    poll_fn(|context| chunks.as_mut().poll_next(context)).await
}

async fn collect(mut chunks: Chunks<'_>) -> Result<Bytes, Error> {
    let mut all = BytesMut::new();
    let mut first = None;
    while let Some(chunk) = next(&mut chunks).await {
        let chunk = chunk.map_err(|error| {
            Error::new(ErrorCode::InvalidJson, format!("the body could not be read to its end: {error}"))
        })?;
        if all.len() + chunk.len() > LARGEST
            || first.as_ref().is_some_and(|f: &Bytes| f.len() + chunk.len() > LARGEST)
        {
            return Err(too_large());
        }
        // Most bodies come in one piece, which needs no copy.
        match (first.take(), all.is_empty()) {
            (None, true) => first = Some(chunk),
            (begin, _) => {
                all.extend_from_slice(&begin.unwrap_or_default());
                all.extend_from_slice(&chunk);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// Reads what is left of a body that nobody wants, within bounds.
pub(super) async fn drain(payload: Payload) {
    drain_chunks(pin!(BodyStream::new(payload))).await;
}

async fn drain_chunks(mut chunks: Chunks<'_>) {
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = next(&mut chunks).await {
            seen += chunk.len();
            if seen > DRAINED {
                break;
            }
        }
    };
    let _ = timeout(DRAINING, reading).await;
}

/// What the check found that is JSON and can't be taken all the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    TooDeep,
    Nul,
    List,
    Twice,
}

/// Where in a document the check is: it decides whether a list may stand there. A type read by serde takes a list for an
/// object, its items as the members in their order, and nobody means that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Object,
    Attributes,
    Anything,
}

impl Place {
    fn of(self, name: &str) -> Self {
        match (self, name) {
            (Place::Anything, _) | (Place::Attributes, "data") => Place::Anything,
            (_, "included" | "columns" | "types" | "meta" | "jsonapi" | "links") => Place::Anything,
            (_, "delaysSeconds" | "fields" | "optionalFields" | "ids") => Place::Anything,
            (_, "attributes") => Place::Attributes,
            _ => Place::Object,
        }
    }
}

/// Reads any JSON and keeps nothing.
#[derive(Clone, Copy)]
struct Checked<'a> {
    depth: usize,
    place: Place,
    unique: bool,
    found: &'a Cell<Option<Found>>,
}

impl Checked<'_> {
    fn stop<T, E: serde::de::Error>(self, found: Found) -> Result<T, E> {
        self.found.set(Some(found));
        Err(E::custom("found"))
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEEPEST {
            self.stop(Found::TooDeep)
        } else {
            Ok(Checked { depth: self.depth + 1, ..self })
        }
    }
}

/// The name of a member: where its value is, and the name itself where no name may stand twice.
struct Name<'a>(Checked<'a>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = (Place, Option<String>);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = (Place, Option<String>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        self.0.visit_str(name)?;
        Ok((self.0.place.of(name), self.0.unique.then(|| name.to_owned())))
    }
}

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        // PostgreSQL can't store it.
        if text.contains('\0') { self.stop(Found::Nul) } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.place != Place::Anything {
            return self.stop(Found::List);
        }
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut names = HashSet::new();
        while let Some((place, name)) = map.next_key_seed(Name(inner))? {
            if name.is_some_and(|name| !names.insert(name)) {
                return self.stop(Found::Twice);
            }
            map.next_value_seed(Checked { place, ..inner })?;
        }
        Ok(())
    }
}

/// Whether this is JSON that can be stored.
fn check(bytes: &[u8], free: bool) -> Result<(), Error> {
    if bytes.is_empty() {
        return Err(Error::new(ErrorCode::InvalidJson, "the body is empty"));
    }
    let found = Cell::new(None);
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let place = if free { Place::Anything } else { Place::Object };
    let checked = Checked { depth: 0, place, unique: free, found: &found };
    let result = checked.deserialize(&mut from).and_then(|()| from.end());
    let Err(error) = result else { return Ok(()) };
    Err(match found.get() {
        Some(Found::TooDeep) => {
            Error::new(ErrorCode::InvalidJson, format!("the body is nested more than {DEEPEST} levels deep"))
        }
        Some(Found::Nul) => {
            let value = serde_json::from_slice(bytes).unwrap_or_default();
            Error::value(nul(&value).unwrap_or_default(), "the character U+0000 can't be stored")
        }
        Some(Found::List) => {
            let value = serde_json::from_slice(bytes).unwrap_or_default();
            Error::value(
                list(&value, Place::Object).unwrap_or_default(),
                "invalid type: a list, which can't stand here",
            )
        }
        Some(Found::Twice) => Error::new(ErrorCode::InvalidJson, "a member stands twice in the same object"),
        None => Error::new(ErrorCode::InvalidJson, error.to_string()),
    })
}

/// Where a NUL character is.
fn nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| nul(item).map(|rest| format!("/{index}{rest}")))
        }
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            if name.contains('\0') {
                Some(String::new())
            } else {
                nul(value).map(|rest| format!("/{}{rest}", escape(name)))
            }
        }),
        _ => None,
    }
}

/// Where a list is that can't stand there.
fn list(value: &Value, place: Place) -> Option<String> {
    match value {
        Value::Array(_) if place != Place::Anything => Some(String::new()),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            list(value, place.of(name)).map(|rest| format!("/{}{rest}", escape(name)))
        }),
        _ => None,
    }
}

/// A name as a token of a JSON pointer.
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Reads checked JSON as a type.
///
/// # Errors
/// 422 with the member that doesn't fit.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
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

    fn pointer(error: &Error) -> &str {
        match &error.object().source {
            Some(ErrorSource::Pointer(pointer)) => pointer,
            _ => panic!("no pointer: {error}"),
        }
    }

    #[test]
    fn what_is_not_json_is_told_with_its_place() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        for good in [
            "{}",
            r#"{"a":[1,-2,3.5,null,true,"x"]}"#,
            &deep(64),
            "123456789012345678901234567890",
            r#""😀""#,
        ] {
            assert!(check(good.as_bytes(), true).is_ok(), "{good}");
        }
        let bad: [&[u8]; 11] = [
            b"",
            b" ",
            b"{",
            b"{} x",
            b"{'a':1}",
            b"[1,]",
            br#""\ud800""#,
            br#"{"\udc00":1}"#,
            b"\"\xff\"",
            b"1e999",
            b"\xef\xbb\xbf{}",
        ];
        for bad in bad {
            assert_eq!(check(bad, true).unwrap_err().object().code, ErrorCode::InvalidJson, "{bad:?}");
        }
        assert!(check(b"{\n  x", true).unwrap_err().object().detail.contains("line 2 column 3"));
        for deep in [deep(65), deep(100_000), r#"{"a":"#.repeat(70)] {
            let error = check(deep.as_bytes(), true).unwrap_err();
            assert_eq!(error.object().code, ErrorCode::InvalidJson);
            assert!(error.object().detail.contains("64 levels"), "{error}");
        }
    }

    #[test]
    fn nul_is_refused_where_it_stands() {
        for (body, expected) in [
            (r#"{"data":{"a/b":["x","y\u0000"]}}"#, "/data/a~1b/1"),
            (r#"{"data":{"k\u0000":1}}"#, "/data"),
            (r#""\u0000""#, ""),
        ] {
            let error = check(body.as_bytes(), true).unwrap_err();
            assert_eq!((error.object().code, pointer(&error)), (ErrorCode::InvalidValue, expected), "{body}");
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

    #[test]
    fn a_list_is_not_an_object_and_no_member_stands_twice() {
        for (body, expected) in [
            ("[]", ""),
            (r#"{"data":[]}"#, "/data"),
            (r#"{"data":{"attributes":["close"]}}"#, "/data/attributes"),
            (
                r#"{"data":{"relationships":{"entity":{"data":["entity","1"]}}}}"#,
                "/data/relationships/entity/data",
            ),
        ] {
            let error = check(body.as_bytes(), false).unwrap_err();
            assert_eq!((error.object().code, pointer(&error)), (ErrorCode::InvalidValue, expected), "{body}");
        }
        let lists = r#"{"data":{"attributes":{"data":{"a":[[1]]},"change":{"columns":["a"]}}},"included":[{"a":[1]}]}"#;
        assert!(check(lists.as_bytes(), false).is_ok());
        assert!(check(br#"{"a":[{"b":1},{"b":2}],"b":3}"#, true).is_ok());
        assert!(check(br#"{"a":{"b":1,"b":2}}"#, true).is_err());
    }
}
