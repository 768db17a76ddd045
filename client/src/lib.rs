//! The client of Tidings: post events, read notifications, catch up on what was missed, check pushes.
//!
//! [`Client`] is cheap to clone, `Send + Sync`, and needs no particular async runtime: its HTTP
//! connections live on a thread of their own, which ends when the last clone is dropped. Every call is
//! tried again where that can help and can't do harm, see [`ClientBuilder::retries`].
//!
//! A producer posts what happened:
//!
//! ```no_run
//! # async fn example() -> Result<(), tidings_client::Error> {
//! use tidings_client::{Client, Event, Posted, Resource};
//!
//! let client = Client::builder("http://127.0.0.1:8080").key("PRODUCER_KEY").build()?;
//! let event = Event::new("close")?
//!     .comment("This experiment was a success")
//!     .created_by("100")
//!     .entity(Resource::new("experiment:d5dc8e92").attributes(&serde_json::json!({"name": "Titration"}))?);
//! match client.post(event).await? {
//!     Posted::Stored(document) => println!("stored as {}", document.data.id),
//!     Posted::Duplicate(document) => println!("was stored before as {}", document.data.id),
//!     Posted::NotSelected(reason) => println!("not stored: {reason:?}"),
//! }
//! # Ok(()) }
//! ```
//!
//! A consumer reads everything that it has not dismissed, and dismisses it:
//!
//! ```no_run
//! # async fn example() -> Result<(), tidings_client::Error> {
//! use futures_util::TryStreamExt;
//! use tidings_client::{Client, Flags};
//!
//! let client = Client::builder("http://127.0.0.1:8080").key("CONSUMER_KEY").build()?;
//! let mut items = client.notifications().items();
//! while let Some(item) = items.try_next().await? {
//!     println!("{} {}", item.data.id, item.data.attributes.r#type);
//!     client.update(item.data.id, Flags { is_dismissed: Some(true), ..Flags::default() }).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! A program without async has the same calls from [`Client::blocking`]. [`Query::follow`] goes on at the end of the list
//! and waits for what comes; [`Client::deliveries`] and [`Client::jobs`] are for admins.
//!
//! A receiver of pushes checks them with [`webhook::Verifier`], whatever its web framework is. With the feature `inbox`,
//! the module `archiver` does all that a receiver has to do: it stores pushes in an inbox on disk, catches up on what was
//! missed, has it handled, and proves that nothing is missing. The example `archive` is a whole application of it.
//!
//! What may not enter this crate: anything of the server, and anything that only runs on one runtime.

#[cfg(feature = "inbox")]
pub mod archiver;
mod backoff;
pub mod blocking;
mod client;
mod deliveries;
mod error;
mod event;
#[cfg(feature = "inbox")]
pub mod inbox;
mod jobs;
mod operations;
mod paging;
mod query;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;
pub mod webhook;

#[cfg(test)]
mod tests;

#[cfg(feature = "inbox")]
pub use archiver::Archiver;
pub use client::{Client, ClientBuilder};
pub use deliveries::{Deliveries, DeliveryColumn};
pub use error::{BoxError, Error};
pub use event::{Event, Posted, Resource};
#[cfg(feature = "inbox")]
pub use inbox::Inbox;
pub use jobs::{Jobs, NewJob, Targets};
pub use operations::Operations;
pub use query::Query;

/// The wire types, for what is not named here.
pub use tidings_api as api;
pub use tidings_api::error::{ErrorCode, ErrorObject};
pub use tidings_api::jsonapi::Sequence;
pub use tidings_api::notification::{Flags, Notification, NotificationDocument, NotificationPage, PushState};
pub use tidings_api::settings::{PushPatch, SettingsPatch};
