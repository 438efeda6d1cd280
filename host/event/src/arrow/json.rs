//! A value of a client's column as JSON text: what it is kept as where no column has its type.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Float16Type, Float32Type, Float64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use arrow_schema::{DataType, Field as ArrowField, FieldRef, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::table::{integer, value};
use crate::json::{DecodeLimits, compact_value, write_decimal, write_float, write_integer, write_text, write_time};
use crate::schema::holds_json;

/// What is written would be longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Appends an object of these columns' values, nulls included, at most up to `end`.
pub(super) fn write_object<'a>(
    fields: impl Iterator<Item = (&'a FieldRef, &'a dyn Array)>,
    row: usize,
    end: usize,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    out.push(b'{');
    for (index, (field, array)) in fields.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(field.name().as_bytes(), out);
        out.push(b':');
        write(field, array, row, end, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// Appends the value of a row, at most up to `end`. How deep it goes is bounded by the schema, and in a text that is JSON already by what
/// rows may be.
pub(super) fn write(field: &ArrowField, array: &dyn Array, row: usize, end: usize, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let Some((array, row)) = value(array, row) else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    if let Some(value) = text(array, row) {
        if out.len() + value.len() > end {
            return Err(TooLong);
        }
        match json_text(field, value) {
            Some(json) => out.extend_from_slice(&json),
            None => write_text(value.as_bytes(), out),
        }
    } else if let Some(value) = bytes(array, row) {
        if out.len() + value.len() > end {
            return Err(TooLong);
        }
        out.push(b'"');
        out.extend_from_slice(STANDARD.encode(value).as_bytes());
        out.push(b'"');
    } else if let Some(value) = float(array, row) {
        write_float(value, out);
    } else if let Some(micros) = micros(array, row) {
        write_time(micros, None, out);
    } else if let Some(value) = integer(array, row) {
        write_integer(value, out);
    } else {
        match array.data_type() {
            DataType::Boolean => out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" }),
            DataType::UInt64 => write_integer(array.as_primitive::<UInt64Type>().value(row), out),
            DataType::Decimal32(_, scale) => {
                write_decimal(array.as_primitive::<Decimal32Type>().value(row).into(), scale.unsigned_abs(), out);
            }
            DataType::Decimal64(_, scale) => {
                write_decimal(array.as_primitive::<Decimal64Type>().value(row).into(), scale.unsigned_abs(), out);
            }
            DataType::Decimal128(_, scale) => {
                write_decimal(array.as_primitive::<Decimal128Type>().value(row), scale.unsigned_abs(), out);
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns();
                write_object(fields.iter().zip(columns.iter().map(|column| &**column)), row, end, out)?;
            }
            DataType::List(item) => write_list(item, &array.as_list::<i32>().value(row), end, out)?,
            DataType::LargeList(item) => write_list(item, &array.as_list::<i64>().value(row), end, out)?,
            // Other types are refused with the schema; a time beyond what µs can say has no better text.
            _ => out.extend_from_slice(b"null"),
        }
    }
    if out.len() > end { Err(TooLong) } else { Ok(()) }
}

/// The text as the JSON it is, if its column says so. One that is none stays a text.
fn json_text(field: &ArrowField, text: &str) -> Option<Vec<u8>> {
    if !holds_json(field) {
        return None;
    }
    compact_value(text.as_bytes(), DecodeLimits::default().depth_max).ok()
}

fn write_list(item: &ArrowField, values: &Arc<dyn Array>, end: usize, out: &mut Vec<u8>) -> Result<(), TooLong> {
    out.push(b'[');
    for row in 0..values.len() {
        if row > 0 {
            out.push(b',');
        }
        write(item, values, row, end, out)?;
    }
    out.push(b']');
    Ok(())
}

/// A text of any form. The row must not be null, here and below.
#[inline]
pub(super) fn text(array: &dyn Array, row: usize) -> Option<&str> {
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        DataType::Utf8View => array.as_string_view().value(row),
        _ => return None,
    })
}

/// Bytes of any form.
pub(super) fn bytes(array: &dyn Array, row: usize) -> Option<&[u8]> {
    Some(match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(row),
        _ => return None,
    })
}

/// A float of any width.
pub(super) fn float(array: &dyn Array, row: usize) -> Option<f64> {
    Some(match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().value(row).to_f64(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row),
        _ => return None,
    })
}

/// µs of a timestamp or date; digits beyond µs are cut. `None` if it is none, or beyond what µs can say.
pub(super) fn micros(array: &dyn Array, row: usize) -> Option<i64> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => array.as_primitive::<TimestampSecondType>().value(row).checked_mul(1_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().value(row).checked_mul(1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(array.as_primitive::<TimestampNanosecondType>().value(row) / 1_000),
        DataType::Date32 => i64::from(array.as_primitive::<Date32Type>().value(row)).checked_mul(86_400_000_000),
        DataType::Date64 => array.as_primitive::<Date64Type>().value(row).checked_mul(1_000),
        _ => None,
    }
}
