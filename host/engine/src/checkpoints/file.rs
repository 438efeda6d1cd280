//! A named checkpoint as one file, to be kept elsewhere and taken back by this host or one restored from its backup.
//!
//! ```text
//! file     "TDMLCKP1" | frame…                                   little-endian; docs/formats/checkpoint-file.md
//! frame    u32 payload length | u32 crc32c of kind and payload | u8 kind | payload
//! kind 1   the document as JSON                                   first, once
//! kind 2   u32 task | entry…                                      entry: u32 operator, u32 length, key, u32 length, value
//! kind 3   u64 entries                                            last, once: a file without it is not whole
//! ```
//! Frames are made as they are asked for and written as they come, so that no state need fit into memory.

use std::io::{self, Read};

use tidemill_event::{PartitionId, PipelineName, TenantName};
use tidemill_state::{Change, StateError, Stored, TaskId, Written};

use crate::ControlError;
use crate::checkpoints::{CheckpointName, NamedCheckpoint, ONLY, StoredCheckpoint};
use crate::deployments::Deployments;

const MAGIC: [u8; 8] = *b"TDMLCKP1";
const HEADER: u8 = 1;
const ENTRIES: u8 = 2;
const END: u8 = 3;
/// A frame of entries is closed once it has so many bytes.
const FRAME_BYTES: usize = 256 << 10;
/// A longer frame is damage: one entry is much shorter.
const FRAME_BYTES_MAX: u32 = 64 << 20;

/// A checkpoint as pieces of a file, in order. An error ends it: what came before is then not a whole file.
pub struct SnapshotFile {
    pieces: Box<dyn Iterator<Item = Result<Vec<u8>, StateError>> + Send>,
}

impl Iterator for SnapshotFile {
    type Item = Result<Vec<u8>, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pieces.next()
    }
}

impl std::fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotFile").finish_non_exhaustive()
    }
}

/// A file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is none, or not whole, or its bytes are others than were written. Another copy may do.
    #[error("the snapshot is damaged at byte {at_byte}: {why}")]
    Damaged {
        /// Where.
        at_byte: u64,
        /// In words.
        why: String,
    },
    /// It could not be read to its end; a retry may help.
    #[error("the snapshot broke off at byte {at_byte}: {source}")]
    Read {
        /// Where.
        at_byte: u64,
        /// What the source said.
        #[source]
        source: io::Error,
    },
    /// The pipeline cannot take it.
    #[error(transparent)]
    Refused(#[from] ControlError),
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 9);
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload).to_le_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    bytes
}

/// Entries of one task, gathered into frames.
struct Frames<I> {
    task: u32,
    changes: I,
}

impl<I: Iterator<Item = Result<Change, StateError>>> Iterator for Frames<I> {
    type Item = Result<(u64, Vec<u8>), StateError>;

    /// How many entries, and their frame.
    fn next(&mut self) -> Option<Self::Item> {
        let (mut payload, mut entries) = (self.task.to_le_bytes().to_vec(), 0);
        for change in self.changes.by_ref() {
            let Change { operator, key, value, .. } = match change {
                Ok(change) => change,
                Err(error) => return Some(Err(error)),
            };
            let value = value.unwrap_or_default();
            payload.extend_from_slice(&operator.to_le_bytes());
            for part in [&key, &value] {
                payload.extend_from_slice(&(part.len() as u32).to_le_bytes());
                payload.extend_from_slice(part);
            }
            entries += 1;
            if payload.len() >= FRAME_BYTES {
                break;
            }
        }
        (entries > 0).then(|| Ok((entries, frame(ENTRIES, &payload))))
    }
}

/// A file of a document and the entries of its tasks.
fn pieces<I>(document: &[u8], tasks: Vec<I>) -> SnapshotFile
where
    I: Iterator<Item = Result<Change, StateError>> + Send + 'static,
{
    let first = [&MAGIC[..], &frame(HEADER, document)].concat();
    let mut frames = (0u32..).zip(tasks).flat_map(|(task, changes)| Frames { task, changes });
    let (mut count, mut is_over) = (0u64, false);
    let rest = std::iter::from_fn(move || match frames.next() {
        Some(Ok((entries, bytes))) => {
            count += entries;
            Some(Ok(bytes))
        }
        Some(Err(error)) => {
            is_over = true;
            Some(Err(error))
        }
        None if is_over => None,
        None => {
            is_over = true;
            Some(Ok(frame(END, &count.to_le_bytes())))
        }
    });
    SnapshotFile { pieces: Box::new(std::iter::once(Ok(first)).chain(rest)) }
}

