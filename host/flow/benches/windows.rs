//! What a row costs in a window: count, sum and average per user over a million rows, up to 5 s out of order, in batches of 4,096. CPU time.
//!
//! `cargo bench -p tidemill-flow --bench windows`
//!
//! The figures are for a whole run: grouping, accumulators, panes, and forgetting. Rows a (user, window) say how much of it is the making of groups.

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::types::UInt32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::Schema;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::cpu;
use tidemill_event::batch::time_field;
use tidemill_event::{EventTime, Field, FieldType};
use tidemill_flow::{
    Aggregate, AggregateCall, CountWindow, FlowBatch, Gap, Judged, LaneId, Lanes, Operator, Outcome, Over, OverSettings,
    SessionWindow, SlicedWindow, Slicing, StepId, TimeSettings, WindowSettings,
};

const ROWS: usize = 1 << 20;
const BATCH: usize = 4096;
const USERS: u64 = 10_000;

#[derive(Clone, Copy)]
enum Key {
    Int,
    Text,
    Dictionary,
}

/// A number that looks random (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// Batches in which a minute has `per_minute` rows.
fn batches(key: Key, per_minute: u64) -> Vec<RecordBatch> {
    (0..ROWS / BATCH)
        .map(|batch| {
            let rows: Vec<u64> = (0..BATCH).map(|row| (batch * BATCH + row) as u64).collect();
            let users: Vec<u64> = rows.iter().map(|row| mixed(*row) % USERS).collect();
            let name = |user: &u64| format!("user-{user:05}");
            let (ty, users): (FieldType, ArrayRef) = match key {
                Key::Int => (FieldType::Int64, Arc::new(users.iter().map(|user| Some(*user as i64)).collect::<Int64Array>())),
                Key::Text => (FieldType::String, Arc::new(users.iter().map(|user| Some(name(user))).collect::<StringArray>())),
                Key::Dictionary => {
                    let names: Vec<String> = users.iter().map(name).collect();
                    let names: DictionaryArray<UInt32Type> = names.iter().map(String::as_str).collect();
                    (FieldType::String, Arc::new(names))
                }
            };
            let amounts: Float64Array = rows.iter().map(|row| Some((mixed(row ^ 0xa5a5) % 100_000) as f64 / 100.0)).collect();
            let shops: Int64Array = rows.iter().map(|row| Some((mixed(row ^ 0xc3c3) % 4) as i64)).collect();
            let micros = 60_000_000 / per_minute;
            let times = rows.iter().map(|row| (row * micros + mixed(row ^ 0x5a5a) % 5_000_000) as i64);
            let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
            let schema = Schema::new(vec![
                Field::new("user", ty, true).arrow().with_data_type(users.data_type().clone()),
                Field::new("amount", FieldType::Float64, true).arrow(),
                Field::new("shop", FieldType::Int64, true).arrow(),
                time_field(),
            ]);
            RecordBatch::try_new(Arc::new(schema), vec![users, Arc::new(amounts), Arc::new(shops), Arc::new(times)])
                .expect("an event batch")
        })
        .collect()
}

fn settings(key: Key) -> WindowSettings {
    let ty = if matches!(key, Key::Int) { FieldType::Int64 } else { FieldType::String };
    let amount = || Some(Field::new("amount", FieldType::Float64, true));
    let call = |name: &str, aggregate, argument| AggregateCall { name: name.into(), aggregate, argument, filter: None };
    WindowSettings {
        step: StepId(0),
        by: vec![Field::new("user", ty, true)],
        aggregates: vec![
            call("n", Aggregate::Count, None),
            call("total", Aggregate::Sum, amount()),
            call("mean", Aggregate::Average, amount()),
        ],
        components: Vec::new(),
        lateness: Duration::ZERO,
        judged: Judged::ByLane,
        top: None,
    }
}

/// All rows through an operator, and time to its end.
fn run(mut operator: impl Operator, batches: &[RecordBatch]) -> usize {
    let time = TimeSettings { idle_after: None, bound: None, drift_max: None };
    let mut lanes = Lanes::new(time, &[Duration::from_secs(5)]);
    let mut made = 0;
    for rows in batches {
        let marks = lanes.rows(LaneId(0), tidemill_event::batch::times(rows).values());
        let mut output = Outcome::new(EventTime(0)).with_marks(marks);
        made += black_box(operator.apply(FlowBatch::new(rows.clone()), &mut output)).len();
        assert!(output.late.is_empty());
    }
    let mut output = Outcome::new(EventTime(0)).with_marks(lanes.end(LaneId(0)));
    made + operator.apply(FlowBatch::new(batches[0].slice(0, 0)), &mut output).len()
}

