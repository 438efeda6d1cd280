//! One sink of one partition, as status, metrics and its siblings see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidemill_connect::{BatchBounds, Promise, SinkReader, WebhookTarget};
use tidemill_event::Offset;
use tidemill_log::{Log, Partition, Visibility};

use super::again::Again;
use crate::status::SinkStatus;

/// Rows between two trims of an output partition.
const TRIM_ROWS: u64 = 10_000;

/// What a sink has that can refuse rows.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) webhook: Arc<WebhookTarget>,
    /// What is sent to it again.
    pub(crate) again: Arc<Again>,
    /// How much goes in one request.
    pub(crate) bounds: BatchBounds,
}

/// A sink of one partition.
pub(crate) struct SinkShared {
    /// `file: results`, `stdout`.
    pub(crate) target: String,
    pub(crate) promise: Promise,
    pub(crate) receiver: Option<Receiver>,
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
        receiver: Option<Receiver>,
        partition: Arc<Partition>,
        start: Offset,
    ) -> Arc<Self> {
        let (next, waiting, woken) = (AtomicU64::new(start.0), AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { target, promise, receiver, partition, next, waiting, woken, seen: Mutex::default() })
    }

    /// Whether it is the same target of the same partition.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.target == other.target && self.partition.key() == other.partition.key()
    }

    /// Counts on where the sink before it stopped counting.
    pub(crate) fn go_on_from(&self, before: &Self) {
        let (rows, bytes, batches, refused) = {
            let seen = before.seen.lock();
            (seen.rows, seen.bytes, seen.batches, seen.refused)
        };
        let mut seen = self.seen.lock();
        seen.rows += rows;
        seen.bytes += bytes;
        seen.batches += batches;
        seen.refused += refused;
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
            again_records: self.receiver.as_ref().map_or(0, |receiver| receiver.again.waiting() as u64),
            breaker: self.receiver.as_ref().map(|receiver| receiver.webhook.breaker()),
            last_error: seen.last_error.clone(),
        }
    }

    /// The first row that is not at the target for certain.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
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
