//! Whatever can go wrong in a call. No variant holds a key, a secret or a body.

use std::path::PathBuf;
use std::time::Duration;

use tidings_api::error::{ErrorCode, ErrorObject};
use tidings_api::jsonapi::Sequence;

/// Any error of a program that uses this crate.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
    /// The inbox can't be read or written: what SQLite says of it. What was to be written is not.
    #[error("the inbox can't be used: {0}")]
    Inbox(String),
    /// The disk is full, so that the inbox can't be written. What was to be written is not; make room and go on.
    #[error("the disk of the inbox is full: make room, and it goes on by itself")]
    DiskFull,
    /// The file is none that an inbox can be kept in.
    #[error("{} is no inbox: {reason}; choose another file, one that doesn't exist yet becomes an inbox", .path.display())]
    #[non_exhaustive]
    NotAnInbox {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// The inbox was last used by a newer version of this crate.
    #[error(
        "the inbox {} is of version {version}, and this program knows only {known}: use a newer one", .path.display()
    )]
    #[non_exhaustive]
    NewerInbox {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The newest version that this crate knows.
        known: i64,
    },
    /// The inbox belongs to one tenant, and this came from another one. Nothing of it is kept. Each tenant needs an
    /// inbox of its own.
    #[error(
        "the inbox belongs to the tenant {inbox}, and this came from {given}: give each tenant an inbox of its own, \
         or use the key of this one"
    )]
    #[non_exhaustive]
    OtherTenant {
        /// The tenant that the inbox belongs to.
        inbox: String,
        /// The one that was given.
        given: String,
    },
    /// The inbox is already being handled, by this process or by another one.
    #[error(
        "the inbox {} is already being handled; only one archiver at a time can do that: end the other one first",
        .path.display()
    )]
    #[non_exhaustive]
    InboxBusy {
        /// The file.
        path: PathBuf,
    },
    /// The lock file beside the inbox could not be used.
    #[error("the lock file {} can't be used: it must be writable, and on a disk that knows locks", .path.display())]
    #[non_exhaustive]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system says of it.
        source: std::io::Error,
    },
    /// The server's notifications are not those that the inbox holds under the same ids: it was restored from a backup,
    /// or set up anew. Nothing of it is kept. The inbox has what the server has lost, and the server will give the same
    /// ids to others: keep this file, and begin with a new one.
    #[error(
        "the server has other notifications than the inbox, the one with the id {id} or those before it: was it \
         restored from a backup, or set up anew? Keep this inbox, it has what the server has lost, and begin a new one"
    )]
    #[non_exhaustive]
    OtherHistory {
        /// The id of a notification that the inbox holds and the server does not have, or has as another one.
        id: Sequence,
    },
    /// The transaction with what a handler wanted to write failed because of something else. Nothing of it is written,
    /// and it is no fault of the handler: it has to be called once more.
    #[error(
        "what was to be written with the inbox was undone by the failure of something else: handle it once more"
    )]
    EffectsLost,
    /// What a handler wanted to write together with the inbox failed. Nothing of it is written.
    #[error("what was to be written with the inbox failed: {0}")]
    Effect(BoxError),
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

    /// Whether the same call may succeed later, with nothing changed: the server could not be reached, was too slow,
    /// or is in trouble. After the others, waiting does not help.
    pub fn may_pass(&self) -> bool {
        match self {
            Error::Transport(_) | Error::Timeout(_) => true,
            Error::Api { status, .. } => matches!(status, 408 | 429 | 500 | 502..=599),
            _ => false,
        }
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
