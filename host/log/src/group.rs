//! A group: what one write and one sync make durable. Built in one reused buffer, read back with every checksum looked at.
//!
//! ```text
//! | header 64 B | entry | entry | … | zeros up to a multiple of 512 |
//! entry: | kind u8, 0 0 0 | frames u32 | bytes u32 | crc32c u32 | frame heads, 48 B each (or one crc32c u32) | payloads |
//! ```
//! The header's checksum covers the checksum of all entry heads, those cover the frame heads, and those the payloads: the chain
//! from header to header holds everything, and a damaged payload is still told apart from a damaged head.

use crate::frame::{FrameHead, HEAD_BYTES};
use crate::wire::{Malformed, Put, Take};

/// Groups begin at multiples of this, so that no write touches a sector that is already durable.
pub(crate) const SECTOR: usize = 512;
/// Bytes of a group's header.
pub(crate) const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 16;
const MAGIC: &[u8; 8] = b"TMGROUP1";

const KIND_ROWS: u8 = 1;
const KIND_CHANGES: u8 = 2;
const KIND_REQUESTS: u8 = 3;

/// A group's header. Its checksum is what the next header names as `previous`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// Which life of the log wrote it.
    pub(crate) run: u64,
    /// Counts groups over all runs, from 1.
    pub(crate) number: u64,
    /// Every group up to this number was on disk when this one was written.
    pub(crate) durable: u64,
    /// Bytes behind the header, without the zeros.
    pub(crate) bytes: u32,
    pub(crate) entries: u32,
    /// The checksum of the header before this one.
    pub(crate) previous: u32,
    /// The checksum of all entry heads, frame heads included.
    pub(crate) heads: u32,
    /// The sequence of the journal file it was written for.
    pub(crate) sequence: u64,
}

impl GroupHeader {
    fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.put_u64(self.run);
        out.put_u64(self.number);
        out.put_u64(self.durable);
        out.put_u32(self.bytes);
        out.put_u32(self.entries);
        out.put_u32(self.previous);
        out.put_u32(self.heads);
        out.put_u64(self.sequence);
        out.put_u32(0);
        let checksum = crc32c::crc32c(&out);
        out.put_u32(checksum);
        (out.try_into().expect("the fields above are 64 bytes"), checksum)
    }

    /// The header and its checksum, if these bytes are one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let mut take = Take(&bytes[8..]);
        let mut fields = || -> Result<(Self, u32), Malformed> {
            let (run, number, durable) = (take.u64()?, take.u64()?, take.u64()?);
            let (bytes, entries, previous, heads) = (take.u32()?, take.u32()?, take.u32()?, take.u32()?);
            let header = Self { run, number, durable, bytes, entries, previous, heads, sequence: take.u64()? };
            take.u32()?;
            Ok((header, take.u32()?))
        };
        let (header, checksum) = fields().ok()?;
        (crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) == checksum).then_some((header, checksum))
    }

    /// What it takes in the file, zeros included.
    pub(crate) fn padded_bytes(&self) -> u64 {
        padded(HEADER_BYTES + self.bytes as usize) as u64
    }
}

/// Rounded up to whole sectors.
pub(crate) fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR)
}

/// An upper bound of what an entry of these frames takes in a group.
pub(crate) fn entry_bytes(frames: usize, payload_bytes: usize) -> usize {
    ENTRY_BYTES + frames * HEAD_BYTES + payload_bytes
}

/// Builds groups in one buffer. In front of the group is room for a journal file's header, so that the first group of a file
/// goes out with it in one write.
#[derive(Debug, Default)]
pub(crate) struct GroupBuilder {
    buffer: Vec<u8>,
    entries: u32,
    heads: u32,
}

impl GroupBuilder {
    /// Begins an empty group.
    pub(crate) fn start(&mut self) {
        self.buffer.clear();
        self.buffer.resize(SECTOR + HEADER_BYTES, 0);
        self.entries = 0;
        self.heads = 0;
    }

    /// Adds an entry of rows. `encode` appends the payload of one frame and returns its head; bytes and checksum are filled in.
    pub(crate) fn rows<T>(&mut self, frames: &[T], mut encode: impl FnMut(&T, &mut Vec<u8>) -> FrameHead) {
        let start = self.buffer.len();
        let payloads = start + ENTRY_BYTES + frames.len() * HEAD_BYTES;
        self.buffer.resize(payloads, 0);
        for (index, frame) in frames.iter().enumerate() {
            let from = self.buffer.len();
            let mut head = encode(frame, &mut self.buffer);
            head.bytes = (self.buffer.len() - from) as u32;
            head.checksum = crc32c::crc32c(&self.buffer[from..]);
            let at = start + ENTRY_BYTES + index * HEAD_BYTES;
            self.buffer[at..at + HEAD_BYTES].copy_from_slice(&head.encode());
        }
        self.end_entry(start, payloads, KIND_ROWS, frames.len() as u32);
    }

    /// Adds an entry of changes to the manifest, already encoded.
    pub(crate) fn changes(&mut self, payload: &[u8]) {
        self.plain(payload, KIND_CHANGES);
    }

    /// Adds an entry of marks of requests, already encoded.
    pub(crate) fn requests(&mut self, payload: &[u8]) {
        self.plain(payload, KIND_REQUESTS);
    }

