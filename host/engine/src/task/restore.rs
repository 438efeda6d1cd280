//! Stored state back into the steps it belongs to.

use std::collections::HashMap;

use tidemill_flow::{Chain, Save, StepState};
use tidemill_state::{Change, LoadedEntry, Stored};

use crate::plan::Plan;
use crate::task::KEPT_FROM;
use crate::task::drawing::ENTRY_BYTES;

/// The number under which the state of a step is kept.
pub(crate) fn operator_of(plan: &Plan, step: u32) -> Option<u32> {
    plan.state_of(step).map(|state| state.operator)
}

pub(super) fn save_of(stored: Stored) -> Save {
    match stored {
        Stored::Under(checkpoint) => Save::number(checkpoint.0),
        Stored::Nothing | Stored::Unknown => Save::UNKNOWN,
    }
}

/// The steps of a task on their way to the state they had: entries come one after the other, in order of operator.
pub(super) struct Restoring<'a> {
    plan: &'a Plan,
    tables: HashMap<u32, (u32, &'a mut dyn StepState)>,
    /// What no step keeps: the task's own.
    pub(super) own: Vec<Change>,
    /// Per step, how many entries, and their bytes.
    pub(super) seen: HashMap<u32, (usize, usize)>,
    failed: Option<String>,
    /// Memory for entries. When it is used up, those that need not be there stay in the store.
    room: u64,
    /// The last one: its operator and key.
    last: (u32, Vec<u8>),
}

impl<'a> Restoring<'a> {
    pub(super) fn new(plan: &'a Plan, chain: &'a mut Chain, room: u64) -> Self {
        let tables = chain.tables().filter_map(|(step, table)| Some((operator_of(plan, step.0)?, (step.0, table))));
        Self { plan, tables: tables.collect(), own: Vec::new(), seen: HashMap::new(), failed: None, room, last: (0, Vec::new()) }
    }

    /// Puts an entry into the step it belongs to. State of a step that the plan no longer has stays where it is.
    pub(super) fn take(&mut self, entry: LoadedEntry<'_>) {
        let LoadedEntry { operator, key, value, stored } = entry;
        if operator >= KEPT_FROM {
            return self.own.push(Change { operator, key: key.to_vec(), value: Some(value.to_vec()), stored });
        }
        let Some((step, table)) = self.tables.get_mut(&operator) else { return };
        self.last.0 = operator;
        self.last.1.clear();
        self.last.1.extend_from_slice(key);
        let (entries, bytes) = self.seen.entry(*step).or_default();
        (*entries, *bytes) = (*entries + 1, *bytes + key.len() + value.len());
        if self.failed.is_some() {
            return;
        }
        let takes = (key.len() + value.len()) as u64 + ENTRY_BYTES;
        let restored = match table.spills().filter(|_| takes > self.room) {
            Some(spills) => spills.restore_cold(key, value, save_of(stored)),
            None => {
                self.room = self.room.saturating_sub(takes);
                table.restore_entry(key, value)
            }
        };
        if let Err(error) = restored {
            self.failed = Some(format!("state of {}: {error}", self.plan.step_name(*step)));
        }
    }

    /// Whether all steps that did not get all of their entries can begin without the rest ([`tidemill_flow::Spills::list_later`]).
    pub(super) fn list_later(&mut self) -> bool {
        let (operator, key) = &self.last;
        let waiting = self.tables.iter_mut().filter(|(number, _)| *number >= operator);
        let can = self.failed.is_none()
            && waiting.fold(true, |can, (number, (_, table))| {
                let up_to = (number == operator).then_some(key.as_slice());
                can && table.spills().is_some_and(|spills| spills.list_later(up_to))
            });
        if !can {
            self.tables.values_mut().filter_map(|(_, table)| table.spills()).for_each(|spills| spills.has_listed());
        }
        can
    }

    /// The task's own state, and what entries of each step were like; or why the first of them does not read.
    #[expect(clippy::type_complexity, reason = "two halves of a task, taken apart in one place")]
    pub(super) fn finish(self) -> Result<(Vec<Change>, HashMap<u32, (usize, usize)>), String> {
        self.failed.map_or(Ok((self.own, self.seen)), Err)
    }
}
