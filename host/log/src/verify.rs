//! Reads a whole log that nobody has open, and says what does not hold: every checksum, every block, no row missing between two.
//!
//! Nothing is written, and a fault does not end the search: each is laid at the door of a file, and of a partition where it is one's.

use std::path::Path;
use std::sync::Arc;

use tidemill_event::{Offset, PartitionKey, SchemaVersion};

use crate::change::SegmentMeta;
use crate::columns;
use crate::disk::Disk;
use crate::error::{Damage, DiskError, OpenError};
use crate::frame::HEAD_BYTES;
use crate::manifest::Manifest;
use crate::mark::{Mark, MarkFile};
use crate::recovery::{MARK_NAME, open_sources, segment_dir};
use crate::requests::{RequestBounds, Requests};
use crate::segment::{self, SegmentError};
use crate::settings::LogSettings;
use crate::store::SegmentStore;
use crate::walk::{Source, Walk};

/// One thing that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, the byte, and what is wrong there.
    pub damage: Damage,
    /// Whose rows it concerns; `None` if it is nobody's alone.
    pub partition: Option<PartitionKey>,
    /// Which of them, half-open.
    pub offsets: Option<(Offset, Offset)>,
}

/// What a search has read, and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Streams.
    pub streams: u64,
    /// Their partitions.
    pub partitions: u64,
    /// Groups of the journal.
    pub groups: u64,
    /// Segment files.
    pub segments: u64,
    /// Blocks in them.
    pub blocks: u64,
    /// Rows in those.
    pub rows: u64,
    /// Bytes of journal and segments.
    pub bytes: u64,
    /// What does not hold, journal first.
    pub faults: Vec<Fault>,
}

impl Verified {
    fn whole(&mut self, damage: Damage) {
        self.faults.push(Fault { damage, partition: None, offsets: None });
    }

    fn rows_of(&mut self, manifest: &Manifest, (stream, partition): (u32, u32), offsets: (u64, u64), damage: Damage) {
        // Rows below the trim point, or of a deleted stream, are nobody's loss.
        let Some(partition) = manifest.partition(stream, partition) else { return };
        if offsets.1 <= partition.trim_point().0 {
            return;
        }
        let offsets = Some((Offset(offsets.0), Offset(offsets.1)));
        self.faults.push(Fault { damage, partition: Some(partition.key().clone()), offsets });
    }
}

/// What a log's folder holds, as far as it can be known without opening it.
pub(crate) struct Folder {
    pub(crate) manifest: Manifest,
    pub(crate) requests: Requests,
    pub(crate) start: crate::manifest::JournalStart,
    pub(crate) mark: Mark,
    pub(crate) mark_file: MarkFile,
    pub(crate) sources: Vec<Source>,
    pub(crate) settings: LogSettings,
}

impl Folder {
    pub(crate) fn read(dir: &Path, disk: &Arc<dyn Disk>) -> Result<Self, OpenError> {
        let settings = LogSettings::new(dir);
        let store = SegmentStore::new(Arc::clone(disk), segment_dir(dir), settings.block_rows, 0, 1);
        let mut requests = Requests::new(RequestBounds::of(&settings));
        let (manifest, start) = Manifest::load(&**disk, dir, Arc::new(store), &mut requests)?;
        let (mark_file, mark) = MarkFile::open(&**disk, &dir.join(MARK_NAME))?;
        let sources = open_sources(dir, &**disk)?;
        Ok(Self { manifest, requests, start, mark, mark_file, sources, settings })
    }
}

