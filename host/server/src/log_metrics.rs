//! What the log counts about itself, as metrics: read from it whenever somebody asks, kept nowhere.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tidemill_log::{Log, LogStats, SYNC_BUCKETS};

/// The log's counters as a collector.
pub(crate) struct LogMetrics {
    log: Log,
}

impl LogMetrics {
    pub(crate) fn new(log: Log) -> Self {
        Self { log }
    }
}

impl fmt::Debug for LogMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogMetrics")
    }
}

impl Collector for LogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.log.stats();
        for (name, help, value) in counters(&stats) {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        for (name, help, value) in gauges(&stats) {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let bounds = SYNC_BUCKETS.iter().map(|bound| bound.as_secs_f64()).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(stats.sync_latency).collect();
        let help = "Time of one sync of the journal";
        encoder.encode_descriptor("tidemill_log_sync_seconds", help, None, MetricType::Histogram)?.encode_histogram::<NoLabelSet>(
            stats.sync_time.as_secs_f64(),
            stats.sync_latency.iter().sum(),
            &buckets,
            None,
        )
    }
}

fn counters(stats: &LogStats) -> [(&'static str, &'static str, u64); 9] {
    [
        ("tidemill_log_groups", "Groups written to the journal", stats.groups),
        ("tidemill_log_entries", "Entries written to the journal", stats.entries),
        ("tidemill_log_rows", "Rows written to the journal", stats.rows),
        ("tidemill_log_bytes", "Bytes written to the journal, padding included", stats.bytes),
        ("tidemill_log_syncs", "Syncs of the journal that finished", stats.syncs),
        ("tidemill_log_rolls", "Rolls from the journal to segments", stats.rolls),
        ("tidemill_log_overloaded", "Appends refused because the queue was full", stats.overloaded),
        ("tidemill_log_cache_hits", "Segment blocks read from memory", stats.cache_hits),
        ("tidemill_log_cache_misses", "Segment blocks read from disk", stats.cache_misses),
    ]
}

fn gauges(stats: &LogStats) -> [(&'static str, &'static str, u64); 8] {
    [
        ("tidemill_log_queue_bytes", "Appends waiting for their group", stats.queue_bytes),
        ("tidemill_log_tail_bytes", "Memory of all tails", stats.tail_bytes),
        ("tidemill_log_tail_unrolled_bytes", "What of it is not in segments yet", stats.tail_unrolled_bytes),
        ("tidemill_log_journal_bytes", "Journal files that hold rows not known to be in segments", stats.journal_bytes),
        ("tidemill_log_segment_bytes", "Size of all segment files", stats.segment_bytes),
        ("tidemill_log_segments", "Segment files", stats.segments),
        ("tidemill_log_snapshot_bytes", "Disk space kept only for backups under way", stats.snapshot_bytes),
        ("tidemill_log_disk_full", "1 while new rows are refused because the disk is nearly full", u64::from(stats.disk_full)),
    ]
}
