//! Sessions that are in the store alone. A row reads those of its key first; when the first of a place ends, all of that place are read.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::sessions::Sessions;
use crate::aggregate::bytes::take_i64;
use crate::cold::DATED_BYTES;
use crate::state::corrupt;
use crate::time::Watermark;
use crate::{ColdEntries, Save, Spills, StateCorrupt};

impl Sessions {
    /// Room for the keys of rows, whose sessions are read if they left.
    pub(super) fn warm(&mut self, slots: &[u32]) {
        self.resize();
        if self.cold.is_empty() {
            return;
        }
        let slots: BTreeSet<u32> = slots.iter().copied().collect();
        let (mut cells, mut key) = (BTreeSet::new(), Vec::new());
        for slot in slots {
            key.clear();
            self.index.put_key(slot, &mut key);
            cells.extend(self.cold.cells_of(&key, ..));
        }
        let mut cold = std::mem::take(&mut self.cold);
        cold.take(&cells, |key, value, save| self.come_back(key, value, save));
        self.cold = cold;
    }

    /// Reads the sessions that the watermark has passed, and others of their places.
    pub(super) fn thaw(&mut self, watermark: Watermark) {
        let Some(ended) = watermark.0.checked_sub(1).filter(|_| !self.cold.is_empty()) else { return };
        let mut cold = std::mem::take(&mut self.cold);
        cold.take_until(ended, |key, value, save| self.come_back(key, value, save));
        self.cold = cold;
    }

    fn come_back(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        let group = self.read(key, value)?;
        self.entries.come_back(group, key, value, save);
        Ok(())
    }
}

impl Spills for Sessions {
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
        let left = hand.go(self.groups(), most, |group| self.let_go(group, saved));
        self.hand = hand;
        self.forget_timers();
        left
    }

    fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        let until = take_i64(&mut &*value).ok_or_else(|| corrupt(key, "until", 0))?;
        self.entries.restored_cold(key, value);
        self.cold.left(key, save, until);
        Ok(())
    }
}
