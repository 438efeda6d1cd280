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

use ahash::RandomState;
use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field as ArrowField, Schema, SchemaRef};

use super::cells::Bound;
use super::column::{Column, buffer};
use super::container;
use super::fault::{RowFault, Trouble};
use super::fields::Fields;
use super::syntax;
use super::unknown::Unknown;
use super::{DecodeLimits, is_blank, repeats};
use crate::arrow::BoundTable;
use crate::schema::dictionary_type;
use crate::{EventTime, FieldType, MissingTime, StreamDefinition, TimeUnit, UnknownFields};

/// So many bytes behind a text let all of it be read the short way.
const ROOM_BYTES: usize = 32;

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
    pub(crate) unknown: Unknown,
    /// Hashes of those unknown names of this row that are not remembered, with the object they stand in mixed in.
    pub(super) unknown_names: Vec<u64>,
    pub(super) hash: RandomState,
    /// Whether there was no room to remember an unknown name.
    pub(super) no_room: bool,
    /// Where the row at hand ends in its text, if that is known.
    pub(super) row_end: Option<usize>,
    pub(crate) times: Vec<i64>,
    time: Option<TimeColumn>,
    arrow: ArrowForm,
    bytes: usize,
    row_bytes: usize,
    pub(crate) attempts: u64,
    careful_rows: u64,
    pub(super) looked_up_names: u64,
    pub(crate) filled: usize,
    pub(crate) scratch: Vec<u8>,
    text: Vec<u8>,
    roomy: Vec<u8>,
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
            unknown: Unknown::new(),
            unknown_names: Vec::new(),
            hash: RandomState::new(),
            no_room: false,
            row_end: None,
            times: Vec::new(),
            time,
            arrow: ArrowForm { last: Arc::clone(&plain), plain },
            bytes: 0,
            row_bytes,
            attempts: 0,
            careful_rows: 0,
            looked_up_names: 0,
            filled: 0,
            scratch: Vec::new(),
            text: Vec::new(),
            roomy: Vec::new(),
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

    /// Members whose name had to be looked up since the decoder was made, because they did not come as those of earlier rows did.
    pub fn looked_up_names(&self) -> u64 {
        self.looked_up_names
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
        if simdutf8::basic::from_utf8(json).is_err() {
            return Err(RowFault::not_utf8(json));
        }
        self.take(json, arrival)
    }

    /// Takes the whole lines that `lines` begins with, each as a row like [`RowDecoder::row`] (blank ones are passed over), as long as
    /// all is well with them and there is room: for so many rows at most, and until [`RowDecoder::bytes`] is `bytes_max`. Answers how
    /// many bytes of lines were taken. What holds up the next line, [`RowDecoder::row`] says.
    ///
    /// Much quicker than line by line: a line's end need not be known before it is read.
    pub fn lines(&mut self, lines: &str, arrival: EventTime, rows_max: usize, bytes_max: usize) -> usize {
        let rows_max = self.rows().saturating_add(rows_max);
        let mut rest = lines.as_bytes();
        while self.rows() < rows_max && self.bytes < bytes_max {
            match rest {
                [b'\n', behind @ ..] | [b'\r', b'\n', behind @ ..] => {
                    rest = behind;
                    continue;
                }
                [] => break,
                _ => {}
            }
            let row = self.times.len();
            self.row_end = None;
            let end = self.attempt(rest, arrival, true).ok().and_then(|end| match rest.get(end..)? {
                [b'\n', ..] => Some((end, 1)),
                [b'\r', b'\n', ..] => Some((end, 2)),
                _ => None,
            });
            match end {
                Some((end, line_end)) if end <= self.limits.line_bytes_max => {
                    self.count(end);
                    rest = &rest[end + line_end..];
                }
                _ => {
                    self.take_back(row);
                    break;
                }
            }
        }
        lines.len() - rest.len()
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
        // What is near the end of a text is read the long way, so room is put behind it.
        let mut roomy = std::mem::take(&mut self.roomy);
        roomy.clear();
        roomy.extend_from_slice(json);
        roomy.extend_from_slice(&[0; ROOM_BYTES]);
        self.row_end = Some(json.len());
        let taken = self.attempt(&roomy, arrival, true).is_ok_and(|end| is_blank(&json[end..]));
        self.roomy = roomy;
        if taken {
            self.count(json.len());
            return Ok(());
        }
        self.take_back(row);
        self.careful(json, arrival)
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
        self.row_end = Some(last_only.len());
        match self.attempt(&last_only, arrival, false) {
            Ok(_) => {
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
        if self.keep == UnknownFields::Keep && !object.starts_with(b"{}") {
            self.unknown.data.extend_from_slice(object.strip_suffix(b"\n").unwrap_or(object));
            self.unknown.close_at(row);
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
        self.unknown.truncate(row);
        self.times.truncate(row);
    }

    /// Takes the object that `json` begins with, and answers the place behind it.
    #[inline(always)]
    fn attempt(&mut self, json: &[u8], arrival: EventTime, repeats_matter: bool) -> Result<usize, Trouble> {
        self.begin_attempt();
        let start = syntax::skip_space(json, 0);
        if json.get(start) != Some(&b'{') {
            return Err(Trouble::NoObject);
        }
        let end = self.row_object(json, start + 1)?;
        if repeats_matter && !self.unknown_names.is_empty() && repeats::any(&mut self.unknown_names) {
            return Err(Trouble::Repeated);
        }
        self.end_attempt(arrival)?;
        Ok(end)
    }

    pub(crate) fn begin_attempt(&mut self) {
        self.attempts += 1;
        self.filled = 0;
        self.unknown_names.clear();
        if self.no_room {
            self.no_room = false;
            self.fields.make_room();
        }
    }

    /// Ends a row whose values are in their columns: what is missing, what is unknown, and its time.
    #[inline(always)]
    pub(crate) fn end_attempt(&mut self, arrival: EventTime) -> Result<(), Trouble> {
        let row = self.times.len();
        if self.filled < self.columns.len() {
            self.fill_missing()?;
        }
        self.unknown.close(row);
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
            arrays.push(self.unknown.finish(rows));
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
