//! Notifications: posted, listed, read, and flagged.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, get, patch, post, web};
use chrono::Utc;
use serde_json::Value;
use tidings_api::error::ErrorCode;
use tidings_api::event::{EventDocument, NotStored, NotStoredDocument, NotStoredReason};
use tidings_api::jsonapi::{RawResource, SelfLink, Sequence};
use tidings_api::notification::{FlagsDocument, Notification, NotificationDocument, NotificationPage};
use tidings_api::settings::Ordering;

use super::auth::{Consumer, Producer};
use super::body::Body;
use super::error::Error;
use super::event::{Before, DECISIONS, Event};
use super::list::List;
use super::pages::Page;
use super::query::{NoParameters, Parameters};
use super::{State, answer, base, flags, json, media, pages, shape};
use crate::directory::TenantEntry;
use crate::rules::document::{Shape, Writer};
use crate::rules::notification::{PushProgress, StoredNotification};
use crate::secrets::short_hash;
use crate::store::seam::{Appended, Idempotency, Queries, TenantId, Update};

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The document of a notification.
pub(super) fn document(
    base: &str,
    entry: &TenantEntry,
    shape: &Shape,
    notification: &StoredNotification,
) -> Vec<u8> {
    Writer { base, shape, push_is_active: Some(entry.push_is_active()) }.document(notification)
}

/// A path's id as a sequence.
///
/// # Errors
/// 404: nothing that is no sequence was ever an id.
pub(super) fn sequence(id: &str) -> Result<i64, Error> {
    id.parse::<Sequence>().map(Sequence::get).map_err(|_| Error::not_found("notification"))
}

/// What became of an event: the notification, or in `meta` why nothing is stored.
///
/// One type for both, because generators can't tell alternatives of objects apart.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it only describes")]
struct PostedDocument {
    /// The link to the notification, where one is stored.
    links: Option<SelfLink>,
    /// The notification, where one is stored.
    data: Option<Notification>,
    /// The users and entities that the event brought, where one is stored.
    #[schema(required = false)]
    included: Vec<RawResource>,
    /// Only where the tenant's settings don't select the event: why.
    meta: Option<NotStored>,
}

/// Posts an event
///
/// Stored means stored: 201 is answered after the commit. An event that the tenant's settings don't select is answered
/// with 200 and is not stored. With an `Idempotency-Key` (or `eventId`) an event can be posted again without harm: the
/// first document is answered. Role: `producer`.
#[utoipa::path(
    tag = "notifications",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept as long as the notification", pattern = "^[!-~]{1,255}$", example = "order-4711-signed")),
    request_body(content = EventDocument, example = json!({"data": {"type": "notification",
        "attributes": {"type": "close", "createdAt": "2023-12-13T20:42:50.427Z", "comment": "This experiment was a success"},
        "relationships": {"entity": {"data": {"type": "entity", "id": "experiment:d5dc8e92-580d-41e2-9c65-99726294966c"}},
            "createdBy": {"data": {"type": "user", "id": "100"}}}},
        "included": [{"type": "user", "id": "100", "attributes": {"userName": "ann@example.com"}}]})),
    responses(
        (status = 201, description = "Stored", body = PostedDocument, headers(("Location" = String, description = "The URL of the notification"))),
        (status = 200, description = "Stored before under the same idempotency key: the first document. Or not selected by the tenant's settings: `meta.stored` is false", body = PostedDocument),
    )
)]
#[post("/notifications")]
pub(super) async fn post_notification(
    caller: Producer,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    body: Body<EventDocument>,
) -> Result<HttpResponse, Error> {
    let event = Event::new(body.value.data, &body.value.included, Utc::now().timestamp_micros())?;
    let event = Arc::new(event);
    let key = idempotency_key(request.headers(), event.id.as_deref())?;
    let idempotency = key.map(|key| Idempotency { key: short_hash(key), body: short_hash(&body.bytes) });
    for _ in 0..DECISIONS {
        let entry = state.tenant(caller.0).await?;
        if let Err(reason) = event.selected(&entry).await {
            // Said only after a look at what is stored: another node may have changed the settings a moment ago, and
            // what was stored under this key before stays stored.
            let (tenant, posted) = (caller.0, event.clone());
            let (current, before) = state
                .store
                .read(move |conn| {
                    let before = idempotency.map(|key| posted.before(conn, tenant, &key)).transpose()?;
                    Ok((conn.tenant_get(tenant)?, before))
                })
                .await?;
            if current.is_some_and(|current| current.version != entry.tenant.version) {
                state.directory.forget(caller.0);
                continue;
            }
            return match before {
                Some(Before::Same(stored)) => Ok(first(&state, &request, &entry, &stored)),
                Some(Before::Another) => Err(conflict(&state, &event)),
                Some(Before::Nothing) | None => {
                    state.metrics.event("not_selected");
                    json(&not_stored(reason))
                }
            };
        }
        let (has_url, push_is_active) = (entry.settings.push.url.is_some(), entry.push_is_active());
        let fifo = entry.settings.push.ordering == Ordering::Fifo;
        let append = event.append(&entry.tenant, idempotency, has_url, push_is_active, fifo);
        match state.store.append(append).await? {
            Appended::Stored { sequence, leased } => {
                state.metrics.event("stored");
                let notification = stored(&event, sequence, has_url, leased);
                return Ok(created(&state, &request, &entry, &notification));
            }
            Appended::Duplicate { sequence } => {
                let stored = read(&state, caller.0, sequence).await?;
                return Ok(first(&state, &request, &entry, &stored));
            }
            Appended::Conflict => {
                let (tenant, posted) = (caller.0, event.clone());
                let look = move |conn: &mut dyn Queries| {
                    idempotency.map(|key| posted.before(conn, tenant, &key)).transpose()
                };
                match state.store.read(look).await? {
                    Some(Before::Same(stored)) => return Ok(first(&state, &request, &entry, &stored)),
                    Some(Before::Nothing) => {}
                    Some(Before::Another) | None => return Err(conflict(&state, &event)),
                }
            }
            Appended::Stale => state.directory.forget(caller.0),
            Appended::NoTenant => return Err(Error::unauthenticated()),
        }
    }
    Err(Error::unavailable("the settings change all the time; try again"))
}

