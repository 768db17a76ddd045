//! Handlers: what they are called for, what becomes of their ends.

use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::prelude::*;

use super::*;
use crate::Resource;

/// A fault of a handler's own.
fn fails(why: &str) -> Result<Outcome, BoxError> {
    Err(why.into())
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    id: i64,
}

/// The ids in the table `mine`, which handlers write to.
fn mine(rig: &Rig) -> Vec<i64> {
    let path = rig.dir.path().join("inbox.db");
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let rows: Vec<Row> = diesel::sql_query("SELECT id FROM mine ORDER BY id").load(&mut conn).unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

fn insert(conn: &mut SqliteConnection, item: &Item) -> Result<(), BoxError> {
    diesel::sql_query(format!("INSERT INTO mine (id) VALUES ({})", item.id())).execute(conn)?;
    Ok(())
}

#[test]
fn each_type_has_its_handler_and_the_rest_has_one() {
    let rig = Rig::new();
    let event = Event::new("close").unwrap().comment("well done").created_by("100");
    let time = chrono::DateTime::from_timestamp_millis(1_702_500_170_427).unwrap();
    let entity = Resource::new("experiment:1").attributes(&serde_json::json!({"name": "Titration"})).unwrap();
    rig.server.add(event.created_at(time).entity(entity).data(&serde_json::json!({"count": 7})).unwrap());
    rig.server.add(Event::new("my.own").unwrap());
    let (closed, others) = (Arc::new(Mutex::new(Vec::new())), Calls::default());
    let seen = Arc::clone(&closed);
    let archiver = rig.builder().on("close", move |item, _| {
        seen.lock().unwrap().push(item);
        async { Ok(Outcome::Done) }
    });
    archiver.otherwise(others.handler()).build().unwrap().drain_blocking().unwrap();

    assert_eq!(others.all(), [(2, 1)]);
    #[derive(serde::Deserialize)]
    struct Count {
        count: u32,
    }
    let closed = closed.lock().unwrap();
    let [item] = &closed[..] else { panic!("{closed:?}") };
    assert_eq!((item.id(), item.event_type(), item.attempt()), (id(1), "close", 1));
    assert_eq!((item.created_by(), item.entity()), (Some("100"), Some("experiment:1")));
    assert_eq!(item.data::<Count>().unwrap().count, 7);
    assert_eq!(item.document().data.attributes.comment.as_deref(), Some("well done"));
    assert!(item.document().included.iter().any(|resource| resource.get().contains("Titration")));
    let raw: serde_json::Value = serde_json::from_str(item.raw()).unwrap();
    assert_eq!(raw["data"]["id"], "1");
    assert!(raw["data"].get("meta").is_none(), "what the server's store knows is no part of the record");
    assert_eq!(item.created_at(), time);
}

#[test]
fn a_failure_is_tried_again_until_it_is_dead_and_can_be_revived() {
    let rig = Rig::new();
    rig.add(2);
    let calls = Calls::default();
    let is_mended = Arc::new(AtomicUsize::new(0));
    let (noted, mended) = (calls.clone(), Arc::clone(&is_mended));
    let archiver = rig.builder().max_attempts(3).otherwise(move |item, _| {
        noted.note(&item);
        let good = item.id() == id(2) || mended.load(Ordering::SeqCst) == 1;
        async move { if good { Ok(Outcome::Done) } else { fails("no room on the shelf") } }
    });
    let archiver = archiver.build().unwrap();
    let running = Running::start(&archiver);
    until("it to be dead", || state(&archiver, 1) == Some(State::Dead));
    let of_first = || calls.all().into_iter().filter(|(id, _)| *id == 1).map(|(_, n)| n).collect::<Vec<_>>();
    assert_eq!(of_first(), [1, 2, 3]);
    assert_eq!(kept(&archiver, 1).reason.as_deref(), Some("no room on the shelf"));
    assert_eq!(block_on(archiver.health()).unwrap().dead, 1);
    until("the other to be dismissed", || rig.server.undismissed() == [id(1)]);

    is_mended.store(1, Ordering::SeqCst);
    assert_eq!(block_on(archiver.inbox().revive_all()).unwrap(), 1);
    until("it to be dismissed", || rig.server.undismissed().is_empty());
    assert_eq!(of_first(), [1, 2, 3, 1]);
    assert_eq!(state(&archiver, 1), Some(State::Handled));

    assert_eq!(block_on(archiver.inbox().replay([id(2)])).unwrap(), 1);
    until("the replay", || calls.all().iter().filter(|(id, _)| *id == 2).count() == 2);
    running.end().unwrap();
}

#[test]
fn a_handler_that_panics_fails_alone() {
    let rig = Rig::new();
    rig.add(3);
    let archiver = rig.builder().max_attempts(1).otherwise(|item, _| {
        // Both before its future is there, and in it.
        assert!(item.id() != id(1), "no hands for {}", item.id());
        async move {
            assert!(item.id() != id(2), "no feet");
            Ok(Outcome::Done)
        }
    });
    let archiver = archiver.build().unwrap();
    let summary = archiver.drain_blocking().unwrap();
    assert_eq!((summary.handled, summary.dead, summary.failed), (1, 2, 0));
    assert_eq!(kept(&archiver, 1).reason.as_deref(), Some("the handler panicked: no hands for 1"));
    assert_eq!(kept(&archiver, 2).reason.as_deref(), Some("the handler panicked: no feet"));
    assert_eq!(state(&archiver, 3), Some(State::Handled));
}

#[test]
fn what_is_put_off_comes_back_at_its_time() {
    let rig = Rig::new();
    rig.add(1);
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let archiver = rig.builder().otherwise(move |item, _| {
        noted.lock().unwrap().push(Instant::now());
        let now = item.attempt() == 2;
        async move { Ok(if now { Outcome::Done } else { Outcome::RetryAfter(Duration::from_millis(300)) }) }
    });
    let archiver = archiver.build().unwrap();
    let running = Running::start(&archiver);
    until("it to be handled", || state(&archiver, 1) == Some(State::Handled));
    running.end().unwrap();
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 2);
    assert!(times[1] - times[0] >= Duration::from_millis(290), "{:?}", times[1] - times[0]);
}

