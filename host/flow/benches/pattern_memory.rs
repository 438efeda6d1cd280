//! What an open partial match takes, as bytes of resident memory: first one of each of a million users, then a hundred of each of 10,000, then one
//! without its event and its key.
//!
//! `cargo bench -p tidemill-flow --bench pattern_memory`
//!
//! In the first two their events are counted with them: of each a time, a link and eight bytes of a kept column. For the last, each event of a user of
//! its own begins one partial match, and then eight: what the other seven take is theirs alone. Each case is a process of its own, for what
//! one frees another takes.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::Schema;
use tidemill_event::batch::{time_field, times};
use tidemill_event::{EventTime, Field, FieldType};
use tidemill_flow::pattern::{
    Body, Contiguity, Element, Pattern, PatternOrder, PatternSettings, PatternStep, PredicateId, Quantifier, RunLimits,
    StageCondition,
};
use tidemill_flow::{
    Aggregate, AggregateCall, FlowBatch, Judged, LaneId, Lanes, Operator, Outcome, Predicate, StepId, Tested, TimeSettings,
};

const OPEN: i64 = 1_000_000;
const BATCH: i64 = 4_000;

fn int(name: &str) -> Field {
    Field::new(name, FieldType::Int64, true)
}

/// The kind is that.
struct KindIs(i64);

impl Predicate for KindIs {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let kinds = rows.column_by_name("kind").expect("a column").as_primitive::<Int64Type>();
        Tested { passes: BooleanArray::from_unary(kinds, |kind| kind == self.0), failed: Vec::new() }
    }
}

/// Kind 0, as so many stages as there are to choose from, then kind 1, which never comes.
fn step(choices: u64) -> PatternStep {
    let stage = |at: u64| vec![Element::stage(&format!("a{at}"), Contiguity::Next, PredicateId(0))];
    let choice = Element {
        contiguity: Contiguity::Next,
        quantifier: Quantifier::times(1, Some(1)),
        body: Body::OneOf((0..choices).map(stage).collect()),
    };
    let first = if choices == 1 { stage(0).remove(0) } else { choice };
    let elements = vec![first, Element::stage("b", Contiguity::FollowedBy, PredicateId(1))];
    let last = AggregateCall { name: "last".into(), aggregate: Aggregate::Last, argument: Some(int("id")), filter: None };
    PatternStep::new(PatternSettings {
        step: StepId(0),
        by: vec![int("user")],
        fields: vec![int("user"), int("kind"), int("id")],
        kept: vec![int("id")],
        pattern: Pattern { within: Some(Duration::from_secs(86_400)), ..Pattern::new(elements) },
        conditions: [0, 1].map(|kind| StageCondition::Row(Box::new(KindIs(kind)))).into(),
        values: Vec::new(),
        asked: None,
        order: PatternOrder::Time,
        limits: RunLimits::default(),
        measures: vec![tidemill_flow::pattern::Measure { stage: None, call: last }],
        explained: None,
        timeouts: false,
        judged: Judged::ByLane,
        draining: false,
    })
    .expect("a sound pattern")
}

fn batch(first: i64, users: i64) -> RecordBatch {
    let rows = first..first + BATCH;
    let fields = [int("user"), int("kind"), int("id")];
    let schema = Schema::new(fields.iter().map(Field::arrow).chain([time_field()]).collect::<Vec<_>>());
    let column = |value: &dyn Fn(i64) -> i64| Arc::new(Int64Array::from_iter_values(rows.clone().map(value)));
    let times = TimestampMicrosecondArray::from_iter_values(rows.clone()).with_timezone("UTC");
    // Users come in no order that memory could follow.
    let columns =
        vec![column(&|row| row * 7_919 % users) as _, column(&|_| 0) as _, column(&|row| row) as _, Arc::new(times) as _];
    RecordBatch::try_new(Arc::new(schema), columns).expect("an event batch")
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    resident.map(|kib: u64| kib << 10).expect("a line about it")
}

/// What is measured.
#[derive(Clone, Copy)]
struct Case {
    events: i64,
    users: i64,
    /// Partial matches that each event begins.
    choices: u64,
}

/// Prints the bytes and how many partial matches are open.
fn measure(case: Case) {
    let mut lanes = Lanes::new(TimeSettings { idle_after: None, bound: None, drift_max: None }, &[Duration::ZERO]);
    let mut step = step(case.choices);
    let mut before = 0;
    // What is there before the first row is not counted, and neither is the room that a batch needs on its way.
    for first in (-BATCH..case.events).step_by(BATCH as usize) {
        if first == 0 {
            before = resident_bytes();
        }
        let rows = batch(first.max(0), case.users);
        let rows = if first < 0 { rows.slice(0, 1) } else { rows };
        let marks = lanes.rows(LaneId(0), times(&rows).values());
        step.apply(FlowBatch::new(rows), &mut Outcome::new(EventTime(0)).with_marks(marks));
    }
    println!("{} {}", resident_bytes() - before, step.tally().runs);
}

/// The same in a process of its own: bytes, partial matches.
fn measured(Case { events, users, choices }: Case) -> (u64, u64) {
    let own = std::env::current_exe().expect("its own path");
    let words = [format!("events={events}"), format!("users={users}"), format!("choices={choices}")];
    let output = Command::new(own).args(words).output().expect("it starts again");
    assert!(output.status.success(), "a case failed: {}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).expect("two numbers");
    let mut numbers = told.split_whitespace().map(|number| number.parse().expect("a number"));
    (numbers.next().expect("bytes"), numbers.next().expect("partial matches"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let told = |name: &str| -> Option<i64> { arguments.iter().find_map(|argument| argument.strip_prefix(name)?.parse().ok()) };
    if let (Some(events), Some(users), Some(choices)) = (told("events="), told("users="), told("choices=")) {
        return measure(Case { events, users, choices: choices as u64 });
    }
    for users in [OPEN, 10_000] {
        let (bytes, runs) = measured(Case { events: OPEN, users, choices: 1 });
        println!("{users} users: {runs} open partial matches, {} bytes each with their events", bytes / runs);
    }
    let users = OPEN / 4;
    let [one, eight] = [1, 8].map(|choices| measured(Case { events: users, users, choices }));
    println!("one without its event and its key: {} bytes", (eight.0 - one.0) / (eight.1 - one.1));
}
