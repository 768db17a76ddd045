//! The check that every body passes before anything else reads it: that it is JSON which can be stored, not nested too
//! deeply, with no list where an object belongs, and no member twice.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use tidings_api::error::ErrorCode;

use super::escape;
use crate::http::error::Error;
use crate::rules::json;

/// How deeply a body may be nested.
const DEEPEST: usize = 64;

/// How far the type as which a body is read knows its members.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Members {
    /// All of them: it refuses by itself one that stands twice.
    Known,
    /// Some are in maps, which would take the last of two.
    InMaps,
    /// None: it is read as it comes, and lists may stand anywhere.
    Free,
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
    /// A list of objects.
    Objects,
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
            (_, "atomic:operations") => Place::Objects,
            _ => Place::Object,
        }
    }
}

/// Reads any JSON and keeps nothing.
#[derive(Clone, Copy)]
struct Checked<'a> {
    depth: usize,
    place: Place,
    /// Whether it is for the check to see to it that no member stands twice.
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
        let place = match self.place {
            Place::Anything => Place::Anything,
            Place::Objects => Place::Object,
            Place::Object | Place::Attributes => return self.stop(Found::List),
        };
        let inner = Checked { place, ..self.deeper()? };
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

/// Whether this is JSON that can be stored, and read as a type that knows so much of its members.
///
/// # Errors
/// 400 for what is no JSON, 422 with the member that can't be taken.
pub(super) fn check(bytes: &[u8], members: Members) -> Result<(), Error> {
    if bytes.is_empty() {
        return Err(Error::new(ErrorCode::InvalidJson, "the body is empty"));
    }
    let found = Cell::new(None);
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let place = if members == Members::Free { Place::Anything } else { Place::Object };
    let checked = Checked { depth: 0, place, unique: members != Members::Known, found: &found };
    let result = checked.deserialize(&mut from).and_then(|()| from.end());
    let Err(error) = result else { return Ok(()) };
    let value = || serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    Err(match found.get() {
        Some(Found::TooDeep) => {
            Error::new(ErrorCode::InvalidJson, format!("the body is nested more than {DEEPEST} levels deep"))
        }
        Some(Found::Nul) => {
            Error::value(nul(&value()).unwrap_or_default(), "the character U+0000 can't be stored")
        }
        Some(Found::List) => Error::value(
            list(&value(), Place::Object).unwrap_or_default(),
            "invalid type: a list, which can't stand here",
        ),
        Some(Found::Twice) => {
            let text = std::str::from_utf8(bytes).unwrap_or_default();
            Error::value(twice(text).unwrap_or_default(), "this member stands twice")
        }
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
        Value::Array(items) if place == Place::Objects => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| list(item, Place::Object).map(|rest| format!("/{index}{rest}"))),
        Value::Array(_) if place != Place::Anything => Some(String::new()),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            list(value, place.of(name)).map(|rest| format!("/{}{rest}", escape(name)))
        }),
        _ => None,
    }
}

/// Where a member is that stands twice.
fn twice(text: &str) -> Option<String> {
    let below =
        |name: &str, value: &RawValue| twice(value.get()).map(|rest| format!("/{}{rest}", escape(name)));
    if text.starts_with('[') {
        let items = json::elements(text, usize::MAX)?;
        return items.iter().enumerate().find_map(|(index, item)| below(&index.to_string(), item));
    }
    let mut names: HashSet<Cow<'_, str>> = HashSet::new();
    json::members(text).into_iter().find_map(|(name, value)| {
        let inner = below(&name, value);
        let pointer = format!("/{}", escape(&name));
        if names.insert(name) { inner } else { Some(pointer) }
    })
}

#[cfg(test)]
mod tests {
    use tidings_api::error::ErrorSource;

    use super::*;

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
            assert!(check(good.as_bytes(), Members::Free).is_ok(), "{good}");
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
            assert_eq!(
                check(bad, Members::Free).unwrap_err().object().code,
                ErrorCode::InvalidJson,
                "{bad:?}"
            );
        }
        assert!(check(b"{\n  x", Members::Free).unwrap_err().object().detail.contains("line 2 column 3"));
        for deep in [deep(65), deep(100_000), r#"{"a":"#.repeat(70)] {
            let error = check(deep.as_bytes(), Members::Free).unwrap_err();
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
            let error = check(body.as_bytes(), Members::Free).unwrap_err();
            assert_eq!((error.object().code, pointer(&error)), (ErrorCode::InvalidValue, expected), "{body}");
        }
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
            let error = check(body.as_bytes(), Members::Known).unwrap_err();
            assert_eq!((error.object().code, pointer(&error)), (ErrorCode::InvalidValue, expected), "{body}");
        }
        let lists = r#"{"data":{"attributes":{"data":{"a":[[1]]},"change":{"columns":["a"]}}},"included":[{"a":[1]}]}"#;
        assert!(check(lists.as_bytes(), Members::Known).is_ok());
        assert!(check(br#"{"a":[{"b":1},{"b":2}],"b":3}"#, Members::Free).is_ok());
        for (body, expected) in [
            (r#"{"a":{"b":1,"b":2}}"#, "/a/b"),
            (r#"{"a":[{"c/d":1,"\u0063/d":2}]}"#, "/a/0/c~1d"),
            (r#"{"a":1,"b":{"c":{}},"a":{"d":1,"d":2}}"#, "/a"),
        ] {
            let error = check(body.as_bytes(), Members::Free).unwrap_err();
            assert_eq!((error.object().code, pointer(&error)), (ErrorCode::InvalidValue, expected), "{body}");
        }
        // An object of names that the type doesn't know.
        let map = r#"{"data":{"attributes":{"filter":{"a":"1","a":"2"}}}}"#;
        let error = check(map.as_bytes(), Members::InMaps).unwrap_err();
        assert_eq!(pointer(&error), "/data/attributes/filter/a");
    }
}
