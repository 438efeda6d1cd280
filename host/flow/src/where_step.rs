//! `where`: keeps the rows whose condition is true. Null is no; a row whose condition fails is dead.

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBufferBuilder;
use tidemill_event::{Breaker, Reason};

use crate::{FlowBatch, OnFailing, Operator, Outcome, Predicate, StepId, StepState, Tested, Watermark};

/// The step.
pub struct Where {
    step: StepId,
    condition: Box<dyn Predicate>,
}

impl Where {
    /// A step that keeps what `condition` says yes to.
    pub fn new(step: StepId, condition: Box<dyn Predicate>) -> Self {
        Self { step, condition }
    }
}

impl Operator for Where {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        if input.is_empty() {
            return input;
        }
        let Tested { passes, failed } = self.condition.test(&input.rows);
        if failed.is_empty() {
            return input.filtered(&passes);
        }
        let keep = without(passes, failed.iter().map(|(row, _)| *row));
        output.bury(&input, self.step, failed.into_iter().map(|(row, error)| (row, Reason::Expression, error)).collect());
        input.filtered(&keep)
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        None
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        None
    }
}

/// `keep` with some rows' answers turned to no.
pub(crate) fn without(keep: BooleanArray, rows: impl Iterator<Item = usize>) -> BooleanArray {
    let (values, nulls) = keep.into_parts();
    let mut bits = BooleanBufferBuilder::new(values.len());
    bits.append_buffer(&values);
    for row in rows {
        bits.set_bit(row, false);
    }
    BooleanArray::new(bits.finish(), nulls)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use tidemill_event::EventTime;

    use super::*;
    use crate::example::{Conditions, batch, show};

    fn check(rows: &str, expected: Expect) {
        let mut output = Outcome::new(EventTime(0));
        let out = Where::new(StepId(2), Box::new(Conditions)).apply(batch(rows), &mut output);
        expected.assert_eq(&show(&out, &output));
    }

    #[test]
    fn null_is_no_and_failing_rows_are_dead() {
        check("a:5 b:- c:2 d:9", expect!["2:c=2 | "]);
        check("a:1 b:13 c:2", expect!["0:a=1 2:c=2 | 1:b=13 step 2 expression unlucky"]);
        check("", expect![" | "]);
        check("a:9 b:-", expect![" | "]);
    }
}
