//! A plain blocking HTTP client, and what most suites do with it: tenants, keys, events, settings, lists.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_api::error::ErrorCode;
use tidings_api::{ATOMIC_EXTENSION, BASE_PATH, MEDIA_TYPE};
use ureq::http::{HeaderMap, Request};

use crate::server::next_for_events;

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request, for messages.
    pub request: String,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The value of a header, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{self}: not JSON: {error}"))
    }

    /// The body, given that the status is the expected one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The first error, given that this is a whole errors document with this status.
    #[track_caller]
    pub fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        assert!(self.header("content-type").starts_with(MEDIA_TYPE), "{self}: {:?}", self.headers);
        let document = self.json();
        let errors = document["errors"].as_array().unwrap_or_else(|| panic!("{self}: no errors"));
        assert!(!errors.is_empty(), "{self}: no errors");
        for error in errors {
            let code: ErrorCode = serde_json::from_value(error["code"].clone()).unwrap_or(ErrorCode::Other);
            assert!(code != ErrorCode::Other, "{self}: the code is not in the list");
            assert_eq!(error["status"], code.status().to_string(), "{self}");
            assert_eq!(error["title"], code.title(), "{self}");
            assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self}: no detail");
        }
        let first = errors[0].clone();
        assert_eq!(first["status"], status.to_string(), "{self}: body and status line differ");
        first
    }

    /// The first error, given that it has this code (and therefore its status).
    #[track_caller]
    pub fn refused_as(&self, code: ErrorCode) -> Value {
        let error = self.refused(code.status());
        assert_eq!(error["code"], code.as_str(), "{self}");
        error
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.text.char_indices().nth(2000).map_or(self.text.len(), |(at, _)| at);
        write!(f, "{} -> {}: {}", self.request, self.status, &self.text[..end])
    }
}

/// A client with one key, or none. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    agent: ureq::Agent,
    url: String,
    key: Option<String>,
}

impl Api {
    /// A client of the server at this URL.
    pub fn new(url: &str, key: Option<&str>) -> Self {
        Self::patient(url, key, Duration::from_secs(90))
    }

    /// A client of the server at this URL, that waits so long for an answer.
    pub fn patient(url: &str, key: Option<&str>, patience: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(patience))
            .max_idle_connections_per_host(16)
            .proxy(None)
            .build();
        Api { agent: config.into(), url: url.to_owned(), key: key.map(str::to_owned) }
    }

    /// The same server with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Api { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The key.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }

    /// Where the server listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request. A path that begins with `/` counts from the host, a URL is taken as it is, anything else
    /// counts from the base path. The key goes along unless a header of its name is given.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let is_event = method == "POST" && matches!(path, "notifications" | "operations");
        let host = if is_event { next_for_events(&self.url) } else { self.url.clone() };
        let url = if path.starts_with("http") {
            path.to_owned()
        } else if path.starts_with('/') {
            format!("{host}{path}")
        } else {
            format!("{host}{BASE_PATH}/{path}")
        };
        let mut request = Request::builder().method(method).uri(&url);
        // Whichever server it goes to, its links are those of the first.
        if host != self.url {
            request = request.header("host", self.url.trim_start_matches("http://"));
        }
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            let extended = format!("{MEDIA_TYPE}; ext=\"{ATOMIC_EXTENSION}\"");
            request = request
                .header("content-type", if path == "operations" { extended.as_str() } else { MEDIA_TYPE });
        }
        let answer = match body {
            Some(body) => self.agent.run(request.body(body).expect("a well-formed request")),
            None => self.agent.run(request.body(()).expect("a well-formed request")),
        };
        let mut answer = answer?;
        let text = answer.body_mut().with_config().limit(256 << 20).read_to_string()?;
        Ok(Answer {
            request: format!("{method} {path}"),
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text,
        })
    }

    /// Sends a request.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        match self.try_send(method, path, headers, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// POST of a document.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Some(body.to_string().as_bytes()))
    }

    /// PATCH of a document.
    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[], Some(body.to_string().as_bytes()))
    }

    /// DELETE.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    /// Posts an event that must be stored, and gives its id.
    #[track_caller]
    pub fn post_event(&self, event: &Value) -> u64 {
        let answer = self.post("notifications", event);
        id_of(&answer.expect(201)["data"])
    }

    /// The ids on a page of the list.
    #[track_caller]
    pub fn ids(&self, query: &str) -> Vec<u64> {
        let page = self.get(&format!("notifications?{query}")).expect(200);
        page["data"].as_array().expect("a list").iter().map(id_of).collect()
    }

    /// Every notification that a query selects, by following `next` from the beginning, in the order of the sequence.
    #[track_caller]
    pub fn all(&self, query: &str) -> Vec<Value> {
        let and = if query.is_empty() { "" } else { "&" };
        let mut path = format!("notifications?sort=sequence&page[size]=1000&page[after]=0{and}{query}");
        let mut all = Vec::new();
        loop {
            let page = self.get(&path).expect(200);
            all.extend(page["data"].as_array().expect("a list").iter().cloned());
            match page["links"]["next"].as_str() {
                Some(next) => path = next.to_owned(),
                None => return all,
            }
        }
    }

    /// How many notifications there are, dismissed or not.
    #[track_caller]
    pub fn count(&self) -> usize {
        self.all("filter[isDismissed]=true,false").len()
    }

    /// Changes flags of a notification in the shape of JSON:API.
    #[track_caller]
    pub fn set(&self, id: u64, flags: Value) -> Answer {
        let body = json!({"data": {"type": "notification", "id": id.to_string(), "attributes": flags}});
        self.patch(&format!("notifications/{id}"), &body)
    }

    /// Changes the tenant's settings.
    #[track_caller]
    pub fn settings(&self, attributes: Value) -> Answer {
        let body = json!({"data": {"type": "externalNotifications", "attributes": attributes}});
        self.patch("external-notifications", &body)
    }
}

