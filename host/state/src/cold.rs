//! Entries of an operator that are in the store and not in memory: read one by one, or all that begin alike.
//!
//! It reads what a task's checkpoints wrote, true or not: whoever lets an entry leave memory sees to it that its checkpoint is. It must not
//! be asked for a version that somebody may retire.

use std::ops::ControlFlow;

use crate::key::{StoredKey, decode, encode, key_prefix, task_prefix, version_of, version_prefix};
use crate::store::{StateError, failed, read_value};
use crate::tree::Pair;
use crate::{Change, CheckpointId, LoadedEntry, StateStore, Stored, TaskId};

/// The stored entries of an operator of a task. Blocking; from any thread.
pub struct Cold {
    store: StateStore,
    prefix: Vec<u8>,
    operator: u32,
}

impl Cold {
    /// Those of `operator` in `task`.
    pub fn new(store: StateStore, task: &TaskId, operator: u32) -> Self {
        Self { store, prefix: task_prefix(task), operator }
    }

    /// The entry as `checkpoint` wrote it; `None`: it wrote none, or that the key is gone. One look at the tree.
    pub fn get(&self, key: &[u8], checkpoint: CheckpointId) -> Result<Option<Vec<u8>>, StateError> {
        let stored = encode(&self.prefix, self.operator, key, checkpoint);
        let value = self.store.versions.get(&stored).map_err(failed("reading an entry"))?;
        Ok(value.and_then(|value| read_value(&value)))
    }

    /// The newest version of an entry that `as_of` sees. A short scan.
    pub fn newest(&self, key: &[u8], as_of: CheckpointId) -> Result<Option<Vec<u8>>, StateError> {
        let mut newest = None;
        for pair in self.store.versions.prefix(&version_prefix(&self.prefix, self.operator, key)) {
            let (stored, value) = pair.map_err(failed("reading an entry"))?;
            if version_of(&stored).is_some_and(|(_, version)| version <= as_of) {
                newest = read_value(&value);
            }
        }
        Ok(newest)
    }

    /// The newest version that `as_of` sees of each entry whose key begins with `begins`, in the order of keys: key, value, and which version it is, if
    /// there is no other.
    pub fn each(&self, begins: &[u8], as_of: CheckpointId, mut each: impl FnMut(&[u8], &[u8], Stored)) -> Result<(), StateError> {
        let pairs = self.store.versions.prefix(&key_prefix(&self.prefix, self.operator, begins));
        newest_of(pairs, self.prefix.len(), as_of, |entry| {
            each(entry.key, entry.value, entry.stored);
            ControlFlow::Continue(())
        })
    }

    /// The key of the first entry at `from` or behind it that `as_of` sees.
    pub fn first_from(&self, from: &[u8], as_of: CheckpointId) -> Result<Option<Vec<u8>>, StateError> {
        let of_operator = key_prefix(&self.prefix, self.operator, &[]);
        let pairs = self.store.versions.prefix_from(&of_operator, key_prefix(&self.prefix, self.operator, from));
        let mut first = None;
        newest_of(pairs, self.prefix.len(), as_of, |entry| {
            first = Some(entry.key.to_vec());
            ControlFlow::Break(())
        })?;
        Ok(first)
    }
}

impl StateStore {
    /// What operators from `operator` on keep for `task` as of `checkpoint`, in order of operator and key. Nothing is removed.
    pub fn read_from(&self, task: &TaskId, operator: u32, checkpoint: CheckpointId) -> Result<Vec<Change>, StateError> {
        let prefix = task_prefix(task);
        let mut state = Vec::new();
        let pairs = self.versions.prefix_from(&prefix, key_prefix(&prefix, operator, &[]));
        newest_of(pairs, prefix.len(), checkpoint, |LoadedEntry { operator, key, value, stored }| {
            state.push(Change { operator, key: key.to_vec(), value: Some(value.to_vec()), stored });
            ControlFlow::Continue(())
        })?;
        Ok(state)
    }
}

/// Of the versions of each key the newest that `as_of` sees, unless it says that the key is gone.
fn newest_of(
    pairs: impl Iterator<Item = Pair>,
    prefix_length: usize,
    as_of: CheckpointId,
    mut each: impl FnMut(LoadedEntry<'_>) -> ControlFlow<()>,
) -> Result<(), StateError> {
    let mut last: Option<(StoredKey, Option<Vec<u8>>, Stored)> = None;
    let mut tell = |last: Option<(StoredKey, Option<Vec<u8>>, Stored)>| match &last {
        Some((StoredKey { operator, key, .. }, Some(value), stored)) => {
            each(LoadedEntry { operator: *operator, key, value, stored: *stored })
        }
        Some((_, None, _)) | None => ControlFlow::Continue(()),
    };
    for pair in pairs {
        let (stored, value) = pair.map_err(failed("reading entries"))?;
        let Some(next) = decode(&stored[prefix_length..]).filter(|next| next.checkpoint <= as_of) else { continue };
        let is_same = last.as_ref().is_some_and(|(last, ..)| (last.operator, &last.key) == (next.operator, &next.key));
        let version = if is_same { Stored::Unknown } else { Stored::Under(next.checkpoint) };
        let before = last.replace((next, read_value(&value), version));
        if !is_same && tell(before).is_break() {
            return Ok(());
        }
    }
    let _ = tell(last);
    Ok(())
}

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cold").field("operator", &self.operator).finish_non_exhaustive()
    }
}
