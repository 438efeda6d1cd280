//! Poison rows against a slow model that gives the component each row alone: whatever subset of a batch fails, every other row comes out
//! once and in order with the same answer and the same state, and the failing ones are dead. And the bounds of the work that takes.

use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use proptest::prelude::*;
use tidemill_event::{
    BreakerState, CallFailure, Ending, EventTime, Field, FieldType, Offset, PartitionId, RuleAnswer, RuleCall, Usage,
};

use crate::example::{Counting, batch, counting_table, show};
use crate::{
    Chain, FAILED_CALLS_MAX, FlowBatch, Guest, Isolation, Keep, Keyed, OnFailing, Operator, Outcome, PROBE_ROWS_MAX, Place,
    RuleSettings, RuleStep, Sources, StepId, Wait, Waiting,
};

const STEP: StepId = StepId(1);

fn step(on_failing: OnFailing, judge: impl Guest<RuleAnswer> + 'static) -> RuleStep {
    let settings = RuleSettings {
        step: STEP,
        columns: vec![Field::new("v", FieldType::Int64, true)],
        outputs: vec![Field::new("n", FieldType::Int64, false)],
        keep: Keep::All,
        flag: None,
        keyed: Some(Keyed { by: vec!["k".into()], table: counting_table() }),
        isolation: Isolation::new(on_failing),
    };
    RuleStep::new(settings, Box::new(judge))
}

/// `k=v,n=…` of the rows that came out, `k=v` of the dead ones, and the state's checksum.
type Seen = (Vec<String>, Vec<String>, u64);

/// Rows without their origins, which count within a batch.
fn texts(out: &FlowBatch, outcome: &Outcome) -> (Vec<String>, Vec<String>) {
    let shown = show(out, outcome);
    let mut parts = shown.split(" | ");
    let plain = |text: &str| text.split_once(':').expect("origin:row").1.to_owned();
    let rows = parts.next().unwrap_or_default().split_whitespace().map(plain).collect();
    let dead = parts.next().unwrap_or_default().split(", ").filter(|text| !text.is_empty());
    (rows, dead.map(|text| plain(text.split_once(" step").expect("a step").0)).collect())
}

