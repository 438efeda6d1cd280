//! What a pipeline says of itself. Serialisable: this is the body of `GET /v1/pipelines/{name}/status`.

use std::collections::BTreeMap;

use serde::Serialize;
use tidemill_event::BreakerState;
use tidemill_flow::correlate::CorrelateReport;
use tidemill_flow::machine::MachineReport;
use tidemill_flow::pattern::PatternReport;
use tidemill_flow::rule_set::RulesReport;
use tidemill_flow::{CallReport, LookupReport};

use crate::correlate_status::CorrelateStatus;
use crate::machine_status::MachineStatus;
use crate::pattern_status::{DrainingStatus, PatternStatus};
use crate::plan::Plan;
use crate::rates::Rates;
use crate::rules_status::RulesStatus;
use crate::task::Commit;

/// The state of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PipelineState {
    /// It takes rows as they come.
    Running,
    /// `run: once`, and everything up to the end is done, sinks included.
    Finished,
    /// Someone paused it.
    Paused,
    /// It waits: for a person (`on_divergence: stop`, or rows were removed that it had not taken), or for a component that keeps
    /// failing (`on_failing: hold`).
    Held,
    /// It cannot go on; `last_error` says why.
    Failed,
}

/// A pipeline as it stands now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Its name.
    pub pipeline: String,
    /// The worst state of its tasks.
    pub state: PipelineState,
    /// Counts the plans of this name, from 1.
    pub plan: u64,
    /// Counts the runs of this name, from 1.
    pub run: u64,
    /// Rows its tasks have not taken yet.
    pub lag_records: u64,
    /// For how long the next row of the task that is most behind has been there, to about two seconds; 0 without a lag. What was there
    /// before the host started counts from the start.
    pub behind_ms: u64,
    /// The latest event time taken since the host started, RFC 3339.
    pub event_time: Option<String>,
    /// How far event time is: the least of its tasks.
    pub time: TimeStatus,
    /// How fast it went over the last ten seconds.
    pub last_10s: Rates,
    /// And over the last minute.
    pub last_minute: Rates,
    /// What its components took, all tasks together.
    pub steps: Vec<StepStatus>,
    /// The replay beside it.
    pub replay: Option<ReplayStatus>,
    /// Rows taken, by all tasks since the run began.
    pub rows_in: u64,
    /// Rows sent on.
    pub rows_out: u64,
    /// Rows that failed in a step.
    pub dead_letters: u64,
    /// Rows that came too late for a step and went to `{pipeline}.late`.
    pub late: u64,
    /// Pairs of a row and a window that came too late for each other.
    pub dropped_late: u64,
    /// Rows that missed some of their windows, but not all.
    pub late_partial: u64,
    /// Rows that a `dedupe`, `rate` or `sample` dropped, by step.
    pub dropped: BTreeMap<String, u64>,
    /// Calls that did not return, by ending.
    pub endings: BTreeMap<String, u64>,
    /// One per partition.
    pub tasks: Vec<TaskStatus>,
    /// One per file or stdout target and partition.
    pub sinks: Vec<SinkStatus>,
    /// What was not the same when committed rows were taken again.
    pub divergences: Vec<DivergenceStatus>,
    /// Why it is held or failed.
    pub last_error: Option<String>,
}

