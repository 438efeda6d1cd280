//! One reader's place in one partition: reads blocks of rows, drops what was not asked for, and writes lines. Blocks its thread.

use std::ops::Range;
use std::sync::Arc;

use tidemill_event::batch::times;
use tidemill_event::json::{Place as LinePlace, RowEncoder};
use tidemill_event::{EventTime, Offset, SchemaVersion};
use tidemill_log::{Block, Partition, ReadError, ReadLimit, Visibility};

use crate::bounds::{READ_BYTES, READ_ROWS};

/// Where a reader stands in a partition.
pub(crate) struct Cursor {
    pub(crate) partition: Arc<Partition>,
    next: Offset,
    /// Where it ends; `None` while it follows.
    end: Option<Offset>,
    since: Option<EventTime>,
    until: Option<EventTime>,
    encoder: Option<(SchemaVersion, RowEncoder)>,
}

impl Cursor {
    pub(crate) fn new(partition: Arc<Partition>, start: Offset, end: Option<Offset>) -> Self {
        Self { partition, next: start, end, since: None, until: None, encoder: None }
    }

    /// Only rows with a time in `[since, until)`.
    pub(crate) fn between(mut self, since: Option<EventTime>, until: Option<EventTime>) -> Self {
        (self.since, self.until) = (since, until);
        self
    }

    /// Whether a read has something to say now: rows that are asked for, or that the stream was deleted.
    pub(crate) fn has_more(&self) -> bool {
        if self.partition.is_deleted() {
            return true;
        }
        let durable = self.partition.end(Visibility::Durable);
        self.next < self.end.map_or(durable, |end| end.min(durable))
    }

    /// Reads what lies next and writes its rows as lines, at most `rows_max` of them; how many it wrote. May write none and have
    /// moved on.
    pub(crate) fn read(&mut self, rows_max: u64, lines: &mut Vec<u8>) -> Result<u64, ReadError> {
        let limit = ReadLimit { rows_max: READ_ROWS, bytes_max: READ_BYTES };
        let Some(block) = self.partition.read(self.next, limit, Visibility::Durable)? else { return Ok(0) };
        let first = self.next.0.saturating_sub(block.start.0) as usize;
        let last = match self.end {
            Some(end) => block.rows.num_rows().min(end.0.saturating_sub(block.start.0) as usize),
            None => block.rows.num_rows(),
        };
        let mut left = rows_max;
        for rows in self.wanted(&block, first..last) {
            let rows = rows.start..rows.end.min(rows.start.saturating_add(usize::try_from(left).unwrap_or(usize::MAX)));
            left -= rows.len() as u64;
            self.encoder(&block).encode(&block.rows, rows, block.start, lines);
            if left == 0 {
                break;
            }
        }
        self.next = block.start.plus(last.max(first));
        Ok(rows_max - left)
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

    fn encoder(&mut self, block: &Block) -> &mut RowEncoder {
        let fits = self.encoder.as_ref().is_some_and(|(version, _)| *version == block.version);
        if !fits {
            self.encoder = None;
        }
        let partition = self.partition.key().partition;
        let make = || (block.version, RowEncoder::new(&block.schema.schema, Some(LinePlace { partition })));
        &mut self.encoder.get_or_insert_with(make).1
    }
}
