//! 10, 100, 1,000 and 10,000 rules over 4,096 rows: all with an equality of their own (an index finds them), all with a predicate of their own beside
//! it, and all with a predicate alone (each is asked about every row that is left). CPU time.
//!
//! `cargo bench -p tidemill-flow --bench rule_set`
//!
//! Predicates are small loops here: what is measured is what the step does around them.

mod support;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::Schema;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::cpu;
use tidemill_event::batch::time_field;
use tidemill_event::{EventTime, Field, FieldType};
use tidemill_flow::rule_set::{
    Constant, Emit, MatchRules, RuleSet, RuleSetSettings, RuleTest, SetRule, SharedPredicate, TestKind,
};
use tidemill_flow::{FlowBatch, Operator, Outcome, Predicate, StepId, Tested};

const ROWS: usize = 4096;
/// Values there are, and rules at most.
const RULES: usize = 10_000;

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
    let predicate = |at: usize| SharedPredicate {
        columns: vec!["amount".into()],
        predicate: Box::new(More((at * 1_000 / predicates) as i64)),
    };
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
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1));
    let is = |at: usize| TestKind::Is { column: "merchant".into(), any_of: vec![Constant::Text(format!("m{at}").into())] };
    let one = |at: usize| TestKind::Predicate(at as u32);
    let rows = rows();
    let mut bench = |name: &str, mut set: RuleSet| {
        group.bench_function(name, |bencher| {
            cpu(bencher, || set.apply(rows.clone(), &mut Outcome::new(EventTime(0))).len());
        });
    };
    for rules in [10, 100, 1_000, RULES] {
        bench(&format!("{rules} found by a value"), set(rules, 0, |at| vec![is(at)]));
        let both = set(rules, rules, |at| vec![is(at), one(at)]);
        bench(&format!("{rules} found by a value, each with its own predicate"), both);
        // The first ones want the least: most rows are left to the others.
        bench(&format!("{rules} asked about every row that is left"), set(rules, rules, |at| vec![one(rules - 1 - at)]));
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
