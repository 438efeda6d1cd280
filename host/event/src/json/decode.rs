//! Rows from JSON text straight into Arrow builders: one walk over the bytes, no tree of values in between.
//!
//! ```text
//! bytes ──► attempt ──────────────► columns ──► finish: RecordBatch
//!              │ repeated name, misfit
//!              ▼ take the row back
//!           check the whole text ──► drop all but the last of repeated names ──► attempt again ──► fault
//! ```
//! The first attempt expects good rows. Anything odd takes the row back out of every column and goes the careful way, which
//! decides between malformed and misfit, and pays for the message. So a row costs the same whether or not others are bad.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field as ArrowField, Schema, SchemaRef};

use super::cells::Bound;
use super::column::{Column, buffer};
use super::container;
use super::fault::{RowFault, Trouble};
use super::fields::Fields;
use super::syntax::{self, Syntax, SyntaxKind};
use super::{DecodeLimits, repeats};
use crate::arrow::BoundTable;
use crate::schema::dictionary_type;
use crate::text::{Runs, validity};
use crate::{EventTime, FieldType, MissingTime, StreamDefinition, TimeUnit, UnknownFields};

/// How rows of a definition are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodePath {
    /// Every field stands at top level.
    Direct,
    /// Some fields lie inside objects: dotted paths are followed.
    Nested,
}

/// Decodes rows of one stream definition into event batches. Reused across requests: what it carries from batch to batch is room,
/// the usual order of fields, and which text columns are no dictionaries.
#[derive(Debug)]
pub struct RowDecoder {
    definition: Arc<StreamDefinition>,
    pub(crate) limits: DecodeLimits,
    pub(crate) fields: Fields,
    pub(crate) columns: Vec<Column>,
    pub(crate) keep: UnknownFields,
    pub(crate) unknown: Runs,
    unknown_nulls: Vec<u32>,
    /// Hashes of the unknown names of this row, with the object they stand in mixed in.
    pub(crate) unknown_names: Vec<u64>,
    pub(crate) times: Vec<i64>,
    time: Option<TimeColumn>,
    arrow: ArrowForm,
    bytes: usize,
    row_bytes: usize,
    pub(crate) attempts: u64,
    careful_rows: u64,
    pub(crate) filled: usize,
    pub(crate) scratch: Vec<u8>,
    text: Vec<u8>,
    pub(super) bound: Option<Bound>,
    pub(crate) bound_table: Option<BoundTable>,
}

#[derive(Debug, Clone, Copy)]
struct TimeColumn {
    column: usize,
    /// µs in one step of the column's values: 1 for timestamps.
    micros: i64,
    missing: MissingTime,
}

/// The Arrow schema with plain texts, and the one of the last batch with the dictionaries it had.
#[derive(Debug)]
struct ArrowForm {
    plain: SchemaRef,
    last: SchemaRef,
}

impl RowDecoder {
    /// A decoder for rows of `definition`.
    pub fn new(definition: Arc<StreamDefinition>, limits: DecodeLimits) -> Self {
        let schema = &definition.schema;
        let columns: Vec<Column> = schema.fields.iter().map(Column::new).collect();
        let row_bytes = columns.iter().map(Column::row_bytes).sum::<usize>() + 12;
        let time = definition.time.as_ref().and_then(|time| {
            let column = schema.fields.iter().position(|field| field.name == time.field)?;
            // A timestamp column holds µs already, whatever unit it is sent in.
            let unit = time.unit.filter(|_| schema.fields[column].ty == FieldType::Int64);
            Some(TimeColumn { column, micros: unit.map_or(1, TimeUnit::micros), missing: time.missing })
        });
        let plain = Arc::new(schema.arrow());
        Self {
            fields: Fields::new(schema),
            columns,
            keep: schema.unknown,
            unknown: Runs::new(),
            unknown_nulls: Vec::new(),
            unknown_names: Vec::new(),
            times: Vec::new(),
            time,
            arrow: ArrowForm { last: Arc::clone(&plain), plain },
            bytes: 0,
            row_bytes,
            attempts: 0,
            careful_rows: 0,
            filled: 0,
            scratch: Vec::new(),
            text: Vec::new(),
            bound: None,
            bound_table: None,
            definition,
            limits,
        }
    }

