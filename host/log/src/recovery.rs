//! Opening: what the last life left becomes streams, partitions and tails, and a new run begins.
//!
//! The end of the journal is where the chain of groups breaks. The break is damage, and the log does not open, only if a durable
//! mark lies behind it: the mark file's, the manifest's, or one that a later group of the same run names. Otherwise it is the torn
//! end of a power cut, which loses nothing acknowledged, and is cut off by the new run's number. A frame that does not hold below a
//! durable mark stops its partition only.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::change::Change;
use crate::disk::Disk;
use crate::error::{Damage, DiskError, OpenError};
use crate::group::{GroupHeader, HEADER_BYTES, SECTOR};
use crate::journal::{self, FileHeader, Journal, JournalFile, LiveFile};
use crate::manifest::{self, JournalStart, Manifest};
use crate::mark::{Mark, MarkFile};
use crate::planted::Planted;
use crate::requests::{RequestBounds, Requests};
use crate::segment;
use crate::settings::LogSettings;
use crate::snapshot;
use crate::store::SegmentStore;
use crate::walk::{Source, Walk};

pub(crate) const MARK_NAME: &str = "mark";

/// A log, ready for its threads.
pub(crate) struct Recovered {
    pub(crate) manifest: Manifest,
    pub(crate) requests: Requests,
    pub(crate) journal: Journal,
    pub(crate) mark_file: MarkFile,
    /// What the mark says now: the new run, and that everything recovered is durable.
    pub(crate) mark: Mark,
    /// The checksum of the last group's header.
    pub(crate) previous: u32,
    /// Frames found damaged, to be noted in the journal.
    pub(crate) found: Vec<Change>,
}

/// The folders of a log.
pub(crate) fn journal_dir(dir: &Path) -> PathBuf {
    dir.join("journal")
}

pub(crate) fn segment_dir(dir: &Path) -> PathBuf {
    dir.join("segments")
}

pub(crate) fn recover(settings: &LogSettings, disk: &Arc<dyn Disk>, store: &Arc<SegmentStore>) -> Result<Recovered, OpenError> {
    let dir = &settings.dir;
    make_folders(dir, &**disk)?;
    let names = disk.list(dir).map_err(DiskError::new("list", dir))?;
    let bounds = RequestBounds::of(settings);
    let mut requests = Requests::new(bounds);
    if !names.iter().any(|name| name == manifest::FILE_NAME) {
        create(settings, disk, store, &requests)?;
    }
    for name in names.iter().filter(|name| snapshot::is_copy(name)) {
        // Of a snapshot that the last life was taking.
        let copy = dir.join(name);
        disk.remove(&copy).map_err(DiskError::new("remove", &copy))?;
    }
    if names.iter().any(|name| name == manifest::NEW_FILE_NAME) {
        let new = dir.join(manifest::NEW_FILE_NAME);
        disk.remove(&new).map_err(DiskError::new("remove", &new))?;
    }
    let (manifest, start) = Manifest::load(&**disk, dir, Arc::clone(store), &mut requests)?;
    let (mut mark_file, mark) = MarkFile::open(&**disk, &dir.join(MARK_NAME))?;
    let sources = open_sources(dir, &**disk)?;
    let mut walk = Walk::begin(&sources, manifest, requests, mark, start, settings)?;
    walk.run()?;
    let Walk { mut manifest, mut requests, number, previous, at, files, found, .. } = walk;
    if settings.plants(Planted::RequestsForgotten) {
        requests = Requests::new(bounds);
    }

    // What was read may be in the page cache only, after a kill: it must not be called durable before it is. Names too, also of files
    // that nothing is in yet: groups will be written into them, and whoever made them may not have come to the sync of their folder.
    if !settings.plants(Planted::RecoveredNotSynced) {
        for index in &files {
            sources[*index].file.sync()?;
        }
        let folder = journal_dir(dir);
        disk.sync_dir(&folder).map_err(DiskError::new("sync", &folder))?;
    }
    remove_orphans(&**disk, &segment_dir(dir), &manifest)?;
    let last = number - 1;
    // The changes of every group were taken. A roll that notes none of its own writes this, and the next life takes none twice: a
    // version of a schema would be another one then.
    manifest.covers = manifest.covers.max(last);
    let mark = Mark { run: mark.run + 1, run_start: number, durable: last };
    mark_file.write_both(mark)?;
    for change in &found {
        // The place is known from now on; it is noted in the journal by the first group.
        let _ = manifest.apply(change.clone());
    }
    for partition in manifest.partitions() {
        partition.recovered();
    }
    let journal = assemble(settings, disk, &sources, &files, at, (number, previous), mark.run)?;
    Ok(Recovered { manifest, requests, journal, mark_file, mark, previous, found })
}

fn make_folders(dir: &Path, disk: &dyn Disk) -> Result<(), OpenError> {
    for folder in [dir, &journal_dir(dir), &segment_dir(dir)] {
        disk.create_dir(folder).map_err(DiskError::new("create", folder))?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(DiskError::new("sync", parent))?;
        }
    }
    Ok(())
}

