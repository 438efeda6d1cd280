//! Random pipelines over two streams, each with the rows a nested loop says it must give.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::random::{Chance, Folder};

/// A row of either stream.
#[derive(Debug, Clone)]
struct Row {
    seq: i64,
    time: i64,
    key: Option<String>,
    value: Option<i64>,
}

/// A pipeline without sources' disorder, a name and targets, and what it must give.
struct Case {
    pipeline: Value,
    answer: Vec<Value>,
}

pub(super) fn write(folder: &Path, chance: &mut Chance, rows: usize, queries: usize) -> Result<()> {
    let mut folder = Folder::new(folder)?;
    let [left, right] = [stream(chance, rows), stream(chance, rows)];
    for (name, rows) in [("left", &left), ("right", &right)] {
        let row = |row: &Row| json!({"seq": row.seq, "ts_ms": row.time, "k": row.key, "v": row.value});
        folder.file(name, &rows.iter().map(row).collect::<Vec<_>>())?;
    }
    for number in 0..queries {
        let case = match number % 7 {
            0 | 1 => interval_join(chance, &left, &right),
            2 => window_join(chance, &left, &right),
            3 => over(chance, &left),
            4 => top(chance, &left),
            5 => cumulating(chance, &left),
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

/// What a join asks of a pair beside equal keys, in SQL and in words of ours.
type Residual = (&'static str, fn(&Row, &Row) -> bool);

const RESIDUALS: [Residual; 4] = [
    ("", |_, _| true),
    (" and a.seq <> b.seq", |a, b| a.seq != b.seq),
    (" and a.v < b.v", |a, b| a.value.zip(b.value).is_some_and(|(a, b)| a < b)),
    (" and a.v + b.v > 3", |a, b| a.value.zip(b.value).is_some_and(|(a, b)| a + b > 3)),
];
const JOINS: [&str; 6] = ["inner", "left", "right", "full", "semi", "anti"];

fn sides() -> Value {
    json!([{"stream": "left", "as": "a"}, {"stream": "right", "as": "b"}])
}

/// Pairs of one extent, and rows of it that have no partner: `say` gives the row of a result.
fn joined(
    kind: &str,
    left: &[&Row],
    right: &[&Row],
    holds: impl Fn(&Row, &Row) -> bool,
    mut say: impl FnMut(Option<&Row>, Option<&Row>),
) {
    let mut matched = vec![false; right.len()];
    for a in left {
        let mut partners = 0;
        for (b, is_matched) in right.iter().zip(&mut matched) {
            if a.key.is_some() && a.key == b.key && holds(a, b) {
                partners += 1;
                *is_matched = true;
                if !matches!(kind, "semi" | "anti") {
                    say(Some(a), Some(b));
                }
            }
        }
        match kind {
            "semi" if partners > 0 => say(Some(a), None),
            "left" | "full" | "anti" if partners == 0 => say(Some(a), None),
            _ => {}
        }
    }
    if matches!(kind, "right" | "full") {
        right.iter().zip(matched).filter(|(_, is_matched)| !is_matched).for_each(|(b, _)| say(None, Some(b)));
    }
}

/// What a join's row says, by the columns that its kind has.
fn selected(kind: &str) -> Map<String, Value> {
    let mut select = Map::from_iter([("s".to_owned(), json!("a.seq")), ("k".to_owned(), json!("a.k"))]);
    if !matches!(kind, "semi" | "anti") {
        select.insert("t".to_owned(), json!("b.seq"));
    }
    select
}

fn said(a: Option<&Row>, b: Option<&Row>) -> Value {
    json!({"s": a.map(|a| a.seq), "k": a.and_then(|a| a.key.clone()), "t": b.map(|b| b.seq)})
}

fn interval_join(chance: &mut Chance, left: &[Row], right: &[Row]) -> Case {
    let (kind, (residual, holds)) = (chance.one(&JOINS), RESIDUALS[chance.below(4) as usize]);
    let low = [0, 0, -500, -3_000, 100][chance.below(5) as usize];
    let high = low + [0, 1, 700, 5_000][chance.below(4) as usize];
    let mut answer = Vec::new();
    let (left, right): (Vec<&Row>, Vec<&Row>) = (left.iter().collect(), right.iter().collect());
    let within = |a: &Row, b: &Row| (low..=high).contains(&(b.time - a.time)) && holds(a, b);
    joined(kind, &left, &right, within, |a, b| answer.push(said(a, b)));
    let join = json!({"kind": kind, "on": format!("a.k = b.k{residual}"), "within": [format!("{low}ms"), format!("{high}ms")]});
    Case { pipeline: json!({"from": sides(), "steps": [{"join": join}, {"select": selected(kind)}]}), answer }
}

fn window_join(chance: &mut Chance, left: &[Row], right: &[Row]) -> Case {
    let (kind, (residual, holds)) = (chance.one(&JOINS), RESIDUALS[chance.below(4) as usize]);
    let (size, slide) = [(1_000, 1_000), (3_000, 3_000), (3_000, 1_000), (2_500, 1_000)][chance.below(4) as usize];
    let window = if size == slide {
        json!({"tumbling": format!("{size}ms")})
    } else {
        json!({"hopping": {"size": format!("{size}ms"), "every": format!("{slide}ms")}})
    };
    let mut windows = BTreeMap::<i64, [Vec<&Row>; 2]>::new();
    for (side, rows) in [left, right].into_iter().enumerate() {
        for row in rows {
            starts(row.time, size, slide).for_each(|start| windows.entry(start).or_default()[side].push(row));
        }
    }
    let mut answer = Vec::new();
    for (start, [left, right]) in windows {
        joined(kind, &left, &right, holds, |a, b| {
            let mut row = said(a, b);
            row["window_start"] = json!(start);
            row["window_end"] = json!(start + size);
            answer.push(row);
        });
    }
    let mut select = selected(kind);
    select.extend(["window_start", "window_end"].map(|name| (name.to_owned(), json!(name))));
    let join = json!({"kind": kind, "on": format!("a.k = b.k{residual}"), "window": window});
    Case { pipeline: json!({"from": sides(), "steps": [{"join": join}, {"select": select}]}), answer }
}

/// Where the windows begin that an instant is in.
fn starts(time: i64, size: i64, slide: i64) -> impl Iterator<Item = i64> {
    let last = time.div_euclid(slide) * slide;
    (0..).map(move |number| last - number * slide).take_while(move |start| start + size > time)
}

/// `n`, `s`, `lo`, `f`, `l` of rows in order.
fn aggregated(rows: &[&Row]) -> [Value; 5] {
    let values: Vec<i64> = rows.iter().filter_map(|row| row.value).collect();
    let some = |value: Option<i64>| json!(value);
    let sum = (!values.is_empty()).then(|| values.iter().sum());
    [
        json!(rows.len()),
        some(sum),
        some(values.iter().min().copied()),
        some(values.first().copied()),
        some(values.last().copied()),
    ]
}

const AGGREGATES: [(&str, &str); 5] = [("n", "count(*)"), ("s", "sum(v)"), ("lo", "min(v)"), ("f", "first(v)"), ("l", "last(v)")];

fn aggregates() -> Map<String, Value> {
    AGGREGATES.iter().map(|(name, sql)| ((*name).to_owned(), json!(sql))).collect()
}

fn named(row: &mut Value, values: [Value; 5]) {
    AGGREGATES.iter().zip(values).for_each(|((name, _), value)| row[*name] = value);
}

fn in_order(rows: &[Row]) -> Vec<&Row> {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| (row.time, row.seq));
    rows
}

fn over(chance: &mut Chance, rows: &[Row]) -> Case {
    let (back, is_keyed) = (1 + chance.below(6) as usize, chance.below(3) > 0);
    let mut answer = Vec::new();
    let mut before = BTreeMap::<Option<String>, Vec<&Row>>::new();
    for row in in_order(rows) {
        let of_key = before.entry(row.key.clone().filter(|_| is_keyed)).or_default();
        of_key.push(row);
        let mut said = json!({"seq": row.seq});
        named(&mut said, aggregated(&of_key[of_key.len().saturating_sub(back)..]));
        answer.push(said);
    }
    let by: &[&str] = if is_keyed { &["k"] } else { &[] };
    let mut select: Map<String, Value> = AGGREGATES.iter().map(|(name, _)| ((*name).to_owned(), json!(name))).collect();
    select.insert("seq".to_owned(), json!("seq"));
    let steps = json!([{"over": {"by": by, "rows": back, "select": aggregates()}}, {"select": select}]);
    Case { pipeline: json!({"from": "left", "steps": steps}), answer }
}

fn top(chance: &mut Chance, rows: &[Row]) -> Case {
    let (n, ties_all, is_per) = (1 + chance.below(3) as usize, chance.below(2) == 0, chance.below(2) == 0);
    let (size, is_descending) = ([500, 2_000, 10_000][chance.below(3) as usize], chance.below(2) == 0);
    let mut counts = BTreeMap::<i64, BTreeMap<(Option<String>, Option<i64>), i64>>::new();
    for row in rows {
        let window = counts.entry(row.time.div_euclid(size) * size).or_default();
        *window.entry((row.key.clone(), row.value)).or_default() += 1;
    }
    let mut answer = Vec::new();
    for (start, keys) in counts {
        let mut groups = BTreeMap::<Option<String>, Vec<_>>::new();
        for ((key, value), count) in keys {
            groups.entry(key.clone().filter(|_| is_per)).or_default().push((
                if is_descending { -count } else { count },
                key,
                value,
            ));
        }
        for mut group in groups.into_values() {
            // Keys that are equal stand in their order: null first.
            group.sort();
            for (place, (count, key, value)) in group.iter().enumerate() {
                let rank =
                    if ties_all { group.iter().position(|(other, ..)| other == count).unwrap_or(place) } else { place } + 1;
                if rank <= n {
                    answer.push(json!({"window_start": start, "k": key, "v": value, "n": count.abs(), "rank": rank}));
                }
            }
        }
    }
    let mut top = json!({"n": n, "order": [if is_descending { "n desc" } else { "n" }], "as": "rank"});
    if ties_all {
        top["ties"] = json!("all");
    }
    if is_per {
        top["per"] = json!(["k"]);
    }
    let window = json!({"tumbling": format!("{size}ms"), "by": ["k", "v"], "select": {"n": "count(*)"}, "top": top});
    let select = json!({"window_start": "window_start", "k": "k", "v": "v", "n": "n", "rank": "rank"});
    Case { pipeline: json!({"from": "left", "steps": [{"window": window}, {"select": select}]}), answer }
}

fn cumulating(chance: &mut Chance, rows: &[Row]) -> Case {
    let step = [250, 1_000][chance.below(2) as usize];
    let size = step * (1 + chance.below(6) as i64);
    let mut windows = BTreeMap::<(i64, i64, Option<String>), Vec<&Row>>::new();
    for row in in_order(rows) {
        let start = row.time.div_euclid(size) * size;
        let ends = (1..=size / step).map(|number| start + number * step);
        ends.filter(|end| *end > row.time).for_each(|end| windows.entry((start, end, row.key.clone())).or_default().push(row));
    }
    let said = |((start, end, key), rows): ((i64, i64, Option<String>), Vec<&Row>)| {
        let mut said = json!({"window_start": start, "window_end": end, "k": key});
        named(&mut said, aggregated(&rows));
        said
    };
    let window =
        json!({"cumulating": {"size": format!("{size}ms"), "step": format!("{step}ms")}, "by": ["k"], "select": aggregates()});
    Case { pipeline: json!({"from": "left", "steps": [{"window": window}]}), answer: windows.into_iter().map(said).collect() }
}

/// Both streams as one, filtered, counted per key in small windows, and those counts in larger ones.
fn windows_behind(chance: &mut Chance, left: &[Row], right: &[Row]) -> Case {
    let (small, large, least) =
        ([100, 500][chance.below(2) as usize], [2_000, 7_000][chance.below(2) as usize], chance.below(10) as i64 - 9);
    let mut counts = BTreeMap::<(i64, Option<String>), i64>::new();
    for row in left.iter().chain(right).filter(|row| row.value.is_some_and(|value| value >= least)) {
        *counts.entry((row.time.div_euclid(small) * small, row.key.clone())).or_default() += 1;
    }
    // A result has the last instant of its window.
    let mut sums = BTreeMap::<i64, (i64, i64, i64)>::new();
    for ((start, _), count) in counts {
        let last_micros = (start + small) * 1_000 - 1;
        let (results, rows, most) = sums.entry(last_micros.div_euclid(large * 1_000) * large).or_default();
        (*results, *rows, *most) = (*results + 1, *rows + count, (*most).max(count));
    }
    let said = |(start, (results, rows, most))| json!({"window_start": start, "window_end": start + large, "results": results, "rows": rows, "most": most});
    let steps = json!([
        {"where": format!("v >= ({least})")},
        {"window": {"tumbling": format!("{small}ms"), "by": ["k"], "select": {"n": "count(*)"}}},
        {"window": {"tumbling": format!("{large}ms"), "by": [], "select": {"results": "count(*)", "rows": "sum(n)", "most": "max(n)"}}},
    ]);
    Case { pipeline: json!({"from": ["left", "right"], "steps": steps}), answer: sums.into_iter().map(said).collect() }
}
