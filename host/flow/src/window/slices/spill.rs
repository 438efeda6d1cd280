//! Slices whose keys are partly in the store.
//!
//! ```text
//! a row of a key that left its slice     that entry is read, then the row counts
//! a pane is due, or a slice goes         all entries of its slices are read: one scan each, in the order of keys
//! ```
//! So accumulators are whole whenever anything is computed of them, and every aggregate may leave memory. What must be in memory at once is
//! the slices of one pane.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use arrow_array::RecordBatch;
use hashbrown::HashTable;

use crate::Save;
use crate::cold::{Cold, LOOKS};
use crate::state::corrupt;
use crate::window::asked::asked;
use crate::window::slices::{PartId, SLICE, Slices, key_of, key_of_part};

impl Slices {
    pub(crate) fn cold(&mut self) -> &mut Cold {
        &mut self.cold
    }

    pub(crate) fn cold_len(&self) -> usize {
        self.entries.cold_len()
    }

    /// Reads the entries of the rows under way that are not in memory.
    pub(super) fn warm(&mut self, runs: &[(usize, PartId)]) {
        let mut keys = BTreeSet::new();
        let mut rest = &self.slots[..];
        for (count, id) in runs {
            let (run, behind) = rest.split_at(*count);
            rest = behind;
            let Some(part) = self.parts.get(id).filter(|part| part.cold > 0 || part.is_unlisted) else { continue };
            for slot in run.iter().filter(|slot| self.recent[**slot as usize].0 != part.number) {
                if part.table.find(self.hasher.hash_one(slot), |member| member.slot == *slot).is_none() {
                    let key = key_of(*id, *slot, &self.index);
                    if self.cold.has(&key) {
                        keys.insert(key);
                    }
                }
            }
        }
        if keys.is_empty() {
            return;
        }
        let mut cold = std::mem::take(&mut self.cold);
        cold.take(&keys, |key, value, save| self.come_back(key, value, save));
        self.cold = cold;
    }

    /// Reads every entry of a part that is not in memory.
    pub(super) fn thaw(&mut self, id: PartId) {
        let Some(part) = self.parts.get_mut(&id) else { return };
        let is_unlisted = std::mem::take(&mut part.is_unlisted) && self.cold.is_listing();
        if part.cold <= 0 && !is_unlisted {
            return;
        }
        let mut cold = std::mem::take(&mut self.cold);
        cold.take_all(&key_of_part(id), |key, value, save| self.come_back(key, value, save));
        self.cold = cold;
        if let Some(part) = self.parts.get(&id).filter(|part| part.cold > 0) {
            self.cold.is_lost(&format!("{} entries of a window are not in the store", part.cold));
        }
    }

