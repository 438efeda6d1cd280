//! The step: finds each row in a table and puts columns of the table beside it.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, new_empty_array};
use tidemill_event::{Breaker, Field};

use crate::batch::field_of;
use crate::lookup::Found;
use crate::{FlowBatch, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// What becomes of a row that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It goes on, with nulls.
    Null,
    /// It is left out, and counted.
    Drop,
}

/// How a lookup looks up.
#[derive(Debug, Clone)]
pub struct LookupSettings {
    /// Which step it is.
    pub step: StepId,
    /// The rows' columns that make the key, as the table expects them; at least one.
    pub keys: Vec<Arc<str>>,
    /// What the taken columns are called and which types they have, in the order in which the table gives them; nullable.
    pub take: Vec<Field>,
    /// What becomes of rows without a match.
    pub missing: Missing,
}

/// How one batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupReport {
    /// The step.
    pub step: StepId,
    /// Rows it looked up.
    pub rows: usize,
    /// Those that the table did not have.
    pub missed: usize,
}

/// Looks rows up in the table that the task has for the step.
pub struct Lookup(LookupSettings);

impl Lookup {
    /// A step of these settings. It has no state: what it needs to answer alike is which version of the table a batch met.
    pub fn new(settings: LookupSettings) -> Self {
        Self(settings)
    }
}

impl Operator for Lookup {
    fn step(&self) -> StepId {
        self.0.step
    }

    /// # Panics
    /// If `output` has no table for the step: the task gives every lookup one.
    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let LookupSettings { step, keys, take, missing } = &self.0;
        let added = |columns: Vec<ArrayRef>| {
            take.iter().zip(columns).map(|(field, column)| (field_of(field, &column), column)).collect::<Vec<_>>()
        };
        if input.is_empty() {
            // No table is needed to find nothing: time that goes by may come without one.
            return input.with_columns(added(take.iter().map(|field| new_empty_array(&field.ty.arrow())).collect()));
        }
        let table = output.table(*step).unwrap_or_else(|| panic!("step {step} has no table"));
        let key = |name: &Arc<str>| {
            let column = input.rows.column_by_name(name);
            column.unwrap_or_else(|| panic!("no key column `{name}` in the batch")).clone()
        };
        let keys: Vec<ArrayRef> = keys.iter().map(key).collect();
        let Found { hits, columns } = table.look_up(&keys);
        let missed = hits.len() - hits.count_set_bits();
        output.lookups.push(LookupReport { step: *step, rows: hits.len(), missed });
        let found = input.with_columns(added(columns));
        match missing {
            Missing::Drop if missed > 0 => found.filtered(&BooleanArray::new(hits, None)),
            Missing::Drop | Missing::Null => found,
        }
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
