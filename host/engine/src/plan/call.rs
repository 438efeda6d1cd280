//! Calls of a component for one task: makes and replaces its instance, notes what answers were, and counts.
//!
//! An instance belongs to one task and one step. It is replaced at every checkpoint, so that a replay that begins there meets a
//! fresh one too, and after every call that did not return an answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{Field as ArrowField, Schema};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tidemill_event::batch::checksum;
use tidemill_event::{
    Accumulated, CallFailure, Clock, PipelineName, ProcessAnswer, ProcessGuest, RowNote, RuleAnswer, RuleCall, Subject,
    TableEntries, TenantName, TransformAnswer, Usage, Values, Wanted,
};
use tidemill_flow::{AggregateGuest, Guest};
use tidemill_runtime::{Grants, GuestLog, GuestMetrics, Instance, InstanceSettings, LogLevel, Measurement, MetricFault, Runtime};

use crate::custom_metrics::{CustomMetrics, StepMetrics};
use crate::logs::{PipelineLogs, Speaker};
use crate::plan::PlannedComponent;

/// How much wider the deadline is while committed rows are taken again. A replay competes with every other task of a starting host,
/// and a deadline that passes now but did not pass then would be a difference the component did not make.
const REPLAY_DEADLINE_FACTOR: u32 = 30;

/// What a task and the calls of its steps share. One thread uses it; the locks are never contended on the way of a batch.
#[derive(Default)]
pub(crate) struct CallControl {
    /// Instances of another number are replaced before the next call.
    generation: AtomicU64,
    /// Committed rows are being taken again: log lines are dropped, deadlines wide.
    replaying: AtomicBool,
    answers: Mutex<Vec<Answer>>,
    /// Who hears what components say; `None`: nobody, the task is a replay's.
    voice: Option<Voice>,
}

/// Where the lines of a task's components go.
pub(crate) struct Voice {
    pub(crate) logs: Arc<PipelineLogs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) partition: u32,
}

/// What a step's component answered to one call, as one number: the same for the same values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) step: u32,
    pub(crate) sum: u64,
}

impl CallControl {
    pub(crate) fn new(voice: Option<Voice>) -> Self {
        Self { voice, ..Self::default() }
    }

    /// Whether lines and metrics of components are dropped: they were told when the rows were first taken, or must not be at all.
    pub(crate) fn is_silent(&self) -> bool {
        self.voice.is_none() || self.replaying.load(Ordering::Relaxed)
    }

    /// Every step gets a new instance before its next call.
    pub(crate) fn replace_instances(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_replaying(&self, replaying: bool) {
        self.replaying.store(replaying, Ordering::Relaxed);
        self.replace_instances();
    }

    /// The answers since this was last asked, in order of the calls.
    pub(crate) fn take_answers(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.answers.lock())
    }
}

/// Labels of a component's metrics. Versions of one component are one series: the set of names is the operator's, not the data's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CallLabels {
    tenant: String,
    pipeline: String,
    step: String,
    component: String,
}

/// What is measured of calls, for all components.
#[derive(Clone)]
pub(crate) struct CallMetricsFamilies {
    pub(crate) latency: Family<CallLabels, Histogram, fn() -> Histogram>,
    pub(crate) rows: Family<CallLabels, Counter>,
    pub(crate) fuel: Family<CallLabels, Counter>,
    /// Calls that did not return.
    pub(crate) failed: Family<CallLabels, Counter>,
    /// How often a component was taken out because it kept failing.
    pub(crate) taken_out: Family<CallLabels, Counter>,
    /// What components measure themselves.
    pub(crate) custom: CustomMetrics,
    /// What `metrics` steps measure.
    pub(crate) user: CustomMetrics,
    /// The series there are.
    made: Arc<Mutex<HashSet<CallLabels>>>,
}

impl Default for CallMetricsFamilies {
    fn default() -> Self {
        Self {
            latency: Family::new_with_constructor(latency_histogram),
            rows: Family::default(),
            fuel: Family::default(),
            failed: Family::default(),
            taken_out: Family::default(),
            custom: CustomMetrics::default(),
            user: CustomMetrics::default(),
            made: Arc::default(),
        }
    }
}

