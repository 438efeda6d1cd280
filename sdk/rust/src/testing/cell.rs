//! One value of a column in a native test, between JSON and the host's layout. Clarity before speed: this is the slow, plain
//! twin of the typed views.

use super::base64;
use crate::Timestamp;
use crate::abi::bindings::Column as Place;
use crate::call::Call;
use crate::column::{Bits, Bytes, Column, ENCODING_DICTIONARY, Nullable, Texts, Word, Words};
use crate::field::{Field, Kind, StateField};
use crate::json::{self, Value};
use crate::output::{Buffer, ColumnBuilder, OutputValue};

/// How text crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextForm {
    Offsets,
    Dictionary,
}

/// A value, or `None` for null.
pub(super) type Cell = Option<Filled>;

/// A value that is not null.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filled {
    Bit(bool),
    Word(u64),
    Wide(i128),
    Bytes(Vec<u8>),
}

/// The member of a dotted name: a member called so, or the path.
pub(super) fn member<'v, 'a>(row: &'v Value<'a>, name: &str) -> &'v Value<'a> {
    let path = || name.split('.').try_fold(row, |value, step| value.get(step));
    row.get(name).or_else(path).unwrap_or(&Value::Null)
}

/// A field's value in a row.
pub(super) fn of_row(field: &Field, row: &Value<'_>) -> Result<Cell, String> {
    let value = member(row, field.name);
    if *value == Value::Null && field.kind != Kind::Json {
        return if field.nullable { Ok(None) } else { Err(format!("`{}` is missing and may not be null", field.name)) };
    }
    of_json(field, value).map(Some).ok_or_else(|| format!("`{}` is not {:?}: {}", field.name, field.kind, text(value)))
}

/// The first value of a state field.
pub(super) fn first(declared: &StateField) -> Cell {
    let first = declared.first?;
    let value = json::parse(first).unwrap_or_else(|error| panic!("first value of `{}`: {error}", declared.field.name));
    let cell = of_json(&declared.field, &value);
    Some(cell.unwrap_or_else(|| panic!("first value of `{}` is not {:?}: {first}", declared.field.name, declared.field.kind)))
}

pub(super) fn of_json(field: &Field, value: &Value<'_>) -> Option<Filled> {
    Some(match (field.kind, value) {
        (Kind::Boolean, Value::Bool(yes)) => Filled::Bit(*yes),
        (Kind::Integer, Value::Number(number)) => Filled::Word(number.parse::<i64>().ok()?.to_word()),
        (Kind::Number, Value::Number(number)) => Filled::Word(number.parse::<f64>().ok()?.to_word()),
        (Kind::Timestamp, Value::Text(text)) => Filled::Word(Timestamp::parse(text)?.to_word()),
        (Kind::Decimal, Value::Number(text)) => Filled::Wide(units(field, text)?),
        (Kind::Decimal, Value::Text(text)) => Filled::Wide(units(field, text)?),
        (Kind::Text, Value::Text(text)) => Filled::Bytes(text.as_bytes().to_vec()),
        (Kind::Binary, Value::Text(text)) => Filled::Bytes(base64::decode(text)?),
        (Kind::Json, value) => Filled::Bytes(text(value).into_bytes()),
        _ => return None,
    })
}

/// A decimal's units; its precision is checked where its type is known.
fn units(field: &Field, text: &str) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let padded = format!("{whole}{part:0<width$}", width = usize::from(field.scale));
    (part.len() <= usize::from(field.scale)).then(|| padded.parse().ok())?
}

/// Puts a column into the buffer.
pub(super) fn encode(field: &Field, cells: &[Cell], form: TextForm, buffer: &mut Buffer) -> Place {
    fn build<T: OutputValue>(cells: &[Cell], value: impl Fn(&Filled) -> T, buffer: &mut Buffer) -> Place {
        let mut column = ColumnBuilder::<T::Values>::default();
        for cell in cells {
            cell.as_ref().map(&value).append(&mut column);
        }
        column.finish(buffer)
    }
    let word = |cell: &Filled| if let Filled::Word(word) = cell { *word as i64 } else { 0 };
    let bytes = |cell: &Filled| if let Filled::Bytes(bytes) = cell { bytes.clone() } else { Vec::new() };
    match field.kind {
        Kind::Boolean => build(cells, |cell| *cell == Filled::Bit(true), buffer),
        Kind::Integer | Kind::Number | Kind::Timestamp => build(cells, word, buffer),
        Kind::Decimal => build(cells, |cell| crate::Decimal::<38, 0>::from_units(wide(cell)), buffer),
        Kind::Text if form == TextForm::Dictionary => dictionary(cells, buffer),
        Kind::Text | Kind::Binary | Kind::Json => build(cells, bytes, buffer),
    }
}

fn wide(cell: &Filled) -> i128 {
    if let Filled::Wide(wide) = cell { *wide } else { 0 }
}

