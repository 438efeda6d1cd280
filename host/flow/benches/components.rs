//! What an aggregate costs as a component (a weighted mean) beside as many native accumulators: two per user over a million rows, up to 5 s out
//! of order, in batches of 4,096. Sums for what can retract, maxima for what merges only. CPU time; read it as the ratio of the two.
//!
//! `cargo xtask guests && cargo bench -p tidemill-flow --bench components`

mod support;

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::Schema;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::cpu;
use tidemill_event::batch::time_field;
use tidemill_event::{Accumulated, CallFailure, EventTime, Field, FieldType, RuleCall, Values};
use tidemill_flow::{
    Aggregate, AggregateArgument, AggregateCall, AggregateGuest, ComponentAggregate, FlowBatch, Judged, LaneId, Lanes, Operator,
    Outcome, SlicedWindow, Slicing, StepId, TimeSettings, WindowSettings,
};
use tidemill_runtime::{
    Compiler, Component, Grants, Instance, InstanceSettings, Limits, Runtime, RuntimeSettings, SilentLog, SilentMetrics,
};

const ROWS: usize = 1 << 20;
const BATCH: usize = 4096;
const USERS: u64 = 10_000;
const ROWS_PER_MINUTE: u64 = 500_000;

/// A number that looks random (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

fn int(name: &str) -> Field {
    Field::new(name, FieldType::Int64, true)
}

fn batches() -> Vec<RecordBatch> {
    let fields = vec![int("user").arrow(), int("value").arrow(), int("weight").arrow(), time_field()];
    let schema = Arc::new(Schema::new(fields));
    let batch = |batch: usize| {
        let rows: Vec<u64> = (0..BATCH).map(|row| (batch * BATCH + row) as u64).collect();
        let column =
            |value: &dyn Fn(u64) -> u64| Arc::new(rows.iter().map(|row| Some(value(*row) as i64)).collect::<Int64Array>());
        let time = |row: &u64| (row * (60_000_000 / ROWS_PER_MINUTE) + mixed(row ^ 0x5a5a) % 5_000_000) as i64;
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(time)).with_timezone("UTC");
        let users = column(&|row| mixed(row) % USERS);
        let (values, weights) = (column(&|row| mixed(row ^ 0xa5a5) % 100_000), column(&|row| 1 + mixed(row ^ 0xc3c3) % 4));
        RecordBatch::try_new(schema.clone(), vec![users, values, weights, Arc::new(times)]).expect("an event batch")
    };
    (0..ROWS / BATCH).map(batch).collect()
}

/// `test-mean`, which `cargo xtask guests` built.
fn mean() -> (Runtime, Arc<Component>) {
    let folder: PathBuf = std::env::current_exe().expect("its own path").ancestors().nth(3).expect("the target folder").into();
    let file = folder.join("guests/test-mean.wasm");
    let wasm = std::fs::read(&file).unwrap_or_else(|error| panic!("`{}`: {error}; run `cargo xtask guests`", file.display()));
    let runtime = Runtime::new(RuntimeSettings::new(Compiler::InProcess)).expect("a runtime");
    let component = runtime.prepare(&wasm).expect("a component");
    (runtime, component)
}

struct Sandbox(Instance);

impl AggregateGuest for Sandbox {
    fn update(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        self.0.update(call)
    }

    fn merge(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        self.0.merge(call)
    }

    fn retract(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        self.0.retract(call)
    }

    fn finish(&mut self, call: &RuleCall) -> Result<Values, CallFailure> {
        self.0.finish(call)
    }

    fn replace(&mut self) {}
}

fn settings(aggregates: Vec<AggregateCall>, components: Vec<ComponentAggregate>) -> WindowSettings {
    let (step, by) = (StepId(0), vec![int("user")]);
    WindowSettings { step, by, aggregates, components, lateness: Duration::ZERO, judged: Judged::ByLane, top: None }
}

fn native(aggregate: &Aggregate) -> WindowSettings {
    let call = |name: &str| AggregateCall {
        name: format!("of {name}").as_str().into(),
        aggregate: *aggregate,
        argument: Some(int(name)),
        filter: None,
    };
    settings(vec![call("value"), call("weight")], Vec::new())
}

fn component((runtime, component): &(Runtime, Arc<Component>), retracts: bool) -> WindowSettings {
    let description = component.description();
    let opened = InstanceSettings {
        config: "{}".to_owned(),
        limits: Limits::default(),
        log: Arc::new(SilentLog),
        metrics: Arc::new(SilentMetrics),
        grants: Grants::none(),
    };
    let argument = |(declared, column): (&Field, &str)| AggregateArgument { column: column.into(), declared: declared.clone() };
    let aggregate = ComponentAggregate {
        place: 0,
        value: Field::new("mean", FieldType::Float64, true),
        arguments: description.columns.iter().zip(["value", "weight"]).map(argument).collect(),
        filter: None,
        first: description.first_row().clone(),
        retracts,
        guest: Box::new(Sandbox(runtime.instantiate(component, opened).expect("an instance"))),
    };
    settings(Vec::new(), vec![aggregate])
}

/// All rows through a window, and time to its end.
fn run(mut window: SlicedWindow, batches: &[RecordBatch]) -> usize {
    let time = TimeSettings { idle_after: None, bound: None, drift_max: None };
    let mut lanes = Lanes::new(time, &[Duration::from_secs(5)]);
    let mut made = 0;
    for rows in batches {
        let marks = lanes.rows(LaneId(0), tidemill_event::batch::times(rows).values());
        let mut output = Outcome::new(EventTime(0)).with_marks(marks);
        made += black_box(window.apply(FlowBatch::new(rows.clone()), &mut output)).len();
        assert!(output.late.is_empty() && output.dead.is_empty());
    }
    let mut output = Outcome::new(EventTime(0)).with_marks(lanes.end(LaneId(0)));
    made + window.apply(FlowBatch::new(batches[0].slice(0, 0)), &mut output).len()
}

fn components(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("component aggregate");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    let (batches, mean) = (batches(), mean());
    let seconds = Duration::from_secs;
    for (name, size, every) in [("tumbling 60 s", 60, 60), ("10 s every 2 s", 10, 2), ("60 s every 1 s", 60, 1)] {
        let window = |settings| {
            let slicing = Slicing::hopping(seconds(size), seconds(every), seconds(0)).expect("seconds");
            SlicedWindow::new(slicing, settings).expect("sums of integers")
        };
        for (how, aggregate) in [("retracting", Aggregate::Sum), ("merging only", Aggregate::Max)] {
            group.bench_function(format!("{name}, native, {how}"), |bencher| {
                cpu(bencher, || run(window(native(&aggregate)), &batches));
            });
        }
        for (how, retracts) in [("retracting", true), ("merging only", false)] {
            group.bench_function(format!("{name}, component, {how}"), |bencher| {
                cpu(bencher, || run(window(component(&mean, retracts)), &batches));
            });
        }
    }
}

criterion_group!(benches, components);
criterion_main!(benches);
