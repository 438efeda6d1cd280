//! What the predicates of a set answer to one batch, each asked at most once for all rows.
//!
//! A predicate that one rule alone has, and needs for a few rows, is asked about those.

use arrow_array::{Array, RecordBatch};

use crate::Tested;
use crate::batch::{columns_named, pick};
use crate::rule_set::SharedPredicate;
use crate::rule_set::row_set::RowSet;

/// A predicate is asked about all rows if it is needed for one in so many.
const WORTH_ALL: usize = 8;

/// What a predicate answers to all rows.
pub(crate) struct Answer {
    /// It is true, and did not fail.
    pub(crate) yes: RowSet,
    tested: Tested,
}

impl Answer {
    fn new(tested: Tested) -> Self {
        let bits = match tested.passes.nulls() {
            Some(valid) => tested.passes.values() & valid.inner(),
            None => tested.passes.values().clone(),
        };
        let mut yes = RowSet::of(&bits);
        tested.failed.iter().for_each(|(row, _)| yes.remove(*row as u32));
        Self { yes, tested }
    }

    /// Why it failed on a row, if it did.
    pub(crate) fn failure(&self, row: u32) -> Option<&str> {
        let failed = &self.tested.failed;
        let at = failed.binary_search_by_key(&(row as usize), |(row, _)| *row).ok()?;
        Some(&failed[at].1)
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.tested.failed.is_empty()
    }

    pub(crate) fn is_null(&self, row: u32) -> bool {
        self.tested.passes.is_null(row as usize)
    }
}

/// The answers so far.
pub(crate) struct Answers<'a> {
    rows: &'a RecordBatch,
    predicates: &'a [SharedPredicate],
    /// How many rules have each.
    uses: &'a [u32],
    known: Vec<Option<Answer>>,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(rows: &'a RecordBatch, predicates: &'a [SharedPredicate], uses: &'a [u32]) -> Self {
        Self { rows, predicates, uses, known: predicates.iter().map(|_| None).collect() }
    }

    /// To all rows.
    pub(crate) fn answer_for_all(&mut self, predicate: u32) -> &Answer {
        let SharedPredicate { columns, predicate: asked } = &self.predicates[predicate as usize];
        let rows = self.rows;
        self.known[predicate as usize]
            .get_or_insert_with(|| Answer::new(asked.test(&columns_named(rows, columns.iter().cloned()))))
    }

    /// Of some rows, those it says yes to; those it fails on go to `failed`.
    pub(crate) fn keep(&mut self, predicate: u32, rows: &mut Vec<u32>, mut failed: impl FnMut(u32, &str)) {
        let at = predicate as usize;
        let is_worth_all = self.uses[at] > 1 || rows.len() * WORTH_ALL >= self.rows.num_rows();
        if is_worth_all || self.known[at].is_some() {
            let answer = self.answer_for_all(predicate);
            if answer.has_failed() {
                rows.iter().filter_map(|row| Some((*row, answer.failure(*row)?))).for_each(|(row, error)| failed(row, error));
            }
            rows.retain(|row| answer.yes.contains(*row));
            return;
        }
        let SharedPredicate { columns, predicate: asked } = &self.predicates[at];
        let columns = columns_named(self.rows, columns.iter().cloned());
        let some = pick(&columns, rows);
        let Tested { passes, failed: errors } = asked.test(&some);
        errors.iter().for_each(|(row, error)| failed(rows[*row], error));
        let mut errors = errors.iter().map(|(row, _)| *row).peekable();
        let mut at = 0;
        rows.retain(|_| {
            let row = at;
            at += 1;
            errors.next_if_eq(&row).is_none() && passes.is_valid(row) && passes.value(row)
        });
    }
}
