//! Jobs: something done to many notifications, which goes on at the server.

use std::collections::BTreeMap;

use awc::http::Method;
use futures_util::Stream;
use tidings_api::MEDIA_TYPE;
use tidings_api::job::{
    JobAction, JobDocument, JobPage, JobResource, JobWriteAttributes, JobWriteData, JobWriteDocument,
};
use uuid::Uuid;

use crate::paging::{self, AFTER, PAGE_SIZE, Parameters};
use crate::query::IS_DISMISSED;
use crate::{Client, Deliveries, Error, Flags, Query, Sequence, client};

/// To which notifications a job is done.
#[derive(Clone, Debug)]
pub struct Targets {
    ids: Option<Vec<Sequence>>,
    filter: Option<BTreeMap<String, String>>,
    up_to: Option<Sequence>,
}

impl Targets {
    /// To these, 1 to 10,000.
    pub fn ids(ids: impl IntoIterator<Item = Sequence>) -> Self {
        Targets { ids: Some(ids.into_iter().collect()), filter: None, up_to: None }
    }

    /// To those that this query finds and whose id is at most `up_to`, so that what arrives meanwhile isn't touched
    /// ([`Client::newest`] is all that there is now). As in the list, these are the ones that are not dismissed unless
    /// the query says otherwise. Its order, page size and wait make no difference.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the query has a cursor, or a value with a comma.
    pub fn matching<C>(query: &Query<C>, up_to: Sequence) -> Result<Self, Error> {
        let mut filter = filters(&query.parameters)?;
        filter.entry(IS_DISMISSED.to_owned()).or_insert_with(|| "false".to_owned());
        Ok(Targets { ids: None, filter: Some(filter), up_to: Some(up_to) })
    }

    /// To those of the push queue that this query finds and whose id is at most `up_to`. Its order and page size make no
    /// difference.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the query has a cursor, or a value with a comma.
    pub fn deliveries<C>(query: &Deliveries<C>, up_to: Sequence) -> Result<Self, Error> {
        let mut filter = filters(&query.parameters)?;
        if filter.is_empty() {
            // All that is in the queue, but not what never was.
            filter.insert("filter[endpointType]".to_owned(), "http".to_owned());
        }
        Ok(Targets { ids: None, filter: Some(filter), up_to: Some(up_to) })
    }

    /// To all whose id is at most `up_to`, dismissed or not.
    pub fn all(up_to: Sequence) -> Self {
        Targets { ids: None, filter: Some(BTreeMap::new()), up_to: Some(up_to) }
    }
}

fn filters(parameters: &Parameters) -> Result<BTreeMap<String, String>, Error> {
    if parameters.has(AFTER) {
        return Err(Error::Invalid("a job can't begin at a cursor".to_owned()));
    }
    parameters.filters()
}

/// A job to be done. For [`Client::create_job`].
#[derive(Clone, Debug)]
#[must_use = "a job does nothing until it is created at the server"]
pub struct NewJob {
    attributes: JobWriteAttributes,
}

impl NewJob {
    /// Pushes them again, whatever became of their push before.
    pub fn repush(targets: Targets) -> Self {
        NewJob::new(JobAction::Repush, None, targets)
    }

    /// Sets these flags, of which there must be at least one.
    pub fn update(flags: Flags, targets: Targets) -> Self {
        NewJob::new(JobAction::Update, Some(flags), targets)
    }

    fn new(action: JobAction, set: Option<Flags>, Targets { ids, filter, up_to }: Targets) -> Self {
        let all = filter.as_ref().is_some_and(BTreeMap::is_empty);
        NewJob { attributes: JobWriteAttributes { action, set, ids, filter, up_to, all, dry_run: false } }
    }

    /// Whether it only counts and changes nothing. Default false.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.attributes.dry_run = dry_run;
        self
    }
}

/// A question for the tenant's jobs, the newest first. From [`Client::jobs`], or from
/// [`blocking::Client::jobs`](crate::blocking::Client::jobs).
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until it is read as a page or a stream"]
pub struct Jobs<C = Client> {
    pub(crate) client: C,
    pub(crate) parameters: Parameters,
}

impl<C> Jobs<C> {
    pub(crate) fn new(client: C) -> Self {
        Jobs { client, parameters: Parameters::default() }
    }

    /// How many on a page, 1 to 1,000. Default 100.
    pub fn page_size(mut self, size: u16) -> Self {
        self.parameters.set(PAGE_SIZE, size);
        self
    }
}

impl Jobs {
    /// One page, the first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn page(self) -> Result<JobPage, Error> {
        paging::page(&self.client, &self.parameters).await
    }

    /// Page after page until the end of the list. After an error it ends.
    pub fn pages(self) -> impl Stream<Item = Result<JobPage, Error>> + Send + Unpin + use<> {
        paging::pages(self.client, self.parameters)
    }

    /// Job after job until the end of the list. After an error it ends.
    pub fn items(self) -> impl Stream<Item = Result<JobResource, Error>> + Send + Unpin + use<> {
        paging::items::<JobPage>(self.client, self.parameters)
    }
}

impl Client {
    /// The tenant's jobs: read them as a page or as a stream. They are kept for 30 days after their end. Needs the role
    /// `admin`, as does everything about jobs.
    pub fn jobs(&self) -> Jobs {
        Jobs::new(self.clone())
    }

    /// One job: how far it is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job(&self, id: Uuid) -> Result<JobDocument, Error> {
        self.read(&["jobs", &id.to_string()]).await
    }

    /// Has a job begun at the server, and returns without waiting for its end: [`Client::job`] tells how far it is. It
    /// goes on whatever becomes of this client, also over a restart of the server. At most 100 of a tenant may be open.
    ///
    /// ```no_run
    /// # async fn example(client: tidings_client::Client) -> Result<(), tidings_client::Error> {
    /// use tidings_client::{NewJob, PushState, Targets};
    ///
    /// // Push again what was given up, once the receiver is repaired.
    /// let failed = client.notifications().any_dismissed().push_states([PushState::Failed]);
    /// let targets = Targets::matching(&failed, client.newest().await?)?;
    /// let job = client.create_job(NewJob::repush(targets)).await?;
    /// println!("{}", job.data.id);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// After [`Error::Timeout`] or [`Error::Transport`] it is unknown whether the job has begun; [`Client::jobs`] tells.
    /// It is never begun twice.
    pub async fn create_job(&self, job: NewJob) -> Result<JobDocument, Error> {
        let mut request = self.request(Method::POST, &["jobs"])?;
        request.repeatable = false;
        let data = JobWriteData { r#type: "job".to_owned(), attributes: job.attributes };
        client::set_body(&mut request, MEDIA_TYPE.to_owned(), &JobWriteDocument { data })?;
        client::decode(&self.send(request).await?)
    }

    /// Cancels a job. What it has done stays done; one that has ended stays as it is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cancel_job(&self, id: Uuid) -> Result<JobDocument, Error> {
        let request = self.request(Method::DELETE, &["jobs", &id.to_string()])?;
        client::decode(&self.send(request).await?)
    }
}
