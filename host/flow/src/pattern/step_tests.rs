//! The step against matchers that are given the rows of one key each, in order, one by one: under every cut of batches, disorder, clock and restart.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, BooleanArray, RecordBatch};
use proptest::prelude::*;
use tidemill_event::{CallFailure, Field, FieldType, RuleAnswer, RuleCall, Usage};

use crate::pattern::{
    AskedCondition, Body, Candidate, ConditionGuest, Contiguity, Element, Finding, Inner, Measure, Moment, Pattern,
    PatternMatcher, PatternOrder, PatternSettings, PatternStep, PredicateId, Quantifier, RunCandidate, RunJudge, RunLimits,
    RunPredicate, RunValue, RunView, Skip, SkipTarget, StageCondition, StageId,
};
use crate::window::example::{Happens, Row, Schedule, Told, any_rows, any_schedule, run};
use crate::{Aggregate, AggregateCall, Guest, Judged, Predicate, StepId, Tested};

/// v lies between.
#[derive(Debug, Clone, Copy)]
pub(in crate::pattern) struct Between(i64, i64);

impl Between {
    fn holds(self, value: Option<i64>) -> bool {
        value.is_some_and(|value| (self.0..=self.1).contains(&value))
    }
}

impl Predicate for Between {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let values = rows.column_by_name("v").expect("a value").as_primitive::<Int64Type>();
        let passes: BooleanArray = values.iter().map(|value| Some(self.holds(value))).collect();
        Tested { passes, failed: Vec::new() }
    }
}

/// v is greater than the last one of the first stage.
struct Rising;

fn value(rows: &RecordBatch, row: usize) -> Option<i64> {
    let values = rows.column_by_name("v").expect("a value").as_primitive::<Int64Type>();
    values.is_valid(row).then(|| values.value(row))
}

impl RunPredicate for Rising {
    fn test(&self, candidate: &RunCandidate<'_>) -> Result<bool, String> {
        let last = candidate.events(StageId(0)).next().and_then(|(rows, row)| value(rows, row));
        Ok(value(candidate.rows, candidate.row) > last)
    }
}

/// The same for the model, over all rows.
struct RisingOf<'a>(&'a [Row]);

impl RunJudge for RisingOf<'_> {
    fn holds(&mut self, _: PredicateId, event: &Candidate, run: &RunView<'_>) -> bool {
        let last = run.events(StageId(0)).next().and_then(|(_, row)| self.0[row as usize].value);
        self.0[event.row as usize].value > last
    }

    fn took(&mut self, _: &RunView<'_>) {}
}

pub(in crate::pattern) const BITS: [Between; 3] = [Between(-5, 1), Between(0, 4), Between(3, 9)];
/// The predicate that looks at the run.
const RISING: u8 = 3;

#[derive(Debug, Clone)]
pub(in crate::pattern) struct Case {
    pub(in crate::pattern) pattern: Pattern,
    pub(in crate::pattern) order: PatternOrder,
    pub(in crate::pattern) keyed: bool,
    pub(in crate::pattern) timeouts: bool,
}

