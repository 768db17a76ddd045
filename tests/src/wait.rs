//! Bounded waiting. A suite never sleeps for a fixed time and calls that a proof.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer, and panics with `what` when the bound is over.
#[track_caller]
pub fn until<T>(what: &str, bound: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + bound;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {bound:?} in vain for {what}");
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(50));
    }
}

/// The bound for what should happen at once, generous because test machines are slow.
pub const SOON: Duration = Duration::from_secs(20);
