//! The ordered bytes below the store: batches go in, prefixes are scanned, everything is synced at once.
//!
//! It is the LSM tree, or for tests its double in memory, which loses what was not synced. What a checkpoint is, it does not know.

use fjall::{Database, Keyspace, PersistMode, UserKey, UserValue};

#[cfg(feature = "simulated")]
use crate::simulated::SimulatedTree;

/// One pair, or why it could not be read.
pub(crate) type Pair = Result<(UserKey, UserValue), fjall::Error>;

#[derive(Clone)]
pub(crate) enum Tree {
    Lsm {
        database: Database,
        pairs: Keyspace,
    },
    #[cfg(feature = "simulated")]
    Simulated(SimulatedTree),
}

impl Tree {
    /// Sets (`Some`) and removes (`None`) pairs, all or none after a crash. Durable with the next [`Self::sync`].
    pub(crate) fn commit(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), fjall::Error> {
        match self {
            Self::Lsm { database, pairs } => {
                let mut batch = database.batch();
                for (key, value) in changes {
                    match value {
                        Some(value) => batch.insert(pairs, key, value),
                        None => batch.remove(pairs, key),
                    }
                }
                batch.commit()
            }
            #[cfg(feature = "simulated")]
            Self::Simulated(tree) => tree.commit(changes),
        }
    }

    /// Every pair whose key begins with `prefix`, ascending by key.
    pub(crate) fn prefix(&self, prefix: &[u8]) -> Box<dyn Iterator<Item = Pair>> {
        match self {
            Self::Lsm { pairs, .. } => Box::new(pairs.prefix(prefix).map(fjall::Guard::into_inner)),
            #[cfg(feature = "simulated")]
            Self::Simulated(tree) => Box::new(tree.prefix(prefix).into_iter()),
        }
    }

    /// Every batch committed before is on disk when this returns.
    pub(crate) fn sync(&self) -> Result<(), fjall::Error> {
        match self {
            Self::Lsm { database, .. } => database.persist(PersistMode::SyncAll),
            #[cfg(feature = "simulated")]
            Self::Simulated(tree) => tree.sync(),
        }
    }
}
