//! The mark: a file of two sectors beside the journal that names the run and a durable mark.
//!
//! ```text
//! sector 0, 1: magic 8 | counter u64 | run u64 | run_start u64 | durable u64 | zeros | crc32c u32 of the 508 bytes before
//! ```
//! The sector with the higher counter counts; writing takes the other one, so that a torn write leaves the older. A run is made
//! durable here, in both sectors, before its first group: groups from `run_start` on belong to it or to nobody.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, DiskError, OpenError};
use crate::group::SECTOR;
use crate::wire::{Put, Take};

const MAGIC: &[u8; 8] = b"TMMARK01";

/// What the mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// The newest run.
    pub(crate) run: u64,
    /// The number of its first group.
    pub(crate) run_start: u64,
    /// Every group up to this number is on disk.
    pub(crate) durable: u64,
}

pub(crate) struct MarkFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    counter: u64,
}

impl MarkFile {
    /// A mark file for a new log, empty. Its folder must be synced before it counts.
    pub(crate) fn create(disk: &dyn Disk, path: &Path) -> Result<Self, DiskError> {
        let file = disk.create(path).map_err(DiskError::new("create", path))?;
        file.preallocate(2 * SECTOR as u64).map_err(DiskError::new("preallocate", path))?;
        Ok(Self { path: path.to_owned(), file, counter: 0 })
    }

    /// The mark file of an existing log, and what it says.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<(Self, Mark), OpenError> {
        let file = disk.open(path).map_err(DiskError::new("open", path))?;
        let mut newest: Option<(u64, Mark)> = None;
        let bytes = file.len().map_err(DiskError::new("read", path))?.min(2 * SECTOR as u64) as usize;
        let mut sectors = vec![0; bytes];
        file.read_at(0, &mut sectors).map_err(DiskError::new("read", path))?;
        for sector in sectors.chunks_exact(SECTOR) {
            if let Some(found) = decode(sector)
                && newest.is_none_or(|(counter, _)| found.0 > counter)
            {
                newest = Some(found);
            }
        }
        let Some((counter, mark)) = newest else {
            let what = "neither of its sectors holds".to_owned();
            return Err(OpenError::Damaged(Damage { path: path.to_owned(), at_byte: 0, what }));
        };
        Ok((Self { path: path.to_owned(), file, counter }, mark))
    }

    /// Writes and syncs one sector.
    pub(crate) fn write(&mut self, mark: Mark) -> Result<(), DiskError> {
        self.counter += 1;
        let at = (self.counter % 2) * SECTOR as u64;
        self.file.write_at(at, &encode(self.counter, mark)).map_err(DiskError::new("write", &self.path))?;
        self.file.sync_data().map_err(DiskError::new("sync", &self.path))
    }

    /// Writes both sectors, one after the other is on disk: damage to either one leaves the run known.
    pub(crate) fn write_both(&mut self, mark: Mark) -> Result<(), DiskError> {
        self.write(mark)?;
        self.write(mark)
    }

    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }
}

/// A whole mark file that says this.
pub(crate) fn file_bytes(mark: Mark) -> Vec<u8> {
    // The sector of counter 2 is the first one.
    [encode(2, mark), encode(1, mark)].concat()
}

fn encode(counter: u64, mark: Mark) -> Vec<u8> {
    let mut out = Vec::with_capacity(SECTOR);
    out.extend_from_slice(MAGIC);
    out.put_u64(counter);
    out.put_u64(mark.run);
    out.put_u64(mark.run_start);
    out.put_u64(mark.durable);
    out.resize(SECTOR - 4, 0);
    let checksum = crc32c::crc32c(&out);
    out.put_u32(checksum);
    out
}

fn decode(sector: &[u8]) -> Option<(u64, Mark)> {
    let (content, checksum) = sector.split_at_checked(SECTOR - 4)?;
    if !content.starts_with(MAGIC) || crc32c::crc32c(content).to_le_bytes() != checksum {
        return None;
    }
    let mut take = Take(&content[8..]);
    let mut fields = || {
        Ok::<_, crate::wire::Malformed>((take.u64()?, Mark { run: take.u64()?, run_start: take.u64()?, durable: take.u64()? }))
    };
    fields().ok()
}