/// The answer to a repeated event: the document of the first.
fn first(
    state: &State,
    request: &HttpRequest,
    entry: &TenantEntry,
    stored: &StoredNotification,
) -> HttpResponse {
    state.metrics.event("duplicate");
    answer(document(&base(state, request), entry, &shape::whole(request), stored))
}

fn conflict(state: &State, event: &Event) -> Error {
    state.metrics.event("conflict");
    let detail = "the idempotency key was used before, for another event";
    let error = Error::new(ErrorCode::IdempotencyConflict, detail);
    match event.id {
        Some(_) => error.at("/data/attributes/eventId"),
        None => error.of_header("Idempotency-Key"),
    }
}

fn created(
    state: &State,
    request: &HttpRequest,
    entry: &TenantEntry,
    notification: &StoredNotification,
) -> HttpResponse {
    let base = base(state, request);
    HttpResponse::Created()
        .content_type(tidings_api::MEDIA_TYPE)
        .insert_header((header::LOCATION, format!("{base}/notifications/{}", notification.sequence)))
        .body(document(&base, entry, &shape::whole(request), notification))
}

/// The notification that an event has just become.
pub(super) fn stored(event: &Event, sequence: i64, has_url: bool, leased: bool) -> StoredNotification {
    let push = if has_url { PushProgress::Pending } else { PushProgress::None };
    let due = (has_url && !leased).then_some(event.content.received_at);
    StoredNotification {
        sequence,
        content: event.content.clone(),
        state: crate::rules::notification::State::new(push, due),
    }
}

/// The answer to an event that is not selected.
pub(super) fn not_stored(reason: NotStoredReason) -> NotStoredDocument {
    NotStoredDocument { meta: NotStored { stored: false, reason } }
}

/// The one idempotency key of a request, from its header or its body.
fn idempotency_key<'a>(headers: &'a HeaderMap, event_id: Option<&'a str>) -> Result<Option<&'a [u8]>, Error> {
    let mut header = None;
    for value in headers.get_all(IDEMPOTENCY_KEY) {
        let bytes = value.as_bytes();
        if !(1..=255).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(Error::header(IDEMPOTENCY_KEY, "1 to 255 visible ASCII characters are expected"));
        }
        if header.is_some_and(|other| other != bytes) {
            return Err(Error::header(IDEMPOTENCY_KEY, "there are two different ones"));
        }
        header = Some(bytes);
    }
    match (header, event_id.map(str::as_bytes)) {
        (Some(header), Some(id)) if header != id => Err(Error::value(
            "/data/attributes/eventId",
            "it differs from the Idempotency-Key; one is enough",
        )),
        (header, id) => Ok(header.or(id)),
    }
}

async fn read(state: &State, tenant: TenantId, sequence: i64) -> Result<StoredNotification, Error> {
    let found = state.store.read(move |conn| conn.notification_get(tenant, sequence)).await?;
    found.ok_or_else(|| Error::not_found("notification"))
}

