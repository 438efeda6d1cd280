//! The rows that a window join keeps: by slice and key, and as entries.
//!
//! ```text
//! stored key     ROW │ side │ slice start │ time │ number
//! stored value   the first window end it counts for │ row
//! ```
//! A row that comes looks for no partner before its window ends, so entries need not be found by key: what left memory comes back by slices.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use hashbrown::HashMap;
use tidemill_event::Field;

use crate::aggregate::bytes::{take_i64, take_u8, take_u64};
use crate::batch::assemble;
use crate::checksum::checksum;
use crate::cold::{Dated, put_place, take_place};
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::group::ordered::{ordered_int, plain_int};
use crate::join::asked::{WaitingRow, waiting_rows};
use crate::join::output::{NO_KEY, key_slots};
use crate::join::{JoinSide, Side};
use crate::rows::Rows;
use crate::state::corrupt;
use crate::time::Watermark;
use crate::{KeyChange, KeyState, Save, Slicing, Spills, StateCorrupt, StepState};

/// What the keys of kept rows begin with in the store.
pub(super) const ROW: u8 = 6;
/// Behind a stored key's slice: time and number.
const ORDER_BYTES: usize = 16;
/// What a row's entry says.
pub(super) const ROW_FIELDS: &str = "a row of a join";
/// The entry of the step itself.
const STEP: u8 = 0xff;
/// Rows that are read for somebody who asks about a key.
const READ_MAX: usize = 100_000;

/// A row that is kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    pub(super) time: i64,
    /// Which row of its side it was, from 0.
    pub(super) number: u64,
    pub(super) slot: u32,
    /// It counts for windows that end there or later.
    pub(super) from: i64,
}

/// One side's rows.
pub(super) struct SideState {
    pub(super) key: Vec<Field>,
    pub(super) rows: Rows,
    pub(super) kept: Vec<Kept>,
    pub(super) entries: Entries,
    pub(super) cold: Dated,
    pub(super) count: u64,
}

/// The rows of a slice by slot, of either side; `NO_KEY` for those whose key has a null.
#[derive(Debug, Default)]
pub(super) struct Slice {
    left: HashMap<u32, Vec<u32>, ahash::RandomState>,
    right: HashMap<u32, Vec<u32>, ahash::RandomState>,
}

/// The rows of both sides.
pub(super) struct WindowJoined {
    pub(super) slicing: Slicing,
    pub(super) index: KeyIndex,
    pub(super) left: SideState,
    pub(super) right: SideState,
    /// By where they begin; also those all of whose rows left memory.
    pub(super) slices: BTreeMap<i64, Slice>,
    /// The slice whose rows are the next to leave is before this one.
    pub(super) hand: i64,
    /// Windows that end there or before have come out.
    pub(super) emitted: i64,
    pub(super) is_changed: bool,
}

impl Slice {
    pub(super) fn of(&mut self, side: Side) -> &mut HashMap<u32, Vec<u32>, ahash::RandomState> {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }
}

impl Kept {
    pub(super) fn key(&self, side: Side, slicing: &Slicing) -> Vec<u8> {
        let mut key = vec![ROW, side as u8];
        put_place(slicing.stretch(self.time).start, &mut key);
        key.extend_from_slice(&ordered_int(self.time).to_be_bytes());
        key.extend_from_slice(&self.number.to_be_bytes());
        key
    }
}

impl SideState {
    fn new(which: Side, side: JoinSide) -> Self {
        Self {
            key: side.key,
            rows: Rows::new(side.fields),
            kept: Vec::new(),
            entries: Entries::default(),
            cold: Dated::new(&[ROW, which as u8], ORDER_BYTES),
            count: 0,
        }
    }

    /// Gathers the rows anew, if most of what is held is needed no more.
    pub(super) fn compact(&mut self) {
        let Self { rows, entries, .. } = self;
        rows.compact((0..rows.slots() as u32).filter(|row| entries.is_live(*row)));
    }

    fn keep(&mut self, row: u32, kept: Kept) {
        self.kept.resize(self.rows.slots(), Kept::default());
        self.kept[row as usize] = kept;
    }

