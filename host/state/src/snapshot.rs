//! State for a backup: everything as of one moment, out as records and back into another store.
//!
//! ```text
//! hold ── the log's cut ── snapshot ── the hold is over          nothing is removed between the first and the last
//! ```
//! A checkpoint that the log names before the cut was written before that, so the snapshot has it. It could only miss what was
//! **removed** in its name's place, because later checkpoints became true: so removing waits, and writing goes on. What later
//! checkpoints wrote is in the snapshot too; [`StateStore::load`] removes it, as after a crash.

use parking_lot::RwLockWriteGuard;

use crate::StateStore;
use crate::key;
use crate::store::{BATCH_KEYS_MAX, StateError, failed};
use crate::tree::FrozenTree;

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

impl Hold<'_> {
    /// Everything there is at this moment.
    pub fn snapshot(&self) -> StateSnapshot {
        self.store.snapshot()
    }
}

impl StateSnapshot {
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
