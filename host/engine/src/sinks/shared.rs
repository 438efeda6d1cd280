//! One sink of one partition, as status, metrics and its siblings see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidemill_connect::{Promise, SinkReader, WebhookTarget};
use tidemill_event::Offset;
use tidemill_log::{Log, Partition, Visibility};

use crate::status::SinkStatus;

/// Rows between two trims of an output partition.
const TRIM_ROWS: u64 = 10_000;

/// A sink of one partition.
pub(crate) struct SinkShared {
    /// `file: results`, `stdout`.
    pub(crate) target: String,
    pub(crate) promise: Promise,
    webhook: Option<Arc<WebhookTarget>>,
    pub(crate) partition: Arc<Partition>,
    next: AtomicU64,
    /// Rows in the batch under way.
    waiting: AtomicU64,
    /// A wake-up is in the queue: one is enough.
    woken: AtomicBool,
    seen: Mutex<Seen>,
}

/// What changes with a batch, not with a row.
#[derive(Default)]
struct Seen {
    rows: u64,
    bytes: u64,
    batches: u64,
    refused: u64,
    failures: u32,
    last_error: Option<String>,
}

impl SinkShared {
    pub(crate) fn new(
        target: String,
        promise: Promise,
        webhook: Option<Arc<WebhookTarget>>,
        partition: Arc<Partition>,
        start: Offset,
    ) -> Arc<Self> {
        let (next, waiting, woken) = (AtomicU64::new(start.0), AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { target, promise, webhook, partition, next, waiting, woken, seen: Mutex::default() })
    }

    pub(crate) fn status(&self) -> SinkStatus {
        let seen = self.seen.lock();
        SinkStatus {
            target: self.target.clone(),
            partition: self.partition.key().partition.0,
            promise: self.promise.as_str(),
            offset: self.next.load(Ordering::Relaxed),
            lag_records: self.lag_records(),
            waiting_records: self.waiting.load(Ordering::Relaxed),
            records: seen.rows,
            bytes: seen.bytes,
            batches: seen.batches,
            refused_records: seen.refused,
            retries: seen.failures,
            breaker: self.webhook.as_ref().map(|webhook| webhook.breaker()),
            last_error: seen.last_error.clone(),
        }
    }

    /// Rows on disk that are not at the target.
    pub(crate) fn lag_records(&self) -> u64 {
        self.partition.end(Visibility::Durable).0.saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// Whether everything that is on disk was taken.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.lag_records() == 0
    }

    /// Whether it was not woken yet since it last looked.
    pub(super) fn wake(&self) -> bool {
        !self.woken.swap(true, Ordering::AcqRel)
    }

    pub(super) fn looked(&self) {
        self.woken.store(false, Ordering::Release);
    }

    pub(super) fn stands(&self, reader: &SinkReader) {
        self.next.store(reader.offset().0, Ordering::Relaxed);
        self.waiting.store(reader.waiting_rows(), Ordering::Relaxed);
    }

    pub(super) fn committed(&self, rows: u64, bytes: u64) {
        let mut seen = self.seen.lock();
        seen.rows += rows;
        seen.bytes += bytes;
        seen.batches += 1;
        seen.failures = 0;
        seen.last_error = None;
    }

    /// The target will never take these rows; they are among the dead letters.
    pub(super) fn refused(&self, rows: u64) {
        let mut seen = self.seen.lock();
        seen.refused += rows;
        seen.failures = 0;
        seen.last_error = None;
    }

    /// It is tried again; `failures` in a row.
    pub(super) fn failed(&self, error: String, failures: u32) {
        let mut seen = self.seen.lock();
        seen.failures = failures;
        seen.last_error = Some(error);
    }
}

/// The sinks of one output partition: rows that all of them have are not kept.
pub(crate) struct Siblings {
    partition: Arc<Partition>,
    sinks: Vec<Arc<SinkShared>>,
    trimmed: AtomicU64,
}

impl Siblings {
    pub(super) fn new(partition: Arc<Partition>, sinks: Vec<Arc<SinkShared>>) -> Arc<Self> {
        let trimmed = AtomicU64::new(partition.trim_point().0);
        Arc::new(Self { partition, sinks, trimmed })
    }

    /// Called after a batch of any of them.
    pub(super) fn trim(&self, log: &Log) {
        let lowest = self.sinks.iter().map(|sink| sink.next.load(Ordering::Relaxed)).min().unwrap_or(0);
        let trimmed = self.trimmed.load(Ordering::Relaxed);
        // Two lanes may both trim: the second says what the first said.
        if lowest >= trimmed + TRIM_ROWS && log.trim(self.partition.key(), Offset(lowest)).is_ok() {
            self.trimmed.fetch_max(lowest, Ordering::Relaxed);
        }
    }
}
