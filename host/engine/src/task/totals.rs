//! What a task counted since its run began; kept with its checkpoints, so that status does not begin at zero after a start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    /// Rows taken.
    pub(crate) rows_in: u64,
    /// Rows sent on.
    pub(crate) rows_out: u64,
    /// Rows in the dead letters.
    pub(crate) dead: u64,
    /// Rows that came too late for a step.
    pub(crate) late: u64,
    /// (row, window) pairs that came too late for each other.
    pub(crate) dropped_late: u64,
    /// Rows that missed some of their windows, but not all.
    pub(crate) late_partial: u64,
    /// Rows that a step dropped because of others of their key, or by lot, by step.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Rows left out because they were removed before they could be taken (`on_trim: skip`).
    pub(crate) skipped: u64,
    /// How often rows were put back for later.
    pub(crate) put_back: u64,
    /// Commits.
    pub(crate) commits: u64,
    /// Calls that did not return, by ending.
    pub(crate) endings: BTreeMap<String, u64>,
}
