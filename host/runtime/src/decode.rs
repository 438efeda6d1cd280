//! From the buffer of an answer to Arrow columns. Nothing a guest wrote is believed: every span, offset, key and text is checked
//! before it becomes part of a column; then the columns share the one buffer, without another copy.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, PrimitiveArray, RecordBatch, StringArray, UInt32Array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Schema};
use tidemill_event::{Field, FieldType, NoteKind, RowNote};

use crate::limits::LOG_LINE_BYTES_MAX;
use crate::text::clean;
use crate::wire::{Encoding, NO_NULLS, WireColumn, WireNote, WireNoteKind};

/// An answer that does not hold, with what is wrong in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid(pub(crate) String);

macro_rules! invalid {
    ($($message:tt)*) => { return Err(Invalid(format!($($message)*))) };
}

/// The verdicts: exactly the bytes that `rows` bits need.
pub(crate) fn verdicts(bits: Buffer, rows: usize) -> Result<BooleanArray, Invalid> {
    let expected = rows.div_ceil(8);
    if bits.len() != expected {
        invalid!("{} bytes of verdicts for {rows} rows, which take {expected}: one bit a row", bits.len());
    }
    Ok(BooleanArray::new(BooleanBuffer::new(bits, 0, rows), None))
}

/// The columns of an answer, as declared.
pub(crate) fn columns(
    what: &'static str,
    declared: &[Field],
    layouts: &[WireColumn],
    rows: usize,
    data: &Buffer,
) -> Result<Vec<ArrayRef>, Invalid> {
    if layouts.len() != declared.len() {
        invalid!("{} {what} columns where `describe` names {}", layouts.len(), declared.len());
    }
    if declared.is_empty() {
        return Ok(Vec::new());
    }
    declared.iter().zip(layouts).map(|(field, layout)| Column { what, field, layout, rows, data }.read()).collect()
}

/// The new state rows.
pub(crate) fn state(
    schema: &Arc<Schema>,
    declared: &[Field],
    layouts: &[WireColumn],
    keys: usize,
    data: &Buffer,
) -> Result<RecordBatch, Invalid> {
    let columns = columns("state", declared, layouts, keys, data)?;
    // Kept state has one form for each type.
    let plain = |column: ArrayRef| match column.as_any_dictionary_opt() {
        Some(_) => arrow_cast::cast(&column, &DataType::Utf8),
        None => Ok(column),
    };
    let columns: Result<Vec<ArrayRef>, ArrowError> = columns.into_iter().map(plain).collect();
    let columns = columns.map_err(|error| Invalid(error.to_string()))?;
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| Invalid(format!("the state does not fit what was declared: {error}")))
}

/// For each output row the input row it came from.
pub(crate) fn source_rows(at: u32, rows: usize, input_rows: usize, data: &Buffer) -> Result<Vec<u32>, Invalid> {
    let buffer = span("source-rows", data, at, rows, 4)?;
    let sources = ScalarBuffer::<u32>::new(buffer, 0, rows);
    let mut before = 0;
    for (row, source) in sources.iter().enumerate() {
        if *source < before {
            invalid!("output row {row} came from row {source}, and the one before it from row {before}: sources never descend");
        }
        if *source as usize >= input_rows {
            invalid!("output row {row} came from row {source} of a batch of {input_rows}");
        }
        before = *source;
    }
    Ok(sources.to_vec())
}

/// The notes: strictly ascending, each about a row of the call.
pub(crate) fn notes(notes: Vec<WireNote>, rows: usize) -> Result<Vec<RowNote>, Invalid> {
    if notes.is_empty() {
        return Ok(Vec::new());
    }
    let mut before = None;
    for note in &notes {
        if note.row as usize >= rows {
            invalid!("a note about row {} of a batch of {rows}", note.row);
        }
        if before.is_some_and(|before| note.row <= before) {
            invalid!("a note about row {} behind one about row {}: notes ascend, one a row", note.row, before.unwrap_or(0));
        }
        before = Some(note.row);
    }
    let kind = |note: &WireNote| match note.kind {
        WireNoteKind::Reject => NoteKind::Reject,
        WireNoteKind::RetryAfter => NoteKind::RetryAfter(std::time::Duration::from_millis(u64::from(note.after_ms))),
    };
    Ok(notes
        .iter()
        .map(|note| RowNote { row: note.row, kind: kind(note), text: clean(&note.text, LOG_LINE_BYTES_MAX) })
        .collect())
}

