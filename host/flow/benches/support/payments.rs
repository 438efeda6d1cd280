//! Payments of 10,000 users in order of time, as a stream has them: some columns nobody asks for, words as a dictionary, names as text.
//!
//! `status` is what a payment became; `type` says the same in the words of `std-failed-logins`, so that a component and SQL judge the same rows.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow_schema::Schema;
use tidemill_event::batch::{time_field, times};
use tidemill_event::{EventTime, Field, FieldType};
use tidemill_expr::{Expression, Scope, ScopeColumn};
use tidemill_flow::{FlowBatch, LaneId, Lanes, Operator, Outcome, Predicate, Tested, TimeSettings};

use super::mixed;

pub(crate) const ROWS: usize = 1 << 20;
pub(crate) const BATCH: usize = 4096;
const USERS: u64 = 10_000;
/// Rows a minute, of all users: ten of each.
const PER_MINUTE: u64 = 100_000;

/// The columns, `_time` aside.
pub(crate) fn fields() -> Vec<Field> {
    let text = |name: &str| Field::new(name, FieldType::String, true);
    let int = |name: &str| Field::new(name, FieldType::Int64, true);
    let amount = Field::new("amount", FieldType::Float64, true);
    vec![int("id"), text("user"), text("merchant"), amount, text("status"), text("type"), int("kind")]
}

pub(crate) fn field(name: &str) -> Field {
    fields().into_iter().find(|field| &*field.name == name).expect("one of the columns")
}

/// All rows; of a hundred so many are declined.
pub(crate) fn payments(declined: u64) -> Vec<RecordBatch> {
    (0..ROWS / BATCH).map(|batch| one(batch, declined)).collect()
}

fn one(batch: usize, declined: u64) -> RecordBatch {
    let rows: Vec<u64> = (0..BATCH).map(|row| (batch * BATCH + row) as u64).collect();
    let ints = |value: &dyn Fn(u64) -> u64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(value(*row) as i64)).collect::<Int64Array>())
    };
    let word = |words: [&str; 3]| -> ArrayRef {
        let which = |row: &u64| match mixed(row ^ 0xa5a5) % 100 {
            roll if roll < declined => 1u32,
            99 => 2,
            _ => 0,
        };
        let keys: UInt32Array = rows.iter().map(|row| Some(which(row))).collect();
        let words: StringArray = words.into_iter().map(Some).collect();
        Arc::new(DictionaryArray::<UInt32Type>::new(keys, Arc::new(words)))
    };
    let users: StringArray = rows.iter().map(|row| Some(format!("user-{:05}", mixed(*row) % USERS))).collect();
    let merchants: DictionaryArray<UInt32Type> = rows
        .iter()
        .map(|row| format!("merchant-{}", mixed(row ^ 0x7171) % 1_000))
        .collect::<Vec<_>>()
        .iter()
        .map(String::as_str)
        .collect();
    let amounts: Float64Array = rows.iter().map(|row| Some((mixed(row ^ 0x3333) % 50_000) as f64 / 100.0)).collect();
    let at = |row: &u64| (row * 60_000_000 / PER_MINUTE) as i64;
    let columns: Vec<ArrayRef> = vec![
        ints(&|row| row),
        Arc::new(users),
        Arc::new(merchants),
        Arc::new(amounts),
        word(["approved", "declined", "refunded"]),
        word(["auth_ok", "auth_failed", "disconnect"]),
        ints(&|row| mixed(row ^ 0xc3c3) % 8),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(at)).with_timezone("UTC")),
    ];
    let types = fields().iter().map(Field::arrow).chain([time_field()]).collect::<Vec<_>>();
    let typed = types.into_iter().zip(&columns).map(|(field, column)| {
        // A dictionary is another form of the same text.
        field.with_data_type(column.data_type().clone())
    });
    let schema = Schema::new(typed.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns).expect("an event batch")
}

/// A condition in SQL, as a pipeline has it.
pub(crate) struct Sql(Expression);

impl Sql {
    pub(crate) fn boxed(condition: &str) -> Box<dyn Predicate> {
        let scope = Scope::new(fields().into_iter().map(|field| ScopeColumn { qualifier: None, field }).collect());
        Box::new(Self(Expression::parse_condition(condition, &scope).expect("a condition over payments")))
    }
}

impl Predicate for Sql {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let evaluated = self.0.evaluate(rows);
        Tested { passes: evaluated.values.as_boolean().clone(), failed: evaluated.failed }
    }
}

/// All rows through the steps, one behind the other, and time to its end. Answers how many came out.
pub(crate) fn run(steps: &mut [Box<dyn Operator>], batches: &[RecordBatch]) -> usize {
    let time = TimeSettings { idle_after: None, bound: None, drift_max: None };
    let mut lanes = Lanes::new(time, &[Duration::ZERO]);
    let mut through = |rows: FlowBatch, mut output: Outcome| {
        let out = steps.iter_mut().fold(rows, |rows, step| step.apply(rows, &mut output));
        assert!(output.late.is_empty() && output.dead.is_empty(), "every row is on time and sound");
        out.len()
    };
    let mut made = 0;
    for rows in batches {
        let marks = lanes.rows(LaneId(0), times(rows).values());
        made += through(FlowBatch::new(rows.clone()), Outcome::new(EventTime(0)).with_marks(marks));
    }
    made + through(FlowBatch::new(batches[0].slice(0, 0)), Outcome::new(EventTime(0)).with_marks(lanes.end(LaneId(0))))
}
