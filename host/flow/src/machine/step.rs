//! The step: rows of many keys in, what their machines did out.

use tidemill_event::{Breaker, Field, Reason};

use crate::group::KeyIndex;
use crate::machine::instances::Instances;
use crate::machine::output::{self, Sources};
use crate::machine::rounds::rounds;
use crate::machine::taking::{Batch, Work};
use crate::machine::{MachineReport, MachineSettings, MachineState};
use crate::pattern::{Ordered, Waiting};
use crate::{FlowBatch, OnFailing, Operator, Outcome, StepId, StepState, Tested, Watermark};

/// A machine for each key, as a step.
pub struct MachineStep {
    set: MachineSettings,
    instances: Instances,
}

impl MachineStep {
    /// A step that has seen no row.
    ///
    /// # Panics
    /// If a number in the settings names nothing: they were checked when the pipeline was applied.
    pub fn new(set: MachineSettings) -> Self {
        assert!(usize::from(set.initial) < set.states.len(), "a machine begins in one of its states");
        let after = |state: &MachineState| state.timeout.as_ref().map(|timeout| timeout.after_micros);
        let states = set.states.iter().map(|state| (state.name.clone(), after(state)));
        let waiting = Waiting::new(set.order, set.judged, set.fields.clone());
        let instances = Instances::new(KeyIndex::new(set.by.clone()), waiting, set.variables.clone(), states);
        Self { set, instances }
    }

    /// The columns that come out of a machine by this key that says these columns, `_time` aside.
    pub fn fields(by: &[Field], columns: &[Field]) -> Vec<Field> {
        output::fields(by, columns)
    }
}

impl Operator for MachineStep {
    fn step(&self) -> StepId {
        self.set.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let Ordered { rows, moments } = self.instances.waiting.pass(self.set.step, input, &marks, output);
        let mut failed: Vec<(usize, String)> = Vec::new();
        let mut is_pulling = vec![false; rows.len()];
        let mut pulled: Vec<Vec<bool>> = Vec::with_capacity(self.set.triggers.len());
        for trigger in self.set.triggers.iter().filter(|_| !rows.is_empty()) {
            let Tested { passes, failed: errors } = trigger.test(&rows.rows);
            let bits: Vec<bool> = passes.iter().map(|passes| passes == Some(true)).collect();
            is_pulling.iter_mut().zip(&bits).for_each(|(is_pulling, pulls)| *is_pulling |= pulls);
            failed.extend(errors);
            pulled.push(bits);
        }
        for (row, _) in &failed {
            is_pulling[*row] = false;
        }
        let mut slots = Vec::new();
        self.instances.index.slots_of(&rows.rows, &mut slots);
        self.instances.grow();
        let work: Vec<u32> = (0..rows.len() as u32).filter(|row| is_pulling[*row as usize]).collect();
        let (set, sources) = (&self.set, Sources::new(&self.set.columns));
        let instances = &mut self.instances;
        let told = Vec::new();
        let mut batch = Batch { set, instances, sources, told, failed, moved: 0, timeouts: 0, illegal: 0, guarded: 0, unsaid: 0 };
        for round in rounds(&work, &slots) {
            let of = |row: &u32| {
                let at = *row as usize;
                Work { row: *row, slot: slots[at], moment: moments[at], origin: rows.origin[at] }
            };
            let round: Vec<Work> = round.iter().map(of).collect();
            batch.instances.touch(&round.iter().map(|work| work.slot).collect::<Vec<_>>());
            // Time has gone on since the key's last row, by the watermark before this one and by its own time.
            let now = |work: &Work| (work.slot, marks.before(work.origin).0.max(work.moment.time), Some(work.origin));
            batch.advance(round.iter().map(now).collect(), &marks);
            batch.take(&rows.rows, &round, &pulled);
        }
        let end = marks.end().0;
        loop {
            let due = batch.instances.take_due(end);
            if due.is_empty() {
                break;
            }
            batch.instances.touch(&due);
            batch.advance(due.into_iter().map(|slot| (slot, end, None)).collect(), &marks);
        }
        let Batch { sources, told, mut failed, moved, timeouts, illegal, guarded, unsaid, .. } = batch;
        if !failed.is_empty() {
            failed.sort_by_key(|(row, _)| *row);
            failed.dedup_by_key(|(row, _)| *row);
            let why = failed.into_iter().map(|(row, error)| (row, Reason::Expression, error)).collect();
            output.bury(&rows, self.set.step, why);
        }
        let made = output::rows(told, &sources, &self.instances.index, &self.set.states);
        self.instances.settle(&slots);
        let (states, oldest) = self.instances.by_state();
        output.machines.push(MachineReport { step: self.set.step, moved, timeouts, illegal, guarded, unsaid, states, oldest });
        made
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.instances)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        let timer = self.instances.deadlines.seen().map(Watermark);
        self.instances.waiting.due().into_iter().chain(timer).min()
    }
}
