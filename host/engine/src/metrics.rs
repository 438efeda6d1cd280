//! What the engine measures. Labels are names that an operator gave (tenants, pipelines, steps, components), never keys or offsets, and
//! they are bounded: [`PIPELINES_MAX`] pipelines have series of their own, of the others only what is counted without labels. A
//! pipeline's series go when it is deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tidemill_event::{PipelineName, TenantName};

use crate::pipeline_metrics::OfPipeline;
use crate::plan::CallMetricsFamilies;
use crate::sinks::SinkMetrics;

/// Pipelines of all tenants with series of their own, the first ones that ran. One more is not shown by name, and a gauge says how many
/// there are.
pub(crate) const PIPELINES_MAX: usize = 1_000;

/// The engine's metrics. Clones count into the same series.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) calls: CallMetricsFamilies,
    pub(crate) commits: Counter,
    pub(crate) checkpoints: Counter,
    pub(crate) checkpoint_seconds: Histogram,
    pub(crate) checkpoint_pause_seconds: Histogram,
    pub(crate) checkpoint_bytes: Counter,
    pub(crate) checkpoint_fallbacks: Counter,
    pub(crate) state_memory_bytes: Gauge,
    pub(crate) divergences: Counter,
    pub(crate) panics: Counter,
    pub(crate) sinks: SinkMetrics,
    dropped_matches: Family<OfPipeline, Counter>,
    named: Named,
}

/// Which pipelines have series of their own. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named(Arc<Mutex<BTreeSet<(TenantName, PipelineName)>>>);

impl Named {
    /// Whether a pipeline is among them. It is, from now on, if there is room.
    pub(crate) fn takes(&self, tenant: &TenantName, pipeline: &PipelineName) -> bool {
        let mut named = self.0.lock();
        let key = (tenant.clone(), pipeline.clone());
        named.contains(&key) || (named.len() < PIPELINES_MAX && named.insert(key))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let named = Named::default();
        Self {
            calls: CallMetricsFamilies::default(),
            commits: Counter::default(),
            checkpoints: Counter::default(),
            checkpoint_seconds: Histogram::new(exponential_buckets(1e-3, 3.0, 10)),
            checkpoint_pause_seconds: Histogram::new(exponential_buckets(1e-5, 4.0, 10)),
            checkpoint_bytes: Counter::default(),
            checkpoint_fallbacks: Counter::default(),
            state_memory_bytes: Gauge::default(),
            divergences: Counter::default(),
            panics: Counter::default(),
            sinks: SinkMetrics::new(named.clone()),
            dropped_matches: Family::default(),
            named,
        }
    }
}

impl Metrics {
    /// Whether a pipeline has series of its own. It has, from now on, if there is room.
    pub(crate) fn names(&self, tenant: &TenantName, pipeline: &PipelineName) -> bool {
        self.named.takes(tenant, pipeline)
    }

    /// Where the calls of a pipeline are counted: nowhere, if it has no series.
    pub(crate) fn calls_of(&self, tenant: &TenantName, pipeline: &PipelineName) -> CallMetricsFamilies {
        if self.names(tenant, pipeline) { self.calls.clone() } else { CallMetricsFamilies::default() }
    }

    /// The pipeline is gone, and so are its series; others have room.
    pub(crate) fn forget(&self, tenant: &TenantName, pipeline: &PipelineName) {
        self.calls.forget(tenant, pipeline);
        self.sinks.forget(tenant, pipeline);
        self.dropped_matches.remove(&of(tenant, pipeline));
        self.named.0.lock().remove(&(tenant.clone(), pipeline.clone()));
    }

    /// A change of a pipeline ended so many partial matches that were open.
    pub(crate) fn dropped(&self, tenant: &TenantName, pipeline: &PipelineName, partial_matches: u64) {
        if partial_matches > 0 && self.names(tenant, pipeline) {
            self.dropped_matches.get_or_create(&of(tenant, pipeline)).inc_by(partial_matches);
        }
    }

    /// Everything, as `tidemill_…`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tidemill");
        let calls = &self.calls;
        registry.register_with_unit("component_call", "Time of a component call", Unit::Seconds, calls.latency.clone());
        registry.register("component_rows", "Rows handed to components", calls.rows.clone());
        registry.register("component_fuel", "Fuel burnt by components", calls.fuel.clone());
        registry.register("component_failed_calls", "Calls of components that did not return", calls.failed.clone());
        registry.register(
            "component_taken_out",
            "Times a component was taken out because it kept failing",
            calls.taken_out.clone(),
        );
        calls.custom.register(registry, "component", "components");
        calls.user.register(registry, "user", "`metrics` steps");
        calls.user.register_percentiles(registry);
        registry.register("task_commits", "Commits of tasks", self.commits.clone());
        registry.register("task_checkpoints", "Checkpoints taken", self.checkpoints.clone());
        registry.register_with_unit(
            "task_checkpoint",
            "Time until a group of checkpoints was on disk",
            Unit::Seconds,
            self.checkpoint_seconds.clone(),
        );
        registry.register_with_unit(
            "task_checkpoint_pause",
            "The longest that rows of a task waited for a checkpoint",
            Unit::Seconds,
            self.checkpoint_pause_seconds.clone(),
        );
        registry.register(
            "task_checkpoint_bytes",
            "Bytes of changed state that checkpoints wrote",
            self.checkpoint_bytes.clone(),
        );
        registry.register(
            "task_checkpoint_fallbacks",
            "Tasks that found their last checkpoint damaged and went on from the one before",
            self.checkpoint_fallbacks.clone(),
        );
        registry.register(
            "state_memory_bytes",
            "What the state of all tasks takes in memory, about",
            self.state_memory_bytes.clone(),
        );
        registry.register("task_divergences", "Commits that came out otherwise when taken again", self.divergences.clone());
        registry.register("task_panics", "Tasks that panicked: bugs of the host", self.panics.clone());
        registry.register("pattern_dropped", "Partial matches that a change of the pipeline ended", self.dropped_matches.clone());
        self.sinks.register(registry);
    }
}

fn of(tenant: &TenantName, pipeline: &PipelineName) -> OfPipeline {
    OfPipeline { tenant: tenant.to_string(), pipeline: pipeline.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_pipelines_are_named_and_one_that_goes_makes_room() {
        let metrics = Metrics::default();
        let tenant = |name: &str| name.parse::<TenantName>().expect("a name");
        let pipeline = |at: usize| format!("p{at}").parse::<PipelineName>().expect("a name");
        assert!((0..PIPELINES_MAX / 2).all(|at| metrics.names(&tenant("a"), &pipeline(at))));
        assert!((0..PIPELINES_MAX / 2).all(|at| metrics.names(&tenant("b"), &pipeline(at))), "the same names, of another tenant");
        assert!(!metrics.names(&tenant("c"), &pipeline(0)) && metrics.names(&tenant("a"), &pipeline(7)));
        metrics.forget(&tenant("a"), &pipeline(7));
        assert!(metrics.names(&tenant("c"), &pipeline(0)) && !metrics.names(&tenant("a"), &pipeline(7)));
    }
}
