//! The shape of a definition: known keys, types, units, enumerations.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{DefinitionFaults, Faults};
use crate::units;
use crate::{
    CompatibilityMode, Field, FieldType, MissingTime, Retention, StreamDefinition, StreamSchema, TimeField, TimeUnit,
    UnknownFields,
};

const KEYS: [&str; 10] =
    ["fields", "schema", "time", "key", "partitions", "unknown", "retention", "compatibility", "name", "version"];

/// Partitions a stream may have.
const PARTITIONS_MAX: u64 = 1_024;

/// The name a body gives itself, if it gives one.
pub(super) fn name(json: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(json).ok()?;
    Some(value.get("name")?.as_str()?.to_owned())
}

/// A definition as it was stored or sent. Its meaning is not checked: see [`super::check`].
pub fn read(json: &[u8]) -> Result<StreamDefinition, DefinitionFaults> {
    let mut faults = Faults::default();
    let value: Value = match serde_json::from_slice(json) {
        Ok(value) => value,
        Err(error) => {
            faults.add("", format!("the definition is not JSON: {error}"));
            return Err(DefinitionFaults(faults.0));
        }
    };
    let Value::Object(body) = value else {
        faults.add("", "a definition is a JSON object: send {\"fields\": […]} or {\"schema\": \"infer\"}");
        return Err(DefinitionFaults(faults.0));
    };
    known_keys("", &body, &KEYS, &mut faults);
    let infer = match body.get("schema") {
        None => false,
        Some(Value::String(text)) if text == "infer" => true,
        Some(other) => {
            faults.add(
                "schema",
                format!("{other} is no way to find a schema: write \"infer\", or leave it out and list \"fields\""),
            );
            false
        }
    };
    let mut fields = match body.get("fields") {
        Some(Value::Array(list)) => read_fields(list, &mut faults),
        Some(_) => {
            faults.add("fields", "fields is a list: write [{\"name\": …, \"type\": …}, …]");
            Vec::new()
        }
        None => {
            if !infer {
                faults.add("fields", "fields are missing: list them, or write \"schema\": \"infer\"");
            }
            Vec::new()
        }
    };
    let mut time = body.get("time").and_then(|time| read_time(time, &mut faults));
    // A timestamp knows its unit; to repeat it is no fault and no news.
    if let Some(time) = &mut time
        && time.unit.is_some()
        && fields.iter().any(|field| field.name == time.field && field.ty == FieldType::Timestamp(time.unit))
    {
        time.unit = None;
    }
    if let (Some(time), true) = (&time, infer)
        && !fields.iter().any(|field| field.name == time.field)
    {
        // The time is declared even where all else is found in data: with a unit it is a number, else RFC 3339 text.
        let ty = if time.unit.is_some() { FieldType::Int64 } else { FieldType::Timestamp(None) };
        fields.push(Field { name: Arc::clone(&time.field), ty, nullable: true, inferred: false });
    }
    let key = read_key(body.get("key"), &mut faults);
    let partitions = match body.get("partitions") {
        None => 1,
        Some(value) => match value.as_u64().filter(|count| (1..=PARTITIONS_MAX).contains(count)) {
            Some(count) => count as u32,
            None => {
                faults.add("partitions", format!("{value} is no number of partitions: write 1 to {PARTITIONS_MAX}"));
                1
            }
        },
    };
    let unknown = match body.get("unknown").map(|value| (value.as_str(), value)) {
        None | Some((Some("keep"), _)) => UnknownFields::Keep,
        Some((Some("drop"), _)) => UnknownFields::Drop,
        Some((Some("reject"), _)) => UnknownFields::Reject,
        Some((_, other)) => {
            faults.add("unknown", format!("{other} is not known: write \"keep\", \"drop\" or \"reject\""));
            UnknownFields::Keep
        }
    };
    let retention = read_retention(body.get("retention"), &mut faults);
    let compatibility = match body.get("compatibility").map(|value| (value.as_str(), value)) {
        None | Some((Some("backward"), _)) => CompatibilityMode::Backward,
        Some((Some("forward"), _)) => CompatibilityMode::Forward,
        Some((Some("full"), _)) => CompatibilityMode::Full,
        Some((Some("none"), _)) => CompatibilityMode::None,
        Some((_, other)) => {
            let error = format!("{other} is not known: write \"backward\", \"forward\", \"full\" or \"none\"");
            faults.add("compatibility", error);
            CompatibilityMode::Backward
        }
    };
    if body.get("version").is_some_and(|version| version.as_u64().is_none()) {
        faults.add("version", "a version is a whole number, and the host's to choose: leave it out");
    }
    if body.get("name").is_some_and(|name| !name.is_string()) {
        faults.add("name", "a name is a text: write it in quotes, or leave it out");
    }
    let schema = StreamSchema { fields, unknown, infer };
    faults.into_result(StreamDefinition { schema, time, key, partitions, retention, compatibility })
}

