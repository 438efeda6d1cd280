//! Sessions and counted windows against models that keep every row.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tidemill_event::{Field, FieldType};

use crate::window::example::{Happens, Row, Schedule, Told, any_rows, any_schedule, run};
use crate::{Aggregate, AggregateCall, CountWindow, Gap, Judged, SessionRefused, SessionWindow, StepId, WindowSettings};

fn settings(keyed: bool) -> WindowSettings {
    let value = Some(Field::new("v", FieldType::Int64, true));
    let call = |name: &str, aggregate, argument| AggregateCall { name: name.into(), aggregate, argument, filter: None };
    WindowSettings {
        step: StepId(1),
        by: if keyed { vec![Field::new("k", FieldType::String, true)] } else { Vec::new() },
        aggregates: vec![
            call("n", Aggregate::Count, None),
            call("total", Aggregate::Sum, value.clone()),
            call("first", Aggregate::First, value.clone()),
            call("last", Aggregate::Last, value),
        ],
        components: Vec::new(),
        lateness: Duration::ZERO,
        judged: Judged::ByLane,
        top: None,
    }
}

/// `n total first last` of rows in the order of arrival.
fn said(rows: &[Row]) -> String {
    let show = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
    let there = || rows.iter().filter(|row| row.value.is_some());
    let total = there().next().map(|_| there().filter_map(|row| row.value).sum());
    let first = there().min_by_key(|row| row.time).and_then(|row| row.value);
    let last = there().max_by_key(|row| row.time).and_then(|row| row.value);
    format!("{} {} {} {}", rows.len(), show(total), show(first), show(last))
}

fn key_of(row: &Row, keyed: bool) -> Option<String> {
    if keyed { row.key_text() } else { None }
}

fn shown(key: &Option<String>, keyed: bool) -> String {
    if keyed { format!("{} ", key.clone().unwrap_or("-".to_owned())) } else { String::new() }
}

/// Key, start, until, rows in the order of arrival.
type OpenSession = (Option<String>, i64, i64, Vec<(usize, Row)>);

/// Sessions as lists of rows, found again after each.
fn sessions(keyed: bool, gap: Option<i64>, rows: &[Row], schedule: &Schedule) -> Told {
    let mut told = Told::default();
    let reach = |row: &Row| gap.unwrap_or(row.value.unwrap_or(-1));
    let mut open: Vec<OpenSession> = Vec::new();
    schedule.play(rows, |happens| match happens {
        Happens::Row(number, row, watermark) => {
            if reach(row) < 0 {
                told.dead.push("`v` is the session's gap, and null or negative".to_owned());
                return;
            }
            let (key, mut start, mut until) = (key_of(row, keyed), row.time, row.time + reach(row));
            if until < watermark {
                told.late.push(number);
                told.dropped_late += 1;
                return;
            }
            let mut all = vec![(number, row.clone())];
            // Touching only the row counts, not what the row brings together: sessions of one key never touch each other.
            let (touched, others) = std::mem::take(&mut open)
                .into_iter()
                .partition(|(other, from, to, _)| *other == key && row.time <= *to && row.time + reach(row) >= *from);
            open = others;
            for (_, from, to, rows) in touched {
                (start, until) = (start.min(from), until.max(to));
                all.extend(rows);
            }
            all.sort_by_key(|(number, _)| *number);
            open.push((key, start, until, all));
        }
        Happens::Watermark(watermark, origin) => {
            let (mut closed, still): (Vec<_>, Vec<_>) =
                std::mem::take(&mut open).into_iter().partition(|(_, _, until, _)| *until < watermark);
            open = still;
            closed.sort_by_key(|(key, _, until, _)| (*until, key.clone()));
            let origin = origin.map_or("-".to_owned(), |origin| origin.to_string());
            for (key, start, until, rows) in closed {
                let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
                told.rows.push(format!("{origin}: {}{start} {until} {} @{until}", shown(&key, keyed), said(&rows)));
            }
        }
    });
    told
}

fn counted(keyed: bool, size: usize, rows: &[Row]) -> Told {
    let mut told = Told::default();
    let mut filling: BTreeMap<Option<String>, (usize, Vec<Row>)> = BTreeMap::new();
    for (number, row) in rows.iter().enumerate() {
        let key = key_of(row, keyed);
        let (window, of_window) = filling.entry(key.clone()).or_default();
        of_window.push(row.clone());
        if of_window.len() == size {
            let newest = of_window.iter().map(|row| row.time).max().expect("rows");
            told.rows.push(format!("{number}: {}{window} {} @{newest}", shown(&key, keyed), said(of_window)));
            *window += 1;
            of_window.clear();
        }
    }
    told
}

proptest! {
    #[test]
    fn sessions_are_those_of_the_model(keyed in any::<bool>(), gap in proptest::option::weighted(0.8, 0i64..12), rows in any_rows(40), schedule in any_schedule()) {
        let make = || {
            let gap = gap.map_or(Gap::Column("v".into()), |gap| Gap::Fixed(Duration::from_micros(gap as u64)));
            SessionWindow::new(gap, settings(keyed)).expect("sessions")
        };
        let told = run(make, &rows, &schedule);
        prop_assert_eq!(told, sessions(keyed, gap, &rows, &schedule));
    }

    #[test]
    fn counted_windows_are_those_of_the_model(keyed in any::<bool>(), size in 1u32..6, rows in any_rows(40), mut schedule in any_schedule()) {
        schedule.ends = false;
        let told = run(|| CountWindow::new(size, settings(keyed)).expect("windows"), &rows, &schedule);
        prop_assert_eq!(told, counted(keyed, size as usize, &rows));
    }
}

#[test]
fn lateness_is_refused() {
    let settings = WindowSettings { lateness: Duration::from_secs(1), ..settings(true) };
    let refused = SessionWindow::new(Gap::Fixed(Duration::from_secs(1)), settings).err();
    assert_eq!(refused, Some(SessionRefused::Lateness));
}
