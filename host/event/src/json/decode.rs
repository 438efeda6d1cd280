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

use super::column::{Column, Reading, buffer};
use super::fault::{Misfit, RowFault, Trouble};
use super::fields::{Fields, Target};
use super::syntax::{self, Syntax, SyntaxKind};
use super::{DecodeLimits, repeats};
use crate::schema::dictionary_type;
use crate::text::{Runs, validity};
use crate::{EventTime, MissingTime, StreamDefinition, TimeUnit, UnknownFields};

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
    limits: DecodeLimits,
    fields: Fields,
    columns: Vec<Column>,
    keep: UnknownFields,
    unknown: Runs,
    unknown_nulls: Vec<u32>,
    /// Hashes of the unknown names of this row, with the object they stand in mixed in.
    unknown_names: Vec<u64>,
    times: Vec<i64>,
    time: Option<TimeColumn>,
    arrow: ArrowForm,
    bytes: usize,
    row_bytes: usize,
    attempts: u64,
    careful_rows: u64,
    filled: usize,
    scratch: Vec<u8>,
    text: Vec<u8>,
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
            Some(TimeColumn { column, micros: time.unit.map_or(1, TimeUnit::micros), missing: time.missing })
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
        let row = self.times.len();
        match self.attempt(json, arrival, true) {
            Ok(()) => {
                self.bytes += self.row_bytes + json.len();
                Ok(())
            }
            Err(_) => {
                self.take_back(row);
                self.careful(json, arrival)
            }
        }
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
        // Escapes may make a line longer than lines may be; it was measured above as it came.
        let row = self.times.len();
        let result = match self.attempt(&json, arrival, true) {
            Ok(()) => {
                self.bytes += self.row_bytes + json.len();
                Ok(())
            }
            Err(_) => {
                self.take_back(row);
                self.careful(&json, arrival)
            }
        };
        self.text = json;
        result
    }

    /// The careful way: everything about the text is checked, repeated names are gone, and a fault gets its message.
    #[cold]
    fn careful(&mut self, json: &[u8], arrival: EventTime) -> Result<(), RowFault> {
        self.careful_rows += 1;
        let row = self.times.len();
        let compact = syntax::compact(json, self.limits.depth_max).map_err(|syntax| RowFault::syntax(syntax, &self.limits))?;
        if compact.first() != Some(&b'{') {
            return Err(RowFault::no_object(&compact));
        }
        let last_only = repeats::last_only(&compact, &self.fields, 0);
        match self.attempt(&last_only, arrival, false) {
            Ok(()) => {
                self.bytes += self.row_bytes + last_only.len();
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

    fn take_back(&mut self, row: usize) {
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
        let row = self.times.len();
        self.attempts += 1;
        self.filled = 0;
        self.unknown_names.clear();
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

    /// Walks the object of `node` whose opening brace is before `at`, and answers the place behind its closing one. Recursion goes
    /// along the paths of the schema only, which are short.
    fn object(&mut self, json: &[u8], at: usize, node: usize, depth: u32) -> Result<usize, Trouble> {
        let depth_max = self.limits.depth_max;
        let mut at = syntax::skip_space(json, at);
        if json.get(at) == Some(&b'}') {
            return Ok(at + 1);
        }
        let mut last = 0;
        loop {
            // Members that come as guessed and are columns, which nearly all are: nothing else is touched in between.
            let object = &self.fields.nodes[node];
            let (columns, attempts) = (self.columns.as_mut_slice(), self.attempts);
            while let Some((child, Target::Column(index), value)) = object.guess(last, json, at) {
                last = child + 1;
                let column = &mut columns[index];
                if column.seen == attempts {
                    return Err(Trouble::Repeated);
                }
                column.seen = attempts;
                self.filled += 1;
                let value = syntax::skip_space(json, value);
                let mut reading = Reading { bytes: json, scratch: &mut self.scratch, depth, depth_max };
                let end = column.push(&mut reading, value).map_err(|refusal| Trouble::refusal(refusal, index, value))?;
                match member_end(json, end)? {
                    MemberEnd::Another(next) => at = next,
                    MemberEnd::Last(end) => return Ok(end),
                }
            }
            let (child, value) = self.name(json, at, node, last)?;
            last = child.map_or(last, |child| child + 1);
            let target = child.map(|child| self.fields.nodes[node].children[child].target);
            let end = match target {
                Some(Target::Column(index)) => {
                    let column = &mut self.columns[index];
                    if column.seen == self.attempts {
                        return Err(Trouble::Repeated);
                    }
                    column.seen = self.attempts;
                    self.filled += 1;
                    let mut reading = Reading { bytes: json, scratch: &mut self.scratch, depth, depth_max };
                    column.push(&mut reading, value).map_err(|refusal| Trouble::refusal(refusal, index, value))?
                }
                Some(Target::Object(inner)) if json.get(value) == Some(&b'{') => {
                    if depth >= depth_max {
                        return Err(Trouble::Syntax(Syntax { at: value as u32, kind: SyntaxKind::TooDeep }));
                    }
                    self.inner_object(json, at, value, inner, depth)?
                }
                Some(Target::Host) => self.drop_value(json, value, depth)?,
                Some(Target::Object(inner)) => {
                    if self.fields.nodes[inner].seen == self.attempts {
                        return Err(Trouble::Repeated);
                    }
                    self.fields.nodes[inner].seen = self.attempts;
                    if self.keep == UnknownFields::Reject && json.get(value) == Some(&b'n') {
                        // An object that is null has none of the fields inside it, which is nothing unknown.
                        self.drop_value(json, value, depth)?
                    } else {
                        self.unknown(json, at, value, node, depth)?
                    }
                }
                None => self.unknown(json, at, value, node, depth)?,
            };
            match member_end(json, end)? {
                MemberEnd::Another(next) => at = next,
                MemberEnd::Last(end) => return Ok(end),
            }
        }
    }

    /// A name that was not guessed: the child it belongs to, and where its value begins.
    #[inline(never)]
    fn name(&mut self, json: &[u8], at: usize, node: usize, last: usize) -> Result<(Option<usize>, usize), Trouble> {
        let (end, escaped, value) = syntax::name_end(json, at)?;
        let raw = &json[at + 1..end];
        let name = if escaped {
            self.scratch.clear();
            syntax::unescape(raw, &mut self.scratch);
            &self.scratch
        } else {
            raw
        };
        let hash = self.fields.hash_of(name);
        let child = self.fields.find(node, name, hash);
        match child {
            Some(child) => self.fields.nodes[node].learn(last, child),
            None if self.keep == UnknownFields::Keep => self.unknown_names.push(hash.rotate_left(node as u32)),
            None => {}
        }
        Ok((child, value))
    }

    /// An object on the path of columns. What it holds besides them is kept at its place in `_unknown`.
    fn inner_object(&mut self, json: &[u8], name: usize, at: usize, inner: usize, depth: u32) -> Result<usize, Trouble> {
        if self.fields.nodes[inner].seen == self.attempts {
            return Err(Trouble::Repeated);
        }
        self.fields.nodes[inner].seen = self.attempts;
        if self.keep != UnknownFields::Keep {
            return self.object(json, at + 1, inner, depth + 1);
        }
        let mark = self.unknown.data.len();
        self.unknown_name(json, name)?;
        self.unknown.data.push(b'{');
        let opened = self.unknown.data.len();
        let end = self.object(json, at + 1, inner, depth + 1)?;
        if self.unknown.data.len() == opened {
            self.unknown.data.truncate(mark);
        } else {
            self.unknown.data.push(b'}');
        }
        Ok(end)
    }

    /// Begins a member of `_unknown`: a comma or brace, the name as written, a colon.
    fn unknown_name(&mut self, json: &[u8], at: usize) -> Result<(), Trouble> {
        let begin = self.unknown.offsets[self.times.len()] as usize;
        if self.unknown.data.len() == begin {
            self.unknown.data.push(b'{');
        } else if self.unknown.data.last() != Some(&b'{') {
            self.unknown.data.push(b',');
        }
        let (end, _, _) = syntax::name_end(json, at)?;
        self.unknown.data.extend_from_slice(&json[at..=end]);
        self.unknown.data.push(b':');
        Ok(())
    }

    /// A field the schema does not name.
    fn unknown(&mut self, json: &[u8], name: usize, at: usize, node: usize, depth: u32) -> Result<usize, Trouble> {
        match self.keep {
            UnknownFields::Keep => {
                self.unknown_name(json, name)?;
                Ok(syntax::copy_value(json, at, depth, self.limits.depth_max, &mut self.unknown.data)?)
            }
            UnknownFields::Drop => self.drop_value(json, at, depth),
            UnknownFields::Reject => Err(Trouble::Misfit(Misfit::Unknown { name, node })),
        }
    }

    fn drop_value(&mut self, json: &[u8], at: usize, depth: u32) -> Result<usize, Trouble> {
        self.scratch.clear();
        Ok(syntax::copy_value(json, at, depth, self.limits.depth_max, &mut self.scratch)?)
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

/// What follows a member of an object.
enum MemberEnd {
    /// Another one, at this place.
    Another(usize),
    /// The object's end, before this place.
    Last(usize),
}

/// What follows the member whose value ends before `at`.
#[inline(always)]
fn member_end(json: &[u8], at: usize) -> Result<MemberEnd, Syntax> {
    let at = syntax::skip_space(json, at);
    match json.get(at) {
        Some(b',') => Ok(MemberEnd::Another(syntax::skip_space(json, at + 1))),
        Some(b'}') => Ok(MemberEnd::Last(at + 1)),
        _ => syntax::expected(json, at, SyntaxKind::CommaOrBrace),
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
