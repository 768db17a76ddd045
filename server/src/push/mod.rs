//! What is sent: pushes to the URLs of tenants, each through the egress guard, signed.
//!
//! The dispatcher owns the lanes and the sending threads, the sender makes one request. What may not enter: decisions
//! that need no I/O (they are in `rules`), and SQL.

pub mod attempt;
pub mod authentication;
pub mod dispatcher;
pub mod egress;
pub mod heartbeat;
pub mod prepared;
pub mod sender;
pub mod signature;
mod thread;
pub mod token;
pub mod verification;
pub mod watch;
