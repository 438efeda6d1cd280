//! A double of the LSM tree, for crash tests: in memory, and it loses what was not synced.
//!
//! The tree opens files of its own, which no simulated disk sees. Its double promises no more than the tree does: a batch is there
//! wholly or not at all, and before a sync any of them may be lost, whatever came behind it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fjall::{UserKey, UserValue};

use crate::CheckpointId;
use crate::tree::Pair;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;
type Batch = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// See the module's words. Clones are the same tree.
#[derive(Clone, Default)]
pub struct SimulatedTree {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// What programs read.
    pairs: Pairs,
    /// What is on disk.
    synced: Pairs,
    unsynced: Vec<Batch>,
    /// Syncs and commits until one fails, and all after it.
    calls_left: Option<u64>,
    /// Until one fails, and no other.
    once: Option<u64>,
    off: bool,
}

impl SimulatedTree {
    /// The tree as the machine finds it when it comes back: what was synced, and of the other batches those that `keep` says, asked
    /// in order. This one answers nothing any more.
    #[must_use]
    pub fn cut(&self, mut keep: impl FnMut() -> bool) -> Self {
        let mut shared = self.lock();
        shared.off = true;
        let mut pairs = std::mem::take(&mut shared.synced);
        for batch in std::mem::take(&mut shared.unsynced) {
            if keep() {
                apply(&mut pairs, batch);
            }
        }
        Self { shared: Arc::new(Mutex::new(Shared { synced: pairs.clone(), pairs, ..Shared::default() })) }
    }

    /// The `calls`-th commit or sync from now fails, and all after it.
    pub fn fail_after(&self, calls: u64) {
        self.lock().calls_left = Some(calls);
    }

    /// The `calls`-th commit or sync from now fails, counted from 0, and none after it.
    pub fn fail_once(&self, calls: u64) {
        self.lock().once = Some(calls);
    }

    /// Turns a byte in every value that was written under this checkpoint, as a disk may. How many.
    pub fn damage(&self, checkpoint: CheckpointId) -> usize {
        let mut shared = self.lock();
        let Shared { pairs, synced, .. } = &mut *shared;
        let turn = |pairs: &mut Pairs| {
            let written = pairs.iter_mut().filter(|(key, value)| key.ends_with(&checkpoint.0.to_be_bytes()) && value.len() > 1);
            written.map(|(_, value)| value.last_mut().into_iter().for_each(|byte| *byte ^= 0x40)).count()
        };
        turn(synced);
        turn(pairs)
    }

    pub(crate) fn commit(&self, batch: Batch) -> Result<(), fjall::Error> {
        let mut shared = self.lock();
        shared.enter()?;
        apply(&mut shared.pairs, batch.clone());
        shared.unsynced.push(batch);
        Ok(())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<UserValue>, fjall::Error> {
        let shared = self.lock();
        if shared.off {
            return Err(off());
        }
        Ok(shared.pairs.get(key).map(|value| UserValue::from(value.as_slice())))
    }

    pub(crate) fn prefix(&self, prefix: &[u8]) -> Vec<Pair> {
        let shared = self.lock();
        if shared.off {
            return vec![Err(off())];
        }
        let from = shared.pairs.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        from.map(|(key, value)| Ok((UserKey::from(key.as_slice()), UserValue::from(value.as_slice())))).collect()
    }

    pub(crate) fn sync(&self) -> Result<(), fjall::Error> {
        let mut shared = self.lock();
        let shared = &mut *shared;
        shared.enter()?;
        for batch in shared.unsynced.drain(..) {
            apply(&mut shared.synced, batch);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn enter(&mut self) -> Result<(), fjall::Error> {
        if let Some(left) = &mut self.calls_left {
            *left = left.saturating_sub(1);
            self.off |= *left == 0;
        }
        match &mut self.once {
            Some(0) => {
                self.once = None;
                return Err(fjall::Error::Io(io::Error::other("planted")));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        if self.off { Err(off()) } else { Ok(()) }
    }
}

fn off() -> fjall::Error {
    fjall::Error::Io(io::Error::other("the power is off"))
}

fn apply(pairs: &mut Pairs, batch: Batch) {
    for (key, value) in batch {
        match value {
            Some(value) => pairs.insert(key, value),
            None => pairs.remove(&key),
        };
    }
}
