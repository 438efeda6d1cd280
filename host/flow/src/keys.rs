//! The bytes of a row's key: the same for the same values, however their columns stand.
//!
//! ```text
//! per `by` column:  00                            null: a key value of its own
//!                   01 value                      bool: one byte; int64, timestamp, float64: 8 bytes; decimal: 16 bytes; little-endian
//!                   01 length(u32) bytes          string, bytes, json
//! ```
//! Two numbers that compare equal are one key: -0.0 is written as 0.0, every NaN as one. These bytes are stored with checkpoints, so
//! they never change.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{
    Array, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, TimeUnit};

/// One key column of a batch: its type is looked at once. Its other form, bytes in the order of the values, is in `group/key_columns.rs`.
pub(crate) enum KeyColumn<'a> {
    Bool(&'a BooleanArray),
    Int64(&'a Int64Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array),
    Timestamp(&'a TimestampMicrosecondArray),
    Text(&'a StringArray),
    Dictionary(&'a DictionaryArray<UInt32Type>, &'a StringArray),
    Bytes(&'a BinaryArray),
}

impl<'a> KeyColumn<'a> {
    /// The columns of these names.
    ///
    /// # Panics
    /// If one is not there, or of a type no event batch has: names were checked when the pipeline was applied.
    pub(crate) fn of(rows: &'a RecordBatch, by: &[Arc<str>]) -> Vec<Self> {
        by.iter()
            .map(|name| {
                let column = rows.column_by_name(name).unwrap_or_else(|| panic!("no key column `{name}` in the batch"));
                Self::new(column)
            })
            .collect()
    }

    /// # Panics
    /// If the column is of a type no event batch has.
    pub(crate) fn new(column: &'a dyn Array) -> Self {
        match column.data_type() {
            DataType::Boolean => Self::Bool(column.as_boolean()),
            DataType::Int64 => Self::Int64(column.as_primitive::<Int64Type>()),
            DataType::Float64 => Self::Float64(column.as_primitive::<Float64Type>()),
            DataType::Decimal128(..) => Self::Decimal(column.as_primitive::<Decimal128Type>()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Timestamp(column.as_primitive::<TimestampMicrosecondType>()),
            DataType::Utf8 => Self::Text(column.as_string::<i32>()),
            DataType::Binary => Self::Bytes(column.as_binary::<i32>()),
            DataType::Dictionary(..) => {
                let dictionary = column.as_dictionary::<UInt32Type>();
                Self::Dictionary(dictionary, dictionary.values().as_string::<i32>())
            }
            other => panic!("no event batch has a column of {other}"),
        }
    }

    /// Appends the key bytes of one row.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Bool(column) => fixed(column.is_valid(row).then(|| [u8::from(column.value(row))]), out),
            Self::Int64(column) => fixed(column.is_valid(row).then(|| column.value(row).to_le_bytes()), out),
            Self::Timestamp(column) => fixed(column.is_valid(row).then(|| column.value(row).to_le_bytes()), out),
            Self::Decimal(column) => fixed(column.is_valid(row).then(|| column.value(row).to_le_bytes()), out),
            Self::Float64(column) => fixed(column.is_valid(row).then(|| canonical(column.value(row)).to_le_bytes()), out),
            Self::Text(column) => variable(column.is_valid(row).then(|| column.value(row).as_bytes()), out),
            Self::Bytes(column) => variable(column.is_valid(row).then(|| column.value(row)), out),
            Self::Dictionary(column, values) => {
                let entry = column.key(row).filter(|entry| values.is_valid(*entry));
                variable(entry.map(|entry| values.value(entry).as_bytes()), out);
            }
        }
    }
}

fn canonical(value: f64) -> f64 {
    if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    }
}

fn fixed<const N: usize>(value: Option<[u8; N]>, out: &mut Vec<u8>) {
    match value {
        Some(bytes) => {
            out.push(1);
            out.extend_from_slice(&bytes);
        }
        None => out.push(0),
    }
}

fn variable(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(bytes) => {
            out.push(1);
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        None => out.push(0),
    }
}
