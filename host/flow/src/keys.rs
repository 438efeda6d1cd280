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
use serde_json::{Map, Value};
use tidemill_event::{EventTime, Field, FieldType};

use crate::aggregate::bytes::{take, take_i64, take_u8, take_u32};

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

/// The values of a key's bytes, by the names of its columns. `None`: they are bytes of other columns.
pub(crate) fn shown(fields: &[Field], mut bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut key = Map::new();
    for field in fields {
        let value = match take_u8(&mut bytes)? {
            0 => Value::Null,
            _ => match field.ty {
                FieldType::Bool => Value::Bool(take_u8(&mut bytes)? == 1),
                FieldType::Int64 => take_i64(&mut bytes)?.into(),
                FieldType::Timestamp(_) => EventTime(take_i64(&mut bytes)?).to_rfc3339().into(),
                FieldType::Float64 => f64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?).into(),
                FieldType::Decimal { scale, .. } => {
                    let unscaled = i128::from_le_bytes(take(&mut bytes, 16)?.try_into().ok()?);
                    let width = usize::from(scale) + 1;
                    let digits = format!("{:0width$}", unscaled.unsigned_abs());
                    let (whole, rest) = digits.split_at(digits.len() + 1 - width);
                    let (sign, point) = (if unscaled < 0 { "-" } else { "" }, if rest.is_empty() { "" } else { "." });
                    format!("{sign}{whole}{point}{rest}").into()
                }
                FieldType::String | FieldType::Json => {
                    let length = take_u32(&mut bytes)? as usize;
                    str::from_utf8(take(&mut bytes, length)?).ok()?.into()
                }
                FieldType::Bytes => {
                    let length = take_u32(&mut bytes)? as usize;
                    take(&mut bytes, length)?.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
                }
            },
        };
        key.insert(field.name.to_string(), value);
    }
    bytes.is_empty().then_some(key)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::key_state::column;

    #[test]
    fn the_bytes_of_a_key_say_its_values() {
        let decimal = Decimal128Array::from(vec![Some(-12_345), Some(7)]).with_precision_and_scale(9, 2).expect("a scale");
        let columns = [
            column("b", FieldType::Bool, BooleanArray::from(vec![Some(true), None])),
            column("i", FieldType::Int64, Int64Array::from(vec![Some(-7), None])),
            column("f", FieldType::Float64, Float64Array::from(vec![Some(-0.0), None])),
            column("d", FieldType::Decimal { precision: 9, scale: 2 }, decimal),
            column("t", FieldType::Timestamp(None), crate::key_state::times_of([Some(1), None].into_iter())),
            column("s", FieldType::String, StringArray::from(vec![Some("ä"), None])),
            column("y", FieldType::Bytes, BinaryArray::from(vec![Some(&[1, 255][..]), None])),
        ];
        let fields: Vec<Field> = columns.iter().map(|(field, _)| field.clone()).collect();
        let said = [0, 1].map(|row| {
            let mut bytes = Vec::new();
            columns.iter().for_each(|(_, column)| KeyColumn::new(column).write(row, &mut bytes));
            assert_eq!(shown(&fields[..6], &bytes), None, "bytes of one more column");
            Value::Object(shown(&fields, &bytes).expect("a key"))
        });
        let of_first = json!({
            "b": true, "i": -7, "f": 0.0, "d": "-123.45", "t": "1970-01-01T00:00:00.000001Z", "s": "ä", "y": "01ff",
        });
        let of_second = json!({"b": null, "i": null, "f": null, "d": "0.07", "t": null, "s": null, "y": null});
        assert_eq!(said, [of_first, of_second]);
    }
}
