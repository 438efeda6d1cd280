//! Batches as short text, and expressions and components small enough to be obviously right; for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Schema};
use tidemill_event::batch::time_field;
use tidemill_event::{
    CallFailure, Ending, Field, FieldType, NoteKind, RowNote, RuleAnswer, RuleCall, TransformAnswer, TransformCall, Usage,
};

use crate::{Computed, FlowBatch, Guest, KeyedTable, Outcome, Predicate, Projection, StepState, Tested, Wait};

/// What a store has of a step.
pub(crate) type Stored = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Makes a step's changes in what is stored; how many entries went.
pub(crate) fn keep(stored: &mut Stored, state: &mut dyn StepState) -> usize {
    let mut removed = 0;
    for change in state.take_changes() {
        match change.value {
            Some(value) => drop(stored.insert(change.key, value)),
            None => removed += usize::from(stored.remove(&change.key).is_some()),
        }
    }
    removed
}

/// `a:5 b:-`: rows with k (a string) and v (an integer), `-` for null, `_time` counting from 0.
pub(crate) fn batch(text: &str) -> FlowBatch {
    let rows: Vec<(&str, &str)> = text.split_whitespace().map(|row| row.split_once(':').expect("k:v")).collect();
    let keys: Vec<Option<String>> = rows.iter().map(|(key, _)| (*key != "-").then(|| (*key).to_owned())).collect();
    let values = rows.iter().map(|(_, value)| (*value != "-").then(|| value.parse().expect("a number"))).collect();
    FlowBatch::new(rows_of(Arc::new(StringArray::from(keys)), values))
}

pub(crate) fn plain_batch(keys: &[Option<String>]) -> RecordBatch {
    rows_of(Arc::new(StringArray::from(keys.to_vec())), vec![None; keys.len()])
}

/// The same rows with `k` as a dictionary that repeats entries, has unused ones and null ones.
pub(crate) fn dictionary_batch(keys: &[Option<String>]) -> RecordBatch {
    let mut entries: Vec<Option<String>> = vec![Some("unused".to_owned()), None];
    let indices: Vec<Option<u32>> = keys
        .iter()
        .enumerate()
        .map(|(row, key)| match key {
            Some(key) => {
                let known = entries.iter().position(|entry| entry.as_ref() == Some(key));
                Some(known.filter(|_| row % 3 > 0).unwrap_or_else(|| {
                    entries.push(Some(key.clone()));
                    entries.len() - 1
                }) as u32)
            }
            None if row % 2 == 0 => None,
            None => Some(1),
        })
        .collect();
    let dictionary = DictionaryArray::new(indices.into(), Arc::new(StringArray::from(entries)));
    rows_of(Arc::new(dictionary), vec![None; keys.len()])
}

pub(crate) fn rows_of(keys: ArrayRef, values: Vec<Option<i64>>) -> RecordBatch {
    let key_field = Field::new("k", FieldType::String, true).arrow().with_data_type(keys.data_type().clone());
    let schema = Schema::new(vec![key_field, Field::new("v", FieldType::Int64, true).arrow(), time_field()]);
    let times = TimestampMicrosecondArray::from_iter_values(0..values.len() as i64).with_timezone("UTC");
    RecordBatch::try_new(Arc::new(schema), vec![keys, Arc::new(Int64Array::from(values)), Arc::new(times)])
        .expect("an event batch")
}

