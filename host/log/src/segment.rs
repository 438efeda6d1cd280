//! A segment file: blocks of rows of one or several partitions, written once, never changed.
//!
//! ```text
//! | header 64 B | block | block | … | index: per block position u64 + frame head 48 B | trailer 32 B |
//! block: | frame head 48 B | payload as in frames |
//! ```
//! A block's head is there twice: in the index, where a reader finds it by partition and offset, and before its payload, so that
//! a lost index can be rebuilt.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::change::{PartMeta, SegmentMeta};
use crate::columns;
use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, DiskError};
use crate::frame::{FrameHead, HEAD_BYTES};
use crate::manifest::FORMAT;
use crate::wire::{Put, Take};

const MAGIC: &[u8; 8] = b"TMSEGM01";
const END_MAGIC: &[u8; 8] = b"TMSEGEND";
const HEADER_BYTES: usize = 64;
const INDEX_BYTES: usize = 8 + HEAD_BYTES;
const TRAILER_BYTES: usize = 32;
/// Blocks are gathered until a write is worth a call.
const WRITE_BYTES: usize = 1 << 20;
/// So much is written before it is synced: a disk that is told of a whole segment at once lets the journal's syncs wait for all of it.
const SYNC_BYTES: u64 = 4 << 20;

/// The file name of a segment.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:012}.segment")
}

/// The number in a file name, if it is a segment's.
pub(crate) fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(".segment")?.parse().ok()
}

/// Writes one segment file, block by block.
pub(crate) struct SegmentWriter {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    number: u64,
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    index: Vec<u8>,
    blocks: u32,
    parts: Vec<PartMeta>,
}

impl SegmentWriter {
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, number: u64) -> Result<Self, DiskError> {
        let path = dir.join(file_name(number));
        let file = disk.create(&path).map_err(DiskError::new("create", &path))?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES);
        buffer.extend_from_slice(MAGIC);
        buffer.put_u32(FORMAT);
        buffer.put_u32(0);
        buffer.put_u64(number);
        buffer.resize(HEADER_BYTES - 4, 0);
        let checksum = crc32c::crc32c(&buffer);
        buffer.put_u32(checksum);
        Ok(Self { path, file, number, buffer, written: 0, synced: 0, index: Vec::new(), blocks: 0, parts: Vec::new() })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes so far, without index and trailer.
    pub(crate) fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Adds a block of which retention takes the rows to have come at `age_time`. Blocks come by stream, then partition, then offset. Head
    /// fields beside bytes and checksum are the caller's.
    pub(crate) fn block(&mut self, mut head: FrameHead, rows: &RecordBatch, age_time: i64) -> Result<(), DiskError> {
        let position = self.bytes();
        let at = self.buffer.len();
        self.buffer.resize(at + HEAD_BYTES, 0);
        columns::encode_rows(rows, &mut self.buffer);
        let payload = &self.buffer[at + HEAD_BYTES..];
        head.bytes = payload.len() as u32;
        head.checksum = crc32c::crc32c(payload);
        let encoded = head.encode();
        self.buffer[at..at + HEAD_BYTES].copy_from_slice(&encoded);
        let bytes = encoded.len() as u64 + u64::from(head.bytes);
        self.index.put_u64(position);
        self.index.extend_from_slice(&encoded);
        self.blocks += 1;
        match self.parts.last_mut() {
            // Where rows between are in another segment, a part ends.
            Some(part) if (part.stream, part.partition, part.end) == (head.stream, head.partition, head.start) => {
                part.end = head.end();
                part.bytes += bytes;
                part.time_min = part.time_min.min(head.time_min);
                part.time_max = part.time_max.max(head.time_max);
                part.age_time = part.age_time.max(age_time);
            }
            _ => self.parts.push(PartMeta {
                stream: head.stream,
                partition: head.partition,
                start: head.start,
                end: head.end(),
                time_min: head.time_min,
                time_max: head.time_max,
                age_time,
                bytes,
            }),
        }
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync_data().map_err(DiskError::new("sync", &self.path))?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Writes index and trailer and syncs the file. Its name is durable only when its folder was synced.
    pub(crate) fn finish(mut self) -> Result<SegmentMeta, DiskError> {
        let index_at = self.bytes();
        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        trailer.extend_from_slice(END_MAGIC);
        trailer.put_u64(index_at);
        trailer.put_u32(self.blocks);
        trailer.put_u32(crc32c::crc32c(&self.index));
        trailer.put_u32(self.number as u32);
        let checksum = crc32c::crc32c(&trailer);
        trailer.put_u32(checksum);
        let index = std::mem::take(&mut self.index);
        self.buffer.extend_from_slice(&index);
        self.buffer.extend_from_slice(&trailer);
        self.flush()?;
        self.file.sync_all().map_err(DiskError::new("sync", &self.path))?;
        Ok(SegmentMeta { number: self.number, bytes: self.written, parts: self.parts })
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.file.write_at(self.written, &self.buffer).map_err(DiskError::new("write", &self.path))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Where the blocks of a segment are, ascending by (stream, partition, start).
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    pub(crate) blocks: Vec<BlockPlace>,
}

/// One block's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockPlace {
    pub(crate) position: u64,
    pub(crate) head: FrameHead,
}

