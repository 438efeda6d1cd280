//! Entries that are only in the store: what a step asks the store for, and how it knows of them without having them.
//!
//! ```text
//! entry ──stored, its checkpoint true──► leaves: twelve bytes stay (a hash of its key, the checkpoint that wrote it)
//!       ◄──── a row needs it ─────────── read by key and checkpoint: one look each, in the order of keys
//! ```
//! They say "not there" of every key that is new, so that new keys cost the store nothing. An entry that left is the same
//! entry as before: for the number of all, for the checksum, and for whatever is computed of it. No answer depends on what is in memory.

mod dated;
mod hand;
mod unlisted;

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashTable;

pub(crate) use self::dated::{DATED_BYTES, Dated, place_of, put_place, take_place};
pub(crate) use self::hand::{Hand, LOOKS};
use self::unlisted::Unlisted;
use crate::{Save, StateCorrupt};

/// What is told of each stored entry: key, value, and the checkpoint that wrote it, if that is known and it is the only version.
pub type EachStored<'a> = &'a mut dyn FnMut(&[u8], &[u8], Save);

/// The store, as a step sees it: its own entries. What fails is for the driver to find; the step goes on as if there were nothing, and
/// nothing of it may be committed.
pub trait ColdEntries: Send + Sync {
    /// The value of an entry as that checkpoint wrote it; [`Save::UNKNOWN`]: whichever wrote it last.
    fn read(&self, key: &[u8], save: Save) -> Option<Vec<u8>>;

    /// Every entry whose key begins so, in the order of keys.
    fn read_all(&self, begins: &[u8], each: EachStored<'_>);

    /// The key of the first entry at `from` or behind it, in the order of keys.
    fn first_from(&self, from: &[u8]) -> Option<Vec<u8>>;

    /// An entry did not read back.
    fn is_lost(&self, why: &dyn std::fmt::Display);
}

/// How a step's entries leave memory.
pub trait Spills {
    /// Where entries are when they are not in memory. Before this nothing leaves.
    fn spill_to(&mut self, store: Arc<dyn ColdEntries>);

    /// How many entries are not in memory.
    fn cold_len(&self) -> usize;

    /// What those take in memory nevertheless, about.
    fn cold_bytes(&self) -> u64;

    /// Lets about so many entries leave of those that were stored under `saved` or a checkpoint before it, and did not change since. How many
    /// left; none: no other can for now, or it is not worth looking further.
    fn spill(&mut self, saved: Save, most: usize) -> usize;

    /// Like [`StepState::restore_entry`](crate::StepState::restore_entry), and an entry that may leave stays where it is; whether it reads is
    /// seen when it is needed. `save` as for reading.
    fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt>;

    /// Begins although entries behind `up_to` were not read (`None`: none was). They come later and in the order of keys, through
    /// [`Self::restore_cold`], also those that somebody needed before. Until [`Self::has_listed`] is called nothing leaves, what is in the store
    /// stays as it is, and neither the number of entries nor their checksum means anything. `false`: this step has to have all of them first.
    fn list_later(&mut self, _up_to: Option<&[u8]>) -> bool {
        false
    }

    /// All of them came.
    fn has_listed(&mut self) {}
}

/// What is known of an entry that is not in memory: a hash of its key, in two halves, and the checkpoint that wrote it.
///
/// Two keys of one step would have to share all 64 bits to be taken for each other. The hash is seeded anew by each process, so that nobody
/// can choose such keys.
#[derive(Debug, Clone, Copy)]
struct Stub {
    high: u32,
    low: u32,
    save: Save,
}

impl Stub {
    fn new(hash: u64, save: Save) -> Self {
        Self { high: (hash >> 32) as u32, low: hash as u32, save }
    }

    fn hash(&self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }
}

/// What a cold entry takes in memory, about.
pub(crate) const STUB_BYTES: u64 = 20;

/// The cold entries of a step.
#[derive(Default)]
pub(crate) struct Cold {
    store: Option<Arc<dyn ColdEntries>>,
    stubs: HashTable<Stub>,
    unlisted: Unlisted,
    hasher: ahash::RandomState,
}

impl Cold {
    pub(crate) fn spill_to(&mut self, store: Arc<dyn ColdEntries>) {
        self.store = Some(store);
    }

