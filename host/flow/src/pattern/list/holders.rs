//! Which patterns of a list have runs of a key, of those that must see every row of such a key: a stage that follows directly, a condition over
//! runs, an order of arrival. So a row costs what is there of its own key.

use arrow_array::RecordBatch;
use tidemill_event::Field;

use crate::group::{KeyIndex, Wanted};

/// Keys, and who has runs of each.
pub(super) struct Holders {
    index: KeyIndex,
    /// By the key's slot: patterns, in no order. A key that somebody is in is held.
    patterns: Vec<Vec<u32>>,
    /// How many of them are not empty.
    held: usize,
    /// Of the rows of the batch.
    slots: Vec<u32>,
}

impl Holders {
    pub(super) fn new(by: Vec<Field>) -> Self {
        Self { index: KeyIndex::new(by), patterns: Vec::new(), held: 0, slots: Vec::new() }
    }

    /// Says of each row who must see it: `see` is told (row, pattern), in the order of the rows. `begins`: (row, pattern), ascending, where a run may begin;
    /// that pattern sees all later rows of the key.
    pub(super) fn rows(&mut self, rows: &RecordBatch, begins: &[(u32, u32)], mut see: impl FnMut(u32, u32)) {
        if self.held == 0 && begins.is_empty() {
            return;
        }
        let begins_at = |row: usize| begins.binary_search_by_key(&row, |(row, _)| *row as usize).is_ok();
        let mut slots = std::mem::take(&mut self.slots);
        self.index.slots_wanted(rows, |row| if begins_at(row) { Wanted::Any } else { Wanted::Known }, &mut slots);
        let mut begins = begins.iter().copied().peekable();
        for (row, slot) in (0u32..).zip(slots.iter().copied()).filter(|(_, slot)| *slot != KeyIndex::NONE) {
            let there = self.patterns.get(slot as usize).map_or(&[][..], Vec::as_slice);
            there.iter().for_each(|pattern| see(row, *pattern));
            while let Some((_, pattern)) = begins.next_if(|(at, _)| *at == row) {
                self.set(slot, pattern, true);
            }
        }
        self.slots = slots;
    }

    /// Whether a pattern has runs of a key, by the key's bytes.
    pub(super) fn note(&mut self, key: &[u8], pattern: u32, has_runs: bool) {
        let slot = self.index.slot_of_key(key).expect("a key of these columns");
        self.set(slot, pattern, has_runs);
        self.index.forget_unheld(&[slot]);
    }

    fn set(&mut self, slot: u32, pattern: u32, has_runs: bool) {
        if self.patterns.len() < self.index.slots() {
            self.patterns.resize_with(self.index.slots(), Vec::new);
        }
        let patterns = &mut self.patterns[slot as usize];
        match patterns.iter().position(|known| *known == pattern) {
            None if has_runs => {
                if patterns.is_empty() {
                    self.index.hold(slot);
                    self.held += 1;
                }
                patterns.push(pattern);
            }
            Some(at) if !has_runs => {
                patterns.swap_remove(at);
                if patterns.is_empty() {
                    *patterns = Vec::new();
                    self.index.release(slot);
                    self.held -= 1;
                }
            }
            Some(_) | None => {}
        }
    }
}
