//! Schemas found in tables (contract §2): a column of an Arrow stream has a type already, which JSON could only guess at.

use arrow_schema::{DataType, Field as ArrowField};

use super::Table;
use crate::batch::{HOST_FIELDS, UNKNOWN_COLUMN};
use crate::json::{INFERRED_FIELDS_MAX, may_be_field};
use crate::schema::{TYPE_METADATA, holds_json};
use crate::{Field, FieldType, StreamDefinition, StreamSchema, TimeUnit};

/// The schema that takes such tables, if the stream is to find its fields and has found none yet. `None`: it stays as it is.
///
/// Types that JSON has widen later on, as if they had been found there; decimals, timestamps and bytes never do.
pub fn infer(definition: &StreamDefinition, table: &Table) -> Option<StreamSchema> {
    let schema = &definition.schema;
    if !schema.infer || schema.fields.iter().any(|field| field.inferred) {
        return None;
    }
    let columns = table.schema();
    let names: Vec<&str> = columns.fields().iter().map(|column| column.name().as_str()).collect();
    let mut fields = schema.fields.clone();
    for column in columns.fields() {
        let name = column.name().as_str();
        let is_own = HOST_FIELDS.contains(&name) || name == UNKNOWN_COLUMN || !name.split('.').all(may_be_field);
        let collides = |other: &str| other == name || is_inside(other, name) || is_inside(name, other);
        let declared = schema.fields.iter().any(|field| collides(&field.name));
        let beside = names.iter().any(|other| *other != name && collides(other));
        if is_own || declared || beside || fields.len() >= INFERRED_FIELDS_MAX {
            continue;
        }
        let ty = field_type(column);
        let widens = match ty {
            FieldType::Bool | FieldType::Int64 | FieldType::Float64 | FieldType::String | FieldType::Json => true,
            FieldType::Decimal { .. } | FieldType::Bytes | FieldType::Timestamp(_) => false,
        };
        let inferred = widens && !definition.key.iter().any(|key| **key == *name);
        fields.push(Field { name: name.into(), ty, nullable: true, inferred });
    }
    (fields != schema.fields).then(|| StreamSchema { fields, ..schema.clone() })
}

/// Whether the path `inner` goes through `outer`.
fn is_inside(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
}

/// The type of what a column holds; what no type of ours holds is json.
fn field_type(column: &ArrowField) -> FieldType {
    let ty = match column.data_type() {
        DataType::Dictionary(_, values) => values,
        ty => ty,
    };
    match FieldType::holding(ty) {
        Some(FieldType::String) if holds_json(column) => FieldType::Json,
        // The unit in which it is kept says nothing about how it should read, unless it was read from us.
        Some(FieldType::Timestamp(_)) if matches!(ty, DataType::Timestamp(..)) => {
            FieldType::Timestamp(match column.metadata().get(TYPE_METADATA).map(String::as_str) {
                Some("s") => Some(TimeUnit::Seconds),
                Some("ms") => Some(TimeUnit::Millis),
                Some("us") => Some(TimeUnit::Micros),
                Some(_) | None => None,
            })
        }
        Some(ty) => ty,
        None => FieldType::Json,
    }
}
