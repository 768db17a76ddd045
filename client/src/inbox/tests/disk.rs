//! The file: what is taken for an inbox, what is committed together, and a disk that is full.

use std::fs;

use diesel::SqliteConnection;

use super::*;
use crate::inbox::thread::Weight;

fn connect(path: &std::path::Path) -> SqliteConnection {
    let mut conn = <SqliteConnection as diesel::Connection>::establish(path.to_str().unwrap()).unwrap();
    conn.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
    conn
}

fn refused(path: &std::path::Path) -> Error {
    let before = fs::read(path).unwrap();
    let error = Inbox::open(path).unwrap_err();
    assert_eq!(fs::read(path).unwrap(), before, "the file of someone else is left alone");
    error
}

#[test]
fn only_an_inbox_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "Buy milk, and write a longer text than a header of SQLite is. ".repeat(20)).unwrap();
    let error = refused(&text);
    assert!(matches!(&error, Error::NotAnInbox { path, .. } if *path == text), "{error:?}");
    assert!(error.to_string().contains("notes.txt is no inbox"), "{error}");

    for (name, tables) in [
        ("mail.db", "CREATE TABLE inbox_messages (id INTEGER)"),
        ("state.db", "CREATE TABLE inbox_state (id INTEGER, version INTEGER)"),
    ] {
        let other = folder.path().join(name);
        connect(&other).batch_execute(tables).unwrap();
        let error = refused(&other);
        assert!(matches!(error, Error::NotAnInbox { .. }), "{error:?}");
        assert!(error.to_string().contains("something else"), "{error}");
    }

    let newer = folder.path().join("newer.db");
    drop(Inbox::open(&newer).unwrap());
    connect(&newer).batch_execute("UPDATE inbox_state SET version = 2").unwrap();
    let error = Inbox::open(&newer).unwrap_err();
    assert!(matches!(error, Error::NewerInbox { version: 2, known: 1, .. }), "{error:?}");

    let error = Inbox::open(folder.path().join("missing/inbox.db")).unwrap_err();
    assert!(error.to_string().contains("missing/inbox.db can't be opened"), "{error}");
    assert!(matches!(Inbox::open(folder.path()), Err(Error::Inbox(_))));
}

#[test]
fn tables_of_others_are_left_alone() {
    let (_folder, path, inbox) = new_inbox();
    execute(
        &inbox,
        "CREATE TABLE orders (id INTEGER); INSERT INTO orders VALUES (5); PRAGMA user_version = 12",
    )
    .unwrap();
    drop(inbox);
    let inbox = Inbox::open(path).unwrap();
    assert_eq!(number(&inbox, "SELECT id AS number FROM orders"), 5);
    assert_eq!(number(&inbox, "SELECT user_version AS number FROM pragma_user_version"), 12);
}

#[test]
fn a_database_that_is_there_gets_an_inbox() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let mut app = connect(&path);
    app.batch_execute(
        "CREATE TABLE orders (id INTEGER); INSERT INTO orders VALUES (5); PRAGMA user_version = 12",
    )
    .unwrap();
    let inbox = Inbox::open(&path).unwrap();
    block_on(inbox.store_page(None, page([1]), sequence(1))).unwrap();
    assert_eq!(claim(&inbox, 1), [1]);
    let insert = effect(|conn| Ok(conn.batch_execute("INSERT INTO orders VALUES (6)")?));
    block_on(inbox.finish(sequence(1), End::Handled, insert)).unwrap();
    // The program goes on with its own connection, as if nothing were.
    app.batch_execute("INSERT INTO orders VALUES (7)").unwrap();
    let sum = "SELECT sum(id) AS number FROM orders";
    assert_eq!(super::super::sql::number(&mut app, sum, &[]).unwrap(), Some(18));
    drop((inbox, app));
    let inbox = Inbox::open(path).unwrap();
    assert_eq!(block_on(inbox.held()).unwrap(), [1..=1]);
    assert_eq!(number(&inbox, "SELECT user_version AS number FROM pragma_user_version"), 12);
}

#[test]
fn a_commit_is_on_disk_on_every_system() {
    let (_folder, _, inbox) = new_inbox();
    let pragmas = block_on(inbox.inner.writer.run(|conn| {
        Ok([
            crate::inbox::sql::number(conn, "SELECT synchronous AS number FROM pragma_synchronous", &[])?,
            crate::inbox::sql::number(conn, "SELECT fullfsync AS number FROM pragma_fullfsync", &[])?,
            crate::inbox::sql::number(
                conn,
                "SELECT checkpoint_fullfsync AS number FROM pragma_checkpoint_fullfsync",
                &[],
            )?,
        ])
    }));
    assert_eq!(pragmas.unwrap(), [Some(2), Some(1), Some(1)]);
}

#[test]
fn many_can_make_the_same_inbox_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    std::thread::scope(|scope| {
        for id in 1..=8 {
            let path = &path;
            scope.spawn(move || {
                let inbox = Inbox::open(path).unwrap();
                block_on(inbox.receive(None, incoming(id, false))).unwrap();
            });
        }
    });
    assert_eq!(block_on(Inbox::open(&path).unwrap().held()).unwrap(), [1..=8]);
}

