//! Stages: all steps up to the next one that needs rows of another key together. Between two stages rows are written again, placed by that key.
//!
//! ```text
//! clicks 0 ─► task 0: where, extend ─┐     p.stage-2 0 ─► task 3: window by user
//! clicks 1 ─► task 1: where, extend ─┼─►   p.stage-2 1 ─► task 4: window by user      every task of stage 1 is a lane of every
//! clicks 2 ─► task 2: where, extend ─┘     p.stage-2 2 ─► task 5: window by user      partition of `p.stage-2`
//! ```
//! Tasks are numbered through all stages: progress, state and dead letters of a task are kept under that number.

use std::ops::Range;
use std::sync::Arc;

use tidemill_event::{PartitionId, PipelineName, StreamName, StreamSchema, UnknownFields};
use tidemill_flow::{Judged, Side};

use crate::pipeline::Text;
use crate::plan::Plan;
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::source::Sources;
use crate::stored::StoredStage;

/// Steps that run one after the other in each of some tasks.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Which steps; none where rows are only placed.
    pub(crate) steps: Range<u32>,
    /// Its first task.
    pub(crate) first_task: u32,
    pub(crate) tasks: u32,
    /// What it reads of the stage before it, for a join a stream for each side; empty for the first, which reads the pipeline's sources.
    pub(crate) reads: Vec<Inner>,
    /// Why its rows had to be placed anew.
    pub(crate) why: Option<String>,
    /// What its rows are judged by when they leave it.
    pub(crate) judged: Judged,
}

/// A stream between two stages.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inner {
    /// By which columns rows are placed; none: there is one partition.
    pub(crate) key: Vec<Arc<str>>,
    /// The rows' columns, as the stage before lets them out.
    pub(crate) schema: StreamSchema,
    /// What the stream is called behind the pipeline's name.
    pub(crate) suffix: String,
}

impl Inner {
    /// The stream in which a run keeps them.
    pub(crate) fn stream(&self, pipeline: &PipelineName, run: u64) -> StreamName {
        let first = self.name(pipeline);
        if run == 1 { first } else { first.of_run(run) }
    }

    /// What it is called in what is kept of a run, whichever run that is.
    pub(crate) fn name(&self, pipeline: &PipelineName) -> StreamName {
        StreamName::derived(pipeline.as_str(), &self.suffix)
    }

    /// What another plan must agree with to go on with its rows: key and columns.
    fn shape(&self) -> String {
        let fields = self.schema.fields.iter().map(|field| format!("{} {:?} {}", field.name, field.ty, field.nullable));
        let fields: Vec<String> = fields.collect();
        let rest = if self.schema.unknown == UnknownFields::Keep { ", and others" } else { "" };
        format!("[{}] of [{}{rest}]", self.key.join(", "), fields.join(", "))
    }
}

/// Where a stage begins, as the check of the steps finds it.
#[derive(Debug, Clone)]
pub(crate) struct StageStart {
    /// The first step.
    pub(crate) at: u32,
    /// The columns that rows are placed by, for a join those of each side; none: one task has to take all rows.
    pub(crate) keys: Vec<Vec<Arc<str>>>,
    pub(crate) why: String,
}

impl StageStart {
    /// Whether all its rows are of one key.
    pub(crate) fn is_keyless(&self) -> bool {
        self.keys.iter().any(Vec::is_empty)
    }
}

impl Plan {
    /// How many tasks it has, those of all stages.
    pub(crate) fn tasks(&self) -> u32 {
        self.stages.iter().map(|stage| stage.tasks).sum()
    }

    /// The stage of a task, counted from 0, and the task's place in it.
    pub(crate) fn stage_of(&self, task: PartitionId) -> (usize, PartitionId) {
        let of = self.stages.iter().rposition(|stage| stage.first_task <= task.0).unwrap_or(0);
        (of, PartitionId(task.0 - self.stages[of].first_task))
    }

    /// The tasks of a stage.
    pub(crate) fn tasks_of(&self, stage: usize) -> Range<u32> {
        let stage = &self.stages[stage];
        stage.first_task..stage.first_task + stage.tasks
    }

    /// The task that runs a step for a partition of what its stage reads; of a step that is not there, one of the first stage.
    pub(crate) fn task_with(&self, step: &str, partition: u32) -> u32 {
        let at = (0..self.steps.len() as u32).find(|at| self.step_name(*at) == step);
        let stage = at.and_then(|at| self.stages.iter().find(|stage| stage.steps.contains(&at)));
        stage.map_or(0, |stage| stage.first_task) + partition
    }

    /// The columns of what comes to a stage by its input of that number.
    pub(crate) fn input_schema(&self, stage: usize, number: usize) -> &StreamSchema {
        match self.stages[stage].reads.get(number) {
            Some(inner) => &inner.schema,
            None => self.sources.schema_of(number),
        }
    }

    /// The columns with which rows leave a stage that are not rows of a side of a join.
    pub(crate) fn leaves(&self, stage: usize) -> StreamSchema {
        if stage + 1 == self.stages.len() { self.output.clone() } else { self.step_input(self.stages[stage].steps.end) }
    }

