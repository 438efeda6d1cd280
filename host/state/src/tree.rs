//! The ordered bytes below the store: batches go in, prefixes are scanned, everything is synced at once.
//!
//! It is the LSM tree, or for tests its double in memory, which loses what was not synced. What a checkpoint is, it does not know.

use fjall::{Database, Keyspace, PersistMode, Readable, UserKey, UserValue};

#[cfg(feature = "simulated")]
use crate::simulated::SimulatedTree;

/// A key as the tree hands it out: a clone shares its bytes.
pub(crate) type PairKey = UserKey;
/// A value, likewise.
pub(crate) type PairValue = UserValue;
/// One pair, or why it could not be read.
pub(crate) type Pair = Result<(PairKey, PairValue), fjall::Error>;

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

    /// The same for many pairs, ascending and each key once: on disk when this returns, and not through the journal and the tables in memory.
    /// So what a large checkpoint wrote is written once, and whoever opens the tree next does not replay it.
    pub(crate) fn commit_many<'a>(
        &self,
        changes: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> + 'a,
    ) -> Result<(), fjall::Error> {
        match self {
            Self::Lsm { pairs, .. } => {
                let mut ingestion = pairs.start_ingestion()?;
                for (key, value) in changes {
                    match value {
                        Some(value) => ingestion.write(key, value)?,
                        None => ingestion.write_tombstone(key)?,
                    }
                }
                ingestion.finish()
            }
            #[cfg(feature = "simulated")]
            Self::Simulated(tree) => tree.commit(changes.collect()),
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<UserValue>, fjall::Error> {
        match self {
            Self::Lsm { pairs, .. } => pairs.get(key),
            #[cfg(feature = "simulated")]
            Self::Simulated(tree) => tree.get(key),
        }
    }

    /// Every pair whose key begins with `prefix`, ascending by key.
    pub(crate) fn prefix(&self, prefix: &[u8]) -> Box<dyn Iterator<Item = Pair> + Send> {
        match self {
            Self::Lsm { pairs, .. } => Box::new(pairs.prefix(prefix).map(fjall::Guard::into_inner)),
            #[cfg(feature = "simulated")]
            Self::Simulated(tree) => Box::new(tree.prefix(prefix).into_iter()),
        }
    }

    /// Every pair from `from` on whose key begins with `prefix`, ascending by key.
    pub(crate) fn prefix_from(&self, prefix: &[u8], from: Vec<u8>) -> Box<dyn Iterator<Item = Pair> + Send> {
        let prefix = prefix.to_vec();
        let pairs: Box<dyn Iterator<Item = Pair> + Send> = match self {
            Self::Lsm { pairs, .. } => Box::new(pairs.range(from..).map(fjall::Guard::into_inner)),
            #[cfg(feature = "simulated")]
            Self::Simulated(tree) => {
                let behind = move |pair: &Pair| !matches!(pair, Ok((key, _)) if key.as_ref() < from.as_slice());
                Box::new(tree.prefix(&prefix).into_iter().filter(behind))
            }
        };
        Box::new(pairs.take_while(move |pair| !matches!(pair, Ok((key, _)) if !key.starts_with(&prefix))))
    }

    /// Everything there is now, to be read while others go on.
    pub(crate) fn freeze(&self) -> FrozenTree {
        match self {
            Self::Lsm { database, pairs } => FrozenTree::Lsm { snapshot: database.snapshot(), pairs: pairs.clone() },
            #[cfg(feature = "simulated")]
            Self::Simulated(tree) => FrozenTree::Simulated(tree.prefix(&[])),
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

/// A tree as it was at one moment. The LSM tree keeps what it would have cleared away while there is one.
pub(crate) enum FrozenTree {
    Lsm {
        snapshot: fjall::Snapshot,
        pairs: Keyspace,
    },
    #[cfg(feature = "simulated")]
    Simulated(Vec<Pair>),
}

impl FrozenTree {
    /// Every pair, ascending by key.
    pub(crate) fn pairs(self) -> Box<dyn Iterator<Item = Pair> + Send> {
        match self {
            Self::Lsm { snapshot, pairs } => Box::new(snapshot.iter(&pairs).map(fjall::Guard::into_inner)),
            #[cfg(feature = "simulated")]
            Self::Simulated(pairs) => Box::new(pairs.into_iter()),
        }
    }

    /// Every pair whose key begins with `prefix`, ascending by key.
    pub(crate) fn prefix(self, prefix: Vec<u8>) -> Box<dyn Iterator<Item = Pair> + Send> {
        match self {
            Self::Lsm { snapshot, pairs } => Box::new(snapshot.prefix(&pairs, prefix).map(fjall::Guard::into_inner)),
            #[cfg(feature = "simulated")]
            Self::Simulated(pairs) => {
                Box::new(pairs.into_iter().filter(move |pair| pair.as_ref().is_ok_and(|(key, _)| key.starts_with(&prefix))))
            }
        }
    }
}
