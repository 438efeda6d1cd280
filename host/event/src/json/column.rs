//! A column under construction: takes a value straight from JSON text and becomes an Arrow array.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBuffer, ScalarBuffer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::container;
use super::instant;
use super::number::{self, Unfit};
use super::syntax::{self, Syntax, SyntaxKind};
use crate::text::{CHUNK_BYTES, Chunk, Runs, Texts, take, validity};
use crate::{Field, FieldType, TimeUnit};

/// Why a value was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It breaks the grammar.
    Syntax(Syntax),
    /// It is a value, but not one for this column.
    Unfit(Why),
}

/// What is wrong with a value for its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Kind,
    Null,
    Number(Unfit),
    Base64,
    Rfc3339,
}

impl From<Syntax> for Refusal {
    fn from(syntax: Syntax) -> Self {
        Self::Syntax(syntax)
    }
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) nullable: bool,
    /// The attempt that last gave it a value: a second one in the same attempt is a repeated name.
    pub(crate) seen: u64,
    pub(crate) values: Values,
    nulls: Vec<u32>,
}

/// The tag stands apart, so that choosing by it takes one jump.
#[derive(Debug)]
#[repr(u8)]
pub(crate) enum Values {
    Bool(Vec<bool>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Decimal { precision: u8, scale: u8, values: Vec<i128> },
    Text(Texts),
    Bytes(Runs),
    Timestamp { unit: Option<TimeUnit>, values: Vec<i64> },
    Json(Runs),
}

/// What a column needs besides itself to read a value.
pub(crate) struct Reading<'a> {
    bytes: &'a [u8],
    scratch: &'a mut Vec<u8>,
    /// Objects and arrays open around the value, and how many may be.
    depth: u32,
    depth_max: u32,
}

impl<'a> Reading<'a> {
    /// `depths` are how many objects and arrays are open around the value, and how many may be.
    pub(crate) fn new(bytes: &'a [u8], scratch: &'a mut Vec<u8>, depths: (u32, u32)) -> Self {
        Self { bytes, scratch, depth: depths.0, depth_max: depths.1 }
    }
}

impl Column {
    pub(crate) fn new(field: &Field) -> Self {
        let values = match field.ty {
            FieldType::Bool => Values::Bool(Vec::new()),
            FieldType::Int64 => Values::Int64(Vec::new()),
            FieldType::Float64 => Values::Float64(Vec::new()),
            FieldType::Decimal { precision, scale } => Values::Decimal { precision, scale, values: Vec::new() },
            FieldType::String => Values::Text(Texts::new()),
            FieldType::Bytes => Values::Bytes(Runs::new()),
            FieldType::Timestamp(unit) => Values::Timestamp { unit, values: Vec::new() },
            FieldType::Json => Values::Json(Runs::new()),
        };
        Self { nullable: field.nullable, seen: 0, values, nulls: Vec::new() }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        match &self.values {
            Values::Bool(values) => values.len(),
            Values::Int64(values) | Values::Timestamp { values, .. } => values.len(),
            Values::Float64(values) => values.len(),
            Values::Decimal { values, .. } => values.len(),
            Values::Text(texts) => texts.len(),
            Values::Bytes(runs) | Values::Json(runs) => runs.len(),
        }
    }

    /// Bytes that every row takes here, whatever its value.
    pub(crate) fn row_bytes(&self) -> usize {
        match &self.values {
            Values::Bool(_) => 1,
            Values::Int64(_) | Values::Float64(_) | Values::Timestamp { .. } => 8,
            Values::Decimal { .. } => 16,
            Values::Text(_) | Values::Bytes(_) | Values::Json(_) => 4,
        }
    }

    /// The newest value of an integer or timestamp column, unless it is null.
    #[inline]
    pub(crate) fn last_integer(&self) -> Option<i64> {
        match &self.values {
            Values::Int64(values) | Values::Timestamp { values, .. } => {
                let row = values.len().checked_sub(1)?;
                if self.nulls.last() == Some(&(row as u32)) { None } else { Some(values[row]) }
            }
            Values::Bool(_)
            | Values::Float64(_)
            | Values::Decimal { .. }
            | Values::Text(_)
            | Values::Bytes(_)
            | Values::Json(_) => None,
        }
    }

    pub(crate) fn push_null(&mut self) {
        self.nulls.push(self.len() as u32);
        match &mut self.values {
            Values::Bool(values) => values.push(false),
            Values::Int64(values) | Values::Timestamp { values, .. } => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::Text(texts) => texts.push_null(),
            Values::Bytes(runs) | Values::Json(runs) => runs.close(),
        }
    }

