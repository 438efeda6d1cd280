//! The reader that drives a sink: gathers durable rows of one partition into batches, has them committed, knows where it stands.
//!
//! ```text
//!   offsets ───┬──────────────┬─────────────┬──────────────┬──►
//!          committed     rows in the       next         durable end
//!                        batch under way
//! ```
//! An error is treated like a crash: the batch is thrown away, the target is asked again, and rows from `committed` on come again.
//! So there is one way to recover, and it is used every day.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_event::{Backoff, Offset, OffsetRange};
use tidemill_log::{Partition, ReadError, ReadLimit, Visibility};

use crate::{BatchKey, Mark, MarkStore, Promise, RefusedRows, Sink, SinkError};

/// Rows and bytes in memory of one read.
const READ: ReadLimit = ReadLimit { rows_max: 8_192, bytes_max: 1 << 20 };
/// A batch that is due may take rows that are there already for this long.
const GRACE: Duration = Duration::from_millis(20);
/// The wait behind the first failure is at most this long.
pub const RETRY_FIRST: Duration = Duration::from_millis(200);
/// And behind many.
pub const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// When a batch is committed: at whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchBounds {
    /// It has this many rows.
    pub rows: u64,
    /// It has about this many bytes.
    pub bytes: u64,
    /// Its first row has waited this long. Zero: as soon as there are no more rows.
    pub every: Duration,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Rows joined the batch; there may be more.
    Added,
    /// A batch is where it belongs.
    Committed {
        /// Its rows.
        rows: u64,
        /// Its size at the target.
        bytes: u64,
    },
    /// The target will never take a batch: its rows are kept elsewhere.
    Refused {
        /// Its rows.
        rows: u64,
    },
    /// There is nothing to write.
    AtEnd,
    /// Nothing to do before then: rows wait for company, or the target is left alone.
    Waiting(Instant),
}

/// Why a step failed. A later one tries the same rows again.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The target.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The stream.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What a reader is made of.
pub struct ReaderParts {
    /// The rows.
    pub partition: Arc<Partition>,
    /// Where they go.
    pub sink: Box<dyn Sink>,
    /// Where its place is kept.
    pub marks: Box<dyn MarkStore>,
    /// Where it begins if neither the target nor a mark says so.
    pub start: Offset,
    /// When batches are committed.
    pub bounds: BatchBounds,
    /// The waits behind failures.
    pub backoff: Backoff,
    /// The random part of its batch keys, if there is no mark yet.
    pub life: String,
    /// What becomes of rows that the target will never take; `None`: they are tried again for ever, and nothing behind them goes.
    pub refused: Option<Box<dyn RefusedRows>>,
}

/// One partition on its way to a sink.
pub struct SinkReader {
    parts: ReaderParts,
    mark: Mark,
    /// The mark is ahead of what is stored.
    mark_is_new: bool,
    /// Where the sink stands was asked since the last error.
    resumed: bool,
    committed: Offset,
    next: Offset,
    batch: Option<Batch>,
    not_before: Option<Instant>,
}

struct Batch {
    rows: u64,
    bytes: u64,
    due: Instant,
    is_full: bool,
}

impl SinkReader {
    /// A reader that asks the target where it stopped at its first step.
    pub fn new(parts: ReaderParts) -> Self {
        let stored = parts.marks.load();
        let mark = stored.unwrap_or_else(|| Mark { next: parts.start, sending: None, life: parts.life.clone() });
        let next = mark.next;
        Self { parts, mark, mark_is_new: false, resumed: false, committed: next, next, batch: None, not_before: None }
    }

    /// The first row that is not where it belongs.
    pub fn offset(&self) -> Offset {
        self.committed
    }

    /// Rows in the batch under way.
    pub fn waiting_rows(&self) -> u64 {
        self.batch.as_ref().map_or(0, |batch| batch.rows)
    }

    /// Failures since the last batch that was committed.
    pub fn failures(&self) -> u32 {
        self.parts.backoff.failures()
    }

    /// It failed, and does nothing before then.
    pub fn waits_until(&self) -> Option<Instant> {
        self.not_before
    }

    /// Adds rows to the batch, or commits it if it is full, due, or `flush` says so and there are no more. Blocking.
    pub fn step(&mut self, now: Instant, flush: bool) -> Result<Step, ReaderError> {
        if let Some(until) = self.not_before.filter(|until| now < *until) {
            return Ok(Step::Waiting(until));
        }
        self.not_before = None;
        let done = self.advance(now, flush);
        if let Err(error) = &done {
            let wait = match error {
                ReaderError::Sink(SinkError::LeftAlone { wait, .. }) => *wait,
                ReaderError::Sink(SinkError::NotTaken { asked, .. }) => self.parts.backoff.failed(*asked),
                ReaderError::Sink(_) | ReaderError::Read(_) => self.parts.backoff.failed(None),
            };
            self.not_before = Some(now + wait);
            self.parts.sink.discard();
            self.batch = None;
            self.resumed = false;
        }
        done
    }

