//! `transform`: a component makes 0..n rows of each row.
//!
//! A made row's origin and time are those of the row it came from, unless the component declares one of its fields as the new time.
//! With `keep_input` the source row's fields stand before the made ones; a made field of the same name takes the old one's place.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array, new_empty_array, new_null_array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Field as ArrowField;
use arrow_select::take::take;
use tidemill_event::batch::time_field;
use tidemill_event::{Breaker, Field, Reason, TransformAnswer};

use crate::aside::set_aside;
use crate::batch::{assemble, field_of};
use crate::calls::Calls;
use crate::rule::{RuleStep, null_outputs};
use crate::where_step::without;
use crate::{Apply, FlowBatch, Isolation, Keyed, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// What a transform step is told by the plan.
pub struct TransformSettings {
    /// Its place in the pipeline.
    pub step: StepId,
    /// The columns the component reads, in its order; all are in the batch.
    pub columns: Vec<Field>,
    /// The columns it makes, in its order.
    pub outputs: Vec<Field>,
    /// The output (a timestamp) that is the made rows' time.
    pub time: Option<Arc<str>>,
    /// Whether the source row's fields stay.
    pub keep_input: bool,
    /// Keyed state, if the component declares any.
    pub keyed: Option<Keyed>,
    /// What happens when the component keeps failing. To pass, `keep_input` must be set: else there is nothing of the row to go on.
    pub isolation: Isolation,
}

/// The step.
pub struct TransformStep {
    making: Making,
    calls: Calls,
    component: Box<Apply>,
}

impl TransformStep {
    /// A step over a transform whose declaration the settings repeat.
    ///
    /// # Panics
    /// If `time` names no timestamp among the outputs: the runtime checked the declaration.
    pub fn new(settings: TransformSettings, component: Box<Apply>) -> Self {
        let TransformSettings { step, columns, outputs, time, keep_input, keyed, isolation } = settings;
        if let Some(time) = &time {
            let field = outputs.iter().find(|field| field.name == *time);
            let is_timestamp =
                field.is_some_and(|field| field.ty.arrow() == tidemill_event::batch::time_field().data_type().clone());
            assert!(is_timestamp, "`{time}` is no timestamp output");
        }
        let made = RuleStep::added_fields(&outputs, None, isolation.on_failing);
        Self {
            making: Making { step, outputs, made, time, keep_input },
            calls: Calls::new(step, columns, keyed, isolation),
            component,
        }
    }
}

/// What a transform's answers make of rows.
struct Making {
    step: StepId,
    outputs: Vec<Field>,
    /// The outputs as the rows get them.
    made: Vec<Field>,
    time: Option<Arc<str>>,
    keep_input: bool,
}

impl Making {
    /// Made rows: columns of the source if kept, made columns, the source's time.
    fn rows(&self, input: &FlowBatch, source_rows: Vec<u32>, columns: Vec<ArrayRef>) -> FlowBatch {
        let origin = source_rows.iter().map(|row| input.origin[*row as usize]).collect();
        let made = source_rows.len();
        let indices = UInt32Array::from(source_rows);
        let source = |column: &ArrayRef| take(column, &indices, None).expect("source rows are rows of the call");
        let old = input.rows.schema_ref().fields();
        let last = old.len() - 1;
        let added = self.made.iter().zip(columns).map(|(field, column)| (field_of(field, &column), column)).collect();
        let (fields, kept) = if self.keep_input {
            (old.iter().cloned().collect(), input.rows.columns().iter().map(source).collect())
        } else {
            (vec![Arc::new(time_field())], vec![source(input.rows.column(last))])
        };
        FlowBatch { rows: assemble(fields, kept, made), origin }.with_columns(added)
    }

    /// Sets the rows' time to the declared field's; rows without one are dead.
    fn retime(&self, made: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let Some(name) = &self.time else { return made };
        let column = made.rows.column_by_name(name).expect("the declared time is an output").clone();
        let made = if column.null_count() > 0 {
            let dead: Vec<_> = (0..column.len())
                .filter(|row| column.is_null(*row))
                .map(|row| (row, Reason::Schema, format!("`{name}` is the rows' time and null in this one")))
                .collect();
            let all = BooleanArray::new(BooleanBuffer::new_set(made.len()), None);
            let keep = without(all, dead.iter().map(|(row, ..)| *row));
            output.bury(&made, self.step, dead);
            made.filtered(&keep)
        } else {
            made
        };
        let time = made.rows.column_by_name(name).expect("the declared time is an output");
        let time = time.as_primitive::<TimestampMicrosecondType>().clone();
        // Without its nulls' buffer: `_time` has none.
        let (data_type, values) = (time.data_type().clone(), time.values().clone());
        let time = arrow_array::TimestampMicrosecondArray::new(values, None).with_data_type(data_type);
        let fields: Vec<Arc<ArrowField>> = made.rows.schema_ref().fields().iter().cloned().collect();
        let mut columns = made.rows.columns().to_vec();
        *columns.last_mut().expect("an event batch has `_time`") = Arc::new(time);
        FlowBatch { rows: assemble(fields, columns, made.len()), origin: made.origin }
    }

    fn nothing(&self, input: &FlowBatch) -> FlowBatch {
        let columns = self.made.iter().map(|field| new_empty_array(&field.ty.arrow())).collect();
        self.rows(input, Vec::new(), columns)
    }

    /// Rows that skip the step, one for one, at their own time.
    fn unmade(&self, input: &FlowBatch) -> FlowBatch {
        let columns = self.made.iter().map(|field| new_null_array(&field.ty.arrow(), input.len())).collect();
        self.rows(input, (0..input.len() as u32).collect(), columns)
    }

    fn take(&self, input: &FlowBatch, answer: TransformAnswer, output: &mut Outcome) -> FlowBatch {
        assert!(answer.source_rows.is_sorted(), "a checked answer's source rows never descend");
        // A null where none may be is its source row's fault: nothing made of that row goes on.
        let nulls = null_outputs(&self.outputs, &answer.columns)
            .into_iter()
            .map(|(row, reason, error)| (answer.source_rows[row] as usize, reason, error))
            .collect();
        let gone = set_aside(input, self.step, answer.notes, nulls, output);
        if gone.is_empty() {
            return self.retime(self.rows(input, answer.source_rows, answer.columns), output);
        }
        let mut is_gone = vec![false; input.len()];
        gone.into_iter().for_each(|row| is_gone[row] = true);
        let kept: Vec<u32> =
            (0..answer.source_rows.len() as u32).filter(|row| !is_gone[answer.source_rows[*row as usize] as usize]).collect();
        let source_rows = kept.iter().map(|row| answer.source_rows[*row as usize]).collect();
        let kept = UInt32Array::from(kept);
        let columns = answer.columns.iter().map(|column| take(column, &kept, None).expect("rows of the answer")).collect();
        self.retime(self.rows(input, source_rows, columns), output)
    }
}

impl Operator for TransformStep {
    fn step(&self) -> StepId {
        self.making.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let Self { making, calls, component } = self;
        if input.is_empty() {
            calls.forget(output);
            return making.nothing(&input);
        }
        let take = |rows: &FlowBatch, answer, output: &mut Outcome| making.take(rows, answer, output);
        let made = calls.run(&input, output, &mut **component, take, |rows| making.unmade(rows));
        calls.forget(output);
        made.unwrap_or_else(|| making.nothing(&input))
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        self.calls.memory.as_mut().map(|keyed| &mut keyed.table as &mut dyn StepState)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        let Isolation { on_failing, breaker } = &mut self.calls.isolation;
        Some((breaker, *on_failing))
    }

    fn due(&self) -> Option<Watermark> {
        None
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use tidemill_event::{EventTime, FieldType};

    use super::*;
    use crate::example::{Repeating, batch, show, show_times};

    fn step(keep_input: bool, time: bool) -> TransformStep {
        TransformStep::new(
            TransformSettings {
                step: StepId(3),
                columns: vec![Field::new("v", FieldType::Int64, true)],
                outputs: vec![Field::new("at", FieldType::Timestamp(None), true), Field::new("i", FieldType::Int64, false)],
                time: time.then(|| "at".into()),
                keep_input,
                keyed: None,
                isolation: Isolation::new(OnFailing::Hold),
            },
            Box::new(Repeating),
        )
    }

    fn check(keep_input: bool, rows: &str, expected: Expect) {
        let mut output = Outcome::new(EventTime(0));
        let out = step(keep_input, false).apply(batch(rows), &mut output);
        expected.assert_eq(&show(&out, &output));
    }

    #[test]
    fn each_row_becomes_as_many_as_it_says() {
        check(false, "a:2 b:0 c:1", expect!["0:at=100,i=0 0:at=101,i=1 2:at=-,i=0 | "]);
        check(true, "a:2 b:0 c:1", expect!["0:a=2,at=100,i=0 0:a=2,at=101,i=1 2:c=1,at=-,i=0 | "]);
        check(true, "", expect![" | "]);
    }

    #[test]
    fn a_rejected_row_takes_what_was_made_of_it_along() {
        check(
            false,
            "a:1 b:13 c:2",
            expect!["0:at=-,i=0 2:at=100,i=0 2:at=101,i=1 | 1:b=13 step 3 rejected_by_component unlucky"],
        );
        check(false, "a:1 b:666", expect!["0:at=-,i=0 | 1:b=666 step 3 out_of_fuel spun"]);
    }

    #[test]
    fn time_follows_the_source_or_the_declared_field() {
        let mut output = Outcome::new(EventTime(0));
        assert_eq!(show_times(&step(false, false).apply(batch("a:2 b:2"), &mut output)), "0 0 1 1");
        assert_eq!(show_times(&step(true, true).apply(batch("a:2 b:2"), &mut output)), "100 101 100 101");
        let out = step(false, true).apply(batch("a:1 b:2"), &mut output);
        assert_eq!(
            show(&out, &output),
            "1:at=100,i=0 1:at=101,i=1 | 0:at=-,i=0 step 3 schema `at` is the rows' time and null in this one"
        );
    }
}
