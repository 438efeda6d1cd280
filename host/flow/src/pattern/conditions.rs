//! The conditions of a pattern's stages, behind traits: those of a row alone are answered for a whole batch, those that look at a run one by one.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_select::filter::prep_null_mask_filter;
use tidemill_event::Field;

use crate::Predicate;
use crate::batch::{assemble, field_of};
use crate::pattern::asking::{Answers, AskedCondition, Question};
use crate::pattern::automaton::StageId;
use crate::pattern::condition::Bits;
use crate::pattern::run::{Candidate, RunJudge, RunView};
use crate::pattern::running::{Places, Running};
use crate::pattern::shape::PredicateId;
use crate::rows::Rows;

/// A row's number while its batch is on its way; without it, of a row that is kept.
pub(crate) const FRESH: u32 = 1 << 31;

/// One predicate of a pattern.
pub enum StageCondition {
    /// Over the row alone.
    Row(Box<dyn Predicate>),
    /// Over the row alone, answered for several patterns at once: which of the list's conditions.
    Shared(u32),
    /// Over the row and what a run has taken.
    Run(Box<dyn RunPredicate>),
    /// The same, answered by a component.
    Asked(AskedCondition),
}

/// A condition over a row and what a run has taken before it.
pub trait RunPredicate: Send {
    /// Whether it holds. Errors: it failed, in words; the answer is no, and the failure is counted.
    fn test(&self, candidate: &RunCandidate<'_>) -> Result<bool, String>;
}

/// A row, and a run that may take it.
pub struct RunCandidate<'a> {
    /// The batch the row is in.
    pub rows: &'a RecordBatch,
    /// Where in the batch.
    pub row: usize,
    run: &'a RunView<'a>,
    kept: &'a Rows,
    running: &'a Running,
}

impl RunCandidate<'_> {
    /// The run's events in a stage, the last one first: a batch and a row of it. Batches of earlier events have only the columns that the step keeps.
    pub fn events(&self, stage: StageId) -> impl Iterator<Item = (&RecordBatch, usize)> {
        self.run.events(stage).map(|(_, row)| match row & FRESH {
            0 => self.kept.at(row),
            _ => (self.rows, (row & !FRESH) as usize),
        })
    }

    /// One of the step's values ([`RunValue`](crate::pattern::RunValue)) by its number, of what the run has taken so far, as a column of one row. Errors: why it cannot be said.
    pub fn value(&self, number: usize) -> Result<ArrayRef, String> {
        let places = Places { batch: Some(self.rows), kept: self.kept };
        self.running.value(number, self.run.node, self.run.buffer, places)
    }
}

/// A condition over columns of the row and values of the run.
pub struct RunExpression {
    /// Those of the row's columns that it reads.
    pub columns: Vec<Arc<str>>,
    /// The values by number, and the columns that stand for them.
    pub values: Vec<(usize, Field)>,
    /// What is asked of the columns and the values.
    pub condition: Box<dyn Predicate>,
}

impl RunPredicate for RunExpression {
    fn test(&self, candidate: &RunCandidate<'_>) -> Result<bool, String> {
        let RunCandidate { rows, row, .. } = candidate;
        let mut fields = Vec::with_capacity(self.columns.len() + self.values.len());
        let mut columns = Vec::with_capacity(fields.capacity());
        for name in &self.columns {
            let at = rows.schema_ref().index_of(name).expect("a column of the batch");
            fields.push(rows.schema_ref().fields()[at].clone());
            columns.push(rows.column(at).slice(*row, 1));
        }
        for (number, field) in &self.values {
            let value = candidate.value(*number)?;
            fields.push(Arc::new(field_of(field, &value)));
            columns.push(value);
        }
        let answer = self.condition.test(&assemble(fields, columns, 1));
        match answer.failed.into_iter().next() {
            Some((_, why)) => Err(why),
            None => Ok(answer.passes.is_valid(0) && answer.passes.value(0)),
        }
    }
}

