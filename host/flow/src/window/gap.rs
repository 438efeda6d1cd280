//! How far a row of a session reaches: all the same, or as a column says.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, BooleanArray, Int64Array};
use arrow_buffer::BooleanBuffer;
use tidemill_event::Reason;

use crate::where_step::without;
use crate::{FlowBatch, Outcome, StepId};

/// How far a row reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// All rows the same.
    Fixed(Duration),
    /// An int64 column, in µs. A row in which it is null or negative is dead.
    Column(Arc<str>),
}

impl Gap {
    /// How far each row reaches, and the rows that say it; those that do not are dead.
    pub(crate) fn of(&self, input: FlowBatch, step: StepId, output: &mut Outcome) -> (FlowBatch, Vec<i64>) {
        match self {
            Self::Fixed(gap) => {
                let gap = i64::try_from(gap.as_micros()).unwrap_or(i64::MAX);
                let rows = input.len();
                (input, vec![gap; rows])
            }
            Self::Column(name) => {
                let of = |rows: &FlowBatch| -> Int64Array {
                    let column = rows.rows.column_by_name(name).unwrap_or_else(|| panic!("no column `{name}` in the batch"));
                    column.as_primitive::<Int64Type>().clone()
                };
                let column = of(&input);
                let dead: Vec<(usize, Reason, String)> = (0..column.len())
                    .filter(|row| column.is_null(*row) || column.value(*row) < 0)
                    .map(|row| (row, Reason::Expression, format!("`{name}` is the session's gap, and null or negative")))
                    .collect();
                if dead.is_empty() {
                    return (input, column.values().to_vec());
                }
                let all = BooleanArray::new(BooleanBuffer::new_set(input.len()), None);
                let keep = without(all, dead.iter().map(|(row, ..)| *row));
                output.bury(&input, step, dead);
                let rows = input.filtered(&keep);
                let gaps = of(&rows).values().to_vec();
                (rows, gaps)
            }
        }
    }
}
