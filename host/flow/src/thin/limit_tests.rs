//! Limits against a model that keeps every row that passed and tries every stretch.

use std::time::Duration;

use proptest::prelude::*;
use tidemill_event::{EventTime, Field, FieldType};

use super::{Limit, LimitSettings};
use crate::window::example::{Happens, Row, Schedule, Told, any_rows, any_schedule, batch_of, run};
use crate::{FlowBatch, Judged, Marks, Operator, Outcome, StepId, Watermark};

#[derive(Debug, Clone, Copy)]
struct Case {
    keyed: bool,
    rows: u32,
    per: i64,
    lateness: i64,
    is_flagged: bool,
}

fn any_case() -> impl Strategy<Value = Case> {
    (any::<bool>(), 1u32..4, 1i64..15, 0i64..15, any::<bool>()).prop_map(|(keyed, rows, per, lateness, is_flagged)| Case {
        keyed,
        rows,
        per,
        lateness,
        is_flagged,
    })
}

fn limit(case: Case) -> Limit {
    Limit::new(LimitSettings {
        step: StepId(1),
        by: if case.keyed { vec![Field::new("k", FieldType::String, true)] } else { Vec::new() },
        rows: case.rows,
        per: Duration::from_micros(case.per as u64),
        lateness: Duration::from_micros(case.lateness as u64),
        judged: Judged::ByLane,
        flag: case.is_flagged.then(|| "beyond".into()),
    })
}

/// Nothing is ever forgotten here: what the operator forgets must not show.
fn model(case: Case, rows: &[Row], schedule: &Schedule) -> Told {
    let mut told = Told::default();
    let mut passed: Vec<&Row> = Vec::new();
    schedule.play(rows, |happens| {
        let Happens::Row(number, row, watermark) = happens else { return };
        if row.time.saturating_add(case.lateness) < watermark {
            told.late.push(number);
            told.dropped_late += 1;
            return;
        }
        let near = |from: i64| {
            let of_key = passed.iter().filter(|other| !case.keyed || other.key == row.key);
            of_key.filter(|other| (from..from + case.per).contains(&other.time)).count()
        };
        let is_beyond = (row.time - case.per + 1..=row.time).any(|from| near(from) >= case.rows as usize);
        if !is_beyond {
            passed.push(row);
        }
        if case.is_flagged || !is_beyond {
            let flag = if case.is_flagged { format!(" {is_beyond}") } else { String::new() };
            let shown = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
            let key = row.key_text().unwrap_or("-".to_owned());
            told.rows.push(format!("{number}: {key} {}{flag} @{}", shown(row.value), row.time));
        }
    });
    told
}

proptest! {
    #[test]
    fn limits_are_those_of_the_model(case in any_case(), rows in any_rows(40), schedule in any_schedule()) {
        prop_assert_eq!(run(|| limit(case), &rows, &schedule), model(case, &rows, &schedule));
    }
}

#[test]
fn what_no_row_can_be_near_is_freed_and_what_went_is_counted() {
    let mut dedupe = limit(Case { keyed: true, rows: 1, per: 10, lateness: 5, is_flagged: false });
    let row = |key, time| Row { key: Some(key), time, value: None };
    let rows = [row(0, 0), row(0, 9), row(0, 10), row(1, 12)];
    let mut output = Outcome::new(EventTime(0)).with_marks(Marks::steady(Watermark(0), 4));
    let made = dedupe.apply(FlowBatch::new(batch_of(&rows, false)), &mut output);
    assert_eq!((made.origin, output.dropped), (vec![0, 2, 3], vec![(StepId(1), 1)]));
    let mut kept_at = |watermark: i64| {
        let marks = Marks::passing(Watermark(0), Watermark(watermark));
        let mut output = Outcome::new(EventTime(0)).with_marks(marks);
        dedupe.apply(FlowBatch::new(batch_of(&[], false)), &mut output);
        let state = dedupe.state().expect("it has state");
        (state.len(), state.take_changes().iter().filter(|change| change.value.is_none()).count())
    };
    // A row at 10 is remembered until 25, one at 12 until 27.
    assert_eq!([kept_at(24), kept_at(25), kept_at(26), kept_at(27)], [(2, 0), (1, 1), (1, 0), (0, 1)]);
}