/// A tenant and a client for each role.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The id.
    pub id: String,
    /// The secret that signs its pushes.
    pub signing_secret: String,
    /// May do everything.
    pub admin: Api,
    /// May post.
    pub producer: Api,
    /// May read and change flags.
    pub consumer: Api,
}

impl Tenant {
    /// Creates a tenant and its keys.
    #[track_caller]
    pub fn create(operator: &Api, name: &str) -> Self {
        let body = json!({"data": {"type": "tenant", "attributes": {"name": name}}});
        let tenant = operator.post("tenants", &body).expect(201);
        let id = tenant["data"]["id"].as_str().expect("an id").to_owned();
        let signing_secret =
            tenant["data"]["attributes"]["signingSecret"].as_str().unwrap_or_default().to_owned();
        let key = |role: &str| operator.with_key(&create_key(operator, &id, role).1);
        Tenant {
            signing_secret,
            admin: key("admin"),
            producer: key("producer"),
            consumer: key("consumer"),
            id,
        }
    }

    /// Turns the push on: this URL, and whether a delivered notification is dismissed. Retries come quickly.
    #[track_caller]
    pub fn push_to(&self, url: &str, auto_dismiss: bool) {
        let retry = json!({"kind": "exponential", "firstSeconds": 1, "factor": 1.0, "capSeconds": 1, "attempts": 100});
        let push = json!({"url": url, "enabled": true, "autoDismiss": auto_dismiss, "retry": retry});
        self.admin.settings(json!({"push": push})).expect(200);
    }

    /// `meta.push` of a notification.
    #[track_caller]
    pub fn push_status(&self, id: u64) -> Value {
        self.consumer.get(&format!("notifications/{id}")).expect(200)["data"]["meta"]["push"].clone()
    }

    /// Waits until the push of a notification is in this state.
    #[track_caller]
    pub fn wait_for_state(&self, id: u64, state: &str) -> Value {
        crate::until(&format!("push state {state} of {id}"), crate::wait::SOON, || {
            let status = self.push_status(id);
            (status["state"] == state).then_some(status)
        })
    }
}

/// Creates a key, and gives its id and the key itself.
#[track_caller]
pub fn create_key(operator: &Api, tenant: &str, role: &str) -> (String, String) {
    let body = json!({"data": {"type": "apiKey", "attributes": {"name": format!("a {role}"), "role": role}}});
    let key = operator.post(&format!("tenants/{tenant}/api-keys"), &body).expect(201);
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    (text(&key["data"]["id"]), text(&key["data"]["attributes"]["key"]))
}

/// The smallest event of a type.
pub fn event(event_type: &str) -> Value {
    json!({"data": {"type": "notification", "attributes": {"type": event_type}}})
}

/// The id of a resource, as a number.
#[track_caller]
pub fn id_of(resource: &Value) -> u64 {
    resource["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no id in {resource}"))
}

/// Encodes a value for a query.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
