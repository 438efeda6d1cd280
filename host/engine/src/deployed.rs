//! A pipeline as it runs: its plan, its tasks, its sinks, and what they say together.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_event::{PipelineName, StreamName, TenantName};

use crate::pipeline::TargetKind;
use crate::plan::Plan;
use crate::sinks::SinkShared;
use crate::status::{PipelineState, Status};
use crate::stored::StoredPipeline;
use crate::task::{TaskShared, TaskState};

/// A pipeline of the catalog, running or not. Never changed: a change puts another one in its place.
pub(crate) struct Deployed {
    pub(crate) tenant: TenantName,
    pub(crate) name: PipelineName,
    pub(crate) stored: StoredPipeline,
    /// The error says why a stored pipeline cannot be planned any more.
    pub(crate) plan: Result<Arc<Plan>, String>,
    pub(crate) tasks: Vec<Arc<TaskShared>>,
    pub(crate) sinks: Vec<Arc<SinkShared>>,
}

impl Deployed {
    /// The worst state of its parts.
    pub(crate) fn state(&self) -> PipelineState {
        let any = |state| self.tasks.iter().any(|task| task.state() == state);
        if self.plan.is_err() || any(TaskState::Failed) {
            PipelineState::Failed
        } else if any(TaskState::Held) {
            PipelineState::Held
        } else if self.is_finished() {
            PipelineState::Finished
        } else if self.stored.paused {
            PipelineState::Paused
        } else {
            PipelineState::Running
        }
    }

    /// A `once` that is through: every row is where it belongs.
    pub(crate) fn is_finished(&self) -> bool {
        !self.tasks.is_empty()
            && self.tasks.iter().all(|task| task.state() == TaskState::Finished)
            && self.sinks.iter().all(|sink| sink.is_caught_up())
    }

    pub(crate) fn status(&self) -> Status {
        let tasks: Vec<_> = self.tasks.iter().map(|task| task.status()).collect();
        let mut endings = BTreeMap::new();
        for task in &tasks {
            for (ending, count) in &task.endings {
                *endings.entry(ending.clone()).or_default() += count;
            }
        }
        let task_error = tasks.iter().find_map(|task| task.last_error.clone());
        Status {
            pipeline: self.name.to_string(),
            state: self.state(),
            plan: self.stored.plan,
            run: self.stored.run,
            lag_records: tasks.iter().map(|task| task.lag_records).sum(),
            rows_in: tasks.iter().map(|task| task.rows_in).sum(),
            rows_out: tasks.iter().map(|task| task.rows_out).sum(),
            dead_letters: tasks.iter().map(|task| task.dead_letters).sum(),
            endings,
            sinks: self.sinks.iter().map(|sink| sink.status()).collect(),
            divergences: self.tasks.iter().filter_map(|task| task.seen().divergence).collect(),
            last_error: self.plan.as_ref().err().cloned().or(task_error),
            tasks,
        }
    }

    /// What it reads, and the streams it writes.
    pub(crate) fn streams(&self) -> Option<(Vec<StreamName>, Vec<StreamName>)> {
        let definition = &self.plan.as_ref().ok()?.definition;
        let targets = definition.targets.iter().filter_map(|target| match &target.kind {
            TargetKind::Stream(name) => Some(name.clone()),
            TargetKind::File(_) | TargetKind::Stdout | TargetKind::Webhook(_) => None,
        });
        Some((definition.sources.iter().map(|source| source.stream.clone()).collect(), targets.collect()))
    }
}