/// What the predicates say of a batch.
#[derive(Debug, Default)]
pub(crate) struct Tested {
    /// Per row a bit per predicate.
    pub(crate) holds: Vec<u64>,
    /// Per row those about which no run is asked, because the row alone says no. Empty: there are none.
    pub(crate) shut: Vec<u64>,
    /// How often one failed.
    pub(crate) failed: u64,
}

impl Tested {
    /// What is known of a row. `of_runs`: the predicates that look at runs.
    pub(crate) fn bits(&self, row: usize, of_runs: u64) -> Bits {
        Bits { holds: self.holds[row], unknown: of_runs & !self.shut.get(row).copied().unwrap_or(0) }
    }
}

/// All predicates of the row alone, over all rows.
pub(crate) fn test_rows(conditions: &[StageCondition], rows: &RecordBatch) -> Tested {
    let mut tested = Tested { holds: vec![0; rows.num_rows()], ..Tested::default() };
    for (number, condition) in conditions.iter().enumerate() {
        let StageCondition::Row(predicate) = condition else { continue };
        let answer = predicate.test(rows);
        let passes = if answer.passes.null_count() > 0 { prep_null_mask_filter(&answer.passes) } else { answer.passes };
        passes.values().set_indices().for_each(|row| tested.holds[row] |= 1 << number);
        tested.failed += answer.failed.len() as u64;
        answer.failed.into_iter().for_each(|(row, _)| tested.holds[row] &= !(1 << number));
    }
    for (number, gate) in gates(conditions) {
        let open = rows.column_by_name(gate).expect("a column of the batch").as_boolean();
        tested.shut.resize(rows.num_rows(), 0);
        for row in (0..rows.num_rows()).filter(|row| open.is_null(*row) || !open.value(*row)) {
            tested.shut[row] |= 1 << number;
        }
    }
    tested
}

/// The columns that conditions are shut by.
fn gates(conditions: &[StageCondition]) -> impl Iterator<Item = (usize, &str)> {
    conditions.iter().enumerate().filter_map(|(number, condition)| match condition {
        StageCondition::Asked(AskedCondition { gate: Some(gate), .. }) => Some((number, &**gate)),
        StageCondition::Asked(_) | StageCondition::Row(_) | StageCondition::Shared(_) | StageCondition::Run(_) => None,
    })
}

/// The predicates that look at runs, a bit each.
pub(crate) fn of_runs(conditions: &[StageCondition]) -> u64 {
    let looks = |condition: &StageCondition| matches!(condition, StageCondition::Run(_) | StageCondition::Asked(_));
    conditions.iter().enumerate().filter(|(_, condition)| looks(condition)).fold(0, |all, (number, _)| all | 1 << number)
}

/// Asks those that look at runs.
pub(crate) struct Judging<'a> {
    pub(crate) conditions: &'a [StageCondition],
    pub(crate) rows: &'a RecordBatch,
    pub(crate) kept: &'a Rows,
    pub(crate) running: &'a mut Running,
    /// What the component said of the row.
    pub(crate) answers: &'a Answers,
    pub(crate) failed: u64,
}

impl RunJudge for Judging<'_> {
    fn holds(&mut self, predicate: PredicateId, event: &Candidate, run: &RunView<'_>) -> bool {
        let condition = match &self.conditions[usize::from(predicate.0)] {
            StageCondition::Run(condition) => condition,
            StageCondition::Asked(_) => {
                return self.answers.holds(Question { row: event.row & !FRESH, node: run.node, predicate });
            }
            StageCondition::Row(_) | StageCondition::Shared(_) => panic!("{predicate:?} was answered for the whole batch"),
        };
        let candidate =
            RunCandidate { rows: self.rows, row: (event.row & !FRESH) as usize, run, kept: self.kept, running: self.running };
        condition.test(&candidate).unwrap_or_else(|_| {
            self.failed += 1;
            false
        })
    }

    fn took(&mut self, run: &RunView<'_>) {
        self.running.took(run.buffer, run.node, Places { batch: Some(self.rows), kept: self.kept });
    }
}
