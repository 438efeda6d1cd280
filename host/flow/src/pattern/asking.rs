//! Conditions over runs that a component answers: questions of many rows and runs, asked in one call.
//!
//! ```text
//! rows of different keys ──► what each may ask about the runs of its key ──► one call ──► answers by (run, predicate) ──► the matcher
//! ```
//! Which runs there are when a row comes hangs on the row of its key before it, so a batch is taken in rounds: the first row of each key, then
//! the second ones. A question that the matcher then does not need was asked in vain, and nothing else: an answer hangs on the row and the run alone.
//!
//! A row whose question does not come back is dead: no run takes it, as if it had not come. It cannot be put back, because rows behind it
//! have been taken; so when a batch has cost as many failing calls as one may, what is left to ask of it ends as the last one did.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_cast::cast;
use arrow_schema::{DataType, Field as ArrowField, Schema};
use arrow_select::concat::concat;
use tidemill_event::{Field, KeyedState, Reason, RuleAnswer, RuleCall};

use crate::batch::{assemble, field_of, pick};
use crate::calls::{Called, Calls, Fate, Remembers};
use crate::columns::Columns;
use crate::outcome::Ended;
use crate::pattern::shape::PredicateId;
use crate::{FlowBatch, Guest, Isolation, Judge, Outcome, StepId};

/// The column that says which condition a question asks; no column of a user begins with a null byte.
const CONDITION: &str = "\0condition";
/// Calls of conditions have numbers behind those of predicates.
const FIRST_CALL: u32 = 1 << 28;

/// Who answers conditions over runs.
pub struct ConditionGuest {
    /// The component.
    pub guest: Box<Judge>,
    /// The columns of a row that it reads.
    pub columns: Vec<Field>,
    /// What it reads of a run, by the number of the step's value.
    pub so_far: Vec<(usize, Field)>,
    /// How many conditions it has.
    pub conditions: u32,
}

/// A condition over a run that a component answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedCondition {
    /// Nobody is asked about a row for which this column, a bool, does not hold.
    pub gate: Option<Arc<str>>,
    /// Which of the component's conditions.
    pub number: u32,
}

/// One question: may this run take this row?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    /// Of the batch.
    pub(crate) row: u32,
    /// The end of the run's chain: what it has taken.
    pub(crate) node: u32,
    pub(crate) predicate: PredicateId,
}

/// Asks, over one batch.
pub(crate) struct Asking {
    step: StepId,
    guest: Box<Judge>,
    columns: Columns,
    so_far: Vec<(usize, Field)>,
    calls: Calls<Conditions>,
    /// Of the next call.
    number: u32,
    /// Failing calls of this batch.
    spent: u32,
}

/// What came of the questions of a round.
#[derive(Default)]
pub(crate) struct Answers {
    /// By question.
    told: Vec<(Question, bool)>,
    /// Rows about which there is no answer.
    pub(crate) dead: Vec<(u32, NoAnswer)>,
}

/// Why there is none.
pub(crate) enum NoAnswer {
    Ended(Ended),
    /// The component rejects the row.
    Rejected(String),
}

impl Answers {
    /// Whether it was answered with yes.
    ///
    /// # Panics
    /// If it was not asked: every question of a row is, before the row is taken.
    pub(crate) fn holds(&self, question: Question) -> bool {
        let at = self.told.binary_search_by_key(&question, |(asked, _)| *asked).expect("every question is asked before");
        self.told[at].1
    }

    pub(crate) fn is_dead(&self, row: u32) -> bool {
        self.dead.iter().any(|(dead, _)| *dead == row)
    }
}

impl Asking {
    pub(crate) fn new(step: StepId, asked: ConditionGuest) -> Self {
        let ConditionGuest { guest, columns, so_far, conditions } = asked;
        let fields = columns.iter().cloned().chain(so_far.iter().map(|(_, field)| field.clone())).collect();
        let calls = Calls::new(step, fields, Conditions(conditions), Isolation::never_out());
        Self { step, guest, columns: Columns::new(columns), so_far, calls, number: FIRST_CALL, spent: 0 }
    }

    /// Another batch begins.
    pub(crate) fn begin(&mut self) {
        (self.number, self.spent) = (FIRST_CALL, 0);
    }

    /// Asks all questions. `value` gives a value of the run, as a column of one row; an error is a no, and counted. `number` says which condition a predicate
    /// is.
    pub(crate) fn ask(
        &mut self,
        mut questions: Vec<Question>,
        rows: &FlowBatch,
        number: impl Fn(PredicateId) -> u32,
        value: impl Fn(usize, u32) -> Result<ArrayRef, String>,
        failed: &mut u64,
        output: &mut Outcome,
    ) -> Answers {
        questions.sort_unstable();
        questions.dedup();
        let mut answers = Answers::default();
        let mut values: Vec<Vec<ArrayRef>> = self.so_far.iter().map(|_| Vec::with_capacity(questions.len())).collect();
        questions.retain(|question| {
            let of_run: Result<Vec<ArrayRef>, String> = self.so_far.iter().map(|(at, _)| value(*at, question.node)).collect();
            match of_run {
                Ok(of_run) => {
                    values.iter_mut().zip(of_run).for_each(|(values, value)| values.push(value));
                    true
                }
                Err(_) => {
                    *failed += 1;
                    answers.told.push((*question, false));
                    false
                }
            }
        });
        if !questions.is_empty() {
            let batch = self.batch(&questions, rows, &values, number);
            self.put(&questions, &batch, &mut answers, output);
        }
        answers.told.sort_unstable_by_key(|(question, _)| *question);
        answers
    }

