//! Keys of count windows that are in the store alone. A row reads its key first.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Counting, key_of};
use crate::cold::STUB_BYTES;
use crate::{ColdEntries, Save, Spills, StateCorrupt};

impl Counting {
    /// Reads keys that left.
    pub(super) fn warm(&mut self, slots: &[u32]) {
        if self.cold.is_empty() {
            return;
        }
        let absent = slots.iter().filter(|slot| !self.filling[**slot as usize].is_known);
        let keys: BTreeSet<Vec<u8>> = absent.map(|slot| key_of(*slot, &self.index)).filter(|key| self.cold.has(key)).collect();
        let mut cold = std::mem::take(&mut self.cold);
        cold.take(&keys, |key, value, save| {
            let slot = self.read(key, value)?;
            self.entries.come_back(slot, key, value, save);
            Ok::<(), StateCorrupt>(())
        });
        self.cold = cold;
    }

    /// Lets a key leave, if it may.
    fn let_go(&mut self, slot: u32, saved: Save) -> usize {
        let filling = &mut self.filling[slot as usize];
        let Some(save) = self.entries.can_leave(slot, saved).filter(|_| filling.is_known) else { return 0 };
        let filling = std::mem::take(filling);
        if filling.rows > 0 {
            self.aggregates.release(filling.group);
        }
        self.cold.left(&key_of(slot, &self.index), save);
        self.entries.leave(slot);
        self.index.release(slot);
        1
    }
}

impl Spills for Counting {
    fn spill_to(&mut self, store: Arc<dyn ColdEntries>) {
        self.cold.spill_to(store);
    }

    fn cold_len(&self) -> usize {
        self.entries.cold_len()
    }

    fn cold_bytes(&self) -> u64 {
        self.cold_len() as u64 * STUB_BYTES
    }

    fn spill(&mut self, saved: Save, most: usize) -> usize {
        if !self.cold.has_store() {
            return 0;
        }
        let mut hand = self.hand;
        let left = hand.go(self.filling.len(), most, |slot| self.let_go(slot, saved));
        self.hand = hand;
        left
    }

    fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        self.entries.restored_cold(key, value);
        self.cold.stays(key, save);
        Ok(())
    }

    fn list_later(&mut self, up_to: Option<&[u8]>) -> bool {
        self.cold.list_later(up_to);
        true
    }

    fn has_listed(&mut self) {
        self.cold.has_listed();
    }
}
