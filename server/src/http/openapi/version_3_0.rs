//! The description as OpenAPI 3.0, for generators that don't read 3.1 yet.
//!
//! What 3.1 took over from JSON Schema is said in the way of 3.0: `null` among the types is `nullable`, members beside a
//! `$ref` stand around it, a schema has one `example`, webhooks are an extension.

use serde_json::{Map, Value, json};

/// The description, as it would be written in 3.0.
pub(super) fn convert(mut document: Value) -> Value {
    let described = document.clone();
    schemas(&mut document, &described);
    document["openapi"] = json!("3.0.3");
    if let Some(license) = document.pointer_mut("/info/license").and_then(Value::as_object_mut) {
        license.remove("identifier");
    }
    if let Some(webhooks) = document.as_object_mut().and_then(|all| all.remove("webhooks")) {
        document["x-webhooks"] = webhooks;
    }
    document
}

/// Goes through all that may be a schema, from within.
fn schemas(value: &mut Value, document: &Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| schemas(item, document)),
        Value::Object(members) => {
            // An example is data, whatever its members are called.
            let schemas_within = members.iter_mut().filter(|(name, _)| *name != "example");
            schemas_within.for_each(|(_, member)| schemas(member, document));
            schema(members);
            if members.contains_key("nullable") && !members.contains_key("type") {
                // Without a type beside it, it would mean nothing.
                let kind = kind(&Value::Object(members.clone()), document);
                members.extend(kind.map(|kind| ("type".to_owned(), kind)));
            }
        }
        _ => {}
    }
}

fn schema(members: &mut Map<String, Value>) {
    members.remove("propertyNames");
    if let Some(Value::Array(examples)) = members.get_mut("examples") {
        let first = examples.drain(..).next();
        members.remove("examples");
        members.extend(first.map(|first| ("example".to_owned(), first)));
    }
    if let Some(Value::Array(types)) = members.get_mut("type") {
        let before = types.len();
        types.retain(|name| name != "null");
        let is_nullable = types.len() < before;
        if let [only] = &mut types[..] {
            let only = only.take();
            members.insert("type".to_owned(), only);
        }
        if is_nullable {
            members.insert("nullable".to_owned(), json!(true));
        }
    }
    if let Some(Value::Array(choices)) = members.get_mut("oneOf") {
        let before = choices.len();
        choices.retain(|choice| choice.get("type") != Some(&json!("null")));
        if choices.len() < before {
            if let [only] = &mut choices[..] {
                let only = only.take();
                members.remove("oneOf");
                members.extend(only.as_object().cloned().unwrap_or_default());
            }
            members.insert("nullable".to_owned(), json!(true));
        }
    }
    if members.len() > 1
        && let Some(reference) = members.remove("$ref")
    {
        members.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
    }
}

/// The type that a schema comes to, if it is one.
fn kind(schema: &Value, document: &Value) -> Option<Value> {
    if let Some(kind) = schema.get("type") {
        return Some(kind.clone());
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return kind(document.pointer(reference.trim_start_matches('#'))?, document);
    }
    let choices = schema.get("allOf").or_else(|| schema.get("oneOf"))?;
    let mut kinds = choices.as_array()?.iter().map(|choice| kind(choice, document));
    let first = kinds.next()??;
    kinds.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_3_1_alone_has_is_said_in_the_way_of_3_0() {
        let cases = [
            (json!({"type": ["string", "null"]}), json!({"type": "string", "nullable": true})),
            (
                json!({"oneOf": [{"$ref": "#/a", "description": "d"}, {"type": "null"}]}),
                json!({"allOf": [{"$ref": "#/a"}], "description": "d", "nullable": true, "type": "object"}),
            ),
            (
                json!({"oneOf": [{"type": "null"}, {"type": "string"}, {"$ref": "#/a"}]}),
                json!({"oneOf": [{"type": "string"}, {"$ref": "#/a"}], "nullable": true}),
            ),
            (json!({"$ref": "#/a"}), json!({"$ref": "#/a"})),
            (json!({"examples": [1, 2]}), json!({"example": 1})),
            (json!({"example": {"type": ["a", "null"]}}), json!({"example": {"type": ["a", "null"]}})),
            (json!({"propertyNames": {}, "type": "object"}), json!({"type": "object"})),
        ];
        let document = json!({"a": {"oneOf": [{"type": "object"}]}});
        for (before, after) in cases {
            let mut schema = before.clone();
            schemas(&mut schema, &document);
            assert_eq!(schema, after, "{before}");
        }
    }

    #[test]
    fn webhooks_become_an_extension() {
        let document = convert(json!({
            "openapi": "3.1.0",
            "info": {"license": {"name": "a", "identifier": "b"}},
            "webhooks": {"push": {}},
        }));
        assert_eq!(
            document,
            json!({
                "openapi": "3.0.3",
                "info": {"license": {"name": "a"}},
                "x-webhooks": {"push": {}},
            })
        );
    }
}
