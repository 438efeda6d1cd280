//! Rows that are put together: over rows, in windows, ranked, windows behind windows; and rows that are let go.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::random::Chance;
use crate::random::pipelines::{Case, Row};

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

pub(super) fn over(chance: &mut Chance, rows: &[Row]) -> Case {
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

pub(super) fn top(chance: &mut Chance, rows: &[Row]) -> Case {
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

pub(super) fn cumulating(chance: &mut Chance, rows: &[Row]) -> Case {
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
pub(super) fn windows_behind(chance: &mut Chance, left: &[Row], right: &[Row]) -> Case {
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

/// Of the rows of a key those that are far enough from all that went on before them.
pub(super) fn dedupe(chance: &mut Chance, rows: &[Row]) -> Case {
    let within_ms = [1, 200, 3_000][chance.below(3) as usize];
    let mut passed = BTreeMap::<Option<String>, Vec<i64>>::new();
    let mut answer = Vec::new();
    for row in rows {
        let of_key = passed.entry(row.key.clone()).or_default();
        if of_key.iter().all(|time| (time - row.time).abs() >= within_ms) {
            of_key.push(row.time);
            answer.push(json!({"seq": row.seq}));
        }
    }
    let steps = json!([{"dedupe": {"by": ["k"], "within": format!("{within_ms}ms")}}, {"select": {"seq": "seq"}}]);
    Case { pipeline: json!({"from": "left", "steps": steps}), answer }
}