#[test]
fn what_is_not_due_is_left_by_a_drain() {
    let rig = Rig::new();
    rig.add(2);
    let archiver = rig.builder().otherwise(|item, _| async move {
        if item.id() == id(1) {
            Ok(Outcome::RetryAfter(Duration::from_secs(3_600)))
        } else {
            Ok(Outcome::Dead("no".into()))
        }
    });
    let archiver = archiver.build().unwrap();
    let summary = archiver.drain_blocking().unwrap();
    assert_eq!((summary.handled, summary.failed, summary.dead, summary.dismissed), (0, 1, 1, 0));
    assert_eq!(archiver.drain_blocking().unwrap(), crate::archiver::Summary::default());
    assert_eq!(kept(&archiver, 2).reason.as_deref(), Some("no"));
}

#[test]
fn effects_are_written_with_the_end_or_not_at_all() {
    let rig = Rig::new();
    rig.add(4);
    let archiver = rig.builder().max_attempts(2).otherwise(|item, tx| async move {
        let (number, first) = (item.id().get(), item.attempt() == 1);
        let other = item.clone();
        tx.commit_with(move |conn| insert(conn, &item));
        match number {
            // The second of its effects fails, once: the first must not stay, or it could not be written again.
            1 => tx.commit_with(move |_| if first { Err("not yet".into()) } else { Ok(()) }),
            // It is written by another handler already, always.
            2 => tx.commit_with(move |conn| insert(conn, &other)),
            3 => return fails("after all"),
            _ => {}
        }
        Ok(Outcome::Done)
    });
    let archiver = archiver.build().unwrap();
    rig.execute("CREATE TABLE mine (id INTEGER PRIMARY KEY)");
    let running = Running::start(&archiver);
    let state = |number| state(&archiver, number);
    until("all to have ended", || {
        (1..=4).all(|number| state(number).is_some_and(|state| state != State::Waiting))
    });
    running.end().unwrap();
    assert_eq!(
        (1..=4).map(state).collect::<Vec<_>>(),
        [State::Handled, State::Dead, State::Dead, State::Handled].map(Some)
    );
    assert_eq!(mine(&rig), [1, 4]);
    assert!(kept(&archiver, 2).reason.unwrap().contains("UNIQUE"));
    assert_eq!(rig.server.undismissed(), [id(2), id(3)]);
}

