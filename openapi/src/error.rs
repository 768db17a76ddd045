//! The one form of every error answer: a JSON:API `errors` document.

use serde::{Deserialize, Serialize};

/// Declares the codes with their status and title in one table, so that no code lacks either.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $wire:tt, $title:literal;)*) => {
        /// What went wrong, for programs. The list is closed: a code's meaning never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $wire)] $name,)*
            /// A code of a newer server, unknown to this client.
            #[serde(other, rename = "other")]
            Other,
        }

        impl ErrorCode {
            /// Every code that a server of this version answers with.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name),*];

            /// The HTTP status that goes with the code.
            pub fn status(self) -> u16 {
                match self { $(ErrorCode::$name => $status,)* ErrorCode::Other => 500 }
            }

            /// The code as it stands on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $wire,)* ErrorCode::Other => "other" }
            }

            /// A summary that is the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(ErrorCode::$name => $title,)* ErrorCode::Other => "Another error" }
            }
        }
    };
}

codes! {
    /// The body is not JSON, or not UTF-8, or nested too deeply.
    InvalidJson = 400, "invalid_json", "The body is not valid JSON";
    /// A query parameter's value can't be used.
    InvalidParameter = 400, "invalid_parameter", "A query parameter has an invalid value";
    /// There is no such query parameter here.
    UnknownParameter = 400, "unknown_parameter", "There is no such query parameter";
    /// A header's value can't be used.
    InvalidHeader = 400, "invalid_header", "A header has an invalid value";
    /// No key, or one that is not (or no longer) known.
    Unauthenticated = 401, "unauthenticated", "A valid API key is required";
    /// The key's role does not allow the call.
    Forbidden = 403, "forbidden", "The key's role does not allow this";
    /// The attribute exists, and can't be changed.
    NotChangeable = 403, "not_changeable", "This member can't be set by a client";
    /// There is no such resource, or it has expired, or it belongs to another tenant.
    NotFound = 404, "not_found", "There is no such resource";
    /// The path exists, the method does not.
    MethodNotAllowed = 405, "method_not_allowed", "The resource does not support this method";
    /// `Accept` names nothing that the server can write.
    NotAcceptable = 406, "not_acceptable", "The answer can't be written in an accepted media type";
    /// `id` or `type` of the body differs from the URL.
    Conflict = 409, "conflict", "The document does not fit the resource";
    /// The idempotency key was used for another body.
    IdempotencyConflict = 409, "idempotency_conflict", "The idempotency key was used for another event";
    /// The cursor points below what retention has removed; `meta.oldest` says where the list begins now.
    CursorExpired = 410, "cursor_expired", "Notifications after this cursor have expired";
    /// The body is larger than the server takes.
    TooLarge = 413, "too_large", "The body is too large";
    /// `Content-Type` is not JSON, or has a parameter that JSON:API forbids.
    UnsupportedMediaType = 415, "unsupported_media_type", "The body's media type is not supported";
    /// A member's value can't be used.
    InvalidValue = 422, "invalid_value", "A member has an invalid value";
    /// There is no such member.
    UnknownMember = 422, "unknown_member", "There is no such member";
    /// A required member is missing.
    MissingMember = 422, "missing_member", "A required member is missing";
    /// The push URL leads to an address that the server may not call.
    BlockedAddress = 422, "blocked_address", "The URL leads to a blocked address";
    /// The receiver did not show that it wants pushes; the old setting stays.
    VerificationFailed = 422, "verification_failed", "The URL could not be verified";
    /// Too many verifications of this tenant are under way. Try again after `Retry-After`.
    TooManyVerifications = 429, "too_many_verifications", "Too many verifications are under way";
    /// Something failed inside the server; nothing was stored.
    Internal = 500, "internal", "Internal server error";
    /// The server can't take the request now. Try again after `Retry-After`.
    Unavailable = 503, "unavailable", "The server is busy or its database is unavailable";
}

/// The document of every answer with a status of 400 or above.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorDocument {
    /// At least one error.
    pub errors: Vec<ErrorObject>,
}

/// One error (JSON:API 1.1, "Error Objects").
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorObject {
    /// The HTTP status, as a string.
    #[cfg_attr(feature = "openapi", schema(example = "422"))]
    pub status: String,
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong, the same for every occurrence.
    pub title: String,
    /// What went wrong here, and what to do about it.
    pub detail: String,
    /// Where it went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ErrorSource>,
    /// Facts that help to go on, such as `oldest` with `cursor_expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<ErrorMeta>,
}

/// The place of an error: one of the three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorSource {
    /// A JSON pointer (RFC 6901) into the request's body.
    Pointer(String),
    /// The name of a query parameter.
    Parameter(String),
    /// The name of a request header.
    Header(String),
}

/// As one object, of which one member is there: generators can't tell alternatives of objects apart.
#[cfg(feature = "openapi")]
mod schema {
    use super::ErrorSource;
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};
    use utoipa::{PartialSchema, ToSchema};

    impl PartialSchema for ErrorSource {
        fn schema() -> RefOr<Schema> {
            let member = |what: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(what));
            ObjectBuilder::new()
                .schema_type(Type::Object)
                .description(Some("The place of an error: one of the three"))
                .property("pointer", member("A JSON pointer (RFC 6901) into the request's body"))
                .property("parameter", member("The name of a query parameter"))
                .property("header", member("The name of a request header"))
                .into()
        }
    }
    impl ToSchema for ErrorSource {}
}

/// Facts that help to go on after an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorMeta {
    /// With `cursor_expired`: the oldest id that is still kept. Start again with `page[after]=0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<crate::jsonapi::Sequence>,
}

impl ErrorObject {
    /// An error with its code's status and title.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        ErrorObject {
            status: code.status().to_string(),
            code,
            title: code.title().to_owned(),
            detail: detail.into(),
            source: None,
            meta: None,
        }
    }
}
