//! The step by examples: what comes out, what is counted, and when time acts though no row comes.

use expect_test::{Expect, expect};
use tidemill_event::EventTime;

use crate::machine::model_tests::{Says, Value, columns, fields, first, lines, marks, rows, says};
use crate::machine::{Assigned, MachineReport, MachineSettings, MachineState, MachineStep, MachineTimeout, Transition};
use crate::pattern::PatternOrder;
use crate::{FlowBatch, Judged, Marks, Operator, Outcome, StepId, Watermark};

/// `open ─ large ─► busy ─ 10 ─► stuck`, `busy, stuck ─ large ─► done`; small ones are added up while busy.
fn ticket() -> MachineStep {
    let state =
        |name: &str, is_final, timeout| MachineState { name: name.into(), is_final, entry: says(1), exit: Vec::new(), timeout };
    let busy = MachineTimeout { after_micros: 10, to: 2, set: Vec::new(), emit: Vec::new() };
    let way = |from: &[u16], to, trigger, set| Transition {
        from: from.to_vec(),
        to,
        trigger,
        guard: None,
        set,
        emit: Vec::new(),
        tells: true,
    };
    let sum = vec![Assigned { place: 0, value: Box::new(Value::Sum) }];
    MachineStep::new(MachineSettings {
        step: StepId(3),
        by: fields()[..1].to_vec(),
        fields: fields(),
        order: PatternOrder::Time,
        judged: Judged::ByLane,
        states: vec![
            state("open", false, None),
            state("busy", false, Some(busy)),
            state("stuck", false, None),
            state("done", true, None),
        ],
        initial: 0,
        triggers: vec![Box::new(Says::Small), Box::new(Says::Large)],
        transitions: vec![way(&[0], Some(1), 1, Vec::new()), way(&[1], None, 0, sum), way(&[1, 2], Some(3), 1, Vec::new())],
        variables: first(),
        columns: columns(),
        tells_illegal: true,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
fn check(machine: &mut MachineStep, (events, before): (&[(u8, i64, i64)], i64), expected: Expect) {
    let mut output = Outcome::new(EventTime(0)).with_marks(marks(events, before));
    let out = lines(&machine.apply(FlowBatch::new(rows(events)), &mut output));
    let MachineReport { moved, timeouts, illegal, guarded, states, oldest, .. } = &output.machines[0];
    let counts = format!("moved {moved} timed out {timeouts} illegal {illegal} guarded {guarded} {states:?} {oldest:?}");
    expected.assert_eq(&format!("{}\n{counts}", out.join("\n")));
}

#[test]
fn rows_and_time_move_it() {
    let mut machine = ticket();
    check(
        &mut machine,
        (&[(1, 7, 1), (1, 2, 2), (2, 3, 3), (1, 3, 4), (2, 9, 5)], 0),
        expect![[r#"
        k1 open busy event - 0 - @1
        k1 busy busy event - - - @2
        k2 open open illegal - - - @3
        k1 busy busy event - - - @4
        k2 open busy event - 0 - @5
        moved 4 timed out 0 illegal 1 guarded 0 [0, 2, 0, 0] [None, Some(1), None, None]"#]],
    );
    assert_eq!(machine.due(), Some(Watermark(11)), "the first is busy since 1");
    check(
        &mut machine,
        (&[(3, 8, 20), (1, 8, 21)], 5),
        expect![[r#"
        k1 busy stuck timeout - 5 - @10
        k2 busy stuck timeout - 0 - @14
        k3 open busy event - 0 - @20
        k1 stuck done event - 5 - @21
        moved 2 timed out 2 illegal 0 guarded 0 [0, 1, 1, 0] [None, Some(20), Some(15), None]"#]],
    );
    // Nothing came, and time went by.
    let mut output = Outcome::new(EventTime(0)).with_marks(Marks::passing(Watermark(21), Watermark(30)));
    let out = machine.apply(FlowBatch::new(rows(&[])), &mut output);
    expect!["k3 busy stuck timeout - 0 - @29"].assert_eq(&lines(&out).join("\n"));
    assert_eq!(machine.due(), None);
}

#[test]
fn a_batch_of_one_key_is_as_many_batches() {
    let events: Vec<(u8, i64, i64)> = (0..200).map(|at| (1, at * 7 % 10, at)).collect();
    let mut whole = ticket();
    let mut output = Outcome::new(EventTime(0)).with_marks(marks(&events, 0));
    let all = lines(&whole.apply(FlowBatch::new(rows(&events)), &mut output));
    let (mut single, mut told, mut before) = (ticket(), Vec::new(), 0);
    for event in &events {
        let mut output = Outcome::new(EventTime(0)).with_marks(marks(std::slice::from_ref(event), before));
        told.extend(lines(&single.apply(FlowBatch::new(rows(std::slice::from_ref(event))), &mut output)));
        before = event.2;
    }
    assert_eq!(told, all);
    assert_eq!(all.len(), 200, "no row of it goes by in silence");
}

#[test]
fn keys_that_come_and_go_leave_nothing() {
    let mut machine = ticket();
    let mut before = 0;
    for round in 0..40i64 {
        // Each key is opened and closed by two large ones.
        let keys = || (0..250u8).map(move |key| (key, 7, round * 2 + 1));
        let events: Vec<(u8, i64, i64)> = keys().chain(keys().map(|(key, v, time)| (key, v, time + 1))).collect();
        let mut output = Outcome::new(EventTime(0)).with_marks(marks(&events, before));
        machine.apply(FlowBatch::new(rows(&events)), &mut output);
        before = round * 2 + 2;
        assert_eq!(machine.state().expect("state").len(), 0);
    }
}
