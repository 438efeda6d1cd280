//! How the keys of a `machine` step stand, and what moved them since the host started, as `status` shows it.

use serde::Serialize;
use tidemill_event::EventTime;
use tidemill_flow::machine::MachineReport;

use crate::plan::{Plan, PlannedKind};

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineStatus {
    /// Its states, in the order of the text.
    pub states: Vec<MachineStateStatus>,
    /// Transitions that rows made.
    pub moved: u64,
    /// Transitions that time made.
    pub timeouts: u64,
    /// Rows that pulled a trigger for which the state of their key has no transition.
    pub illegal: u64,
    /// Rows whose every transition had a guard that said no.
    pub guarded: u64,
    /// Expressions that failed as time moved a machine: what they would have said is null.
    pub unsaid: u64,
}

/// A state of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineStateStatus {
    /// Its name.
    pub state: String,
    /// Keys in it now.
    pub keys: u64,
    /// Since when the key is in it that came first: who is stuck stands here.
    pub oldest_since: Option<String>,
}

impl MachineStatus {
    /// Nothing moved yet; `None`: the step is no machine.
    pub(crate) fn of(plan: &Plan, step: u32) -> Option<Self> {
        let PlannedKind::Machine(planned) = &plan.steps.get(step as usize)?.kind else { return None };
        let state = |name: &String| MachineStateStatus { state: name.clone(), keys: 0, oldest_since: None };
        let states = planned.states.iter().filter(|planned| !planned.is_final).map(|planned| state(&planned.name)).collect();
        Some(Self { states, moved: 0, timeouts: 0, illegal: 0, guarded: 0, unsaid: 0 })
    }

    /// A batch was taken.
    pub(crate) fn took(&mut self, report: &MachineReport, plan: &Plan) {
        let Some(PlannedKind::Machine(planned)) = plan.steps.get(report.step.0 as usize).map(|step| &step.kind) else { return };
        self.moved += report.moved;
        self.timeouts += report.timeouts;
        self.illegal += report.illegal;
        self.guarded += report.guarded;
        self.unsaid += report.unsaid;
        let there = planned.states.iter().zip(&report.states).zip(&report.oldest);
        self.states = there
            .filter(|((planned, _), _)| !planned.is_final)
            .map(|((planned, keys), oldest)| MachineStateStatus {
                state: planned.name.clone(),
                keys: *keys,
                oldest_since: oldest.map(|since| EventTime(since).to_rfc3339()),
            })
            .collect();
    }

    /// What another task's did, of the same machine.
    pub(crate) fn add(&mut self, other: &Self) {
        self.moved += other.moved;
        self.timeouts += other.timeouts;
        self.illegal += other.illegal;
        self.guarded += other.guarded;
        self.unsaid += other.unsaid;
        for (mine, other) in self.states.iter_mut().zip(&other.states) {
            mine.keys += other.keys;
            // Times of one form and one zone: their order is that of their text.
            let oldest = [mine.oldest_since.take(), other.oldest_since.clone()].into_iter().flatten().min();
            mine.oldest_since = oldest;
        }
    }

    /// Another plan goes on with the step: how keys stand is told anew.
    pub(crate) fn carried(before: &Self, plan: &Plan, step: u32) -> Option<Self> {
        let new = Self::of(plan, step)?;
        Some(Self { states: new.states, ..before.clone() })
    }
}
