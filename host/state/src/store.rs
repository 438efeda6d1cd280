//! The store: write slices, sync, forget; `loading.rs` reads them back, `replaced.rs` retires them.

use std::path::Path;
use std::sync::Arc;

use ahash::AHashMap;
use fjall::{Database, KeyspaceCreateOptions};
use parking_lot::RwLock;

use crate::key::{decode, encode, task_prefix};
use crate::tree::Tree;
use crate::{CheckpointId, TaskId};

/// One changed key of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The operator of the task's pipeline.
    pub operator: u32,
    /// The key, in the operator's own encoding.
    pub key: Vec<u8>,
    /// Its state, in the operator's own encoding; `None` when the key is gone.
    pub value: Option<Vec<u8>>,
    /// What the store has of the key: of a change to be written, before it; of one that was read, this one alone or nobody knows what.
    pub stored: Stored,
}

/// What whoever speaks of a key knows of it in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// There is nothing of it.
    Nothing,
    /// That checkpoint wrote it last.
    Under(CheckpointId),
    /// Nobody knows.
    Unknown,
}

/// What a checkpoint wrote, to be recorded with it and compared when it is loaded: a tail of the store that is lost is noticed, whatever
/// the tree below thinks of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Keys with state.
    pub live: u64,
    /// Keys that went. Clearing away may remove the word of it once the checkpoint is not the newest.
    pub gone: u64,
    /// The sum of a checksum of each key with state, modulo 2^64.
    pub sum: u64,
}

impl Written {
    /// One more change.
    pub fn count(&mut self, change: &Change) {
        self.add(change.operator, &change.key, change.value.as_deref());
    }

    /// One more key.
    pub(crate) fn add(&mut self, operator: u32, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => {
                self.live += 1;
                let key = crc32c::crc32c_append(crc32c::crc32c(&operator.to_be_bytes()), key);
                let both = u64::from(key) << 32 | u64::from(crc32c::crc32c_append(key, value));
                self.sum = self.sum.wrapping_add(both);
            }
            None => self.gone += 1,
        }
    }

    /// Together with what another call wrote under the same checkpoint.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { live: self.live + other.live, gone: self.gone + other.gone, sum: self.sum.wrapping_add(other.sum) }
    }
}

/// The store failed. A retry cannot help: what was not synced may be lost, so the caller stops the tasks it speaks for.
#[derive(Debug, thiserror::Error)]
#[error("state store, while {doing}: {source}")]
pub struct StateError {
    /// What it was doing.
    pub doing: &'static str,
    /// What the tree said.
    #[source]
    pub source: fjall::Error,
}

pub(crate) fn failed(doing: &'static str) -> impl Fn(fjall::Error) -> StateError {
    move |source| StateError { doing, source }
}

/// Keys that go into one atomic batch. The tree gathers a batch in memory and holds its journal's lock while inserting it, so a
/// large checkpoint must not be one batch: it would stop every other task's.
pub(crate) const BATCH_KEYS_MAX: usize = 1024;
/// From so many on, keys go into tables of their own: those cost some syncs, and fewer are cheaper in the tree's journal.
pub(crate) const MANY_KEYS: usize = 16_384;

/// The state of every task of the host. Cheap to clone; safe from many threads, one writer per task.
#[derive(Clone)]
pub struct StateStore {
    pub(crate) versions: Tree,
    /// Held to read while something is removed: a backup holds it to write ([`Self::hold`]).
    pub(crate) removals: Arc<RwLock<()>>,
}