/// Takes a batch, and what it put back for at once, until all is decided. Answers with the outcomes too.
fn drive(step: &mut RuleStep, rows: FlowBatch) -> (Seen, Vec<Outcome>) {
    let (mut out, mut dead, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = vec![rows];
    while let Some(rows) = next.pop() {
        let mut outcome = Outcome::new(EventTime(0));
        let made = step.apply(rows, &mut outcome);
        let (came, died) = texts(&made, &outcome);
        out.extend(came);
        dead.extend(died);
        for back in &outcome.put_back {
            assert_eq!(back.wait, Wait::Not);
            next.push(FlowBatch::new(back.rows.rows.clone()));
        }
        outcomes.push(outcome);
    }
    let sum = step.state().expect("keyed").checksum();
    ((out, dead, sum), outcomes)
}

fn model(rows: &FlowBatch) -> Seen {
    let mut step = step(OnFailing::Hold, Counting);
    let (mut out, mut dead) = (Vec::new(), Vec::new());
    for row in 0..rows.len() {
        let ((came, died, _), _) = drive(&mut step, FlowBatch::new(rows.rows.slice(row, 1)));
        out.extend(came);
        dead.extend(died);
    }
    (out, dead, step.state().expect("keyed").checksum())
}

fn text(rows: &[(u8, bool)]) -> String {
    let row = |(at, (key, poison)): (usize, &(u8, bool))| format!("k{key}:{}", if *poison { 666 } else { at % 5 });
    rows.iter().enumerate().map(row).collect::<Vec<_>>().join(" ")
}

/// Counts how deep a batch is halved: rows of the largest call over rows of the smallest.
fn levels(rows: usize) -> u32 {
    (rows.max(1) as u32).next_power_of_two().trailing_zeros()
}

#[test]
fn every_subset_of_a_small_batch() {
    for count in 1..=8usize {
        for subset in 0..1u32 << count {
            let rows: Vec<(u8, bool)> = (0..count).map(|row| ((row * 5 % 3) as u8, subset & (1 << row) != 0)).collect();
            let rows = batch(&text(&rows));
            let (seen, outcomes) = drive(&mut step(OnFailing::Hold, Counting), rows.clone());
            assert_eq!(seen, model(&rows), "{count} rows, poison {subset:b}");
            let poison = subset.count_ones();
            let calls = outcomes[0].calls.len() as u32;
            assert!(calls <= 1 + 2 * poison * levels(count), "{count} rows, poison {subset:b}: {calls} calls");
            assert_eq!(outcomes.len(), 1);
        }
    }
}

#[test]
fn one_row_of_a_thousand_takes_ten_levels() {
    let rows: Vec<(u8, bool)> = (0..1000).map(|row| ((row % 7) as u8, row == 613)).collect();
    let rows = batch(&text(&rows));
    let (seen, outcomes) = drive(&mut step(OnFailing::Hold, Counting), rows.clone());
    assert_eq!(seen.0.len(), 999);
    assert_eq!(seen, model(&rows));
    let failed: Vec<usize> = outcomes[0].calls.iter().filter(|call| call.ending.is_some()).map(|call| call.rows).collect();
    assert_eq!(failed.len(), 1 + 10, "{failed:?}");
    assert_eq!(*failed.last().expect("calls"), 1);
}

proptest! {
    /// Also where it takes several batches: what is put back comes before anything new.
    #[test]
    fn any_subset_of_a_large_batch(rows in proptest::collection::vec((0u8..4, proptest::bool::weighted(0.2)), 1..120)) {
        let rows = batch(&text(&rows));
        let (seen, outcomes) = drive(&mut step(OnFailing::Hold, Counting), rows.clone());
        let open = outcomes.iter().any(|outcome| outcome.put_back.iter().any(|back| back.wait == Wait::Held));
        prop_assert!(!open);
        prop_assert_eq!(seen, model(&rows));
        for outcome in &outcomes {
            let failed = outcome.calls.iter().filter(|call| call.ending.is_some()).count() as u32;
            prop_assert!(failed <= FAILED_CALLS_MAX + 1 + levels(rows.len()), "{} failing calls", failed);
        }
    }

    /// With what was recorded, a replay makes the calls that returned and no other, and ends in the same state.
    #[test]
    fn a_replay_takes_the_same_halves(rows in proptest::collection::vec((0u8..4, proptest::bool::weighted(0.2)), 1..60)) {
        struct Wary(Counting);
        impl Guest<RuleAnswer> for Wary {
            fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
                Ok(self.0.call(call).expect("a call that failed is not made again"))
            }

            fn replace(&mut self) {}
        }
        let rows = batch(&text(&rows));
        let (mut first, mut second) = (step(OnFailing::Hold, Counting), step(OnFailing::Hold, Wary(Counting)));
        let mut outcome = Outcome::new(EventTime(7));
        let out = first.apply(rows.clone(), &mut outcome);
        let mut again = Outcome::replay(EventTime(7), outcome.endings.clone());
        let out_again = second.apply(rows, &mut again);
        prop_assert_eq!(texts(&out, &outcome), texts(&out_again, &again));
        prop_assert_eq!(&outcome.endings, &again.endings);
        prop_assert_eq!(outcome.needs_clock(), again.needs_clock());
        prop_assert_eq!(first.state().expect("keyed").checksum(), second.state().expect("keyed").checksum());
        prop_assert_eq!(first.breaker().expect("has one").0, second.breaker().expect("has one").0);
    }
}

/// Traps on one value, and is [`Counting`] otherwise.
struct Picky(i64);

impl Guest<RuleAnswer> for Picky {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        let values = call.columns.column(0).as_primitive::<Int64Type>();
        if values.iter().flatten().any(|value| value == self.0) {
            let message = "picky".to_owned();
            return Err(CallFailure { ending: Ending::Trap, message, backtrace: String::new(), usage: Usage::default() });
        }
        Counting.call(call)
    }

    fn replace(&mut self) {}
}

