//! What the server in memory answers.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody, SizedStream};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_api::error::{ErrorCode, ErrorDocument, ErrorMeta, ErrorObject};
use tidings_api::event::{EventData, EventDocument};
use tidings_api::jsonapi::{PageLinks, RawResource};
use tidings_api::notification::{FlagsData, FlagsDocument, PageCursor, PageMeta};
use tidings_api::operations::{MAX_OPERATIONS, OperationResult, OperationResults};
use tidings_api::{BASE_PATH, MEDIA_TYPE, TENANT_HEADER};
use url::form_urlencoded;

use super::server::{Fault, KEY, Shared};
use super::store::Store;
use crate::{Flags, Notification, NotificationPage, Sequence};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/notifications").route(web::get().to(list)).route(web::post().to(post)))
        .service(web::resource("/notifications/{id}").route(web::get().to(get)).route(web::patch().to(patch)))
        .service(web::resource("/operations").route(web::post().to(operations)));
}

type Answer = Result<HttpResponse, Refusal>;

/// An answer that tells what is wrong.
#[derive(Debug)]
pub(super) struct Refusal(Box<ErrorObject>);

impl Refusal {
    fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Refusal(Box::new(ErrorObject::new(code, detail)))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl actix_web::ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        json(self.status_code(), &ErrorDocument { errors: vec![(*self.0).clone()] })
    }
}

fn json(status: StatusCode, document: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).content_type(MEDIA_TYPE).json(document)
}

/// Notes each request, checks the key, does what is to go wrong, and names the tenant.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let shared = request.app_data::<web::Data<Shared>>().expect("the server has put it there").clone();
    let target = request.path().strip_prefix(BASE_PATH).unwrap_or(request.path());
    let mut line = format!("{} {target}", request.method());
    if !request.query_string().is_empty() {
        line = format!("{line}?{}", request.query_string());
    }
    let fault = shared.note(line);
    let tenant = shared.store().tenant.clone();
    if let Some(Fault::Refuse(status)) = fault {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let error = ErrorObject {
            status: status.as_str().to_owned(),
            ..ErrorObject::new(ErrorCode::Unavailable, "the test wants it so")
        };
        return Ok(request.into_response(json(status, &ErrorDocument { errors: vec![error] })));
    }
    if let Some(Fault::Delay(delay)) = fault {
        actix_rt::time::sleep(delay).await;
    }
    if request.headers().get("x-api-key").is_none_or(|key| key != KEY) {
        let refusal = Refusal::new(ErrorCode::Unauthenticated, "the key is Server::KEY");
        return Ok(request.error_response(refusal).map_into_boxed_body());
    }
    let mut response = next.call(request).await?.map_into_boxed_body();
    if let Ok(tenant) = HeaderValue::from_str(&tenant) {
        response.headers_mut().insert(HeaderName::from_static(TENANT_HEADER), tenant);
    }
    if let Some(Fault::Cut) = fault {
        let broken = futures_util::stream::iter([Ok(web::Bytes::from_static(b"{")), Err("cut")]);
        return Ok(response.map_body(|_, _| BoxBody::new(SizedStream::new(1_000, broken))));
    }
    Ok(response)
}

pub(super) async fn nothing_here() -> Answer {
    Err(Refusal::new(ErrorCode::NotFound, "the server in memory has notifications and operations only"))
}

async fn post(shared: web::Data<Shared>, request: HttpRequest, body: web::Bytes) -> Answer {
    let EventDocument { data, included, .. } = read(&body)?;
    let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok());
    let (document, is_new) = shared.store().add(data, included, key);
    if !is_new {
        return Ok(json(StatusCode::OK, &document));
    }
    shared.push(document.data.id);
    Ok(json(StatusCode::CREATED, &document))
}

async fn get(shared: web::Data<Shared>, id: web::Path<String>) -> Answer {
    let store = shared.store();
    let document = id.parse().ok().and_then(|id: Sequence| store.kept.get(&id.get()));
    document.map(|document| json(StatusCode::OK, document)).ok_or_else(|| unknown(&id))
}

async fn patch(shared: web::Data<Shared>, id: web::Path<String>, body: web::Bytes) -> Answer {
    let FlagsDocument::JsonApi { data } = read(&body)? else {
        return Err(Refusal::new(ErrorCode::InvalidValue, "the shape of JSON:API is expected"));
    };
    let mut store = shared.store();
    let document = id.parse().ok().and_then(|id| store.set(id, data.attributes));
    document.map(|document| json(StatusCode::OK, document)).ok_or_else(|| unknown(&id))
}

async fn operations(shared: web::Data<Shared>, body: web::Bytes) -> Answer {
    #[derive(Deserialize)]
    struct Operations {
        #[serde(rename = "atomic:operations")]
        operations: Vec<Operation>,
    }
    #[derive(Deserialize)]
    struct Operation {
        op: String,
        data: Box<RawValue>,
        #[serde(default)]
        included: Vec<RawResource>,
    }
    enum Change {
        Add(Box<EventData>, Vec<RawResource>),
        Update(Sequence, Flags),
    }
    let Operations { operations } = read(&body)?;
    if !(1..=MAX_OPERATIONS).contains(&operations.len()) {
        return Err(Refusal::new(ErrorCode::InvalidValue, "1 to 1,000 operations are expected"));
    }
    let mut store = shared.store();
    // All is checked before anything is done.
    let changes = operations.into_iter().map(|operation| match operation.op.as_str() {
        "add" => Ok(Change::Add(read(operation.data.get().as_bytes())?, operation.included)),
        "update" => {
            let FlagsData { id, attributes, .. } = read(operation.data.get().as_bytes())?;
            let known = store.kept.contains_key(&id.get());
            known.then_some(Change::Update(id, attributes)).ok_or_else(|| unknown(id))
        }
        _ => Err(Refusal::new(ErrorCode::InvalidValue, "an operation is add or update")),
    });
    let changes: Vec<Change> = changes.collect::<Result<_, Refusal>>()?;
    let mut added = Vec::new();
    let results = changes.into_iter().map(|change| {
        let data = match change {
            Change::Add(data, included) => {
                let (document, is_new) = store.add(*data, included, None);
                added.extend(is_new.then_some(document.data.id));
                Some(document.data)
            }
            Change::Update(id, flags) => store.set(id, flags).map(|document| document.data.clone()),
        };
        OperationResult { data, meta: None }
    });
    let results = OperationResults { results: results.collect() };
    drop(store);
    added.into_iter().for_each(|id| shared.push(id));
    Ok(json(StatusCode::OK, &results))
}

