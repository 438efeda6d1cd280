//! What matches are made of, as rows of `{pipeline}.matches`: in the commit that tells them, so that there is one for each match that was told.
//!
//! A row lies in the partition that its id is placed in, and has the match's time, which the id says too: whoever has the id need not look elsewhere.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use serde_json::json;
use tidemill_event::{EventTime, Field, FieldType, Retention, StreamDefinition, StreamSchema, UnknownFields};
use tidemill_flow::{Evidence, MATCH_ID};

use crate::plan::{Plan, PlannedKind};

/// The longest JSON of a match's events; the events behind are left out, and the row says how many there were.
const EVENTS_BYTES_MAX: usize = 1 << 20;

/// The definition of every `.matches` stream.
pub(crate) fn matches_definition(partitions: u32) -> StreamDefinition {
    let field = |name: &str, ty| Field::new(name, ty, false);
    let or_null = |name: &str, ty| Field::new(name, ty, true);
    let fields = vec![
        field("time", FieldType::Timestamp(None)),
        field(MATCH_ID, FieldType::String),
        field("pipeline", FieldType::String),
        field("step", FieldType::String),
        field("sought", FieldType::String),
        or_null("within_ms", FieldType::Int64),
        or_null("skip", FieldType::String),
        field("key", FieldType::Json),
        field("timed_out", FieldType::Bool),
        field("by_time", FieldType::Bool),
        field("match_start", FieldType::Timestamp(None)),
        field("match_end", FieldType::Timestamp(None)),
        field("count", FieldType::Int64),
        field("events", FieldType::Json),
        or_null("places", FieldType::Json),
    ];
    StreamDefinition {
        schema: StreamSchema { fields, unknown: UnknownFields::Drop, infer: false },
        time: None,
        key: vec![MATCH_ID.into()],
        partitions,
        retention: Retention::default(),
        compatibility: Default::default(),
    }
}

/// The rows of what a batch found.
///
/// # Panics
/// If a step found it that was not asked to explain.
pub(super) fn rows(plan: &Plan, found: &[Evidence], schema: &StreamSchema) -> RecordBatch {
    let explained: Vec<_> =
        found.iter().map(|one| plan.explained(one.step, one.pattern).expect("only a step that explains has evidence")).collect();
    let text = |of: &dyn Fn(usize) -> Option<String>| Arc::new((0..found.len()).map(of).collect::<StringArray>()) as ArrayRef;
    let number = |of: &dyn Fn(usize) -> Option<i64>| Arc::new((0..found.len()).map(of).collect::<Int64Array>()) as ArrayRef;
    let bit = |of: fn(&Evidence) -> bool| Arc::new(found.iter().map(|one| Some(of(one))).collect::<BooleanArray>()) as ArrayRef;
    let time = |of: fn(&Evidence) -> EventTime| {
        let times: TimestampMicrosecondArray = found.iter().map(|one| Some(of(one).0)).collect();
        Arc::new(times.with_timezone("UTC")) as ArrayRef
    };
    let places = |at: usize| {
        let [stream, partition, offset] = explained[at].places.as_ref()?;
        Some(json!({"stream": **stream, "partition": **partition, "offset": **offset}).to_string())
    };
    let columns: Vec<ArrayRef> = schema
        .fields
        .iter()
        .map(|field| match &*field.name {
            "time" => time(|one| one.time),
            MATCH_ID => text(&|at| Some(found[at].id.to_string())),
            "pipeline" => text(&|_| Some(plan.definition.name.to_string())),
            "step" => text(&|at| Some(place_of(plan, &found[at]))),
            "sought" => text(&|at| Some(explained[at].sought.clone())),
            "within_ms" => number(&|at| explained[at].within.map(|within| within.as_millis() as i64)),
            "skip" => text(&|at| explained[at].skip.clone()),
            "key" => text(&|at| Some(found[at].key.clone())),
            "timed_out" => bit(|one| one.is_timeout),
            "by_time" => bit(|one| one.by_time),
            "match_start" => time(|one| one.span.0),
            "match_end" => time(|one| one.span.1),
            "count" => number(&|at| Some(found[at].events.len() as i64)),
            "events" => text(&|at| Some(list(&found[at].events))),
            "places" => text(&places),
            other => unreachable!("`{other}` is no column of matches: the engine makes these streams"),
        })
        .chain([time(|one| one.time)])
        .collect();
    RecordBatch::try_new(Arc::new(schema.arrow()), columns).expect("the columns of a stream of matches")
}

/// `steps[1].pattern`; of one of a list `steps[1].patterns[declined]`.
fn place_of(plan: &Plan, found: &Evidence) -> String {
    let step = plan.step_name(found.step.0);
    match plan.steps.get(found.step.0 as usize).map(|step| &step.kind).zip(found.pattern) {
        Some((PlannedKind::Patterns(list), at)) => format!("{step}[{}]", list.patterns[at as usize].0),
        Some(_) | None => step,
    }
}

/// The first events, as many as fit.
fn list(events: &[String]) -> String {
    let mut room = EVENTS_BYTES_MAX;
    let fits = |event: &&String| {
        let fits = event.len() < room;
        room = room.saturating_sub(event.len() + 1);
        fits
    };
    let fitting: Vec<&str> = events.iter().take_while(fits).map(String::as_str).collect();
    format!("[{}]", fitting.join(","))
}
