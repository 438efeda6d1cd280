//! What others see of a task while its worker owns it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidemill_event::{EventTime, Offset, PartitionId};
use tidemill_flow::Watermark;
use tidemill_log::{Hold, Partition, Visibility};
use tidemill_state::{CheckpointId, TaskId};

use crate::open_patterns::OpenByStep;
use crate::plan::Plan;
use crate::rates::{Counters, History};
use crate::status::{DivergenceStatus, InputStatus, PipelineState, StepStatus, TaskStatus};
use crate::task::totals::Totals;
use crate::task::{InputSeed, Neighbours, Replayed, SeenTime, shown};

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
    /// Its stage, counted from 0, and its place in that.
    pub(crate) stage: usize,
    pub(crate) place: PartitionId,
    pub(crate) neighbours: Neighbours,
    /// It waits until the stage behind has taken rows.
    pub(crate) is_blocked: AtomicBool,
    /// Something may come of it though no row does: it waits for time.
    pub(crate) is_pending: AtomicBool,
    /// Nothing shall come of it for a while, so that those behind can take all there is.
    pub(crate) takes_nothing: AtomicBool,
    /// What it takes, and the next row of each.
    inputs: Vec<SeenInput>,
    /// There may be rows to take.
    pub(crate) ready: AtomicBool,
    pub(crate) checkpoint: AtomicU64,
    seen: Mutex<Seen>,
    speed: Mutex<Speed>,
    /// Versions of tables that commits behind the last checkpoint name, each with the checkpoint before; `None`: not known yet.
    tables: Mutex<Option<BTreeSet<(String, u64, CheckpointId)>>>,
    /// Retention leaves what the last checkpoint needs; in the order of the inputs, empty once the task is stopped.
    holds: Mutex<Vec<Hold>>,
}

/// How fast it goes.
struct Speed {
    history: History,
    /// When it last had taken everything.
    caught_up: Instant,
}

/// What a task took of the machine since the host started: it goes on when the task is stopped and started again.
#[derive(Debug, Default)]
pub(crate) struct Worked {
    busy: Duration,
    blocked: Duration,
    steps: BTreeMap<u32, StepStatus>,
}

/// What a checkpoint saved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Saved {
    pub(crate) id: CheckpointId,
    pub(crate) bytes: u64,
    pub(crate) keys: u64,
    /// How long rows waited for it at most.
    pub(crate) pause: Duration,
}

impl Default for Saved {
    fn default() -> Self {
        Self { id: CheckpointId::EMPTY, bytes: 0, keys: 0, pause: Duration::ZERO }
    }
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
    /// CPU time of its batches, and time it waited for the log, since the host started.
    pub(crate) busy: Duration,
    pub(crate) blocked: Duration,
    pub(crate) event_time: Option<EventTime>,
    pub(crate) time: SeenTime,
    pub(crate) checkpoint_at: Option<Instant>,
    /// What the last one saved.
    pub(crate) saved: Saved,
    /// Why it did not begin from its last checkpoint.
    pub(crate) fallback: Option<String>,
    /// What its state takes in memory, about.
    pub(crate) state_bytes: u64,
    /// Entries of it that are not there.
    pub(crate) state_entries_on_disk: u64,
    pub(crate) steps: BTreeMap<u32, StepStatus>,
    /// Of a task that has ended, what of its patterns was open then.
    pub(crate) open: Option<OpenByStep>,
    pub(crate) divergence: Option<DivergenceStatus>,
    pub(crate) last_error: Option<String>,
    /// What lets it take nothing though there is something to take.
    pub(crate) waits_for: Option<String>,
}

impl Seen {
    /// What is seen of a step.
    pub(crate) fn step(&mut self, plan: &Plan, step: u32) -> &mut StepStatus {
        self.steps.entry(step).or_insert_with(|| StepStatus::new(plan, step))
    }
}

