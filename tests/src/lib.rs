//! The harness of the end-to-end suites: built servers, databases, receivers and a plain HTTP client.
//!
//! Everything here talks to the built binary over real sockets, so that the suites prove what a user gets. (Two suites
//! reach into the server's library: `store`, which is about the store alone, and `retention`, which turns the clock.) What may not enter: expectations about one call, which belong to a suite.

pub mod api;
pub mod archiver;
pub mod browser;
pub mod chain;
pub mod cluster;
pub mod database;
pub mod documentation;
pub mod language;
pub mod nodes;
pub mod ports;
pub mod producers;
pub mod program;
pub mod proxy;
pub mod random;
pub mod raw;
pub mod receiver;
pub mod receivers;
pub mod server;
pub mod smtp;
pub mod systems;
pub mod tls;
pub mod wait;
pub mod witness;

pub use api::{Answer, Api, Tenant, event};
pub use browser::{Browser, Screen};
pub use cluster::{Cluster, Pooler};
pub use database::{Database, Kind};
pub use language::Language;
pub use nodes::Nodes;
pub use producers::Producers;
pub use proxy::Proxy;
pub use receiver::{Receiver, Reply, Request};
pub use server::{Options, Server};
pub use wait::until;
pub use witness::Witness;

/// Runs a test on each database: a function that takes a [`Database`] becomes two tests, `sqlite` and `postgres`.
#[macro_export]
macro_rules! on_both {
    ($($(#[$meta:meta])* fn $name:ident($db:ident) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$meta])*
            fn run($db: $crate::Database) $body

            #[test]
            fn sqlite() {
                run($crate::Database::new($crate::Kind::Sqlite));
            }

            #[test]
            fn postgres() {
                run($crate::Database::new($crate::Kind::Postgres));
            }
        }
    )*};
}
