//! The state of a task out of the store, key by key; what nobody can ask for any more is cleared away on the way.
//!
//! ```text
//! k@1 k@4 k@7   loaded as of 5, with 4 the checkpoint before:   k@7 never became true: removed · k@4 is the state · k@1 is seen by nobody: removed
//! ```
//! A start waits for this, so a key costs as little as it can: versions are told apart by the bytes in which they lie, and only what is handed
//! out is decoded, into bytes that are used again.

use crate::key::{decode_into, task_prefix, version_of};
use crate::store::{StateError, Stored, Written, failed, value_of};
use crate::tree::{Pair, PairKey, PairValue};
use crate::{Change, CheckpointId, StateStore, TaskId};

/// State as of a checkpoint.
#[derive(Debug)]
pub struct Loaded {
    /// Every key that has state.
    pub state: Vec<Change>,
    /// What is there of what the checkpoint itself wrote.
    pub written: Written,
}

/// A key that has state, while it is read.
#[derive(Debug, Clone, Copy)]
pub struct LoadedEntry<'a> {
    /// The operator of the task's pipeline.
    pub operator: u32,
    /// The key, in the operator's own encoding.
    pub key: &'a [u8],
    /// Its state, in the operator's own encoding.
    pub value: &'a [u8],
    /// Which version this is, if there is no other; nobody knows otherwise.
    pub stored: Stored,
}

/// The newest version of a key so far, where it lies.
struct Version {
    place: PairKey,
    value: PairValue,
    stored: Stored,
}

/// The newest version of the key under way that the checkpoint before sees.
struct SeenBefore {
    place: PairKey,
    /// It says that the key is gone, and nothing is behind it.
    is_last_word: bool,
}

impl StateStore {
    /// The state of `task` as of `checkpoint`, in order of operator and key. What was written above it never became true: it is
    /// removed, so that its number can be used again. What later versions replaced is removed too, but for what `before` sees: the checkpoint
    /// that is loaded next if this one turns out to be damaged.
    pub fn load(&self, task: &TaskId, checkpoint: CheckpointId, before: CheckpointId) -> Result<Loaded, StateError> {
        let mut state = Vec::new();
        let written = self.load_each(task, checkpoint, before, |entry| {
            let LoadedEntry { operator, key, value, stored } = entry;
            state.push(Change { operator, key: key.to_vec(), value: Some(value.to_vec()), stored });
        })?;
        Ok(Loaded { state, written })
    }

    /// [`Self::load`], one key after the other, so that state is in memory once. What is there of what the checkpoint itself wrote.
    pub fn load_each(
        &self,
        task: &TaskId,
        checkpoint: CheckpointId,
        before: CheckpointId,
        each: impl FnMut(LoadedEntry<'_>),
    ) -> Result<Written, StateError> {
        let mut loading = self.loading(task, checkpoint, before);
        loading.some(usize::MAX, each)?;
        loading.finish()
    }

    /// [`Self::load_each`], some at a time. It sees the state as it is now.
    pub fn loading(&self, task: &TaskId, checkpoint: CheckpointId, before: CheckpointId) -> Loading {
        let prefix = task_prefix(task);
        Loading {
            store: self.clone(),
            pairs: self.versions.prefix(&prefix),
            prefix_length: prefix.len(),
            checkpoint,
            before,
            dead: Vec::new(),
            written: Written::default(),
            key: Vec::new(),
            last: None,
            seen_before: None,
        }
    }
}

/// State on its way out of the store. One that is dropped before its end has removed nothing.
pub struct Loading {
    store: StateStore,
    pairs: Box<dyn Iterator<Item = Pair> + Send>,
    prefix_length: usize,
    checkpoint: CheckpointId,
    before: CheckpointId,
    dead: Vec<Vec<u8>>,
    written: Written,
    /// Used again for each.
    key: Vec<u8>,
    last: Option<Version>,
    seen_before: Option<SeenBefore>,
}

impl Loading {
    /// Goes through so many versions. Whether those were all.
    pub fn some(&mut self, most: usize, mut each: impl FnMut(LoadedEntry<'_>)) -> Result<bool, StateError> {
        let Self { pairs, prefix_length, checkpoint, before, dead, written, key, last, seen_before, .. } = self;
        for _ in 0..most {
            let Some(entry) = pairs.next() else {
                if let Some(last) = last.take() {
                    hand_out(&last.place[*prefix_length..], &last.value, last.stored, key, &mut each);
                }
                dead.extend(last_word(seen_before.take()));
                return Ok(true);
            };
            let (place, value) = entry.map_err(failed("loading"))?;
            let Some((of_key, version)) = version_of(&place) else { continue };
            if version > *checkpoint {
                dead.push(place.to_vec());
                continue;
            }
            if version == *checkpoint
                && let Some(operator) = decode_into(&place[*prefix_length..], key)
            {
                written.add(operator, key, value_of(&value));
            }
            let is_same = last.as_ref().and_then(|last| version_of(&last.place)).is_some_and(|(last, _)| last == of_key);
            if !is_same {
                dead.extend(last_word(seen_before.take()));
                if let Some(last) = last.take() {
                    hand_out(&last.place[*prefix_length..], &last.value, last.stored, key, &mut each);
                }
            }
            if version <= *before {
                let seen = SeenBefore { place: place.clone(), is_last_word: value_of(&value).is_none() };
                dead.extend(seen_before.replace(seen).map(|older| older.place.to_vec()));
            } else if let Some(seen) = seen_before {
                seen.is_last_word = false;
            }
            // Whoever replaces one of several has to look for what lies below it.
            let stored = if is_same { Stored::Unknown } else { Stored::Under(version) };
            *last = Some(Version { place, value, stored });
        }
        Ok(false)
    }

    /// Clears away what it met, once it has met all. What is there of what the checkpoint itself wrote.
    pub fn finish(self) -> Result<Written, StateError> {
        self.store.remove(self.dead)?;
        Ok(self.written)
    }
}

impl std::fmt::Debug for Loading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loading").field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}

/// Of the versions of a key only the newest is its state, unless that says that there is none.
fn hand_out(rest: &[u8], value: &[u8], stored: Stored, key: &mut Vec<u8>, each: &mut impl FnMut(LoadedEntry<'_>)) {
    let Some(value) = value_of(value) else { return };
    if let Some(operator) = decode_into(rest, key) {
        each(LoadedEntry { operator, key, value, stored });
    }
}

/// The word that a key is gone, where no older version says otherwise any more.
fn last_word(seen: Option<SeenBefore>) -> Option<Vec<u8>> {
    seen.filter(|seen| seen.is_last_word).map(|seen| seen.place.to_vec())
}
