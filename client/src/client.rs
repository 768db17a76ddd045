//! The client and its calls.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use awc::http::Method;
use awc::http::header::HeaderValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidings_api::error::ErrorDocument;
use tidings_api::event::NotStoredDocument;
use tidings_api::notification::{FlagsData, FlagsDocument, ResourceDocument};
use tidings_api::settings::SettingsDocument;
use tidings_api::{BASE_PATH, MEDIA_TYPE};
use url::Url;

use crate::transport::{Answer, Request, Settings, Transport};
use crate::{Error, Event, Flags, NotificationDocument, Operations, Posted, Query, Sequence, SettingsPatch};

/// The way to one tenant of a Tidings server. Clone it freely: clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    base: Url,
    transport: Transport,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.inner.base.as_str()).finish_non_exhaustive()
    }
}

/// Settings of a [`Client`]. From [`Client::builder`].
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    base_url: String,
    key: String,
    timeout: Duration,
    retries: u32,
    max_body: usize,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// The tenant's key. Required. Its role decides which calls are allowed.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// Within which time an attempt must be complete, from connecting to the last byte of the answer.
    /// Default 30 s. An attempt that takes longer ends the call: only the caller knows whether to wait again.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often a call is tried again. Default 4.
    ///
    /// After 429, 502, 503, 504 and lost connections, with growing delays, and not before `Retry-After`; if that
    /// is more than a minute away, the call fails instead. No call does its work twice by being repeated:
    /// events carry an idempotency key, and flags and settings are set to values. A new job and a test are only sent
    /// again when the server has certainly not begun with them.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The largest answer to take, in bytes. Default 64 MiB.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The client. It connects when it is first used.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the URL or the key can't be used, [`Error::Start`] without resources for a thread.
    pub fn build(self) -> Result<Client, Error> {
        let base = base_url(&self.base_url)?;
        let mut key = HeaderValue::from_str(&self.key)
            .ok()
            .filter(|key| !key.is_empty())
            .ok_or_else(|| Error::Invalid("a key is required, of visible ASCII characters".to_owned()))?;
        key.set_sensitive(true);
        let ClientBuilder { timeout, retries, max_body, .. } = self;
        let transport = Transport::start(Settings { key, timeout, retries, max_body })?;
        Ok(Client { inner: Arc::new(Inner { base, transport }) })
    }
}

