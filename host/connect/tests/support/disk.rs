//! A disk one of whose calls fails, before or after it has done its work.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tidemill_log::{Disk, DiskFile};

/// When a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It has done nothing.
    Before,
    /// It has done its work, and the caller does not hear of it.
    After,
}

/// Counts calls down to the one that fails. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<(u64, Fault)>>>);

impl Faults {
    pub(crate) fn plan(&self, calls: u64, fault: Fault) {
        *self.0.lock().expect("unpoisoned") = Some((calls, fault));
    }

    /// One more call: does it fail?
    pub(crate) fn next(&self) -> Option<Fault> {
        let mut planned = self.0.lock().expect("unpoisoned");
        match planned.as_mut()? {
            (0, fault) => {
                let fault = *fault;
                *planned = None;
                Some(fault)
            }
            (calls, _) => {
                *calls -= 1;
                None
            }
        }
    }

    fn run<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let planted = || io::Error::other("planted");
        match self.next() {
            None => call(),
            Some(Fault::Before) => Err(planted()),
            Some(Fault::After) => call().and_then(|_| Err(planted())),
        }
    }
}

/// See the module's words.
#[derive(Clone)]
pub(crate) struct FlakyDisk {
    pub(crate) below: Arc<dyn Disk>,
    pub(crate) faults: Faults,
}

struct FlakyFile {
    below: Arc<dyn DiskFile>,
    faults: Faults,
}

impl Disk for FlakyDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.below.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let below = self.faults.run(|| self.below.create(path))?;
        Ok(Arc::new(FlakyFile { below, faults: self.faults.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.run(|| self.below.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.run(|| self.below.remove(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.faults.run(|| self.below.list(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.below.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.run(|| self.below.sync_dir(dir))
    }
}

impl DiskFile for FlakyFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.below.read_at(at, buffer)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.faults.run(|| self.below.write_at(at, bytes))
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.below.preallocate(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.run(|| self.below.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.faults.run(|| self.below.sync_all())
    }
}
