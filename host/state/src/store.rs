//! The store: write slices, sync, load, retire, forget.

use std::path::Path;
use std::sync::Arc;

use ahash::AHashMap;
use fjall::{Database, KeyspaceCreateOptions};
use parking_lot::RwLock;

use crate::key::{StoredKey, decode, encode, task_prefix, version_prefix};
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

    /// Writes changed keys of `task` under `checkpoint`. Not durable before [`Self::sync`], not true before the caller says so
    /// elsewhere. Several calls for one checkpoint add up.
    pub fn write(&self, task: &TaskId, checkpoint: CheckpointId, changes: &[Change]) -> Result<(), StateError> {
        let prefix = task_prefix(task);
        for slice in changes.chunks(BATCH_KEYS_MAX) {
            let pair = |change: &Change| {
                let value = match &change.value {
                    Some(bytes) => [&[1], bytes.as_slice()].concat(),
                    None => vec![0],
                };
                (encode(&prefix, change.operator, &change.key, checkpoint), Some(value))
            };
            self.versions.commit(slice.iter().map(pair).collect()).map_err(failed("writing"))?;
        }
        Ok(())
    }

    /// Everything written so far is on disk when this returns. One sync serves all tasks.
    pub fn sync(&self) -> Result<(), StateError> {
        self.versions.sync().map_err(failed("syncing"))
    }

    /// The state of `task` as of `checkpoint`, in order of operator, key length and key. What was written above it never became true: it is
    /// removed, so that its number can be used again. What later versions replaced is removed too.
    pub fn load(&self, task: &TaskId, checkpoint: CheckpointId) -> Result<Vec<Change>, StateError> {
        let prefix = task_prefix(task);
        let mut state: Vec<Change> = Vec::new();
        let mut newest: Option<Vec<u8>> = None;
        let mut dead: Vec<Vec<u8>> = Vec::new();
        for entry in self.versions.prefix(&prefix) {
            let (stored, value) = entry.map_err(failed("loading"))?;
            let Some(key) = decode(&stored[prefix.len()..]) else { continue };
            if key.checkpoint > checkpoint {
                dead.push(stored.to_vec());
                continue;
            }
            let repeated = state.last().is_some_and(|last| last.operator == key.operator && last.key == key.key);
            if repeated {
                state.pop();
                dead.extend(newest.take());
            }
            newest = Some(stored.to_vec());
            state.push(Change { operator: key.operator, key: key.key, value: read_value(&value) });
        }
        self.remove(dead)?;
        state.retain(|change| change.value.is_some());
        Ok(state)
    }

    /// Drops what nobody can ask for any more once nothing older than `oldest` will be loaded: of every key in `changed`, the
    /// versions below the newest one that `oldest` sees.
    pub fn retire(&self, task: &TaskId, oldest: CheckpointId, changed: &[Change]) -> Result<(), StateError> {
        let prefix = task_prefix(task);
        let mut dead = Vec::new();
        for change in changed {
            let versions_of_key = version_prefix(&prefix, change.operator, &change.key);
            let mut seen: Option<(Vec<u8>, bool)> = None;
            for entry in self.versions.prefix(&versions_of_key) {
                let (stored, value) = entry.map_err(failed("retiring"))?;
                let Some(StoredKey { checkpoint, .. }) = decode(&stored[prefix.len()..]) else { continue };
                if checkpoint > oldest {
                    break;
                }
                let gone = read_value(&value).is_none();
                if let Some((older, _)) = seen.replace((stored.to_vec(), gone)) {
                    dead.push(older);
                }
            }
            // The word that a key is gone is needed only while an older version says otherwise.
            if let Some((last, true)) = seen {
                dead.push(last);
            }
        }
        self.remove(dead)
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

    fn remove(&self, dead: Vec<Vec<u8>>) -> Result<(), StateError> {
        for slice in dead.chunks(BATCH_KEYS_MAX) {
            // By slice: a backup that holds the store waits for one, and whoever removes behind it not for a whole task.
            let _removing = self.removals.read();
            let removed = slice.iter().map(|key| (key.clone(), None)).collect();
            self.versions.commit(removed).map_err(failed("removing"))?;
        }
        Ok(())
    }
}

fn read_value(stored: &[u8]) -> Option<Vec<u8>> {
    match stored.split_first() {
        Some((1, bytes)) => Some(bytes.to_vec()),
        Some(_) | None => None,
    }
}
