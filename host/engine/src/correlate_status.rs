//! What a `correlate` step says of itself in `status`, since the host started.

use serde::Serialize;
use tidemill_flow::correlate::CorrelateReport;

use crate::plan::{Plan, PlannedKind};

/// What a correlation found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CorrelateStatus {
    /// Events that are held, of all keys.
    pub open: u64,
    /// Matches.
    pub matches: u64,
    /// Events that came while their key was quiet behind a match.
    pub quiet: u64,
    /// Events that went because their key had more than `events_max`.
    pub dropped: u64,
}

impl CorrelateStatus {
    /// Nothing came yet; `None`: the step is no correlation.
    pub(crate) fn of(plan: &Plan, step: u32) -> Option<Self> {
        matches!(plan.steps.get(step as usize)?.kind, PlannedKind::Correlate(_)).then(Self::default)
    }

    /// A batch was taken.
    pub(crate) fn took(&mut self, report: &CorrelateReport) {
        self.open = report.open;
        self.matches += report.matches;
        self.quiet += report.quiet;
        self.dropped += report.dropped;
    }

    /// Another task's beside it.
    pub(crate) fn add(&mut self, other: &Self) {
        self.open += other.open;
        self.matches += other.matches;
        self.quiet += other.quiet;
        self.dropped += other.dropped;
    }
}
