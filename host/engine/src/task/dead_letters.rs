//! Rows that failed in a step, as rows of `{pipeline}.dead-letters`: why, in which component, and the event they were made of.
//!
//! `event` is the event as the pipeline read it, and its place is told; `row` is the row as it stood before the step, where that is
//! something else (`letters.rs`). So a reader sees what was sent, and a replay goes on at the step. A window's result that cannot be said has
//! a `row` alone, the result: the event that let it out is not to blame.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tidemill_event::{Field, FieldType, StreamDefinition, StreamSchema, rejection_definition};
use tidemill_flow::{DeadRow, Sources};

use crate::plan::{Plan, PlannedComponent};
use crate::task::letters::{Letter, letters};

/// The definition of every `.dead-letters` stream: that of `.rejected`, and the row.
pub(crate) fn dead_letter_definition(partitions: u32) -> StreamDefinition {
    let mut definition = rejection_definition(partitions);
    definition.schema.fields.push(Field::new("row", FieldType::Json, true));
    definition
}

/// The dead rows of a batch that was made of `sources`.
///
/// A dead row keeps the event time of the event it came from, a result its own: the same rows give the same dead letters, however often they are taken.
pub(crate) fn rows(plan: &Plan, dead: &[DeadRow], sources: &Sources, schema: &StreamSchema) -> RecordBatch {
    let letters = letters(dead.iter().map(|row| (row.origin, &row.event, row.is_result)), sources);
    let time = letters.iter().map(|letter| letter.time.0);
    let times = Arc::new(TimestampMicrosecondArray::from_iter_values(time).with_timezone("UTC")) as ArrayRef;
    let component = |row: &DeadRow, part: fn(&PlannedComponent) -> String| {
        plan.component_of(row.step.0, row.component).map(|planned| part(planned))
    };
    let text = |value: &dyn Fn(&DeadRow) -> Option<String>| Arc::new(dead.iter().map(value).collect::<StringArray>()) as ArrayRef;
    let of_letter = |value: fn(&Letter) -> Option<&str>| Arc::new(letters.iter().map(value).collect::<StringArray>()) as ArrayRef;
    let number = |value: fn(&Letter) -> Option<i64>| Arc::new(letters.iter().map(value).collect::<Int64Array>()) as ArrayRef;
    let errors = dead.iter().zip(&letters).map(|(row, letter)| Some(format!("{}{}", row.error, letter.left_out)));
    let errors = Arc::new(errors.collect::<StringArray>()) as ArrayRef;
    let pipeline = plan.definition.name.as_str();
    let columns: Vec<ArrayRef> = schema
        .fields
        .iter()
        .map(|field| match &*field.name {
            "time" => times.clone(),
            "reason" => text(&|row| Some(row.reason.as_str().to_owned())),
            "error" => errors.clone(),
            "stream" => of_letter(|letter| letter.place.as_ref().map(|place| &*place.stream)),
            "partition" => number(|letter| Some(i64::from(letter.partition.0))),
            "offset" => number(|letter| Some(letter.place.as_ref()?.offset.0 as i64)),
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