    /// What it decodes for.
    pub fn definition(&self) -> &Arc<StreamDefinition> {
        &self.definition
    }

    /// Rows taken since the last [`RowDecoder::finish`].
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// About how many bytes the rows take: their text and the fixed part of their columns. Never less than what the batch will hold
    /// in values; callers finish long before it nears 2 GiB.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Which path decodes.
    pub fn path(&self) -> DecodePath {
        if self.fields.is_nested() { DecodePath::Nested } else { DecodePath::Direct }
    }

    /// Rows that needed the careful way since the decoder was made: repeated names and faults.
    pub fn careful_rows(&self) -> u64 {
        self.careful_rows
    }

    /// Takes one JSON value, which must be an object of this stream, with white space around it. `arrival` is its time if the stream
    /// has no time field or the row lacks it and may. On `Err` nothing of the row was added, and a retry cannot help.
    pub fn row(&mut self, json: &[u8], arrival: EventTime) -> Result<(), RowFault> {
        if json.len() > self.limits.line_bytes_max {
            return Err(RowFault::too_long(self.limits.line_bytes_max));
        }
        // Most rows are ASCII, which is quicker to see.
        if !json.is_ascii() && simdutf8::basic::from_utf8(json).is_err() {
            return Err(RowFault::not_utf8(json));
        }
        self.take(json, arrival)
    }

    /// Takes a line of plain text as the row `{"line": …}`. A line that is not UTF-8 is a fault.
    pub fn text_line(&mut self, line: &[u8], arrival: EventTime) -> Result<(), RowFault> {
        if line.len() > self.limits.line_bytes_max {
            return Err(RowFault::too_long(self.limits.line_bytes_max));
        }
        if simdutf8::basic::from_utf8(line).is_err() {
            return Err(RowFault::not_utf8(line));
        }
        let mut json = std::mem::take(&mut self.text);
        json.clear();
        super::line_json(line, &mut json);
        // Escapes may make it longer than lines may be; it was measured as it came.
        let result = self.take(&json, arrival);
        self.text = json;
        result
    }

    /// Takes a row that was measured and is UTF-8.
    fn take(&mut self, json: &[u8], arrival: EventTime) -> Result<(), RowFault> {
        let row = self.times.len();
        match self.attempt(json, arrival, true) {
            Ok(()) => {
                self.count(json.len());
                Ok(())
            }
            Err(_) => {
                self.take_back(row);
                self.careful(json, arrival)
            }
        }
    }

    /// The careful way: everything about the text is checked, repeated names are gone, and a fault gets its message.
    #[cold]
    fn careful(&mut self, json: &[u8], arrival: EventTime) -> Result<(), RowFault> {
        self.careful_rows += 1;
        let row = self.times.len();
        let compact = container::compact(json, self.limits.depth_max).map_err(|syntax| RowFault::syntax(syntax, &self.limits))?;
        if compact.first() != Some(&b'{') {
            return Err(RowFault::no_object(&compact));
        }
        let last_only = repeats::last_only(&compact, &self.fields, 0);
        match self.attempt(&last_only, arrival, false) {
            Ok(()) => {
                self.count(last_only.len());
                Ok(())
            }
            Err(trouble) => {
                self.take_back(row);
                Err(RowFault::trouble(trouble, &last_only, &self.definition))
            }
        }
    }

    /// Takes a compact object that no field fits, all of it as unknown fields (or as nothing where they are dropped): every column
    /// is null, which all of them may be.
    pub(crate) fn row_unknown(&mut self, object: &[u8]) {
        let row = self.times.len();
        self.columns.iter_mut().for_each(Column::push_null);
        if self.keep == UnknownFields::Keep {
            if object.starts_with(b"{}") {
                self.unknown_nulls.push(row as u32);
            }
            let text = object.strip_suffix(b"\n").unwrap_or(object);
            self.unknown.push(if object.starts_with(b"{}") { b"" } else { text });
        }
        self.times.push(0);
    }

