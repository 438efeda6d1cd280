//! Key columns of a batch as ordered key bytes, and keys back into columns.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow_schema::DataType;
use tidemill_event::FieldType;

use crate::group::ordered::{
    put_bool, put_bytes, put_decimal, put_float, put_int, put_null, take_bool, take_bytes, take_decimal, take_float, take_int,
    take_presence,
};
use crate::keys::KeyColumn;

impl KeyColumn<'_> {
    /// Appends the ordered key bytes of one row.
    #[inline]
    pub(crate) fn put_ordered(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Bool(column) if column.is_valid(row) => put_bool(column.value(row), out),
            Self::Int64(column) if column.is_valid(row) => put_int(column.value(row), out),
            Self::Timestamp(column) if column.is_valid(row) => put_int(column.value(row), out),
            Self::Float64(column) if column.is_valid(row) => put_float(column.value(row), out),
            Self::Decimal(column) if column.is_valid(row) => put_decimal(column.value(row), out),
            Self::Text(column) if column.is_valid(row) => put_bytes(column.value(row).as_bytes(), out),
            Self::Bytes(column) if column.is_valid(row) => put_bytes(column.value(row), out),
            Self::Dictionary(column, values) => match column.key(row).filter(|entry| values.is_valid(*entry)) {
                Some(entry) => put_bytes(values.value(entry).as_bytes(), out),
                None => put_null(out),
            },
            Self::Bool(_)
            | Self::Int64(_)
            | Self::Timestamp(_)
            | Self::Float64(_)
            | Self::Decimal(_)
            | Self::Text(_)
            | Self::Bytes(_) => put_null(out),
        }
    }
}

/// Appends the ordered key bytes of one row of a column.
///
/// # Panics
/// If the column is of a type no event batch has.
pub(crate) fn put_row(column: &dyn Array, row: usize, out: &mut Vec<u8>) {
    KeyColumn::new(column).put_ordered(row, out);
}

/// A column of a key under way.
enum Builder {
    Bool(Vec<Option<bool>>),
    Int64(Vec<Option<i64>>),
    Timestamp(Vec<Option<i64>>),
    Float64(Vec<Option<f64>>),
    Decimal(Vec<Option<i128>>, u8, i8),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
}

/// Ordered key bytes back into one column each; the inverse of [`KeyColumn`].
pub(crate) struct KeyColumns {
    builders: Vec<Builder>,
    scratch: Vec<u8>,
}

impl KeyColumns {
    pub(crate) fn new(types: &[FieldType]) -> Self {
        let builder = |ty: &FieldType| match *ty {
            FieldType::Bool => Builder::Bool(Vec::new()),
            FieldType::Int64 => Builder::Int64(Vec::new()),
            FieldType::Timestamp(_) => Builder::Timestamp(Vec::new()),
            FieldType::Float64 => Builder::Float64(Vec::new()),
            FieldType::Decimal { precision, scale } => Builder::Decimal(Vec::new(), precision, scale as i8),
            FieldType::String | FieldType::Json => Builder::Text(StringBuilder::new()),
            FieldType::Bytes => Builder::Bytes(BinaryBuilder::new()),
        };
        Self { builders: types.iter().map(builder).collect(), scratch: Vec::new() }
    }

    /// One more key. `None`: these bytes are no such key.
    pub(crate) fn push(&mut self, mut key: &[u8]) -> Option<()> {
        for builder in &mut self.builders {
            let is_there = take_presence(&mut key)?;
            match builder {
                Builder::Bool(values) => values.push(if is_there { Some(take_bool(&mut key)?) } else { None }),
                Builder::Int64(values) | Builder::Timestamp(values) => {
                    values.push(if is_there { Some(take_int(&mut key)?) } else { None });
                }
                Builder::Float64(values) => values.push(if is_there { Some(take_float(&mut key)?) } else { None }),
                Builder::Decimal(values, ..) => values.push(if is_there { Some(take_decimal(&mut key)?) } else { None }),
                Builder::Text(_) | Builder::Bytes(_) if is_there => {
                    self.scratch.clear();
                    take_bytes(&mut key, &mut self.scratch)?;
                    match builder {
                        Builder::Text(values) => values.append_value(str::from_utf8(&self.scratch).ok()?),
                        Builder::Bytes(values) => values.append_value(&self.scratch),
                        Builder::Bool(_)
                        | Builder::Int64(_)
                        | Builder::Timestamp(_)
                        | Builder::Float64(_)
                        | Builder::Decimal(..) => {
                            return None;
                        }
                    }
                }
                Builder::Text(values) => values.append_null(),
                Builder::Bytes(values) => values.append_null(),
            }
        }
        key.is_empty().then_some(())
    }

    pub(crate) fn finish(self) -> Vec<ArrayRef> {
        let column = |builder: Builder| -> ArrayRef {
            match builder {
                Builder::Bool(values) => Arc::new(BooleanArray::from(values)),
                Builder::Int64(values) => Arc::new(Int64Array::from(values)),
                Builder::Timestamp(values) => Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")),
                Builder::Float64(values) => Arc::new(Float64Array::from(values)),
                Builder::Decimal(values, precision, scale) => {
                    Arc::new(Decimal128Array::from(values).with_data_type(DataType::Decimal128(precision, scale)))
                }
                Builder::Text(mut values) => Arc::new(values.finish()),
                Builder::Bytes(mut values) => Arc::new(values.finish()),
            }
        };
        self.builders.into_iter().map(column).collect()
    }
}
