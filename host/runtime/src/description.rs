//! What a component says it needs and makes. Frozen at upload: pipelines are planned against it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use tidemill_event::{Field, FieldType};

use crate::first::first_value;
use crate::limits::{DOC_BYTES_MAX, FIELD_NAME_BYTES_MAX, FIELDS_MAX};
use crate::pattern::Matching;
use crate::process::{Memory, lifetime};
use crate::wire::{
    WireAggregate, WireField, WireFunction, WireKind, WirePattern, WireProcess, WireRule, WireStateField, WireTransform,
};

/// A component's answer to `describe`.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// For people: what it does, in a sentence or a page.
    pub doc: String,
    /// Columns it reads, in the order they cross; only these do. Of a function or an aggregate: its arguments.
    pub columns: Vec<Field>,
    /// Columns it makes, in the order they come back. Of a function or an aggregate: the one value it gives.
    pub outputs: Vec<Field>,
    /// State it keeps per key; empty for a component without state.
    pub state: Vec<StateField>,
    /// For a transform: the output field that is the rows' event time. `None`: each row keeps the time of the row it came from.
    pub time: Option<String>,
    /// For an aggregate: whether it can take accumulators away again.
    pub retracts: bool,
    /// For a process: what it keeps beside its state, and its other outputs.
    pub memory: Memory,
    /// For a pattern: what it reads of runs and matches.
    pub matching: Matching,
    first_row: RecordBatch,
    state_schema: Arc<Schema>,
}

/// A field of keyed state.
#[derive(Debug, Clone, PartialEq)]
pub struct StateField {
    /// Its name and type.
    pub field: Field,
    /// The value for a key never seen before, as JSON text; `None` is null.
    pub first: Option<String>,
}

impl Description {
    /// The state row of a key never seen before: one row, one column per state field.
    pub fn first_row(&self) -> &RecordBatch {
        &self.first_row
    }

    /// The Arrow schema of state rows.
    pub fn state_schema(&self) -> &Arc<Schema> {
        &self.state_schema
    }

    /// The fields of state, without their first values.
    pub fn state_fields(&self) -> Vec<Field> {
        self.state.iter().map(|state| state.field.clone()).collect()
    }

    pub(crate) fn rule(rule: WireRule) -> Result<Self, String> {
        Self::new(rule.doc, rule.columns, rule.outputs, rule.state, None)
    }

    pub(crate) fn transform(transform: WireTransform) -> Result<Self, String> {
        Self::new(transform.doc, transform.columns, transform.outputs, transform.state, transform.time)
    }

    pub(crate) fn function(function: WireFunction) -> Result<Self, String> {
        Self::new(function.doc, function.arguments, vec![function.value], Vec::new(), None)
    }

    pub(crate) fn process(process: WireProcess) -> Result<Self, String> {
        let WireProcess { doc, columns, outputs, state, state_ttl_us, state_ttl_clock, tables, timers, sides } = process;
        let state_ttl = lifetime(state_ttl_us, state_ttl_clock, false);
        let memory = Memory::new(state_ttl, tables, timers, sides)?;
        Ok(Self { memory, ..Self::new(doc, columns, outputs, state, None)? })
    }

    pub(crate) fn pattern(pattern: WirePattern) -> Result<Self, String> {
        let WirePattern { doc, columns, so_far, found, outputs, shapes } = pattern;
        let described = Self::new(doc, columns, outputs, Vec::new(), None)?;
        let matching = Matching::new(so_far, found, shapes, &described)?;
        Ok(Self { matching, ..described })
    }

    pub(crate) fn aggregate(aggregate: WireAggregate) -> Result<Self, String> {
        let WireAggregate { doc, arguments, value, state, retracts } = aggregate;
        if state.is_empty() {
            return Err("it remembers nothing of a group: an aggregate's state has at least one field".to_owned());
        }
        Ok(Self { retracts, ..Self::new(doc, arguments, vec![value], state, None)? })
    }

    fn new(
        doc: String,
        columns: Vec<WireField>,
        outputs: Vec<WireField>,
        state: Vec<WireStateField>,
        time: Option<String>,
    ) -> Result<Self, String> {
        if doc.len() > DOC_BYTES_MAX {
            return Err(format!("its doc has {} bytes; at most {DOC_BYTES_MAX} are kept", doc.len()));
        }
        let columns = fields("column", columns)?;
        let outputs = fields("output", outputs)?;
        let (state_fields, firsts): (Vec<WireField>, Vec<Option<String>>) =
            state.into_iter().map(|state| (state.field, state.first)).unzip();
        let state_fields = fields("state field", state_fields)?;
        if let Some(time) = &time {
            let field = outputs.iter().find(|field| *field.name == **time);
            let field = field.ok_or_else(|| format!("its event time is `{time}`, which is no output"))?;
            if !matches!(field.ty, FieldType::Timestamp(_)) || field.nullable {
                return Err(format!("its event time `{time}` must be a timestamp that is never null"));
            }
        }
        let first_values: Result<Vec<_>, String> = state_fields.iter().zip(&firsts).map(first_value).collect();
        let state_schema = Arc::new(Schema::new(state_fields.iter().map(Field::arrow).collect::<Vec<_>>()));
        let one_row = arrow_array::RecordBatchOptions::new().with_row_count(Some(1));
        let first_row = RecordBatch::try_new_with_options(Arc::clone(&state_schema), first_values?, &one_row)
            .map_err(|error| format!("its first state does not fit its fields: {error}"))?;
        let state = state_fields.into_iter().zip(firsts).map(|(field, first)| StateField { field, first }).collect();
        Ok(Self {
            doc,
            columns,
            outputs,
            state,
            time,
            retracts: false,
            memory: Memory::none(),
            matching: Matching::none(),
            first_row,
            state_schema,
        })
    }
}

pub(crate) fn fields(what: &str, fields: Vec<WireField>) -> Result<Vec<Field>, String> {
    if fields.len() > FIELDS_MAX {
        return Err(format!("it has {} {what}s; at most {FIELDS_MAX} are allowed", fields.len()));
    }
    let mut seen = HashSet::new();
    for field in &fields {
        let name = &field.name;
        if name.is_empty() || name.len() > FIELD_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(format!("a {what} has the name {name:?}: 1 to {FIELD_NAME_BYTES_MAX} bytes, no control characters"));
        }
        if matches!(name.as_str(), "_partition" | "_offset" | "_time" | "_unknown") {
            return Err(format!("a {what} has the name `{name}`, which is the host's own"));
        }
        if !seen.insert(name.as_str()) {
            return Err(format!("two {what}s have the name `{name}`"));
        }
    }
    fields.iter().map(|field| parse(what, field)).collect()
}

fn parse(what: &str, field: &WireField) -> Result<Field, String> {
    let ty = match field.kind {
        WireKind::Boolean => FieldType::Bool,
        WireKind::Integer => FieldType::Int64,
        WireKind::Number => FieldType::Float64,
        WireKind::Decimal => {
            let WireField { precision, scale, .. } = *field;
            if !(1..=38).contains(&precision) || scale > precision {
                let name = &field.name;
                return Err(format!(
                    "{what} `{name}` is decimal({precision},{scale}): 1 to 38 digits, at most all of them behind the point"
                ));
            }
            FieldType::Decimal { precision, scale }
        }
        WireKind::Text => FieldType::String,
        WireKind::Binary => FieldType::Bytes,
        WireKind::Timestamp => FieldType::Timestamp(None),
        WireKind::Json => FieldType::Json,
    };
    Ok(Field::new(&field.name, ty, field.nullable))
}