/// Reads a file, frame by frame.
struct FileReader<'a> {
    from: &'a mut dyn Read,
    at_byte: u64,
}

impl FileReader<'_> {
    fn damaged(&self, why: impl Into<String>) -> SnapshotError {
        SnapshotError::Damaged { at_byte: self.at_byte, why: why.into() }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        match self.from.read_exact(bytes) {
            Ok(()) => {
                self.at_byte += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged("it is not whole")),
            Err(source) => Err(SnapshotError::Read { at_byte: self.at_byte, source }),
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), SnapshotError> {
        let (length, sum, [kind]) = (u32::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?), self.take()?);
        if length > FRAME_BYTES_MAX {
            return Err(self.damaged(format!("a frame of {length} bytes")));
        }
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        if crc32c::crc32c_append(crc32c::crc32c(&[kind]), &payload) != sum {
            return Err(self.damaged("its checksum is another"));
        }
        Ok((kind, payload))
    }

    /// The document, which comes first.
    fn document(&mut self) -> Result<StoredCheckpoint, SnapshotError> {
        if self.take()? != MAGIC {
            return Err(self.damaged("it is no snapshot of a checkpoint, or one of a newer tidemill"));
        }
        match self.frame()? {
            (HEADER, document) => serde_json::from_slice(&document).map_err(|error| self.damaged(error.to_string())),
            (kind, _) => Err(self.damaged(format!("it begins with a frame of kind {kind}"))),
        }
    }

    /// The next entries, with their task; `None` at the end. `seen`: how many there were.
    fn entries(&mut self, seen: u64) -> Result<Option<(u32, Vec<Change>)>, SnapshotError> {
        let (kind, payload) = self.frame()?;
        match kind {
            ENTRIES => entries(&payload).map(Some).ok_or_else(|| self.damaged("entries that do not read")),
            END if payload == seen.to_le_bytes() => Ok(None),
            END => Err(self.damaged(format!("it has {seen} entries and says another number"))),
            other => Err(self.damaged(format!("a frame of kind {other}"))),
        }
    }
}

fn entries(payload: &[u8]) -> Option<(u32, Vec<Change>)> {
    fn number(bytes: &mut &[u8]) -> Option<u32> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        *bytes = rest;
        Some(u32::from_le_bytes(*head))
    }
    fn part(bytes: &mut &[u8]) -> Option<Vec<u8>> {
        let length = number(bytes)? as usize;
        let (head, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(head.to_vec())
    }
    let mut rest = payload;
    let task = number(&mut rest)?;
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let (operator, key, value) = (number(&mut rest)?, part(&mut rest)?, part(&mut rest)?);
        changes.push(Change { operator, key, value: Some(value), stored: Stored::Nothing });
    }
    Some((task, changes))
}

impl Deployments {
    /// A checkpoint as a file.
    pub(crate) fn export_checkpoint(
        &self,
        tenant: &TenantName,
        pipeline: &PipelineName,
        name: &CheckpointName,
    ) -> Result<SnapshotFile, ControlError> {
        self.find(tenant, pipeline)?;
        let stored = self.stored_checkpoint(tenant, pipeline, name)?;
        let document = serde_json::to_vec(&stored).map_err(|error| ControlError::Unavailable(error.to_string()))?;
        let of_task = |partition| {
            let task = TaskId { tenant: tenant.clone(), pipeline: pipeline.clone(), run: stored.state_run, partition };
            self.threads.store.snapshot().of_task(&task, ONLY)
        };
        Ok(pieces(&document, (0..stored.pipeline.tasks()).map(PartitionId).map(of_task).collect()))
    }

    /// A file as a checkpoint of this pipeline. Nothing of a file that is not whole stays.
    pub(crate) fn import_checkpoint(
        &self,
        tenant: &TenantName,
        pipeline: &PipelineName,
        name: &CheckpointName,
        from: &mut dyn Read,
    ) -> Result<NamedCheckpoint, SnapshotError> {
        let _turn = self.turns.take(tenant, pipeline);
        self.find(tenant, pipeline)?;
        self.refuse_name(tenant, pipeline, name)?;
        let mut reader = FileReader { from, at_byte: 0 };
        let document = reader.document()?;
        let state_run = self.next_number(tenant, pipeline)?;
        let tasks = document.pipeline.tasks();
        let task = |partition| TaskId { tenant: tenant.clone(), pipeline: pipeline.clone(), run: state_run, partition };
        let kept = self.take_entries(&mut reader, &document, task).and_then(|()| {
            let stored = StoredCheckpoint { state_run, ..document };
            let synced = self.threads.store.sync().map_err(|error| error.to_string());
            let kept = synced.and_then(|()| self.keep_checkpoint(tenant, pipeline, name, stored));
            kept.map_err(|error| ControlError::Unavailable(error).into())
        });
        kept.inspect_err(|_| self.forget_state(tenant, pipeline, state_run, tasks))
    }

