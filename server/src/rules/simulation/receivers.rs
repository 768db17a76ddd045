//! Receivers that fail in the ways real ones do. What one answers follows from the time, the notification, the attempt and
//! the seed, so that it is the same whatever the others do.

use std::time::Duration;

use crate::rules::notification::Micros;

pub(super) const MILLISECOND: Micros = 1_000;
/// A second.
pub const SECOND: Micros = 1_000_000;
pub(super) const MINUTE: Micros = 60 * SECOND;
/// An hour.
pub const HOUR: Micros = 60 * MINUTE;

/// How a receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Well and quick: 20 to 80 ms.
    Well,
    /// The same; its tenant has a large import.
    Importing,
    /// Two seconds for each answer.
    Slow,
    /// Answers 500 to one in a hundred.
    OneInHundred,
    /// Refuses one kind of event, a tenth of all, with 400.
    Choosy,
    /// Takes some more than usual in a second, and answers 429 with `Retry-After: 5` to the rest.
    Limited,
    /// Down for five minutes of each hour.
    Flapping,
    /// Down for thirty seconds, ten times a night.
    Deploying,
    /// For an hour it answers after thirty seconds, which is too late.
    Hanging,
    /// Down for four hours.
    Outage,
    /// Slower from hour to hour, in the evening too slow.
    Degrading,
    /// Answers 404 from the morning on.
    NotFound,
    /// Answers 410 from the morning on.
    Gone,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 13] = [
        Kind::Well,
        Kind::Importing,
        Kind::Slow,
        Kind::OneInHundred,
        Kind::Choosy,
        Kind::Limited,
        Kind::Flapping,
        Kind::Deploying,
        Kind::Hanging,
        Kind::Outage,
        Kind::Degrading,
        Kind::NotFound,
        Kind::Gone,
    ];

    /// That of the nth tenant: of a hundred, seventy are well.
    pub(super) fn of(nth: usize) -> Kind {
        match nth % 100 {
            70..75 => Kind::Slow,
            75..79 => Kind::OneInHundred,
            79..81 => Kind::Choosy,
            81..84 => Kind::Limited,
            84..88 => Kind::Flapping,
            88..91 => Kind::Deploying,
            91..93 => Kind::Hanging,
            93..97 => Kind::Outage,
            97 => Kind::Degrading,
            98 => Kind::NotFound,
            99 => Kind::Gone,
            _ => Kind::Well,
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Well => "well",
            Kind::Importing => "well, imports",
            Kind::Slow => "slow, 2 s",
            Kind::OneInHundred => "500 for 1 %",
            Kind::Choosy => "400 for a type",
            Kind::Limited => "429 above a rate",
            Kind::Flapping => "down 5 min/h",
            Kind::Deploying => "deploys, 10 × 30 s",
            Kind::Hanging => "hangs for 1 h",
            Kind::Outage => "down for 4 h",
            Kind::Degrading => "slower and slower",
            Kind::NotFound => "404 from 6:00",
            Kind::Gone => "410 from 6:00",
        }
    }
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    Accepted,
    Refused,
    /// And for how long it wants to be left alone.
    Failed(Micros),
    Gone,
}

/// What a receiver answers, and after how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Answer {
    pub(super) after: Micros,
    pub(super) meaning: Meaning,
}

impl Answer {
    /// What it asks for with `Retry-After`.
    pub(super) fn asked(self) -> Option<Duration> {
        match self.meaning {
            Meaning::Failed(asked) if asked > 0 => Some(Duration::from_micros(asked.unsigned_abs())),
            _ => None,
        }
    }
}

/// One receiver.
pub(super) struct Receiver {
    pub(super) kind: Kind,
    /// What its chance comes from.
    pub(super) key: u64,
    /// When it is down, and when it is back.
    downs: Vec<(Micros, Micros)>,
    timeout: Micros,
    /// So many it takes in a second, if it counts.
    limit: u32,
    /// How many it has taken in this second.
    counted: (Micros, u32),
    is_well: bool,
}