impl SegmentIndex {
    /// The blocks of one partition, with the index of the first.
    pub(crate) fn partition(&self, stream: u32, partition: u32) -> (usize, &[BlockPlace]) {
        let key = |place: &BlockPlace| (place.head.stream, place.head.partition);
        let first = self.blocks.partition_point(|place| key(place) < (stream, partition));
        let end = self.blocks.partition_point(|place| key(place) <= (stream, partition));
        (first, &self.blocks[first..end])
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.blocks.len() * size_of::<BlockPlace>()
    }
}

/// A segment that cannot be read.
#[derive(Debug)]
pub(crate) enum SegmentError {
    Disk(DiskError),
    Damage(Damage),
}

fn damage(path: &Path, at_byte: u64, what: &str) -> SegmentError {
    SegmentError::Damage(Damage { path: path.to_owned(), at_byte, what: what.to_owned() })
}

fn read(file: &dyn DiskFile, path: &Path, at: u64, bytes: usize) -> Result<Vec<u8>, SegmentError> {
    let mut buffer = vec![0; bytes];
    match file.read_at(at, &mut buffer) {
        Ok(()) => Ok(buffer),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(damage(path, at, "the file is cut off")),
        Err(error) => Err(SegmentError::Disk(DiskError::new("read", path)(error))),
    }
}

/// Reads and checks a segment's header, trailer and index.
pub(crate) fn read_index(file: &dyn DiskFile, path: &Path, number: u64) -> Result<SegmentIndex, SegmentError> {
    let length = file.len().map_err(|error| SegmentError::Disk(DiskError::new("read", path)(error)))?;
    let header = read(file, path, 0, HEADER_BYTES)?;
    let (content, checksum) = header.split_at(HEADER_BYTES - 4);
    if crc32c::crc32c(content).to_le_bytes() != checksum || content[..8] != *MAGIC || content[16..24] != number.to_le_bytes() {
        return Err(damage(path, 0, "the header does not hold"));
    }
    let trailer_at = length.saturating_sub(TRAILER_BYTES as u64);
    let trailer = read(file, path, trailer_at, TRAILER_BYTES)?;
    let (content, checksum) = trailer.split_at(TRAILER_BYTES - 4);
    let bad_trailer = || damage(path, trailer_at, "the trailer does not hold");
    if crc32c::crc32c(content).to_le_bytes() != checksum || content[..8] != *END_MAGIC {
        return Err(bad_trailer());
    }
    let mut take = Take(&content[8..]);
    let mut fields = || Ok::<_, crate::wire::Malformed>((take.u64()?, take.u32()?, take.u32()?));
    let (index_at, blocks, checksum) = fields().map_err(|_| bad_trailer())?;
    let bytes = blocks as usize * INDEX_BYTES;
    if index_at.checked_add(bytes as u64) != Some(trailer_at) {
        return Err(bad_trailer());
    }
    let index = read(file, path, index_at, bytes)?;
    if crc32c::crc32c(&index) != checksum {
        return Err(damage(path, index_at, "the checksum of the index does not hold"));
    }
    let mut take = Take(&index);
    let mut list = Vec::with_capacity(blocks as usize);
    for _ in 0..blocks {
        let mut place =
            || Ok::<_, crate::wire::Malformed>(BlockPlace { position: take.u64()?, head: FrameHead::decode(&mut take)? });
        list.push(place().map_err(|_| damage(path, index_at, "the index is cut off"))?);
    }
    Ok(SegmentIndex { blocks: list })
}

/// Reads and checks one block's payload.
pub(crate) fn read_block(file: &dyn DiskFile, path: &Path, place: &BlockPlace) -> Result<Vec<u8>, SegmentError> {
    let at = place.position + HEAD_BYTES as u64;
    let payload = read(file, path, at, place.head.bytes as usize)?;
    if crc32c::crc32c(&payload) != place.head.checksum {
        return Err(damage(path, at, "the checksum of a block does not hold"));
    }
    Ok(payload)
}
