//! Lanes against a slow model under every cut, and what clocks do to them.

use std::time::Duration;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_event::EventTime;

use crate::time::{ClockStep, LaneId, Lanes, TimeSettings, Watermark};

fn settings(idle: Option<u64>, bound: Option<u64>, drift: Option<u64>) -> TimeSettings {
    let micros = |limit: Option<u64>| limit.map(Duration::from_micros);
    TimeSettings { idle_after: micros(idle), bound: micros(bound), drift_max: micros(drift) }
}

fn lanes(settings: TimeSettings, out_of_orderness: &[u64]) -> Lanes {
    Lanes::new(settings, &out_of_orderness.iter().map(|bound| Duration::from_micros(*bound)).collect::<Vec<_>>())
}

/// `0:5,7` rows of lane 0 · `1-9` lane 1 is silent at 9 · `1!` busy · `tick@20` or `tick@20/15` (somebody waits for 15) · `0.` it ends.
fn check(settings: TimeSettings, out_of_orderness: &[u64], script: &str, expected: Expect) {
    let mut lanes = lanes(settings, out_of_orderness);
    let mut told = Vec::new();
    for word in script.split_whitespace() {
        if let Some(tick) = word.strip_prefix("tick@") {
            let (now, wanted) = tick.split_once('/').map_or((tick, None), |(now, wanted)| (now, Some(wanted)));
            let number = |text: &str| text.parse::<i64>().expect("a number");
            let (now, wanted) = (EventTime(number(now)), wanted.map(|wanted| Watermark(number(wanted))));
            let wakes_at = lanes.wakes_at(wanted);
            let step = lanes.tick(now, wanted);
            assert_eq!(step.is_some(), wakes_at.is_some_and(|at| at <= now), "{word}: it wakes at {wakes_at:?}");
            if let Some(step) = step {
                lanes.apply(&step);
            }
        } else {
            let (id, rest) = word.split_at(1);
            let id = LaneId(id.parse().expect("a lane"));
            match rest.split_at(1) {
                (":", times) => {
                    let times: Vec<i64> = times.split(',').map(|time| time.parse().expect("a time")).collect();
                    lanes.rows(id, &times);
                }
                ("-", now) => lanes.nothing(id, EventTime(now.parse().expect("a time"))),
                ("!", _) => lanes.busy(id),
                (".", _) => drop(lanes.end(id)),
                other => panic!("{other:?}"),
            }
        }
        let held: String =
            (0u32..).zip(lanes.view()).filter(|(_, lane)| lane.holds_back).map(|(id, _)| format!("<{id}")).collect();
        let mark = match lanes.watermark() {
            Watermark::NONE => "-".to_owned(),
            Watermark::END => "end".to_owned(),
            Watermark(time) => time.to_string(),
        };
        told.push(format!("{word}={mark}{held}"));
    }
    expected.assert_eq(&told.join(" "));
}

#[test]
fn the_slowest_holds_back() {
    check(
        settings(None, None, None),
        &[2, 0],
        "0:5,9,4 1:3 1:8 0:20 1. 0.",
        expect![["0:5,9,4=-<1 1:3=3<1 1:8=7<0 0:20=8<1 1.=18<0 0.=end"]],
    );
}

#[test]
fn an_idle_lane_holds_nothing_back_and_comes_back_at_the_tasks_watermark() {
    check(
        settings(Some(10), None, None),
        &[0, 0],
        "0:5 1-100 tick@109/9 tick@110 tick@110/9 0:7 1:3 1:9 0:12",
        expect![["0:5=-<1 1-100=-<1 tick@109/9=-<1 tick@110=-<1 tick@110/9=5<0 0:7=7<0 1:3=7<0<1 1:9=7<0 0:12=9<1"]],
    );
}

/// All are idle, and one that is ahead comes back: what it lets out is let out by its first row, and was not passed before it.
#[test]
fn what_a_lane_lets_out_as_it_wakes_is_on_time() {
    let mut by_clients = lanes(settings(Some(10), None, None), &[0, 0]);
    by_clients.rows(LaneId(0), &[5]);
    by_clients.rows(LaneId(1), &[50]);
    let mut by_tasks = by_clients.clone();
    for lanes in [&mut by_clients, &mut by_tasks] {
        [LaneId(0), LaneId(1)].into_iter().for_each(|id| lanes.nothing(id, EventTime(100)));
        // Nobody waits for more than there is: all fall idle, and time stands at 5.
        lanes.apply(&ClockStep { idle: vec![LaneId(0), LaneId(1)], watermark: None });
        assert_eq!(lanes.watermark(), Watermark(5));
    }
    for marks in [by_clients.rows(LaneId(1), &[60, 70]), by_tasks.written(LaneId(1), &[60, 70], &[], Watermark(70))] {
        assert_eq!((marks.lets_out(20), marks.before(0)), (Some(0), Watermark(5)));
        assert_eq!((marks.judge(0), marks.end()), (Watermark(50), Watermark(70)), "the lane's own promise holds");
    }
}

#[test]
fn time_in_which_a_lane_was_held_is_not_silence() {
    check(
        settings(Some(10), None, None),
        &[0, 0],
        "0:5 1-100 1! tick@115/9 1-116 tick@125/9 tick@126/9",
        expect![["0:5=-<1 1-100=-<1 1!=-<1 tick@115/9=-<1 1-116=-<1 tick@125/9=-<1 tick@126/9=5<0"]],
    );
}