/// A dictionary whose entries are in no order, with one that is unused and null rows that name no entry: all are allowed.
fn dictionary(cells: &[Cell], buffer: &mut Buffer) -> Place {
    let mut entries: Vec<&[u8]> = vec![b"unused"];
    let mut validity = ColumnBuilder::<crate::output::BitValues>::default();
    let mut keys = Vec::new();
    for cell in cells {
        cell.is_some().append(&mut validity);
        keys.push(match cell {
            Some(Filled::Bytes(bytes)) => entries.iter().position(|entry| entry == bytes).unwrap_or_else(|| {
                entries.push(bytes);
                entries.len() - 1
            }) as u32,
            Some(Filled::Bit(_) | Filled::Word(_) | Filled::Wide(_)) | None => u32::MAX,
        });
    }
    let mut values = ColumnBuilder::<<Vec<u8> as OutputValue>::Values>::default();
    entries.iter().for_each(|entry| entry.append(&mut values));
    let count = entries.len() as u32;
    let place = values.finish(buffer);
    Place {
        encoding: ENCODING_DICTIONARY,
        validity: if cells.iter().all(Option::is_some) { place.validity } else { validity.finish(buffer).values },
        values: buffer.put_words(keys.into_iter().map(u32::to_le_bytes)),
        entry_offsets: place.values,
        entries: count,
        ..place
    }
}

/// Reads a column of an answer.
pub(super) fn decode(field: &Field, place: &Place, rows: usize, data: &[u8]) -> Vec<Cell> {
    fn read<'a, C: Column>(call: &Call<'a>, place: &Place, values: C, fill: impl Fn(C::Value) -> Filled) -> Vec<Cell> {
        let column = Nullable::bind(call, place, call.rows, values);
        (0..call.rows).map(|row| column.get(row).map(&fill)).collect()
    }
    let call = Call { rows, columns: &[], keys: 0, row_keys: 0, state: &[], data };
    match field.kind {
        Kind::Boolean => read(&call, place, Bits::bind(&call, place, rows), Filled::Bit),
        Kind::Integer | Kind::Number | Kind::Timestamp => {
            read(&call, place, Words::<i64>::bind(&call, place, rows), |word| Filled::Word(word.to_word()))
        }
        Kind::Decimal => {
            read(&call, place, crate::column::Wide::<38, 0>::bind(&call, place, rows), |value| Filled::Wide(value.units()))
        }
        Kind::Text => read(&call, place, Texts::bind(&call, place, rows), |text| Filled::Bytes(text.as_bytes().to_vec())),
        Kind::Binary | Kind::Json => read(&call, place, Bytes::bind(&call, place, rows), |bytes| Filled::Bytes(bytes.to_vec())),
    }
}

/// One value as JSON text.
pub(super) fn value(field: &Field, cell: &Cell) -> String {
    cell.as_ref().map_or_else(|| "null".to_owned(), |cell| to_json(field, cell))
}

/// Cells as a JSON object.
pub(super) fn object(fields: &[Field], cells: &[Cell]) -> String {
    let member = |(field, cell): (&Field, &Cell)| format!("{}:{}", json::quote(field.name), value(field, cell));
    let members: Vec<String> = fields.iter().zip(cells).map(member).collect();
    format!("{{{}}}", members.join(","))
}

fn to_json(field: &Field, cell: &Filled) -> String {
    match cell {
        Filled::Bit(yes) => yes.to_string(),
        Filled::Word(word) => match field.kind {
            Kind::Number => f64::from_word(*word).to_string(),
            Kind::Timestamp => json::quote(&Timestamp(*word as i64).to_string()),
            _ => (*word as i64).to_string(),
        },
        Filled::Wide(units) => {
            let unit = 10u128.pow(u32::from(field.scale));
            let sign = if *units < 0 { "-" } else { "" };
            let (whole, part) = (units.unsigned_abs() / unit, units.unsigned_abs() % unit);
            let part = if field.scale > 0 { format!(".{part:0width$}", width = usize::from(field.scale)) } else { String::new() };
            format!("\"{sign}{whole}{part}\"")
        }
        Filled::Bytes(bytes) => match field.kind {
            Kind::Json => String::from_utf8_lossy(bytes).into_owned(),
            Kind::Text => json::quote(&String::from_utf8_lossy(bytes)),
            _ => json::quote(&base64::encode(bytes)),
        },
    }
}

/// A JSON value as compact text.
pub(super) fn text(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => (*number).to_owned(),
        Value::Text(text) => json::quote(text),
        Value::List(values) => format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let member =
                |(name, value): &(std::borrow::Cow<'_, str>, Value<'_>)| format!("{}:{}", json::quote(name), text(value));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
    }
}

/// A boolean.
pub(super) fn bit(yes: bool) -> Filled {
    Filled::Bit(yes)
}

/// A timestamp in µs.
pub(super) fn micros(cell: &Filled) -> i64 {
    if let Filled::Word(word) = cell { *word as i64 } else { 0 }
}

/// A text.
pub(super) fn words(cell: &Filled) -> String {
    if let Filled::Bytes(bytes) = cell { String::from_utf8_lossy(bytes).into_owned() } else { String::new() }
}
