//! The row a match becomes: its key, an id, when it began and ended, what was there, and every event as evidence.
//!
//! ```text
//! evidence   [{"at": "2026-11-22T10:00:00.000000Z", "kinds": ["login"], "source": "logins", "partition": 3, "offset": 4711}, …]
//! ```
//! The id is as those of patterns are (`evidence.rs`).

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_schema::Field as ArrowField;
use serde_json::json;
use tidemill_event::batch::time_field;
use tidemill_event::json::RowEncoder;
use tidemill_event::{EventTime, Field, FieldType, StreamSchema, UnknownFields};

use crate::batch::{assemble, field_of};
use crate::correlate::CorrelateSettings;
use crate::correlate::group::Event;
use crate::correlate::groups::Groups;
use crate::evidence::{Identity, events_shown, keys_shown};
use crate::group::KeyIndex;
use crate::key_state::times_of;
use crate::pattern::{MATCH_END, MATCH_START};
use crate::rows::Rows;
use crate::{Evidence, FlowBatch, MATCH_ID, MatchId, StepId};

/// The kinds of events that are there, where there are kinds.
pub const KINDS: &str = "kinds";
/// How many different values there are, where they count.
pub const DISTINCT: &str = "distinct";
/// How many events there are.
pub const EVENTS: &str = "events";
/// They.
pub const EVIDENCE: &str = "evidence";
/// When an event was.
pub(crate) const AT: &str = "at";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) slot: u32,
    /// The input row that let the last event out.
    pub(crate) origin: u32,
    pub(crate) kinds: u64,
    pub(crate) values: u32,
    pub(crate) events: Vec<Event>,
}

/// The columns, `_time` aside.
pub(crate) fn fields(by: &[Field], has_kinds: bool, has_values: bool) -> Vec<Field> {
    let own = |name: &str, ty| Field::new(name, ty, false);
    let mut fields = by.to_vec();
    fields.push(own(MATCH_ID, FieldType::String));
    fields.push(own(MATCH_START, FieldType::Timestamp(None)));
    fields.push(own(MATCH_END, FieldType::Timestamp(None)));
    fields.extend(has_kinds.then(|| own(KINDS, FieldType::Json)));
    fields.extend(has_values.then(|| own(DISTINCT, FieldType::Int64)));
    fields.push(own(EVENTS, FieldType::Int64));
    fields.push(own(EVIDENCE, FieldType::Json));
    fields
}

/// Events as JSON objects, in their order.
pub(crate) fn evidence<'a>(events: impl Iterator<Item = &'a Event> + Clone, set: &Shown<'_>, kept: &Rows) -> Vec<String> {
    let mut shown = vec![Field::new(AT, FieldType::Timestamp(None), false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(times_of(events.clone().map(|event| Some(event.moment.time))))];
    if !set.kinds.is_empty() {
        shown.push(Field::new(KINDS, FieldType::Json, false));
        columns.push(Arc::new(events.clone().map(|event| Some(set.names(event.kinds))).collect::<StringArray>()));
    }
    let gathered = kept.fields().iter().zip(kept.gather(events.clone().map(|event| Some(event.row))));
    for (field, column) in gathered.filter(|(field, _)| set.columns.contains(field)) {
        shown.push(field.clone());
        columns.push(column);
    }
    let count = columns[0].len();
    columns.push(Arc::new(times_of(events.map(|event| Some(event.moment.time)))));
    let arrow =
        shown.iter().zip(&columns).map(|(field, column)| field_of(field, column).with_nullable(true)).chain([time_field()]);
    let batch = assemble(arrow.map(Arc::new).collect(), columns, count);
    let encoder = RowEncoder::new(&StreamSchema { fields: shown, unknown: UnknownFields::Drop, infer: false }, None);
    (0..count).map(|row| encoder.one(&batch, row)).collect()
}

/// The names of kinds, and the columns of events.
pub(crate) struct Shown<'a> {
    pub(crate) kinds: &'a [Box<str>],
    pub(crate) columns: &'a [Field],
}

