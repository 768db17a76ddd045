//! The list of notifications: which, in what order, and how to go through it.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::{Stream, TryStreamExt as _, stream};
use tidings_api::jsonapi::RawResource;
use url::form_urlencoded;

use crate::paging::{self, AFTER, PAGE_SIZE, Parameters, SORT};
use crate::{Client, Error, NotificationDocument, NotificationPage, PushState};

pub(crate) const IS_DISMISSED: &str = "filter[isDismissed]";
/// How long the server holds an answer back for [`Query::follow`], unless told otherwise.
const FOLLOW_WAIT: Duration = Duration::from_secs(30);
/// An answer that comes sooner is one of a server that did not wait, however short the wait was to be.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// No longer than this is waited because a server said `Retry-After`: it may have meant something else.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// A question for notifications. From [`Client::notifications`], or from
/// [`blocking::Client::notifications`](crate::blocking::Client::notifications).
///
/// Unless told otherwise it finds what is not dismissed.
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until it is read as a page or a stream"]
pub struct Query<C = Client> {
    pub(crate) client: C,
    pub(crate) parameters: Parameters,
    pub(crate) wait: Option<Duration>,
}

impl<C> Query<C> {
    pub(crate) fn new(client: C) -> Self {
        Query { client, parameters: Parameters::default(), wait: None }
    }

    fn set(mut self, name: &'static str, value: impl Display) -> Self {
        self.parameters.set(name, value);
        self
    }

    fn set_list<T: AsRef<str>>(mut self, name: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        self.parameters.set_list(name, values.into_iter().map(|value| value.as_ref().to_owned()));
        self
    }

    /// Only those that are dismissed, or only those that are not (the default).
    pub fn dismissed(self, dismissed: bool) -> Self {
        self.set(IS_DISMISSED, dismissed)
    }

    /// Dismissed or not.
    pub fn any_dismissed(self) -> Self {
        self.set(IS_DISMISSED, "true,false")
    }

    /// Only those that are read, or only those that are not.
    pub fn read(self, read: bool) -> Self {
        self.set("filter[isRead]", read)
    }

    /// Only those that are flagged, or only those that are not.
    pub fn flagged(self, flagged: bool) -> Self {
        self.set("filter[isFlagged]", flagged)
    }

    /// Only those of these types.
    pub fn types<T: AsRef<str>>(self, types: impl IntoIterator<Item = T>) -> Self {
        self.set_list("filter[type]", types)
    }

    /// Only those about these entities.
    pub fn entities<T: AsRef<str>>(self, ids: impl IntoIterator<Item = T>) -> Self {
        self.set_list("filter[entity]", ids)
    }

    /// Only those caused by these users.
    pub fn created_by<T: AsRef<str>>(self, ids: impl IntoIterator<Item = T>) -> Self {
        self.set_list("filter[createdBy]", ids)
    }

    /// Only those whose push is in one of these states.
    pub fn push_states(self, states: impl IntoIterator<Item = PushState>) -> Self {
        let name = |state| match state {
            PushState::None => "none",
            PushState::Pending => "pending",
            PushState::Delivered => "delivered",
            PushState::Failed => "failed",
            PushState::Paused => "paused",
        };
        self.set_list("filter[push]", states.into_iter().map(name))
    }

    /// Only those of events at this time or later.
    pub fn created_from(self, time: DateTime<Utc>) -> Self {
        self.set("filter[createdAt][ge]", tidings_api::time::format(&time))
    }

    /// Only those of events before this time.
    pub fn created_before(self, time: DateTime<Utc>) -> Self {
        self.set("filter[createdAt][lt]", tidings_api::time::format(&time))
    }

    /// In the order of their sequence. The default of streams.
    pub fn oldest_first(self) -> Self {
        self.set(SORT, "sequence")
    }

    /// Against the order of their sequence. The default of a single page.
    pub fn newest_first(self) -> Self {
        self.set(SORT, "-sequence")
    }

    /// By the time of the event, the oldest first.
    pub fn oldest_created_first(self) -> Self {
        self.set(SORT, "createdAt")
    }

    /// By the time of the event, the newest first.
    pub fn newest_created_first(self) -> Self {
        self.set(SORT, "-createdAt")
    }

    /// How many on a page, 1 to 1,000. Default 100.
    pub fn page_size(self, size: u16) -> Self {
        self.set(PAGE_SIZE, size)
    }

