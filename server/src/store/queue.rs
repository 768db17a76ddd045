//! What can be asked of the push queue as a whole: the list of deliveries, and the jobs that do something to many.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_api::delivery::AttemptError;
use tidings_api::event::Change;
use tidings_api::job::{JobAction, JobState};
use tidings_api::notification::Flags;

use super::seam::{AttemptRecord, Filter, NodeId, Result, TenantId};
use crate::rules::notification::{Micros, PushProgress};

/// Times from one (inclusive) to another (exclusive).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// This time or later.
    pub from: Option<Micros>,
    /// Before this time.
    pub before: Option<Micros>,
}

impl Span {
    /// Whether it selects at all.
    pub fn is_set(self) -> bool {
        self.from.is_some() || self.before.is_some()
    }

    /// Whether a time is one of them.
    pub fn holds(self, time: Micros) -> bool {
        self.from.is_none_or(|from| from <= time) && self.before.is_none_or(|before| time < before)
    }
}

/// Which deliveries a list holds. What is none selects everything; an empty list selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryFilter {
    /// Sequences.
    pub ids: Option<Vec<i64>>,
    /// Event types.
    pub event_types: Option<Vec<String>>,
    /// Push states.
    pub states: Option<Vec<PushProgress>>,
    /// Attempts made after the first.
    pub retries: Option<Vec<i64>>,
    /// Errors of the last attempt.
    pub errors: Option<Vec<AttemptError>>,
    /// Statuses of the last answer.
    pub response_statuses: Option<Vec<i64>>,
    /// When the event happened.
    pub event_time: Span,
    /// When the last attempt ended.
    pub last_processed_at: Span,
    /// When the next attempt is due.
    pub next_attempt_at: Span,
}

/// What a list of deliveries is ordered by. Those that are equal in it are ordered by their sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// The sequence alone.
    Id,
    /// The event's type.
    EventType,
    /// When the event happened.
    EventTime,
    /// When the last attempt ended.
    LastProcessedAt,
    /// The push state, by its name.
    Status,
    /// Attempts made after the first.
    Retries,
    /// The error of the last attempt, by its name.
    ErrorMessage,
    /// The status of the last answer.
    ResponseStatus,
    /// When the next attempt is due.
    NextAttemptAt,
}

/// Which part of an ordered list: those with this value, or those that lack the value by which it is ordered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// This number; 0 where the key alone orders.
    Number(i64),
    /// This name.
    Name(String),
    /// None.
    Missing,
}

/// A place in an ordered list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The part.
    pub rank: Rank,
    /// The time by which the part is ordered; 0 where it is ordered by the sequence alone.
    pub key: i64,
    /// The sequence.
    pub sequence: i64,
}

impl Place {
    /// Which of two comes first. What lacks a value is last in either direction.
    pub fn compare(&self, other: &Place, descending: bool) -> Ordering {
        let missing = |place: &Place| place.rank == Rank::Missing;
        let order = (&self.rank, self.key, self.sequence).cmp(&(&other.rank, other.key, other.sequence));
        missing(self).cmp(&missing(other)).then(if descending { order.reverse() } else { order })
    }
}

/// One page of the list of deliveries.
#[derive(Clone, Debug)]
pub struct DeliveryQuery {
    /// Which.
    pub filter: DeliveryFilter,
    /// In which order.
    pub order: DeliveryOrder,
    /// With the largest first.
    pub descending: bool,
    /// Behind this place, or before it if the list is read backwards.
    pub from: Option<Place>,
    /// Read backwards: what is found is in reverse order then.
    pub backwards: bool,
    /// At most so many.
    pub limit: usize,
    /// None with a larger sequence.
    pub up_to: i64,
    /// Whether the push is active. If it isn't, no attempt is due at any time.
    pub push_is_active: bool,
}

/// A delivery as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The sequence.
    pub sequence: i64,
    /// The event's type.
    pub event_type: String,
    /// When the event happened.
    pub event_time: Micros,
    /// Who caused it.
    pub created_by: Option<String>,
    /// What changed in a table.
    pub change: Option<Change>,
    /// How far it is.
    pub push: PushProgress,
    /// Attempts made.
    pub attempts: i32,
    /// When the last one ended.
    pub last_processed_at: Option<Micros>,
    /// Why it failed.
    pub error: Option<AttemptError>,
    /// The status of its answer.
    pub response_status: Option<u16>,
    /// The time to which the next was put off; none if it is due at once, or being made.
    pub next_attempt_at: Option<Micros>,
}

