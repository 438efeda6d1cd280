//! What patterns, machines and correlations say of themselves in `/metrics`: what is open, who is where and since when, and what came of it.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tidemill_event::EventTime;

use crate::pipeline_metrics::{OfOwnStep, Shown};
use crate::{CorrelateStatus, MachineStatus, PatternStatus, StepStatus};

/// A state of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMachineState {
    tenant: String,
    pipeline: String,
    step: String,
    state: String,
}

type Count<T> = (&'static str, &'static str, fn(&T) -> u64);

const PATTERN_COUNTERS: [Count<PatternStatus>; 6] = [
    ("tidemill_pattern_matches", "Matches of a pattern since the host started", |pattern| pattern.matches),
    ("tidemill_pattern_timeouts", "Partial matches whose time was over", |pattern| pattern.timeouts),
    ("tidemill_pattern_ended", "Partial matches that ended: a key had too many, or they took too much", |pattern| pattern.ended),
    ("tidemill_pattern_refused", "Partial matches that were not followed because of a bound", |pattern| pattern.refused),
    ("tidemill_pattern_dead_letters", "Rows that began no match because a key had too many", |pattern| pattern.buried),
    ("tidemill_pattern_failed_conditions", "Conditions of a pattern that failed on a row", |pattern| pattern.failed),
];

const MACHINE_COUNTERS: [Count<MachineStatus>; 4] = [
    ("tidemill_machine_moves", "Transitions that rows made since the host started", |machine| machine.moved),
    ("tidemill_machine_timeouts", "Transitions that time made", |machine| machine.timeouts),
    ("tidemill_machine_illegal_rows", "Rows for which the state of their key has no transition", |machine| machine.illegal),
    ("tidemill_machine_guarded_rows", "Rows whose every transition had a guard that said no", |machine| machine.guarded),
];

const CORRELATION_COUNTERS: [Count<CorrelateStatus>; 3] = [
    ("tidemill_correlation_matches", "Matches of a correlation since the host started", |correlation| correlation.matches),
    ("tidemill_correlation_quiet_rows", "Events that came while their key was quiet", |correlation| correlation.quiet),
    ("tidemill_correlation_dropped_rows", "Events that went because their key had too many", |correlation| correlation.dropped),
];

/// Writes them all.
pub(crate) fn following(encoder: &mut DescriptorEncoder<'_>, statuses: &[Shown]) -> Result<(), fmt::Error> {
    let help = "Partial matches of a pattern that are open";
    let mut runs = encoder.encode_descriptor("tidemill_pattern_runs", help, None, MetricType::Gauge)?;
    for (labels, pattern) in of_steps(statuses, |step| step.pattern.as_ref()) {
        ConstGauge::new(pattern.runs as i64).encode(runs.encode_family(&labels)?)?;
    }
    counters(encoder, statuses, &PATTERN_COUNTERS, |step| step.pattern.as_ref())?;
    let help = "Keys that are in a state of a machine";
    let mut keys = encoder.encode_descriptor("tidemill_machine_keys", help, None, MetricType::Gauge)?;
    for (labels, state) in states(statuses) {
        ConstGauge::new(state.keys as i64).encode(keys.encode_family(&labels)?)?;
    }
    let help = "When the key that is in the state longest came there, in event time";
    let name = "tidemill_machine_oldest_timestamp_seconds";
    let mut oldest = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, state) in states(statuses) {
        if let Some(since) = state.oldest_since.as_deref().and_then(EventTime::parse_rfc3339) {
            ConstGauge::new(since.0 as f64 / 1e6).encode(oldest.encode_family(&labels)?)?;
        }
    }
    counters(encoder, statuses, &MACHINE_COUNTERS, |step| step.machine.as_ref())?;
    let help = "Events that a correlation holds";
    let mut open = encoder.encode_descriptor("tidemill_correlation_open_events", help, None, MetricType::Gauge)?;
    for (labels, correlation) in of_steps(statuses, |step| step.correlation.as_ref()) {
        ConstGauge::new(correlation.open as i64).encode(open.encode_family(&labels)?)?;
    }
    counters(encoder, statuses, &CORRELATION_COUNTERS, |step| step.correlation.as_ref())
}

fn states(statuses: &[Shown]) -> impl Iterator<Item = (OfMachineState, &crate::MachineStateStatus)> {
    of_steps(statuses, |step| step.machine.as_ref()).flat_map(|(OfOwnStep { tenant, pipeline, step }, machine)| {
        machine.states.iter().map(move |state| {
            let (tenant, pipeline, step) = (tenant.clone(), pipeline.clone(), step.clone());
            (OfMachineState { tenant, pipeline, step, state: state.state.clone() }, state)
        })
    })
}

/// What steps of one kind say, with their labels.
fn of_steps<'a, T: 'a>(statuses: &'a [Shown], of: fn(&StepStatus) -> Option<&T>) -> impl Iterator<Item = (OfOwnStep, &'a T)> {
    statuses.iter().flat_map(move |(tenant, status)| {
        status.steps.iter().filter_map(move |step| {
            let labels = OfOwnStep { tenant: tenant.clone(), pipeline: status.pipeline.clone(), step: step.step.clone() };
            Some((labels, of(step)?))
        })
    })
}

fn counters<T>(
    encoder: &mut DescriptorEncoder<'_>,
    statuses: &[Shown],
    counters: &[Count<T>],
    of: fn(&StepStatus) -> Option<&T>,
) -> Result<(), fmt::Error> {
    for (name, help, value) in counters {
        let mut series = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, status) in of_steps(statuses, of) {
            ConstCounter::new(value(status)).encode(series.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