/// Lists notifications
///
/// Without parameters: those that are not dismissed, newest first. To catch up, read with `sort=sequence` from
/// `page[after]=0`, follow `links.next`, and go on later from `meta.page.after`: paging by cursor skips nothing, also
/// while the reader dismisses what it has read and new notifications arrive. With `Prefer: wait=30` a request at the end
/// of such a list waits for the next notification that matches. Role: `consumer`.
#[utoipa::path(
    tag = "notifications",
    params(
        ("filter[isDismissed]" = Option<String>, Query, description = "`true`, `false` or `true,false`. Without it, and without `status`, only what is not dismissed", pattern = "^(true|false)(,(true|false))*$", example = "false"),
        ("filter[isRead]" = Option<String>, Query, description = "`true`, `false` or `true,false`", pattern = "^(true|false)(,(true|false))*$"),
        ("filter[isFlagged]" = Option<String>, Query, description = "`true`, `false` or `true,false`", pattern = "^(true|false)(,(true|false))*$"),
        ("filter[type]" = Option<String>, Query, description = "Event types, a comma list", pattern = "^[A-Za-z0-9_.-]{1,100}(,[A-Za-z0-9_.-]{1,100})*$", example = "close,sign"),
        ("filter[entity]" = Option<String>, Query, description = "Ids of entities, a comma list"),
        ("filter[createdBy]" = Option<String>, Query, description = "Ids of users, a comma list"),
        ("filter[push]" = Option<String>, Query, description = "Push states, a comma list of `none`, `pending`, `delivered`, `failed`, `paused`", pattern = "^(none|pending|delivered|failed|paused)(,(none|pending|delivered|failed|paused))*$", example = "failed"),
        ("filter[createdAt][ge]" = Option<String>, Query, description = "Events of this time or later, RFC 3339", format = DateTime, example = "2023-12-13T20:42:50.427Z"),
        ("filter[createdAt][lt]" = Option<String>, Query, description = "Events before this time, RFC 3339", format = DateTime),
        ("sort" = Option<String>, Query, description = "`-sequence` (the default), `sequence`, `-createdAt` or `createdAt`", pattern = "^-?(sequence|createdAt)$", example = "sequence"),
        ("page[size]" = Option<u32>, Query, description = "The most notifications of a page, 1 to 1,000, by default 100", minimum = 1, maximum = 1000),
        ("page[after]" = Option<String>, Query, description = "The cursor behind which the page begins, as found in links and in `meta.page.after`. `0` is the beginning. In the order of the sequence it is the sequence", example = "0"),
        ("page[before]" = Option<String>, Query, description = "The cursor before which the page ends, as found in links"),
        ("include" = Option<String>, Query, description = "Related resources to include, a comma list of `createdBy` and `entity`; by default everything that came with the events", pattern = "^((createdBy|entity)(,(createdBy|entity))*)?$"),
        ("fields[notification]" = Option<String>, Query, description = "The attributes and relationships to show, a comma list"),
        ("fields[user]" = Option<String>, Query, description = "The attributes of included users to show, a comma list"),
        ("fields[entity]" = Option<String>, Query, description = "The attributes of included entities to show, a comma list"),
        ("page[limit]" = Option<u32>, Query, description = "Offset paging, as Signals Notebook does it: 1 to 100, by default 20. It can skip or repeat notifications while others arrive or change; paging by cursor doesn't", minimum = 1, maximum = 100),
        ("page[offset]" = Option<u32>, Query, description = "Offset paging: how many to leave out, up to 5,000", minimum = 0, maximum = 5000),
        ("status" = Option<String>, Query, description = "Signals' name for `filter[isDismissed]`: `dismissed`, `notdismissed`, or both as a comma list", pattern = "^((not)?dismissed(,(not)?dismissed)*)?$"),
        ("from" = Option<String>, Query, description = "Signals' name for `filter[createdAt][ge]`"),
        ("to" = Option<String>, Query, description = "Signals' name for `filter[createdAt][lt]`"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: with `page[after]` and `sort=sequence`, an empty page is answered only after up to N seconds, at most 60", example = "wait=30"),
    ),
    responses(
        (status = 200, description = "A page", body = NotificationPage, headers(("Preference-Applied" = String, description = "The wait in force, if one was asked for"))),
        (status = 410, description = "`cursor_expired`: the cursor points below what retention has removed; `meta.oldest` says where the list begins now", body = tidings_api::error::ErrorDocument),
    )
)]
#[get("/notifications")]
pub(super) async fn list_notifications(
    caller: Consumer,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let entry = state.tenant(caller.0).await?;
    let list = Arc::new(List::parse(
        request.query_string(),
        entry.push_is_active(),
        media::wants_strict(request.headers()),
    )?);
    let wait = pages::wait(request.headers()).filter(|_| list.can_wait());
    let Page { notifications, more, probed } = match wait {
        Some(seconds) => {
            pages::follow(&state.store, state.stopping.clone(), caller.0, &list, seconds).await?
        }
        None => pages::fetch(&state.store, caller.0, &list).await?,
    };
    let base = base(&state, &request);
    let url = format!("{base}/notifications");
    let frame = list.frame(&url, request.query_string(), &notifications, more, probed);
    let writer = Writer { base: &base, shape: &list.shape, push_is_active: Some(entry.push_is_active()) };
    let mut response = HttpResponse::Ok();
    response.content_type(tidings_api::MEDIA_TYPE);
    if let Some(seconds) = wait {
        response.insert_header(("Preference-Applied", format!("wait={seconds}")));
    }
    Ok(response.body(writer.page(&notifications, &frame)))
}

