//! The reader that drives a sink: gathers durable rows of one partition up to a bound, hands them over, moves on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_event::Offset;
use tidemill_event::batch;
use tidemill_log::{Partition, ReadError, ReadLimit, Visibility};

use crate::{Sink, SinkError, SinkRows};

/// How much one write takes, and how long rows wait for company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadBounds {
    /// At most this many rows, more only if one block has more.
    pub rows_max: usize,
    /// No further block beyond this size.
    pub bytes_max: usize,
    /// Rows that do not fill a write wait this long for more. Zero: they go at once.
    pub linger: Duration,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It wrote rows; there may be more.
    Wrote,
    /// There is nothing to write.
    AtEnd,
    /// Rows wait for company until then.
    Waiting(Instant),
}

/// Why a step failed. The next one tries the same rows again.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The target.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The stream.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// One partition on its way to a sink.
pub struct SinkReader {
    partition: Arc<Partition>,
    next: Offset,
    bounds: ReadBounds,
    /// When the first row that waits was seen.
    waiting_since: Option<Instant>,
}

impl SinkReader {
    /// Begins where the sink stopped; at `mark` if it cannot know; never below what the stream still has.
    pub fn open(partition: Arc<Partition>, sink: &mut dyn Sink, mark: Offset, bounds: ReadBounds) -> Result<Self, SinkError> {
        let stopped = sink.resume(partition.key().partition)?.unwrap_or(mark);
        let next = stopped.max(partition.trim_point());
        Ok(Self { partition, next, bounds, waiting_since: None })
    }

    /// The next row it takes.
    pub fn offset(&self) -> Offset {
        self.next
    }

    /// Rows that are on disk and not taken yet.
    pub fn lag_records(&self) -> u64 {
        self.partition.end(Visibility::Durable).0.saturating_sub(self.next.0)
    }

    /// Takes rows if there are enough, if they waited long enough, or if `flush` says so. Blocking.
    pub fn step(&mut self, sink: &mut dyn Sink, now: Instant, flush: bool) -> Result<Step, ReaderError> {
        if self.partition.end(Visibility::Durable) <= self.next {
            self.waiting_since = None;
            return Ok(Step::AtEnd);
        }
        let due = *self.waiting_since.get_or_insert(now) + self.bounds.linger;
        if !flush && now < due && self.lag_records() < self.bounds.rows_max as u64 {
            return Ok(Step::Waiting(due));
        }
        let rows = self.gather()?;
        if rows.blocks.is_empty() {
            return Ok(Step::AtEnd);
        }
        sink.write(&rows)?;
        self.next = rows.end();
        self.waiting_since = None;
        Ok(Step::Wrote)
    }

    fn gather(&self) -> Result<SinkRows, ReadError> {
        let mut rows = SinkRows { partition: self.partition.key().partition, blocks: Vec::new() };
        let (mut from, mut count, mut bytes) = (self.next, 0, 0);
        while count < self.bounds.rows_max && bytes < self.bounds.bytes_max {
            let limit = ReadLimit { rows_max: self.bounds.rows_max - count, bytes_max: self.bounds.bytes_max - bytes };
            let Some(block) = self.partition.read(from, limit, Visibility::Durable)? else { break };
            from = block.start.plus(block.rows.num_rows());
            count += block.rows.num_rows();
            bytes += batch::bytes(&block.rows).max(1);
            rows.blocks.push(block);
        }
        Ok(rows)
    }
}
