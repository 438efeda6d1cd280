//! `select` and `extend`: columns computed from a row's own columns.
//!
//! All expressions of one step see the row as it came in, not each other's results. A row that any of them fails on is dead; its error
//! names the first one, in order. `select` keeps nothing of the row but `_time`; `extend` adds to it, and a name that is there already
//! takes the new value.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Field as ArrowField;
use arrow_select::filter::filter;
use tidemill_event::batch::time_field;
use tidemill_event::{Breaker, Field, Reason};

use crate::batch::{assemble, field_of};
use crate::where_step::without;
use crate::{Computed, FlowBatch, OnFailing, Operator, Outcome, Projection, StepId, StepState, Watermark};

/// A column and how it is computed.
pub struct NamedProjection {
    /// Its name and type; not a name of the host's.
    pub field: Field,
    /// Where its values come from.
    pub projection: Box<dyn Projection>,
}

/// Replaces a row's fields.
pub struct Select {
    step: StepId,
    columns: Vec<NamedProjection>,
}

/// Adds to a row's fields.
pub struct Extend {
    step: StepId,
    columns: Vec<NamedProjection>,
}

impl Select {
    /// A step that makes these fields, in this order; names are unique.
    pub fn new(step: StepId, columns: Vec<NamedProjection>) -> Self {
        Self { step, columns }
    }
}

impl Extend {
    /// A step that adds these fields, in this order; names are unique.
    pub fn new(step: StepId, columns: Vec<NamedProjection>) -> Self {
        Self { step, columns }
    }
}

impl Operator for Select {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let (input, computed) = compute(self.step, &self.columns, input, output);
        let (mut fields, mut columns): (Vec<Arc<ArrowField>>, Vec<ArrayRef>) =
            computed.into_iter().map(|(field, column)| (Arc::new(field), column)).unzip();
        fields.push(Arc::new(time_field()));
        columns.push(input.rows.columns().last().expect("an event batch has `_time`").clone());
        FlowBatch { rows: assemble(fields, columns, input.len()), origin: input.origin }
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

impl Operator for Extend {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let (input, computed) = compute(self.step, &self.columns, input, output);
        input.with_columns(computed)
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

/// Computes all columns and takes out, and buries, the rows that fail.
pub(crate) fn compute(
    step: StepId,
    columns: &[NamedProjection],
    input: FlowBatch,
    output: &mut Outcome,
) -> (FlowBatch, Vec<(ArrowField, ArrayRef)>) {
    let mut failures: Vec<(usize, Reason, String)> = Vec::new();
    let mut computed: Vec<(&Field, ArrayRef)> = Vec::with_capacity(columns.len());
    for NamedProjection { field, projection } in columns {
        let Computed { values, failed } = projection.compute(&input.rows);
        failures.extend(failed.into_iter().map(|(row, error)| (row, Reason::Expression, format!("`{}`: {error}", field.name))));
        computed.push((field, values));
    }
    if failures.is_empty() {
        return (input, computed.into_iter().map(|(field, column)| (field_of(field, &column), column)).collect());
    }
    // Stable, so that of several errors of a row the first expression's stays.
    failures.sort_by_key(|(row, ..)| *row);
    failures.dedup_by_key(|(row, ..)| *row);
    let keep = without(BooleanArray::new(BooleanBuffer::new_set(input.len()), None), failures.iter().map(|(row, ..)| *row));
    output.bury(&input, step, failures);
    let computed = computed
        .into_iter()
        .map(|(field, column)| {
            let column = filter(&column, &keep).expect("an expression gives a value per row");
            (field_of(field, &column), column)
        })
        .collect();
    (input.filtered(&keep), computed)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use tidemill_event::FieldType;

    use tidemill_event::EventTime;

    use super::*;
    use crate::example::{Double, batch, show};

    fn columns(names: &[&str]) -> Vec<NamedProjection> {
        names
            .iter()
            .map(|name| NamedProjection { field: Field::new(name, FieldType::Int64, true), projection: Box::new(Double) })
            .collect()
    }

    fn check(mut step: impl Operator, rows: &str, expected: Expect) {
        let mut output = Outcome::new(EventTime(0));
        let out = step.apply(batch(rows), &mut output);
        expected.assert_eq(&show(&out, &output));
    }

    #[test]
    fn select_replaces_the_row_and_keeps_its_time() {
        check(Select::new(StepId(0), columns(&["twice"])), "a:5 b:-", expect!["0:twice=10 1:twice=- | "]);
        check(
            Select::new(StepId(0), columns(&["twice", "again"])),
            "a:5 b:13 c:1",
            expect!["0:twice=10,again=10 2:twice=2,again=2 | 1:b=13 step 0 expression `twice`: unlucky"],
        );
        check(Select::new(StepId(0), columns(&["twice"])), "", expect![" | "]);
    }

    #[test]
    fn extend_adds_before_the_time_and_replaces_a_name_in_its_place() {
        check(Extend::new(StepId(1), columns(&["twice"])), "a:5", expect!["0:a=5,twice=10 | "]);
        check(Extend::new(StepId(1), columns(&["v"])), "a:5 b:13", expect!["0:a=10 | 1:b=13 step 1 expression `v`: unlucky"]);
    }
}
