//! To test one's own program with: pushes as the server signs them, and a server in memory.
//!
//! ```
//! # fn main() -> Result<(), tidings_client::Error> {
//! use tidings_client::testing::{self, Server};
//! use tidings_client::{Event, webhook::Verifier};
//!
//! // A push, without any network.
//! let secret = testing::secret();
//! let push = testing::signed_push(&secret, &testing::document(7, "close"));
//! let verified = Verifier::new([&secret])?.verify(|name| push.header(name), &push.body)?;
//! assert_eq!(verified.document.data.id.get(), 7);
//!
//! // A server, with all of it.
//! let server = Server::start();
//! let id = server.add(Event::new("close")?);
//! let client = server.client().blocking();
//! assert_eq!(client.get(id)?.data.attributes.r#type.as_str(), "close");
//! # Ok(()) }
//! ```
//!
//! Where something can't be prepared, these helpers panic, as a test would.

mod answers;
mod server;
mod store;

use chrono::{DateTime, Utc};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};
use tidings_api::TENANT_HEADER;
use tidings_api::jsonapi::SelfLink;
use tidings_api::notification::{NotificationAttributes, NotificationRelationships};

pub use self::server::{Fault, Server};
use crate::{Notification, NotificationDocument, Sequence, webhook};

/// A push as it arrives at a receiver.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SignedPush {
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, exactly as it was signed.
    pub body: Vec<u8>,
}

impl SignedPush {
    /// A header by its name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The push with another header, or another value of one. Nothing is signed anew: only the body, `webhook-id` and
    /// `webhook-timestamp` are signed, and a push with another one of these is a forged one.
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        let name = name.to_lowercase();
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
        self
    }

    /// The push as one of this tenant (`tidings-tenant`), by its id.
    pub fn of_tenant(self, tenant: &str) -> Self {
        self.with_header(TENANT_HEADER, tenant)
    }
}

/// A new signing secret.
pub fn secret() -> String {
    // 48 letters and digits are as good as any base64.
    format!("whsec_{}", uuid::Uuid::new_v4().simple().to_string().repeat(2).split_at(48).0)
}

/// A push of this notification, signed with this secret (`whsec_…`) at this moment.
///
/// # Panics
/// When the secret is none.
pub fn signed_push(secret: &str, document: &NotificationDocument) -> SignedPush {
    let mut document = document.clone();
    document.data.meta = None;
    let body = serde_json::to_vec(&document).expect("a notification is made of strings");
    let id = format!("msg_{}", document.data.id);
    let now = Utc::now().timestamp();
    let key = webhook::parse_secret(secret).expect("a signing secret is needed to sign");
    let signature = key.sign(&id, now, &body).expect("JSON is UTF-8");
    let headers = [
        ("content-type", "application/json".to_owned()),
        (HEADER_WEBHOOK_ID, id),
        (HEADER_WEBHOOK_TIMESTAMP, now.to_string()),
        (HEADER_WEBHOOK_SIGNATURE, signature),
        ("tidings-sequence", document.data.id.to_string()),
        ("tidings-attempt", "1".to_owned()),
    ];
    SignedPush { headers: headers.map(|(name, value)| (name.to_owned(), value)).into(), body }
}

/// In seconds of Unix time.
const START_OF_2026: i64 = 1_767_225_600;

/// A notification with this id and type that is not dismissed, the same one in each call: it happened at the start of
/// 2026, and as many seconds later as its id says. Its other members are public, to be set as the test needs them.
///
/// # Panics
/// When the id is negative, or the type is no type.
pub fn document(id: i64, event_type: &str) -> NotificationDocument {
    let id = Sequence::new(id).expect("an id is not negative");
    let links = SelfLink { this: format!("http://127.0.0.1{}/notifications/{id}", tidings_api::BASE_PATH) };
    let attributes = NotificationAttributes {
        id,
        created_at: DateTime::from_timestamp(START_OF_2026 + id.get(), 0).unwrap_or(DateTime::UNIX_EPOCH),
        r#type: event_type.parse().expect("a type is 1 to 100 of A-Z a-z 0-9 _ . -"),
        is_dismissed: false,
        is_read: false,
        is_flagged: false,
        comment: None,
        data: None,
        change: None,
        originator: None,
        unit: None,
    };
    let data = Notification {
        r#type: "notification".to_owned(),
        id,
        links: links.clone(),
        attributes,
        relationships: NotificationRelationships::default(),
        meta: None,
    };
    NotificationDocument { links, data, included: Vec::new() }
}
