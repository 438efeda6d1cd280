//! Sliced windows against a model that keeps every row of every window, under every cut, watermark and restart.

use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_event::{Field, FieldType};

use crate::window::example::{Happens, Row, Schedule, Told, any_rows, any_schedule, run};
use crate::{Aggregate, AggregateCall, Judged, Order, SlicedWindow, Slicing, StepId, Ties, Top, WindowSettings};

/// What is tested, in µs.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Hopping { size: i64, every: i64, offset: i64 },
    Cumulating { size: i64, step: i64 },
    Global,
}

fn us(micros: i64) -> Duration {
    Duration::from_micros(micros as u64)
}

impl Kind {
    fn slicing(self) -> Slicing {
        match self {
            Self::Hopping { size, every, offset } => Slicing::hopping(us(size), us(every), us(offset)),
            Self::Cumulating { size, step } => Slicing::cumulating(us(size), us(step), us(0)),
            Self::Global => Ok(Slicing::global()),
        }
        .expect("durations")
    }

    /// All windows around an instant, ascending by end.
    fn windows(self, time: i64) -> Vec<(i64, i64)> {
        let within =
            |windows: Vec<(i64, i64)>| windows.into_iter().filter(|(start, end)| (*start..*end).contains(&time)).collect();
        match self {
            Self::Hopping { size, every, offset } => {
                within((-400..400).map(|k| (k * every + offset, k * every + offset + size)).collect())
            }
            Self::Cumulating { size, step } => {
                let start = time.div_euclid(size) * size;
                within((1..=size / step).map(|k| (start, start + k * step)).collect())
            }
            Self::Global => vec![(i64::MIN, i64::MAX)],
        }
    }
}

fn call(name: &str, aggregate: Aggregate) -> AggregateCall {
    let argument = (name != "n").then(|| Field::new("v", FieldType::Int64, true));
    AggregateCall { name: name.into(), aggregate, argument, filter: None }
}

fn window(kind: Kind, keyed: bool, reversible: bool, lateness: i64, top: Option<usize>) -> SlicedWindow {
    let top = top.map(|n| Top {
        n,
        per: Vec::new(),
        order: vec![Order { column: "total".into(), is_descending: true, nulls_first: true }],
        ties: Ties::Apart,
        rank: "rank".into(),
    });
    let all = [
        call("n", Aggregate::Count),
        call("total", Aggregate::Sum),
        call("least", Aggregate::Min),
        call("first", Aggregate::First),
        call("last", Aggregate::Last),
    ];
    let settings = WindowSettings {
        step: StepId(1),
        by: if keyed { vec![Field::new("k", FieldType::String, true)] } else { Vec::new() },
        aggregates: if reversible { vec![call("n", Aggregate::Count), call("total", Aggregate::Sum)] } else { all.into() },
        components: Vec::new(),
        lateness: us(lateness),
        judged: Judged::ByLane,
        top,
    };
    SlicedWindow::new(kind.slicing(), settings).expect("aggregates of integers")
}

type Window = BTreeMap<Option<String>, Vec<Row>>;

/// `n total least first last` of rows in the order of arrival.
fn said(rows: &[Row]) -> [Option<i64>; 5] {
    let there = || rows.iter().filter(|row| row.value.is_some());
    [
        Some(rows.len() as i64),
        there().next().map(|_| there().filter_map(|row| row.value).sum()),
        there().filter_map(|row| row.value).min(),
        there().min_by_key(|row| row.time).and_then(|row| row.value),
        there().max_by_key(|row| row.time).and_then(|row| row.value),
    ]
}

/// Lines of a window's panes; of the first `top` by total, null the greatest, then key.
fn lines(
    keys: &Window,
    bounds: (i64, i64),
    time: i64,
    (keyed, reversible): (bool, bool),
    top: Option<usize>,
    origin: &str,
) -> Vec<String> {
    let show = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
    let mut panes: Vec<(&Option<String>, [Option<i64>; 5])> = keys.iter().map(|(key, rows)| (key, said(rows))).collect();
    if let Some(top) = top {
        panes.sort_by_key(|(_, said)| (said[1].is_some(), std::cmp::Reverse(said[1])));
        panes.truncate(top);
    }
    let line = |(place, (key, said)): (usize, (&Option<String>, [Option<i64>; 5]))| {
        let mut cells = Vec::new();
        if keyed {
            cells.push(key.clone().unwrap_or("-".to_owned()));
        }
        if bounds.0 > i64::MIN {
            cells.extend([bounds.0.to_string(), bounds.1.to_string()]);
        }
        cells.extend(said.into_iter().take(if reversible { 2 } else { 5 }).map(show));
        if top.is_some() {
            cells.push((place + 1).to_string());
        }
        format!("{origin}: {} @{time}", cells.join(" "))
    };
    panes.into_iter().enumerate().map(line).collect()
}

