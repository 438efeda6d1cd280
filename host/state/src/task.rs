//! Who has state, and as of when.

use std::fmt;

use tidemill_event::{PartitionId, PipelineName, TenantName};

/// A task of a run of a pipeline: the owner of state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// Who owns the pipeline.
    pub tenant: TenantName,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// Its run: a new run has new state.
    pub run: u64,
    /// The partition the task owns.
    pub partition: PartitionId,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.tenant, self.pipeline, self.run, self.partition)
    }
}

/// Counts the checkpoints of a task, from 1. 0 is the empty state before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckpointId(pub u64);

impl CheckpointId {
    /// No state at all.
    pub const EMPTY: Self = Self(0);

    /// The one after it.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
