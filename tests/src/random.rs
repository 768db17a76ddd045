//! Random numbers that can be had again: every suite that uses them prints its seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (SplitMix64). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Seeded by `TIDINGS_TEST_SEED`, or by the clock; prints the seed.
    pub fn seeded(what: &str) -> Self {
        let seed = match std::env::var("TIDINGS_TEST_SEED") {
            Ok(text) => text.parse().expect("TIDINGS_TEST_SEED is a number"),
            Err(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
                now.as_secs() ^ (u64::from(now.subsec_nanos()) << 20)
            }
        };
        println!("{what}: TIDINGS_TEST_SEED={seed}");
        Random(seed)
    }

    /// Another generator, for another thread: what it gives doesn't depend on how fast this one is used.
    pub fn fork(&mut self) -> Self {
        Random(self.number())
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, the latter excluded.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low)
    }
}
