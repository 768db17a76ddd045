//! `POST /operations`: JSON:API's atomic extension. Events and changes of flags in one transaction, all or nothing.

use std::mem::discriminant;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, post, web};
use chrono::Utc;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use tidings_api::error::ErrorCode;
use tidings_api::event::{EventData, NotStored, NotStoredReason};
use tidings_api::jsonapi::{Identifier, RawObject, RawResource, Sequence};
use tidings_api::operations::{MAX_OPERATIONS, OperationResults, OperationsDocument};
use tidings_api::tenant::Role;
use tidings_api::{ATOMIC_EXTENSION, MEDIA_TYPE};

use super::auth::{AnyRole, require};
use super::body::{self, Body};
use super::error::Error;
use super::event::{Before, DECISIONS, Event};
use super::notifications::stored;
use super::query::NoParameters;
use super::{State, base, flags, shape};
use crate::directory::{Principal, TenantEntry};
use crate::rules::document::{Shape, Writer};
use crate::rules::notification::{Micros, StoredNotification};
use crate::secrets::short_hash;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::seam::{self, Append, Appended, Idempotency, Queries, TenantId};

/// The body. Its operations are read one by one, so that errors name theirs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "atomic:operations")]
    operations: Vec<Box<RawValue>>,
    #[serde(default, rename = "jsonapi")]
    _jsonapi: Option<RawObject>,
    #[serde(default, rename = "meta")]
    _meta: Option<RawObject>,
}

#[derive(Deserialize)]
struct Head {
    op: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    #[serde(rename = "op")]
    _op: IgnoredAny,
    data: EventData,
    #[serde(default)]
    included: Vec<RawResource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(default)]
    r#ref: Option<Identifier>,
    #[serde(default)]
    href: Option<String>,
    data: Value,
}

/// An operation that has been checked.
enum Operation {
    Add(Box<Event>, Option<Idempotency>),
    Update(seam::Update),
}

/// What became of an operation, and what is counted for it.
enum Done {
    Notification(StoredNotification, Option<&'static str>),
    NotStored(NotStoredReason),
}

/// Carries out operations
///
/// Adds notifications and updates their flags: up to 1,000 operations, in order, all or none. `add` needs the role
/// `producer`, `update` the role `consumer`. An event with an `eventId` can be sent again without harm.
#[utoipa::path(
    tag = "notifications",
    request_body(content = OperationsDocument, example = json!({"atomic:operations": [
        {"op": "add", "data": {"type": "notification", "attributes": {"type": "print", "eventId": "print-81"}}},
        {"op": "update", "data": {"type": "notification", "id": "519", "attributes": {"isRead": true}}}]})),
    responses((status = 200, description = "One result for each operation, in the same order. An event that was not selected has `meta` instead of `data`", body = OperationResults))
)]
#[post("/operations")]
pub(super) async fn post_operations(
    caller: AnyRole,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    body: Body<Document, true>,
) -> Result<HttpResponse, Error> {
    let operations = Arc::new(read(caller.0, &body.value, Utc::now().timestamp_micros())?);
    let (entry, results) = carried_out(&state, caller.0.tenant, operations).await?;
    for result in &results {
        match result {
            Done::NotStored(_) => state.metrics.event("not_selected"),
            Done::Notification(_, Some(counted)) => state.metrics.event(counted),
            Done::Notification(_, None) => {}
        }
    }
    Ok(HttpResponse::Ok().content_type(format!("{MEDIA_TYPE}; ext=\"{ATOMIC_EXTENSION}\"")).body(write(
        &base(&state, &request),
        &entry,
        &shape::whole(&request),
        &results,
    )?))
}

impl body::Shape for Document {
    const MEMBERS: body::Members = body::Members::InMaps;
}

/// Carries out the operations in one transaction, all or none.
async fn carried_out(
    state: &State,
    tenant: TenantId,
    operations: Arc<Vec<Operation>>,
) -> Result<(Arc<TenantEntry>, Vec<Done>), Error> {
    for _ in 0..DECISIONS {
        let entry = state.tenant(tenant).await?;
        let decisions = decided(&entry, &operations).await?;
        let (store, operations, by) = (state.store.clone(), operations.clone(), entry.clone());
        let run = state.store.write(Some(tenant), move |conn| {
            let mut done = None;
            let result = conn.atomically(&mut |conn| {
                let results = execute(conn, &store, &by, &operations, &decisions)?;
                let undone = !matches!(results, Ok(Some(_)));
                done = Some(results);
                // Rolls back what the operations before have done.
                if undone { Err(StoreError::Undone) } else { Ok(()) }
            });
            match done {
                Some(Ok(Some(results))) => result.map(|()| Ok(Some(results))),
                Some(other) => Ok(other),
                None => result.and(Err(StoreError::Closed)),
            }
        });
        match run.await?? {
            Some(results) => return Ok((entry, results)),
            None => state.directory.forget(tenant),
        }
    }
    Err(Error::unavailable("the settings change all the time; try again"))
}

