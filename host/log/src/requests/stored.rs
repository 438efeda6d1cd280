//! Marks of requests, and what is kept of their writers, as bytes.
//!
//! ```text
//! kind 3 entry:  count u32 | count × mark
//! mark:          stream u32 | time i64 | writer text | sequence u64? | rows u64 | accepted u64 | answer bytes?
//! in a manifest: count u32 | count × writer | as a kind 3 entry
//! writer:        stream u32 | time i64 | writer text | forgotten u64
//! ```
//! `time` is what the log was last told the time is ([`crate::Log::retain`]); `i64::MIN` before it was told.

use std::sync::Arc;

use super::{RequestMark, RequestSeen};
use crate::wire::{Malformed, Put, Take};

/// What an entry takes in memory beside its texts, with its writer's.
const OVERHEAD_BYTES: usize = 256;

/// A mark as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredMark {
    pub(crate) stream: u32,
    pub(crate) time: i64,
    pub(crate) writer: Arc<str>,
    pub(crate) sequence: Option<u64>,
    pub(crate) seen: RequestSeen,
}

/// A writer of which requests were forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredWriter {
    pub(crate) stream: u32,
    /// When its newest request was marked.
    pub(crate) time: i64,
    pub(crate) writer: Arc<str>,
    /// The highest number of a request that was forgotten.
    pub(crate) forgotten: u64,
}

impl StoredMark {
    pub(crate) fn new(mark: &RequestMark, time: i64) -> Self {
        let seen = RequestSeen { rows: mark.rows, accepted: mark.accepted, answer: mark.answer.clone() };
        Self { stream: mark.stream.number(), time, writer: Arc::clone(&mark.writer), sequence: mark.sequence, seen }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        OVERHEAD_BYTES + self.writer.len() + self.seen.answer.as_ref().map_or(0, |answer| answer.len())
    }
}

fn encode(mark: &StoredMark, out: &mut Vec<u8>) {
    out.put_u32(mark.stream);
    out.put_i64(mark.time);
    out.put_str(&mark.writer);
    out.put_u8(u8::from(mark.sequence.is_some()));
    if let Some(sequence) = mark.sequence {
        out.put_u64(sequence);
    }
    out.put_u64(mark.seen.rows);
    out.put_u64(mark.seen.accepted);
    out.put_u8(u8::from(mark.seen.answer.is_some()));
    if let Some(answer) = &mark.seen.answer {
        out.put_bytes(answer);
    }
}

/// The payload of an entry.
pub(crate) fn encode_all(marks: &[StoredMark]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + marks.len() * 96);
    out.put_u32(marks.len() as u32);
    for mark in marks {
        encode(mark, &mut out);
    }
    out
}

/// What a manifest keeps: the writers first, so that marks find theirs.
pub(crate) fn encode_remembered(writers: &[StoredWriter], marks: &[StoredMark], out: &mut Vec<u8>) {
    out.put_u32(writers.len() as u32);
    for writer in writers {
        out.put_u32(writer.stream);
        out.put_i64(writer.time);
        out.put_str(&writer.writer);
        out.put_u64(writer.forgotten);
    }
    out.extend_from_slice(&encode_all(marks));
}

fn decode(take: &mut Take<'_>) -> Result<StoredMark, Malformed> {
    let (stream, time) = (take.u32()?, take.i64()?);
    let writer = take.str()?.into();
    let sequence = if take.flag()? { Some(take.u64()?) } else { None };
    let (rows, accepted) = (take.u64()?, take.u64()?);
    let answer = if take.flag()? { Some(take.bytes()?.into()) } else { None };
    Ok(StoredMark { stream, time, writer, sequence, seen: RequestSeen { rows, accepted, answer } })
}

fn decode_writer(take: &mut Take<'_>) -> Result<StoredWriter, Malformed> {
    let (stream, time) = (take.u32()?, take.i64()?);
    Ok(StoredWriter { stream, time, writer: take.str()?.into(), forgotten: take.u64()? })
}

/// The marks of an entry.
pub(crate) fn decode_all(bytes: &[u8]) -> Result<Vec<StoredMark>, Malformed> {
    let mut take = Take(bytes);
    let count = take.u32()?;
    let marks = (0..count).map(|_| decode(&mut take)).collect::<Result<Vec<_>, _>>()?;
    if take.is_empty() { Ok(marks) } else { Err(Malformed) }
}

/// The writers and marks of a manifest.
pub(crate) fn decode_remembered(bytes: &[u8]) -> Result<(Vec<StoredWriter>, Vec<StoredMark>), Malformed> {
    let mut take = Take(bytes);
    let count = take.u32()?;
    let writers = (0..count).map(|_| decode_writer(&mut take)).collect::<Result<Vec<_>, _>>()?;
    Ok((writers, decode_all(take.0)?))
}

#[cfg(test)]
mod tests {
    use super::super::TIME_UNKNOWN;
    use super::*;

    #[test]
    fn marks_and_writers_come_back_as_they_were_and_cut_ones_are_refused() {
        let mark = |writer: &str, sequence, rows, answer: Option<&[u8]>| StoredMark {
            stream: 3,
            time: TIME_UNKNOWN,
            writer: writer.into(),
            sequence,
            seen: RequestSeen { rows, accepted: rows / 2, answer: answer.map(Into::into) },
        };
        let marks = [mark("key:é", None, 7, None), mark("", Some(u64::MAX), 10, Some(b"yes"))];
        let writers = [StoredWriter { stream: 1, time: 5, writer: "producer:p".into(), forgotten: 9 }];
        let bytes = encode_all(&marks);
        assert_eq!(decode_all(&bytes).as_deref(), Ok(&marks[..]));
        for end in 0..bytes.len() {
            assert_eq!(decode_all(&bytes[..end]), Err(Malformed), "cut at {end}");
        }
        let mut bytes = Vec::new();
        encode_remembered(&writers, &marks, &mut bytes);
        assert_eq!(decode_remembered(&bytes), Ok((writers.to_vec(), marks.to_vec())));
        for end in 0..bytes.len() {
            assert_eq!(decode_remembered(&bytes[..end]), Err(Malformed), "cut at {end}");
        }
    }
}
