//! Bodies: read within bounds, checked once as JSON, then read as a type, with errors that name the member.

mod check;
mod parse;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::time::Duration;

use actix_web::body::{BodyStream, MessageBody as _};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidings_api::delivery::TestDocument;
use tidings_api::error::ErrorCode;
use tidings_api::event::EventDocument;
use tidings_api::job::JobWriteDocument;
use tidings_api::settings::SettingsPatchDocument;
use tidings_api::tenant::{ApiKeyWriteDocument, TenantWriteDocument};
use tokio::time::timeout;

pub(super) use self::check::Members;
use self::check::check;
pub(super) use self::parse::parse;
use super::error::Error;
use super::media;

/// The largest body.
const LARGEST: usize = 10 * 1024 * 1024;
/// How long a body may take to arrive.
const SLOWEST: Duration = Duration::from_secs(120);
/// How much of a refused body is read all the same, and for how long: a client that still writes doesn't read the answer.
const DRAINED: usize = 64 * 1024 * 1024;
const DRAINING: Duration = Duration::from_secs(5);

/// A request's body: as it came, and what it says. `ATOMIC`: in the media type of the extension for operations.
pub(super) struct Body<T, const ATOMIC: bool = false> {
    /// What it says.
    pub(super) value: T,
    /// As it came.
    pub(super) bytes: Bytes,
}

/// What a body is read as.
pub(super) trait Shape: DeserializeOwned + 'static {
    /// How far the type knows its members by itself.
    const MEMBERS: Members = Members::Known;
}

impl Shape for Value {
    const MEMBERS: Members = Members::Free;
}
impl Shape for EventDocument {}
impl Shape for JobWriteDocument {
    const MEMBERS: Members = Members::InMaps;
}
impl Shape for SettingsPatchDocument {
    const MEMBERS: Members = Members::InMaps;
}
impl Shape for TenantWriteDocument {}
impl Shape for ApiKeyWriteDocument {}

impl<T: Shape, const ATOMIC: bool> FromRequest for Body<T, ATOMIC> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let mut admitted = media::check_body(request.headers(), ATOMIC);
        if length.is_some_and(|length| length > LARGEST) {
            admitted = admitted.and(Err(too_large()));
        }
        let payload = payload.take();
        Box::pin(async move {
            let bytes = read(admitted, payload).await?;
            check(&bytes, T::MEMBERS)?;
            Ok(Body { value: parse(&bytes)?, bytes })
        })
    }
}

/// The body of a call for a test: none, `null`, or one that says no more than that.
pub(super) struct TestBody;

impl FromRequest for TestBody {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let admitted = media::check_body(request.headers(), false);
        let payload = payload.take();
        Box::pin(async move {
            let bytes = read(Ok(()), payload).await?;
            if bytes.is_empty() {
                return Ok(TestBody);
            }
            admitted?;
            check(&bytes, Members::Known)?;
            match parse::<Option<TestDocument>>(&bytes)?.and_then(|document| document.data) {
                Some(data) if data.r#type != "test" => {
                    let detail = format!("{:?} is not `test`", data.r#type);
                    Err(Error::new(ErrorCode::Conflict, detail).at("/data/type"))
                }
                _ => Ok(TestBody),
            }
        })
    }
}

fn too_large() -> Error {
    Error::new(ErrorCode::TooLarge, "the body is larger than 10 MiB")
}

async fn read(admitted: Result<(), Error>, payload: Payload) -> Result<Bytes, Error> {
    let mut chunks = pin!(BodyStream::new(payload));
    let read = match admitted {
        Ok(()) => match timeout(SLOWEST, collect(chunks.as_mut())).await {
            Ok(read) => read,
            Err(_) => {
                return Err(Error::new(ErrorCode::InvalidJson, "the body did not arrive within two minutes"));
            }
        },
        Err(error) => Err(error),
    };
    if read.is_err() {
        drain_chunks(chunks).await;
    }
    read
}

type Chunks<'a> = Pin<&'a mut BodyStream<Payload>>;

async fn next(chunks: &mut Chunks<'_>) -> Option<Result<Bytes, PayloadError>> {
    poll_fn(|context| chunks.as_mut().poll_next(context)).await
}

async fn collect(mut chunks: Chunks<'_>) -> Result<Bytes, Error> {
    let mut all = BytesMut::new();
    let mut first = None;
    while let Some(chunk) = next(&mut chunks).await {
        let chunk = chunk.map_err(|error| {
            Error::new(ErrorCode::InvalidJson, format!("the body could not be read to its end: {error}"))
        })?;
        if all.len() + chunk.len() > LARGEST
            || first.as_ref().is_some_and(|f: &Bytes| f.len() + chunk.len() > LARGEST)
        {
            return Err(too_large());
        }
        // Most bodies come in one piece, which needs no copy.
        match (first.take(), all.is_empty()) {
            (None, true) => first = Some(chunk),
            (begin, _) => {
                all.extend_from_slice(&begin.unwrap_or_default());
                all.extend_from_slice(&chunk);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// Reads what is left of a body that nobody wants, within bounds.
pub(super) async fn drain(payload: Payload) {
    drain_chunks(pin!(BodyStream::new(payload))).await;
}

async fn drain_chunks(mut chunks: Chunks<'_>) {
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = next(&mut chunks).await {
            seen += chunk.len();
            if seen > DRAINED {
                break;
            }
        }
    };
    let _ = timeout(DRAINING, reading).await;
}

/// A name as a token of a JSON pointer.
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
