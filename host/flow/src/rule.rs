//! `rule`: a component says yes or no per row, may add columns and keep state per key.
//!
//! One call per batch; `calls.rs` has what happens when it fails. A row with a note (reject, retry after) does not go on whatever its
//! verdict says; what its call did to the state stands.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, new_empty_array, new_null_array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Field as ArrowField;
use arrow_select::filter::filter;
use tidemill_event::{Breaker, Ending, Field, FieldType, NoteKind, Reason, RuleAnswer};

use crate::aside::set_aside;
use crate::batch::field_of;
use crate::calls::{Calls, Fate};
use crate::where_step::without;
use crate::{FlowBatch, Isolation, Judge, Keyed, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

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
    /// What happens when the component keeps failing.
    pub isolation: Isolation,
}

/// The step.
pub struct RuleStep {
    adding: Adding,
    calls: Calls,
    judge: Box<Judge>,
}

impl RuleStep {
    /// A step over a rule whose declaration the settings repeat.
    pub fn new(settings: RuleSettings, judge: Box<Judge>) -> Self {
        let RuleSettings { step, columns, outputs, keep, flag, keyed, isolation } = settings;
        let added = Self::added_fields(&outputs, flag.as_deref(), isolation.on_failing);
        Self {
            adding: Adding { step, outputs, added, keep, flag: flag.is_some() },
            calls: Calls::new(step, columns, keyed, isolation),
            judge,
        }
    }

    /// With calls that have numbers of their own, where a step has several components.
    pub(crate) fn numbered_from(mut self, first_number: u32) -> Self {
        self.calls.first_number = first_number;
        self
    }

    /// Takes a batch whose rows cannot come back: a row that the component asks to see again is rejected, and none waits for it.
    pub(crate) fn apply_now(&mut self, input: &FlowBatch, output: &mut Outcome) -> FlowBatch {
        let Self { adding, calls, judge } = self;
        if input.is_empty() {
            return adding.nothing(input);
        }
        let (mut number, mut spent) = (calls.first_number, 0);
        let fates = calls.decide_now(input, (&mut number, &mut spent), output, &mut **judge);
        let mut made = Vec::with_capacity(fates.len());
        for (range, fate) in fates {
            let rows = &*input.part(&range);
            match fate {
                Fate::Answered(mut answer) => {
                    answer.notes.iter_mut().for_each(|note| note.kind = NoteKind::Reject);
                    made.push(adding.take(rows, answer, output));
                }
                Fate::Dead(ended) => output.bury_all(rows, adding.step, &ended),
                Fate::Passed | Fate::PutBack(_) => unreachable!("rows are decided at once"),
            }
        }
        if made.is_empty() { adding.nothing(input) } else { FlowBatch::concat(made) }
    }

    /// The fields it adds to a row, for planning: the outputs, then the flag. Null in rows that skip the step.
    pub fn added_fields(outputs: &[Field], flag: Option<&str>, on_failing: OnFailing) -> Vec<Field> {
        let flag = flag.map(|name| Field::new(name, FieldType::Bool, false));
        outputs
            .iter()
            .cloned()
            .chain(flag)
            .map(|field| Field { nullable: field.nullable || on_failing == OnFailing::Pass, ..field })
            .collect()
    }
}

