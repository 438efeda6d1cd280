//! What a pattern step says of itself in `status` and in metrics, and a `match_recognize` in the same words.

use serde::Serialize;
use tidemill_flow::OpenRuns;
use tidemill_flow::pattern::PatternTally;

/// What a pattern found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PatternStatus {
    /// Runs that have begun and not ended: partial matches, and matches that wait for one that began before. Of `match_recognize`: keys that wait for rows.
    pub runs: u64,
    /// Matches.
    pub matches: u64,
    /// Runs whose time was over, told or not.
    pub timeouts: u64,
    /// Runs that ended because their key had more than `runs_max`, or because they would have taken more than `events_max`. Of `match_recognize`:
    /// readings that were not followed.
    pub ended: u64,
    /// Runs that were not followed because their key had more than `runs_max`. Of `match_recognize`: rows that were given up because their key
    /// had too many.
    pub refused: u64,
    /// Rows that would have begun a run and became dead letters, because their key had `runs_max` (`too_many: dead_letter`).
    pub buried: u64,
    /// Conditions that failed on a row: that is no, and counted here.
    pub failed: u64,
    /// Matches without anything to skip to, though it must exist: they are not told.
    pub skip_failed: u64,
}

impl PatternStatus {
    pub(crate) fn report(&mut self, report: &PatternTally) {
        self.runs = report.runs;
        self.matches += report.matches;
        self.timeouts += report.timeouts;
        self.ended += report.bounded.ended;
        self.refused += report.bounded.refused;
        self.buried += report.bounded.buried;
        self.failed += report.failed;
        self.skip_failed += report.bounded.skip_failed;
    }

    /// Another task's beside it.
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.matches += other.matches;
        self.timeouts += other.timeouts;
        self.ended += other.ended;
        self.refused += other.refused;
        self.buried += other.buried;
        self.failed += other.failed;
        self.skip_failed += other.skip_failed;
    }
}

/// What is left of a pattern that begins nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrainingStatus {
    /// Its name, where it is one of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Partial matches that are open; with none left it can be removed.
    pub runs: u64,
    /// Keys that have some.
    pub keys: u64,
}

impl DrainingStatus {
    pub(crate) fn new(open: &OpenRuns) -> Self {
        Self { pattern: open.pattern.as_deref().map(str::to_owned), runs: open.runs, keys: open.keys }
    }

    /// Another task's beside it: the same patterns in the same order, or none if nothing was told yet.
    pub(crate) fn add(all: &mut Vec<Self>, other: &[Self]) {
        if all.is_empty() {
            return all.extend_from_slice(other);
        }
        for (one, other) in all.iter_mut().zip(other) {
            one.runs += other.runs;
            one.keys += other.keys;
        }
    }
}
