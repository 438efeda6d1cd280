//! Keys of count windows that are in the store alone. A row reads its key first.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Counting, key_of};
use crate::{ColdEntries, Save, Spills, StateCorrupt};

/// Slots that one call looks at, at most, for each that may leave.
const LOOKS: usize = 4;

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
}

impl Spills for Counting {
    fn spill_to(&mut self, store: Arc<dyn ColdEntries>) {
        self.cold.spill_to(store);
    }

    fn cold_len(&self) -> usize {
        self.entries.cold_len()
    }

    fn spill(&mut self, saved: Save, most: usize) -> usize {
        let slots = self.filling.len();
        if !self.cold.has_store() || slots == 0 {
            return 0;
        }
        let mut left = 0;
        for _ in 0..most.saturating_mul(LOOKS).min(slots) {
            if left == most {
                break;
            }
            self.hand = (self.hand + 1) % slots;
            let slot = self.hand as u32;
            if !self.filling[self.hand].is_known {
                continue;
            }
            let Some(save) = self.entries.can_leave(slot, saved) else { continue };
            let filling = std::mem::take(&mut self.filling[self.hand]);
            if filling.rows > 0 {
                self.aggregates.release(filling.group);
            }
            self.cold.left(&key_of(slot, &self.index), save);
            self.entries.leave(slot);
            self.index.release(slot);
            left += 1;
        }
        left
    }

    fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        self.entries.restored_cold(key, value);
        self.cold.left(key, save);
        Ok(())
    }
}
