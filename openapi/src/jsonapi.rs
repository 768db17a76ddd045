//! What all documents share: identifiers, links, the sequence, and JSON that is passed through.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The position of a notification in its tenant: 1, 2, 3 … without gaps. Also the resource's `id`.
///
/// On the wire it is a decimal string, as JSON:API wants of every `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(i64);

impl Sequence {
    /// Before the first notification: the cursor that stands for "from the beginning".
    pub const START: Sequence = Sequence(0);

    /// The sequence with this number.
    ///
    /// # Errors
    /// Negative numbers are refused.
    pub fn new(number: i64) -> Result<Self, InvalidSequence> {
        if number < 0 { Err(InvalidSequence) } else { Ok(Sequence(number)) }
    }

    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
}

/// Not a decimal number between 0 and 9223372036854775807 without sign or leading zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a sequence: a decimal number from 0 to 9223372036854775807 without leading zeros is expected")]
pub struct InvalidSequence;

impl FromStr for Sequence {
    type Err = InvalidSequence;

    fn from_str(text: &str) -> Result<Self, InvalidSequence> {
        let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
        if !canonical {
            return Err(InvalidSequence);
        }
        text.parse().map(Sequence).map_err(|_| InvalidSequence)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Sequence {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sequence {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A JSON object that is kept as it was written: numbers of any size, members in their order.
#[derive(Clone, Debug)]
pub struct RawObject(Box<RawValue>);

impl RawObject {
    /// The object of a serialisable value.
    ///
    /// # Errors
    /// When the value can't be written as a JSON object.
    pub fn from_value(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let raw = serde_json::value::to_raw_value(value)?;
        if raw.get().starts_with('{') {
            Ok(RawObject(raw))
        } else {
            Err(serde_json::Error::custom("a JSON object is expected"))
        }
    }

    /// The JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Reads the object as a type of one's own.
    ///
    /// # Errors
    /// When the object does not have that type's shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        if raw.get().starts_with('{') {
            Ok(RawObject(raw))
        } else {
            Err(D::Error::custom("invalid type: a JSON object is expected"))
        }
    }
}

/// A full resource object that is passed through as it was written; only `type` and `id` are read.
#[derive(Clone, Debug)]
pub struct RawResource {
    /// The resource's type and id.
    pub identifier: Identifier,
    raw: Box<RawValue>,
}

impl RawResource {
    /// The JSON text of the whole resource object.
    pub fn get(&self) -> &str {
        self.raw.get()
    }

    /// Reads the resource as a type of one's own.
    ///
    /// # Errors
    /// When the resource does not have that type's shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.raw.get())
    }

    /// The resource object of a serialisable value, which must have `type` and `id`.
    ///
    /// # Errors
    /// When the value has no string members `type` and `id`.
    pub fn from_value(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let raw = serde_json::value::to_raw_value(value)?;
        serde_json::from_str(raw.get())
    }
}

impl Serialize for RawResource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for RawResource {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Head<'a> {
            r#type: String,
            id: String,
            #[serde(borrow)]
            attributes: Option<&'a RawValue>,
            #[serde(borrow)]
            relationships: Option<&'a RawValue>,
            #[serde(borrow)]
            links: Option<&'a RawValue>,
            #[serde(borrow)]
            meta: Option<&'a RawValue>,
        }
        let raw = Box::<RawValue>::deserialize(from)?;
        if !raw.get().starts_with('{') {
            return Err(D::Error::custom("invalid type: a resource object is expected"));
        }
        let head: Head<'_> = serde_json::from_str(raw.get()).map_err(|error| {
            // Without its line and column, which count from the beginning of this resource.
            let text = error.to_string();
            D::Error::custom(text.split(" at line ").next().unwrap_or_default())
        })?;
        let objects = [
            ("attributes", head.attributes),
            ("relationships", head.relationships),
            ("links", head.links),
            ("meta", head.meta),
        ];
        for (name, member) in objects {
            if member.is_some_and(|member| !member.get().starts_with('{')) {
                return Err(D::Error::custom(format_args!(
                    "invalid type: `{name}` of a resource is an object"
                )));
            }
        }
        let identifier = Identifier { r#type: head.r#type, id: head.id };
        Ok(RawResource { identifier, raw })
    }
}

