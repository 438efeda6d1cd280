//! `metrics`: what rows measure, told to whoever collects it. The rows go on as they are.
//!
//! ```text
//! rows ──► a value and labels for each row ──► per labels, in the order of the rows ──► Meters
//!      └─────────────────────────────────────────────────────────────────────────────► the next step
//! ```
//! A value that is null measures nothing; a label that is null is empty. A row on which an expression fails is dead, and measured by none.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_buffer::BooleanBuffer;
use arrow_cast::cast;
use arrow_schema::DataType;
use tidemill_event::batch::times;
use tidemill_event::{Breaker, Reason};

use crate::where_step::without;
use crate::{FlowBatch, OnFailing, Operator, Outcome, Projection, StepId, StepState, Watermark};

/// Takes what is measured. It is told while a batch is taken, and must not wait; what it makes of rows that are taken again after a crash is
/// its own business.
pub trait Meters: Send {
    /// Values of the meter of that number, of rows with the same labels, each with its row's event time, in the order of the rows; at least
    /// one.
    fn measured(&mut self, meter: usize, labels: &[&str], amounts: &[(f64, i64)]);
}

/// One thing that is measured.
pub struct Meter {
    /// A float64.
    pub value: Box<dyn Projection>,
    /// Strings.
    pub labels: Vec<Box<dyn Projection>>,
}

/// The step.
pub struct Metering {
    step: StepId,
    meters: Vec<Meter>,
    to: Box<dyn Meters>,
}

/// What a meter found in a batch.
struct Found {
    values: ArrayRef,
    labels: Vec<StringArray>,
}

impl Metering {
    /// A step that tells `to` what `meters` find.
    pub fn new(step: StepId, meters: Vec<Meter>, to: Box<dyn Meters>) -> Self {
        Self { step, meters, to }
    }

    fn tell(&mut self, meter: usize, found: &Found, times: &[i64], measured: &BooleanArray) {
        let values = found.values.as_primitive::<Float64Type>();
        let mut series: BTreeMap<Vec<&str>, Vec<(f64, i64)>> = BTreeMap::new();
        for row in measured.values().set_indices().filter(|row| values.is_valid(*row)) {
            let label = |column: &'_ StringArray| column.is_valid(row);
            let labels = found.labels.iter().map(|column| if label(column) { column.value(row) } else { "" }).collect();
            series.entry(labels).or_default().push((values.value(row), times[row]));
        }
        for (labels, amounts) in series {
            self.to.measured(meter, &labels, &amounts);
        }
    }
}

/// A string column that may be a dictionary.
fn texts(column: &ArrayRef) -> StringArray {
    cast(column, &DataType::Utf8).expect("a label is a string").as_string::<i32>().clone()
}

impl Operator for Metering {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        if input.is_empty() {
            return input;
        }
        let mut failed: Vec<(usize, String)> = Vec::new();
        let mut compute = |projection: &dyn Projection| {
            let computed = projection.compute(&input.rows);
            failed.extend(computed.failed);
            computed.values
        };
        let find = |meter: &Meter, compute: &mut dyn FnMut(&dyn Projection) -> ArrayRef| Found {
            values: compute(meter.value.as_ref()),
            labels: meter.labels.iter().map(|label| texts(&compute(label.as_ref()))).collect(),
        };
        let found: Vec<Found> = self.meters.iter().map(|meter| find(meter, &mut compute)).collect();
        let all = BooleanArray::new(BooleanBuffer::new_set(input.len()), None);
        // The first expression that fails speaks for its row.
        let mut seen = BTreeSet::new();
        failed.retain(|(row, _)| seen.insert(*row));
        failed.sort_by_key(|(row, _)| *row);
        let keep = if failed.is_empty() { all } else { without(all, failed.iter().map(|(row, _)| *row)) };
        for (meter, found) in found.iter().enumerate() {
            self.tell(meter, found, times(&input.rows).values(), &keep);
        }
        output.bury(&input, self.step, failed.into_iter().map(|(row, why)| (row, Reason::Expression, why)).collect());
        input.filtered(&keep)
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use arrow_array::RecordBatch;
    use tidemill_event::EventTime;

    use super::*;
    use crate::Computed;
    use crate::example::{batch, show};

    /// A column by its place, as a double or as it is; fails where the value is 13.
    struct Column(usize);

    impl Projection for Column {
        fn compute(&self, rows: &RecordBatch) -> Computed {
            let values = rows.column(self.0).clone();
            if self.0 == 0 {
                return Computed { values, failed: Vec::new() };
            }
            let values = cast(&values, &DataType::Float64).expect("numbers");
            let doubles = values.as_primitive::<Float64Type>();
            let failed = (0..doubles.len()).filter(|row| doubles.is_valid(*row) && doubles.value(*row) == 13.0);
            let failed = failed.map(|row| (row, "unlucky".to_owned())).collect();
            Computed { values, failed }
        }
    }

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl Meters for Heard {
        fn measured(&mut self, meter: usize, labels: &[&str], amounts: &[(f64, i64)]) {
            let amounts: Vec<f64> = amounts.iter().map(|(amount, _)| *amount).collect();
            self.0.lock().expect("no panic").push(format!("{meter} {labels:?} {amounts:?}"));
        }
    }

    #[test]
    fn values_come_by_labels_and_rows_go_on() {
        let heard = Heard::default();
        let meters = vec![
            Meter { value: Box::new(Column(1)), labels: vec![Box::new(Column(0))] },
            Meter { value: Box::new(Column(1)), labels: Vec::new() },
        ];
        let mut step = Metering::new(StepId(2), meters, Box::new(heard.clone()));
        let mut output = Outcome::new(EventTime(0));
        let made = step.apply(batch("b:2 a:5 b:- -:7 c:13 b:1"), &mut output);
        let shown = show(&made, &output);
        assert_eq!(made.origin, [0, 1, 2, 3, 5], "{shown}");
        assert_eq!(output.dead.iter().map(|dead| (dead.origin, &*dead.error)).collect::<Vec<_>>(), [(4, "unlucky")]);
        let heard = heard.0.lock().expect("no panic").join("\n");
        assert_eq!(heard, "0 [\"\"] [7.0]\n0 [\"a\"] [5.0]\n0 [\"b\"] [2.0, 1.0]\n1 [] [2.0, 5.0, 7.0, 1.0]");
    }
}