pub(in crate::pattern) fn any_case() -> impl Strategy<Value = Case> {
    let contiguity = || prop_oneof![Just(Contiguity::Next), Just(Contiguity::FollowedBy), Just(Contiguity::FollowedByAny)];
    let quantifier = || {
        let inner = prop_oneof![Just(Inner::Relaxed), Just(Inner::Consecutive), Just(Inner::Combinations)];
        let max = prop_oneof![2 => Just(Some(1)), 1 => Just(Some(3)), 1 => Just(None)];
        (max, inner, proptest::bool::weighted(0.2)).prop_map(|(max, inner, is_optional)| Quantifier {
            max,
            inner,
            is_optional,
            ..Quantifier::ONCE
        })
    };
    let middle = (contiguity(), quantifier(), 0u8..=RISING);
    let ending = prop_oneof![3 => Just(None), 1 => Just(Some(Contiguity::NotFollowedBy)), 1 => Just(Some(Contiguity::NotNext))];
    let skip = prop_oneof![
        3 => Just(Skip::None),
        1 => Just(Skip::ToNext),
        1 => Just(Skip::PastLast),
        1 => any::<bool>().prop_map(|must_exist| Skip::ToLast(SkipTarget { stage: "s1".into(), must_exist })),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let parts = (0u8..3, middle, proptest::option::of((contiguity(), 0u8..3)), ending, 3u64..30, skip, flags);
    parts.prop_map(|(first, (contiguity, mut quantifier, condition), last, ending, within, skip, (by_time, keyed, timeouts))| {
        let mut elements = vec![Element::stage("s0", Contiguity::Next, PredicateId(first))];
        quantifier.is_optional &= ending.is_none() || last.is_some();
        elements.push(Element::stage("s1", contiguity, PredicateId(condition)).quantified(quantifier));
        elements.extend(last.map(|(contiguity, condition)| Element::stage("s2", contiguity, PredicateId(condition))));
        elements.extend(ending.map(|ending| Element::stage("n", ending, PredicateId(2))));
        let pattern = Pattern { within: Some(Duration::from_micros(within)), skip, ..Pattern::new(elements) };
        let order = if by_time { PatternOrder::Time } else { PatternOrder::Arrival };
        Case { pattern, order, keyed, timeouts }
    })
}

/// The same as a component that is asked about many rows and runs in one call.
struct RisingGuest;

impl Guest<RuleAnswer> for RisingGuest {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        let state = call.state.as_ref().expect("which condition each row asks");
        assert!(state.row_to_key.iter().all(|condition| *condition == 0) && state.rows.num_rows() == 1);
        let (values, last) =
            (call.columns.column(0).as_primitive::<Int64Type>(), call.columns.column(1).as_primitive::<Int64Type>());
        let verdicts: BooleanArray = values.iter().zip(last).map(|(value, last)| Some(value > last)).collect();
        Ok(RuleAnswer { verdicts, columns: Vec::new(), state: None, notes: Vec::new(), usage: Usage::default() })
    }

    fn replace(&mut self) {}
}

fn step(case: &Case, by_component: bool) -> PatternStep {
    PatternStep::new(settings(case, by_component)).expect("a sound pattern")
}

pub(in crate::pattern) fn settings(case: &Case, by_component: bool) -> PatternSettings {
    let value = Field::new("v", FieldType::Int64, true);
    let measure = |name: &str, stage: Option<&str>, aggregate, of: Option<&Field>| Measure {
        stage: stage.map(Into::into),
        call: AggregateCall { name: name.into(), aggregate, argument: of.cloned(), filter: None },
    };
    let mut conditions: Vec<StageCondition> = BITS.iter().map(|bits| StageCondition::Row(Box::new(*bits) as _)).collect();
    let last = RunValue::new(Some("s0".into()), Aggregate::Last, Some(value.clone())).expect("a value of a run");
    // A pattern that asks nothing of runs may pass over rows without a look at their keys.
    let asks = case
        .pattern
        .elements
        .iter()
        .any(|element| matches!(&element.body, Body::Stage(stage) if stage.condition == PredicateId(RISING)));
    conditions.extend(asks.then(|| match by_component {
        true => StageCondition::Asked(AskedCondition { gate: None, number: 0 }),
        false => StageCondition::Run(Box::new(Rising)),
    }));
    let asked = (by_component && asks).then(|| ConditionGuest {
        guest: Box::new(RisingGuest),
        columns: vec![value.clone()],
        so_far: vec![(0, Field::new("last(s0.v)", FieldType::Int64, true))],
        conditions: 1,
    });
    PatternSettings {
        step: StepId(1),
        by: if case.keyed { vec![Field::new("k", FieldType::String, true)] } else { Vec::new() },
        fields: vec![Field::new("k", FieldType::String, true), value.clone()],
        kept: vec![value.clone()],
        pattern: case.pattern.clone(),
        conditions,
        values: vec![last],
        asked,
        order: case.order,
        limits: RunLimits::default(),
        measures: vec![measure("n", Some("s1"), Aggregate::Count, None), measure("sum", None, Aggregate::Sum, Some(&value))],
        explained: None,
        timeouts: case.timeouts,
        judged: Judged::ByLane,
        draining: false,
    }
}

/// One matcher per key; what it finds as the step's rows.
struct Model<'a> {
    case: &'a Case,
    rows: &'a [Row],
    keys: BTreeMap<Option<u8>, PatternMatcher>,
    waiting: Vec<usize>,
    told: Told,
    /// Found and not told yet: when, by an event or the clock, of which event, the line without its origin.
    found: Vec<(i64, bool, usize, String)>,
}

