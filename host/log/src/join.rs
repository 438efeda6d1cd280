//! Small batches of one schema version become one, so that a stream fed one event at a time reads like one fed in bulk.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;

use crate::frame::write_out;
use crate::layout::Layout;

/// The rows of all `pieces`, in order. A string column stays a dictionary only if it is one in every piece and values repeat
/// enough for it to pay.
///
/// # Panics
/// If a piece has not the layout's columns: they were checked when they came in.
pub(crate) fn join(pieces: &[RecordBatch], layout: &Layout) -> RecordBatch {
    let mut dictionaries = Vec::new();
    let columns = (0..layout.schema.fields().len()).map(|index| {
        let columns: Vec<&ArrayRef> = pieces.iter().map(|piece| piece.column(index)).collect();
        let joined = if layout.is_string(index) { join_strings(&columns) } else { concat(&columns) };
        if matches!(joined.data_type(), DataType::Dictionary(..)) {
            dictionaries.push(index);
        }
        joined
    });
    let columns = columns.collect();
    RecordBatch::try_new(layout.physical(&dictionaries), columns).expect("pieces were checked against the layout")
}

fn join_strings(columns: &[&ArrayRef]) -> ArrayRef {
    let (mut values, mut rows, mut all) = (0, 0, true);
    for column in columns {
        rows += column.len();
        match column.as_dictionary_opt::<UInt32Type>() {
            Some(dictionary) => values += dictionary.values().len(),
            None => all = false,
        }
    }
    if all && values * 2 <= rows {
        return concat(columns);
    }
    let plain: Vec<ArrayRef> = columns
        .iter()
        .map(|column| match column.as_dictionary_opt::<UInt32Type>() {
            Some(dictionary) => write_out(dictionary),
            None => Arc::clone(column),
        })
        .collect();
    concat(&plain.iter().collect::<Vec<_>>())
}

fn concat(columns: &[&ArrayRef]) -> ArrayRef {
    let columns: Vec<&dyn Array> = columns.iter().map(|column| column.as_ref()).collect();
    arrow_select::concat::concat(&columns).expect("columns of one type and of bounded size")
}
