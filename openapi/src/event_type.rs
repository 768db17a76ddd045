//! Event types: the 17 of Signals Notebook, their three groups, and names of one's own.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of an event's type: one of [`SIGNALS_TYPES`] or a name of one's own, `[A-Za-z0-9_.-]{1,100}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(String);

/// The types of Signals Notebook's External Notifications, each with what it stands for.
pub const SIGNALS_TYPES: [(&str, &str); 17] = [
    ("create", "Entity Creation"),
    ("print", "Print/ZIP Export"),
    ("close", "Sign and Close"),
    ("sign", "Sign and Keep Open"),
    ("close_without_signing", "Close Without Signing"),
    ("reopen", "Reopen"),
    ("review_request_for_reviewer", "Request Reviewer"),
    ("two_stage_review_request_for_reviewer", "Request Two Stage Review"),
    ("review_accepted_for_owner", "Review Accepted"),
    ("review_rejected_for_owner", "Review Rejected"),
    ("first_review_accepted_for_owner", "First Review Accepted"),
    ("first_review_rejected_for_owner", "First Review Rejected"),
    ("second_review_accepted_for_owner", "Second Review Accepted"),
    ("second_review_rejected_for_owner", "Second Review Rejected"),
    ("archive", "Archive"),
    ("unarchive", "Return From Archive"),
    ("void", "Void"),
];

impl EventType {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not a name of an event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event type: 1 to 100 of A-Z a-z 0-9 _ . - are expected")]
pub struct InvalidEventType;

impl FromStr for EventType {
    type Err = InvalidEventType;

    fn from_str(text: &str) -> Result<Self, InvalidEventType> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if (1..=100).contains(&text.len()) && text.bytes().all(legal) {
            Ok(EventType(text.to_owned()))
        } else {
            Err(InvalidEventType)
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// One entry of a tenant's selection: everything, a group of Signals Notebook, or a single type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TypeSelector {
    /// `*`: every type.
    All,
    /// `allSigningEvents`: every Signals type but the two of the other groups.
    AllSigningEvents,
    /// `allExportToPdfZipEvents`: `print`.
    AllExportToPdfZipEvents,
    /// `topLevelEntityCreation`: `create`.
    TopLevelEntityCreation,
    /// One type.
    Type(EventType),
}

impl TypeSelector {
    /// Whether an event of this type is selected.
    pub fn selects(&self, event_type: &EventType) -> bool {
        match self {
            TypeSelector::All => true,
            TypeSelector::AllSigningEvents => {
                !matches!(event_type.as_str(), "create" | "print")
                    && SIGNALS_TYPES.iter().any(|(name, _)| *name == event_type.as_str())
            }
            TypeSelector::AllExportToPdfZipEvents => event_type.as_str() == "print",
            TypeSelector::TopLevelEntityCreation => event_type.as_str() == "create",
            TypeSelector::Type(selected) => selected == event_type,
        }
    }

    /// The selector as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            TypeSelector::All => "*",
            TypeSelector::AllSigningEvents => "allSigningEvents",
            TypeSelector::AllExportToPdfZipEvents => "allExportToPdfZipEvents",
            TypeSelector::TopLevelEntityCreation => "topLevelEntityCreation",
            TypeSelector::Type(name) => name.as_str(),
        }
    }
}

impl FromStr for TypeSelector {
    type Err = InvalidEventType;

    fn from_str(text: &str) -> Result<Self, InvalidEventType> {
        Ok(match text {
            "*" => TypeSelector::All,
            "allSigningEvents" => TypeSelector::AllSigningEvents,
            "allExportToPdfZipEvents" => TypeSelector::AllExportToPdfZipEvents,
            "topLevelEntityCreation" => TypeSelector::TopLevelEntityCreation,
            name => TypeSelector::Type(name.parse()?),
        })
    }
}

impl Serialize for TypeSelector {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TypeSelector {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod schemas {
    use super::*;
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};
    use utoipa::{PartialSchema, ToSchema};

    impl PartialSchema for EventType {
        fn schema() -> RefOr<Schema> {
            let known: Vec<String> =
                SIGNALS_TYPES.iter().map(|(name, what)| format!("`{name}` ({what})")).collect();
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[A-Za-z0-9_.-]{1,100}$"))
                .description(Some(format!(
                    "An event's type: a name of one's own, or one of {}",
                    known.join(", ")
                )))
                .examples([serde_json::json!("close")])
                .into()
        }
    }
    impl ToSchema for EventType {}

    impl PartialSchema for TypeSelector {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^(\\*|[A-Za-z0-9_.-]{1,100})$"))
                .description(Some(
                    "`*`, a group (`allSigningEvents`, `allExportToPdfZipEvents`, `topLevelEntityCreation`), or one type",
                ))
                .examples([serde_json::json!("allSigningEvents")])
                .into()
        }
    }
    impl ToSchema for TypeSelector {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        for good in ["close", "my.own-type_2", "A", &"x".repeat(100)] {
            assert!(good.parse::<EventType>().is_ok(), "{good:?} was refused");
        }
        for bad in ["", "a b", "*", "é", "a/b", "a\0", &"x".repeat(101)] {
            assert!(bad.parse::<EventType>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn the_three_groups_part_the_17_types() {
        let groups = ["allSigningEvents", "allExportToPdfZipEvents", "topLevelEntityCreation"]
            .map(|group| group.parse::<TypeSelector>().unwrap());
        for (name, _) in SIGNALS_TYPES {
            let event_type = name.parse().unwrap();
            assert_eq!(groups.iter().filter(|group| group.selects(&event_type)).count(), 1, "{name}");
        }
        let own = "my.own.type".parse().unwrap();
        assert!(groups.iter().all(|group| !group.selects(&own)));
        assert!(TypeSelector::All.selects(&own));
        assert!("my.own.type".parse::<TypeSelector>().unwrap().selects(&own));
    }
}