fn windows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("window");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    let seconds = Duration::from_secs;
    let forms = [("int", Key::Int), ("text", Key::Text), ("dictionary", Key::Dictionary)];
    for (name, key) in forms {
        for (rows, per_minute) in [(50, 500_000), (5, 50_000)] {
            let batches = batches(key, per_minute);
            let make = || {
                SlicedWindow::new(Slicing::tumbling(seconds(60), seconds(0)).expect("a minute"), settings(key)).expect("doubles")
            };
            group.bench_function(format!("tumbling 1m, {name} key, {rows} rows a (user, window)"), |bencher| {
                cpu(bencher, || run(make(), &batches));
            });
        }
    }
    let batches = batches(Key::Int, 500_000);
    for (name, size, every) in [("10 s every 2 s", 10, 2), ("60 s every 1 s", 60, 1)] {
        let make = || {
            SlicedWindow::new(Slicing::hopping(seconds(size), seconds(every), seconds(0)).expect("seconds"), settings(Key::Int))
                .expect("doubles")
        };
        group.bench_function(format!("hopping {name}, int key"), |bencher| cpu(bencher, || run(make(), &batches)));
    }
    let both = || {
        let mut settings = settings(Key::Int);
        settings.by.push(Field::new("shop", FieldType::Int64, true));
        SlicedWindow::new(Slicing::tumbling(seconds(60), seconds(0)).expect("a minute"), settings).expect("doubles")
    };
    group.bench_function("tumbling 1m, two int keys, 12 rows a key and window", |bencher| cpu(bencher, || run(both(), &batches)));
    let sketched = |aggregate: Aggregate, of: Field| {
        let mut settings = settings(Key::Int);
        settings.by.clear();
        settings.aggregates.truncate(1);
        settings.aggregates[0] = AggregateCall { name: "x".into(), aggregate, argument: Some(of), filter: None };
        SlicedWindow::new(Slicing::tumbling(seconds(60), seconds(0)).expect("a minute"), settings).expect("a sketch")
    };
    let (user, amount) = (Field::new("user", FieldType::Int64, true), Field::new("amount", FieldType::Float64, true));
    for (aggregate, of) in [
        (Aggregate::CountDistinct, &user),
        (Aggregate::ApproximateDistinct, &user),
        (Aggregate::ApproximateQuantile(990_000), &amount),
        (Aggregate::StddevSamp, &amount),
        (Aggregate::First, &amount),
    ] {
        group.bench_function(format!("tumbling 1m, no key, {aggregate}"), |bencher| {
            cpu(bencher, || run(sketched(aggregate, of.clone()), &batches));
        });
    }
    let least = || {
        let mut settings = settings(Key::Int);
        settings.aggregates[2].aggregate = Aggregate::Min;
        SlicedWindow::new(Slicing::hopping(seconds(60), seconds(1), seconds(0)).expect("seconds"), settings).expect("doubles")
    };
    group.bench_function("hopping 60 s every 1 s with min, int key", |bencher| cpu(bencher, || run(least(), &batches)));
    let session = || SessionWindow::new(Gap::Fixed(seconds(1)), settings(Key::Int)).expect("doubles");
    group.bench_function("session of 1 s, int key", |bencher| cpu(bencher, || run(session(), &batches)));
    let over = || {
        let WindowSettings { step, by, aggregates, judged, .. } = settings(Key::Int);
        let fields = vec![by[0].clone(), Field::new("amount", FieldType::Float64, true)];
        Over::new(OverSettings { step, by, rows: 5, aggregates, components: Vec::new(), fields, judged }).expect("doubles")
    };
    group.bench_function("over 5 rows, int key", |bencher| cpu(bencher, || run(over(), &batches)));
    let counted = || CountWindow::new(100, settings(Key::Int)).expect("doubles");
    group.bench_function("count 100, int key", |bencher| cpu(bencher, || run(counted(), &batches)));
}

criterion_group!(benches, windows);
criterion_main!(benches);
