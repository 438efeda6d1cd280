//! What a match is made of, for whoever asks later why it was told: its id, its key, and each row with the variable that it was taken for.

use std::sync::Arc;

use arrow_array::StringArray;
use tidemill_event::{EventTime, FieldType};

use crate::evidence::{Identity, events_shown, keys_shown};
use crate::group::KeyIndex;
use crate::pattern::Moment;
use crate::recognize::output::Emitted;
use crate::rows::Rows;
use crate::{Evidence, MatchId, StepId};

/// What is shown of a match's rows.
pub(crate) struct Explaining {
    /// Names of variables.
    pub(crate) variables: Vec<Arc<str>>,
    /// The columns.
    pub(crate) shown: Arc<[Arc<str>]>,
}

impl Explaining {
    /// Of each, in their order.
    pub(crate) fn evidence(&self, step: StepId, told: &[&Emitted], index: &KeyIndex, kept: &Rows) -> Vec<Evidence> {
        let keys = keys_shown(index, told.iter().map(|one| one.slot));
        told.iter().zip(keys).map(|(one, key)| self.of(step, one, key, index, kept)).collect()
    }

    fn of(&self, step: StepId, one: &Emitted, key: String, index: &KeyIndex, kept: &Rows) -> Evidence {
        let found = &one.found;
        let rows = &found.rows[found.before..found.before + found.taken.len()];
        let times: Vec<i64> = rows.iter().map(|(_, time)| *time).collect();
        let names: StringArray = found.taken.iter().map(|taken| Some(&*self.variables[usize::from(taken.variable.0)])).collect();
        let is_shown = |name: &str| self.shown.iter().any(|shown| **shown == *name);
        let last = times.iter().copied().max().unwrap_or(found.begun.time);
        Evidence {
            step,
            pattern: None,
            id: id(step, one, index),
            origin: one.origin,
            key,
            is_timeout: false,
            by_time: one.by_time,
            time: EventTime(one.time),
            span: (EventTime(found.begun.time), EventTime(last)),
            events: events_shown(("stage", FieldType::String, names), &times, kept, rows.iter().map(|(row, _)| *row), is_shown),
        }
    }
}

/// The id of a match: where it begins, and the time of each row with what it was taken for. Two matches of a key that begin with the same row are not
/// the same reading of the rows behind it.
pub(crate) fn id(step: StepId, one: &Emitted, index: &KeyIndex) -> MatchId {
    let found = &one.found;
    let mut identity = Identity::new(step, index, one.slot);
    identity.add(found.begun, 0);
    for (taken, (_, time)) in found.taken.iter().zip(&found.rows[found.before..]) {
        identity.add(Moment { time: *time, number: 0 }, u64::from(taken.variable.0));
    }
    identity.id(one.time)
}