    /// Counts the bytes of a row that was taken.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.bytes += self.row_bytes + bytes;
    }

    pub(crate) fn take_back(&mut self, row: usize) {
        for column in &mut self.columns {
            column.truncate(row);
        }
        if self.keep == UnknownFields::Keep {
            self.unknown.truncate(row);
        }
        if self.unknown_nulls.last() == Some(&(row as u32)) {
            self.unknown_nulls.pop();
        }
        self.times.truncate(row);
    }

    fn attempt(&mut self, json: &[u8], arrival: EventTime, repeats_matter: bool) -> Result<(), Trouble> {
        self.begin_attempt();
        let start = syntax::skip_space(json, 0);
        if json.get(start) != Some(&b'{') {
            return Err(Trouble::NoObject);
        }
        let end = self.object(json, start + 1, 0, 1)?;
        let end = syntax::skip_space(json, end);
        if end < json.len() {
            return Err(Trouble::Syntax(Syntax { at: end as u32, kind: SyntaxKind::Trailing }));
        }
        if repeats_matter && repeats::any(&mut self.unknown_names) {
            return Err(Trouble::Repeated);
        }
        self.end_attempt(arrival)
    }

    pub(crate) fn begin_attempt(&mut self) {
        self.attempts += 1;
        self.filled = 0;
        self.unknown_names.clear();
    }

    /// Ends a row whose values are in their columns: what is missing, what is unknown, and its time.
    #[inline(always)]
    pub(crate) fn end_attempt(&mut self, arrival: EventTime) -> Result<(), Trouble> {
        let row = self.times.len();
        if self.filled < self.columns.len() {
            self.fill_missing()?;
        }
        if self.keep == UnknownFields::Keep {
            if self.unknown.data.len() > self.unknown.offsets[row] as usize {
                self.unknown.data.push(b'}');
            } else {
                self.unknown_nulls.push(row as u32);
            }
            self.unknown.close();
        }
        let time = match self.time {
            None => arrival.0,
            Some(time) => match self.columns[time.column].last_integer() {
                Some(value) if time.micros == 1 => value,
                Some(value) => value.checked_mul(time.micros).ok_or(Trouble::time_range(time.column))?,
                None if time.missing == MissingTime::Arrival => arrival.0,
                None => return Err(Trouble::missing(time.column)),
            },
        };
        self.times.push(time);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn fill_missing(&mut self) -> Result<(), Trouble> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            if column.seen != self.attempts {
                if !column.nullable {
                    return Err(Trouble::missing(index));
                }
                column.push_null();
            }
        }
        Ok(())
    }

    /// The rows taken so far as an event batch (see [`crate::batch`]); the decoder is empty again.
    pub fn finish(&mut self) -> RecordBatch {
        let rows = self.times.len();
        let mut arrays: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
        if self.keep == UnknownFields::Keep {
            let nulls = validity(&self.unknown_nulls, rows);
            self.unknown_nulls.clear();
            let (offsets, data) = self.unknown.take();
            arrays.push(Arc::new(StringArray::try_new(offsets, data, nulls).expect("rows are checked to be UTF-8")));
        }
        arrays.push(Arc::new(TimestampMicrosecondArray::new(buffer(&mut self.times), None).with_timezone("UTC")));
        self.bytes = 0;
        RecordBatch::try_new(self.arrow.of(&arrays), arrays).expect("columns are as the schema says")
    }
}

impl ArrowForm {
    /// The schema for these arrays: string columns are dictionaries where theirs are.
    fn of(&mut self, arrays: &[ArrayRef]) -> SchemaRef {
        let same = self.last.fields().iter().zip(arrays).all(|(field, array)| field.data_type() == array.data_type());
        if !same {
            let fields = self.plain.fields().iter().zip(arrays).map(|(field, array)| match array.data_type() {
                DataType::Dictionary(_, _) => Arc::new(
                    ArrowField::new(field.name(), dictionary_type(), field.is_nullable()).with_metadata(field.metadata().clone()),
                ),
                _ => Arc::clone(field),
            });
            self.last = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        }
        Arc::clone(&self.last)
    }
}
