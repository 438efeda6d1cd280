//! The times at which rows of a key passed, as long as they can still hold another row back.
//!
//! ```text
//! passed, limit 2, per 10      · 3 ····· 9 ·········· 16 ·
//! a row at 11                            9 11      16          three within 10: it does not pass
//! a row at 20                                      16  20      it passes: 9 is 11 away
//! ```
//! A time goes when the watermark says that no row can be near it any more, so what is kept follows from the watermark alone and not
//! from who asked.
//!
//! ```text
//! stored key    PASSED │ place │ key     place: an instant not after the one at which the first time goes (`cold/dated.rs`)
//! ```

mod spill;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow_array::{Int64Array, RecordBatch};
use tidemill_event::FieldType;

use crate::aggregate::bytes::{take_i64, take_u32};
use crate::cold::{Dated, Hand, place_of, put_place, take_place};
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::key_state::{column, times_of};
use crate::state::corrupt;
use crate::time::Watermark;
use crate::window::asked::asked;
use crate::{KeyChange, KeyState, Save, Spills, StateCorrupt, StepState};

/// What the keys of entries begin with in the store.
const PASSED: u8 = 7;

/// What is kept of a key.
#[derive(Debug, Clone, Default)]
struct Times {
    /// Ascending.
    passed: Vec<i64>,
    /// Where its entry lies in the store.
    place: i64,
}

/// The times, by key.
pub(crate) struct Passed {
    pub(crate) index: KeyIndex,
    /// Per slot.
    times: Vec<Times>,
    /// The first time of each key, and of some that it was before.
    firsts: BinaryHeap<Reverse<(i64, u32)>>,
    entries: Entries,
    cold: Dated,
    hand: Hand,
    /// How far the watermark was when times went last.
    watermark: Watermark,
    limit: usize,
    per: i64,
    /// A time goes so long after it.
    keeps: i64,
}

impl Passed {
    /// At most `limit` rows in any stretch shorter than `per`; rows up to `lateness` behind the watermark are still judged exactly.
    pub(crate) fn new(index: KeyIndex, limit: usize, per: i64, lateness: i64) -> Self {
        let keeps = per.saturating_add(lateness);
        Self {
            index,
            times: Vec::new(),
            firsts: BinaryHeap::new(),
            entries: Entries::default(),
            cold: Dated::new(&[PASSED], 0),
            hand: Hand::default(),
            watermark: Watermark::NONE,
            limit,
            per,
            keeps,
        }
    }

    fn resize(&mut self) {
        self.times.resize(self.index.slots(), Times::default());
    }

    /// Whether a row of that key may pass at `time`; then it has.
    pub(crate) fn admit(&mut self, slot: u32, time: i64) -> bool {
        let times = &mut self.times[slot as usize].passed;
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
            self.has_first(slot);
        }
        self.entries.touch(slot);
        true
    }

    /// The first time of a key is another one now, and the key may lie elsewhere.
    fn has_first(&mut self, slot: u32) {
        let first = self.times[slot as usize].passed[0];
        self.firsts.push(Reverse((first, slot)));
        let place = place_of(first.saturating_add(self.keeps), self.keeps);
        if place != self.times[slot as usize].place {
            self.remove_entry(slot);
            self.times[slot as usize].place = place;
        }
    }

    /// The entry of a key, if it is one, is so no more.
    fn remove_entry(&mut self, slot: u32) {
        let Self { index, times, entries, .. } = self;
        if entries.is_live(slot) {
            entries.remove(slot, || key_of(slot, times, index));
        }
    }

    /// Times that no row can be near any more go.
    pub(crate) fn forget(&mut self, watermark: Watermark) {
        self.thaw(watermark);
        self.watermark = watermark;
        while let Some(Reverse((first, slot))) = self.firsts.peek().copied() {
            if first.saturating_add(self.keeps) > watermark.0 {
                break;
            }
            self.firsts.pop();
            let times = &mut self.times[slot as usize].passed;
            let gone = times.partition_point(|time| time.saturating_add(self.keeps) <= watermark.0);
            if gone == 0 {
                // Another key has the slot now, or its first time went with one that came later.
                continue;
            }
            times.drain(..gone);
            if times.is_empty() {
                *times = Vec::new();
                self.remove_entry(slot);
                self.index.release(slot);
                continue;
            }
            self.has_first(slot);
            self.entries.touch(slot);
        }
    }

    /// Puts a key back. Its slot, which is no entry yet.
    fn read(&mut self, key: &[u8], value: &[u8]) -> Result<u32, StateCorrupt> {
        let mut rest = value;
        let mut read = || {
            let (PASSED, mut of_key) = key.split_first().map(|(tag, rest)| (*tag, rest))? else { return None };
            let place = take_place(&mut of_key)?;
            let slot = self.index.slot_of_key(of_key)?;
            self.resize();
            let mut passed = Vec::new();
            for _ in 0..take_u32(&mut rest)? {
                passed.push(take_i64(&mut rest)?);
            }
            self.firsts.push(Reverse((*passed.first()?, slot)));
            self.index.hold(slot);
            let is_whole = rest.is_empty() && passed.is_sorted();
            self.times[slot as usize] = Times { passed, place };
            is_whole.then_some(slot)
        };
        let read = read();
        read.ok_or_else(|| corrupt(key, "times", value.len() - rest.len()))
    }
}

fn key_of(slot: u32, times: &[Times], index: &KeyIndex) -> Vec<u8> {
    let mut key = vec![PASSED];
    put_place(times[slot as usize].place, &mut key);
    index.put_key(slot, &mut key);
    key
}

/// `PASSED place key`: how many times, and they, ascending.
fn encode(slot: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, times: &[Times], index: &KeyIndex) {
    *key = key_of(slot, times, index);
    let passed = &times[slot as usize].passed;
    value.extend_from_slice(&(passed.len() as u32).to_le_bytes());
    passed.iter().for_each(|time| value.extend_from_slice(&time.to_le_bytes()));
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
        let slot = self.read(key, value)?;
        self.entries.restored(slot, key, value);
        Ok(())
    }

    fn checksum(&mut self) -> u64 {
        let Self { index, times, entries, .. } = self;
        entries.checksum(|slot, key, value| encode(slot, key, value, times, index))
    }

    fn spills(&mut self) -> Option<&mut dyn Spills> {
        Some(self)
    }

    /// One row: how many rows passed that still count, the first and the last of them, and when the first one counts no more.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let slot = asked(self, key, |passed| &mut passed.index, Self::warm);
        let times = self.times.get(slot as usize).map_or(&[][..], |times| &times.passed);
        let ends: Vec<(i64, i64)> = times.first().copied().zip(times.last().copied()).into_iter().collect();
        let time = |name: &str, of: &dyn Fn(&(i64, i64)) -> i64| {
            column(name, FieldType::Timestamp(None), times_of(ends.iter().map(|ends| Some(of(ends)))))
        };
        let counts: Int64Array = ends.iter().map(|_| Some(times.len() as i64)).collect();
        let columns = vec![
            column("passed", FieldType::Int64, counts),
            time("first", &|ends| ends.0),
            time("last", &|ends| ends.1),
            time("until", &|ends| ends.0.saturating_add(self.keeps)),
        ];
        Some(KeyState::new(columns, ends.iter().map(|ends| ends.0).collect()))
    }
}
