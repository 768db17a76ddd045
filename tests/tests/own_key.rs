//! `GET /api-key`: a key says what it is good for, and nothing that it may not know.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_tests::{Server, on_both};

on_both! {
    fn each_key_tells_its_role_and_its_tenant(db) {
        let server = Server::start(&db);
        let (acme, other) = (server.tenant("Acme"), server.tenant("Other"));
        let listed = server.operator().get(&format!("tenants/{}/api-keys", acme.id)).expect(200);
        for (api, role) in [(&acme.producer, "producer"), (&acme.consumer, "consumer"), (&acme.admin, "admin")] {
            let own = api.get("api-key").expect(200);
            assert_eq!(own["data"]["type"], "apiKey");
            assert_eq!(own["data"]["attributes"]["role"], role);
            let known = listed["data"].as_array().unwrap().iter().find(|key| key["id"] == own["data"]["id"]);
            let known = known.unwrap_or_else(|| panic!("{own} is none of {listed}"));
            assert_eq!(own["data"]["attributes"]["name"], known["attributes"]["name"]);
            assert_eq!(known["attributes"]["role"], role);
            let tenant = json!({"type": "tenant", "id": acme.id});
            assert_eq!(own["data"]["relationships"]["tenant"]["data"], tenant);
            assert_eq!(own["included"], json!([{"type": "tenant", "id": acme.id, "attributes": {"name": "Acme"}}]));
            assert!(own["links"]["self"].as_str().unwrap().ends_with("/api/rest/v1.0/api-key"), "{own}");
            assert!(!own.to_string().contains(api.key()), "the key itself is shown");
            api.get("api-key?tenant=1").refused_as(ErrorCode::UnknownParameter);
        }
        assert_eq!(other.consumer.get("api-key").expect(200)["included"][0]["attributes"]["name"], "Other");

        let own = server.operator().get("api-key").expect(200);
        assert_eq!(own["data"]["id"], "operator");
        assert_eq!(own["data"]["attributes"], json!({"name": "operator", "role": "operator"}));
        assert_eq!(own["data"]["relationships"]["tenant"]["data"], Value::Null);
        assert_eq!(own["included"], json!([]));

        server.anonymous().get("api-key").refused_as(ErrorCode::Unauthenticated);
        let (id, key) = tidings_tests::api::create_key(&server.operator(), &acme.id, "consumer");
        let revoked = server.operator().with_key(&key);
        assert_eq!(revoked.get("api-key").expect(200)["data"]["id"], id.as_str());
        assert_eq!(server.operator().delete(&format!("tenants/{}/api-keys/{id}", acme.id)).status, 204);
        revoked.get("api-key").refused_as(ErrorCode::Unauthenticated);
    }
}