    fn advance(&mut self, now: Instant, flush: bool) -> Result<Step, ReaderError> {
        if !self.resumed {
            self.resume()?;
        }
        if self.batch.as_ref().is_some_and(|batch| batch.is_full || (!self.is_pinned() && now >= batch.due + GRACE)) {
            return self.commit();
        }
        let durable = self.parts.partition.end(Visibility::Durable);
        let end = self.mark.sending.unwrap_or(durable);
        let Some(room) = end.0.checked_sub(self.next.0).filter(|rows| *rows > 0) else {
            return match &self.batch {
                None => {
                    self.store_mark()?;
                    Ok(Step::AtEnd)
                }
                Some(batch) if flush || self.is_pinned() || now >= batch.due => self.commit(),
                Some(batch) => Ok(Step::Waiting(batch.due)),
            };
        };
        let bounds = self.parts.bounds;
        let (rows, bytes) = self.batch.as_ref().map_or((0, 0), |batch| (batch.rows, batch.bytes));
        let (rows_room, bytes_room) = match self.is_pinned() {
            // It was sent with these rows, maybe under other bounds.
            true => (room, u64::MAX),
            false => (room.min(bounds.rows.saturating_sub(rows).max(1)), bounds.bytes.saturating_sub(bytes)),
        };
        let limit = ReadLimit { rows_max: READ.rows_max.min(usize::try_from(rows_room).unwrap_or(usize::MAX)), ..READ };
        let Some(block) = self.parts.partition.read(self.next, limit, Visibility::Durable)? else { return Ok(Step::AtEnd) };
        if self.batch.is_some() && !self.parts.sink.fits(&block) {
            return self.commit();
        }
        let added = self.parts.sink.add(&block, bytes_room)?;
        let rows = rows + added.rows as u64;
        self.next = self.next.plus(added.rows);
        let is_full = match self.mark.sending {
            Some(end) => self.next >= end,
            None => rows >= bounds.rows || added.batch_bytes >= bounds.bytes || added.rows < block.rows.num_rows(),
        };
        let due = self.batch.as_ref().map_or(now + bounds.every, |batch| batch.due);
        self.batch = Some(Batch { rows, bytes: added.batch_bytes, due, is_full });
        Ok(Step::Added)
    }

    /// Whether the batch under way has to be the one that may have been sent already.
    fn is_pinned(&self) -> bool {
        self.mark.sending.is_some()
    }

    fn resume(&mut self) -> Result<(), SinkError> {
        let stopped = self.parts.sink.resume()?;
        let end = self.parts.partition.end(Visibility::Durable);
        let from = stopped.unwrap_or(self.mark.next);
        if from.max(self.mark.sending.unwrap_or(from)) > end {
            let place = self.parts.partition.key().stream.to_string();
            return Err(SinkError::Foreign { place: format!("the target of {place}"), has: from, end });
        }
        let kept = self.parts.partition.trim_point();
        if kept > from {
            tracing::warn!(stream = %self.parts.partition.key().stream, %from, %kept, "rows were removed before the sink took them");
            self.mark = Mark { next: kept, sending: None, ..self.mark.clone() };
        }
        self.committed = from.max(kept);
        self.next = self.committed;
        self.resumed = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<Step, ReaderError> {
        let promise = self.parts.sink.promise();
        if promise == Promise::OncePerKey && !self.is_pinned() {
            let mark = Mark { next: self.committed, sending: Some(self.next), life: self.mark.life.clone() };
            self.parts.marks.store(&mark)?;
            (self.mark, self.mark_is_new) = (mark, false);
        }
        let range = OffsetRange { start: self.committed, end: self.next };
        let partition = self.parts.partition.key().partition;
        let done = self.parts.sink.commit(&BatchKey { life: &self.mark.life, partition, range });
        let refused = match (done, &self.parts.refused) {
            (Ok(()), _) => false,
            (Err(SinkError::Refused { what }), Some(refused)) => {
                refused.keep(range, &what)?;
                self.parts.sink.discard();
                true
            }
            (Err(error), _) => return Err(error.into()),
        };
        let Batch { rows, bytes, .. } = self.batch.take().expect("a batch is under way");
        self.committed = self.next;
        self.parts.backoff.succeeded();
        self.mark = Mark { next: self.next, sending: None, life: self.mark.life.clone() };
        match promise {
            // The target knows.
            Promise::ExactlyOnce => {}
            // The next batch's range says it too; it is noted alone when there is no next one.
            Promise::OncePerKey => self.mark_is_new = true,
            Promise::AtLeastOnce => {
                self.mark_is_new = true;
                self.store_mark()?;
            }
        }
        Ok(if refused { Step::Refused { rows } } else { Step::Committed { rows, bytes } })
    }

    fn store_mark(&mut self) -> Result<(), SinkError> {
        if self.mark_is_new {
            self.parts.marks.store(&self.mark)?;
            self.mark_is_new = false;
        }
        Ok(())
    }
}
