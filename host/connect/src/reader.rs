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
/// Refusals that one batch may cost while its bad rows are looked for: eight bad rows of 500 are found. Then what is refused goes as
/// it is: a receiver that takes nothing is not asked twice for each row.
const REFUSALS_MAX: u32 = 128;

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
    /// The target refused a batch, whose halves are tried next.
    Halved,
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
    /// What becomes of rows that the target will never take, when they were told from the others of their batch; `None`: they are
    /// tried again for ever, and nothing behind them goes.
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
    /// Refusals of the batch under way and of its pieces.
    refusals: u32,
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
        let mark = stored.unwrap_or_else(|| Mark::new(parts.start, parts.life.clone()));
        let next = mark.next;
        let (mark_is_new, resumed, refusals) = (false, false, 0);
        Self { parts, mark, mark_is_new, resumed, refusals, committed: next, next, batch: None, not_before: None }
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
            self.mark = self.mark.anew(kept);
        }
        self.committed = from.max(kept);
        self.next = self.committed;
        self.resumed = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<Step, ReaderError> {
        let promise = self.parts.sink.promise();
        let is_pinned = self.is_pinned();
        if !is_pinned {
            self.refusals = 0;
            if promise == Promise::OncePerKey {
                self.note(Mark { sending: Some(self.next), ..self.mark.anew(self.committed) })?;
            }
        }
        let range = OffsetRange { start: self.committed, end: self.next };
        let key = BatchKey { life: &self.mark.life, partition: self.parts.partition.key().partition, range };
        let refused = self.parts.refused.as_ref();
        if is_pinned && refused.is_some_and(|refused| refused.is_kept(&key)) {
            return self.kept_elsewhere();
        }
        match (self.parts.sink.commit(&key), refused) {
            (Ok(()), _) => {}
            (Err(SinkError::Refused { what }), Some(refused)) => {
                self.refusals += 1;
                let may_halve = promise == Promise::OncePerKey && self.refusals < REFUSALS_MAX;
                if let Some(halved) = self.mark.halved(range.end).filter(|_| may_halve) {
                    return self.halve(halved);
                }
                refused.keep(&key, &what)?;
                return self.kept_elsewhere();
            }
            (Err(error), _) => return Err(error.into()),
        }
        let Batch { rows, bytes, .. } = self.settled();
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
        Ok(Step::Committed { rows, bytes })
    }

    /// The batch under way is where it belongs, or among the refused.
    fn settled(&mut self) -> Batch {
        self.committed = self.next;
        self.parts.backoff.succeeded();
        self.mark = self.mark.behind(self.next);
        self.batch.take().expect("a batch is under way")
    }

    /// The rows of the batch under way are kept elsewhere. That is noted at once: a receiver that has changed its mind must not get
    /// them as well.
    fn kept_elsewhere(&mut self) -> Result<Step, ReaderError> {
        self.parts.sink.discard();
        let Batch { rows, .. } = self.settled();
        self.mark_is_new = true;
        self.store_mark()?;
        Ok(Step::Refused { rows })
    }

    /// The batch under way was refused: its first half is the next batch, and the second follows.
    fn halve(&mut self, halved: Mark) -> Result<Step, ReaderError> {
        self.note(halved)?;
        self.parts.sink.discard();
        self.batch = None;
        self.next = self.committed;
        Ok(Step::Halved)
    }

    fn note(&mut self, mark: Mark) -> Result<(), SinkError> {
        self.parts.marks.store(&mark)?;
        (self.mark, self.mark_is_new) = (mark, false);
        Ok(())
    }

    fn store_mark(&mut self) -> Result<(), SinkError> {
        if self.mark_is_new {
            self.parts.marks.store(&self.mark)?;
            self.mark_is_new = false;
        }
        Ok(())
    }
}
