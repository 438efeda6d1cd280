//! A matcher by itself: one pattern, one key, events one by one. For whoever has no batches: the oracle, tests, a machine that plays back.

use crate::pattern::PatternRefused;
use crate::pattern::automaton::StageId;
use crate::pattern::buffer::{Buffer, Moment};
use crate::pattern::leaving::SkipFailed;
use crate::pattern::matcher::Matcher;
use crate::pattern::run::{Candidate, Found, KeyRuns, RunJudge, RunLimits, Tally, Trigger};
use crate::pattern::shape::Pattern;

/// A match, or a run whose time was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is a match.
    pub is_match: bool,
    /// Its events by the rows the caller gave them, in the order in which they were taken.
    pub events: Vec<(StageId, u32)>,
    /// Of a match the time at which it was known, of a timeout when it was over; µs.
    pub at: i64,
    /// What let it out.
    pub trigger: Trigger,
}

/// One pattern over the events of one key.
#[derive(Debug)]
pub struct PatternMatcher {
    matcher: Matcher,
    buffer: Buffer,
    key: KeyRuns,
}

impl PatternMatcher {
    /// A matcher that has seen nothing. Errors: the pattern is refused.
    pub fn new(pattern: &Pattern, limits: RunLimits) -> Result<Self, PatternRefused> {
        Ok(Self { matcher: Matcher::new(pattern, limits)?, buffer: Buffer::default(), key: KeyRuns::default() })
    }

    /// The stage of a name.
    pub fn stage(&self, name: &str) -> Option<StageId> {
        self.matcher.automaton.stage(name)
    }

    /// The name of a stage.
    pub fn name(&self, stage: StageId) -> &str {
        &self.matcher.automaton.stages[usize::from(stage.0)]
    }

    /// The clock is at `now`, in µs. Errors: a match has nothing to skip to, and is not told.
    pub fn advance(&mut self, now: i64) -> (Vec<Finding>, Result<(), SkipFailed>) {
        let mut found = Vec::new();
        let ended = self.matcher.advance(&mut self.key, &mut self.buffer, now, &mut found);
        (self.told(found), ended)
    }

    /// An event; the clock is at its time already. Errors: as of `advance`.
    pub fn take(&mut self, event: &Candidate, judge: &mut dyn RunJudge) -> (Vec<Finding>, Result<(), SkipFailed>) {
        let mut found = Vec::new();
        let ended = self.matcher.take(&mut self.key, &mut self.buffer, event, judge, &mut found).left;
        (self.told(found), ended)
    }

    fn told(&mut self, found: Vec<Found>) -> Vec<Finding> {
        let told = found.into_iter().map(|Found { is_match, node, at, trigger, .. }| {
            let mut events: Vec<(StageId, u32)> = self.buffer.chain(node).map(|(stage, taken)| (stage, taken.row)).collect();
            events.reverse();
            self.buffer.release(node);
            Finding { is_match, events, at, trigger }
        });
        told.collect()
    }

    /// Runs that have begun and not ended, and matches held back.
    pub fn live(&self) -> usize {
        self.key.runs.len() + self.key.held.len()
    }

    /// Events and links between them that are kept.
    pub fn buffered(&self) -> (usize, usize) {
        self.buffer.len()
    }

    /// What was bounded.
    pub fn tally(&self) -> Tally {
        self.matcher.tally
    }

    /// Where an event stands that comes next.
    pub fn moment(time: i64, number: u64) -> Moment {
        Moment { time, number }
    }
}
