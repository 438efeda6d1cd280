//! A data directory that is being made from a backup: no host takes it for one before it is whole.
//!
//! ```text
//! empty or absent ─► lock, `restoring` ─► filled ─► tidemill.json, `restoring` goes        any failure: all of it goes
//! ```
//! What a kill leaves has `restoring` and no `tidemill.json`: `serve` refuses it, and so does a second restore.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::data_dir::{DataDirError, RESTORING, take_lock, write_format};

/// Made, locked and not whole; removed when dropped.
#[derive(Debug)]
pub(crate) struct NewDataDir {
    path: PathBuf,
    /// It was not there before.
    was_absent: bool,
    finished: bool,
    _lock: File,
}

/// Why there is no room for a data directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewDataDirError {
    /// Something is in it.
    #[error("`{}` is not empty: a backup is restored into an empty or new folder", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A restore before this one was killed.
    #[error("`{}` is what a restore left that did not end: remove the folder and restore again", path.display())]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// As with any data directory.
    #[error(transparent)]
    Dir(#[from] DataDirError),
}

impl NewDataDir {
    /// Takes an empty folder, or makes one.
    pub(crate) fn make(path: &Path) -> Result<Self, NewDataDirError> {
        let was_absent = !path.exists();
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { what, path, source }
        };
        fs::create_dir_all(path).map_err(io("make", path))?;
        for entry in fs::read_dir(path).map_err(io("read", path))? {
            let name = entry.map_err(io("read", path))?.file_name();
            if name == RESTORING {
                return Err(NewDataDirError::Unfinished { path: path.to_owned() });
            }
            if name != "lock" && name != "lost+found" {
                return Err(NewDataDirError::Occupied { path: path.to_owned() });
            }
        }
        let lock = take_lock(path)?;
        let marker = path.join(RESTORING);
        File::create(&marker).and_then(|marker| marker.sync_all()).map_err(io("make", &marker))?;
        Ok(Self { path: path.to_owned(), was_absent, finished: false, _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// It is a data directory from now on.
    pub(crate) fn finish(mut self) -> Result<(), DataDirError> {
        let (format, marker) = (self.path.join("tidemill.json"), self.path.join(RESTORING));
        write_format(&self.path, &format).map_err(|source| DataDirError::Io { what: "write", path: format, source })?;
        self.finished = true;
        let removed = fs::remove_file(&marker).and_then(|()| File::open(&self.path)?.sync_all());
        removed.map_err(|source| DataDirError::Io { what: "remove", path: marker, source })
    }

    fn remove(&self) -> io::Result<()> {
        if self.was_absent {
            return fs::remove_dir_all(&self.path);
        }
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() == "lost+found" {
                continue;
            }
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }?;
        }
        Ok(())
    }
}

impl Drop for NewDataDir {
    fn drop(&mut self) {
        if !self.finished && self.remove().is_err() {
            eprintln!("`{}` could not be removed: it is no data directory, remove it", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDir;

    #[test]
    fn it_is_whole_or_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        let made = NewDataDir::make(&path).expect("absent");
        fs::create_dir(path.join("log")).expect("a folder");
        let busy = DataDir::open(&path).expect_err("half a restore is no data directory");
        assert!(busy.to_string().contains("restore"), "{busy}");
        drop(made);
        assert!(!path.exists());
        // A folder that was there stays.
        fs::create_dir(&path).expect("a folder");
        drop(NewDataDir::make(&path).expect("empty"));
        assert_eq!(fs::read_dir(&path).expect("still there").count(), 0);
        NewDataDir::make(&path).expect("empty").finish().expect("written");
        assert!(matches!(NewDataDir::make(&path), Err(NewDataDirError::Occupied { .. })));
        drop(DataDir::open(&path).expect("a data directory"));
    }

    #[test]
    fn what_a_kill_left_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        std::mem::forget(NewDataDir::make(folder.path()).expect("empty"));
        assert!(matches!(NewDataDir::make(folder.path()), Err(NewDataDirError::Unfinished { .. })));
    }
}
