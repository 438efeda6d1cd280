//! What the log's own threads do with a partition: give rows their offsets, move its ends, roll, trim, recover.

use std::sync::Arc;

use arrow_array::RecordBatch;
use parking_lot::Mutex;
use tidemill_event::{Offset, PartitionKey, SchemaVersion};

use super::{Partition, SegmentPart, State, Visibility};
use crate::change::PartMeta;
use crate::error::Damage;
use crate::follow::Followers;
use crate::frame::{FrameHead, time_range};
use crate::layout::{Layout, Versions};
use crate::retention::Run;
use crate::segment::SegmentError;
use crate::store::{SegmentStore, TailMemory};
use crate::tail::{Joined, TailBlock};

/// After so many appends a partition's tail is looked through for small blocks to join.
const APPENDS_UNTIL_JOIN: u32 = 512;

impl Partition {
    pub(crate) fn new(
        key: PartitionKey,
        stream: u32,
        versions: Arc<Versions>,
        store: Arc<SegmentStore>,
        tails: Arc<TailMemory>,
    ) -> Self {
        Self {
            key,
            stream,
            versions,
            store,
            tails,
            state: Mutex::new(State::default()),
            followers: Arc::new(Followers::default()),
        }
    }

    /// The stream's and its own number, as in frames.
    pub(crate) fn numbers(&self) -> (u32, u32) {
        (self.stream, self.key.partition.0)
    }

    /// Memory of its tenant's tails.
    pub(crate) fn tails(&self) -> &TailMemory {
        &self.tails
    }

    pub(crate) fn layout(&self, version: SchemaVersion) -> Arc<Layout> {
        self.versions.at(version).expect("rows are written at versions that exist")
    }

    /// Gives rows their offsets. Returns the first, and whether the tail should be looked through for small blocks.
    pub(crate) fn sequence(&self, rows: RecordBatch, version: SchemaVersion, bytes: usize, time_max: i64) -> (Offset, bool) {
        let mut state = self.state.lock();
        let start = state.sequenced;
        state.sequenced += rows.num_rows() as u64;
        if state.deleted {
            // Deleted while they waited for their group: as if they had come before.
            return (Offset(start), false);
        }
        state.tail.push(TailBlock { start, version: version.0, rows, bytes, time_max, age_time: time_max }, &self.tails);
        state.appends += 1;
        let join = state.appends >= APPENDS_UNTIL_JOIN;
        if join {
            state.appends = 0;
        }
        (Offset(start), join)
    }

    /// Tells followers of the sequenced end.
    pub(crate) fn announce_sequenced(&self) {
        self.followers.moved(Visibility::Sequenced, self.end(Visibility::Sequenced));
    }

    pub(crate) fn set_durable(&self, end: Offset) {
        let mut state = self.state.lock();
        state.durable = state.durable.max(end.0);
    }

    /// Tells followers of the durable end.
    pub(crate) fn announce_durable(&self) {
        self.followers.moved(Visibility::Durable, self.end(Visibility::Durable));
    }

    /// Joins small blocks of the tail.
    pub(crate) fn join_small(&self) {
        let joined = Joined::to_keep(self.store.block_rows);
        let mut from = {
            let state = self.state.lock();
            state.tail.blocks().next().map(|block| block.start.max(state.joined))
        };
        while let Some(at) = from {
            let run = self.state.lock().tail.run(at, u64::MAX, joined);
            let Some(run) = run else { break };
            from = run.last().map(TailBlock::end);
            if run.len() > 1 {
                self.join_run(run);
            }
        }
        if let Some(to) = from {
            self.state.lock().joined = to;
        }
    }

    /// The damage that stops it, if any.
    pub(crate) fn damage(&self) -> Option<Damage> {
        self.state.lock().damage.as_ref().map(|damage| damage.1.clone())
    }

    pub(crate) fn set_damage(&self, start: u64, damage: Damage) {
        let mut state = self.state.lock();
        if state.damage.as_ref().is_none_or(|known| known.0 > start) {
            state.damage = Some(Box::new((start, damage)));
        }
    }

    pub(crate) fn known_damage(&self) -> Option<(u64, Damage)> {
        self.state.lock().damage.as_deref().cloned()
    }

    /// Its stream is deleted: nobody reads a row any more, and nothing of it stays in memory.
    pub(crate) fn delete(&self) {
        let _gone = {
            let mut state = self.state.lock();
            let state = &mut *state;
            state.deleted = true;
            state.segments = Vec::new();
            state.tail.clear(&self.tails)
        };
        self.followers.wake();
    }

    /// Rows below `before` may vanish.
    pub(crate) fn trim(&self, before: u64) {
        let mut locked = self.state.lock();
        let state = &mut *locked;
        if before <= state.trim {
            return;
        }
        state.trim = before;
        // After a restart from segments alone the trim point may be all that is left of where the partition ended.
        state.sequenced = state.sequenced.max(before);
        state.tail.roll(before, &self.tails);
        let gone = state.tail.evict(before, &self.tails);
        drop(locked);
        drop(gone);
    }

