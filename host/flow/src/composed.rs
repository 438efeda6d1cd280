//! One step of a pipeline made of several operators: what a window needs computed before it and behind it.
//!
//! ```text
//! rows ──► extend (arguments) ──► the operator ──► extend (of results) ──► only the columns that were asked for
//!                                     └──► late rows, without what was added to them
//! ```
//! To the driver it is one step: one number, one state.

use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::batch::{TIME_COLUMN, UNKNOWN_COLUMN};
use tidemill_event::{Breaker, EventTime};

use crate::batch::columns_named;
use crate::{Extend, FlowBatch, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// The step.
pub struct Composed {
    before: Option<Extend>,
    operator: Box<dyn Operator>,
    after: Option<Extend>,
    /// What `before` adds: rows that come too late leave without it.
    hidden: Vec<Arc<str>>,
    /// The columns that come out, the host's own aside.
    columns: Vec<Arc<str>>,
}

impl Composed {
    /// `operator` between two others of its number. `hidden` are the columns that `before` adds, `columns` those that come out, in that order;
    /// `_unknown` and `_time` come behind them where they are.
    pub fn new(
        before: Option<Extend>,
        operator: Box<dyn Operator>,
        after: Option<Extend>,
        hidden: Vec<Arc<str>>,
        columns: Vec<Arc<str>>,
    ) -> Self {
        Self { before, operator, after, hidden, columns }
    }
}

/// The columns of these names and the host's own.
pub(crate) fn only<'a>(rows: &RecordBatch, names: impl Iterator<Item = &'a Arc<str>>) -> RecordBatch {
    let own = [UNKNOWN_COLUMN, TIME_COLUMN].into_iter().filter(|name| rows.column_by_name(name).is_some()).map(Arc::from);
    columns_named(rows, names.cloned().chain(own))
}

impl Operator for Composed {
    fn step(&self) -> StepId {
        self.operator.step()
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let input = match &mut self.before {
            Some(before) => before.apply(input, output),
            None => input,
        };
        let late_before = output.late.len();
        let rows = self.operator.apply(input, output);
        if !self.hidden.is_empty() {
            for late in &mut output.late[late_before..] {
                let rows = &late.rows.rows;
                let names: Vec<Arc<str>> = rows.schema_ref().fields().iter().map(|field| field.name().as_str().into()).collect();
                let is_own = |name: &&Arc<str>| ![UNKNOWN_COLUMN, TIME_COLUMN].contains(&&***name);
                let kept = names.iter().filter(is_own).filter(|name| !self.hidden.contains(name));
                late.rows.rows = only(rows, kept);
            }
        }
        let rows = match &mut self.after {
            Some(after) => after.apply(rows, output),
            None => rows,
        };
        FlowBatch { rows: only(&rows.rows, self.columns.iter()), origin: rows.origin }
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        self.operator.state()
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        self.operator.breaker()
    }

    fn due(&self) -> Option<Watermark> {
        self.operator.due()
    }

    fn due_at(&self) -> Option<EventTime> {
        self.operator.due_at()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;
    use tidemill_event::{EventTime, Field, FieldType};

    use super::*;
    use crate::example::{Double, batch, show};
    use crate::{Aggregate, AggregateCall, Judged, Marks, NamedProjection, SlicedWindow, Slicing, WindowSettings};

    fn doubled(name: &str) -> Extend {
        let field = Field::new(name, FieldType::Int64, true);
        Extend::new(StepId(0), vec![NamedProjection { field, projection: Box::new(Double) }])
    }

    #[test]
    fn what_is_computed_before_does_not_show() {
        let argument = Field::new("v * 2", FieldType::Int64, true);
        let sum = AggregateCall { name: "v".into(), aggregate: Aggregate::Sum, argument: Some(argument), filter: None };
        let settings = WindowSettings {
            step: StepId(0),
            by: Vec::new(),
            aggregates: vec![sum],
            components: Vec::new(),
            lateness: Duration::ZERO,
            judged: Judged::ByTask,
            top: None,
        };
        let window = SlicedWindow::new(Slicing::global(), settings).expect("a sum of numbers");
        let (before, after) = (doubled("v * 2"), doubled("twice"));
        let columns = vec!["twice".into(), "v".into()];
        let mut step = Composed::new(Some(before), Box::new(window), Some(after), vec!["v * 2".into()], columns);
        let rows = batch("a:1 b:2");
        let mut output =
            Outcome::new(EventTime(0)).with_marks(Marks::new(Watermark::NONE, vec![i64::MIN; 2], None, Watermark::END));
        let out = step.apply(rows.clone(), &mut output);
        expect!["1:twice=12,v=6 | "].assert_eq(&show(&out, &output));
        let mut output =
            Outcome::new(EventTime(0)).with_marks(Marks::new(Watermark::END, vec![i64::MAX; 2], None, Watermark::END));
        let none = step.apply(rows, &mut output);
        assert!(none.is_empty());
        let late = &output.late[0].rows.rows;
        assert!(late.column_by_name("v * 2").is_none() && late.num_rows() == 2, "{late:?}");
    }
}
