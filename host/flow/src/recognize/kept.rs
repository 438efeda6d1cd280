//! What the step keeps: per key the rows that may still be part of a match, as one entry each.
//!
//! ```text
//! ROWS key    matches u64, start u32, matched u32, judged u32      little-endian
//!             rows    count, then each: time, number, what it holds u64, length of the row, row
//! ```
//! How far a search has come is not stored: it is made anew of the rows, and comes to the same.

use arrow_array::RecordBatch;
use tidemill_event::Field;

use crate::aggregate::bytes::{take_u32, take_u64};
use crate::deadlines::Deadlines;
use crate::entries::Entries;
use crate::evidence::kept_rows;
use crate::group::KeyIndex;
use crate::pattern::Moment;
use crate::pattern::order::Waiting;
use crate::recognize::key_rows::{KeyRow, KeyRows};
use crate::recognize::search::Search;
use crate::rows::Rows;
use crate::state::corrupt;
use crate::{KeyChange, KeyState, OpenRuns, Save, StateCorrupt, StepState};

/// What the keys of entries of keys begin with in the store.
const ROWS: u8 = 0x21;

/// A key's rows, and what the step remembers of it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) key: KeyRows,
    /// It is among those that the batch has touched.
    pub(crate) is_touched: bool,
    /// The input row of this batch that its last row came out with.
    pub(crate) origin: u32,
}

/// All that is kept.
pub(crate) struct Kept {
    pub(crate) index: KeyIndex,
    pub(crate) waiting: Waiting,
    pub(crate) search: Search,
    pub(crate) rows: Rows,
    pub(crate) slots: Vec<Slot>,
    /// When a key waits no longer.
    pub(crate) deadlines: Deadlines,
    entries: Entries,
}

impl Kept {
    pub(crate) fn new(index: KeyIndex, waiting: Waiting, search: Search, kept: Vec<Field>) -> Self {
        Self {
            index,
            waiting,
            search,
            rows: Rows::new(kept),
            slots: Vec::new(),
            deadlines: Deadlines::default(),
            entries: Entries::default(),
        }
    }

    /// How many keys wait for something.
    pub(crate) fn open_keys(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether some key waits for something.
    pub(crate) fn has_open(&self) -> bool {
        self.entries.len() > 0
    }

    /// The keys that wait for something.
    pub(crate) fn open(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|slot| self.entries.is_live(*slot)).collect()
    }

    /// Notes what became of a key: its timer, its entry, and whether the step holds it.
    pub(crate) fn note(&mut self, slot: u32) {
        let Self { slots, entries, index, search, deadlines, .. } = self;
        let of = &mut slots[slot as usize];
        deadlines.set(slot, search.deadline(&of.key));
        if entries.follow(slot, !search.is_over(&of.key), ROWS, index) {
            of.key = KeyRows::default();
        }
    }

    /// The keys whose deadline is not after `now`; they have none until they are noted again.
    pub(crate) fn take_due(&mut self, now: i64) -> Vec<u32> {
        std::iter::from_fn(|| self.deadlines.pop(now)).collect()
    }

    /// Puts the rows of a key back. Its slot.
    fn read(&mut self, key: &[u8], mut rest: &[u8]) -> Option<u32> {
        let slot = self.index.slot_of_key(key)?;
        self.slots.resize_with(self.index.slots(), Slot::default);
        let mut of = KeyRows { matches: take_u64(&mut rest)?, ..KeyRows::default() };
        let mut place = || take_u32(&mut rest).map(|place| place as usize);
        (of.start, of.matched, of.judged) = (place()?, place()?, place()?);
        for _ in 0..take_u32(&mut rest)? {
            let (moment, holds) = (Moment::decode(&mut rest)?, take_u64(&mut rest)?);
            let row = self.rows.decode_sized(&mut rest)?;
            of.rows.push_back(KeyRow { moment, row, holds });
        }
        of.arrived = of.rows.len();
        let is_sound = rest.is_empty() && of.start <= of.arrived && of.judged <= of.arrived;
        self.slots[slot as usize].key = of;
        self.note(slot);
        is_sound.then_some(slot)
    }
}

fn encode(slot: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, index: &KeyIndex, slots: &[Slot], kept: &Rows) {
    *key = index.tagged_key(ROWS, slot);
    let KeyRows { rows, start, judged, matched, matches, .. } = &slots[slot as usize].key;
    value.extend_from_slice(&matches.to_le_bytes());
    for place in [start, matched, judged, &rows.len()] {
        value.extend_from_slice(&(*place as u32).to_le_bytes());
    }
    for KeyRow { moment, row, holds } in rows {
        moment.encode(value);
        value.extend_from_slice(&holds.to_le_bytes());
        kept.encode_sized(*row, value);
    }
}

impl StepState for Kept {
    fn len(&self) -> usize {
        self.entries.len() + self.waiting.len()
    }

    fn changed_len(&self) -> usize {
        self.entries.changed_len() + self.waiting.changed_len()
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let mut changes = self.waiting.take_some(most, save);
        let Self { index, entries, slots, rows, .. } = self;
        changes.extend(entries.take_some(most, save, |slot, key, value| encode(slot, key, value, index, slots, rows)));
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let read = match key.split_first() {
            Some((&ROWS, of)) => self.read(of, value).map(|slot| self.entries.restored(slot, key, value)),
            _ => self.waiting.restore(key, value),
        };
        read.ok_or_else(|| corrupt(key, "rows of a match", 0))
    }

    /// A row for each that may still be part of a match.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let slot = self.index.asked(key);
        let kept = self.slots.get(slot as usize).map(|slot| &slot.key.rows);
        let (times, rows): (Vec<i64>, Vec<u32>) = kept.into_iter().flatten().map(|row| (row.moment.time, row.row)).unzip();
        Some(kept_rows(&self.rows, &times, &rows))
    }

    fn open_runs(&self) -> Vec<OpenRuns> {
        let keys = self.open_keys();
        vec![OpenRuns { pattern: None, runs: keys, keys }]
    }

    fn checksum(&mut self) -> u64 {
        let waiting = self.waiting.checksum();
        let Self { index, entries, slots, rows, .. } = self;
        let of_keys = entries.checksum(|slot, key, value| encode(slot, key, value, index, slots, rows));
        of_keys.wrapping_add(waiting)
    }
}
