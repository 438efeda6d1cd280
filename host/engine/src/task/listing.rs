//! The rest of a large state, listed behind a task's batches: so that its size says nothing about how soon the first row is taken.
//!
//! ```text
//! start ─ a tenth of a second of entries ─ rows ─ some more entries ─ rows ─ … ─ all were met: checkpoints are made, entries leave again
//!                                            └── a row of a key that was not listed asks the store
//! ```
//! Until its end the store stays as it was for this task: no checkpoint is made, nothing leaves memory, nothing is cleared away, and no checksum of
//! all state is told or compared. Whoever needs one of those first lists the rest at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tidemill_state::{Loading, TaskId};

use crate::task::loading::intact;
use crate::task::machine::Task;
use crate::task::record::Checkpoint;
use crate::task::restore::Restoring;
use crate::task::spilling::Sees;

/// So many pieces are as long as what is read at once at a start; one takes some milliseconds.
const PIECES: usize = 32;

/// What a task has not read of its state.
pub(super) struct Listing {
    loading: Loading,
    /// The checkpoint that is listed, and whether the words of it that keys went must all be there.
    checkpoint: Option<Checkpoint>,
    is_newest: bool,
    sees: Sees,
    begun: Instant,
}

impl Listing {
    pub(super) fn new(loading: Loading, checkpoint: Option<Checkpoint>, is_newest: bool, sees: Sees) -> Self {
        Self { loading, checkpoint, is_newest, sees, begun: Instant::now() }
    }

    /// All was met. The error is what is wrong with it.
    fn end(self) -> Result<(), String> {
        let written = self.loading.finish().map_err(|error| error.to_string())?;
        self.sees.everything();
        self.checkpoint.map_or(Ok(()), |checkpoint| {
            intact(&checkpoint, written, self.is_newest).map_err(|damage| {
                format!(
                    "checkpoint {} is damaged ({damage}), which was found behind rows it took: resume it, and it goes on from the checkpoint before",
                    checkpoint.id
                )
            })
        })
    }
}

/// Tasks whose last checkpoint turned out to be damaged behind rows: they read all of their state before the next one. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Suspects(Arc<Mutex<HashSet<TaskId>>>);

impl Suspects {
    pub(super) fn has(&self, task: &TaskId) -> bool {
        self.0.lock().contains(task)
    }
}

impl Task {
    /// Whether it has not met all of its state.
    pub(super) fn is_listing(&self) -> bool {
        self.listing.is_some()
    }

    /// Lists some more of its state.
    pub(super) fn list_some(&mut self) -> Result<(), String> {
        self.list((self.parts.listed_at_once / PIECES).max(1))
    }

    /// Lists the rest of its state, for what cannot be done without.
    pub(super) fn list_all(&mut self) -> Result<(), String> {
        self.list(usize::MAX).inspect_err(|_| self.suspect())
    }

    /// What is wrong with its state was found behind rows: the next start reads all of it first.
    pub(super) fn suspect(&self) {
        self.parts.suspects.0.lock().insert(self.shared.id.clone());
    }

    fn list(&mut self, most: usize) -> Result<(), String> {
        let Some(mut listing) = self.listing.take() else { return Ok(()) };
        let Self { plan, chain, drawn, .. } = self;
        let mut restoring = Restoring::new(plan, chain, 0);
        let has_all = listing
            .loading
            .some(most, |entry| restoring.take(entry))
            .map_err(|error| format!("its state cannot be read: {error}"))?;
        let (_, seen) = restoring.finish()?;
        seen.into_iter().for_each(|(step, (entries, bytes))| drawn.saw(step, entries, bytes));
        if !has_all {
            self.listing = Some(listing);
            return Ok(());
        }
        let took = listing.begun.elapsed();
        listing.end()?;
        self.chain.tables().filter_map(|(_, state)| state.spills()).for_each(|spills| spills.has_listed());
        self.account_for_state();
        self.tell_keys();
        tracing::info!(task = %self.shared.id, took_ms = took.as_millis() as u64, "all of its state is listed");
        Ok(())
    }
}
