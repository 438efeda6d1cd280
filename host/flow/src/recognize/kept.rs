//! What the step keeps: per key the rows that may still be part of a match, as one entry each.
//!
//! ```text
//! ROWS key    matches u64, start u32, matched u32, judged u32      little-endian
//!             rows    count, then each: time, number, what it holds u64, length of the row, row
//! ```
//! How far a search has come is not stored: it is made anew of the rows, and comes to the same.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tidemill_event::Field;

use crate::aggregate::bytes::{take, take_i64, take_u32, take_u64};
use crate::checksum::checksum;
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::pattern::Moment;
use crate::pattern::order::{WAITING, Waiting};
use crate::recognize::key_rows::{KeyRow, KeyRows};
use crate::recognize::search::Search;
use crate::rows::Rows;
use crate::state::corrupt;
use crate::{KeyChange, Save, StateCorrupt, StepState};

/// What the keys of entries of keys begin with in the store.
const ROWS: u8 = 0x21;
/// The entry of the step itself.
const STEP: u8 = 0xff;

/// A key's rows, and what the step remembers of it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) key: KeyRows,
    /// It has an entry.
    pub(crate) is_held: bool,
    /// It is among those that the batch has touched.
    pub(crate) is_touched: bool,
    /// The input row of this batch that its last row came out with.
    pub(crate) origin: u32,
    /// The deadline that the timers know of.
    timer: Option<i64>,
}

/// All that is kept.
pub(crate) struct Kept {
    pub(crate) index: KeyIndex,
    pub(crate) waiting: Waiting,
    pub(crate) search: Search,
    pub(crate) rows: Rows,
    pub(crate) slots: Vec<Slot>,
    /// (deadline, slot); one that is not its slot's any more means nothing.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    entries: Entries,
    pub(crate) is_changed: bool,
}

