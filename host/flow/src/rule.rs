//! `rule`: a component says yes or no per row, may add columns and keep state per key.
//!
//! One call per batch. A row with a note (reject, retry after) is dead whatever its verdict says; what its call did to the state stands.
//! A call that does not return takes every row of the batch with it and leaves the state as it was.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, new_empty_array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Field as ArrowField;
use arrow_select::filter::filter;
use tidemill_event::{Ending, Field, FieldType, NoteKind, Reason, RowNote, RuleCall};

use crate::batch::{columns_named, field_of};
use crate::where_step::without;
use crate::{FlowBatch, Judge, Keyed, KeyedTable, Operator, Outcome, StepId};

/// Which rows go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Those the rule says yes to.
    Matching,
    /// Those it says no to.
    Failing,
    /// All of them.
    All,
}

/// What a rule step is told by the plan.
pub struct RuleSettings {
    /// Its place in the pipeline.
    pub step: StepId,
    /// The columns the component reads, in its order; all are in the batch.
    pub columns: Vec<Field>,
    /// The columns it adds, in its order.
    pub outputs: Vec<Field>,
    /// Which rows go on.
    pub keep: Keep,
    /// The column that holds the answer (`as`); a bool that is never null.
    pub flag: Option<Arc<str>>,
    /// Keyed state, if the component declares any.
    pub keyed: Option<Keyed>,
}

/// The step.
pub struct RuleStep {
    settings: RuleSettings,
    judge: Box<dyn Judge>,
}

impl RuleStep {
    /// A step over a rule whose declaration the settings repeat.
    pub fn new(settings: RuleSettings, judge: Box<dyn Judge>) -> Self {
        Self { settings, judge }
    }

    /// The fields it adds to a row, for planning: the outputs, then the flag.
    pub fn added_fields(outputs: &[Field], flag: Option<&str>) -> Vec<Field> {
        outputs.iter().cloned().chain(flag.map(|name| Field::new(name, FieldType::Bool, false))).collect()
    }

    fn added(&self, columns: Vec<ArrayRef>, verdicts: &BooleanArray) -> Vec<(ArrowField, ArrayRef)> {
        let flag = self.settings.flag.as_ref().map(|_| Arc::new(verdicts.clone()) as ArrayRef);
        Self::added_fields(&self.settings.outputs, self.settings.flag.as_deref())
            .into_iter()
            .zip(columns.into_iter().chain(flag))
            .map(|(field, column)| (field_of(&field, &column), column))
            .collect()
    }

    fn nothing(&self, input: &FlowBatch) -> FlowBatch {
        let columns = self.settings.outputs.iter().map(|field| new_empty_array(&field.ty.arrow())).collect();
        let none = FlowBatch { rows: input.rows.slice(0, 0), origin: Vec::new() };
        none.with_columns(self.added(columns, &BooleanArray::from(Vec::<bool>::new())))
    }
}

impl Operator for RuleStep {
    fn step(&self) -> StepId {
        self.settings.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        if input.is_empty() {
            return self.nothing(&input);
        }
        let step = self.settings.step;
        let columns = columns_named(&input.rows, self.settings.columns.iter().map(|field| field.name.clone()));
        let judge = &mut self.judge;
        let answer = with_state(&mut self.settings.keyed, &input.rows, |state| {
            let call = RuleCall { columns, state };
            output.call(step, 0, input.len(), || judge.judge(&call), |answer| answer.usage).map(|mut answer| {
                let state = answer.state.take();
                (answer, state)
            })
        });
        let answer = match answer {
            Ok(answer) => answer,
            Err(ending) => {
                output.bury_all(&input, &ending);
                return self.nothing(&input);
            }
        };
        assert_eq!(answer.verdicts.len(), input.len(), "a checked answer has a verdict per row");
        let dead = merge(noted(answer.notes), null_outputs(&self.settings.outputs, &answer.columns));
        let keep = match self.settings.keep {
            Keep::Matching => answer.verdicts.clone(),
            Keep::Failing => BooleanArray::new(!answer.verdicts.values(), None),
            Keep::All => BooleanArray::new(BooleanBuffer::new_set(input.len()), None),
        };
        let keep = without(keep, dead.iter().map(|(row, ..)| *row));
        output.bury(&input, step, dead);
        let kept = input.filtered(&keep);
        if kept.len() == input.len() {
            let added = self.added(answer.columns, &answer.verdicts);
            return kept.with_columns(added);
        }
        let columns = answer.columns.iter().map(|column| filter(column, &keep).expect("a value per row")).collect();
        let verdicts = filter(&answer.verdicts, &keep).expect("a verdict per row");
        let added = self.added(columns, verdicts.as_any().downcast_ref().expect("verdicts are bool"));
        kept.with_columns(added)
    }

