//! A disk that asks before every call that changes something: the test counts, holds, or refuses it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::Call;
use crate::disk::{Disk, DiskFile};

type Hook = Arc<dyn Fn(Call, &Path) -> io::Result<Does> + Send + Sync>;

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Pass,
    /// It says yes and does nothing.
    Forget,
}

/// See the module's words. Calls that change nothing go through unasked.
pub struct HookedDisk {
    below: Arc<dyn Disk>,
    hook: Hook,
}

impl HookedDisk {
    /// Asks `hook` before it passes a call on to `below`.
    pub fn over(below: Arc<dyn Disk>, hook: impl Fn(Call, &Path) -> io::Result<()> + Send + Sync + 'static) -> Arc<dyn Disk> {
        Arc::new(Self { below, hook: Arc::new(move |call, path| hook(call, path).map(|()| Does::Pass)) })
    }

    /// Says yes to the syncs that `forgets` names, and does nothing.
    pub fn forgetting(below: Arc<dyn Disk>, forgets: impl Fn(Call, &Path) -> bool + Send + Sync + 'static) -> Arc<dyn Disk> {
        let hook = move |call, path: &Path| Ok(if forgets(call, path) { Does::Forget } else { Does::Pass });
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
        match (self.hook)(Call::Sync, &self.path)? {
            Does::Pass => self.below.sync_data(),
            Does::Forget => Ok(()),
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        match (self.hook)(Call::Sync, &self.path)? {
            Does::Pass => self.below.sync_all(),
            Does::Forget => Ok(()),
        }
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
        match (self.hook)(Call::SyncDir, dir)? {
            Does::Pass => self.below.sync_dir(dir),
            Does::Forget => Ok(()),
        }
    }
}

/// A door that whoever passes waits at while it is shut.
#[derive(Default)]
pub struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// From now on whoever comes waits.
    pub fn shut(&self) {
        *self.shut.lock() = true;
    }

    /// Lets them all go on.
    pub fn open(&self) {
        *self.shut.lock() = false;
        self.opened.notify_all();
    }

    /// Waits while it is shut.
    pub fn pass(&self) {
        self.opened.wait_while(&mut self.shut.lock(), |shut| *shut);
    }
}
