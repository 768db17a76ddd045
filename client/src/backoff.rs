//! How long to wait after a failure: longer after each, and not all at once.

use std::time::Duration;

/// How long to wait after failures in a row: twice as long after each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The time to wait after so many failures, 1 or more.
    pub(crate) fn after(self, failures: u32) -> Duration {
        let doubled =
            self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        // Not all at once, who failed at once.
        doubled.min(self.longest).mul_f64(between(0.5, 1.0))
    }
}

/// A number between two others, by chance.
pub(crate) fn between(low: f64, high: f64) -> f64 {
    let chance = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
    low + (high - low) * chance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_varies() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(3_600) };
        for (failures, whole) in
            [(1, 1), (2, 2), (3, 4), (12, 2_048), (13, 3_600), (33, 3_600), (u32::MAX, 3_600)]
        {
            let waits: Vec<Duration> = (0..50).map(|_| backoff.after(failures)).collect();
            let whole = Duration::from_secs(whole);
            assert!(waits.iter().all(|wait| (whole / 2..=whole).contains(wait)), "{failures}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "{failures}: {waits:?}");
        }
    }
}
