//! Runs of one key, what is asked of them, and what becomes of them.

use crate::pattern::automaton::{StageId, StateId};
use crate::pattern::buffer::{Buffer, Moment};
use crate::pattern::leaving::SkipFailed;
use crate::pattern::shape::PredicateId;

/// An event on its way through the matcher.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Where it stands. Without order of time, numbers ascend and times need not.
    pub moment: Moment,
    /// What the caller calls it.
    pub row: u32,
    /// The predicates that hold of it, a bit each.
    pub holds: u64,
    /// Predicates whose answer hangs on what a run has taken: [`RunJudge`] is asked.
    pub unknown: u64,
}

/// Conditions that look at what a run has taken so far.
pub trait RunJudge {
    /// Whether `predicate` holds of `event` for a run. Asked at most once per predicate, run and event.
    fn holds(&mut self, predicate: PredicateId, event: &Candidate, run: &RunView<'_>) -> bool;

    /// A run has taken an event: this is the run with it. Told in the order in which chains grow.
    fn took(&mut self, run: &RunView<'_>);
}

/// For patterns without such conditions.
#[derive(Debug, Clone, Copy)]
pub struct NoJudge;

impl RunJudge for NoJudge {
    fn holds(&mut self, predicate: PredicateId, _: &Candidate, _: &RunView<'_>) -> bool {
        panic!("nobody said that {predicate:?} looks at runs")
    }

    /// Nobody will ask what runs have taken.
    fn took(&mut self, _: &RunView<'_>) {}
}

/// What a run has taken.
pub struct RunView<'a> {
    pub(super) buffer: &'a Buffer,
    pub(super) node: u32,
}

impl RunView<'_> {
    /// Its events in a stage, the last one first.
    pub fn events(&self, stage: StageId) -> impl Iterator<Item = (Moment, u32)> {
        let chain = self.buffer.chain(self.node);
        chain.filter(move |(of, _)| *of == stage).map(|(_, taken)| (taken.moment, taken.row))
    }
}

/// What let a match out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The event that came.
    Event,
    /// The clock.
    Time,
}

/// What is found: a match, or a run whose time was over. Its chain is the reader's, who gives it back with [`PatternMatcher::put_away`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) is_match: bool,
    pub(crate) node: u32,
    /// Where it began.
    pub(crate) begun: Moment,
    /// Of a match the time at which it is known, of a timeout when it was over.
    pub(crate) at: i64,
    pub(crate) trigger: Trigger,
}

/// A run that has taken at least one event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) state: StateId,
    pub(crate) node: u32,
    pub(crate) begun: Moment,
    /// When it took the last event.
    pub(crate) last: i64,
}

/// A match that waits for runs that began before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) node: u32,
    pub(crate) begun: Moment,
    pub(crate) at: i64,
}

/// What is kept of a key.
#[derive(Debug)]
pub(crate) struct KeyRuns {
    pub(crate) runs: Vec<Run>,
    pub(crate) held: Vec<Held>,
    /// No run's time is over before then; `i64::MAX`: none ever is.
    pub(super) deadline: i64,
}

impl Default for KeyRuns {
    fn default() -> Self {
        Self { runs: Vec::new(), held: Vec::new(), deadline: i64::MAX }
    }
}

impl KeyRuns {
    /// No run's time is over before then.
    pub(crate) fn deadline(&self) -> Option<i64> {
        (self.deadline < i64::MAX).then_some(self.deadline)
    }

    /// These are the runs now. Most keys have few: there is room for no more than they need.
    pub(crate) fn replace(&mut self, runs: &[Run]) {
        let (room, needed) = (self.runs.capacity(), runs.len().next_power_of_two());
        if room < runs.len() || room > 2 * needed {
            self.runs = Vec::with_capacity(if runs.is_empty() { 0 } else { needed });
        }
        self.runs.clear();
        self.runs.extend_from_slice(runs);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.held.is_empty()
    }
}

/// What happens where a key has too many runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooManyRuns {
    /// The runs that began first end, without a timeout.
    EndOldest,
    /// Runs that come to be over the bound are not followed.
    RefuseNew,
    /// The same, and an event that would have begun one is told, so that its row can be sent again.
    DeadLetter,
}

/// Bounds for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Runs of a key. Each costs some 60 bytes, beside the events they share.
    pub runs_max: usize,
    /// Events of a run; one that would take more ends.
    pub events_max: u32,
    /// What happens at `runs_max`.
    pub too_many: TooManyRuns,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self { runs_max: 10_000, events_max: 10_000, too_many: TooManyRuns::EndOldest }
    }
}

/// What came of an event beside what it let out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passed {
    /// A match that it completed had nothing to skip to.
    pub(crate) left: Result<(), SkipFailed>,
    /// It would have begun a run, and its key had too many.
    pub(crate) is_refused: bool,
}

/// What the matcher did beside what it found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs that ended because there were too many, or because they would have taken too much.
    pub ended: u64,
    /// Runs that were not followed because there were too many.
    pub refused: u64,
    /// Events that would have begun a run, of keys that had too many: told apart, and not among `refused`.
    pub buried: u64,
    /// Matches that were not told: nothing to skip to.
    pub skip_failed: u64,
}
