//! Fields of a table as stream definitions write them: `[{"name": "iata", "type": "string"}, …]`.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_event::{Field, Retention, SchemaVersion, StreamDefinition, StreamSchema, UnknownFields, definition_json};

/// A definition that has these fields and nothing else to say.
pub(super) fn definition(fields: Vec<Field>, infer: bool) -> Arc<StreamDefinition> {
    Arc::new(StreamDefinition {
        schema: StreamSchema { fields, unknown: UnknownFields::Reject, infer },
        time: None,
        key: Vec::new(),
        partitions: 1,
        retention: Retention::default(),
        compatibility: Default::default(),
    })
}

/// The fields in JSON.
pub fn fields_json(fields: &[Field]) -> Value {
    let definition = definition(fields.to_vec(), false);
    definition_json::to_json(&definition, SchemaVersion(1)).get_mut("fields").map_or(Value::Null, Value::take)
}

/// Fields from JSON. The error says what to change.
pub fn parse_fields(json: &Value) -> Result<Vec<Field>, String> {
    let parsed = definition_json::parse(json!({"fields": json}).to_string().as_bytes()).map_err(|faults| faults.to_string())?;
    Ok(parsed.schema.fields)
}
