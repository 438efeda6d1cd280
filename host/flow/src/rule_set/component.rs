//! The component of a rule: asked, in one call, about the rows that the rule's other tests let through, and about no other.
//!
//! ```text
//! candidates  2 5 6 9 12          what the tests left, of rows that are still open
//!             y n † y ⋯           6 is dead; from 12 on the call had cost enough, or the component is taken out
//! said        yes [2, 9]   gone [6]   undecided 12
//! ```
//! A row that is not decided comes back to the whole step, and so does every row behind it, whatever other rules would say of it: rows keep
//! their order. A row whose call does not return, that the component rejects, or wants to see again, is dealt with here, and no rule behind is
//! asked about it. Failures are isolated as those of a `rule` step are (`calls.rs`).

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_cast::cast;
use arrow_select::concat::concat;
use arrow_select::filter::filter;
use arrow_select::take::take;
use tidemill_event::{Breaker, Field, RuleAnswer};

use crate::aside::set_aside;
use crate::batch::{assemble, columns_named, pick};
use crate::calls::{Calls, Decided, Fate};
use crate::functions::CALLS_MAX;
use crate::rule::null_outputs;
use crate::where_step::without;
use crate::{FlowBatch, Isolation, Judge, OnFailing, Outcome, StepId, Wait};

/// Calls of rules are numbered behind those of as many functions as a step may have.
const FIRST_NUMBER: u32 = 64 * CALLS_MAX;

/// A component that a rule of a set asks; it keeps no state.
pub struct RuleComponent {
    /// The columns it reads, in its order; all are in the batch.
    pub columns: Vec<Field>,
    /// What it says of rows beside yes and no, in its order: for what the rule sets.
    pub outputs: Vec<Field>,
    /// What happens when it keeps failing. Rows that skip it have no answer, which is no.
    pub isolation: Isolation,
    /// The component.
    pub guest: Box<Judge>,
}

/// One component with its calls.
pub(crate) struct Asked {
    place: u32,
    calls: Calls,
    outputs: Vec<Field>,
    guest: Box<Judge>,
}

/// What a component said.
#[derive(Default)]
pub(crate) struct Said {
    /// The rows it says yes to, ascending.
    pub(crate) yes: Vec<u32>,
    /// Its outputs for each of them.
    outputs: Vec<ArrayRef>,
    /// Rows that are dead, or come back by themselves; ascending.
    pub(crate) gone: Vec<u32>,
    /// Rows that skip it while it is taken out; ascending.
    pub(crate) passed: Vec<u32>,
    /// From this row on rows come back, and when.
    pub(crate) undecided: Option<(u32, Wait)>,
}

impl Asked {
    pub(crate) fn new(step: StepId, place: u32, component: RuleComponent) -> Self {
        let RuleComponent { columns, outputs, isolation, guest } = component;
        let calls = Calls::new(step, columns, None, isolation).numbered_from(FIRST_NUMBER + place * CALLS_MAX);
        Self { place, calls, outputs, guest }
    }

    pub(crate) fn breaker(&mut self) -> (&mut Breaker, OnFailing) {
        let Isolation { on_failing, breaker } = &mut self.calls.isolation;
        (breaker, *on_failing)
    }

    /// Asks about some rows, at least one, ascending. Those that do not survive it are dead in `output`, in the name of the rule.
    pub(crate) fn ask(&mut self, rule: &str, rows: &[u32], input: &FlowBatch, output: &mut Outcome) -> Said {
        let dead_before = output.dead.len();
        let asked = {
            let columns = columns_named(&input.rows, self.calls.columns.names());
            let is_all = rows.len() == input.len();
            let columns = if is_all { columns } else { pick(&columns, rows) };
            FlowBatch { rows: columns, origin: rows.to_vec() }
        };
        let Decided { fates, .. } = self.calls.decide(&asked, output, &mut *self.guest);
        let (mut said, mut made) = (Said::default(), vec![Vec::new(); self.outputs.len()]);
        for (range, fate) in fates {
            let rows = &rows[range];
            match fate {
                Fate::Answered(answer) => self.take(rows, answer, input, output, &mut said, &mut made),
                Fate::Dead(ended) => {
                    let row = rows[0] as usize;
                    output.bury_all(&input.slice(&(row..row + 1)), self.calls.step, &ended);
                    said.gone.push(rows[0]);
                }
                Fate::Passed => said.passed.extend(rows),
                Fate::PutBack(wait) => {
                    said.undecided.get_or_insert((rows[0], wait));
                }
            }
        }
        said.outputs = self.outputs.iter().zip(made).map(|(field, parts)| joined(field, &parts)).collect();
        for dead in &mut output.dead[dead_before..] {
            dead.component = Some(self.place);
            dead.error = format!("rule `{rule}`: {}", dead.error).into();
        }
        said
    }

    fn take(
        &self,
        rows: &[u32],
        answer: RuleAnswer,
        input: &FlowBatch,
        output: &mut Outcome,
        said: &mut Said,
        made: &mut [Vec<ArrayRef>],
    ) {
        assert_eq!(answer.verdicts.len(), rows.len(), "a checked answer has a verdict per row");
        let faults = null_outputs(&self.outputs, &answer.columns);
        let gone = if answer.notes.is_empty() && faults.is_empty() {
            Vec::new()
        } else {
            set_aside(&input.picked(rows), self.calls.step, answer.notes, faults, output)
        };
        said.gone.extend(gone.iter().map(|row| rows[*row]));
        let yes: BooleanArray = without(answer.verdicts, gone.into_iter());
        said.yes.extend(yes.values().set_indices().map(|row| rows[row]));
        for ((field, column), parts) in self.outputs.iter().zip(&answer.columns).zip(made) {
            let column = cast(column, &field.ty.arrow()).expect("a column of its own type, a dictionary of it perhaps");
            parts.push(filter(&column, &yes).expect("a value per row"));
        }
    }

    /// Columns for an expression over rows that it said yes to: its outputs, and of the others the rows' own.
    pub(crate) fn columns(&self, said: &Said, names: &[Arc<str>], picked: &[u32], rows: &RecordBatch) -> RecordBatch {
        let place = |row: &u32| said.yes.binary_search(row).expect("the rule said yes to it") as u32;
        let places: UInt32Array = picked.iter().map(place).collect::<Vec<_>>().into();
        let (fields, columns) = names
            .iter()
            .map(|name| match self.outputs.iter().position(|output| output.name == *name) {
                Some(at) => {
                    let column = take(&said.outputs[at], &places, None).expect("a value for each row it said yes to");
                    (Arc::new(self.outputs[at].arrow()), column)
                }
                None => {
                    let column = pick(&columns_named(rows, std::iter::once(name.clone())), picked);
                    (column.schema_ref().fields()[0].clone(), column.column(0).clone())
                }
            })
            .unzip();
        assemble(fields, columns, picked.len())
    }
}

/// The parts of a column behind each other.
fn joined(field: &Field, parts: &[ArrayRef]) -> ArrayRef {
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    if parts.is_empty() {
        return arrow_array::new_empty_array(&field.ty.arrow());
    }
    concat(&parts).expect("parts of one type")
}