/// By operation: why its event is not selected, if it isn't. It is found before the transaction, because a condition can
/// take a while.
async fn decided(
    entry: &Arc<TenantEntry>,
    operations: &Arc<Vec<Operation>>,
) -> Result<Vec<Option<NotStoredReason>>, Error> {
    let decide = |entry: &TenantEntry, operations: &[Operation]| {
        let decision = |operation: &Operation| match operation {
            Operation::Add(event, _) => event.select(entry).err(),
            Operation::Update(..) => None,
        };
        operations.iter().map(decision).collect()
    };
    if entry.condition.is_none() {
        return Ok(decide(entry, operations));
    }
    let (entry, operations) = (entry.clone(), operations.clone());
    let decisions = web::block(move || decide(&entry, &operations)).await;
    decisions.map_err(|_| Error::unavailable("the server is about to stop"))
}

fn read(caller: Principal, document: &Document, now: Micros) -> Result<Vec<Operation>, Error> {
    let operations = &document.operations;
    if !(1..=MAX_OPERATIONS).contains(&operations.len()) {
        return Err(Error::value(
            "/atomic:operations",
            format!("1 to {MAX_OPERATIONS} operations are expected"),
        ));
    }
    let texts = operations.iter().map(|raw| raw.get()).enumerate();
    texts.map(|(index, text)| operation(caller, text, now).map_err(|error| error.below(&at(index)))).collect()
}

fn at(index: usize) -> String {
    format!("/atomic:operations/{index}")
}

fn operation(caller: Principal, raw: &str, now: Micros) -> Result<Operation, Error> {
    let Head { op } = body::parse(raw.as_bytes())?;
    match op.as_str() {
        "add" => {
            require(caller, Role::Producer).map_err(|error| error.at("/op"))?;
            let add: Add = body::parse(raw.as_bytes())?;
            let event = Event::new(add.data, &add.included, now)?;
            let idempotency = event
                .id
                .as_ref()
                .map(|id| Idempotency { key: short_hash(id.as_bytes()), body: short_hash(raw.as_bytes()) });
            Ok(Operation::Add(Box::new(event), idempotency))
        }
        "update" => {
            require(caller, Role::Consumer).map_err(|error| error.at("/op"))?;
            let update: Update = body::parse(raw.as_bytes())?;
            let (id, flags) = flags::resource(&update.data, "/data")?;
            let sequence = target(&update, id)?;
            Ok(Operation::Update(seam::Update { tenant: caller.tenant, sequence, flags }))
        }
        other => Err(Error::value("/op", format!("{other:?} is not possible; `add` and `update` are"))),
    }
}

/// The notification that an update names: in its data, its `ref`, its `href`, or all of them.
fn target(update: &Update, id: Option<String>) -> Result<i64, Error> {
    let conflict = |pointer, detail: &str| Err(Error::new(ErrorCode::Conflict, detail).at(pointer));
    let mut names: Vec<(&str, &str)> = id.iter().map(|id| ("/data/id", id.as_str())).collect();
    if let Some(named) = &update.r#ref {
        if named.r#type != "notification" {
            return conflict("/ref/type", "`notification` is expected");
        }
        names.push(("/ref/id", &named.id));
    }
    if let Some(href) = &update.href {
        match href.rsplit_once("/notifications/") {
            Some((_, id)) => names.push(("/href", id)),
            None => return Err(Error::value("/href", "the URL of a notification is expected")),
        }
    }
    let Some((pointer, first)) = names.first() else {
        return Err(Error::new(ErrorCode::MissingMember, "the member `id` is missing").at("/data"));
    };
    if let Some((pointer, _)) = names.iter().find(|(_, id)| id != first) {
        return conflict(pointer, "it differs from the id in `data`");
    }
    match first.parse::<Sequence>() {
        Ok(sequence) => Ok(sequence.get()),
        Err(_) => Err(Error::not_found("notification").at(*pointer)),
    }
}

