//! Jobs: something done to many notifications, asked for, watched and cancelled.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use chrono::Utc;
use tidings_api::error::ErrorCode;
use tidings_api::job::{
    JobAction, JobAttributes, JobDocument, JobPage, JobResource, JobWriteAttributes, JobWriteDocument,
};
use tidings_api::jsonapi::{SelfLink, Sequence};
use tidings_api::notification::Flags;
use uuid::Uuid;

use super::auth::Admin;
use super::body::{Body, escape};
use super::error::Error;
use super::paging::Pages;
use super::query::{NoParameters, Parameters};
use super::tenants::{check_type, uuid};
use super::{State, base, bytes, deliveries, json, list, time};
use crate::rules::notification::Micros;
use crate::store::queue::{Job, Targets, Task, Work};

/// The most ids that a job may name.
const MOST_IDS: usize = 10_000;
/// The most jobs of a tenant that may be open at once.
const MOST_OPEN: i64 = 100;
const ATTRIBUTES: &str = "/data/attributes";

fn resource(base: &str, job: &Job) -> JobResource {
    let id = Uuid::parse_str(&job.id).unwrap_or_default();
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    JobResource {
        r#type: "job".to_owned(),
        id,
        links: SelfLink { this: format!("{base}/jobs/{id}") },
        attributes: JobAttributes {
            action: job.action,
            state: job.state,
            dry_run: job.dry_run,
            total: job.total.map(count),
            processed: count(job.processed),
            failed: count(job.failed),
            created_at: time(job.created_at),
            started_at: job.started_at.map(time),
            ended_at: job.ended_at.map(time),
        },
    }
}

fn document(base: &str, job: &Job) -> JobDocument {
    let data = resource(base, job);
    JobDocument { links: data.links.clone(), data }
}

fn at(member: &str, detail: &str) -> Error {
    Error::value(format!("{ATTRIBUTES}/{member}"), detail)
}

fn missing(member: &str, why: &str) -> Error {
    Error::new(ErrorCode::MissingMember, format!("the member `{member}` is missing: {why}")).at(ATTRIBUTES)
}

/// What a body asks for.
///
/// # Errors
/// 422 with the member that contradicts another, or is missing.
fn task(attributes: JobWriteAttributes, push_is_active: bool) -> Result<Task, Error> {
    let JobWriteAttributes { action, set, ids, filter, up_to, all, dry_run } = attributes;
    let set = match (action, set) {
        (JobAction::Update, None) => return Err(missing("set", "an update sets flags")),
        (JobAction::Update, Some(set)) if set == Flags::default() => {
            return Err(at("set", "at least one flag is expected"));
        }
        (JobAction::Update, Some(set)) => set,
        (JobAction::Repush, Some(_)) => return Err(at("set", "a repush sets no flags")),
        (JobAction::Repush, None) => Flags::default(),
    };
    let targets = match (ids, filter) {
        (Some(_), Some(_)) => return Err(at("filter", "`ids` and `filter` exclude each other")),
        (None, None) => return Err(missing("ids", "either `ids` or `filter` says to which")),
        (Some(ids), None) => {
            if up_to.is_some() {
                return Err(at("upTo", "it goes with `filter`, not with `ids`"));
            }
            if all {
                return Err(at("all", "it goes with an empty `filter`, not with `ids`"));
            }
            if !(1..=MOST_IDS).contains(&ids.len()) {
                return Err(at("ids", "1 to 10,000 ids are expected"));
            }
            let mut ids: Vec<i64> = ids.into_iter().map(Sequence::get).collect();
            if let Some(index) = ids.iter().position(|id| *id == 0) {
                return Err(at(&format!("ids/{index}"), "no notification has the id 0"));
            }
            ids.sort_unstable();
            ids.dedup();
            Targets::Ids(ids)
        }
        (None, Some(filter)) => {
            let Some(up_to) = up_to else {
                return Err(missing("upTo", "with `filter` it says where to end"));
            };
            if filter.is_empty() != all {
                let detail = "`all` is true exactly where `filter` is empty, and everything is meant";
                return Err(at(if all { "all" } else { "filter" }, detail));
            }
            matching(filter.into(), up_to.get(), push_is_active)
                .map_err(|error| error.in_member(&format!("{ATTRIBUTES}/filter"), escape))?
        }
    };
    Ok(Task { action, set, targets, dry_run })
}

/// What a filter selects, by the names of one list or of the other.
fn matching(mut parameters: Parameters, up_to: i64, push_is_active: bool) -> Result<Targets, Error> {
    let (of_deliveries, others): (Vec<&str>, Vec<&str>) = parameters
        .pairs()
        .iter()
        .map(|(name, _)| name.as_str())
        .partition(|name| deliveries::is_filter(name));
    let targets = match (of_deliveries.first(), others.first()) {
        (None, _) => {
            let filter = list::filter(&mut parameters, push_is_active, None)?;
            Targets::Matching { filter, up_to }
        }
        (Some(_), None) => {
            let filter = deliveries::filter(&mut parameters, push_is_active)?;
            Targets::Deliveries { filter, up_to }
        }
        (Some(one), Some(other)) => {
            let detail = format!("{other} can't be combined with {one}, which filters deliveries");
            return Err(Error::parameter(other, detail));
        }
    };
    parameters.finish().map(|()| targets)
}

