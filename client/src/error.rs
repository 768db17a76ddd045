//! Whatever can go wrong in a call. No variant holds a key, a secret or a body.

use std::time::Duration;

use tidings_api::error::{ErrorCode, ErrorObject};
use tidings_api::jsonapi::Sequence;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered, and refused.
    #[error("the server answered {status}{}", details(.errors))]
    #[non_exhaustive]
    Api {
        /// The HTTP status.
        status: u16,
        /// What the server said; empty when a proxy answered in its place.
        errors: Vec<ErrorObject>,
        /// For how long the server does not want to be asked again.
        retry_after: Option<Duration>,
    },
    /// The request or its answer was lost on the way. Whether the server has carried it out is unknown.
    #[error("no usable answer came from the server: {0}")]
    Transport(String),
    /// The answer was not complete in time. Whether the server has carried the request out is unknown.
    #[error("no complete answer came within {0:?}")]
    Timeout(Duration),
    /// The answer, or the body of a push, is complete and of another shape than expected.
    #[error("the document does not have the expected shape")]
    Decode(#[source] serde_json::Error),
    /// A value that was to be sent can't be written as a JSON object.
    #[error("the value can't be written as a JSON object")]
    Encode(#[source] serde_json::Error),
    /// An argument can't be used; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The push does not come from the server, or is not what it sent, or is too old.
    #[error("the push can't be trusted: {0}")]
    Signature(&'static str),
    /// The client's thread could not be started.
    #[error("the thread of the client could not be started")]
    Start(#[source] std::io::Error),
}

impl Error {
    /// The server's code for what went wrong, of the first error where there are several.
    pub fn code(&self) -> Option<ErrorCode> {
        self.first().map(|error| error.code)
    }

    /// Whether notifications between the cursor and the oldest one that is kept have expired.
    ///
    /// They can't be fetched any more. Go on from the beginning, `after(Sequence::START)`.
    pub fn is_cursor_expired(&self) -> bool {
        self.code() == Some(ErrorCode::CursorExpired)
    }

    /// With an expired cursor: the oldest notification that is kept.
    pub fn oldest(&self) -> Option<Sequence> {
        self.first()?.meta.as_ref()?.oldest
    }

    fn first(&self) -> Option<&ErrorObject> {
        match self {
            Error::Api { errors, .. } => errors.first(),
            _ => None,
        }
    }
}

fn details(errors: &[ErrorObject]) -> String {
    errors.iter().map(|error| format!(" ({}: {})", error.code.as_str(), error.detail)).collect()
}