    fn plain(&mut self, payload: &[u8], kind: u8) {
        let start = self.buffer.len();
        self.buffer.resize(start + ENTRY_BYTES, 0);
        self.buffer.put_u32(crc32c::crc32c(payload));
        let payloads = self.buffer.len();
        self.buffer.extend_from_slice(payload);
        self.end_entry(start, payloads, kind, 0);
    }

    fn end_entry(&mut self, start: usize, payloads: usize, kind: u8, frames: u32) {
        let bytes = (self.buffer.len() - payloads) as u32;
        let (entry, table) = self.buffer[start..payloads].split_at_mut(ENTRY_BYTES);
        entry[0] = kind;
        entry[4..8].copy_from_slice(&frames.to_le_bytes());
        entry[8..12].copy_from_slice(&bytes.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&entry[..12]), table);
        entry[12..16].copy_from_slice(&checksum.to_le_bytes());
        self.heads = crc32c::crc32c_append(self.heads, &checksum.to_le_bytes());
        self.entries += 1;
    }

    /// Bytes behind the header so far.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len() - SECTOR - HEADER_BYTES
    }

    /// Entries so far.
    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }

    /// Ends the group. The header's lengths and checksum of heads are filled in. Returns its checksum.
    pub(crate) fn finish(&mut self, mut header: GroupHeader) -> u32 {
        header.bytes = self.bytes() as u32;
        header.entries = self.entries;
        header.heads = self.heads;
        let (bytes, checksum) = header.encode();
        self.buffer[SECTOR..SECTOR + HEADER_BYTES].copy_from_slice(&bytes);
        let end = padded(self.buffer.len());
        self.buffer.resize(end, 0);
        checksum
    }

    /// The finished group.
    pub(crate) fn group(&self) -> &[u8] {
        &self.buffer[SECTOR..]
    }

    /// The finished group behind a journal file's header.
    pub(crate) fn group_with_file_header(&mut self, header: &[u8; SECTOR]) -> &[u8] {
        self.buffer[..SECTOR].copy_from_slice(header);
        &self.buffer
    }
}

/// One entry of a group as read.
#[derive(Debug)]
pub(crate) enum Entry<'a> {
    Rows(Vec<Frame<'a>>),
    Changes(&'a [u8]),
    Requests(&'a [u8]),
}

/// One frame as read.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) head: FrameHead,
    pub(crate) payload: &'a [u8],
    /// Where the payload begins, counted from the body's first byte.
    pub(crate) at: usize,
    /// Whether its checksum holds. Heads always hold, or there is no frame.
    pub(crate) intact: bool,
}

/// What of a body does not hold, and where, counted from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadHead {
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

/// The entries of a group. Heads are checked here and must hold; a frame's payload that does not is marked.
pub(crate) fn read_body<'a>(header: &GroupHeader, body: &'a [u8]) -> Result<Vec<Entry<'a>>, BadHead> {
    let mut take = Take(body);
    let place = |take: &Take<'_>| body.len() - take.0.len();
    let mut heads = 0;
    let mut entries = Vec::with_capacity(header.entries.min(4096) as usize);
    for _ in 0..header.entries {
        let at = place(&take);
        let cut = |_: Malformed| BadHead { at, what: "an entry's head is cut off" };
        let entry = take.take(ENTRY_BYTES).map_err(cut)?;
        let mut fields = Take(&entry[4..]);
        let (frames, bytes) = (fields.u32().map_err(cut)? as usize, fields.u32().map_err(cut)? as usize);
        let checksum = fields.u32().map_err(cut)?;
        let table_bytes = match entry[0] {
            KIND_ROWS => frames.checked_mul(HEAD_BYTES).ok_or(BadHead { at, what: "an entry's head has an impossible count" })?,
            KIND_CHANGES | KIND_REQUESTS => 4,
            _ => return Err(BadHead { at, what: "an entry has an unknown kind" }),
        };
        let table = take.take(table_bytes).map_err(cut)?;
        if crc32c::crc32c_append(crc32c::crc32c(&entry[..12]), table) != checksum {
            return Err(BadHead { at, what: "the checksum of an entry's head does not hold" });
        }
        heads = crc32c::crc32c_append(heads, &checksum.to_le_bytes());
        let first_payload = place(&take);
        let mut payloads = Take(take.take(bytes).map_err(cut)?);
        if entry[0] != KIND_ROWS {
            // Changes and marks of requests are no partition's: damage in them is damage in a head.
            let changes = entry[0] == KIND_CHANGES;
            if crc32c::crc32c(payloads.0).to_le_bytes() != table {
                let what = if changes {
                    "the checksum of changes to the manifest does not hold"
                } else {
                    "the checksum of marks of requests does not hold"
                };
                return Err(BadHead { at: first_payload, what });
            }
            entries.push(if changes { Entry::Changes(payloads.0) } else { Entry::Requests(payloads.0) });
            continue;
        }
        let mut list = Vec::with_capacity(frames);
        let mut table = Take(table);
        let mut at = first_payload;
        for _ in 0..frames {
            let head = FrameHead::decode(&mut table).map_err(cut)?;
            let payload = payloads.take(head.bytes as usize).map_err(cut)?;
            list.push(Frame { head, payload, at, intact: crc32c::crc32c(payload) == head.checksum });
            at += payload.len();
        }
        entries.push(Entry::Rows(list));
    }
    if heads != header.heads {
        return Err(BadHead { at: 0, what: "the checksum of the entry heads does not hold" });
    }
    Ok(entries)
}
