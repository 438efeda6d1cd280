//! The meaning of a definition: names that can stand in a row, paths that do not cross, a key and a time that exist.

use hashbrown::HashSet;

use super::{DefinitionFaults, Faults};
use crate::batch::{HOST_FIELDS, UNKNOWN_COLUMN};
use crate::{Field, FieldType, StreamDefinition, TimeField};

/// Fields a stream may have.
const FIELDS_MAX: usize = 1_000;
/// The longest field name or path, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The longest path, in names.
const PATH_NAMES_MAX: usize = 16;

/// Checks a definition, wherever it was made. Whoever makes one in code (a pipeline's output) checks it too: what is refused
/// here could not be written as JSON rows and read back.
pub fn check(definition: &StreamDefinition) -> Result<(), DefinitionFaults> {
    let mut faults = Faults::default();
    let fields = &definition.schema.fields;
    if fields.len() > FIELDS_MAX {
        faults.add(
            "fields",
            format!("{} fields are too many: at most {FIELDS_MAX} are allowed, keep others in a json field", fields.len()),
        );
    }
    let mut names: HashSet<&str> = HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        let path = format!("fields[{index}].name");
        if let Some(error) = name_error(&field.name) {
            faults.add(path, error);
        } else if !names.insert(&field.name) {
            faults.add(path, format!("field `{}` is declared twice: keep one of them", field.name));
        }
    }
    for (index, field) in fields.iter().enumerate() {
        let above = field.name.match_indices('.').map(|(at, _)| &field.name[..at]).find(|above| names.contains(above));
        if let Some(above) = above {
            let error = format!(
                "field `{}` lies inside field `{above}`: declare the object as json, or only fields inside it",
                field.name
            );
            faults.add(format!("fields[{index}].name"), error);
        }
    }
    for (index, name) in definition.key.iter().enumerate() {
        let path = format!("key[{index}]");
        if definition.key[..index].contains(name) {
            faults.add(path, format!("field `{name}` stands twice in the key: keep one of them"));
        } else if !definition.schema.infer && definition.schema.field(name).is_none() {
            faults.add(path, format!("field `{name}` is not declared: add it to fields, or take it out of the key"));
        }
    }
    if let Some(time) = &definition.time {
        check_time(time, definition.schema.field(&time.field), &mut faults);
    }
    faults.into_result(())
}

fn name_error(name: &str) -> Option<String> {
    if name == UNKNOWN_COLUMN || HOST_FIELDS.contains(&name) {
        return Some(format!("`{name}` is the host's: choose another name"));
    }
    if HOST_FIELDS.iter().any(|host| name.starts_with(host) && name.as_bytes().get(host.len()) == Some(&b'.')) {
        return Some(format!("`{name}` lies inside a field of the host: choose another name"));
    }
    if name.is_empty() || name.split('.').any(str::is_empty) {
        return Some(format!("`{name}` has an empty part: write names, with a dot between those of nested objects"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Some(format!("a name of {} bytes is too long: at most {NAME_BYTES_MAX} are allowed", name.len()));
    }
    if name.split('.').count() > PATH_NAMES_MAX {
        return Some(format!(
            "`{name}` goes too deep: at most {PATH_NAMES_MAX} names are followed, declare an object above it as json"
        ));
    }
    let control = name.chars().any(char::is_control);
    control.then(|| format!("{name:?} has a control character: choose another name"))
}

fn check_time(time: &TimeField, field: Option<&Field>, faults: &mut Faults) {
    let name = &time.field;
    let Some(field) = field else {
        faults.add("time.field", format!("field `{name}` is not declared: add it to fields"));
        return;
    };
    match (field.ty, time.unit) {
        (FieldType::Int64, Some(_)) | (FieldType::Timestamp(_), None) => {}
        (FieldType::Int64, None) => {
            faults.add(
                "time.unit",
                format!("field `{name}` is int64: say what its numbers count, \"unit\": \"s\", \"ms\" or \"us\""),
            );
        }
        (FieldType::Timestamp(_), Some(unit)) => {
            let error = format!(
                "field `{name}` is a timestamp and has its unit beside its type: write \"unit\": \"{}\" there instead",
                unit.as_str()
            );
            faults.add("time.unit", error);
        }
        (
            FieldType::Bool
            | FieldType::Float64
            | FieldType::Decimal { .. }
            | FieldType::String
            | FieldType::Bytes
            | FieldType::Json,
            _,
        ) => {
            let error = format!(
                "field `{name}` is {}, which is no time: declare it timestamp, or int64 with a unit",
                crate::json::type_name(field.ty)
            );
            faults.add("time.field", error);
        }
    }
}
