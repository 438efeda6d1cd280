//! Rows of matches of several patterns as one batch: columns that a pattern does not have are null in its rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_cast::cast;
use arrow_schema::{DataType, Field as ArrowField, Schema};
use tidemill_event::batch::{TIME_COLUMN, time_field};
use tidemill_event::{Field, FieldType};

use crate::FlowBatch;
use crate::batch::{assemble, pick};

/// The column that says which pattern matched.
pub const PATTERN: &str = "pattern";

/// Its field.
pub(super) fn pattern_field() -> Field {
    Field::new(PATTERN, FieldType::String, false)
}

/// Rows of one pattern with the columns of all.
pub(super) fn widened(rows: &FlowBatch, name: &str, fields: &[Field]) -> FlowBatch {
    let count = rows.len();
    let (mut arrow, mut columns): (Vec<_>, Vec<ArrayRef>) =
        (Vec::with_capacity(fields.len() + 1), Vec::with_capacity(fields.len() + 1));
    for field in fields {
        let typed = field.arrow();
        let column: ArrayRef = match rows.rows.column_by_name(&field.name) {
            _ if &*field.name == PATTERN => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, count))),
            None => new_null_array(typed.data_type(), count),
            Some(column) => match column.data_type() {
                // Batches of several patterns stand behind each other: all have the same types.
                DataType::Dictionary(_, values) => cast(column, values).expect("a dictionary casts to its values"),
                _ => column.clone(),
            },
        };
        arrow.push(Arc::new(typed));
        columns.push(column);
    }
    arrow.push(Arc::new(time_field()));
    columns.push(rows.rows.column_by_name(TIME_COLUMN).expect("an event batch has a time").clone());
    FlowBatch { rows: assemble(arrow, columns, count), origin: rows.origin.clone() }
}

/// No row of these columns.
pub(super) fn nothing(fields: &[Field]) -> FlowBatch {
    let arrow: Vec<ArrowField> = fields.iter().map(Field::arrow).chain([time_field()]).collect();
    FlowBatch::new(RecordBatch::new_empty(Arc::new(Schema::new(arrow))))
}

/// Batches in the order of patterns, as one in the order of what let rows out.
pub(super) fn merged(batches: Vec<FlowBatch>) -> FlowBatch {
    let all = FlowBatch::concat(batches);
    if all.origin.is_sorted() {
        return all;
    }
    let mut order: Vec<u32> = (0..all.len() as u32).collect();
    order.sort_by_key(|row| all.origin[*row as usize]);
    FlowBatch { origin: order.iter().map(|row| all.origin[*row as usize]).collect(), rows: pick(&all.rows, &order) }
}
