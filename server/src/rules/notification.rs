//! A notification inside the server: its content, which never changes, and its state, which does.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_api::notification::PushState;

/// Microseconds since 1970 in UTC: how times are stored.
pub type Micros = i64;

/// The content of a notification, in the pieces from which documents are put together.
///
/// `extra` and `included` are JSON as it was posted; it is checked once, on its way in, and passed through after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The event's type.
    pub event_type: String,
    /// When the event happened.
    pub created_at: Micros,
    /// When it was received.
    pub received_at: Micros,
    /// The comment.
    pub comment: Option<String>,
    /// The optional attributes as members of a JSON object, without its braces; empty where there are none.
    pub extra: String,
    /// The id of the entity that it is about.
    pub entity: Option<String>,
    /// The id of the user who caused it.
    pub created_by: Option<String>,
    /// The resource objects that the event brought: a JSON array, or empty where there are none.
    pub included: String,
}

impl Content {
    /// About how much memory it takes, in bytes.
    pub fn size(&self) -> usize {
        let texts = [&self.comment, &self.entity, &self.created_by];
        let optional: usize = texts.iter().map(|text| text.as_ref().map_or(0, String::len)).sum();
        200 + self.event_type.len() + self.extra.len() + self.included.len() + optional
    }
}

/// How far the push of a notification is, as it is stored. Whether a pending one waits because push is paused is a
/// matter of the tenant's settings, not of the notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PushProgress {
    /// There was no URL when the event came.
    None,
    /// Waiting for an attempt, or for its answer.
    Pending,
    /// Accepted.
    Delivered,
    /// Given up.
    Failed,
}

impl PushProgress {
    /// The state on the wire.
    pub fn state(self, push_is_active: bool) -> PushState {
        match self {
            PushProgress::None => PushState::None,
            PushProgress::Pending if push_is_active => PushState::Pending,
            PushProgress::Pending => PushState::Paused,
            PushProgress::Delivered => PushState::Delivered,
            PushProgress::Failed => PushState::Failed,
        }
    }
}

/// The state of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether the receiver is done with it.
    pub is_dismissed: bool,
    /// Whether it has been read.
    pub is_read: bool,
    /// Whether it has been flagged.
    pub is_flagged: bool,
    /// How far its push is.
    pub push: PushProgress,
    /// Attempts made.
    pub attempts: i32,
    /// How many of them were made before someone asked for a re-push: the retry schedule counts from there.
    pub attempts_before: i32,
    /// When the next attempt is due; none where none is, or while it is being made.
    pub next_attempt_at: Option<Micros>,
}

impl State {
    /// The state of a new notification.
    pub fn new(push: PushProgress, next_attempt_at: Option<Micros>) -> Self {
        State {
            is_dismissed: false,
            is_read: false,
            is_flagged: false,
            push,
            attempts: 0,
            attempts_before: 0,
            next_attempt_at,
        }
    }
}

/// A notification as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredNotification {
    /// Its position in its tenant.
    pub sequence: i64,
    /// What never changes.
    pub content: Arc<Content>,
    /// What does.
    pub state: State,
}