fn latency_histogram() -> Histogram {
    // 1 µs to about 1 s: a call over one row of a small rule and one that meets its deadline are both in it.
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(1e-6, 4.0, 11))
}

impl CallMetricsFamilies {
    /// The series of one step.
    pub(crate) fn of(&self, tenant: &TenantName, pipeline: &PipelineName, planned: &PlannedComponent) -> CallMetrics {
        let labels = CallLabels {
            tenant: tenant.to_string(),
            pipeline: pipeline.to_string(),
            step: planned.step_name.clone(),
            component: planned.pin.name.clone(),
        };
        self.made.lock().insert(labels.clone());
        CallMetrics {
            latency: self.latency.get_or_create(&labels).clone(),
            rows: self.rows.get_or_create(&labels).clone(),
            fuel: self.fuel.get_or_create(&labels).clone(),
            failed: self.failed.get_or_create(&labels).clone(),
            taken_out: self.taken_out.get_or_create(&labels).clone(),
            custom: self.custom.of(&labels.tenant, &labels.pipeline, &labels.step, &labels.component),
        }
    }

    /// The pipeline is gone, and so are its series.
    pub(crate) fn forget(&self, tenant: &TenantName, pipeline: &PipelineName) {
        let is_of_it = |labels: &CallLabels| labels.tenant == tenant.as_str() && labels.pipeline == pipeline.as_str();
        let gone: Vec<CallLabels> = self.made.lock().extract_if(is_of_it).collect();
        for labels in &gone {
            self.latency.remove(labels);
            for counter in [&self.rows, &self.fuel, &self.failed, &self.taken_out] {
                counter.remove(labels);
            }
        }
        self.custom.forget(tenant.as_str(), pipeline.as_str());
        self.user.forget(tenant.as_str(), pipeline.as_str());
    }
}

/// The series of one step.
#[derive(Clone)]
pub(crate) struct CallMetrics {
    latency: Histogram,
    rows: Counter,
    fuel: Counter,
    failed: Counter,
    pub(crate) taken_out: Counter,
    custom: StepMetrics,
}

impl CallMetrics {
    fn observe(&self, rows: usize, usage: Usage) {
        self.latency.observe(usage.time.as_secs_f64());
        self.rows.inc_by(rows as u64);
        self.fuel.inc_by(usage.fuel);
    }
}

/// A component step of one task.
pub(crate) struct ComponentCall {
    pub(crate) step: u32,
    pub(crate) pipeline: Arc<str>,
    pub(crate) planned: Arc<PlannedComponent>,
    pub(crate) runtime: Runtime,
    pub(crate) grants: Grants,
    pub(crate) control: Arc<CallControl>,
    pub(crate) metrics: CallMetrics,
    pub(crate) instance: Option<(u64, Instance)>,
}

impl ComponentCall {
    fn instance(&mut self) -> Result<&mut Instance, CallFailure> {
        let generation = self.control.generation.load(Ordering::Relaxed);
        if self.instance.as_ref().is_some_and(|(made, instance)| *made != generation || !instance.alive()) {
            // The old one gives its slot of the pool back before a new one asks for one.
            self.instance = None;
        }
        if self.instance.is_none() {
            let mut limits = self.planned.limits.clone();
            if self.control.replaying.load(Ordering::Relaxed) {
                limits.deadline = limits.deadline.saturating_mul(REPLAY_DEADLINE_FACTOR).min(Duration::from_secs(600));
            }
            let settings = InstanceSettings {
                config: self.planned.config.clone(),
                limits,
                log: Arc::new(StepLog {
                    pipeline: self.pipeline.clone(),
                    planned: self.planned.clone(),
                    control: self.control.clone(),
                }),
                metrics: Arc::new(Measuring { step: self.metrics.custom.clone(), control: self.control.clone() }),
                grants: self.grants.clone(),
            };
            self.instance = Some((generation, self.runtime.instantiate(&self.planned.component, settings)?));
        }
        let (_, instance) = self.instance.as_mut().expect("made above");
        Ok(instance)
    }

