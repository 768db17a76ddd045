//! The list of notifications: which, in what order, and how to go through it.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::{Stream, TryStreamExt as _, stream};
use tidings_api::jsonapi::RawResource;
use url::form_urlencoded;

use crate::{Client, Error, NotificationDocument, NotificationPage, PushState};

const AFTER: &str = "page[after]";
const SORT: &str = "sort";

/// A question for notifications. From [`Client::notifications`].
///
/// Unless told otherwise it finds what is not dismissed.
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until it is read as a page or a stream"]
pub struct Query {
    client: Client,
    parameters: Vec<(&'static str, String)>,
    wait: Option<Duration>,
    problem: Option<String>,
}

impl Query {
    pub(crate) fn new(client: Client) -> Self {
        Query { client, parameters: Vec::new(), wait: None, problem: None }
    }

    fn set(mut self, name: &'static str, value: impl Display) -> Self {
        self.parameters.retain(|(other, _)| *other != name);
        self.parameters.push((name, value.to_string()));
        self
    }

    fn set_list<T: AsRef<str>>(mut self, name: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        let values: Vec<T> = values.into_iter().collect();
        let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
        if values.iter().any(|value| value.contains(',')) {
            self.problem = Some(format!("a value of {name} can't contain a comma"));
        }
        self.set(name, values.join(","))
    }

    /// Only those that are dismissed, or only those that are not (the default).
    pub fn dismissed(self, dismissed: bool) -> Self {
        self.set("filter[isDismissed]", dismissed)
    }

    /// Dismissed or not.
    pub fn any_dismissed(self) -> Self {
        self.set("filter[isDismissed]", "true,false")
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
        self.set("page[size]", size)
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

    /// One page.
    ///
    /// # Errors
    /// [`Error::is_cursor_expired`] when something after the cursor has expired unread.
    pub async fn page(self) -> Result<NotificationPage, Error> {
        self.check()?;
        self.client.list(&encode(&self.parameters), self.wait, Duration::ZERO).await
    }

    /// Page after page until the end of the list. After an error it ends.
    pub fn pages(self) -> impl Stream<Item = Result<NotificationPage, Error>> + Send + Unpin + use<> {
        let sorted = self.parameters.iter().any(|(name, _)| *name == SORT);
        let query = if sorted { self } else { self.oldest_first() };
        let first = Step { query: encode(&query.parameters), delay: Duration::ZERO };
        Box::pin(stream::try_unfold(Some(first), move |step| {
            let query = query.clone();
            async move {
                let Some(step) = step else { return Ok(None) };
                query.check()?;
                let asked = Instant::now();
                let page = query.client.list(&step.query, query.wait, step.delay).await?;
                let next = match query.wait {
                    Some(wait) => step.next(&page).or_else(|| step.wait(&page, wait, asked.elapsed())),
                    None => step.next(&page),
                };
                Ok(Some((page, next)))
            }
        }))
    }

    /// Notification after notification until the end of the list, each with its user and entity, like the
    /// document of [`Client::get`]. Of a user or entity that several on a page share, the newest copy
    /// is given; [`Client::get`] has the one of the event's time. After an error it ends.
    pub fn items(self) -> impl Stream<Item = Result<NotificationDocument, Error>> + Send + Unpin + use<> {
        let items = self.pages().map_ok(|page| stream::iter(documents(page).into_iter().map(Ok)));
        Box::pin(items.try_flatten())
    }

    fn check(&self) -> Result<(), Error> {
        self.problem.clone().map_or(Ok(()), |problem| Err(Error::Invalid(problem)))
    }
}

/// The next request of a stream.
struct Step {
    query: String,
    delay: Duration,
}

impl Step {
    /// The step to the page that the server links to.
    fn next(&self, page: &NotificationPage) -> Option<Step> {
        // Only the query is taken: behind a proxy, the server may know itself by another address.
        let (_, query) = page.links.next.as_deref()?.split_once('?')?;
        let query = query.split('#').next()?;
        // An empty page in the middle is not the end; a link back to the same place would have none.
        let advances = cursor(query) != cursor(&self.query);
        advances.then(|| Step { query: query.to_owned(), delay: Duration::ZERO })
    }

    /// The step to what comes after the end of the list.
    fn wait(&self, page: &NotificationPage, wait: Duration, took: Duration) -> Option<Step> {
        let after = &page.meta.as_ref()?.page.as_ref()?.after;
        let kept = form_urlencoded::parse(self.query.as_bytes()).filter(|(name, _)| name != AFTER);
        let mut parameters: Vec<_> = kept.collect();
        parameters.push((AFTER.into(), after.into()));
        // Whoever answers "nothing" at once, and does not wait, must not be asked without a pause.
        let hasty = page.data.is_empty() && took < wait / 2;
        Some(Step {
            query: encode(&parameters),
            delay: if hasty { Duration::from_secs(1) } else { Duration::ZERO },
        })
    }
}

fn encode<K: AsRef<str>, V: AsRef<str>>(parameters: &[(K, V)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn cursor(query: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == AFTER)
        .map(|(_, value)| value.into_owned())
}

/// The notifications of a page, each with those of the included resources that it names.
fn documents(page: NotificationPage) -> Vec<NotificationDocument> {
    let included: HashMap<_, &RawResource> =
        page.included.iter().map(|resource| (&resource.identifier, resource)).collect();
    let document = |data: crate::Notification| {
        let named = [&data.relationships.created_by, &data.relationships.entity];
        let included = named.into_iter().flatten().filter_map(|named| included.get(&named.data).copied());
        NotificationDocument { links: data.links.clone(), included: included.cloned().collect(), data }
    };
    page.data.into_iter().map(document).collect()
}
