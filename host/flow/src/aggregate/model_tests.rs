//! Every aggregate against a plain computation over the rows, whatever the cuts, the groups merged, and what was stored in between.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::Schema;
use proptest::prelude::*;
use tidemill_event::batch::time_field;
use tidemill_event::{Field, FieldType, Reason};

use crate::aggregate::{Aggregate, AggregateCall, Aggregates};

#[derive(Debug, Clone)]
struct Row {
    group: u32,
    time: i64,
    int: Option<i64>,
    float: Option<f64>,
    decimal: Option<i128>,
    text: Option<String>,
    counts: Option<bool>,
}

fn row() -> impl Strategy<Value = Row> {
    let int = proptest::option::weighted(0.8, -50i64..50);
    let float = proptest::option::weighted(0.8, (-400i64..400).prop_map(|quarters| quarters as f64 / 7.0));
    let decimal = proptest::option::weighted(0.8, -9999i128..9999);
    let text = proptest::option::weighted(0.8, "[ab]{0,3}");
    (0u32..3, -9i64..9, int, float, decimal, text, any::<Option<bool>>())
        .prop_map(|(group, time, int, float, decimal, text, counts)| Row { group, time, int, float, decimal, text, counts })
}

fn batch(rows: &[Row]) -> RecordBatch {
    let decimals: Decimal128Array = rows.iter().map(|row| row.decimal).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.int).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.float).collect::<Float64Array>()),
        Arc::new(decimals.with_precision_and_scale(6, 2).expect("six digits")),
        Arc::new(rows.iter().map(|row| row.text.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.counts).collect::<BooleanArray>()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time)).with_timezone("UTC")),
    ];
    let mut fields: Vec<_> = fields().iter().map(Field::arrow).collect();
    fields.push(time_field());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("an event batch")
}

fn fields() -> Vec<Field> {
    vec![
        Field::new("int", FieldType::Int64, true),
        Field::new("float", FieldType::Float64, true),
        Field::new("decimal", FieldType::Decimal { precision: 6, scale: 2 }, true),
        Field::new("text", FieldType::String, true),
        Field::new("counts", FieldType::Bool, true),
    ]
}

/// Each aggregate over each column it takes, the counts once more over rows with `counts` only.
fn calls() -> Vec<AggregateCall> {
    let of = |aggregate: Aggregate, argument: Option<&Field>, filter: Option<&str>| AggregateCall {
        name: format!("{aggregate:?} {} {}", argument.map_or("*", |field| &field.name), filter.unwrap_or("all")).into(),
        aggregate,
        argument: argument.cloned(),
        filter: filter.map(Into::into),
    };
    let mut calls = vec![of(Aggregate::Count, None, None), of(Aggregate::Count, None, Some("counts"))];
    let names = [
        "count",
        "count_distinct",
        "sum",
        "avg",
        "min",
        "max",
        "first",
        "last",
        "stddev_pop",
        "stddev_samp",
        "var_pop",
        "var_samp",
        "bool_and",
        "bool_or",
        "ratio",
        "increase",
        "rate",
        "median",
        "array_agg",
    ];
    let numbered = [("quantile_disc", 0.3), ("quantile_cont", 0.7), ("array_agg", 2.0)];
    let numbered = numbered.map(|(name, number)| Aggregate::with_number(name, number).expect("a name").expect("a number"));
    for field in &fields() {
        for aggregate in names.map(|name| Aggregate::named(name).expect("a name")).into_iter().chain(numbered) {
            // How numbers with a point are written as JSON is tested where they are.
            let is_plain = !matches!(field.ty, FieldType::Float64 | FieldType::Decimal { .. });
            let is_shown = is_plain || !matches!(aggregate, Aggregate::ArrayAgg | Aggregate::ArrayAggFirst(_));
            if aggregate.output(Some(field.ty)).is_ok() && is_shown {
                calls.push(of(aggregate, Some(field), None));
                calls.push(of(aggregate, Some(field), Some("counts")));
            }
        }
    }
    calls
}

