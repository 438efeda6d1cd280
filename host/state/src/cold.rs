//! Entries of an operator that are in the store and not in memory: read one by one, or all that begin alike.
//!
//! It reads what a task's checkpoints wrote, true or not: whoever lets an entry leave memory sees to it that its checkpoint is. It must not
//! be asked for a version that somebody may retire.

use crate::key::{decode, encode, key_prefix, task_prefix, version_prefix};
use crate::store::{StateError, failed, read_value};
use crate::{CheckpointId, StateStore, TaskId};

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

    /// The newest version of an entry. A short scan.
    pub fn newest(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let mut newest = None;
        for pair in self.store.versions.prefix(&version_prefix(&self.prefix, self.operator, key)) {
            newest = read_value(&pair.map_err(failed("reading an entry"))?.1);
        }
        Ok(newest)
    }

    /// The newest version of each entry whose key begins with `begins`, in the order of keys: key, value, the checkpoint that wrote it.
    pub fn each(&self, begins: &[u8], mut each: impl FnMut(&[u8], &[u8], CheckpointId)) -> Result<(), StateError> {
        let mut last: Option<(crate::key::StoredKey, Option<Vec<u8>>)> = None;
        for pair in self.store.versions.prefix(&key_prefix(&self.prefix, self.operator, begins)) {
            let (stored, value) = pair.map_err(failed("reading entries"))?;
            let Some(next) = decode(&stored[self.prefix.len()..]) else { continue };
            let before = last.replace((next, read_value(&value)));
            let (Some((before, Some(value))), Some((next, _))) = (before, &last) else { continue };
            if before.key != next.key {
                each(&before.key, &value, before.checkpoint);
            }
        }
        if let Some((key, Some(value))) = last {
            each(&key.key, &value, key.checkpoint);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cold").field("operator", &self.operator).finish_non_exhaustive()
    }
}
