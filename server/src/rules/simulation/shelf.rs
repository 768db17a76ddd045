//! What the database has of one tenant and no node has leased: in the order and by the rules of a claim.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::notification::Micros;

/// Among so many of those that are put off the oldest that is due is looked for.
const OLDEST: usize = 500;

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) sequence: i64,
    pub(super) created_at: Micros,
    /// Attempts made.
    pub(super) attempts: u32,
}

/// What waits.
#[derive(Default)]
pub(super) struct Shelf {
    at_once: BTreeMap<i64, Item>,
    put_off: BTreeMap<i64, (Micros, Item)>,
    /// What is put off, by its time.
    by_time: BTreeSet<(Micros, i64)>,
}

impl Shelf {
    /// Waits from now on: it is new, or was handed back.
    pub(super) fn put(&mut self, item: Item) {
        self.at_once.insert(item.sequence, item);
    }

    /// Waits for a time.
    pub(super) fn put_off(&mut self, item: Item, due: Micros) {
        self.by_time.insert((due, item.sequence));
        self.put_off.insert(item.sequence, (due, item));
    }

    /// Lets nothing wait for its time any more.
    pub(super) fn put_on(&mut self) {
        self.by_time.clear();
        self.at_once.extend(
            std::mem::take(&mut self.put_off).into_iter().map(|(sequence, (_, item))| (sequence, item)),
        );
    }

    /// When the first is due.
    pub(super) fn first_due(&self) -> Option<Micros> {
        if self.at_once.is_empty() { self.by_time.first().map(|(due, _)| *due) } else { Some(0) }
    }

    /// Takes out up to `limit` that are due, so many of them first such as were tried before.
    pub(super) fn claim(&mut self, now: Micros, limit: usize, retries: usize) -> Vec<Item> {
        let retries = retries.min(limit);
        let oldest = self.put_off.values().take(OLDEST).filter(|(due, _)| *due <= now);
        let mut chosen: Vec<i64> = oldest.take(retries).map(|(_, item)| item.sequence).collect();
        let due = || self.by_time.iter().take_while(|(due, _)| *due <= now).map(|(_, sequence)| *sequence);
        add(&mut chosen, due(), retries);
        add(&mut chosen, self.at_once.keys().copied().chain(due()), limit);
        chosen.sort_unstable();
        chosen.into_iter().filter_map(|sequence| self.take(sequence)).collect()
    }

    fn take(&mut self, sequence: i64) -> Option<Item> {
        self.at_once.remove(&sequence).or_else(|| {
            let (due, item) = self.put_off.remove(&sequence)?;
            self.by_time.remove(&(due, sequence));
            Some(item)
        })
    }

    /// The sequences of all that waits.
    pub(super) fn sequences(&self) -> impl Iterator<Item = i64> {
        self.at_once.keys().chain(self.put_off.keys()).copied()
    }
}

/// Adds those that aren't there yet, up to `limit` in all.
fn add(chosen: &mut Vec<i64>, more: impl Iterator<Item = i64>, limit: usize) {
    let there = chosen.len();
    for sequence in more {
        if chosen.len() >= limit {
            break;
        }
        if !chosen[..there].contains(&sequence) {
            chosen.push(sequence);
        }
    }
}