#[test]
fn silence_of_all_lets_time_go_on_if_somebody_waits() {
    check(
        settings(None, Some(10), None),
        &[2],
        "0:50 0-100 tick@109/50 tick@110 tick@110/60 tick@110/58 tick@120/59 0:55 0:90",
        expect![["0:50=48 0-100=48 tick@109/50=48 tick@110=48 tick@110/60=48 tick@110/58=58 tick@120/59=68 0:55=68 0:90=88"]],
    );
}

#[test]
fn what_is_idle_has_not_ended() {
    check(
        settings(Some(10), None, None),
        &[0, 0],
        "0:5 1:3 1-100 tick@110/5 0. 1:7 1.",
        expect![["0:5=-<1 1:3=3<1 1-100=3<1 tick@110/5=5<0 0.=5 1:7=7<1 1.=end"]],
    );
}

#[test]
fn a_lane_far_ahead_is_not_read() {
    let mut lanes = lanes(settings(None, None, Some(10)), &[0, 0]);
    lanes.rows(LaneId(0), &[5]);
    lanes.rows(LaneId(1), &[15]);
    assert!(lanes.may_read(LaneId(0)) && lanes.may_read(LaneId(1)));
    lanes.rows(LaneId(1), &[16]);
    assert!(lanes.may_read(LaneId(0)) && !lanes.may_read(LaneId(1)));
    assert_eq!(lanes.view().iter().map(|lane| lane.is_ahead).collect::<Vec<_>>(), [false, true]);
    lanes.end(LaneId(0));
    assert!(lanes.may_read(LaneId(1)));
}

#[test]
fn rows_behind_their_writer_are_judged_by_it() {
    let mut lanes = lanes(settings(None, None, None), &[0, 0]);
    lanes.rows(LaneId(1), &[30]);
    let marks = lanes.written(LaneId(0), &[12, 7, 20], &[(1, Watermark(10))], Watermark(20));
    let judged: Vec<i64> = (0..3).map(|row| marks.judge(row).0).collect();
    assert_eq!(judged, [i64::MIN, 10, i64::MIN]);
    assert_eq!((marks.before(2), marks.end()), (Watermark::NONE, Watermark(20)));
}

proptest! {
    /// The watermark before each row is that of a model that takes rows one by one, wherever batches are cut; it is kept and read back.
    #[test]
    fn no_cut_shows(rows in proptest::collection::vec((0u32..3, -20i64..60), 0..60), cuts in proptest::collection::vec(1usize..9, 1..8), bounds in proptest::array::uniform3(0u64..9)) {
        let mut lanes = lanes(settings(None, None, None), &bounds);
        let mut expected = Vec::new();
        let (mut newest, mut least) = ([i64::MIN; 3], i64::MIN);
        for (lane, time) in &rows {
            let own = newest[*lane as usize].saturating_sub(bounds[*lane as usize] as i64).max(least);
            expected.push((least, if newest[*lane as usize] == i64::MIN { least } else { own }));
            newest[*lane as usize] = newest[*lane as usize].max(*time);
            least = least.max((0..3).map(|lane| newest[lane].saturating_sub(bounds[lane] as i64)).min().expect("three"));
        }
        let (mut from, mut seen) = (0, Vec::new());
        for cut in cuts.iter().cycle() {
            if from == rows.len() {
                break;
            }
            let lane = rows[from].0;
            let times: Vec<i64> = rows[from..].iter().take(*cut).take_while(|(other, _)| *other == lane).map(|(_, time)| *time).collect();
            let marks = lanes.rows(LaneId(lane), &times);
            seen.extend((0..times.len() as u32).map(|row| (marks.before(row).0, marks.judge(row).0)));
            from += times.len();
            let mut again = self::lanes(settings(None, None, None), &bounds);
            again.restore(lanes.watermark());
            for lane in (0..3).map(LaneId) {
                let bytes = lanes.encode(lane);
                prop_assert!(again.decode(lane, &bytes[1..]).is_none());
                again.decode(lane, &bytes).expect("what was kept");
            }
            lanes = again;
        }
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(lanes.watermark().0, least);
    }

    /// Whoever sleeps until `wakes_at` misses nothing that `tick` would say, and is not woken for nothing.
    #[test]
    fn nobody_sleeps_too_long(rows in proptest::collection::vec((0u32..3, 0i64..60), 0..9), silent in proptest::array::uniform3(proptest::option::of(0i64..50)), idle in proptest::option::of(1u64..40), bound in proptest::option::of(1u64..40), wanted in proptest::option::of(0i64..150)) {
        let mut lanes = lanes(settings(idle, bound, None), &[3, 0, 9]);
        rows.iter().for_each(|(lane, time)| drop(lanes.rows(LaneId(*lane), &[*time])));
        for (lane, since) in (0..).map(LaneId).zip(silent) {
            match since {
                Some(since) => lanes.nothing(lane, EventTime(since)),
                None => lanes.busy(lane),
            }
        }
        // A step that waits for what has come has acted.
        let wanted = wanted.map(Watermark).filter(|wanted| *wanted > lanes.watermark());
        let wakes_at = lanes.wakes_at(wanted);
        for now in 0..300 {
            let says = lanes.tick(EventTime(now), wanted).is_some();
            prop_assert_eq!(says, wakes_at.is_some_and(|at| at.0 <= now), "at {}, and it wakes at {:?}", now, wakes_at);
        }
    }
}