fn known_keys(path: &str, object: &Map<String, Value>, known: &[&str], faults: &mut Faults) {
    for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        faults.add(path, format!("unknown key: leave it out, or write one of {}", known.join(", ")));
    }
}

fn read_fields(list: &[Value], faults: &mut Faults) -> Vec<Field> {
    list.iter().enumerate().filter_map(|(index, value)| read_field(&format!("fields[{index}]"), value, faults)).collect()
}

fn read_field(path: &str, value: &Value, faults: &mut Faults) -> Option<Field> {
    let Value::Object(body) = value else {
        faults.add(path, format!("{value} is no field: write {{\"name\": …, \"type\": …}}"));
        return None;
    };
    known_keys(path, body, &["name", "type", "unit", "nullable", "inferred"], faults);
    let name = match body.get("name") {
        Some(Value::String(name)) => Some(name.as_str()),
        Some(other) => {
            faults.add(format!("{path}.name"), format!("{other} is no name: write a text"));
            None
        }
        None => {
            faults.add(format!("{path}.name"), "the name is missing");
            None
        }
    };
    let unit = read_unit(&format!("{path}.unit"), body.get("unit"), faults);
    let ty = match body.get("type") {
        Some(Value::String(text)) => read_type(&format!("{path}.type"), text, unit, faults),
        other => {
            let found = other.map_or("the type is missing".to_owned(), |other| format!("{other} is no type"));
            faults.add(format!("{path}.type"), format!("{found}: write one of {TYPES}"));
            None
        }
    };
    if unit.is_some() && ty.is_some_and(|ty| !matches!(ty, FieldType::Timestamp(_))) {
        let error = "only timestamps have a unit: leave it out; an int64 that is the event time has it in \"time\"";
        faults.add(format!("{path}.unit"), error);
    }
    let mut flag = |key: &str, default: bool| match body.get(key) {
        None => default,
        Some(Value::Bool(flag)) => *flag,
        Some(other) => {
            faults.add(format!("{path}.{key}"), format!("{other} is neither true nor false"));
            default
        }
    };
    let (nullable, inferred) = (flag("nullable", true), flag("inferred", false));
    Some(Field { name: name?.into(), ty: ty?, nullable, inferred })
}

const TYPES: &str = "bool, int64, float64, decimal(p,s), string, bytes, timestamp, json";

fn read_type(path: &str, text: &str, unit: Option<TimeUnit>, faults: &mut Faults) -> Option<FieldType> {
    match text {
        "bool" => Some(FieldType::Bool),
        "int64" => Some(FieldType::Int64),
        "float64" => Some(FieldType::Float64),
        "string" => Some(FieldType::String),
        "bytes" => Some(FieldType::Bytes),
        "timestamp" => Some(FieldType::Timestamp(unit)),
        "json" => Some(FieldType::Json),
        text => match text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
            Some(inside) => read_decimal(path, inside, faults),
            None => {
                faults.add(path, format!("`{text}` is no type: write one of {TYPES}"));
                None
            }
        },
    }
}