#[test]
fn a_transaction_that_outlives_its_handler_is_a_failure() {
    let rig = Rig::new();
    rig.add(1);
    let leaked = Arc::new(Mutex::new(None));
    let archiver = rig.builder().max_attempts(1).otherwise(move |_, tx| {
        *leaked.lock().unwrap() = Some(tx);
        async { Ok(Outcome::Done) }
    });
    let archiver = archiver.build().unwrap();
    assert_eq!(archiver.drain_blocking().unwrap().dead, 1);
    assert!(kept(&archiver, 1).reason.unwrap().contains("in use elsewhere"));
}

/// A gate that handlers wait at.
#[derive(Clone, Default)]
struct Gate {
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    is_open: Arc<AtomicUsize>,
}

impl Gate {
    async fn pass(self) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        while self.is_open.load(Ordering::SeqCst) == 0 {
            futures_timer::Delay::new(Duration::from_millis(2)).await;
        }
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn handler(
        &self,
        calls: &Calls,
    ) -> impl Fn(Item, Tx) -> futures_util::future::BoxFuture<'static, Result<Outcome, BoxError>>
    + Send
    + Sync
    + 'static
    + use<> {
        let (gate, calls) = (self.clone(), calls.clone());
        move |item, _| {
            calls.note(&item);
            let gate = gate.clone();
            Box::pin(async move {
                gate.pass().await;
                Ok(Outcome::Done)
            })
        }
    }
}

#[test]
fn no_more_run_at_a_time_than_allowed() {
    let rig = Rig::new();
    rig.add(50);
    let (gate, calls) = (Gate::default(), Calls::default());
    let archiver = rig.builder().concurrency(3).otherwise(gate.handler(&calls)).build().unwrap();
    let running = Running::start(&archiver);
    until("three to run", || gate.inside.load(Ordering::SeqCst) == 3);
    gate.is_open.store(1, Ordering::SeqCst);
    until("all to be dismissed", || rig.server.undismissed().is_empty());
    running.end().unwrap();
    assert_eq!(gate.most.load(Ordering::SeqCst), 3);
    assert_eq!(calls.all().len(), 50);
}

#[test]
fn at_the_end_those_that_run_are_waited_for_and_no_other_begins() {
    let rig = Rig::new();
    rig.add(20);
    let (gate, calls) = (Gate::default(), Calls::default());
    let archiver = rig.builder().concurrency(2).otherwise(gate.handler(&calls)).build().unwrap();
    let mut running = Running::start(&archiver);
    until("two to run", || gate.inside.load(Ordering::SeqCst) == 2);
    running.stop();
    gate.is_open.store(1, Ordering::SeqCst);
    running.end().unwrap();
    // Both are recorded and dismissed.
    let called = calls.all().len();
    assert!((2..=4).contains(&called), "{called} were called");
    assert_eq!(rig.server.undismissed().len(), 20 - called);
    let counts = block_on(archiver.inbox().counts()).unwrap();
    assert_eq!((counts.handled, counts.to_dismiss), (called as u64, 0));
}

