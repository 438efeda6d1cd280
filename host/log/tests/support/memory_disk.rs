//! A disk in memory: quick, and copied in a moment. What is written is there at once, as in a page cache.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tidemill_log::{Disk, DiskFile};

type Bytes = Arc<Mutex<Vec<u8>>>;

#[derive(Default)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Bytes>>,
}

impl MemoryDisk {
    /// Another disk with the same content.
    pub fn copy(&self) -> Self {
        let files = self.files.lock().expect("no panic");
        let files = files.iter().map(|(path, bytes)| {
            let bytes = bytes.lock().expect("no panic").clone();
            (path.clone(), Arc::new(Mutex::new(bytes)))
        });
        Self { files: Mutex::new(files.collect()) }
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.lock().expect("no panic").keys().cloned().collect()
    }

    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        self.file(path).expect("the file is there").lock().expect("no panic").clone()
    }

    /// Changes a file behind everybody's back.
    pub fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.file(path).expect("the file is there").lock().expect("no panic"));
    }

    fn file(&self, path: &Path) -> io::Result<Bytes> {
        self.files.lock().expect("no panic").get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct MemoryFile(Bytes);

impl DiskFile for MemoryFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().expect("no panic");
        let found = bytes.get(at as usize..at as usize + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, at: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().expect("no panic");
        let end = at as usize + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at as usize..end].copy_from_slice(new);
        Ok(())
    }

    fn preallocate(&self, length: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().expect("no panic");
        if bytes.len() < length as usize {
            bytes.resize(length as usize, 0);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("no panic").len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(MemoryFile(self.file(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let bytes = Bytes::default();
        self.files.lock().expect("no panic").insert(path.to_owned(), Arc::clone(&bytes));
        Ok(Arc::new(MemoryFile(bytes)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock().expect("no panic");
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().expect("no panic").remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.files.lock().expect("no panic");
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
