//! The push queue: how far the push of each notification is, and every attempt that was made.

use std::fmt::Display;

use awc::http::Method;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use tidings_api::alert::AlertTestDocument;
use tidings_api::delivery::{
    AttemptDocument, AttemptError, AttemptPage, DeliveryDocument, DeliveryPage, DeliveryResource,
    DeliveryStatus,
};

use crate::paging::{self, AFTER, PAGE_SIZE, Parameters, SORT};
use crate::{Client, Error, Sequence, client};

/// A column of the push queue, to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryColumn {
    /// The id of the notification.
    Id,
    /// The event's type.
    EventType,
    /// When the event happened.
    EventTime,
    /// When the last attempt ended.
    LastProcessedAt,
    /// How far it is.
    Status,
    /// Attempts made after the first.
    Retries,
    /// Why the last attempt failed.
    ErrorMessage,
    /// The status of the last answer.
    ResponseStatus,
    /// When the next attempt is due.
    NextAttemptAt,
}

impl DeliveryColumn {
    /// Every column.
    pub const ALL: &[DeliveryColumn] = &[
        DeliveryColumn::Id,
        DeliveryColumn::EventType,
        DeliveryColumn::EventTime,
        DeliveryColumn::LastProcessedAt,
        DeliveryColumn::Status,
        DeliveryColumn::Retries,
        DeliveryColumn::ErrorMessage,
        DeliveryColumn::ResponseStatus,
        DeliveryColumn::NextAttemptAt,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryColumn::Id => "id",
            DeliveryColumn::EventType => "eventType",
            DeliveryColumn::EventTime => "eventTime",
            DeliveryColumn::LastProcessedAt => "lastProcessedAt",
            DeliveryColumn::Status => "status",
            DeliveryColumn::Retries => "retries",
            DeliveryColumn::ErrorMessage => "errorMessage",
            DeliveryColumn::ResponseStatus => "responseStatus",
            DeliveryColumn::NextAttemptAt => "nextAttemptAt",
        }
    }
}

/// A question for the push queue. From [`Client::deliveries`], or from
/// [`blocking::Client::deliveries`](crate::blocking::Client::deliveries).
///
/// Unless told otherwise it finds all deliveries, the newest notification first.
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until it is read as a page or a stream"]
pub struct Deliveries<C = Client> {
    pub(crate) client: C,
    pub(crate) parameters: Parameters,
}

impl<C> Deliveries<C> {
    pub(crate) fn new(client: C) -> Self {
        Deliveries { client, parameters: Parameters::default() }
    }

    fn set(mut self, name: &'static str, value: impl Display) -> Self {
        self.parameters.set(name, value);
        self
    }

    fn set_list<T: Display>(mut self, name: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        self.parameters.set_list(name, values);
        self
    }

    fn set_time(self, name: &'static str, time: DateTime<Utc>) -> Self {
        self.set(name, tidings_api::time::format(&time))
    }

    /// Only those of these notifications.
    pub fn ids(self, ids: impl IntoIterator<Item = Sequence>) -> Self {
        self.set_list("filter[id]", ids)
    }

    /// Only those of these event types.
    pub fn event_types<T: AsRef<str>>(self, types: impl IntoIterator<Item = T>) -> Self {
        self.set_list("filter[eventType]", types.into_iter().map(|name| name.as_ref().to_owned()))
    }

    /// Only those that are this far.
    pub fn statuses(self, statuses: impl IntoIterator<Item = DeliveryStatus>) -> Self {
        self.set_list("filter[status]", statuses.into_iter().map(DeliveryStatus::as_str))
    }

    /// Only those with one of these numbers of attempts after the first.
    pub fn retries(self, numbers: impl IntoIterator<Item = u32>) -> Self {
        self.set_list("filter[retries]", numbers)
    }

    /// Only those whose last attempt failed for one of these reasons.
    pub fn errors(self, errors: impl IntoIterator<Item = AttemptError>) -> Self {
        self.set_list("filter[errorMessage]", errors.into_iter().map(AttemptError::as_str))
    }

    /// Only those whose last answer had one of these statuses.
    pub fn response_statuses(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_list("filter[responseStatus]", statuses)
    }

    /// Only those of events at this time or later.
    pub fn event_from(self, time: DateTime<Utc>) -> Self {
        self.set_time("filter[eventTime][ge]", time)
    }

    /// Only those of events before this time.
    pub fn event_before(self, time: DateTime<Utc>) -> Self {
        self.set_time("filter[eventTime][lt]", time)
    }

    /// Only those whose last attempt ended at this time or later.
    pub fn processed_from(self, time: DateTime<Utc>) -> Self {
        self.set_time("filter[lastProcessedAt][ge]", time)
    }

    /// Only those whose last attempt ended before this time.
    pub fn processed_before(self, time: DateTime<Utc>) -> Self {
        self.set_time("filter[lastProcessedAt][lt]", time)
    }

