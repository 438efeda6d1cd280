//! What a checkpoint replaced: to be removed when nothing older than it will be loaded any more.
//!
//! Whoever wrote a change mostly knows what there was of its key ([`Stored`]); then the place of the old version is known, and clearing away is
//! writing. Only where nobody knows is the tree asked.

use crate::key::{StoredKey, decode, encode, task_prefix, version_prefix};
use crate::store::{StateError, failed, read_value};
use crate::{Change, CheckpointId, StateStore, Stored, TaskId};

/// See the module's words. Far smaller than the changes it was made of.
#[derive(Debug, Default)]
pub struct Replaced {
    /// Places of versions, in an order in which a crash may come between any two removals.
    known: Vec<Vec<u8>>,
    /// Operators and keys.
    unknown: Vec<(u32, Vec<u8>)>,
}

impl Replaced {
    /// By `changes` that `checkpoint` wrote, each key once.
    pub fn by(task: &TaskId, checkpoint: CheckpointId, changes: &[Change]) -> Self {
        let prefix = task_prefix(task);
        let mut replaced = Self::default();
        for Change { operator, key, value, stored } in changes {
            match stored {
                Stored::Nothing => {}
                Stored::Under(before) => {
                    replaced.known.push(encode(&prefix, *operator, key, *before));
                    // The word that a key is gone is needed only while an older version says otherwise; that one goes first.
                    if value.is_none() {
                        replaced.known.push(encode(&prefix, *operator, key, checkpoint));
                    }
                }
                Stored::Unknown => replaced.unknown.push((*operator, key.clone())),
            }
        }
        replaced
    }
}

impl StateStore {
    /// Drops what nobody can ask for any more once nothing older than `oldest` will be loaded: what it replaced, and of keys of which nobody
    /// knew what there was, the versions below the newest one that `oldest` sees.
    pub fn retire(&self, task: &TaskId, oldest: CheckpointId, replaced: Replaced) -> Result<(), StateError> {
        let prefix = task_prefix(task);
        let Replaced { known: mut dead, unknown } = replaced;
        for (operator, key) in unknown {
            let mut seen: Option<(Vec<u8>, bool)> = None;
            for entry in self.versions.prefix(&version_prefix(&prefix, operator, &key)) {
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
}