    /// A segment holds these rows now.
    pub(crate) fn add_segment(&self, segment: u64, part: &PartMeta) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let PartMeta { start, end, time_max, age_time, bytes, .. } = *part;
        // Where the rows were moved from comes first, and goes right after.
        let place = state.segments.partition_point(|known| known.start <= start);
        state.segments.insert(place, SegmentPart { segment, start, end, time_max, age_time, bytes });
        if part.end > state.tail.rolled() {
            state.rolled_before = state.tail.rolled();
            state.tail.roll(part.end, &self.tails);
        }
        state.sequenced = state.sequenced.max(part.end);
    }

    pub(crate) fn remove_segment(&self, segment: u64) {
        self.state.lock().segments.retain(|part| part.segment != segment);
    }

    /// The durable rows that no segment has yet, without those that were trimmed.
    pub(crate) fn unrolled(&self) -> Vec<TailBlock> {
        let state = self.state.lock();
        let (from, to) = (state.tail.rolled().max(state.trim), state.durable);
        let blocks = state.tail.blocks().filter(|block| block.end() > from && block.start < to);
        let slice = |block: &TailBlock| {
            let skip = from.saturating_sub(block.start) as usize;
            let rows = (block.end().min(to) - block.start) as usize - skip;
            let (start, bytes) = (block.start + skip as u64, block.bytes);
            TailBlock { start, rows: block.rows.slice(skip, rows), bytes, ..block.clone() }
        };
        blocks.map(slice).collect()
    }

    /// The block of a segment that holds the row at `from`, from that segment and no other.
    pub(crate) fn segment_block(&self, segment: u64, from: u64) -> Result<TailBlock, SegmentError> {
        let (head, rows) = self.store.read(segment, self.numbers(), Offset(from), &self.versions)?;
        let bytes = rows.get_array_memory_size();
        let FrameHead { start, version, time_max, .. } = head;
        Ok(TailBlock { start, version, rows, bytes, time_max, age_time: time_max })
    }

    /// Whether rows wait to be rolled.
    pub(crate) fn has_unrolled(&self) -> bool {
        let state = self.state.lock();
        !state.deleted && state.tail.rolled().max(state.trim) < state.durable
    }

    /// Where rows that may go end: what is durable and nobody holds.
    fn free_end(state: &State) -> u64 {
        state.holds.lowest().map_or(state.durable, |held| held.min(state.durable))
    }

    /// The end of the runs of rows at its start of which every one is older than `time`. It is `now`: rows that claim to be of later
    /// are taken to have come by now at the latest, and that stays with them.
    pub(crate) fn older_than(&self, time: i64, now: i64) -> u64 {
        let mut state = self.state.lock();
        state.tail.came_by(now);
        let free = Self::free_end(&state);
        let mut end = state.trim;
        let segments = state.segments.iter().map(|part| (part.start, part.end, part.age_time));
        let blocks = state.tail.blocks().map(|block| (block.start, block.end(), block.age_time));
        for (start, run_end, age_time) in segments.chain(blocks) {
            if run_end <= end {
                continue;
            }
            if start > end || run_end > free || age_time >= time {
                break;
            }
            end = run_end;
        }
        end
    }

    /// Ranges of rows that are kept, and are in no segment and not in the tail.
    pub(crate) fn missing(&self) -> Vec<(u64, u64)> {
        let state = self.state.lock();
        let segments = state.segments.iter().map(|part| (part.start, part.end));
        let blocks = state.tail.blocks().map(|block| (block.start, block.end()));
        let (mut missing, mut at) = (Vec::new(), state.trim);
        for (start, end) in segments.chain(blocks) {
            if start > at {
                missing.push((at, start));
            }
            at = at.max(end);
        }
        missing
    }

    /// Its segments, oldest first, and where what may go ends.
    pub(crate) fn segment_runs(&self) -> (Vec<Run>, u64) {
        let state = self.state.lock();
        let kept = state.segments.iter().filter(|part| part.end > state.trim);
        let runs = kept.map(|part| Run { end: part.end, age_time: part.age_time, bytes: part.bytes });
        (runs.collect(), Self::free_end(&state))
    }

    /// Drops rolled rows from memory: all, or only those of earlier rolls.
    pub(crate) fn evict(&self, all: bool) {
        let mut state = self.state.lock();
        let to = if all { state.tail.rolled() } else { state.rolled_before };
        let gone = state.tail.evict(to, &self.tails);
        drop(state);
        drop(gone);
    }

    /// Takes a frame found in the journal. Rows that segments hold, or that were trimmed, are dropped. `false` if rows before it
    /// are missing.
    pub(crate) fn recover(&self, start: u64, version: SchemaVersion, rows: RecordBatch) -> bool {
        let mut state = self.state.lock();
        let (end, known) = (start + rows.num_rows() as u64, state.sequenced);
        if end <= known {
            return true;
        }
        if start > known {
            return false;
        }
        let skip = (known - start) as usize;
        let rows = if skip == 0 { rows } else { rows.slice(skip, rows.num_rows() - skip) };
        let (bytes, time_max) = (rows.get_array_memory_size(), time_range(&rows).1);
        state.tail.push(TailBlock { start: known, version: version.0, rows, bytes, time_max, age_time: time_max }, &self.tails);
        state.sequenced = end;
        state.appends += 1;
        if state.appends >= APPENDS_UNTIL_JOIN {
            state.appends = 0;
            drop(state);
            // A journal of one-row groups would take several times its size in memory.
            self.join_small();
        }
        true
    }

    /// Offsets up to `end` are taken, by rows that cannot be read.
    pub(crate) fn recover_lost(&self, end: u64) {
        let mut state = self.state.lock();
        state.sequenced = state.sequenced.max(end);
    }

    /// Everything that was recovered is on disk.
    pub(crate) fn recovered(&self) {
        let mut state = self.state.lock();
        state.durable = state.sequenced;
    }
}
