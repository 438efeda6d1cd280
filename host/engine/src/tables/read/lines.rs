//! Texts: CSV and NDJSON, row by row with the line each begins on.

use std::sync::Arc;

use tidemill_event::csv::{Header, Record, RecordSplitter, Split};
use tidemill_event::json::{RowFault, infer, is_blank};
use tidemill_event::{Field, FieldType, Reason};

use super::{Gathering, TableFormat, TableRows, Unreadable};
use crate::tables::bounds::LINE_BYTES_MAX;
use crate::tables::fields::definition;

/// What some programs write before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One row as it came.
enum Row<'a> {
    Json(&'a [u8]),
    Record(Record<'a>),
    Fault(RowFault),
}

/// Gathers the rows of a text.
pub(super) fn gather(rows: &TableRows) -> Result<Gathering, Unreadable> {
    let fields = match &rows.fields {
        Some(fields) => fields.clone(),
        None => found(rows)?,
    };
    let mut gathering = Gathering::new(fields);
    each_row(rows, &mut |line, row| {
        gathering.row(line, |decoder, time| match row {
            Row::Json(json) => decoder.row(json, time),
            Row::Record(record) => decoder.record(&record, time),
            Row::Fault(fault) => Err(fault),
        })
    })?;
    Ok(gathering)
}

/// The fields that all rows together have.
fn found(rows: &TableRows) -> Result<Vec<Field>, Unreadable> {
    // Records as JSON, behind each other; lines of JSON stay where they are.
    let (mut texts, mut ends) = (Vec::new(), Vec::new());
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut header: Option<Arc<Header>> = None;
    let body: &[u8] = &rows.body;
    match rows.format {
        TableFormat::Ndjson => lines = json_lines(body).map(|(_, line)| line).collect(),
        TableFormat::Csv | TableFormat::Parquet | TableFormat::Mmdb => {
            header = each_row(rows, &mut |_, row| {
                if let Row::Record(record) = row {
                    record.write_json(&mut texts);
                    ends.push(texts.len());
                }
                Ok(())
            })?;
            let starts = std::iter::once(0).chain(ends.iter().copied());
            lines.extend(starts.zip(&ends).map(|(start, end)| &texts[start..*end]));
        }
    }
    let schema = infer(&definition(Vec::new(), true), &lines);
    let mut fields: Vec<Field> = schema.map(|schema| schema.fields).unwrap_or_default();
    // Without a record there is only the header to go by.
    if let Some(header) = header.as_ref().filter(|_| lines.is_empty()) {
        fields.extend(header.names().map(|name| Field::new(name, FieldType::String, true)));
    }
    for field in &mut fields {
        field.inferred = false;
        // Nothing in CSV is json by itself: such a column has texts beside numbers, or nothing at all.
        if header.is_some() && field.ty == FieldType::Json {
            field.ty = FieldType::String;
        }
    }
    if fields.is_empty() {
        let error = "no row says what the columns are: send rows, or declare them with `schema`";
        return Err(Unreadable::Body(error.to_owned()));
    }
    Ok(fields)
}

/// Calls `each` with every row and its line. Answers the header of CSV.
fn each_row(
    rows: &TableRows,
    each: &mut dyn FnMut(usize, Row<'_>) -> Result<(), Unreadable>,
) -> Result<Option<Arc<Header>>, Unreadable> {
    match rows.format {
        TableFormat::Ndjson => {
            for (line, text) in json_lines(&rows.body) {
                let row = if text.len() > LINE_BYTES_MAX { Row::Fault(too_long()) } else { Row::Json(text) };
                each(line, row)?;
            }
            Ok(None)
        }
        TableFormat::Csv | TableFormat::Parquet | TableFormat::Mmdb => each_record(&rows.body, each),
    }
}

fn too_long() -> RowFault {
    let error = format!("the line is longer than {LINE_BYTES_MAX} bytes");
    RowFault { reason: Reason::Malformed, field: None, error }
}

/// The lines that are not blank, from 1.
fn json_lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let mut start = 0;
    let mut number = 0;
    std::iter::from_fn(move || {
        let rest = body.get(start..).filter(|rest| !rest.is_empty())?;
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        start += end + 1;
        number += 1;
        let line = &rest[..end];
        Some((number, line.strip_suffix(b"\r").unwrap_or(line)))
    })
    .filter(|(_, line)| !is_blank(line))
}

/// The records of CSV. A record may have line ends in its quotes, so the text goes in line by line: a record begins behind the line in
/// which the one before it ended.
fn each_record(
    body: &[u8],
    each: &mut dyn FnMut(usize, Row<'_>) -> Result<(), Unreadable>,
) -> Result<Option<Arc<Header>>, Unreadable> {
    let mut splitter = RecordSplitter::new(LINE_BYTES_MAX);
    let mut ended = Ok(());
    let mut begins = 1;
    let (mut start, mut number) = (0, 0);
    while start < body.len() {
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |end| start + end + 1);
        let line = &body[start..end];
        number += 1;
        let had_header = splitter.header().is_some();
        let mut came = false;
        let pushed = splitter.push(line, &mut |split| {
            came = true;
            if ended.is_ok() {
                ended = each(begins, row(split));
            }
        });
        pushed.map_err(|fault| Unreadable::Body(fault.to_string()))?;
        std::mem::replace(&mut ended, Ok(()))?;
        // Blank lines are no rows: what follows them begins behind them.
        let is_blank = line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if came || is_blank || !had_header && splitter.header().is_some() {
            begins = number + 1;
        }
        start = end;
    }
    let finished = splitter.finish(&mut |split| {
        if ended.is_ok() {
            ended = each(begins, row(split));
        }
    });
    finished.map_err(|fault| Unreadable::Body(fault.to_string()))?;
    ended?;
    Ok(splitter.header().cloned())
}

fn row(split: Split<'_>) -> Row<'_> {
    match split {
        Split::Record(record) => Row::Record(record),
        Split::Fault(fault, _) => Row::Fault(fault),
    }
}
