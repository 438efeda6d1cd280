//! What the log counts about itself, for metrics and tests.

use std::time::Duration;

/// Upper bounds of the sync latency buckets; the last bucket has no bound.
pub const SYNC_BUCKETS: [Duration; 10] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

/// A snapshot of the log's counters. Counts are since it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Groups written.
    pub groups: u64,
    /// Entries written.
    pub entries: u64,
    /// Frames written.
    pub frames: u64,
    /// Rows written.
    pub rows: u64,
    /// Bytes written to the journal, padding included.
    pub bytes: u64,
    /// Syncs of the journal that finished.
    pub syncs: u64,
    /// How many of them took at most [`SYNC_BUCKETS`]`[i]`, not cumulative; the last one counts the longer ones.
    pub sync_latency: [u64; SYNC_BUCKETS.len() + 1],
    /// Their times together.
    pub sync_time: Duration,
    /// Memory of the appends waiting for their group now.
    pub queue_bytes: u64,
    /// Memory of all tails now.
    pub tail_bytes: u64,
    /// What of it is not in segments yet.
    pub tail_unrolled_bytes: u64,
    /// Size of the journal files that hold rows not known to be in segments.
    pub journal_bytes: u64,
    /// Size of all segment files.
    pub segment_bytes: u64,
    /// How many there are.
    pub segments: u64,
    /// Disk space kept only because snapshots are being copied: their copies of the journal, and segments nobody else needs.
    pub snapshot_bytes: u64,
    /// Rolls finished.
    pub rolls: u64,
    /// Appends refused as overloaded.
    pub overloaded: u64,
    /// Whether new rows are refused because the disk is nearly full.
    pub disk_full: bool,
    /// Segment blocks read from memory.
    pub cache_hits: u64,
    /// Segment blocks read from disk.
    pub cache_misses: u64,
}
