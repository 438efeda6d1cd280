//! What is told of a row that a step could not take: the event it was made of, with its place, and the row as it stood before the step.
//!
//! `event` is the event as the pipeline read it; `row` is there where it is something else. A row that time let out was made of no event, and
//! a result of many rows of no single one: they have a `row` alone.

use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::batch::{TIME_COLUMN, UNKNOWN_COLUMN, times};
use tidemill_event::json::RowEncoder;
use tidemill_event::{EventTime, Field, PartitionId, StreamSchema, UnknownFields};
use tidemill_flow::{Place, RowOf, Sources};

use crate::task::time::NOWHERE;

/// The longest JSON of an event or a row that is kept; a longer one is left out, and the letter says so.
const JSON_BYTES_MAX: usize = 1 << 20;

/// One row.
pub(super) struct Letter {
    /// Of the stream of its event, and of the task.
    pub(super) partition: PartitionId,
    /// Where its event stands; `None`: it was made of no single one.
    pub(super) place: Option<Place>,
    /// The time of the event, or of the row where that is of no single one.
    pub(super) time: EventTime,
    /// The row's own.
    pub(super) row_time: EventTime,
    pub(super) event: Option<String>,
    pub(super) row: Option<String>,
    /// What was too long to be kept, in words behind others; empty if nothing was.
    pub(super) left_out: String,
}

/// Rows, each with its origin among `sources` and whether it is a result of many rows, in their order.
pub(super) fn letters<'a>(rows: impl Iterator<Item = (u32, &'a RowOf, bool)>, sources: &Sources) -> Vec<Letter> {
    let events = Encoding::of(&sources.rows);
    // Rows of one batch stand together.
    let mut encoding: Option<Encoding> = None;
    rows.map(|(origin, row, is_result)| {
        let rows = match encoding.take() {
            Some(there) if Arc::ptr_eq(&there.batch, &row.rows) => there,
            Some(_) | None => Encoding::of(&row.rows),
        };
        let letter = letter(&events, &rows, (origin, row.row, is_result), sources.place(origin));
        encoding = Some(rows);
        letter
    })
    .collect()
}

fn letter(events: &Encoding, rows: &Encoding, (origin, row, is_result): (u32, usize, bool), place: Place) -> Letter {
    let (mut left_out, partition) = (String::new(), place.partition);
    let mut kept = |text: String, what: &str| {
        if text.len() > JSON_BYTES_MAX {
            left_out.push_str(&format!(" ({what} of {} bytes is left out)", text.len()));
            return None;
        }
        Some(text)
    };
    let row_time = rows.time(row);
    let mut text = rows.json(row);
    if is_result || &*place.stream == NOWHERE {
        let row = kept(with_time(&text, row_time), if is_result { "the result" } else { "the row before the step" });
        return Letter { partition, place: None, time: row_time, row_time, event: None, row, left_out };
    }
    let (event, time) = (events.json(origin as usize), events.time(origin as usize));
    if row_time != time {
        text = with_time(&text, row_time);
    }
    let row = (text != event).then_some(text).and_then(|text| kept(text, "the row before the step"));
    let event = kept(event, "the event");
    Letter { partition, place: Some(place), time, row_time, event, row, left_out }
}

/// A row with another time than its event says so, as rows that are read from a stream do.
fn with_time(row: &str, time: EventTime) -> String {
    let open = row.strip_suffix('}').unwrap_or(row);
    let comma = if open.ends_with('{') { "" } else { "," };
    format!("{open}{comma}\"{TIME_COLUMN}\":\"{time}\"}}")
}

/// A batch and what writes its rows as JSON.
struct Encoding {
    batch: Arc<RecordBatch>,
    encoder: RowEncoder,
}

impl Encoding {
    fn of(batch: &Arc<RecordBatch>) -> Self {
        Self { batch: batch.clone(), encoder: RowEncoder::new(&schema_of(batch), None) }
    }

    fn json(&self, row: usize) -> String {
        self.encoder.one(&self.batch, row)
    }

    fn time(&self, row: usize) -> EventTime {
        EventTime(times(&self.batch).value(row))
    }
}

fn schema_of(rows: &RecordBatch) -> StreamSchema {
    let fields = rows.schema_ref().fields();
    let columns = &fields[..fields.len() - 1];
    let unknown = columns.last().is_some_and(|field| field.name() == UNKNOWN_COLUMN);
    let own = &columns[..columns.len() - usize::from(unknown)];
    StreamSchema {
        fields: own.iter().filter_map(|field| Field::from_arrow(field)).collect(),
        unknown: if unknown { UnknownFields::Keep } else { UnknownFields::Drop },
        infer: false,
    }
}
