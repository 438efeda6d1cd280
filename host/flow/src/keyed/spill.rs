//! Keys whose state is in the store alone. A call reads those of its rows first.
//!
//! Entries with a time to live stay in memory: when they expire has to be known without reading them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::{CHANGED, FIRST, KeyedTable, LIVE, STALE, STORED};
use crate::checksum::checksum;
use crate::cold::STUB_BYTES;
use crate::keys::KeyColumn;
use crate::{ColdEntries, Save, Spills, StateCorrupt, StepState};

impl KeyedTable {
    /// Reads the entries of the rows' keys that left.
    pub(crate) fn warm(&mut self, rows: &RecordBatch, by: &[Arc<str>]) {
        if self.cold.is_empty() {
            return;
        }
        let columns = KeyColumn::of(rows, by);
        let (mut key, mut keys) = (Vec::new(), BTreeSet::new());
        for row in 0..rows.num_rows() {
            key.clear();
            columns.iter().for_each(|column| column.write(row, &mut key));
            if self.cold.has(&key) && !keys.contains(&key) {
                keys.insert(key.clone());
            }
        }
        let mut cold = std::mem::take(&mut self.cold);
        cold.take(&keys, |key, value, save| self.come_back(key, value, save));
        self.cold = cold;
    }

    fn come_back(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        let slot = self.insert(key);
        self.read(slot, key, value)?;
        let at = slot as usize;
        self.flags[at] = LIVE | STORED;
        self.saves[at] = save;
        // It never left the sum.
        self.parts[at] = checksum(checksum(0, key), value);
        self.cold_len -= 1;
        Ok(())
    }

    /// Lets a key leave, if it may.
    fn let_go(&mut self, slot: u32, saved: Save) -> usize {
        let (flags, save) = (self.flags[slot as usize], self.saves[slot as usize]);
        if slot == FIRST || flags & (LIVE | STORED | CHANGED | STALE) != LIVE | STORED || save > saved {
            return 0;
        }
        let key = self.free_slot(slot);
        self.cold.left(&key, save);
        self.cold_len += 1;
        1
    }
}

impl Spills for KeyedTable {
    fn spill_to(&mut self, store: Arc<dyn ColdEntries>) {
        self.cold.spill_to(store);
    }

    fn cold_len(&self) -> usize {
        usize::try_from(self.cold_len).unwrap_or(0)
    }

    fn cold_bytes(&self) -> u64 {
        Spills::cold_len(self) as u64 * STUB_BYTES
    }

    fn spill(&mut self, saved: Save, most: usize) -> usize {
        if !self.cold.has_store() || self.expiries.is_some() {
            return 0;
        }
        let mut hand = self.hand;
        let left = hand.go(self.keys.len(), most, |slot| self.let_go(slot, saved));
        self.hand = hand;
        left
    }

    fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        if self.expiries.is_some() {
            return self.restore_entry(key, value);
        }
        self.sum = self.sum.wrapping_add(checksum(checksum(0, key), value));
        self.cold_len += 1;
        self.cold.stays(key, save);
        Ok(())
    }

    fn list_later(&mut self, up_to: Option<&[u8]>) -> bool {
        let can = self.expiries.is_none();
        if can {
            self.cold.list_later(up_to);
        }
        can
    }

    fn has_listed(&mut self) {
        self.cold.has_listed();
    }
}
