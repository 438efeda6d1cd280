//! The conditions of `DEFINE`: those over a row and its neighbours are answered for whole batches, those that look at the match one by one.

use arrow_array::Array;
use arrow_select::filter::prep_null_mask_filter;

use crate::Predicate;
use crate::aggregate::AggregateRefused;
use crate::recognize::columns::TermColumns;
use crate::recognize::key_rows::KeyRows;
use crate::recognize::output::NamedTerm;
use crate::recognize::search::Judge;
use crate::recognize::shape::VariableId;
use crate::recognize::terms::{Surroundings, View};
use crate::rows::Rows;

/// A condition over terms.
pub struct TermPredicate {
    /// What it looks at; its columns are called as their fields are.
    pub terms: Vec<NamedTerm>,
    /// What it says of that.
    pub predicate: Box<dyn Predicate>,
}

/// What a row must be to be taken for a variable: both must hold; a variable without either is any row.
#[derive(Default)]
pub struct Definition {
    /// Over the row itself and rows so many before and behind it.
    pub of_row: Option<TermPredicate>,
    /// Over what was taken before it too; asked only where the other holds.
    pub of_match: Option<TermPredicate>,
}

struct Condition {
    columns: TermColumns,
    predicate: Box<dyn Predicate>,
}

/// All conditions, by variable.
pub(crate) struct Conditions {
    /// What those over rows look at, each once.
    row_columns: TermColumns,
    of_row: Vec<Option<Box<dyn Predicate>>>,
    of_match: Vec<Option<Condition>>,
    failed: u64,
}

impl Conditions {
    pub(crate) fn new(
        definitions: Vec<Definition>,
        mut columns: impl FnMut(Vec<NamedTerm>) -> Result<TermColumns, AggregateRefused>,
    ) -> Result<Self, AggregateRefused> {
        let (mut row_terms, mut of_row, mut of_match) = (Vec::<NamedTerm>::new(), Vec::new(), Vec::new());
        for Definition { of_row: row, of_match: other } in definitions {
            of_row.push(row.map(|TermPredicate { terms, predicate }| {
                for term in terms {
                    match row_terms.iter().find(|known| known.field.name == term.field.name) {
                        Some(known) => assert!(*known == term, "terms of one name are one"),
                        None => row_terms.push(term),
                    }
                }
                predicate
            }));
            let other = other.map(|TermPredicate { terms, predicate }| Ok(Condition { columns: columns(terms)?, predicate }));
            of_match.push(other.transpose()?);
        }
        Ok(Self { row_columns: columns(row_terms)?, of_row, of_match, failed: 0 })
    }

    /// The variables whose conditions look at the match.
    pub(crate) fn looks_back(&self) -> u64 {
        let looks = self.of_match.iter().enumerate().filter(|(_, condition)| condition.is_some());
        looks.fold(0, |all, (variable, _)| all | 1 << variable)
    }

    /// What the conditions over single rows say: a word per row. A view is one row, taken for anything.
    pub(crate) fn of_rows(&mut self, views: &[View<'_>], kept: &Rows) -> Vec<u64> {
        let (rows, _) = self.row_columns.of(views, kept);
        let mut holds = vec![0; views.len()];
        for (variable, predicate) in self.of_row.iter().enumerate() {
            let Some(predicate) = predicate else {
                holds.iter_mut().for_each(|holds| *holds |= 1 << variable);
                continue;
            };
            let tested = predicate.test(&rows);
            let passes = if tested.passes.null_count() > 0 { prep_null_mask_filter(&tested.passes) } else { tested.passes };
            passes.values().set_indices().for_each(|row| holds[row] |= 1 << variable);
            self.failed += tested.failed.len() as u64;
            tested.failed.into_iter().for_each(|(row, _)| holds[row] &= !(1 << variable));
        }
        holds
    }

    /// How often a condition has failed since it was last asked.
    pub(crate) fn take_failed(&mut self) -> u64 {
        std::mem::take(&mut self.failed)
    }
}

/// The conditions that look at a match, with the rows they look at.
pub(crate) struct Judging<'a> {
    pub(crate) conditions: &'a mut Conditions,
    pub(crate) kept: &'a Rows,
    /// What was taken, with the row that is asked about.
    pub(crate) taken: Vec<VariableId>,
}

impl Judge for Judging<'_> {
    fn holds(&mut self, variable: VariableId, key: &KeyRows, _: usize, taken: &[VariableId]) -> bool {
        let Some(condition) = &mut self.conditions.of_match[usize::from(variable.0)] else { return true };
        self.taken.clear();
        self.taken.extend(taken);
        self.taken.push(variable);
        let view = View { rows: Surroundings::Key(key), taken: &self.taken, all: &self.taken, number: key.matches + 1, of: 0 };
        let (rows, failed) = condition.columns.of(&[view], self.kept);
        let tested = condition.predicate.test(&rows);
        if !failed.is_empty() || !tested.failed.is_empty() {
            self.conditions.failed += 1;
            return false;
        }
        tested.passes.is_valid(0) && tested.passes.value(0)
    }
}
