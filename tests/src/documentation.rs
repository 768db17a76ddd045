//! Runs the Rust examples of the documentation, against a real server. The build script makes tests of them.
//!
//! Shell examples are typed by the suite `documentation`.

use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::{Database, Kind, Server, event, ports};

/// How long an example runs that has no end of its own.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
/// When an example's own `stop` comes.
const STOP: Duration = Duration::from_secs(2);

/// What an example may use without having made it.
pub struct At {
    /// The address of the server.
    pub url: &'static str,
    /// A key that may do everything.
    pub key: &'static str,
    /// A key of this role.
    pub producer_key: &'static str,
    /// A key of this role.
    pub consumer_key: &'static str,
    /// A key of this role.
    pub admin_key: &'static str,
    /// The tenant's signing secret.
    pub secret: &'static str,
    /// An address to listen at.
    pub listen: &'static str,
    /// Comes soon.
    pub stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Comes soon.
    pub shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Runs an example in an empty directory, with a server that has a few events and pushes to [`At::listen`].
///
/// # Panics
/// When it ends with an error.
pub fn run<Fut: Future<Output = Result<(), Box<dyn std::error::Error>>>>(
    name: &str,
    example: impl FnOnce(At) -> Fut,
) {
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let tenant = server.tenant("documentation");
    let listen = format!("127.0.0.1:{}", ports::free());
    for _ in 0..3 {
        tenant.producer.post_event(&event("close"));
    }
    tenant.push_to(&format!("http://{listen}/hook"), false);
    std::env::set_current_dir(database.dir()).expect("an example has a directory of its own");

    let given = |text: &str| -> &'static str { text.to_owned().leak() };
    let ended = actix_web::rt::System::new().block_on(async {
        let at = At {
            url: given(&server.url()),
            key: given(tenant.admin.key()),
            producer_key: given(tenant.producer.key()),
            consumer_key: given(tenant.consumer.key()),
            admin_key: given(tenant.admin.key()),
            secret: given(&tenant.signing_secret),
            listen: given(&listen),
            stop: Box::pin(tokio::time::sleep(STOP)),
            shutdown: Box::pin(tokio::time::sleep(STOP)),
        };
        match select(pin!(example(at)), pin!(tokio::time::sleep(LONG_ENOUGH))).await {
            Either::Left((ended, _)) => ended,
            // It serves, or waits for more.
            Either::Right(_) => Ok(()),
        }
    });
    if let Err(error) = ended {
        panic!("the example at {name} fails: {error}");
    }
}

#[cfg(doctest)]
#[doc = include_str!(concat!(env!("OUT_DIR"), "/examples.md"))]
struct Examples;