/// A resource identifier: `type` and `id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Identifier {
    /// `user`, `entity` or `notification`.
    pub r#type: String,
    /// The id within its type.
    pub id: String,
}

/// The link of a resource to itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SelfLink {
    /// The URL of the resource.
    #[serde(rename = "self")]
    pub this: String,
}

/// The links of a page.
///
/// Cursor paging writes `prev` and `next` as null where there is none; Signals' offset paging leaves them out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PageLinks {
    /// This page, with the parameters of the request.
    #[serde(rename = "self")]
    pub this: String,
    /// The first page of the same list.
    pub first: String,
    /// The page before.
    #[serde(default)]
    pub prev: Option<String>,
    /// The page after.
    #[serde(default)]
    pub next: Option<String>,
}

#[cfg(feature = "openapi")]
mod schemas {
    use super::*;
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};
    use utoipa::{PartialSchema, ToSchema};

    impl PartialSchema for Sequence {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^(0|[1-9][0-9]{0,18})$"))
                .description(Some("The position in the tenant, as a decimal string"))
                .examples([serde_json::json!("519")])
                .into()
        }
    }
    impl ToSchema for Sequence {}

    impl PartialSchema for RawObject {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::Object)
                .description(Some("Any JSON object; kept as it was written"))
                .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::FreeForm(true)))
                .into()
        }
    }
    impl ToSchema for RawObject {}

    impl PartialSchema for RawResource {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::Object)
                .description(Some("A resource object of type `user` or `entity`, as the event brought it"))
                .property(
                    "type",
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .description(Some("`user` or `entity`"))
                        .enum_values(Some(["user", "entity"])),
                )
                .required("type")
                .property(
                    "id",
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .description(Some("The id within its type, 1 to 1,000 bytes"))
                        .min_length(Some(1))
                        .max_length(Some(1000)),
                )
                .required("id")
                .property(
                    "attributes",
                    ObjectBuilder::new()
                        .schema_type(Type::Object)
                        .description(Some("What the event tells of it")),
                )
                .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::FreeForm(true)))
                .into()
        }
    }
    impl ToSchema for RawResource {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_a_canonical_decimal() {
        for good in ["0", "1", "519", "9223372036854775807"] {
            assert_eq!(good.parse::<Sequence>().unwrap().to_string(), good);
        }
        let huge = "1".to_owned() + &"0".repeat(30);
        for bad in ["", "-1", "+1", "01", "1.0", "1e3", "9223372036854775808", " 1", "١", &huge] {
            assert!(bad.parse::<Sequence>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn raw_json_keeps_its_text() {
        let text = r#"{"z":1,"a":123456789012345678901234567890.10}"#;
        let object: RawObject = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), text);
        assert!(serde_json::from_str::<RawObject>("[1]").is_err());
    }

    #[test]
    fn a_raw_resource_knows_what_it_is() {
        let text = r#"{"id":"100","type":"user","attributes":{"b":1,"a":2}}"#;
        let resource: RawResource = serde_json::from_str(text).unwrap();
        assert_eq!(resource.identifier, Identifier { r#type: "user".into(), id: "100".into() });
        assert_eq!(resource.get(), text);
        assert!(serde_json::from_str::<RawResource>(r#"{"type":"user"}"#).is_err());
        for member in ["attributes", "relationships", "links", "meta"] {
            let text = format!(r#"{{"type":"user","id":"1","{member}":5}}"#);
            assert!(serde_json::from_str::<RawResource>(&text).is_err(), "{text}");
        }
    }
}