impl Operator for RuleStep {
    fn step(&self) -> StepId {
        self.adding.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let Self { adding, calls, judge } = self;
        if input.is_empty() {
            calls.forget(output);
            return adding.nothing(&input);
        }
        let take = |rows: &FlowBatch, answer, output: &mut Outcome| adding.take(rows, answer, output);
        let made = calls.run(&input, output, &mut **judge, take, |rows| adding.unjudged(rows));
        calls.forget(output);
        made.unwrap_or_else(|| adding.nothing(&input))
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

/// What a rule's answers do to rows.
struct Adding {
    step: StepId,
    outputs: Vec<Field>,
    /// Outputs and flag, as the rows get them.
    added: Vec<Field>,
    keep: Keep,
    flag: bool,
}

impl Adding {
    fn added(&self, columns: Vec<ArrayRef>, verdicts: &BooleanArray) -> Vec<(ArrowField, ArrayRef)> {
        let flag = self.flag.then(|| Arc::new(verdicts.clone()) as ArrayRef);
        let columns = columns.into_iter().chain(flag);
        self.added.iter().zip(columns).map(|(field, column)| (field_of(field, &column), column)).collect()
    }

    fn nothing(&self, input: &FlowBatch) -> FlowBatch {
        let none = FlowBatch { rows: input.rows.slice(0, 0), origin: Vec::new() };
        let columns = self.added.iter().map(|field| {
            let column = new_empty_array(&field.ty.arrow());
            (field_of(field, &column), column)
        });
        none.with_columns(columns.collect())
    }

    fn unjudged(&self, rows: &FlowBatch) -> FlowBatch {
        let columns = self.added.iter().map(|field| {
            let column = new_null_array(&field.ty.arrow(), rows.len());
            (field_of(field, &column), column)
        });
        rows.clone().with_columns(columns.collect())
    }

    /// The rows that an answer lets through, with what it adds.
    fn take(&self, input: &FlowBatch, answer: RuleAnswer, output: &mut Outcome) -> FlowBatch {
        assert_eq!(answer.verdicts.len(), input.len(), "a checked answer has a verdict per row");
        let gone = set_aside(input, self.step, answer.notes, null_outputs(&self.outputs, &answer.columns), output);
        let keep = match self.keep {
            Keep::Matching => answer.verdicts.clone(),
            Keep::Failing => BooleanArray::new(!answer.verdicts.values(), None),
            Keep::All => BooleanArray::new(BooleanBuffer::new_set(input.len()), None),
        };
        let keep = without(keep, gone.into_iter());
        let kept = input.filtered(&keep);
        if kept.len() == input.len() {
            return kept.with_columns(self.added(answer.columns, &answer.verdicts));
        }
        let columns = answer.columns.iter().map(|column| filter(column, &keep).expect("a value per row")).collect();
        let verdicts = filter(&answer.verdicts, &keep).expect("a verdict per row");
        kept.with_columns(self.added(columns, verdicts.as_any().downcast_ref().expect("verdicts are bool")))
    }
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use tidemill_event::{EventTime, RuleCall};

    use super::*;
    use crate::Guest;
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
                isolation: Isolation::new(OnFailing::Hold),
            },
            Box::new(Counting),
        );
        let mut lines = Vec::new();
        for rows in batches.lines() {
            let mut output = Outcome::new(EventTime(0));
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
            1:a=2,n=4 |  | 0:a=14 again in 500 ms, 1"#]],
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
    fn a_failing_row_is_alone_and_leaves_no_state() {
        check(
            Keep::All,
            None,
            "a:1 b:1\na:2 c:666\na:3 c:4\n",
            expect![[r#"
            0:a=1,n=1 1:b=1,n=1 | 
            0:a=2,n=2 | 1:c=666 step 1 trap boom
            0:a=3,n=3 1:c=4,n=1 | "#]],
        );
    }

    #[test]
    fn a_null_is_a_key_of_its_own() {
        check(Keep::All, None, "-:1 a:1 -:2", expect!["0:-=1,n=1 1:a=1,n=1 2:-=2,n=2 | "]);
    }

    #[test]
    fn a_recorded_ending_is_not_called_again() {
        struct Never;
        impl Guest<RuleAnswer> for Never {
            fn call(&mut self, _: &RuleCall) -> Result<RuleAnswer, tidemill_event::CallFailure> {
                panic!("called again")
            }

            fn replace(&mut self) {}
        }
        let settings = || RuleSettings {
            step: StepId(1),
            columns: vec![Field::new("v", FieldType::Int64, true)],
            outputs: vec![],
            keep: Keep::All,
            flag: None,
            keyed: Some(Keyed { by: vec![], table: counting_table() }),
            isolation: Isolation::new(OnFailing::Hold),
        };
        let mut first = Outcome::new(EventTime(0));
        RuleStep::new(settings(), Box::new(Counting)).apply(batch("a:666"), &mut first);
        let mut second = Outcome::replay(EventTime(0), first.endings.clone());
        let out = RuleStep::new(settings(), Box::new(Never)).apply(batch("a:666"), &mut second);
        assert_eq!(show(&out, &second), " | 0:a=666 step 1 trap ");
        assert_eq!(first.endings, second.endings);
        assert_eq!((first.calls.len(), second.calls.len()), (1, 0));
    }
}
