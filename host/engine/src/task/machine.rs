//! The task itself: takes a batch, runs it through the steps, appends one entry; hands its state over for checkpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use crossbeam_channel::{Sender, TryRecvError, bounded};
use rustix::time::{ClockId, clock_gettime};
use tidemill_event::batch::{checksum, times};
use tidemill_event::{BreakerState, Clock, EventTime, Offset, OffsetRange, PartitionId};
use tidemill_flow::{Chain, FlowBatch, Outcome, Place, Sources, StepId, Waiting};
use tidemill_log::{Append, Listening, Log, OnDurable, Partition, Pending, ReadError, Visibility};
use tidemill_runtime::{Grants, Runtime};
use tidemill_state::{Change, CheckpointId, StateStore};

use crate::logs::PipelineLogs;
use crate::metrics::Metrics;
use crate::pipeline::OnTrim;
use crate::plan::{CallControl, CallMetricsFamilies, Plan, Voice, chain};
use crate::planted::{Planted, Plants};
use crate::status::StepStatus;
use crate::task::checkpointer::Job;
use crate::task::frames::Output;
use crate::task::input::{InputSeed, Inputs};
use crate::task::record::{Back, Checkpoint, Commit, Hex, Record, encode};
use crate::task::recovery::{Recovered, recover};
use crate::task::restore::{operator_of, restore};
use crate::task::returning::Ahead;
use crate::task::totals::Totals;
use crate::task::{Replayed, TaskShared, TaskState, dead_letters, keeping};

/// A task that takes rows makes a checkpoint at least this often, however little they cost: until then its sources keep them.
const CHECKPOINT_AT_LATEST: Duration = Duration::from_secs(600);

/// What tasks share: the parts of the engine.
#[derive(Clone)]
pub(crate) struct TaskParts {
    pub(crate) log: Log,
    pub(crate) runtime: Runtime,
    pub(crate) store: StateStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) grants: Grants,
    pub(crate) batch_rows_max: usize,
    pub(crate) batch_bytes_max: usize,
    pub(crate) batch_target: Duration,
    pub(crate) checkpoint_after: Duration,
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
    pub(crate) outputs: Vec<Arc<tidemill_log::Stream>>,
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
    /// There is nothing to take now, and rows that wait are due then.
    Waits(EventTime),
    /// The task takes nothing any more.
    Ended,
}

/// What a commit took: rows of an input, or what was waiting.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) stream: String,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) back: Option<Back>,
    pub(super) homeless: Vec<i64>,
    pub(super) replayed: Vec<u64>,
}