/// Two steps with state, each with a poison of its own.
fn two_steps() -> Chain {
    let step = |number: u32, output: &str| RuleSettings {
        step: StepId(number),
        columns: vec![Field::new("v", FieldType::Int64, true)],
        outputs: vec![Field::new(output, FieldType::Int64, false)],
        keep: Keep::All,
        flag: None,
        keyed: Some(Keyed { by: vec!["k".into()], table: counting_table() }),
        isolation: Isolation::never_out(),
    };
    Chain::new(vec![
        Box::new(RuleStep::new(step(0, "n"), Box::new(Picky(70)))),
        Box::new(RuleStep::new(step(1, "m"), Box::new(Picky(71)))),
    ])
}

/// Takes a batch and all that it puts back, as a task does.
fn drive_chain(chain: &mut Chain, rows: FlowBatch, rows_max: usize) -> (Vec<String>, Vec<String>) {
    let clock = EventTime(0);
    let place = Place { stream: "s".into(), partition: PartitionId(0), offset: Offset(0) };
    let (mut waiting, mut out, mut dead) = (Waiting::default(), Vec::new(), Vec::new());
    let mut outcome = Outcome::new(clock);
    let mut sources = Sources::block(rows.rows.clone(), place);
    let mut made = chain.run(rows, &mut outcome);
    let mut from = None;
    loop {
        waiting.take_over(&mut outcome, &sources, clock, from);
        let (came, died) = texts(&made, &outcome);
        out.extend(came);
        dead.extend(died);
        let Some(step) = waiting.lines().first().copied() else { break };
        let group = waiting.take_line(step, rows_max).expect("rows in line");
        from = Some(step);
        outcome = Outcome::new(clock).entering(group.step, group.attempts);
        made = chain.run_from(group.step, group.rows, &mut outcome);
        sources = group.sources;
    }
    assert!(waiting.is_empty());
    (out, dead)
}

proptest! {
    /// Rows keep their order through every step, however often batches are broken off on the way.
    #[test]
    fn two_steps_with_poison_are_as_if_rows_came_alone(
        rows in proptest::collection::vec((0u8..3, 67i64..73), 1..300), rows_max in 1usize..100
    ) {
        let text: Vec<String> = rows.iter().map(|(key, value)| format!("k{key}:{value}")).collect();
        let rows = batch(&text.join(" "));
        let mut whole = two_steps();
        let (out, mut dead) = drive_chain(&mut whole, rows.clone(), rows_max);
        let (mut alone, mut expected, mut expected_dead) = (two_steps(), Vec::new(), Vec::new());
        for row in 0..rows.len() {
            let (came, died) = drive_chain(&mut alone, FlowBatch::new(rows.rows.slice(row, 1)), 1);
            expected.extend(came);
            expected_dead.extend(died);
        }
        prop_assert_eq!(out, expected);
        dead.sort();
        expected_dead.sort();
        prop_assert_eq!(dead, expected_dead);
        prop_assert_eq!(whole.state_checksum(), alone.state_checksum());
    }
}

/// A deadline passes as often as it says for each call size; then the call returns.
struct Slow {
    failures: u32,
}

impl Guest<RuleAnswer> for Slow {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        if self.failures > 0 {
            self.failures -= 1;
            let message = "too late".to_owned();
            return Err(CallFailure { ending: Ending::Deadline, message, backtrace: String::new(), usage: Usage::default() });
        }
        Counting.call(call)
    }

    fn replace(&mut self) {}
}

#[test]
fn an_ending_that_may_differ_is_tried_three_times() {
    let seen = |failures| drive(&mut step(OnFailing::Hold, Slow { failures }), batch("a:1 b:2")).0;
    // The whole batch, then each row up to three times.
    assert_eq!(seen(3).0, ["a=1,n=1", "b=2,n=1"]);
    assert_eq!(seen(4), (vec!["b=2,n=1".to_owned()], vec!["a=1".to_owned()], seen(4).2));
    assert_eq!(seen(7).0.len(), 0);
}

fn all_poison(count: usize) -> FlowBatch {
    batch(&vec!["a:666"; count].join(" "))
}

