//! What a row costs in a pattern: a million rows of 10,000 users in order, in batches of 4,096. CPU time.
//!
//! `cargo bench -p tidemill-flow --bench patterns`
//!
//! The figures are for a whole run: predicates, keys, runs, timers, rows of matches. A tenth of the rows is declined; an eighth is of each kind.

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::Schema;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::cpu;
use tidemill_event::batch::{time_field, times};
use tidemill_event::{EventTime, Field, FieldType};
use tidemill_flow::pattern::{
    Contiguity, Element, Measure, Pattern, PatternOrder, PatternSettings, PatternStep, PredicateId, Quantifier, RunLimits, Skip,
    StageCondition,
};
use tidemill_flow::{
    Aggregate, AggregateCall, FlowBatch, Judged, LaneId, Lanes, Operator, Outcome, Predicate, StepId, Tested, TimeSettings,
};

const ROWS: usize = 1 << 20;
const BATCH: usize = 4096;
const USERS: u64 = 10_000;
/// Rows a minute, of all users.
const PER_MINUTE: u64 = 100_000;

/// A number that looks random (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

fn user(text: bool) -> Field {
    Field::new("user", if text { FieldType::String } else { FieldType::Int64 }, true)
}

fn batches(text: bool) -> Vec<RecordBatch> {
    (0..ROWS / BATCH)
        .map(|batch| {
            let rows: Vec<u64> = (0..BATCH).map(|row| (batch * BATCH + row) as u64).collect();
            let users = rows.iter().map(|row| mixed(*row) % USERS);
            let users: ArrayRef = if text {
                Arc::new(users.map(|user| Some(format!("user-{user:05}"))).collect::<StringArray>())
            } else {
                Arc::new(users.map(|user| Some(user as i64)).collect::<Int64Array>())
            };
            let declined: BooleanArray = rows.iter().map(|row| Some(mixed(row ^ 0xa5a5).is_multiple_of(10))).collect();
            let kinds: Int64Array = rows.iter().map(|row| Some((mixed(row ^ 0xc3c3) % 8) as i64)).collect();
            let times = rows.iter().map(|row| (row * 60_000_000 / PER_MINUTE) as i64);
            let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
            let schema = Schema::new(vec![
                user(text).arrow(),
                Field::new("declined", FieldType::Bool, true).arrow(),
                Field::new("kind", FieldType::Int64, true).arrow(),
                time_field(),
            ]);
            RecordBatch::try_new(Arc::new(schema), vec![users, Arc::new(declined), Arc::new(kinds), Arc::new(times)])
                .expect("an event batch")
        })
        .collect()
}

struct Declined;

impl Predicate for Declined {
    fn test(&self, rows: &RecordBatch) -> Tested {
        Tested { passes: rows.column(1).as_boolean().clone(), failed: Vec::new() }
    }
}

struct KindIs(i64);

impl Predicate for KindIs {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let kinds = rows.column(2).as_primitive::<Int64Type>();
        Tested { passes: BooleanArray::from_unary(kinds, |kind| kind == self.0), failed: Vec::new() }
    }
}

fn step(text: bool, pattern: Pattern, predicates: Vec<Box<dyn Predicate>>) -> PatternStep {
    let kind = Field::new("kind", FieldType::Int64, true);
    let measure = |name: &str, aggregate, argument| Measure {
        stage: None,
        call: AggregateCall { name: name.into(), aggregate, argument, filter: None },
    };
    PatternStep::new(PatternSettings {
        step: StepId(0),
        by: vec![user(text)],
        fields: vec![user(text), Field::new("declined", FieldType::Bool, true), kind.clone()],
        kept: vec![kind.clone()],
        pattern,
        conditions: predicates.into_iter().map(StageCondition::Row).collect(),
        values: Vec::new(),
        asked: None,
        order: PatternOrder::Time,
        limits: RunLimits::default(),
        measures: vec![measure("n", Aggregate::Count, None), measure("last", Aggregate::Last, Some(kind))],
        timeouts: false,
        judged: Judged::ByLane,
    })
    .expect("a sound pattern")
}

/// Three declined payments of a user within a minute; the next one begins behind the third.
fn declined(text: bool) -> PatternStep {
    let three = Element::stage("declined", Contiguity::Next, PredicateId(0)).quantified(Quantifier::times(3, Some(3)));
    let pattern = Pattern { within: Some(Duration::from_secs(60)), skip: Skip::PastLast, ..Pattern::new(vec![three]) };
    step(text, pattern, vec![Box::new(Declined)])
}

/// Five stages, the middle one once or more.
fn five() -> PatternStep {
    let elements = (0u8..5).map(|at| {
        let element = Element::stage(&format!("s{at}"), Contiguity::FollowedBy, PredicateId(at));
        if at == 2 { element.quantified(Quantifier::times(1, None)) } else { element }
    });
    let pattern = Pattern { within: Some(Duration::from_secs(60)), skip: Skip::PastLast, ..Pattern::new(elements.collect()) };
    step(false, pattern, (0..5).map(|kind| Box::new(KindIs(kind)) as Box<dyn Predicate>).collect())
}

/// All rows through the step, and time to its end. Answers how many matches there were.
fn run(mut step: PatternStep, batches: &[RecordBatch]) -> usize {
    let time = TimeSettings { idle_after: None, bound: None, drift_max: None };
    let mut lanes = Lanes::new(time, &[Duration::ZERO]);
    let mut made = 0;
    for rows in batches {
        let marks = lanes.rows(LaneId(0), times(rows).values());
        let mut output = Outcome::new(EventTime(0)).with_marks(marks);
        made += black_box(step.apply(FlowBatch::new(rows.clone()), &mut output)).len();
        assert!(output.late.is_empty());
    }
    let mut output = Outcome::new(EventTime(0)).with_marks(lanes.end(LaneId(0)));
    made += step.apply(FlowBatch::new(batches[0].slice(0, 0)), &mut output).len();
    assert_eq!(step.tally().runs, 0, "a window ends all");
    made
}

fn patterns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pattern");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    for (name, text) in [("int", false), ("text", true)] {
        let batches = batches(text);
        println!("three declined in 60 s, {name} key: {} matches", run(declined(text), &batches));
        group.bench_function(format!("three declined in 60 s, {name} key"), |bencher| {
            cpu(bencher, || run(declined(text), &batches));
        });
    }
    let batches = batches(false);
    println!("five stages: {} matches", run(five(), &batches));
    group.bench_function("five stages, the third once or more, int key", |bencher| cpu(bencher, || run(five(), &batches)));
}

criterion_group!(benches, patterns);
criterion_main!(benches);