#[test]
fn what_is_being_taken_from_the_inbox_at_the_end_is_given_back() {
    let rig = Rig::new();
    rig.add(2);
    let calls = Calls::default();
    let archiver = rig.builder().otherwise(calls.handler()).build().unwrap();
    assert_eq!([rig.push(&archiver, 1).status, rig.push(&archiver, 2).status], [200, 200]);
    let path = rig.dir.path().join("inbox.db");
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    diesel::sql_query("BEGIN IMMEDIATE").execute(&mut other).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut run = Box::pin(archiver.run(stopped));
    // It begins to take some, and has to wait for the other program.
    assert!(block_on(async { futures_util::poll!(&mut run) }).is_pending());
    drop(stop);
    assert!(block_on(async { futures_util::poll!(&mut run) }).is_pending());
    diesel::sql_query("ROLLBACK").execute(&mut other).unwrap();
    block_on(run).unwrap();
    assert_eq!(calls.all(), []);
    assert_eq!([kept(&archiver, 1).attempts, kept(&archiver, 2).attempts], [0, 0]);
    assert_eq!(archiver.drain_blocking().unwrap().handled, 2);
    assert_eq!(calls.all(), [(1, 1), (2, 1)]);
}

#[test]
fn a_drain_can_be_ended_early() {
    let rig = Rig::new();
    rig.add(20);
    let (gate, calls) = (Gate::default(), Calls::default());
    let archiver = rig.builder().concurrency(2).otherwise(gate.handler(&calls)).build().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let draining = archiver.clone();
    let drain = std::thread::spawn(move || crate::blocking::wait(draining.drain_until(stopped)).unwrap());
    until("two to run", || gate.inside.load(Ordering::SeqCst) == 2);
    drop(stop);
    // Those that run are waited for.
    assert!(!drain.is_finished());
    gate.is_open.store(1, Ordering::SeqCst);
    let summary = drain.join().unwrap();
    let called = calls.all().len() as u64;
    assert!((2..=4).contains(&called), "{called} were called");
    assert_eq!((summary.fetched, summary.handled, summary.dismissed), (20, called, called));
    let counts = block_on(archiver.inbox().counts()).unwrap();
    assert_eq!((counts.handled, counts.waiting, counts.to_dismiss), (called, 20 - called, 0));
    // The rest is done the next time, and one that is ended at once begins nothing.
    let now = std::future::ready(());
    assert_eq!(
        crate::blocking::wait(archiver.drain_until(now)).unwrap(),
        crate::archiver::Summary::default()
    );
    assert_eq!(archiver.drain_blocking().unwrap().handled, 20 - called);
}

#[test]
fn one_effect_that_can_not_be_committed_spoils_no_other() {
    let rig = Rig::new();
    rig.add(8);
    let archiver = rig.builder().max_attempts(3).otherwise(|item, tx| async move {
        tx.commit_with(move |conn| {
            insert(conn, &item)?;
            // SQLite notices only at the commit.
            if item.id() == id(3) {
                diesel::sql_query("INSERT INTO child (parent) VALUES (99)").execute(conn)?;
            }
            Ok(())
        });
        Ok(Outcome::Done)
    });
    let archiver = archiver.build().unwrap();
    rig.execute(
        "CREATE TABLE mine (id INTEGER PRIMARY KEY); CREATE TABLE child (parent INTEGER REFERENCES mine (id) \
         DEFERRABLE INITIALLY DEFERRED)",
    );
    let running = Running::start(&archiver);
    let ended = |number| state(&archiver, number).is_some_and(|state| state != State::Waiting);
    until("all to have ended", || (1..=8).all(ended));
    running.end().unwrap();
    assert_eq!(mine(&rig), [1, 2, 4, 5, 6, 7, 8]);
    assert_eq!(state(&archiver, 3), Some(State::Dead));
    assert!(kept(&archiver, 3).reason.unwrap().contains("FOREIGN KEY"));
}