/// How far an input is, for whoever looks.
struct SeenInput {
    /// What it is called in what is kept of the run.
    name: Arc<str>,
    partition: Arc<Partition>,
    /// The stage before writes it.
    is_inner: bool,
    next: AtomicU64,
    /// Where it ends once everything is in the journal that the stage before has handed to the log.
    coming: AtomicU64,
}

impl SeenInput {
    /// What it is called in the text, and its partition of that.
    fn place(&self) -> (String, PartitionId) {
        // A name with a partition is that of one among several: `docs/formats/engine.md`.
        let name = self.name.split('/').next().unwrap_or_default();
        (name.to_owned(), self.partition.key().partition)
    }

    /// The next row. What the rows before it counted is in [`Seen`] by now: a task counts a commit before it says that it took its rows.
    fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Rows on disk behind the next one.
    fn lag(&self, next: u64) -> u64 {
        // What a task wrote counts before it is on disk, and before it is in the journal: else a row were nowhere between two stages.
        let end = if self.is_inner {
            self.partition.end(Visibility::Sequenced).0.max(self.coming.load(Ordering::SeqCst))
        } else {
            self.partition.end(Visibility::Durable).0
        };
        end.saturating_sub(next)
    }
}

impl TaskShared {
    /// A task that will take these from there on, or from further on. `worked`: what the task before it took of the same work since the
    /// host started.
    pub(crate) fn new(id: TaskId, (stage, place): (usize, PartitionId), inputs: &[InputSeed], worked: Worked) -> Self {
        let now = Instant::now();
        let Worked { busy, blocked, steps } = worked;
        let holds = inputs.iter().map(|input| input.partition.hold(input.start)).collect();
        let seen = |input: &InputSeed| SeenInput {
            name: input.name.clone(),
            partition: input.partition.clone(),
            is_inner: input.writers > 0,
            next: AtomicU64::new(input.start.0),
            coming: AtomicU64::new(input.partition.end(Visibility::Sequenced).0),
        };
        let inputs: Vec<SeenInput> = inputs.iter().map(seen).collect();
        let first = Counters { at: now, rows_in: 0, rows_out: 0, busy, blocked, next: 0, end: 0 };
        Self {
            id,
            stage,
            place,
            neighbours: Neighbours::default(),
            is_blocked: AtomicBool::new(false),
            takes_nothing: AtomicBool::new(false),
            // Until it has looked.
            is_pending: AtomicBool::new(true),
            inputs,
            ready: AtomicBool::new(true),
            checkpoint: AtomicU64::new(0),
            seen: Mutex::new(Seen { busy, blocked, steps, ..Seen::default() }),
            speed: Mutex::new(Speed { history: History::new(first), caught_up: now }),
            tables: Mutex::new(None),
            holds: Mutex::new(holds),
        }
    }

    /// How far the input of that number is.
    pub(crate) fn set_next(&self, at: usize, next: Offset) {
        if let Some(input) = self.inputs.get(at) {
            input.next.store(next.0, Ordering::SeqCst);
        }
    }

    /// The stage before hands rows to the log that will be in the input of that number.
    pub(crate) fn comes(&self, number: usize, rows: u64) {
        if let Some(input) = self.inputs.get(number) {
            input.coming.fetch_add(rows, Ordering::SeqCst);
        }
    }

    /// Whether something may come of it though no row does. Those behind are told when that ends.
    pub(crate) fn set_pending(&self, is_pending: bool) {
        if self.is_pending.swap(is_pending, Ordering::SeqCst) && !is_pending {
            self.neighbours.wake_behind();
        }
    }

    /// The next row of each input that is a stream of the pipeline's, by name and partition.
    pub(crate) fn places(&self) -> Vec<((String, PartitionId), u64)> {
        self.inputs.iter().filter(|input| !input.is_inner).map(|input| (input.place(), input.next())).collect()
    }

    /// Rows on disk that it has not taken.
    pub(crate) fn lag(&self) -> u64 {
        self.inputs.iter().map(|input| input.lag(input.next())).sum()
    }

