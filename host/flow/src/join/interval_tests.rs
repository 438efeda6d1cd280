//! The interval join against a model that compares every row with every other, under every cut, watermark and restart.

use proptest::prelude::*;

use crate::join::example::{Differs, Held, Told, any_kind, any_sides, lane, lanes, run, shown, side};
use crate::window::example::Row;
use crate::{IntervalJoin, JoinKind, JoinSettings, Judged, Marks, Predicate, Side, StepId};

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: JoinKind,
    keyed: bool,
    condition: bool,
    low: Option<i64>,
    high: Option<i64>,
}

fn any_case() -> impl Strategy<Value = Case> {
    let bounds = (-8i64..8, 0i64..10, any::<u8>());
    (any_kind(), any::<bool>(), any::<bool>(), bounds).prop_map(|(kind, keyed, condition, (low, width, open))| Case {
        kind,
        keyed,
        condition,
        low: (open % 8 != 0).then_some(low),
        high: (open / 8 % 8 != 0).then_some(low + width),
    })
}

fn join(case: Case) -> IntervalJoin {
    IntervalJoin::new(JoinSettings {
        step: StepId(1),
        kind: case.kind,
        left: side("a", case.keyed),
        right: side("b", case.keyed),
        low_micros: case.low,
        high_micros: case.high,
        condition: case.condition.then(|| Box::new(Differs) as Box<dyn Predicate>),
        judged: Judged::ByLane,
    })
}

fn model(case: Case, rows: &[(Side, Row)], bounds: [u64; 2], ends: bool) -> Told {
    let (mut told, mut lanes, mut held) = (Told::default(), lanes(bounds), Vec::<Held>::new());
    let last = |held: &Held| match (held.side, case.low, case.high) {
        (Side::Left, _, Some(high)) => held.row.time + high.max(0),
        (Side::Right, Some(low), _) => held.row.time - low.min(0),
        _ => i64::MAX - 1,
    };
    let has_right = !matches!(case.kind, JoinKind::Semi | JoinKind::Anti);
    let line = |origin: &str, left: Option<&Held>, right: Option<&Held>, time: i64| {
        let right = if has_right { format!(" {}", shown(right)) } else { String::new() };
        format!("{origin}: {}{right} @{time}", shown(left))
    };
    let forget = |held: &mut Vec<Held>, told: &mut Told, marks: &Marks, origin: &str| {
        // In the order of arrival, so that a stable sort leaves rows of one time as they came.
        let (mut gone, stay): (Vec<Held>, Vec<Held>) = held.drain(..).partition(|held| marks.end().0 > last(held));
        *held = stay;
        gone.sort_by_key(|held| (last(held), held.side, held.row.time));
        for row in gone {
            let keeps = match row.side {
                Side::Left => matches!(case.kind, JoinKind::Left | JoinKind::Full | JoinKind::Anti),
                Side::Right => matches!(case.kind, JoinKind::Right | JoinKind::Full),
            };
            if keeps && !row.has_match {
                let time = if last(&row) == i64::MAX - 1 { row.row.time } else { last(&row) };
                let (left, right) = if row.side == Side::Left { (Some(&row), None) } else { (None, Some(&row)) };
                told.rows.push(line(origin, left, right, time));
            }
        }
    };
    for (number, (side, row)) in rows.iter().enumerate() {
        let marks = lanes.rows(lane(*side), &[row.time]);
        let mut new = Held { side: *side, row: row.clone(), has_match: false };
        if marks.judge(0).0 > last(&new) {
            told.late.push(number);
        } else {
            let mut partners: Vec<&mut Held> =
                held.iter_mut().filter(|other| other.side != *side && marks.before(0).0 <= last(other)).collect();
            partners.sort_by_key(|other| other.row.time);
            for other in partners {
                let (left, right) = if *side == Side::Left { (&new, &*other) } else { (&*other, &new) };
                let apart = right.row.time - left.row.time;
                let is_within = case.low.is_none_or(|low| apart >= low) && case.high.is_none_or(|high| apart <= high);
                if !is_within || case.keyed && (left.row.key.is_none() || left.row.key != right.row.key) {
                    continue;
                }
                if case.condition {
                    let (Some(a), Some(b)) = (left.row.value, right.row.value) else { continue };
                    if a + b == 9 {
                        told.dead += 1;
                        continue;
                    }
                    if a == b {
                        continue;
                    }
                }
                let is_told = match case.kind {
                    JoinKind::Semi => !left.has_match,
                    JoinKind::Anti => false,
                    _ => true,
                };
                if is_told {
                    told.rows.push(line(&number.to_string(), Some(left), Some(right), left.row.time.max(right.row.time)));
                }
                new.has_match = true;
                other.has_match = true;
            }
            held.push(new);
        }
        forget(&mut held, &mut told, &marks, &number.to_string());
    }
    if ends {
        for side in [Side::Left, Side::Right] {
            forget(&mut held, &mut told, &lanes.end(lane(side)), "-");
        }
    }
    told
}

/// Every pair within the bounds is told when no row is behind its lane's watermark, also where the bounds leave out a row's own time.
#[test]
fn rows_on_time_are_never_late() {
    let row = |time: i64| Row { key: Some(0), time, value: Some(1) };
    for (low, high) in [(-30, -30), (-30, -10), (10, 30), (-5, 5), (0, 0)] {
        let case = Case { kind: JoinKind::Inner, keyed: true, condition: false, low: Some(low), high: Some(high) };
        // Time goes ahead in tens, each side's second row as far behind as it may be.
        let rows: Vec<(Side, Row)> = (0..20)
            .flat_map(|step| {
                [
                    (Side::Left, row(step * 10)),
                    (Side::Right, row(step * 10)),
                    (Side::Left, row(step * 10 - 7)),
                    (Side::Right, row(step * 10 - 7)),
                ]
            })
            .collect();
        let told = run(&|| join(case), &rows, [7, 7], true, &[(3, false, false)]);
        assert_eq!(told.late, Vec::<usize>::new(), "{low} to {high}");
        let of = |wanted: Side| rows.iter().filter(move |(side, _)| *side == wanted).map(|(_, row)| row.time);
        let pairs = of(Side::Left).flat_map(|a| of(Side::Right).map(move |b| b - a)).filter(|apart| (low..=high).contains(apart));
        assert_eq!(told.rows.len(), pairs.count(), "{low} to {high}");
    }
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
