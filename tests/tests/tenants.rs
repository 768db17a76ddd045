//! What a tenant is and wants: its settings, its selection, its keys, and how the server says that it stands well.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::time::Duration;

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_api::event_type::SIGNALS_TYPES;
use tidings_tests::api::create_key;
use tidings_tests::{Server, event, on_both, until};

on_both! {
    fn only_selected_types_are_stored(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("selection");
        let select = |types: Value| {
            tenant.admin.settings(json!({"selection": {"types": types}})).expect(200);
        };
        let stored = |event_type: &str| {
            let answer = tenant.producer.post("notifications", &event(event_type));
            match answer.status {
                201 => true,
                _ => {
                    assert_eq!(answer.expect(200), json!({"meta": {"stored": false, "reason": "typeNotSelected"}}));
                    false
                }
            }
        };
        assert!(stored("close") && stored("my.own"), "a new tenant has everything");
        let names = || SIGNALS_TYPES.iter().map(|(name, _)| *name).chain(["my.own", "Close"]);
        for (types, expected) in [
            (json!(["allExportToPdfZipEvents"]), vec!["print"]),
            (json!(["topLevelEntityCreation"]), vec!["create"]),
            (json!(["my.own", "void"]), vec!["void", "my.own"]),
            (json!([]), vec![]),
        ] {
            select(types.clone());
            let taken: Vec<_> = names().filter(|name| stored(name)).collect();
            assert_eq!(taken, expected, "{types}");
        }
        select(json!(["allSigningEvents"]));
        let taken: Vec<_> = names().filter(|name| stored(name)).collect();
        assert_eq!(taken.len(), 15, "{taken:?}");
        assert!(!taken.contains(&"create") && !taken.contains(&"print"));
        select(json!(["allSigningEvents", "allExportToPdfZipEvents", "topLevelEntityCreation"]));
        assert_eq!(names().filter(|name| stored(name)).count(), 17);

        tenant.admin.settings(json!({"enabled": false})).expect(200);
        let answer = tenant.producer.post("notifications", &event("close")).expect(200);
        assert_eq!(answer, json!({"meta": {"stored": false, "reason": "disabled"}}));
        let add = json!({"atomic:operations": [{"op": "add", "data": event("close")["data"]}]});
        let results = tenant.producer.post("operations", &add).expect(200);
        assert_eq!(results["atomic:results"][0]["meta"]["stored"], false, "{results}");
        // What isn't stored uses no number.
        let before = tenant.consumer.count() as u64;
        tenant.admin.settings(json!({"enabled": true})).expect(200);
        assert_eq!(tenant.producer.post_event(&event("close")), before + 1);
    }

    fn settings_merge_and_null_is_the_default(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("settings");
        let attributes = || tenant.admin.get("external-notifications").expect(200)["data"]["attributes"].clone();
        let defaults = attributes();
        assert_eq!(defaults, json!({
            "enabled": true,
            "profile": null,
            "push": {"url": null, "enabled": true, "userAgent": null, "contentType": "application/json",
                "timeoutSeconds": 15, "maxConcurrency": 32, "rateLimit": null, "ordering": "none",
                "authentication": {"kind": "none"}, "tls": {"clientCertificate": null, "authorities": null},
                "signing": {"overlapSeconds": 86400}, "clientId": tenant.id, "clientIdHeader": "X-AdobeSign-ClientId",
                "acknowledgement": {"kind": "status"}, "verification": {"kind": "none"},
                "retry": {"kind": "exponential", "firstSeconds": 5, "factor": 2.0, "capSeconds": 43200,
                    "giveUpAfterSeconds": null, "attempts": 20, "jitter": 0.2},
                "disableAfterSeconds": null, "autoDismiss": false},
            "payload": {"format": "jsonApi", "detail": "full", "fields": {}, "optionalFields": [], "maxBytes": 10_000_000},
            "selection": {"types": ["*"], "scope": {"kind": "all"}, "columns": [], "condition": null, "units": {}},
            "retention": {"days": 180, "undeliveredDays": null},
            "alerts": {"email": null, "url": null, "backlogAgeSeconds": null}
        }));
        let url = "http://127.0.0.1:9/hook";
        let answer = tenant.admin.settings(json!({"push": {"url": url, "autoDismiss": true}, "retention": {"days": 30}})).expect(200);
        assert_eq!(answer["data"]["attributes"], attributes(), "the answer is the whole resource");
        assert_eq!(answer["data"]["id"], tenant.id.as_str());
        let mut expected = defaults.clone();
        expected["push"]["url"] = json!(url);
        expected["push"]["autoDismiss"] = json!(true);
        expected["retention"]["days"] = json!(30);
        assert_eq!(attributes(), expected);

        let secret = "a-secret-value-of-a-header";
        tenant.admin.settings(json!({"push": {"authentication": {"kind": "header", "name": "X-Hook", "value": secret},
            "signing": {"secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}})).expect(200);
        let whole = tenant.admin.get("external-notifications").text;
        assert!(!whole.contains(secret) && !whole.contains("whsec_"), "{whole}");
        expected["push"]["authentication"] = json!({"kind": "header", "name": "X-Hook"});
        assert_eq!(attributes(), expected);
        // A part of the whole leaves the rest.
        tenant.admin.settings(json!({"push": {"retry": {"attempts": 3}}})).expect(200);
        expected["push"]["retry"]["attempts"] = json!(3);
        assert_eq!(attributes(), expected);
        tenant.admin.settings(json!({})).expect(200);
        assert_eq!(attributes(), expected);

        tenant.admin.settings(json!({"push": {"retry": {"attempts": null}}})).expect(200);
        expected["push"]["retry"]["attempts"] = json!(20);
        assert_eq!(attributes(), expected);
        tenant.admin.settings(json!({"push": null, "retention": null, "selection": {"types": ["close"]}})).expect(200);
        expected = defaults.clone();
        expected["selection"]["types"] = json!(["close"]);
        assert_eq!(attributes(), expected);
        tenant.admin.settings(json!({"selection": null, "enabled": null})).expect(200);
        assert_eq!(attributes(), defaults);

        let health = tenant.admin.get("external-notifications").expect(200)["data"]["meta"].clone();
        assert_eq!(health["push"]["state"], "none");
        assert_eq!(health["undelivered"], 0);
    }

    fn settings_survive_a_restart(db) {
        let mut server = Server::start(&db);
        let tenant = server.tenant("restart");
        tenant.admin.settings(json!({"retention": {"days": 7}, "selection": {"types": ["void"]}})).expect(200);
        tenant.producer.post_event(&event("void"));
        assert!(server.term().success());
        server.restart();
        let attributes = tenant.admin.get("external-notifications").expect(200)["data"]["attributes"].clone();
        assert_eq!(attributes["retention"]["days"], 7);
        assert_eq!(attributes["selection"]["types"], json!(["void"]));
        assert_eq!(tenant.producer.post_event(&event("void")), 2);
    }

    fn tenants_and_keys_are_made_read_changed_and_deleted(db) {
        let server = Server::start(&db);
        let operator = server.operator();
        let body = |name: &str| json!({"data": {"type": "tenant", "attributes": {"name": name}}});
        let answer = operator.post("tenants", &body("Acme"));
        let made = answer.expect(201);
        let id = made["data"]["id"].as_str().unwrap().to_owned();
        assert!(answer.header("location").ends_with(&format!("/tenants/{id}")));
        assert!(made["data"]["attributes"]["signingSecret"].as_str().unwrap().starts_with("whsec_"));
        let path = format!("tenants/{id}");
        let read = operator.get(&path).expect(200);
        assert_eq!(read["data"]["attributes"]["name"], "Acme");
        assert!(read["data"]["attributes"].get("signingSecret").is_none());
        let listed = operator.get("tenants").expect(200);
        assert!(listed["data"].as_array().unwrap().iter().any(|tenant| tenant["id"] == id.as_str()));

        let change = json!({"data": {"type": "tenant", "id": id, "attributes": {"name": "Acme Ltd"}}});
        assert_eq!(operator.patch(&path, &change).expect(200)["data"]["attributes"]["name"], "Acme Ltd");
        let mut wrong = change;
        wrong["data"]["id"] = json!(uuid::Uuid::new_v4().to_string());
        operator.patch(&path, &wrong).refused_as(ErrorCode::Conflict);
        operator.post("tenants", &body("")).refused_as(ErrorCode::InvalidValue);
        operator.post("tenants", &body(&"n".repeat(256))).refused_as(ErrorCode::InvalidValue);
        operator.post("tenants", &json!({"data": {"type": "customer", "attributes": {"name": "x"}}})).refused_as(ErrorCode::Conflict);
        operator.post("tenants", &json!({"data": {"type": "tenant", "attributes": {"name": "x", "plan": 1}}})).refused_as(ErrorCode::UnknownMember);

        let keys = format!("{path}/api-keys");
        let (key_id, key) = create_key(&operator, &id, "admin");
        let listed = operator.get(&keys).expect(200);
        assert_eq!(listed["data"][0]["attributes"]["name"], "a admin");
        let wrong = json!({"data": {"type": "apiKey", "attributes": {"name": "x", "role": "owner"}}});
        operator.post(&keys, &wrong).refused_as(ErrorCode::InvalidValue);
        let admin = operator.with_key(&key);
        admin.post("notifications", &event("close")).expect(201);
        assert_eq!(operator.delete(&format!("{keys}/{key_id}")).status, 204);
        operator.delete(&format!("{keys}/{key_id}")).refused_as(ErrorCode::NotFound);

        assert_eq!(operator.delete(&path).status, 204);
        operator.get(&path).refused_as(ErrorCode::NotFound);
        operator.delete(&path).refused_as(ErrorCode::NotFound);
        let listed = operator.get("tenants").expect(200);
        assert!(!listed["data"].as_array().unwrap().iter().any(|tenant| tenant["id"] == id.as_str()));
    }

    fn health_and_metrics_tell_how_it_stands(db) {
        let mut server = Server::start(&db);
        let anonymous = server.anonymous();
        for path in ["/healthz", "/readyz"] {
            let answer = anonymous.get(path);
            assert_eq!(answer.status, 200, "{answer}");
        }
        let tenant = server.tenant("metrics");
        for _ in 0..3 {
            tenant.producer.post_event(&event("close"));
        }
        let metrics = until("the metrics", Duration::from_secs(10), || {
            let answer = anonymous.get("/metrics");
            assert_eq!(answer.status, 200, "{answer}");
            answer.text.lines().any(|line| !line.starts_with('#') && line.ends_with(" 3")).then_some(answer)
        });
        assert!(metrics.header("content-type").contains("openmetrics") || metrics.header("content-type").starts_with("text/plain"));
        assert!(metrics.text.contains("# TYPE tidings_"), "{metrics}");
        for secret in [tenant.producer.key(), tenant.admin.key(), tenant.signing_secret.as_str()] {
            assert!(!metrics.text.contains(secret) && !server.log().contains(secret));
        }
        assert!(server.term().success());
    }
}
