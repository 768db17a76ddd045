//! Times on the wire: RFC 3339 in UTC, written with milliseconds and `Z`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serializer};

/// Writes a time as Tidings does: `2023-12-13T20:42:50.427Z`.
pub fn format(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// For `#[serde(with = "time")]`.
pub fn serialize<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(time))
}

/// For `#[serde(with = "time")]`: any RFC 3339 time, with any offset.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
    let time = DateTime::<chrono::FixedOffset>::deserialize(from)?;
    Ok(time.with_timezone(&Utc))
}

/// The same for a time that may be null or absent.
pub mod option {
    use super::*;

    /// For `#[serde(with = "time::option")]`.
    pub fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, to),
            None => to.serialize_none(),
        }
    }

    /// For `#[serde(with = "time::option")]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        let time = Option::<DateTime<chrono::FixedOffset>>::deserialize(from)?;
        Ok(time.map(|time| time.with_timezone(&Utc)))
    }
}
