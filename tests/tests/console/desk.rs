//! Someone before a browser, with a server and a tenant of their own.

use serde_json::{Value, json};
use tidings_tests::{Api, Browser, Database, Kind, Screen, Server, Tenant};

pub(crate) struct Desk {
    pub(crate) browser: Browser,
    pub(crate) server: Server,
    pub(crate) tenant: Tenant,
    pub(crate) database: Database,
}

impl Desk {
    pub(crate) fn new(screen: Screen) -> Self {
        Self::on(Kind::Sqlite, screen)
    }

    pub(crate) fn on(kind: Kind, screen: Screen) -> Self {
        let database = Database::new(kind);
        let server = Server::start(&database);
        let tenant = server.tenant("Acme");
        Desk { browser: Browser::start(screen), server, tenant, database }
    }

    /// Opens the console and signs in with this key, by keyboard alone: the field has the focus.
    #[track_caller]
    pub(crate) fn sign_in(&self, api: &Api) {
        self.browser.open(&format!("{}/", self.server.url()));
        self.browser.see("#key");
        self.browser.press(api.key());
        self.browser.enter();
        self.browser.see("#screens");
    }

    /// Goes to a screen by its address.
    pub(crate) fn go(&self, path: &str) {
        self.browser.script("location.hash = arguments[0]", &[json!(format!("#/{path}"))]);
    }

    /// What every visit must keep to: nothing was loaded from elsewhere, and no key stands in an address.
    #[track_caller]
    pub(crate) fn leave(&self) {
        let loaded = self.browser.script(
            "return [location.href, ...performance.getEntriesByType('resource').map((one) => one.name)]",
            &[],
        );
        let loaded = loaded.as_array().expect("a list");
        assert!(loaded.len() > 20, "the console's own files are among them: {loaded:?}");
        for url in loaded.iter().filter_map(Value::as_str) {
            assert!(url.starts_with(&self.server.url()), "{url} is elsewhere");
            for api in
                [&self.tenant.admin, &self.tenant.consumer, &self.tenant.producer, &self.server.operator()]
            {
                assert!(!url.contains(api.key()), "a key stands in an address");
            }
        }
    }
}

/// An event about an experiment, by someone.
pub(crate) fn event(kind: &str, comment: &str) -> Value {
    json!({"data": {"type": "notification",
        "attributes": {"type": kind, "comment": comment, "data": {"amount": 100}},
        "relationships": {
            "entity": {"data": {"type": "entity", "id": "experiment:12"}},
            "createdBy": {"data": {"type": "user", "id": "100"}}}},
        "included": [
            {"type": "entity", "id": "experiment:12", "attributes": {"name": "Yield of step 4"}},
            {"type": "user", "id": "100", "attributes": {"firstName": "Ada", "lastName": "Byron"}}]})
}
