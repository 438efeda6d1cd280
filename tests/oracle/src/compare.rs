//! Whether two sets of result rows are the same, and if not, where they first differ.
//!
//! Rows are compared as multisets. Integers, texts and instants must be equal; numbers with a fraction to a relative 1e-9. So rows fall
//! into groups by what is exact in them, and inside a group each row needs a partner within the tolerance.

use std::collections::BTreeMap;

use serde_json::Value;

pub use crate::row::Column;
use crate::row::{Cell, Columns, Row};

/// How far two numbers may be apart, by the greater of them.
const RELATIVE: f64 = 1e-9;
/// What is this near to nothing is nothing: the spread of equal values is computed as 0 by one program and 1e-17 by another.
const NOTHING: f64 = 1e-12;
/// How many differing rows are told of.
const TOLD_MAX: usize = 3;

/// Compares what a host gave with what is expected. `last_of` names the columns of which only the last row counts: where a row may be
/// a later state of the same result. An error says in one line how they differ.
pub fn compare(
    expected: &[Value],
    found: &[Value],
    columns: &BTreeMap<String, Column>,
    last_of: Option<&[String]>,
) -> Result<(), String> {
    let expected: Vec<Row> = expected.iter().map(|row| Row::expected(row, columns)).collect();
    let mut found: Vec<Row> = found.iter().map(|row| Row::found(row, columns)).collect();
    if let Some(key) = last_of {
        found = last(found, key);
    }
    let fractions = fractions(&expected, &found, columns);
    let (mut groups, mut differences) = (BTreeMap::<Vec<(String, String)>, [Vec<Row>; 2]>::new(), Vec::new());
    let counts = (expected.len(), found.len());
    for (side, rows) in [expected, found].into_iter().enumerate() {
        for row in rows {
            groups.entry(exact_part(&row, &fractions)).or_default()[side].push(row);
        }
    }
    for [expected, found] in groups.into_values() {
        differences.extend(differing(expected, found, &fractions));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let mut text = format!("{} rows, {} expected; {} differ", counts.1, counts.0, differences.len());
    for difference in differences.iter().take(TOLD_MAX) {
        text.push_str("; ");
        text.push_str(difference);
    }
    Err(text)
}

/// Of rows with the same key columns the last one, where the first one stood.
fn last(rows: Vec<Row>, key: &[String]) -> Vec<Row> {
    let (mut places, mut kept) = (BTreeMap::new(), Vec::<Row>::new());
    for row in rows {
        let of_row: Vec<Option<Cell>> = key.iter().map(|column| row.cells.get(column).cloned()).collect();
        match places.entry(format!("{of_row:?}")) {
            std::collections::btree_map::Entry::Occupied(place) => kept[*place.get()] = row,
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(kept.len());
                kept.push(row);
            }
        }
    }
    kept
}

/// Columns in which any row has a fraction, and those declared so.
fn fractions(expected: &[Row], found: &[Row], columns: &Columns) -> Vec<String> {
    let mut fractions: Vec<String> =
        columns.iter().filter(|(_, column)| **column == Column::Number).map(|(name, _)| name.clone()).collect();
    for row in expected.iter().chain(found) {
        for (name, cell) in &row.cells {
            if matches!(cell, Cell::Number(_)) && !fractions.contains(name) {
                fractions.push(name.clone());
            }
        }
    }
    fractions
}

fn exact_part(row: &Row, fractions: &[String]) -> Vec<(String, String)> {
    let exact = row.cells.iter().filter_map(|(name, cell)| match cell {
        // A text among numbers is no number.
        Cell::Exact(text) if !fractions.contains(name) || text.parse::<f64>().is_err() => Some((name.clone(), text.clone())),
        Cell::Exact(_) | Cell::Number(_) => None,
    });
    exact.collect()
}

/// The numbers of a row, null as not there.
fn numbers(row: &Row, fractions: &[String]) -> Vec<Option<f64>> {
    let number = |name: &String| match row.cells.get(name)? {
        Cell::Number(number) => Some(*number),
        Cell::Exact(text) => text.parse().ok(),
    };
    fractions.iter().map(number).collect()
}

/// What is wrong in one group of rows that are equal in all that is exact.
fn differing(expected: Vec<Row>, found: Vec<Row>, fractions: &[String]) -> Vec<String> {
    let sorted = |rows: Vec<Row>| {
        let mut rows: Vec<_> = rows.into_iter().map(|row| (numbers(&row, fractions), row)).collect();
        rows.sort_by(|(a, _), (b, _)| order(a, b));
        rows
    };
    let (expected, mut found) = (sorted(expected), sorted(found));
    let mut missing = Vec::new();
    for (numbers, row) in expected {
        // In order the partner is the first one left, but for neighbours that only differ by what they may.
        match found.iter().position(|(other, _)| are_near(&numbers, other)) {
            Some(partner) => drop(found.remove(partner)),
            None => missing.push(row),
        }
    }
    let mut unexpected = found.into_iter().map(|(_, row)| row);
    let mut told = Vec::new();
    for row in missing {
        match unexpected.next() {
            Some(other) => told.push(format!("expected {row}, found {other}")),
            None => told.push(format!("missing {row}")),
        }
    }
    told.extend(unexpected.map(|row| format!("not expected {row}")));
    told
}

