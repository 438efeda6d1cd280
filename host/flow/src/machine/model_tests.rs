//! Random machines over random rows against a model that knows no batches: every cut, and a restart from what was stored at every cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::Schema;
use proptest::prelude::*;
use tidemill_event::batch::time_field;
use tidemill_event::{EventTime, Field, FieldType};

use crate::example::{Stored, keep};
use crate::machine::{Assigned, MachineSettings, MachineState, MachineStep, MachineTimeout, Transition};
use crate::pattern::PatternOrder;
use crate::{Computed, FlowBatch, Judged, Marks, Operator, Outcome, Predicate, Projection, StepId, Tested, Watermark};

fn ints<'a>(rows: &'a RecordBatch, name: &str) -> &'a Int64Array {
    rows.column_by_name(name).unwrap_or_else(|| panic!("no `{name}`")).as_primitive::<Int64Type>()
}

/// A condition over `v`, or over `v` and the variable `n`.
pub(super) enum Says {
    Small,
    Large,
    FewSoFar,
}

impl Predicate for Says {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let of = |name, yes: fn(i64) -> bool| ints(rows, name).iter().map(|value| value.map(yes)).collect::<BooleanArray>();
        let passes = match self {
            Self::Small => of("v", |v| v < 5),
            Self::Large => of("v", |v| v >= 5),
            Self::FewSoFar => of("n", |n| n < 12),
        };
        Tested { passes, failed: Vec::new() }
    }
}

/// `n + v`, of which 13 fails; or `n`.
pub(super) enum Value {
    Sum,
    Variable,
}

impl Projection for Value {
    fn compute(&self, rows: &RecordBatch) -> Computed {
        let n = ints(rows, "n");
        match self {
            Self::Variable => Computed { values: Arc::new(n.clone()), failed: Vec::new() },
            Self::Sum => {
                let v = ints(rows, "v");
                let values: Int64Array = n.iter().zip(v).map(|(n, v)| Some(n? + v?)).collect();
                let failed = v.iter().enumerate().filter(|(_, v)| *v == Some(13)).map(|(row, _)| (row, "unlucky".to_owned()));
                Computed { values: Arc::new(values), failed: failed.collect() }
            }
        }
    }
}

/// A machine as the model has it.
#[derive(Debug, Clone)]
struct Way {
    from: Vec<u16>,
    to: Option<u16>,
    is_large: bool,
    is_guarded: bool,
    sets: bool,
    emits: bool,
    tells: bool,
}

/// By state: after how long, and where to; only to later states.
type Timeouts = Vec<Option<(i64, u16)>>;

const STATES: u16 = 4;
const FINAL: u16 = 3;

pub(crate) fn rows(rows: &[(u8, i64, i64)]) -> RecordBatch {
    let keys: StringArray = rows.iter().map(|(key, ..)| Some(format!("k{key}"))).collect();
    let values = Int64Array::from_iter_values(rows.iter().map(|(_, value, _)| *value));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(.., time)| *time)).with_timezone("UTC");
    let fields = fields();
    let schema = Schema::new(fields.iter().map(Field::arrow).chain([time_field()]).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(keys), Arc::new(values), Arc::new(times)]).expect("an event batch")
}

pub(crate) fn fields() -> Vec<Field> {
    vec![Field::new("k", FieldType::String, true), Field::new("v", FieldType::Int64, true)]
}

/// `x` is emitted, `y` said at entry, `z` at exit.
pub(super) fn columns() -> Vec<Field> {
    ["x", "y", "z"].map(|name| Field::new(name, FieldType::Int64, true)).into()
}

pub(super) fn says(place: u32) -> Vec<Assigned> {
    vec![Assigned { place, value: Box::new(Value::Variable) }]
}

pub(super) fn first() -> RecordBatch {
    let schema = Schema::new(vec![Field::new("n", FieldType::Int64, true).arrow()]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(vec![0]))]).expect("one row")
}

