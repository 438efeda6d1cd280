//! What a rule step costs beside its component: batches of 4,096 and of 16 rows in which no call fails, and one with a poison row.
//!
//! `cargo bench -p tidemill-flow --bench rule`

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{Array, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::Schema;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidemill_event::batch::time_field;
use tidemill_event::{CallFailure, Ending, EventTime, Field, FieldType, RuleAnswer, RuleCall, Usage};
use tidemill_flow::{FlowBatch, Guest, Isolation, Keep, OnFailing, Operator, Outcome, RuleSettings, RuleStep, StepId};

/// Yes to what is more than 1000; a negative amount traps the call.
struct Threshold;

impl Guest<RuleAnswer> for Threshold {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        let amounts = call.columns.column(0).as_any().downcast_ref::<Float64Array>().expect("amounts").values();
        if amounts.iter().any(|amount| *amount < 0.0) {
            let usage = Usage::default();
            return Err(CallFailure { ending: Ending::Trap, message: String::new(), backtrace: String::new(), usage });
        }
        let verdicts = BooleanArray::new(amounts.iter().map(|amount| *amount > 1000.0).collect(), None);
        Ok(RuleAnswer { verdicts, columns: Vec::new(), state: None, notes: Vec::new(), usage: Usage::default() })
    }

    fn replace(&mut self) {}
}

fn rows(count: usize, poison: Option<usize>) -> FlowBatch {
    let amounts: Float64Array =
        (0..count).map(|row| if Some(row) == poison { -1.0 } else { (row * 7919 % 2003) as f64 }).collect();
    let numbers: Int64Array = (0..count as i64).collect();
    let users: StringArray = (0..count).map(|row| Some(format!("user-{}", row % 29))).collect();
    let times = TimestampMicrosecondArray::from_iter_values(0..count as i64).with_timezone("UTC");
    let schema = Schema::new(vec![
        Field::new("amount", FieldType::Float64, false).arrow(),
        Field::new("n", FieldType::Int64, false).arrow(),
        Field::new("user", FieldType::String, true).arrow(),
        time_field(),
    ]);
    let columns: Vec<Arc<dyn Array>> = vec![Arc::new(amounts), Arc::new(numbers), Arc::new(users), Arc::new(times)];
    FlowBatch::new(RecordBatch::try_new(Arc::new(schema), columns).expect("an event batch"))
}

fn step() -> RuleStep {
    let settings = RuleSettings {
        step: StepId(0),
        columns: vec![Field::new("amount", FieldType::Float64, false)],
        outputs: Vec::new(),
        keep: Keep::All,
        flag: Some("high".into()),
        keyed: None,
        isolation: Isolation::new(OnFailing::Hold),
    };
    RuleStep::new(settings, Box::new(Threshold))
}

fn rule(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rule");
    for (name, count, poison) in [("4096", 4096, None), ("16", 16, None), ("4096 with one poison row", 4096, Some(613))] {
        let (mut step, rows) = (step(), rows(count, poison));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut outcome = Outcome::new(EventTime(0));
                black_box(step.apply(rows.clone(), &mut outcome));
                black_box(&outcome);
            });
        });
    }
}

criterion_group!(benches, rule);
criterion_main!(benches);
