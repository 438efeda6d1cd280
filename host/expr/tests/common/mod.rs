//! Rows as short text, and results as short text.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Schema};
use tidemill_event::batch::time_field;
use tidemill_event::{EventTime, Field, FieldType, TimeUnit};
use tidemill_expr::{Evaluated, Expression, Scope, ScopeColumn};

pub(crate) fn fields() -> Vec<Field> {
    vec![
        Field::new("amount", FieldType::Int64, true),
        Field::new("b", FieldType::Int64, true),
        Field::new("price", FieldType::Float64, true),
        Field::new("total", FieldType::Decimal { precision: 12, scale: 2 }, true),
        Field::new("country", FieldType::String, true),
        Field::new("user.country", FieldType::String, true),
        Field::new("user", FieldType::String, false),
        Field::new("ok", FieldType::Bool, true),
        Field::new("at", FieldType::Timestamp(Some(TimeUnit::Millis)), true),
        Field::new("raw", FieldType::Bytes, true),
        Field::new("payload", FieldType::Json, true),
        Field::new("user-agent", FieldType::String, true),
    ]
}

pub(crate) fn scope() -> Scope {
    Scope::new(fields().into_iter().map(|field| ScopeColumn { qualifier: Some("a".to_owned()), field }).collect())
}

/// Rows as lines of `name=value` pairs; what is not named is null (a `user` is "u").
pub(crate) fn rows(text: &str) -> RecordBatch {
    let lines: Vec<Vec<(&str, &str)>> = text
        .lines()
        .map(|line| line.split_whitespace().map(|pair| pair.split_once('=').expect("name=value")).collect())
        .collect();
    let get = |row: &Vec<(&str, &str)>, name: &str| {
        row.iter().find(|(other, _)| *other == name).map(|(_, value)| value.replace('~', " "))
    };
    let mut columns: Vec<ArrayRef> = Vec::new();
    let mut arrow = Vec::new();
    for field in fields() {
        let texts: Vec<Option<String>> = lines.iter().map(|row| get(row, &field.name)).collect();
        let texts = if field.nullable { texts } else { texts.into_iter().map(|text| text.or(Some("u".to_owned()))).collect() };
        columns.push(column(field.ty, &texts));
        arrow.push(field.arrow());
    }
    arrow.push(time_field());
    let times = lines.iter().map(|row| get(row, "_time").map_or(0, |text| time(&text)));
    columns.push(Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")));
    RecordBatch::try_new(Arc::new(Schema::new(arrow)), columns).expect("an event batch")
}

fn time(text: &str) -> i64 {
    EventTime::parse_rfc3339(text).expect("RFC 3339").0
}

fn column(ty: FieldType, texts: &[Option<String>]) -> ArrayRef {
    fn parsed<T: std::str::FromStr>(texts: &[Option<String>]) -> impl Iterator<Item = Option<T>> {
        texts.iter().map(|text| text.as_ref().map(|text| text.parse().unwrap_or_else(|_| panic!("`{text}`"))))
    }
    match ty {
        FieldType::Bool => Arc::new(parsed::<bool>(texts).collect::<BooleanArray>()),
        FieldType::Int64 => Arc::new(parsed::<i64>(texts).collect::<Int64Array>()),
        FieldType::Float64 => Arc::new(parsed::<f64>(texts).collect::<Float64Array>()),
        FieldType::Decimal { precision, scale } => {
            let cents: Decimal128Array =
                parsed::<f64>(texts).map(|value| value.map(|value| (value * 100.0).round() as i128)).collect();
            Arc::new(cents.with_data_type(DataType::Decimal128(precision, scale as i8)))
        }
        FieldType::String | FieldType::Json => Arc::new(StringArray::from(texts.to_vec())),
        FieldType::Bytes => Arc::new(texts.iter().map(|text| text.as_ref().map(|text| text.as_bytes())).collect::<BinaryArray>()),
        FieldType::Timestamp(_) => {
            let times = texts.iter().map(|text| text.as_deref().map(time));
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
    }
}

/// The batch with every plain string column as a dictionary that has repeated, unused and null entries, and null keys.
pub(crate) fn with_dictionaries(rows: &RecordBatch) -> RecordBatch {
    let (mut arrow, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let is_text = column.data_type() == &DataType::Utf8 && field.metadata().is_empty();
        let column: ArrayRef = if is_text { Arc::new(dictionary(column.as_string::<i32>())) } else { column.clone() };
        arrow.push(field.as_ref().clone().with_data_type(column.data_type().clone()));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(arrow)), columns).expect("the same rows")
}

fn dictionary(column: &StringArray) -> DictionaryArray<UInt32Type> {
    let mut entries: Vec<Option<String>> = vec![Some("never".to_owned())];
    let has_nulls = column.null_count() > 0;
    if has_nulls {
        entries.push(None);
    }
    let keys: Vec<Option<u32>> = column
        .iter()
        .enumerate()
        .map(|(row, text)| match text {
            Some(text) => {
                let known = entries.iter().position(|entry| entry.as_deref() == Some(text)).filter(|_| row % 4 > 0);
                Some(known.unwrap_or_else(|| {
                    entries.push(Some(text.to_owned()));
                    entries.len() - 1
                }) as u32)
            }
            None => (row % 2 == 0).then_some(1),
        })
        .collect();
    DictionaryArray::new(keys.into(), Arc::new(StringArray::from(entries)))
}

/// `type: value value …`, `-` for null, `!reason` for a row that failed.
pub(crate) fn show(expression: &Expression, evaluated: &Evaluated) -> String {
    let Evaluated { values, failed } = evaluated;
    let mut texts: Vec<String> = (0..values.len()).map(|row| show_value(values, row)).collect();
    for (row, error) in failed {
        assert_eq!(texts[*row], "-", "a failed row's value is null");
        texts[*row] = format!("!({error})");
    }
    let ty = match expression.field_type() {
        FieldType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        FieldType::Timestamp(Some(unit)) => format!("timestamp {}", unit.as_str()),
        other => format!("{other:?}").replace("(None)", "").to_lowercase(),
    };
    format!("{ty}{}: {}", if expression.nullable() { "?" } else { "" }, texts.join(" "))
}

pub(crate) fn show_value(values: &ArrayRef, row: usize) -> String {
    if values.is_null(row) {
        return "-".to_owned();
    }
    match values.data_type() {
        DataType::Boolean => if values.as_boolean().value(row) { "yes" } else { "no" }.to_owned(),
        DataType::Int64 => values.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => format!("{:?}", values.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => values.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Utf8 => values.as_string::<i32>().value(row).to_owned(),
        DataType::Binary => format!("{:?}", values.as_binary::<i32>().value(row)),
        DataType::Timestamp(..) => EventTime(values.as_primitive::<TimestampMicrosecondType>().value(row)).to_rfc3339(),
        DataType::Dictionary(..) => {
            let dictionary = values.as_dictionary::<UInt32Type>();
            dictionary.values().as_string::<i32>().value(dictionary.keys().value(row) as usize).to_owned()
        }
        other => panic!("{other} is no type of a field"),
    }
}
