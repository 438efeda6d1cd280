//! What is asked of the rows of one side alone, before they are kept for a join.
//!
//! A row that no pair can be made of, and that does not come out without one, waits for nobody: it need not be kept. Which conditions
//! may be asked so early is the plan's to say: of a left join, those on right rows only.

use tidemill_event::{Breaker, EventTime};

use crate::{FlowBatch, OnFailing, Operator, Outcome, Side, StepId, StepState, Watermark, Where};

/// A join, and the conditions on its sides.
pub struct SidedJoin {
    left: Option<Where>,
    right: Option<Where>,
    join: Box<dyn Operator>,
}

impl SidedJoin {
    /// `left` and `right` have the join's number, and see the columns of their side by their own names.
    pub fn new(left: Option<Where>, right: Option<Where>, join: Box<dyn Operator>) -> Self {
        Self { left, right, join }
    }
}

impl Operator for SidedJoin {
    fn step(&self) -> StepId {
        self.join.step()
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let condition = match output.side() {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        };
        let input = match condition {
            Some(condition) => condition.apply(input, output),
            None => input,
        };
        self.join.apply(input, output)
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        self.join.state()
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        self.join.due()
    }

    fn due_at(&self) -> Option<EventTime> {
        self.join.due_at()
    }
}