/// Reads a notification
///
/// Role: `consumer`.
#[utoipa::path(
    tag = "notifications",
    params(
        ("id" = String, Path, description = "The sequence", example = "519"),
        ("include" = Option<String>, Query, description = "Related resources to include, a comma list of `createdBy` and `entity`", pattern = "^((createdBy|entity)(,(createdBy|entity))*)?$"),
        ("fields[notification]" = Option<String>, Query, description = "The attributes and relationships to show, a comma list"),
        ("fields[user]" = Option<String>, Query, description = "The attributes of included users to show, a comma list"),
        ("fields[entity]" = Option<String>, Query, description = "The attributes of included entities to show, a comma list"),
    ),
    responses((status = 200, description = "The notification", body = NotificationDocument))
)]
#[get("/notifications/{id}")]
pub(super) async fn get_notification(
    caller: Consumer,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let sequence = sequence(&id)?;
    let mut parameters = Parameters::parse(request.query_string())?;
    let shape = shape::shape(&mut parameters, media::wants_strict(request.headers()))?;
    parameters.finish()?;
    let entry = state.tenant(caller.0).await?;
    let notification = read(&state, caller.0, sequence).await?;
    Ok(answer(document(&base(&state, &request), &entry, &shape, &notification)))
}

/// Changes the flags of a notification
///
/// The body has JSON:API's shape or that of Signals Notebook. Flags that are left out stay as they are; nothing else of a
/// notification ever changes. Role: `consumer`.
#[utoipa::path(
    tag = "notifications",
    params(("id" = String, Path, description = "The sequence", example = "519")),
    request_body(content = FlagsDocument, examples(
        ("JSON:API" = (value = json!({"data": {"type": "notification", "id": "519", "attributes": {"isDismissed": true}}}))),
        ("Signals" = (value = json!({"data": [{"attributes": {"name": "isDismissed", "value": "true"}}]}))),
    )),
    responses((status = 200, description = "The notification as it is now", body = NotificationDocument))
)]
#[patch("/notifications/{id}")]
pub(super) async fn patch_notification(
    caller: Consumer,
    _: NoParameters,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Body<Value>,
) -> Result<HttpResponse, Error> {
    let (tenant, sequence) = (caller.0, sequence(&id)?);
    let flags = flags::document(&body.value, sequence)?;
    let entry = state.tenant(tenant).await?;
    let update = state.store.update(Update { tenant, sequence, flags });
    let notification = update.await?.ok_or_else(|| Error::not_found("notification"))?;
    Ok(answer(document(&base(&state, &request), &entry, &shape::whole(&request), &notification)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn header_and_event_id_are_one_key() {
        let key = |values: &[&str], id| {
            let headers = headers("idempotency-key", values);
            idempotency_key(&headers, id)
                .map(|key| key.map(<[u8]>::to_vec))
                .map_err(|error| error.object().code)
        };
        assert_eq!(key(&[], None), Ok(None));
        assert_eq!(key(&["a"], None), Ok(Some(b"a".to_vec())));
        assert_eq!(key(&[], Some("ü")), Ok(Some("ü".as_bytes().to_vec())));
        assert_eq!(key(&["a", "a"], Some("a")), Ok(Some(b"a".to_vec())));
        assert_eq!(key(&["a"], Some("b")), Err(ErrorCode::InvalidValue));
        for bad in [&[""][..], &["a b"], &["a", "b"], &[&"x".repeat(256)]] {
            assert_eq!(key(bad, None), Err(ErrorCode::InvalidHeader), "{bad:?}");
        }
    }
}
