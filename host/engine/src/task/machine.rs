//! The task itself: opens where the last one ended, takes a batch, runs it through the steps. What follows is in `committing.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use crossbeam_channel::Sender;
use rustix::time::{ClockId, clock_gettime};
use tidemill_event::batch::times;
use tidemill_event::{Clock, EventTime, Offset, OffsetRange, PartitionId};
use tidemill_flow::{Chain, Outcome, StepId, Waiting};
use tidemill_log::{Listening, Log, OnDurable, Partition, Pending, ReadError, Visibility};
use tidemill_runtime::{Grants, Runtime};
use tidemill_state::{CheckpointId, StateStore};

use crate::logs::PipelineLogs;
use crate::metrics::Metrics;
use crate::pipeline::{OnTrim, SideOf};
use crate::plan::{CallControl, CallMetricsFamilies, Inner, Plan, Voice, chain};
use crate::planted::Plants;
use crate::tables::Tables;
use crate::task::between;
use crate::task::budget::Share;
use crate::task::checkpointer::Job;
use crate::task::drawing::Drawn;
use crate::task::frames::Output;
use crate::task::input::{InputSeed, Inputs};
use crate::task::listing::{Listing, Suspects};
use crate::task::loading::{Begun, Loaded, load};
use crate::task::lookups::Lookups;
use crate::task::placing::Placing;
use crate::task::reading::Block;
use crate::task::record::Checkpoint;
use crate::task::recovery::{Recovered, recover};
use crate::task::returning::Ahead;
use crate::task::sides::Sides;
use crate::task::spilling::Lost;
use crate::task::time::TaskTime;
use crate::task::totals::Totals;
use crate::task::{Replayed, StateBudget, TaskShared, TaskState, keeping};

/// What tasks share: the parts of the engine.
#[derive(Clone)]
pub(crate) struct TaskParts {
    pub(crate) log: Log,
    pub(crate) runtime: Runtime,
    pub(crate) store: StateStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tables: Tables,
    pub(crate) metrics: Metrics,
    pub(crate) grants: Grants,
    pub(crate) batch_rows_max: usize,
    pub(crate) batch_bytes_max: usize,
    /// The most bytes of rows in one entry; what a batch made beyond it is committed in parts.
    pub(crate) entry_bytes_max: usize,
    pub(crate) batch_target: Duration,
    pub(crate) checkpoint_after: Duration,
    pub(crate) state_budget: StateBudget,
    /// Versions in the store that are read before a task takes a row; of larger state the rest is listed behind its batches.
    pub(crate) listed_at_once: usize,
    pub(crate) suspects: Suspects,
    /// Rows that a task may have before it that the stage before wrote: with more, that stage takes less.
    pub(crate) stage_rows_max: u64,
    pub(crate) plants: Plants,
}

/// What a worker needs to make a task.
pub(crate) struct TaskSeed {
    pub(crate) plan: Arc<Plan>,
    pub(crate) plan_number: u64,
    pub(crate) shared: Arc<TaskShared>,
    /// `{pipeline}.progress`, `.dead-letters`, and `.output` if there are files or standard output.
    pub(crate) progress: Arc<tidemill_log::Stream>,
    pub(crate) dead_letters: Arc<tidemill_log::Stream>,
    /// `{pipeline}.late`, if rows can be late.
    pub(crate) late: Option<Arc<tidemill_log::Stream>>,
    /// `{pipeline}.alerts`, if a step raises any.
    pub(crate) alerts: Option<Arc<tidemill_log::Stream>>,
    /// `{pipeline}.matches`, if a step explains its matches.
    pub(crate) matches: Option<Arc<tidemill_log::Stream>>,
    /// Each with the step's output that it takes rows of; `None`: those behind the last step.
    pub(crate) outputs: Vec<(Arc<tidemill_log::Stream>, Option<SideOf>)>,
    /// What the stage behind its own reads; empty for the last.
    pub(crate) next: Vec<(Arc<tidemill_log::Stream>, Inner)>,
    /// What it takes.
    pub(crate) inputs: Vec<InputSeed>,
    /// Where its components' lines go; `None`: nothing of what it does is told, no lines and no metrics.
    pub(crate) logs: Option<Arc<PipelineLogs>>,
    /// Dead letters before there are of runs before this one.
    pub(crate) letters_from: Offset,
    /// A person has seen why it stopped and wants it to go on: a divergence is accepted, a component that is out is probed.
    pub(crate) accept_divergence: bool,
}