    /// Rows of a window in the order of (time, arrival), those that count for it.
    fn of_window(&self, rows: impl Iterator<Item = u32>, end: i64) -> Vec<u32> {
        let mut rows: Vec<u32> = rows.filter(|row| self.kept[*row as usize].from <= end).collect();
        rows.sort_by_key(|row| (self.kept[*row as usize].time, self.kept[*row as usize].number));
        rows
    }

    fn encode(
        (side, row): (Side, u32),
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
        (kept, rows, slicing): (&[Kept], &Rows, &Slicing),
    ) {
        *key = kept[row as usize].key(side, slicing);
        value.extend_from_slice(&kept[row as usize].from.to_le_bytes());
        rows.encode(row, value);
    }

    fn take_some(&mut self, side: Side, slicing: &Slicing, most: usize, save: Save) -> Vec<KeyChange> {
        let Self { entries, kept, rows, .. } = self;
        entries.take_some(most, save, |row, key, value| Self::encode((side, row), key, value, (kept, rows, slicing)))
    }

    fn checksum(&mut self, side: Side, slicing: &Slicing) -> u64 {
        let Self { entries, kept, rows, .. } = self;
        entries.checksum(|row, key, value| Self::encode((side, row), key, value, (kept, rows, slicing)))
    }
}

impl WindowJoined {
    /// Nothing, for keys of the left side's columns.
    pub(super) fn new(slicing: Slicing, index: KeyIndex, left: JoinSide, right: JoinSide) -> Self {
        Self {
            slicing,
            index,
            left: SideState::new(Side::Left, left),
            right: SideState::new(Side::Right, right),
            slices: BTreeMap::new(),
            hand: i64::MAX,
            emitted: i64::MIN,
            is_changed: false,
        }
    }

    pub(super) fn side(&mut self, side: Side) -> &mut SideState {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// A row into its slice.
    pub(super) fn keep(&mut self, side: Side, row: u32, kept: Kept, start: i64) {
        if kept.slot != NO_KEY {
            self.index.hold(kept.slot);
        }
        self.slices.entry(start).or_default().of(side).entry(kept.slot).or_default().push(row);
        self.side(side).keep(row, kept);
    }

    /// The end of the next window that has a row.
    pub(super) fn next_end(&self) -> Option<i64> {
        let stretches = self.slices.keys().map(|start| self.slicing.stretch(*start));
        let stretch = stretches.into_iter().find(|stretch| stretch.last > self.emitted)?;
        Some(stretch.first.max(self.slicing.next_end(self.emitted)))
    }

    /// The keys of a window, in their order, with their rows.
    pub(super) fn keys(&self, start: i64, end: i64) -> Vec<(u32, Vec<u32>, Vec<u32>)> {
        let slices: Vec<&Slice> = self.slices.range(start..end).map(|(_, slice)| slice).collect();
        let mut slots: Vec<u32> = slices.iter().flat_map(|slice| slice.left.keys().chain(slice.right.keys())).copied().collect();
        slots.sort_unstable();
        slots.dedup();
        let without_key = slots.pop_if(|slot| *slot == NO_KEY);
        self.index.sort(&mut slots, |slot| *slot);
        let rows = |slot: u32| {
            let left = slices.iter().filter_map(|slice| slice.left.get(&slot)).flatten().copied();
            let right = slices.iter().filter_map(|slice| slice.right.get(&slot)).flatten().copied();
            (slot, self.left.of_window(left, end), self.right.of_window(right, end))
        };
        without_key.into_iter().chain(slots).map(rows).collect()
    }

    /// Slices whose last window has ended go.
    pub(super) fn forget(&mut self, watermark: Watermark) {
        let slicing = self.slicing;
        // Each of their rows has to be told to the store.
        if let Some(end) = self.slices.keys().take_while(|start| slicing.stretch(**start).last <= watermark.0).last().copied() {
            self.thaw(i64::MIN..end.saturating_add(1));
        }
        while let Some(entry) = self.slices.first_entry().filter(|entry| slicing.stretch(*entry.key()).last <= watermark.0) {
            let mut slice = entry.remove();
            for side in [Side::Left, Side::Right] {
                for row in slice.of(side).drain().flat_map(|(_, rows)| rows) {
                    let state = self.side(side);
                    let kept = state.kept[row as usize];
                    state.entries.remove(row, || kept.key(side, &slicing));
                    state.rows.remove(row);
                    if kept.slot != NO_KEY {
                        self.index.release(kept.slot);
                    }
                }
            }
        }
        self.left.compact();
        self.right.compact();
    }
}

impl WindowJoined {
    fn own(&self) -> Vec<u8> {
        let mut bytes = self.emitted.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.left.count.to_le_bytes());
        bytes.extend_from_slice(&self.right.count.to_le_bytes());
        bytes
    }

