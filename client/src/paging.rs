//! What the lists have in common: their parameters, and the way from page to page.

use std::collections::BTreeMap;
use std::fmt::Display;

use futures_util::{Stream, TryStreamExt as _, stream};
use serde::de::DeserializeOwned;
use tidings_api::delivery::{DeliveryPage, DeliveryResource};
use tidings_api::job::{JobPage, JobResource};
use tidings_api::jsonapi::PageLinks;
use url::form_urlencoded;

use crate::{Client, Error};

pub(crate) const AFTER: &str = "page[after]";
pub(crate) const PAGE_SIZE: &str = "page[size]";
pub(crate) const SORT: &str = "sort";

/// The parameters of a list, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    pairs: Vec<(&'static str, String)>,
    problem: Option<String>,
}

impl Parameters {
    pub(crate) fn set(&mut self, name: &'static str, value: impl Display) {
        self.pairs.retain(|(other, _)| *other != name);
        self.pairs.push((name, value.to_string()));
    }

    pub(crate) fn set_list<T: Display>(&mut self, name: &'static str, values: impl IntoIterator<Item = T>) {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        if values.iter().any(|value| value.contains(',')) {
            self.problem = Some(format!("a value of {name} can't contain a comma"));
        }
        self.set(name, values.join(","));
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(other, _)| *other == name)
    }

    /// The query string.
    pub(crate) fn encode(&self) -> Result<String, Error> {
        self.check()?;
        Ok(encode(&self.pairs))
    }

    /// Those that say which are in the list, as opposed to how it is read.
    pub(crate) fn filters(&self) -> Result<BTreeMap<String, String>, Error> {
        self.check()?;
        let filters = self.pairs.iter().filter(|(name, _)| name.starts_with("filter["));
        Ok(filters.map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn check(&self) -> Result<(), Error> {
        self.problem.clone().map_or(Ok(()), |problem| Err(Error::Invalid(problem)))
    }
}

pub(crate) fn encode<K: AsRef<str>, V: AsRef<str>>(parameters: &[(K, V)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// The query of the page that the server links to, from the page with this query.
pub(crate) fn next(links: &PageLinks, query: &str) -> Option<String> {
    // Only the query is taken: behind a proxy, the server may know itself by another address.
    let (_, next) = links.next.as_deref()?.split_once('?')?;
    let next = next.split('#').next()?;
    // An empty page in the middle is not the end; a link back to the same place would have none.
    (cursor(next) != cursor(query)).then(|| next.to_owned())
}

fn cursor(query: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == AFTER)
        .map(|(_, value)| value.into_owned())
}

/// A page of a list at whose end there is nothing to wait for.
pub(crate) trait Page: DeserializeOwned + Send + 'static {
    /// The path of the list.
    const PATH: &str;
    type Item: Send;

    fn links(&self) -> &PageLinks;
    fn into_items(self) -> Vec<Self::Item>;
}

impl Page for DeliveryPage {
    const PATH: &str = "deliveries";
    type Item = DeliveryResource;

    fn links(&self) -> &PageLinks {
        &self.links
    }

    fn into_items(self) -> Vec<DeliveryResource> {
        self.data
    }
}

impl Page for JobPage {
    const PATH: &str = "jobs";
    type Item = JobResource;

    fn links(&self) -> &PageLinks {
        &self.links
    }

    fn into_items(self) -> Vec<JobResource> {
        self.data
    }
}

pub(crate) async fn page<P: Page>(client: &Client, parameters: &Parameters) -> Result<P, Error> {
    client.page(&[P::PATH], &parameters.encode()?).await
}

/// Page after page until the end of the list. After an error it ends.
pub(crate) fn pages<P: Page>(
    client: Client,
    parameters: Parameters,
) -> impl Stream<Item = Result<P, Error>> + Send + Unpin + use<P> {
    let first = parameters.encode();
    Box::pin(stream::try_unfold(Some(first), move |query| {
        let client = client.clone();
        async move {
            let Some(query) = query.transpose()? else { return Ok(None) };
            let page: P = client.page(&[P::PATH], &query).await?;
            let next = next(page.links(), &query);
            Ok(Some((page, next.map(Ok))))
        }
    }))
}

/// Item after item until the end of the list. After an error it ends.
pub(crate) fn items<P: Page>(
    client: Client,
    parameters: Parameters,
) -> impl Stream<Item = Result<P::Item, Error>> + Send + Unpin + use<P> {
    let items = pages::<P>(client, parameters);
    Box::pin(items.map_ok(|page| stream::iter(page.into_items().into_iter().map(Ok))).try_flatten())
}
