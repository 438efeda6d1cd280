//! 5,000 rules over 4,096 rows: all with an equality of their own (an index finds them), all with one of two shared predicates beside it, and all
//! without any (each is asked about every row). Beside them one rule, as a floor.
//!
//! Predicates are small loops here: what is measured is what the step does around them.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::Schema;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill_event::batch::time_field;
use tidemill_event::{EventTime, Field, FieldType};
use tidemill_flow::rule_set::{
    Constant, Emit, MatchRules, RuleSet, RuleSetSettings, RuleTest, SetRule, SharedPredicate, TestKind,
};
use tidemill_flow::{FlowBatch, Operator, Outcome, Predicate, StepId, Tested};

const ROWS: usize = 4096;
const RULES: usize = 5000;

/// `amount > least`.
struct More(i64);

impl Predicate for More {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let amounts = rows.column(0).as_primitive::<Int64Type>();
        let passes = amounts.values().iter().map(|amount| *amount > self.0).collect();
        Tested { passes: BooleanArray::new(passes, None), failed: Vec::new() }
    }
}

fn rows() -> FlowBatch {
    let merchants: StringArray = (0..ROWS).map(|row| Some(format!("m{}", row * 7919 % RULES))).collect();
    let amounts = Int64Array::from_iter_values((0..ROWS as i64).map(|row| row * 31 % 1000));
    let times = TimestampMicrosecondArray::from_iter_values(0..ROWS as i64).with_timezone("UTC");
    let fields = [Field::new("merchant", FieldType::String, true), Field::new("amount", FieldType::Int64, true)];
    let schema = Schema::new(fields.iter().map(Field::arrow).chain([time_field()]).collect::<Vec<_>>());
    let columns = vec![Arc::new(merchants) as _, Arc::new(amounts) as _, Arc::new(times) as _];
    FlowBatch::new(RecordBatch::try_new(Arc::new(schema), columns).expect("an event batch"))
}

fn set(rules: usize, predicates: usize, tests: impl Fn(usize) -> Vec<TestKind>) -> RuleSet {
    let rule = |at: usize| SetRule {
        name: format!("r{at}").into(),
        off: None,
        from: None,
        until: None,
        tests: tests(at).into_iter().map(|kind| RuleTest { text: "".into(), kind }).collect(),
        asks: None,
        sets: Vec::new(),
        tags: Vec::new(),
        route: None,
        drops: false,
    };
    let predicate = |at: usize| SharedPredicate { columns: vec!["amount".into()], predicate: Box::new(More(at as i64 % 1000)) };
    RuleSet::new(RuleSetSettings {
        step: StepId(0),
        rules: (0..rules).map(rule).collect(),
        predicates: (0..predicates).map(predicate).collect(),
        values: Vec::new(),
        components: Vec::new(),
        columns: Vec::new(),
        matches: MatchRules::First,
        emit: Emit::Rows,
        keeps_all: true,
        named: "rule".into(),
        traces: false,
    })
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rule set");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    let is = |at: usize| TestKind::Is { column: "merchant".into(), any_of: vec![Constant::Text(format!("m{at}").into())] };
    let one = |at: usize| TestKind::Predicate(at as u32);
    let sets = [
        ("one rule", set(1, 1, |at| vec![one(at)])),
        ("5,000 found by a value", set(RULES, 0, |at| vec![is(at)])),
        ("5,000 found by a value, with one of two predicates", set(RULES, 2, |at| vec![is(at), one(at % 2)])),
        ("5,000 found by a value, each with its own predicate", set(RULES, RULES, |at| vec![is(at), one(at)])),
        ("5,000 asked about every row that is left", set(RULES, RULES, |at| vec![one(RULES - 1 - at)])),
    ];
    for (name, mut set) in sets {
        let rows = rows();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (rows.clone(), Outcome::new(EventTime(0))),
                |(rows, mut outcome)| set.apply(black_box(rows), &mut outcome),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
