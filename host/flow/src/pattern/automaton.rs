//! The automaton that runs follow: states, and for each state all that an event may do to a run that waits there.
//!
//! ```text
//! take     the event becomes the run's; the run waits in the target, and is a match too if the target may be the end
//! ignore   the event is passed over
//! stop     the event is fatal: whatever else it does to this run is undone
//! ```
//! An event does everything it may do, so one run can become several, or none. A run that has just taken an event waits for all that may come next at once,
//! in one state; when an event is passed over, each of these becomes a run of its own.

use std::sync::Arc;

use crate::pattern::condition::{Bits, Condition};

/// No end to waiting.
pub(crate) const NO_PATIENCE: i64 = i64::MAX;

/// Which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StateId(pub(crate) u32);

/// Which stage, in the order in which their names are written. Negations are among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId(pub u16);

/// What an event does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Take(StageId, StateId),
    Ignore(StateId),
    Stop,
}

/// One of the things an event may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) when: Condition,
    pub(crate) then: Then,
    /// Only while less than that has passed since the event taken last, in µs.
    pub(crate) patience: i64,
}

/// A place where runs wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) moves: Vec<Move>,
    /// Whoever arrives here with an event of which one of these holds is a match.
    pub(crate) ends: Vec<Condition>,
    /// After so long behind the event taken last nothing but the end can come; the greatest of its moves.
    pub(crate) patience: i64,
    /// A run that waits here when its time is over is a match: nothing has come that must not.
    pub(crate) is_absence: bool,
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Automaton {
    pub(crate) states: Vec<State>,
    pub(crate) start: StateId,
    pub(crate) end: StateId,
    /// Names by `StageId`.
    pub(crate) stages: Vec<Arc<str>>,
    /// In µs.
    pub(crate) within: Option<i64>,
    /// Predicates that must hold of every event that begins a match, if there are such for each beginning: one of them at least.
    pub(crate) beginnings: u64,
    /// A row of which no predicate holds changes no run, whatever it has taken.
    pub(crate) passes_over: bool,
    /// How many predicates it asks for: one more than the greatest number.
    pub(crate) predicates: usize,
}

impl State {
    /// Whether a row of which no predicate holds leaves a run here as it is: all that it does is to be passed over, for as long as the run may
    /// wait at all.
    pub(crate) fn passes_over(&self, own: StateId) -> bool {
        const NOTHING: Bits = Bits { holds: 0, unknown: 0 };
        let mut moves = self.moves.iter().filter(|step| step.when.may_hold(NOTHING));
        let stays = moves.next().is_some_and(|step| step.then == Then::Ignore(own) && step.patience == self.patience);
        stays && moves.next().is_none()
    }

    /// Whether a run here may become a match without a further event of its own: because nothing comes, or with one that is passed over.
    pub(crate) fn ends_alone(&self, end: StateId) -> bool {
        self.is_absence || self.moves.iter().any(|step| step.then == Then::Ignore(end))
    }
}

impl Automaton {
    pub(crate) fn state(&self, state: StateId) -> &State {
        &self.states[state.0 as usize]
    }

    /// Whether an event may begin a run.
    #[inline]
    pub(crate) fn may_begin(&self, bits: Bits) -> bool {
        (bits.holds | bits.unknown) & self.beginnings != 0
    }

    /// From now on no event begins a run.
    pub(crate) fn begin_nothing(&mut self) {
        self.beginnings = 0;
    }

    /// The stage of a name.
    pub(crate) fn stage(&self, name: &str) -> Option<StageId> {
        self.stages.iter().position(|stage| **stage == *name).map(|at| StageId(at as u16))
    }
}
