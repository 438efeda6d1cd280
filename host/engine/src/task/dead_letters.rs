//! Rows that failed in a step, as rows of `{pipeline}.dead-letters`: why, in which component, and the event they were made of.
//!
//! `event` is the event as the pipeline read it, and its place is told; `row` is the row as it stood before the step, where that is
//! something else. So a reader sees what was sent, and a replay goes on at the step.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tidemill_event::batch::{TIME_COLUMN, UNKNOWN_COLUMN, times};
use tidemill_event::json::RowEncoder;
use tidemill_event::{EventTime, Field, FieldType, StreamDefinition, StreamSchema, UnknownFields, rejection_definition};
use tidemill_flow::{DeadRow, Place, Sources};

use crate::plan::{Plan, PlannedComponent};

/// The longest JSON of an event or a row that is kept; a longer one is left out, and the error says so.
const JSON_BYTES_MAX: usize = 1 << 20;

/// The definition of every `.dead-letters` stream: that of `.rejected`, and the row.
pub(crate) fn dead_letter_definition(partitions: u32) -> StreamDefinition {
    let mut definition = rejection_definition(partitions);
    definition.schema.fields.push(Field::new("row", FieldType::Json, true));
    definition
}

/// The dead rows of a batch that was made of `sources`.
///
/// A dead row keeps the event time of the event it came from: the same rows give the same dead letters, however often they are taken.
pub(crate) fn rows(plan: &Plan, dead: &[DeadRow], sources: &Sources, schema: &StreamSchema) -> RecordBatch {
    let components: HashMap<u32, &Arc<PlannedComponent>> = plan.components().collect();
    let source_times = times(&sources.rows);
    let time: Vec<i64> = dead.iter().map(|row| source_times.value(row.origin as usize)).collect();
    let times = Arc::new(TimestampMicrosecondArray::from(time).with_timezone("UTC")) as ArrayRef;
    let letters: Vec<Letter> = Letters { events: Encoding::of(&sources.rows), rows: None }.all(dead, sources);
    let component =
        |row: &DeadRow, part: fn(&PlannedComponent) -> String| components.get(&row.step.0).map(|planned| part(planned));
    let text = |value: &dyn Fn(&DeadRow) -> Option<String>| Arc::new(dead.iter().map(value).collect::<StringArray>()) as ArrayRef;
    let of_letter = |value: fn(&Letter) -> Option<&str>| Arc::new(letters.iter().map(value).collect::<StringArray>()) as ArrayRef;
    let number = |value: fn(&Place) -> i64| {
        Arc::new(letters.iter().map(|letter| Some(value(&letter.place))).collect::<Int64Array>()) as ArrayRef
    };
    let pipeline = plan.definition.name.as_str();
    let columns: Vec<ArrayRef> = schema
        .fields
        .iter()
        .map(|field| match &*field.name {
            "time" => times.clone(),
            "reason" => text(&|row| Some(row.reason.as_str().to_owned())),
            "error" => of_letter(|letter| Some(&letter.error)),
            "stream" => of_letter(|letter| Some(&letter.place.stream)),
            "partition" => number(|place| i64::from(place.partition.0)),
            "offset" => number(|place| place.offset.0 as i64),
            "pipeline" => text(&|_| Some(pipeline.to_owned())),
            "step" => text(&|row| Some(plan.step_name(row.step.0))),
            "component" => text(&|row| component(row, |planned| planned.pin.name.clone())),
            "version" => text(&|row| component(row, |planned| planned.pin.version.clone())),
            "digest" => text(&|row| component(row, |planned| planned.pin.digest.clone())),
            "backtrace" => text(&|row| (!row.backtrace.is_empty()).then(|| row.backtrace.to_string())),
            "event" => of_letter(|letter| letter.event.as_deref()),
            "row" => of_letter(|letter| letter.row.as_deref()),
            "bytes" => Arc::new(dead.iter().map(|_| None::<&[u8]>).collect::<BinaryArray>()) as ArrayRef,
            other => unreachable!("`{other}` is no column of dead letters: the engine makes these streams"),
        })
        .chain([times.clone()])
        .collect();
    RecordBatch::try_new(Arc::new(schema.arrow()), columns).expect("the columns of a dead-letter stream")
}

/// What a dead letter says of its row.
struct Letter {
    place: Place,
    error: String,
    event: Option<String>,
    row: Option<String>,
}

struct Letters {
    events: Encoding,
    /// Dead rows of one batch stand together.
    rows: Option<Encoding>,
}

impl Letters {
    fn all(mut self, dead: &[DeadRow], sources: &Sources) -> Vec<Letter> {
        dead.iter().map(|row| self.letter(row, sources)).collect()
    }

    fn letter(&mut self, dead: &DeadRow, sources: &Sources) -> Letter {
        let event = self.events.json(dead.origin as usize);
        let rows = match self.rows.take() {
            Some(rows) if Arc::ptr_eq(&rows.batch, &dead.event.rows) => rows,
            Some(_) | None => Encoding::of(&dead.event.rows),
        };
        let mut row = rows.json(dead.event.row);
        let (time, event_time) = (rows.time(dead.event.row), self.events.time(dead.origin as usize));
        self.rows = Some(rows);
        if time != event_time {
            row = with_time(&row, time);
        }
        let mut error = dead.error.to_string();
        let mut kept = |text: String, what: &str| {
            if text.len() > JSON_BYTES_MAX {
                error.push_str(&format!(" ({what} of {} bytes is left out)", text.len()));
                return None;
            }
            Some(text)
        };
        let row = (row != event).then_some(row).and_then(|row| kept(row, "the row before the step"));
        let event = kept(event, "the event");
        Letter { place: sources.place(dead.origin), error, event, row }
    }
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
