//! A partition: its ends, its rows from tail and segments, and who follows it.
//!
//! ```text
//!      trim point        rolled            durable end     sequenced end
//!  ────────┬────────────────┬──────────────────┬─────────────────┬───►  offsets
//!  removed │    segments    │                  │                 │
//!                     └──── tail (memory): rolled rows leave it, oldest first ──┘
//! ```

mod hold;
mod upkeep;

use std::sync::Arc;

use arrow_array::RecordBatch;
use parking_lot::Mutex;
use tidemill_event::batch::concat;
use tidemill_event::{EventTime, Offset, PartitionKey, SchemaVersion, StreamDefinition};
use tokio::sync::watch;

use crate::error::{Damage, ReadError};
use crate::follow::Followers;
pub use crate::follow::Listening;
use crate::frame::FrameHead;
use crate::layout::Versions;
use crate::segment::SegmentError;
use crate::store::{SegmentStore, TailMemory};
use crate::tail::{Joined, Tail, TailBlock};
pub use hold::Hold;

/// Which rows a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// In the journal's order, maybe not on disk: only for those who feed the journal again.
    Sequenced,
    /// On disk.
    Durable,
}

/// How much a read returns at most; at least one row comes, however large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Rows.
    pub rows_max: usize,
    /// Bytes in memory, estimated from the rows' average.
    pub bytes_max: usize,
}

/// Rows that lie together in a partition, at one schema version.
#[derive(Debug, Clone)]
pub struct Block {
    /// The offset of the first row; the others follow without a gap.
    pub start: Offset,
    /// The schema version they were written at.
    pub version: SchemaVersion,
    /// The stream's definition at that version.
    pub schema: Arc<StreamDefinition>,
    /// The rows: an event batch, at least one row.
    pub rows: RecordBatch,
}

/// One partition of a stream.
pub struct Partition {
    key: PartitionKey,
    stream: u32,
    versions: Arc<Versions>,
    store: Arc<SegmentStore>,
    /// Of all its tenant's tails.
    tails: Arc<TailMemory>,
    state: Mutex<State>,
    followers: Arc<Followers>,
}

#[derive(Debug, Default)]
struct State {
    tail: Tail,
    sequenced: u64,
    durable: u64,
    trim: u64,
    /// The end of what was rolled before the newest roll: evicted first.
    rolled_before: u64,
    segments: Vec<SegmentPart>,
    damage: Option<Box<(u64, Damage)>>,
    appends: u32,
    /// Small blocks before this row were joined.
    joined: u64,
    deleted: bool,
    holds: hold::Holds,
}