/// The URL below which every resource is.
fn base_url(text: &str) -> Result<Url, Error> {
    let invalid = |why: &str| Error::Invalid(format!("the base URL can't be used: {why}"));
    let mut url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("http or https is expected"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("it must not contain credentials"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it must not have a query or a fragment"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&if path.ends_with(BASE_PATH) { path } else { path + BASE_PATH });
    Ok(url)
}

impl Client {
    /// A client of the server at this URL, such as `http://127.0.0.1:8080`.
    pub fn builder(base_url: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            base_url: base_url.into(),
            key: String::new(),
            timeout: Duration::from_secs(30),
            retries: 4,
            max_body: 64 << 20,
        }
    }

    /// Posts an event. Once this returns [`Posted::Stored`], it is durable. Needs the role `producer`.
    ///
    /// # Errors
    /// After [`Error::Timeout`] or [`Error::Transport`] it is unknown whether the event is stored. To be able to
    /// post it again without storing it twice, give it an [`Event::event_id`].
    pub async fn post(&self, event: Event) -> Result<Posted, Error> {
        let mut request = self.request(Method::POST, &["notifications"])?;
        if event.attributes.event_id.is_none() {
            request.headers.push(("idempotency-key", unique()));
        }
        set_body(&mut request, MEDIA_TYPE.to_owned(), &event.into_document())?;
        let answer = self.send(request).await?;
        if answer.status == 201 {
            return Ok(Posted::Stored(decode(&answer)?));
        }
        match serde_json::from_slice::<NotStoredDocument>(&answer.body) {
            Ok(document) => Ok(Posted::NotSelected(document.meta.reason)),
            Err(_) => Ok(Posted::Duplicate(decode(&answer)?)),
        }
    }

    /// One notification. Needs the role `consumer`, as do all that read.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, id: Sequence) -> Result<NotificationDocument, Error> {
        self.read(&["notifications", &id.to_string()]).await
    }

    /// Changes flags of a notification.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn update(&self, id: Sequence, flags: Flags) -> Result<NotificationDocument, Error> {
        let mut request = self.request(Method::PATCH, &["notifications", &id.to_string()])?;
        let body = FlagsDocument::JsonApi { data: flags_data(id, flags) };
        set_body(&mut request, MEDIA_TYPE.to_owned(), &body)?;
        decode(&self.send(request).await?)
    }

    /// Many changes in one request, all or none.
    pub fn operations(&self) -> Operations {
        Operations::new(self.clone())
    }

    /// The list of notifications: say which, then read it as a page or as a stream.
    pub fn notifications(&self) -> Query {
        Query::new(self.clone())
    }

    /// The id of the newest notification that is kept, dismissed or not; [`Sequence::START`] if there is none.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn newest(&self) -> Result<Sequence, Error> {
        let page = self.notifications().any_dismissed().newest_first().page_size(1).page().await?;
        Ok(page.data.first().map_or(Sequence::START, |newest| newest.id))
    }

    /// A user, as the newest event told.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn user(&self, id: &str) -> Result<ResourceDocument, Error> {
        self.read(&["users", id]).await
    }

    /// An entity, as the newest event told.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn entity(&self, id: &str) -> Result<ResourceDocument, Error> {
        self.read(&["entities", id]).await
    }

    /// The tenant's settings, and the health of its push. Needs the role `admin`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn settings(&self) -> Result<SettingsDocument, Error> {
        self.read(&["external-notifications"]).await
    }

    /// Changes settings. What is left out stays. Needs the role `admin`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn update_settings(&self, settings: SettingsPatch) -> Result<SettingsDocument, Error> {
        self.patch_settings(&settings).await
    }

    /// Changes settings by a merge patch of one's own (RFC 7396), such as `json!({"push": {"rateLimit": null}})`:
    /// a `null` puts a setting back to its default. Needs the role `admin`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn patch_settings(
        &self,
        patch: &(impl Serialize + Sync + ?Sized),
    ) -> Result<SettingsDocument, Error> {
        #[derive(Serialize)]
        struct Data<'a, T: ?Sized> {
            r#type: &'static str,
            attributes: &'a T,
        }
        let mut request = self.request(Method::PATCH, &["external-notifications"])?;
        let data = Data { r#type: "externalNotifications", attributes: patch };
        set_body(&mut request, MEDIA_TYPE.to_owned(), &HashMap::from([("data", data)]))?;
        decode(&self.send(request).await?)
    }

    /// A page of notifications by its query string, and whose they are. `wait` is how long the server may hold
    /// the answer back.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        query: &str,
        wait: Option<Duration>,
        delay: Duration,
    ) -> Result<(T, Option<String>), Error> {
        let mut request = self.request(Method::GET, &["notifications"])?;
        set_query(&mut request, query);
        if let Some(wait) = wait {
            request.headers.push(("prefer", format!("wait={}", wait.as_secs())));
            request.wait = wait;
        }
        request.delay = delay;
        let answer = self.send(request).await?;
        Ok((decode(&answer)?, answer.tenant))
    }

    /// A page of any other list.
    pub(crate) async fn page<T: DeserializeOwned>(&self, list: &[&str], query: &str) -> Result<T, Error> {
        let mut request = self.request(Method::GET, list)?;
        set_query(&mut request, query);
        decode(&self.send(request).await?)
    }

    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Error> {
        decode(&self.send(self.request(Method::GET, path)?).await?)
    }

    pub(crate) fn request(&self, method: Method, path: &[&str]) -> Result<Request, Error> {
        // In a path, these mean another resource, however they are escaped.
        if path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(Error::Invalid("there is no resource with this id".to_owned()));
        }
        let mut url = self.inner.base.clone();
        url.path_segments_mut().expect("a URL with a host has a path").extend(path);
        let (wait, delay) = (Duration::ZERO, Duration::ZERO);
        Ok(Request {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            wait,
            delay,
            repeatable: true,
        })
    }

    /// Sends a request; any answer but success is an error.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, Error> {
        let answer = self.inner.transport.exchange(request).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        // A proxy's page is no error document; its status is all that can be told.
        let errors = serde_json::from_slice(&answer.body).map(|ErrorDocument { errors }| errors);
        Err(Error::Api {
            status: answer.status,
            errors: errors.unwrap_or_default(),
            retry_after: answer.retry_after,
        })
    }
}

fn set_query(request: &mut Request, query: &str) {
    if !query.is_empty() {
        request.url = format!("{}?{query}", request.url);
    }
}

pub(crate) fn set_body(
    request: &mut Request,
    media_type: String,
    document: &impl Serialize,
) -> Result<(), Error> {
    request.body = serde_json::to_vec(document).map_err(Error::Encode)?;
    request.headers.push(("content-type", media_type));
    Ok(())
}

pub(crate) fn decode<T: DeserializeOwned>(answer: &Answer) -> Result<T, Error> {
    serde_json::from_slice(&answer.body).map_err(|error| match error.is_eof() {
        // A chunked body that was cut off looks complete to the transport; its JSON does not.
        true => Error::Transport("the answer ended before its end".to_owned()),
        false => Error::Decode(error),
    })
}

pub(crate) fn flags_data(id: Sequence, flags: Flags) -> FlagsData {
    FlagsData { r#type: "notification".to_owned(), id, attributes: flags }
}

/// A new idempotency key.
pub(crate) fn unique() -> String {
    uuid::Uuid::new_v4().to_string()
}
