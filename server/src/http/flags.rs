//! The bodies that change flags: JSON:API's shape and Signals Notebook's, read by hand so that each error names its member.

use serde_json::{Map, Value};
use tidings_api::error::ErrorCode;
use tidings_api::notification::Flags;

use super::body::escape;
use super::error::Error;

/// What a notification has besides its flags; it never changes.
const FIXED: [&str; 13] = [
    "id",
    "type",
    "createdAt",
    "receivedAt",
    "comment",
    "data",
    "change",
    "originator",
    "unit",
    "eventId",
    "createdBy",
    "entity",
    "push",
];

/// The flags in the body of `PATCH /notifications/{id}`.
///
/// # Errors
/// The first member that can't be used.
pub(super) fn document(body: &Value, id: i64) -> Result<Flags, Error> {
    let document = object(body, "")?;
    known(document, &["data", "jsonapi", "meta"], "")?;
    match document.get("data") {
        None => Err(Error::new(ErrorCode::MissingMember, "the member `data` is missing").at("")),
        Some(Value::Array(items)) => signals(items),
        Some(data) => {
            let (named, flags) = resource(data, "/data")?;
            match named {
                Some(named) if named == id.to_string() => Ok(flags),
                Some(named) => {
                    let detail = format!("{named:?} is not the id in the URL");
                    Err(Error::new(ErrorCode::Conflict, detail).at("/data/id"))
                }
                None => Err(Error::new(ErrorCode::MissingMember, "the member `id` is missing").at("/data")),
            }
        }
    }
}

/// The id, if there is one, and the flags of a resource object.
///
/// # Errors
/// The first member that can't be used; pointers begin with `at`.
pub(super) fn resource(data: &Value, at: &str) -> Result<(Option<String>, Flags), Error> {
    let data = object(data, at)?;
    known(data, &["type", "id", "attributes", "relationships", "links", "meta"], at)?;
    match data.get("type") {
        Some(Value::String(name)) if name == "notification" => {}
        Some(Value::String(name)) => {
            let detail = format!("{name:?} is not `notification`");
            return Err(Error::new(ErrorCode::Conflict, detail).at(format!("{at}/type")));
        }
        Some(_) => return Err(Error::value(format!("{at}/type"), "a string is expected")),
        None => return Err(Error::new(ErrorCode::MissingMember, "the member `type` is missing").at(at)),
    }
    if data.contains_key("relationships") {
        return Err(fixed("relationships").at(format!("{at}/relationships")));
    }
    let id = match data.get("id") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err(Error::value(format!("{at}/id"), "a string is expected")),
    };
    let mut flags = Flags::default();
    if let Some(attributes) = data.get("attributes") {
        let at = format!("{at}/attributes");
        for (name, value) in object(attributes, &at)? {
            let at = format!("{at}/{}", escape(name));
            let flag = flag(&mut flags, name).map_err(|error| error.at(&*at))?;
            *flag = Some(value.as_bool().ok_or_else(|| Error::value(&*at, "true or false is expected"))?);
        }
    }
    Ok((id, flags))
}

/// A list of names and values. A flag that stands twice has its last value.
fn signals(items: &[Value]) -> Result<Flags, Error> {
    let mut flags = Flags::default();
    for (index, item) in items.iter().enumerate() {
        let at = format!("/data/{index}");
        let item = object(item, &at)?;
        known(item, &["attributes"], &at)?;
        let missing = |name: &str, at: &str| {
            Error::new(ErrorCode::MissingMember, format!("the member `{name}` is missing")).at(at)
        };
        let attributes = item.get("attributes").ok_or_else(|| missing("attributes", &at))?;
        let at = format!("{at}/attributes");
        let attributes = object(attributes, &at)?;
        known(attributes, &["name", "value"], &at)?;
        let name = attributes.get("name").ok_or_else(|| missing("name", &at))?;
        let value = attributes.get("value").ok_or_else(|| missing("value", &at))?;
        let name = name.as_str().ok_or_else(|| Error::value(format!("{at}/name"), "a string is expected"))?;
        let flag = flag(&mut flags, name).map_err(|error| error.at(format!("{at}/name")))?;
        *flag = Some(match value {
            Value::Bool(value) => *value,
            Value::String(text) if text == "true" => true,
            Value::String(text) if text == "false" => false,
            _ => return Err(Error::value(format!("{at}/value"), "\"true\" or \"false\" is expected")),
        });
    }
    Ok(flags)
}