impl Shown<'_> {
    /// Those of some bits, as a JSON array.
    pub(crate) fn names(&self, bits: u64) -> String {
        let named = self.kinds.iter().enumerate().filter(|(number, _)| bits >> number & 1 == 1);
        json!(named.map(|(_, name)| &**name).collect::<Vec<&str>>()).to_string()
    }
}

/// A row for each, in the order in which they were found.
pub(crate) fn rows(matches: &[Match], set: &CorrelateSettings, names: &[Box<str>], index: &KeyIndex, kept: &Rows) -> FlowBatch {
    let shown = Shown { kinds: names, columns: &set.shown };
    let evidence = evidence(matches.iter().flat_map(|one| &one.events), &shown, kept);
    let mut rest = &evidence[..];
    let lists: StringArray = matches
        .iter()
        .map(|one| {
            let (of, behind) = rest.split_at(one.events.len());
            rest = behind;
            Some(format!("[{}]", of.join(",")))
        })
        .collect();
    let time = |at: fn(&[Event]) -> Option<&Event>| matches.iter().map(move |one| at(&one.events).map(|event| event.moment.time));
    let ids: StringArray = matches.iter().map(|one| Some(id(one, set.step, index).to_string())).collect();
    let mut made: Vec<ArrayRef> = index.columns(matches.iter().map(|one| one.slot));
    made.push(Arc::new(ids));
    made.push(Arc::new(times_of(time(<[Event]>::first))));
    made.push(Arc::new(times_of(time(<[Event]>::last))));
    if !names.is_empty() {
        made.push(Arc::new(matches.iter().map(|one| Some(shown.names(one.kinds))).collect::<StringArray>()));
    }
    if set.value.is_some() {
        made.push(Arc::new(matches.iter().map(|one| i64::from(one.values)).collect::<Int64Array>()));
    }
    made.push(Arc::new(matches.iter().map(|one| one.events.len() as i64).collect::<Int64Array>()));
    made.push(Arc::new(lists));
    let fields = fields(&set.by, !names.is_empty(), set.value.is_some());
    let arrow: Vec<ArrowField> = fields.iter().zip(&made).map(|(field, column)| field_of(field, column)).collect();
    made.push(Arc::new(times_of(time(<[Event]>::last))));
    let arrow = arrow.into_iter().chain([time_field()]).map(Arc::new).collect();
    FlowBatch { rows: assemble(arrow, made, matches.len()), origin: matches.iter().map(|one| one.origin).collect() }
}

/// What each is made of, for whoever asks why.
pub(crate) fn explained(matches: &[Match], step: StepId, shown: &[Arc<str>], groups: &Groups) -> Vec<Evidence> {
    let Groups { index, rows, names, .. } = groups;
    let keys = keys_shown(index, matches.iter().map(|one| one.slot));
    let of = |(one, key): (&Match, String)| {
        let times: Vec<i64> = one.events.iter().map(|event| event.moment.time).collect();
        let kinds = Shown { kinds: names, columns: &[] };
        let taken_for: StringArray = one.events.iter().map(|event| Some(kinds.names(event.kinds))).collect();
        let of_event = one.events.iter().map(|event| event.row);
        let is_shown = |name: &str| shown.iter().any(|shown| **shown == *name);
        let end = |time: Option<&i64>| EventTime(time.copied().unwrap_or_default());
        Evidence {
            step,
            pattern: None,
            id: id(one, step, index),
            origin: one.origin,
            key,
            is_timeout: false,
            by_time: false,
            time: end(times.last()),
            span: (end(times.first()), end(times.last())),
            events: events_shown((KINDS, FieldType::Json, taken_for), &times, rows, of_event, is_shown),
        }
    };
    matches.iter().zip(keys).map(of).collect()
}

fn id(one: &Match, step: StepId, index: &KeyIndex) -> MatchId {
    let mut identity = Identity::new(step, index, one.slot);
    one.events.iter().for_each(|event| identity.add(event.moment, event.kinds));
    identity.id(one.events.last().map_or(0, |event| event.moment.time))
}
