//! The journal's files: preallocated, used one after the other, and used again when all their rows are in segments.
//!
//! ```text
//! file: | header 512 B | group | group | …  stale groups of an earlier life |
//! header: magic 8 | format u32 | zero u32 | sequence u64 | run u64 | first_group u64 | previous u32 | zeros | crc32c u32
//! ```
//! A file's name is only a slot; its header says which place in the journal it has now. The header goes out with the first group,
//! in one write.
//!
//! Reserved is not written: the first sync of a reserved block makes the file system note that it is in use now, in a journal of its
//! own that everybody else's files wait in too. That takes twice the time and the work of a sync in blocks that were written before.
//! So a new file is filled with zeros ahead of the groups: by the [`crate::preparer`] before it is needed, or, a piece at a time, by
//! whoever writes into one that is not prepared.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{Disk, DiskFile};
use crate::error::DiskError;
use crate::group::SECTOR;
use crate::manifest::{FORMAT, JournalStart};
use crate::wire::{Put, Take};

const MAGIC: &[u8; 8] = b"TMJRNL01";

/// The header of a journal file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    /// Counts journal files in use order, from 1.
    pub(crate) sequence: u64,
    pub(crate) run: u64,
    /// The number of the first group in it.
    pub(crate) first_group: u64,
    /// The checksum of the header of the group before.
    pub(crate) previous: u32,
}

impl FileHeader {
    pub(crate) fn encode(&self) -> [u8; SECTOR] {
        let mut out = Vec::with_capacity(SECTOR);
        out.extend_from_slice(MAGIC);
        out.put_u32(FORMAT);
        out.put_u32(0);
        out.put_u64(self.sequence);
        out.put_u64(self.run);
        out.put_u64(self.first_group);
        out.put_u32(self.previous);
        out.resize(SECTOR - 4, 0);
        let checksum = crc32c::crc32c(&out);
        out.put_u32(checksum);
        out.try_into().expect("the fields above are one sector")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_at_checked(SECTOR - 4)?;
        if !content.starts_with(MAGIC) || crc32c::crc32c(content).to_le_bytes() != checksum {
            return None;
        }
        let mut take = Take(&content[16..]);
        let mut fields = || {
            let (sequence, run, first_group) = (take.u64()?, take.u64()?, take.u64()?);
            Ok::<_, crate::wire::Malformed>(Self { sequence, run, first_group, previous: take.u32()? })
        };
        fields().ok()
    }
}

/// An open journal file.
pub(crate) struct JournalFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) bytes: u64,
    /// Blocks before this byte have been written, by whatever life of the file; behind it they may only be reserved.
    written: AtomicU64,
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl JournalFile {
    /// A file of which nothing is known to have been written.
    pub(crate) fn new(path: PathBuf, file: Arc<dyn DiskFile>, bytes: u64) -> Self {
        Self { path, file, bytes, written: AtomicU64::new(0) }
    }

    /// Before the bytes up to `end` are written: if not all of those were ever written, `ahead` bytes behind them are filled with
    /// zeros. Nothing may have been written there in this life of the file.
    pub(crate) fn write_ahead(&self, end: u64, ahead: u64) -> Result<(), DiskError> {
        if end <= self.written.load(Ordering::Relaxed) || ahead == 0 {
            return Ok(());
        }
        self.write_zeros(end, end.saturating_add(ahead).min(self.bytes))
    }

    /// Fills bytes with zeros. Everything before them was written, or is being written.
    pub(crate) fn write_zeros(&self, from: u64, to: u64) -> Result<(), DiskError> {
        let mut at = from;
        while at < to {
            let piece = (to - at).min(ZEROS.len() as u64);
            self.write(at, &ZEROS[..piece as usize])?;
            at += piece;
        }
        self.written.fetch_max(to, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_at(at, bytes).map_err(DiskError::new("write", &self.path))
    }

    pub(crate) fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(DiskError::new("sync", &self.path))
    }
}

/// The next file is prepared when this part of the current one is full: one divided by it.
const PREPARE_AT: u64 = 4;

/// A file that takes or took groups.
pub(crate) struct LiveFile {
    pub(crate) file: Arc<JournalFile>,
    pub(crate) sequence: u64,
    pub(crate) first_group: u64,
    /// The newest group in it.
    pub(crate) last_group: u64,
}

/// The journal's files and where the next group goes.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: u64,
    pub(crate) current: LiveFile,
    /// Where the next group goes in the current file.
    pub(crate) at: u64,
    pub(crate) closed: VecDeque<LiveFile>,
    free: Vec<Arc<JournalFile>>,
    next_slot: u64,
}

/// Where a group goes.
pub(crate) struct GroupPlace {
    pub(crate) file: Arc<JournalFile>,
    pub(crate) at: u64,
    pub(crate) sequence: u64,
    /// It is the first of its file: the header goes before it.
    pub(crate) first: bool,
    /// It is time that the next file is prepared.
    pub(crate) is_near_the_end: bool,
}