/// `origin:k=v,name=value … | dead rows | rows put back`, `k=v` only where the rows have them.
pub(crate) fn show(out: &FlowBatch, output: &Outcome) -> String {
    assert_eq!(out.origin.len(), out.len());
    assert_eq!(out.rows.schema_ref().fields().last().expect("columns").name(), "_time");
    let rows: Vec<String> = (0..out.len()).map(|row| format!("{}:{}", out.origin[row], show_row(&out.rows, row))).collect();
    let dead: Vec<String> = output
        .dead
        .iter()
        .map(|dead| {
            let event = show_row(&dead.event.rows, dead.event.row);
            format!("{}:{event} step {} {} {}", dead.origin, dead.step, dead.reason.as_str(), dead.error)
        })
        .collect();
    let later: Vec<String> = output
        .put_back
        .iter()
        .flat_map(|back| {
            let when = match back.wait {
                Wait::Not => "next".to_owned(),
                Wait::For(wait) => format!("in {} ms", wait.as_millis()),
                Wait::Held => "with a probe".to_owned(),
            };
            let row = move |row| {
                let event = show_row(&back.rows.rows, row);
                format!("{}:{event} again {when}, {}", back.rows.origin[row], back.attempts)
            };
            (0..back.rows.len()).map(row)
        })
        .collect();
    let later = if later.is_empty() { String::new() } else { format!(" | {}", later.join(", ")) };
    format!("{} | {}{later}", rows.join(" "), dead.join(", "))
}

pub(crate) fn show_times(out: &FlowBatch) -> String {
    let times = tidemill_event::batch::times(&out.rows);
    times.values().iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
}

fn show_row(rows: &RecordBatch, row: usize) -> String {
    let mut parts = Vec::new();
    let schema = rows.schema();
    let mut fields = schema.fields().iter().zip(rows.columns()).filter(|(field, _)| field.name() != "_time").peekable();
    while let Some((field, column)) = fields.next() {
        match fields.peek() {
            Some((next, value)) if field.name() == "k" && next.name() == "v" => {
                parts.push(format!("{}={}", show_value(column, row), show_value(value, row)));
                fields.next();
            }
            _ => parts.push(format!("{}={}", field.name(), show_value(column, row))),
        }
    }
    parts.join(",")
}

fn show_value(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "-".to_owned();
    }
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        DataType::Boolean => if column.as_boolean().value(row) { "yes" } else { "no" }.to_owned(),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Dictionary(..) => {
            let plain = arrow_cast::cast(column, &DataType::Utf8).expect("text");
            show_value(&plain, row)
        }
        other => panic!("no text for {other}"),
    }
}

fn values(rows: &RecordBatch) -> &Int64Array {
    rows.column_by_name("v").expect("the column v").as_primitive::<Int64Type>()
}

fn unlucky(rows: &RecordBatch) -> Vec<(usize, String)> {
    values(rows).iter().enumerate().filter(|(_, v)| *v == Some(13)).map(|(row, _)| (row, "unlucky".to_owned())).collect()
}

/// `v < 5`, and 13 fails.
pub(crate) struct Conditions;

impl Predicate for Conditions {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let passes: BooleanArray = values(rows).iter().map(|v| v.map(|v| v < 5)).collect();
        Tested { passes, failed: unlucky(rows) }
    }
}

/// `v * 2`, and 13 fails.
pub(crate) struct Double;

impl Projection for Double {
    fn compute(&self, rows: &RecordBatch) -> Computed {
        let doubled: Int64Array = values(rows).iter().map(|v| v.map(|v| v * 2)).collect();
        Computed { values: Arc::new(doubled), failed: unlucky(rows) }
    }
}

/// A table with one count per key, 0 at first.
pub(crate) fn counting_table() -> KeyedTable {
    let schema = Schema::new(vec![Field::new("count", FieldType::Int64, false).arrow()]);
    KeyedTable::new(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(vec![0]))]).expect("one row"))
}