    fn read_own(&mut self, mut bytes: &[u8]) -> Option<()> {
        let (emitted, left, right) = (take_i64(&mut bytes)?, take_u64(&mut bytes)?, take_u64(&mut bytes)?);
        (self.emitted, self.left.count, self.right.count) = (emitted, left, right);
        bytes.is_empty().then_some(())
    }

    /// Puts a row back. It, which is no entry yet.
    pub(super) fn read(&mut self, mut key: &[u8], mut value: &[u8]) -> Option<(Side, u32)> {
        let (ROW, side) = (take_u8(&mut key)?, take_u8(&mut key)?) else { return None };
        let side = match side {
            0 => Side::Left,
            1 => Side::Right,
            _ => return None,
        };
        let start = take_place(&mut key)?;
        let (time, number) = key.split_first_chunk::<8>()?;
        let (time, number) = (plain_int(u64::from_be_bytes(*time)), u64::from_be_bytes(*<&[u8; 8]>::try_from(number).ok()?));
        let from = take_i64(&mut value)?;
        let state = self.side(side);
        let row = state.rows.decode(value)?;
        let fields = state.rows.fields().iter().map(|field| Arc::new(field.arrow().with_nullable(true))).collect();
        let batch = assemble(fields, state.rows.gather([Some(row)].into_iter()), 1);
        let of_key = state.key.clone();
        let slot = key_slots(&mut self.index, &of_key, &batch)[0];
        self.keep(side, row, Kept { time, number, slot, from }, start);
        Some((side, row))
    }
}

impl StepState for WindowJoined {
    fn len(&self) -> usize {
        self.left.entries.len() + self.right.entries.len()
    }

    fn changed_len(&self) -> usize {
        self.left.entries.changed_len() + self.right.entries.changed_len() + usize::from(self.is_changed)
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let mut changes = self.left.take_some(Side::Left, &self.slicing, most, save);
        changes.extend(self.right.take_some(Side::Right, &self.slicing, most, save));
        if std::mem::take(&mut self.is_changed) {
            changes.push(KeyChange::of_step([STEP], &self.own()));
        }
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        if key == [STEP] {
            return self.read_own(value).ok_or_else(|| corrupt(key, "emitted, rows left, rows right", 0));
        }
        let (side, row) = self.read(key, value).ok_or_else(|| corrupt(key, ROW_FIELDS, 0))?;
        self.side(side).entries.restored(row, key, value);
        Ok(())
    }

    fn checksum(&mut self) -> u64 {
        let own = checksum(checksum(0, &[STEP]), &self.own());
        let rows = self.left.checksum(Side::Left, &self.slicing).wrapping_add(self.right.checksum(Side::Right, &self.slicing));
        rows.wrapping_add(own)
    }

    fn spills(&mut self) -> Option<&mut dyn Spills> {
        Some(self)
    }

    /// Rows that have left memory lie by their slices and not by key: all of them are read, unless they are too many to be.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        if self.cold_len() > READ_MAX {
            return None;
        }
        self.thaw(i64::MIN..i64::MAX);
        let slot = self.index.asked(key);
        let of = |side: Side| {
            let state = if side == Side::Left { &self.left } else { &self.right };
            let slices = self.slices.values().map(move |slice| if side == Side::Left { &slice.left } else { &slice.right });
            let rows = slices.filter_map(move |slice| slice.get(&slot)).flatten();
            rows.map(move |row| WaitingRow { side, row: *row, time: state.kept[*row as usize].time, has_match: None })
        };
        let mut rows: Vec<WaitingRow> = of(Side::Left).chain(of(Side::Right)).collect();
        rows.sort_by_key(|row| (row.side == Side::Right, row.time));
        Some(waiting_rows(&rows, (&self.left.rows, &self.right.rows)))
    }
}
