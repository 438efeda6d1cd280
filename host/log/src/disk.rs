//! All disk I/O of the log, behind one small trait: the real disk here, others (memory, faults, power cuts) for tests.
//!
//! The contract is a pessimistic disk: what was written counts only after `sync_data`/`sync_all` of the file, and a name made,
//! renamed or removed counts only after `sync_dir` of its folder. Until then any subset of it may survive a power cut, cut at
//! 512-byte sectors. Nothing is mapped into memory: a failing read must come back as an error.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// An open file. Calls from several threads may overlap; each reads or writes all it was asked to, or fails.
pub trait DiskFile: Send + Sync {
    /// Fills `buffer` from byte `at`; `UnexpectedEof` if the file ends before.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at byte `at`, growing the file if needed.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file at least `bytes` long with reserved space; new bytes read as zero.
    fn preallocate(&self, bytes: u64) -> io::Result<()>;
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|bytes| bytes == 0)
    }
    /// Every write that returned before this call began is on disk when it returns. After an error nothing is known about them.
    fn sync_data(&self) -> io::Result<()>;
    /// [`DiskFile::sync_data`], and the file's length.
    fn sync_all(&self) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Opens an existing file to read and write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name in the same folder, replacing what had it, in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names of the files in a folder (folders apart), in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes a folder; no error if it is there. Its parent must exist.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Room for new files in a folder, in bytes; `u64::MAX` where that is not known.
    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
    /// Names made, renamed or removed in this folder before the call began are on disk when it returns.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, at)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        if self.len()? >= bytes {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve. A length alone still keeps appends free of metadata where blocks exist already.
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match std::fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            other => other,
        }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}
