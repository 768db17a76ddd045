//! The pieces of an event: each checked against its bounds, and its JSON put together.

use std::collections::HashSet;
use std::ops::Range;

use tidings_api::event::{Change, EventAttributes, EventRelationship, Originator};
use tidings_api::jsonapi::RawResource;

use crate::http::error::Error;
use crate::rules::json;
use crate::store::seam::ResourceKind;

const SHORT: usize = 255;
const MAX_ID: usize = 1000;
const MAX_COMMENT: usize = 100_000;
const MAX_INCLUDED: usize = 1000;
const MAX_COLUMNS: usize = 1000;

/// A text of at most so many characters.
fn bounded(text: &str, most: usize, pointer: &str) -> Result<(), Error> {
    // No text has more characters than bytes.
    if text.len() <= most || text.chars().count() <= most {
        return Ok(());
    }
    Err(Error::value(pointer, format!("at most {most} characters are expected")))
}

/// An id: counted in bytes, because it is kept in an index, whose entries are bounded in both databases.
fn named(text: &str, most: usize, pointer: &str) -> Result<(), Error> {
    if (1..=most).contains(&text.len()) {
        return Ok(());
    }
    Err(Error::value(pointer, format!("1 to {most} bytes are expected")))
}

/// Whether the attributes can be stored.
pub(super) fn check(attributes: &EventAttributes) -> Result<(), Error> {
    if let Some(comment) = &attributes.comment {
        bounded(comment, MAX_COMMENT, "/data/attributes/comment")?;
    }
    if let Some(unit) = &attributes.unit {
        bounded(unit, SHORT, "/data/attributes/unit")?;
    }
    if let Some(id) = &attributes.event_id {
        named(id, SHORT, "/data/attributes/eventId")?;
    }
    if let Some(Change { table, columns, record_id, .. }) = &attributes.change {
        bounded(table, SHORT, "/data/attributes/change/table")?;
        if columns.len() > MAX_COLUMNS {
            return Err(Error::value(
                "/data/attributes/change/columns",
                "at most 1,000 columns are expected",
            ));
        }
        for (index, column) in columns.iter().enumerate() {
            bounded(column, SHORT, &format!("/data/attributes/change/columns/{index}"))?;
        }
        if let Some(record) = record_id {
            bounded(record, SHORT, "/data/attributes/change/recordId")?;
        }
    }
    if let Some(Originator { account_id, group_id, user_id }) = &attributes.originator {
        for (text, name) in [(account_id, "accountId"), (group_id, "groupId"), (user_id, "userId")] {
            if let Some(text) = text {
                bounded(text, SHORT, &format!("/data/attributes/originator/{name}"))?;
            }
        }
    }
    Ok(())
}

/// The optional attributes as members of a JSON object, without its braces; and where in it the event's own data stands.
pub(super) fn extra(attributes: &EventAttributes) -> Result<(String, Option<Range<usize>>), Error> {
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| {
            tracing::error!(%error, "an event can't be written as JSON");
            Error::internal()
        })
    };
    let mut extra = String::new();
    let mut member = |name: &str, json: &str| -> Range<usize> {
        if !extra.is_empty() {
            extra.push(',');
        }
        extra.push('"');
        extra.push_str(name);
        extra.push_str("\":");
        extra.push_str(json);
        extra.len() - json.len()..extra.len()
    };
    let data = attributes.data.as_ref().map(|data| member("data", data.get()));
    if let Some(change) = &attributes.change {
        member("change", &json(serde_json::to_string(change))?);
    }
    if let Some(originator) = &attributes.originator {
        member("originator", &json(serde_json::to_string(originator))?);
    }
    if let Some(unit) = &attributes.unit {
        member("unit", &json(serde_json::to_string(unit))?);
    }
    Ok((extra, data))
}

/// Type and id of the resources that the event brought.
pub(super) fn included_resources(
    included: &[RawResource],
) -> Result<Vec<(ResourceKind, String, bool)>, Error> {
    if included.len() > MAX_INCLUDED {
        return Err(Error::value("/included", "at most 1,000 resources are expected"));
    }
    let mut seen = HashSet::with_capacity(included.len());
    let mut resources = Vec::with_capacity(included.len() + 2);
    for (index, resource) in included.iter().enumerate() {
        let identifier = &resource.identifier;
        let kind = match identifier.r#type.as_str() {
            "user" => ResourceKind::User,
            "entity" => ResourceKind::Entity,
            other => {
                let detail = format!("{other:?} can't be included; `user` and `entity` can");
                return Err(Error::value(format!("/included/{index}/type"), detail));
            }
        };
        named(&identifier.id, MAX_ID, &format!("/included/{index}/id"))?;
        if let Some(name) = null_member(resource.get()) {
            return Err(Error::value(format!("/included/{index}/{name}"), "an object is expected"));
        }
        if !seen.insert((kind, identifier.id.as_str())) {
            return Err(Error::value(format!("/included/{index}"), "this resource is included twice"));
        }
        resources.push((kind, identifier.id.clone(), true));
    }
    Ok(resources)
}

/// A member of a resource object that is null and must be an object. Clients read what was once stored with one, so it is
/// looked for only here.
fn null_member(resource: &str) -> Option<&'static str> {
    if !resource.contains("null") {
        return None;
    }
    let members = json::members(resource);
    let is_null = |name: &str| members.iter().any(|(found, value)| found == name && value.get() == "null");
    ["attributes", "relationships", "links", "meta"].into_iter().find(|name| is_null(name))
}

/// The id to which a relationship leads.
pub(super) fn linkage(
    relationship: Option<EventRelationship>,
    name: &str,
    kind: &str,
) -> Result<Option<String>, Error> {
    let Some(EventRelationship { data, .. }) = relationship else { return Ok(None) };
    if data.r#type != kind {
        let pointer = format!("/data/relationships/{name}/data/type");
        return Err(Error::value(pointer, format!("`{kind}` is expected")));
    }
    named(&data.id, MAX_ID, &format!("/data/relationships/{name}/data/id"))?;
    Ok(Some(data.id))
}

/// The resources as a JSON array; nothing where there are none.
pub(super) fn array(included: &[RawResource]) -> String {
    if included.is_empty() {
        return String::new();
    }
    let mut text =
        String::with_capacity(included.iter().map(|resource| resource.get().len() + 1).sum::<usize>() + 1);
    for (index, resource) in included.iter().enumerate() {
        text.push(if index == 0 { '[' } else { ',' });
        text.push_str(resource.get());
    }
    text.push(']');
    text
}