fn flag<'a>(flags: &'a mut Flags, name: &str) -> Result<&'a mut Option<bool>, Error> {
    match name {
        "isDismissed" => Ok(&mut flags.is_dismissed),
        "isRead" => Ok(&mut flags.is_read),
        "isFlagged" => Ok(&mut flags.is_flagged),
        name if FIXED.contains(&name) => Err(fixed(name)),
        name => {
            let detail = format!("{name:?} is not one of isDismissed, isRead, isFlagged");
            Err(Error::new(ErrorCode::UnknownMember, detail))
        }
    }
}

fn fixed(name: &str) -> Error {
    let detail = format!("{name} never changes; isDismissed, isRead and isFlagged do");
    Error::new(ErrorCode::NotChangeable, detail)
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>, Error> {
    value.as_object().ok_or_else(|| Error::value(at, "an object is expected"))
}

fn known(object: &Map<String, Value>, names: &[&str], at: &str) -> Result<(), Error> {
    match object.keys().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let detail = format!("{name:?} is not one of {}", names.join(", "));
            Err(Error::new(ErrorCode::UnknownMember, detail).at(format!("{at}/{}", escape(name))))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidings_api::error::ErrorSource;

    use super::*;

    #[test]
    fn both_shapes_change_flags() {
        let both = Flags { is_dismissed: Some(true), is_read: Some(false), is_flagged: None };
        for body in [
            json!({"data": {"type": "notification", "id": "7",
                "attributes": {"isDismissed": true, "isRead": false}}}),
            json!({"data": [{"attributes": {"name": "isDismissed", "value": "true"}},
                {"attributes": {"name": "isRead", "value": "true"}},
                {"attributes": {"name": "isRead", "value": false}}]}),
        ] {
            assert_eq!(document(&body, 7).unwrap(), both, "{body}");
        }
        for body in [
            json!({"data": []}),
            json!({"data": {"type": "notification", "id": "7"}}),
            json!({"data": {"type": "notification", "id": "7", "attributes": {}}, "jsonapi": {"version": "1.1"}}),
        ] {
            assert_eq!(document(&body, 7).unwrap(), Flags::default(), "{body}");
        }
    }

    #[test]
    fn a_refusal_names_the_member() {
        let api = |attributes: Value| json!({"data": {"type": "notification", "id": "7", "attributes": attributes}});
        let item = |attributes: Value| json!({"data": [{"attributes": attributes}]});
        for (body, status, pointer) in [
            (json!([]), "422", ""),
            (json!({}), "422", ""),
            (json!({"data": null}), "422", "/data"),
            (json!({"data": {}, "more": 1}), "422", "/more"),
            (json!({"data": {"id": "7"}}), "422", "/data"),
            (json!({"data": {"type": "notification"}}), "422", "/data"),
            (json!({"data": {"type": "user", "id": "7"}}), "409", "/data/type"),
            (json!({"data": {"type": "notification", "id": "8"}}), "409", "/data/id"),
            (json!({"data": {"type": "notification", "id": "07"}}), "409", "/data/id"),
            (json!({"data": {"type": "notification", "id": 7}}), "422", "/data/id"),
            (
                json!({"data": {"type": "notification", "id": "7", "relationships": {}}}),
                "403",
                "/data/relationships",
            ),
            (api(json!([])), "422", "/data/attributes"),
            (api(json!({"isRead": "true"})), "422", "/data/attributes/isRead"),
            (api(json!({"isRead": null})), "422", "/data/attributes/isRead"),
            (api(json!({"comment": "x"})), "403", "/data/attributes/comment"),
            (api(json!({"isread": true})), "422", "/data/attributes/isread"),
            (item(json!({"name": "isRead"})), "422", "/data/0/attributes"),
            (item(json!({"name": "isRead", "value": "yes"})), "422", "/data/0/attributes/value"),
            (item(json!({"name": "createdAt", "value": "true"})), "403", "/data/0/attributes/name"),
            (item(json!({"name": "colour", "value": "true"})), "422", "/data/0/attributes/name"),
            (item(json!({"name": 5, "value": "true"})), "422", "/data/0/attributes/name"),
            (json!({"data": [5]}), "422", "/data/0"),
        ] {
            let error = document(&body, 7).unwrap_err();
            let source = Some(ErrorSource::Pointer(pointer.into()));
            assert_eq!((error.object().status.as_str(), &error.object().source), (status, &source), "{body}");
        }
    }
}
