//! Random events against a search through all of them: every cut, and a restart from what was stored at every cut.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, RecordBatch};
use proptest::prelude::*;
use serde_json::Value;
use tidemill_event::EventTime;

use crate::correlate::{CorrelateSettings, CorrelateStep, EventKind, Needed};
use crate::example::{Stored, keep};
use crate::machine::model_tests::{fields, marks, rows};
use crate::{Computed, FlowBatch, Judged, Marks, Operator, Outcome, Predicate, Projection, StepId, Tested, Watermark};

fn values(rows: &RecordBatch) -> Vec<i64> {
    rows.column_by_name("v").expect("a value").as_primitive::<Int64Type>().values().to_vec()
}

/// The kinds that a value is of: one, several, or none.
fn kinds(v: i64) -> [bool; 3] {
    [v % 2 == 0, v % 3 == 0, v >= 7]
}

struct OfKind(usize);

impl Predicate for OfKind {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let passes: BooleanArray = values(rows).into_iter().map(|v| Some(kinds(v)[self.0])).collect();
        let failed = values(rows).into_iter().enumerate().filter(|(_, v)| *v == 13).map(|(row, _)| (row, "unlucky".to_owned()));
        Tested { passes, failed: failed.collect() }
    }
}

/// The value itself.
struct Itself;

impl Projection for Itself {
    fn compute(&self, rows: &RecordBatch) -> Computed {
        Computed { values: rows.column_by_name("v").expect("a value").clone(), failed: Vec::new() }
    }
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    needed: Needed,
    has_kinds: bool,
    within: i64,
    events_max: u32,
}

fn step(wanted: Wanted) -> CorrelateStep {
    let kind = |(number, name): (usize, &str)| EventKind { name: name.into(), condition: Box::new(OfKind(number)) };
    let kinds = ["even", "third", "large"].into_iter().enumerate().map(kind);
    CorrelateStep::new(CorrelateSettings {
        step: StepId(0),
        by: fields()[..1].to_vec(),
        fields: fields(),
        kept: fields()[1..].to_vec(),
        shown: fields()[1..].to_vec(),
        explained: None,
        judged: Judged::ByLane,
        kinds: if wanted.has_kinds { kinds.collect() } else { Vec::new() },
        value: (wanted.needed.values > 0).then(|| Box::new(Itself) as Box<dyn Projection>),
        needed: wanted.needed,
        within_micros: wanted.within,
        events_max: wanted.events_max,
    })
    .expect("three kinds")
}

/// Whether kinds from `next` on can be found in events behind each other, by trying every one.
fn is_in_order(events: &[(i64, i64)], next: usize, of: usize) -> bool {
    next == of || (0..events.len()).any(|at| kinds(events[at].0)[next] && is_in_order(&events[at + 1..], next + 1, of))
}

fn is_enough(events: &[(i64, i64)], wanted: Wanted) -> bool {
    let needed = wanted.needed;
    let there = (0..3).filter(|kind| events.iter().any(|(v, _)| kinds(*v)[*kind])).count();
    let values: BTreeSet<i64> = events.iter().map(|(v, _)| *v).collect();
    (!wanted.has_kinds || there >= needed.kinds as usize)
        && values.len() >= needed.values as usize
        && (!needed.in_order || is_in_order(events, 0, needed.kinds as usize))
}

/// Key, then value and time of each event of a match.
type Found = (String, Vec<(i64, i64)>);

fn model(events: &[(u8, i64, i64)], wanted: Wanted) -> (Vec<Found>, usize) {
    let (mut found, mut quiet) = (Vec::new(), 0);
    let mut of: BTreeMap<u8, (Vec<(i64, i64)>, i64)> = BTreeMap::new();
    for (key, v, time) in events {
        let is_event = !wanted.has_kinds || *v != 13 && kinds(*v).contains(&true);
        if !is_event {
            continue;
        }
        let (group, until) = of.entry(*key).or_insert((Vec::new(), i64::MIN));
        if time < until {
            quiet += 1;
            continue;
        }
        group.retain(|(_, before)| time - before < wanted.within);
        if group.len() == wanted.events_max as usize {
            group.remove(0);
        }
        group.push((*v, *time));
        if is_enough(group, wanted) {
            *until = group[0].1 + wanted.within;
            found.push((format!("k{key}"), std::mem::take(group)));
        }
    }
    (found, quiet)
}

fn found(out: &FlowBatch) -> Vec<Found> {
    let text = |name: &str| out.rows.column_by_name(name).unwrap_or_else(|| panic!("no `{name}`")).as_string::<i32>().clone();
    let (keys, evidence) = (text("k"), text("evidence"));
    (0..out.len())
        .map(|row| {
            let events: Vec<Value> = serde_json::from_str(evidence.value(row)).expect("JSON");
            let time = |event: &Value| EventTime::parse_rfc3339(event["at"].as_str().expect("a time")).expect("a time").0;
            let event = |event: &Value| (event["v"].as_i64().expect("a value"), time(event));
            (keys.value(row).to_owned(), events.iter().map(event).collect())
        })
        .collect()
}

proptest! {
    #[test]
    fn matches_are_those_that_a_search_finds_through_cuts_and_restarts(
        events in proptest::collection::vec((0u8..3, prop_oneof![9 => 1i64..12, 1 => Just(13)], 0i64..4), 1..60),
        (count, in_order, distinct) in (0u32..4, any::<bool>(), 0u32..4),
        (within, events_max) in (1i64..20, 2u32..8),
        cut in 1usize..20,
        restarts in any::<u32>(),
    ) {
        let has_kinds = count > 0;
        let needed = Needed { kinds: if in_order && has_kinds { 3 } else { count }, in_order: in_order && has_kinds, values: distinct };
        let wanted = Wanted { needed, has_kinds, within, events_max };
        let mut now = 0;
        let events: Vec<(u8, i64, i64)> = events.into_iter().map(|(key, v, later)| { now += later; (key, v, now) }).collect();
        let (expected, expected_quiet) = model(&events, wanted);
        let mut correlate = step(wanted);
        let mut stored = Stored::new();
        let (mut told, mut ids, mut quiet, mut before) = (Vec::new(), BTreeSet::new(), 0, i64::MIN);
        for (batch, part) in events.chunks(cut).enumerate() {
            let mut output = Outcome::new(EventTime(0)).with_marks(marks(part, before));
            let out = correlate.apply(FlowBatch::new(rows(part)), &mut output);
            told.extend(found(&out));
            ids.extend(out.rows.column_by_name("match_id").expect("an id").as_string::<i32>().iter().map(|id| id.map(str::to_owned)));
            quiet += output.correlations.iter().map(|report| report.quiet as usize).sum::<usize>();
            before = part.last().expect("a row").2;
            let state = correlate.state().expect("it has state");
            keep(&mut stored, state);
            if restarts >> (batch % 32) & 1 == 1 {
                let sum = state.checksum();
                correlate = step(wanted);
                let state = correlate.state().expect("it has state");
                state.restore(&stored).expect("it reads back");
                prop_assert_eq!(state.checksum(), sum);
            }
        }
        prop_assert_eq!(ids.len(), expected.len(), "an id for each");
        prop_assert_eq!(told, expected);
        prop_assert_eq!(quiet, expected_quiet);
        // Time goes by, and nothing is left of any key.
        let mut output = Outcome::new(EventTime(0)).with_marks(Marks::passing(Watermark(before), Watermark(before + 100)));
        correlate.apply(FlowBatch::new(rows(&[])), &mut output);
        prop_assert_eq!(correlate.state().expect("it has state").len(), 0);
    }
}
