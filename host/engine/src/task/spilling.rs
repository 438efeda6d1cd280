//! Entries of steps that leave memory: what a task reads of its own state in the store while it runs, and when entries go.
//!
//! ```text
//! memory gets tight ── stored entries leave, some thousand behind each batch ── still over ── a checkpoint, waited for ── they leave
//! ```
//! Reading is the worker's own: a batch whose keys are cold waits for the disk, and with it the tasks of that worker.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidemill_flow::{Chain, ColdEntries, EachStored, Save};
use tidemill_state::{CheckpointId, Cold, StateError, StateStore, TaskId};

use crate::plan::Plan;
use crate::task::drawing::DRAW_ENTRIES;
use crate::task::machine::Task;
use crate::task::restore::{operator_of, save_of};

/// Entries that leave behind one batch: more than a batch can bring.
const SPILL_ENTRIES: usize = 16_384;

/// Why an entry could not be read, if one could not: what was computed without it may not be committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost(Arc<Mutex<Option<String>>>);

impl Lost {
    /// Nothing, as long as every entry was read.
    pub(super) fn check(&self) -> Result<(), String> {
        self.0.lock().clone().map_or(Ok(()), |why| Err(format!("its state cannot be read: {why}")))
    }

    fn note(&self, why: &dyn Display) {
        self.0.lock().get_or_insert_with(|| why.to_string());
    }
}

/// Up to which checkpoint a task sees the store. What lies above the one it began with never became true; it is cleared away when all was
/// listed, and from then on there is nothing above that is not the task's own.
#[derive(Debug, Clone)]
pub(super) struct Sees(Arc<AtomicU64>);

impl Sees {
    pub(super) fn up_to(checkpoint: CheckpointId) -> Self {
        Self(Arc::new(AtomicU64::new(checkpoint.0)))
    }

    pub(super) fn everything(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }

    fn as_of(&self) -> CheckpointId {
        CheckpointId(self.0.load(Ordering::Relaxed))
    }
}

/// The entries of a step in the store.
struct Shelf {
    cold: Cold,
    lost: Lost,
    sees: Sees,
}

impl Shelf {
    fn or_lost<T: Default>(&self, read: Result<T, StateError>) -> T {
        read.unwrap_or_else(|error| {
            self.lost.note(&error);
            T::default()
        })
    }
}

impl ColdEntries for Shelf {
    fn read(&self, key: &[u8], save: Save) -> Option<Vec<u8>> {
        self.or_lost(match save {
            Save::UNKNOWN => self.cold.newest(key, self.sees.as_of()),
            Save(number) => self.cold.get(key, CheckpointId(u64::from(number))),
        })
    }

    fn read_all(&self, begins: &[u8], each: EachStored<'_>) {
        self.or_lost(self.cold.each(begins, self.sees.as_of(), |key, value, stored| each(key, value, save_of(stored))));
    }

    fn first_from(&self, from: &[u8]) -> Option<Vec<u8>> {
        self.or_lost(self.cold.first_from(from, self.sees.as_of()))
    }

    fn is_lost(&self, why: &dyn Display) {
        self.lost.note(why);
    }
}

/// Lets the steps of a task use the store. Where it is told what could not be read.
pub(super) fn spill_to(store: &StateStore, task: &TaskId, sees: &Sees, plan: &Plan, chain: &mut Chain) -> Lost {
    let lost = Lost::default();
    for (step, state) in chain.tables() {
        if let (Some(operator), Some(spills)) = (operator_of(plan, step.0), state.spills()) {
            let cold = Cold::new(store.clone(), task, operator);
            spills.spill_to(Arc::new(Shelf { cold, lost: lost.clone(), sees: sees.clone() }));
        }
    }
    lost
}

impl Task {
    /// Lets stored entries leave while memory is tight. How many left.
    pub(super) fn spill_if_tight(&mut self) -> usize {
        if !self.share.is_tight() {
            return 0;
        }
        let saved = Save::number(self.saved.0);
        let spilling = self.chain.tables().filter_map(|(_, state)| Some(state.spills()?.spill(saved, SPILL_ENTRIES)));
        let left = spilling.sum();
        if left > 0 {
            self.account_for_state();
        }
        left
    }

    /// Lets stored entries leave; if none can, what is in memory is on its way to be stored. Rows wait for a checkpoint under way: taken now they
    /// would be changes of the next one, all of which would have to be drawn at once when memory is full.
    pub(super) fn spill_or_store(&mut self) {
        if self.spill_if_tight() > 0 {
            return;
        }
        let is_much = self.unsaved().1 > DRAW_ENTRIES;
        if is_much && self.is_saving() {
            self.wait_for_checkpoint();
            self.spill_if_tight();
        } else if self.is_unsaved(16) {
            self.draw_for_checkpoint();
        }
    }

    /// Whether a checkpoint would let that part of what is in memory leave: what is not stored cannot.
    pub(super) fn is_unsaved(&mut self, part: usize) -> bool {
        let (unsaved, in_memory) = self.unsaved();
        unsaved > 0 && unsaved >= in_memory / part
    }

    /// Of the steps whose entries can leave: how many changed since they were stored, and how many are in memory.
    fn unsaved(&mut self) -> (usize, usize) {
        self.chain.tables().fold((0, 0), |(unsaved, in_memory), (_, state)| {
            match state.spills().map(|spills| spills.cold_len()) {
                Some(cold) => (unsaved + state.changed_len(), in_memory + state.len() - cold),
                None => (unsaved, in_memory),
            }
        })
    }

    /// Gets its state within what there is for all, if that can be done by letting entries leave: what is not stored yet is stored first.
    pub(super) fn spill_until_it_fits(&mut self) {
        while self.share.is_over() {
            if self.spill_if_tight() > 0 {
                continue;
            }
            if self.unsaved().0 > 0 && !self.is_saving() {
                self.take_checkpoint(false, None);
            }
            if !self.wait_for_checkpoint() {
                break;
            }
        }
    }
}
