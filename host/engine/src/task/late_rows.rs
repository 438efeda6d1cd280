//! Rows that came too late for a step, as rows of `{pipeline}.late`: which event, which windows it missed, and by how much.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tidemill_event::{Field, FieldType, Retention, StreamDefinition, StreamSchema, UnknownFields};
use tidemill_flow::{LateRows, Missed, RowOf, Sources};

use crate::plan::Plan;
use crate::task::letters::{Letter, letters};

/// The definition of every `.late` stream.
pub(crate) fn late_definition(partitions: u32) -> StreamDefinition {
    let text = |name: &str| Field::new(name, FieldType::String, true);
    let number = |name: &str| Field::new(name, FieldType::Int64, true);
    let time = |name: &str, nullable: bool| Field::new(name, FieldType::Timestamp(None), nullable);
    let json = |name: &str| Field::new(name, FieldType::Json, true);
    let fields = vec![
        time("time", false),
        time("watermark", false),
        Field::new("late_ms", FieldType::Int64, false),
        time("window_start", true),
        time("window_end", true),
        text("pipeline"),
        text("step"),
        text("stream"),
        number("partition"),
        number("offset"),
        json("event"),
        json("row"),
    ];
    StreamDefinition {
        schema: StreamSchema { fields, unknown: UnknownFields::Drop, infer: false },
        time: None,
        key: Vec::new(),
        partitions,
        retention: Retention::default(),
        compatibility: Default::default(),
    }
}

/// The late rows of a batch that was made of `sources`. They have their own time, which is late for whoever reads them by it.
pub(super) fn rows(plan: &Plan, late: &[LateRows], sources: &Sources, schema: &StreamSchema) -> RecordBatch {
    let rows: Vec<(u32, RowOf)> = late
        .iter()
        .flat_map(|late| {
            let batch = Arc::new(late.rows.rows.clone());
            (0..).zip(&late.rows.origin).map(move |(row, origin)| (*origin, RowOf { rows: batch.clone(), row }))
        })
        .collect();
    let letters = letters(rows.iter().map(|(origin, row)| (*origin, row, false)), sources);
    let missed: Vec<Missed> = late.iter().flat_map(|late| late.missed.iter().copied()).collect();
    let steps = late.iter().flat_map(|late| std::iter::repeat_n(late.step.0, late.rows.len()));
    let steps: StringArray = steps.map(|step| Some(plan.step_name(step))).collect();
    let time = |of: &mut dyn Iterator<Item = Option<i64>>| {
        Arc::new(of.collect::<TimestampMicrosecondArray>().with_timezone("UTC")) as ArrayRef
    };
    let number = |of: &mut dyn Iterator<Item = Option<i64>>| Arc::new(of.collect::<Int64Array>()) as ArrayRef;
    let text = |value: fn(&Letter) -> Option<&str>| Arc::new(letters.iter().map(value).collect::<StringArray>()) as ArrayRef;
    let own_time = time(&mut letters.iter().map(|letter| Some(letter.row_time.0)));
    let late_ms = |(missed, letter): (&Missed, &Letter)| {
        let micros = missed.watermark.0.saturating_sub(letter.row_time.0);
        // A row that is late is late by something.
        Some(micros.saturating_add(999).div_euclid(1000))
    };
    let pipeline = plan.definition.name.as_str();
    let columns: Vec<ArrayRef> = schema
        .fields
        .iter()
        .map(|field| match &*field.name {
            "time" => own_time.clone(),
            "watermark" => time(&mut missed.iter().map(|missed| Some(missed.watermark.0))),
            "late_ms" => number(&mut missed.iter().zip(&letters).map(late_ms)),
            "window_start" => time(&mut missed.iter().map(|missed| missed.window.map(|(start, _)| start))),
            "window_end" => time(&mut missed.iter().map(|missed| missed.window.map(|(_, end)| end))),
            "pipeline" => Arc::new(letters.iter().map(|_| Some(pipeline)).collect::<StringArray>()) as ArrayRef,
            "step" => Arc::new(steps.clone()) as ArrayRef,
            "stream" => text(|letter| letter.place.as_ref().map(|place| &*place.stream)),
            "partition" => number(&mut letters.iter().map(|letter| Some(i64::from(letter.partition.0)))),
            "offset" => number(&mut letters.iter().map(|letter| Some(letter.place.as_ref()?.offset.0 as i64))),
            "event" => text(|letter| letter.event.as_deref()),
            "row" => text(|letter| letter.row.as_deref()),
            other => unreachable!("`{other}` is no column of late rows: the engine makes these streams"),
        })
        .chain([own_time.clone()])
        .collect();
    RecordBatch::try_new(Arc::new(schema.arrow()), columns).expect("the columns of a stream of late rows")
}
