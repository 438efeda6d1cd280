//! A pipeline as it runs: its plan, its tasks, its sinks, and what they say together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tidemill_event::{EventTime, PartitionId, PipelineName, StreamName, TenantName};

use crate::logs::PipelineLogs;
use crate::pipeline::{TargetKind, parse};
use crate::plan::Plan;
use crate::rates::Rates;
use crate::sinks::SinkShared;
use crate::status::{PipelineState, ReplayStatus, Status, TaskStatus, TimeStatus, steps_together};
use crate::stored::StoredPipeline;
use crate::task::{SeenTime, TaskShared, TaskState};

/// What a run is to its pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The pipeline's own: it writes its targets.
    Main,
    /// Beside it, over rows that were taken before: it writes streams of its own and says nothing.
    Replay,
}

impl Role {
    /// What stands for an output stream in this run.
    pub(crate) fn output(self, stream: StreamName, run: u64) -> StreamName {
        match self {
            Self::Main => stream,
            Self::Replay => stream.of_run(run),
        }
    }
}

/// A pipeline of the catalog, running or not. Never changed: a change puts another one in its place.
pub(crate) struct Deployed {
    pub(crate) tenant: TenantName,
    pub(crate) name: PipelineName,
    pub(crate) role: Role,
    pub(crate) stored: StoredPipeline,
    /// What its components said last.
    pub(crate) logs: Arc<PipelineLogs>,
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

    /// How far its tasks are: stream and partition, and the next row.
    pub(crate) fn places(&self) -> Vec<((String, u32), u64)> {
        let of_task = |task: &Arc<TaskShared>| {
            task.places().into_iter().map(|((stream, partition), next)| ((stream, partition.0), next)).collect::<Vec<_>>()
        };
        self.tasks.iter().flat_map(of_task).collect()
    }

    /// `replay` is the run beside it, `clock` the time by which event time is behind.
    pub(crate) fn status(&self, replay: Option<&Self>, clock: EventTime) -> Status {
        let now = Instant::now();
        // Before the tasks: what is said to have failed says why, also when it fails at this moment.
        let state = self.state();
        let tasks: Vec<_> = self.tasks.iter().map(|task| task.status(now, clock)).collect();
        let times: Vec<_> = self.tasks.iter().map(|task| task.time()).collect();
        let mut endings = BTreeMap::new();
        for task in &tasks {
            for (ending, count) in &task.endings {
                *endings.entry(ending.clone()).or_default() += count;
            }
        }
        let mut dropped = BTreeMap::new();
        for (step, rows) in tasks.iter().flat_map(|task| &task.dropped) {
            *dropped.entry(step.clone()).or_default() += rows;
        }
        // Rows between two stages are the pipeline's own affair.
        let last = tasks.iter().map(|task| task.stage).max().unwrap_or(1);
        let outward = |task: &TaskStatus, rates: Rates| Rates {
            rows_in_per_second: if task.stage == 1 { rates.rows_in_per_second } else { 0.0 },
            rows_out_per_second: if task.stage == last { rates.rows_out_per_second } else { 0.0 },
            ..rates
        };
        let task_error = tasks.iter().find_map(|task| task.last_error.clone());
        Status {
            pipeline: self.name.to_string(),
            state,
            plan: self.stored.plan,
            run: self.stored.run,
            lag_records: tasks.iter().map(|task| task.lag_records).sum(),
            behind_ms: tasks.iter().map(|task| task.behind_ms).max().unwrap_or(0),
            event_time: tasks.iter().filter_map(|task| task.event_time.clone()).max(),
            last_10s: tasks.iter().map(|task| outward(task, task.last_10s)).fold(Rates::default(), Rates::together),
            last_minute: tasks.iter().map(|task| outward(task, task.last_minute)).fold(Rates::default(), Rates::together),
            steps: steps_together(&tasks),
            replay: replay.map(|replay| ReplayStatus {
                run: replay.stored.run,
                state: replay.state(),
                lag_records: replay.tasks.iter().map(|task| task.lag()).sum(),
            }),
            rows_in: tasks.iter().filter(|task| task.stage == 1).map(|task| task.rows_in).sum(),
            rows_out: tasks.iter().filter(|task| task.stage == last).map(|task| task.rows_out).sum(),
            dead_letters: tasks.iter().map(|task| task.dead_letters).sum(),
            late: tasks.iter().map(|task| task.late).sum(),
            dropped_late: tasks.iter().map(|task| task.dropped_late).sum(),
            late_partial: tasks.iter().map(|task| task.late_partial).sum(),
            dropped,
            time: self.time_together(&times, clock),
            endings,
            sinks: self.sinks.iter().map(|sink| sink.status()).collect(),
            divergences: self.tasks.iter().filter_map(|task| task.seen().divergence).collect(),
            last_error: self.plan.as_ref().err().cloned().or(task_error),
            tasks,
        }
    }

    /// How far results are: the time of the last stage. What holds that back is a stream of the pipeline's own, so the first stage is asked.
    fn time_together(&self, times: &[(SeenTime, Vec<(String, PartitionId)>)], clock: EventTime) -> TimeStatus {
        let last = self.tasks.last().map_or(0, |task| task.stage);
        let of_stage = |stage: usize| -> Vec<_> {
            let of = self.tasks.iter().zip(times).filter(|(task, _)| task.stage == stage);
            of.map(|(_, time)| time.clone()).collect()
        };
        let together = SeenTime::together(&of_stage(last), clock);
        if last == 0 || together.held_back_by.is_empty() {
            return together;
        }
        TimeStatus { held_back_by: SeenTime::together(&of_stage(0), clock).held_back_by, ..together }
    }

    /// What it reads, and the streams it writes.
    pub(crate) fn streams(&self) -> Option<(Vec<StreamName>, Vec<StreamName>)> {
        // One that cannot be planned any more still wants its streams.
        let parsed;
        let definition = match &self.plan {
            Ok(plan) => &plan.definition,
            Err(_) => {
                parsed = parse(&self.name, &self.stored.text).ok()?;
                &parsed
            }
        };
        let targets = definition.targets.iter().filter_map(|target| match &target.kind {
            TargetKind::Stream(name) => Some(name.clone()),
            TargetKind::File(_) | TargetKind::Stdout | TargetKind::Webhook(_) => None,
        });
        Some((definition.sources.iter().map(|source| source.stream.clone()).collect(), targets.collect()))
    }
}
