//! Errors as they are answered: always a JSON:API `errors` document, and nothing of the server's inside.

use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use tidings_api::MEDIA_TYPE;
use tidings_api::error::{ErrorCode, ErrorDocument, ErrorMeta, ErrorObject, ErrorSource};
use tidings_api::jsonapi::Sequence;

use crate::store::error::StoreError;

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Error {
    object: Box<ErrorObject>,
    allow: Option<String>,
    retry_after: u64,
}

impl Error {
    /// An error with a code; the detail says what is wrong and what is expected.
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Error { object: Box::new(ErrorObject::new(code, detail)), allow: None, retry_after: 1 }
    }

    /// A member whose value can't be used.
    pub(super) fn value(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Error::new(ErrorCode::InvalidValue, detail).at(pointer)
    }

    /// A query parameter whose value can't be used.
    pub(super) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Error::new(ErrorCode::InvalidParameter, detail).of_parameter(name)
    }

    /// A header whose value can't be used.
    pub(super) fn header(name: &str, detail: impl Into<String>) -> Self {
        Error::new(ErrorCode::InvalidHeader, detail).of_header(name)
    }

    /// No key, or none that counts.
    pub(super) fn unauthenticated() -> Self {
        let detail = "send a valid key as `x-api-key: KEY` or `Authorization: Bearer KEY`";
        Error::new(ErrorCode::Unauthenticated, detail)
    }

    /// There is nothing under this URL.
    pub(super) fn not_found(what: &str) -> Self {
        Error::new(ErrorCode::NotFound, format!("there is no such {what}"))
    }

    /// The path is known, the method is not.
    pub(super) fn method_not_allowed(method: &str, allow: &str) -> Self {
        let detail = format!("{method} is not possible here; {allow} are");
        Error { allow: Some(allow.to_owned()), ..Error::new(ErrorCode::MethodNotAllowed, detail) }
    }

    /// The cursor points below what retention has removed.
    pub(super) fn cursor_expired(oldest: i64) -> Self {
        let detail = "notifications behind this cursor have expired; begin again with page[after]=0";
        let mut error = Error::new(ErrorCode::CursorExpired, detail).of_parameter("page[after]");
        error.object.meta = Some(ErrorMeta { oldest: Sequence::new(oldest).ok() });
        error
    }

    /// A failure of the server's own; it must have been logged.
    pub(super) fn internal() -> Self {
        Error::new(ErrorCode::Internal, "internal")
    }

    /// The server can't do this now.
    pub(super) fn unavailable(detail: &str) -> Self {
        Error::new(ErrorCode::Unavailable, detail)
    }

    /// Says after how many seconds it may be tried again, where that isn't one.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Error { retry_after: seconds, ..self }
    }

    /// Names the member of the body.
    pub(super) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.object.source = Some(ErrorSource::Pointer(pointer.into()));
        self
    }

    /// Names the query parameter.
    pub(super) fn of_parameter(mut self, name: &str) -> Self {
        self.object.source = Some(ErrorSource::Parameter(name.to_owned()));
        self
    }

    /// Names the request header.
    pub(super) fn of_header(mut self, name: &str) -> Self {
        self.object.source = Some(ErrorSource::Header(name.to_owned()));
        self
    }

    /// The same error in a part of the body: its pointer begins there.
    pub(super) fn below(mut self, prefix: &str) -> Self {
        let pointer = match self.object.source.take() {
            Some(ErrorSource::Pointer(pointer)) => format!("{prefix}{pointer}"),
            None => prefix.to_owned(),
            other => {
                self.object.source = other;
                return self;
            }
        };
        self.at(pointer)
    }

    /// The same error where the parameter came as a member of an object in the body.
    pub(super) fn in_member(mut self, object: &str, escape: impl Fn(&str) -> String) -> Self {
        let Some(ErrorSource::Parameter(name)) = self.object.source.take() else { return self };
        let code = match self.object.code {
            ErrorCode::UnknownParameter => ErrorCode::UnknownMember,
            _ => ErrorCode::InvalidValue,
        };
        Error::new(code, std::mem::take(&mut self.object.detail)).at(format!("{object}/{}", escape(&name)))
    }

    /// The error object.
    #[cfg(test)]
    pub(super) fn object(&self) -> &ErrorObject {
        &self.object
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object.code.as_str(), self.object.detail)
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.object.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(MEDIA_TYPE);
        match self.object.code {
            ErrorCode::Unauthenticated => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            ErrorCode::Unavailable | ErrorCode::TooManyVerifications => {
                response.insert_header((header::RETRY_AFTER, self.retry_after.to_string()));
            }
            _ => {}
        }
        if let Some(allow) = &self.allow {
            response.insert_header((header::ALLOW, allow.as_str()));
        }
        let document = ErrorDocument { errors: vec![(*self.object).clone()] };
        response.body(serde_json::to_vec(&document).unwrap_or_default())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let causes = chain(&error);
        if error.is_temporary() {
            tracing::warn!(error = causes, "the store can't take a request now");
            Error::unavailable("nothing was stored; try again in a moment")
        } else {
            tracing::error!(error = causes, "the store failed");
            Error::internal()
        }
    }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_inside_is_not_told() {
        let error = Error::from(StoreError::Migration("secret table".into()));
        assert_eq!(error.status_code(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(error.object().detail, "internal");
        let busy = Error::from(StoreError::Busy).error_response();
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(busy.headers().get(header::RETRY_AFTER).unwrap(), "1");
    }

    #[test]
    fn pointers_are_put_below_others() {
        let error = Error::value("/data/type", "").below("/atomic:operations/3");
        let pointer = ErrorSource::Pointer("/atomic:operations/3/data/type".into());
        assert_eq!(error.object().source, Some(pointer));
        let error = Error::not_found("notification").below("/atomic:operations/3");
        assert_eq!(error.object().source, Some(ErrorSource::Pointer("/atomic:operations/3".into())));
    }
}
