//! What others see of a task while its worker owns it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidemill_event::{Offset, PartitionId, PartitionKey};
use tidemill_log::{Partition, Visibility};
use tidemill_state::TaskId;

use crate::status::{DivergenceStatus, InputStatus, PipelineState, StepStatus, TaskStatus};
use crate::task::Replayed;
use crate::task::totals::Totals;

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TaskState {
    /// Takes committed rows again, or new ones.
    #[default]
    Running,
    /// `once`, at its end, and that is on disk.
    Finished,
    /// Waits for a person.
    Held,
    /// Cannot go on.
    Failed,
    /// Its pipeline was paused, changed or drained.
    Stopped,
}

/// The visible side of a task. The lock is taken once a batch by its worker and by whoever asks for status, never by both for long.
pub(crate) struct TaskShared {
    pub(crate) id: TaskId,
    /// What it takes, and the next row of each.
    inputs: Vec<(Arc<Partition>, AtomicU64)>,
    /// There may be rows to take.
    pub(crate) ready: AtomicBool,
    pub(crate) checkpoint: AtomicU64,
    seen: Mutex<Seen>,
}

/// What a worker last said of a task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) state: TaskState,
    pub(crate) totals: Totals,
    pub(crate) replayed_rows: u64,
    pub(crate) waiting: u64,
    /// Which dead letters were replayed, and of which of their partitions.
    pub(crate) replayed: Option<Arc<(PartitionId, Replayed)>>,
    pub(crate) cpu_us: u64,
    pub(crate) steps: BTreeMap<u32, StepStatus>,
    pub(crate) divergence: Option<DivergenceStatus>,
    pub(crate) last_error: Option<String>,
}

impl TaskShared {
    pub(crate) fn new(id: TaskId, inputs: Vec<Arc<Partition>>) -> Self {
        Self {
            id,
            inputs: inputs.into_iter().map(|partition| (partition, AtomicU64::new(0))).collect(),
            ready: AtomicBool::new(true),
            checkpoint: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    pub(crate) fn set_next(&self, input: &PartitionKey, next: Offset) {
        if let Some((_, place)) = self.inputs.iter().find(|(partition, _)| partition.key() == input) {
            place.store(next.0, Ordering::Relaxed);
        }
    }

    /// Changes what others see.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock());
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    pub(crate) fn state(&self) -> TaskState {
        self.seen.lock().state
    }

    /// It cannot go on. The first reason stands.
    pub(crate) fn fail(&self, error: String) {
        tracing::error!(task = %self.id, "task failed: {error}");
        self.update(|seen| {
            if seen.state != TaskState::Failed {
                seen.state = TaskState::Failed;
                seen.last_error = Some(error);
            }
        });
    }

    pub(crate) fn status(&self) -> TaskStatus {
        let seen = self.seen();
        let input = |(partition, next): &(Arc<Partition>, AtomicU64)| {
            let next = next.load(Ordering::Relaxed);
            InputStatus {
                stream: partition.key().stream.stream.to_string(),
                offset: next,
                lag_records: partition.end(Visibility::Durable).0.saturating_sub(next),
            }
        };
        let inputs: Vec<InputStatus> = self.inputs.iter().map(input).collect();
        TaskStatus {
            partition: self.id.partition.0,
            state: match seen.state {
                TaskState::Running => PipelineState::Running,
                TaskState::Finished => PipelineState::Finished,
                TaskState::Held => PipelineState::Held,
                TaskState::Failed => PipelineState::Failed,
                TaskState::Stopped => PipelineState::Paused,
            },
            lag_records: inputs.iter().map(|input| input.lag_records).sum(),
            inputs,
            rows_in: seen.totals.rows_in,
            rows_out: seen.totals.rows_out,
            dead_letters: seen.totals.dead,
            skipped: seen.totals.skipped,
            waiting: seen.waiting,
            put_back: seen.totals.put_back,
            commits: seen.totals.commits,
            replayed_rows: seen.replayed_rows,
            endings: seen.totals.endings,
            checkpoint: self.checkpoint.load(Ordering::Relaxed),
            cpu_us: seen.cpu_us,
            steps: seen.steps.into_values().collect(),
            last_error: seen.last_error,
        }
    }
}
