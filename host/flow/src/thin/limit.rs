//! `dedupe` and `rate`: of the rows of a key at most so many in any stretch of event time, in the order they come.
//!
//! ```text
//! row ─┬─ t < W − lateness ─────────────────────► late: rows near it may be forgotten
//!      ├─ N rows of its key passed within `per` ► dropped and counted, or told by a column
//!      └─ else ─────────────────────────────────► passes
//! ```
//! "Within" is nearer than `per` on either side: a row that comes out of order is held back by later ones as well, so that no stretch ever has
//! more. Exactly `per` apart is far enough. Rows that did not pass hold nobody back.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::BooleanArray;
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use tidemill_event::batch::times;
use tidemill_event::{Breaker, Field, FieldType};

use crate::group::KeyIndex;
use crate::thin::passed::Passed;
use crate::time::Watermark;
use crate::window::LateList;
use crate::{FlowBatch, Judged, OnFailing, Operator, Outcome, StepId, StepState};

/// What the step does.
pub struct LimitSettings {
    /// Which step it is.
    pub step: StepId,
    /// The key's columns; none: one key for all. Null is a value like any other.
    pub by: Vec<Field>,
    /// How many rows of a key pass.
    pub rows: u32,
    /// Within what time.
    pub per: Duration,
    /// Rows so far behind the watermark are still judged; a key is remembered for `per` and so long.
    pub lateness: Duration,
    /// What decides that a row is late.
    pub judged: Judged,
    /// Rows beyond the limit go on too, and this bool column says which they are.
    pub flag: Option<Arc<str>>,
}

/// The step.
pub struct Limit {
    step: StepId,
    lateness: i64,
    judged: Judged,
    flag: Option<Field>,
    state: Passed,
}

impl Limit {
    /// A step that has seen no row.
    ///
    /// # Panics
    /// If no row at all may pass, or the time is none.
    pub fn new(settings: LimitSettings) -> Self {
        let LimitSettings { step, by, rows, per, lateness, judged, flag } = settings;
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let (per, lateness) = (micros(per), micros(lateness));
        assert!(rows > 0 && per > 0, "some rows pass in some time");
        let state = Passed::new(KeyIndex::new(by), rows as usize, per, lateness);
        Self { step, lateness, judged, flag: flag.map(|name| Field::new(&name, FieldType::Bool, false)), state }
    }

    /// The column it adds, if there is one.
    pub fn added(&self) -> Option<&Field> {
        self.flag.as_ref()
    }

    /// Rows too far behind leave.
    fn judged(&self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let (mut kept, mut late) = (BooleanBufferBuilder::new(input.len()), LateList::default());
        for ((row, time), origin) in (0u32..).zip(times(&input.rows).values()).zip(&input.origin) {
            let judge = match self.judged {
                Judged::ByLane => marks.judge(*origin),
                Judged::ByTask => marks.before(*origin),
            };
            let is_late = time.saturating_add(self.lateness) < judge.0;
            kept.append(!is_late);
            if is_late {
                late.push(row, judge, None);
            }
        }
        if late.is_empty() {
            return input;
        }
        output.dropped_late += late.len() as u64;
        late.tell(self.step, &input, output);
        input.filtered(&BooleanArray::new(kept.finish(), None))
    }
}

impl Operator for Limit {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let end = output.marks().end();
        let rows = self.judged(input, output);
        let state = &mut self.state;
        let mut slots = Vec::new();
        state.index.slots_of(&rows.rows, &mut slots);
        state.warm(&slots);
        let row = slots.iter().zip(times(&rows.rows).values());
        let passes: BooleanBuffer = row.map(|(slot, time)| state.admit(*slot, *time)).collect();
        state.index.forget_unheld(&slots);
        state.forget(end);
        if let Some(flag) = &self.flag {
            let column = Arc::new(BooleanArray::new(!&passes, None));
            return rows.with_columns(vec![(flag.arrow(), column)]);
        }
        output.drop_rows(self.step, passes.len() - passes.count_set_bits());
        rows.filtered(&BooleanArray::new(passes, None))
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.state)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    /// Nothing comes out because time goes by; what may be forgotten is forgotten with the next batch.
    fn due(&self) -> Option<Watermark> {
        None
    }
}
