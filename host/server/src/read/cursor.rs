//! One reader's place in one partition: reads blocks of rows and says which of them were asked for. Blocks its thread.

use std::ops::Range;
use std::sync::Arc;

use tidemill_event::batch::times;
use tidemill_event::{EventTime, Offset, PartitionId};
use tidemill_log::{Block, Partition, ReadError, ReadLimit, Visibility};

/// Where a reader stands in a partition.
pub(crate) struct Cursor {
    partition: Arc<Partition>,
    next: Offset,
    /// Where it ends; `None` while it follows.
    end: Option<Offset>,
    since: Option<EventTime>,
    until: Option<EventTime>,
}

/// A block of a partition, and which of its rows a reader wants.
pub(crate) struct Taken {
    pub(crate) partition: PartitionId,
    pub(crate) block: Block,
    /// Rows of the block, ascending.
    pub(crate) runs: Vec<Range<usize>>,
    /// How many rows those are.
    pub(crate) rows: u64,
}

impl Cursor {
    pub(crate) fn new(partition: Arc<Partition>, start: Offset, end: Option<Offset>) -> Self {
        Self { partition, next: start, end, since: None, until: None }
    }

    /// Only rows with a time in `[since, until)`.
    pub(crate) fn between(mut self, since: Option<EventTime>, until: Option<EventTime>) -> Self {
        (self.since, self.until) = (since, until);
        self
    }

    pub(crate) fn partition(&self) -> PartitionId {
        self.partition.key().partition
    }

    /// The first offset it has not taken.
    pub(crate) fn next(&self) -> Offset {
        self.next
    }

    /// Whether a read has something to say now: rows that are asked for, or that the stream was deleted.
    pub(crate) fn has_more(&self) -> bool {
        if self.partition.is_deleted() {
            return true;
        }
        let durable = self.partition.end(Visibility::Durable);
        self.next < self.end.map_or(durable, |end| end.min(durable))
    }

    /// Reads what lies next, at most `rows_max` wanted rows of it. May want none of what it read, and have moved on.
    pub(crate) fn read(&mut self, limit: ReadLimit, rows_max: u64) -> Result<Option<Taken>, ReadError> {
        let Some(block) = self.partition.read(self.next, limit, Visibility::Durable)? else { return Ok(None) };
        let first = self.next.0.saturating_sub(block.start.0) as usize;
        let mut last = match self.end {
            Some(end) => block.rows.num_rows().min(end.0.saturating_sub(block.start.0) as usize),
            None => block.rows.num_rows(),
        };
        let mut runs = self.wanted(&block, first..last);
        let mut left = rows_max;
        for (index, run) in runs.iter_mut().enumerate() {
            run.end = run.end.min(run.start.saturating_add(usize::try_from(left).unwrap_or(usize::MAX)));
            left -= run.len() as u64;
            if left == 0 {
                last = run.end;
                runs.truncate(index + 1);
                break;
            }
        }
        self.next = block.start.plus(last.max(first));
        Ok(Some(Taken { partition: self.partition(), block, runs, rows: rows_max - left }))
    }

    /// The rows of `rows` whose times were asked for, as runs.
    fn wanted(&self, block: &Block, rows: Range<usize>) -> Vec<Range<usize>> {
        if self.since.is_none() && self.until.is_none() {
            return vec![rows];
        }
        let times = times(&block.rows).values();
        let fits = |row: usize| {
            let time = EventTime(times[row]);
            self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
        };
        let mut runs: Vec<Range<usize>> = Vec::new();
        for row in rows.filter(|row| fits(*row)) {
            match runs.last_mut() {
                Some(run) if run.end == row => run.end = row + 1,
                Some(_) | None => runs.push(row..row + 1),
            }
        }
        runs
    }
}