/// One task: a partition of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskStatus {
    /// Its stage, from 1: all steps up to the next one that needs rows of another key together.
    pub stage: u32,
    /// Its partition of what the stage reads.
    pub partition: u32,
    /// What it waits for though it has rows to take: the stage behind has too many before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Its own state.
    pub state: PipelineState,
    /// What it takes: its partition of each stream that has one.
    pub inputs: Vec<InputStatus>,
    /// Rows there that it has not taken.
    pub lag_records: u64,
    /// For how long the next of them has been there, to about two seconds; 0 without a lag.
    pub behind_ms: u64,
    /// The latest event time taken since the host started, RFC 3339.
    pub event_time: Option<String>,
    /// How far event time is.
    pub time: TimeStatus,
    /// How fast it went over the last ten seconds.
    pub last_10s: Rates,
    /// And over the last minute.
    pub last_minute: Rates,
    /// Rows taken.
    pub rows_in: u64,
    /// Rows sent on.
    pub rows_out: u64,
    /// Rows that failed in a step.
    pub dead_letters: u64,
    /// Rows that came too late for a step.
    pub late: u64,
    /// Pairs of a row and a window that came too late for each other.
    pub dropped_late: u64,
    /// Rows that missed some of their windows, but not all.
    pub late_partial: u64,
    /// Rows that a `dedupe`, `rate` or `sample` dropped, by step.
    pub dropped: BTreeMap<String, u64>,
    /// Rows left out because they were removed before they could be taken (`on_trim: skip`).
    pub skipped: u64,
    /// Rows that wait to come back to a step: its component asked for that, or it is taken out.
    pub waiting: u64,
    /// How often rows were put back to wait.
    pub put_back: u64,
    /// Commits made.
    pub commits: u64,
    /// Rows taken again after the last start.
    pub replayed_rows: u64,
    /// Calls that did not return, by ending.
    pub endings: BTreeMap<String, u64>,
    /// The last checkpoint that is true; 0 before the first.
    pub checkpoint: u64,
    /// How long ago it became true; `None` if that was before the host started.
    pub checkpoint_age_ms: Option<u64>,
    /// Bytes of changed state that it saved.
    pub checkpoint_bytes: u64,
    /// Keys that it saved: those that had changed.
    pub checkpoint_keys: u64,
    /// How long rows waited for it at most, µs.
    pub checkpoint_pause_us: u64,
    /// Why the task began from the checkpoint before the last one when it started: the last one was damaged.
    pub checkpoint_fallback: Option<String>,
    /// What its state takes in memory, about, in bytes.
    pub state_bytes: u64,
    /// Entries of its state that are not in memory but only in the store.
    pub state_entries_on_disk: u64,
    /// CPU time its batches took, µs, since the host started.
    pub cpu_us: u64,
    /// What its components took.
    pub steps: Vec<StepStatus>,
    /// Why it is held or failed.
    pub last_error: Option<String>,
}

/// One stream of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputStatus {
    /// Its name.
    pub stream: String,
    /// Its partition: the task's, or each of them where one task takes all.
    pub partition: u32,
    /// The next row the task takes.
    pub offset: u64,
    /// Rows that it has not taken.
    pub lag_records: u64,
    /// Retention removes no row from there on, because a checkpoint that may still be needed begins there: the one before the last; `None`: it holds nothing back.
    pub kept_from: Option<u64>,
    /// No earlier event of it is expected, RFC 3339; `end`: none at all. `None` before its first row.
    pub watermark: Option<String>,
    /// Its latest event time.
    pub event_time: Option<String>,
    /// It has been silent for so long that nothing waits for it.
    pub is_idle: bool,
    /// The task's watermark would be further on without it.
    pub holds_back: bool,
    /// It is so far ahead of the others (`max_drift`) that it is not read until they catch up.
    pub is_ahead: bool,
}

/// How far event time is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct TimeStatus {
    /// No earlier event is expected, RFC 3339; `end`: none at all. `None` before the first row.
    pub watermark: Option<String>,
    /// How far the host's clock is ahead of that; `None` where there is no such time.
    pub behind_clock_ms: Option<i64>,
    /// All was silent for so long that the clock moved it last: the pipeline's `time: {bound: …}`.
    pub moved_by_clock: bool,
    /// What it waits for: without these it would be further on.
    pub held_back_by: Vec<HeldBack>,
}

/// A lane that holds a watermark back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    /// The stream.
    pub stream: String,
    /// And its partition.
    pub partition: u32,
}

/// One step of a task with a component or with state, with the same version of its component, since the host started: a pause or another
/// plan begins nothing anew.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepStatus {
    /// `steps[2].rule`.
    pub step: String,
    /// `name@version`; empty where the host does the work itself.
    pub component: String,
    /// Calls made.
    pub calls: u64,
    /// Rows in them.
    pub rows: u64,
    /// Those that did not return, by ending.
    pub endings: BTreeMap<String, u64>,
    /// Fuel burnt.
    pub fuel: u64,
    /// Time inside the sandbox, µs.
    pub time_us: u64,
    /// Memory of the instance after its last call.
    pub memory_bytes: u64,
    /// The most it was after a call.
    pub memory_peak_bytes: u64,
    /// Keys with state; of a window: keys of each of its slices, of a join: rows.
    pub keys: u64,
    /// Rows that came too late for it.
    pub late: u64,
    /// Of a lookup, what it looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<LookupStatus>,
    /// Of a pattern, what it found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<PatternStatus>,
    /// Of patterns that are `draining`, what is left of each, in the order of the text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<DrainingStatus>,
    /// Of a machine, how its keys stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineStatus>,
    /// Of a correlation, what it found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<CorrelateStatus>,
    /// Of a rule set, what its rules said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<RulesStatus>,
    /// Whether it is taken out because it keeps failing.
    pub breaker: BreakerStatus,
}

