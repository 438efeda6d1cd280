//! The as-of join against a model that keeps every row and looks at all of them, under every cut, watermark and restart.

use proptest::prelude::*;

use crate::join::as_of::{AsOf, AsOfJoin, AsOfSettings};
use crate::join::example::{Held, Told, any_sides, lane, lanes, run, shown, side};
use crate::window::example::Row;
use crate::{Judged, Side, StepId};

#[derive(Debug, Clone, Copy)]
struct Case {
    direction: AsOf,
    keeps_unmatched: bool,
    keyed: bool,
    tolerance: Option<i64>,
}

fn any_case() -> impl Strategy<Value = Case> {
    let direction = prop_oneof![Just(AsOf::Backward), Just(AsOf::Forward), Just(AsOf::Nearest)];
    (direction, any::<bool>(), any::<bool>(), proptest::option::of(0i64..12))
        .prop_map(|(direction, keeps_unmatched, keyed, tolerance)| Case { direction, keeps_unmatched, keyed, tolerance })
}

fn join(case: Case) -> AsOfJoin {
    AsOfJoin::new(AsOfSettings {
        step: StepId(1),
        keeps_unmatched: case.keeps_unmatched,
        left: side("a", case.keyed),
        right: side("b", case.keyed),
        direction: case.direction,
        tolerance_micros: case.tolerance,
        judged: Judged::ByLane,
    })
}

/// The partner of a left row among all right rows that ever came, and the last instant at which another could have.
fn partner<'a>(case: Case, left: &Row, rights: &'a [Row]) -> (i64, Option<&'a Row>) {
    if case.keyed && left.key.is_none() {
        return (left.time, None);
    }
    let never = i64::MAX - 1;
    let limit = case.tolerance.map_or(never, |tolerance| left.time + tolerance);
    let near = rights.iter().enumerate().filter(|(_, right)| {
        let is_near = case.tolerance.is_none_or(|tolerance| (right.time - left.time).abs() <= tolerance);
        let is_there = match case.direction {
            AsOf::Backward => right.time <= left.time,
            AsOf::Forward => right.time >= left.time,
            AsOf::Nearest => true,
        };
        is_near && is_there && (!case.keyed || right.key == left.key)
    });
    // The nearest, of those the latest, of those the last that came.
    let best = near.min_by_key(|(number, right)| ((right.time - left.time).abs(), -right.time, -(*number as i64)));
    let best = best.map(|(_, right)| right);
    let last = match (case.direction, best) {
        (AsOf::Backward, _) => left.time,
        (AsOf::Forward, Some(right)) => right.time,
        (AsOf::Nearest, Some(right)) => left.time + (right.time - left.time).abs(),
        (AsOf::Forward | AsOf::Nearest, None) => limit,
    };
    (last.min(limit), best)
}

fn model(case: Case, rows: &[(Side, Row)], bounds: [u64; 2], ends: bool) -> Told {
    let (mut told, mut lanes) = (Told::default(), lanes(bounds));
    let (mut waiting, mut rights): (Vec<Row>, Vec<Row>) = (Vec::new(), Vec::new());
    let let_out = |waiting: &mut Vec<Row>, rights: &[Row], watermark: i64, origin: &str, told: &mut Told| {
        let (mut due, still): (Vec<Row>, Vec<Row>) = waiting.drain(..).partition(|row| partner(case, row, rights).0 < watermark);
        *waiting = still;
        due.sort_by_key(|row| partner(case, row, rights).0);
        for row in due {
            let (last, best) = partner(case, &row, rights);
            if best.is_none() && !case.keeps_unmatched {
                continue;
            }
            let held = |side, row: &Row| Held { side, row: row.clone(), has_match: false };
            let time = if last == i64::MAX - 1 { row.time } else { last };
            let right = best.map(|right| held(Side::Right, right));
            told.rows.push(format!("{origin}: {} {} @{time}", shown(Some(&held(Side::Left, &row))), shown(right.as_ref())));
        }
    };
    for (number, (side, row)) in rows.iter().enumerate() {
        let marks = lanes.rows(lane(*side), &[row.time]);
        if row.time < marks.judge(0).0 {
            told.late.push(number);
        } else {
            (if *side == Side::Left { &mut waiting } else { &mut rights }).push(row.clone());
        }
        let_out(&mut waiting, &rights, marks.end().0, &number.to_string(), &mut told);
    }
    if ends {
        for side in [Side::Left, Side::Right] {
            let marks = lanes.end(lane(side));
            let_out(&mut waiting, &rights, marks.end().0, "-", &mut told);
        }
    }
    told
}

proptest! {
    #[test]
    fn partners_are_those_of_the_model(
        case in any_case(), rows in any_sides(30), bounds in proptest::array::uniform2(0u64..10), ends in any::<bool>(),
        cuts in proptest::collection::vec((1usize..9, any::<bool>(), any::<bool>()), 1..6)
    ) {
        prop_assert_eq!(run(&|| join(case), &rows, bounds, ends, &cuts), model(case, &rows, bounds, ends));
    }
}
