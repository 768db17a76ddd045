//! The strict profile: documents that keep to every rule of JSON:API, for clients that know nothing else.

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_api::{ATOMIC_EXTENSION, MEDIA_TYPE, STRICT_PROFILE};
use tidings_tests::program::{ended, text};
use tidings_tests::{Answer, Api, Database, Kind, Language, Server, Tenant, on_both};

fn strict() -> String {
    format!("{MEDIA_TYPE}; profile=\"{STRICT_PROFILE}\"")
}

fn get(api: &Api, path: &str) -> Answer {
    api.send("GET", path, &[("accept", &strict())], None)
}

/// Four events about an entity by a user. What they bring has names that JSON:API doesn't allow, and more than they are
/// about.
fn stored(tenant: &Tenant) {
    for (nth, kind) in ["close", "print", "close", "print"].into_iter().enumerate() {
        tenant.producer.post_event(&json!({
            "data": {"type": "notification",
                "attributes": {"type": kind, "comment": format!("number {nth}"), "data": {"type": "inner"}},
                "relationships": {"entity": {"data": {"type": "entity", "id": "e:1"}},
                    "createdBy": {"data": {"type": "user", "id": "100"}}}},
            "included": [
                {"type": "entity", "id": "e:1", "attributes": {"id": "e:1", "type": "acid", "name": "Acid"}},
                {"type": "user", "id": "100"},
                {"type": "user", "id": "101"}],
        }));
    }
}

#[test]
fn clients_of_jsonapi_that_know_nothing_else_are_at_home() {
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let tenant = server.tenant("strict");
    stored(&tenant);
    let mut program = Language::build("jsonapi").program("conversation");
    program.env("TIDINGS_URL", server.url()).env("TIDINGS_KEY", tenant.admin.key());
    let output = ended(program);
    assert!(output.status.success(), "{}", text(&output));
    let said: Value = serde_json::from_slice(&output.stdout).expect("it says what it has read in JSON");
    let expected = json!({
        "posted": ["5", "close"],
        "pages": [
            [["1", "close", "Acid"], ["2", "print", "Acid"]],
            [["3", "close", "Acid"], ["4", "print", "Acid"]],
            [["5", "close", null]],
        ],
        "isRead": true,
        "refused": {"parameter": "status"},
        "media": strict(),
        "entity": ["entity", "Acid"],
        "isFlagged": true,
        "found": ["close", true, true, "Acid"],
        "listed": [["2", "print", "number 1"], ["4", "print", "number 3"]],
        "isDismissed": true,
    });
    assert_eq!(said, expected);
    let kept = &tenant.consumer.get("notifications/1").expect(200)["data"]["attributes"];
    assert_eq!([&kept["isRead"], &kept["isFlagged"], &kept["isDismissed"]], [true, true, true]);
}