    /// Only what follows this cursor: a [`Sequence`](crate::Sequence), if sorted by it, or
    /// `meta.page.after` of a page.
    pub fn after(self, cursor: impl Display) -> Self {
        self.set(AFTER, cursor)
    }

    /// At the end of the list, waits for the next notification that matches: up to this long, in whole seconds, at
    /// most 60. A page needs [`after`](Query::after) for it. A stream does not end then, but goes on
    /// waiting.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }
}

impl Query {
    /// One page.
    ///
    /// # Errors
    /// [`Error::is_cursor_expired`] when something after the cursor has expired unread.
    pub async fn page(self) -> Result<NotificationPage, Error> {
        Ok(self.client.list(&self.parameters.encode()?, self.wait, Duration::ZERO).await?.0)
    }

    /// One page, and the id of the tenant whose it is, if the server tells. What the server's store knows of each
    /// notification is left out, unread: whatever a newer server may say there is no reason to stop.
    #[cfg(feature = "inbox")]
    pub(crate) async fn record_of_tenant(self) -> Result<(NotificationPage, Option<String>), Error> {
        let query = self.parameters.encode()?;
        let page = self.client.list::<Record>(&query, self.wait, Duration::ZERO);
        let (Record { links, data, included, meta }, tenant) = page.await?;
        let data = data.into_iter().map(Entry::into_notification).collect();
        Ok((NotificationPage { links, data, included, meta }, tenant))
    }

    /// Page after page until the end of the list. After an error it ends.
    pub fn pages(self) -> impl Stream<Item = Result<NotificationPage, Error>> + Send + Unpin + use<> {
        self.steps(false)
    }

    /// Notification after notification until the end of the list, each with its user and entity, like the
    /// document of [`Client::get`]. Of a user or entity that several on a page share, the newest copy
    /// is given; [`Client::get`] has the one of the event's time. After an error it ends.
    pub fn items(self) -> impl Stream<Item = Result<NotificationDocument, Error>> + Send + Unpin + use<> {
        flatten(self.steps(false))
    }

    /// Notification after notification in the order of their sequence, as [`items`](Query::items) has them; at the
    /// end of the list it waits for the next one. It begins behind the cursor of [`after`](Query::after), or else at
    /// the beginning of the list.
    ///
    /// An error that may pass ([`Error::may_pass`]) is given out, and after a pause the stream goes on where it was;
    /// after any other it ends. A new notification comes at once, however long [`wait`](Query::wait) is (default 30 s):
    /// that only says how often an idle server is asked anew.
    ///
    /// ```no_run
    /// # async fn example(client: tidings_client::Client) {
    /// use futures_util::StreamExt;
    ///
    /// let mut news = client.notifications().follow();
    /// while let Some(next) = news.next().await {
    ///     match next {
    ///         Ok(item) => println!("{} {}", item.data.id, item.data.attributes.r#type),
    ///         Err(error) => eprintln!("{error}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn follow(self) -> impl Stream<Item = Result<NotificationDocument, Error>> + Send + Unpin + use<> {
        let wait = self.wait.unwrap_or(FOLLOW_WAIT);
        flatten(self.oldest_first().wait(wait).steps(true))
    }

    /// Page after page. Whoever is patient goes on after errors that may pass.
    fn steps(
        self,
        patient: bool,
    ) -> impl Stream<Item = Result<NotificationPage, Error>> + Send + Unpin + use<> {
        let query = if self.parameters.has(SORT) { self } else { self.oldest_first() };
        let first = query.parameters.encode().map(|query| Step { query, delay: Duration::ZERO, failures: 0 });
        Box::pin(stream::unfold(Some(first), move |step| {
            let query = query.clone();
            async move {
                let step = match step? {
                    Ok(step) => step,
                    Err(error) => return Some((Err(error), None)),
                };
                let asked = Instant::now();
                match query.client.list::<NotificationPage>(&step.query, query.wait, step.delay).await {
                    Ok((page, _)) => {
                        let took = asked.elapsed().saturating_sub(step.delay);
                        let at_end = || step.wait(&page, query.wait?, took);
                        let next = step.next(&page).or_else(at_end);
                        Some((Ok(page), next.map(Ok)))
                    }
                    Err(error) => {
                        let again = (patient && error.may_pass()).then(|| Ok(step.again(&error)));
                        Some((Err(error), again))
                    }
                }
            }
        }))
    }
}

