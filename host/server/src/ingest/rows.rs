//! The rows of a body, whatever its form: cut out of pieces as they come, decoded, or kept as what was not taken.

use std::borrow::Cow;
use std::sync::Arc;

use tidemill_event::arrow::{Table, TableFault};
use tidemill_event::csv::{Header, HeaderFault, Record, RecordSplitter, Split};
use tidemill_event::json::{BodySplitter, Line, LineSplitter, RowDecoder, RowFault, SyntaxFault, is_blank, utf8_start};
use tidemill_event::{EventTime, Reason, StreamSchema, cloudevents};

use super::content::Content;
use super::upload::Upload;
use crate::bounds::LINE_BYTES_MAX;
use crate::problem::{Kind, Problem};

/// What some programs write before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One row as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Row<'a> {
    /// A JSON value.
    Json(&'a [u8]),
    /// A JSON value that must be a CloudEvent.
    CloudEvent(&'a [u8]),
    /// A line of text.
    Text(&'a [u8]),
    /// A record of a table.
    Record(Record<'a>),
    /// A row of a table.
    Table(&'a Table, usize),
    /// What is no row, whatever the schema says, with its beginning.
    Fault(&'a RowFault, &'a [u8]),
}

/// What it takes to have a row again from its bytes.
#[derive(Debug, Clone)]
pub(crate) enum RowKind {
    Json,
    CloudEvent,
    Text,
    Record(Arc<Header>),
}

impl<'a> Row<'a> {
    /// Adds the row to a batch.
    pub(crate) fn decode(self, decoder: &mut RowDecoder, arrival: EventTime) -> Result<(), RowFault> {
        match self {
            Self::Json(json) => decoder.row(json, arrival),
            Self::CloudEvent(json) => {
                cloudevents::check(json)?;
                decoder.row(json, arrival)
            }
            Self::Text(line) => decoder.text_line(line, arrival),
            Self::Record(record) => decoder.record(&record, arrival),
            Self::Table(table, row) => decoder.table_row(table, row, arrival),
            Self::Fault(fault, _) => Err(fault.clone()),
        }
    }

    /// What a row that was not taken is kept as.
    pub(crate) fn kept(self, keep: impl FnOnce(&[u8])) {
        match self {
            Self::Json(bytes) | Self::CloudEvent(bytes) | Self::Text(bytes) | Self::Fault(_, bytes) => keep(bytes),
            Self::Record(record) => {
                let mut json = Vec::new();
                record.write_json(&mut json);
                keep(&json);
            }
            Self::Table(table, row) => keep(&table_json(table, row)),
        }
    }

    /// The row as JSON, for fields to be found in it that the schema does not have, or has too narrow.
    pub(crate) fn json(self, schema: &StreamSchema) -> Cow<'a, [u8]> {
        match self {
            Self::Json(json) | Self::CloudEvent(json) => json.into(),
            Self::Text(_) => br#"{"line":""}"#.into(),
            Self::Record(record) => {
                let mut json = Vec::new();
                record.write_json_for(schema, &mut json);
                json.into()
            }
            Self::Table(table, row) => table_json(table, row).into(),
            Self::Fault(..) => b"".into(),
        }
    }

    /// Its bytes, and what makes them a row again; `None` for what is no row, and for one whose columns have types already.
    pub(crate) fn parts(self) -> Option<(Cow<'a, [u8]>, RowKind)> {
        match self {
            Self::Json(json) => Some((json.into(), RowKind::Json)),
            Self::CloudEvent(json) => Some((json.into(), RowKind::CloudEvent)),
            Self::Text(line) => Some((line.into(), RowKind::Text)),
            Self::Record(record) => Some((record.packed().into(), RowKind::Record(record.header().clone()))),
            Self::Table(..) | Self::Fault(..) => None,
        }
    }
}

impl RowKind {
    /// The row that had these bytes.
    pub(crate) fn row<'a>(&'a self, bytes: &'a [u8]) -> Row<'a> {
        match self {
            Self::Json => Row::Json(bytes),
            Self::CloudEvent => Row::CloudEvent(bytes),
            Self::Text => Row::Text(bytes),
            Self::Record(header) => Row::Record(Record::new(header, bytes)),
        }
    }
}

/// Cuts a body into rows. Holds one row at most.
pub(crate) struct RowSplitter {
    form: Form,
    /// Whether anything of the body has come.
    came: bool,
    /// Whether a body that must be an array, or must be none, has begun.
    begun: bool,
}

enum Form {
    Json { splitter: BodySplitter, content: Content },
    Lines { splitter: LineSplitter, is_text: bool },
    Csv(Box<RecordSplitter>),
}

impl RowSplitter {
    /// For a body of that form. (A CloudEvent in binary mode is one row with its header lines, and an Arrow stream has tables:
    /// neither is cut.)
    pub(crate) fn new(content: Content) -> Self {
        let lines = |is_text| Form::Lines { splitter: LineSplitter::new(LINE_BYTES_MAX), is_text };
        let form = match content {
            Content::Ndjson => lines(false),
            Content::Text => lines(true),
            Content::Csv => Form::Csv(Box::new(RecordSplitter::new(LINE_BYTES_MAX))),
            Content::Json | Content::CloudEvent | Content::CloudEvents | Content::CloudEventBinary | Content::Arrow => {
                Form::Json { splitter: BodySplitter::new(LINE_BYTES_MAX), content }
            }
        };
        Self { form, came: false, begun: false }
    }

    /// Takes the next piece and calls `each` with every row that ends in it, in order. After a problem nothing more may come.
    pub(crate) fn push(&mut self, piece: &[u8], each: &mut dyn FnMut(Row<'_>)) -> Result<(), Problem> {
        let is_first = !piece.is_empty() && !std::mem::replace(&mut self.came, true);
        match piece.strip_prefix(BYTE_ORDER_MARK).filter(|_| is_first) {
            None => self.cut(piece, each),
            Some(rest) => match self.form {
                // As white space: places in the body stay what they are.
                Form::Json { .. } | Form::Lines { is_text: false, .. } => {
                    self.cut(b"   ", each)?;
                    self.cut(rest, each)
                }
                Form::Lines { is_text: true, .. } => self.cut(rest, each),
                // A table knows it by itself.
                Form::Csv(_) => self.cut(piece, each),
            },
        }
    }

    fn cut(&mut self, piece: &[u8], each: &mut dyn FnMut(Row<'_>)) -> Result<(), Problem> {
        match &mut self.form {
            Form::Json { splitter, content } => {
                if !self.begun
                    && *content != Content::Json
                    && let Some(first) = piece.iter().find(|byte| !byte.is_ascii_whitespace())
                {
                    self.begun = true;
                    one_or_many(*content, *first)?;
                }
                splitter.push(piece, &mut |json| each(value(*content, json))).map_err(|fault| not_json(&fault))
            }
            Form::Lines { splitter, is_text } => {
                splitter.push(piece, &mut |split| line(split, *is_text, each));
                Ok(())
            }
            Form::Csv(splitter) => splitter.push(piece, &mut |split| record(split, each)).map_err(no_header),
        }
    }

    /// As [`RowSplitter::push`], into an upload: lines of JSON go there many at once, as long as nothing about them is odd.
    pub(crate) fn push_to(&mut self, piece: &[u8], upload: &mut Upload) -> Result<(), Problem> {
        if !self.came && piece.starts_with(BYTE_ORDER_MARK) {
            return self.push(piece, &mut |row| upload.row(row));
        }
        self.came |= !piece.is_empty();
        let Form::Lines { splitter, is_text: false } = &mut self.form else {
            return self.push(piece, &mut |row| upload.row(row));
        };
        let text = utf8_start(piece);
        let mut at = 0;
        while at < piece.len() {
            if splitter.is_between_lines()
                && let Some(lines) = text.get(at..)
            {
                at += upload.lines(lines);
            }
            let rest = &piece[at..];
            let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
            splitter.push(&rest[..end], &mut |split| line(split, false, &mut |row| upload.row(row)));
            at += end;
        }
        Ok(())
    }

    /// Ends the body; the last row may come only now.
    pub(crate) fn finish(&mut self, each: &mut dyn FnMut(Row<'_>)) -> Result<(), Problem> {
        match &mut self.form {
            Form::Json { splitter, content } => {
                splitter.finish(&mut |json| each(value(*content, json))).map_err(|fault| not_json(&fault))
            }
            Form::Lines { splitter, is_text } => {
                splitter.finish(&mut |split| line(split, *is_text, each));
                Ok(())
            }
            Form::Csv(splitter) => splitter.finish(&mut |split| record(split, each)).map_err(no_header),
        }
    }
}

/// A row of a table as JSON. One that is longer than rows may be is cut, and then no JSON.
fn table_json(table: &Table, row: usize) -> Vec<u8> {
    let mut json = Vec::new();
    table.write_json(row, LINE_BYTES_MAX, &mut json);
    json
}

fn value(content: Content, json: &[u8]) -> Row<'_> {
    if content == Content::Json { Row::Json(json) } else { Row::CloudEvent(json) }
}

fn line(line: Line<'_>, is_text: bool, each: &mut dyn FnMut(Row<'_>)) {
    match line {
        Line::Complete(line) if is_text => each(Row::Text(line)),
        Line::Complete(line) if is_blank(line) => {}
        Line::Complete(line) => each(Row::Json(line)),
        Line::TooLong { bytes_start } => {
            let error = format!("the line is longer than {LINE_BYTES_MAX} bytes: send smaller events");
            each(Row::Fault(&RowFault { reason: Reason::Malformed, field: None, error }, bytes_start));
        }
    }
}

fn record(split: Split<'_>, each: &mut dyn FnMut(Row<'_>)) {
    match split {
        Split::Record(record) => each(Row::Record(record)),
        Split::Fault(fault, bytes_start) => each(Row::Fault(&fault, bytes_start)),
    }
}

/// 400 unless one CloudEvent comes as an object and a batch of them as an array.
fn one_or_many(content: Content, first: u8) -> Result<(), Problem> {
    let remedy = match (content, first) {
        (Content::CloudEvents, b'[') => return Ok(()),
        (Content::CloudEvents, _) => "send an array, or one event as `application/cloudevents+json`",
        (_, b'[') => "send one object, or the array as `application/cloudevents-batch+json`",
        (..) => return Ok(()),
    };
    Err(Problem::new(Kind::BadBody, "the body is not what its content type says", remedy))
}

/// 400 with the byte.
pub(crate) fn not_json(fault: &SyntaxFault) -> Problem {
    Problem::new(
        Kind::BadBody,
        format!("the body is no JSON at byte {}: {}", fault.byte, fault.error),
        "correct it there; nothing of the body was taken. `application/x-ndjson` takes each line on its own",
    )
    .with("byte", fault.byte)
}

/// What a client is told whose Arrow stream cannot be read on.
pub(crate) fn no_table(fault: &TableFault) -> Problem {
    let (kind, remedy) = match fault.is_too_large {
        true => (Kind::TooLarge, "write smaller record batches: a stream may have any number of them"),
        false => (Kind::BadBody, "send a whole Arrow IPC stream; tables that came whole before the fault stay"),
    };
    Problem::new(kind, format!("the body cannot be read as an Arrow stream: {fault}"), remedy)
}

fn no_header(fault: HeaderFault) -> Problem {
    let remedy = "correct the first line; nothing of the body was taken";
    Problem::new(Kind::BadBody, format!("the body is no CSV with a header row: {fault}"), remedy)
}
