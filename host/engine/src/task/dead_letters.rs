//! Rows that failed in a step, as rows of `{pipeline}.dead-letters`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tidemill_event::batch::{UNKNOWN_COLUMN, times};
use tidemill_event::json::RowEncoder;
use tidemill_event::{Field, Offset, PartitionId, StreamSchema, UnknownFields};
use tidemill_flow::DeadRow;

use crate::plan::Plan;

/// Where a batch came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) stream: &'a str,
    pub(crate) partition: PartitionId,
    /// The offset of the batch's row 0.
    pub(crate) start: Offset,
}

/// The dead rows of one batch `input`.
///
/// A dead row keeps the event time of the row it came from: the same rows give the same dead letters, however often they are taken.
pub(crate) fn rows(plan: &Plan, dead: &[DeadRow], input: &RecordBatch, from: Origin<'_>, schema: &StreamSchema) -> RecordBatch {
    let count = dead.len();
    let components: HashMap<u32, _> = plan.components().collect();
    let input_times = times(input);
    let time: Vec<i64> = dead.iter().map(|row| input_times.value(row.origin as usize)).collect();
    let component = |row: &DeadRow, part: fn(&crate::plan::PlannedComponent) -> String| {
        components.get(&row.step.0).map(|planned| part(planned))
    };
    let text = |value: &dyn Fn(&DeadRow) -> Option<String>| Arc::new(dead.iter().map(value).collect::<StringArray>()) as ArrayRef;
    let times = Arc::new(TimestampMicrosecondArray::from(time).with_timezone("UTC")) as ArrayRef;
    let pipeline = plan.definition.name.as_str();
    let mut events = Events::default();
    let columns: Vec<ArrayRef> = schema
        .fields
        .iter()
        .map(|field| match &*field.name {
            "time" => times.clone(),
            "reason" => text(&|row| Some(row.reason.as_str().to_owned())),
            "error" => text(&|row| Some(row.error.to_string())),
            "stream" => text(&|_| Some(from.stream.to_owned())),
            "partition" => Arc::new(Int64Array::from(vec![i64::from(from.partition.0); count])) as ArrayRef,
            "offset" => {
                Arc::new(dead.iter().map(|row| Some(from.start.plus(row.origin as usize).0 as i64)).collect::<Int64Array>())
                    as ArrayRef
            }
            "pipeline" => text(&|_| Some(pipeline.to_owned())),
            "step" => text(&|row| Some(plan.step_name(row.step.0))),
            "component" => text(&|row| component(row, |planned| planned.pin.name.clone())),
            "version" => text(&|row| component(row, |planned| planned.pin.version.clone())),
            "digest" => text(&|row| component(row, |planned| planned.pin.digest.clone())),
            "backtrace" => text(&|row| (!row.backtrace.is_empty()).then(|| row.backtrace.to_string())),
            "event" => Arc::new(dead.iter().map(|row| Some(events.json(row))).collect::<StringArray>()) as ArrayRef,
            "bytes" => Arc::new(dead.iter().map(|_| None::<&[u8]>).collect::<BinaryArray>()) as ArrayRef,
            other => unreachable!("`{other}` is no column of dead letters: the engine makes these streams"),
        })
        .chain([times.clone()])
        .collect();
    RecordBatch::try_new(Arc::new(schema.arrow()), columns).expect("the columns of a dead-letter stream")
}

/// Events as JSON, with one encoder per batch they stand in.
#[derive(Default)]
struct Events {
    encoder: Option<(Arc<RecordBatch>, RowEncoder)>,
}

impl Events {
    fn json(&mut self, row: &DeadRow) -> String {
        let rows = &row.event.rows;
        let encoder = match self.encoder.take() {
            Some((of, encoder)) if Arc::ptr_eq(&of, rows) => encoder,
            _ => RowEncoder::new(&schema_of(rows), None),
        };
        let mut line = Vec::new();
        encoder.encode(rows, row.event.row..row.event.row + 1, Offset::ZERO, &mut line);
        self.encoder = Some((rows.clone(), encoder));
        line.truncate(line.trim_ascii_end().len());
        String::from_utf8(line).expect("an encoder writes UTF-8")
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
