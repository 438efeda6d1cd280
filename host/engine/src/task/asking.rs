//! What somebody asks of a task between two batches: what a step holds of a key.

use arrow_array::RecordBatch;
use crossbeam_channel::Sender;
use serde_json::Value;
use tidemill_event::json::RowEncoder;
use tidemill_event::{PartitionId, StreamSchema, UnknownFields};
use tidemill_flow::{KeyState, StepId};

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

    fn answered(&mut self, step: StepId, key: &RecordBatch) -> Result<Answered, String> {
        if !self.recovered.commits.is_empty() {
            return Err("it is still taking committed rows again after a start: try again".to_owned());
        }
        let state = self.chain.tables().find(|(id, _)| *id == step).and_then(|(_, state)| state.of_key(key));
        let Some(state) = state else {
            return Err(format!("`{}` does not say what it holds", self.plan.step_name(step.0)));
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
