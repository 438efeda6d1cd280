//! Messages whose buffers are compressed (LZ4 frames or zstd): what they claim to become is looked at before anything is unpacked.
//!
//! ```text
//! buffer: | length i64, unpacked; -1: what follows is not packed | packed bytes |
//! ```
//! The claim is what arrow-ipc reserves, so it is bounded here. zstd never gives more than was claimed; an LZ4 frame may, so it is gone
//! through once without being kept.

use std::io::{self, Read};

use arrow_ipc::{BodyCompressionMethod, CompressionType, RecordBatch};
use lz4_flex::frame::FrameDecoder;

use super::TableFault;

/// How many bytes the buffers of a message come to; those of one that is not packed as they are.
pub(super) fn unpacked_bytes(batch: &RecordBatch<'_>, body: &[u8], bytes_max: usize) -> Result<usize, TableFault> {
    let Some(packing) = batch.compression() else { return Ok(body.len()) };
    if packing.method() != BodyCompressionMethod::BUFFER {
        return Err(TableFault::new(
            "a record batch is compressed in a way that is not read: send LZ4 frames, zstd, or plain buffers",
        ));
    }
    let mut sum = 0_usize;
    for buffer in batch.buffers().into_iter().flatten() {
        let begin = usize::try_from(buffer.offset()).ok();
        let bytes = usize::try_from(buffer.length()).ok();
        let packed = begin.zip(bytes).and_then(|(begin, bytes)| body.get(begin..begin.checked_add(bytes)?));
        let packed = packed.ok_or_else(|| TableFault::new("a compressed buffer lies outside of its message"))?;
        if packed.is_empty() {
            continue;
        }
        let (claim, packed) =
            packed.split_first_chunk::<8>().ok_or_else(|| TableFault::new("a compressed buffer has no length"))?;
        let claimed = match i64::from_le_bytes(*claim) {
            -1 => packed.len(),
            claim => usize::try_from(claim).map_err(|_| TableFault::new("a compressed buffer claims a negative length"))?,
        };
        sum = sum.saturating_add(claimed);
        if sum > bytes_max {
            let error = format!("a record batch unpacks to more than {bytes_max} bytes: write smaller batches");
            return Err(TableFault::too_large(error));
        }
        let is_packed = i64::from_le_bytes(*claim) > 0;
        if is_packed && packing.codec() == CompressionType::LZ4_FRAME {
            check_lz4(packed, claimed)?;
        }
    }
    Ok(sum)
}

/// Whether a frame becomes as much as it claims, and no more.
fn check_lz4(packed: &[u8], claimed: usize) -> Result<(), TableFault> {
    let unpacked = io::copy(&mut FrameDecoder::new(packed).take(claimed as u64 + 1), &mut io::sink());
    match unpacked {
        Ok(bytes) if bytes == claimed as u64 => Ok(()),
        Ok(_) => Err(TableFault::new("a compressed buffer does not become as long as it says")),
        Err(error) => Err(TableFault::new(format!("a compressed buffer is no LZ4 frame: {error}"))),
    }
}
