//! Schemas found in data (contract §2): fields come from the first batch, and inferred ones widen by themselves.
//!
//! ```text
//! int64 ─► float64 ─► json ◄─ everything else
//! ```
//! Fields that place rows (key) or time them never widen: rows that are there already would be placed otherwise.

use hashbrown::HashMap;

use super::container::{self, members, plain_name};
use crate::batch::{HOST_FIELDS, UNKNOWN_COLUMN};
use crate::{Field, FieldType, StreamDefinition, StreamSchema};

use super::DecodeLimits;

/// Fields that are found in data at most; others stay unknown fields.
pub const INFERRED_FIELDS_MAX: usize = 1_000;

/// The longest name that becomes a field.
const NAME_BYTES_MAX: usize = 255;

/// The schema that takes these rows, if it differs from the one `definition` has: `None` means that decoding with it is the answer,
/// whatever faults there are. `rows` are JSON texts; what is not an object is passed over.
///
/// Call it with the first batch of a stream declared with `"schema": "infer"`, and with rows that were refused for a field later on.
pub fn infer(definition: &StreamDefinition, rows: &[&[u8]]) -> Option<StreamSchema> {
    let schema = &definition.schema;
    if !schema.infer {
        return None;
    }
    let is_first = !schema.fields.iter().any(|field| field.inferred);
    let mut fields = schema.fields.clone();
    let mut places: HashMap<Vec<u8>, usize> =
        fields.iter().enumerate().map(|(place, field)| (field.name.as_bytes().to_vec(), place)).collect();
    // What a new field's values are so far; null says nothing.
    let mut found: Vec<Option<FieldType>> = fields.iter().map(|field| Some(field.ty)).collect();
    let declared = fields.len();
    for row in rows {
        let Ok(compact) = container::compact(row, DecodeLimits::default().depth_max) else { continue };
        if compact.first() != Some(&b'{') || simdutf8::basic::from_utf8(row).is_err() {
            continue;
        }
        for (raw, value) in members(&compact) {
            let name = plain_name(raw);
            let place = match places.get(&*name) {
                Some(place) => *place,
                None => {
                    let Some(name) = std::str::from_utf8(&name).ok().filter(|name| is_first && may_be_field(name)) else {
                        continue;
                    };
                    // A declared dotted path owns its first name. The bound comes first: it ends what a hostile row may cost.
                    let full = fields.len() >= INFERRED_FIELDS_MAX;
                    if full || schema.fields.iter().any(|field| field.name.split('.').next() == Some(name)) {
                        continue;
                    }
                    fields.push(Field { name: name.into(), ty: FieldType::Json, nullable: true, inferred: true });
                    found.push(None);
                    places.insert(name.as_bytes().to_vec(), fields.len() - 1);
                    fields.len() - 1
                }
            };
            if place >= declared || fields[place].inferred {
                found[place] = widen(found[place], value);
            }
        }
    }
    for (field, found) in fields.iter_mut().zip(found) {
        field.ty = found.unwrap_or(FieldType::Json);
        if definition.key.contains(&field.name) {
            field.inferred = false;
        }
    }
    (fields != schema.fields).then(|| StreamSchema { fields, ..schema.clone() })
}

/// Whether a name that was found in data may be that of a field.
pub(crate) fn may_be_field(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.contains('.')
        && !name.chars().any(char::is_control)
        && name != UNKNOWN_COLUMN
        && !HOST_FIELDS.contains(&name)
}

/// The type that holds what a field held and this compact value too.
fn widen(known: Option<FieldType>, value: &[u8]) -> Option<FieldType> {
    let ty = match value.first() {
        Some(b'n') => return known,
        Some(b't' | b'f') => FieldType::Bool,
        Some(b'"') => FieldType::String,
        Some(b'{' | b'[') | None => FieldType::Json,
        Some(_) => match super::number::int64(value, 0) {
            Ok((Ok(_), _)) => FieldType::Int64,
            Ok((Err(_), _)) if matches!(super::number::float64(value, 0), Ok((Ok(_), _))) => FieldType::Float64,
            // Too large for either: only its text holds it.
            Ok((Err(_), _)) | Err(_) => FieldType::Json,
        },
    };
    Some(match (known, ty) {
        (None, ty) => ty,
        (Some(known), ty) if known == ty => ty,
        (Some(FieldType::Int64), FieldType::Float64) | (Some(FieldType::Float64), FieldType::Int64) => FieldType::Float64,
        (Some(_), _) => FieldType::Json,
    })
}