#[test]
fn every_document_is_one_by_a_validator() {
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let (tenant, operator) = (server.tenant("strict"), server.operator());
    tenant.admin.settings(json!({"push": {"url": "http://127.0.0.1:9/"}})).expect(200);
    stored(&tenant);
    let job = json!({"action": "update", "set": {"isRead": true}, "ids": ["1"]});
    let job = tenant.admin.post("jobs", &json!({"data": {"type": "job", "attributes": job}})).expect(202);
    let job = job["data"]["id"].as_str().expect("a job has an id").to_owned();
    let mut documents = String::new();
    let mut add = |name: &str, answer: Answer| {
        assert_eq!(answer.header("content-type"), strict(), "{name}: {answer}");
        documents.push_str(&format!("{name}\t{}\n", answer.text));
    };
    for path in [
        "notifications",
        "notifications?sort=sequence&page[after]=0&page[size]=2",
        "notifications?page[limit]=2",
        "notifications/1",
        "users/100",
        "users/101?fields[user]=id",
        "entities/e:1",
        "deliveries",
        "deliveries/1",
        "deliveries/1/attempts",
        "jobs",
        &format!("jobs/{job}"),
        "external-notifications",
        "statistics",
        "api-key",
        "no/such/path",
        "notifications?no-such=parameter",
    ] {
        add(path, get(&tenant.admin, path));
    }
    let id = &tenant.id;
    for path in ["tenants", &format!("tenants/{id}"), &format!("tenants/{id}/api-keys"), "overview"] {
        add(path, get(&operator, path));
    }
    let accept = strict();
    let post = |path, body: Option<&Value>| {
        let headers = [("accept", accept.as_str()), ("content-type", accept.as_str())];
        tenant.admin.send("POST", path, &headers, body.map(Value::to_string).as_deref().map(str::as_bytes))
    };
    add("a test", post("external-notifications/test", Some(&json!({}))));
    let event = json!({"data": {"type": "notification", "attributes": {"eventType": "close"}}});
    add("a post", post("notifications", Some(&event)));
    add("a refusal", post("notifications", Some(&json!({"data": {"type": "notification"}}))));

    let language = Language::build("jsonapi");
    let said = |name: &str, documents: &str| {
        let file = database.dir().join(name);
        std::fs::write(&file, documents).expect("a file can be written");
        let mut program = language.program("documents");
        program.arg(file);
        let output = ended(program);
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(said("strict", &documents), "");
    // The shape of Signals isn't: were that not told, nothing would be.
    let other = tenant.consumer.get("notifications/1");
    assert!(said("signals", &format!("signals\t{}\n", other.text)).contains("attributes"));
}

on_both! {
    fn the_strict_shape_is_for_who_asks_and_nobody_else(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("strict");
        stored(&tenant);
        let plain = tenant.consumer.get("notifications/1").expect(200);
        assert_eq!((&plain["data"]["attributes"]["type"], &plain["data"]["attributes"]["id"]), (&json!("close"), &json!("1")));
        let answer = get(&tenant.consumer, "notifications/1");
        assert_eq!(answer.header("vary"), "Accept");
        let one = answer.expect(200);
        assert_eq!(one["jsonapi"], json!({"version": "1.1", "profile": [STRICT_PROFILE]}));
        let attributes = &one["data"]["attributes"];
        assert_eq!(attributes["eventType"], "close");
        assert_eq!((attributes.get("type"), attributes.get("id")), (None, None));
        assert_eq!(attributes["data"], json!({"type": "inner"}), "what is inside is the event's own");
        let links = &one["data"]["relationships"]["entity"]["links"];
        assert_eq!(links, &json!({"related": format!("{}/api/rest/v1.0/entities/e:1", server.url())}));
        let included = json!([
            {"type": "entity", "id": "e:1", "attributes": {"name": "Acid"}},
            {"type": "user", "id": "100"}]);
        assert_eq!(one["included"], included, "what no relationship leads to isn't included");
        let related = get(&tenant.consumer, "entities/e:1").expect(200);
        assert_eq!(related["data"]["attributes"], json!({"name": "Acid"}));

        let few = get(&tenant.consumer, "notifications/1?fields[notification]=eventType&fields[entity]=type,name").expect(200);
        assert_eq!(few["data"]["attributes"], json!({"eventType": "close"}));
        assert_eq!(few["included"][0]["attributes"], json!({"name": "Acid"}));
        for name in ["type", "id"] {
            let path = format!("notifications?fields[notification]={name}");
            get(&tenant.consumer, &path).refused_as(ErrorCode::InvalidParameter);
        }
        for (name, value) in [("status", "dismissed"), ("from", "2020-01-01T00:00:00Z"), ("to", "2020-01-01T00:00:00Z")] {
            let error = get(&tenant.consumer, &format!("notifications?{name}={value}")).refused_as(ErrorCode::UnknownParameter);
            assert_eq!(error["source"]["parameter"], name);
        }

        // Bodies, and what many operations come to.
        let flags = json!({"type": "notification", "id": "1", "attributes": {"isRead": true}});
        let add = json!({"type": "notification", "attributes": {"eventType": "sign"}});
        let body = json!({"atomic:operations": [{"op": "update", "data": flags}, {"op": "add", "data": add}]});
        let media = format!("{MEDIA_TYPE}; ext=\"{ATOMIC_EXTENSION}\"; profile=\"{STRICT_PROFILE}\"");
        let headers = [("accept", media.as_str()), ("content-type", media.as_str())];
        let done = tenant.admin.send("POST", "operations", &headers, Some(body.to_string().as_bytes()));
        assert_eq!(done.header("content-type"), media);
        let done = done.expect(200);
        assert_eq!(done["atomic:results"][0]["data"]["attributes"]["isRead"], true);
        assert_eq!(done["atomic:results"][1]["data"]["attributes"]["eventType"], "sign");
    }
}