    /// Whether entries may leave.
    pub(crate) fn has_store(&self) -> bool {
        self.store.is_some() && !self.is_listing()
    }

    /// Whether no entry is only in the store.
    pub(crate) fn is_empty(&self) -> bool {
        self.stubs.is_empty() && !self.is_listing()
    }

    /// See [`Spills::list_later`].
    pub(crate) fn list_later(&mut self, up_to: Option<&[u8]>) {
        self.unlisted.begin(up_to);
    }

    /// Whether there may be entries that nobody has looked at.
    pub(crate) fn is_listing(&self) -> bool {
        self.unlisted.is_open()
    }

    /// See [`Spills::has_listed`].
    pub(crate) fn has_listed(&mut self) {
        self.unlisted.end();
    }

    /// An entry stays in the store when the task begins, or was met there since. `false`: it came back before, and is known.
    pub(crate) fn stays(&mut self, key: &[u8], save: Save) -> bool {
        let is_new = self.unlisted.list(key, self.hasher.hash_one(key));
        if is_new {
            self.left(key, save);
        }
        is_new
    }

    /// See [`ColdEntries::first_from`].
    pub(crate) fn first_from(&self, from: &[u8]) -> Option<Vec<u8>> {
        self.store.as_ref()?.first_from(from)
    }

    /// A value that is read and stays where it is.
    pub(crate) fn look(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.store.as_ref()?.read(key, Save::UNKNOWN)
    }

    /// The entry of that key left memory.
    pub(crate) fn left(&mut self, key: &[u8], save: Save) {
        let hash = self.hasher.hash_one(key);
        self.stubs.insert_unique(hash, Stub::new(hash, save), Stub::hash);
    }

    /// Whether the entry of that key left, or may have been there when the task began.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        self.stubs.find(hash, |stub| stub.hash() == hash).is_some() || self.unlisted.may_have(key, hash)
    }

    /// Takes back entries that left, in the order of their keys. `each` has key, value, and the checkpoint that wrote it; an error is why it
    /// does not read.
    pub(crate) fn take<E: std::fmt::Display>(
        &mut self,
        keys: &BTreeSet<Vec<u8>>,
        mut each: impl FnMut(&[u8], &[u8], Save) -> Result<(), E>,
    ) {
        let Some(store) = self.store.clone() else { return };
        for key in keys {
            let (save, is_there) = match self.forget(key) {
                Some(save) => (save, true),
                None if self.ask(key) => (Save::UNKNOWN, false),
                None => continue,
            };
            match store.read(key, save).map(|value| each(key, &value, save)) {
                Some(Ok(())) => {}
                Some(Err(error)) => store.is_lost(&error),
                None if is_there => store.is_lost(&"an entry that was stored is not there"),
                None => {}
            }
        }
    }

    /// Takes back every entry that left and whose key begins so, as [`Self::take`] does.
    pub(crate) fn take_all<E: std::fmt::Display>(
        &mut self,
        begins: &[u8],
        mut each: impl FnMut(&[u8], &[u8], Save) -> Result<(), E>,
    ) {
        let Some(store) = self.store.clone() else { return };
        store.read_all(begins, &mut |key, value, version| {
            // Others are in memory, and newer there; or they went, and the store does not know yet.
            let Some(save) = self.forget(key).or_else(|| self.ask(key).then_some(version)) else { return };
            if let Err(error) = each(key, value, save) {
                store.is_lost(&error);
            }
        });
    }

    /// See [`ColdEntries::is_lost`].
    pub(crate) fn is_lost(&self, why: &dyn std::fmt::Display) {
        if let Some(store) = &self.store {
            store.is_lost(why);
        }
    }

    /// Whether the store has to be asked for an entry that was not listed.
    fn ask(&mut self, key: &[u8]) -> bool {
        self.unlisted.ask(key, self.hasher.hash_one(key))
    }

    fn forget(&mut self, key: &[u8]) -> Option<Save> {
        let hash = self.hasher.hash_one(key);
        let (stub, _) = self.stubs.find_entry(hash, |stub| stub.hash() == hash).ok()?.remove();
        if self.stubs.is_empty() {
            self.stubs = HashTable::new();
        }
        Some(stub.save)
    }
}

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cold").field("entries", &self.stubs.len()).finish_non_exhaustive()
    }
}
