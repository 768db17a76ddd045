//! JSON texts taken apart and put together without reading what is in between: numbers of any size and members in their
//! order pass through.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a JSON object in their order; nothing for anything else.
pub fn members(object: &str) -> Vec<(Cow<'_, str>, &RawValue)> {
    struct All;
    impl<'de> Visitor<'de> for All {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(name) = map.next_key_seed(Name)? {
                members.push((name, map.next_value()?));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(object).deserialize_map(All).unwrap_or_default()
}

/// The member of a JSON object with this name, the last one if there are several.
pub fn member<'a>(object: &'a str, name: &str) -> Option<&'a RawValue> {
    struct One<'n>(&'n str);
    impl<'de> Visitor<'de> for One<'_> {
        type Value = Option<&'de RawValue>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(name) = map.next_key_seed(Name)? {
                if name == self.0 {
                    found = Some(map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    serde_json::Deserializer::from_str(object).deserialize_map(One(name)).ok().flatten()
}

/// The elements of a JSON array; none for anything else, and for more elements than these.
pub fn elements(array: &str, most: usize) -> Option<Vec<&RawValue>> {
    struct UpTo(usize);
    impl<'de> Visitor<'de> for UpTo {
        type Value = Option<Vec<&'de RawValue>>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = seq.next_element()? {
                if elements.len() == self.0 {
                    return Ok(None);
                }
                elements.push(element);
            }
            Ok(Some(elements))
        }
    }
    serde_json::Deserializer::from_str(array).deserialize_seq(UpTo(most)).ok().flatten()
}

/// Whether two JSON texts say the same: however they are spaced and escaped, and in whichever order the members of objects
/// stand. Numbers are the same if they are written the same, so that none is rounded.
pub fn same(one: &str, other: &str) -> bool {
    match (one.as_bytes().first(), other.as_bytes().first()) {
        _ if one == other => true,
        (Some(b'{'), Some(b'{')) => {
            let (mut one, mut other) = (members(one), members(other));
            one.sort_by(|(a, _), (b, _)| a.cmp(b));
            other.sort_by(|(a, _), (b, _)| a.cmp(b));
            let pairs = || one.iter().zip(&other);
            one.len() == other.len()
                && pairs().all(|((a, _), (b, _))| a == b)
                && pairs().all(|((_, a), (_, b))| same(a.get(), b.get()))
        }
        (Some(b'['), Some(b'[')) => {
            let all = |text| elements(text, usize::MAX).unwrap_or_default();
            let (one, other) = (all(one), all(other));
            one.len() == other.len() && one.iter().zip(&other).all(|(a, b)| same(a.get(), b.get()))
        }
        (Some(b'"'), Some(b'"')) => text(one) == text(other),
        _ => false,
    }
}

/// A JSON string, borrowed unless something in it is escaped.
pub fn text(string: &str) -> Option<Cow<'_, str>> {
    Name.deserialize(&mut serde_json::Deserializer::from_str(string)).ok()
}

/// Writes a string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is always written to memory");
}

/// Writes an object of these members.
pub fn object<'a>(out: &mut Vec<u8>, members: impl IntoIterator<Item = (Cow<'a, str>, &'a RawValue)>) {
    out.push(b'{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, &name);
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    out.push(b'}');
}

/// Reads a string, borrowed unless something in it is escaped.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_say_the_same_are_the_same() {
        for (one, other) in [
            (r#"{"a":1,"b":[true,null]}"#, "{ \"b\" : [ true,\n null ], \"a\":1 }"),
            (r#"{"ü":"a\/b"}"#, r#"{"\u00fc":"\u0061/b"}"#),
            ("[]", "[ ]"),
            (r#"{"a":1,"a":2}"#, r#"{"a":1, "a":2}"#),
        ] {
            assert!(same(one, other) && same(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("[1,2]", "[2,1]"),
            ("[1]", "[1,1]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"b":"1"}}"#),
            ("12345678901234567890123", "12345678901234567890124"),
            ("1", "1.0"),
            (r#""a""#, r#""A""#),
            ("{}", "[]"),
            ("null", "false"),
        ] {
            assert!(!same(one, other) && !same(other, one), "{one} {other}");
        }
    }
}
