//! What somebody asks of a task between two batches: what a step holds of a key, and how much is open of its patterns.

use arrow_array::RecordBatch;
use crossbeam_channel::Sender;
use serde_json::Value;
use tidemill_event::json::RowEncoder;
use tidemill_event::{PartitionId, StreamSchema, UnknownFields};
use tidemill_flow::{KeyState, StepId, StepState};

use crate::open_patterns::OpenByStep;
use crate::pattern_status::DrainingStatus;
use crate::task::machine::Task;
use crate::task::time::shown;

/// What a task answers.
pub(crate) struct Answered {
    /// Its place in its stage: the partition of what that reads.
    pub(crate) partition: PartitionId,
    /// Its watermark.
    pub(crate) watermark: Option<String>,
    /// What the step holds of the key; empty if nothing.
    pub(crate) state: Vec<Value>,
}

/// Who waits for the answer; the error says why there is none now.
pub(crate) type Asker = Sender<Result<Answered, String>>;

impl Task {
    /// Says what a step holds of a key as of the last commit, which may not be on disk yet. `key` is one row of the key's columns.
    pub(crate) fn answer(&mut self, step: StepId, key: &RecordBatch, asker: &Asker) {
        // Whoever waited may have given up at its deadline.
        let _ = asker.send(self.answered(step, key));
    }

    /// Says what is open of its patterns; nothing while it does not know that.
    pub(crate) fn count_open(&mut self, asker: &Sender<OpenByStep>) {
        if let Some(open) = self.open_patterns() {
            let _ = asker.send(open);
        }
    }

    /// What is open of its patterns. `None`: it is still taking committed rows again.
    pub(super) fn open_patterns(&mut self) -> Option<OpenByStep> {
        let of_steps = self.chain.tables().map(|(step, table)| (step.0, table.open_runs()));
        self.recovered.commits.is_empty().then(|| of_steps.filter(|(_, open)| !open.is_empty()).collect())
    }

    /// Leaves what is open of its patterns to whoever asks when it has ended.
    pub(super) fn leave_open_count(&mut self) {
        let open = self.open_patterns();
        self.shared.update(|seen| seen.open = open);
    }

    /// Lets others see what is left of patterns that are drained.
    pub(super) fn tell_draining(&mut self) {
        let (of_steps, plan) = (self.draining(), &self.plan);
        if of_steps.is_empty() {
            return;
        }
        self.shared.update(|seen| {
            for (step, draining) in of_steps {
                seen.step(plan, step).draining = draining;
            }
        });
    }

    /// What is left of patterns that are drained, by step; steps without one are not in it.
    pub(super) fn draining(&mut self) -> Vec<(u32, Vec<DrainingStatus>)> {
        let plan = &self.plan;
        let of_step = |(step, table): (StepId, &mut dyn StepState)| {
            let draining = plan.steps.get(step.0 as usize)?.kind.draining();
            let open = if draining.is_empty() { Vec::new() } else { table.open_runs() };
            let of = |at: usize| open.get(at).map(DrainingStatus::new);
            Some((step.0, draining.into_iter().filter_map(of).collect::<Vec<_>>())).filter(|(_, draining)| !draining.is_empty())
        };
        self.chain.tables().filter_map(of_step).collect()
    }

    fn answered(&mut self, step: StepId, key: &RecordBatch) -> Result<Answered, String> {
        if !self.recovered.commits.is_empty() {
            return Err("it is still taking committed rows again after a start: try again".to_owned());
        }
        let state = self.chain.tables().find(|(id, _)| *id == step).and_then(|(_, state)| state.of_key(key));
        let Some(state) = state else {
            let step = self.plan.step_name(step.0);
            return Err(format!("`{step}` cannot say it now: too much of what it holds lies on disk, and not by its key"));
        };
        // What could not be read of the store is not what the step holds.
        self.lost.check()?;
        let watermark = shown(self.time.watermark_now());
        Ok(Answered { partition: self.place, watermark, state: rows_as_json(&state) })
    }
}

fn rows_as_json(state: &KeyState) -> Vec<Value> {
    let schema = StreamSchema { fields: state.fields.clone(), unknown: UnknownFields::Drop, infer: false };
    let encoder = RowEncoder::new(&schema, None);
    let row = |row| serde_json::from_str(&encoder.one(&state.rows, row)).expect("an encoder writes JSON");
    (0..state.rows.num_rows()).map(row).collect()
}