    /// Which side of a join an input of a stage is.
    pub(crate) fn side_of(&self, stage: usize, number: usize) -> Side {
        match self.stages[stage].reads.len() {
            0 => self.sources.side(number),
            _ if number == 1 => Side::Right,
            _ => Side::Left,
        }
    }

    /// The columns of events as dead letters of a stage have them.
    pub(crate) fn event_schema(&self, stage: usize) -> StreamSchema {
        match self.stages[stage].reads.as_slice() {
            [] => self.sources.event_schema(),
            [one] => one.schema.clone(),
            // Of which side one is is not known before it is read.
            _ => StreamSchema { fields: Vec::new(), unknown: UnknownFields::Keep, infer: false },
        }
    }

    /// The streams between its stages, each with the stage that reads it.
    pub(crate) fn inner(&self) -> impl Iterator<Item = (&Stage, &Inner)> {
        self.stages.iter().flat_map(|stage| stage.reads.iter().map(move |inner| (stage, inner)))
    }

    /// What is stored of its stages; nothing of a plan with one.
    pub(crate) fn stored_stages(&self) -> Vec<StoredStage> {
        if self.stages.len() == 1 {
            return Vec::new();
        }
        let stored = |stage: &Stage| StoredStage {
            tasks: stage.tasks,
            reads: stage.reads.iter().map(|inner| (inner.suffix.clone(), inner.shape())).collect(),
        };
        self.stages.iter().map(stored).collect()
    }
}

/// The stages of checked steps: `left_by` says of each step that begins one what the rows before it are judged by.
pub(super) fn stages(
    starts: &[StageStart],
    sources: &Sources,
    steps: u32,
    step_input: impl Fn(u32) -> StreamSchema,
    left_by: &[Judged],
) -> Vec<Stage> {
    let last = Judged::ByLane;
    let judged = |number: usize| left_by.get(number).copied().unwrap_or(last);
    let end_of = |number: usize| starts.get(number).map_or(steps, |start| start.at);
    let first =
        Stage { steps: 0..end_of(0), first_task: 0, tasks: sources.tasks(), reads: Vec::new(), why: None, judged: judged(0) };
    let mut stages = vec![first];
    for (number, start) in (1..).zip(starts) {
        let first_task = stages.iter().map(|stage| stage.tasks).sum();
        let tasks = if start.is_keyless() { 1 } else { sources.partitions() };
        let reads = start.keys.iter().enumerate().map(|(side, key)| {
            let is_side = start.keys.len() > 1;
            let schema = if is_side { sources.schema_of(side).clone() } else { step_input(start.at) };
            let suffix = format!("stage-{}{}", number + 1, if is_side { ["-left", "-right"][side] } else { "" });
            Inner { key: key.clone(), schema, suffix }
        });
        stages.push(Stage {
            steps: start.at..end_of(number),
            first_task,
            tasks,
            reads: reads.collect(),
            why: Some(start.why.clone()),
            judged: judged(number),
        });
    }
    stages
}

impl Checker<'_> {
    /// Enters a step: if a stage begins there, its rows come placed by its key, each judged by the lane that wrote it.
    pub(super) fn enter_step(&mut self, at: u32, columns: Option<Columns>) -> Option<Columns> {
        self.at = at;
        let begins = self.stages.iter().find(|start| start.at == at).cloned();
        let Some(start) = begins else { return columns };
        self.left_by.push(self.judged());
        self.has_changed_times = false;
        self.placed_by = Some(start);
        columns.map(Columns::placed_anew)
    }

    /// Rows of one key must meet in one task: by what they are placed by they do, or because there is only one. If not, a stage begins here.
    pub(super) fn meet(&mut self, by: &[Text], path: &str, columns: &Columns) {
        let Some(sources) = self.sources.clone() else { return };
        let kept: Vec<_> = by.iter().map(|name| columns.source_of(&name.text)).collect();
        let (key, is_one) = match &self.placed_by {
            Some(start) => (start.keys.first().map_or(&[][..], Vec::as_slice), start.is_keyless()),
            None => (sources.key(), sources.tasks() <= 1),
        };
        if is_one || (!key.is_empty() && key.iter().all(|key| kept.contains(&Some(key)))) {
            return;
        }
        let why = match &self.placed_by {
            Some(start) => {
                let keys: Vec<String> = start.keys.iter().map(|key| key.join(", ")).collect();
                format!("{path}: rows of one key are in several tasks, placed by [{}]", keys.join("] and ["))
            }
            None => format!("{path}: rows of one key are in several of the {}", sources.described()),
        };
        let key = by.iter().map(|name| name.text.as_str().into()).collect();
        self.scatter(vec![key], why);
    }

    /// A stage has to begin at the step in hand. Of what one step says the narrower key counts, which comes last.
    pub(super) fn scatter(&mut self, keys: Vec<Vec<Arc<str>>>, why: String) {
        let at = self.at;
        if self.scattered.as_ref().is_none_or(|start| start.at == at) {
            self.scattered = Some(StageStart { at, keys, why });
        }
    }
}