/// The value in words, computed over the rows at once.
fn model(call: &AggregateCall, rows: &[&Row]) -> String {
    let rows: Vec<&Row> = rows.iter().copied().filter(|row| call.filter.is_none() || row.counts == Some(true)).collect();
    let Some(argument) = &call.argument else { return rows.len().to_string() };
    let spread = |values: &[f64]| {
        let (count, mean) = (values.len() as f64, values.iter().sum::<f64>() / values.len() as f64);
        let distances: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let (population, sample) = (distances / count, distances / (count - 1.0));
        match call.aggregate {
            Aggregate::StddevPop => Some(population.sqrt()),
            Aggregate::VarPop => Some(population),
            Aggregate::StddevSamp => (values.len() > 1).then(|| sample.sqrt()),
            _ => (values.len() > 1).then_some(sample),
        }
    };
    let words = |value: Option<String>| value.unwrap_or_default();
    let ordered = |cell: &dyn Fn(&Row) -> Option<String>| -> Option<Option<String>> {
        let there = rows.iter().filter(|row| cell(row).is_some());
        match call.aggregate {
            Aggregate::First => Some(there.min_by_key(|row| row.time).and_then(|row| cell(row))),
            Aggregate::Last => Some(there.max_by_key(|row| row.time).and_then(|row| cell(row))),
            Aggregate::Count => Some(Some(there.count().to_string())),
            Aggregate::CountDistinct => Some(Some(there.filter_map(|row| cell(row)).collect::<BTreeSet<_>>().len().to_string())),
            _ => None,
        }
    };
    if let Some(said) =
        truth(call, &rows).or_else(|| list(call, &rows)).or_else(|| quantile(call, &rows)).or_else(|| growth(call, &rows))
    {
        return words(said);
    }
    match &*argument.name {
        "int" => {
            if let Some(value) = ordered(&|row| row.int.map(|value| value.to_string())) {
                return words(value);
            }
            let values: Vec<i64> = rows.iter().filter_map(|row| row.int).collect();
            if values.is_empty() {
                return String::new();
            }
            let doubles: Vec<f64> = values.iter().map(|value| *value as f64).collect();
            words(match call.aggregate {
                Aggregate::Sum => Some(values.iter().sum::<i64>().to_string()),
                Aggregate::Min => values.iter().min().map(i64::to_string),
                Aggregate::Max => values.iter().max().map(i64::to_string),
                Aggregate::Average => Some(rounded(doubles.iter().sum::<f64>() / doubles.len() as f64)),
                _ => spread(&doubles).map(rounded),
            })
        }
        "float" => {
            if let Some(value) = ordered(&|row| row.float.map(rounded)) {
                return words(value);
            }
            let values: Vec<f64> = rows.iter().filter_map(|row| row.float).collect();
            if values.is_empty() {
                return String::new();
            }
            words(match call.aggregate {
                Aggregate::Sum => Some(rounded(values.iter().sum())),
                Aggregate::Min => values.iter().copied().reduce(f64::min).map(rounded),
                Aggregate::Max => values.iter().copied().reduce(f64::max).map(rounded),
                Aggregate::Average => Some(rounded(values.iter().sum::<f64>() / values.len() as f64)),
                _ => spread(&values).map(rounded),
            })
        }
        "decimal" => {
            let cents =
                |value: i128| format!("{}{}.{:02}", if value < 0 { "-" } else { "" }, value.abs() / 100, value.abs() % 100);
            if let Some(value) = ordered(&|row| row.decimal.map(cents)) {
                return words(value);
            }
            let values: Vec<i128> = rows.iter().filter_map(|row| row.decimal).collect();
            if values.is_empty() {
                return String::new();
            }
            words(match call.aggregate {
                Aggregate::Sum => Some(cents(values.iter().sum())),
                Aggregate::Min => values.iter().min().copied().map(cents),
                Aggregate::Max => values.iter().max().copied().map(cents),
                _ => {
                    // Four more digits, halves away from zero.
                    let (sum, count) = (values.iter().sum::<i128>(), values.len() as i128);
                    let millionths = (sum.abs() * 20_000 + count) / (2 * count);
                    let sign = if sum < 0 && millionths > 0 { "-" } else { "" };
                    Some(format!("{sign}{}.{:06}", millionths / 1_000_000, millionths % 1_000_000))
                }
            })
        }
        "counts" => words(ordered(&|row| row.counts.map(|value| value.to_string())).expect("nothing else takes a bool")),
        _ => {
            if let Some(value) = ordered(&|row| row.text.clone()) {
                return words(value);
            }
            let values = rows.iter().filter_map(|row| row.text.clone());
            words(if call.aggregate == Aggregate::Min { values.min() } else { values.max() })
        }
    }
}

