//! The state of a process step for checkpoints: state rows, entries of each table and timers, told apart by the first byte of their keys.
//!
//! ```text
//! 00 key                 a state row         01 + table number, key, entry's key     an entry         ff key      a key's timers
//! ```

use arrow_array::RecordBatch;

use crate::process::remembered::Remembered;
use crate::state::corrupt;
use crate::{KeyChange, KeyState, Save, StateCorrupt, StepState};

const STATE: u8 = 0;
const FIRST_TABLE: u8 = 1;
const TIMERS: u8 = 0xff;

/// The same entries under another first byte are others.
fn tagged_sum(tag: u8, sum: u64) -> u64 {
    sum.wrapping_mul(2 * u64::from(tag) + 1)
}

fn tagged(tag: u8, changes: Vec<KeyChange>) -> impl Iterator<Item = KeyChange> {
    changes.into_iter().map(move |change| {
        let mut key = Vec::with_capacity(change.key.len() + 1);
        key.push(tag);
        key.extend_from_slice(&change.key);
        KeyChange { key: key.into(), ..change }
    })
}

impl Remembered {
    fn tagged_tables(&mut self) -> impl Iterator<Item = (u8, &mut crate::KeyedTable)> {
        (FIRST_TABLE..TIMERS).zip(self.tables.iter_mut().map(|table| &mut table.entries))
    }
}

impl StepState for Remembered {
    fn len(&self) -> usize {
        self.rows.len() + self.tables.iter().map(|table| table.entries.len()).sum::<usize>() + self.timers.len()
    }

    fn changed_len(&self) -> usize {
        let tables: usize = self.tables.iter().map(|table| table.entries.changed_len()).sum();
        self.rows.changed_len() + tables + self.timers.changed_len()
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let mut changes: Vec<KeyChange> = tagged(STATE, self.rows.take_some(most, save)).collect();
        let mut left = most.saturating_sub(changes.len());
        for (tag, table) in self.tagged_tables() {
            let some = table.take_some(left, save);
            left = left.saturating_sub(some.len());
            changes.extend(tagged(tag, some));
        }
        // A slot that went and came back is listed though it gives nothing; with no room left the next draw has the timers.
        if left > 0 || changes.is_empty() {
            changes.extend(tagged(TIMERS, self.timers.take_some(left.max(1))));
        }
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let unknown = || corrupt(key, "state, an entry or timers", 0);
        let (tag, rest) = key.split_first().ok_or_else(unknown)?;
        match *tag {
            STATE => self.rows.restore([(rest, value)]),
            TIMERS => self.timers.restore(rest, value),
            tag => {
                let table = self.tables.get_mut(usize::from(tag - FIRST_TABLE)).ok_or_else(unknown)?;
                table.entries.restore([(rest, value)])
            }
        }
    }

    fn checksum(&mut self) -> u64 {
        let mut sum = tagged_sum(STATE, self.rows.checksum()).wrapping_add(tagged_sum(TIMERS, self.timers.checksum()));
        for (tag, table) in self.tagged_tables() {
            sum = sum.wrapping_add(tagged_sum(tag, table.checksum()));
        }
        sum
    }

    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        self.asked(key)
    }
}
