//! Opening: what the last life left becomes streams, partitions and tails, and a new run begins.
//!
//! The end of the journal is where the chain of groups breaks. The break is damage, and the log does not open, only if a durable
//! mark lies behind it: the mark file's, the manifest's, or one that a later group of the same run names. Otherwise it is the torn
//! end of a power cut, which loses nothing acknowledged, and is cut off by the new run's number. A frame that does not hold below a
//! durable mark stops its partition only.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_event::SchemaVersion;

use crate::change::{self, Change};
use crate::disk::Disk;
use crate::error::{Damage, DiskError, OpenError};
use crate::frame;
use crate::group::{self, Entry, GroupHeader, HEADER_BYTES, SECTOR};
use crate::journal::{self, FileHeader, Journal, JournalFile, LiveFile};
use crate::manifest::{self, JournalStart, Manifest};
use crate::mark::{Mark, MarkFile};
use crate::segment;
use crate::settings::LogSettings;
use crate::store::SegmentStore;

const MARK_NAME: &str = "mark";
/// Files are read in pieces of this size.
const READ_BYTES: usize = 1 << 20;

/// A log, ready for its threads.
pub(crate) struct Recovered {
    pub(crate) manifest: Manifest,
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
    if !names.iter().any(|name| name == manifest::FILE_NAME) {
        create(settings, disk, store)?;
    }
    if names.iter().any(|name| name == manifest::NEW_FILE_NAME) {
        let new = dir.join(manifest::NEW_FILE_NAME);
        disk.remove(&new).map_err(DiskError::new("remove", &new))?;
    }
    let (manifest, start) = Manifest::load(&**disk, dir, Arc::clone(store))?;
    let (mut mark_file, mark) = MarkFile::open(&**disk, &dir.join(MARK_NAME))?;
    let sources = open_sources(settings, &**disk)?;
    let mut walk = Walk::begin(&sources, manifest, mark, start, dir)?;
    walk.run()?;
    let Walk { mut manifest, number, previous, at, files, found, .. } = walk;

    // What was read may be in the page cache only, after a kill: it must not be called durable before it is.
    for index in &files {
        sources[*index].file.sync()?;
    }
    remove_orphans(&**disk, &segment_dir(dir), &manifest)?;
    let last = number - 1;
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
    Ok(Recovered { manifest, journal, mark_file, mark, previous, found })
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
fn create(settings: &LogSettings, disk: &Arc<dyn Disk>, store: &Arc<SegmentStore>) -> Result<(), OpenError> {
    let dir = &settings.dir;
    for source in open_sources(settings, &**disk)? {
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
    manifest::replace(&**disk, dir, &snapshot)?;
    Ok(())
}

/// A journal file as found.
struct Source {
    slot: u64,
    file: Arc<JournalFile>,
    header: Option<FileHeader>,
}

fn open_sources(settings: &LogSettings, disk: &dyn Disk) -> Result<Vec<Source>, OpenError> {
    let dir = journal_dir(&settings.dir);
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
        sources.push(Source { slot, file: Arc::new(JournalFile { path, file, bytes }), header });
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
        free.push(Arc::new(JournalFile { path: file.path.clone(), file: Arc::clone(&file.file), bytes }));
    }
    let next_slot = sources.iter().map(|source| source.slot + 1).max().unwrap_or(1);
    let dir = journal_dir(&settings.dir);
    Ok(Journal::new(Arc::clone(disk), dir, settings.journal_file_bytes, live, at, free, next_slot))
}

/// Reads a file in large pieces.
struct Window<'a> {
    file: &'a JournalFile,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a JournalFile) -> Self {
        Self { file, start: 0, buffer: Vec::new() }
    }

    /// The bytes from `at` on; `None` if the file ends before.
    fn bytes(&mut self, at: u64, bytes: usize) -> Result<Option<&[u8]>, DiskError> {
        if at.checked_add(bytes as u64).is_none_or(|end| end > self.file.bytes) {
            return Ok(None);
        }
        if at < self.start || at + bytes as u64 > self.start + self.buffer.len() as u64 {
            let length = (bytes.max(READ_BYTES) as u64).min(self.file.bytes - at) as usize;
            self.buffer.resize(length, 0);
            self.file.file.read_at(at, &mut self.buffer).map_err(DiskError::new("read", &self.file.path))?;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(self.buffer.get(from..from + bytes))
    }
}

