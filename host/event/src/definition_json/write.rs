//! A definition as JSON: what [`super::read`] reads, in one form.

use serde_json::{Map, Value, json};

use crate::units::{write_duration, write_size};
use crate::{Field, FieldType, MissingTime, SchemaVersion, StreamDefinition, TimeField, UnknownFields};

/// The definition with its schema's version, as `GET /v1/streams/{stream}` shows it and the log stores it.
pub fn to_json(definition: &StreamDefinition, version: SchemaVersion) -> Value {
    let mut body = Map::new();
    body.insert("version".to_owned(), json!(version.0));
    if definition.schema.infer {
        body.insert("schema".to_owned(), json!("infer"));
    }
    body.insert("fields".to_owned(), definition.schema.fields.iter().map(field).collect());
    if let Some(time) = &definition.time {
        body.insert("time".to_owned(), time_field(time));
    }
    body.insert("key".to_owned(), definition.key.iter().map(|name| Value::from(&**name)).collect());
    body.insert("partitions".to_owned(), json!(definition.partitions));
    let unknown = match definition.schema.unknown {
        UnknownFields::Keep => "keep",
        UnknownFields::Drop => "drop",
        UnknownFields::Reject => "reject",
    };
    body.insert("unknown".to_owned(), json!(unknown));
    let mut retention = Map::new();
    if let Some(age) = definition.retention.age {
        retention.insert("age".to_owned(), json!(write_duration(age)));
    }
    if let Some(bytes) = definition.retention.bytes {
        retention.insert("bytes".to_owned(), json!(write_size(bytes)));
    }
    body.insert("retention".to_owned(), Value::Object(retention));
    body.insert("compatibility".to_owned(), json!(definition.compatibility.as_str()));
    Value::Object(body)
}

fn field(field: &Field) -> Value {
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(&*field.name));
    let (ty, unit) = match field.ty {
        FieldType::Timestamp(unit) => ("timestamp".to_owned(), unit),
        ty => (crate::json::type_name(ty), None),
    };
    body.insert("type".to_owned(), json!(ty));
    if let Some(unit) = unit {
        body.insert("unit".to_owned(), json!(unit.as_str()));
    }
    body.insert("nullable".to_owned(), json!(field.nullable));
    if field.inferred {
        body.insert("inferred".to_owned(), json!(true));
    }
    Value::Object(body)
}

fn time_field(time: &TimeField) -> Value {
    let mut body = Map::new();
    body.insert("field".to_owned(), json!(&*time.field));
    if let Some(unit) = time.unit {
        body.insert("unit".to_owned(), json!(unit.as_str()));
    }
    let missing = match time.missing {
        MissingTime::Reject => "reject",
        MissingTime::Arrival => "arrival",
    };
    body.insert("missing".to_owned(), json!(missing));
    Value::Object(body)
}