/// Rows one by one, windows as lists of rows.
fn model(
    kind: Kind,
    keyed: bool,
    reversible: bool,
    lateness: i64,
    top: Option<usize>,
    rows: &[Row],
    schedule: &Schedule,
) -> Told {
    let mut told = Told::default();
    let mut windows: BTreeMap<(i64, i64), Window> = BTreeMap::new();
    let (mut emitted, mut newest) = (i64::MIN, i64::MIN);
    schedule.play(rows, |happens| match happens {
        Happens::Row(number, row, watermark) => {
            let of = kind.windows(row.time);
            let (gone, open): (Vec<_>, Vec<_>) = of.into_iter().partition(|(_, end)| end.saturating_add(lateness) <= watermark);
            told.dropped_late += gone.len() as u64;
            if open.is_empty() {
                if !gone.is_empty() {
                    told.late.push(number);
                }
                return;
            }
            told.late_partial += u64::from(!gone.is_empty());
            newest = newest.max(row.time);
            let key = if keyed { row.key_text() } else { None };
            for (start, end) in open {
                windows.entry((end, start)).or_default().entry(key.clone()).or_default().push(row.clone());
            }
            // All of them have the row before any is told.
            let again: Vec<_> =
                windows.keys().copied().filter(|(end, start)| *end <= watermark && (*start..*end).contains(&row.time)).collect();
            for (end, start) in again {
                let window = &windows[&(end, start)];
                let only: Window = if top.is_some() { window.clone() } else { [(key.clone(), window[&key].clone())].into() };
                told.rows.extend(lines(&only, (start, end), end - 1, (keyed, reversible), top, &number.to_string()));
            }
        }
        Happens::Watermark(watermark, origin) => {
            let origin = origin.map_or("-".to_owned(), |origin| origin.to_string());
            for ((end, start), keys) in &windows {
                if *end > emitted && *end <= watermark {
                    let time = if *end == i64::MAX { newest } else { end - 1 };
                    told.rows.extend(lines(keys, (*start, *end), time, (keyed, reversible), top, &origin));
                }
            }
            emitted = emitted.max(watermark);
            windows.retain(|(end, _), _| end.saturating_add(lateness) > watermark);
        }
    });
    told
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => (1i64..15, 0i64..15).prop_map(|(size, offset)| Kind::Hopping { size, every: size, offset }),
        4 => (1i64..20, 1i64..9, 0i64..9).prop_map(|(size, every, offset)| Kind::Hopping { size, every, offset }),
        2 => (1i64..6, 1i64..6).prop_map(|(steps, step)| Kind::Cumulating { size: steps * step, step }),
        1 => Just(Kind::Global),
    ]
}

proptest! {
    #[test]
    fn panes_are_those_of_the_model(
        kind in any_kind(), keyed in any::<bool>(), reversible in any::<bool>(), lateness in prop_oneof![2 => Just(0i64), 1 => 1i64..15], top in proptest::option::weighted(0.2, 1usize..3),
        rows in any_rows(40), schedule in any_schedule()
    ) {
        let told = run(|| window(kind, keyed, reversible, lateness, top), &rows, &schedule);
        prop_assert_eq!(told, model(kind, keyed, reversible, lateness, top, &rows, &schedule));
    }
}

/// Rows `a@3` or `a@3=7`, taken in one batch; out-of-orderness first.
fn check(kind: Kind, lateness: i64, out_of_orderness: i64, rows: &str, expected: Expect) {
    let rows: Vec<Row> = rows
        .split_whitespace()
        .map(|row| {
            let (key, rest) = row.split_once('@').expect("k@t");
            let (time, value) = rest.split_once('=').unwrap_or((rest, "1"));
            Row {
                key: Some(key.as_bytes()[0] - b'a'),
                time: time.parse().expect("a time"),
                value: Some(value.parse().expect("a value")),
            }
        })
        .collect();
    let schedule = Schedule { cuts: vec![(100, false, false)], clock: BTreeMap::new(), out_of_orderness, ends: false };
    let told = run(|| window(kind, true, false, lateness, None), &rows, &schedule);
    expected.assert_eq(&format!(
        "{}\nlate {:?} dropped {} partial {}",
        told.rows.join("\n"),
        told.late,
        told.dropped_late,
        told.late_partial
    ));
}

/// The notes' example: 130 closes `[100, 110)`, 109 is late, 111 is on time.
#[test]
fn a_row_is_judged_by_the_watermark_before_it() {
    let tumbling = Kind::Hopping { size: 10, every: 10, offset: 0 };
    check(
        tumbling,
        0,
        20,
        "a@100 a@130 a@109 a@111",
        expect![[r#"
        1: a 100 110 1 1 1 1 1 @109
        late [2] dropped 1 partial 0"#]],
    );
    check(
        tumbling,
        5,
        20,
        "a@100 a@130 a@109 a@135 a@109",
        expect![[r#"
        1: a 100 110 1 1 1 1 1 @109
        2: a 100 110 2 2 1 1 1 @109
        late [4] dropped 1 partial 0"#]],
    );
}

#[test]
fn a_row_that_missed_some_windows_is_in_the_others() {
    check(
        Kind::Hopping { size: 10, every: 5, offset: 0 },
        0,
        0,
        "a@3 a@10 a@7 a@15",
        expect![[r#"
        1: a -5 5 1 1 1 1 1 @4
        1: a 0 10 1 1 1 1 1 @9
        3: a 5 15 2 2 1 1 1 @14
        late [] dropped 1 partial 1"#]],
    );
}
