//! Which steps keep state, under which numbers, and what that state depends on.
//!
//! A number is given once and stays with its state through changes of plan: a step whose state means the same as one's before goes on
//! with it (`shape`), any other begins empty under a number of its own.

use crate::plan::check::Checker;
use crate::plan::{Pinning, Plan, PlannedKind};
use crate::stored::StoredState;

/// The state of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptState {
    /// The number under which it is kept.
    pub(crate) operator: u32,
    /// What it depends on: with another shape it means nothing.
    pub(crate) shape: String,
}

impl Plan {
    /// The state of a step, if it keeps any.
    pub(crate) fn state_of(&self, step: u32) -> Option<KeptState> {
        match &self.steps.get(step as usize)?.kind {
            PlannedKind::Rule { component, .. }
            | PlannedKind::Transform { component, .. }
            | PlannedKind::Process { component, .. } => {
                let pin = &component.pin;
                Some(KeptState { operator: pin.operator?, shape: pin.state_shape.clone()? })
            }
            PlannedKind::Join(join) => Some(join.state.clone()),
            PlannedKind::Window(window) => Some(window.state.clone()),
            PlannedKind::Over(over) => Some(over.state.clone()),
            PlannedKind::Limit(limit) => Some(limit.state.clone()),
            PlannedKind::Pattern(pattern) => Some(pattern.state.clone()),
            PlannedKind::Patterns(patterns) => Some(patterns.state.clone()),
            PlannedKind::Match(planned) => Some(planned.state.clone()),
            PlannedKind::Machine(machine) => Some(machine.state.clone()),
            PlannedKind::Correlate(correlate) => Some(correlate.state.clone()),
            PlannedKind::Where(_)
            | PlannedKind::Select(_)
            | PlannedKind::Extend(_)
            | PlannedKind::Lookup(_)
            | PlannedKind::Sample(_)
            | PlannedKind::Rules(_)
            | PlannedKind::Origin(_)
            | PlannedKind::Alert(_)
            | PlannedKind::Metrics(_) => None,
        }
    }

    /// The columns of a step's key, if it has one.
    pub(crate) fn key_of(&self, step: u32) -> Option<Vec<&str>> {
        match &self.steps.get(step as usize)?.kind {
            PlannedKind::Rule { component, .. }
            | PlannedKind::Transform { component, .. }
            | PlannedKind::Process { component, .. } => {
                component.pin.operator.map(|_| component.by.iter().map(|name| &**name).collect())
            }
            // Its key has two names for each column: `describe` tells them.
            PlannedKind::Join(_) => None,
            PlannedKind::Window(window) => Some(window.by.iter().map(|field| &*field.name).collect()),
            PlannedKind::Over(over) => Some(over.by.iter().map(|field| &*field.name).collect()),
            PlannedKind::Limit(limit) => Some(limit.by.iter().map(|field| &*field.name).collect()),
            PlannedKind::Pattern(pattern) => Some(pattern.by.iter().map(|field| &*field.name).collect()),
            PlannedKind::Patterns(patterns) => Some(patterns.by.iter().map(|field| &*field.name).collect()),
            PlannedKind::Match(planned) => Some(planned.by.iter().map(|field| &*field.name).collect()),
            PlannedKind::Machine(machine) => Some(machine.by.iter().map(|field| &*field.name).collect()),
            PlannedKind::Correlate(correlate) => Some(correlate.by.iter().map(|field| &*field.name).collect()),
            PlannedKind::Where(_)
            | PlannedKind::Select(_)
            | PlannedKind::Extend(_)
            | PlannedKind::Lookup(_)
            | PlannedKind::Sample(_)
            | PlannedKind::Rules(_)
            | PlannedKind::Origin(_)
            | PlannedKind::Alert(_)
            | PlannedKind::Metrics(_) => None,
        }
    }

    /// What is stored of the steps of the host's own that keep state; components are pinned with theirs.
    pub(crate) fn native_states(&self) -> Vec<StoredState> {
        let is_native = |step: &u32| {
            let kind = &self.steps[*step as usize].kind;
            matches!(
                kind,
                PlannedKind::Join(_)
                    | PlannedKind::Window(_)
                    | PlannedKind::Over(_)
                    | PlannedKind::Limit(_)
                    | PlannedKind::Pattern(_)
                    | PlannedKind::Patterns(_)
                    | PlannedKind::Match(_)
                    | PlannedKind::Machine(_)
                    | PlannedKind::Correlate(_)
            )
        };
        let stored = |step: u32| {
            let KeptState { operator, shape } = self.state_of(step)?;
            let word = self.definition.steps[step as usize].kind.word().to_owned();
            Some(StoredState { step, word, operator, shape })
        };
        (0..self.steps.len() as u32).filter(is_native).filter_map(stored).collect()
    }
}

impl PlannedKind {
    /// Whether its state can be asked what it holds of a key.
    pub(crate) fn says_what_it_holds(&self) -> bool {
        match self {
            Self::Rule { .. }
            | Self::Transform { .. }
            | Self::Process { .. }
            | Self::Pattern(_)
            | Self::Patterns(_)
            | Self::Match(_)
            | Self::Machine(_)
            | Self::Correlate(_)
            | Self::Join(_)
            | Self::Over(_)
            | Self::Limit(_) => true,
            // What components have accumulated is theirs to say, in a call.
            Self::Window(window) => window.aggregates.components.is_empty(),
            Self::Where(_)
            | Self::Select(_)
            | Self::Extend(_)
            | Self::Lookup(_)
            | Self::Sample(_)
            | Self::Rules(_)
            | Self::Origin(_)
            | Self::Alert(_)
            | Self::Metrics(_) => false,
        }
    }
}

impl Checker<'_> {
    /// The state of a step of the host's own: that of the same kind of step with the same shape before, or a new one.
    pub(super) fn native_state(&mut self, at: u32, word: &str, shape: String) -> KeptState {
        let stored = match self.pinning {
            Pinning::Newest(previous) => previous,
            Pinning::As(stored) => Some(stored),
        };
        let states = stored.map_or(&[][..], |stored| &stored.states);
        let fits = |state: &&StoredState| state.word == word && state.shape == shape && !self.used.contains(&state.operator);
        // Of several that fit, the one that stood there.
        let kept = states.iter().filter(fits).min_by_key(|state| (state.step != at, state.step));
        let operator = match kept {
            Some(state) => state.operator,
            None => {
                self.next_operator += 1;
                self.next_operator - 1
            }
        };
        self.used.push(operator);
        KeptState { operator, shape }
    }
}