    /// The checkpoint it begins from needs nothing before these rows.
    pub(crate) fn keep_from(&self, places: &BTreeMap<String, u64>) {
        for (hold, input) in self.holds.lock().iter_mut().zip(&self.inputs) {
            if let Some(next) = places.get(&*input.name) {
                hold.advance(Offset(*next));
            }
        }
    }

    /// Rows of the stage before that nobody needs any more, by what a checkpoint says that is not the last: the next row of each partition.
    pub(crate) fn done_with(&self, places: &BTreeMap<String, u64>) -> Vec<(Arc<Partition>, Offset)> {
        let inner = self.inputs.iter().filter(|input| input.is_inner);
        inner.filter_map(|input| Some((input.partition.clone(), Offset(*places.get(&*input.name)?)))).collect()
    }

    /// It is stopped or finished behind a checkpoint: retention may remove what it has not taken.
    pub(crate) fn let_go(&self) {
        self.holds.lock().clear();
    }

    /// Of a task that has ended, what of its patterns was open then.
    pub(crate) fn open_when_it_ended(&self) -> Option<OpenByStep> {
        self.seen.lock().open.clone()
    }

    /// What it took since the host started, for the task behind it.
    pub(crate) fn worked(&self, plan: &Plan) -> Worked {
        let seen = self.seen.lock();
        // Another step, or another version in its place, begins anew.
        let same = |at: &u32, step: &StepStatus| {
            let new = StepStatus::new(plan, *at);
            (&new.step, &new.component) == (&step.step, &step.component)
        };
        let steps =
            seen.steps.iter().filter(|(at, step)| same(at, step)).map(|(at, step)| (*at, step.carried(plan, *at))).collect();
        Worked { busy: seen.busy, blocked: seen.blocked, steps }
    }

