//! What the log knows beside rows: streams, documents, trim points, segments. Changed by journal entries only.
//!
//! A snapshot is the list of changes that makes the manifest from nothing. The journal is replayed from the file it names, and
//! of the changes found there, those of groups it covers are skipped.
//! ```text
//! magic 8 | format u32 | next_stream u32 | covers u64 | journal_start u64 | journal_first_group u64 | bytes u64 | changes | requests | crc32c u32
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use tidemill_event::{PartitionId, StreamId};

use crate::change::{self, Change, SegmentMeta};
use crate::disk::Disk;
use crate::error::{Damage, DiskError, OpenError};
use crate::partition::Partition;
use crate::requests::{self, Requests, StoredMark, StoredWriter};
use crate::store::SegmentStore;
use crate::stream::Stream;
use crate::wire::{Put, Take};

const MAGIC: &[u8; 8] = b"TMMANIF1";
/// Also the format of journal files and segments: they change together.
pub(crate) const FORMAT: u32 = 2;
/// The snapshot's name.
pub(crate) const FILE_NAME: &str = "manifest";
/// Its name until it is whole.
pub(crate) const NEW_FILE_NAME: &str = "manifest.new";
const HEADER_BYTES: usize = 48;

pub(crate) struct Manifest {
    store: Arc<SegmentStore>,
    pub(crate) streams: BTreeMap<StreamId, Arc<Stream>>,
    numbers: HashMap<u32, Arc<Stream>>,
    pub(crate) documents: BTreeMap<String, Arc<[u8]>>,
    pub(crate) segments: BTreeMap<u64, SegmentMeta>,
    /// The newest group whose changes are in it.
    pub(crate) covers: u64,
    /// The number after the highest that was ever given to a stream: those of deleted streams are not given again.
    next_stream: u32,
}

/// Where a journal replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalStart {
    /// The sequence of the first journal file that is needed.
    pub(crate) sequence: u64,
    /// The number of its first group.
    pub(crate) first_group: u64,
}

impl Manifest {
    pub(crate) fn new(store: Arc<SegmentStore>) -> Self {
        let (streams, numbers) = (BTreeMap::new(), HashMap::new());
        Self { store, streams, numbers, documents: BTreeMap::new(), segments: BTreeMap::new(), covers: 0, next_stream: 1 }
    }

    pub(crate) fn stream(&self, number: u32) -> Option<&Arc<Stream>> {
        self.numbers.get(&number)
    }

    pub(crate) fn partition(&self, stream: u32, partition: u32) -> Option<&Arc<Partition>> {
        self.stream(stream)?.partition(PartitionId(partition))
    }

    /// The number after the highest that was ever given to a stream.
    pub(crate) fn next_stream(&self) -> u32 {
        self.next_stream
    }

    /// Whether there was a stream of that number.
    pub(crate) fn was_deleted(&self, stream: u32) -> bool {
        stream < self.next_stream && !self.numbers.contains_key(&stream)
    }

    /// The number after the highest of a segment that is known.
    pub(crate) fn next_segment(&self) -> u64 {
        self.segments.last_key_value().map_or(1, |(number, _)| number + 1)
    }

