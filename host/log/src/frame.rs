//! A frame's head: whose rows a payload holds, which of them, and its checksum. Journal frames and segment blocks have the same.
//!
//! ```text
//! stream u32 | version u32 | partition u32 | rows u32 | start u64 | time_min i64 | time_max i64 | bytes u32 | crc32c u32
//! ```

use arrow_array::RecordBatch;

use crate::wire::{Malformed, Take};

/// Bytes of a frame's head.
pub(crate) const HEAD_BYTES: usize = 48;

/// Whose rows a payload holds, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) stream: u32,
    pub(crate) version: u32,
    pub(crate) partition: u32,
    pub(crate) rows: u32,
    pub(crate) start: u64,
    pub(crate) time_min: i64,
    pub(crate) time_max: i64,
    pub(crate) bytes: u32,
    pub(crate) checksum: u32,
}

impl FrameHead {
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(u64::from(self.rows))
    }

    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        let words = [self.stream, self.version, self.partition, self.rows];
        for (place, word) in out.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out[16..24].copy_from_slice(&self.start.to_le_bytes());
        out[24..32].copy_from_slice(&self.time_min.to_le_bytes());
        out[32..40].copy_from_slice(&self.time_max.to_le_bytes());
        out[40..44].copy_from_slice(&self.bytes.to_le_bytes());
        out[44..48].copy_from_slice(&self.checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            stream: take.u32()?,
            version: take.u32()?,
            partition: take.u32()?,
            rows: take.u32()?,
            start: take.u64()?,
            time_min: take.i64()?,
            time_max: take.i64()?,
            bytes: take.u32()?,
            checksum: take.u32()?,
        })
    }
}

/// The least and greatest event time of an event batch.
pub(crate) fn time_range(rows: &RecordBatch) -> (i64, i64) {
    let times = tidemill_event::batch::times(rows).values();
    times.iter().fold((i64::MAX, i64::MIN), |(min, max), time| (min.min(*time), max.max(*time)))
}
