//! All of it: a server, an archiver, and the two ways between them, each of which can fail.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tidings_client::archiver::Outcome;
use tidings_client::{Client, Inbox};

use crate::api::id_of;
use crate::archiver::{Archiver, Options};
use crate::{Database, Proxy, Server, Tenant, event};

/// How long things may take to settle: a dead node's leases, and the pauses after failures.
const CALM: Duration = Duration::from_secs(180);

/// A server that pushes to an archiver, which reads and dismisses at the server. Both ways go through proxies.
pub struct Chain {
    /// The server.
    pub server: Server,
    /// Its tenant.
    pub tenant: Tenant,
    /// The archiver of that tenant.
    pub archiver: Archiver,
    /// From the server to the archiver.
    pub pushes: Proxy,
    /// From the archiver to the server.
    pub calls: Proxy,
}

impl Chain {
    /// Starts all of it. `every` is the time from one catch-up to the next in seconds; of `fails` attempts to handle, one
    /// fails, or none if it is 0.
    pub fn start(database: &Database, auto_dismiss: bool, every: u64, fails: u64) -> Self {
        let server = Server::start(database);
        let tenant = server.tenant("chain");
        let calls = Proxy::start(server.port());
        let options = Options::new(&calls.url(), tenant.consumer.key(), &tenant.signing_secret);
        let archiver = Archiver::start(Options { every, fails, ..options });
        let pushes = Proxy::start(archiver.port());
        tenant.push_to(&format!("{}/hook", pushes.url()), auto_dismiss);
        Chain { server, tenant, archiver, pushes, calls }
    }

    /// Posts so many events.
    pub fn post(&self, count: usize) {
        for _ in 0..count {
            self.tenant.producer.post_event(&event("close"));
        }
    }

    /// Makes the ways passable again, waits until nothing is left to do, and checks what must hold then: whatever was
    /// accepted was handled, with one effect each; nothing else was; the server has nothing undismissed; and the inbox is
    /// whole.
    #[track_caller]
    pub fn settle(&mut self, accepted: &BTreeSet<i64>) {
        for way in [&self.pushes, &self.calls] {
            way.delay(Duration::ZERO);
            way.slow_down(None);
            way.pass();
            way.up();
        }
        let at_server: BTreeSet<i64> = self
            .tenant
            .consumer
            .all("filter[isDismissed]=true,false")
            .iter()
            .map(|notification| id_of(notification).cast_signed())
            .collect();
        let lost: Vec<_> = accepted.difference(&at_server).collect();
        assert!(lost.is_empty(), "accepted, and not at the server: {lost:?}");

        let end = Instant::now() + CALM;
        loop {
            let count = |state: &str| {
                self.archiver.count(&format!("SELECT count(*) FROM inbox_notifications WHERE {state}"))
            };
            let unhandled = at_server.len().saturating_sub(self.archiver.effects().len());
            let (waiting, to_dismiss) = (count("state = 0"), count("state = 1 AND dismiss = 1"));
            let undismissed = self.tenant.consumer.ids("page[size]=1000").len();
            if (unhandled, waiting, to_dismiss, undismissed) == (0, 0, 0, 0) {
                break;
            }
            assert!(
                Instant::now() < end,
                "without an effect: {unhandled}; in the inbox waiting: {waiting}, to be dismissed: {to_dismiss}; \
                 undismissed at the server: {undismissed}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(self.archiver.is_alive(), "the archiver has ended");

        let effects = self.archiver.effects();
        let twice: Vec<_> = effects.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "effects that came more than once: {twice:?}");
        let handled: BTreeSet<i64> = effects.into_keys().collect();
        assert!(
            handled == at_server,
            "handled and stored differ: {:?}",
            handled.symmetric_difference(&at_server)
        );
        assert_eq!(
            self.archiver.count("SELECT count(*) FROM inbox_notifications WHERE state <> 1"),
            0,
            "dead"
        );

        let client = Client::builder(self.server.url()).key(self.tenant.consumer.key()).build();
        let inbox = Inbox::open(self.archiver.inbox()).expect("another process may open it too");
        let archiver = tidings_client::Archiver::builder(client.expect("a client"), inbox)
            .otherwise(|_, _| async { Ok(Outcome::Done) })
            .build()
            .expect("an archiver");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let proof = runtime.block_on(archiver.verify()).expect("the server answers");
        assert!(proof.is_whole(), "{proof}");
    }
}