pub(crate) fn file_name(slot: u64) -> String {
    format!("{slot:06}.journal")
}

pub(crate) fn file_slot(name: &str) -> Option<u64> {
    name.strip_suffix(".journal")?.parse().ok()
}

/// Makes a journal file; the name is durable when it returns.
pub(crate) fn create_file(disk: &dyn Disk, dir: &Path, slot: u64, bytes: u64) -> Result<JournalFile, DiskError> {
    let path = dir.join(file_name(slot));
    let file = disk.create(&path).map_err(DiskError::new("create", &path))?;
    let made = || {
        file.preallocate(bytes).map_err(DiskError::new("preallocate", &path))?;
        file.sync_all().map_err(DiskError::new("sync", &path))?;
        disk.sync_dir(dir).map_err(DiskError::new("sync", dir))
    };
    match made() {
        Ok(()) => Ok(JournalFile::new(path, file, bytes)),
        Err(error) => {
            // Half a file would only take room. Nothing is in it, so that even a sync that failed has lost nothing.
            let _ = disk.remove(&path);
            Err(error)
        }
    }
}

impl Journal {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        file_bytes: u64,
        mut live: VecDeque<LiveFile>,
        at: u64,
        free: Vec<Arc<JournalFile>>,
        next_slot: u64,
    ) -> Self {
        let current = live.pop_back().expect("a journal has a file from its first moment");
        Self { disk, dir, file_bytes, current, at, closed: live, free, next_slot }
    }

    /// The place of group `number` of `bytes` (padded): in the current file, or at the start of the next.
    pub(crate) fn place(&mut self, number: u64, bytes: u64) -> Result<GroupPlace, DiskError> {
        let first = self.at + bytes > self.current.file.bytes;
        if first {
            let file = match self.free.pop() {
                Some(file) => file,
                None => {
                    let file = create_file(&*self.disk, &self.dir, self.next_slot, self.file_bytes)?;
                    self.next_slot += 1;
                    Arc::new(file)
                }
            };
            let next = LiveFile { file, sequence: self.current.sequence + 1, first_group: number, last_group: number };
            self.closed.push_back(std::mem::replace(&mut self.current, next));
            self.at = SECTOR as u64;
        }
        let at = self.at;
        self.at += bytes;
        self.current.last_group = number;
        let (file, sequence) = (Arc::clone(&self.current.file), self.current.sequence);
        Ok(GroupPlace { file, at, sequence, first, is_near_the_end: self.is_near_its_end() })
    }

    /// The slot of a file that is to be ready when the current one is full; `None` if one is, if there is time for it, or if there are
    /// as many files as there may be.
    pub(crate) fn next_to_prepare(&mut self, files_max: u64) -> Option<u64> {
        let files = self.closed.len() as u64 + 1;
        if !self.is_near_its_end() || files >= files_max {
            return None;
        }
        self.next_slot += 1;
        Some(self.next_slot - 1)
    }

    /// Whether [`Journal::next_to_prepare`] might have something to say.
    pub(crate) fn is_near_its_end(&self) -> bool {
        self.free.is_empty() && self.at >= self.current.file.bytes / PREPARE_AT
    }

    /// A file that was prepared.
    pub(crate) fn prepared(&mut self, file: JournalFile) {
        self.free.push(Arc::new(file));
    }

    /// Room that the next file takes on the disk: none if one is there already.
    pub(crate) fn next_file_bytes(&self) -> u64 {
        if self.free.is_empty() { self.file_bytes } else { 0 }
    }

    /// Files that hold rows not known to be in segments.
    pub(crate) fn live_files(&self) -> u64 {
        self.closed.len() as u64 + 1
    }

    /// Where a replay must begin when everything up to group `rolled` is in segments. A file counts as a start only when its
    /// header is on disk, which its first group being durable shows.
    pub(crate) fn start_after(&self, rolled: u64, durable: u64) -> JournalStart {
        let needed = self.closed.iter().position(|file| file.last_group > rolled).unwrap_or(self.closed.len());
        let file = (0..=needed)
            .rev()
            .map(|index| self.closed.get(index).unwrap_or(&self.current))
            .find(|file| file.first_group <= durable)
            .unwrap_or_else(|| self.closed.front().unwrap_or(&self.current));
        JournalStart { sequence: file.sequence, first_group: file.first_group }
    }

    /// Files before `start` may be used again: nothing durable refers to them.
    pub(crate) fn recycle(&mut self, start: JournalStart) {
        while let Some(file) = self.closed.front()
            && file.sequence < start.sequence
        {
            if let Some(file) = self.closed.pop_front() {
                self.free.push(file.file);
            }
        }
    }
}
