//! What sinks measure. Labels are names that an operator gave: tenant, pipeline and target. They go with their pipeline.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tidemill_event::{PipelineName, TenantName};

use super::seed::SinkSeed;
use crate::metrics::Named;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    tenant: String,
    pipeline: String,
    target: String,
    partition: u32,
}

/// The metrics of all sinks. Clones count into the same series.
#[derive(Clone)]
pub(crate) struct SinkMetrics {
    records: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    batches: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    lag: Family<Labels, Gauge<u64, AtomicU64>>,
    /// Pipelines that have series.
    named: Named,
    /// The series there are.
    made: Arc<Mutex<HashSet<Labels>>>,
}

impl SinkMetrics {
    pub(crate) fn new(named: Named) -> Self {
        Self {
            records: Family::default(),
            bytes: Family::default(),
            batches: Family::default(),
            failures: Family::default(),
            refused: Family::default(),
            lag: Family::default(),
            named,
            made: Arc::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("sink_records", "Rows that sinks have brought to their targets", self.records.clone());
        registry.register_with_unit(
            "sink_written",
            "Bytes of the same, as the targets see them",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register("sink_batches", "Files closed, requests answered, pieces of output written", self.batches.clone());
        registry.register("sink_failures", "Attempts of sinks that failed and are made again", self.failures.clone());
        registry.register("sink_refused", "Rows that targets refused for good, now among the dead letters", self.refused.clone());
        registry.register("sink_lag_records", "Rows on disk that a sink has not brought to its target", self.lag.clone());
    }

    pub(super) fn committed(&self, seed: &SinkSeed, rows: u64, bytes: u64) {
        let Some(labels) = self.labels(seed) else { return };
        self.records.get_or_create(&labels).inc_by(rows);
        self.bytes.get_or_create(&labels).inc_by(bytes);
        self.batches.get_or_create(&labels).inc();
    }

    pub(super) fn failed(&self, seed: &SinkSeed) {
        if let Some(labels) = self.labels(seed) {
            self.failures.get_or_create(&labels).inc();
        }
    }

    pub(super) fn refused(&self, seed: &SinkSeed, rows: u64) {
        if let Some(labels) = self.labels(seed) {
            self.refused.get_or_create(&labels).inc_by(rows);
        }
    }

    pub(super) fn stands(&self, seed: &SinkSeed) {
        if let Some(labels) = self.labels(seed) {
            self.lag.get_or_create(&labels).set(seed.shared.lag_records());
        }
    }

    /// A pipeline that does not run has no lag.
    pub(super) fn ended(&self, seed: &SinkSeed) {
        if let Some(labels) = self.labels(seed) {
            self.lag.remove(&labels);
        }
    }

    /// The pipeline is gone, and so are the series of its sinks.
    pub(crate) fn forget(&self, tenant: &TenantName, pipeline: &PipelineName) {
        let is_of_it = |labels: &Labels| labels.tenant == tenant.as_str() && labels.pipeline == pipeline.as_str();
        let gone: Vec<Labels> = self.made.lock().extract_if(is_of_it).collect();
        for labels in &gone {
            for counter in [&self.records, &self.bytes, &self.batches, &self.failures, &self.refused] {
                counter.remove(labels);
            }
            self.lag.remove(labels);
        }
    }

    /// `None`: its pipeline has no series.
    fn labels(&self, seed: &SinkSeed) -> Option<Labels> {
        let labels = Labels {
            tenant: seed.tenant.to_string(),
            pipeline: seed.pipeline.to_string(),
            target: seed.shared.target.clone(),
            partition: seed.shared.partition.key().partition.0,
        };
        self.named.takes(&seed.tenant, &seed.pipeline).then(|| {
            self.made.lock().insert(labels.clone());
            labels
        })
    }
}