/// The notifications of pages.
fn flatten(
    pages: impl Stream<Item = Result<NotificationPage, Error>> + Send + Unpin,
) -> impl Stream<Item = Result<NotificationDocument, Error>> + Send + Unpin {
    Box::pin(pages.map_ok(|page| stream::iter(documents(page).into_iter().map(Ok))).try_flatten())
}

/// The next request of a stream.
struct Step {
    query: String,
    delay: Duration,
    /// How often it has failed in a row.
    failures: u32,
}

impl Step {
    /// The step to the page that the server links to.
    fn next(&self, page: &NotificationPage) -> Option<Step> {
        let query = paging::next(&page.links, &self.query)?;
        Some(Step { query, delay: Duration::ZERO, failures: 0 })
    }

    /// The step to what comes after the end of the list.
    fn wait(&self, page: &NotificationPage, wait: Duration, took: Duration) -> Option<Step> {
        let after = &page.meta.as_ref()?.page.as_ref()?.after;
        let kept = form_urlencoded::parse(self.query.as_bytes()).filter(|(name, _)| name != AFTER);
        let mut parameters: Vec<_> = kept.collect();
        parameters.push((AFTER.into(), after.into()));
        // Whoever answers "nothing" at once, and does not wait, must not be asked without a pause.
        let hasty = page.data.is_empty() && took < (wait / 2).max(SHORTEST_WAIT);
        let delay = if hasty { Duration::from_secs(1) } else { Duration::ZERO };
        Some(Step { query: paging::encode(&parameters), delay, failures: 0 })
    }

    /// The same step once more, later.
    fn again(&self, error: &Error) -> Step {
        let pause = LONGEST_PAUSE.min(Duration::from_secs(1 << self.failures.min(5)));
        let asked = match error {
            Error::Api { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let delay = pause.max(asked.min(LONGEST_ASKED));
        Step { query: self.query.clone(), delay, failures: self.failures.saturating_add(1) }
    }
}

/// A page as it is recorded: a [`NotificationPage`] without what the server's store knows.
#[cfg(feature = "inbox")]
#[derive(serde::Deserialize)]
struct Record {
    links: tidings_api::jsonapi::PageLinks,
    data: Vec<Entry>,
    #[serde(default)]
    included: Vec<RawResource>,
    #[serde(default)]
    meta: Option<tidings_api::notification::PageMeta>,
}

/// A notification without its `meta`.
#[cfg(feature = "inbox")]
#[derive(serde::Deserialize)]
struct Entry {
    r#type: String,
    id: crate::Sequence,
    links: tidings_api::jsonapi::SelfLink,
    attributes: tidings_api::notification::NotificationAttributes,
    #[serde(default)]
    relationships: tidings_api::notification::NotificationRelationships,
}

#[cfg(feature = "inbox")]
impl Entry {
    fn into_notification(self) -> crate::Notification {
        let Entry { r#type, id, links, attributes, relationships } = self;
        crate::Notification { r#type, id, links, attributes, relationships, meta: None }
    }
}

/// The notifications of a page, each with those of the included resources that it names.
pub(crate) fn documents(page: NotificationPage) -> Vec<NotificationDocument> {
    let included: HashMap<_, &RawResource> =
        page.included.iter().map(|resource| (&resource.identifier, resource)).collect();
    let document = |data: crate::Notification| {
        let named = [&data.relationships.created_by, &data.relationships.entity];
        let included = named.into_iter().flatten().filter_map(|named| included.get(&named.data).copied());
        NotificationDocument { links: data.links.clone(), included: included.cloned().collect(), data }
    };
    page.data.into_iter().map(document).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_asks_for_years_is_asked_again_within_the_hour() {
        let step = Step { query: String::new(), delay: Duration::ZERO, failures: u32::MAX };
        let delay = |asked| {
            let error = Error::Api { status: 503, errors: Vec::new(), retry_after: Some(asked) };
            step.again(&error).delay
        };
        assert_eq!(delay(Duration::from_secs(40)), Duration::from_secs(40));
        assert_eq!(delay(Duration::from_secs(100_000_000)), Duration::from_secs(3_600));
    }
}