impl Kept {
    pub(crate) fn new(index: KeyIndex, waiting: Waiting, search: Search, kept: Vec<Field>) -> Self {
        Self {
            index,
            waiting,
            search,
            rows: Rows::new(kept),
            slots: Vec::new(),
            timers: BinaryHeap::new(),
            entries: Entries::default(),
            is_changed: false,
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
        (0..self.slots.len() as u32).filter(|slot| self.slots[*slot as usize].is_held).collect()
    }

    /// Notes what became of a key: its timer, its entry, and whether the step holds it.
    pub(crate) fn note(&mut self, slot: u32) {
        let Self { slots, entries, index, search, timers, .. } = self;
        let of = &mut slots[slot as usize];
        let deadline = search.deadline(&of.key);
        if of.timer != deadline {
            of.timer = deadline;
            timers.extend(deadline.map(|deadline| Reverse((deadline, slot))));
        }
        match (of.is_held, search.is_over(&of.key)) {
            (is_held, false) => {
                if !is_held {
                    index.hold(slot);
                    of.is_held = true;
                }
                entries.touch(slot);
            }
            (true, true) => {
                entries.remove(slot, || entry_key(slot, index));
                of.is_held = false;
                of.key = KeyRows::default();
                index.release(slot);
            }
            (false, true) => {}
        }
    }

    /// The least deadline, if there is one.
    pub(crate) fn next_deadline(&mut self) -> Option<i64> {
        while let Some(Reverse((deadline, slot))) = self.timers.peek().copied() {
            if self.slots[slot as usize].timer == Some(deadline) {
                return Some(deadline);
            }
            self.timers.pop();
        }
        None
    }

    /// The least deadline as it was last looked up.
    pub(crate) fn peek_deadline(&self) -> Option<i64> {
        self.timers.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// The keys whose deadline is not after `now`; they have none until they are noted again.
    pub(crate) fn take_due(&mut self, now: i64) -> Vec<u32> {
        let mut due = Vec::new();
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            let Some(Reverse((_, slot))) = self.timers.pop() else { break };
            self.slots[slot as usize].timer = None;
            due.push(slot);
        }
        due
    }

    fn own(&self) -> [u8; 8] {
        self.waiting.count.to_le_bytes()
    }

    /// Puts the rows of a key back. Its slot.
    fn read(&mut self, key: &[u8], mut rest: &[u8]) -> Option<u32> {
        let slot = self.index.slot_of_key(key)?;
        self.slots.resize_with(self.index.slots(), Slot::default);
        let mut of = KeyRows { matches: take_u64(&mut rest)?, ..KeyRows::default() };
        let mut place = || take_u32(&mut rest).map(|place| place as usize);
        (of.start, of.matched, of.judged) = (place()?, place()?, place()?);
        for _ in 0..take_u32(&mut rest)? {
            let moment = Moment { time: take_i64(&mut rest)?, number: take_u64(&mut rest)? };
            let holds = take_u64(&mut rest)?;
            let length = take_u32(&mut rest)? as usize;
            let row = self.rows.decode(take(&mut rest, length)?)?;
            of.rows.push_back(KeyRow { moment, row, holds });
        }
        of.arrived = of.rows.len();
        let is_sound = rest.is_empty() && of.start <= of.arrived && of.judged <= of.arrived;
        self.slots[slot as usize].key = of;
        self.note(slot);
        is_sound.then_some(slot)
    }
}

fn entry_key(slot: u32, index: &KeyIndex) -> Vec<u8> {
    let mut key = vec![ROWS];
    index.put_key(slot, &mut key);
    key
}

fn encode(slot: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, index: &KeyIndex, slots: &[Slot], kept: &Rows) {
    *key = entry_key(slot, index);
    let KeyRows { rows, start, judged, matched, matches, .. } = &slots[slot as usize].key;
    value.extend_from_slice(&matches.to_le_bytes());
    for place in [start, matched, judged, &rows.len()] {
        value.extend_from_slice(&(*place as u32).to_le_bytes());
    }
    for KeyRow { moment, row, holds } in rows {
        value.extend_from_slice(&moment.time.to_le_bytes());
        value.extend_from_slice(&moment.number.to_le_bytes());
        value.extend_from_slice(&holds.to_le_bytes());
        let at = value.len();
        value.extend_from_slice(&[0; 4]);
        kept.encode(*row, value);
        let length = (value.len() - at - 4) as u32;
        value[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

impl StepState for Kept {
    fn len(&self) -> usize {
        self.entries.len() + self.waiting.len()
    }

    fn changed_len(&self) -> usize {
        self.entries.changed_len() + self.waiting.changed_len() + usize::from(self.is_changed)
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let mut changes = self.waiting.take_some(most, save);
        let Self { index, entries, slots, rows, .. } = self;
        changes.extend(entries.take_some(most, save, |slot, key, value| encode(slot, key, value, index, slots, rows)));
        if std::mem::take(&mut self.is_changed) {
            changes.push(KeyChange::of_step([STEP], &self.own()));
        }
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let read = match key.split_first() {
            Some((&STEP, [])) => {
                let mut rest = value;
                let count = take_u64(&mut rest).filter(|_| rest.is_empty());
                count.map(|count| self.waiting.count = count)
            }
            Some((&WAITING, _)) => self.waiting.restore(key, value),
            Some((&ROWS, of)) => self.read(of, value).map(|slot| self.entries.restored(slot, key, value)),
            _ => None,
        };
        read.ok_or_else(|| corrupt(key, "rows of a match", 0))
    }

    fn checksum(&mut self) -> u64 {
        let own = checksum(checksum(0, &[STEP]), &self.own());
        let waiting = self.waiting.checksum();
        let Self { index, entries, slots, rows, .. } = self;
        let of_keys = entries.checksum(|slot, key, value| encode(slot, key, value, index, slots, rows));
        of_keys.wrapping_add(waiting).wrapping_add(own)
    }
}