/// Of a condition.
fn truth(call: &AggregateCall, rows: &[&Row]) -> Option<Option<String>> {
    let there: Vec<bool> = rows.iter().filter_map(|row| row.counts).collect();
    let yes = there.iter().filter(|yes| **yes).count();
    let said = match call.aggregate {
        Aggregate::BoolAnd => (yes == there.len()).to_string(),
        Aggregate::BoolOr => (yes > 0).to_string(),
        Aggregate::Ratio => rounded(yes as f64 / there.len() as f64),
        _ => return None,
    };
    Some((!there.is_empty()).then_some(said))
}

/// By time, those of one time as they came.
fn list(call: &AggregateCall, rows: &[&Row]) -> Option<Option<String>> {
    let most = match call.aggregate {
        Aggregate::ArrayAgg => usize::MAX,
        Aggregate::ArrayAggFirst(most) => usize::from(most),
        _ => return None,
    };
    let cell = |row: &Row| match &*call.argument.as_ref().expect("an argument").name {
        "int" => row.int.map(|value| value.to_string()),
        "counts" => row.counts.map(|value| value.to_string()),
        _ => row.text.as_ref().map(|value| format!("\"{value}\"")),
    };
    let mut there: Vec<(i64, String)> = rows.iter().filter_map(|row| Some((row.time, cell(row)?))).collect();
    there.sort_by_key(|(time, _)| *time);
    let texts: Vec<String> = there.into_iter().map(|(_, text)| text).take(most).collect();
    Some((!texts.is_empty()).then(|| format!("[{}]", texts.join(","))))
}

/// Of numbers put in order.
fn quantile(call: &AggregateCall, rows: &[&Row]) -> Option<Option<String>> {
    let (q, is_continuous) = match call.aggregate {
        Aggregate::Median => (0.5, true),
        Aggregate::QuantileCont(millionths) => (f64::from(millionths) / 1e6, true),
        Aggregate::QuantileDisc(millionths) => (f64::from(millionths) / 1e6, false),
        _ => return None,
    };
    let is_whole = &*call.argument.as_ref().expect("an argument").name == "int";
    let number = |row: &&Row| if is_whole { row.int.map(|value| value as f64) } else { row.float };
    let mut there: Vec<f64> = rows.iter().filter_map(number).collect();
    there.sort_by(f64::total_cmp);
    Some(there.len().checked_sub(1).map(|last| {
        if is_continuous {
            let place = q * last as f64;
            let (low, high) = (there[place.floor() as usize], there[place.ceil() as usize]);
            rounded(low + (high - low) * place.fract())
        } else {
            let value = there[((q * there.len() as f64).ceil() as usize).max(1) - 1];
            if is_whole { value.to_string() } else { rounded(value) }
        }
    }))
}

/// Of a counter, step by step.
fn growth(call: &AggregateCall, rows: &[&Row]) -> Option<Option<String>> {
    if !matches!(call.aggregate, Aggregate::Increase | Aggregate::Rate) {
        return None;
    }
    let is_whole = &*call.argument.as_ref().expect("an argument").name == "int";
    let number = |row: &Row| if is_whole { row.int.map(|value| value as f64) } else { row.float };
    let mut there: Vec<(i64, f64)> = rows.iter().filter_map(|row| Some((row.time, number(row)?))).collect();
    there.sort_by_key(|(time, _)| *time);
    let steps = there.windows(2).map(|pair| if pair[1].1 < pair[0].1 { pair[1].1 } else { pair[1].1 - pair[0].1 });
    let increase: f64 = steps.sum();
    let [(first, _), .., (last, _)] = there[..] else { return Some(None) };
    Some(match call.aggregate {
        Aggregate::Rate => (last > first).then(|| rounded(increase / ((last - first) as f64 / 1e6))),
        _ if is_whole => Some(increase.to_string()),
        _ => Some(rounded(increase)),
    })
}

fn rounded(value: f64) -> String {
    format!("{value:e}")
}

/// What a plain sum loses is the model's, not the aggregate's.
fn is_same(told: &str, expected: &str) -> bool {
    told == expected
        || expected.contains('e')
            && told
                .parse::<f64>()
                .ok()
                .zip(expected.parse::<f64>().ok())
                .is_some_and(|(a, b)| (a - b).abs() <= 1e-9 * (1.0 + b.abs()))
}