async fn list(shared: web::Data<Shared>, request: HttpRequest) -> Answer {
    let asked: BTreeMap<String, String> =
        form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
    let prefer = request.headers().get("prefer").and_then(|value| value.to_str().ok());
    let wait = prefer.and_then(|prefer| prefer.strip_prefix("wait=")?.parse().ok());
    let waits = asked.contains_key("page[after]") && asked.get("sort").is_some_and(|sort| sort == "sequence");
    let wait = Duration::from_secs(wait.filter(|_| waits).unwrap_or(0).min(60));
    let begun = Instant::now();
    loop {
        let page = page(&shared.store(), &asked)?;
        if !page.data.is_empty() || begun.elapsed() >= wait {
            return Ok(json(StatusCode::OK, &page));
        }
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
}

fn page(store: &Store, asked: &BTreeMap<String, String>) -> Result<NotificationPage, Refusal> {
    let invalid = |name: &str| Refusal::new(ErrorCode::InvalidParameter, format!("{name} can't be used"));
    let (mut size, mut after, mut descending) = (100, None, true);
    let mut filters: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, value) in asked {
        match name.as_str() {
            "page[size]" => {
                size = value
                    .parse()
                    .ok()
                    .filter(|size| (1..=1000).contains(size))
                    .ok_or_else(|| invalid(name))?;
            }
            "page[after]" => {
                after = Some(value.parse::<Sequence>().map_err(|_| invalid(name))?.get());
            }
            "sort" => {
                descending = match value.as_str() {
                    "sequence" => false,
                    "-sequence" => true,
                    _ => return Err(invalid(name)),
                };
            }
            "filter[isDismissed]" | "filter[isRead]" | "filter[isFlagged]" | "filter[type]" => {
                filters.push((name, value.split(',').collect()));
            }
            _ => {
                let detail = format!("the server in memory does not know {name}");
                return Err(Refusal::new(ErrorCode::UnknownParameter, detail));
            }
        }
    }
    if !asked.contains_key("filter[isDismissed]") {
        filters.push(("filter[isDismissed]", vec!["false"]));
    }
    if !descending && after.is_some_and(|after| (1..store.forgotten).contains(&after)) {
        let oldest = store.kept.keys().next().copied().unwrap_or(store.newest + 1);
        let mut refusal = Refusal::new(ErrorCode::CursorExpired, "what follows has been forgotten");
        refusal.0.meta = Some(ErrorMeta { oldest: Sequence::new(oldest).ok() });
        return Err(refusal);
    }
    let matches = |notification: &Notification| {
        let attributes = &notification.attributes;
        filters.iter().all(|(name, values)| {
            let value = match *name {
                "filter[isDismissed]" => {
                    if attributes.is_dismissed {
                        "true"
                    } else {
                        "false"
                    }
                }
                "filter[isRead]" => {
                    if attributes.is_read {
                        "true"
                    } else {
                        "false"
                    }
                }
                "filter[isFlagged]" => {
                    if attributes.is_flagged {
                        "true"
                    } else {
                        "false"
                    }
                }
                _ => attributes.r#type.as_str(),
            };
            values.contains(&value)
        })
    };
    let mut found = store.page(after, descending, size, matches);
    let more = found.len() > size;
    found.truncate(size);
    let last = found.last().map(|document| document.data.id.get());
    let cursor = last.or(after).unwrap_or(0).to_string();
    let url = |parameters: &BTreeMap<String, String>| {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        format!("{}/notifications?{query}", store.base)
    };
    let mut parameters = asked.clone();
    parameters.remove("page[after]");
    let first = url(&parameters);
    parameters.insert("page[after]".to_owned(), cursor.clone());
    let links = PageLinks { this: url(asked), first, prev: None, next: more.then(|| url(&parameters)) };
    // Of those that several share, the newest.
    let mut included = HashMap::new();
    found.sort_unstable_by_key(|document| std::cmp::Reverse(document.data.id));
    for resource in found.iter().flat_map(|document| &document.included) {
        included.entry(&resource.identifier).or_insert(resource);
    }
    let included = included.into_values().cloned().collect();
    if !descending {
        found.reverse();
    }
    let data = found.into_iter().map(|document| document.data.clone()).collect();
    let meta = Some(PageMeta { page: Some(PageCursor { after: cursor }) });
    Ok(NotificationPage { links, data, included, meta })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new(ErrorCode::InvalidValue, error.to_string()))
}

fn unknown(id: impl std::fmt::Display) -> Refusal {
    Refusal::new(ErrorCode::NotFound, format!("there is no notification {id}"))
}
