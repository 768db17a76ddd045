//! Free ports outside the range from which the kernel takes the ports of outgoing connections.
//!
//! A port from that range could be taken by any connection while its server is down for a restart, and a client that
//! calls it meanwhile could even be connected with itself.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_240;
const COUNT: u32 = 22_000;

/// A port of 127.0.0.1 on which nobody listens.
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test binaries may run beside each other: each begins elsewhere.
    let start = std::process::id().wrapping_mul(613);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let port = u16::try_from(port).expect("the range ends below 65,536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1");
}
