//! What a match is made of, for whoever asks later why it was told: its id, its key, and each event with the stage that took it.

use std::sync::Arc;

use arrow_array::StringArray;
use tidemill_event::{EventTime, FieldType};

use crate::evidence::{Identity, events_shown, keys_shown};
use crate::group::KeyIndex;
use crate::pattern::automaton::StageId;
use crate::pattern::buffer::{Buffer, Moment};
use crate::pattern::output::Emitted;
use crate::pattern::run::Trigger;
use crate::rows::Rows;
use crate::{Evidence, StepId};

/// Where all of it stands while rows are told.
pub(crate) struct Telling<'a> {
    pub(crate) step: StepId,
    /// Its place in a list and its name, if it stands in one.
    pub(crate) listed: Option<&'a (u32, Arc<str>)>,
    /// Names of stages.
    pub(crate) stages: &'a [Arc<str>],
    pub(crate) index: &'a KeyIndex,
    pub(crate) buffer: &'a Buffer,
    pub(crate) rows: &'a Rows,
    /// The columns that are shown of an event.
    pub(crate) shown: &'a [Arc<str>],
}

impl Telling<'_> {
    /// Of each, in their order.
    pub(crate) fn evidence(&self, told: &[Emitted]) -> Vec<Evidence> {
        let keys = keys_shown(self.index, told.iter().map(|one| one.slot));
        told.iter().zip(keys).map(|(one, key)| self.of(one, key)).collect()
    }

    fn of(&self, one: &Emitted, key: String) -> Evidence {
        let mut identity = Identity::new(self.step, self.index, one.slot);
        self.listed.iter().for_each(|(_, name)| identity.of_pattern(name));
        let mut last = one.found.begun.time;
        for (stage, taken) in self.buffer.chain(one.found.node) {
            identity.add(taken.moment, u64::from(stage.0));
            last = last.max(taken.moment.time);
        }
        let is_shown = |name: &str| self.shown.iter().any(|shown| **shown == *name);
        Evidence {
            step: self.step,
            pattern: self.listed.map(|(at, _)| *at),
            id: identity.id(one.time),
            origin: one.origin,
            key,
            is_timeout: !one.found.is_match,
            by_time: one.found.trigger == Trigger::Time,
            time: EventTime(one.time),
            span: (EventTime(one.found.begun.time), EventTime(last)),
            events: chain_shown(one.found.node, self.buffer, self.stages, self.rows, is_shown),
        }
    }
}

/// The events of a chain as JSON objects, the first one first.
pub(crate) fn chain_shown(
    node: u32,
    buffer: &Buffer,
    stages: &[Arc<str>],
    rows: &Rows,
    is_shown: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut events: Vec<(StageId, Moment, u32)> =
        buffer.chain(node).map(|(stage, taken)| (stage, taken.moment, taken.row)).collect();
    events.reverse();
    let names: StringArray = events.iter().map(|(stage, ..)| Some(&*stages[usize::from(stage.0)])).collect();
    let times: Vec<i64> = events.iter().map(|(_, moment, _)| moment.time).collect();
    events_shown(("stage", FieldType::String, names), &times, rows, events.iter().map(|(.., row)| *row), is_shown)
}
