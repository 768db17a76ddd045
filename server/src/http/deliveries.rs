//! The push queue: deliveries, filtered and ordered by any of their columns, and the log of their attempts.

use actix_web::{HttpRequest, HttpResponse, get, web};
use serde_json::value::RawValue;
use tidings_api::delivery::{
    AttemptError, AttemptPage, AttemptResource, DeliveryAttributes, DeliveryDocument, DeliveryPage,
    DeliveryResource, DeliveryStatus, TestHeader,
};
use tidings_api::event_type::EventType;
use tidings_api::jsonapi::{RawObject, SelfLink, Sequence};

use super::auth::Admin;
use super::error::Error;
use super::list::read_time;
use super::notifications::sequence;
use super::paging::Pages;
use super::query::{NoParameters, Parameters};
use super::test::attributes;
use super::{State, base, json, time};
use crate::push::attempt::Attempts;
use crate::rules::document::{Shape, Writer};
use crate::rules::format::{self, Format};
use crate::rules::notification::PushProgress;
use crate::rules::payload;
use crate::store::queue::{DeliveryFilter, DeliveryOrder, DeliveryQuery, DeliveryRow, Place, Rank, Span};

/// The one kind of receiver.
const HTTP: &str = "http";
/// The order of the list where none is asked for.
const BY_DEFAULT: &str = "-id";
/// The columns by which the list can be filtered and ordered.
const COLUMNS: [&str; 10] = [
    "id",
    "endpointType",
    "eventType",
    "eventTime",
    "lastProcessedAt",
    "status",
    "retries",
    "errorMessage",
    "responseStatus",
    "nextAttemptAt",
];

/// What a request for the list asks for.
fn query(pages: &Pages, mut parameters: Parameters, push_is_active: bool) -> Result<DeliveryQuery, Error> {
    let filter = filter(&mut parameters, push_is_active)?;
    let sort = parameters.take("sort").unwrap_or_else(|| BY_DEFAULT.to_owned());
    parameters.finish()?;
    let (name, descending) = sort.strip_prefix('-').map_or((sort.as_str(), false), |name| (name, true));
    let order = match name {
        "id" | "endpointType" => DeliveryOrder::Id,
        "eventType" => DeliveryOrder::EventType,
        "eventTime" => DeliveryOrder::EventTime,
        "lastProcessedAt" => DeliveryOrder::LastProcessedAt,
        "status" => DeliveryOrder::Status,
        "retries" => DeliveryOrder::Retries,
        "errorMessage" => DeliveryOrder::ErrorMessage,
        "responseStatus" => DeliveryOrder::ResponseStatus,
        "nextAttemptAt" => DeliveryOrder::NextAttemptAt,
        _ => {
            let detail = format!("{sort:?} is no column of a delivery; put `-` before one for descending");
            return Err(Error::parameter("sort", detail));
        }
    };
    Ok(DeliveryQuery {
        filter,
        order,
        descending,
        from: pages.place(|cursor| place(cursor, order))?,
        backwards: pages.is_backwards(),
        limit: pages.limit(),
        up_to: i64::MAX,
        push_is_active,
    })
}

/// Whether a parameter is one of the filters of this list.
pub(super) fn is_filter(name: &str) -> bool {
    let name = name.strip_prefix("filter[").and_then(|name| name.split_once(']'));
    name.is_some_and(|(column, _)| COLUMNS.contains(&column))
}

/// The parameters that select deliveries.
///
/// # Errors
/// 400 with the parameter that can't be used.
pub(super) fn filter(parameters: &mut Parameters, push_is_active: bool) -> Result<DeliveryFilter, Error> {
    named(parameters, "endpointType", &[HTTP], |name| (name == HTTP).then_some(()))?;
    let event_types = parameters.list("filter[eventType]")?;
    if let Some(illegal) = event_types.iter().flatten().find(|name| name.parse::<EventType>().is_err()) {
        let detail = format!("{illegal:?} is not the name of an event type");
        return Err(Error::parameter("filter[eventType]", detail));
    }
    let names: Vec<&str> = DeliveryStatus::ALL.iter().map(|status| status.as_str()).collect();
    let statuses = named(parameters, "status", &names, |name| name.parse::<DeliveryStatus>().ok())?;
    let states = statuses.map(|statuses| {
        // What waits is paused exactly while push is.
        let states = statuses.into_iter().filter_map(|status| match status {
            DeliveryStatus::Complete => Some(PushProgress::Delivered),
            DeliveryStatus::Error => Some(PushProgress::Failed),
            DeliveryStatus::Pending => push_is_active.then_some(PushProgress::Pending),
            DeliveryStatus::Paused => (!push_is_active).then_some(PushProgress::Pending),
        });
        states.collect()
    });
    let names: Vec<&str> = AttemptError::ALL.iter().map(|error| error.as_str()).collect();
    let next_attempt_at = span(parameters, "nextAttemptAt")?;
    // While push isn't active no attempt is due at any time.
    let states = if next_attempt_at.is_set() && !push_is_active { Some(Vec::new()) } else { states };
    Ok(DeliveryFilter {
        ids: numbers(parameters, "id", i64::MAX)?,
        event_types,
        states,
        retries: numbers(parameters, "retries", i64::from(i32::MAX))?,
        errors: named(parameters, "errorMessage", &names, |name| name.parse().ok())?,
        response_statuses: numbers(parameters, "responseStatus", 999)?,
        event_time: span(parameters, "eventTime")?,
        last_processed_at: span(parameters, "lastProcessedAt")?,
        next_attempt_at,
    })
}