    /// The questions as rows.
    fn batch(
        &mut self,
        questions: &[Question],
        rows: &FlowBatch,
        values: &[Vec<ArrayRef>],
        number: impl Fn(PredicateId) -> u32,
    ) -> FlowBatch {
        let of: Vec<u32> = questions.iter().map(|question| question.row).collect();
        let own = pick(&self.columns.of(&rows.rows), &of);
        let mut fields: Vec<Arc<ArrowField>> = own.schema_ref().fields().iter().cloned().collect();
        let mut columns = own.columns().to_vec();
        for ((_, field), values) in self.so_far.iter().zip(values) {
            // Texts of this batch may be a dictionary's where those that were kept are plain.
            let plain = |value: &ArrayRef| cast(value, &field.ty.arrow()).expect("a dictionary's texts are texts");
            let values: Vec<ArrayRef> = values.iter().map(plain).collect();
            let values: Vec<&dyn arrow_array::Array> = values.iter().map(AsRef::as_ref).collect();
            let column = concat(&values).expect("values of one type");
            fields.push(Arc::new(field_of(field, &column)));
            columns.push(column);
        }
        fields.push(Arc::new(ArrowField::new(CONDITION, DataType::UInt32, false)));
        columns.push(Arc::new(questions.iter().map(|question| number(question.predicate)).collect::<UInt32Array>()));
        let origin = of.iter().map(|row| rows.origin[*row as usize]).collect();
        FlowBatch { rows: assemble(fields, columns, questions.len()), origin }
    }

    /// Makes the calls.
    fn put(&mut self, questions: &[Question], batch: &FlowBatch, answers: &mut Answers, output: &mut Outcome) {
        let Self { calls, guest, number, spent, .. } = self;
        let fates = calls.decide_now(batch, (number, spent), output, &mut **guest);
        for (range, fate) in fates {
            self.take(&questions[range.clone()], &range, fate, answers);
        }
    }

    fn take(&self, questions: &[Question], range: &Range<usize>, fate: Fate<RuleAnswer>, answers: &mut Answers) {
        match fate {
            Fate::Answered(answer) => {
                debug_assert_eq!(answer.verdicts.len(), range.len(), "a checked answer has a verdict per row");
                answers.told.extend(questions.iter().zip(answer.verdicts.values()).map(|(question, yes)| (*question, yes)));
                for note in answer.notes {
                    answers.dead.push((questions[note.row as usize].row, NoAnswer::Rejected(note.text)));
                }
            }
            Fate::Dead(ended) => {
                answers.dead.extend(questions.iter().map(|question| (question.row, NoAnswer::Ended(ended.clone()))));
            }
            Fate::Passed | Fate::PutBack(_) => unreachable!("step {} decides its questions at once", self.step),
        }
    }
}

/// Rows that no run may take, told once each.
pub(crate) fn bury(mut dead: Vec<(u32, NoAnswer)>, rows: &FlowBatch, step: StepId, output: &mut Outcome) {
    dead.sort_by_key(|(row, _)| *row);
    dead.dedup_by_key(|(row, _)| *row);
    for (row, why) in dead {
        match why {
            NoAnswer::Ended(ended) => output.bury_all(&rows.picked(&[row]), step, &ended),
            NoAnswer::Rejected(text) => output.bury(rows, step, vec![(row as usize, Reason::RejectedByComponent, text)]),
        }
    }
}

/// How questions are put: what a row asks stands where other components have its key. Nothing is remembered.
struct Conditions(u32);

impl Remembers<RuleAnswer> for Conditions {
    type Guest = dyn Guest<RuleAnswer>;

    fn call(
        &mut self,
        step: StepId,
        number: u32,
        columns: RecordBatch,
        input: &FlowBatch,
        output: &mut Outcome,
        guest: &mut Self::Guest,
    ) -> Called<RuleAnswer> {
        let asked = input.rows.column_by_name(CONDITION).expect("questions say what they ask").as_primitive::<UInt32Type>();
        let none = RecordBatchOptions::new().with_row_count(Some(self.0 as usize));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &none).expect("no column at all");
        let state = Some(KeyedState { row_to_key: asked.values().to_vec().into(), rows });
        Called::from(output.call(step, number, guest, &RuleCall { columns, state }))
    }
}
