//! The row a match becomes: its key, an id, when it began and ended, what was there, and every event as evidence.
//!
//! ```text
//! evidence   [{"at": "2026-11-22T10:00:00.000000Z", "kinds": ["login"], "source": "logins", "partition": 3, "offset": 4711}, …]
//! ```
//! The id is a hash of the step, the key and the events' numbers in their task: a run that is taken again after a crash says the same one.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_schema::Field as ArrowField;
use serde_json::json;
use tidemill_event::batch::time_field;
use tidemill_event::json::RowEncoder;
use tidemill_event::{Field, FieldType, StreamSchema, UnknownFields};

use crate::FlowBatch;
use crate::batch::{assemble, field_of};
use crate::checksum::checksum;
use crate::correlate::CorrelateSettings;
use crate::correlate::group::Event;
use crate::group::KeyIndex;
use crate::key_state::times_of;
use crate::pattern::{MATCH_END, MATCH_START};
use crate::rows::Rows;

/// The column of a match's id.
pub const MATCH_ID: &str = "match_id";
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
    shown.extend(kept.fields().iter().cloned());
    columns.extend(kept.gather(events.clone().map(|event| Some(event.row))));
    let count = columns[0].len();
    columns.push(Arc::new(times_of(events.map(|event| Some(event.moment.time)))));
    let arrow =
        shown.iter().zip(&columns).map(|(field, column)| field_of(field, column).with_nullable(true)).chain([time_field()]);
    let batch = assemble(arrow.map(Arc::new).collect(), columns, count);
    let encoder = RowEncoder::new(&StreamSchema { fields: shown, unknown: UnknownFields::Drop, infer: false }, None);
    (0..count).map(|row| encoder.one(&batch, row)).collect()
}

/// The names of kinds.
pub(crate) struct Shown<'a> {
    pub(crate) kinds: &'a [Box<str>],
}

impl Shown<'_> {
    /// Those of some bits, as a JSON array.
    fn names(&self, bits: u64) -> String {
        let named = self.kinds.iter().enumerate().filter(|(number, _)| bits >> number & 1 == 1);
        json!(named.map(|(_, name)| &**name).collect::<Vec<&str>>()).to_string()
    }
}

/// A row for each, in the order in which they were found.
pub(crate) fn rows(matches: &[Match], set: &CorrelateSettings, names: &[Box<str>], index: &KeyIndex, kept: &Rows) -> FlowBatch {
    let shown = Shown { kinds: names };
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
    let ids: StringArray = matches.iter().map(|one| Some(id(one, set.step.0, index))).collect();
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

fn id(one: &Match, step: u32, index: &KeyIndex) -> String {
    let mut bytes = step.to_le_bytes().to_vec();
    index.put_key(one.slot, &mut bytes);
    one.events.iter().for_each(|event| bytes.extend_from_slice(&event.moment.number.to_le_bytes()));
    format!("{:016x}", checksum(0, &bytes))
}