fn step(ways: &[Way], timeouts: &Timeouts, tells_illegal: bool) -> MachineStep {
    let timeout = |(after_micros, to): (i64, u16)| MachineTimeout { after_micros, to, set: Vec::new(), emit: says(0) };
    let state = |number: u16| MachineState {
        name: format!("s{number}").into(),
        is_final: number == FINAL,
        entry: says(1),
        exit: if number == FINAL { Vec::new() } else { says(2) },
        timeout: timeouts[usize::from(number)].map(timeout),
    };
    let sum = || vec![Assigned { place: 0, value: Box::new(Value::Sum) }];
    let transition = |way: &Way| Transition {
        from: way.from.clone(),
        to: way.to,
        trigger: u32::from(way.is_large),
        guard: way.is_guarded.then(|| Box::new(Says::FewSoFar) as Box<dyn Predicate>),
        set: if way.sets { sum() } else { Vec::new() },
        emit: if way.emits { says(0) } else { Vec::new() },
        tells: way.tells,
    };
    MachineStep::new(MachineSettings {
        step: StepId(0),
        by: fields()[..1].to_vec(),
        fields: fields(),
        order: PatternOrder::Time,
        judged: Judged::ByLane,
        states: (0..STATES).map(state).collect(),
        initial: 0,
        triggers: vec![Box::new(Says::Small), Box::new(Says::Large)],
        transitions: ways.iter().map(transition).collect(),
        variables: first(),
        columns: columns(),
        tells_illegal,
    })
}

#[derive(Debug, Default)]
struct Model {
    /// State, since when, the row that moved it last, `n`.
    machines: BTreeMap<u8, (u16, i64, usize, i64)>,
    lines: Vec<String>,
    dead: Vec<usize>,
}

