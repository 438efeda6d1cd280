//! A slow, obvious decoder over serde_json: the judge of the fast one. It builds a tree of every row and follows the contract by
//! hand, with digits as text.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use tidemill_event::{EventTime, FieldType, MissingTime, Reason, StreamDefinition, TimeUnit, UnknownFields};

/// A JSON value with numbers as they were written and members in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// What a column holds in one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Logical {
    Null,
    Bool(bool),
    Int64(i64),
    /// Its bits: -0 is not 0.
    Float64(u64),
    Decimal(i128),
    Text(String),
    Bytes(Vec<u8>),
    Micros(i64),
    Json(Tree),
}

/// A row as a batch holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) values: Vec<Logical>,
    pub(crate) unknown: Option<Tree>,
    pub(crate) time: i64,
}

struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The tree of a text; `None` if it is no JSON, or has half a surrogate pair.
pub(crate) fn tree(json: &[u8]) -> Option<Tree> {
    let raw: Box<RawValue> = serde_json::from_slice(json).ok()?;
    let text = raw.get();
    Some(match text.as_bytes()[0] {
        b'n' => Tree::Null,
        b't' | b'f' => Tree::Bool(text == "true"),
        b'"' => Tree::Text(serde_json::from_str(text).ok()?),
        b'[' => {
            let elements: Vec<Box<RawValue>> = serde_json::from_str(text).ok()?;
            Tree::Array(elements.iter().map(|element| tree(element.get().as_bytes())).collect::<Option<_>>()?)
        }
        b'{' => {
            let members: Members = serde_json::from_str(text).ok()?;
            let member = |(name, value): &(String, Box<RawValue>)| Some((name.clone(), tree(value.get().as_bytes())?));
            Tree::Object(members.0.iter().map(member).collect::<Option<_>>()?)
        }
        _ => Tree::Number(text.to_owned()),
    })
}

/// Puts the members of objects in the order of their names.
#[allow(dead_code, reason = "each test file has a model of its own, and not all of them sort")]
pub(crate) fn sort(tree: &mut Tree) {
    match tree {
        Tree::Object(members) => {
            members.sort_by(|one, other| one.0.cmp(&other.0));
            members.iter_mut().for_each(|(_, value)| sort(value));
        }
        Tree::Array(elements) => elements.iter_mut().for_each(sort),
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::Text(_) => {}
    }
}

/// The deepest nesting of a valid text.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// What a row decodes to.
pub(crate) fn row(definition: &StreamDefinition, json: &[u8], arrival: EventTime) -> Result<Row, Reason> {
    if serde_json::from_slice::<&RawValue>(json).is_err() || depth(json) > 64 {
        return Err(Reason::Malformed);
    }
    let Tree::Object(members) = tree(json).ok_or(Reason::Malformed)? else { return Err(Reason::Schema) };
    let mut unknown = last_only(members);
    unknown.retain(|(name, _)| !["_partition", "_offset", "_time"].contains(&name.as_str()));
    let mut values = Vec::new();
    for field in &definition.schema.fields {
        let path: Vec<&str> = field.name.split('.').collect();
        let value = match take(&mut unknown, &path) {
            None | Some(Tree::Null) => Logical::Null,
            Some(value) => logical(field.ty, value).ok_or(Reason::Schema)?,
        };
        if value == Logical::Null && !field.nullable {
            return Err(Reason::Schema);
        }
        values.push(value);
    }
    prune(&mut unknown, &definition.schema.fields.iter().map(|field| field.name.split('.').collect()).collect::<Vec<_>>());
    let left = Some(unknown).filter(|unknown| !unknown.is_empty());
    let unknown = match definition.schema.unknown {
        UnknownFields::Keep => left.map(Tree::Object),
        UnknownFields::Drop => None,
        UnknownFields::Reject => {
            let nested = |name: &str| definition.schema.fields.iter().any(|field| field.name.starts_with(&format!("{name}.")));
            match left {
                Some(left) if left.iter().any(|(name, value)| *value != Tree::Null || !nested(name)) => {
                    return Err(Reason::Schema);
                }
                Some(_) | None => None,
            }
        }
    };
    let time = match &definition.time {
        None => arrival.0,
        Some(time) => {
            let place = definition.schema.fields.iter().position(|field| field.name == time.field).expect("a time field");
            match &values[place] {
                Logical::Micros(micros) => *micros,
                Logical::Int64(value) => value.checked_mul(time.unit.map_or(1, TimeUnit::micros)).ok_or(Reason::Schema)?,
                _ if time.missing == MissingTime::Arrival => arrival.0,
                _ => return Err(Reason::Schema),
            }
        }
    };
    Ok(Row { values, unknown, time })
}

/// Of repeated names the last counts, where the first stood.
fn last_only(members: Vec<(String, Tree)>) -> Vec<(String, Tree)> {
    let mut kept: Vec<(String, Tree)> = Vec::new();
    for (name, value) in members {
        match kept.iter_mut().find(|(known, _)| *known == name) {
            Some(member) => member.1 = value,
            None => kept.push((name, value)),
        }
    }
    kept
}

/// Takes the value at a path out of an object.
fn take(object: &mut Vec<(String, Tree)>, path: &[&str]) -> Option<Tree> {
    let place = object.iter().position(|(name, _)| name == path[0])?;
    if path.len() == 1 {
        return Some(object.remove(place).1);
    }
    let Tree::Object(inner) = &mut object[place].1 else { return None };
    *inner = last_only(std::mem::take(inner));
    take(inner, &path[1..])
}

