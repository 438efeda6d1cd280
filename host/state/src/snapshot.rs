//! State for a backup: everything as of one moment, out as records and back into another store.
//!
//! ```text
//! hold ── the log's cut ── snapshot ── the hold is over          nothing is removed between the first and the last
//! ```
//! A checkpoint that the log names before the cut was written before that, so the snapshot has it. It could only miss what was
//! **removed** in its name's place, because later checkpoints became true: so removing waits, and writing goes on. What later
//! checkpoints wrote is in the snapshot too; [`StateStore::load`] removes it, as after a crash.

use parking_lot::RwLockWriteGuard;

use crate::key;
use crate::key::task_prefix;
use crate::store::{BATCH_KEYS_MAX, StateError, failed, read_value};
use crate::tree::{FrozenTree, Pair};
use crate::{Change, CheckpointId, StateStore, Stored, TaskId};

/// While there is one, nothing is removed from the store. For moments: whoever removes waits.
pub struct Hold<'a> {
    store: &'a StateStore,
    _removals: RwLockWriteGuard<'a, ()>,
}

/// All state as it was at one moment. Keeps disk space from being cleared until it is dropped.
pub struct StateSnapshot {
    tree: FrozenTree,
}

/// A stored pair. What it means is the store's business; another store takes it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRecord {
    /// Task, operator, key and checkpoint.
    pub key: Vec<u8>,
    /// The state row, or that there is none.
    pub value: Vec<u8>,
}

/// Records were not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// One of them is none: `at` counts from 0.
    #[error("record {at} is no state of a task")]
    Foreign {
        /// Which.
        at: usize,
    },
    /// The store failed.
    #[error(transparent)]
    State(#[from] StateError),
}

impl StateStore {
    /// Waits until what is being removed is, and keeps everything there from then on until it is dropped.
    pub fn hold(&self) -> Hold<'_> {
        Hold { store: self, _removals: self.removals.write() }
    }

    /// Everything there is now. Whether that belongs to any moment of the log only a [`Hold`] can say.
    pub fn snapshot(&self) -> StateSnapshot {
        StateSnapshot { tree: self.versions.freeze() }
    }

    /// Takes records of another store's snapshot, none of them if one is foreign; durable with the next [`Self::sync`].
    pub fn import(&self, records: Vec<StateRecord>) -> Result<(), ImportError> {
        if let Some(at) = records.iter().position(|record| !key::is_whole(&record.key)) {
            return Err(ImportError::Foreign { at });
        }
        let mut pairs = records.into_iter().map(|record| (record.key, Some(record.value))).peekable();
        while pairs.peek().is_some() {
            let slice = pairs.by_ref().take(BATCH_KEYS_MAX).collect();
            self.versions.commit(slice).map_err(failed("importing"))?;
        }
        Ok(())
    }
}

/// The newest version of each key, as of a checkpoint, out of all versions in order.
struct Newest<I> {
    pairs: I,
    prefix_length: usize,
    checkpoint: CheckpointId,
    /// The newest one so far of the key that is being read.
    pending: Option<Change>,
}

impl<I: Iterator<Item = Pair>> Iterator for Newest<I> {
    type Item = Result<Change, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (stored, value) = match self.pairs.next() {
                Some(Ok(pair)) => pair,
                Some(Err(error)) => return Some(Err(failed("reading")(error))),
                None => return self.pending.take().filter(|change| change.value.is_some()).map(Ok),
            };
            let Some(key) = key::decode(&stored[self.prefix_length..]).filter(|key| key.checkpoint <= self.checkpoint) else {
                continue;
            };
            let stored_by = Stored::Under(key.checkpoint);
            let change = Change { operator: key.operator, key: key.key, value: read_value(&value), stored: stored_by };
            let is_same = self.pending.as_ref().is_some_and(|last| last.operator == change.operator && last.key == change.key);
            let last = self.pending.replace(change);
            if let Some(last) = last.filter(|last| !is_same && last.value.is_some()) {
                return Some(Ok(last));
            }
        }
    }
}

impl Hold<'_> {
    /// Everything there is at this moment.
    pub fn snapshot(&self) -> StateSnapshot {
        self.store.snapshot()
    }
}

impl StateSnapshot {
    /// The state of `task` as of a checkpoint that was kept while this was made, ascending by operator and key. Blocking: it is
    /// read as it is asked for, so that no state need fit into memory.
    pub fn of_task(
        self,
        task: &TaskId,
        checkpoint: CheckpointId,
    ) -> impl Iterator<Item = Result<Change, StateError>> + Send + use<> {
        let prefix = task_prefix(task);
        let prefix_length = prefix.len();
        Newest { pairs: self.tree.prefix(prefix), prefix_length, checkpoint, pending: None }
    }

    /// Every record, ascending by key. Blocking: they are read as they are asked for.
    pub fn records(self) -> impl Iterator<Item = Result<StateRecord, StateError>> + Send {
        self.tree.pairs().map(|pair| {
            let (key, value) = pair.map_err(failed("exporting"))?;
            Ok(StateRecord { key: key.to_vec(), value: value.to_vec() })
        })
    }
}

impl std::fmt::Debug for StateSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateSnapshot").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Hold<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}
