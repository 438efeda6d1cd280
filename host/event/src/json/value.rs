//! Values of a column as JSON text: the one place that decides how each type reads back.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow_array::{TimestampMicrosecondArray, UInt32Array};
use arrow_schema::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{EventTime, FieldType, TimeUnit};

/// A column of a batch, ready to write the JSON text of its rows.
#[derive(Debug)]
pub(crate) enum ColumnWriter<'a> {
    Bool(&'a BooleanArray),
    Int64(&'a Int64Array),
    Float64(&'a Float64Array),
    Decimal { values: &'a Decimal128Array, scale: u8 },
    Text(&'a StringArray),
    Dictionary { keys: &'a UInt32Array, values: &'a StringArray },
    Bytes(&'a BinaryArray),
    Timestamp { values: &'a TimestampMicrosecondArray, unit: Option<TimeUnit> },
    Json(&'a StringArray),
}

impl<'a> ColumnWriter<'a> {
    /// A writer for a column of type `ty`.
    ///
    /// # Panics
    /// If the array is not of that type: batches are as their schema says.
    pub(crate) fn new(ty: FieldType, array: &'a ArrayRef) -> Self {
        match ty {
            FieldType::Bool => Self::Bool(array.as_boolean()),
            FieldType::Int64 => Self::Int64(array.as_primitive::<Int64Type>()),
            FieldType::Float64 => Self::Float64(array.as_primitive::<Float64Type>()),
            FieldType::Decimal { scale, .. } => Self::Decimal { values: array.as_primitive::<Decimal128Type>(), scale },
            FieldType::String => match array.data_type() {
                DataType::Dictionary(_, _) => {
                    let dictionary = array.as_dictionary::<UInt32Type>();
                    Self::Dictionary { keys: dictionary.keys(), values: dictionary.values().as_string::<i32>() }
                }
                _ => Self::Text(array.as_string::<i32>()),
            },
            FieldType::Bytes => Self::Bytes(array.as_binary::<i32>()),
            FieldType::Timestamp(unit) => Self::Timestamp { values: array.as_primitive::<TimestampMicrosecondType>(), unit },
            FieldType::Json => Self::Json(array.as_string::<i32>()),
        }
    }

    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(values) => values.is_null(row),
            Self::Int64(values) => values.is_null(row),
            Self::Float64(values) => values.is_null(row),
            Self::Decimal { values, .. } => values.is_null(row),
            Self::Text(values) | Self::Json(values) => values.is_null(row),
            Self::Dictionary { keys, .. } => keys.is_null(row),
            Self::Bytes(values) => values.is_null(row),
            Self::Timestamp { values, .. } => values.is_null(row),
        }
    }

    /// The text of a string column's row, or of a json column's.
    pub(crate) fn text(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Text(values) | Self::Json(values) => (!values.is_null(row)).then(|| values.value(row)),
            Self::Dictionary { keys, values } => (!keys.is_null(row)).then(|| values.value(keys.value(row) as usize)),
            Self::Bool(_)
            | Self::Int64(_)
            | Self::Float64(_)
            | Self::Decimal { .. }
            | Self::Bytes(_)
            | Self::Timestamp { .. } => None,
        }
    }

    /// Appends the JSON text of a row's value.
    #[inline]
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match self {
            Self::Bool(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
            Self::Int64(values) => write_integer(values.value(row), out),
            Self::Float64(values) => write_float(values.value(row), out),
            Self::Decimal { values, scale } => write_decimal(values.value(row), *scale, out),
            Self::Text(values) => write_text(values.value(row).as_bytes(), out),
            Self::Dictionary { keys, values } => write_text(values.value(keys.value(row) as usize).as_bytes(), out),
            Self::Bytes(values) => {
                out.push(b'"');
                let value = values.value(row);
                let start = out.len();
                out.resize(start + value.len().div_ceil(3) * 4, 0);
                let written =
                    STANDARD.encode_slice(value, &mut out[start..]).expect("there is room for four bytes of each three");
                out.truncate(start + written);
                out.push(b'"');
            }
            Self::Timestamp { values, unit } => write_time(values.value(row), *unit, out),
            Self::Json(values) => out.extend_from_slice(values.value(row).as_bytes()),
        }
    }
}

/// Appends an integer.
pub(crate) fn write_integer<T: lexical_core::ToLexical>(value: T, out: &mut Vec<u8>) {
    let mut digits = [0; 24];
    out.extend_from_slice(lexical_core::write(value, &mut digits));
}

/// Appends the shortest text that reads back as this float; JSON has no NaN or infinity, they become null.
pub(crate) fn write_float(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        let mut digits = [0; lexical_core::BUFFER_SIZE];
        out.extend_from_slice(lexical_core::write(value, &mut digits));
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Appends a decimal as a text, with all digits of its scale.
pub(crate) fn write_decimal(value: i128, scale: u8, out: &mut Vec<u8>) {
    let scale = usize::from(scale);
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    out.extend_from_slice(if value < 0 { b"\"-" } else { b"\"" });
    out.extend_from_slice(whole.as_bytes());
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
    out.push(b'"');
}

/// Appends µs as a number of `unit`, with a fraction if there is one, or as RFC 3339 text.
pub(crate) fn write_time(micros: i64, unit: Option<TimeUnit>, out: &mut Vec<u8>) {
    let Some(unit) = unit else {
        out.push(b'"');
        if !write_calendar(micros, out) {
            out.extend_from_slice(EventTime(micros).to_rfc3339().as_bytes());
        }
        out.push(b'"');
        return;
    };
    let (whole, rest) = (micros / unit.micros(), (micros % unit.micros()).unsigned_abs());
    if whole == 0 && micros < 0 {
        out.push(b'-');
    }
    write_integer(whole, out);
    if rest > 0 {
        let width = if unit == TimeUnit::Seconds { 6 } else { 3 };
        let digits = format!("{rest:0width$}");
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
}

/// Appends `YYYY-MM-DDThh:mm:ss.ffffffZ` for the years 0 to 9999; whether it did.
fn write_calendar(micros: i64, out: &mut Vec<u8>) -> bool {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, so that a leap day is the last of its year; then eras of 400 years.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return false;
    }
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |at: usize, width: usize, mut value: i64| {
        for place in (at..at + width).rev() {
            text[place] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, second_of_day / 3600);
    put(14, 2, second_of_day / 60 % 60);
    put(17, 2, second_of_day % 60);
    put(20, 6, fraction);
    out.extend_from_slice(&text);
    true
}

/// Appends UTF-8 bytes as a JSON text: quotes, backslashes and control characters escaped, all else as it is.
pub(crate) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut at = 0;
    loop {
        let end = super::syntax::plain_end(text, at);
        out.extend_from_slice(&text[at..end]);
        let Some(byte) = text.get(end) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => {
                let hex = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(hex[usize::from(control >> 4)]);
                out.push(hex[usize::from(control & 15)]);
            }
        }
        at = end + 1;
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(micros: i64, unit: Option<TimeUnit>) -> String {
        let mut out = Vec::new();
        write_time(micros, unit, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn times_read_back_in_their_unit() {
        assert_eq!(time(1_512_888_946_000_000, Some(TimeUnit::Millis)), "1512888946000");
        assert_eq!(time(1_500_000, Some(TimeUnit::Seconds)), "1.5");
        assert_eq!(time(-1, Some(TimeUnit::Seconds)), "-0.000001");
        assert_eq!(time(-1_001, Some(TimeUnit::Millis)), "-1.001");
        assert_eq!(time(7, Some(TimeUnit::Micros)), "7");
    }

    #[test]
    fn the_calendar_agrees_with_chrono() {
        let mut micros = -62_167_219_200_000_001i64;
        while micros < 253_402_300_900_000_000 {
            assert_eq!(time(micros, None), format!("\"{}\"", EventTime(micros).to_rfc3339()));
            micros += 99_999_999_999_937;
        }
        for edge in [i64::MIN, i64::MAX, 0, -1, 253_402_300_799_999_999, 253_402_300_800_000_000] {
            assert_eq!(time(edge, None), format!("\"{}\"", EventTime(edge).to_rfc3339()));
        }
    }

    #[test]
    fn decimals_keep_their_scale() {
        for (value, scale, text) in [(1250, 2, "\"12.50\""), (-5, 2, "\"-0.05\""), (7, 0, "\"7\""), (0, 3, "\"0.000\"")] {
            let mut out = Vec::new();
            write_decimal(value, scale, &mut out);
            assert_eq!(String::from_utf8(out).expect("ASCII"), text);
        }
    }
}
