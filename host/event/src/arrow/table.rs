//! One record batch of a stream, and how a value of any of its columns is found.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field as ArrowField, SchemaRef};

use crate::batch::UNKNOWN_COLUMN;
use crate::schema::holds_json;

/// Rows as a client sent them, checked by Arrow's own rules and no others.
#[derive(Debug, Clone)]
pub struct Table {
    rows: RecordBatch,
}

impl Table {
    pub(super) fn new(rows: RecordBatch) -> Self {
        Self { rows }
    }

    /// Rows that were read from something else than a stream; their types are those that a stream may have.
    pub fn from_rows(rows: RecordBatch) -> Self {
        Self::new(rows)
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows.num_rows()
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    pub(super) fn column(&self, column: usize) -> &dyn Array {
        self.rows.column(column)
    }

    /// Appends a row as a JSON object, and no more than `bytes_max` of it: what is longer is cut.
    pub fn write_json(&self, row: usize, bytes_max: usize, out: &mut Vec<u8>) {
        let end = out.len().saturating_add(bytes_max);
        let fields = self.rows.schema_ref().fields().iter().zip(self.rows.columns().iter().map(|column| &**column));
        let begin = out.len();
        if super::json::write_object(fields.clone().filter(|(field, _)| !is_unknown(field)), row, end, out).is_err() {
            out.truncate(end);
            return;
        }
        // What was read as `_unknown` stands where it was.
        for (field, array) in fields.filter(|(field, _)| is_unknown(field)) {
            let mut value = Vec::new();
            let written = super::json::write(field, array, row, bytes_max, &mut value);
            if written.is_err() || matches!(&value[..], b"null" | b"{}") {
                continue;
            }
            out.pop();
            out.extend_from_slice(if out.len() > begin + 1 { b"," } else { b"" });
            match value.strip_prefix(b"{") {
                Some(members) => out.extend_from_slice(members),
                // It is no object, whatever it is: not to be lost.
                None => {
                    out.extend_from_slice(b"\"_unknown\":");
                    out.append(&mut value);
                    out.push(b'}');
                }
            }
        }
        out.truncate(end);
    }
}

fn is_unknown(field: &ArrowField) -> bool {
    field.name() == UNKNOWN_COLUMN && holds_json(field)
}

/// The array and the place in it where the value of a row stands: through a dictionary, if it is one. `None` is null.
pub(super) fn value(array: &dyn Array, row: usize) -> Option<(&dyn Array, usize)> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let place = usize::try_from(integer(dictionary.keys(), row)?).ok()?;
            let values: &dyn Array = dictionary.values();
            (place < values.len() && values.is_valid(place)).then_some((values, place))
        }
        _ => Some((array, row)),
    }
}

/// An integer of any width; `None` if it is none, or beyond int64.
#[inline]
pub(super) fn integer(array: &dyn Array, row: usize) -> Option<i64> {
    Some(match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => i64::try_from(array.as_primitive::<UInt64Type>().value(row)).ok()?,
        _ => return None,
    })
}
