//! What a row costs in a pattern: a million payments of 10,000 users in order, in batches of 4,096, predicates in SQL or in a component. CPU time.
//!
//! `cargo xtask guests && cargo bench -p tidemill-flow --bench patterns`
//!
//! The figures are for whole runs: predicates, keys, runs, timers, rows of matches. The floor is a `where` with the same predicate.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use support::cpu;
use support::patterns::{DECLINED, STEP, WITHIN, measure, settings};
use support::payments::{ROWS, Sql, field, payments, run};
use tidemill_event::{CallFailure, RuleAnswer, RuleCall};
use tidemill_flow::pattern::{
    ByComponent, ComponentPattern, Contiguity, Element, Measure, Pattern, PatternStep, PredicateId, Quantifier, Skip,
    StageCondition,
};
use tidemill_flow::recognize::{
    AfterMatch, Definition, MatchLimits, MatchSettings, MatchStep, RowPattern, RowsPerMatch, VariableId,
};
use tidemill_flow::{Aggregate, Guest, Isolation, Judge, Judged, Operator, Predicate, Where};
use tidemill_runtime::{
    Compiler, Component, Grants, Instance, InstanceSettings, Limits, Runtime, RuntimeSettings, SilentLog, SilentMetrics,
};

fn pattern_step(
    by: &str,
    pattern: Pattern,
    conditions: Vec<Box<dyn Predicate>>,
    asked: &[&str],
    measures: Vec<Measure>,
) -> PatternStep {
    let conditions = conditions.into_iter().map(StageCondition::Row).collect();
    PatternStep::new(settings(by, pattern, conditions, asked, measures)).expect("a sound pattern")
}

/// Three of a user within a minute; the next match begins behind the third.
fn three(name: &str) -> Pattern {
    let three = Element::stage(name, Contiguity::Next, PredicateId(0)).quantified(Quantifier::times(3, Some(3)));
    Pattern { within: Some(WITHIN), skip: Skip::PastLast, ..Pattern::new(vec![three]) }
}

fn declined() -> Box<dyn Operator> {
    let measures = vec![
        measure("n", None, Aggregate::Count, None),
        measure("spent", None, Aggregate::Sum, Some(field("amount"))),
        measure("last", None, Aggregate::Last, Some(field("merchant"))),
    ];
    Box::new(pattern_step("user", three("declined"), vec![Sql::boxed(DECLINED)], &["status"], measures))
}

/// The same in the words that the component knows, to be compared with it: the same measures, which it makes its row of.
fn failed(predicate: Box<dyn Predicate>) -> PatternStep {
    let measures = vec![
        measure("count(failed)", Some("failed"), Aggregate::Count, None),
        measure("last(failed.user)", Some("failed"), Aggregate::Last, Some(field("user"))),
    ];
    pattern_step("user", three("failed"), vec![predicate], &["type"], measures)
}

/// Five stages, the middle one once or more.
fn five() -> Box<dyn Operator> {
    let elements = (0u8..5).map(|at| {
        let element = Element::stage(&format!("s{at}"), Contiguity::FollowedBy, PredicateId(at));
        if at == 2 { element.quantified(Quantifier::times(1, None)) } else { element }
    });
    let pattern = Pattern { within: Some(WITHIN), skip: Skip::PastLast, ..Pattern::new(elements.collect()) };
    let conditions = (0..5).map(|kind| Sql::boxed(&format!("kind = {kind}"))).collect();
    let measures = vec![measure("n", None, Aggregate::Count, None), measure("last", None, Aggregate::Last, Some(field("id")))];
    Box::new(pattern_step("user", pattern, conditions, &["kind"], measures))
}

/// `where status = 'declined'`, the floor, and what `match_recognize` needs before it to pass over other rows.
fn filter() -> Box<dyn Operator> {
    Box::new(Where::new(STEP, Sql::boxed(DECLINED)))
}

/// `PATTERN (A B C) WITHIN INTERVAL '60' SECOND DEFINE A AS TRUE`.
fn recognize() -> Box<dyn Operator> {
    let three = (0..3).map(|at| RowPattern::Variable(VariableId(at))).collect();
    let settings = MatchSettings {
        explained: None,
        step: STEP,
        by: vec![field("user")],
        fields: vec![field("user"), field("amount")],
        kept: vec![field("amount")],
        variables: ["A", "B", "C"].map(Arc::from).into(),
        pattern: RowPattern::Sequence(three),
        definitions: (0..3).map(|_| Definition::default()).collect(),
        skip: AfterMatch::PastLast,
        within: Some(WITHIN),
        rows: RowsPerMatch::One,
        terms: Vec::new(),
        measures: Vec::new(),
        limits: MatchLimits::default(),
        judged: Judged::ByLane,
    };
    Box::new(MatchStep::new(settings).expect("a sound pattern"))
}