/// A comma list of names, each of which means something.
fn named<T>(
    parameters: &mut Parameters,
    name: &str,
    known: &[&str],
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<Vec<T>>, Error> {
    let name = format!("filter[{name}]");
    let Some(given) = parameters.list(&name)? else { return Ok(None) };
    let values = given.iter().map(|given| {
        read(given)
            .ok_or_else(|| Error::parameter(&name, format!("{given:?} is not one of {}", known.join(", "))))
    });
    values.collect::<Result<Vec<T>, Error>>().map(Some)
}

/// A comma list of numbers, each once.
fn numbers(parameters: &mut Parameters, name: &str, most: i64) -> Result<Option<Vec<i64>>, Error> {
    let name = format!("filter[{name}]");
    let Some(given) = parameters.list(&name)? else { return Ok(None) };
    let values = given.iter().map(|given| {
        let number = given.parse::<Sequence>().ok().map(Sequence::get).filter(|number| *number <= most);
        number.ok_or_else(|| Error::parameter(&name, format!("{given:?} is no number from 0 to {most}")))
    });
    let mut values = values.collect::<Result<Vec<i64>, Error>>()?;
    values.sort_unstable();
    values.dedup();
    Ok(Some(values))
}

fn span(parameters: &mut Parameters, name: &str) -> Result<Span, Error> {
    let mut edge = |operator: &str| {
        let name = format!("filter[{name}][{operator}]");
        parameters.take(&name).map(|text| read_time(&name, text)).transpose()
    };
    Ok(Span { from: edge("ge")?, before: edge("lt")? })
}

/// A cursor: the key, the sequence, and the part of the list.
fn cursor(place: &Place) -> String {
    let rank = match &place.rank {
        Rank::Number(number) => number.to_string(),
        Rank::Name(name) => name.clone(),
        Rank::Missing => String::new(),
    };
    format!("{}_{}_{rank}", place.key, place.sequence)
}

/// Reads a cursor of a list in this order.
fn place(cursor: &str, order: DeliveryOrder) -> Option<Place> {
    let mut parts = cursor.splitn(3, '_');
    let mut number = || parts.next()?.parse().ok();
    let (key, sequence) = (number()?, number()?);
    let by_name =
        matches!(order, DeliveryOrder::EventType | DeliveryOrder::Status | DeliveryOrder::ErrorMessage);
    let rank = match parts.next()? {
        "" => Rank::Missing,
        name if by_name => Rank::Name(name.to_owned()),
        number => Rank::Number(number.parse().ok()?),
    };
    Some(Place { rank, key, sequence })
}

/// A delivery as a resource, without what only a single one shows.
fn resource(base: &str, row: DeliveryRow, push_is_active: bool) -> DeliveryResource {
    let id = Sequence::new(row.sequence).unwrap_or(Sequence::START);
    let status = match row.push {
        PushProgress::Delivered => DeliveryStatus::Complete,
        PushProgress::Failed => DeliveryStatus::Error,
        PushProgress::Pending | PushProgress::None if push_is_active => DeliveryStatus::Pending,
        PushProgress::Pending | PushProgress::None => DeliveryStatus::Paused,
    };
    let counter = row.attempts.unsigned_abs();
    let (table, change_type, record_id) = match row.change {
        Some(change) => (Some(change.table), Some(change.r#type), change.record_id),
        None => (None, None, None),
    };
    DeliveryResource {
        r#type: "delivery".to_owned(),
        id,
        links: SelfLink { this: format!("{base}/deliveries/{id}") },
        attributes: DeliveryAttributes {
            endpoint_type: HTTP.to_owned(),
            event_type: row.event_type,
            event_time: time(row.event_time),
            last_processed_at: row.last_processed_at.map(time),
            status,
            retries: counter.saturating_sub(1),
            error_message: row.error,
            response_status: row.response_status,
            next_attempt_at: row.next_attempt_at.filter(|_| push_is_active).map(time),
            synchronized: row.push == PushProgress::Delivered,
            counter,
            active: row.push == PushProgress::Pending,
            created_by: row.created_by,
            table,
            change_type,
            record_id,
            response_text: None,
            content: None,
            content_headers: None,
        },
    }
}

/// Lists the push queue
///
/// A delivery for each notification that is, or was, to be pushed; its id is that of the notification. What has no value
/// in the column by which the list is ordered comes last. While push is paused, what waits is `paused` and has no
/// `nextAttemptAt`. A delivery that changes while the list is read may move in it. By `retries`, all with 15 or more are one;
/// by `responseStatus`, the less usual statuses stand together at the end of their hundred. Role: `admin`.
#[utoipa::path(
    tag = "push queue",
    params(
        ("filter[id]" = Option<String>, Query, description = "Ids of notifications, a comma list", pattern = "^[0-9]{1,18}(,[0-9]{1,18})*$", example = "519,520"),
        ("filter[endpointType]" = Option<String>, Query, description = "`http`", pattern = "^http$"),
        ("filter[eventType]" = Option<String>, Query, description = "Event types, a comma list", pattern = "^[A-Za-z0-9_.-]{1,100}(,[A-Za-z0-9_.-]{1,100})*$", example = "close,sign"),
        ("filter[eventTime][ge]" = Option<String>, Query, description = "Events of this time or later, RFC 3339", format = DateTime),
        ("filter[eventTime][lt]" = Option<String>, Query, description = "Events before this time, RFC 3339", format = DateTime),
        ("filter[lastProcessedAt][ge]" = Option<String>, Query, description = "Whose last attempt ended at this time or later, RFC 3339", format = DateTime),
        ("filter[lastProcessedAt][lt]" = Option<String>, Query, description = "Whose last attempt ended before this time, RFC 3339", format = DateTime),
        ("filter[status]" = Option<String>, Query, description = "A comma list of `pending`, `complete`, `error`, `paused`", pattern = "^(pending|complete|error|paused)(,(pending|complete|error|paused))*$", example = "error"),
        ("filter[retries]" = Option<String>, Query, description = "Attempts made after the first, a comma list of numbers", pattern = "^[0-9]{1,9}(,[0-9]{1,9})*$", example = "1,2"),
        ("filter[errorMessage]" = Option<String>, Query, description = "Errors of the last attempt, a comma list", example = "timeout,status"),
        ("filter[responseStatus]" = Option<String>, Query, description = "Statuses of the last answer, a comma list", pattern = "^[0-9]{1,3}(,[0-9]{1,3})*$", example = "500,503"),
        ("filter[nextAttemptAt][ge]" = Option<String>, Query, description = "Whose next attempt is due at this time or later, RFC 3339", format = DateTime),
        ("filter[nextAttemptAt][lt]" = Option<String>, Query, description = "Whose next attempt is due before this time, RFC 3339", format = DateTime),
        ("sort" = Option<String>, Query, description = "One of `id`, `endpointType`, `eventType`, `eventTime`, `lastProcessedAt`, `status`, `retries`, `errorMessage`, `responseStatus`, `nextAttemptAt`; with `-` before it descending; by default `-id`", pattern = "^-?(id|endpointType|eventType|eventTime|lastProcessedAt|status|retries|errorMessage|responseStatus|nextAttemptAt)$", example = "-lastProcessedAt"),
        ("page[size]" = Option<u32>, Query, description = "The most deliveries of a page, 1 to 1,000, by default 100", minimum = 1, maximum = 1000),
        ("page[after]" = Option<String>, Query, description = "The cursor behind which the page begins, as found in links"),
        ("page[before]" = Option<String>, Query, description = "The cursor before which the page ends, as found in links"),
    ),
    responses((status = 200, description = "A page", body = DeliveryPage))
)]
#[get("/deliveries")]
pub(super) async fn list_deliveries(
    caller: Admin,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let (tenant, entry) = (caller.0, state.tenant(caller.0).await?);
    let asked = request.query_string();
    let mut parameters = Parameters::parse(asked)?;
    let pages = Pages::take(&mut parameters, BY_DEFAULT)?;
    let query = query(&pages, parameters, entry.push_is_active())?;
    let mut found = state.store.page(move |conn| conn.delivery_page(tenant, &query)).await?;
    let base = base(&state, &request);
    let links = pages.links(&format!("{base}/deliveries"), asked, &mut found, |(place, _)| cursor(place));
    let rows = found.into_iter();
    let data = rows.map(|(_, row)| resource(&base, row, entry.push_is_active())).collect();
    json(&DeliveryPage { links, data })
}

/// Reads a delivery
///
/// With the body as it is pushed by the settings of now, the headers that belong to it, and the beginning of the last
/// answer. Role: `admin`.
#[utoipa::path(
    tag = "push queue",
    params(("id" = String, Path, description = "The id of the notification", example = "519")),
    responses((status = 200, description = "The delivery", body = DeliveryDocument))
)]
#[get("/deliveries/{id}")]
pub(super) async fn get_delivery(
    caller: Admin,
    _: NoParameters,
    state: web::Data<State>,
    attempts: web::Data<Attempts>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let (tenant, entry) = (caller.0, state.tenant(caller.0).await?);
    let sequence = sequence(&id).map_err(|_| unknown())?;
    let read = state.store.read(move |conn| {
        let Some(row) = conn.delivery_get(tenant, sequence)? else { return Ok(None) };
        let Some(notification) = conn.notification_get(tenant, sequence)? else { return Ok(None) };
        Ok(Some((row, notification, conn.attempts(tenant, sequence, None, true, 1)?.pop())))
    });
    let (row, mut notification, last) = read.await?.ok_or_else(unknown)?;
    let base = base(&state, &request);
    let mut data = resource(&base, row, entry.push_is_active());
    data.attributes.response_text =
        last.filter(|(_, last)| last.response_status.is_some()).map(|(_, last)| last.response_text);
    // As it will be once the push is accepted.
    notification.state.is_dismissed |= entry.settings.push.auto_dismiss;
    let writer = Writer { base: &attempts.base, shape: &Shape::default(), push_is_active: None };
    let id = format::message_id(&entry.tenant.public_id, sequence);
    let format = Format::of_push(&entry.settings, &entry.tenant.public_id, &id, &notification);
    // A body that is too large is never pushed.
    let body = payload::body(&entry.settings.payload, &format, &writer, &notification).ok();
    data.attributes.content = body
        .and_then(|body| String::from_utf8(body).ok())
        .and_then(|body| RawValue::from_string(body).ok().and_then(|body| RawObject::from_value(&body).ok()));
    if data.attributes.content.is_some() {
        let headers = [("content-type", format.content_type.to_owned())].into_iter().chain(format.headers);
        let headers = headers.map(|(name, value)| TestHeader { name: name.to_owned(), value });
        data.attributes.content_headers = Some(headers.collect());
    }
    json(&DeliveryDocument { links: data.links.clone(), data })
}