/// `count` values of `width` bytes at `at`, which is a multiple of 8.
pub(crate) fn span(what: &str, data: &Buffer, at: u32, count: usize, width: usize) -> Result<Buffer, Invalid> {
    let at = at as usize;
    if !at.is_multiple_of(8) {
        invalid!("{what} start at byte {at}, which is no multiple of 8");
    }
    let length = count.saturating_mul(width);
    if at.checked_add(length).is_none_or(|end| end > data.len()) {
        invalid!("{what} take {length} bytes from byte {at}, and the buffer has {}", data.len());
    }
    Ok(data.slice_with_length(at, length))
}

struct Column<'a> {
    what: &'static str,
    field: &'a Field,
    layout: &'a WireColumn,
    rows: usize,
    data: &'a Buffer,
}

impl Column<'_> {
    fn read(&self) -> Result<ArrayRef, Invalid> {
        let nulls = self.nulls()?;
        let fits = |result: Result<ArrayRef, ArrowError>| result.map_err(|error| Invalid(format!("{}: {error}", self.name())));
        match (self.field.ty, self.layout.encoding) {
            (FieldType::Bool, Encoding::Bits) => {
                let bits = self.span("values", self.layout.values, self.rows.div_ceil(8), 1)?;
                Ok(Arc::new(BooleanArray::new(BooleanBuffer::new(bits, 0, self.rows), nulls)))
            }
            (FieldType::Int64, Encoding::Words) => Ok(Arc::new(PrimitiveArray::<Int64Type>::new(self.words()?, nulls))),
            (FieldType::Float64, Encoding::Words) => {
                let values = self.span("values", self.layout.values, self.rows, 8)?;
                Ok(Arc::new(PrimitiveArray::<Float64Type>::new(ScalarBuffer::new(values, 0, self.rows), nulls)))
            }
            (FieldType::Timestamp(_), Encoding::Words) => {
                Ok(Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(self.words()?, nulls).with_timezone("UTC")))
            }
            (FieldType::Decimal { precision, scale }, Encoding::Wide) => self.decimals(precision, scale, nulls),
            (FieldType::String, Encoding::Offsets) => fits(self.texts(nulls)?.map(|texts| Arc::new(texts) as ArrayRef)),
            (FieldType::Json, Encoding::Offsets) => {
                let texts = self.texts(nulls)?;
                if let Ok(texts) = &texts {
                    self.check_json(texts)?;
                }
                fits(texts.map(|texts| Arc::new(texts) as ArrayRef))
            }
            (FieldType::Bytes, Encoding::Offsets) => {
                let (offsets, values) = self.run("values", self.layout.values, self.rows)?;
                fits(BinaryArray::try_new(offsets, values, nulls).map(|values| Arc::new(values) as ArrayRef))
            }
            (FieldType::String, Encoding::Dictionary) => self.dictionary(nulls),
            (ty, found) => invalid!("{}: {found:?} is no encoding of {ty:?}", self.name()),
        }
    }

    fn name(&self) -> String {
        format!("{} column `{}`", self.what, self.field.name)
    }

    fn span(&self, part: &str, at: u32, count: usize, width: usize) -> Result<Buffer, Invalid> {
        // The name is put together only when it is needed.
        span(part, self.data, at, count, width).map_err(|Invalid(message)| Invalid(format!("{}: {message}", self.name())))
    }

    fn nulls(&self) -> Result<Option<NullBuffer>, Invalid> {
        if self.layout.validity == NO_NULLS {
            return Ok(None);
        }
        let bits = self.span("validity bits", self.layout.validity, self.rows.div_ceil(8), 1)?;
        let nulls = NullBuffer::new(BooleanBuffer::new(bits, 0, self.rows));
        if nulls.null_count() > 0 && !self.field.nullable {
            let row = nulls.iter().position(|valid| !valid).unwrap_or(0);
            invalid!("{}: row {row} is null, and the column is declared never null", self.name());
        }
        Ok(Some(nulls))
    }

    fn words(&self) -> Result<ScalarBuffer<i64>, Invalid> {
        Ok(ScalarBuffer::new(self.span("values", self.layout.values, self.rows, 8)?, 0, self.rows))
    }

    fn decimals(&self, precision: u8, scale: u8, nulls: Option<NullBuffer>) -> Result<ArrayRef, Invalid> {
        let mut values = self.span("values", self.layout.values, self.rows, 16)?;
        // Parts start at multiples of 8; a native 128-bit number wants 16.
        if values.as_ptr().align_offset(16) != 0 {
            values = Buffer::from(values.as_slice());
        }
        let decimals = Decimal128Array::new(ScalarBuffer::new(values, 0, self.rows), nulls)
            .with_precision_and_scale(precision, scale as i8)
            .map_err(|error| Invalid(format!("{}: {error}", self.name())))?;
        decimals.validate_decimal_precision(precision).map_err(|error| Invalid(format!("{}: {error}", self.name())))?;
        Ok(Arc::new(decimals))
    }

    /// Offsets that never descend, and the bytes they point into.
    fn run(&self, part: &str, at: u32, count: usize) -> Result<(OffsetBuffer<i32>, Buffer), Invalid> {
        let offsets = self.span(part, at, count.saturating_add(1), 4)?;
        let bytes = self.span("bytes", self.layout.bytes, self.layout.bytes_length as usize, 1)?;
        // As signed numbers: what is too large for Arrow is negative, and found as such.
        let offsets = ScalarBuffer::<i32>::new(offsets, 0, count + 1);
        let mut before = 0;
        for (row, offset) in offsets.iter().enumerate() {
            if *offset < before {
                invalid!("{}: offset {row} is {}, behind one of {before}: offsets never descend", self.name(), *offset as u32);
            }
            before = *offset;
        }
        if before as usize > bytes.len() {
            invalid!("{}: offsets end at {before}, and there are {} bytes", self.name(), bytes.len());
        }
        Ok((OffsetBuffer::new(offsets), bytes))
    }

    fn texts(&self, nulls: Option<NullBuffer>) -> Result<Result<StringArray, ArrowError>, Invalid> {
        let (offsets, bytes) = self.run("offsets", self.layout.values, self.rows)?;
        Ok(StringArray::try_new(offsets, bytes, nulls))
    }

    fn dictionary(&self, nulls: Option<NullBuffer>) -> Result<ArrayRef, Invalid> {
        let entries = self.layout.entries as usize;
        let (offsets, bytes) = self.run("entry offsets", self.layout.entry_offsets, entries)?;
        let texts = StringArray::try_new(offsets, bytes, None).map_err(|error| Invalid(format!("{}: {error}", self.name())))?;
        let mut keys = ScalarBuffer::<u32>::new(self.span("dictionary keys", self.layout.values, self.rows, 4)?, 0, self.rows);
        if let Some(row) = keys.iter().position(|key| *key as usize >= entries) {
            let is_null = |row| nulls.as_ref().is_some_and(|nulls: &NullBuffer| nulls.is_null(row));
            let wrong = keys.iter().enumerate().skip(row).find(|(row, key)| **key as usize >= entries && !is_null(*row));
            if let Some((row, key)) = wrong {
                invalid!("{}: row {row} is entry {key} of a dictionary of {entries}", self.name());
            }
            // A null row's entry means nothing; no reader shall trip over it.
            keys = keys.iter().map(|key| if (*key as usize) < entries { *key } else { 0 }).collect();
        }
        let keys = UInt32Array::new(keys, nulls);
        let dictionary = DictionaryArray::<UInt32Type>::try_new(keys, Arc::new(texts));
        Ok(Arc::new(dictionary.map_err(|error| Invalid(format!("{}: {error}", self.name())))?))
    }

    fn check_json(&self, texts: &StringArray) -> Result<(), Invalid> {
        for (row, text) in texts.iter().enumerate() {
            let Some(text) = text else { continue };
            if text.bytes().any(|byte| byte < b' ') {
                invalid!("{}: row {row} is not compact: leave line ends and tabs out", self.name());
            }
            if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
                invalid!("{}: row {row} is not JSON: {error}", self.name());
            }
        }
        Ok(())
    }
}

/// No rows, no call: the columns of an answer to nothing.
pub(crate) fn empty_columns(declared: &[Field]) -> Vec<ArrayRef> {
    declared.iter().map(|field| arrow_array::new_empty_array(&field.ty.arrow())).collect()
}

/// The verdicts on nothing.
pub(crate) fn no_verdicts() -> BooleanArray {
    BooleanArray::new(BooleanBuffer::new_unset(0), None)
}
