//! Keys whose times are in the store alone. A row reads those of its key first; when the first time of a place goes, all of that place are read.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Passed, key_of};
use crate::aggregate::bytes::{take_i64, take_u32};
use crate::cold::DATED_BYTES;
use crate::state::corrupt;
use crate::time::Watermark;
use crate::{ColdEntries, Save, Spills, StateCorrupt};

/// Fewer first times than these are not worth a look.
const FIRSTS_MIN: usize = 1024;

impl Passed {
    /// Room for the keys of rows, whose times are read if they left.
    pub(crate) fn warm(&mut self, slots: &[u32]) {
        self.resize();
        if self.cold.is_empty() {
            return;
        }
        let (mut cells, mut key) = (BTreeSet::new(), Vec::new());
        for slot in slots.iter().filter(|slot| self.times[**slot as usize].passed.is_empty()) {
            key.clear();
            self.index.put_key(*slot, &mut key);
            cells.extend(self.cold.cells_of(&key, ..));
        }
        let mut cold = std::mem::take(&mut self.cold);
        cold.take(&cells, |key, value, save| self.come_back(key, value, save));
        self.cold = cold;
    }

    /// Reads the keys that have a time to forget, and others of their places.
    pub(super) fn thaw(&mut self, watermark: Watermark) {
        if self.cold.is_empty() {
            return;
        }
        let mut cold = std::mem::take(&mut self.cold);
        cold.take_until(watermark.0, |key, value, save| self.come_back(key, value, save));
        self.cold = cold;
    }

    fn come_back(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        let slot = self.read(key, value)?;
        self.entries.come_back(slot, key, value, save);
        Ok(())
    }

    /// Lets a key leave, if it may: one that has soon to be looked at stays.
    fn let_go(&mut self, slot: u32, saved: Save) -> usize {
        let times = &self.times[slot as usize];
        let Some(first) = times.passed.first().filter(|_| times.place > self.watermark.0) else { return 0 };
        let Some(save) = self.entries.can_leave(slot, saved) else { return 0 };
        self.cold.left(&key_of(slot, &self.times, &self.index), save, first.saturating_add(self.keeps));
        self.entries.leave(slot);
        self.times[slot as usize].passed = Vec::new();
        self.index.release(slot);
        1
    }
}

impl Spills for Passed {
    fn spill_to(&mut self, store: Arc<dyn ColdEntries>) {
        self.cold.spill_to(store);
    }

    fn cold_len(&self) -> usize {
        self.entries.cold_len()
    }

    fn cold_bytes(&self) -> u64 {
        self.cold_len() as u64 * DATED_BYTES
    }

    fn spill(&mut self, saved: Save, most: usize) -> usize {
        if !self.cold.has_store() {
            return 0;
        }
        let mut hand = self.hand;
        let left = hand.go(self.times.len(), most, |slot| self.let_go(slot, saved));
        self.hand = hand;
        // First times of keys that left are no use, and more of them come each time one leaves.
        if self.firsts.len() > 2 * (self.entries.len() - self.entries.cold_len()) + FIRSTS_MIN {
            let firsts = (0u32..).zip(&self.times).filter_map(|(slot, times)| Some(Reverse((*times.passed.first()?, slot))));
            self.firsts = firsts.collect();
        }
        left
    }

    fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        let mut rest = value;
        let first = take_u32(&mut rest).and_then(|_| take_i64(&mut rest)).ok_or_else(|| corrupt(key, "times", 0))?;
        self.entries.restored_cold(key, value);
        self.cold.left(key, save, first.saturating_add(self.keeps));
        Ok(())
    }
}