/// Reads everything in a log's folder. Blocks, for as long as reading takes. Only for a log that no process has open. An error is a
/// folder that is no log of ours, or a disk that does not read; damage is no error but a [`Fault`].
pub fn verify(dir: &Path, disk: &Arc<dyn Disk>) -> Result<Verified, OpenError> {
    let mut verified = Verified::default();
    let folder = match Folder::read(dir, disk) {
        Ok(folder) => folder,
        Err(OpenError::Damaged(damage)) => {
            // Without manifest and mark nobody knows what should be there.
            verified.whole(damage);
            return Ok(verified);
        }
        Err(error) => return Err(error),
    };
    let Folder { manifest, requests, start, mark, sources, settings, .. } = folder;
    verified.bytes += sources.iter().map(|source| source.file.bytes).sum::<u64>();
    let mut walk = match Walk::begin(&sources, manifest, requests, mark, start, &settings) {
        Ok(walk) => walk,
        Err(OpenError::Damaged(damage)) => {
            verified.whole(damage);
            return Ok(verified);
        }
        Err(error) => return Err(error),
    };
    match walk.run() {
        Ok(()) => {}
        Err(OpenError::Damaged(damage)) => verified.whole(damage),
        Err(error) => return Err(error),
    }
    let Walk { manifest, number, bad_frames, .. } = walk;
    verified.groups = number - start.first_group;
    for (head, damage) in bad_frames {
        verified.rows_of(&manifest, (head.stream, head.partition), (head.start, head.end()), damage);
    }
    for meta in manifest.segments.values() {
        segment_file(&mut verified, &manifest, &**disk, dir, meta)?;
    }
    for stream in manifest.streams.values() {
        verified.streams += 1;
        for partition in stream.partitions() {
            verified.partitions += 1;
            for (from, to) in partition.missing() {
                let what = format!("rows [{from}, {to}) are in no segment and not in the journal");
                let damage = Damage { path: segment_dir(dir), at_byte: 0, what };
                verified.rows_of(&manifest, partition.numbers(), (from, to), damage);
            }
            if let Some((start, damage)) = partition.known_damage() {
                let known = |fault: &Fault| fault.damage.path == damage.path && fault.damage.at_byte == damage.at_byte;
                if !verified.faults.iter().any(known) {
                    let end = partition.end(crate::Visibility::Sequenced).0;
                    verified.rows_of(&manifest, partition.numbers(), (start, end), damage);
                }
            }
        }
    }
    Ok(verified)
}

fn segment_file(
    verified: &mut Verified,
    manifest: &Manifest,
    disk: &dyn Disk,
    dir: &Path,
    meta: &SegmentMeta,
) -> Result<(), OpenError> {
    let path = segment_dir(dir).join(segment::file_name(meta.number));
    let all_of_it = |verified: &mut Verified, damage: &Damage| {
        for part in &meta.parts {
            verified.rows_of(manifest, (part.stream, part.partition), (part.start, part.end), damage.clone());
        }
    };
    verified.segments += 1;
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            all_of_it(verified, &Damage { path, at_byte: 0, what: "the file is missing".to_owned() });
            return Ok(());
        }
        Err(error) => return Err(DiskError::new("open", &path)(error).into()),
    };
    let index = match segment::read_index(&*file, &path, meta.number) {
        Ok(index) => index,
        Err(SegmentError::Damage(damage)) => {
            all_of_it(verified, &damage);
            return Ok(());
        }
        Err(SegmentError::Disk(error)) => return Err(error.into()),
    };
    verified.bytes += meta.bytes;
    for place in &index.blocks {
        let head = &place.head;
        verified.blocks += 1;
        verified.rows += u64::from(head.rows);
        let broken = |what: &str| Damage { path: path.clone(), at_byte: place.position, what: what.to_owned() };
        let damage = match segment::read_block(&*file, &path, place) {
            Ok(payload) => {
                let mut before = [0; HEAD_BYTES];
                file.read_at(place.position, &mut before).map_err(DiskError::new("read", &path))?;
                let layout = manifest.stream(head.stream).map(|stream| stream.layout(SchemaVersion(head.version)));
                match layout {
                    _ if before != head.encode() => Some(broken("the head of a block is not the one in the index")),
                    // Its stream was deleted.
                    None => None,
                    Some(None) => Some(broken("a block has a schema version that is not known")),
                    Some(Some(layout)) if columns::decode_rows(&payload, head.rows as usize, &layout).is_err() => {
                        Some(broken("a block with a good checksum cannot be decoded"))
                    }
                    Some(Some(_)) => None,
                }
            }
            Err(SegmentError::Damage(damage)) => Some(damage),
            Err(SegmentError::Disk(error)) => return Err(error.into()),
        };
        if let Some(damage) = damage {
            verified.rows_of(manifest, (head.stream, head.partition), (head.start, head.end()), damage);
        }
    }
    Ok(())
}
