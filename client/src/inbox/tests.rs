//! The inbox alone: what is stored, what may fail, and what a killed process leaves behind.

mod disk;
mod effects;
mod processes;
mod rules;

use std::path::PathBuf;
use std::sync::mpsc;

use diesel::connection::SimpleConnection as _;
use futures_executor::block_on;
use futures_util::future::join_all;
use tempfile::TempDir;

use super::{Effect, End, Inbox, Incoming};
use crate::{Error, Sequence};

fn sequence(id: i64) -> Sequence {
    Sequence::new(id).unwrap()
}

fn sequences(ids: impl IntoIterator<Item = i64>) -> Vec<Sequence> {
    ids.into_iter().map(sequence).collect()
}

fn incoming(id: i64, dismissed: bool) -> Incoming {
    let document = format!(r#"{{"data":{{"type":"notification","id":"{id}"}}}}"#);
    Incoming { id: sequence(id), event_type: "close".to_owned(), document, dismissed }
}

fn page(ids: impl IntoIterator<Item = i64>) -> Vec<Incoming> {
    ids.into_iter().map(|id| incoming(id, false)).collect()
}

fn new_inbox() -> (TempDir, PathBuf, Inbox) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    let inbox = Inbox::open(&path).unwrap();
    (folder, path, inbox)
}

/// Stores a page, claims all that is due, and says which that was.
fn claim(inbox: &Inbox, limit: usize) -> Vec<i64> {
    block_on(inbox.claim(limit, Vec::new())).unwrap().iter().map(|claimed| claimed.id.get()).collect()
}

fn finish(inbox: &Inbox, id: i64, end: End) {
    block_on(inbox.finish(sequence(id), end, Vec::new())).unwrap();
}

fn to_dismiss(inbox: &Inbox) -> Vec<i64> {
    block_on(inbox.to_dismiss(Sequence::START, 1000)).unwrap().into_iter().map(Sequence::get).collect()
}

/// Runs SQL on the connection that writes.
fn execute(inbox: &Inbox, sql: &'static str) -> Result<(), Error> {
    block_on(inbox.inner.writer.run(move |conn| Ok(conn.batch_execute(sql)?)))
}

fn number(inbox: &Inbox, sql: &'static str) -> i64 {
    block_on(inbox.inner.reader.run(move |conn| Ok(super::sql::number(conn, sql, &[])?))).unwrap().unwrap()
}

fn effect(
    write: impl FnOnce(&mut diesel::SqliteConnection) -> Result<(), super::BoxError> + Send + 'static,
) -> Vec<Effect> {
    vec![Box::new(write)]
}

/// Runs futures of which all have reached the writer before it begins: they are one batch.
fn together<T: Send>(inbox: &Inbox, futures: Vec<impl Future<Output = T> + Send>) -> Vec<T> {
    let (free, busy) = mpsc::channel::<()>();
    let (begun, begins) = mpsc::channel();
    let mut futures = join_all(futures);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            block_on(inbox.inner.writer.run(move |_| {
                begun.send(()).unwrap();
                // Until the other end is gone.
                let _ = busy.recv();
                Ok(())
            }))
        });
        begins.recv().unwrap();
        // The first poll of each hands its job over.
        let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::Pin::new(&mut futures).poll(context).is_pending());
        drop(free);
        block_on(&mut futures)
    })
}
