//! The times at which rows of a key passed, as long as they can still hold another row back.
//!
//! ```text
//! passed, limit 2, per 10      · 3 ····· 9 ·········· 16 ·
//! a row at 11                            9 11      16          three within 10: it does not pass
//! a row at 20                                      16  20      it passes: 9 is 11 away
//! ```
//! A time goes when the watermark says that no row can be near it any more, so what is kept follows from the watermark alone and not
//! from who asked.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::aggregate::bytes::{take_i64, take_u32};
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::state::corrupt;
use crate::time::Watermark;
use crate::{KeyChange, Save, StateCorrupt, StepState};

/// What the keys of entries begin with in the store.
const PASSED: u8 = 7;

/// The times, by key.
pub(crate) struct Passed {
    pub(crate) index: KeyIndex,
    /// Per slot, ascending.
    times: Vec<Vec<i64>>,
    /// The first time of each key, and of some that it was before.
    firsts: BinaryHeap<Reverse<(i64, u32)>>,
    entries: Entries,
    limit: usize,
    per: i64,
    /// A time goes so long after it.
    keeps: i64,
}

impl Passed {
    /// At most `limit` rows in any stretch shorter than `per`; rows up to `lateness` behind the watermark are still judged exactly.
    pub(crate) fn new(index: KeyIndex, limit: usize, per: i64, lateness: i64) -> Self {
        let keeps = per.saturating_add(lateness);
        Self { index, times: Vec::new(), firsts: BinaryHeap::new(), entries: Entries::default(), limit, per, keeps }
    }

    /// There are so many slots now.
    pub(crate) fn grow(&mut self) {
        self.times.resize(self.index.slots(), Vec::new());
    }

    /// Whether a row of that key may pass at `time`; then it has.
    pub(crate) fn admit(&mut self, slot: u32, time: i64) -> bool {
        let times = &mut self.times[slot as usize];
        let at = times.partition_point(|passed| *passed <= time);
        // The times as they would be. A row in order has only rows before it: one look.
        let with = |place: usize| {
            if place < at {
                times[place]
            } else if place == at {
                time
            } else {
                times[place - 1]
            }
        };
        let firsts = at.saturating_sub(self.limit)..=at;
        let is_full = firsts
            .take_while(|first| first + self.limit <= times.len())
            .any(|first| with(first + self.limit).saturating_sub(with(first)) < self.per);
        if is_full {
            return false;
        }
        times.insert(at, time);
        if times.len() == 1 {
            self.index.hold(slot);
        }
        if at == 0 {
            self.firsts.push(Reverse((time, slot)));
        }
        self.entries.touch(slot);
        true
    }

    /// Times that no row can be near any more go.
    pub(crate) fn forget(&mut self, watermark: Watermark) {
        while let Some(Reverse((first, slot))) = self.firsts.peek().copied() {
            if first.saturating_add(self.keeps) > watermark.0 {
                break;
            }
            self.firsts.pop();
            let times = &mut self.times[slot as usize];
            let gone = times.partition_point(|time| time.saturating_add(self.keeps) <= watermark.0);
            if gone == 0 {
                // Another key has the slot now, or its first time went with one that came later.
                continue;
            }
            times.drain(..gone);
            if let Some(first) = times.first() {
                self.firsts.push(Reverse((*first, slot)));
                self.entries.touch(slot);
                continue;
            }
            *times = Vec::new();
            let Self { index, entries, .. } = self;
            entries.remove(slot, || key_of(slot, index));
            index.release(slot);
        }
    }
}

fn key_of(slot: u32, index: &KeyIndex) -> Vec<u8> {
    let mut key = vec![PASSED];
    index.put_key(slot, &mut key);
    key
}

/// `PASSED key`: how many times, and they, ascending.
fn encode(slot: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, times: &[Vec<i64>], index: &KeyIndex) {
    *key = key_of(slot, index);
    value.extend_from_slice(&(times[slot as usize].len() as u32).to_le_bytes());
    times[slot as usize].iter().for_each(|time| value.extend_from_slice(&time.to_le_bytes()));
}

impl StepState for Passed {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn changed_len(&self) -> usize {
        self.entries.changed_len()
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let Self { index, times, entries, .. } = self;
        entries.take_some(most, save, |slot, key, value| encode(slot, key, value, times, index))
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let mut rest = value;
        let mut read = || {
            let (PASSED, of_key) = key.split_first().map(|(tag, rest)| (*tag, rest))? else { return None };
            let slot = self.index.slot_of_key(of_key)?;
            self.grow();
            let times = &mut self.times[slot as usize];
            for _ in 0..take_u32(&mut rest)? {
                times.push(take_i64(&mut rest)?);
            }
            self.firsts.push(Reverse((*times.first()?, slot)));
            self.index.hold(slot);
            self.entries.restored(slot, key, value);
            (rest.is_empty() && self.times[slot as usize].is_sorted()).then_some(())
        };
        let read = read();
        read.ok_or_else(|| corrupt(key, "times", value.len() - rest.len()))
    }

    fn checksum(&mut self) -> u64 {
        let Self { index, times, entries, .. } = self;
        entries.checksum(|slot, key, value| encode(slot, key, value, times, index))
    }
}
