//! What the engine measures. Labels are names that an operator gave (pipelines, steps, components), never keys, offsets or tenants.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::plan::CallMetricsFamilies;
use crate::sinks::SinkMetrics;

/// The engine's metrics. Clones count into the same series.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) calls: CallMetricsFamilies,
    pub(crate) commits: Counter,
    pub(crate) checkpoints: Counter,
    pub(crate) checkpoint_seconds: Histogram,
    pub(crate) divergences: Counter,
    pub(crate) panics: Counter,
    pub(crate) sinks: SinkMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: CallMetricsFamilies::default(),
            commits: Counter::default(),
            checkpoints: Counter::default(),
            checkpoint_seconds: Histogram::new(exponential_buckets(1e-3, 3.0, 10)),
            divergences: Counter::default(),
            panics: Counter::default(),
            sinks: SinkMetrics::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
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
        calls.custom.register(registry.sub_registry_with_prefix("tidemill"));
        registry.register("task_commits", "Commits of tasks", self.commits.clone());
        registry.register("task_checkpoints", "Checkpoints taken", self.checkpoints.clone());
        registry.register_with_unit(
            "task_checkpoint",
            "Time until a group of checkpoints was on disk",
            Unit::Seconds,
            self.checkpoint_seconds.clone(),
        );
        registry.register("task_divergences", "Commits that came out otherwise when taken again", self.divergences.clone());
        registry.register("task_panics", "Tasks that panicked: bugs of the host", self.panics.clone());
        self.sinks.register(registry);
    }
}