/// Reading the push queue.
pub trait QueueQueries {
    /// One page of the list, each delivery with its place.
    fn delivery_page(&mut self, tenant: TenantId, query: &DeliveryQuery)
    -> Result<Vec<(Place, DeliveryRow)>>;
    /// One delivery. A notification that was never to be pushed has none.
    fn delivery_get(&mut self, tenant: TenantId, sequence: i64) -> Result<Option<DeliveryRow>>;
    /// The attempts for a notification with their numbers, in their order, behind the one with this number; backwards: from
    /// the one before it, or the last, to the first.
    fn attempts(
        &mut self,
        tenant: TenantId,
        sequence: i64,
        from: Option<i32>,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(i32, AttemptRecord)>>;
}

/// What a job does, and to which notifications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What it does.
    pub action: JobAction,
    /// The flags that it sets.
    pub set: Flags,
    /// To which.
    pub targets: Targets,
    /// Only count them.
    pub dry_run: bool,
}

/// To which notifications a job does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Targets {
    /// To these: ascending, each once.
    Ids(Vec<i64>),
    /// To all that match and whose sequence is not larger.
    Matching {
        /// What they match.
        filter: Filter,
        /// The largest sequence.
        up_to: i64,
    },
    /// To all whose delivery matches and whose sequence is not larger.
    Deliveries {
        /// What they match.
        filter: DeliveryFilter,
        /// The largest sequence.
        up_to: i64,
    },
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The tenant.
    pub tenant: TenantId,
    /// Its id on the wire: a UUID.
    pub id: String,
    /// When it was asked for.
    pub created_at: Micros,
    /// What it does.
    pub action: JobAction,
    /// Whether it only counts.
    pub dry_run: bool,
    /// How far it is.
    pub state: JobState,
    /// How many it is about, once they are counted.
    pub total: Option<i64>,
    /// How many were found up to the position, until then.
    pub counted: i64,
    /// How many it has dealt with.
    pub processed: i64,
    /// How many of them were not there.
    pub failed: i64,
    /// The last sequence that it has dealt with, or counted.
    pub position: i64,
    /// When it began.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub ended_at: Option<Micros>,
}

/// A job with its task, which may be large: for those who do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The job.
    pub job: Job,
    /// What it does, and to which.
    pub task: Arc<Task>,
}

impl Work {
    /// A job that is to be done.
    pub fn new(tenant: TenantId, created_at: Micros, task: Task) -> Self {
        let job = Job {
            tenant,
            id: uuid::Uuid::new_v4().to_string(),
            created_at,
            action: task.action,
            dry_run: task.dry_run,
            state: JobState::Pending,
            total: None,
            counted: 0,
            processed: 0,
            failed: 0,
            position: 0,
            started_at: None,
            ended_at: None,
        };
        Work { job, task: Arc::new(task) }
    }
}

/// What was found of those that a job is about, in one range of sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The sequences; none of them may be left in a range.
    pub sequences: Vec<i64>,
    /// How far was looked.
    pub through: i64,
}

/// Jobs. What a node does with one takes effect only while the job is open and the node's own, and, where it goes on from
/// a position, only from that: so nothing is done twice, and a node that was taken for dead does nothing more. What
/// carries a job on answers with the job as it is then; none: nothing was done.
pub trait JobQueries {
    /// Stores a job, unless `most` of the tenant are open already: then false.
    fn job_create(&mut self, work: &Work, most: i64) -> Result<bool>;
    /// Jobs of a tenant, newest first, behind the one with this time and id; backwards: from the one before it to the
    /// newest.
    fn job_list(
        &mut self,
        tenant: TenantId,
        from: Option<&(Micros, String)>,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<Job>>;
    /// One job.
    fn job_get(&mut self, tenant: TenantId, id: &str) -> Result<Option<Job>>;
    /// Cancels a job, unless it has ended. Answers with the job as it is then.
    fn job_cancel(&mut self, tenant: TenantId, id: &str, now: Micros) -> Result<Option<Job>>;
    /// The tenants that have open jobs.
    fn job_tenants(&mut self) -> Result<Vec<TenantId>>;
    /// Takes the tenant's oldest open job for the node, unless another node that lives has it.
    fn job_claim(&mut self, tenant: TenantId, node: NodeId, now: Micros) -> Result<Option<Work>>;
    /// Looks on from where a job is, in one range that is read at any time: up to `limit` of those that it is about. None:
    /// it is at its end.
    fn job_next(&mut self, work: &Work, limit: usize) -> Result<Option<Found>>;
    /// Notes that these were counted.
    fn job_count(&mut self, job: &Job, node: NodeId, found: &Found) -> Result<Option<Job>>;
    /// Notes that all are counted. A job that only counts has ended with that.
    fn job_counted(&mut self, work: &Work, node: NodeId, now: Micros) -> Result<Option<Job>>;
    /// Does it to those of these that the job is still about, and notes how far it is.
    fn job_step(&mut self, work: &Work, node: NodeId, found: &Found) -> Result<Option<Job>>;
    /// Ends a job that is done.
    fn job_done(&mut self, job: &Job, node: NodeId, now: Micros) -> Result<Option<Job>>;
    /// Removes jobs that ended before a time, up to `limit`. Answers how many.
    fn job_expire(&mut self, ended_before: Micros, limit: i64) -> Result<usize>;
}
