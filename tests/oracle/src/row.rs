//! A result row as a set of named cells that can be compared, whichever program wrote it.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::instant::micros;

/// The fields a host adds to what it is asked for.
const OF_THE_HOST: [&str; 3] = ["_partition", "_offset", "_time"];

/// What a column of results holds, as the stream they are in says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// An instant: RFC 3339, or a number of units of so many microseconds.
    Time {
        /// How long a unit is.
        unit_micros: i64,
    },
    /// A number that need not be met exactly, or stands as text.
    Number,
    /// Anything else, as it stands.
    Plain,
}

/// Columns by name; what they have no entry for is [`Column::Plain`].
pub(crate) type Columns = BTreeMap<String, Column>;

/// A value that is compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    /// An integer, a text, a truth, an array, in one spelling each.
    Exact(String),
    /// A number with a fraction.
    Number(f64),
}

/// Columns without null: one that is not there is null.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) cells: BTreeMap<String, Cell>,
}

impl Row {
    /// A row the host gave.
    pub(crate) fn found(row: &Value, columns: &Columns) -> Self {
        Self::of(row, columns, |value, unit_micros| match value {
            Value::String(text) => micros(text),
            other => other.as_i64().map(|number| i128::from(number) * i128::from(unit_micros)),
        })
    }

    /// A row another program computed: its times are milliseconds, or texts.
    pub(crate) fn expected(row: &Value, columns: &Columns) -> Self {
        Self::of(row, columns, |value, _| match value {
            Value::String(text) => micros(text),
            Value::Number(number) if number.is_f64() => number.as_f64().map(|ms| (ms * 1e3).round() as i128),
            other => other.as_i64().map(|ms| i128::from(ms) * 1_000),
        })
    }

    fn of(row: &Value, columns: &Columns, instant: impl Fn(&Value, i64) -> Option<i128>) -> Self {
        let mut flat = BTreeMap::new();
        flatten("", row, &mut flat);
        flat.retain(|name, _| !OF_THE_HOST.contains(&name.as_str()));
        let cell = |name: &str, value: &Value| match columns.get(name) {
            Some(Column::Time { unit_micros }) => match instant(value, *unit_micros) {
                Some(micros) => Cell::Exact(format!("at {micros} µs")),
                None => Cell::Exact(value.to_string()),
            },
            Some(Column::Number) => {
                let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
                number.map_or_else(|| Cell::Exact(value.to_string()), Cell::Number)
            }
            Some(Column::Plain) | None => plain(value),
        };
        Self { cells: flat.iter().map(|(name, value)| (name.clone(), cell(name, value))).collect() }
    }
}

/// Names of members become paths: a field called `a.b` comes back as the member `b` of an object `a`.
fn flatten(prefix: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if prefix.is_empty() || !members.is_empty() => {
            for (name, value) in members {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&path, value, flat);
            }
        }
        Value::Null => {}
        other => {
            flat.insert(prefix.to_owned(), other.clone());
        }
    }
}

fn plain(value: &Value) -> Cell {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Cell::Exact(whole.to_string()),
            // The same integer, written as a float by one program and not by the other.
            (None, Some(float)) if float.fract() == 0.0 && float.abs() < 9e15 => Cell::Exact((float as i64).to_string()),
            (None, Some(float)) => Cell::Number(float),
            (None, None) => Cell::Exact(number.to_string()),
        },
        other => Cell::Exact(other.to_string()),
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, cell)) in self.cells.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            match cell {
                Cell::Exact(text) => write!(f, "{comma}{name}: {text}")?,
                Cell::Number(number) => write!(f, "{comma}{name}: {number}")?,
            }
        }
        f.write_str("}")
    }
}