impl Receiver {
    /// One whose tenant has so many events a second, on average.
    pub(super) fn new(kind: Kind, sick: bool, key: u64, mean: f64, timeout_seconds: u32) -> Self {
        let random = |below: Micros| Micros::try_from(mix(key, 1) % below.unsigned_abs()).unwrap_or(0);
        let downs = match kind {
            _ if !sick => Vec::new(),
            Kind::Flapping => {
                let from = random(55 * MINUTE);
                (0..24).map(|hour| (hour * HOUR + from, hour * HOUR + from + 5 * MINUTE)).collect()
            }
            Kind::Deploying => {
                let from = 2 * HOUR + random(HOUR);
                (0..10).map(|nth| (from + nth * 6 * MINUTE, from + nth * 6 * MINUTE + 30 * SECOND)).collect()
            }
            Kind::Hanging => vec![(14 * HOUR + random(HOUR), 15 * HOUR + random(HOUR))],
            Kind::Outage => vec![(9 * HOUR + random(HOUR), 13 * HOUR + random(HOUR))],
            Kind::NotFound | Kind::Gone => vec![(6 * HOUR, Micros::MAX)],
            _ => Vec::new(),
        };
        let limit = 1 + (2.0 * mean) as u32;
        let timeout = Micros::from(timeout_seconds) * SECOND;
        Receiver { kind, key, downs, timeout, limit, counted: (0, 0), is_well: !sick }
    }

    /// When it is down, and when it is back.
    pub(super) fn downs(&self) -> &[(Micros, Micros)] {
        &self.downs
    }

    pub(super) fn is_down(&self, at: Micros) -> bool {
        self.downs.iter().any(|(from, to)| (*from..*to).contains(&at))
    }

    /// Its answer to an attempt that begins now.
    pub(super) fn answer(&mut self, at: Micros, sequence: i64, attempts: u32) -> Answer {
        let event = mix(self.key, sequence.unsigned_abs());
        let mut random = Random::new(mix(event, u64::from(attempts)));
        let usual = 20 * MILLISECOND + Micros::try_from(random.below(60_000)).unwrap_or(0);
        let answer = |after, meaning| Answer { after, meaning };
        let answer = if self.is_down(at) {
            match self.kind {
                Kind::NotFound => answer(usual, Meaning::Failed(0)),
                Kind::Gone => answer(usual, Meaning::Gone),
                Kind::Hanging => answer(30 * SECOND, Meaning::Accepted),
                // The connection is refused.
                _ => answer(2 * MILLISECOND, Meaning::Failed(0)),
            }
        } else if self.is_well {
            answer(usual, Meaning::Accepted)
        } else {
            match self.kind {
                Kind::Slow => answer(usual + 2 * SECOND, Meaning::Accepted),
                Kind::OneInHundred if random.below(100) == 0 => answer(usual, Meaning::Failed(0)),
                Kind::Choosy if event.is_multiple_of(10) => answer(usual, Meaning::Refused),
                Kind::Limited => {
                    let takes = self.takes(at / SECOND);
                    answer(usual, if takes { Meaning::Accepted } else { Meaning::Failed(5 * SECOND) })
                }
                Kind::Degrading => {
                    // After 10 hours 3.5 s, after 24 hours 20 s.
                    let minutes = at / MINUTE;
                    answer(usual + minutes * minutes * 10, Meaning::Accepted)
                }
                _ => answer(usual, Meaning::Accepted),
            }
        };
        if answer.after < self.timeout {
            return answer;
        }
        Answer { after: self.timeout, meaning: Meaning::Failed(0) }
    }

    /// Whether it takes one more in this second.
    fn takes(&mut self, second: Micros) -> bool {
        let count = if self.counted.0 == second { self.counted.1 } else { 0 };
        self.counted = (second, count + 1);
        count < self.limit
    }
}

/// Numbers that look like chance and follow from a seed (SplitMix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than this.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From 0 to 1, without 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Two numbers in one.
pub(super) fn mix(one: u64, other: u64) -> u64 {
    Random::new(one ^ other.wrapping_mul(0xd6e8_feb8_6659_fd93)).next()
}