/// A task on its worker.
pub(crate) struct Task {
    pub(super) plan: Arc<Plan>,
    pub(super) plan_number: u64,
    pub(crate) shared: Arc<TaskShared>,
    pub(super) parts: TaskParts,
    pub(super) jobs: Sender<Job>,
    pub(super) inputs: Inputs,
    pub(super) partition: PartitionId,
    pub(super) progress_partition: Arc<Partition>,
    pub(super) progress: Arc<Output>,
    pub(super) dead_letters: Output,
    pub(super) outputs: Vec<Output>,
    pub(super) chain: Chain,
    pub(super) control: Arc<CallControl>,
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
    pub(super) out: Vec<StepId>,
    /// Others see that it waits for a component.
    pub(super) blocked: bool,
    pub(super) totals: Totals,
    /// CPU time since the last checkpoint was taken: what replay would cost.
    pub(super) cost: Duration,
    /// CPU time of a row, smoothed.
    pub(super) row_cost: Duration,
    pub(super) checkpoint: CheckpointId,
    /// When the last one was taken, or the task began.
    saved_at: Instant,
    /// Told when the checkpoint on its way is true.
    pub(super) under_way: Option<crossbeam_channel::Receiver<()>>,
    pub(super) last_commit: Option<(Pending, usize)>,
    /// Time it waited for room in the log, not told yet.
    waited: Duration,
    /// The latest event time it took since then.
    newest: Option<EventTime>,
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
        let TaskSeed { plan, plan_number, shared, progress, dead_letters, outputs, inputs, logs, .. } = seed;
        let partition = shared.id.partition;
        let progress_partition = progress.partition(partition).ok_or("its progress stream lacks the partition")?.clone();
        let recovered = recover(&progress_partition, shared.id.run)?;
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
        let mut chain = chain(&plan, &parts.runtime, &parts.grants, &control, &calls);
        let inputs = Inputs::new(inputs, recovered.checkpoint.as_ref());
        let (id, totals) = match &recovered.checkpoint {
            Some(checkpoint) => (CheckpointId(checkpoint.id), checkpoint.totals.clone()),
            None => (CheckpointId::EMPTY, Totals::default()),
        };
        let recovered_plan = recovered.checkpoint.as_ref().map(|checkpoint| checkpoint.plan);
        let loaded = if parts.plants.has(Planted::StoreDecides) { CheckpointId(u64::MAX) } else { id };
        let state = parts.store.load(&shared.id, loaded).map_err(|error| error.to_string())?;
        let keeping::Kept { waiting, homeless, replayed } = keeping::restore(&plan, &mut chain, &state)?;
        restore(&plan, &mut chain, state)?;
        inputs.iter().for_each(|input| shared.set_next(input.partition.key(), input.next));
        shared.keep_from(&inputs.places());
        shared.checkpoint.store(id.0, Ordering::Relaxed);
        let letters_at = PartitionId(partition.0 % dead_letters.partitions().len() as u32);
        let seen_replayed = Arc::new((letters_at, replayed.clone()));
        shared.update(|seen| {
            seen.totals = totals.clone();
            seen.replayed = Some(seen_replayed);
        });
        control.set_replaying(!recovered.commits.is_empty());
        let listener = shared.clone();
        let heard: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            // The first to say so wakes the worker; it asks again before it sleeps.
            if !listener.ready.swap(true, Ordering::AcqRel) {
                wake();
            }
        });
        let listening = inputs.iter().map(|input| input.partition.listen(Visibility::Sequenced, heard.clone())).collect();
        let mut task = Self {
            plan,
            plan_number,
            parts,
            jobs,
            inputs,
            partition,
            progress_partition,
            progress: Arc::new(Output::new(progress)),
            dead_letters: Output::new(dead_letters),
            outputs: outputs.into_iter().map(Output::new).collect(),
            chain,
            control,
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
            row_cost: Duration::ZERO,
            checkpoint: id,
            saved_at: Instant::now(),
            under_way: None,
            last_commit: None,
            waited: Duration::ZERO,
            newest: None,
            fresh: true,
            ended: false,
            calls,
            silent,
            shared,
            _listening: listening,
        };
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
        if let Some(commit) = self.recovered.commits.pop_front() {
            return self.replay(commit);
        }
        let due = match self.ahead()? {
            Ahead::Worked => return Ok(Turn::Worked),
            Ahead::Blocked(until) => return Ok(Turn::Waits(until)),
            Ahead::Stopped(why) => return Err(why),
            Ahead::Clear(due) => due,
        };
        if self.inputs.is_at_end() && self.waiting.is_empty() {
            self.take_checkpoint(true, None);
            self.ended = true;
            return Ok(Turn::Ended);
        }
        Ok(match (self.live()?, due) {
            (Turn::Idle, Some(due)) => Turn::Waits(due),
            (turn, _) => turn,
        })
    }

    fn live(&mut self) -> Result<Turn, String> {
        let Some((at, read)) = self.inputs.read(self.rows_wanted(), self.parts.batch_bytes_max) else {
            self.shared.caught_up(Instant::now());
            return Ok(Turn::Idle);
        };
        let input = self.inputs.get(at);
        let block = match read {
            Ok(block) => block,
            Err(ReadError::Trimmed { from, trim_point }) => return Ok(self.trimmed(at, from, trim_point)),
            Err(error) => return Err(format!("`{}` cannot be read: {error}", input.stream())),
        };
        let begun = cpu_time();
        let rows = input.planned(&self.plan, &block.rows, &block.schema.schema)?;
        let range = OffsetRange { start: block.start, end: block.start.plus(rows.num_rows()) };
        self.saw(&rows);
        let (taken, sources) = self.block_of(at, range, &rows);
        let mut outcome = Outcome::new(self.clock);
        let output = self.chain.run(FlowBatch::new(rows), &mut outcome);
        let commit = self.settle(taken, &sources, &output, &mut outcome, self.clock);
        self.commit(&commit, &sources, output, &outcome, begun)?;
        Ok(Turn::Worked)
    }

    /// Notes how far event time has come.
    pub(super) fn saw(&mut self, rows: &RecordBatch) {
        self.newest = self.newest.max(times(rows).values().iter().max().map(|newest| EventTime(*newest)));
    }

    /// What a batch of an input is to its commit, and where its rows came from.
    pub(super) fn block_of(&self, at: usize, range: OffsetRange, rows: &RecordBatch) -> (Taken, Sources) {
        let stream = self.inputs.get(at).stream();
        let first = Place { stream: stream.into(), partition: self.partition, offset: range.start };
        let taken = Taken { stream: stream.to_owned(), start: range.start.0, end: range.end.0, ..Taken::default() };
        (taken, Sources::block(rows.clone(), first))
    }

    /// Makes a batch's effects one entry, and counts them.
    pub(super) fn commit(
        &mut self,
        commit: &Commit,
        sources: &Sources,
        output: FlowBatch,
        outcome: &Outcome,
        begun: Duration,
    ) -> Result<(), String> {
        self.append(commit, sources, output, outcome)?;
        self.replace_after(outcome);
        self.account(commit, outcome, cpu_time().saturating_sub(begun));
        self.tell_of_breakers();
        if let Some(at) = self.inputs.of_stream(&commit.stream) {
            self.took(at, Offset(commit.end));
        }
        self.parts.metrics.commits.inc();
        if self.cost >= self.parts.checkpoint_after || self.saved_at.elapsed() >= CHECKPOINT_AT_LATEST {
            self.take_checkpoint(false, None);
        }
        Ok(())
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
        self.shared.set_next(self.inputs.get(at).partition.key(), next);
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
        self.shared.update(|seen| {
            seen.state = TaskState::Held;
            seen.last_error = Some(why);
        });
    }

    /// Takes over what a batch put back, and says what it did. The same for a batch that is taken again.
    pub(super) fn settle(
        &mut self,
        taken: Taken,
        sources: &Sources,
        output: &FlowBatch,
        outcome: &mut Outcome,
        clock: EventTime,
    ) -> Commit {
        let took_state = taken.back.is_some() || !taken.replayed.is_empty();
        let needs_clock = outcome.needs_clock() || took_state;
        let from_line = taken.back.filter(|back| back.line).map(|back| StepId(back.step));
        self.totals.put_back += outcome.put_back.iter().map(|back| back.rows.len() as u64).sum::<u64>();
        self.waiting.take_over(outcome, sources, clock, from_line);
        let Taken { stream, start, end, back, homeless, replayed } = taken;
        Commit {
            run: self.shared.id.run,
            plan: self.plan_number,
            stream,
            start,
            end,
            fresh: std::mem::take(&mut self.fresh),
            rows: output.len() as u64,
            sum: Hex(checksum(&output.rows)),
            dead: outcome.dead.len() as u64,
            state: Hex(self.chain.state_checksum().wrapping_add(self.waiting.checksum())),
            answers: self.control.take_answers().iter().map(Into::into).collect(),
            endings: outcome.endings.iter().map(Into::into).collect(),
            clock: needs_clock.then_some(clock.0),
            back,
            probe: std::mem::take(&mut self.probed),
            homeless,
            replayed,
        }
    }

    /// No rows, as they come out of the steps.
    pub(super) fn nothing(&self) -> FlowBatch {
        FlowBatch::new(RecordBatch::new_empty(Arc::new(self.plan.output.arrow())))
    }

    /// Outputs, dead letters and progress: one entry.
    pub(super) fn append(
        &mut self,
        commit: &Commit,
        sources: &Sources,
        output: FlowBatch,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let mut frames = Vec::with_capacity(self.outputs.len() + 2);
        if !output.is_empty() {
            for target in &mut self.outputs {
                target.frames(&output.rows, &self.plan.output, self.partition, &mut frames)?;
            }
        }
        if !outcome.dead.is_empty() {
            let schema = self.dead_letters.schema();
            let rows = dead_letters::rows(&self.plan, &outcome.dead, sources, schema);
            frames.push(self.dead_letters.frame(self.dead_letters.place(self.partition), rows));
        }
        if self.parts.plants.has(Planted::CommitWithoutRange) && !frames.is_empty() {
            let apart = Append::atomic(std::mem::take(&mut frames));
            let pending = self.parts.log.append_waiting(apart).map_err(|error| format!("its outputs: {error}"))?;
            // In a group of its own: in one group with the commit there is no moment between them.
            pending.wait().map_err(|error| format!("its outputs: {error}"))?;
        }
        let record = encode(&Record::Commit(commit.clone()), self.progress.schema(), self.parts.clock.now());
        frames.push(self.progress.frame(self.partition, record));
        let last = frames.len() - 1;
        let append = Append { on_durable: self.on_durable.take(), ..Append::atomic(frames) };
        let asked = Instant::now();
        let pending = self.parts.log.append_waiting(append).map_err(|error| format!("its commit: {error}"))?;
        self.waited += asked.elapsed();
        self.last_commit = Some((pending, last));
        Ok(())
    }

    /// A call that did not return costs every step its instance: a replay does not make the call, and can still do the same.
    pub(super) fn replace_after(&self, outcome: &Outcome) {
        if !outcome.endings.is_empty() {
            self.control.replace_instances();
        }
    }

    pub(super) fn account(&mut self, commit: &Commit, outcome: &Outcome, spent: Duration) {
        self.totals.rows_in += commit.end - commit.start;
        self.totals.rows_out += commit.rows;
        self.totals.dead += commit.dead;
        self.totals.commits += 1;
        for ending in &outcome.endings {
            *self.totals.endings.entry(ending.ending.as_str().to_owned()).or_default() += 1;
        }
        self.cost += spent;
        let per_row = spent / u32::try_from(commit.rows_taken().max(1)).unwrap_or(u32::MAX);
        self.row_cost = if self.row_cost.is_zero() { per_row } else { (self.row_cost * 3 + per_row) / 4 };
        let keys: Vec<(u32, u64)> = self.chain.tables().map(|(step, table)| (step.0, table.len() as u64)).collect();
        let plan = &self.plan;
        let breakers: Vec<(u32, BreakerState)> =
            self.chain.breakers().map(|(step, breaker, _)| (step.0, breaker.state())).collect();
        let waiting = self.waiting.rows() as u64;
        let waited = std::mem::take(&mut self.waited);
        self.shared.update(|seen| {
            seen.totals.clone_from(&self.totals);
            seen.waiting = waiting;
            seen.busy += spent;
            seen.blocked += waited;
            seen.event_time = self.newest;
            for call in &outcome.calls {
                let step = seen.steps.entry(call.step.0).or_insert_with(|| StepStatus::new(plan, call.step.0));
                step.called(call);
            }
            for (step, keys) in keys {
                seen.steps.entry(step).or_insert_with(|| StepStatus::new(plan, step)).keys = keys;
            }
            for (step, breaker) in breakers {
                seen.steps.entry(step).or_insert_with(|| StepStatus::new(plan, step)).breaker = breaker.into();
            }
        });
    }

    /// A checkpoint did not become true, and its task says why: what it would have saved is in no later one.
    fn failed_to_save(&mut self) -> bool {
        match self.under_way.as_ref().map(|under_way| under_way.try_recv()) {
            Some(Ok(())) => self.under_way = None,
            Some(Err(TryRecvError::Disconnected)) => return true,
            Some(Err(TryRecvError::Empty)) | None => {}
        }
        false
    }

    /// A checkpoint is on its way.
    fn is_saving(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| matches!(under_way.try_recv(), Err(TryRecvError::Empty)))
    }

    /// Hands the changed state to the checkpointer, unless one is on its way. Instances are replaced with it.
    pub(super) fn take_checkpoint(&mut self, finishes: bool, done: Option<Sender<()>>) {
        if self.is_saving() && !finishes && done.is_none() {
            return;
        }
        let plan = self.plan.clone();
        let mut changes = Vec::new();
        for (step, table) in self.chain.tables() {
            let Some(operator) = operator_of(&plan, step.0) else { continue };
            changes.extend(table.take_changes().into_iter().map(|change| Change {
                operator,
                key: change.key.into_vec(),
                value: change.value.map(<[u8]>::into_vec),
            }));
        }
        changes.extend(keeping::changes(&plan, &mut self.chain, &mut self.waiting, &self.replayed));
        self.checkpoint = self.checkpoint.next();
        let (commit, frame) = self.last_commit.take().map_or((None, 0), |(pending, frame)| (Some(pending), frame));
        let (told, under_way) = bounded(1);
        self.under_way = Some(under_way);
        let job = Job {
            shared: self.shared.clone(),
            progress: self.progress_partition.clone(),
            output: self.progress.clone(),
            checkpoint: Checkpoint {
                run: self.shared.id.run,
                plan: self.plan_number,
                id: self.checkpoint.0,
                // What was recovered is covered; the checkpointer knows what of this start is.
                as_of: self.recovered.end.0,
                input: self.inputs.places(),
                totals: self.totals.clone(),
            },
            changes,
            commit,
            frame,
            finishes,
            done: done.or(Some(told)),
        };
        self.cost = Duration::ZERO;
        self.saved_at = Instant::now();
        self.control.replace_instances();
        self.fresh = true;
        if self.jobs.send(job).is_err() {
            self.shared.fail("no checkpoint can be made: the host's checkpointer has stopped, restart the host".to_owned());
        }
    }

    /// Ends the task as it stands, when its last commit is on disk.
    pub(crate) fn give_way(mut self) {
        if let Some((commit, _)) = self.last_commit.take() {
            let _ = commit.wait();
        } else if let Some(under_way) = self.under_way.take() {
            // The checkpointer has the commit and waits for it first.
            let _ = under_way.recv();
        }
    }

    /// Ends the task behind a checkpoint; `done` is told when that is true. While it still replays there is nothing to save.
    pub(crate) fn stop(mut self, done: Sender<()>) {
        // Replay without a commit behind it is covered too: the next start shall have nothing to do.
        let uncovered = self.last_commit.is_some() || self.cost > Duration::ZERO || self.is_saving();
        if self.recovered.commits.is_empty() && !self.ended && uncovered && self.shared.state() != TaskState::Failed {
            self.take_checkpoint(false, Some(done));
        } else {
            let _ = done.send(());
        }
        // What it has not taken may go now, as its stream's retention says.
        self.shared.let_go();
        let blocked = self.blocked;
        self.shared.update(|seen| {
            if seen.state == TaskState::Running || blocked && seen.state == TaskState::Held {
                seen.state = TaskState::Stopped;
            }
        });
    }
}

/// CPU time of this thread: what a batch costs, whatever else the machine does meanwhile.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