/// Carries out the operations. The outer error is the store's, the inner one that of an operation; none: the settings have
/// changed since it was decided which events they select.
fn execute(
    conn: &mut dyn Queries,
    store: &Store,
    entry: &TenantEntry,
    operations: &[Operation],
    decisions: &[Option<NotStoredReason>],
) -> Result<Result<Option<Vec<Done>>, Error>, StoreError> {
    // Read under the tenant's lock: this version can't be outdated.
    match conn.tenant_get(entry.tenant.id)? {
        Some(current) if current.version == entry.tenant.version => {}
        Some(_) => return Ok(Ok(None)),
        None => return Ok(Err(Error::unauthenticated())),
    }
    let mut results = Vec::with_capacity(operations.len());
    for part in operations.chunk_by(|a, b| discriminant(a) == discriminant(b)) {
        let first = results.len();
        let decisions = decisions.get(first..).unwrap_or_default();
        let done = match part {
            [Operation::Add(..), ..] => add(conn, store, entry, part, decisions)?,
            updates => update(conn, updates)?,
        };
        match done {
            Ok(done) => results.extend(done),
            Err((index, error)) => return Ok(Err(error.below(&at(first + index)))),
        }
    }
    Ok(Ok(Some(results)))
}

/// What became of operations that follow each other, or which of them failed and how.
type Part = Result<Vec<Done>, (usize, Error)>;

/// Changes flags.
fn update(conn: &mut dyn Queries, operations: &[Operation]) -> Result<Part, StoreError> {
    let update = |operation: &Operation| match operation {
        Operation::Update(update) => Some(*update),
        Operation::Add(..) => None,
    };
    let updated = conn.update(&operations.iter().filter_map(update).collect::<Vec<_>>())?;
    let done = updated.into_iter().enumerate().map(|(index, notification)| match notification {
        Some(notification) => Ok(Done::Notification(notification, None)),
        None => Err((index, Error::not_found("notification"))),
    });
    Ok(done.collect())
}

/// Stores events that follow each other at once.
fn add(
    conn: &mut dyn Queries,
    store: &Store,
    entry: &TenantEntry,
    operations: &[Operation],
    decisions: &[Option<NotStoredReason>],
) -> Result<Part, StoreError> {
    let has_url = entry.settings.push.url.is_some();
    let mut results: Vec<Option<Done>> = Vec::with_capacity(operations.len());
    let mut events = Vec::new();
    let mut appends: Vec<Append> = Vec::new();
    for (operation, decision) in operations.iter().zip(decisions) {
        let Operation::Add(event, key) = operation else { continue };
        results.push(match decision {
            None => {
                // No lane gets it before the commit: it is due at once and claimed then.
                appends.push(event.append(&entry.tenant, *key, has_url, false, false));
                events.push((results.len(), event, key));
                None
            }
            Some(reason) => Some(Done::NotStored(*reason)),
        });
    }
    let appended = conn.append(&appends.iter().collect::<Vec<_>>(), store.node(), store.rooms())?;
    for ((index, event, key), appended) in events.into_iter().zip(appended) {
        let done = match appended {
            Appended::Stored { sequence, leased } => {
                Some(Done::Notification(stored(event, sequence, has_url, leased), Some("stored")))
            }
            Appended::Duplicate { sequence } => conn
                .notification_get(entry.tenant.id, sequence)?
                .map(|notification| Done::Notification(notification, Some("duplicate"))),
            Appended::Conflict => {
                let before = key.map(|key| event.before(conn, entry.tenant.id, &key)).transpose()?;
                let Some(Before::Same(stored)) = before else {
                    let detail = "the event's id was used before, for another event";
                    let error = Error::new(ErrorCode::IdempotencyConflict, detail);
                    return Ok(Err((index, error.at("/data/attributes/eventId"))));
                };
                Some(Done::Notification(stored, Some("duplicate")))
            }
            Appended::NoTenant => return Ok(Err((index, Error::unauthenticated()))),
            Appended::Stale => return Err(StoreError::Unavailable("the settings have changed".to_owned())),
        };
        if let Some(place) = results.get_mut(index) {
            *place = done;
        }
    }
    let count = operations.len();
    let results: Vec<_> = results.into_iter().flatten().collect();
    if results.len() == count {
        Ok(Ok(results))
    } else {
        Err(StoreError::Unavailable("a notification was removed meanwhile".to_owned()))
    }
}

fn write(base: &str, entry: &TenantEntry, shape: &Shape, results: &[Done]) -> Result<Vec<u8>, Error> {
    let writer = Writer { base, shape, push_is_active: Some(entry.push_is_active()) };
    let mut out = b"{\"atomic:results\":[".to_vec();
    for (index, done) in results.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match done {
            Done::Notification(notification, _) => {
                out.extend_from_slice(b"{\"data\":");
                writer.resource(&mut out, notification);
            }
            Done::NotStored(reason) => {
                out.extend_from_slice(b"{\"meta\":");
                let meta = NotStored { stored: false, reason: *reason };
                out.extend_from_slice(&super::bytes(&meta)?);
            }
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}
