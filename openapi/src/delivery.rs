//! The push queue: deliveries and their attempts.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event::ChangeType;
use crate::jsonapi::{PageLinks, RawObject, SelfLink, Sequence};

/// Declares an enum with its names on the wire, so that both directions come from one table.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $wire:tt,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $wire)] $variant,)*
        }

        impl $name {
            /// Every value, in their order.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $wire,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($wire => Ok($name::$variant),)* _ => Err(()) }
            }
        }
    };
}
pub(crate) use names;

names! {
    /// How far a delivery is.
    DeliveryStatus {
        /// Waiting for an attempt, or for its answer.
        Pending = "pending",
        /// Accepted by the receiver.
        Complete = "complete",
        /// Given up.
        Error = "error",
        /// Waiting until the push is resumed.
        Paused = "paused",
    }
}

names! {
    /// Why an attempt was made.
    AttemptReason {
        /// The first of this notification.
        First = "first",
        /// After one that failed.
        Retry = "retry",
        /// At someone's request.
        Repush = "repush",
        /// To see whether a receiver that was down is back.
        Probe = "probe",
    }
}

names! {
    /// Why an attempt did not deliver, or why there was none.
    AttemptError {
        /// The host's name could not be resolved.
        Dns = "dns",
        /// No connection could be made.
        Connect = "connect",
        /// TLS could not be agreed on, or a certificate isn't trusted.
        Tls = "tls",
        /// The receiver took too long.
        Timeout = "timeout",
        /// The host has no address that pushes may go to.
        BlockedAddress = "blocked_address",
        /// What came back was no complete HTTP answer.
        Protocol = "protocol",
        /// The answer's status is not 2xx.
        Status = "status",
        /// The answer is a 2xx that the acknowledgement rule doesn't accept.
        Rejected = "rejected",
        /// The receiver is gone for good (410); the push was paused.
        Gone = "gone",
        /// No access token could be had from the token endpoint.
        Token = "token",
        /// The body is larger than `payload.maxBytes`; no request was made.
        TooLarge = "too_large",
        /// It waited longer than `retention.undeliveredDays`.
        Expired = "expired",
        /// An admin resumed the push only for what comes from then on.
        Skipped = "skipped",
        /// The server itself failed, by an error of its own; its log says more.
        Internal = "internal",
    }
}

/// The answer of `GET /deliveries`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryPage {
    /// The links to this page and its neighbours.
    pub links: crate::jsonapi::PageLinks,
    /// The deliveries.
    pub data: Vec<DeliveryResource>,
}

/// The answer of `GET /deliveries/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryDocument {
    /// The link to this document.
    pub links: SelfLink,
    /// The delivery.
    pub data: DeliveryResource,
}

/// A delivery: all attempts for one notification.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryResource {
    /// Always `delivery`.
    #[cfg_attr(feature = "openapi", schema(example = "delivery"))]
    pub r#type: String,
    /// The id of the notification.
    pub id: Sequence,
    /// The link to the delivery.
    pub links: SelfLink,
    /// Its row in the push queue.
    pub attributes: DeliveryAttributes,
}

/// A row of the push queue: Sertifi's columns, and what SocrateCloud's log has besides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeliveryAttributes {
    /// The kind of receiver: always `http`.
    #[cfg_attr(feature = "openapi", schema(example = "http"))]
    pub endpoint_type: String,
    /// The event's type.
    pub event_type: String,
    /// When the event happened.
    #[serde(with = "crate::time")]
    pub event_time: DateTime<Utc>,
    /// When the last attempt ended.
    #[serde(default, with = "crate::time::option")]
    pub last_processed_at: Option<DateTime<Utc>>,
    /// How far it is.
    pub status: DeliveryStatus,
    /// Attempts made after the first.
    pub retries: u32,
    /// Why the last attempt failed; null if it didn't, or if there was none.
    pub error_message: Option<AttemptError>,
    /// The status of the last answer.
    pub response_status: Option<u16>,
    /// When the next attempt is due.
    #[serde(default, with = "crate::time::option")]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Whether the receiver has it.
    pub synchronized: bool,
    /// Attempts made in all.
    pub counter: u32,
    /// Whether it is still tried.
    pub active: bool,
    /// The id of the user who caused the event.
    pub created_by: Option<String>,
    /// The table of the event's `change`.
    pub table: Option<String>,
    /// The type of the event's `change`.
    pub change_type: Option<ChangeType>,
    /// The record of the event's `change`.
    pub record_id: Option<String>,
    /// The beginning of the last answer's body, at most 1,000 characters. Only with a single delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_text: Option<String>,
    /// The body as it is pushed by the settings of now. Only with a single delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<RawObject>,
    /// The headers that belong to this body: its media type, and a CloudEvent's attributes in the binary mode. Only with a
    /// single delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_headers: Option<Vec<TestHeader>>,
}

/// The answer of `GET /deliveries/{id}/attempts`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptPage {
    /// The links to this page and to its neighbours.
    pub links: PageLinks,
    /// The attempts, oldest first.
    pub data: Vec<AttemptResource>,
}

/// The body of `POST /external-notifications/test`, if there is one: it says no more than what it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TestDocument {
    /// The test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<TestData>,
}

/// The resource object of a test.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TestData {
    /// Always `test`.
    #[cfg_attr(feature = "openapi", schema(example = "test"))]
    pub r#type: String,
}

/// The answer of `POST /external-notifications/test`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptDocument {
    /// The attempt.
    pub data: AttemptResource,
}

/// One request, or why there was none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptResource {
    /// Always `attempt`.
    #[cfg_attr(feature = "openapi", schema(example = "attempt"))]
    pub r#type: String,
    /// The notification's id, a hyphen, and the number of the attempt; `test` for a test.
    #[cfg_attr(feature = "openapi", schema(example = "519-1"))]
    pub id: String,
    /// What was done, and what came of it.
    pub attributes: AttemptAttributes,
}

/// What was done, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AttemptAttributes {
    /// When it began.
    #[serde(with = "crate::time")]
    pub started_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// Where to, without user information and query.
    pub url: String,
    /// The address that it was sent to, if a connection came about.
    pub address: Option<String>,
    /// Why it was made.
    pub reason: AttemptReason,
    /// The answer's status, if there was an answer.
    pub response_status: Option<u16>,
    /// The beginning of the answer's body, at most 1,000 characters.
    pub response_text: Option<String>,
    /// Why it did not deliver; null if it did.
    pub error: Option<AttemptError>,
    /// The request as it was sent, or was to be sent where no connection came about. Only with a test, and only where
    /// there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<TestRequest>,
}

/// The request of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TestRequest {
    /// The method.
    #[cfg_attr(feature = "openapi", schema(example = "POST"))]
    pub method: String,
    /// Where to, without user information and query.
    pub url: String,
    /// The headers, but for `host` and `content-length`. Of a secret one the value is `…`.
    pub headers: Vec<TestHeader>,
    /// The body.
    pub body: String,
}

/// A header of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TestHeader {
    /// The name, in small letters.
    #[cfg_attr(feature = "openapi", schema(example = "x-hook"))]
    pub name: String,
    /// The value; `…` where it is secret.
    #[cfg_attr(feature = "openapi", schema(example = "…"))]
    pub value: String,
}
