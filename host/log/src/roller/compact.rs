//! Shared segments, moved together: what is left of those that are mostly removed rows, and the rows of many small ones.
//!
//! A shared segment holds remainders of many partitions, and goes only when all of them are gone. Left alone, one row that is kept
//! would keep the rows of thousands that are not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{RollError, Roller};
use crate::change::{PartMeta, SegmentMeta};
use crate::partition::Partition;
use crate::segment::{SegmentError, SegmentWriter};
use crate::tail::TailBlock;

/// What one pass moves at most, so that a roll does not wait long for it.
const MOVE_BYTES_MAX: u64 = 64 << 20;
/// Shared segments below this size are moved together when there are many.
const SMALL_BYTES: u64 = 16 << 20;
/// How many are many.
const SMALL_MAX: usize = 8;

impl Roller {
    /// Moves what is left of shared segments into new ones. Returns those, and the segments whose rows they have.
    pub(super) fn compact(&mut self) -> Result<(Vec<SegmentMeta>, Vec<u64>), RollError> {
        let sources = self.choose();
        if sources.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let (mut done, mut writer) = (Vec::new(), None);
        let places: BTreeSet<(u32, u32)> =
            sources.iter().flat_map(|segment| &segment.parts).map(|part| (part.stream, part.partition)).collect();
        for (stream, number) in places {
            let partition = self.core.manifest.read().partition(stream, number).cloned();
            let Some(partition) = partition else { continue };
            let parts = sources.iter().flat_map(|segment| segment.parts.iter().map(|part| (segment.number, *part)));
            let mut parts: Vec<_> = parts.filter(|(_, part)| (part.stream, part.partition) == (stream, number)).collect();
            parts.sort_by_key(|(_, part)| part.start);
            let mut blocks = Vec::new();
            for (segment, part) in parts {
                match self.live_blocks(&partition, segment, &part) {
                    Ok(live) => blocks.extend(live),
                    Err(error) => {
                        // Damage stays where it is: its readers name the file and the byte, and nothing is copied past it. The
                        // next pass goes without this segment.
                        match error {
                            SegmentError::Damage(damage) => tracing::error!(%damage, "a segment is damaged; it is left as it is"),
                            SegmentError::Disk(error) => tracing::error!(%error, "a segment cannot be read; it is left as it is"),
                        }
                        self.unmovable.insert(segment);
                        self.abandon(writer, &done)?;
                        return Ok((Vec::new(), Vec::new()));
                    }
                }
            }
            self.write_blocks(&partition, blocks, &mut writer, &mut done)?;
        }
        done.extend(writer.map(SegmentWriter::finish).transpose()?);
        self.sync_names(&done)?;
        Ok((done, sources.iter().map(|segment| segment.number).collect()))
    }

    /// The shared segments that are worth moving, oldest first.
    fn choose(&self) -> Vec<SegmentMeta> {
        let manifest = self.core.manifest.read();
        let left = |part: &PartMeta| match manifest.partition(part.stream, part.partition) {
            Some(partition) if partition.trim_point().0 < part.end => part.bytes,
            Some(_) | None => 0,
        };
        let (mut sparse, mut small) = (Vec::new(), Vec::new());
        for segment in manifest.segments.values().filter(|segment| segment.parts.len() > 1) {
            if self.unmovable.contains(&segment.number) {
                continue;
            }
            let bytes: u64 = segment.parts.iter().map(left).sum();
            if bytes == 0 {
                // It is removed as a whole.
            } else if bytes * 2 <= segment.bytes {
                sparse.push((bytes, segment));
            } else if segment.bytes < SMALL_BYTES {
                small.push((bytes, segment));
            }
        }
        if small.len() < SMALL_MAX {
            small.clear();
        }
        sparse.extend(small);
        let mut total = 0;
        let chosen = sparse.into_iter().take_while(|(bytes, _)| {
            total += bytes;
            total <= MOVE_BYTES_MAX
        });
        let mut chosen: Vec<SegmentMeta> = chosen.map(|(_, segment)| segment.clone()).collect();
        chosen.sort_by_key(|segment| segment.number);
        chosen
    }

    /// The blocks of a part with a row that is kept.
    fn live_blocks(&self, partition: &Arc<Partition>, segment: u64, part: &PartMeta) -> Result<Vec<TailBlock>, SegmentError> {
        let mut blocks = Vec::new();
        let mut from = part.start.max(partition.trim_point().0);
        while from < part.end {
            let block = partition.segment_block(segment, from)?;
            from = block.end();
            blocks.push(TailBlock { age_time: block.age_time.min(part.age_time), ..block });
        }
        Ok(blocks)
    }
}
