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
//! A receiver of pushes checks them with [`webhook::Verifier`], whatever its web framework is. The example
//! `archive` is a whole application: pushes, catch-up, and the proof that nothing is missing.
//!
//! What may not enter this crate: anything of the server, and anything that only runs on one runtime.

mod client;
mod error;
mod event;
mod operations;
mod query;
mod transport;
pub mod webhook;

#[cfg(test)]
mod tests;

pub use client::{Client, ClientBuilder};
pub use error::Error;
pub use event::{Event, Posted, Resource};
pub use operations::Operations;
pub use query::Query;

/// The wire types, for what is not named here.
pub use tidings_api as api;
pub use tidings_api::error::{ErrorCode, ErrorObject};
pub use tidings_api::jsonapi::Sequence;
pub use tidings_api::notification::{Flags, Notification, NotificationDocument, NotificationPage, PushState};
pub use tidings_api::settings::{PushPatch, SettingsPatch};
