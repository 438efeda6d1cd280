//! The window join against a model that pairs all rows of a window, under every cut, watermark and restart.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::join::example::{Differs, Held, Told, any_kind, any_sides, lane, lanes, run, shown, side};
use crate::window::example::Row;
use crate::{JoinKind, Judged, Predicate, Side, Slicing, StepId, WindowJoin, WindowJoinSettings};

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: JoinKind,
    keyed: bool,
    condition: bool,
    size: i64,
    every: i64,
}

fn any_case() -> impl Strategy<Value = Case> {
    (any_kind(), any::<bool>(), any::<bool>(), 1i64..12, 1i64..8, any::<bool>()).prop_map(
        |(kind, keyed, condition, size, every, tumbling)| Case {
            kind,
            keyed,
            condition,
            size,
            every: if tumbling { size } else { every },
        },
    )
}

fn join(case: Case) -> WindowJoin {
    let us = |micros: i64| Duration::from_micros(micros as u64);
    WindowJoin::new(WindowJoinSettings {
        step: StepId(1),
        kind: case.kind,
        slicing: Slicing::hopping(us(case.size), us(case.every), us(0)).expect("durations"),
        left: side("a", case.keyed),
        right: side("b", case.keyed),
        condition: case.condition.then(|| Box::new(Differs) as Box<dyn Predicate>),
        judged: Judged::ByLane,
    })
}

fn windows(case: Case, time: i64) -> Vec<i64> {
    let ends = (-200..200).map(|k| k * case.every + case.size);
    ends.filter(|end| (end - case.size..*end).contains(&time)).collect()
}

/// What comes out of a window with these rows, in the order of arrival.
fn pairs(case: Case, end: i64, rows: &[Held], origin: &str, told: &mut Told) {
    let has_right = !matches!(case.kind, JoinKind::Semi | JoinKind::Anti);
    let line = |left: Option<&Held>, right: Option<&Held>| {
        let right = if has_right { format!(" {}", shown(right)) } else { String::new() };
        format!("{origin}: {}{right} {} {end} @{}", shown(left), end - case.size, end - 1)
    };
    let mut keys: BTreeMap<Option<String>, (Vec<&Held>, Vec<&Held>)> = BTreeMap::new();
    for held in rows {
        let of = keys.entry(if case.keyed { held.row.key_text() } else { None }).or_default();
        if held.side == Side::Left { of.0.push(held) } else { of.1.push(held) }
    }
    for (key, (mut left, mut right)) in keys {
        left.sort_by_key(|held| held.row.time);
        right.sort_by_key(|held| held.row.time);
        let mut is_matched = vec![false; right.len()];
        for a in left {
            let mut matches = 0;
            for (b, is_matched) in right.iter().zip(&mut is_matched) {
                if case.keyed && key.is_none() {
                    continue;
                }
                if case.condition {
                    let (Some(one), Some(other)) = (a.row.value, b.row.value) else { continue };
                    if one + other == 9 {
                        told.dead += 1;
                        continue;
                    }
                    if one == other {
                        continue;
                    }
                }
                *is_matched = true;
                matches += 1;
                if has_right || case.kind == JoinKind::Semi && matches == 1 {
                    told.rows.push(line(Some(a), Some(b)));
                }
            }
            if matches == 0 && matches!(case.kind, JoinKind::Left | JoinKind::Full | JoinKind::Anti) {
                told.rows.push(line(Some(a), None));
            }
        }
        if matches!(case.kind, JoinKind::Right | JoinKind::Full) {
            told.rows
                .extend(right.iter().zip(is_matched).filter(|(_, is_matched)| !is_matched).map(|(b, _)| line(None, Some(b))));
        }
    }
}

fn model(case: Case, rows: &[(Side, Row)], bounds: [u64; 2], ends: bool) -> Told {
    let (mut told, mut lanes) = (Told::default(), lanes(bounds));
    let mut open: BTreeMap<i64, Vec<Held>> = BTreeMap::new();
    let close = |open: &mut BTreeMap<i64, Vec<Held>>, watermark: i64, origin: &str, told: &mut Told| {
        while let Some(first) = open.first_entry().filter(|first| *first.key() <= watermark) {
            pairs(case, *first.key(), first.get(), origin, told);
            first.remove();
        }
    };
    for (number, (side, row)) in rows.iter().enumerate() {
        let marks = lanes.rows(lane(*side), &[row.time]);
        let of = windows(case, row.time);
        let counted: Vec<i64> = of.iter().copied().filter(|end| *end > marks.judge(0).0).collect();
        if counted.is_empty() && !of.is_empty() {
            told.late.push(number);
        }
        for end in counted {
            open.entry(end).or_default().push(Held { side: *side, row: row.clone(), has_match: false });
        }
        close(&mut open, marks.end().0, &number.to_string(), &mut told);
    }
    if ends {
        for side in [Side::Left, Side::Right] {
            close(&mut open, lanes.end(lane(side)).end().0, "-", &mut told);
        }
    }
    told
}

proptest! {
    #[test]
    fn pairs_are_those_of_the_model(
        case in any_case(), rows in any_sides(30), bounds in proptest::array::uniform2(0u64..10), ends in any::<bool>(),
        cuts in proptest::collection::vec((1usize..9, any::<bool>(), any::<bool>()), 1..6)
    ) {
        prop_assert_eq!(run(&|| join(case), &rows, bounds, ends, &cuts), model(case, &rows, bounds, ends));
    }
}