fn at(step: &mut RuleStep, seconds: i64, rows: FlowBatch) -> (FlowBatch, Outcome) {
    let mut outcome = Outcome::new(EventTime(seconds * 1_000_000));
    let out = step.apply(rows, &mut outcome);
    (out, outcome)
}

#[test]
fn a_component_that_fails_on_all_is_taken_out_and_probed() {
    let mut step = step(OnFailing::Hold, Counting);
    // A batch only takes so many failing calls; the next one opens the breaker.
    let (_, outcome) = at(&mut step, 100, all_poison(1000));
    let first = outcome.dead.len();
    assert_eq!((outcome.put_back.len(), outcome.put_back[0].wait, outcome.put_back[0].rows.len()), (1, Wait::Not, 1000 - first));
    let (_, outcome) = at(&mut step, 100, outcome.put_back[0].rows.clone());
    assert_eq!(first + outcome.dead.len(), 32);
    assert_eq!((outcome.put_back.len(), outcome.put_back[0].wait, outcome.put_back[0].rows.len()), (1, Wait::Held, 968));
    assert!(outcome.needs_clock());
    // While it is out no call is made.
    let (out, outcome) = at(&mut step, 100, batch("a:1 b:2"));
    assert_eq!((out.len(), outcome.calls.len(), outcome.put_back[0].wait), (0, 0, Wait::Held));
    // A probe that fails buries nobody and costs a few calls.
    let (_, outcome) = at(&mut step, 101, all_poison(100));
    assert_eq!((outcome.dead.len(), outcome.put_back.iter().map(|back| back.rows.len()).sum::<usize>()), (0, 100));
    assert_eq!(outcome.calls.len(), 2 * PROBE_ROWS_MAX - 1);
    assert!(outcome.put_back.iter().all(|back| back.wait == Wait::Held));
    assert_eq!(step.breaker().expect("has one").0.state(), BreakerState::Open { until: EventTime(103_000_000) });
    // One that succeeds closes it, and the rest of the batch goes on with it; what failed in it alone is dead now.
    let good: Vec<String> = (0..40).map(|row| if row == 3 { "b:666".to_owned() } else { format!("b:{}", row % 5) }).collect();
    let (out, outcome) = at(&mut step, 103, batch(&good.join(" ")));
    assert_eq!((out.len(), outcome.dead.len(), outcome.put_back.len()), (39, 1, 0));
    assert_eq!(step.breaker().expect("has one").0.state(), BreakerState::Closed);
}

#[test]
fn rows_pass_a_step_that_is_out_with_nulls_and_in_order() {
    let mut step = step(OnFailing::Pass, Counting);
    let rows = format!("{} b:1 b:666 b:2", vec!["a:666"; 40].join(" "));
    let (out, outcome) = at(&mut step, 100, batch(&rows));
    assert_eq!((out.len(), outcome.dead.len(), outcome.put_back.len()), (8 + 3, 32, 0));
    assert_eq!(out.origin, (32..43).collect::<Vec<u32>>());
    assert!(show(&out, &outcome).starts_with("32:a=666,n=- "));
    // A probe that succeeds: its rows are judged, and so are those behind it.
    let (out, outcome) = at(&mut step, 102, batch("b:1 b:2"));
    assert_eq!(show(&out, &outcome), "0:b=1,n=1 1:b=2,n=2 | ");
}

#[test]
fn a_row_is_put_back_a_few_times() {
    let mut step = step(OnFailing::Hold, Counting);
    for attempts in 0..5 {
        let mut outcome = Outcome::new(EventTime(0)).entering(STEP, attempts);
        step.apply(batch("a:1 a:14"), &mut outcome);
        let back = &outcome.put_back[0];
        assert_eq!(
            (back.wait, back.attempts, &*back.rows.origin),
            (Wait::For(Duration::from_millis(500)), attempts + 1, &[1][..])
        );
        assert!(outcome.needs_clock());
    }
    let mut outcome = Outcome::new(EventTime(0)).entering(STEP, 5);
    let out = step.apply(batch("a:14"), &mut outcome);
    assert_eq!(show(&out, &outcome), " | 0:a=14 step 1 rejected_by_component still to be tried again after 5 times: later");
}