    /// Every partition, by stream number and partition.
    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        let mut partitions: Vec<_> = self.streams.values().flat_map(|stream| stream.partitions()).cloned().collect();
        partitions.sort_by_key(|partition| partition.numbers());
        partitions
    }

    /// Applies a change. `Err` names what it refers to and is not there: a manifest that does not fit its journal.
    pub(crate) fn apply(&mut self, change: Change) -> Result<(), String> {
        match change {
            Change::StreamCreated { stream, id, definition } => {
                let made = Arc::new(Stream::new(id.clone(), stream, definition, &self.store));
                self.next_stream = self.next_stream.max(stream + 1);
                self.numbers.insert(stream, Arc::clone(&made));
                self.streams.insert(id, made);
            }
            // What was on its way to a stream while it was deleted has no effect.
            Change::StreamEvolved { stream, .. }
            | Change::StreamUpdated { stream, .. }
            | Change::Trimmed { stream, .. }
            | Change::Damaged { stream, .. }
            | Change::StreamDeleted { stream }
                if self.was_deleted(stream) => {}
            Change::StreamEvolved { stream, definition } => self.known(stream)?.evolve(definition),
            Change::StreamUpdated { stream, definition } => self.known(stream)?.update(definition),
            Change::StreamDeleted { stream } => {
                let known = Arc::clone(self.known(stream)?);
                self.numbers.remove(&stream);
                if self.streams.get(known.id()).is_some_and(|named| named.number() == stream) {
                    self.streams.remove(known.id());
                }
                known.delete();
            }
            Change::Document { key, value: Some(value) } => {
                self.documents.insert(key, value.into());
            }
            Change::Document { key, value: None } => {
                self.documents.remove(&key);
            }
            Change::Trimmed { stream, partition, before } => self.known_partition(stream, partition)?.trim(before),
            Change::SegmentAdded(segment) => {
                for part in segment.parts.iter().filter(|part| !self.was_deleted(part.stream)) {
                    self.known_partition(part.stream, part.partition)?.add_segment(segment.number, part);
                }
                self.segments.insert(segment.number, segment);
            }
            Change::SegmentRemoved { segment } => {
                if let Some(removed) = self.segments.remove(&segment) {
                    for part in removed.parts.iter().filter(|part| !self.was_deleted(part.stream)) {
                        self.known_partition(part.stream, part.partition)?.remove_segment(segment);
                    }
                }
            }
            Change::Damaged { stream, partition, start, damage } => {
                self.known_partition(stream, partition)?.set_damage(start, damage);
            }
        }
        Ok(())
    }

    fn known(&self, stream: u32) -> Result<&Arc<Stream>, String> {
        self.stream(stream).ok_or_else(|| format!("there is no stream number {stream}"))
    }

    fn known_partition(&self, stream: u32, partition: u32) -> Result<&Arc<Partition>, String> {
        self.partition(stream, partition).ok_or_else(|| format!("stream number {stream} has no partition {partition}"))
    }

    /// The changes that make this manifest from nothing.
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut streams: Vec<_> = self.streams.values().collect();
        streams.sort_by_key(|stream| stream.number());
        for stream in streams {
            let number = stream.number();
            for layout in stream.layouts() {
                let definition = layout.definition.as_ref().clone();
                changes.push(if layout.version.0 == 1 {
                    Change::StreamCreated { stream: number, id: stream.id().clone(), definition }
                } else {
                    Change::StreamEvolved { stream: number, definition }
                });
            }
            for partition in stream.partitions() {
                let (stream, partition_number) = partition.numbers();
                let before = partition.trim_point().0;
                if before > 0 {
                    changes.push(Change::Trimmed { stream, partition: partition_number, before });
                }
                if let Some((start, damage)) = partition.known_damage() {
                    changes.push(Change::Damaged { stream, partition: partition_number, start, damage });
                }
            }
        }
        let documents = self.documents.iter();
        changes.extend(documents.map(|(key, value)| Change::Document { key: key.clone(), value: Some(value.to_vec()) }));
        changes.extend(self.segments.values().cloned().map(Change::SegmentAdded));
        changes
    }

    /// Takes a request's mark that was read back, unless its stream is gone.
    pub(crate) fn remember(&self, mark: StoredMark, requests: &mut Requests) {
        if let Some(stream) = self.stream(mark.stream) {
            requests.mark(&stream.id().tenant, mark);
        }
    }

    /// A snapshot of it without the requests, to be written when group `covers` is durable and not before.
    pub(crate) fn snapshot(&self, start: JournalStart) -> Snapshot {
        let changes = change::encode_all(&self.changes());
        let mut out = Vec::with_capacity(HEADER_BYTES + changes.len() + 4);
        out.extend_from_slice(MAGIC);
        out.put_u32(FORMAT);
        out.put_u32(self.next_stream);
        out.put_u64(self.covers);
        out.put_u64(start.sequence);
        out.put_u64(start.first_group);
        out.put_u64(changes.len() as u64);
        out.extend_from_slice(&changes);
        Snapshot(out)
    }

    /// Reads the snapshot in `dir`; the requests it remembers go to `requests`.
    pub(crate) fn load(
        disk: &dyn Disk,
        dir: &Path,
        store: Arc<SegmentStore>,
        requests: &mut Requests,
    ) -> Result<(Self, JournalStart), OpenError> {
        let path = dir.join(FILE_NAME);
        let file = disk.open(&path).map_err(DiskError::new("open", &path))?;
        let length = file.len().map_err(DiskError::new("read", &path))?;
        let mut bytes = vec![0; length as usize];
        file.read_at(0, &mut bytes).map_err(DiskError::new("read", &path))?;
        let damaged = |at_byte: usize, what: &str| {
            OpenError::Damaged(Damage { path: path.clone(), at_byte: at_byte as u64, what: what.to_owned() })
        };
        let (content, checksum) = bytes.split_at_checked(bytes.len().saturating_sub(4)).unwrap_or_default();
        if content.len() < HEADER_BYTES || !content.starts_with(MAGIC) {
            return Err(damaged(0, "this is no manifest"));
        }
        if crc32c::crc32c(content).to_le_bytes() != checksum {
            return Err(damaged(0, "the checksum of the manifest does not hold"));
        }
        let mut take = Take(&content[8..]);
        let mut fields = || {
            let (format, next_stream) = (take.u32()?, take.u32()?);
            Ok::<_, crate::wire::Malformed>((format, next_stream, take.u64()?, take.u64()?, take.u64()?, take.u64()?))
        };
        let (format, next_stream, covers, sequence, first_group, bytes) =
            fields().map_err(|_| damaged(8, "the header is cut off"))?;
        if format != FORMAT {
            return Err(OpenError::Format { path, found: format, known: FORMAT });
        }
        let split = usize::try_from(bytes).ok().and_then(|bytes| content[HEADER_BYTES..].split_at_checked(bytes));
        let (changes, marks) = split.ok_or_else(|| damaged(40, "the changes are longer than the file"))?;
        let changes = change::decode_all(changes).map_err(|_| damaged(HEADER_BYTES, "a change cannot be read"))?;
        let remembered = requests::decode_remembered(marks);
        let (writers, marks) = remembered.map_err(|_| damaged(HEADER_BYTES, "a request's mark cannot be read"))?;
        let mut manifest = Self::new(store);
        manifest.next_stream = next_stream;
        for change in changes {
            manifest.apply(change).map_err(|what| damaged(HEADER_BYTES, &what))?;
        }
        manifest.covers = covers;
        let of_tenant = |stream| manifest.stream(stream).map(|stream| stream.id().tenant.clone());
        for writer in writers {
            if let Some(tenant) = of_tenant(writer.stream) {
                requests.restore_writer(&tenant, writer);
            }
        }
        for mark in marks {
            if let Some(tenant) = of_tenant(mark.stream) {
                requests.restore(&tenant, mark);
            }
        }
        Ok((manifest, JournalStart { sequence, first_group }))
    }
}

