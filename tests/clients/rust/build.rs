//! Has progenitor make the client, of the document at `TIDINGS_OPENAPI`.

use std::env;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

fn main() {
    println!("cargo:rerun-if-env-changed=TIDINGS_OPENAPI");
    let path = env::var("TIDINGS_OPENAPI").expect("TIDINGS_OPENAPI names the document");
    println!("cargo:rerun-if-changed={path}");
    let document = fs::read_to_string(path).expect("the document can be read");
    let mut document = plain(serde_json::from_str(&document).expect("the document is JSON"));
    document["openapi"] = json!("3.0.3");
    let document = serde_json::from_value(document).expect("the document is one of OpenAPI 3.0");

    let mut settings = progenitor::GenerationSettings::default();
    settings.with_interface(progenitor::InterfaceStyle::Builder);
    let tokens = progenitor::Generator::new(&settings).generate_tokens(&document).expect("a client");
    let code = prettyplease::unparse(&syn::parse2(tokens).expect("progenitor makes Rust"));
    let out = env::var("OUT_DIR").expect("cargo tells where to write");
    fs::write(Path::new(&out).join("tidings.rs"), code).expect("the client can be written");
}

/// What progenitor takes: OpenAPI 3.0, where null is no type, and answers in `application/json`.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let is_ours = |name: &str| name.starts_with("application/vnd.api+json");
            let name = |name: String| if is_ours(&name) { "application/json".to_owned() } else { name };
            let mut members: Map<_, _> =
                members.into_iter().map(|(key, value)| (name(key), plain(value))).collect();
            let null = json!({"type": "null"});
            let alternatives = members.get_mut("oneOf").and_then(Value::as_array_mut);
            if let Some(one) =
                alternatives.and_then(|all| all.pop_if(|last| *last == null).and_then(|_| all.pop()))
            {
                members.remove("oneOf");
                members.insert("allOf".to_owned(), json!([one]));
                members.insert("nullable".to_owned(), json!(true));
            }
            if let Some(one) = members.get("type").and_then(|types| types.get(0)).cloned() {
                members.insert("type".to_owned(), one);
                members.insert("nullable".to_owned(), json!(true));
            }
            Value::Object(members)
        }
        Value::Array(items) => items.into_iter().map(plain).collect(),
        other => other,
    }
}