    fn ended<A>(&mut self, rows: usize, answer: &Result<A, CallFailure>, usage: impl Fn(&A) -> Usage, sum: impl Fn(&A) -> u64) {
        match answer {
            Ok(answer) => {
                self.metrics.observe(rows, usage(answer));
                self.control.answers.lock().push(Answer { step: self.step, sum: sum(answer) });
            }
            Err(failure) => self.measured(rows, Err(failure)),
        }
    }

    /// A call whose answer is not compared.
    fn measured(&self, rows: usize, usage: Result<Usage, &CallFailure>) {
        match usage {
            Ok(usage) => self.metrics.observe(rows, usage),
            Err(failure) => {
                self.metrics.observe(rows, failure.usage);
                self.metrics.failed.inc();
            }
        }
    }
}

impl ComponentCall {
    /// A call that answers yes or no for each row.
    pub(super) fn verdicts(
        &mut self,
        call: &RuleCall,
        make: impl FnOnce(&mut Instance) -> Result<RuleAnswer, CallFailure>,
    ) -> Result<RuleAnswer, CallFailure> {
        let answer = self.instance().and_then(make);
        let sum = |answer: &RuleAnswer| {
            let mut sum = Sum::default();
            for word in answer.verdicts.values().bit_chunks().iter_padded() {
                sum.add(word);
            }
            sum.columns(&answer.columns);
            sum.state(answer.state.as_ref());
            sum.notes(&answer.notes);
            sum.0
        };
        self.ended(call.columns.num_rows(), &answer, |answer| answer.usage, sum);
        answer
    }
}

impl Guest<RuleAnswer> for ComponentCall {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        self.verdicts(call, |instance| instance.judge(call))
    }

    fn replace(&mut self) {
        self.instance = None;
    }
}

impl Guest<TransformAnswer> for ComponentCall {
    fn call(&mut self, call: &RuleCall) -> Result<TransformAnswer, CallFailure> {
        let answer = self.instance().and_then(|instance| instance.transform(call));
        let sum = |answer: &TransformAnswer| {
            let mut sum = Sum::default();
            for row in &answer.source_rows {
                sum.add(u64::from(*row));
            }
            sum.columns(&answer.columns);
            sum.state(answer.state.as_ref());
            sum.notes(&answer.notes);
            sum.0
        };
        self.ended(call.columns.num_rows(), &answer, |answer| answer.usage, sum);
        answer
    }

    fn replace(&mut self) {
        self.instance = None;
    }
}

impl Guest<Values> for ComponentCall {
    fn call(&mut self, call: &RuleCall) -> Result<Values, CallFailure> {
        let answer = self.instance().and_then(|instance| instance.compute(call));
        let sum = |answer: &Values| {
            let mut sum = Sum::default();
            sum.columns(std::slice::from_ref(&answer.values));
            sum.notes(&answer.notes);
            sum.0
        };
        self.ended(call.columns.num_rows(), &answer, |answer| answer.usage, sum);
        answer
    }

    fn replace(&mut self) {
        self.instance = None;
    }
}

impl ProcessGuest for ComponentCall {
    fn wants(&mut self, subject: Subject, call: &RuleCall) -> Result<Wanted, CallFailure> {
        let answer = self.instance().and_then(|instance| instance.wants(subject, call));
        self.measured(call.columns.num_rows(), answer.as_ref().map(|answer| answer.usage));
        answer
    }

    fn process(&mut self, subject: Subject, call: &RuleCall, found: &[TableEntries]) -> Result<ProcessAnswer, CallFailure> {
        let answer = self.instance().and_then(|instance| instance.process(subject, call, found));
        let sum = |answer: &ProcessAnswer| {
            let mut sum = Sum::default();
            for made in std::iter::once(&answer.made).chain(&answer.sides) {
                made.source_rows.iter().for_each(|row| sum.add(u64::from(*row)));
                sum.columns(&made.columns);
            }
            sum.state(answer.state.as_ref());
            for write in answer.tables.iter().flat_map(|table| &table.writes) {
                sum.add(u64::from(write.row) << 33 | u64::from(write.entry) << 1 | u64::from(write.is_put));
            }
            for timer in &answer.timers {
                sum.add(u64::from(timer.row));
                sum.add(timer.at.map_or(u64::MAX, |at| at.0.cast_unsigned()));
                timer.name.bytes().for_each(|byte| sum.add(u64::from(byte)));
            }
            sum.notes(&answer.notes);
            sum.0
        };
        self.ended(call.columns.num_rows(), &answer, |answer| answer.usage, sum);
        answer
    }