/// A snapshot as bytes, still without the requests and the checksum.
pub(crate) struct Snapshot(Vec<u8>);

impl Snapshot {
    /// Ends it with what is remembered of requests: of all groups it covers, and maybe of later ones that are durable.
    pub(crate) fn finish(self, requests: &Requests) -> Vec<u8> {
        let Self(mut out) = self;
        let writers: Vec<StoredWriter> = requests.all_writers().collect();
        let marks: Vec<StoredMark> = requests.all().collect();
        requests::encode_remembered(&writers, &marks, &mut out);
        let checksum = crc32c::crc32c(&out);
        out.put_u32(checksum);
        out
    }
}

/// Replaces the snapshot in `dir`: write new, sync, rename, sync folder. A crash anywhere leaves the old one or the new one.
pub(crate) fn replace(disk: &dyn Disk, dir: &Path, snapshot: &[u8]) -> Result<(), DiskError> {
    let (new, path) = (dir.join(NEW_FILE_NAME), dir.join(FILE_NAME));
    let file = disk.create(&new).map_err(DiskError::new("create", &new))?;
    let written = file.write_at(0, snapshot).map_err(DiskError::new("write", &new));
    if let Err(error) = written.and_then(|()| file.sync_all().map_err(DiskError::new("sync", &new))) {
        // Half of it would only take room; the old one stands.
        let _ = disk.remove(&new);
        return Err(error);
    }
    disk.rename(&new, &path).map_err(DiskError::new("rename", &new))?;
    disk.sync_dir(dir).map_err(DiskError::new("sync", dir))
}