    /// Takes the value that `rest` begins with, if it is written as most are, and answers what is behind it; of a string column
    /// `rest` is behind the opening quote. `None`: nothing was taken, and [`Column::push`] decides.
    #[inline(always)]
    pub(crate) fn take<'a>(&mut self, rest: &'a [u8]) -> Option<&'a [u8]> {
        match &mut self.values {
            Values::Text(texts) => {
                let chunk = Chunk::first_of(rest)?;
                let length = chunk.plain_length();
                if length < CHUNK_BYTES {
                    if rest[length] != b'"' {
                        return None;
                    }
                    texts.push_short(chunk, length);
                    return Some(&rest[length + 1..]);
                }
                let (text, behind) = syntax::plain_text(rest)?;
                texts.push(text);
                Some(behind)
            }
            Values::Int64(values) => {
                let (value, rest) = number::short_integer(rest)?;
                values.push(value);
                Some(rest)
            }
            Values::Timestamp { unit: Some(unit), values } => {
                let (value, rest) = number::short_integer(rest)?;
                values.push(value.checked_mul(unit.micros())?);
                Some(rest)
            }
            Values::Float64(values) => {
                let (value, rest) = number::short_float(rest)?;
                values.push(value);
                Some(rest)
            }
            Values::Bool(values) => {
                let word = rest.first_chunk::<8>().map(|word| u64::from_le_bytes(*word))?;
                // Both are looked for, since nobody could predict which it is.
                let is_true = word as u32 == u32::from_le_bytes(*b"true");
                let is_false = word << 24 == u64::from_le_bytes(*b"\0\0\0false");
                if !(is_true | is_false) {
                    return None;
                }
                values.push(is_true);
                Some(&rest[4 + usize::from(is_false)..])
            }
            Values::Decimal { precision, scale, values } => {
                let (value, rest) = number::short_decimal(rest, *scale)?;
                if !fits(value, *precision) {
                    return None;
                }
                values.push(value);
                Some(rest)
            }
            Values::Timestamp { unit: None, values } => {
                let (b'"', text) = rest.split_first()? else { return None };
                let (text, rest) = syntax::plain_text(text)?;
                values.push(instant::rfc3339(text)?);
                Some(rest)
            }
            Values::Bytes(_) | Values::Json(_) => None,
        }
    }

    /// Takes the value at `at` and answers the place behind it. On a refusal the column may hold bytes of the value, but no row.
    #[inline(never)]
    pub(crate) fn push(&mut self, reading: &mut Reading<'_>, at: usize) -> Result<usize, Refusal> {
        let bytes = reading.bytes;
        let Some(first) = bytes.get(at) else { return Err(syntax_fault(bytes, at, SyntaxKind::Value)) };
        let number = matches!(first, b'-' | b'0'..=b'9');
        match &mut self.values {
            Values::Text(texts) if *first == b'"' => {
                let (end, escaped) = syntax::text_end(bytes, at + 1)?;
                let raw = &bytes[at + 1..end];
                if escaped {
                    reading.scratch.clear();
                    syntax::unescape(raw, reading.scratch);
                    texts.push(reading.scratch);
                } else {
                    texts.push(raw);
                }
                Ok(end + 1)
            }
            Values::Int64(values) if number => {
                let (value, end) = number::int64(bytes, at)?;
                values.push(value.map_err(|unfit| Refusal::Unfit(Why::Number(unfit)))?);
                Ok(end)
            }
            Values::Timestamp { unit: Some(unit), values } if number => {
                let (value, end) = number::int64(bytes, at)?;
                let micros = match value {
                    Ok(value) => value.checked_mul(unit.micros()).ok_or(Unfit::Range),
                    Err(_) => instant::number_of(&bytes[at..end], *unit).unwrap_or(Err(Unfit::Range)),
                };
                values.push(micros.map_err(|unfit| Refusal::Unfit(Why::Number(unfit)))?);
                Ok(end)
            }
            Values::Bool(values) if bytes.get(at..at + 4) == Some(b"true") => {
                values.push(true);
                Ok(at + 4)
            }
            Values::Bool(values) if bytes.get(at..at + 5) == Some(b"false") => {
                values.push(false);
                Ok(at + 5)
            }
            Values::Float64(values) if number => {
                let (value, end) = number::float64(bytes, at)?;
                values.push(value.map_err(|unfit| Refusal::Unfit(Why::Number(unfit)))?);
                Ok(end)
            }
            _ => self.push_rare(reading, at),
        }
    }

    fn push_rare(&mut self, reading: &mut Reading<'_>, at: usize) -> Result<usize, Refusal> {
        let bytes = reading.bytes;
        let first = bytes.get(at).copied().unwrap_or(0);
        if first == b'n' {
            let end = syntax::literal_end(bytes, at, b"null")?;
            if !self.nullable {
                return Err(Refusal::Unfit(Why::Null));
            }
            self.push_null();
            return Ok(end);
        }
        let number = matches!(first, b'-' | b'0'..=b'9');
        match &mut self.values {
            Values::Timestamp { values, .. } if first == b'"' => {
                let (end, text) = plain_text(bytes, at, reading.scratch)?;
                values.push(instant::rfc3339(text).ok_or(Refusal::Unfit(Why::Rfc3339))?);
                Ok(end)
            }
            Values::Decimal { precision, scale, values } if number || first == b'"' => {
                let (end, text) = if number {
                    let end = syntax::number_end(bytes, at)?;
                    (end, &bytes[at..end])
                } else {
                    plain_text(bytes, at, reading.scratch)?
                };
                let value = number::fixed(text, *scale, false).ok_or(Refusal::Unfit(Why::Kind))?;
                let value = value.and_then(|value| if fits(value, *precision) { Ok(value) } else { Err(Unfit::Range) });
                values.push(value.map_err(|unfit| Refusal::Unfit(Why::Number(unfit)))?);
                Ok(end)
            }
            Values::Bytes(runs) if first == b'"' => {
                let (end, text) = plain_text(bytes, at, reading.scratch)?;
                STANDARD.decode_vec(text, &mut runs.data).map_err(|_| Refusal::Unfit(Why::Base64))?;
                runs.close();
                Ok(end)
            }
            Values::Json(runs) => {
                let end = container::copy_value(bytes, at, reading.depth, reading.depth_max, &mut runs.data)?;
                runs.close();
                Ok(end)
            }
            Values::Bool(_)
            | Values::Int64(_)
            | Values::Float64(_)
            | Values::Decimal { .. }
            | Values::Text(_)
            | Values::Bytes(_)
            | Values::Timestamp { .. } => {
                // A value of another kind: whether it is one at all decides what the row is called.
                if !matches!(first, b'{' | b'[') {
                    syntax::scalar_end(bytes, at)?;
                }
                Err(Refusal::Unfit(Why::Kind))
            }
        }
    }

    /// Takes back the row `length`, if it is there, and bytes of a value that was not taken.
    pub(crate) fn truncate(&mut self, length: usize) {
        if self.nulls.last() == Some(&(length as u32)) {
            self.nulls.pop();
        }
        match &mut self.values {
            Values::Bool(values) => values.truncate(length),
            Values::Int64(values) | Values::Timestamp { values, .. } => values.truncate(length),
            Values::Float64(values) => values.truncate(length),
            Values::Decimal { values, .. } => values.truncate(length),
            Values::Text(texts) => texts.truncate(length),
            Values::Bytes(runs) | Values::Json(runs) => runs.truncate(length),
        }
    }

    /// The array; the column is empty afterwards, with room for as much again.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        let nulls = validity(&self.nulls, self.len());
        self.nulls.clear();
        match &mut self.values {
            Values::Bool(values) => {
                let array = BooleanArray::new(BooleanBuffer::from(values.as_slice()), nulls);
                values.clear();
                Arc::new(array)
            }
            Values::Int64(values) => Arc::new(Int64Array::new(buffer(values), nulls)),
            Values::Float64(values) => Arc::new(Float64Array::new(buffer(values), nulls)),
            Values::Decimal { precision, scale, values } => {
                let array = Decimal128Array::new(buffer(values), nulls);
                Arc::new(
                    array.with_precision_and_scale(*precision, *scale as i8).expect("a definition's precision and scale hold"),
                )
            }
            Values::Text(texts) => texts.finish(nulls),
            Values::Bytes(runs) => {
                let (offsets, data) = runs.take();
                Arc::new(BinaryArray::new(offsets, data, nulls))
            }
            Values::Timestamp { values, .. } => {
                Arc::new(TimestampMicrosecondArray::new(buffer(values), nulls).with_timezone("UTC"))
            }
            Values::Json(runs) => {
                let (offsets, data) = runs.take();
                Arc::new(StringArray::try_new(offsets, data, nulls).expect("rows are checked to be UTF-8"))
            }
        }
    }
}

/// The values as a buffer; the vector is empty afterwards.
pub(crate) fn buffer<T: arrow_buffer::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    take(values).into()
}

/// Whether a decimal has at most `precision` digits.
pub(crate) fn fits(value: i128, precision: u8) -> bool {
    10u128.checked_pow(u32::from(precision)).is_none_or(|end| value.unsigned_abs() < end)
}

/// The text at `at` (its opening quote), unescaped, and the place behind it.
fn plain_text<'a>(bytes: &'a [u8], at: usize, scratch: &'a mut Vec<u8>) -> Result<(usize, &'a [u8]), Syntax> {
    let (end, escaped) = syntax::text_end(bytes, at + 1)?;
    let raw = &bytes[at + 1..end];
    if !escaped {
        return Ok((end + 1, raw));
    }
    scratch.clear();
    syntax::unescape(raw, scratch);
    Ok((end + 1, scratch))
}

#[cold]
fn syntax_fault(bytes: &[u8], at: usize, kind: SyntaxKind) -> Refusal {
    match syntax::expected::<()>(bytes, at, kind) {
        Err(syntax) => Refusal::Syntax(syntax),
        Ok(()) => Refusal::Unfit(Why::Kind),
    }
}
