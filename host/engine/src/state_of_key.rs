//! What a step holds of one key, read from outside: the tasks of its stage are asked between two of their batches.
//!
//! ```text
//! key as text ─► one row of the key's columns ─► every task of the stage ─► the one that holds something answers
//!                                                                            └─► sent on when all that it had committed is on disk
//! ```
//! All tasks are asked, since only one can hold the key: where it lies is theirs to say, however often a step before renamed the columns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use crossbeam_channel::bounded;
use serde::Serialize;
use serde_json::{Map, Value};
use tidemill_event::batch::time_field;
use tidemill_event::json::{DecodeLimits, RowDecoder};
use tidemill_event::{
    EventTime, Field, FieldType, PipelineName, Retention, StreamDefinition, StreamSchema, TenantName, UnknownFields,
};
use tidemill_flow::StepId;

use crate::ControlError;
use crate::deployments::Deployments;
use crate::plan::{Plan, PlannedKind};
use crate::status::PipelineState;

/// How long somebody waits for the tasks.
const ASK_WAIT: Duration = Duration::from_secs(30);
/// A key's text is no longer.
const KEY_BYTES_MAX: usize = 64 << 10;

/// What a step holds of a key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateOfKey {
    /// The pipeline.
    pub pipeline: String,
    /// `steps[0].machine`.
    pub step: String,
    /// The key's columns.
    pub key: Value,
    /// The partition of what the step's stage reads that the key lies in.
    pub partition: u32,
    /// How far time was there; `None`: it has not begun.
    pub watermark: Option<String>,
    /// What is held, as the step says it; never empty.
    pub state: Vec<Value>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StateOfKeyError {
    /// No such pipeline, or none that can be asked now.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No such step (404).
    #[error("the pipeline has no step `{step}`; it has {}", steps.join(", "))]
    UnknownStep {
        /// What was asked for.
        step: String,
        /// Those there are.
        steps: Vec<String>,
    },
    /// A step without state that can be read (422).
    #[error("`{step}` {why}")]
    CannotBeAsked {
        /// The step.
        step: String,
        /// Why not.
        why: String,
    },
    /// A text that is no key of the step (400).
    #[error("`{text}` is no key of `{step}`: {why}")]
    BadKey {
        /// What was asked for.
        text: String,
        /// The step.
        step: String,
        /// What is wrong, with the columns there are.
        why: String,
    },
    /// The step holds nothing of the key (404).
    #[error("`{step}` holds nothing of {key}")]
    Nothing {
        /// The step.
        step: String,
        /// The key as it was understood.
        key: Value,
    },
}

impl Deployments {
    /// What a step holds of a key. Blocking, until what it says is on disk.
    pub(crate) fn state_of_key(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        step: &str,
        key: Option<&str>,
    ) -> Result<StateOfKey, StateOfKeyError> {
        let deployed = self.find(tenant, name)?;
        let conflict = || ControlError::Conflict(format!("`{name}` is not running: resume it, then ask"));
        let plan = deployed.plan.as_ref().map_err(|_| conflict())?;
        let at = step_at(plan, step)?;
        let step = plan.step_name(at);
        let by = key_fields(plan, at)?;
        let key = Key::read(&by, key.unwrap_or_default()).map_err(|why| StateOfKeyError::BadKey {
            text: key.unwrap_or_default().to_owned(),
            step: step.clone(),
            why,
        })?;
        // A `once` that is through has no tasks, and what is paused has none that would answer.
        if !matches!(deployed.state(), PipelineState::Running) {
            return Err(conflict().into());
        }
        let stage = plan.stages.iter().position(|stage| stage.steps.contains(&at)).expect("every step is in a stage");
        let waits_until = Instant::now() + ASK_WAIT;
        let asked: Vec<_> = deployed
            .tasks
            .iter()
            .filter(|shared| shared.stage == stage)
            .map(|shared| {
                let (asker, told) = bounded(1);
                self.threads.workers.ask(&shared.id, StepId(at), key.row.clone(), asker);
                told
            })
            .collect();
        let gone = |_| ControlError::Unavailable("its task did not answer: ask for its status, then try again".to_owned());
        let mut found = None;
        for told in asked {
            let answered = told.recv_deadline(waits_until).map_err(gone)?.map_err(ControlError::Unavailable)?;
            found = found.or(Some(answered).filter(|answered| !answered.state.is_empty()));
        }
        // Nobody shall hear of what a crash takes back. An entry behind everything that was committed says that it is on disk.
        self.threads.log.put_documents(Vec::new()).map_err(|error| ControlError::Unavailable(error.to_string()))?;
        let Some(found) = found else { return Err(StateOfKeyError::Nothing { step, key: key.shown }) };
        Ok(StateOfKey {
            pipeline: name.to_string(),
            step,
            key: key.shown,
            partition: found.partition.0,
            watermark: found.watermark,
            state: found.state,
        })
    }
}

/// A step by its number, its name, or its word if there is one of it.
fn step_at(plan: &Plan, wanted: &str) -> Result<u32, StateOfKeyError> {
    let names: Vec<String> = (0..plan.steps.len() as u32).map(|at| plan.step_name(at)).collect();
    let of_word: Vec<usize> = (0..plan.steps.len()).filter(|at| plan.definition.steps[*at].kind.word() == wanted).collect();
    let by_name = || names.iter().position(|name| name == wanted);
    let at = match (wanted.parse::<usize>(), &of_word[..]) {
        (Ok(number), _) => Some(number).filter(|number| *number < names.len()),
        (Err(_), [only]) => Some(*only),
        (Err(_), _) => by_name(),
    };
    at.map(|at| at as u32).ok_or_else(|| StateOfKeyError::UnknownStep { step: wanted.to_owned(), steps: names.clone() })
}

