//! `explain: true`: what is kept of a match for whoever asks why it was told, and how its events say where they stand.

use std::sync::Arc;
use std::time::Duration;

use tidemill_event::Field;
use tidemill_flow::StepId;

use crate::pipeline::Text;
use crate::plan::check::Checker;
use crate::plan::columns::{Columns, PlaceColumn};
use crate::plan::{Plan, PlannedKind, PlannedStep};

/// What a step says of its matches.
#[derive(Debug, Clone)]
pub(crate) struct PlannedExplain {
    /// The columns of an event that are kept: all that the step sees.
    pub(crate) shown: Arc<[Arc<str>]>,
    /// Those of them that say where the event stands: stream, partition and offset. `None`: rows that are no events, such as those of a window.
    pub(crate) places: Option<[Arc<str>; 3]>,
    /// What was looked for, in a line.
    pub(crate) sought: String,
    /// From a match's first event to its last.
    pub(crate) within: Option<Duration>,
    /// What a match discards; `None`: the step knows no such choice.
    pub(crate) skip: Option<String>,
}

impl Checker<'_> {
    /// What a step with these columns keeps; `None`: nobody asks. A fault if its rows could say where their events stand, and do not.
    pub(super) fn explained(
        &mut self,
        (path, line): (&str, usize),
        columns: &Columns,
        sought: String,
        within: Option<Duration>,
        skip: Option<String>,
    ) -> PlannedExplain {
        let place = |of| columns.place(of).cloned();
        let places = place(PlaceColumn::Stream).zip(place(PlaceColumn::Partition)).zip(place(PlaceColumn::Offset));
        let are_events = !self.has_changed_times && self.sources.as_ref().is_none_or(|sources| !sources.are_sides);
        if places.is_none() && are_events {
            let remedy = "put `- origin: {stream: source, partition: partition, offset: offset}` first, and keep its columns";
            self.fault(format!("{path}.explain"), line, "no columns say where the events of a match stand", remedy);
        }
        PlannedExplain {
            shown: columns.names().filter(|name| !name.starts_with('\0')).map(Arc::from).collect(),
            places: places.map(|((stream, partition), offset)| [stream, partition, offset]),
            sought,
            within,
            skip,
        }
    }

    /// What this step calls a column of its own cannot be a column of its key.
    pub(super) fn refuse_own_names(&mut self, path: &str, by: &[Field], texts: &[Text], own: &[Field]) {
        for (field, text) in by.iter().zip(texts).filter(|(field, _)| own.iter().any(|own| own.name == field.name)) {
            let error = format!("`{}` is what this step calls a column of its own", field.name);
            let remedy = format!("give the column another name in a step before: `extend: {{first_{0}: {0}}}`", field.name);
            self.fault(format!("{path}.by"), text.line, error, remedy);
        }
    }
}

/// The columns that are kept for it.
pub(super) fn kept_fields(explained: Option<&PlannedExplain>, columns: &Columns) -> Vec<Field> {
    let shown = explained.map_or(&[][..], |explained| &explained.shown);
    shown.iter().filter_map(|name| columns.field(name)).cloned().collect()
}

impl Plan {
    /// What a step says of its matches, if it was asked to. `pattern`: of a list, which of its patterns.
    pub(crate) fn explained(&self, step: StepId, pattern: Option<u32>) -> Option<&PlannedExplain> {
        match &self.steps.get(step.0 as usize)?.kind {
            PlannedKind::Patterns(list) => list.patterns.get(pattern? as usize)?.1.explained.as_ref(),
            PlannedKind::Pattern(pattern) => pattern.explained.as_ref(),
            PlannedKind::Match(planned) => planned.explained.as_ref(),
            PlannedKind::Correlate(correlate) => correlate.explained.as_ref(),
            PlannedKind::Where(_)
            | PlannedKind::Select(_)
            | PlannedKind::Extend(_)
            | PlannedKind::Lookup(_)
            | PlannedKind::Rule { .. }
            | PlannedKind::Transform { .. }
            | PlannedKind::Process { .. }
            | PlannedKind::Sample(_)
            | PlannedKind::Rules(_)
            | PlannedKind::Origin(_)
            | PlannedKind::Metrics(_)
            | PlannedKind::Alert(_)
            | PlannedKind::Window(_)
            | PlannedKind::Machine(_)
            | PlannedKind::Join(_)
            | PlannedKind::Over(_)
            | PlannedKind::Limit(_) => None,
        }
    }

    /// Whether a step explains its matches: then there is a stream of what they are made of.
    pub(crate) fn has_explained(&self) -> bool {
        let explains = |(at, step): (u32, &PlannedStep)| match &step.kind {
            PlannedKind::Patterns(list) => list.patterns.iter().any(|(_, pattern)| pattern.explained.is_some()),
            _ => self.explained(StepId(at), None).is_some(),
        };
        (0..).zip(&self.steps).any(explains)
    }
}