/// A table as a step looks it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LookupStatus {
    /// Its name.
    pub table: String,
    /// The version that the last batch looked up.
    pub version: u64,
    /// Of a table that is kept from a stream, how far it was for that batch: per partition the first row it did not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<u64>,
    /// Rows looked up.
    pub rows: u64,
    /// Those that the table did not have.
    pub missed: u64,
}

/// Whether a component is taken out because it keeps failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerStatus {
    /// It is not.
    Closed,
    /// It is tried with a few rows.
    HalfOpen,
    /// It is: rows pass, wait or stop, as `on_failing` says.
    Open,
}

impl From<BreakerState> for BreakerStatus {
    fn from(state: BreakerState) -> Self {
        match state {
            BreakerState::Closed => Self::Closed,
            BreakerState::Open { .. } => Self::Open,
            BreakerState::HalfOpen => Self::HalfOpen,
        }
    }
}

impl StepStatus {
    pub(crate) fn new(plan: &Plan, step: u32) -> Self {
        Self {
            step: plan.step_name(step),
            component: plan.components_shown(step),
            calls: 0,
            rows: 0,
            endings: BTreeMap::new(),
            fuel: 0,
            time_us: 0,
            memory_bytes: 0,
            memory_peak_bytes: 0,
            keys: 0,
            late: 0,
            lookup: plan.steps.get(step as usize).and_then(|step| step.kind.lookup()).map(|lookup| LookupStatus {
                table: lookup.table.name.to_string(),
                version: lookup.table.current().number,
                offsets: Vec::new(),
                rows: 0,
                missed: 0,
            }),
            pattern: None,
            draining: Vec::new(),
            rules: RulesStatus::of(plan, step),
            machine: MachineStatus::of(plan, step),
            correlation: CorrelateStatus::of(plan, step),
            breaker: BreakerStatus::Closed,
        }
    }

    /// A pattern met a batch.
    pub(crate) fn found(&mut self, report: &PatternReport) {
        self.pattern.get_or_insert_default().report(&report.tally);
    }

    /// A batch was looked up, in these versions of the tables.
    pub(crate) fn looked_up(&mut self, report: &LookupReport, commit: &Commit) {
        let Some(lookup) = &mut self.lookup else { return };
        lookup.rows += report.rows as u64;
        lookup.missed += report.missed as u64;
        lookup.version = commit.tables.get(&lookup.table).copied().unwrap_or(lookup.version);
        if let Some(cut) = commit.cuts.get(&lookup.table) {
            lookup.offsets.clone_from(cut);
        }
    }

    /// A machine took a batch.
    pub(crate) fn took(&mut self, report: &MachineReport, plan: &Plan) {
        if let Some(machine) = &mut self.machine {
            machine.took(report, plan);
        }
    }

    /// A correlation took a batch.
    pub(crate) fn correlated(&mut self, report: &CorrelateReport) {
        if let Some(correlation) = &mut self.correlation {
            correlation.took(report);
        }
    }

    /// The rules of a set judged a batch.
    pub(crate) fn judged(&mut self, report: &RulesReport, plan: &Plan) {
        if let Some(rules) = &mut self.rules {
            rules.judged(report, plan);
        }
    }

    /// One more call.
    pub(crate) fn called(&mut self, call: &CallReport) {
        self.calls += 1;
        self.rows += call.rows as u64;
        self.fuel += call.usage.fuel;
        self.time_us += call.usage.time.as_micros() as u64;
        self.memory_bytes = call.usage.memory_bytes;
        self.memory_peak_bytes = self.memory_peak_bytes.max(call.usage.memory_bytes);
        if let Some(ending) = call.ending {
            *self.endings.entry(ending.as_str().to_owned()).or_default() += 1;
        }
    }

