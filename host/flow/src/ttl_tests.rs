//! State that lives for a time: what a row sees follows from the rows before it, whatever the cut into batches and wherever a process was
//! restarted, and what is over is really gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;
use tidemill_event::{EventTime, Field, FieldType};

use crate::example::{Counting, Stored, counting_table, keep, rows_of};
use crate::{
    FlowBatch, Isolation, Keep, Keyed, Marks, OnFailing, Operator, Outcome, RuleSettings, RuleStep, StepId, Ttl, TtlClock,
    Watermark,
};

const TTL: i64 = 10;
/// How far the watermark is behind the newest row.
const BEHIND: i64 = 3;

#[derive(Debug, Clone)]
struct Row {
    key: u8,
    time: i64,
    /// Its call fails.
    is_poison: bool,
}

fn step(clock: TtlClock) -> RuleStep {
    let ttl = Ttl::new(Duration::from_micros(TTL as u64), clock);
    let settings = RuleSettings {
        step: StepId(0),
        columns: vec![Field::new("v", FieldType::Int64, true)],
        outputs: vec![Field::new("n", FieldType::Int64, false)],
        keep: Keep::All,
        flag: None,
        keyed: Some(Keyed { by: vec!["k".into()], table: counting_table().living(Some(ttl)) }),
        isolation: Isolation { on_failing: OnFailing::Hold, ..Isolation::never_out() },
    };
    RuleStep::new(settings, Box::new(Counting))
}

fn batch(rows: &[Row]) -> FlowBatch {
    let keys = StringArray::from_iter_values(rows.iter().map(|row| format!("k{}", row.key)));
    let values = rows.iter().map(|row| Some(if row.is_poison { 666 } else { 1 })).collect();
    let batch = rows_of(Arc::new(keys), values);
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time)).with_timezone("UTC");
    let mut columns = batch.columns().to_vec();
    *columns.last_mut().expect("`_time`") = Arc::new(times);
    FlowBatch::new(RecordBatch::try_new(batch.schema(), columns).expect("the same columns"))
}

/// The watermark before each row, and behind the last.
fn watermarks(rows: &[Row]) -> Vec<i64> {
    let mut watermarks = vec![i64::MIN];
    for row in rows {
        let before = *watermarks.last().expect("one more than rows");
        watermarks.push(before.max(row.time - BEHIND));
    }
    watermarks
}

/// Counts of the rows that are not poison, one by one.
fn model(rows: &[Row]) -> (Vec<i64>, usize) {
    let watermarks = watermarks(rows);
    let mut counts: BTreeMap<u8, (i64, i64)> = BTreeMap::new();
    let mut seen = Vec::new();
    for (row, watermark) in rows.iter().zip(&watermarks).filter(|(row, _)| !row.is_poison) {
        let (count, expiry) = counts.entry(row.key).or_insert((0, i64::MIN));
        if row.time.max(*watermark) >= *expiry {
            *count = 0;
        }
        *count += 1;
        *expiry = (*expiry).max(row.time + TTL);
        seen.push(*count);
    }
    let end = *watermarks.last().expect("one more than rows");
    (seen, counts.values().filter(|(_, expiry)| *expiry > end).count())
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0u8..3, 0i64..9, -4i64..5, prop::bool::weighted(0.1));
    proptest::collection::vec(row, 0..40).prop_map(|rows| {
        let mut now = 0;
        let mut next = |(key, ahead, off, is_poison)| {
            now += ahead;
            Row { key, time: now + off, is_poison }
        };
        rows.into_iter().map(&mut next).collect()
    })
}