    fn take_entries(
        &self,
        reader: &mut FileReader<'_>,
        document: &StoredCheckpoint,
        task: impl Fn(PartitionId) -> TaskId,
    ) -> Result<(), SnapshotError> {
        let mut written = vec![Written::default(); document.written.len()];
        let mut seen = 0;
        while let Some((number, changes)) = reader.entries(seen)? {
            let Some(sum) = written.get_mut(number as usize) else {
                return Err(reader.damaged(format!("entries of task {number}, and it has {} tasks", document.written.len())));
            };
            seen += changes.len() as u64;
            let more = self.threads.store.write(&task(PartitionId(number)), ONLY, &changes);
            *sum = sum.and(more.map_err(|error| ControlError::Unavailable(error.to_string()))?);
        }
        let found: Vec<(u64, u64)> = written.iter().map(|written| (written.live, written.sum)).collect();
        if found == document.written { Ok(()) } else { Err(reader.damaged("it has other entries than its document says")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::StoredPipeline;

    fn change(key: &[u8], value: &[u8]) -> Change {
        Change { operator: 7, key: key.to_vec(), value: Some(value.to_vec()), stored: Stored::Nothing }
    }

    fn document() -> StoredCheckpoint {
        StoredCheckpoint {
            taken_at: 1_700_000_000_000_000,
            pipeline: StoredPipeline {
                text: "steps: []".into(),
                plan: 3,
                run: 1,
                paused: false,
                sources: Vec::new(),
                pinned: Vec::new(),
                gathered: false,
                stages: Vec::new(),
                states: Vec::new(),
                next_operator: 8,
                output_starts: Vec::new(),
                letters_from: Vec::new(),
            },
            state_run: 5,
            bytes: 6,
            written: vec![(1, 2), (1, 3)],
        }
    }

    fn file() -> Vec<u8> {
        let tasks = vec![vec![Ok(change(b"ab", b"1"))].into_iter(), vec![Ok(change(b"", b"xyz"))].into_iter()];
        let json = serde_json::to_vec(&document()).expect("a document");
        pieces(&json, tasks).collect::<Result<Vec<_>, _>>().expect("no disk fails here").concat()
    }

    /// Each task's entries.
    type Read = (StoredCheckpoint, Vec<(u32, Vec<Change>)>);

    fn read(mut bytes: &[u8]) -> Result<Read, SnapshotError> {
        let mut reader = FileReader { from: &mut bytes, at_byte: 0 };
        let (document, mut all, mut seen) = (reader.document()?, Vec::new(), 0);
        while let Some((task, changes)) = reader.entries(seen)? {
            seen += changes.len() as u64;
            all.push((task, changes));
        }
        Ok((document, all))
    }

    #[test]
    fn a_file_reads_back() {
        let (read_document, entries) = read(&file()).expect("whole");
        assert_eq!(read_document, document());
        assert_eq!(entries, [(0, vec![change(b"ab", b"1")]), (1, vec![change(b"", b"xyz")])]);
    }

    /// Bytes of the first release that writes such files: they must read for ever.
    #[test]
    fn the_frames_are_as_documented() {
        let hex: String =
            frame(ENTRIES, b"\x01\0\0\0\x07\0\0\0\x02\0\0\0ab\x01\0\0\x001").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(&hex[..8], "13000000");
        assert_eq!(&hex[16..], "0201000000070000000200000061620100000031");
        assert_eq!(entries(b"\x01\0\0\0\x07\0\0\0\x02\0\0\0ab\x01\0\0\x001"), Some((1, vec![change(b"ab", b"1")])));
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let whole = file();
        for at in 0..whole.len() {
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
            let mut turned = whole.clone();
            turned[at] ^= 0x10;
            assert!(read(&turned).is_err(), "turned at {at}");
        }
    }
}