/// Goes along the chain of groups.
struct Walk<'a> {
    sources: &'a [Source],
    manifest: Manifest,
    mark: Mark,
    /// Everything up to this group is known to be durable before a group was read.
    known_durable: u64,
    /// The number of the group that comes next.
    number: u64,
    run: u64,
    previous: u32,
    /// The files gone through, the current one last, and the place in it.
    files: Vec<usize>,
    at: u64,
    window: Window<'a>,
    found: Vec<Change>,
}

impl<'a> Walk<'a> {
    fn begin(sources: &'a [Source], manifest: Manifest, mark: Mark, start: JournalStart, dir: &Path) -> Result<Self, OpenError> {
        let fits =
            |source: &&(usize, FileHeader)| (source.1.sequence, source.1.first_group) == (start.sequence, start.first_group);
        let headers: Vec<_> = sources.iter().enumerate().filter_map(|(index, source)| Some((index, source.header?))).collect();
        let Some((index, header)) = headers.iter().filter(fits).max_by_key(|(_, header)| header.run) else {
            let what = format!("the journal begins with file number {}, and there is none whose header says so", start.sequence);
            return Err(OpenError::Damaged(Damage { path: dir.join("journal"), at_byte: 0, what }));
        };
        let known_durable = mark.durable.max(manifest.covers);
        let (number, previous) = (header.first_group, header.previous);
        let window = Window::new(&sources[*index].file);
        let (files, at) = (vec![*index], SECTOR as u64);
        Ok(Self { sources, manifest, mark, known_durable, number, run: 0, previous, files, at, window, found: Vec::new() })
    }

    fn run(&mut self) -> Result<(), OpenError> {
        loop {
            let broken = match self.group()? {
                Ok(()) => continue,
                Err(broken) => broken,
            };
            if self.next_file() {
                continue;
            }
            if self.number <= self.known_durable || self.later_group_names(self.number)? {
                return Err(OpenError::Damaged(broken));
            }
            return Ok(());
        }
    }

