//! Jobs: kept, taken by a node, and carried out step by step.

use std::sync::Arc;

use diesel::dsl::{not, sql};
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use tidings_api::job::{JobAction, JobState};
use tidings_api::notification::Flags;

use super::delivery::{head, release};
use super::notifications::{joined, matching};
use super::{Conn, Db, deliveries, dialect};
use crate::rules::notification::{Micros, PushProgress};
use crate::store::error::StoreError;
use crate::store::queue::{DeliveryFilter, Found, Job, JobQueries, Targets, Work};
use crate::store::rows::{LEASED, push_number};
use crate::store::schema::{jobs, nodes, notifications, positions, states};
use crate::store::seam::{NodeId, Result, TenantId};

/// Over so many sequences a job is looked for at a time: quickly, however few of them it is about. Fewer in tests, which
/// have not so many.
const RANGE: i64 = if cfg!(test) { 300 } else { 20_000 };

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = jobs)]
#[diesel(treat_none_as_default_value = false)]
struct JobRow {
    tenant_id: i64,
    id: String,
    created_at: i64,
    action: i16,
    dry_run: bool,
    state: i16,
    total: Option<i64>,
    counted: i64,
    processed: i64,
    failed: i64,
    position: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
}

/// How what a job does is stored.
fn action_number(action: JobAction) -> i16 {
    match action {
        JobAction::Repush => 1,
        JobAction::Update => 2,
    }
}

/// How the state of a job is stored; the index `jobs_open` holds those below 2.
fn state_number(state: JobState) -> i16 {
    match state {
        JobState::Pending => 0,
        JobState::Running => 1,
        JobState::Done => 2,
        JobState::Cancelled => 3,
    }
}

fn unreadable(error: serde_json::Error) -> StoreError {
    StoreError::Unreadable(error.to_string())
}

fn job(row: JobRow) -> Job {
    let state = JobState::ALL.iter().copied().find(|state| state_number(*state) == row.state);
    Job {
        tenant: TenantId(row.tenant_id),
        id: row.id,
        created_at: row.created_at,
        action: if row.action == action_number(JobAction::Repush) {
            JobAction::Repush
        } else {
            JobAction::Update
        },
        dry_run: row.dry_run,
        state: state.unwrap_or(JobState::Cancelled),
        total: row.total,
        counted: row.counted,
        processed: row.processed,
        failed: row.failed,
        position: row.position,
        started_at: row.started_at,
        ended_at: row.ended_at,
    }
}

/// What became of an update of a job.
fn as_it_is(updated: QueryResult<JobRow>) -> Result<Option<Job>> {
    Ok(updated.optional()?.map(job))
}

/// The jobs of a tenant that have not ended.
#[diesel::dsl::auto_type(no_type_alias)]
fn open(tenant: TenantId) -> _ {
    let tenant: i64 = tenant.0;
    let open: SqlLiteral<Bool> = sql::<Bool>("state < 2");
    jobs::table.filter(jobs::tenant_id.eq(tenant)).filter(open)
}

/// A job, as long as it runs on this node and nothing was done since it was read.
#[diesel::dsl::auto_type(no_type_alias)]
fn own<'a>(job: &'a Job, node: NodeId) -> _ {
    let (tenant, node, position): (i64, i64, i64) = (job.tenant.0, node.0, job.position);
    let id: &'a str = &job.id;
    jobs::table
        .filter(jobs::tenant_id.eq(tenant).and(jobs::id.eq(id)))
        .filter(jobs::state.eq(1_i16).and(jobs::owner.eq(node)).and(jobs::position.eq(position)))
}

impl JobQueries for Conn {
    fn job_create(&mut self, work: &Work, most: i64) -> Result<bool> {
        let Work { job, task } = work;
        let open: i64 = open(job.tenant).count().get_result(self)?;
        if open >= most {
            return Ok(false);
        }
        let task = serde_json::to_string(&**task).map_err(unreadable)?;
        let row = JobRow {
            tenant_id: job.tenant.0,
            id: job.id.clone(),
            created_at: job.created_at,
            action: action_number(job.action),
            dry_run: job.dry_run,
            state: state_number(job.state),
            total: job.total,
            counted: job.counted,
            processed: job.processed,
            failed: job.failed,
            position: job.position,
            started_at: job.started_at,
            ended_at: job.ended_at,
        };
        diesel::insert_into(jobs::table).values((row, jobs::task.eq(task))).execute(self)?;
        Ok(true)
    }