    fn replace(&mut self) {
        self.instance = None;
    }
}

/// Only what `update` answers is compared in a replay: how often accumulators are put together anew depends on when a process was started.
impl AggregateGuest for ComponentCall {
    fn update(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        let answer = self.instance().and_then(|instance| instance.update(call));
        let sum = |answer: &Accumulated| {
            let mut sum = Sum::default();
            sum.state(Some(&answer.state));
            sum.notes(&answer.notes);
            sum.0
        };
        self.ended(call.columns.num_rows(), &answer, |answer| answer.usage, sum);
        answer
    }

    fn merge(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        let answer = self.instance().and_then(|instance| instance.merge(call));
        self.measured(call.columns.num_rows(), answer.as_ref().map(|answer| answer.usage));
        answer
    }

    fn retract(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        let answer = self.instance().and_then(|instance| instance.retract(call));
        self.measured(call.columns.num_rows(), answer.as_ref().map(|answer| answer.usage));
        answer
    }

    fn finish(&mut self, call: &RuleCall) -> Result<Values, CallFailure> {
        let answer = self.instance().and_then(|instance| instance.finish(call));
        self.measured(call.columns.num_rows(), answer.as_ref().map(|answer| answer.usage));
        answer
    }

    fn replace(&mut self) {
        self.instance = None;
    }
}

/// One number of an answer: the same in every process and on every machine, since it is stored.
#[derive(Default)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, word: u64) {
        // A multiplication by an odd constant and a rotation: every bit of every word reaches the result, order counts.
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn columns(&mut self, columns: &[ArrayRef]) {
        let Some(first) = columns.first() else { return };
        self.add(first.len() as u64);
        let fields: Vec<ArrowField> = columns
            .iter()
            .enumerate()
            .map(|(at, column)| ArrowField::new(at.to_string(), column.data_type().clone(), true))
            .collect();
        let rows =
            RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.to_vec()).expect("a checked answer's columns line up");
        self.add(checksum(&rows));
    }

    fn state(&mut self, state: Option<&RecordBatch>) {
        if let Some(state) = state {
            self.add(checksum(state));
        }
    }

    fn notes(&mut self, notes: &[RowNote]) {
        for note in notes {
            self.add(u64::from(note.row));
            for byte in note.text.bytes() {
                self.add(u64::from(byte));
            }
        }
    }
}

/// What a component measures, on the host's page.
struct Measuring {
    step: StepMetrics,
    control: Arc<CallControl>,
}

impl GuestMetrics for Measuring {
    fn measured(&self, measurement: &Measurement) {
        // What was counted when the rows were first taken is not counted again.
        if !self.control.replaying.load(Ordering::Relaxed) {
            self.step.measured(measurement);
        }
    }

    fn dropped(&self, fault: MetricFault, count: u64) {
        if !self.control.replaying.load(Ordering::Relaxed) {
            self.step.dropped(fault, count);
        }
    }
}

/// A component's log lines, in the host's log.
struct StepLog {
    pipeline: Arc<str>,
    planned: Arc<PlannedComponent>,
    control: Arc<CallControl>,
}

impl GuestLog for StepLog {
    fn line(&self, level: LogLevel, message: &str) {
        let Some(voice) = self.control.voice.as_ref().filter(|_| !self.control.is_silent()) else { return };
        let component = self.planned.label();
        let speaker = Speaker {
            step: self.planned.step_name.as_str().into(),
            component: component.as_str().into(),
            partition: voice.partition,
        };
        // A flood does not go into the host's log either.
        if !voice.logs.say(&speaker, level, message, voice.clock.now(), Instant::now()) {
            return;
        }
        let (pipeline, step) = (&*self.pipeline, &*self.planned.step_name);
        match level {
            LogLevel::Debug => tracing::debug!(target: "component", pipeline, step, component, "{message}"),
            LogLevel::Info => tracing::info!(target: "component", pipeline, step, component, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "component", pipeline, step, component, "{message}"),
            LogLevel::Error => tracing::error!(target: "component", pipeline, step, component, "{message}"),
        }
    }
}