fn order(a: &[Option<f64>], b: &[Option<f64>]) -> std::cmp::Ordering {
    let key = |number: &Option<f64>| number.map_or((0, 0.0), |number| (1, number));
    let pairs = a.iter().map(key).zip(b.iter().map(key));
    pairs.map(|(a, b)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
}

fn are_near(a: &[Option<f64>], b: &[Option<f64>]) -> bool {
    a.iter().zip(b).all(|(a, b)| match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a == b || (a - b).abs() <= (RELATIVE * a.abs().max(b.abs())).max(NOTHING),
        (Some(_), None) | (None, Some(_)) => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Column, compare};

    fn outcome(expected: Value, found: Value, last_of: Option<&[String]>) -> Result<(), String> {
        let columns = [("at".to_owned(), Column::Time { unit_micros: 1_000 }), ("sum".to_owned(), Column::Number)];
        let rows = |value: Value| value.as_array().expect("rows").clone();
        compare(&rows(expected), &rows(found), &columns.into_iter().collect(), last_of)
    }

    #[track_caller]
    fn same(expected: Value, found: Value) {
        assert_eq!(outcome(expected, found, None), Ok(()));
    }

    #[track_caller]
    fn differ(expected: Value, found: Value, why: &str) {
        assert_eq!(outcome(expected, found, None), Err(why.to_owned()));
    }

    #[test]
    fn rows_are_sets_times_are_instants_and_null_is_nothing() {
        same(
            json!([{"at": 1_500, "k": "a"}, {"at": 2_000, "k": null}]),
            json!([{"at": "1970-01-01T00:00:02Z", "_offset": 1}, {"at": "1970-01-01T00:00:01.500Z", "k": "a", "_time": "x"}]),
        );
        same(json!([{"at": 1_500}]), json!([{"at": 1_500}]));
        same(json!([{"a.b": 1}]), json!([{"a": {"b": 1}}]));
        same(json!([{"n": 2.0}]), json!([{"n": 2}]));
        same(json!([{"sum": 12.5}, {"sum": 3}]), json!([{"sum": 3.0}, {"sum": "12.5"}]));
    }

    #[test]
    fn numbers_are_as_near_as_nine_digits() {
        same(json!([{"x": 1.000_000_000_1}, {"x": 0.0}]), json!([{"x": 1.0}, {"x": 1e-14}]));
        differ(
            json!([{"k": 1, "x": 1.000_001}]),
            json!([{"k": 1, "x": 1.0}]),
            "1 rows, 1 expected; 1 differ; expected {k: 1, x: 1.000001}, found {k: 1, x: 1}",
        );
        // A partner within the tolerance is found wherever rounding put it.
        same(
            json!([{"x": 1.0, "y": 2.5}, {"x": 1.000_000_000_1, "y": 1.5}]),
            json!([{"x": 1.0, "y": 1.5}, {"x": 1.0, "y": 2.5}]),
        );
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        differ(json!([{"k": 1}]), json!([]), "0 rows, 1 expected; 1 differ; missing {k: 1}");
        differ(json!([{"k": 1}]), json!([{"k": 1}, {"k": 1}]), "2 rows, 1 expected; 1 differ; not expected {k: 1}");
        differ(
            json!([{"k": 1}]),
            json!([{"k": 1, "m": 2}]),
            "1 rows, 1 expected; 2 differ; missing {k: 1}; not expected {k: 1, m: 2}",
        );
        differ(json!([{"k": "1"}]), json!([{"k": 1}]), "1 rows, 1 expected; 2 differ; missing {k: \"1\"}; not expected {k: 1}");
        differ(json!([{"sum": null}]), json!([{"sum": 0}]), "1 rows, 1 expected; 1 differ; expected {}, found {sum: 0}");
    }

    #[test]
    fn of_updates_the_last_counts() {
        let key = ["k".to_owned()];
        let found = json!([{"k": "a", "n": 1}, {"k": "b", "n": 7}, {"k": "a", "n": 2}]);
        assert_eq!(outcome(json!([{"k": "b", "n": 7}, {"k": "a", "n": 2}]), found.clone(), Some(&key)), Ok(()));
        assert!(outcome(json!([{"k": "b", "n": 7}, {"k": "a", "n": 2}]), found, None).is_err());
    }
}