    fn job_list(
        &mut self,
        tenant: TenantId,
        from: Option<&(Micros, String)>,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<Job>> {
        let mut query = jobs::table
            .filter(jobs::tenant_id.eq(tenant.0))
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .select(JobRow::as_select())
            .into_boxed::<Db>();
        query = match backwards {
            true => query.order((jobs::created_at.asc(), jobs::id.asc())),
            false => query.order((jobs::created_at.desc(), jobs::id.desc())),
        };
        if let Some((time, id)) = from {
            let tied = jobs::created_at.eq(time);
            query = match backwards {
                true => query
                    .filter(jobs::created_at.ge(time))
                    .filter(jobs::created_at.gt(time).or(tied.and(jobs::id.gt(id)))),
                false => query
                    .filter(jobs::created_at.le(time))
                    .filter(jobs::created_at.lt(time).or(tied.and(jobs::id.lt(id)))),
            };
        }
        Ok(query.load(self)?.into_iter().map(job).collect())
    }

    fn job_get(&mut self, tenant: TenantId, id: &str) -> Result<Option<Job>> {
        let row = jobs::table.find((tenant.0, id)).select(JobRow::as_select()).first(self).optional()?;
        Ok(row.map(job))
    }

    fn job_cancel(&mut self, tenant: TenantId, id: &str, now: Micros) -> Result<Option<Job>> {
        diesel::update(open(tenant).filter(jobs::id.eq(id)))
            .set((
                jobs::state.eq(state_number(JobState::Cancelled)),
                jobs::owner.eq(None::<i64>),
                jobs::ended_at.eq(Some(now)),
            ))
            .execute(self)?;
        self.job_get(tenant, id)
    }

    fn job_tenants(&mut self) -> Result<Vec<TenantId>> {
        let open = jobs::table.filter(sql::<Bool>("state < 2"));
        let tenants: Vec<i64> = open.select(jobs::tenant_id).distinct().load(self)?;
        Ok(tenants.into_iter().map(TenantId).collect())
    }

    fn job_claim(&mut self, tenant: TenantId, node: NodeId, now: Micros) -> Result<Option<Work>> {
        let first: Option<(String, Option<i64>)> = open(tenant)
            .order((jobs::created_at, jobs::id))
            .select((jobs::id, jobs::owner))
            .first(self)
            .optional()?;
        let Some((id, owner)) = first else { return Ok(None) };
        let other = owner.filter(|owner| *owner != node.0);
        let lives =
            other.map(|other| nodes::table.find(other).select(nodes::id).first::<i64>(self).optional());
        if lives.transpose()?.flatten().is_some() {
            return Ok(None);
        }
        if owner != Some(node.0) {
            let row = jobs::table.find((tenant.0, &id));
            diesel::update(row)
                .set((jobs::owner.eq(Some(node.0)), jobs::state.eq(state_number(JobState::Running))))
                .execute(self)?;
            diesel::update(row.filter(jobs::started_at.is_null()))
                .set(jobs::started_at.eq(Some(now)))
                .execute(self)?;
        }
        let row = jobs::table.find((tenant.0, &id)).select((JobRow::as_select(), jobs::task));
        let (row, task) = row.first::<(JobRow, String)>(self)?;
        Ok(Some(Work { job: job(row), task: Arc::new(serde_json::from_str(&task).map_err(unreadable)?) }))
    }

    fn job_next(&mut self, work: &Work, limit: usize) -> Result<Option<Found>> {
        let Work { job, task } = work;
        if let Targets::Ids(ids) = &task.targets {
            let rest = ids.iter().copied().filter(|id| *id > job.position).take(limit);
            let sequences: Vec<i64> = rest.collect();
            return Ok(sequences.last().copied().map(|through| Found { sequences, through }));
        }
        let (Targets::Matching { up_to, .. } | Targets::Deliveries { up_to, .. }) = &task.targets else {
            return Ok(None);
        };
        let bounds = (positions::removed_through, positions::last_sequence);
        let bounds = positions::table.find(job.tenant.0).select(bounds).first(self).optional()?;
        let Some((removed, last)): Option<(i64, i64)> = bounds else { return Ok(None) };
        let (after, end) = (job.position.max(removed), last.min(*up_to));
        if after >= end {
            return Ok(None);
        }
        let through = end.min(after + RANGE);
        let sequences = match &task.targets {
            Targets::Matching { filter, .. } => {
                let query = joined()
                    .filter(states::tenant_id.eq(job.tenant.0))
                    .filter(states::sequence.gt(after).and(states::sequence.le(through)))
                    .order(states::sequence)
                    .limit(number(limit))
                    .select(states::sequence)
                    .into_boxed::<Db>();
                matching!(query, job.tenant, filter).load(self)?
            }
            Targets::Deliveries { filter, .. } => {
                deliveries::matching(self, job.tenant, filter, (after, through), limit)?
            }
            Targets::Ids(_) => Vec::new(),
        };
        let through = sequences.last().copied().filter(|_| sequences.len() == limit).unwrap_or(through);
        Ok(Some(Found { sequences, through }))
    }

    fn job_count(&mut self, job: &Job, node: NodeId, found: &Found) -> Result<Option<Job>> {
        let updated = diesel::update(own(job, node))
            .set((
                jobs::position.eq(found.through),
                jobs::counted.eq(jobs::counted + number(found.sequences.len())),
            ))
            .returning(JobRow::as_returning())
            .get_result(self);
        as_it_is(updated)
    }

    fn job_counted(&mut self, work: &Work, node: NodeId, now: Micros) -> Result<Option<Job>> {
        let Work { job, task } = work;
        let counted = (jobs::total.eq(Some(job.counted)), jobs::position.eq(0));
        if !job.dry_run {
            let updated = diesel::update(own(job, node)).set(counted);
            return as_it_is(updated.returning(JobRow::as_returning()).get_result(self));
        }
        let mut missing = 0;
        if let Targets::Ids(ids) = &task.targets {
            for ids in ids.chunks(1000) {
                missing += ids.len() - still(self, work, ids)?.len();
            }
        }
        let ended = (jobs::state.eq(state_number(JobState::Done)), jobs::ended_at.eq(Some(now)));
        let updated = diesel::update(own(job, node))
            .set((counted, jobs::failed.eq(number(missing)), ended))
            .returning(JobRow::as_returning())
            .get_result(self);
        as_it_is(updated)
    }

    fn job_step(&mut self, work: &Work, node: NodeId, found: &Found) -> Result<Option<Job>> {
        let Work { job, task } = work;
        // Looked at again: what was found may have changed since.
        let still = match found.sequences.as_slice() {
            [] => Vec::new(),
            sequences => still(self, work, sequences)?,
        };
        let rows =
            || states::table.filter(states::tenant_id.eq(job.tenant.0).and(states::sequence.eq_any(&still)));
        let (all, there) = (number(found.sequences.len()), number(still.len()));
        let (processed, failed) = match task.targets {
            Targets::Ids(_) => (all, all - there),
            Targets::Matching { .. } | Targets::Deliveries { .. } => (there, 0),
        };
        // First, because it decides whether this node may do the rest.
        let noted = diesel::update(own(job, node))
            .set((
                jobs::position.eq(found.through),
                jobs::processed.eq(jobs::processed + processed),
                jobs::failed.eq(jobs::failed + failed),
            ))
            .returning(JobRow::as_returning())
            .get_result(self);
        let noted = as_it_is(noted)?;
        if noted.is_none() || still.is_empty() {
            return Ok(noted);
        }
        match task.action {
            JobAction::Repush => {
                let now = dialect::clock(self)?;
                // What a node has at this moment is being pushed in any case.
                let free = rows().filter(not(sql::<Bool>("push_state = 1")).or(states::due_at.ne(LEASED)));
                diesel::update(free)
                    .set((
                        states::push_state.eq(push_number(PushProgress::Pending)),
                        states::due_at.eq(states::sequence.nullable()),
                        states::attempts_before.eq(states::attempts),
                        states::repushed_at.eq(Some(now)),
                    ))
                    .execute(self)?;
                // Under strict order what is to go first now doesn't wait until an earlier attempt would be due again.
                if head(self, job.tenant)?.is_some_and(|head| still.contains(&head)) {
                    release(self, &[job.tenant.0])?;
                }
            }
            JobAction::Update if task.set == Flags::default() => {}
            JobAction::Update => {
                let set = task.set;
                diesel::update(rows())
                    .set((
                        set.is_dismissed.map(|flag| states::is_dismissed.eq(flag)),
                        set.is_read.map(|flag| states::is_read.eq(flag)),
                        set.is_flagged.map(|flag| states::is_flagged.eq(flag)),
                    ))
                    .execute(self)?;
            }
        }
        Ok(noted)
    }

    fn job_done(&mut self, job: &Job, node: NodeId, now: Micros) -> Result<Option<Job>> {
        let updated = diesel::update(own(job, node))
            .set((
                jobs::state.eq(state_number(JobState::Done)),
                jobs::owner.eq(None::<i64>),
                jobs::ended_at.eq(Some(now)),
            ))
            .returning(JobRow::as_returning())
            .get_result(self);
        as_it_is(updated)
    }

    fn job_expire(&mut self, ended_before: Micros, limit: i64) -> Result<usize> {
        let old: Vec<(i64, String)> = jobs::table
            .filter(jobs::ended_at.lt(ended_before))
            .limit(limit)
            .select((jobs::tenant_id, jobs::id))
            .load(self)?;
        for (tenant, id) in &old {
            diesel::delete(jobs::table.find((tenant, id))).execute(self)?;
        }
        Ok(old.len())
    }
}

/// Those of some sequences that a job is about as they are now.
fn still(conn: &mut Conn, work: &Work, sequences: &[i64]) -> Result<Vec<i64>> {
    let (tenant, named) = (work.job.tenant, states::sequence.eq_any(sequences));
    Ok(match &work.task.targets {
        Targets::Ids(_) => {
            let there = states::table.filter(states::tenant_id.eq(tenant.0).and(named));
            there.select(states::sequence).load(conn)?
        }
        Targets::Matching { filter, .. } => {
            let query = joined().filter(states::tenant_id.eq(tenant.0).and(named));
            let query = query.select(states::sequence).into_boxed::<Db>();
            matching!(query, tenant, filter).load(conn)?
        }
        Targets::Deliveries { filter, .. } => {
            let filter = DeliveryFilter { ids: Some(sequences.to_vec()), ..filter.clone() };
            deliveries::matching(conn, tenant, &filter, (0, i64::MAX), sequences.len())?
        }
    })
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
