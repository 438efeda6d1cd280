//! The roller's thread: moves durable rows from tails into segments, so that journal files can be used again.
//!
//! ```text
//! write segments ─► sync them ─► sync their folder ─► note them in the journal ─► replace the manifest ─► reuse journal files
//! ```
//! A crash between any two of these leaves rows in both places, or a file nobody names: offsets say which copy to drop, and
//! opening removes the file. It needs nobody but the writer: no reader, task or sink can hold a journal file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::RecordBatch;
use tidemill_event::batch::concat;

use crate::change::{Change, SegmentMeta};
use crate::core::Core;
use crate::error::{DiskError, Poisoned};
use crate::frame::{FrameHead, time_range};
use crate::manifest;
use crate::partition::Partition;
use crate::recovery::segment_dir;
use crate::segment::SegmentWriter;
use crate::tail::TailBlock;

/// One segment file is not continued beyond this size, so that what is removed can be removed in pieces.
const SEGMENT_BYTES: u64 = 64 << 20;
/// While a bound is broken, the roller looks again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) struct Roller {
    core: Arc<Core>,
    dir: PathBuf,
    next_segment: u64,
}

impl Roller {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let dir = segment_dir(&core.settings.dir);
        let next_segment = core.manifest.read().next_segment();
        Self { core, dir, next_segment }
    }

    /// Runs until the log is closed or has stopped.
    pub(crate) fn run(mut self) -> Result<(), Poisoned> {
        let core = Arc::clone(&self.core);
        loop {
            let (joins, roll) = {
                let mut orders = core.orders.lock();
                loop {
                    if orders.stop {
                        return Ok(());
                    }
                    if orders.wanted > orders.done || !orders.join.is_empty() {
                        break;
                    }
                    if !core.roll_is_needed() {
                        // The writer says so when a bound comes near.
                        core.roll.wait(&mut orders);
                    } else if core.roll.wait_for(&mut orders, LOOK_AGAIN).timed_out() && self.something_to_roll() {
                        orders.wanted += 1;
                    }
                }
                (std::mem::take(&mut orders.join), (orders.wanted > orders.done).then_some(orders.wanted))
            };
            for partition in joins {
                partition.join_small();
            }
            if let Some(order) = roll {
                match self.roll() {
                    Ok(()) => {}
                    Err(RollError::Disk(error)) => {
                        let why = Poisoned::Disk(error);
                        core.stop(why.clone());
                        return Err(why);
                    }
                    Err(RollError::Stopped) => return Ok(()),
                }
                core.counters.rolls.fetch_add(1, Ordering::Relaxed);
                core.orders.lock().done = order;
                core.rolled.notify_all();
                core.progress.notify_all();
            }
        }
    }

    fn something_to_roll(&self) -> bool {
        self.core.manifest.read().partitions().iter().any(|partition| partition.has_unrolled())
    }

    fn roll(&mut self) -> Result<(), RollError> {
        let core = Arc::clone(&self.core);
        // Read first: whatever is durable now is at or below the partitions' durable ends read after it.
        let durable = core.flow.lock().durable;
        let partitions = core.manifest.read().partitions();
        let segments = self.write_segments(&partitions)?;
        let mut changes: Vec<Change> = segments.into_iter().map(Change::SegmentAdded).collect();
        let removed = self.removable();
        changes.extend(removed.iter().map(|segment| Change::SegmentRemoved { segment: *segment }));
        if !changes.is_empty() {
            core.change_durably(changes).map_err(|_| RollError::Stopped)?;
        }
        let start = {
            let now = core.flow.lock().durable;
            core.journal.lock().start_after(durable, now)
        };
        let (covers, snapshot) = {
            let manifest = core.manifest.read();
            (manifest.covers, manifest.snapshot(start))
        };
        // A snapshot of what a crash could still take back would hide the changes that come in its place.
        core.wait_durable(covers).map_err(|_| RollError::Stopped)?;
        manifest::replace(&*core.disk, &core.settings.dir, &snapshot)?;
        {
            let mut journal = core.journal.lock();
            journal.recycle(start);
            core.counters.live_files.store(journal.live_files(), Ordering::Relaxed);
        }
        self.remove(&removed)?;
        self.evict(&partitions);
        Ok(())
    }

    /// Writes what the partitions have that no segment has: the large ones into files of their own, the others into one.
    fn write_segments(&mut self, partitions: &[Arc<Partition>]) -> Result<Vec<SegmentMeta>, RollError> {
        let mut done = Vec::new();
        let mut shared: Option<SegmentWriter> = None;
        for partition in partitions.iter().filter(|partition| partition.has_unrolled()) {
            let blocks = partition.unrolled();
            let bytes: usize = blocks.iter().map(|block| block.bytes).sum();
            if bytes >= self.core.settings.segment_own_bytes {
                let mut own = None;
                self.write_blocks(partition, blocks, &mut own, &mut done)?;
                done.extend(own.map(SegmentWriter::finish).transpose()?);
            } else {
                self.write_blocks(partition, blocks, &mut shared, &mut done)?;
            }
        }
        done.extend(shared.map(SegmentWriter::finish).transpose()?);
        // By number, which is the order of a partition's offsets too.
        done.sort_by_key(|segment| segment.number);
        if !done.is_empty() {
            self.core.disk.sync_dir(&self.dir).map_err(DiskError::new("sync", &self.dir))?;
        }
        Ok(done)
    }

    /// Writes a partition's rows as blocks of up to `block_rows`, each of one schema version.
    fn write_blocks(
        &mut self,
        partition: &Partition,
        blocks: Vec<TailBlock>,
        writer: &mut Option<SegmentWriter>,
        done: &mut Vec<SegmentMeta>,
    ) -> Result<(), RollError> {
        let block_rows = self.core.settings.block_rows;
        let mut pieces: Vec<RecordBatch> = Vec::new();
        let (mut rows, mut start, mut version) = (0, 0, 0);
        for block in blocks {
            let mut skip = 0;
            while skip < block.rows.num_rows() {
                let follows = block.version == version && block.start + skip as u64 == start + rows as u64;
                if rows > 0 && (!follows || rows == block_rows) {
                    self.write_block(partition, (start, version), &mut pieces, writer, done)?;
                    rows = 0;
                }
                if rows == 0 {
                    (start, version) = (block.start + skip as u64, block.version);
                }
                let take = (block.rows.num_rows() - skip).min(block_rows - rows);
                pieces.push(block.rows.slice(skip, take));
                rows += take;
                skip += take;
            }
        }
        if rows > 0 {
            self.write_block(partition, (start, version), &mut pieces, writer, done)?;
        }
        Ok(())
    }

    fn write_block(
        &mut self,
        partition: &Partition,
        (start, version): (u64, u32),
        pieces: &mut Vec<RecordBatch>,
        writer: &mut Option<SegmentWriter>,
        done: &mut Vec<SegmentMeta>,
    ) -> Result<(), RollError> {
        let rows = concat(pieces);
        pieces.clear();
        if writer.as_ref().is_some_and(|writer| writer.bytes() >= SEGMENT_BYTES) {
            done.extend(writer.take().map(SegmentWriter::finish).transpose()?);
        }
        let writer = match writer {
            Some(writer) => writer,
            None => {
                let number = self.next_segment;
                self.next_segment += 1;
                writer.insert(SegmentWriter::create(&*self.core.disk, &self.dir, number)?)
            }
        };
        let (stream, partition) = partition.numbers();
        let (time_min, time_max) = time_range(&rows);
        let count = rows.num_rows() as u32;
        let head = FrameHead { stream, version, partition, rows: count, start, time_min, time_max, bytes: 0, checksum: 0 };
        Ok(writer.block(head, &rows)?)
    }

    /// Segments whose rows were all trimmed.
    fn removable(&self) -> Vec<u64> {
        let manifest = self.core.manifest.read();
        let trimmed = |segment: &&SegmentMeta| {
            segment.parts.iter().all(|part| {
                manifest.partition(part.stream, part.partition).is_none_or(|partition| partition.trim_point().0 >= part.end)
            })
        };
        manifest.segments.values().filter(trimmed).map(|segment| segment.number).collect()
    }

    fn remove(&self, segments: &[u64]) -> Result<(), RollError> {
        for segment in segments {
            self.core.store.forget(*segment);
            let path = self.core.store.path(*segment);
            self.core.disk.remove(&path).map_err(DiskError::new("remove", &path))?;
        }
        if !segments.is_empty() {
            self.core.disk.sync_dir(&self.dir).map_err(DiskError::new("sync", &self.dir))?;
        }
        Ok(())
    }

    /// Makes room in memory: rows of earlier rolls go first, the newest stay for readers that are only a little behind.
    fn evict(&self, partitions: &[Arc<Partition>]) {
        let tails = &self.core.store.tails;
        for all in [false, true] {
            for partition in partitions {
                if tails.bytes.load(Ordering::Relaxed) * 2 <= self.core.settings.tail_bytes_max {
                    return;
                }
                partition.evict(all);
            }
        }
    }
}

/// Why a roll did not end.
enum RollError {
    Disk(DiskError),
    /// The log has stopped or is closing.
    Stopped,
}

impl From<DiskError> for RollError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}
