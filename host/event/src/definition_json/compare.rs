//! Whether a stream may go from one definition to another.

use crate::json::type_name;
use crate::{Field, FieldType, StreamDefinition};

/// What a new definition means for a stream that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compatibility {
    /// Nothing is new.
    Same,
    /// Every row and every reader of the old one goes on: fields were added, may be null now, or an inferred one is wider.
    Compatible {
        /// The definition to store: the old fields in their order, then the new ones.
        definition: Box<StreamDefinition>,
        /// Whether rows look different, so that the schema has a new version; else only the retention changed.
        schema_changed: bool,
    },
    /// It cannot; each difference with what to do. Never empty.
    Incompatible(Vec<String>),
}

/// Compares what a stream has with what a client wants. `new` must be checked.
pub fn compare(old: &StreamDefinition, new: &StreamDefinition) -> Compatibility {
    let mut differences = Vec::new();
    if old.partitions != new.partitions {
        differences.push(format!(
            "partitions: the stream has {} and {} are asked for, which would place keys elsewhere: make another stream",
            old.partitions, new.partitions
        ));
    }
    if old.key != new.key {
        let list = |key: &[std::sync::Arc<str>]| format!("[{}]", key.join(", "));
        differences.push(format!(
            "key: the stream is keyed by {} and {} is asked for: make another stream",
            list(&old.key),
            list(&new.key)
        ));
    }
    if old.time != new.time {
        differences.push("time: where rows have their event time cannot change: make another stream".to_owned());
    }
    if new.schema.infer && !old.schema.infer {
        differences.push("schema: the stream's fields are declared: list them instead of \"infer\"".to_owned());
    }
    let mut merged = new.clone();
    merged.schema.fields = Vec::new();
    for field in &old.schema.fields {
        match new.schema.field(&field.name) {
            Some(wanted) => match merge(field, wanted) {
                Ok(field) => merged.schema.fields.push(field),
                Err(difference) => differences.push(difference),
            },
            // Asking to infer again says nothing about what was found.
            None if new.schema.infer => merged.schema.fields.push(field.clone()),
            None => differences.push(format!("field `{}` is missing: fields are never removed, list it again", field.name)),
        }
    }
    for field in new.schema.fields.iter().filter(|field| old.schema.field(&field.name).is_none()) {
        if !field.nullable {
            differences.push(format!(
                "field `{}` is new and may not be null, but older rows do not have it: make it nullable",
                field.name
            ));
        }
        merged.schema.fields.push(field.clone());
    }
    // What was merged may cross where neither side did.
    if differences.is_empty()
        && let Err(faults) = super::check(&merged)
    {
        differences.extend(faults.0.into_iter().map(|fault| format!("{}: {}", fault.path, fault.error)));
    }
    if !differences.is_empty() {
        return Compatibility::Incompatible(differences);
    }
    if merged == *old {
        return Compatibility::Same;
    }
    let schema_changed = merged.schema != old.schema;
    Compatibility::Compatible { definition: Box::new(merged), schema_changed }
}

/// The field that takes rows of both, or why there is none.
fn merge(old: &Field, new: &Field) -> Result<Field, String> {
    let widens = old.inferred && matches!((old.ty, new.ty), (FieldType::Int64, FieldType::Float64) | (_, FieldType::Json));
    if old.ty != new.ty && !widens {
        return Err(format!(
            "field `{}` is {} and {} is asked for: declared types never change, add a field of another name",
            old.name,
            type_name(old.ty),
            type_name(new.ty)
        ));
    }
    if old.nullable && !new.nullable {
        return Err(format!("field `{}` may be null in older rows: leave it nullable", old.name));
    }
    Ok(new.clone())
}