impl StateStore {
    /// Opens or makes the store in `dir`. Blocking.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let database = Database::builder(dir).worker_threads(1).open().map_err(failed("opening"))?;
        let pairs = database.keyspace("state", KeyspaceCreateOptions::default).map_err(failed("opening"))?;
        Ok(Self::over(Tree::Lsm { database, pairs }))
    }

    /// A store over the tree's double.
    #[cfg(feature = "simulated")]
    pub fn simulated(tree: crate::SimulatedTree) -> Self {
        Self::over(Tree::Simulated(tree))
    }

    fn over(versions: Tree) -> Self {
        Self { versions, removals: Arc::default() }
    }

    /// Writes changed keys of `task` under `checkpoint`, each key once. Not durable before [`Self::sync`], not true before the caller says
    /// so elsewhere. Several calls for one checkpoint add up, and so does what they return.
    pub fn write(&self, task: &TaskId, checkpoint: CheckpointId, changes: &[Change]) -> Result<Written, StateError> {
        let prefix = task_prefix(task);
        let mut written = Written::default();
        let mut pair = |change: &Change| {
            let value = match &change.value {
                Some(bytes) => [&[1], bytes.as_slice()].concat(),
                None => vec![0],
            };
            written.add(change.operator, &change.key, change.value.as_deref());
            (encode(&prefix, change.operator, &change.key, checkpoint), Some(value))
        };
        let is_ascending = || changes.is_sorted_by(|one, next| (one.operator, &one.key) < (next.operator, &next.key));
        if changes.len() >= MANY_KEYS && is_ascending() {
            self.versions.commit_many(changes.iter().map(pair)).map_err(failed("writing"))?;
            return Ok(written);
        }
        for slice in changes.chunks(BATCH_KEYS_MAX) {
            self.versions.commit(slice.iter().map(&mut pair).collect()).map_err(failed("writing"))?;
        }
        Ok(written)
    }

    /// Everything written so far is on disk when this returns. One sync serves all tasks.
    pub fn sync(&self) -> Result<(), StateError> {
        self.versions.sync().map_err(failed("syncing"))
    }

    /// The state of `task` as of `checkpoint`, as [`Self::load`] has it, and nothing is removed.
    pub fn read(&self, task: &TaskId, checkpoint: CheckpointId) -> Result<Vec<Change>, StateError> {
        self.snapshot().of_task(task, checkpoint).collect()
    }

    /// Forgets a task altogether.
    pub fn forget(&self, task: &TaskId) -> Result<(), StateError> {
        let mut dead = Vec::new();
        for entry in self.versions.prefix(&task_prefix(task)) {
            dead.push(entry.map_err(failed("forgetting"))?.0.to_vec());
        }
        self.remove(dead)
    }

    /// How many keys of each operator `task` has as of any checkpoint: for tests and doctors, a full scan.
    pub fn versions(&self, task: &TaskId) -> Result<AHashMap<u32, usize>, StateError> {
        let prefix = task_prefix(task);
        let mut counts = AHashMap::new();
        for entry in self.versions.prefix(&prefix) {
            let (stored, _) = entry.map_err(failed("counting"))?;
            if let Some(key) = decode(&stored[prefix.len()..]) {
                *counts.entry(key.operator).or_default() += 1;
            }
        }
        Ok(counts)
    }

    pub(crate) fn remove(&self, mut dead: Vec<Vec<u8>>) -> Result<(), StateError> {
        if dead.len() >= MANY_KEYS {
            // All or none, so their order says nothing.
            dead.sort_unstable();
            dead.dedup();
            let _removing = self.removals.read();
            return self.versions.commit_many(dead.into_iter().map(|key| (key, None))).map_err(failed("removing"));
        }
        for slice in dead.chunks(BATCH_KEYS_MAX) {
            // By slice: a backup that holds the store waits for one, and whoever removes behind it not for a whole task.
            let _removing = self.removals.read();
            let removed = slice.iter().map(|key| (key.clone(), None)).collect();
            self.versions.commit(removed).map_err(failed("removing"))?;
        }
        Ok(())
    }
}

pub(crate) fn read_value(stored: &[u8]) -> Option<Vec<u8>> {
    value_of(stored).map(<[u8]>::to_vec)
}

/// The state in a stored value; `None`: the key is gone.
pub(crate) fn value_of(stored: &[u8]) -> Option<&[u8]> {
    match stored.split_first() {
        Some((1, bytes)) => Some(bytes),
        Some(_) | None => None,
    }
}
