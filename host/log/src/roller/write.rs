//! What the roller writes: rows as blocks, blocks as segment files.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::RecordBatch;
use tidemill_event::batch::concat;

use super::{RollError, Roller};
use crate::change::SegmentMeta;
use crate::error::DiskError;
use crate::frame::{FrameHead, time_range};
use crate::partition::Partition;
use crate::requests::TIME_UNKNOWN;
use crate::segment::SegmentWriter;
use crate::tail::TailBlock;

/// One segment file is not continued beyond this size, so that what is removed can be removed in pieces.
const SEGMENT_BYTES: u64 = 64 << 20;

impl Roller {
    /// Writes what the partitions have that no segment has: the large ones into files of their own, the others into one.
    pub(super) fn write_segments(&mut self, partitions: &[Arc<Partition>]) -> Result<Vec<SegmentMeta>, RollError> {
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
        self.sync_names(&done)?;
        Ok(done)
    }

    /// Removes what was written and is not wanted.
    pub(super) fn abandon(&self, writer: Option<SegmentWriter>, done: &[SegmentMeta]) -> Result<(), DiskError> {
        let open = writer.map(|writer| self.core.store.path(writer.number()));
        for path in done.iter().map(|segment| self.core.store.path(segment.number)).chain(open) {
            self.core.disk.remove(&path).map_err(DiskError::new("remove", &path))?;
        }
        Ok(())
    }

    /// Makes the names of new segments durable.
    pub(super) fn sync_names(&self, segments: &[SegmentMeta]) -> Result<(), DiskError> {
        if segments.is_empty() {
            return Ok(());
        }
        self.core.disk.sync_dir(&self.dir).map_err(DiskError::new("sync", &self.dir))
    }

    /// Writes a partition's rows as blocks of up to `block_rows`, each of one schema version.
    pub(super) fn write_blocks(
        &mut self,
        partition: &Partition,
        blocks: Vec<TailBlock>,
        writer: &mut Option<SegmentWriter>,
        done: &mut Vec<SegmentMeta>,
    ) -> Result<(), RollError> {
        let block_rows = self.core.settings.block_rows;
        let mut pieces: Vec<RecordBatch> = Vec::new();
        let (mut rows, mut start, mut version, mut age_time) = (0, 0, 0, i64::MIN);
        let now = match self.core.now.load(Ordering::Relaxed) {
            TIME_UNKNOWN => i64::MAX,
            now => now,
        };
        for block in blocks {
            let mut skip = 0;
            while skip < block.rows.num_rows() {
                let follows = block.version == version && block.start + skip as u64 == start + rows as u64;
                if rows > 0 && (!follows || rows == block_rows) {
                    self.write_block(partition, (start, version, age_time), &mut pieces, writer, done)?;
                    rows = 0;
                }
                if rows == 0 {
                    (start, version, age_time) = (block.start + skip as u64, block.version, i64::MIN);
                }
                let take = (block.rows.num_rows() - skip).min(block_rows - rows);
                pieces.push(block.rows.slice(skip, take));
                age_time = age_time.max(block.age_time.min(now));
                rows += take;
                skip += take;
            }
        }
        if rows > 0 {
            self.write_block(partition, (start, version, age_time), &mut pieces, writer, done)?;
        }
        Ok(())
    }

    fn write_block(
        &mut self,
        partition: &Partition,
        (start, version, age_time): (u64, u32, i64),
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
        Ok(writer.block(head, &rows, age_time)?)
    }
}
