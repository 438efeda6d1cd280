//! Rows that find partners: joins by time, by window, as of a time, and lookups in a table.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::random::Chance;
use crate::random::pipelines::{Case, Row};

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

pub(super) fn interval_join(chance: &mut Chance, left: &[Row], right: &[Row]) -> Case {
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

pub(super) fn window_join(chance: &mut Chance, left: &[Row], right: &[Row]) -> Case {
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

/// The one right row of the same key that is newest before a left row, first behind it, or nearest.
pub(super) fn as_of_join(chance: &mut Chance, left: &[Row], right: &[Row]) -> Case {
    let (kind, direction) = (chance.one(&["inner", "left"]), chance.one(&["backward", "forward", "nearest"]));
    let tolerance_ms = [None, Some(0), Some(300), Some(4_000)][chance.below(4) as usize];
    let mut answer = Vec::new();
    for a in left {
        let is_candidate = |b: &&Row| {
            let apart = b.time - a.time;
            let is_beside = match direction {
                "backward" => apart <= 0,
                "forward" => apart >= 0,
                _ => true,
            };
            a.key.is_some() && a.key == b.key && is_beside && tolerance_ms.is_none_or(|tolerance_ms| apart.abs() <= tolerance_ms)
        };
        // Of two as near the later, of one time the last that came.
        let best = right.iter().filter(is_candidate).min_by_key(|b| ((b.time - a.time).abs(), -b.time, -b.seq));
        if best.is_some() || kind == "left" {
            answer.push(said(Some(a), best));
        }
    }
    let mut join = json!({"kind": kind, "on": "a.k = b.k", "as_of": direction});
    if let Some(tolerance_ms) = tolerance_ms {
        join["tolerance"] = json!(format!("{tolerance_ms}ms"));
    }
    Case { pipeline: json!({"from": sides(), "steps": [{"join": join}, {"select": selected(kind)}]}), answer }
}

const NAMES: [(&str, &str); 4] = [("a", "Anna"), ("b", "Bert"), ("d", "Dora"), ("z", "Zoe")];

/// A table that has some of the keys; it has no times, so it is none of the streams.
pub(super) fn table() -> Vec<Value> {
    NAMES.iter().map(|(key, name)| json!({"key": key, "name": name})).collect()
}

pub(super) fn lookup(chance: &mut Chance, rows: &[Row]) -> Case {
    let missing = chance.one(&["drop", "null"]);
    let mut answer = Vec::new();
    for row in rows {
        let found = NAMES.iter().find(|(key, _)| row.key.as_deref() == Some(key)).map(|(_, name)| name);
        if found.is_some() || missing == "null" {
            answer.push(json!({"seq": row.seq, "who": found}));
        }
    }
    let lookup = json!({"table": "names", "on": "k = key", "take": ["name as who"], "missing": missing});
    Case { pipeline: json!({"from": "left", "steps": [{"lookup": lookup}, {"select": {"seq": "seq", "who": "who"}}]}), answer }
}