fn shown(value: Option<i64>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

impl Model {
    fn line(&mut self, key: u8, ends: (u16, u16), moved: &str, time: i64, said: [Option<i64>; 3]) {
        let [x, y, z] = said.map(shown);
        self.lines.push(format!("k{key} s{} s{} {moved} {x} {y} {z} @{time}", ends.0, ends.1));
    }

    fn time(&mut self, timeouts: &Timeouts, now: i64) {
        let mut due = Vec::new();
        for (key, machine) in &mut self.machines {
            while let Some((after, to)) =
                timeouts.get(usize::from(machine.0)).copied().flatten().filter(|(after, _)| machine.1 + after <= now)
            {
                let at = machine.1 + after;
                due.push((at, machine.2, *key, (machine.0, to), machine.3));
                (machine.0, machine.1) = (to, at);
            }
        }
        self.machines.retain(|_, machine| machine.0 != FINAL);
        due.sort_unstable();
        for (at, _, key, ends, n) in due {
            self.line(key, ends, "timeout", at - 1, [Some(n); 3]);
        }
    }

    fn row(&mut self, number: usize, (key, v, time): (u8, i64, i64), ways: &[Way], tells_illegal: bool) {
        let there = self.machines.get(&key).copied();
        let (state, entered, last, n) = there.unwrap_or((0, time, 0, 0));
        let mut is_known = false;
        for way in ways.iter().filter(|way| way.is_large == (v >= 5) && way.from.contains(&state)) {
            is_known = true;
            if way.is_guarded && n >= 12 {
                continue;
            }
            if way.sets && v == 13 {
                self.dead.push(number);
                return;
            }
            let after = if way.sets { n + v } else { n };
            let to = way.to.unwrap_or(state);
            let moves = way.to.is_some();
            if way.tells {
                let said = [way.emits.then_some(after), moves.then_some(after), moves.then_some(n)];
                self.line(key, (state, to), "event", time, said);
            }
            if to == FINAL {
                self.machines.remove(&key);
            } else {
                self.machines.insert(key, (to, if moves { time } else { entered }, number, after));
            }
            return;
        }
        let _ = last;
        if !is_known && tells_illegal {
            self.line(key, (state, state), "illegal", time, [None; 3]);
        }
    }
}

/// The rows that came out, in order.
pub(super) fn lines(out: &FlowBatch) -> Vec<String> {
    let text = |name: &str| out.rows.column_by_name(name).unwrap_or_else(|| panic!("no `{name}`")).as_string::<i32>().clone();
    let (keys, from, to, moved) = (text("k"), text("from_state"), text("to_state"), text("moved_by"));
    let times = out.rows.column_by_name("_time").expect("a time").as_primitive::<TimestampMicrosecondType>();
    (0..out.len())
        .map(|row| {
            let said = ["x", "y", "z"].map(|name| {
                let column = ints(&out.rows, name);
                shown(column.is_valid(row).then(|| column.value(row)))
            });
            let [x, y, z] = said;
            let ends = format!("{} {} {} {}", keys.value(row), from.value(row), to.value(row), moved.value(row));
            format!("{ends} {x} {y} {z} @{}", times.value(row))
        })
        .collect()
}

/// Marks of rows that come in order, behind rows up to `before`.
pub(crate) fn marks(rows: &[(u8, i64, i64)], before: i64) -> Marks {
    let task = std::iter::once(before).chain(rows.iter().map(|(.., time)| *time)).take(rows.len()).collect();
    Marks::new(Watermark(before), task, None, Watermark(rows.last().map_or(before, |(.., time)| *time)))
}

fn way() -> impl Strategy<Value = Way> {
    let from = proptest::collection::btree_set(0u16..FINAL, 1..3);
    (from, proptest::option::weighted(0.8, 0u16..STATES), any::<[bool; 5]>()).prop_map(|(from, to, bits)| {
        let [is_large, is_guarded, sets, emits, tells] = bits;
        Way { from: from.into_iter().collect(), to, is_large, is_guarded, sets, emits, tells: tells || emits }
    })
}

proptest! {
    #[test]
    fn a_machine_does_what_the_model_does_through_cuts_and_restarts(
        ways in proptest::collection::vec(way(), 1..8),
        steps in proptest::collection::vec(proptest::option::of((1i64..6, 1u16..4)), 3),
        events in proptest::collection::vec((0u8..4, prop_oneof![9 => 0i64..10, 1 => Just(13)], 0i64..4), 1..50),
        tells_illegal in any::<bool>(),
        cut in 1usize..20,
        restarts in any::<u32>(),
    ) {
        // Only to later states: time ends.
        let timeouts: Timeouts = (0u16..).zip(steps).map(|(state, timeout)| timeout.map(|(after, more)| (after, (state + more).min(FINAL)))).chain([None]).collect();
        let mut now = 0;
        let events: Vec<(u8, i64, i64)> = events.into_iter().map(|(key, v, later)| { now += later; (key, v, now) }).collect();
        let mut model = Model::default();
        for (number, event) in events.iter().enumerate() {
            model.time(&timeouts, event.2);
            model.row(number, *event, &ways, tells_illegal);
        }
        model.time(&timeouts, i64::MAX);
        let mut machine = step(&ways, &timeouts, tells_illegal);
        let mut stored = Stored::new();
        let (mut told, mut dead, mut before) = (Vec::new(), Vec::new(), i64::MIN);
        for (batch, part) in events.chunks(cut).enumerate() {
            let mut output = Outcome::new(EventTime(0)).with_marks(marks(part, before));
            told.extend(lines(&machine.apply(FlowBatch::new(rows(part)), &mut output)));
            dead.extend(output.dead.iter().map(|dead| batch * cut + dead.origin as usize));
            before = part.last().expect("a row").2;
            let state = machine.state().expect("it has state");
            keep(&mut stored, state);
            if restarts >> (batch % 32) & 1 == 1 {
                let sum = state.checksum();
                machine = step(&ways, &timeouts, tells_illegal);
                let state = machine.state().expect("it has state");
                state.restore(&stored).expect("it reads back");
                prop_assert_eq!(state.checksum(), sum);
            }
        }
        let mut output = Outcome::new(EventTime(0)).with_marks(Marks::passing(Watermark(before), Watermark::END));
        let none = FlowBatch::new(rows(&[]));
        told.extend(lines(&machine.apply(none, &mut output)));
        prop_assert_eq!(told, model.lines);
        prop_assert_eq!(dead, model.dead);
        // Machines that are over leave nothing behind.
        let left = output.machines.last().expect("a report").states.iter().sum::<u64>();
        prop_assert_eq!(left as usize, model.machines.len());
        let state = machine.state().expect("it has state");
        prop_assert_eq!(state.len(), model.machines.len());
    }
}
