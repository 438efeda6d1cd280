//! Random queries in the fields of a window, over one stream with every type of value.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::model::answer;
use crate::query::{Form, Query};
use crate::random::{Chance, Folder};

pub(super) fn write(folder: &Path, chance: &mut Chance, rows: usize, queries: usize) -> Result<()> {
    let mut folder = Folder::new(folder)?;
    let rows = stream(chance, rows);
    folder.file("things", &rows)?;
    for number in 0..queries {
        let mut query = query(chance, number);
        let parsed = Query::parse(&query)?;
        let Form::Window(window) = &parsed.form else { continue };
        let answered = answer(window, parsed.out_of_order, &rows);
        if parsed.out_of_order.is_some() {
            query["dropped_late"] = json!(answered.dropped_late);
        }
        folder.ask(query, &answered.rows)?;
    }
    folder.finish()
}

/// Rows around 1970, in bursts, many of one time, some behind; every value may be null.
fn stream(chance: &mut Chance, rows: usize) -> Vec<Value> {
    let (mut now, behind_ms) = (-60_000, chance.below(3) * 20_000);
    let mut of = |count: u64, value: &dyn Fn(&mut Chance) -> Value| -> Box<dyn FnMut(&mut Chance) -> Value> {
        let values: Vec<Value> = (0..count).map(|_| value(chance)).collect();
        Box::new(move |chance| values[chance.below(count) as usize].clone())
    };
    // Multiples of a quarter: their sums are exact in any order.
    let mut text = of(5, &|chance| json!(chance.one(&["", "x", "it's", "Zürich", "a\"b", "日本", "x y"])));
    let mut number = of(40, &|chance| json!(chance.below(2_000) as i64 - 1_000));
    let mut fraction = of(60, &|chance| json!((chance.below(8_000) as f64 - 4_000.0) / 4.0));
    let mut rows: Vec<Value> = (0..rows)
        .map(|seq| {
            now += match chance.below(10) {
                0..5 => 0,
                5..9 => chance.below(2_000) as i64,
                _ => chance.below(40_000) as i64,
            };
            let time = now - if chance.below(4) == 0 { chance.below(behind_ms + 1) as i64 } else { 0 };
            let mut row = json!({"seq": seq, "ts_ms": time, "name": text(chance), "n": number(chance), "x": fraction(chance),
                "flag": chance.below(2) == 0, "user": {"tier": chance.below(3), "home": text(chance)}, "order": number(chance),
                "user-agent": text(chance), "Größe in m²": fraction(chance)});
            for field in ["name", "n", "x", "flag", "user", "user-agent"] {
                match chance.below(20) {
                    0 | 1 => row[field] = Value::Null,
                    2 => drop(row.as_object_mut().map(|row| row.remove(field))),
                    _ => {}
                }
            }
            row
        })
        .collect();
    // Types are read off the whole file: one row has a value of each.
    rows[0] = json!({"seq": 0, "ts_ms": -60_000, "name": "x", "n": 1, "x": 0.25, "flag": true, "user": {"tier": 0, "home": "h"}, "order": 1,
        "user-agent": "a", "Größe in m²": 0.5});
    rows
}

fn query(chance: &mut Chance, number: usize) -> Value {
    let size_ms = [1, 7, 250, 1_000, 10_000, 60_000, 3_600_000][chance.below(7) as usize];
    let offset_ms = [0, 0, 0, 3, -1, 999][chance.below(6) as usize];
    let window = match chance.below(6) {
        0 | 1 => json!({"type": "tumbling", "size_ms": size_ms, "offset_ms": offset_ms}),
        2 | 3 => {
            // Windows that overlap, touch, leave gaps, and do not fit each other's lengths.
            let slide_ms = match chance.below(5) {
                0 => size_ms,
                1 => size_ms * 2 + 1,
                2 => (size_ms / 4).max(1),
                3 => (size_ms * 2 / 7).max(1),
                _ => (size_ms / 9).max(1),
            };
            json!({"type": "hopping", "size_ms": size_ms, "slide_ms": slide_ms, "offset_ms": offset_ms})
        }
        4 => json!({"type": "session", "gap_ms": size_ms}),
        _ => json!({"type": "count", "size": 1 + chance.below(9)}),
    };
    let takes_lateness = matches!(window["type"].as_str(), Some("tumbling" | "hopping"));
    let keys = [
        json!([]),
        json!(["name"]),
        json!(["flag"]),
        json!(["n"]),
        json!(["name", "flag"]),
        json!(["user.tier"]),
        json!(["x", "name"]),
        json!(["user-agent"]),
    ];
    let mut query = json!({"id": format!("random-{number}"), "stream": "things", "window": window});
    query["key"] = keys[chance.below(keys.len() as u64) as usize].clone();
    let mut aggregates = vec![json!(["count"])];
    let functions = ["sum", "min", "max", "avg", "stddev_pop", "count_distinct", "first", "last"];
    for _ in 0..chance.below(5) {
        let function = functions[chance.below(functions.len() as u64) as usize];
        let fields: &[&str] = match function {
            "count_distinct" | "first" | "last" => &["name", "n", "x", "flag", "user.home", "order", "user-agent"],
            "min" | "max" => &["name", "n", "x", "order", "ts_ms"],
            _ => &["n", "x", "order", "user.tier", "Größe in m²"],
        };
        let aggregate = json!([function, fields[chance.below(fields.len() as u64) as usize]]);
        if !aggregates.contains(&aggregate) {
            aggregates.push(aggregate);
        }
    }
    query["aggregates"] = json!(aggregates);
    let comparisons = ["=", "!=", "<", "<=", ">", ">="];
    let conditions: Vec<Value> = (0..chance.below(3).saturating_sub(chance.below(2)))
        .map(|_| {
            let comparison = comparisons[chance.below(6) as usize];
            match chance.below(7) {
                0 => json!(["name", comparison, "it's"]),
                1 => json!(["n", comparison, chance.below(500) as i64 - 250]),
                2 => json!(["x", comparison, 0.5]),
                3 => json!(["flag", "=", chance.below(2) == 0]),
                4 => json!(["user.tier", comparison, 1]),
                5 => json!(["name", "in", ["x", "Zürich", "it's"]]),
                _ => json!(["n", if chance.below(2) == 0 { "is_null" } else { "is_not_null" }, null]),
            }
        })
        .collect();
    if !conditions.is_empty() {
        query["where"] = json!(conditions);
    }
    if takes_lateness && chance.below(2) == 0 {
        let lateness_ms = [0, 0, 1, 5_000][chance.below(4) as usize];
        let lag_ms = [0, 1, 500, 15_000][chance.below(4) as usize];
        query["out_of_order"] = json!({"lag_ms": lag_ms, "allowed_lateness_ms": lateness_ms});
    }
    query
}