/// Starts a job
///
/// Something done to many notifications: `repush` pushes them again, whatever became of their push before; `update` sets
/// flags. Either `ids` names them, or `filter` does, with the names and values of the query of `GET /notifications` or of
/// that of `GET /deliveries`, together with `upTo`, so that what arrives meanwhile stays untouched. Whether one matches is
/// decided when its turn comes. The job goes on in the background, also over a restart. What is being pushed at the moment
/// of a `repush` counts as done; while push is paused, it waits. Role: `admin`.
#[utoipa::path(
    tag = "push queue",
    request_body(content = JobWriteDocument, examples(
        ("All that failed" = (value = json!({"data": {"type": "job",
            "attributes": {"action": "repush", "filter": {"filter[push]": "failed"}, "upTo": "519"}}}))),
        ("All that a list of deliveries holds" = (value = json!({"data": {"type": "job",
            "attributes": {"action": "repush", "filter": {"filter[errorMessage]": "timeout", "filter[lastProcessedAt][ge]": "2023-12-13T20:00:00Z"}, "upTo": "519"}}}))),
        ("Single ones" = (value = json!({"data": {"type": "job",
            "attributes": {"action": "update", "set": {"isDismissed": true}, "ids": ["517", "519"]}}}))),
    )),
    responses((status = 202, description = "The job, which has yet to be done", body = JobDocument, headers(("Location" = String, description = "The URL of the job"))))
)]
#[post("/jobs")]
pub(super) async fn post_job(
    caller: Admin,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    body: Body<JobWriteDocument>,
) -> Result<HttpResponse, Error> {
    let data = body.value.data;
    check_type(&data.r#type, "job")?;
    let entry = state.tenant(caller.0).await?;
    let task = task(data.attributes, entry.push_is_active())?;
    if task.action == JobAction::Repush && entry.settings.push.url.is_none() {
        return Err(at("action", "there is no push URL to push to"));
    }
    let work = Work::new(caller.0, Utc::now().timestamp_micros(), task);
    let job = work.job.clone();
    if !state.store.write(Some(caller.0), move |conn| conn.job_create(&work, MOST_OPEN)).await? {
        let detail = "100 jobs are open already; wait until one has ended, or cancel one";
        return Err(Error::new(ErrorCode::Conflict, detail));
    }
    state.store.new_job().notify_one();
    let document = document(&base(&state, &request), &job);
    Ok(HttpResponse::Accepted()
        .content_type(tidings_api::MEDIA_TYPE)
        .insert_header((header::LOCATION, document.links.this.as_str()))
        .body(bytes(&document)?))
}

/// Lists jobs
///
/// Newest first. Jobs are kept for 30 days after their end. Role: `admin`.
#[utoipa::path(
    tag = "push queue",
    params(
        ("page[size]" = Option<u32>, Query, description = "The most jobs of a page, 1 to 1,000, by default 100", minimum = 1, maximum = 1000),
        ("page[after]" = Option<String>, Query, description = "The cursor behind which the page begins, as found in links"),
        ("page[before]" = Option<String>, Query, description = "The cursor before which the page ends, as found in links"),
    ),
    responses((status = 200, description = "A page", body = JobPage))
)]
#[get("/jobs")]
pub(super) async fn list_jobs(
    caller: Admin,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let asked = request.query_string();
    let mut parameters = Parameters::parse(asked)?;
    let pages = Pages::take(&mut parameters, "-createdAt")?;
    parameters.finish()?;
    let from = pages.place(|text| {
        let (time, id) = text.split_once('_')?;
        Some((time.parse::<Micros>().ok()?, Uuid::parse_str(id).ok()?.to_string()))
    })?;
    let (tenant, backwards, limit) = (caller.0, pages.is_backwards(), pages.limit());
    let read = state.store.page(move |conn| conn.job_list(tenant, from.as_ref(), backwards, limit));
    let mut jobs = read.await?;
    let base = base(&state, &request);
    let place = |job: &Job| format!("{}_{}", job.created_at, job.id);
    let links = pages.links(&format!("{base}/jobs"), asked, &mut jobs, place);
    let data = jobs.iter().map(|job| resource(&base, job)).collect();
    json(&JobPage { links, data })
}

/// Answers with a job.
fn shown(state: &State, request: &HttpRequest, job: Option<Job>) -> Result<HttpResponse, Error> {
    let job = job.ok_or_else(|| Error::not_found("job"))?;
    json(&document(&base(state, request), &job))
}

