//! Rows that came too late for every window they belong to.

use crate::{FlowBatch, StepId};

/// Rows of one batch that a step could not take any more.
#[derive(Debug, Clone)]
pub struct LateRows {
    /// The step.
    pub step: StepId,
    /// As they stood before it.
    pub rows: FlowBatch,
}
