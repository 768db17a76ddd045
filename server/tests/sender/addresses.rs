//! Which addresses are dialled, and what becomes of those that are not.

use std::sync::Arc;

use tidings_server::push::egress::{Egress, PushUrl};
use tidings_server::push::sender::{Failure, Sender};
use tokio::net::TcpListener;

use super::{Receiver, outgoing, push, push_strictly, sender, url};

#[tokio::test]
async fn a_closed_port_is_a_connect_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(&format!("http://{}/", listener.local_addr().unwrap()));
    drop(listener);
    let attempt = sender().send(outgoing(&url)).await;
    assert_eq!((attempt.outcome.unwrap_err(), attempt.address), (Failure::Connect, None));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_failure() {
    // No name server is asked for a label this long. None that is set may have one.
    let url = PushUrl::stored(&format!("http://{}.invalid/", "a".repeat(64))).unwrap();
    assert_eq!(push_strictly(&sender(), &url).await.outcome.unwrap_err(), Failure::Dns);
}

#[tokio::test]
async fn loopback_is_not_dialled_in_any_spelling() {
    let receiver = Receiver::keeping().await;
    let port = receiver.address.port();
    let sender = sender();
    for host in [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "0",
        "[::]",
    ] {
        for scheme in ["http", "https"] {
            let attempt = push_strictly(&sender, &url(&format!("{scheme}://{host}:{port}/"))).await;
            let failure = attempt.outcome.unwrap_err();
            // Not every resolver knows the name with its final dot.
            let unknown = host == "localhost." && failure == Failure::Dns;
            assert!(failure == Failure::BlockedAddress || unknown, "{failure:?} for {scheme}://{host}");
        }
    }
    for host in ["0.0.0.0", "[::]", "169.254.169.254", "10.0.0.1"] {
        let attempt = sender.send(outgoing(&url(&format!("http://{host}:{port}/")))).await;
        assert_eq!(attempt.outcome.unwrap_err(), Failure::BlockedAddress, "{host} with loopback");
    }
    receiver.assert_untouched().await;
}

#[tokio::test]
async fn names_are_dialled_when_their_addresses_are_permitted() {
    let receiver = Receiver::keeping().await;
    let url = url(&format!("http://localhost:{}/", receiver.address.port()));
    assert_eq!(sender().send(outgoing(&url)).await.outcome.unwrap().text(&[]), "ok");
    let allowing = Sender::new(Arc::new(Egress::new(vec!["127.0.0.0/8".parse().unwrap()])));
    assert_eq!(push_strictly(&allowing, &url).await.outcome.unwrap().text(&[]), "ok");
}

#[tokio::test]
async fn a_connection_to_loopback_is_never_lent_to_a_strict_push() {
    let receiver = Receiver::keeping().await;
    let sender = sender();
    for _ in 0..2 {
        assert_eq!(push(&sender, &receiver).await.outcome.unwrap().status, 200);
        let strict = push_strictly(&sender, &receiver.url()).await;
        assert_eq!(strict.outcome.unwrap_err(), Failure::BlockedAddress);
    }
    assert_eq!(receiver.connections(), 1, "the kept connection was there to be lent");
}