/// A column that the component made.
struct Is(Arc<str>);

impl Predicate for Is {
    fn test(&self, rows: &arrow_array::RecordBatch) -> tidemill_flow::Tested {
        use arrow_array::cast::AsArray;
        let column = rows.column_by_name(&self.0).expect("the component has judged the row before");
        tidemill_flow::Tested { passes: column.as_boolean().clone(), failed: Vec::new() }
    }
}

#[derive(Clone, Copy)]
enum Ask {
    Stages,
    Shape,
}

struct Sandbox(Instance, Ask);

impl Guest<RuleAnswer> for Sandbox {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        match self.1 {
            Ask::Stages => self.0.judge_stages(call),
            Ask::Shape => self.0.shape(call),
        }
    }

    fn replace(&mut self) {}
}

/// `std-failed-logins`, which `cargo xtask guests` built.
fn component() -> (Runtime, Arc<Component>) {
    let folder: PathBuf = std::env::current_exe().expect("its own path").ancestors().nth(3).expect("the target folder").into();
    let file = folder.join("guests/std-failed-logins.wasm");
    let wasm = std::fs::read(&file).unwrap_or_else(|error| panic!("`{}`: {error}; run `cargo xtask guests`", file.display()));
    let runtime = Runtime::new(RuntimeSettings::new(Compiler::InProcess)).expect("a runtime");
    let component = runtime.prepare(&wasm).expect("a component");
    (runtime, component)
}

fn by_component((runtime, component): &(Runtime, Arc<Component>)) -> Box<dyn Operator> {
    let description = component.description();
    let guest = |ask| -> Box<Judge> {
        let opened = InstanceSettings {
            config: "{}".to_owned(),
            limits: Limits::default(),
            log: Arc::new(SilentLog),
            metrics: Arc::new(SilentMetrics),
            grants: Grants::none(),
        };
        Box::new(Sandbox(runtime.instantiate(component, opened).expect("an instance"), ask))
    };
    let predicate = ByComponent::predicate(0);
    let operator = Box::new(failed(Box::new(Is(predicate.name.clone()))));
    let told = ["user", "match_start", "match_end"].map(Arc::from).into_iter();
    Box::new(ByComponent::new(ComponentPattern {
        operator,
        columns: description.columns.clone(),
        predicates: vec![predicate],
        judge: guest(Ask::Stages),
        isolation: Isolation::never_out(),
        shape: Some((description.matching.found.clone(), description.outputs.clone(), guest(Ask::Shape))),
        told: told.chain(description.outputs.iter().map(|field| field.name.clone())).collect(),
    }))
}

type Make<'a> = &'a dyn Fn() -> Vec<Box<dyn Operator>>;

fn patterns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pattern");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    let component = component();
    for percent in [5, 50] {
        let batches = payments(percent);
        let bench = |group: &mut BenchmarkGroup<'_, WallTime>, name: &str, steps: Make<'_>| {
            println!("{name}, {percent} % declined: {} rows come out", run(&mut steps(), &batches));
            group.bench_function(format!("{name}, {percent} % declined"), |bencher| cpu(bencher, || run(&mut steps(), &batches)));
        };
        bench(&mut group, "floor: where", &|| vec![filter()]);
        bench(&mut group, "three in 60 s", &|| vec![declined()]);
        bench(&mut group, "three in 60 s behind where", &|| vec![filter(), declined()]);
        bench(&mut group, "three in 60 s, match_recognize behind where", &|| vec![filter(), recognize()]);
        bench(&mut group, "three in 60 s, two measures, SQL", &|| vec![Box::new(failed(Sql::boxed("type = 'auth_failed'")))]);
        bench(&mut group, "three in 60 s, two measures, component", &|| vec![by_component(&component)]);
        if percent == 5 {
            bench(&mut group, "five stages, the third once or more", &|| vec![five()]);
        }
    }
}

criterion_group!(benches, patterns);
criterion_main!(benches);