    fn state(&mut self) -> Option<&mut KeyedTable> {
        self.settings.keyed.as_mut().map(|keyed| &mut keyed.table)
    }
}

/// Runs a call with the state of its rows' keys, and takes the new state over if the call returned.
pub(crate) fn with_state<A, E>(
    keyed: &mut Option<Keyed>,
    rows: &RecordBatch,
    call: impl FnOnce(Option<tidemill_event::KeyedState>) -> Result<(A, Option<RecordBatch>), E>,
) -> Result<A, E> {
    let Some(Keyed { by, table }) = keyed else {
        return call(None).map(|(answer, _)| answer);
    };
    let gathered = table.gather(rows, by);
    match call(Some(table.state(&gathered))) {
        Ok((answer, state)) => {
            match state {
                Some(state) => table.scatter(gathered, &state),
                None => table.abandon(gathered),
            }
            Ok(answer)
        }
        Err(ending) => {
            table.abandon(gathered);
            Err(ending)
        }
    }
}

/// Rows the component could not handle. Rows to be tried again are dead too, as long as nothing tries again.
pub(crate) fn noted(notes: Vec<RowNote>) -> Vec<(usize, Reason, String)> {
    notes
        .into_iter()
        .map(|RowNote { row, kind, text }| {
            let error = match kind {
                NoteKind::Reject => text,
                NoteKind::RetryAfter(wait) => {
                    format!("retry after {} ms was asked for, which this host does not do yet: {text}", wait.as_millis())
                }
            };
            (row as usize, Reason::RejectedByComponent, error)
        })
        .collect()
}

/// Rows with a null in an output that is never null by its declaration.
pub(crate) fn null_outputs(outputs: &[Field], columns: &[ArrayRef]) -> Vec<(usize, Reason, String)> {
    let mut rows: Vec<(usize, Reason, String)> = Vec::new();
    for (field, column) in outputs.iter().zip(columns) {
        if field.nullable || column.logical_null_count() == 0 {
            continue;
        }
        let nulls = column.logical_nulls().expect("there are nulls");
        rows.extend((0..column.len()).filter(|row| nulls.is_null(*row)).map(|row| {
            let error = format!("the component gave null for `{}`, which it declared as never null", field.name);
            (row, Reason::Ending(Ending::InvalidOutput), error)
        }));
    }
    rows
}

