//! Rows of windows that are in the store alone: those of a slice come back together, when a window that has it is due or the slice goes.

use std::ops::Range;
use std::sync::Arc;

use super::kept::{ROW, ROW_FIELDS, WindowJoined};
use crate::cold::{DATED_BYTES, LOOKS, take_place};
use crate::join::Side;
use crate::join::output::NO_KEY;
use crate::state::corrupt;
use crate::{ColdEntries, Save, Spills, StateCorrupt, StepState};

impl WindowJoined {
    /// Reads what is not in memory of the slices that begin there.
    pub(super) fn thaw(&mut self, starts: Range<i64>) {
        for side in [Side::Left, Side::Right] {
            if self.side(side).cold.is_empty() {
                continue;
            }
            let mut cold = std::mem::take(&mut self.side(side).cold);
            cold.take_places(starts.clone(), |key, value, save| {
                let (side, row) = self.read(key, value).ok_or_else(|| corrupt(key, ROW_FIELDS, 0))?;
                self.side(side).entries.come_back(row, key, value, save);
                Ok::<(), StateCorrupt>(())
            });
            self.side(side).cold = cold;
        }
    }

    /// Lets rows of a slice leave that may. How many rows were looked at, and how many left.
    fn let_go(&mut self, start: i64, saved: Save, most: usize) -> (usize, usize) {
        let Self { slicing, index, left, right, slices, .. } = self;
        let Some(slice) = slices.get_mut(&start) else { return (0, 0) };
        let (mut looked, mut gone) = (0, 0);
        for (side, state) in [(Side::Left, left), (Side::Right, right)] {
            slice.of(side).retain(|slot, rows| {
                rows.retain(|row| {
                    looked += 1;
                    let Some(save) = state.entries.can_leave(*row, saved).filter(|_| gone < most) else { return true };
                    state.cold.left(&state.kept[*row as usize].key(side, slicing), save, start);
                    state.entries.leave(*row);
                    state.rows.remove(*row);
                    if *slot != NO_KEY {
                        index.release(*slot);
                    }
                    gone += 1;
                    false
                });
                !rows.is_empty()
            });
        }
        (looked, gone)
    }
}

impl Spills for WindowJoined {
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

    /// Slice by slice, those that are needed last first.
    fn spill(&mut self, saved: Save, most: usize) -> usize {
        if !self.left.cold.has_store() {
            return 0;
        }
        let before = self.slices.range(..self.hand).rev();
        let starts: Vec<i64> = before.chain(self.slices.range(self.hand..).rev()).map(|(start, _)| *start).collect();
        let (mut looked, mut left) = (0, 0);
        for start in starts {
            let (looked_here, left_here) = self.let_go(start, saved, most - left);
            (looked, left) = (looked + looked_here, left + left_here);
            if left >= most {
                break;
            }
            self.hand = start;
            if looked >= most.saturating_mul(LOOKS) {
                break;
            }
        }
        if left > 0 {
            self.left.compact();
            self.right.compact();
        }
        left
    }

    fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        let (&[ROW, side], Some(start)) =
            (key.first_chunk::<2>().unwrap_or(&[0; 2]), key.get(2..).and_then(|mut rest| take_place(&mut rest)))
        else {
            return self.restore_entry(key, value);
        };
        self.slices.entry(start).or_default();
        let side = self.side(if side == 0 { Side::Left } else { Side::Right });
        side.entries.restored_cold(key, value);
        side.cold.left(key, save, start);
        Ok(())
    }
}