proptest! {
    #[test]
    fn what_a_row_sees_hangs_on_no_cut_and_no_restart(rows in rows(), cuts in proptest::collection::vec((1usize..9, any::<bool>()), 1..8)) {
        let watermarks = watermarks(&rows);
        let (expected, left) = model(&rows);
        let (mut rule, mut stored) = (step(TtlClock::EventTime), Stored::new());
        let (mut from, mut seen) = (0, Vec::new());
        for (length, restarts) in cuts.iter().cycle() {
            if from >= rows.len() {
                break;
            }
            let to = rows.len().min(from + length);
            let marks =
                Marks::new(Watermark(watermarks[from]), watermarks[from..to].to_vec(), None, Watermark(watermarks[to]));
            let mut output = Outcome::new(EventTime(0)).with_marks(marks);
            let made = rule.apply(batch(&rows[from..to]), &mut output);
            prop_assert!(output.put_back.is_empty());
            seen.extend_from_slice(made.rows.column_by_name("n").expect("counts").as_primitive::<Int64Type>().values());
            if *restarts {
                let state = rule.state().expect("it counts");
                keep(&mut stored, state);
                let checksum = state.checksum();
                rule = step(TtlClock::EventTime);
                let state = rule.state().expect("it counts");
                state.restore(&stored).expect("what was stored");
                prop_assert_eq!(state.checksum(), checksum);
            }
            from = to;
        }
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(rule.state().expect("it counts").len(), left);
    }
}

#[test]
fn keys_that_come_and_go_leave_nothing() {
    let (mut rule, mut stored, mut removed) = (step(TtlClock::EventTime), Stored::new(), 0);
    let mut most = 0;
    for round in 0..200i64 {
        // A hundred keys of its own in every round, and one that is always there.
        let mut rows: Vec<Row> = Vec::new();
        let keys = StringArray::from_iter_values((0..100).map(|key| format!("{round}-{key}")).chain(["always".to_owned()]));
        rows.resize(101, Row { key: 0, time: round * TTL, is_poison: false });
        let mut columns = batch(&rows).rows.columns().to_vec();
        columns[0] = Arc::new(keys);
        let input = FlowBatch::new(RecordBatch::try_new(batch(&rows).rows.schema(), columns).expect("the same columns"));
        let (before, end) = (Watermark((round - 1) * TTL), Watermark(round * TTL));
        let marks = Marks::new(before, vec![before.0; 101], None, end);
        rule.apply(input, &mut Outcome::new(EventTime(0)).with_marks(marks));
        let state = rule.state().expect("it counts");
        most = most.max(state.len());
        if round % 3 == 0 {
            removed += keep(&mut stored, state);
            assert_eq!(stored.len(), state.len(), "the store has what there is");
        }
    }
    assert_eq!(most, 101, "only those of one round are kept");
    assert!(removed > 6_000, "{removed} were taken out of the store");
    // Time alone frees too.
    let marks = Marks::passing(Watermark(200 * TTL), Watermark(201 * TTL));
    rule.apply(batch(&[]), &mut Outcome::new(EventTime(0)).with_marks(marks));
    assert!(rule.state().expect("it counts").is_empty());
    assert_eq!(rule.state().expect("it counts").checksum(), 0);
}

#[test]
fn by_wall_clock_the_recorded_time_counts_and_is_asked_for() {
    let mut rule = step(TtlClock::WallClock);
    let counts = [(0, 1), (9, 2), (18, 3), (28, 1)].map(|(clock, expected)| {
        let mut output = Outcome::new(EventTime(clock));
        let made = rule.apply(batch(&[Row { key: 1, time: 5, is_poison: false }]), &mut output);
        assert!(output.needs_clock(), "a replay has to see the same time");
        (made.rows.column_by_name("n").expect("counts").as_primitive::<Int64Type>().value(0), expected)
    });
    assert!(counts.iter().all(|(count, expected)| count == expected), "{counts:?}");
}

#[test]
fn state_from_before_there_was_a_time_to_live_gets_one() {
    let mut plain = counting_table();
    let gathered = plain.gather(&batch(&[Row { key: 1, time: 0, is_poison: false }]).rows, &["k".into()]);
    let state = plain.state(&gathered);
    plain.scatter(gathered, &state.rows);
    let stored = plain.take_changes();
    let mut rule = step(TtlClock::EventTime);
    let state = rule.state().expect("it counts");
    state.restore(stored.iter().map(|change| (&change.key, change.value.as_ref().expect("a row")))).expect("either form is read");
    for (to, left) in [(100, 1), (109, 1), (110, 0)] {
        let marks = Marks::passing(Watermark(99), Watermark(to));
        rule.apply(batch(&[]), &mut Outcome::new(EventTime(0)).with_marks(marks));
        assert_eq!(rule.state().expect("it counts").len(), left, "at {to}");
    }
}
