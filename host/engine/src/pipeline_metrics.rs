//! What `status` says, as metrics: read from the pipelines whenever somebody asks, kept nowhere.
//!
//! Labels are names that an operator gave and closed sets, for the pipelines that have series of their own (`metrics.rs`); a gauge says
//! how many there are.

use std::fmt;
use std::sync::Weak;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::deployments::Deployments;
use crate::following_metrics::following;
use crate::status::{PipelineState, Status};

/// The pipelines as a collector.
pub(crate) struct PipelineMetrics {
    deployments: Weak<Deployments>,
}

impl PipelineMetrics {
    pub(crate) fn new(deployments: Weak<Deployments>) -> Self {
        Self { deployments }
    }
}

impl fmt::Debug for PipelineMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PipelineMetrics")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfPipeline {
    pub(crate) tenant: String,
    pub(crate) pipeline: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    tenant: String,
    pipeline: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStep {
    tenant: String,
    pipeline: String,
    step: String,
    component: String,
}

/// Of a step that calls no component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfOwnStep {
    pub(crate) tenant: String,
    pub(crate) pipeline: String,
    pub(crate) step: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEnding {
    tenant: String,
    pipeline: String,
    step: String,
    component: String,
    ending: String,
}

/// A pipeline's tenant, and how it stands.
pub(crate) type Shown = (String, Status);

type Gauge = (&'static str, &'static str, fn(&Status) -> f64);
type Counter = (&'static str, &'static str, fn(&Status) -> u64);

const GAUGES: [Gauge; 7] = [
    ("tidemill_pipeline_lag_rows", "Rows on disk that a pipeline has not taken", |status| status.lag_records as f64),
    ("tidemill_pipeline_behind_seconds", "For how long its next row has been there, about", |status| {
        status.behind_ms as f64 / 1e3
    }),
    ("tidemill_pipeline_moved_by_clock", "1 while a clock moves event time, because all it reads is silent", |status| {
        f64::from(u8::from(status.time.moved_by_clock))
    }),
    ("tidemill_pipeline_rows_in_per_second", "Rows taken a second, over ten seconds", |status| {
        status.last_10s.rows_in_per_second
    }),
    ("tidemill_pipeline_busy_ratio", "Of a worker's time, what its busiest task took, over ten seconds", |status| {
        status.last_10s.busy
    }),
    ("tidemill_pipeline_back_pressure_ratio", "Of a worker's time, how long a task waited for the log", |status| {
        status.last_10s.back_pressure
    }),
    ("tidemill_pipeline_checkpoint_age_seconds", "Age of the oldest of its tasks' last checkpoints", |status| {
        status.tasks.iter().filter_map(|task| task.checkpoint_age_ms).max().unwrap_or(0) as f64 / 1e3
    }),
];

const COUNTERS: [Counter; 9] = [
    ("tidemill_pipeline_rows_in", "Rows taken since the run began", |status| status.rows_in),
    ("tidemill_pipeline_rows_out", "Rows sent on since the run began", |status| status.rows_out),
    ("tidemill_pipeline_dead_letters", "Rows that failed in a step since the run began", |status| status.dead_letters),
    ("tidemill_pipeline_lookup_rows", "Rows that were looked up in tables since the host started", |status| {
        status.steps.iter().filter_map(|step| step.lookup.as_ref()).map(|lookup| lookup.rows).sum()
    }),
    ("tidemill_pipeline_lookup_missed", "Rows that a table did not have, since the host started", |status| {
        status.steps.iter().filter_map(|step| step.lookup.as_ref()).map(|lookup| lookup.missed).sum()
    }),
    ("tidemill_pipeline_late_rows", "Rows that came too late for a step since the run began", |status| status.late),
    ("tidemill_pipeline_dropped_late", "Pairs of a row and a window that came too late for each other", |status| {
        status.dropped_late
    }),
    ("tidemill_pipeline_late_partial", "Rows that missed some of their windows, but not all", |status| status.late_partial),
    ("tidemill_pipeline_divergences", "Commits that came out otherwise when taken again", |status| {
        status.divergences.iter().map(|divergence| divergence.commits).sum()
    }),
];

