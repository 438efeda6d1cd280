//! A row's value, or failure, is its own: whole batches, slices, dictionaries and rows one by one give the same.

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod common;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::Schema;
use proptest::prelude::*;
use tidemill_event::batch::time_field;
use tidemill_event::{Field, FieldType};
use tidemill_expr::{Evaluated, Expression, Scope, ScopeColumn};

const EXPRESSIONS: &[&str] = &[
    "n > 2 and s = 'a'",
    "s = 'a' or t = 'b' or n is null",
    "s = t",
    "s || t",
    "upper(s)",
    "coalesce(s, t, 'none')",
    "nullif(s, 'a')",
    "cast(s as bigint)",
    "try_cast(s as bigint) + n",
    "s in ('a', 'b', '1') and not (t = 'a')",
    "s like 'a%' or s is null",
    "length(s) + length(t)",
    "n / m",
    "m <> 0 and n / m > 1",
    "m = 0 or n / m > 1",
    "n / m > 1 and m <> 0",
    "s <> 'x' and cast(s as bigint) > 1",
    "s = 'x' or cast(s as bigint) > 1 or t = 'a'",
    "case when m <> 0 then n / m when s = 'a' then n % m else 7 end",
    "case s when 'a' then n / m when 'b' then n else -1 end",
    "coalesce(n / nullif(m, 0), m)",
    "n * 4611686018427387904",
    "-n + m",
    "f / m",
    "f * f > 1 and s is not null",
    "n in (m, 1, 10 / m)",
    "not (n / m > 1)",
    "(m > 0 and n / m > 0) or (m <= 0 and s = 'a')",
    "(m > 0 and (s = 'a' or cast(s as bigint) / m > 0)) or t = 'b'",
    "_time + interval '1 second' > '1970-01-01T00:00:02Z' and n > 0",
    "case when n > 1 and s = 'a' then s else t end",
    "split_part(s, '.', n)",
    "repeat(s, n) = 'aa'",
    "substr(s, n, m)",
    "'constant'",
    "round(f, n)",
];

#[derive(Debug, Clone)]
struct Row {
    n: Option<i64>,
    m: Option<i64>,
    f: Option<f64>,
    s: Option<String>,
    t: Option<String>,
}

fn row() -> impl Strategy<Value = Row> {
    let number = || prop_oneof![6 => proptest::option::of(-1i64..4), 1 => Just(Some(i64::MAX)), 1 => Just(Some(i64::MIN))];
    let text = || {
        proptest::option::of(
            prop_oneof![Just("a"), Just("b"), Just("x"), Just("1"), Just("2.5"), Just("")].prop_map(str::to_owned),
        )
    };
    let float = proptest::option::of(prop_oneof![Just(0.0), Just(1.5), Just(-2.0), Just(1e200)]);
    (number(), number(), float, text(), text()).prop_map(|(n, m, f, s, t)| Row { n, m, f, s, t })
}

fn scope() -> Scope {
    let field = |name: &str, ty| ScopeColumn { qualifier: None, field: Field::new(name, ty, true) };
    Scope::new(vec![
        field("n", FieldType::Int64),
        field("m", FieldType::Int64),
        field("f", FieldType::Float64),
        field("s", FieldType::String),
        field("t", FieldType::String),
    ])
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<(&str, FieldType, ArrayRef)> = vec![
        ("n", FieldType::Int64, Arc::new(rows.iter().map(|row| row.n).collect::<Int64Array>())),
        ("m", FieldType::Int64, Arc::new(rows.iter().map(|row| row.m).collect::<Int64Array>())),
        ("f", FieldType::Float64, Arc::new(rows.iter().map(|row| row.f).collect::<Float64Array>())),
        ("s", FieldType::String, Arc::new(rows.iter().map(|row| row.s.clone()).collect::<StringArray>())),
        ("t", FieldType::String, Arc::new(rows.iter().map(|row| row.t.clone()).collect::<StringArray>())),
    ];
    let mut fields: Vec<_> = columns.iter().map(|(name, ty, _)| Field::new(name, *ty, true).arrow()).collect();
    fields.push(time_field());
    let mut columns: Vec<ArrayRef> = columns.into_iter().map(|(.., column)| column).collect();
    columns.push(Arc::new(
        TimestampMicrosecondArray::from_iter_values((0..rows.len() as i64).map(|row| row % 3 * 1_000_000)).with_timezone("UTC"),
    ));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("an event batch")
}

/// Each row's value or failure as text.
fn outcomes(evaluated: &Evaluated) -> Vec<String> {
    let mut texts: Vec<String> = (0..evaluated.values.len()).map(|row| common::show_value(&evaluated.values, row)).collect();
    for (row, _) in &evaluated.failed {
        texts[*row] = "failed".to_owned();
    }
    texts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn alone_and_together(rows in proptest::collection::vec(row(), 1..40), from in 0usize..40, length in 1usize..40) {
        let plain = batch(&rows);
        let dictionaries = common::with_dictionaries(&plain);
        let from = from.min(rows.len() - 1);
        let length = length.min(rows.len() - from);
        for sql in EXPRESSIONS {
            let expression = expression(sql);
            let alone: Vec<String> = (0..rows.len()).flat_map(|row| outcomes(&expression.evaluate(&plain.slice(row, 1)))).collect();
            prop_assert_eq!(&outcomes(&expression.evaluate(&plain)), &alone, "{} together", sql);
            prop_assert_eq!(&outcomes(&expression.evaluate(&dictionaries)), &alone, "{} on dictionaries", sql);
            let slice = outcomes(&expression.evaluate(&dictionaries.slice(from, length)));
            prop_assert_eq!(&slice[..], &alone[from..from + length], "{} on a slice", sql);
        }
    }
}

thread_local! {
    static PARSED: std::cell::RefCell<std::collections::HashMap<&'static str, Expression>> = Default::default();
}

fn expression(sql: &'static str) -> Expression {
    PARSED.with_borrow_mut(|parsed| {
        parsed
            .entry(sql)
            .or_insert_with(|| Expression::parse(sql, &scope()).unwrap_or_else(|error| panic!("{sql}: {error}")))
            .clone()
    })
}

#[test]
fn the_expressions_do_fail_and_do_answer() {
    // Otherwise the test above could hold by everything failing.
    let rows: Vec<Row> = [(Some(1), Some(0), "a"), (Some(2), Some(1), "1"), (None, Some(2), "x")]
        .into_iter()
        .map(|(n, m, s)| Row { n, m, f: Some(1.5), s: Some(s.to_owned()), t: None })
        .collect();
    let mixed = EXPRESSIONS.iter().filter(|sql| {
        let outcomes = outcomes(&expression(sql).evaluate(&batch(&rows)));
        outcomes.iter().any(|text| text == "failed") && outcomes.iter().any(|text| text != "failed" && text != "-")
    });
    assert!(mixed.count() >= 5);
}