#[test]
fn what_waits_is_committed_together() {
    let (_folder, path, inbox) = new_inbox();
    let log = path.with_file_name("inbox.db-wal");
    let pages = || (fs::metadata(&log).unwrap().len() / 4096) as i64;
    let before = pages();
    let outcomes =
        together(&inbox, (1..=200).map(|id| inbox.receive(None, incoming(id, false))).collect::<Vec<_>>());
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap().is_new));
    let grouped = pages() - before;
    for id in 201..=400 {
        block_on(inbox.receive(None, incoming(id, false))).unwrap();
    }
    let alone = pages() - before - grouped;
    // Each commit writes a page of each table and index that it touches.
    assert!(alone >= 3 * 200, "{alone} pages for 200 commits");
    assert!(grouped <= 60, "{grouped} pages for 200 together");
}

#[test]
fn what_waits_is_committed_in_parts_if_it_is_large() {
    let (_folder, path, inbox) = new_inbox();
    execute(&inbox, "CREATE TABLE parts (id INTEGER)").unwrap();
    // What others see while each of four is written: what is committed.
    let seen = |weights: [Weight; 4]| {
        execute(&inbox, "DELETE FROM parts").unwrap();
        let writes = weights.map(|weight| {
            let path = path.clone();
            inbox.inner.writer.run_as(weight, move |conn| {
                conn.batch_execute("INSERT INTO parts VALUES (1)")?;
                let count = "SELECT count(*) AS number FROM parts";
                Ok(crate::inbox::sql::number(&mut connect(&path), count, &[])?)
            })
        });
        let seen = together(&inbox, writes.into_iter().collect());
        seen.into_iter().map(|seen| seen.unwrap().unwrap()).collect::<Vec<_>>()
    };
    let mega = |bytes: usize| Weight::Bytes(bytes << 20);
    assert_eq!(seen([1, 2, 3, 2].map(mega)), [0, 0, 0, 0]);
    assert_eq!(seen([3, 4, 2, 5].map(mega)), [0, 0, 2, 2]);
    assert_eq!(seen([40, 1, 40, 1].map(mega)), [0, 1, 2, 3]);
    assert_eq!(seen([mega(1), Weight::Alone, mega(1), mega(1)]), [0, 1, 2, 2]);
}

/// Lets the file grow by no more than this many pages, as if the disk were full then.
fn limit(inbox: &Inbox, more: i64) {
    block_on(inbox.inner.writer.run(move |conn| {
        let pages =
            crate::inbox::sql::number(conn, "SELECT page_count AS number FROM pragma_page_count", &[])?;
        Ok(conn.batch_execute(&format!("PRAGMA max_page_count = {}", pages.unwrap() + more))?)
    }))
    .unwrap();
}

fn large(id: i64) -> Incoming {
    Incoming { document: "x".repeat(50_000), ..incoming(id, false) }
}

#[test]
fn nothing_of_a_page_stays_when_the_disk_is_full() {
    let (_folder, path, inbox) = new_inbox();
    block_on(inbox.store_page(None, page(1..=10), sequence(10))).unwrap();
    limit(&inbox, 100);
    let items: Vec<_> = (11..=60).map(large).collect();
    for _ in 0..3 {
        let error = block_on(inbox.store_page(None, items.clone(), sequence(60))).unwrap_err();
        assert!(matches!(error, Error::DiskFull), "{error:?}");
    }
    assert_eq!(block_on(inbox.held()).unwrap(), [1..=10]);
    assert_eq!(block_on(inbox.cursor()).unwrap(), sequence(10));
    block_on(inbox.receive(None, incoming(11, false))).expect("for something small there is room");
    limit(&inbox, 100_000);
    assert_eq!(block_on(inbox.store_page(None, items, sequence(60))).unwrap(), 49);
    drop(inbox);
    let inbox = Inbox::open(path).unwrap();
    assert_eq!(block_on(inbox.held()).unwrap(), [1..=60]);
    assert_eq!(block_on(inbox.cursor()).unwrap(), sequence(60));
}

#[test]
fn that_the_disk_is_full_is_told_to_all_of_a_batch() {
    assert!(matches!(crate::inbox::thread::copy(&Error::DiskFull), Error::DiskFull));
    let error = crate::inbox::thread::copy(&Error::Inbox("why".to_owned()));
    assert_eq!(error.to_string(), "the inbox can't be used: why");
}

#[test]
fn a_push_that_does_not_fit_is_an_error_and_the_others_stay() {
    let (_folder, _, inbox) = new_inbox();
    limit(&inbox, 20);
    let items = [incoming(1, false), large(2), large(3), incoming(4, false)];
    let outcomes = together(&inbox, items.map(|item| inbox.receive(None, item)).into_iter().collect());
    let stored: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Err(Error::DiskFull))), "{outcomes:?}");
    assert!(stored[0] && stored[3], "{outcomes:?}");
    for (id, stored) in (1..).zip(stored) {
        assert_eq!(block_on(inbox.get(sequence(id))).unwrap().is_some(), stored, "{id}");
    }
}