/// The columns of a step's key.
fn key_fields(plan: &Plan, at: u32) -> Result<Vec<Field>, StateOfKeyError> {
    let refused = |why: &str| StateOfKeyError::CannotBeAsked { step: plan.step_name(at), why: why.to_owned() };
    if plan.state_of(at).is_none() {
        return Err(refused("keeps no state"));
    }
    let kind = &plan.steps[at as usize].kind;
    if !kind.says_what_it_holds() {
        return Err(refused("does not say what it holds of a key"));
    }
    // Its key has two names for each column: that of the left side is asked for.
    if let PlannedKind::Join(join) = kind {
        return Ok(join.left.key.clone());
    }
    let by = plan.key_of(at).unwrap_or_default();
    let columns = plan.step_input(at).fields;
    Ok(by.iter().filter_map(|name| columns.iter().find(|field| *field.name == **name)).cloned().collect())
}

/// A key, read.
struct Key {
    /// One row of its columns.
    row: RecordBatch,
    shown: Value,
}

impl Key {
    /// `text`: a JSON object of the columns; or of one column the value as it is.
    fn read(by: &[Field], text: &str) -> Result<Self, String> {
        let names: Vec<&str> = by.iter().map(|field| &*field.name).collect();
        let columns = || match names[..] {
            [] => "it has one key for all rows, so give none".to_owned(),
            [one] => format!("give the value of `{one}`, or `{{\"{one}\": …}}`"),
            _ => format!("give an object of {}", names.join(", ")),
        };
        if text.len() > KEY_BYTES_MAX {
            return Err(format!("it has {} bytes", text.len()));
        }
        let object = match (serde_json::from_str::<Map<String, Value>>(text), by) {
            (Ok(object), _) if object.len() == names.len() && names.iter().all(|name| object.contains_key(*name)) => object,
            (_, []) if text.is_empty() => Map::new(),
            (_, [one]) => Map::from_iter([(one.name.to_string(), value_of(one.ty, text))]),
            (_, _) => return Err(columns()),
        };
        // Read under numbers: a column `a.b` would be looked for inside of an `a`.
        let numbered = Map::from_iter(names.iter().enumerate().map(|(at, name)| (at.to_string(), object[*name].clone())));
        let fields = by.iter().enumerate().map(|(at, field)| Field::new(&at.to_string(), field.ty, true)).collect();
        let definition = StreamDefinition {
            schema: StreamSchema { fields, unknown: UnknownFields::Drop, infer: false },
            time: None,
            key: Vec::new(),
            partitions: 1,
            retention: Retention::default(),
            compatibility: Default::default(),
        };
        let mut decoder = RowDecoder::new(Arc::new(definition), DecodeLimits::default());
        let numbered = Value::Object(numbered).to_string();
        decoder.row(numbered.as_bytes(), EventTime(0)).map_err(|fault| format!("{}; {}", fault.error, columns()))?;
        let read = decoder.finish();
        let fields: Vec<_> = by.iter().map(|field| field.arrow().with_nullable(true)).chain([time_field()]).collect();
        let row = RecordBatch::try_new(Arc::new(Schema::new(fields)), read.columns().to_vec()).expect("the same columns");
        Ok(Self { row, shown: Value::Object(object) })
    }
}

/// What was written without quotes, as JSON.
fn value_of(ty: FieldType, text: &str) -> Value {
    match ty {
        FieldType::String | FieldType::Bytes => Value::String(text.to_owned()),
        FieldType::Bool
        | FieldType::Int64
        | FieldType::Float64
        | FieldType::Decimal { .. }
        | FieldType::Timestamp(_)
        | FieldType::Json => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
    fn check(by: &[(&str, FieldType)], text: &str, expected: Expect) {
        let by: Vec<Field> = by.iter().map(|(name, ty)| Field::new(name, *ty, true)).collect();
        expected.assert_eq(&Key::read(&by, text).map_or_else(|why| why, |key| key.shown.to_string()));
    }

    #[test]
    fn a_key_is_read_as_its_columns_are() {
        let user = [("user", FieldType::String)];
        check(&user, "ann", expect![[r#"{"user":"ann"}"#]]);
        check(&user, "17", expect![[r#"{"user":"17"}"#]]);
        check(&user, "{\"user\": null}", expect![[r#"{"user":null}"#]]);
        check(&user, "{\"usr\": 1}", expect![[r#"{"user":"{\"usr\": 1}"}"#]]);
        check(&[("id", FieldType::Int64)], "17", expect![[r#"{"id":17}"#]]);
        check(
            &[("id", FieldType::Int64)],
            "x",
            expect![[
                r#"field `0` is int64 and got the text "x": send a number from -9223372036854775808 to 9223372036854775807; give the value of `id`, or `{"id": …}`"#
            ]],
        );
        check(&[("at", FieldType::Timestamp(None))], "2026-11-22T10:00:00Z", expect![[r#"{"at":"2026-11-22T10:00:00Z"}"#]]);
        let two = [("shop", FieldType::Int64), ("user", FieldType::String)];
        check(&two, "{\"user\": \"ann\", \"shop\": 3}", expect![[r#"{"shop":3,"user":"ann"}"#]]);
        check(&two, "ann", expect!["give an object of shop, user"]);
        check(&[], "", expect!["{}"]);
        check(&[], "ann", expect!["it has one key for all rows, so give none"]);
    }
}