    /// Reads what is not in memory of the parts that begin in `[start, end)`.
    pub(crate) fn thaw_between(&mut self, start: i64, end: i64) {
        if self.cold.is_empty() {
            return;
        }
        let range = PartId { start, from: i64::MIN }..PartId { start: end.max(start), from: i64::MIN };
        let ids: Vec<PartId> =
            self.parts.range(range).filter(|(_, part)| part.cold > 0 || part.is_unlisted).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.thaw(id));
    }

    /// The slot of a key that somebody asks for, with all that is kept of it in memory.
    pub(crate) fn asked(&mut self, key: &RecordBatch) -> u32 {
        asked(
            self,
            key,
            |slices| &mut slices.index,
            |slices, slots| {
                let of_parts = slices.parts.iter().filter(|(_, part)| part.cold > 0 || part.is_unlisted);
                let keys =
                    of_parts.map(|(id, _)| key_of(*id, slots[0], &slices.index)).filter(|key| slices.cold.has(key)).collect();
                let mut cold = std::mem::take(&mut slices.cold);
                cold.take(&keys, |key, value, save| slices.come_back(key, value, save));
                slices.cold = cold;
            },
        )
    }

    fn come_back(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), crate::StateCorrupt> {
        let placed = self.place(key, value).and_then(|(group, read)| read.map(|()| group));
        let group = placed.map_err(|at_byte| {
            let fields: Vec<&str> = self.aggregates.fields().map(|field| &*field.name).collect();
            corrupt(key, &fields.join(", "), at_byte)
        })?;
        self.entries.come_back(group, key, value, save);
        self.recent.resize(self.index.slots(), (0, 0));
        let (id, _) = self.owners[group as usize];
        if let Some(part) = self.parts.get_mut(&id) {
            part.cold -= 1;
        }
        Ok(())
    }

    /// An entry that is not read.
    pub(crate) fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) {
        let Some((id, _)) = super::part_of(key) else { return };
        let Self { parts, numbers, entries, cold, .. } = self;
        entries.restored_cold(key, value);
        if cold.stays(key, save) {
            parts.entry(id).or_insert_with(|| super::Part::new(numbers)).cold += 1;
        } else if let Some(part) = parts.get_mut(&id) {
            // What came back before may be gone, and its part with it.
            part.cold += 1;
        }
    }

    /// Begins although entries behind `up_to` were not read. Which parts there are has to be known, since time comes to them: one look each.
    pub(crate) fn list_later(&mut self, up_to: Option<&[u8]>) {
        let Self { parts, numbers, cold, .. } = self;
        cold.list_later(up_to);
        let mut from = Some(up_to.unwrap_or(&[SLICE]).to_vec());
        while let Some(id) = from.and_then(|from| cold.first_from(&from)).and_then(|first| slice_part(&first)) {
            parts.entry(id).or_insert_with(|| super::Part::new(numbers)).is_unlisted = true;
            from = behind(key_of_part(id));
        }
    }

    /// Lets about so many entries leave, going round all parts. How many left.
    pub(crate) fn spill(&mut self, saved: Save, most: usize) -> usize {
        if !self.cold.has_store() {
            return 0;
        }
        let (mut left, mut looks) = (0, most.saturating_mul(LOOKS));
        let (from, first) = self.hand.take().map_or((None, usize::MAX), |(id, at)| (Some(id), at));
        let behind = from.map_or(Unbounded, Excluded);
        let ids: Vec<PartId> = from
            .filter(|id| self.parts.contains_key(id))
            .into_iter()
            .chain(self.parts.range((behind, Unbounded)).map(|(id, _)| *id))
            .chain(from.iter().flat_map(|from| self.parts.range(..*from).map(|(id, _)| *id)))
            .collect();
        for (place, id) in ids.into_iter().enumerate() {
            let at = if place == 0 && Some(id) == from { first } else { usize::MAX };
            let at = self.spill_part(id, at, saved, most - left, &mut looks, &mut left);
            if left >= most || looks == 0 {
                self.hand = Some((id, at));
                break;
            }
        }
        left
    }

    /// Lets members of a part leave, from the `at`-th downwards. Where it stopped.
    fn spill_part(&mut self, id: PartId, at: usize, saved: Save, most: usize, looks: &mut usize, left: &mut usize) -> usize {
        let Self { index, aggregates, parts, recent, hasher, entries, cold, .. } = self;
        let Some(part) = parts.get_mut(&id) else { return 0 };
        let (mut at, enough) = (at.min(part.members.len()), *left + most);
        while at > 0 && *left < enough && *looks > 0 {
            at -= 1;
            *looks -= 1;
            let member = part.members[at];
            let Some(save) = entries.can_leave(member.group, saved) else { continue };
            cold.left(&key_of(id, member.slot, index), save);
            entries.leave(member.group);
            // What comes into its place has been looked at.
            part.members.swap_remove(at);
            if let Ok(entry) = part.table.find_entry(hasher.hash_one(member.slot), |other| other.slot == member.slot) {
                entry.remove();
            }
            part.cold += 1;
            if recent.get(member.slot as usize).is_some_and(|recent| recent.0 == part.number) {
                recent[member.slot as usize] = (0, 0);
            }
            index.release(member.slot);
            aggregates.release(member.group);
            *left += 1;
        }
        if part.members.is_empty() {
            (part.members, part.table) = (Vec::new(), HashTable::new());
        }
        at
    }
}

/// The part of a stored key, if it is one of a slice.
fn slice_part(key: &[u8]) -> Option<PartId> {
    super::part_of(key).filter(|_| key.first() == Some(&SLICE)).map(|(id, _)| id)
}

/// The least key behind all that begin so.
fn behind(mut begins: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = begins.pop() {
        if let Some(next) = last.checked_add(1) {
            begins.push(next);
            return Some(begins);
        }
    }
    None
}
