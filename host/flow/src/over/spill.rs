//! Keys of `over` whose rows before are in the store alone. A row that is let out reads those of its key first.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{BEFORE, Before, OverState, before_key};
use crate::cold::STUB_BYTES;
use crate::state::corrupt;
use crate::{ColdEntries, Save, Spills, StateCorrupt, StepState};

impl OverState {
    /// Reads the rows before of keys that left.
    pub(super) fn warm(&mut self, slots: &[u32]) {
        if self.cold.is_empty() {
            return;
        }
        let absent = slots.iter().filter(|slot| self.before[**slot as usize].is_empty());
        let keys: BTreeSet<Vec<u8>> =
            absent.map(|slot| before_key(*slot, &self.index)).filter(|key| self.cold.has(key)).collect();
        let mut cold = std::mem::take(&mut self.cold);
        cold.take(&keys, |key, value, save| {
            let mut rest = value;
            let slot = self.read_before(&key[1..], &mut rest);
            let slot = slot.ok_or_else(|| corrupt(key, "rows", value.len() - rest.len()))?;
            self.before_entries.come_back(slot, key, value, save);
            Ok::<(), StateCorrupt>(())
        });
        self.cold = cold;
    }

    /// Lets the rows before of a key leave, if they may.
    fn let_go(&mut self, slot: u32, saved: Save) -> usize {
        let before = &mut self.before[slot as usize];
        let Some(save) = self.before_entries.can_leave(slot, saved).filter(|_| !before.is_empty()) else { return 0 };
        for Before { row, .. } in std::mem::take(before) {
            self.arguments.remove(row);
        }
        self.cold.left(&before_key(slot, &self.index), save);
        self.before_entries.leave(slot);
        self.index.release(slot);
        1
    }
}

impl Spills for OverState {
    fn spill_to(&mut self, store: Arc<dyn ColdEntries>) {
        self.cold.spill_to(store);
    }

    fn cold_len(&self) -> usize {
        self.before_entries.cold_len()
    }

    fn cold_bytes(&self) -> u64 {
        self.cold_len() as u64 * STUB_BYTES
    }

    fn spill(&mut self, saved: Save, most: usize) -> usize {
        if !self.cold.has_store() {
            return 0;
        }
        let mut hand = self.hand;
        let left = hand.go(self.before.len(), most, |slot| self.let_go(slot, saved));
        self.hand = hand;
        left
    }

    fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        if key.first() != Some(&BEFORE) {
            return self.restore_entry(key, value);
        }
        self.before_entries.restored_cold(key, value);
        self.cold.left(key, save);
        Ok(())
    }
}
