//! The description: current, complete, and fit to generate clients from.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::server::command;
use tidings_tests::wait::SOON;
use tidings_tests::{Database, Kind, Receiver, Server};

const METHODS: [&str; 5] = ["get", "post", "patch", "put", "delete"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn printed() -> String {
    let output = command().arg("openapi").current_dir(std::env::temp_dir()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn document() -> Value {
    serde_json::from_str(&printed()).unwrap()
}

/// Every operation with its place.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                all.push((format!("{method} {path}"), operation));
            }
        }
    }
    assert!(all.len() >= 15, "only {} operations", all.len());
    all
}

#[test]
fn the_checked_in_description_is_current() {
    let checked_in =
        std::fs::read_to_string(root().join("openapi/openapi.json")).expect("openapi/openapi.json");
    assert!(
        checked_in.trim_end() == printed().trim_end(),
        "openapi/openapi.json is out of date: tidings-server openapi > openapi/openapi.json"
    );
}

#[test]
fn every_route_of_the_source_is_described() {
    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    sources(&root().join("server/src/http"), &mut files);
    let described: BTreeSet<String> = operations(&document()).into_iter().map(|(place, _)| place).collect();
    let mut routes = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().map(str::trim) {
            for method in METHODS {
                let Some(rest) = line.strip_prefix(&format!("#[{method}(\"")) else { continue };
                let path = rest.split('"').next().unwrap();
                // A pattern such as `{id:.*}` is described as `{id}`.
                let path: String = path
                    .split('/')
                    .map(|part| match part.split_once(':') {
                        Some((name, _)) if part.starts_with('{') => format!("{name}}}"),
                        _ => part.to_owned(),
                    })
                    .collect::<Vec<_>>()
                    .join("/");
                routes += 1;
                let found = [format!("{method} {path}"), format!("{method} /api/rest/v1.0{path}")];
                assert!(
                    found.iter().any(|place| described.contains(place)),
                    "{method} {path} of {} isn't described",
                    file.display()
                );
            }
        }
    }
    assert!(routes >= 15, "only {routes} routes found: are they declared otherwise now?");
}

#[test]
fn each_operation_says_what_a_client_needs() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (place, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{place}: no operationId"));
        assert!(ids.insert(id.to_owned()), "{place}: operationId {id} is used twice");
        let said = |name: &str| operation[name].as_str().is_some_and(|text| text.len() > 5);
        assert!(said("summary") || said("description"), "{place}: neither summary nor description");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{place}: no success");
        let path = place.split_once(' ').unwrap().1;
        if !path.starts_with("/api/") {
            continue;
        }
        let security = operation.get("security").or_else(|| document.get("security"));
        assert!(
            security.and_then(Value::as_array).is_some_and(|list| !list.is_empty()),
            "{place}: no security"
        );
        for status in ["401", "403"] {
            assert!(responses.contains_key(status), "{place}: no {status}");
        }
        if path.contains('{') {
            assert!(responses.contains_key("404"), "{place}: no 404");
        }
        if operation.get("requestBody").is_some() {
            for status in ["400", "413", "415", "422"] {
                assert!(responses.contains_key(status), "{place}: no {status}");
            }
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let described = parameter["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(described, "{place}: {} has no description", parameter["name"]);
        }
        for name in path.split(['{', '}']).skip(1).step_by(2) {
            let parameters = operation["parameters"].as_array();
            let declared = parameters
                .is_some_and(|all| all.iter().any(|one| one["name"] == name && one["in"] == "path"));
            assert!(declared, "{place}: {name} isn't declared");
        }
    }
}