/// One row with a value of every type, and a null.
pub(crate) fn all_types_first() -> RecordBatch {
    let decimal = FieldType::Decimal { precision: 20, scale: 3 };
    let columns: Vec<(&str, FieldType, ArrayRef)> = vec![
        ("bool", FieldType::Bool, Arc::new(BooleanArray::from(vec![true]))),
        ("int", FieldType::Int64, Arc::new(Int64Array::from(vec![i64::MIN]))),
        ("float", FieldType::Float64, Arc::new(Float64Array::from(vec![-0.0]))),
        (
            "decimal",
            decimal,
            Arc::new(Decimal128Array::from(vec![-12_345_678_901_234_567_890]).with_data_type(DataType::Decimal128(20, 3))),
        ),
        ("text", FieldType::String, Arc::new(StringArray::from(vec!["é"]))),
        ("json", FieldType::Json, Arc::new(StringArray::from(vec!["{}"]))),
        ("bytes", FieldType::Bytes, Arc::new(BinaryArray::from(vec![&b"\xff\0"[..]]))),
        ("time", FieldType::Timestamp(None), Arc::new(TimestampMicrosecondArray::from(vec![7]).with_timezone("UTC"))),
        ("none", FieldType::String, Arc::new(StringArray::from(vec![None::<&str>]))),
    ];
    let schema = Schema::new(columns.iter().map(|(name, ty, _)| Field::new(name, *ty, true).arrow()).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, _, column)| column).collect()).expect("one row")
}

/// Counts the rows of each key, one by one; says yes from a key's second row on. 13 is rejected, 14 is to be retried, 15 gets a null
/// for its count, 666 traps the whole call.
pub(crate) struct Counting;

impl Guest<RuleAnswer> for Counting {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        let values = values(&call.columns);
        if values.iter().any(|v| v == Some(666)) {
            let (message, backtrace) = ("boom".to_owned(), "frame".to_owned());
            return Err(CallFailure { ending: Ending::Trap, message, backtrace, usage: Usage::default() });
        }
        let state = call.state.as_ref().expect("keyed");
        let mut counts = state.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        let (mut verdicts, mut output, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for (row, key) in state.row_to_key.iter().enumerate() {
            let count = &mut counts[*key as usize];
            *count += 1;
            verdicts.push(*count > 1);
            let value = values.is_valid(row).then(|| values.value(row));
            output.push((value != Some(15)).then_some(*count));
            let note = |kind, text: &str| RowNote { row: row as u32, kind, text: text.to_owned() };
            match value {
                Some(13) => notes.push(note(NoteKind::Reject, "unlucky")),
                Some(14) => notes.push(note(NoteKind::RetryAfter(Duration::from_millis(500)), "later")),
                Some(_) | None => {}
            }
        }
        let state = RecordBatch::try_new(state.rows.schema(), vec![Arc::new(Int64Array::from(counts))]).expect("a count per key");
        Ok(RuleAnswer {
            verdicts: verdicts.into(),
            columns: vec![Arc::new(Int64Array::from(output))],
            state: Some(state),
            notes,
            usage: Usage::default(),
        })
    }

    fn replace(&mut self) {}
}

/// Makes `v` rows of a row, with `at` 100, 101, … (null where `v` is 1) and `i` 0, 1, …; 13 is rejected (after two rows were made of
/// it), 666 burns all fuel.
pub(crate) struct Repeating;

impl Guest<TransformAnswer> for Repeating {
    fn call(&mut self, call: &TransformCall) -> Result<TransformAnswer, CallFailure> {
        let values = values(&call.columns);
        if values.iter().any(|v| v == Some(666)) {
            let (message, backtrace) = ("spun".to_owned(), String::new());
            return Err(CallFailure { ending: Ending::OutOfFuel, message, backtrace, usage: Usage::default() });
        }
        let (mut source_rows, mut at, mut i, mut notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, value) in values.iter().enumerate() {
            let times = match value {
                Some(13) => {
                    notes.push(RowNote { row: row as u32, kind: NoteKind::Reject, text: "unlucky".to_owned() });
                    2
                }
                Some(times) => times,
                None => 0,
            };
            for time in 0..times {
                source_rows.push(row as u32);
                at.push((times != 1).then_some(100 + time));
                i.push(time);
            }
        }
        Ok(TransformAnswer {
            source_rows,
            columns: vec![Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC")), Arc::new(Int64Array::from(i))],
            state: None,
            notes,
            usage: Usage::default(),
        })
    }

    fn replace(&mut self) {}
}