/// Both lists, ascending by row, one entry a row; the first list wins.
pub(crate) fn merge(
    mut first: Vec<(usize, Reason, String)>,
    second: Vec<(usize, Reason, String)>,
) -> Vec<(usize, Reason, String)> {
    if second.is_empty() {
        return first;
    }
    first.extend(second);
    first.sort_by_key(|(row, ..)| *row);
    first.dedup_by_key(|(row, ..)| *row);
    first
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::example::{Counting, batch, counting_table, show};

    /// Runs batches (one a line) through a rule that counts per key, says yes from the second row of a key on, and has moods by value:
    /// 13 is rejected, 14 asks for a retry, 15 gives a null, 666 traps the call.
    fn check(keep: Keep, flag: Option<&str>, batches: &str, expected: Expect) {
        let mut step = RuleStep::new(
            RuleSettings {
                step: StepId(1),
                columns: vec![Field::new("v", FieldType::Int64, true)],
                outputs: vec![Field::new("n", FieldType::Int64, false)],
                keep,
                flag: flag.map(Into::into),
                keyed: Some(Keyed { by: vec!["k".into()], table: counting_table() }),
            },
            Box::new(Counting),
        );
        let mut lines = Vec::new();
        for rows in batches.lines() {
            let mut output = Outcome::new();
            let out = step.apply(batch(rows.trim()), &mut output);
            lines.push(show(&out, &output));
        }
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn matching_failing_all() {
        let rows = "a:1 b:2 a:3\nb:4 c:5";
        check(
            Keep::Matching,
            None,
            rows,
            expect![[r#"
            2:a=3,n=2 | 
            0:b=4,n=2 | "#]],
        );
        check(
            Keep::Failing,
            None,
            rows,
            expect![[r#"
            0:a=1,n=1 1:b=2,n=1 | 
            1:c=5,n=1 | "#]],
        );
        check(
            Keep::All,
            Some("again"),
            rows,
            expect![[r#"
            0:a=1,n=1,again=no 1:b=2,n=1,again=no 2:a=3,n=2,again=yes | 
            0:b=4,n=2,again=yes 1:c=5,n=1,again=no | "#]],
        );
    }

    #[test]
    fn rows_with_notes_are_dead_and_their_state_stands() {
        check(
            Keep::Matching,
            None,
            "a:13 a:1\na:14 a:2",
            expect![[r#"
            1:a=1,n=2 | 0:a=13 step 1 rejected_by_component unlucky
            1:a=2,n=4 | 0:a=14 step 1 rejected_by_component retry after 500 ms was asked for, which this host does not do yet: later"#]],
        );
    }

    #[test]
    fn a_null_where_none_may_be_is_that_rows_alone() {
        check(
            Keep::All,
            None,
            "a:15 a:1",
            expect!["1:a=1,n=2 | 0:a=15 step 1 invalid_output the component gave null for `n`, which it declared as never null"],
        );
    }

    #[test]
    fn a_failing_call_takes_its_rows_and_leaves_the_state() {
        check(
            Keep::All,
            None,
            "a:1 b:1\na:2 c:666\na:3 c:4\n",
            expect![[r#"
            0:a=1,n=1 1:b=1,n=1 | 
             | 0:a=2 step 1 trap boom, 1:c=666 step 1 trap boom
            0:a=3,n=2 1:c=4,n=1 | "#]],
        );
    }

    #[test]
    fn a_null_is_a_key_of_its_own() {
        check(Keep::All, None, "-:1 a:1 -:2", expect!["0:-=1,n=1 1:a=1,n=1 2:-=2,n=2 | "]);
    }

    #[test]
    fn a_recorded_ending_is_not_called_again() {
        struct Never;
        impl Judge for Never {
            fn judge(&mut self, _: &RuleCall) -> Result<tidemill_event::RuleAnswer, tidemill_event::CallFailure> {
                panic!("called again")
            }
        }
        let settings = || RuleSettings {
            step: StepId(1),
            columns: vec![Field::new("v", FieldType::Int64, true)],
            outputs: vec![],
            keep: Keep::All,
            flag: None,
            keyed: Some(Keyed { by: vec![], table: counting_table() }),
        };
        let mut first = Outcome::new();
        RuleStep::new(settings(), Box::new(Counting)).apply(batch("a:666"), &mut first);
        let mut second = Outcome::replay(first.endings.clone());
        let out = RuleStep::new(settings(), Box::new(Never)).apply(batch("a:666"), &mut second);
        assert_eq!(show(&out, &second), " | 0:a=666 step 1 trap boom");
        assert_eq!(first.endings, second.endings);
        assert_eq!((first.calls.len(), second.calls.len()), (1, 0));
    }
}
