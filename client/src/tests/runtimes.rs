//! The client runs wherever a program runs: under each runtime, without any, and where it may block.

use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{sequence, wait_for};
use crate::testing::Server;
use crate::{Client, Event, Flags};

const DISMISS: Flags = Flags { is_dismissed: Some(true), is_read: None, is_flagged: None };

fn event() -> Event {
    Event::new("close").unwrap()
}

/// A bit of everything, with calls that overlap.
async fn program(client: Client) {
    let mut news = client.notifications().follow();
    let (next, posted) = futures_util::future::join(news.next(), client.post(event())).await;
    assert_eq!(next.unwrap().unwrap().data.id, posted.unwrap().document().unwrap().data.id);
    let posts = futures_util::future::try_join_all((0..20).map(|_| client.post(event())));
    assert_eq!(posts.await.unwrap().len(), 20);
    let got: Vec<_> = news.by_ref().take(20).try_collect().await.unwrap();
    let ids: Vec<i64> = got.iter().map(|item| item.data.id.get()).collect();
    assert_eq!(ids, (2..=21).collect::<Vec<_>>());
    let all = got.iter().fold(client.operations(), |all, item| all.update(item.data.id, DISMISS));
    all.send().await.unwrap();
    let left: Vec<_> = client.notifications().items().try_collect().await.unwrap();
    assert_eq!(left.len(), 1);
}

/// The same without async.
fn blocking_program(client: Client) {
    let client = client.blocking();
    for _ in 0..5 {
        client.post(event()).unwrap();
    }
    let ids: Vec<i64> =
        client.notifications().page_size(2).items().map(|item| item.unwrap().data.id.get()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert_eq!(client.notifications().page_size(2).pages().count(), 3);
    assert_eq!(client.notifications().page().unwrap().data.len(), 5);
    let operations = ids.iter().fold(client.operations(), |all, id| all.update(sequence(*id), DISMISS));
    assert_eq!(operations.send().unwrap().len(), 5);
    let mut news = client.notifications().follow();
    let next = std::thread::scope(|scope| {
        let next = scope.spawn(|| news.next());
        client.post(event()).unwrap();
        next.join().unwrap()
    });
    assert_eq!(next.unwrap().unwrap().data.id, sequence(6));
    assert_eq!(client.newest().unwrap(), sequence(6));
    assert!(client.get(sequence(3)).unwrap().data.attributes.is_dismissed);
}

fn is_send<T: Send>(future: T) -> T {
    future
}

#[test]
fn under_tokio_with_many_threads() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let client = server.client();
    runtime.block_on(async { tokio::spawn(is_send(program(client))).await.unwrap() });
}

#[test]
fn under_tokio_with_one_thread() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(program(server.client()));
}

#[test]
fn under_smol() {
    let server = Server::start();
    smol::block_on(smol::spawn(program(server.client())));
}

#[test]
fn under_actix() {
    let server = Server::start();
    actix_rt::System::new().block_on(program(server.client()));
}

#[test]
fn in_a_plain_thread() {
    let server = Server::start();
    let client = server.client();
    std::thread::spawn(move || wait_for(program(client))).join().unwrap();
}

#[test]
fn blocking_in_a_plain_thread() {
    let server = Server::start();
    let client = server.client();
    std::thread::spawn(move || blocking_program(client)).join().unwrap();
}

#[test]
fn blocking_where_a_runtime_allows_it() {
    let server = Server::start();
    let client = server.client();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { tokio::task::spawn_blocking(|| blocking_program(client)).await.unwrap() });
    let server = Server::start();
    let client = server.client();
    smol::block_on(smol::unblock(|| blocking_program(client)));
}

#[test]
fn a_wait_within_a_wait_loses_no_wake_up() {
    // While the inner one waits, the outer one's other part becomes ready. More than once, for the two may also come
    // before the inner one looks.
    for _ in 0..100 {
        let (start, started) = std::sync::mpsc::channel();
        let (outer, woken) = futures_channel::oneshot::channel();
        let (inner, answered) = futures_channel::oneshot::channel();
        std::thread::spawn(move || {
            started.recv().unwrap();
            outer.send(()).unwrap();
            inner.send(()).unwrap();
        });
        let blocks = async {
            start.send(()).unwrap();
            wait_for(answered).unwrap();
        };
        let (woken, ()) = wait_for(futures_util::future::join(woken, blocks));
        woken.unwrap();
    }
}
