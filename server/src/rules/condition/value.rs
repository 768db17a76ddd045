//! The values of an expression. What comes from an event is borrowed from it, and its JSON is read only as far as an
//! expression goes into it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::value::RawValue;

use crate::rules::json;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    /// Null.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number without sign.
    Uint(u64),
    /// Any other number.
    Double(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// A list.
    List(Rc<Vec<Value<'a>>>),
    /// A map.
    Map(Rc<Vec<(Value<'a>, Value<'a>)>>),
    /// A JSON object or array that nobody has looked into yet.
    Json(&'a str),
    /// A point in time.
    Time(DateTime<Utc>),
    /// A length of time.
    Duration(TimeDelta),
}

impl<'a> Value<'a> {
    /// The value of a JSON text; none if it can't be told, as with half a surrogate pair.
    pub(super) fn read(raw: &'a RawValue) -> Option<Value<'a>> {
        let text = raw.get();
        Some(match text.as_bytes().first()? {
            b'n' => Value::Null,
            b't' => Value::Bool(true),
            b'f' => Value::Bool(false),
            b'{' | b'[' => Value::Json(text),
            b'"' => Value::Text(json::text(text)?),
            _ => text
                .parse()
                .map(Value::Int)
                .or_else(|_| text.parse().map(Value::Uint))
                .or_else(|_| text.parse().map(Value::Double))
                .ok()?,
        })
    }

    /// A text, or null.
    pub(super) fn text(text: Option<&'a str>) -> Value<'a> {
        text.map_or(Value::Null, |text| Value::Text(Cow::Borrowed(text)))
    }

    /// A map of these members.
    pub(super) fn map(members: impl IntoIterator<Item = (&'a str, Value<'a>)>) -> Value<'a> {
        let members = members.into_iter().map(|(name, value)| (Value::Text(Cow::Borrowed(name)), value));
        Value::Map(Rc::new(members.collect()))
    }

    /// About how many bytes a copy of it takes.
    pub(super) fn weight(&self) -> usize {
        match self {
            Value::Text(Cow::Owned(text)) => size_of::<Value<'_>>() + text.len(),
            _ => size_of::<Value<'_>>(),
        }
    }

    /// What kind of value it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Json(text) if text.starts_with('[') => "list",
            Value::Json(_) => "map",
            Value::Time(_) => "timestamp",
            Value::Duration(_) => "duration",
        }
    }

    /// The number as one that holds every whole number; none for others.
    pub(super) fn whole(&self) -> Option<i128> {
        match self {
            Value::Int(number) => Some(i128::from(*number)),
            Value::Uint(number) => Some(i128::from(*number)),
            _ => None,
        }
    }

    /// The number as a double, which may be rounded; none for what is no number.
    #[expect(clippy::cast_precision_loss, reason = "CEL's double(int) rounds too")]
    pub(super) fn double(&self) -> Option<f64> {
        match self {
            Value::Double(number) => Some(*number),
            _ => self.whole().map(|number| number as f64),
        }
    }

    /// Which of two numbers, texts, times, durations or truth values is larger; none if they can't be compared.
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Value::Double(a), b) => double_and_whole(*a, b.whole()?),
            (a, Value::Double(b)) => double_and_whole(*b, a.whole()?).map(Ordering::reverse),
            (a, b) => Some(a.whole()?.cmp(&b.whole()?)),
        }
    }
}

/// Compares without rounding the whole number.
#[expect(clippy::cast_possible_truncation, reason = "the range was looked at before")]
fn double_and_whole(double: f64, whole: i128) -> Option<Ordering> {
    const BEYOND: f64 = 1e30;
    if double.is_nan() {
        None
    } else if double.abs() > BEYOND {
        Some(if double > 0.0 { Ordering::Greater } else { Ordering::Less })
    } else {
        let floor = double.floor();
        Some((floor as i128).cmp(&whole).then(if double > floor {
            Ordering::Greater
        } else {
            Ordering::Equal
        }))
    }
}
