//! The archiver against the server in memory. What it needs of time is short, and never waited for blindly.

mod catch_up;
mod dismiss;
mod handle;
mod receive;
mod runtimes;
mod service;

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use futures_channel::oneshot;
use futures_executor::block_on;

use super::{Archiver, ArchiverBuilder, Item, Outcome, Receipt, Tx};
use crate::inbox::{BoxError, Kept, State, diesel};
use crate::testing::{self, Server};
use crate::{Error, Event, Inbox, Sequence};

/// A server, and a place for an inbox.
struct Rig {
    server: Server,
    dir: tempfile::TempDir,
    secret: String,
}

impl Rig {
    fn new() -> Self {
        Rig { server: Server::start(), dir: tempfile::tempdir().unwrap(), secret: testing::secret() }
    }

    /// A handle of its own of the one inbox, as another process has it.
    fn inbox(&self) -> Inbox {
        Inbox::open(self.dir.path().join("inbox.db")).unwrap()
    }

    /// Impatient: calls are not repeated by the client, and handlers are called again within milliseconds.
    fn builder(&self) -> ArchiverBuilder {
        let client = self.server.client_builder().retries(0).build().unwrap();
        Archiver::builder(client, self.inbox())
            .secret(&self.secret)
            .backoff(Duration::from_millis(10), Duration::from_millis(40))
    }

    /// An archiver to whose handler all is welcome.
    fn archiver(&self) -> Archiver {
        self.builder().otherwise(|_, _| async { Ok(Outcome::Done) }).build().unwrap()
    }

    /// Has the server store so many events.
    fn add(&self, count: usize) {
        for _ in 0..count {
            self.server.add(Event::new("close").unwrap());
        }
    }

    /// Pushes what the server has under this id.
    fn push(&self, archiver: &Archiver, number: i64) -> Receipt {
        let push = testing::signed_push(&self.secret, &self.server.get(id(number)).unwrap());
        block_on(archiver.receive(|name| push.header(name), &push.body))
    }

    /// Does something to the inbox's file that only another program could do.
    fn execute(&self, sql: &str) {
        let path = self.dir.path().join("inbox.db");
        let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        conn.batch_execute(&format!("PRAGMA busy_timeout = 10000; {sql}")).unwrap();
    }

    /// Nothing can be stored any more.
    fn break_inbox(&self) {
        self.execute("ALTER TABLE inbox_notifications RENAME TO gone");
    }

    fn mend_inbox(&self) {
        self.execute("ALTER TABLE gone RENAME TO inbox_notifications");
    }

    /// The lines of the requests since the last call that contain this.
    fn requests(&self, part: &str) -> Vec<String> {
        self.server.requests().into_iter().filter(|line| line.contains(part)).collect()
    }
}

fn id(number: i64) -> Sequence {
    Sequence::new(number).unwrap()
}

fn kept(archiver: &Archiver, number: i64) -> Kept {
    block_on(archiver.inbox().get(id(number))).unwrap().unwrap()
}

fn state(archiver: &Archiver, number: i64) -> Option<State> {
    block_on(archiver.inbox().get(id(number))).unwrap().map(|kept| kept.state)
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What handlers were called for: ids and attempts, in their order.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<(i64, u32)>>>);

impl Calls {
    fn note(&self, item: &Item) {
        self.0.lock().unwrap().push((item.id().get(), item.attempt()));
    }

    fn all(&self) -> Vec<(i64, u32)> {
        self.0.lock().unwrap().clone()
    }

    /// The ids, in ascending order.
    fn ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.all().into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    fn handler(
        &self,
    ) -> impl Fn(Item, Tx) -> std::future::Ready<Result<Outcome, BoxError>> + Send + Sync + 'static + use<>
    {
        let calls = self.clone();
        move |item, _| {
            calls.note(&item);
            std::future::ready(Ok(Outcome::Done))
        }
    }
}

/// An archiver that runs on a thread of its own.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<Result<(), Error>>,
}

impl Running {
    fn start(archiver: &Archiver) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let archiver = archiver.clone();
        let thread = std::thread::spawn(move || archiver.run_blocking(stopped));
        Running { stop: Some(stop), thread }
    }

    fn stop(&mut self) {
        drop(self.stop.take());
    }

    fn end(mut self) -> Result<(), Error> {
        self.stop();
        self.thread.join().unwrap()
    }
}

#[test]
fn what_can_not_work_is_refused_when_it_is_built() {
    let rig = Rig::new();
    let refused = |builder: ArchiverBuilder, why: &str| {
        let built = builder.otherwise(|_, _| async { Ok(Outcome::Done) }).build();
        assert!(matches!(&built, Err(Error::Invalid(text)) if text.contains(why)), "{built:?}");
    };
    let done = |_, _| async { Ok(Outcome::Done) };
    refused(rig.builder().on("close", done).on("print", done).on("close", done), "two handlers");
    refused(rig.builder().on("no such name", done), "event type");
    refused(rig.builder().catch_up(super::every(Duration::from_millis(999))), "every second");
    refused(rig.builder().concurrency(0), "concurrency");
    refused(rig.builder().max_attempts(0), "attempts");
    refused(rig.builder().secret("not one"), "whsec_");
    refused(rig.builder().header("x-hook", ""), "header");
}

#[test]
fn nothing_secret_is_printed() {
    let rig = Rig::new();
    let builder = rig.builder().header("x-hook", "a-secret-value");
    let printed = format!("{builder:?}");
    let builder = builder.otherwise(|_, _| async { Ok(Outcome::Done) });
    let printed = format!("{printed} {builder:?}");
    let printed = format!("{printed} {:?}", builder.build().unwrap());
    assert!(!printed.contains("a-secret-value") && !printed.contains(&rig.secret[6..]), "{printed}");
}