/// The rows of this partition in one segment.
#[derive(Debug, Clone, Copy)]
struct SegmentPart {
    segment: u64,
    start: u64,
    end: u64,
    time_max: i64,
    age_time: i64,
    bytes: u64,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Partition {
    /// Its stream and number.
    pub fn key(&self) -> &PartitionKey {
        &self.key
    }

    /// The first unwritten offset, as visible.
    pub fn end(&self, visibility: Visibility) -> Offset {
        Offset(self.state.lock().end(visibility))
    }

    /// Whether its stream was deleted: no row of it can be read any more.
    pub fn is_deleted(&self) -> bool {
        self.state.lock().deleted
    }

    /// The first offset kept.
    pub fn trim_point(&self) -> Offset {
        Offset(self.state.lock().trim)
    }

    /// The rows from `from` on that lie together: at most `limit`, small appends joined; `None` at the end. May read a segment,
    /// which blocks the thread for a disk access.
    pub fn read(&self, from: Offset, limit: ReadLimit, visibility: Visibility) -> Result<Option<Block>, ReadError> {
        let (place, end) = {
            let state = self.state.lock();
            if state.deleted {
                return Err(ReadError::Deleted(self.key.stream.clone()));
            }
            if from.0 < state.trim {
                return Err(ReadError::Trimmed { from, trim_point: Offset(state.trim) });
            }
            let mut end = state.end(visibility);
            if let Some(damage) = &state.damage {
                if from.0 >= damage.0 && damage.0 < end {
                    return Err(ReadError::Corrupt { from, damage: damage.1.clone() });
                }
                end = end.min(damage.0);
            }
            if from.0 >= end {
                return if from.0 == end { Ok(None) } else { Err(ReadError::BeyondEnd { from, end: Offset(end) }) };
            }
            match state.tail.run(from.0, end, Joined::to_read(self.store.block_rows)) {
                Some(run) => (Place::Tail(run), end),
                None => (Place::Segment(state.segment_of(from.0)), end),
            }
        };
        let block = match place {
            Place::Tail(run) => self.join_run(run),
            Place::Segment(segment) => self.read_segment(from, segment)?,
        };
        let skip = (from.0 - block.start) as usize;
        let visible = (end - from.0) as usize;
        let rows = limit.rows(&block).min(block.rows.num_rows() - skip).min(visible);
        let version = SchemaVersion(block.version);
        let layout = self.layout(version);
        let rows = if skip == 0 && rows == block.rows.num_rows() { block.rows } else { block.rows.slice(skip, rows) };
        Ok(Some(Block { start: from, version, schema: Arc::clone(&layout.definition), rows }))
    }

    /// The first offset whose block may hold rows at or after `time`; the reader still filters rows. The durable end if none may.
    /// May read a segment's index.
    pub fn seek(&self, time: EventTime) -> Offset {
        let (segments, tail, trim, durable) = {
            let state = self.state.lock();
            let rolled = state.segments.last().map_or(0, |part| part.end);
            let tail = state
                .tail
                .blocks()
                .find(|block| block.time_max >= time.0 && block.end() > rolled)
                .map(|block| block.start.max(rolled));
            let segments: Vec<SegmentPart> = state.segments.iter().filter(|part| part.time_max >= time.0).copied().collect();
            (segments, tail, state.trim, state.durable)
        };
        let mut found = tail;
        for part in segments {
            // A segment whose index cannot be read is not skipped: the read that follows says what is wrong with it.
            let Ok(index) = self.store.index(part.segment) else {
                found = Some(part.start);
                break;
            };
            let (_, blocks) = index.partition(self.stream, self.key.partition.0);
            if let Some(block) = blocks.iter().find(|block| block.head.time_max >= time.0 && block.head.end() > trim) {
                found = Some(block.head.start);
                break;
            }
        }
        Offset(found.unwrap_or(durable).max(trim).min(durable.max(trim)))
    }

    /// The end offset, followed from async code.
    pub fn subscribe(&self, visibility: Visibility) -> watch::Receiver<Offset> {
        self.followers.subscribe(visibility, || self.end(visibility))
    }

    /// Calls `listener` after the end has moved, on a thread of the log: it must return at once and take no lock that is held
    /// while appending or reading.
    pub fn listen(&self, visibility: Visibility, listener: Arc<dyn Fn() + Send + Sync>) -> Listening {
        self.followers.listen(visibility, listener)
    }

    fn read_segment(&self, from: Offset, segment: Option<u64>) -> Result<TailBlock, ReadError> {
        let Some(segment) = segment else {
            let path = self.store.dir.clone();
            let what = format!("no segment of {} has offset {from}", self.key.stream);
            return Err(ReadError::Corrupt { from, damage: Damage { path, at_byte: 0, what } });
        };
        match self.store.read(segment, (self.stream, self.key.partition.0), from, &self.versions) {
            Ok((head, rows)) => {
                let FrameHead { start, version, time_max, .. } = head;
                Ok(TailBlock { start, version, rows, bytes: 0, time_max, age_time: time_max })
            }
            Err(error) => {
                // Trimmed, deleted or moved to another file while we looked: the file may be gone already.
                let (deleted, trim_point, now) = {
                    let state = self.state.lock();
                    (state.deleted, Offset(state.trim), state.segment_of(from.0))
                };
                if now.is_some_and(|now| now != segment) && trim_point <= from {
                    return self.read_segment(from, now);
                }
                Err(match error {
                    _ if deleted => ReadError::Deleted(self.key.stream.clone()),
                    _ if trim_point > from => ReadError::Trimmed { from, trim_point },
                    SegmentError::Disk(error) => ReadError::Disk(error),
                    SegmentError::Damage(damage) => ReadError::Corrupt { from, damage },
                })
            }
        }
    }

    /// Joins a run of blocks into one and leaves it in the tail for the next reader.
    fn join_run(&self, mut run: Vec<TailBlock>) -> TailBlock {
        if run.len() == 1 {
            return run.remove(0);
        }
        let latest = |time: fn(&TailBlock) -> i64| run.iter().map(time).max().unwrap_or(i64::MIN);
        let (time_max, age_time) = (latest(|block| block.time_max), latest(|block| block.age_time));
        let (start, version) = (run[0].start, run[0].version);
        let pieces: Vec<RecordBatch> = run.into_iter().map(|block| block.rows).collect();
        let rows = concat(&pieces);
        let joined = TailBlock { start, version, bytes: rows.get_array_memory_size(), rows, time_max, age_time };
        self.state.lock().tail.replace(joined.clone(), &self.tails);
        joined
    }
}

enum Place {
    Tail(Vec<TailBlock>),
    Segment(Option<u64>),
}

impl ReadLimit {
    fn rows(self, block: &TailBlock) -> usize {
        let count = block.rows.num_rows().max(1);
        let bytes = if block.bytes > 0 { block.bytes } else { block.rows.get_array_memory_size() };
        let by_bytes = self.bytes_max / (bytes / count).max(1);
        self.rows_max.min(by_bytes).max(1)
    }
}

impl State {
    fn end(&self, visibility: Visibility) -> u64 {
        match visibility {
            Visibility::Sequenced => self.sequenced,
            Visibility::Durable => self.durable,
        }
    }

    fn segment_of(&self, offset: u64) -> Option<u64> {
        let at = self.segments.partition_point(|part| part.start <= offset).checked_sub(1)?;
        self.segments.get(at).filter(|part| offset < part.end).map(|part| part.segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand tenants have many partitions that nobody writes: each costs this, two names that its stream shares, and no
    /// file handle.
    #[test]
    fn an_idle_partition_is_small() {
        let bytes = size_of::<Partition>() + size_of::<Followers>();
        assert!(bytes <= 384, "{bytes} bytes");
    }
}
