//! A disk whose syncs wait, or fail, when the test says so.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use tidemill_log::{Disk, DiskFile, RealDisk};

/// What syncs do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Syncs {
    /// What the real disk's do.
    #[default]
    Work,
    /// They wait until this changes.
    Wait,
    /// They fail.
    Fail,
}

/// The real disk behind a switch.
#[derive(Clone, Default)]
pub(crate) struct SwitchDisk(Arc<(Mutex<Syncs>, Condvar)>);

impl SwitchDisk {
    pub(crate) fn set(&self, syncs: Syncs) {
        *self.0.0.lock().expect("no panic") = syncs;
        self.0.1.notify_all();
    }

    fn sync(&self) -> io::Result<()> {
        let syncs = self.0.0.lock().expect("no panic");
        let syncs = self.0.1.wait_while(syncs, |syncs| *syncs == Syncs::Wait).expect("no panic");
        if *syncs == Syncs::Fail { Err(io::Error::other("a planted fault")) } else { Ok(()) }
    }

    fn file(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        file.map(|file| -> Arc<dyn DiskFile> { Arc::new(SwitchFile { file, disk: self.clone() }) })
    }
}

struct SwitchFile {
    file: Arc<dyn DiskFile>,
    disk: SwitchDisk,
}

impl DiskFile for SwitchFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(at, buffer)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(at, bytes)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.file.preallocate(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync()?;
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.sync()?;
        self.file.sync_all()
    }
}

impl Disk for SwitchDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(RealDisk.open(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(RealDisk.create(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}