fn read_decimal(path: &str, inside: &str, faults: &mut Faults) -> Option<FieldType> {
    let parts = inside
        .split_once(',')
        .and_then(|(precision, scale)| Some((precision.trim().parse::<u8>().ok()?, scale.trim().parse::<u8>().ok()?)));
    match parts {
        Some((precision @ 1..=38, scale)) if scale <= precision => Some(FieldType::Decimal { precision, scale }),
        Some(_) | None => {
            let error = format!(
                "`decimal({inside})` is no type: write decimal(p,s) with p from 1 to 38 digits, s from 0 to p of them behind the point"
            );
            faults.add(path, error);
            None
        }
    }
}

fn read_unit(path: &str, value: Option<&Value>, faults: &mut Faults) -> Option<TimeUnit> {
    let value = value?;
    match value.as_str() {
        Some("s") => Some(TimeUnit::Seconds),
        Some("ms") => Some(TimeUnit::Millis),
        Some("us") => Some(TimeUnit::Micros),
        Some(_) | None => {
            faults.add(path, format!("{value} is no unit of time: write \"s\", \"ms\" or \"us\""));
            None
        }
    }
}

fn read_time(value: &Value, faults: &mut Faults) -> Option<TimeField> {
    let Value::Object(body) = value else {
        faults.add("time", format!("{value} is no time field: write {{\"field\": …}}"));
        return None;
    };
    known_keys("time", body, &["field", "unit", "missing"], faults);
    let unit = read_unit("time.unit", body.get("unit"), faults);
    let missing = match body.get("missing").map(|value| (value.as_str(), value)) {
        None | Some((Some("reject"), _)) => MissingTime::Reject,
        Some((Some("arrival"), _)) => MissingTime::Arrival,
        Some((_, other)) => {
            faults.add("time.missing", format!("{other} is not known: write \"reject\" or \"arrival\""));
            MissingTime::Reject
        }
    };
    match body.get("field").and_then(Value::as_str) {
        Some(field) => Some(TimeField { field: field.into(), unit, missing }),
        None => {
            faults.add("time.field", "the name of the time field is missing: write it as a text");
            None
        }
    }
}

fn read_key(value: Option<&Value>, faults: &mut Faults) -> Vec<Arc<str>> {
    match value {
        None => Vec::new(),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            names.iter().filter_map(Value::as_str).map(Arc::from).collect()
        }
        Some(other) => {
            faults.add("key", format!("{other} is no list of field names: write [\"name\"]"));
            Vec::new()
        }
    }
}

/// `10GiB`, or as we write what is no multiple of a larger unit: `123B`.
fn size_or_bytes(text: &str) -> Option<u64> {
    units::size(text).or_else(|| text.strip_suffix('B')?.parse().ok())
}

fn read_retention(value: Option<&Value>, faults: &mut Faults) -> Retention {
    let body = match value {
        None => return Retention::default(),
        Some(Value::Object(body)) => body,
        Some(other) => {
            faults.add("retention", format!("{other} is no retention: write {{\"age\": \"7d\", \"bytes\": \"10GiB\"}}"));
            return Retention::default();
        }
    };
    known_keys("retention", body, &["age", "bytes"], faults);
    let age = body.get("age").and_then(|value| {
        let age = value.as_str().and_then(units::duration).filter(|age| !age.is_zero());
        if age.is_none() {
            faults.add("retention.age", format!("{value} is no duration: write an integer and ms, s, m, h or d, like \"7d\""));
        }
        age
    });
    let bytes = body.get("bytes").and_then(|value| {
        let bytes = value.as_str().and_then(size_or_bytes).filter(|bytes| *bytes > 0);
        if bytes.is_none() {
            faults.add("retention.bytes", format!("{value} is no size: write an integer and KiB, MiB or GiB, like \"10GiB\""));
        }
        bytes
    });
    Retention { age, bytes }
}
