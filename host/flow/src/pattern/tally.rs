//! What pattern steps count, and what they say of it after a batch.

use crate::StepId;
use crate::pattern::run::Tally;

/// What it did beside its rows, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PatternTally {
    /// Matches told.
    pub matches: u64,
    /// Runs whose time was over, told or not.
    pub timeouts: u64,
    /// What the bounds of a key did.
    pub bounded: Tally,
    /// Predicates that failed on a row: no, and counted.
    pub failed: u64,
    /// Runs there are, of all keys, and matches that wait for one that began before.
    pub runs: u64,
}

impl PatternTally {
    /// That of another pattern with it.
    pub(crate) fn with(&self, other: &Self) -> Self {
        Self {
            matches: self.matches + other.matches,
            timeouts: self.timeouts + other.timeouts,
            bounded: Tally {
                ended: self.bounded.ended + other.bounded.ended,
                refused: self.bounded.refused + other.bounded.refused,
                buried: self.bounded.buried + other.bounded.buried,
                skip_failed: self.bounded.skip_failed + other.bounded.skip_failed,
            },
            failed: self.failed + other.failed,
            runs: self.runs + other.runs,
        }
    }

    /// Where one of several that this is the sum of was `before` and is `now`.
    pub(crate) fn moved(&self, before: &Self, now: &Self) -> Self {
        Self { runs: self.runs + now.runs - before.runs, ..self.with(&now.since(before)) }
    }

    /// What came to it since it was `before`. Runs are those there are.
    fn since(&self, before: &Self) -> Self {
        Self {
            matches: self.matches - before.matches,
            timeouts: self.timeouts - before.timeouts,
            bounded: Tally {
                ended: self.bounded.ended - before.bounded.ended,
                refused: self.bounded.refused - before.bounded.refused,
                buried: self.bounded.buried - before.bounded.buried,
                skip_failed: self.bounded.skip_failed - before.bounded.skip_failed,
            },
            failed: self.failed - before.failed,
            runs: self.runs,
        }
    }
}

/// What a pattern step did with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternReport {
    /// The step.
    pub step: StepId,
    /// What came to its counts; runs are those there are.
    pub tally: PatternTally,
}

impl PatternReport {
    /// Of what is to be reported now, if it is anything else than what was last.
    pub(crate) fn of(step: StepId, now: PatternTally, reported: &mut PatternTally) -> Option<Self> {
        let before = std::mem::replace(reported, now);
        (now != before).then(|| Self { step, tally: now.since(&before) })
    }
}