fn shown(column: &dyn Array, place: usize) -> String {
    let text = ArrayFormatter::try_new(column, &FormatOptions::default()).expect("a known type").value(place).to_string();
    let is_float = matches!(column.data_type(), arrow_schema::DataType::Float64);
    if is_float && !text.is_empty() { rounded(text.parse().expect("a number")) } else { text }
}

proptest! {
    #[test]
    fn every_aggregate_is_what_its_rows_say(rows in proptest::collection::vec(row(), 0..40), cuts in proptest::collection::vec(1usize..9, 1..6), stored in any::<u8>()) {
        let calls = calls();
        let make = || Aggregates::new(&calls).expect("aggregates that go with their arguments");
        let mut aggregates = make();
        // Used and given back, so that groups are not fresh.
        let old: Vec<u32> = (0..4).map(|_| aggregates.allocate()).collect();
        assert!(aggregates.update(&vec![1; rows.len()], &batch(&rows)).is_empty());
        old.into_iter().for_each(|group| aggregates.release(group));
        let groups: Vec<u32> = (0..4).map(|_| aggregates.allocate()).collect();
        let mut from = 0;
        for (turn, cut) in cuts.iter().cycle().enumerate() {
            if from == rows.len() {
                break;
            }
            let part = &rows[from..rows.len().min(from + cut)];
            from += part.len();
            assert!(aggregates.update(&part.iter().map(|row| groups[row.group as usize]).collect::<Vec<_>>(), &batch(part)).is_empty());
            if stored >> (turn % 8) & 1 == 1 {
                let mut again = make();
                let fresh: Vec<u32> = (0..groups.len()).map(|_| again.allocate()).collect();
                prop_assert_eq!(&fresh, &[0, 1, 2, 3]);
                for group in 0..4 {
                    let mut bytes = Vec::new();
                    aggregates.encode(group, &mut bytes);
                    let mut rest = &bytes[..];
                    prop_assert_eq!(again.decode(group, &mut rest), Some(()));
                    prop_assert!(rest.is_empty());
                    for short in (0..bytes.len().min(40)).step_by(5) {
                        let mut broken = make();
                        broken.allocate();
                        prop_assert_eq!(broken.decode(0, &mut &bytes[..short]), None);
                    }
                }
                aggregates = again;
            }
        }
        // The last group is all of them, merged in order of time where that counts: by group here, so only what does not ask for order.
        aggregates.merge(&[(groups[3], groups[0]), (groups[3], groups[1]), (groups[3], groups[2])]);
        let results = aggregates.finish(&groups);
        prop_assert!(results.failed.is_empty());
        for (call, (field, column)) in calls.iter().zip(&results.columns) {
            prop_assert_eq!(field.name(), &*call.name);
            for place in 0..4 {
                let mut of: Vec<&Row> = rows.iter().filter(|row| place == 3 || row.group == place).collect();
                if place == 3 {
                    of.sort_by_key(|row| row.group);
                }
                let (told, expected) = (shown(column.as_ref(), place as usize), model(call, &of));
                prop_assert!(is_same(&told, &expected), "{} of group {}: {} for {}", &call.name, place, told, expected);
            }
        }
    }
}

#[test]
fn a_sum_out_of_range_is_the_error_of_its_group() {
    let int = Field::new("int", FieldType::Int64, true);
    let call = AggregateCall { name: "total".into(), aggregate: Aggregate::Sum, argument: Some(int), filter: None };
    let mut aggregates = Aggregates::new(&[call]).expect("a sum of integers");
    let groups = [aggregates.allocate(), aggregates.allocate()];
    let row = |group, int| Row { group, time: 0, int: Some(int), float: None, decimal: None, text: None, counts: None };
    let rows = [row(0, i64::MAX), row(0, 1), row(1, i64::MAX)];
    assert!(aggregates.update(&rows.each_ref().map(|row| groups[row.group as usize]), &batch(&rows)).is_empty());
    let failed = aggregates.finish(&groups).failed;
    assert_eq!(failed, [(0, Reason::Expression, "`total`: the sum 9223372036854775808 is outside int64".to_owned())]);
    // What went out of range comes back.
    assert!(aggregates.update(&[groups[0]], &batch(&[row(0, -1)])).is_empty());
    assert!(aggregates.finish(&groups).failed.is_empty());
}