/// Makes an empty log. The manifest comes last: without it nothing was ever acknowledged.
fn create(settings: &LogSettings, disk: &Arc<dyn Disk>, store: &Arc<SegmentStore>, requests: &Requests) -> Result<(), OpenError> {
    let dir = &settings.dir;
    for source in open_sources(dir, &**disk)? {
        let mut bytes = [0; HEADER_BYTES];
        let read = source.file.file.read_at(SECTOR as u64, &mut bytes);
        if read.is_ok() && GroupHeader::decode(&bytes).is_some() {
            let what = "the manifest is missing, and the journal has groups".to_owned();
            return Err(OpenError::Damaged(Damage { path: dir.join(manifest::FILE_NAME), at_byte: 0, what }));
        }
    }
    let folder = journal_dir(dir);
    let file = journal::create_file(&**disk, &folder, 1, settings.journal_file_bytes)?;
    file.write(0, &FileHeader { sequence: 1, run: 0, first_group: 1, previous: 0 }.encode())?;
    file.sync()?;
    let path = dir.join(MARK_NAME);
    let mut mark = MarkFile::create(&**disk, &path)?;
    mark.write_both(Mark::default())?;
    mark.file().sync_all().map_err(DiskError::new("sync", &path))?;
    disk.sync_dir(dir).map_err(DiskError::new("sync", dir))?;
    let snapshot = Manifest::new(Arc::clone(store)).snapshot(JournalStart { sequence: 1, first_group: 1 });
    manifest::replace(&**disk, dir, &snapshot.finish(requests))?;
    Ok(())
}

/// The journal files of a log.
pub(crate) fn open_sources(dir: &Path, disk: &dyn Disk) -> Result<Vec<Source>, OpenError> {
    let dir = journal_dir(dir);
    let mut sources = Vec::new();
    for name in disk.list(&dir).map_err(DiskError::new("list", &dir))? {
        let Some(slot) = journal::file_slot(&name) else { continue };
        let path = dir.join(&name);
        let file = disk.open(&path).map_err(DiskError::new("open", &path))?;
        let bytes = file.len().map_err(DiskError::new("read", &path))?;
        let mut sector = [0; SECTOR];
        let header = if bytes >= SECTOR as u64 {
            file.read_at(0, &mut sector).map_err(DiskError::new("read", &path))?;
            FileHeader::decode(&sector)
        } else {
            None
        };
        sources.push(Source { slot, file: Arc::new(JournalFile::new(path, file, bytes)), header });
    }
    sources.sort_by_key(|source| source.slot);
    Ok(sources)
}

/// Segments that no manifest names: a roll that was not noted before the crash, or a removal that was not finished.
fn remove_orphans(disk: &dyn Disk, dir: &Path, manifest: &Manifest) -> Result<(), OpenError> {
    let mut removed = false;
    for name in disk.list(dir).map_err(DiskError::new("list", dir))? {
        if segment::file_number(&name).is_some_and(|number| !manifest.segments.contains_key(&number)) {
            let path = dir.join(&name);
            disk.remove(&path).map_err(DiskError::new("remove", &path))?;
            removed = true;
        }
    }
    if removed {
        disk.sync_dir(dir).map_err(DiskError::new("sync", dir))?;
    }
    Ok(())
}

fn assemble(
    settings: &LogSettings,
    disk: &Arc<dyn Disk>,
    sources: &[Source],
    files: &[usize],
    at: u64,
    (number, previous): (u64, u32),
    run: u64,
) -> Result<Journal, OpenError> {
    let header = |index: &usize| sources[*index].header.expect("the walk goes through files with headers only");
    let mut live = VecDeque::new();
    for (place, index) in files.iter().enumerate() {
        let FileHeader { sequence, first_group, .. } = header(index);
        let last_group = files.get(place + 1).map_or(number, |next| header(next).first_group) - 1;
        live.push_back(LiveFile { file: Arc::clone(&sources[*index].file), sequence, first_group, last_group });
    }
    if at == SECTOR as u64
        && let Some(current) = live.back()
    {
        // Its header may be of a run whose groups were cut off.
        let header = FileHeader { sequence: current.sequence, run, first_group: number, previous };
        current.file.write(0, &header.encode())?;
        current.file.sync()?;
    }
    let mut free = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        if files.contains(&index) {
            continue;
        }
        let file = &source.file;
        if file.bytes < settings.journal_file_bytes {
            file.file.preallocate(settings.journal_file_bytes).map_err(DiskError::new("preallocate", &file.path))?;
            file.file.sync_all().map_err(DiskError::new("sync", &file.path))?;
        }
        let bytes = file.bytes.max(settings.journal_file_bytes);
        free.push(Arc::new(JournalFile::new(file.path.clone(), Arc::clone(&file.file), bytes)));
    }
    let next_slot = sources.iter().map(|source| source.slot + 1).max().unwrap_or(1);
    let dir = journal_dir(&settings.dir);
    Ok(Journal::new(Arc::clone(disk), dir, settings.journal_file_bytes, live, at, free, next_slot))
}
