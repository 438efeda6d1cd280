//! Rows of two sides, a condition, and how a join is run over them; for tests.

use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, BooleanArray, RecordBatch};
use proptest::prelude::*;
use tidemill_event::batch::times;
use tidemill_event::{EventTime, Field, FieldType};

use crate::window::example::{Row, Stored, any_rows, batch_of, cell, cut};
use crate::{FlowBatch, JoinKind, JoinSide, LaneId, Lanes, Marks, Operator, Outcome, Predicate, Side, Tested, TimeSettings};

/// `a.v <> b.v`; null is no; it fails where their sum is 9.
pub(crate) struct Differs;

impl Predicate for Differs {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let column = |name| rows.column_by_name(name).expect("both sides").as_primitive::<Int64Type>();
        let (a, b) = (column("a.v"), column("b.v"));
        let passes: BooleanArray = a.iter().zip(b).map(|(a, b)| Some(a? != b?)).collect();
        let failed = (0..a.len()).filter(|row| a.is_valid(*row) && b.is_valid(*row) && a.value(*row) + b.value(*row) == 9);
        Tested { passes, failed: failed.map(|row| (row, "nine".to_owned())).collect() }
    }
}

pub(crate) fn lanes(bounds: [u64; 2]) -> Lanes {
    let time = TimeSettings { idle_after: None, bound: None, drift_max: None };
    Lanes::new(time, &bounds.map(Duration::from_micros))
}

pub(crate) fn lane(side: Side) -> LaneId {
    LaneId(side as u32)
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) rows: Vec<String>,
    pub(crate) late: Vec<usize>,
    pub(crate) dead: usize,
}

/// A row of one side, as the model keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) side: Side,
    pub(crate) row: Row,
    pub(crate) has_match: bool,
}

pub(crate) fn shown(side: Option<&Held>) -> String {
    side.map_or("- -".to_owned(), |held| {
        let show = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
        format!("{} {}", held.row.key_text().unwrap_or("-".to_owned()), show(held.row.value))
    })
}

/// Runs a join over rows of both sides, each a lane, in batches of one side; `ends`: to the end of time, and then nothing may be kept.
pub(crate) fn run<O: Operator>(
    make: &impl Fn() -> O,
    rows: &[(Side, Row)],
    bounds: [u64; 2],
    ends: bool,
    cuts: &[(usize, bool, bool)],
) -> Told {
    let (mut told, mut lanes, mut operator) = (Told::default(), lanes(bounds), make());
    let (mut stored, mut from, mut cuts) = (Stored::default(), 0, cuts.iter().cycle());
    let mut take = |operator: &mut O, batch: RecordBatch, side: Side, marks: Marks, first: Option<usize>| {
        let due = operator.due();
        let (end, is_empty) = (marks.end(), batch.num_rows() == 0);
        let mut output = Outcome::new(EventTime(0)).with_marks(marks).from_side(side);
        let made = operator.apply(FlowBatch::new(batch), &mut output);
        assert!(made.origin.is_sorted());
        assert!(!is_empty || made.is_empty() || due.is_some_and(|due| due <= end));
        for row in 0..made.len() {
            let cells: Vec<String> = made.rows.columns().iter().map(|column| cell(column.as_ref(), row)).collect();
            let origin = first.map_or("-".to_owned(), |first| (first + made.origin[row] as usize).to_string());
            let (time, cells) = cells.split_last().expect("a time");
            told.rows.push(format!("{origin}: {} @{time}", cells.join(" ")));
        }
        told.dead += output.dead.len();
        for late in output.late {
            told.late.extend(late.rows.origin.iter().map(|row| first.expect("a row") + *row as usize));
        }
    };
    while from < rows.len() {
        let (length, dictionary, is_stored) = *cuts.next().expect("a cycle");
        let side = rows[from].0;
        let batch: Vec<Row> = rows[from..].iter().take(length).take_while(|row| row.0 == side).map(|row| row.1.clone()).collect();
        let events = batch_of(&batch, dictionary);
        let marks = lanes.rows(lane(side), times(&events).values());
        take(&mut operator, events, side, marks, Some(from));
        from += batch.len();
        operator = cut(operator, make, &mut stored, (length, is_stored));
    }
    if ends {
        for side in [Side::Left, Side::Right] {
            take(&mut operator, batch_of(&[], false), side, lanes.end(lane(side)), None);
        }
        assert_eq!(operator.state().expect("it has state").len(), 0, "nothing is kept for ever");
    }
    told
}

/// Rows of either side.
pub(crate) fn any_sides(most: usize) -> impl Strategy<Value = Vec<(Side, Row)>> {
    let side = any::<bool>().prop_map(|right| if right { Side::Right } else { Side::Left });
    (proptest::collection::vec(side, most), any_rows(most)).prop_map(|(sides, rows)| sides.into_iter().zip(rows).collect())
}

pub(crate) fn any_kind() -> impl Strategy<Value = JoinKind> {
    prop_oneof![
        2 => Just(JoinKind::Inner), 1 => Just(JoinKind::Left), 1 => Just(JoinKind::Right),
        2 => Just(JoinKind::Full), 1 => Just(JoinKind::Semi), 1 => Just(JoinKind::Anti)
    ]
}

/// Rows `k`, `v`, joined by `k` if `keyed`.
pub(crate) fn side(alias: &str, keyed: bool) -> JoinSide {
    let key = Field::new("k", FieldType::String, true);
    JoinSide {
        alias: alias.into(),
        fields: vec![key.clone(), Field::new("v", FieldType::Int64, true)],
        key: if keyed { vec![key] } else { Vec::new() },
    }
}