/// What a turn did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A batch was taken; there may be more.
    Worked,
    /// There is nothing to take now.
    Idle,
    /// There is nothing to take now; then rows that wait are due, or time goes by.
    Waits(EventTime),
    /// The task takes nothing any more.
    Ended,
}

/// A task on its worker.
pub(crate) struct Task {
    pub(super) plan: Arc<Plan>,
    pub(super) plan_number: u64,
    pub(crate) shared: Arc<TaskShared>,
    pub(super) parts: TaskParts,
    pub(super) jobs: Sender<Job>,
    pub(super) inputs: Inputs,
    /// Its number among the tasks of the pipeline, its stage counted from 0, and its place in that.
    pub(super) partition: PartitionId,
    pub(super) stage: usize,
    pub(super) place: PartitionId,
    pub(super) progress_partition: Arc<Partition>,
    pub(super) progress: Arc<Output>,
    pub(super) dead_letters: Output,
    pub(super) late: Option<Output>,
    pub(super) matches: Option<Output>,
    pub(super) outputs: Vec<Output>,
    /// What it writes for the next stage; `None` in the last.
    pub(super) placing: Option<Placing>,
    pub(super) sides: Sides,
    pub(super) chain: Chain,
    pub(super) time: TaskTime,
    pub(super) control: Arc<CallControl>,
    pub(super) lookups: Lookups,
    pub(super) recovered: Recovered,
    pub(super) accept_divergence: bool,
    /// Rows that come back later.
    pub(super) waiting: Waiting,
    /// Groups of them whose step is another one since the plan was changed.
    pub(super) homeless: Vec<i64>,
    /// Dead letters that were replayed.
    pub(super) replayed: Replayed,
    /// Those before there are of runs before this one.
    pub(super) letters_from: Offset,
    /// Who waits for the next commit to be on disk.
    pub(super) on_durable: Option<OnDurable>,
    /// The time of the last batch that had one; it never steps back.
    pub(super) clock: EventTime,
    /// The plan that the breakers speak of.
    pub(super) breakers_of: u64,
    /// A person wants it to go on: open breakers are probed at once.
    pub(super) resumed: bool,
    /// That happened, and no commit says so yet.
    pub(super) probed: bool,
    /// Steps whose component is taken out, as was told.
    pub(super) out: Vec<(StepId, u32)>,
    /// Others see that it waits for a component.
    pub(super) blocked: bool,
    pub(super) totals: Totals,
    /// CPU time since the last checkpoint was taken: what replay would cost.
    pub(super) cost: Duration,
    /// Bytes that components answered since then: as much of it as they like may be state.
    pub(super) answered_bytes: u64,
    /// CPU time of a row, smoothed.
    pub(super) row_cost: Duration,
    pub(super) checkpoint: CheckpointId,
    /// The last one that is known to be true.
    pub(super) saved: CheckpointId,
    /// Memory for its state.
    pub(super) share: Share,
    /// What of it could not be read.
    pub(super) lost: Lost,
    /// What it has not met of its state.
    pub(super) listing: Option<Listing>,
    /// What is drawn for the next one.
    pub(super) drawn: Drawn,
    /// When the last one was taken, or the task began.
    pub(super) saved_at: Instant,
    /// Told when the checkpoint on its way is true, with what it cost the checkpointer.
    pub(super) under_way: Option<crossbeam_channel::Receiver<Duration>>,
    /// CPU time that the last one cost, drawing and writing.
    pub(super) saving_cost: Duration,
    pub(super) last_commit: Option<(Pending, usize)>,
    /// Time it waited for room in the log, not told yet.
    pub(super) waited: Duration,
    /// Since when the stage behind lets it take nothing.
    pub(super) held_up: Option<Instant>,
    /// It has taken all there is, and those behind were told.
    pub(super) is_quiet: bool,
    /// Marks of lanes among the rows in hand: they are no rows.
    pub(super) marks_taken: u64,
    /// The latest event time it took since then.
    pub(super) newest: Option<EventTime>,
    /// Rows since a commit had a checksum of all state.
    pub(super) unchecked_rows: u64,
    /// Instances are new since the last commit.
    pub(super) fresh: bool,
    pub(super) ended: bool,
    /// Where its calls are counted.
    pub(super) calls: CallMetricsFamilies,
    /// Nothing of what it does is told.
    pub(super) silent: bool,
    _listening: Vec<Listening>,
}