#[test]
fn both_versions_are_clean_for_spectral() {
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ruleset.yaml"), "extends: [spectral:oas]\n").unwrap();
    let spectral = root().join("target/spectral/node_modules/.bin/spectral");
    assert!(spectral.is_file(), "{} is missing: start the tests with tests/run", spectral.display());
    for version in ["3.1", "3.0"] {
        let answer = server.anonymous().get(&format!("/openapi.json?version={version}"));
        let told = answer.expect(200)["openapi"].as_str().unwrap().to_owned();
        assert!(told.starts_with(version), "{told}");
        let file = dir.path().join(format!("{version}.json"));
        std::fs::write(&file, &answer.text).unwrap();
        let output = std::process::Command::new(&spectral)
            .args(["lint", "--fail-severity", "hint", "--ruleset", "ruleset.yaml"])
            .arg(&file)
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let other = server.anonymous().get("/openapi.json?version=2.0");
    other.refused_as(ErrorCode::InvalidParameter);
}

#[test]
fn every_reference_resolves() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member.as_str()) {
                        ("$ref", Some(target)) => found.push(target.to_owned()),
                        _ => references(member, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for target in found {
        let pointer = target.strip_prefix('#').unwrap_or_else(|| panic!("{target} leads elsewhere"));
        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
}

#[test]
fn the_list_describes_every_parameter() {
    let document = document();
    let list = &document["paths"]["/api/rest/v1.0/notifications"]["get"];
    let names: BTreeSet<&str> = list["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    for name in [
        "filter[isDismissed]",
        "filter[isRead]",
        "filter[isFlagged]",
        "filter[type]",
        "filter[entity]",
        "filter[createdBy]",
        "filter[push]",
        "filter[createdAt][ge]",
        "filter[createdAt][lt]",
        "sort",
        "page[size]",
        "page[after]",
        "page[before]",
        "include",
        "fields[notification]",
        "fields[user]",
        "fields[entity]",
        "page[limit]",
        "page[offset]",
        "status",
        "from",
        "to",
    ] {
        assert!(names.contains(name), "{name} isn't described");
    }
}

#[test]
fn what_the_server_sends_is_described_as_it_is_sent() {
    let document = document();
    let header_names = |webhook: &str| -> BTreeSet<String> {
        let parameters = document["webhooks"][webhook]["post"]["parameters"].as_array().unwrap();
        assert!(parameters.iter().all(|one| one["in"] == "header" && one["description"].is_string()));
        parameters.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let schema = |webhook: &str, media_type: &str| {
        document["webhooks"][webhook]["post"]["requestBody"]["content"][media_type]["schema"].clone()
    };
    assert_eq!(schema("alert", "application/json")["$ref"], "#/components/schemas/AlertDocument");
    let kinds = &document["components"]["schemas"]["AlertKind"];
    for kind in ["failing", "retries100", "disabled", "resumed", "backlog", "test"] {
        assert!(kinds.to_string().contains(&format!("\"{kind}\"")), "{kind} isn't among {kinds}");
    }
    for media_type in ["application/json", "application/vnd.api+json"] {
        let pushed = schema("notification", media_type);
        assert_eq!(pushed["allOf"][0]["$ref"], "#/components/schemas/NotificationDocument", "{pushed}");
    }
    let events = ["notification", "alert"].map(|webhook| schema(webhook, "application/cloudevents+json"));
    assert_eq!(events[0]["properties"]["data"], schema("notification", "application/json"));
    assert_eq!(events[1]["properties"]["data"], schema("alert", "application/json"));

    // What really comes has each header that is described, and none of the server's own besides. A test has no entity, and
    // so its event has no subject.
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let tenant = server.tenant("described");
    let (pushes, alerts) = (Receiver::accepting(), Receiver::accepting());
    tenant
        .admin
        .settings(json!({"push": {"url": pushes.url()}, "alerts": {"url": alerts.url()},
            "payload": {"format": "cloudEventsBinary"}}))
        .expect(200);
    tenant.admin.post("external-notifications/test", &json!({})).expect(200);
    tenant.admin.post("external-notifications/alerts/test", &json!({})).expect(200);
    for (webhook, receiver) in [("notification", &pushes), ("alert", &alerts)] {
        let request = receiver.wait_for(1, SOON).remove(0);
        let own = request.headers.iter().map(|(name, _)| name.to_string());
        let prefixes = ["webhook-", "tidings-", "ce-"];
        let own: BTreeSet<String> =
            own.filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))).collect();
        let mut described = header_names(webhook);
        described.remove("ce-subject");
        assert_eq!(own, described, "{webhook}");
    }
}

#[test]
fn the_server_shows_its_description_without_a_key() {
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let anonymous = server.anonymous();
    let served = anonymous.get("/openapi.json").expect(200);
    assert_eq!(served["paths"], document()["paths"]);
    let docs = anonymous.get("/docs/api/");
    assert_eq!(docs.status, 200, "{docs}");
    assert!(docs.header("content-type").starts_with("text/html"), "{:?}", docs.headers);
    assert!(
        docs.text.contains("<html") && !docs.text.contains("https://"),
        "it needs nothing from elsewhere"
    );
    let answer = anonymous.get("/docs");
    assert_eq!(answer.status, 200, "{answer}");
}