impl Model<'_> {
    fn happens(&mut self, happens: Happens<'_>) {
        match happens {
            Happens::Row(number, row, watermark) if self.case.order == PatternOrder::Time => {
                if row.time < watermark {
                    self.told.late.push(number)
                } else {
                    self.waiting.push(number)
                }
            }
            // Told with what the watermark behind it lets out.
            Happens::Row(number, ..) => self.take(number),
            Happens::Watermark(watermark, origin) => {
                let (mut ready, waiting): (Vec<usize>, Vec<usize>) =
                    self.waiting.drain(..).partition(|row| self.rows[*row].time <= watermark);
                self.waiting = waiting;
                ready.sort_by_key(|row| self.rows[*row].time);
                ready.into_iter().for_each(|row| self.take(row));
                let keys: Vec<Option<u8>> = self.keys.keys().copied().collect();
                keys.into_iter().for_each(|key| self.advance(key, watermark));
                self.tell(origin);
            }
        }
    }

    fn key(&self, number: usize) -> Option<u8> {
        self.rows[number].key.filter(|_| self.case.keyed)
    }

    fn take(&mut self, number: usize) {
        let row = &self.rows[number];
        let key = self.key(number);
        let make = || PatternMatcher::new(&self.case.pattern, RunLimits::default()).expect("a sound pattern");
        let matcher = self.keys.entry(key).or_insert_with(make);
        let (found, _) = matcher.advance(row.time);
        let holds = BITS.iter().zip(0..).filter(|(bits, _)| bits.holds(row.value)).fold(0, |all, (_, bit)| all | 1 << bit);
        let moment = Moment { time: row.time, number: number as u64 };
        let candidate = Candidate { moment, row: number as u32, holds, unknown: 1 << RISING };
        let (taken, ended) = matcher.take(&candidate, &mut RisingOf(self.rows));
        self.told.dead.extend(ended.err().map(|error| error.to_string()));
        self.find(key, found, None);
        self.find(key, taken, Some(number));
    }

    fn advance(&mut self, key: Option<u8>, now: i64) {
        let (found, _) = self.keys.get_mut(&key).expect("a key that is known").advance(now);
        self.find(key, found, None);
    }

    fn find(&mut self, key: Option<u8>, found: Vec<Finding>, event: Option<usize>) {
        for Finding { is_match, events, at, .. } in found {
            if !is_match && !self.case.timeouts {
                continue;
            }
            let times = || events.iter().map(|(_, row)| self.rows[*row as usize].time);
            let first = events[0].1 as usize;
            let mut cells = Vec::new();
            if self.case.keyed {
                cells.push(key.map_or("-".to_owned(), |key| char::from(b'a' + key).to_string()));
            }
            cells.push(self.rows[first].time.to_string());
            cells.push(times().max().expect("an event").to_string());
            if self.case.timeouts {
                cells.push((!is_match).to_string());
            }
            cells.push(events.iter().filter(|(stage, _)| *stage == StageId(1)).count().to_string());
            let values: Vec<i64> = events.iter().filter_map(|(_, row)| self.rows[*row as usize].value).collect();
            cells.push(if values.is_empty() { "-".to_owned() } else { values.iter().sum::<i64>().to_string() });
            let time = event.map_or(at - 1, |event| self.rows[event].time);
            let line = format!("{} @{time}", cells.join(" "));
            self.found.push((at, event.is_some(), event.unwrap_or(first), line));
        }
    }

    fn tell(&mut self, origin: Option<usize>) {
        self.found.sort_by_key(|(at, by_event, number, _)| (*at, *by_event, *number));
        let origin = origin.map_or("-".to_owned(), |origin| origin.to_string());
        self.told.rows.extend(self.found.drain(..).map(|(.., line)| format!("{origin}: {line}")));
    }
}

fn model(case: &Case, rows: &[Row], schedule: &Schedule) -> Told {
    let (keys, waiting, found) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut model = Model { case, rows, keys, waiting, told: Told::default(), found };
    schedule.play(rows, |happens| model.happens(happens));
    model.told.dropped_late = model.told.late.len() as u64;
    model.told
}

proptest! {
    #[test]
    fn rows_are_those_of_a_matcher_per_key(case in any_case(), rows in any_rows(24), schedule in any_schedule()) {
        let mut expected = model(&case, &rows, &schedule);
        // Lists of rows that failed are by batch.
        expected.dead.sort();
        for by_component in [false, true] {
            let mut told = run(|| step(&case, by_component), &rows, &schedule);
            told.dead.sort();
            prop_assert_eq!(&told, &expected, "by a component: {}", by_component);
        }
    }
}