#[test]
fn trouble_of_many_at_a_time_is_one_trouble() {
    let rig = Rig::new();
    rig.add(8);
    let (gate, calls) = (Gate::default(), Calls::default());
    let archiver = rig.builder().concurrency(8).otherwise(gate.handler(&calls)).build().unwrap();
    let running = Running::start(&archiver);
    until("all to run", || gate.inside.load(Ordering::SeqCst) == 8);
    rig.break_inbox();
    gate.is_open.store(1, Ordering::SeqCst);
    until("the trouble to be told", || archiver.inner.status.last_problem().is_some());
    // Until all eight have failed.
    std::thread::sleep(Duration::from_millis(300));
    rig.mend_inbox();
    let mended = Instant::now();
    until("all to be handled", || {
        block_on(archiver.inbox().counts()).is_ok_and(|counts| counts.handled == 8)
    });
    // After eight failures in a row it would have waited for half a minute at least.
    assert!(mended.elapsed() < Duration::from_secs(15), "{:?}", mended.elapsed());
    running.end().unwrap();
}

#[test]
fn a_handler_may_block_within_one_that_blocks() {
    let (rig, other) = (Rig::new(), Rig::new());
    rig.add(1);
    other.add(2);
    let inner = other.archiver();
    let archiver = rig.builder().max_attempts(1).otherwise(move |_, _| {
        let handled = inner.drain_blocking().map(|summary| summary.handled);
        async move { if handled? == 2 { Ok(Outcome::Done) } else { fails("not all") } }
    });
    assert_eq!(archiver.build().unwrap().drain_blocking().unwrap().handled, 1);
}

#[test]
fn who_was_cut_off_is_called_again() {
    let rig = Rig::new();
    rig.add(1);
    let (gate, calls) = (Gate::default(), Calls::default());
    let archiver = rig.builder().otherwise(gate.handler(&calls)).build().unwrap();
    for attempt in 1..=3 {
        let run = Box::pin(archiver.run(std::future::pending::<()>()));
        let called = futures_util::future::poll_fn(|_| match calls.all().len() {
            n if n >= attempt => std::task::Poll::Ready(()),
            _ => std::task::Poll::Pending,
        });
        // As a killed process would, it leaves everything where it is.
        drop(block_on(futures_util::future::select(run, called)));
    }
    assert_eq!(calls.all(), [(1, 1), (1, 2), (1, 3)]);
    // One that ends the process each time is given up, and not called once more.
    let archiver = rig.builder().max_attempts(3).otherwise(calls.handler()).build().unwrap();
    assert_eq!(archiver.drain_blocking().unwrap().dead, 1);
    assert_eq!(calls.all().len(), 3);
    assert!(kept(&archiver, 1).reason.unwrap().contains("cut off"));
}

#[test]
fn only_one_handles_an_inbox() {
    let rig = Rig::new();
    let (first, second) = (rig.archiver(), rig.archiver());
    let running = Running::start(&first);
    until("the first to run", || block_on(first.health()).unwrap().last_pull.is_some());
    assert!(matches!(second.run_blocking(std::future::ready(())), Err(Error::InboxBusy { .. })));
    assert!(matches!(first.drain_blocking(), Err(Error::InboxBusy { .. })));
    // Storing is for all.
    rig.add(1);
    assert_eq!(rig.push(&second, 1).status, 200);
    until("the first to handle what the second has stored", || state(&first, 1) == Some(State::Handled));
    running.end().unwrap();
    second.drain_blocking().unwrap();
}

#[test]
fn an_inbox_in_trouble_does_not_end_it() {
    let rig = Rig::new();
    let calls = Calls::default();
    let archiver = rig.builder().otherwise(calls.handler()).build().unwrap();
    let running = Running::start(&archiver);
    until("the start", || block_on(archiver.health()).unwrap().last_pull.is_some());
    rig.break_inbox();
    let trouble = || archiver.inner.status.last_problem();
    until("the trouble to be told", || trouble().is_some());
    rig.mend_inbox();
    rig.add(1);
    assert_eq!(rig.push(&archiver, 1).status, 200);
    until("it to be handled", || calls.ids() == [1]);
    until("no trouble", || trouble().is_none());
    running.end().unwrap();
}
