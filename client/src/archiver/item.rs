//! What a handler gets, and what it answers.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use tidings_api::notification::Relationship;

use crate::inbox::diesel::SqliteConnection;
use crate::inbox::{BoxError, Effect};
use crate::{NotificationDocument, Sequence};

/// A notification to handle.
///
/// Its flags are those of the time when it came. One that came by catching up has, of users and entities that changed
/// since, the newest copy in `included`; [`Client::get`](crate::Client::get) has those of the event's time. One that
/// was pushed has what the tenant's `payload` settings leave of it.
#[derive(Clone, Debug)]
pub struct Item {
    document: NotificationDocument,
    raw: String,
    attempt: u32,
}

impl Item {
    /// Reads what the inbox has stored.
    pub(super) fn read(raw: String, attempt: u32) -> Result<Self, serde_json::Error> {
        Ok(Item { document: serde_json::from_str(&raw)?, raw, attempt })
    }

    /// The notification's id, which is its sequence.
    pub fn id(&self) -> Sequence {
        self.document.data.id
    }

    /// The event's type.
    pub fn event_type(&self) -> &str {
        self.document.data.attributes.r#type.as_str()
    }

    /// When the event happened.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.document.data.attributes.created_at
    }

    /// The id of the user who caused the event.
    pub fn created_by(&self) -> Option<&str> {
        id(&self.document.data.relationships.created_by)
    }

    /// The id of the entity that it happened to.
    pub fn entity(&self) -> Option<&str> {
        id(&self.document.data.relationships.entity)
    }

    /// The event's own fields, as a type of one's own. An event without any is read as `{}`.
    ///
    /// # Errors
    /// When they don't have that type's shape. A handler that ends with this error is not called again: the
    /// notification is dead at once, as no other attempt could find other fields.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, DataError> {
        let data = self.document.data.attributes.data.as_ref();
        serde_json::from_str(data.map_or("{}", |data| data.get())).map_err(DataError)
    }

    /// All of it.
    pub fn document(&self) -> &NotificationDocument {
        &self.document
    }

    /// All of it, as JSON: the document of a push word for word as it came; what was pulled is put together from its page, and has only
    /// the members that this crate knows.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Which attempt to handle it this is: 1 for the first, counted anew after
    /// [`Inbox::revive`](crate::Inbox::revive) and [`Inbox::replay`](crate::Inbox::replay). More than 1 tells that an
    /// earlier one failed, or was cut off.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

fn id(relationship: &Option<Relationship>) -> Option<&str> {
    relationship.as_ref().map(|relationship| relationship.data.id.as_str())
}

/// The event's fields don't have the expected shape. From [`Item::data`].
#[derive(Debug, thiserror::Error)]
#[error("the event's data does not have the expected shape")]
pub struct DataError(#[source] serde_json::Error);

impl DataError {
    /// Whether this is the error, or what it came from.
    pub(super) fn is_in(error: &BoxError) -> bool {
        let mut next: Option<&(dyn StdError + 'static)> = Some(&**error);
        while let Some(error) = next {
            if error.is::<DataError>() {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// What a handler has achieved. An error says that it failed, and is to be called again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The notification is handled, and may be dismissed at the server.
    Done,
    /// Not now: the handler is to be called again after this time. It counts as an attempt.
    RetryAfter(Duration),
    /// It can't be handled, for this reason: it stays in the inbox as dead, until someone revives it.
    Dead(String),
}

/// The transaction in which "handled" is recorded. It begins after the handler has ended, so that no handler holds
/// up another, or a push.
pub struct Tx {
    effects: Arc<Mutex<Vec<Effect>>>,
}

impl Tx {
    /// A transaction, and what has been added to it once its handler has let go of it.
    pub(super) fn new() -> (Self, Arc<Mutex<Vec<Effect>>>) {
        let effects = Arc::default();
        (Tx { effects: Arc::clone(&effects) }, effects)
    }

    /// Has this written to the inbox's database together with "handled": both, or neither. The tables that it writes
    /// to are your own; create them in the same file, with names that don't begin with `inbox_`.
    ///
    /// It is called once, after the handler has ended with [`Outcome::Done`], on the inbox's thread, where everything
    /// else waits for it: it should only write. With several calls, they are made in their order. If one fails,
    /// nothing that they wrote stays, and the handler counts as failed and is called again. With any other outcome,
    /// none is called.
    pub fn commit_with(
        &self,
        write: impl FnOnce(&mut SqliteConnection) -> Result<(), BoxError> + Send + 'static,
    ) {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(write));
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").finish_non_exhaustive()
    }
}