    /// What it took, for the step of a task that goes on with the same component. What it holds is told anew.
    pub(crate) fn carried(&self, plan: &Plan, step: u32) -> Self {
        let pattern = self.pattern.map(|pattern| PatternStatus { runs: 0, ..pattern });
        let rules = self.rules.as_ref().and_then(|before| RulesStatus::carried(before, plan, step));
        let machine = self.machine.as_ref().and_then(|before| MachineStatus::carried(before, plan, step));
        let correlation = self.correlation.map(|correlation| CorrelateStatus { open: 0, ..correlation });
        Self {
            rules,
            machine,
            pattern,
            correlation,
            draining: Vec::new(),
            memory_bytes: 0,
            keys: 0,
            breaker: BreakerStatus::Closed,
            ..self.clone()
        }
    }

    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.rows += other.rows;
        self.fuel += other.fuel;
        self.time_us += other.time_us;
        self.memory_bytes += other.memory_bytes;
        self.memory_peak_bytes = self.memory_peak_bytes.max(other.memory_peak_bytes);
        self.keys += other.keys;
        self.late += other.late;
        if let Some(other) = &other.pattern {
            self.pattern.get_or_insert_default().add(other);
        }
        DrainingStatus::add(&mut self.draining, &other.draining);
        if let (Some(lookup), Some(other)) = (&mut self.lookup, &other.lookup) {
            lookup.rows += other.rows;
            lookup.missed += other.missed;
            // Until every task has met the new one, the oldest.
            lookup.version = lookup.version.min(other.version);
        }
        if let (Some(correlation), Some(other)) = (&mut self.correlation, &other.correlation) {
            correlation.add(other);
        }
        if let (Some(machine), Some(other)) = (&mut self.machine, &other.machine) {
            machine.add(other);
        }
        if let (Some(rules), Some(other)) = (&mut self.rules, &other.rules) {
            rules.add(other);
        }
        for (ending, count) in &other.endings {
            *self.endings.entry(ending.clone()).or_default() += count;
        }
    }
}

/// The steps of all tasks, each once: sums, but for the memory's peak, which is that of the greatest instance.
pub(crate) fn steps_together(tasks: &[TaskStatus]) -> Vec<StepStatus> {
    let mut together: Vec<StepStatus> = Vec::new();
    for step in tasks.iter().flat_map(|task| &task.steps) {
        match together.iter_mut().find(|there| there.step == step.step) {
            Some(there) => there.add(step),
            None => together.push(step.clone()),
        }
    }
    together
}

/// A replay, as the pipeline beside it shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplayStatus {
    /// Its run.
    pub run: u64,
    /// How it stands.
    pub state: PipelineState,
    /// Rows it has not taken yet.
    pub lag_records: u64,
}

/// A target outside the log, of one partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SinkStatus {
    /// `file: results` or `stdout`.
    pub target: String,
    /// Its partition.
    pub partition: u32,
    /// `exactly_once`, `once_per_key` or `at_least_once`.
    pub promise: &'static str,
    /// The first row of `{pipeline}.output` that is not at the target.
    pub offset: u64,
    /// Rows there that are on disk and not at the target.
    pub lag_records: u64,
    /// Those of them that wait in an open file or batch for more.
    pub waiting_records: u64,
    /// Rows brought to the target since the host started.
    pub records: u64,
    /// Their bytes, as the target sees them.
    pub bytes: u64,
    /// Files closed, requests answered, pieces of output written.
    pub batches: u64,
    /// Rows that the target refused for good and that went to the dead letters instead.
    pub refused_records: u64,
    /// Of those, how many were replayed and are not taken yet.
    pub again_records: u64,
    /// Failures in a row.
    pub retries: u32,
    /// Of a webhook: `closed`, `open` while it is left alone, `half_open` while one request tries it again.
    pub breaker: Option<&'static str>,
    /// The last failure since something was taken; it is tried again.
    pub last_error: Option<String>,
}

/// Replay gave something else than what was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DivergenceStatus {
    /// The task's partition.
    pub partition: u32,
    /// The first step that differed, `steps[1].rule`; `output` where no component step did.
    pub step: String,
    /// Its component, `name@version (sha256:…)`, where it is one.
    pub component: Option<String>,
    /// The first input range in which it differed: `clicks [start, end)`.
    pub range: String,
    /// How many commits differed.
    pub commits: u64,
    /// What differed.
    pub detail: String,
}
