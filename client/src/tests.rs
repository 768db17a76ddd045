//! The client against a server that misbehaves on purpose. No runtime: the futures are driven by a parked thread.

mod calls;
mod lists;
mod server;
mod transport;
mod webhook;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Waits for a future on this thread, with nothing that any runtime would bring along.
fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A notification as the server writes it, without its document.
fn notification(id: u64) -> String {
    format!(
        r#"{{"type":"notification","id":"{id}","links":{{"self":"http://elsewhere/n/{id}"}},"attributes":{{"id":"{id}",
        "createdAt":"2023-12-13T20:42:50.427Z","type":"close","isDismissed":false,"isRead":false,"isFlagged":false,
        "comment":null}},"relationships":{{"createdBy":{{"links":{{"self":"http://elsewhere/users/{id}"}},
        "data":{{"type":"user","id":"{id}"}}}}}}}}"#
    )
}

fn document(id: u64) -> String {
    format!(r#"{{"links":{{"self":"http://elsewhere/n/{id}"}},"data":{}}}"#, notification(id))
}

fn sequence(id: i64) -> crate::Sequence {
    crate::Sequence::new(id).unwrap()
}
