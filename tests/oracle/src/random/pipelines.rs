//! Random pipelines over two streams, each with the rows a nested loop says it must give.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::random::aggregates::{cumulating, dedupe, over, top, windows_behind};
use crate::random::joins::{as_of_join, interval_join, lookup, table, window_join};
use crate::random::{Chance, Folder};

/// A row of either stream.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) time: i64,
    pub(super) key: Option<String>,
    pub(super) value: Option<i64>,
}

/// A pipeline without sources' disorder, a name and targets, and what it must give.
pub(super) struct Case {
    pub(super) pipeline: Value,
    pub(super) answer: Vec<Value>,
}

pub(super) fn write(folder: &Path, chance: &mut Chance, rows: usize, queries: usize) -> Result<()> {
    let mut folder = Folder::new(folder)?;
    let [left, right] = [stream(chance, rows), stream(chance, rows)];
    for (name, rows) in [("left", &left), ("right", &right)] {
        let row = |row: &Row| json!({"seq": row.seq, "ts_ms": row.time, "k": row.key, "v": row.value});
        folder.file(name, &rows.iter().map(row).collect::<Vec<_>>())?;
    }
    folder.file("names", &table())?;
    for number in 0..queries {
        let case = match number % 10 {
            0 | 1 => interval_join(chance, &left, &right),
            2 => window_join(chance, &left, &right),
            3 => as_of_join(chance, &left, &right),
            4 => lookup(chance, &left),
            5 => over(chance, &left),
            6 => top(chance, &left),
            7 => cumulating(chance, &left),
            8 => dedupe(chance, &left),
            _ => windows_behind(chance, &left, &right),
        };
        folder.ask(json!({"id": format!("random-{number}"), "pipeline": case.pipeline}), &case.answer)?;
    }
    folder.finish()
}

/// Rows in bursts, many of one time, some behind, some without a key or a value.
fn stream(chance: &mut Chance, rows: usize) -> Vec<Row> {
    let (mut now, behind_ms) = (-5_000, 1 + chance.below(2_000));
    let row = |seq| {
        now += if chance.below(2) == 0 { 0 } else { chance.below(400) as i64 };
        let time = now - if chance.below(5) == 0 { chance.below(behind_ms) as i64 } else { 0 };
        let key = (chance.below(12) > 0).then(|| chance.one(&["a", "b", "c", "d", "e"]).to_owned());
        let value = (chance.below(12) > 0).then(|| chance.below(20) as i64 - 10);
        Row { seq: seq as i64, time, key, value }
    };
    let mut rows: Vec<Row> = (0..rows).map(row).collect();
    // Types are read off the whole file.
    rows[0] = Row { seq: 0, time: -5_000, key: Some("a".to_owned()), value: Some(0) };
    rows
}
