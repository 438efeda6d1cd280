//! What the driver needs of a step's state: entries, key bytes to value bytes, each kept for itself.

use crate::{KeyChange, StateCorrupt};

/// The state of a step. Entries that did not change since the last `take_changes` cost a checkpoint nothing.
pub trait StepState: Send {
    /// How many entries there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many changed since `take_changes`, about: an entry that went again may be counted.
    fn changed_len(&self) -> usize;

    /// What changed since the last time. A key may be there more than once: the last one counts, and the order means nothing else.
    fn take_changes(&mut self) -> Vec<KeyChange> {
        self.take_some(usize::MAX)
    }

    /// About so many of the changes, for a driver that takes them bit by bit between batches; what changes again is handed out again. None
    /// only if nothing changed.
    fn take_some(&mut self, most: usize) -> Vec<KeyChange>;

    /// Takes back an entry that was handed out once. Given all of them, in any order, the state is what it was.
    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt>;

    /// One number for all entries: the same for the same entries, in every process. Costs a hash of each that changed since the last time.
    fn checksum(&mut self) -> u64;
}

impl dyn StepState + '_ {
    /// Takes back entries.
    pub fn restore<K, V>(&mut self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), StateCorrupt>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        entries.into_iter().try_for_each(|(key, value)| self.restore_entry(key.as_ref(), value.as_ref()))
    }
}

/// An entry that does not read back.
pub(crate) fn corrupt(key: &[u8], fields: &str, at_byte: usize) -> StateCorrupt {
    StateCorrupt { key: key.iter().map(|byte| format!("{byte:02x}")).collect(), fields: fields.to_owned(), at_byte }
}