impl Collector for PipelineMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(deployments) = self.deployments.upgrade() else { return Ok(()) };
        let all = deployments.all();
        let count = ConstGauge::new(all.len() as i64);
        count.encode(encoder.encode_descriptor("tidemill_pipelines", "Pipelines there are", None, count.metric_type())?)?;
        let metrics = &deployments.threads.metrics;
        let shown = all.iter().filter(|deployed| metrics.names(&deployed.tenant, &deployed.name));
        let now = deployments.threads.targets.clock.now();
        let statuses: Vec<Shown> = shown.map(|deployed| (deployed.tenant.to_string(), deployed.status(None, now))).collect();
        let of = |(tenant, status): &Shown| OfPipeline { tenant: tenant.clone(), pipeline: status.pipeline.clone() };
        for (name, help, value) in GAUGES {
            let mut series = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for status in &statuses {
                ConstGauge::new(value(&status.1)).encode(series.encode_family(&of(status))?)?;
            }
        }
        for (name, help, value) in COUNTERS {
            let mut series = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for status in &statuses {
                ConstCounter::new(value(&status.1)).encode(series.encode_family(&of(status))?)?;
            }
        }
        dropped(&mut encoder, &statuses)?;
        following(&mut encoder, &statuses)?;
        watermarks(&mut encoder, &statuses)?;
        states(&mut encoder, &statuses)?;
        steps(&mut encoder, &statuses)
    }
}

/// Rows that steps dropped because they are there to drop some.
fn dropped(encoder: &mut DescriptorEncoder<'_>, statuses: &[Shown]) -> Result<(), fmt::Error> {
    let help = "Rows that a dedupe, rate or sample step dropped since the run began";
    let mut series = encoder.encode_descriptor("tidemill_pipeline_dropped_rows", help, None, MetricType::Counter)?;
    for (tenant, status) in statuses {
        for (step, rows) in &status.dropped {
            let labels = OfOwnStep { tenant: tenant.clone(), pipeline: status.pipeline.clone(), step: step.clone() };
            ConstCounter::new(*rows).encode(series.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// How far the clock is ahead of event time, where there is such a time.
fn watermarks(encoder: &mut DescriptorEncoder<'_>, statuses: &[Shown]) -> Result<(), fmt::Error> {
    let name = "tidemill_pipeline_watermark_lag_seconds";
    let mut series = encoder.encode_descriptor(name, "How far the clock is ahead of its watermark", None, MetricType::Gauge)?;
    for (tenant, status) in statuses {
        if let Some(behind) = status.time.behind_clock_ms {
            let labels = OfPipeline { tenant: tenant.clone(), pipeline: status.pipeline.clone() };
            ConstGauge::new(behind as f64 / 1e3).encode(series.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// One for the state it is in, so that a rule can count the others.
fn states(encoder: &mut DescriptorEncoder<'_>, statuses: &[Shown]) -> Result<(), fmt::Error> {
    let mut series = encoder.encode_descriptor("tidemill_pipeline_state", "1 for the state it is in", None, MetricType::Gauge)?;
    for (tenant, status) in statuses {
        let state = match status.state {
            PipelineState::Running => "running",
            PipelineState::Finished => "finished",
            PipelineState::Paused => "paused",
            PipelineState::Held => "held",
            PipelineState::Failed => "failed",
        };
        let labels = OfState { tenant: tenant.clone(), pipeline: status.pipeline.clone(), state };
        ConstGauge::new(1_i64).encode(series.encode_family(&labels)?)?;
    }
    Ok(())
}

fn steps(encoder: &mut DescriptorEncoder<'_>, statuses: &[Shown]) -> Result<(), fmt::Error> {
    let of = |(tenant, status): &Shown, step: &crate::StepStatus| OfStep {
        tenant: tenant.clone(),
        pipeline: status.pipeline.clone(),
        step: step.step.clone(),
        component: step.component.clone(),
    };
    let mut memory = encoder.encode_descriptor(
        "tidemill_component_memory_peak_bytes",
        "The most memory an instance of the step had",
        None,
        MetricType::Gauge,
    )?;
    for (shown, step) in statuses.iter().flat_map(|shown| shown.1.steps.iter().map(move |step| (shown, step))) {
        ConstGauge::new(step.memory_peak_bytes as i64).encode(memory.encode_family(&of(shown, step))?)?;
    }
    let help = "Calls of the step that did not return, by ending, since the host started";
    let mut endings = encoder.encode_descriptor("tidemill_component_endings", help, None, MetricType::Counter)?;
    for (shown, step) in statuses.iter().flat_map(|shown| shown.1.steps.iter().map(move |step| (shown, step))) {
        for (ending, count) in &step.endings {
            let OfStep { tenant, pipeline, step, component } = of(shown, step);
            let labels = OfEnding { tenant, pipeline, step, component, ending: ending.clone() };
            ConstCounter::new(*count).encode(endings.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
