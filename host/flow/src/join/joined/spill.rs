//! Kept rows that are in the store alone. A row of the other side reads those of its key near it; when the first of a place is to be forgotten,
//! all of that place are read. Rows whose key has a null stay: they are in no list.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Joined, PLACE_BYTES, ROW, ROW_FIELDS, SideState};
use crate::cold::{DATED_BYTES, place_of};
use crate::group::KeyIndex;
use crate::group::ordered::plain_int;
use crate::join::Side;
use crate::join::output::NO_KEY;
use crate::state::corrupt;
use crate::time::Watermark;
use crate::{ColdEntries, Save, Spills, StateCorrupt, StepState};

/// Fewer places in a queue are not worth a look.
const QUEUE_MIN: usize = 1024;

impl Joined {
    /// Reads the rows of the other side that left and that new rows of `side` may go with: those from `low` before their times to `high` behind them,
    /// where there are such bounds.
    pub(crate) fn warm(&mut self, side: Side, new: &[(u32, u32)], (low, high): (Option<i64>, Option<i64>)) {
        let Self { index, left, right, spread, .. } = self;
        let (own, other, which) = if side == Side::Left { (left, right, Side::Right) } else { (right, left, Side::Left) };
        if other.cold.is_empty() {
            return;
        }
        let (mut cells, mut key) = (BTreeSet::new(), Vec::new());
        for (row, _) in new {
            let kept = own.kept[*row as usize];
            if kept.slot == NO_KEY {
                continue;
            }
            key.clear();
            index.put_key(kept.slot, &mut key);
            let from = low.map_or(i64::MIN, |low| place_of(kept.time.saturating_add(low), spread.unwrap_or(0)));
            let to = high.map_or(i64::MAX, |high| kept.time.saturating_add(high));
            cells.extend(other.cold.cells_of(&key, from..=to));
        }
        let mut cold = std::mem::take(&mut other.cold);
        cold.take(&cells, |key, value, save| self.come_back(key, value, save));
        self.side(which).cold = cold;
    }

    /// Reads the rows that are to be forgotten, and others of their places.
    pub(crate) fn thaw(&mut self, watermark: Watermark) {
        let Some(passed) = watermark.0.checked_sub(1) else { return };
        for side in [Side::Left, Side::Right] {
            if self.side(side).cold.is_empty() {
                continue;
            }
            let mut cold = std::mem::take(&mut self.side(side).cold);
            cold.take_until(passed, |key, value, save| self.come_back(key, value, save));
            self.side(side).cold = cold;
        }
    }

    pub(super) fn come_back(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        let (side, row) = self.read(key, value).ok_or_else(|| corrupt(key, ROW_FIELDS, 0))?;
        self.side(side).entries.come_back(row, key, value, save);
        Ok(())
    }
}

impl SideState {
    /// When the next row is to be forgotten, or earlier.
    pub(crate) fn first_time(&self) -> Option<i64> {
        let queued = self.queue.peek().map(|Reverse((time, ..))| self.last_instant(*time));
        queued.into_iter().chain(self.cold.first()).min()
    }

    fn spill(&mut self, side: Side, index: &mut KeyIndex, saved: Save, most: usize) -> usize {
        if !self.cold.has_store() || most == 0 {
            return 0;
        }
        let (mut hand, mut rest) = (self.hand, most);
        let left = hand.go(self.lists.len(), most, |slot| {
            let left = self.let_go(side, slot, index, saved, rest);
            rest -= left;
            left
        });
        self.hand = hand;
        if left > 0 {
            self.compact();
        }
        // Places of rows that left are no use, and more of them come each time one leaves.
        if self.queue.len() > 2 * (self.entries.len() - self.entries.cold_len()) + QUEUE_MIN {
            let live = (0u32..).zip(&self.kept).filter(|(row, _)| self.entries.is_live(*row));
            self.queue = live.map(|(row, kept)| Reverse((kept.time, kept.number, row))).collect();
        }
        left
    }

    /// Lets so many rows of a key leave, if they may.
    fn let_go(&mut self, side: Side, slot: u32, index: &mut KeyIndex, saved: Save, most: usize) -> usize {
        let list = std::mem::take(&mut self.lists[slot as usize]);
        let (mut left, mut stays) = (0, list.clone());
        stays.clear();
        for row in list {
            let kept = self.kept[row as usize];
            let Some(save) = self.entries.can_leave(row, saved).filter(|_| left < most) else {
                stays.push_back(row);
                continue;
            };
            self.cold.left(&kept.key(side, index), save, self.last_instant(kept.time));
            self.entries.leave(row);
            self.rows.remove(row);
            left += 1;
        }
        self.lists[slot as usize] = stays;
        (0..left).for_each(|_| index.release(slot));
        left
    }
}

impl Spills for Joined {
    fn spill_to(&mut self, store: Arc<dyn ColdEntries>) {
        self.left.cold.spill_to(store.clone());
        self.right.cold.spill_to(store);
    }

    fn cold_len(&self) -> usize {
        self.left.entries.cold_len() + self.right.entries.cold_len()
    }

    fn cold_bytes(&self) -> u64 {
        self.cold_len() as u64 * DATED_BYTES
    }

    fn spill(&mut self, saved: Save, most: usize) -> usize {
        let Self { index, left, right, .. } = self;
        let of_left = left.spill(Side::Left, index, saved, most);
        of_left + right.spill(Side::Right, index, saved, most - of_left.min(most))
    }

    fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        let order = key.split_last_chunk::<PLACE_BYTES>().and_then(|(_, order)| order.first_chunk::<8>());
        let (&[ROW, side], Some(time)) = (key.first_chunk::<2>().unwrap_or(&[0; 2]), order) else {
            return self.restore_entry(key, value);
        };
        let side = self.side(if side == 0 { Side::Left } else { Side::Right });
        let instant = side.last_instant(plain_int(u64::from_be_bytes(*time)));
        side.entries.restored_cold(key, value);
        side.cold.left(key, save, instant);
        Ok(())
    }
}