    fn source(&self) -> &'a Source {
        &self.sources[self.files[self.files.len() - 1]]
    }

    fn damage(&self, at_byte: u64, what: &str) -> Damage {
        Damage { path: self.source().file.path.clone(), at_byte, what: what.to_owned() }
    }

    /// Takes the next group of the current file, or says what breaks the chain there.
    fn group(&mut self) -> Result<Result<(), Damage>, OpenError> {
        let at = self.at;
        let Some(bytes) = self.window.bytes(at, HEADER_BYTES)? else {
            return Ok(Err(self.damage(at, "the journal goes on in a file that is not there")));
        };
        let Some((header, checksum)) = GroupHeader::decode(bytes) else {
            return Ok(Err(self.damage(at, "a group's header does not hold")));
        };
        let sequence = self.source().header.map(|header| header.sequence);
        let follows = header.number == self.number && header.previous == self.previous && Some(header.sequence) == sequence;
        if follows && header.run > self.mark.run {
            let what = format!("the mark names run {}, and the journal has groups of run {}", self.mark.run, header.run);
            return Err(OpenError::Damaged(self.damage(at, &what)));
        }
        let run_fits = if self.number >= self.mark.run_start { header.run == self.mark.run } else { header.run >= self.run };
        if !follows || !run_fits {
            return Ok(Err(self.damage(at, "a group's header belongs to another place or run")));
        }
        let body_at = at + HEADER_BYTES as u64;
        let Some(body) = self.window.bytes(body_at, header.bytes as usize)? else {
            return Ok(Err(self.damage(at, "a group is longer than its file")));
        };
        let body = body.to_vec();
        let entries = match group::read_body(&header, &body) {
            Ok(entries) => entries,
            Err(bad) => return Ok(Err(self.damage(body_at + bad.at as u64, bad.what))),
        };
        if let Some(bad) = entries.iter().find_map(first_bad_frame) {
            let durable = self.number <= self.known_durable || self.later_group_names(self.number)?;
            if !durable {
                return Ok(Err(self.damage(body_at + bad as u64, "a frame of the last group is torn")));
            }
        }
        self.take(body_at, entries)?;
        self.at += header.padded_bytes();
        self.number += 1;
        self.run = header.run;
        self.previous = checksum;
        Ok(Ok(()))
    }

    fn take(&mut self, body_at: u64, entries: Vec<Entry<'_>>) -> Result<(), OpenError> {
        for entry in entries {
            match entry {
                Entry::Changes(payload) => {
                    if self.number <= self.manifest.covers {
                        continue;
                    }
                    let changes = change::decode_all(payload);
                    let changes = changes.map_err(|_| OpenError::Damaged(self.damage(body_at, "a change cannot be read")))?;
                    for change in changes {
                        self.manifest.apply(change).map_err(|what| OpenError::Damaged(self.damage(body_at, &what)))?;
                    }
                }
                Entry::Rows(frames) => {
                    for frame in frames {
                        self.take_frame(body_at + frame.at as u64, &frame)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn take_frame(&mut self, at: u64, frame: &group::Frame<'_>) -> Result<(), OpenError> {
        let head = &frame.head;
        let stream = self.manifest.stream(head.stream);
        let partition = self.manifest.partition(head.stream, head.partition);
        let (Some(stream), Some(partition)) = (stream, partition) else {
            let what =
                format!("a frame is for partition {} of stream number {}, which does not exist", head.partition, head.stream);
            return Err(OpenError::Damaged(self.damage(at, &what)));
        };
        if head.end() <= partition.end(crate::Visibility::Sequenced).0 {
            // In a segment, or trimmed.
            return Ok(());
        }
        let version = SchemaVersion(head.version);
        let rows = match stream.layout(version) {
            Some(layout) if frame.intact => frame::decode_rows(frame.payload, head.rows as usize, &layout).ok(),
            Some(_) | None => None,
        };
        let what = match rows {
            Some(rows) => {
                if partition.recover(head.start, version, rows) {
                    return Ok(());
                }
                "rows before this frame are missing"
            }
            None if frame.intact => "a frame with a good checksum cannot be decoded",
            None => "the checksum of a frame does not hold",
        };
        partition.recover_lost(head.end());
        if partition.damage().is_none() {
            let damage = self.damage(at, what);
            partition.set_damage(head.start, damage.clone());
            self.found.push(Change::Damaged { stream: head.stream, partition: head.partition, start: head.start, damage });
        }
        Ok(())
    }

    /// Goes on in the file that continues the chain here, if there is one.
    fn next_file(&mut self) -> bool {
        let Some(sequence) = self.source().header.map(|header| header.sequence + 1) else { return false };
        let continues = |header: &FileHeader| {
            (header.sequence, header.first_group, header.previous) == (sequence, self.number, self.previous)
                && header.run <= self.mark.run
        };
        let candidates = self.sources.iter().enumerate().filter(|(_, source)| source.header.as_ref().is_some_and(continues));
        let Some((index, source)) = candidates.max_by_key(|(_, source)| source.header.map(|header| header.run)) else {
            return false;
        };
        self.files.push(index);
        self.at = SECTOR as u64;
        self.window = Window::new(&source.file);
        true
    }

    /// Whether a later group of the newest run says that group `number` was durable when it was written.
    fn later_group_names(&self, number: u64) -> Result<bool, OpenError> {
        let current = self.files[self.files.len() - 1];
        let sequence = self.source().header.map(|header| header.sequence);
        for (index, source) in self.sources.iter().enumerate() {
            let from = if index == current {
                self.at + SECTOR as u64
            } else if source.header.is_some_and(|header| Some(header.sequence) <= sequence) {
                continue;
            } else {
                SECTOR as u64
            };
            let mut window = Window::new(&source.file);
            let mut at = from;
            while let Some(bytes) = window.bytes(at, HEADER_BYTES)? {
                if let Some((header, _)) = GroupHeader::decode(bytes)
                    && header.run == self.mark.run
                    && header.number > number
                    && header.durable >= number
                {
                    return Ok(true);
                }
                at += SECTOR as u64;
            }
        }
        Ok(false)
    }
}

fn first_bad_frame(entry: &Entry<'_>) -> Option<usize> {
    match entry {
        Entry::Rows(frames) => frames.iter().find(|frame| !frame.intact).map(|frame| frame.at),
        Entry::Changes(_) => None,
    }
}