/// Objects on the paths of fields that hold nothing else say nothing.
fn prune(object: &mut Vec<(String, Tree)>, paths: &[Vec<&str>]) {
    object.retain_mut(|(name, value)| {
        let below: Vec<Vec<&str>> =
            paths.iter().filter(|path| path.len() > 1 && path[0] == name).map(|path| path[1..].to_vec()).collect();
        match value {
            Tree::Object(inner) if !below.is_empty() => {
                prune(inner, &below);
                !inner.is_empty()
            }
            _ => true,
        }
    });
}

fn logical(ty: FieldType, value: Tree) -> Option<Logical> {
    Some(match (ty, value) {
        (FieldType::Json, value) => Logical::Json(value),
        (FieldType::Bool, Tree::Bool(value)) => Logical::Bool(value),
        (FieldType::Int64, Tree::Number(text)) => Logical::Int64(text.parse().ok()?),
        (FieldType::Float64, Tree::Number(text)) => {
            let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
            Logical::Float64(value.to_bits())
        }
        (FieldType::String, Tree::Text(text)) => Logical::Text(text),
        (FieldType::Bytes, Tree::Text(text)) => Logical::Bytes(STANDARD.decode(text).ok()?),
        (FieldType::Decimal { precision, scale }, Tree::Number(text) | Tree::Text(text)) => {
            if !matches!(tree(text.as_bytes()), Some(Tree::Number(number)) if number == text) {
                return None;
            }
            let (negative, whole, fraction) = digits(&text);
            let (kept, cut) = fraction.split_at(usize::from(scale).min(fraction.len()));
            if cut.contains(|digit| digit != '0') {
                return None;
            }
            let all = format!("{whole}{kept:0<width$}", width = usize::from(scale));
            let all = all.trim_start_matches('0');
            if all.len() > usize::from(precision) {
                return None;
            }
            let value: i128 = if all.is_empty() { 0 } else { all.parse().ok()? };
            Logical::Decimal(if negative { -value } else { value })
        }
        (FieldType::Timestamp(_), Tree::Text(text)) => Logical::Micros(EventTime::parse_rfc3339(&text)?.0),
        (FieldType::Timestamp(Some(unit)), Tree::Number(text)) => {
            let (negative, whole, fraction) = digits(&text);
            let places = match unit {
                TimeUnit::Seconds => 6,
                TimeUnit::Millis => 3,
                TimeUnit::Micros => 0,
            };
            let kept = &fraction[..places.min(fraction.len())];
            let all = format!("{whole}{kept:0<places$}");
            let all = all.trim_start_matches('0');
            let sign = if negative { "-" } else { "" };
            Logical::Micros(if all.is_empty() { 0 } else { format!("{sign}{all}").parse().ok()? })
        }
        _ => return None,
    })
}

/// A number written out: its sign, the digits before and behind the point. Exponents beyond ±400 are as good as 400.
fn digits(text: &str) -> (bool, String, String) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 =
        exponent.parse::<i64>().map_or_else(|_| if exponent.starts_with('-') { -400 } else { 400 }, |e| e.clamp(-400, 400));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (mut whole, mut fraction) = (whole.to_owned(), fraction.to_owned());
    for _ in 0..exponent {
        whole.push(if fraction.is_empty() { '0' } else { fraction.remove(0) });
    }
    for _ in exponent..0 {
        fraction.insert(0, whole.pop().unwrap_or('0'));
    }
    (negative, whole, fraction)
}

/// What a batch holds in a row.
pub(crate) fn held(definition: &StreamDefinition, batch: &RecordBatch, row: usize) -> Row {
    let fields = &definition.schema.fields;
    let values = fields.iter().zip(batch.columns()).map(|(field, array)| {
        if array.is_null(row) {
            return Logical::Null;
        }
        match field.ty {
            FieldType::Bool => Logical::Bool(array.as_boolean().value(row)),
            FieldType::Int64 => Logical::Int64(array.as_primitive::<Int64Type>().value(row)),
            FieldType::Float64 => Logical::Float64(array.as_primitive::<Float64Type>().value(row).to_bits()),
            FieldType::Decimal { .. } => Logical::Decimal(array.as_primitive::<Decimal128Type>().value(row)),
            FieldType::String => Logical::Text(text(array, row)),
            FieldType::Bytes => Logical::Bytes(array.as_binary::<i32>().value(row).to_vec()),
            FieldType::Timestamp(_) => Logical::Micros(array.as_primitive::<TimestampMicrosecondType>().value(row)),
            FieldType::Json => {
                Logical::Json(tree(array.as_string::<i32>().value(row).as_bytes()).expect("a json column holds JSON"))
            }
        }
    });
    let unknown = batch.column_by_name("_unknown").filter(|unknown| unknown.is_valid(row));
    let unknown = unknown.map(|unknown| tree(unknown.as_string::<i32>().value(row).as_bytes()).expect("`_unknown` holds JSON"));
    Row { values: values.collect(), unknown, time: tidemill_event::batch::times(batch).value(row) }
}

fn text(array: &Arc<dyn Array>, row: usize) -> String {
    match array.data_type() {
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_dictionary::<UInt32Type>();
            dictionary.values().as_string::<i32>().value(dictionary.keys().value(row) as usize).to_owned()
        }
        _ => array.as_string::<i32>().value(row).to_owned(),
    }
}
