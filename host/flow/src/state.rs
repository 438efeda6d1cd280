//! What the driver needs of a step's state: entries, key bytes to value bytes, each kept for itself.

use arrow_array::RecordBatch;

use crate::{KeyState, OpenRuns, Spills, StateCorrupt};

/// The number of a checkpoint, as a step keeps it for each entry. They ascend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Save(pub u32);

impl Save {
    /// Of an entry that was there when the task began: some true checkpoint.
    pub const UNKNOWN: Self = Self(0);
    /// Of what lies too far: as if it were never true.
    const TOO_FAR: Self = Self(u32::MAX);

    /// That checkpoint.
    pub fn number(checkpoint: u64) -> Self {
        u32::try_from(checkpoint).map_or(Self::TOO_FAR, Self)
    }
}

/// What the store has of an entry, as far as its step knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InStore {
    /// Nothing.
    Nothing,
    /// That checkpoint wrote it last.
    Under(Save),
    /// Nobody knows: somebody has to look.
    Unknown,
}

impl InStore {
    pub(crate) fn under(save: Save) -> Self {
        if matches!(save, Save::UNKNOWN | Save::TOO_FAR) { Self::Unknown } else { Self::Under(save) }
    }
}

/// An entry that changed since the last checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key's bytes.
    pub key: Box<[u8]>,
    /// Its state row as bytes; `None`: it has none any more.
    pub value: Option<Box<[u8]>>,
    /// What the store had of it before.
    pub stored: InStore,
}

impl KeyChange {
    /// The one entry of a step itself. It is looked up each time: that is cheaper than to remember anything of it.
    pub(crate) fn of_step(key: [u8; 1], value: &[u8]) -> Self {
        Self { key: key.into(), value: Some(value.into()), stored: InStore::Unknown }
    }
}

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
        self.take_some(usize::MAX, Save::UNKNOWN)
    }

    /// About so many of the changes, for a driver that takes them bit by bit between batches and stores them under `save`; what changes again
    /// is handed out again. None only if nothing changed.
    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange>;

    /// Takes back an entry that was handed out once. Given all of them, in any order, the state is what it was.
    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt>;

    /// One number for all entries: the same for the same entries, in every process. Costs a hash of each that changed since the last time.
    fn checksum(&mut self) -> u64;

    /// How its entries leave memory. `None`: all of them have to be there.
    fn spills(&mut self) -> Option<&mut dyn Spills> {
        None
    }

    /// What it holds of a key behind the last batch, for people who ask. `key` is one row of the key's columns. `None`: this state is not made
    /// to be asked, and whoever asks is told so. No answer changes what is stored.
    fn of_key(&mut self, _key: &RecordBatch) -> Option<KeyState> {
        None
    }

    /// Of patterns, what is open: one for each pattern of the step, in the order of the text. None of any other step.
    fn open_runs(&self) -> Vec<OpenRuns> {
        Vec::new()
    }
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
