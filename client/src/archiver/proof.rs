//! The proof that nothing is missing.

use std::fmt;
use std::ops::RangeInclusive;

use super::Archiver;
use super::builder::Settings;
use crate::{Error, Sequence};

type Ranges = Vec<RangeInclusive<i64>>;

/// What is held of everything that the server has numbered. From [`Archiver::verify`].
///
/// Notifications are numbered 1, 2, 3 … without gaps, so that what isn't held can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// The newest notification of which one knows: 1 to this one are accounted for.
    pub newest: Sequence,
    /// The oldest notification that the server still has; nothing when it has none.
    pub oldest_kept: Option<Sequence>,
    /// The ids in the inbox, whether handled, waiting or dead, as ranges in ascending order. Those that came in the
    /// meantime may go beyond `newest`.
    pub held: Ranges,
    /// The ids that are not in the inbox, though the server still has them: catching up will fetch them.
    pub missing: Ranges,
    /// The ids that are not in the inbox, and that the server has no longer. They can't be had any more.
    pub expired: Ranges,
}

impl Archiver {
    /// Compares what the inbox holds with what the server has numbered. It changes nothing, and can be called at any
    /// time, by another process too. What has just happened, and is still on its way, counts as missing.
    ///
    /// # Errors
    /// Those of reading at the server and in the inbox; [`Error::OtherHistory`] when the server has other notifications
    /// under ids that the inbox holds, or has not come as far, so that nothing can be proved.
    pub async fn verify(&self) -> Result<Proof, Error> {
        let Settings { client, inbox, .. } = &self.inner.settings;
        let cursor = inbox.cursor().await?;
        self.check_history(cursor).await?;
        let newest = Some(client.newest().await?).filter(|newest| *newest != Sequence::START);
        let oldest = client.notifications().any_dismissed().oldest_first().page_size(1);
        let oldest = oldest.after(Sequence::START).page().await?.data.first().map(|oldest| oldest.id);
        Ok(Proof::new(newest, oldest, cursor, inbox.held().await?))
    }
}

impl Proof {
    fn new(newest: Option<Sequence>, oldest: Option<Sequence>, cursor: Sequence, held: Ranges) -> Self {
        // A server whose notifications have all expired doesn't tell how far it had come; what came from it does.
        let known = held.last().map_or(0, |last| *last.end()).max(cursor.get());
        let last = newest.map_or(known, Sequence::get);
        let first_kept = oldest.map_or(last + 1, Sequence::get);
        Proof {
            newest: Sequence::new(last).unwrap_or(Sequence::START),
            oldest_kept: oldest,
            missing: gaps(&held, first_kept, last),
            expired: gaps(&held, 1, last.min(first_kept - 1)),
            held,
        }
    }

    /// Whether the inbox holds all of them, 1 to `newest`. After retention has removed at the server what was never
    /// fetched, this can't come true again; `missing` then still tells whether anything can be done.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.expired.is_empty()
    }
}

/// What isn't held of the numbers from `first` to `last`.
fn gaps(held: &[RangeInclusive<i64>], first: i64, last: i64) -> Ranges {
    let mut gaps = Vec::new();
    let mut expected = first;
    for range in held {
        if *range.start() > last {
            break;
        }
        if *range.start() > expected {
            gaps.push(expected..=range.start() - 1);
        }
        expected = expected.max(range.end() + 1);
    }
    if expected <= last {
        gaps.push(expected..=last);
    }
    gaps
}

/// In one line, for people: `holds 1..5, nothing missing`.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.newest;
        if last == Sequence::START {
            return f.write_str("there is nothing yet");
        }
        if self.is_whole() {
            return write!(f, "holds 1..{last}, nothing missing");
        }
        let absent: i64 =
            [&self.missing, &self.expired].into_iter().flatten().map(|r| r.end() - r.start() + 1).sum();
        write!(f, "holds {} of 1..{last}", last.get() - absent)?;
        for (what, ranges) in [("missing", &self.missing), ("expired", &self.expired)] {
            for (i, range) in ranges.iter().enumerate() {
                match i {
                    0 => write!(f, ", {what} ")?,
                    _ => f.write_str(", ")?,
                }
                match range.start() == range.end() {
                    true => write!(f, "{}", range.start())?,
                    false => write!(f, "{}..{}", range.start(), range.end())?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(newest: i64, oldest: i64, cursor: i64, held: Ranges) -> Proof {
        let id = |number| Some(Sequence::new(number).unwrap()).filter(|id| *id != Sequence::START);
        Proof::new(id(newest), id(oldest), Sequence::new(cursor).unwrap(), held)
    }

    #[test]
    fn what_is_not_held_is_missing_or_has_expired() {
        let cases = [
            // The newest, the oldest kept, the cursor, what is held: what is said.
            (0, 0, 0, vec![], "there is nothing yet"),
            (5, 1, 5, vec![1..=5], "holds 1..5, nothing missing"),
            (5, 4, 5, vec![1..=5], "holds 1..5, nothing missing"),
            (5, 1, 0, vec![], "holds 0 of 1..5, missing 1..5"),
            (9, 1, 3, vec![1..=3, 5..=5, 8..=8], "holds 5 of 1..9, missing 4, 6..7, 9"),
            (9, 5, 9, vec![2..=2, 5..=9], "holds 6 of 1..9, expired 1, 3..4"),
            (9, 5, 3, vec![2..=3, 6..=6], "holds 3 of 1..9, missing 5, 7..9, expired 1, 4"),
            // What came while it was asked is no proof that the others are missing.
            (5, 1, 5, vec![1..=5, 8..=9], "holds 1..5, nothing missing"),
            // All have expired at the server.
            (0, 0, 4, vec![1..=4], "holds 1..4, nothing missing"),
            (0, 0, 4, vec![1..=1, 3..=3], "holds 2 of 1..4, expired 2, 4"),
        ];
        for (newest, oldest, cursor, held, said) in cases {
            let proof = proof(newest, oldest, cursor, held.clone());
            assert_eq!(proof.to_string(), said, "{newest} {oldest} {cursor} {held:?}");
            assert_eq!(proof.is_whole(), !said.contains("missing ") && !said.contains("expired"), "{said}");
        }
    }

    #[test]
    fn the_ranges_are_told() {
        let proof = proof(9, 5, 3, vec![2..=3, 6..=6]);
        assert_eq!((proof.missing, proof.expired), (vec![5..=5, 7..=9], vec![1..=1, 4..=4]));
    }
}