/// Lists the attempts of a delivery
///
/// Every request that was made, oldest first, as long as the notification is kept. Role: `admin`.
#[utoipa::path(
    tag = "push queue",
    params(
        ("id" = String, Path, description = "The id of the notification", example = "519"),
        ("page[size]" = Option<u32>, Query, description = "The most attempts of a page, 1 to 1,000, by default 100", minimum = 1, maximum = 1000),
        ("page[after]" = Option<String>, Query, description = "The cursor behind which the page begins, as found in links"),
        ("page[before]" = Option<String>, Query, description = "The cursor before which the page ends, as found in links"),
    ),
    responses((status = 200, description = "A page", body = AttemptPage))
)]
#[get("/deliveries/{id}/attempts")]
pub(super) async fn list_attempts(
    caller: Admin,
    state: web::Data<State>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let tenant = caller.0;
    let sequence = sequence(&id).map_err(|_| unknown())?;
    let asked = request.query_string();
    let mut parameters = Parameters::parse(asked)?;
    let pages = Pages::take(&mut parameters, "id")?;
    parameters.finish()?;
    let from = pages.place(|text| text.parse::<i32>().ok())?;
    let (backwards, limit) = (pages.is_backwards(), pages.limit());
    let read = state.store.page(move |conn| {
        let found = conn.delivery_get(tenant, sequence)?;
        found.map(|_| conn.attempts(tenant, sequence, from, backwards, limit)).transpose()
    });
    let mut found = read.await?.ok_or_else(unknown)?;
    let url = format!("{}/deliveries/{sequence}/attempts", base(&state, &request));
    let links = pages.links(&url, asked, &mut found, |(number, _)| number.to_string());
    let resources = found.into_iter().map(|(number, record)| AttemptResource {
        r#type: "attempt".to_owned(),
        id: format!("{sequence}-{number}"),
        attributes: attributes(record),
    });
    json(&AttemptPage { links, data: resources.collect() })
}

fn unknown() -> Error {
    Error::not_found("delivery")
}
