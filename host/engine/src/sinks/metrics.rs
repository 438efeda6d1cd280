//! What sinks measure. Labels are names that an operator gave: pipeline and target.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::seed::SinkSeed;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    pipeline: String,
    target: String,
    partition: u32,
}

/// The metrics of all sinks. Clones count into the same series.
#[derive(Clone, Default)]
pub(crate) struct SinkMetrics {
    records: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    batches: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    lag: Family<Labels, Gauge<u64, AtomicU64>>,
}

impl SinkMetrics {
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
        let labels = labels(seed);
        self.records.get_or_create(&labels).inc_by(rows);
        self.bytes.get_or_create(&labels).inc_by(bytes);
        self.batches.get_or_create(&labels).inc();
    }

    pub(super) fn failed(&self, seed: &SinkSeed) {
        self.failures.get_or_create(&labels(seed)).inc();
    }

    pub(super) fn refused(&self, seed: &SinkSeed, rows: u64) {
        self.refused.get_or_create(&labels(seed)).inc_by(rows);
    }

    pub(super) fn stands(&self, seed: &SinkSeed) {
        self.lag.get_or_create(&labels(seed)).set(seed.shared.lag_records());
    }

    /// A pipeline that is gone has no lag.
    pub(super) fn ended(&self, seed: &SinkSeed) {
        self.lag.remove(&labels(seed));
    }
}

fn labels(seed: &SinkSeed) -> Labels {
    Labels {
        pipeline: seed.pipeline.to_string(),
        target: seed.shared.target.clone(),
        partition: seed.shared.partition.key().partition.0,
    }
}