impl Task {
    /// Loads state and progress. Blocking.
    pub(crate) fn open(
        seed: TaskSeed,
        parts: TaskParts,
        jobs: Sender<Job>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, String> {
        let (letters_from, accept_divergence) = (seed.letters_from, seed.accept_divergence);
        let TaskSeed {
            plan,
            plan_number,
            shared,
            progress,
            dead_letters,
            late,
            alerts,
            matches,
            outputs,
            next,
            inputs,
            logs,
            ..
        } = seed;
        let partition = shared.id.partition;
        let (stage, place) = plan.stage_of(partition);
        let placing = (!next.is_empty()).then(|| Placing::new(next, place, plan.stages[stage].judged));
        let progress_partition = progress.partition(partition).ok_or("its progress stream lacks the partition")?.clone();
        let mut recovered = recover(&progress_partition, shared.id.run)?;
        // Loading removes what its checkpoint has replaced. That is certain only when the checkpoint is: neither a crash nor a backup
        // may find a log that names the one before. An entry behind it says so.
        if progress_partition.end(Visibility::Durable) < recovered.end {
            parts.log.put_documents(Vec::new()).map_err(|error| error.to_string())?;
        }
        // What a silent task measures is counted nowhere.
        let calls = match &logs {
            Some(_) => parts.metrics.calls_of(&plan.tenant, &plan.definition.name),
            None => CallMetricsFamilies::default(),
        };
        let silent = logs.is_none();
        let voice = logs.map(|logs| Voice { logs, clock: parts.clock.clone(), partition: partition.0 });
        let control = Arc::new(CallControl::new(voice));
        let begin = |checkpoint: Option<&Checkpoint>| {
            let inputs = Inputs::new(inputs.clone(), checkpoint);
            let time = TaskTime::new(&plan, &inputs, placing.is_some());
            Begun { chain: chain(&plan, &plan.stages[stage], &parts.runtime, &parts.grants, &control, &calls), inputs, time }
        };
        let Loaded { begun, kept, drawn, lost, listing, fallback } =
            load(&parts, &plan, (&shared.id, placing.is_some()), &mut recovered, begin)?;
        let Begun { chain, inputs, time } = begun;
        let keeping::Kept { waiting, homeless, replayed } = kept;
        let lookups = Lookups::open(&plan, &parts.tables)?;
        let since = recovered.checkpoint.as_ref().map_or(CheckpointId::EMPTY, |checkpoint| CheckpointId(checkpoint.id));
        shared.looked_up_before(since, recovered.commits.iter().flat_map(|commit| &commit.tables));
        let (id, totals) = match &recovered.checkpoint {
            Some(checkpoint) => (CheckpointId(checkpoint.id), checkpoint.totals.clone()),
            None => (CheckpointId::EMPTY, Totals::default()),
        };
        let recovered_plan = recovered.checkpoint.as_ref().map(|checkpoint| checkpoint.plan);
        inputs.iter().enumerate().for_each(|(at, input)| shared.set_next(at, input.next));
        recovered.kept_from().inspect(|places| shared.keep_from(places));
        shared.checkpoint.store(id.0, Ordering::Relaxed);
        let letters_at = PartitionId(partition.0 % dead_letters.partitions().len() as u32);
        let seen_replayed = Arc::new((letters_at, replayed.clone()));
        shared.update(|seen| {
            seen.totals = totals.clone();
            seen.time = time.seen();
            seen.replayed = Some(seen_replayed);
            seen.fallback = fallback;
        });
        control.set_replaying(!recovered.commits.is_empty());
        let listener = shared.clone();
        let heard: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            // The first to say so wakes the worker; it asks again before it sleeps.
            if !listener.ready.swap(true, Ordering::AcqRel) {
                wake();
            }
        });
        shared.neighbours.set_wake(heard.clone());
        let listening = inputs.iter().map(|input| input.partition.listen(Visibility::Sequenced, heard.clone())).collect();
        let share = parts.state_budget.share(&shared.id.tenant);
        let routes: Vec<_> = plan.routes().collect();
        let mut task = Self {
            sides: Sides::new(&plan, &outputs, alerts),
            plan,
            plan_number,
            parts,
            jobs,
            inputs,
            partition,
            stage,
            place,
            progress_partition,
            progress: Arc::new(Output::new(progress)),
            dead_letters: Output::new(dead_letters),
            late: late.map(Output::new),
            matches: matches.map(Output::new),
            outputs: outputs
                .iter()
                .zip(routes)
                .filter(|((_, of), _)| of.is_none())
                .map(|((stream, _), routes)| Output::new(stream.clone()).taking(routes))
                .collect(),
            placing,
            chain,
            time,
            control,
            lookups,
            recovered,
            accept_divergence,
            waiting,
            homeless,
            replayed,
            letters_from,
            on_durable: None,
            clock: EventTime(i64::MIN),
            breakers_of: recovered_plan.unwrap_or(plan_number),
            resumed: accept_divergence,
            probed: false,
            out: Vec::new(),
            blocked: false,
            totals,
            cost: Duration::ZERO,
            answered_bytes: 0,
            row_cost: Duration::ZERO,
            checkpoint: id,
            saved: id,
            share,
            lost,
            listing,
            drawn,
            saved_at: Instant::now(),
            under_way: None,
            saving_cost: Duration::ZERO,
            last_commit: None,
            waited: Duration::ZERO,
            held_up: None,
            is_quiet: false,
            marks_taken: 0,
            newest: None,
            unchecked_rows: 0,
            fresh: true,
            ended: false,
            calls,
            silent,
            shared,
            _listening: listening,
        };
        // What there was must fit; only what comes is refused.
        task.account_for_state();
        task.tell_draining();
        if task.recovered.commits.is_empty() {
            task.out = task.open_breakers();
        }
        Ok(task)
    }

    /// One batch. An error ends the task.
    pub(crate) fn turn(&mut self) -> Result<Turn, String> {
        if self.ended {
            return Ok(Turn::Ended);
        }
        if self.failed_to_save() {
            self.ended = true;
            return Ok(Turn::Ended);
        }
        if !self.is_listing() {
            return self.take_turn();
        }
        let turn = self.list_some().and_then(|()| self.take_turn()).inspect_err(|_| self.suspect());
        // There is more to do even if there are no rows.
        turn.map(|turn| if matches!(turn, Turn::Idle | Turn::Waits(_)) { Turn::Worked } else { turn })
    }

    /// A batch that was committed before, or another.
    fn take_turn(&mut self) -> Result<Turn, String> {
        if let Some(commit) = self.recovered.commits.pop_front() {
            return self.replay(commit);
        }
        if self.shared.takes_nothing.load(Ordering::SeqCst) {
            return Ok(Turn::Idle);
        }
        self.lookups.refresh(&self.shared, self.checkpoint)?;
        let due = match self.ahead()? {
            Ahead::Worked => return Ok(Turn::Worked),
            Ahead::Blocked(until) => return Ok(Turn::Waits(until)),
            Ahead::Stopped(why) => return Err(why),
            Ahead::Clear(due) => due,
        };
        if self.time_goes_by()? {
            return Ok(Turn::Worked);
        }
        self.shared.set_pending(self.is_pending());
        if self.shared.neighbours.have_writers_finished() {
            self.inputs.close();
        }
        if self.inputs.is_at_end() && self.waiting.is_empty() {
            self.leave_open_count();
            self.take_checkpoint(true, None);
            self.ended = true;
            return Ok(Turn::Ended);
        }
        Ok(match self.live()? {
            Turn::Idle => {
                self.lookups.rest();
                due.into_iter().chain(self.wakes_at()).min().map_or(Turn::Idle, Turn::Waits)
            }
            turn => turn,
        })
    }

    fn live(&mut self) -> Result<Turn, String> {
        let Some(rows_max) = self.let_through() else { return Ok(Turn::Idle) };
        let order = self.time.order(&self.inputs, self.chain.due().is_some());
        let Some((at, read)) = self.inputs.read(&order, rows_max, self.parts.batch_bytes_max) else {
            self.shared.caught_up(Instant::now());
            if !std::mem::replace(&mut self.is_quiet, true) {
                // Whoever waits for silence may have been waiting for this.
                self.shared.neighbours.wake_behind();
            }
            return Ok(if self.saves_while_idle() { Turn::Worked } else { Turn::Idle });
        };
        self.is_quiet = false;
        let input = self.inputs.get(at);
        let block = match read {
            Ok(block) => block,
            Err(ReadError::Trimmed { from, trim_point }) => return Ok(self.trimmed(at, from, trim_point)),
            Err(error) => return Err(format!("`{}` cannot be read: {error}", input.stream())),
        };
        let begun = cpu_time();
        let mut rows = input.planned(&self.plan, &block.rows, &block.schema.schema)?;
        if input.writers() > 0 {
            let count = between::taken_at_once(&rows, self.plan.input_schema(self.stage, input.number()));
            rows = rows.slice(0, count);
        }
        let range = OffsetRange { start: block.start, end: block.start.plus(rows.num_rows()) };
        let Block { taken, sources, rows, marks, side } = self.take_block(at, range, &rows, false)?;
        let mut outcome =
            Outcome::new(self.clock).with_marks(marks).from_side(side).with_tables(self.lookups.tables()).with_sources(&sources);
        let output = self.chain.run(rows, &mut outcome);
        let commit = self.settle(taken, &sources, &output, &mut outcome, self.clock);
        self.commit(commit, &sources, output, &outcome, begun)?;
        Ok(Turn::Worked)
    }

    /// Notes how far event time has come.
    pub(super) fn saw(&mut self, rows: &RecordBatch) {
        self.newest = self.newest.max(times(rows).values().iter().max().map(|newest| EventTime(*newest)));
    }

    /// Rows that fit into the time a batch may take, by what rows cost so far.
    pub(super) fn rows_wanted(&self) -> usize {
        let by_cost = match self.row_cost.as_nanos() {
            0 => self.parts.batch_rows_max,
            nanos => usize::try_from(self.parts.batch_target.as_nanos() / nanos).unwrap_or(usize::MAX),
        };
        by_cost.clamp(16.min(self.parts.batch_rows_max), self.parts.batch_rows_max)
    }

    /// An input was taken up to there.
    pub(super) fn took(&mut self, at: usize, next: Offset) {
        self.inputs.took(at, next);
        self.shared.set_next(at, next);
        self.shared.neighbours.wake_blocked_writers();
    }

    fn trimmed(&mut self, at: usize, from: Offset, trim_point: Offset) -> Turn {
        let input = self.inputs.get(at);
        let stream = input.stream();
        match input.on_trim(&self.plan) {
            OnTrim::Skip => {
                tracing::warn!(task = %self.shared.id, stream, "rows [{from}, {trim_point}) were removed before they were taken: skipped");
                self.totals.skipped += trim_point.0.saturating_sub(from.0);
                self.shared.update(|seen| seen.totals.clone_from(&self.totals));
                self.took(at, trim_point);
                Turn::Worked
            }
            OnTrim::Stop => {
                self.hold(format!(
                    "rows [{from}, {trim_point}) of `{stream}` were removed before they were taken: apply it with `on_trim: skip` to go on without them"
                ));
                Turn::Ended
            }
        }
    }

    pub(super) fn hold(&mut self, why: String) {
        tracing::error!(task = %self.shared.id, "task is held: {why}");
        self.ended = true;
        self.leave_open_count();
        self.shared.update(|seen| {
            seen.state = TaskState::Held;
            seen.last_error = Some(why);
        });
    }
}

/// CPU time of this thread: what a batch costs, whatever else the machine does meanwhile.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