    /// Only those whose next attempt is due at this time or later.
    pub fn next_attempt_from(self, time: DateTime<Utc>) -> Self {
        self.set_time("filter[nextAttemptAt][ge]", time)
    }

    /// Only those whose next attempt is due before this time.
    pub fn next_attempt_before(self, time: DateTime<Utc>) -> Self {
        self.set_time("filter[nextAttemptAt][lt]", time)
    }

    /// The smallest value of this column first. What has none comes last.
    pub fn sort(self, column: DeliveryColumn) -> Self {
        self.set(SORT, column.as_str())
    }

    /// The largest value of this column first. What has none comes last.
    pub fn sort_descending(self, column: DeliveryColumn) -> Self {
        self.set(SORT, format_args!("-{}", column.as_str()))
    }

    /// How many on a page, 1 to 1,000. Default 100.
    pub fn page_size(self, size: u16) -> Self {
        self.set(PAGE_SIZE, size)
    }

    /// Only what follows this cursor, as found in `links.next` of a page of the same list.
    pub fn after(self, cursor: impl Display) -> Self {
        self.set(AFTER, cursor)
    }
}

impl Deliveries {
    /// One page.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn page(self) -> Result<DeliveryPage, Error> {
        paging::page(&self.client, &self.parameters).await
    }

    /// Page after page until the end of the list. After an error it ends. A delivery that changes while the list is read
    /// may move in it, unless it is sorted by [`DeliveryColumn::Id`] and filtered by what doesn't change.
    pub fn pages(self) -> impl Stream<Item = Result<DeliveryPage, Error>> + Send + Unpin + use<> {
        paging::pages(self.client, self.parameters)
    }

    /// Delivery after delivery until the end of the list, as [`pages`](Deliveries::pages) finds them.
    ///
    /// ```no_run
    /// # async fn example(client: tidings_client::Client) -> Result<(), tidings_client::Error> {
    /// use futures_util::TryStreamExt;
    /// use tidings_client::api::delivery::DeliveryStatus;
    ///
    /// let mut failed = client.deliveries().statuses([DeliveryStatus::Error]).items();
    /// while let Some(delivery) = failed.try_next().await? {
    ///     for attempt in client.attempts(delivery.id).await?.data {
    ///         println!("{} {} {:?}", delivery.id, attempt.attributes.started_at, attempt.attributes.error);
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn items(self) -> impl Stream<Item = Result<DeliveryResource, Error>> + Send + Unpin + use<> {
        paging::items::<DeliveryPage>(self.client, self.parameters)
    }
}

impl Client {
    /// The push queue: say which deliveries, then read them as a page or as a stream. Needs the role `admin`, as does
    /// everything about the push.
    pub fn deliveries(&self) -> Deliveries {
        Deliveries::new(self.clone())
    }

    /// How far the push of a notification is, with the body as it is pushed and the beginning of the last answer.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delivery(&self, id: Sequence) -> Result<DeliveryDocument, Error> {
        self.read(&["deliveries", &id.to_string()]).await
    }

    /// Every attempt to push a notification, the oldest first: all pages as one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn attempts(&self, id: Sequence) -> Result<AttemptPage, Error> {
        let (id, mut query) = (id.to_string(), String::new());
        let list = ["deliveries", &id, "attempts"];
        let mut all: AttemptPage = self.read(&list).await?;
        while let Some(next) = paging::next(&all.links, &query) {
            query = next;
            let page: AttemptPage = self.page(&list, &query).await?;
            all.data.extend(page.data);
            all.links.next = page.links.next;
        }
        Ok(all)
    }

    /// Has one notification pushed to the tenant's URL now that stands for none: its id is 0, its type `test`. The
    /// answer tells what came of it, also when it failed. Nothing is stored.
    ///
    /// # Errors
    /// [`ErrorCode::Conflict`](crate::ErrorCode::Conflict) when there is no URL to push to. After [`Error::Timeout`] or
    /// [`Error::Transport`] it is unknown whether it was pushed; it is never pushed twice.
    pub async fn test_push(&self) -> Result<AttemptDocument, Error> {
        self.test(&["external-notifications", "test"]).await
    }

    /// Has an alert sent to the tenant's `alerts.email` and `alerts.url` that says it is a test. The answer tells what
    /// came of it, also when it failed.
    ///
    /// # Errors
    /// See [`Error`]. After [`Error::Timeout`] or [`Error::Transport`] it is unknown whether it was sent.
    pub async fn test_alerts(&self) -> Result<AlertTestDocument, Error> {
        self.test(&["external-notifications", "alerts", "test"]).await
    }

    async fn test<T: serde::de::DeserializeOwned>(&self, path: &[&str]) -> Result<T, Error> {
        let mut request = self.request(Method::POST, path)?;
        request.repeatable = false;
        client::decode(&self.send(request).await?)
    }
}