    /// What the commits that it takes again behind a checkpoint looked up: table and version.
    pub(crate) fn looked_up_before<'a>(&self, id: CheckpointId, versions: impl Iterator<Item = (&'a String, &'a u64)>) {
        let known = versions.map(|(table, number)| (table.clone(), *number, id)).collect();
        *self.tables.lock() = Some(known);
    }

    /// A commit behind the checkpoint `id` looked these up.
    pub(crate) fn looked_up(&self, id: CheckpointId, versions: &BTreeMap<String, u64>) {
        if versions.is_empty() {
            return;
        }
        let mut tables = self.tables.lock();
        let known = tables.get_or_insert_default();
        for (table, number) in versions {
            if !known.iter().any(|(name, known, of)| (name, known, of) == (table, number, &id)) {
                known.insert((table.clone(), *number, id));
            }
        }
    }

    /// The versions of a table that a replay would look up; `None`: not known yet.
    pub(crate) fn tables_needed(&self, table: &str) -> Option<Vec<u64>> {
        let tables = self.tables.lock();
        let known = tables.as_ref()?;
        Some(known.iter().filter(|(name, ..)| name == table).map(|(_, number, _)| *number).collect())
    }

    /// A checkpoint became true. `before`: the next row of each stream as of the one before it, if there was one since the task began.
    pub(crate) fn saved(&self, saved: &Saved, before: Option<&BTreeMap<String, u64>>, now: Instant) {
        self.checkpoint.store(saved.id.0, Ordering::Relaxed);
        if let Some(known) = self.tables.lock().as_mut() {
            // A start may fall back to the checkpoint before.
            known.retain(|(.., of)| of.0 + 1 >= saved.id.0);
        }
        before.inspect(|places| self.keep_from(places));
        self.update(|seen| {
            seen.checkpoint_at = Some(now);
            seen.saved = *saved;
        });
    }

    /// It has taken everything there is.
    pub(crate) fn caught_up(&self, now: Instant) {
        self.speed.lock().caught_up = now;
    }

    /// Looks at its counters, now and then.
    pub(crate) fn look(&self, now: Instant) {
        let counters = self.counters(now);
        self.speed.lock().history.look(counters);
    }

    fn counters(&self, now: Instant) -> Counters {
        let next = self.inputs.iter().map(SeenInput::next).sum();
        let end = self.inputs.iter().map(|input| input.partition.end(Visibility::Durable).0).sum();
        let seen = self.seen.lock();
        let Totals { rows_in, rows_out, .. } = seen.totals;
        Counters { at: now, rows_in, rows_out, busy: seen.busy, blocked: seen.blocked, next, end }
    }

    /// Changes what others see.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock());
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// Nothing is expected of some input any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.seen.lock().time.lanes.iter().any(|lane| lane.watermark == Watermark::END)
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

    /// How far its time is, with the inputs it takes.
    pub(crate) fn time(&self) -> (SeenTime, Vec<(String, PartitionId)>) {
        let time = self.seen.lock().time.clone();
        (time, self.inputs.iter().map(SeenInput::place).collect())
    }

    /// `clock` is the time by which event time is behind.
    pub(crate) fn status(&self, now: Instant, clock: EventTime) -> TaskStatus {
        // Before what they counted, so that nobody sees rows as taken that nothing has counted.
        let places: Vec<(u64, u64)> = self.inputs.iter().map(|input| (input.next(), input.lag(input.next()))).collect();
        let counters = self.counters(now);
        let (rates, behind) = {
            let speed = self.speed.lock();
            (speed.history.rates(counters), speed.history.behind(counters, speed.caught_up))
        };
        let seen = self.seen();
        let kept: Vec<u64> = self.holds.lock().iter().map(|hold| hold.from().0).collect();
        let input = |(at, (input, (offset, lag_records))): (usize, (&SeenInput, (u64, u64)))| {
            let lane = seen.time.lanes.get(at);
            InputStatus {
                kept_from: kept.get(at).copied(),
                stream: input.place().0,
                partition: input.place().1.0,
                offset,
                lag_records,
                watermark: lane.and_then(|lane| shown(lane.watermark)),
                event_time: lane.and_then(|lane| lane.newest).map(EventTime::to_rfc3339),
                is_idle: lane.is_some_and(|lane| lane.is_idle),
                holds_back: lane.is_some_and(|lane| lane.holds_back),
                is_ahead: lane.is_some_and(|lane| lane.is_ahead),
            }
        };
        let inputs: Vec<InputStatus> = self.inputs.iter().zip(places).enumerate().map(input).collect();
        let names: Vec<_> = self.inputs.iter().map(SeenInput::place).collect();
        TaskStatus {
            time: seen.time.status(&names, clock),
            late: seen.totals.late,
            dropped_late: seen.totals.dropped_late,
            late_partial: seen.totals.late_partial,
            dropped: seen.totals.dropped.clone(),
            stage: self.stage as u32 + 1,
            partition: self.place.0,
            waits_for: seen.waits_for,
            state: match seen.state {
                TaskState::Running => PipelineState::Running,
                TaskState::Finished => PipelineState::Finished,
                TaskState::Held => PipelineState::Held,
                TaskState::Failed => PipelineState::Failed,
                TaskState::Stopped => PipelineState::Paused,
            },
            lag_records: inputs.iter().map(|input| input.lag_records).sum(),
            inputs,
            behind_ms: behind.as_millis() as u64,
            event_time: seen.event_time.map(EventTime::to_rfc3339),
            last_10s: rates.0,
            last_minute: rates.1,
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
            checkpoint_age_ms: seen.checkpoint_at.map(|at| now.saturating_duration_since(at).as_millis() as u64),
            checkpoint_bytes: seen.saved.bytes,
            checkpoint_keys: seen.saved.keys,
            checkpoint_pause_us: seen.saved.pause.as_micros() as u64,
            checkpoint_fallback: seen.fallback,
            state_bytes: seen.state_bytes,
            state_entries_on_disk: seen.state_entries_on_disk,
            cpu_us: seen.busy.as_micros() as u64,
            steps: seen.steps.into_values().collect(),
            last_error: seen.last_error,
        }
    }
}
