//! The client against a server that misbehaves on purpose. No runtime: the futures are driven by a parked thread.

mod admin;
mod calls;
mod lists;
#[cfg(feature = "testing")]
mod runtimes;
mod server;
#[cfg(feature = "testing")]
mod testing;
mod transport;
mod webhook;

use crate::blocking::wait as wait_for;

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
