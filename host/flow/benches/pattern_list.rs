//! What a row costs in a list of patterns, by how many there are: payments of 10,000 users in order, 5 % of them declined, in batches of 4,096. CPU time.
//!
//! `cargo bench -p tidemill-flow --bench pattern_list`
//!
//! With constants of their own, each of a thousand patterns wants a thousandth of the declined payments: a row should cost what it costs one
//! pattern that wants them all. Where all begin alike, every declined payment begins a run of each: that is what the patterns ask for, and
//! the figure to look at is the cost of a run. Where the second stage must come directly behind the first, every payment of a user with runs
//! is looked at by those patterns, and by no others.

mod support;

use std::time::Duration;

use arrow_array::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::cpu;
use support::patterns::{DECLINED, STEP, WITHIN, measure, settings};
use support::payments::{BATCH, Sql, field, fields, payments, run};
use tidemill_flow::pattern::{
    Contiguity, Element, ListedPattern, Pattern, PatternList, PatternListSettings, PatternOrder, PatternStep, PredicateId,
    Quantifier, SharedConditions, Skip, StageCondition,
};
use tidemill_flow::rule_set::{Constant, SharedPredicate, TestKind};
use tidemill_flow::{Aggregate, Judged, Operator};

/// Batches of which each list is given as many as it takes to measure it.
const ALL: usize = 256;
const FEW: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Two declined payments of a user at the pattern's merchant.
    Twice,
    /// The same, the second one directly behind the first.
    Directly,
    /// A declined payment of a user, then one at the pattern's merchant within 10 s.
    Then,
}

/// A test that an index answers.
fn is(column: &str, value: String) -> TestKind {
    TestKind::Is { column: column.into(), any_of: vec![Constant::Text(value.into())] }
}

fn pattern(kind: Kind, at: usize) -> ListedPattern {
    let (first, own) = (PredicateId(0), PredicateId(1));
    let elements = match kind {
        Kind::Twice => {
            vec![Element::stage("a", Contiguity::Next, first).quantified(Quantifier::times(2, Some(2)))]
        }
        Kind::Directly => {
            vec![Element::stage("a", Contiguity::Next, first), Element::stage("b", Contiguity::Next, first)]
        }
        Kind::Then => {
            vec![Element::stage("a", Contiguity::Next, first), Element::stage("b", Contiguity::FollowedBy, own)]
        }
    };
    // Condition 0 is that it was declined, for all of them; the others are one each.
    let own = StageCondition::Shared(at as u32 + 1);
    let (conditions, within) = match kind {
        Kind::Twice | Kind::Directly => (vec![own], WITHIN),
        Kind::Then => (vec![StageCondition::Shared(0), own], Duration::from_secs(10)),
    };
    let pattern = Pattern { within: Some(within), skip: Skip::PastLast, ..Pattern::new(elements) };
    let sum = vec![measure("spent", None, Aggregate::Sum, Some(field("amount")))];
    let settings = settings("user", pattern, conditions, &[], sum);
    ListedPattern { name: format!("p{at}").into(), shape: String::new(), settings, after: None }
}

fn list(kind: Kind, count: usize) -> Vec<Box<dyn Operator>> {
    let declined = || is("status", "declined".to_owned());
    let own = |at: usize| {
        let merchant = is("merchant", format!("merchant-{at}"));
        if kind == Kind::Then { vec![merchant] } else { vec![merchant, declined()] }
    };
    let columns = PatternStep::new(pattern(kind, 0).settings).expect("a sound pattern").fields();
    let list = PatternListSettings {
        step: STEP,
        fields: fields(),
        order: PatternOrder::Time,
        judged: Judged::ByLane,
        conditions: SharedConditions {
            conditions: [vec![declined()]].into_iter().chain((0..count).map(own)).collect(),
            predicates: Vec::new(),
        },
        patterns: (0..count).map(|at| pattern(kind, at)).collect(),
        columns,
    };
    vec![Box::new(PatternList::new(list).expect("sound patterns"))]
}

/// One pattern that wants all declined payments, as a list: what a thousand that share them out are compared with.
fn one_of_all() -> Vec<Box<dyn Operator>> {
    let mut only = pattern(Kind::Twice, 0);
    only.settings.conditions = vec![StageCondition::Shared(0)];
    let columns = PatternStep::new(pattern(Kind::Twice, 0).settings).expect("a sound pattern").fields();
    let predicate = SharedPredicate { columns: vec!["status".into()], predicate: Sql::boxed(DECLINED) };
    let list = PatternListSettings {
        step: STEP,
        fields: fields(),
        order: PatternOrder::Time,
        judged: Judged::ByLane,
        conditions: SharedConditions { conditions: vec![vec![TestKind::Predicate(0)]], predicates: vec![predicate] },
        patterns: vec![only],
        columns,
    };
    vec![Box::new(PatternList::new(list).expect("a sound pattern"))]
}

fn lists(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pattern list");
    group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1));
    let payments = payments(5);
    let mut bench = |name: &str, batches: &[RecordBatch], make: &dyn Fn() -> Vec<Box<dyn Operator>>| {
        println!("{name}: {} rows come out", run(&mut make(), batches));
        group.throughput(Throughput::Elements((batches.len() * BATCH) as u64));
        group.bench_function(name, |bencher| cpu(bencher, || run(&mut make(), batches)));
    };
    bench("one pattern that wants all declined payments", &payments[..ALL], &one_of_all);
    for (kind, words) in [(Kind::Twice, "of constants of their own"), (Kind::Directly, "of constants of their own, directly")] {
        for count in [1, 10, 100, 1_000] {
            bench(&format!("{count} {words}"), &payments[..ALL], &|| list(kind, count));
        }
    }
    for count in [1, 10, 100, 1_000] {
        // A thousand take a thousand times as long, and as much memory.
        let batches = if count == 1_000 { FEW } else { ALL };
        bench(&format!("{count} that begin alike"), &payments[..batches], &|| list(Kind::Then, count));
    }
}

criterion_group!(benches, lists);
criterion_main!(benches);