/// Reads a job
///
/// How far it is. Role: `admin`.
#[utoipa::path(
    tag = "push queue",
    params(("id" = Uuid, Path, description = "The job's id")),
    responses((status = 200, description = "The job", body = JobDocument))
)]
#[get("/jobs/{id}")]
pub(super) async fn get_job(
    caller: Admin,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let (tenant, id) = (caller.0, uuid(&id, "job")?.to_string());
    shown(&state, &request, state.store.read(move |conn| conn.job_get(tenant, &id)).await?)
}

/// Cancels a job
///
/// What was done stays done; nothing more is. A job that has ended stays as it is. Answers with the job. Role: `admin`.
#[utoipa::path(
    tag = "push queue",
    params(("id" = Uuid, Path, description = "The job's id")),
    responses((status = 200, description = "The job as it is now", body = JobDocument))
)]
#[delete("/jobs/{id}")]
pub(super) async fn delete_job(
    caller: Admin,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let (tenant, id) = (caller.0, uuid(&id, "job")?.to_string());
    let now = Utc::now().timestamp_micros();
    let cancel = state.store.write(Some(tenant), move |conn| conn.job_cancel(tenant, &id, now));
    shown(&state, &request, cancel.await?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidings_api::error::ErrorSource;

    use super::*;
    use crate::rules::notification::PushProgress;
    use crate::store::queue::DeliveryFilter;

    fn read(attributes: Value) -> Result<Task, Error> {
        task(serde_json::from_value(attributes).unwrap(), true)
    }

    #[test]
    fn what_contradicts_itself_is_refused_where_it_does() {
        for (attributes, pointer) in [
            (json!({"action": "update", "ids": ["1"]}), ""),
            (json!({"action": "update", "ids": ["1"], "set": {}}), "/set"),
            (json!({"action": "repush", "ids": ["1"], "set": {"isRead": true}}), "/set"),
            (json!({"action": "repush", "ids": ["1"], "set": {}}), "/set"),
            (json!({"action": "repush"}), ""),
            (json!({"action": "repush", "ids": []}), "/ids"),
            (json!({"action": "repush", "ids": ["3", "0"]}), "/ids/1"),
            (json!({"action": "repush", "ids": ["1"], "upTo": "5"}), "/upTo"),
            (json!({"action": "repush", "ids": ["1"], "all": true}), "/all"),
            (json!({"action": "repush", "ids": ["1"], "filter": {}}), "/filter"),
            (json!({"action": "repush", "filter": {"filter[push]": "failed"}}), ""),
            (json!({"action": "repush", "filter": {}, "upTo": "5"}), "/filter"),
            (
                json!({"action": "repush", "filter": {"filter[push]": "failed"}, "upTo": "5", "all": true}),
                "/all",
            ),
            (
                json!({"action": "repush", "filter": {"filter[push]": "lost"}, "upTo": "5"}),
                "/filter/filter[push]",
            ),
            (json!({"action": "repush", "filter": {"sort": "sequence"}, "upTo": "5"}), "/filter/sort"),
            (json!({"action": "repush", "filter": {"a/b": ""}, "upTo": "5"}), "/filter/a~1b"),
            (
                json!({"action": "repush", "filter": {"filter[status]": "failed"}, "upTo": "5"}),
                "/filter/filter[status]",
            ),
            (
                json!({"action": "repush", "filter": {"filter[status]": "error", "filter[isRead]": "true"}, "upTo": "5"}),
                "/filter/filter[isRead]",
            ),
            (
                json!({"action": "repush", "filter": {"filter[eventTime]": "2026-01-01T00:00:00Z"}, "upTo": "5"}),
                "/filter/filter[eventTime]",
            ),
        ] {
            let error = read(attributes.clone()).unwrap_err();
            let expected = ErrorSource::Pointer(format!("{ATTRIBUTES}{pointer}"));
            assert_eq!(error.object().source, Some(expected), "{attributes}");
            assert_eq!(error.object().code.status(), 422, "{attributes}");
        }
    }

    #[test]
    fn nothing_is_restricted_that_was_not_asked_for() {
        let all = read(json!({"action": "repush", "filter": {}, "upTo": "5", "all": true})).unwrap();
        assert_eq!(all.targets, Targets::Matching { filter: Default::default(), up_to: 5 });
        let filter = json!({"filter[status]": "error,paused", "filter[retries]": "2"});
        let deliveries = read(json!({"action": "repush", "filter": filter, "upTo": "5"})).unwrap();
        let filter = DeliveryFilter {
            states: Some(vec![PushProgress::Failed]),
            retries: Some(vec![2]),
            ..DeliveryFilter::default()
        };
        assert_eq!(deliveries.targets, Targets::Deliveries { filter, up_to: 5 });
        let ids = read(json!({"action": "repush", "ids": ["7", "2", "7"]})).unwrap();
        assert_eq!(ids.targets, Targets::Ids(vec![2, 7]));
    }
}
