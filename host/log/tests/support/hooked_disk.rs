//! A disk that asks before every call that changes something: the test counts, holds, or refuses it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use tidemill_log::{Disk, DiskFile};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Create,
    Preallocate,
    Write,
    Sync,
    Rename,
    Remove,
    SyncDir,
}

type Hook = Arc<dyn Fn(Call, &Path) -> io::Result<()> + Send + Sync>;

pub struct HookedDisk {
    below: Arc<dyn Disk>,
    hook: Hook,
}

impl HookedDisk {
    pub fn over(below: Arc<dyn Disk>, hook: impl Fn(Call, &Path) -> io::Result<()> + Send + Sync + 'static) -> Arc<dyn Disk> {
        Arc::new(Self { below, hook: Arc::new(hook) })
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(HookedFile { below: file, path: path.to_owned(), hook: Arc::clone(&self.hook) })
    }
}

struct HookedFile {
    below: Arc<dyn DiskFile>,
    path: PathBuf,
    hook: Hook,
}

impl DiskFile for HookedFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.below.read_at(at, buffer)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        (self.hook)(Call::Write, &self.path)?;
        self.below.write_at(at, bytes)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        (self.hook)(Call::Preallocate, &self.path)?;
        self.below.preallocate(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        (self.hook)(Call::Sync, &self.path)?;
        self.below.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        (self.hook)(Call::Sync, &self.path)?;
        self.below.sync_all()
    }
}

impl Disk for HookedDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.below.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        (self.hook)(Call::Create, path)?;
        Ok(self.file(path, self.below.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.hook)(Call::Rename, from)?;
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.hook)(Call::Remove, path)?;
        self.below.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.below.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.below.create_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.below.free_bytes(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (self.hook)(Call::SyncDir, dir)?;
        self.below.sync_dir(dir)
    }
}

/// A door that whoever passes waits at while it is shut.
#[derive(Default)]
pub struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn shut(&self) {
        *self.shut.lock().expect("no panic") = true;
    }

    pub fn open(&self) {
        *self.shut.lock().expect("no panic") = false;
        self.opened.notify_all();
    }

    pub fn pass(&self) {
        let shut = self.shut.lock().expect("no panic");
        drop(self.opened.wait_while(shut, |shut| *shut).expect("no panic"));
    }
}

/// Whether a path is a journal file.
pub fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "journal")
}
